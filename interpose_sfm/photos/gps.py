"""Where photos were taken, by the GPS position in their EXIF, or else in the XMP that drones of DJI write.

COLMAP's feature extraction stores such positions as pose priors, but not of images that the database holds already, as
ours does, not without an altitude, not of PNG files, and with latitudes above 90 (measured with pycolmap 4.2.1). So
they are read here, of the original files, and `colmap.cameras.import_cameras` stores them.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from interpose_sfm.photos.exif_values import text_of
from interpose_sfm.products import FloatArray, GpsPosition, Photo

logger = logging.getLogger(__name__)

GPS_IFD = 0x8825
_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE, _ALTITUDE_REF, _ALTITUDE, _STATUS = 1, 2, 3, 4, 5, 6, 9
_METHOD, _ERROR = 27, 31
_NO_SATELLITES = ("CELLID", "NETWORK", "WLAN", "MANUAL")  # methods that err by tens of metres, and by hundreds
_MAX_ERROR_M = 10.0  # that the receiver states itself, as phones do; joining takes errors of some 5 m for granted
_NULL_ISLAND_DEG = 1e-4  # what cameras write that have not found their place yet
_ALTITUDES_M = (-500.0, 20_000.0)
_PER_SECOND = 1_000_000  # parts of a second of arc, which is 31 m, in EXIF that is written

# Of DJI, by its manuals and ExifTool's table; some of its drones write "longtitude".
_XMP_VALUE = r"drone-dji:(?:{})(?:\s*=\s*[\"']|\s*>)\s*([-+]?\d+(?:\.\d+)?)"
_XMP_LATITUDE = re.compile(_XMP_VALUE.format("GpsLatitude|GPSLatitude|Latitude").encode())
_XMP_LONGITUDE = re.compile(_XMP_VALUE.format("GpsLong(?:t)?itude|GPSLong(?:t)?itude|Longitude").encode())
_XMP_ALTITUDE = re.compile(_XMP_VALUE.format("AbsoluteAltitude").encode())


def position_of(image: Image.Image) -> GpsPosition | None:
    """The position that a picture's EXIF tells, or where that has none, its XMP; None as `position_in`."""
    exif = image.getexif()
    if _LATITUDE in _tags(exif):  # what the receiver itself doubts is not had from the XMP after all
        return position_in(exif)
    xmp = image.info.get("xmp", b"")
    return position_in_xmp(xmp) if isinstance(xmp, bytes) else None


def position_in_xmp(xmp: bytes) -> GpsPosition | None:
    """The position in the XMP of a drone of DJI, as attributes or elements; None where there is none, or nonsense."""
    values = [pattern.search(xmp) for pattern in (_XMP_LATITUDE, _XMP_LONGITUDE, _XMP_ALTITUDE)]
    return _sane(*(math.nan if value is None else float(value[1]) for value in values))


def _tags(exif: Image.Exif) -> Mapping[int, Any]:
    """GPS tags of EXIF; none where it is damaged."""
    try:
        return exif.get_ifd(GPS_IFD)
    except Exception as error:  # noqa: BLE001 - as below
        logger.info("GPS in EXIF cannot be read and is ignored: %s", error)
        return {}


def position_in(exif: Image.Exif) -> GpsPosition | None:
    """The position that EXIF tells; None where it tells none, nonsense, or one that the receiver itself doubts."""
    try:
        tags = _tags(exif)
        if _is_doubtful(tags):
            return None
        latitude = _degrees(tags.get(_LATITUDE), text_of(tags.get(_LATITUDE_REF)).upper(), "NS")
        longitude = _degrees(tags.get(_LONGITUDE), text_of(tags.get(_LONGITUDE_REF)).upper(), "EW")
        altitude = _number(tags.get(_ALTITUDE)) * (-1 if _is_below(tags.get(_ALTITUDE_REF)) else 1)
    except Exception as error:  # noqa: BLE001 - Pillow raises almost anything on damaged EXIF data
        logger.info("a GPS position cannot be read and is ignored: %s", error)
        return None
    return _sane(latitude, longitude, altitude)


def tags_to_write(position: GpsPosition) -> dict[int, object]:
    """A position as tags of EXIF's GPS folder, exact to a hundredth of a millimetre."""
    tags: dict[int, object] = {}
    for degrees, of, reference, letters in (
        (position.latitude_deg, _LATITUDE, _LATITUDE_REF, "NS"),
        (position.longitude_deg, _LONGITUDE, _LONGITUDE_REF, "EW"),
    ):
        units = round(abs(degrees) * 3600 * _PER_SECOND)
        minutes, rest = divmod(units, 60 * _PER_SECOND)
        rationals = (minutes // 60, 1), (minutes % 60, 1), (rest, _PER_SECOND)
        tags[reference], tags[of] = letters[degrees < 0], tuple(IFDRational(*rational) for rational in rationals)
    if position.altitude_m is not None:
        tags[_ALTITUDE_REF] = bytes([position.altitude_m < 0])
        tags[_ALTITUDE] = IFDRational(round(abs(position.altitude_m) * 1000), 1000)
    return tags


def _sane(latitude: float, longitude: float, altitude: float) -> GpsPosition | None:
    """A position of degrees and metres; NaN stands for what is missing."""
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):  # false for NaN, too
        return None
    if max(abs(latitude), abs(longitude)) < _NULL_ISLAND_DEG:
        return None
    is_sane = _ALTITUDES_M[0] <= altitude <= _ALTITUDES_M[1] and altitude != 0.0  # 0 is what stands for unknown
    return GpsPosition(latitude, longitude, altitude if is_sane else None)


@dataclass(frozen=True)
class LocalFrame:
    """Positions in metres around a place.

    Attributes:
        latitude_deg, longitude_deg: Of the place, in WGS84; it lies on the level of the ellipsoid.
        positions_m: East, north and up by photo; up is NaN where EXIF has no altitude.
    """

    latitude_deg: float
    longitude_deg: float
    positions_m: Mapping[str, FloatArray]


def positions_m(photos: Iterable[Photo]) -> Mapping[str, FloatArray]:
    """East, north and up in metres by name, as of `local_frame`; empty with fewer than two positions."""
    frame = local_frame(photos)
    return {} if frame is None else frame.positions_m


def local_frame(photos: Iterable[Photo]) -> LocalFrame | None:
    """Positions from the photo amid the others; None with fewer than two positions.

    From the one in their middle, since one far away, such as one that errs, would tilt the ground of all others.
    """
    import pycolmap

    known = {photo.name: photo.gps for photo in photos if photo.gps is not None}
    if len(known) < 2:
        return None
    ellipsoid = np.array([(p.latitude_deg, p.longitude_deg, p.altitude_m or 0.0) for p in known.values()])
    transform = pycolmap.GPSTransform()
    ecef = transform.ellipsoid_to_ecef(ellipsoid)
    middle = int(np.argmin(np.linalg.norm(ecef - np.median(ecef, axis=0), axis=1)))
    latitude_deg, longitude_deg, _ = ellipsoid[middle]
    enu = transform.ellipsoid_to_enu(ellipsoid, latitude_deg, longitude_deg, 0.0)
    has_altitude = np.array([p.altitude_m is not None for p in known.values()])
    enu[~has_altitude, 2] = np.nan
    positions = {name: np.asarray(row) for name, row in zip(known, enu, strict=True)}
    return LocalFrame(float(latitude_deg), float(longitude_deg), positions)


def _degrees(value: Any, hemisphere: str, hemispheres: str) -> float:
    """Signed degrees from degrees, minutes and seconds, the last of which may be left out; NaN for anything else."""
    if value is None or hemisphere not in tuple(hemispheres):
        return math.nan
    parts = [float(part) for part in (value if isinstance(value, tuple | list) else (value,))]
    if not 1 <= len(parts) <= 3 or not all(part >= 0 for part in parts) or any(part > 60 for part in parts[1:]):
        return math.nan
    degrees = sum(part / 60.0**power for power, part in enumerate(parts))
    return -degrees if hemisphere == hemispheres[1] else degrees


def _is_doubtful(tags: Mapping[int, Any]) -> bool:
    """Whether the receiver warns of its own position, or had it from elsewhere than satellites."""
    method = tags.get(_METHOD, b"")
    if isinstance(method, bytes):
        method = method[8:]  # behind the name of the character set
    is_void = text_of(tags.get(_STATUS)).upper() == "V"
    return is_void or text_of(method).upper() in _NO_SATELLITES or _number(tags.get(_ERROR)) > _MAX_ERROR_M


def _number(value: Any) -> float:
    """NaN for what is missing or no number; a damaged altitude does not cost the place."""
    try:
        return float(value)
    except (TypeError, ValueError, ArithmeticError):
        return math.nan


def _is_below(value: Any) -> bool:
    """Below the sea (1), or below it or the ellipsoid in EXIF 3.0 (3 and 1)."""
    return value in (1, 3, b"\x01", b"\x03", "\x01", "\x03", "1", "3")
