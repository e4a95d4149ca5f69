from __future__ import annotations

from pathlib import Path

import pytest

from interpose_sfm.options import ReconstructOptions
from interpose_sfm.photos.position_file import read_positions
from interpose_sfm.products import GpsPosition
from interpose_sfm.workflows.start_checks import check_options


def test_positions_are_read_by_the_names_of_their_columns(tmp_path: Path) -> None:
    table = tmp_path / "flight.csv"
    table.write_text(
        "\ufeffname, yaw, longitude, latitude, altitude\nsub/é.jpg, 1, -2.25, 48.5, 102\nb.jpg,,0,-90,\n", "utf-8"
    )
    assert read_positions(table) == {
        "sub/é.jpg": GpsPosition(48.5, -2.25, 102.0),
        "b.jpg": GpsPosition(-90.0, 0.0, None),
    }


@pytest.mark.parametrize(("text", "message"), [
    ("name,lat,lon,altitude\na.jpg,1,2,3\n", "no column latitude or longitude; expected a first line with name,"),
    ("", "no column name or"),
    ("name,latitude,longitude,altitude\na.jpg,1,2,3\nb.jpg,north,2,3\n", "line 3: expected numbers, got b.jpg, north"),
    ("name,latitude,longitude,altitude\na.jpg,1\n", "line 2: expected numbers"),
    ("name,latitude,longitude,altitude\na.jpg,91,2,3\n", "line 2: expected degrees and metres, got 91"),
    ("name,latitude,longitude,altitude\na.jpg,1,nan,3\n", "expected degrees"),
])  # fmt: skip
def test_what_is_no_table_of_positions_is_told_at_the_start(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "flight.csv"
    table.write_text(text)
    with pytest.raises(ValueError, match=message):
        check_options(ReconstructOptions(position_file=table))
    with pytest.raises(ValueError, match="there is no position file"):
        read_positions(tmp_path / "none.csv")
