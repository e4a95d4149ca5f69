"""Where photos were taken, by the GPS position in their EXIF.

COLMAP's feature extraction stores such positions as pose priors, but not of images that the database holds already, as
ours does, not without an altitude, not of PNG files, and with latitudes above 90 (measured with pycolmap 4.2.1). So
they are read here, of the original files.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from interpose_sfm.products import FloatArray, GpsPosition, Photo

logger = logging.getLogger(__name__)

_GPS_IFD = 0x8825
_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE, _ALTITUDE_REF, _ALTITUDE, _STATUS = 1, 2, 3, 4, 5, 6, 9
_NULL_ISLAND_DEG = 1e-4  # what cameras write that have not found their place yet
_ALTITUDES_M = (-500.0, 20_000.0)


def position_in(exif: Image.Exif) -> GpsPosition | None:
    """The position that EXIF tells; None where it tells none, or nonsense."""
    try:
        tags = exif.get_ifd(_GPS_IFD)
        if _text(tags.get(_STATUS)) == "V":  # the receiver warns of its own measurement
            return None
        latitude = _degrees(tags.get(_LATITUDE), _text(tags.get(_LATITUDE_REF)), "NS")
        longitude = _degrees(tags.get(_LONGITUDE), _text(tags.get(_LONGITUDE_REF)), "EW")
        altitude = float(tags.get(_ALTITUDE, math.nan)) * (-1 if _is_below_sea(tags.get(_ALTITUDE_REF)) else 1)
    except Exception as error:  # noqa: BLE001 - Pillow raises almost anything on damaged EXIF data
        logger.info("a GPS position cannot be read and is ignored: %s", error)
        return None
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):  # false for NaN, too
        return None
    if max(abs(latitude), abs(longitude)) < _NULL_ISLAND_DEG:
        return None
    is_sane = _ALTITUDES_M[0] <= altitude <= _ALTITUDES_M[1] and altitude != 0.0  # 0 is what stands for unknown
    return GpsPosition(latitude, longitude, altitude if is_sane else None)


def read_position(path: Path) -> GpsPosition | None:
    """The position that the EXIF of an image file tells; None where it tells none, or cannot be read."""
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.filterwarnings("ignore", module="PIL")
            return position_in(image.getexif())
    except Exception as error:  # noqa: BLE001 - as above
        logger.info("EXIF of %s cannot be read: %s", path, error)
        return None


def positions_m(photos: Iterable[Photo]) -> dict[str, FloatArray]:
    """East, north and up in metres from one of the photos, by name; empty with fewer than two positions.

    Up is from the level of the ellipsoid, and NaN where EXIF has no altitude.
    """
    import pycolmap

    known = {photo.name: photo.gps for photo in photos if photo.gps is not None}
    if len(known) < 2:
        return {}
    start = next(iter(known.values()))
    ellipsoid = np.array([(p.latitude_deg, p.longitude_deg, p.altitude_m or 0.0) for p in known.values()])
    enu = pycolmap.GPSTransform().ellipsoid_to_enu(ellipsoid, start.latitude_deg, start.longitude_deg, 0.0)
    has_altitude = np.array([p.altitude_m is not None for p in known.values()])
    enu[~has_altitude, 2] = np.nan
    return {name: np.asarray(row) for name, row in zip(known, enu, strict=True)}


def _degrees(value: Any, hemisphere: str, hemispheres: str) -> float:
    """Signed degrees from degrees, minutes and seconds, the last of which may be left out; NaN for anything else."""
    if value is None or hemisphere not in tuple(hemispheres):
        return math.nan
    parts = [float(part) for part in (value if isinstance(value, tuple | list) else (value,))]
    if not 1 <= len(parts) <= 3 or not all(part >= 0 for part in parts):
        return math.nan
    degrees = sum(part / 60.0**power for power, part in enumerate(parts))
    return -degrees if hemisphere == hemispheres[1] else degrees


def _text(value: Any) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""
    return text.split("\0")[0].strip().upper()


def _is_below_sea(value: Any) -> bool:
    return value in (1, b"\x01", "\x01", "1")
