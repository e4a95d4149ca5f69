"""When the base stage of a run is done again, and what is refused before anything of it is taken away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import pytest
from PIL import Image

from interpose_sfm.colmap import cameras
from interpose_sfm.options import MatchingMethod, PairingOptions, PhotoOptions, ReconstructOptions
from interpose_sfm.products import GpsPosition, Photo, PhotoSet
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.workflows.reconstruct import PhotoRun

PHOTOS = tuple(Photo(name, Path(name), 640, 480, None, "", "", name * 8) for name in ("a.jpg", "b.jpg"))
PHOTO_SET = PhotoSet(Path("images"), PHOTOS, ())


class _AskedError(Exception):
    pass


def key_of(folder: Path, monkeypatch: pytest.MonkeyPatch, options: ReconstructOptions) -> str:
    """The key under which a run looks for its base stage."""
    asked: list[str] = []

    def is_done(self: Workspace, stage: str, key: str) -> bool:
        asked.append(key)
        raise _AskedError

    monkeypatch.setattr(Workspace, "is_done", is_done)
    with pytest.raises(_AskedError):
        PhotoRun(Workspace(folder / "run"), options, RunLog()).map_base(PHOTO_SET)
    return asked[0]


def test_the_base_depends_on_how_photos_lie_and_not_on_where_they_were_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "flight.csv"
    table.write_text("name,latitude,longitude,altitude\na.jpg,48,11,500\n")
    plain = ReconstructOptions()
    key = key_of(tmp_path, monkeypatch, plain)
    assert key_of(tmp_path, monkeypatch, replace(plain, position_file=table)) == key
    as_stored = replace(plain, photos=PhotoOptions(keep_orientation=True))
    assert key_of(tmp_path, monkeypatch, as_stored) != key
    near = replace(plain, pairing=PairingOptions(matching_method=MatchingMethod.SPATIAL))
    assert key_of(tmp_path, monkeypatch, near) != key_of(tmp_path, monkeypatch, replace(near, position_file=table))


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"camera_params": "500,320,240,0"}, "camera-params are for photos of one size"),
        ({"pairing": PairingOptions(matching_method=MatchingMethod.SPATIAL)}, "needs GPS positions"),
    ],
)
def test_what_is_refused_takes_no_base_away(tmp_path: Path, changed: dict[str, Any], match: str) -> None:
    workspace = Workspace(tmp_path / "run")
    photos = replace(PHOTO_SET, photos=(PHOTOS[0], replace(PHOTOS[1], width_px=800)))
    with workspace.locked():
        workspace.base_dir.mkdir()
        (workspace.base_dir / "models").touch()
        with pytest.raises(ValueError, match=match):
            PhotoRun(workspace, replace(ReconstructOptions(), **changed), RunLog()).map_base(photos)
    assert (workspace.base_dir / "models").exists()


def test_pose_priors_take_the_place_of_earlier_ones(tmp_path: Path) -> None:
    path = tmp_path / "database.db"
    placed = replace(PHOTO_SET, photos=(replace(PHOTOS[0], gps=GpsPosition(48.0, 11.0, 500.0)), PHOTOS[1]))
    cameras.import_cameras(path, placed, ReconstructOptions().camera_mode)
    moved = replace(PHOTO_SET, photos=(PHOTOS[0], replace(PHOTOS[1], gps=GpsPosition(49.0, 12.0, 600.0))))
    cameras.write_pose_priors(path, moved)
    with pycolmap.Database.open(path) as database:
        (prior,) = database.read_all_pose_priors()
        assert prior.corr_data_id == database.read_image_with_name("b.jpg").data_id
    assert prior.position.tolist() == [49.0, 12.0, 600.0]


def test_masks_that_hide_a_whole_photo_are_told(tmp_path: Path) -> None:
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    for index, grey in enumerate((0, 255)):
        pixels = np.random.default_rng(index).integers(0, 256, (80, 120, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.png")
        Image.new("L", (120, 80), grey).save(tmp_path / "masks" / f"{index}.png.png")
    workspace, log = Workspace(tmp_path / "run"), RunLog()
    with workspace.locked():
        options = replace(ReconstructOptions(), mask_path=tmp_path / "masks")
        PhotoRun(workspace, options, log).collect(tmp_path / "photos")
    assert ["0.png" in text for text in log.warnings if "hide all" in text] == [True]
