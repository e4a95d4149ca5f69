"""Positions of photos from a table: what a flight log or a better receiver knows and EXIF does not."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from interpose_sfm.products import GpsPosition
from interpose_sfm.storage.texts import check_file

COLUMNS = ("name", "latitude", "longitude", "altitude")


def read_positions(path: Path) -> dict[str, GpsPosition]:
    """Positions by photo from a CSV file with the columns name, latitude, longitude and altitude, in any order.

    Degrees and metres in WGS84; the altitude may be left empty. Other columns are passed over.

    Raises:
        ValueError: The file is none, lacks a column, or a row is no position; the message says which.
    """
    check_file(path, "position file", f"a first line {','.join(COLUMNS)}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
            if missing:
                raise ValueError(
                    f"{path} has no column {' or '.join(missing)}; expected a first line with {','.join(COLUMNS)}"
                )
            return {row["name"]: _position(row, f"{path}, line {rows.line_num}") for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"cannot read positions from {path} ({error}); expected a CSV file") from error


def _position(row: dict[str, str], place: str) -> GpsPosition:
    try:
        latitude_deg, longitude_deg = float(row["latitude"]), float(row["longitude"])
        altitude_m = float(row["altitude"]) if (row["altitude"] or "").strip() else None
    except (TypeError, ValueError):
        raise ValueError(f"{place}: expected numbers, got {', '.join(str(row[name]) for name in COLUMNS)}") from None
    if not (abs(latitude_deg) <= 90 and abs(longitude_deg) <= 180 and math.isfinite(altitude_m or 0.0)):
        raise ValueError(f"{place}: expected degrees and metres, got {latitude_deg}, {longitude_deg}, {altitude_m}")
    return GpsPosition(latitude_deg, longitude_deg, altitude_m)
