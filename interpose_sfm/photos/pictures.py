"""Decoding of one photo: its upright pixels, what its EXIF says, and whether COLMAP can read the file as it is.

What COLMAP's reader does was measured with pycolmap 4.2.1 and decides what counts as readable: it tells JPEG, PNG and
TIFF by content whatever the file is called, cannot read WebP, ignores the EXIF orientation, and accepts damaged pixel
data.
"""

from __future__ import annotations

import functools
import io
import logging
import math
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from interpose_sfm.options import PhotoOptions
from interpose_sfm.photos import deep, gps
from interpose_sfm.photos.exif_values import text_of
from interpose_sfm.photos.formats import (
    RAW_HINT,
    UnusableError,
    check_projection,
    check_signature,
    open_picture,
    os_reason,
)
from interpose_sfm.products import GpsPosition, ImageArray, SkipReason

logger = logging.getLogger(__name__)

_LOSSY_FORMATS = ("JPEG", "HEIF", "AVIF")
_UPRIGHT = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_AS_STORED = {**_UPRIGHT, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}  # the way back
_ORIENTATION, _MAKE, _MODEL, _EXIF_IFD = 0x0112, 0x010F, 0x0110, 0x8769
_FOCAL_MM, _FOCAL_35MM, _PLANE_RESOLUTION, _PLANE_UNIT = 0x920A, 0xA405, 0xA20E, 0xA210
_UNITS_PER_MM = {2: 1 / 25.4, 3: 0.1, 4: 1.0, 5: 1000.0}  # by FocalPlaneResolutionUnit


@dataclass(frozen=True)
class Exif:
    """The EXIF fields used here; None and empty where absent or absurd."""

    orientation: int = 1
    make: str = ""
    model: str = ""
    focal_mm: float | None = None
    focal_35mm: float | None = None
    plane_resolution: float | None = None
    plane_unit: int | None = None
    gps: GpsPosition | None = None


@dataclass(frozen=True)
class Picture:
    """A decoded photo.

    Attributes:
        image: Upright unless it was asked for as stored, 8 bit, RGB or grey.
        is_readable_by_colmap: Whether COLMAP reads the same pixels from the file as it is.
        file_format: The format of the file, by Pillow's name.
        container: The format in which to write it where COLMAP does not; lossy only where the file is.
        exif: What the camera says.
        orientation: EXIF orientation by which the file's pixels were turned, 1 where they were not.
        num_bits: Of a deep picture whose top bits are not used: how many are, of which the top eight are kept.
    """

    image: Image.Image
    is_readable_by_colmap: bool
    file_format: str
    container: str
    exif: Exif
    orientation: int = 1
    num_bits: int | None = None


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Truncated files are errors, and the pixel limit is ours: Pillow's would refuse photos of 200 MP.

    The settings are those of the process. They are as before when the last of the threads that want them so is done.
    """
    with _strict.lock:
        if not _strict.depth:
            _strict.at_end.enter_context(_strict_settings())
        _strict.depth += 1
    try:
        yield
    finally:
        with _strict.lock:
            _strict.depth -= 1
            if not _strict.depth:
                _strict.at_end.close()


@dataclass
class _Strict:
    lock: threading.Lock = field(default_factory=threading.Lock)
    depth: int = 0
    at_end: ExitStack = field(default_factory=ExitStack)


_strict = _Strict()


@contextmanager
def _strict_settings() -> Iterator[None]:
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = before


def read_picture_bytes(path: Path, options: PhotoOptions) -> bytes:
    """The bytes of a file that looks like an image of a supported format; a long video is not read to its end.

    Raises:
        UnusableError: it is empty, unreadable, too large, or something else than a supported image.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise UnusableError(SkipReason.EMPTY, "the file has no content")
            head = file.read(64)
            check_signature(head, path)
            if size > options.max_megapixels * 8e6:  # eight bytes a pixel: four channels of 16 bit, uncompressed
                raise UnusableError(SkipReason.TOO_LARGE, f"{size / 1e9:.1f} GB")
            return head + file.read()
    except OSError as error:
        raise UnusableError(SkipReason.UNREADABLE, os_reason(error)) from error


def decode(data: bytes, path: Path, options: PhotoOptions) -> Picture:
    """Decode the first picture of the file, all of it, and turn it upright unless the options keep it as it is stored.

    Raises:
        UnusableError: it is damaged, too small, too large, or of an unsupported kind.
    """
    try:
        with open_picture(io.BytesIO(data)) as image:
            _check_header(image, data, options)
            check_projection(data)
            # Pillow turns a TIFF upright by itself and drops the tag, so whether it did must be found out before.
            turned_by_pillow = image.tag_v2.get(_ORIENTATION) if isinstance(image, TiffImagePlugin.TiffImageFile) else 1
            packed = deep.packing(image)
            image.load()
            exif = _read_exif(image, path)
            is_stored_upright = turned_by_pillow not in _UPRIGHT and exif.orientation not in _UPRIGHT
            is_plain = turned_by_pillow not in _UPRIGHT and _is_plain(image, data)
            is_plain &= is_stored_upright or options.keep_orientation
            eight_bits, num_bits = (image, None) if is_plain else _as_rgb8(image, data, packed)
            file_format = "JPEG" if image.format in ("JPEG", "MPO") else str(image.format)
            container = "JPEG" if file_format in _LOSSY_FORMATS else "PNG"
            if options.keep_orientation:
                stored = _turned(eight_bits, turned_by_pillow, _AS_STORED)
                return Picture(stored, is_plain, file_format, container, exif, num_bits=num_bits)
            orientation = turned_by_pillow if turned_by_pillow in _UPRIGHT else exif.orientation
            orientation = orientation if orientation in _UPRIGHT else 1
            upright = _turned(eight_bits, exif.orientation, _UPRIGHT)
            return Picture(upright, is_plain, file_format, container, exif, orientation, num_bits)
    except UnusableError:
        raise
    except MemoryError as error:
        raise UnusableError(SkipReason.TOO_LARGE, "not enough memory to decode it") from error
    except UnidentifiedImageError as error:
        raise UnusableError(SkipReason.CORRUPT, "the header is damaged") from error
    except Exception as error:  # on damaged files Pillow raises almost anything
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise UnusableError(SkipReason.CORRUPT, f"cannot be decoded ({what})") from error


def _check_header(image: Image.Image, data: bytes, options: PhotoOptions) -> None:
    """Refuse what need not be decoded, and what decodes without an error although most of it is missing."""
    width, height = image.size
    if width * height > options.max_megapixels * 1e6:
        detail = f"{width} x {height} px, the limit is {options.max_megapixels:g} megapixels"
        raise UnusableError(SkipReason.TOO_LARGE, detail)
    if min(width, height) < options.min_side_px:
        detail = f"{width} x {height} px, the shorter side must be at least {options.min_side_px} px"
        raise UnusableError(SkipReason.TOO_SMALL, detail)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        is_preview = image.tag_v2.get(254, 0) & 1  # NewSubfileType: a reduced version of another picture in the file
        if is_preview or 50706 in image.tag_v2 or data[8:10] == b"CR":  # DNGVersion; Canon's CR2
            raise UnusableError(SkipReason.NOT_AN_IMAGE, RAW_HINT)
    elif image.format != "PNG":
        # A preallocated file whose copy broke off ends in zeros, which decode to grey.
        content = data.rstrip(b"\0")
        if len(data) - len(content) >= 64 and not content.endswith(b"\xff\xd9"):
            raise UnusableError(SkipReason.CORRUPT, "the end of the file is missing (zero bytes instead)")


def _is_plain(image: Image.Image, data: bytes) -> bool:
    """Whether COLMAP's reader gives the same 8-bit pixels as ours: checked for these kinds, assumed for no other."""
    if image.mode not in ("RGB", "L"):
        return False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        is_8bit = set(tags.get(258, (1,))) == {8} and set(tags.get(339, (1,))) == {1}  # bits, unsigned integers
        compression = image.info.get("compression")
        is_common = compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits")
        return is_8bit and is_common and tags.get(262) in (1, 2) and tags.get(284, 1) == 1  # no palette, no planes
    if image.format == "PNG":
        is_whole = data.endswith(b"IEND\xaeB`\x82")
        return (
            is_whole and data[24] == 8 and not getattr(image, "is_animated", False) and "transparency" not in image.info
        )  # bit depth in the header
    return image.format in ("JPEG", "MPO")


def _as_rgb8(image: Image.Image, data: bytes, packed: str) -> tuple[Image.Image, int | None]:
    """Eight bits a channel, without alpha (COLMAP drops it, too); and `Picture.num_bits`.

    Args:
        image: As Pillow has loaded it.
        data: The file.
        packed: What `deep.packing` says of it.
    """
    pixels: ImageArray | None = None
    num_bits = deep.FULL_BITS
    if image.mode == "I" or image.mode.startswith("I;16"):
        pixels, num_bits = deep.top_eight_bits(np.asarray(image).astype(np.int64))
    elif packed:
        pixels, num_bits = deep.stretched(image, data, packed)
    if pixels is not None:
        return Image.fromarray(pixels).convert("RGB"), num_bits if num_bits != deep.FULL_BITS else None
    if image.mode == "F":
        raise UnusableError(SkipReason.NOT_AN_IMAGE, "floating-point pixels are not supported; export it with 8 bit")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB"), None


def _turned(image: Image.Image, orientation: object, methods: Mapping[int, Image.Transpose]) -> Image.Image:
    """A picture turned by what belongs to an EXIF orientation; as it is where nothing does."""
    method = methods.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _read_exif(image: Image.Image, path: Path) -> Exif:
    """The EXIF fields; broken EXIF is no reason to leave a photo out."""
    try:
        tags: Image.Exif = image.getexif()
        details = tags.get_ifd(_EXIF_IFD)
        fields = [_number(details.get(tag)) for tag in (_FOCAL_MM, _FOCAL_35MM, _PLANE_RESOLUTION, _PLANE_UNIT)]
        orientation, unit = _number(tags.get(_ORIENTATION)), fields[3]
        return Exif(
            orientation=int(orientation) if orientation else 1,
            make=text_of(tags.get(_MAKE)),
            model=text_of(tags.get(_MODEL)),
            focal_mm=fields[0],
            focal_35mm=fields[1],
            plane_resolution=fields[2],
            plane_unit=int(unit) if unit else None,
            gps=gps.position_of(image),
        )
    except Exception as error:  # noqa: BLE001 - Pillow raises almost anything on damaged EXIF data
        logger.warning("EXIF of %s cannot be read and is ignored: %s", path, error)
        return Exif()


def read_position(path: Path) -> GpsPosition | None:
    """The GPS position that the EXIF or XMP of an image file tells; None where it tells none, or cannot be read."""
    try:
        with strict_pillow(), Image.open(path) as image:
            return gps.position_of(image)
    except Exception as error:  # noqa: BLE001 - as above
        logger.info("EXIF of %s cannot be read: %s", path, error)
        return None


def _number(value: Any) -> float | None:
    """A positive finite number, or None for anything else (0/0 is common in EXIF)."""
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def focal_px(exif: Exif, width_px: int, height_px: int) -> float | None:
    """Focal length in pixels by the rules of COLMAP's ``Bitmap::ExifFocalLength``, so that both agree.

    The 35 mm equivalent over the diagonal (43.27 mm, CIPA's definition), else the focal plane resolution, else the
    sensor width from COLMAP's camera database. Unlike there, a value is ignored that COLMAP's mapper would call bogus
    (beyond 0.1 and 10 times the longer side), because no photo with it could be registered.
    """
    focal: float | None = None
    longer_side = max(width_px, height_px)
    if exif.focal_35mm:
        focal = exif.focal_35mm / 43.27 * math.hypot(width_px, height_px)
    elif exif.focal_mm and exif.plane_resolution and exif.plane_unit in _UNITS_PER_MM:
        focal = exif.focal_mm * exif.plane_resolution * _UNITS_PER_MM[exif.plane_unit]
    elif exif.focal_mm and exif.make and exif.model:
        sensor_width_mm = _sensor_width_mm(exif.make, exif.model)
        focal = exif.focal_mm / sensor_width_mm * longer_side if sensor_width_mm else None
    return focal if focal is not None and 0.1 <= focal / longer_side <= 10 else None


@functools.cache
def _sensor_width_mm(make: str, model: str) -> float | None:
    """Sensor width from COLMAP's camera database, which can be asked only by way of an image with such EXIF data."""
    import pycolmap

    side_px, focal_mm = 64, 100.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.jpg"
        exif = Exif(make=make, model=model, focal_mm=focal_mm)
        Image.new("L", (side_px, side_px)).save(path, exif=exif_to_write(exif))
        camera = pycolmap.infer_camera_from_image(path)
    return focal_mm * side_px / camera.focal_length if camera.has_prior_focal_length else None


def exif_to_write(exif: Exif) -> Image.Exif:
    """The EXIF of an upright picture: all that COLMAP derives a camera from, and where it was taken."""
    tags = Image.Exif()
    tags.update({tag: text for tag, text in ((_MAKE, exif.make), (_MODEL, exif.model)) if text})
    numbers = {
        _FOCAL_MM: _rational(exif.focal_mm),
        _FOCAL_35MM: exif.focal_35mm and round(exif.focal_35mm),
        _PLANE_RESOLUTION: _rational(exif.plane_resolution),
        _PLANE_UNIT: exif.plane_unit,
    }
    tags.get_ifd(_EXIF_IFD).update({tag: number for tag, number in numbers.items() if number})
    if exif.gps is not None:
        tags.get_ifd(gps.GPS_IFD).update(gps.tags_to_write(exif.gps))
    return tags


def _rational(number: float | None) -> TiffImagePlugin.IFDRational | None:
    """As EXIF stores it; COLMAP does not find a floating-point number."""
    if number is None:
        return None
    fraction = Fraction(number).limit_denominator(1_000_000)
    return TiffImagePlugin.IFDRational(fraction.numerator, fraction.denominator)


def read_rgb(path: Path) -> ImageArray:
    """An image file as (height, width, 3) uint8 RGB, its pixels as stored."""
    with strict_pillow(), Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
