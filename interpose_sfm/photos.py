"""First stage: from a folder of files to photos that every later stage, COLMAP included, can read.

What COLMAP's reader does was measured with pycolmap 4.2.1 and decides what is done here: it tells JPEG, PNG and TIFF by
content whatever the file is called, cannot read WebP, ignores the EXIF orientation, and accepts damaged pixel data. A
photo that it reads right is hard-linked; every other one is written anew, upright, 8-bit RGB, as JPEG or PNG under its
unchanged name. Its database and binary models keep any name that is valid UTF-8, line breaks included; those and other
control characters are refused for the sake of lists and logs. (Its *text* models cut names at the first space.)
"""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import json
import logging
import math
import os
import shutil
import stat
import tempfile
import unicodedata
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from interpose_sfm._compat import StrEnum
from interpose_sfm.products import Photo, PhotoSet, SkippedFile, SkipReason
from interpose_sfm.workspace import TEMP_PREFIX, atomic_write_json

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

_LEDGER_SUFFIX = ".interpose-photos.json"
_LEDGER_VERSION = 1
_SAVE_EVERY = 50  # photos
_MAX_WORKERS = 4  # a decoded photo may take hundreds of megabytes
_JUNK_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})
_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")  # JPEG includes MPO, a JPEG followed by further ones
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RAW_SUFFIXES = (".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw", ".x3f")
_OTHER_FORMATS = (  # offset, bytes, name
    (4, b"ftyphei", "HEIC"), (4, b"ftyphev", "HEIC"), (4, b"ftypmif1", "HEIF"), (4, b"ftypmsf1", "HEIF"),
    (4, b"ftypavi", "AVIF"), (0, b"GIF8", "GIF"), (0, b"8BPS", "Photoshop"), (4, b"jP  ", "JPEG 2000"),
    (4, b"JXL ", "JPEG XL"), (0, b"\xff\x0a", "JPEG XL"), (4, b"ftypcrx", "camera raw"),
)  # fmt: skip
_UPRIGHT = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION, _MAKE, _MODEL, _EXIF_IFD = 0x0112, 0x010F, 0x0110, 0x8769
_FOCAL_MM, _FOCAL_35MM, _PLANE_RESOLUTION, _PLANE_UNIT = 0x920A, 0xA405, 0xA20E, 0xA210
_UNITS_PER_MM = {2: 1 / 25.4, 3: 0.1, 4: 1.0, 5: 1000.0}  # by FocalPlaneResolutionUnit
_GUESSED_FOCAL_FACTOR = 1.2  # COLMAP's default_focal_length_factor


@dataclass(frozen=True, kw_only=True)
class PhotoOptions:
    """What counts as a photo.

    Attributes:
        min_side_px: Shorter side below which a picture is left out; icons and thumbnails hold too few features.
        max_megapixels: Size above which a picture is left out unread; above any camera sold today, below what a
            decompression bomb would cost (three bytes a pixel).
        recursive: Whether sub-folders are searched.
    """

    min_side_px: int = 64
    max_megapixels: float = 250.0
    recursive: bool = True

    def __post_init__(self) -> None:
        if self.min_side_px < 1:
            raise ValueError(f"min_side_px must be at least 1, got {self.min_side_px}")
        if not self.max_megapixels > 0:
            raise ValueError(f"max_megapixels must be positive, got {self.max_megapixels}")


class CameraMode(StrEnum):
    """Which photos share a camera, as in COLMAP."""

    AUTO = "auto"
    SINGLE = "single"
    PER_FOLDER = "per_folder"
    PER_IMAGE = "per_image"


# ---------------------------------------------------------------- the stage


def collect_photos(
    photo_dir: Path,
    image_dir: Path,
    options: PhotoOptions,
    progress: Callable[[int, int], None] | None = None,
) -> PhotoSet:
    """Find the usable photos of a folder and lay them out for COLMAP.

    Every file is read and decoded once; a file that cannot be used is reported with its reason, never an exception. Of
    photos with equal upright pixels one is kept: one with an EXIF focal length if there is any, then the one nearest to
    the top folder, then the first by name. Hidden files and folders and the litter of operating systems are passed over
    quietly, and so is the output folder (the parent of ``image_dir``) where it lies inside ``photo_dir``.

    A ledger beside ``image_dir`` says what was put there, so that a second run redoes only what changed, and removes
    only what an earlier run had put there.

    Args:
        photo_dir: The user's folder; never written to, apart from an output folder inside it.
        image_dir: Folder to fill, created if need be; its photos are named by their path below ``photo_dir``.
        options: What counts as a photo.
        progress: Called with (files done, files) after every file.

    Returns:
        The photos sorted by name, and what was left out sorted by name. There may be no photo at all.

    Raises:
        ValueError: ``photo_dir`` is no folder, ``image_dir`` is or holds ``photo_dir``, or a file that no earlier run
            wrote is in the way.
        OSError: ``image_dir`` cannot be written.
    """
    photo_dir, image_dir = Path(photo_dir), Path(image_dir)
    _check_folders(photo_dir, image_dir)
    image_dir.mkdir(parents=True, exist_ok=True)
    files, skipped = _walk(photo_dir, image_dir, options)  # name -> path
    ledger = _Ledger(image_dir, options)
    ledger.claim(files)
    usable: dict[str, _Record] = {}
    for name, outcome in _process_all(files, ledger, options, progress):
        if isinstance(outcome, _Record):
            usable[name] = outcome
            ledger.remember(name, outcome)
        else:
            skipped.append(outcome)
    kept, duplicates = _split_duplicates(usable)
    ledger.finish(kept)
    skipped.extend(duplicates)
    skipped.sort(key=lambda file: file.name)
    for file in skipped:
        logger.info("left out %s: %s (%s)", file.name, file.reason, file.detail)
    photos = tuple(record.photo(name, image_dir / name) for name, record in sorted(kept.items()))
    return PhotoSet(image_dir=image_dir, photos=photos, skipped=tuple(skipped))


@dataclass(frozen=True)
class _Record:
    """What one file holds and where it was put. A stamp is (size in bytes, modification time in ns)."""

    source_stamp: tuple[int, int]
    target_stamp: tuple[int, int]
    width_px: int
    height_px: int
    focal_px: float | None
    make: str
    model: str
    sha256: str
    pixels_sha256: str

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> _Record:
        stamps = {key: (int(row[key][0]), int(row[key][1])) for key in ("source_stamp", "target_stamp")}
        return cls(**{**row, **stamps})

    def photo(self, name: str, path: Path) -> Photo:
        return Photo(name, path, self.width_px, self.height_px, self.focal_px, self.make, self.model, self.sha256)


class _UnusableError(Exception):
    """A file cannot be used; ends as a SkippedFile."""

    def __init__(self, reason: SkipReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def _check_folders(photo_dir: Path, image_dir: Path) -> None:
    if not photo_dir.exists():
        raise ValueError(f"photo folder does not exist: {photo_dir}; give the folder that holds the photos")
    if not photo_dir.is_dir():
        raise ValueError(f"expected a folder of photos, got a file: {photo_dir}; give the folder that holds it")
    if image_dir.exists() and not image_dir.is_dir():
        raise ValueError(f"expected a folder to write images to, got a file: {image_dir}; choose another output folder")
    if photo_dir.resolve().is_relative_to(image_dir.resolve()):
        raise ValueError(f"the photos in {photo_dir} lie inside {image_dir}, which this run would fill; "
                         "choose another output folder")  # fmt: skip


def _process_all(
    files: dict[str, Path], ledger: _Ledger, options: PhotoOptions, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[str, _Record | SkippedFile]]:
    """Outcomes in name order; the decoders release the interpreter lock, so threads help."""
    workers = min(_MAX_WORKERS, os.cpu_count() or 1)
    with _strict_pillow(), _scratch_folder(ledger.image_dir) as scratch:
        pool = ThreadPoolExecutor(workers)
        try:
            job = functools.partial(_process, ledger=ledger, scratch=scratch, options=options)
            for index, (name, outcome) in enumerate(zip(files, pool.map(job, files, files.values()), strict=True)):
                yield name, outcome
                if progress is not None:
                    progress(index + 1, len(files))
        finally:
            pool.shutdown(cancel_futures=True)


def _process(name: str, path: Path, ledger: _Ledger, scratch: Path, options: PhotoOptions) -> _Record | SkippedFile:
    """Read one file, judge it, and put it into the image folder."""
    try:
        source_stamp = _stamp(path)
        target = ledger.image_dir / name
        known = ledger.records.get(name)
        if known is not None and known.source_stamp == source_stamp and known.target_stamp == _stamp(target):
            return known
        data = _read(path, options)
        picture = _decode(data, path, options)
        _place(path, data, picture, target, scratch)
    except _UnusableError as error:
        return SkippedFile(_printable(name), error.reason, str(error))
    width, height = picture.image.size
    pixels = hashlib.sha256(f"{width}x{height}".encode())
    pixels.update(picture.image.convert("RGB").tobytes())
    return _Record(
        source_stamp=source_stamp,
        target_stamp=_stamp(target),
        width_px=width,
        height_px=height,
        focal_px=_focal_px(picture.exif, width, height),
        make=picture.exif.make,
        model=picture.exif.model,
        sha256=hashlib.sha256(data).hexdigest(),
        pixels_sha256=pixels.hexdigest(),
    )


def _split_duplicates(usable: dict[str, _Record]) -> tuple[dict[str, _Record], list[SkippedFile]]:
    kept: dict[str, _Record] = {}
    first_by_pixels: dict[str, str] = {}
    duplicates = []
    for name in sorted(usable, key=lambda name: (usable[name].focal_px is None, name.count("/"), name)):
        record = usable[name]
        first = first_by_pixels.setdefault(record.pixels_sha256, name)
        if first == name:
            kept[name] = record
        else:
            what = "file" if record.sha256 == usable[first].sha256 else "picture"
            duplicates.append(SkippedFile(name, SkipReason.DUPLICATE, f"same {what} as {first}"))
    return kept, duplicates


# ---------------------------------------------------------------- finding files


def _walk(root: Path, image_dir: Path, options: PhotoOptions) -> tuple[dict[str, Path], list[SkippedFile]]:
    """All files below the folder in name order, and those that need not be opened to be refused.

    Every folder is entered once, by its own path rather than by a symbolic link where it has both.
    """
    files: dict[str, Path] = {}
    skipped: list[SkippedFile] = []
    entered = {_identity(image_dir)}
    if image_dir.resolve().parent.is_relative_to(root.resolve()) and _identity(image_dir.parent) != _identity(root):
        entered.add(_identity(image_dir.parent))
    folders, linked_folders = [""], list[str]()
    while folders or linked_folders:
        folder = folders.pop() if folders else linked_folders.pop(0)
        try:
            identity = _identity(root / folder)
            entries = [] if identity in entered else sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError as error:
            skipped.append(SkippedFile(_printable(folder) + "/", SkipReason.UNREADABLE, _why(error)))
            continue
        entered.add(identity)
        ledgers = [entry.name for entry in entries if entry.name.endswith(_LEDGER_SUFFIX)]
        if ledgers and folder:
            detail = "output folder of an earlier run"
            skipped.append(SkippedFile(_printable(folder) + "/", SkipReason.NOT_AN_IMAGE, detail))
            continue
        litter = {*ledgers, *(name.removesuffix(_LEDGER_SUFFIX) for name in ledgers)}
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith(".") or entry.name.lower() in _JUNK_NAMES or entry.name in litter:
                continue
            if entry.is_symlink() and os.path.isdir(entry.path):
                linked_folders.append(name)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif refusal := _refusal(name, entry.path):
                skipped.append(refusal)
            else:
                files[name] = Path(entry.path)
        if not options.recursive:
            break
    return dict(sorted(files.items())), skipped


def _refusal(name: str, path: str) -> SkippedFile | None:
    """Why a file must not even be opened: its name, or that it is none (opening a named pipe would wait forever)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return SkippedFile(_printable(name), SkipReason.BAD_NAME, "the name is not valid UTF-8; rename the file")
    if any(unicodedata.category(char) == "Cc" for char in name):
        return SkippedFile(_printable(name), SkipReason.BAD_NAME, "control character in the name; rename the file")
    try:
        status = os.stat(path)
    except OSError as error:
        what = "broken symbolic link" if os.path.islink(path) else _why(error)
        return SkippedFile(name, SkipReason.UNREADABLE, what)
    if not stat.S_ISREG(status.st_mode):
        return SkippedFile(name, SkipReason.UNREADABLE, "a pipe, socket or device, not a file")
    return None


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _printable(name: str) -> str:
    """The name with everything escaped that a report or a terminal could choke on."""
    name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) == "Cc" else c for c in name)


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


# ---------------------------------------------------------------- reading pictures


@dataclass(frozen=True)
class _Exif:
    """The EXIF fields used here; None and empty where absent or absurd."""

    orientation: int = 1
    make: str = ""
    model: str = ""
    focal_mm: float | None = None
    focal_35mm: float | None = None
    plane_resolution: float | None = None
    plane_unit: int | None = None


@dataclass(frozen=True)
class _Picture:
    """A decoded photo.

    Attributes:
        image: Upright, 8 bit, RGB or grey.
        is_readable_by_colmap: Whether COLMAP reads the same pixels from the file as it is.
        container: The format in which to write it where COLMAP does not; lossy only where the file is.
        exif: What the camera says.
    """

    image: Image.Image
    is_readable_by_colmap: bool
    container: str
    exif: _Exif


@contextmanager
def _strict_pillow() -> Iterator[None]:
    """Truncated files are errors, and the pixel limit is ours: Pillow's would refuse photos of 200 MP."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = before


def _read(path: Path, options: PhotoOptions) -> bytes:
    """The bytes of a file that looks like an image of a supported format; a long video is not read to its end."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise _UnusableError(SkipReason.EMPTY, "the file has no content")
            head = file.read(64)
            _check_signature(head, path)
            if size > options.max_megapixels * 8e6:  # eight bytes a pixel: four channels of 16 bit, uncompressed
                raise _UnusableError(SkipReason.TOO_LARGE, f"{size / 1e9:.1f} GB")
            return head + file.read()
    except OSError as error:
        raise _UnusableError(SkipReason.UNREADABLE, _why(error)) from error


def _check_signature(head: bytes, path: Path) -> None:
    if path.name.lower().endswith(_RAW_SUFFIXES):
        raise _UnusableError(SkipReason.NOT_AN_IMAGE, "camera raw is not supported; convert it to JPEG or TIFF")
    if head.startswith(_SIGNATURES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        return
    for offset, magic, name in _OTHER_FORMATS:
        if head.startswith(magic, offset):
            raise _UnusableError(SkipReason.NOT_AN_IMAGE, f"{name} is not supported; convert it to JPEG or PNG")
    if not head.strip(b"\0"):
        raise _UnusableError(SkipReason.CORRUPT, "only zero bytes, as a failed copy leaves them")
    raise _UnusableError(SkipReason.NOT_AN_IMAGE, "no JPEG, PNG, TIFF or WebP data; convert it if it is a photo")


def _decode(data: bytes, path: Path, options: PhotoOptions) -> _Picture:
    """Decode the first picture of the file, all of it, and turn it upright."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_header(image, data, options)
            # Pillow turns a TIFF upright by itself and drops the tag, so whether it did must be found out before.
            is_turned = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_ORIENTATION) in _UPRIGHT
            image.load()
            exif = _read_exif(image, path)
            is_plain = not is_turned and exif.orientation not in _UPRIGHT and _is_plain(image, data)
            upright: Image.Image = image if is_plain else _as_rgb8(image)
            if exif.orientation in _UPRIGHT:
                upright = upright.transpose(_UPRIGHT[exif.orientation])
            container = "JPEG" if image.format in ("JPEG", "MPO") else "PNG"
            return _Picture(upright, is_plain, container, exif)
    except _UnusableError:
        raise
    except MemoryError as error:
        raise _UnusableError(SkipReason.TOO_LARGE, "not enough memory to decode it") from error
    except UnidentifiedImageError as error:
        raise _UnusableError(SkipReason.CORRUPT, "the header is damaged") from error
    except Exception as error:  # on damaged files Pillow raises almost anything
        raise _UnusableError(SkipReason.CORRUPT, f"cannot be decoded ({type(error).__name__}: {error})") from error


def _check_header(image: Image.Image, data: bytes, options: PhotoOptions) -> None:
    """Refuse what need not be decoded, and what decodes without an error although most of it is missing."""
    width, height = image.size
    if width * height > options.max_megapixels * 1e6:
        detail = f"{width} x {height} px, the limit is {options.max_megapixels:g} megapixels"
        raise _UnusableError(SkipReason.TOO_LARGE, detail)
    if min(width, height) < options.min_side_px:
        detail = f"{width} x {height} px, the shorter side must be at least {options.min_side_px} px"
        raise _UnusableError(SkipReason.TOO_SMALL, detail)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        is_preview = image.tag_v2.get(254, 0) & 1  # NewSubfileType: a reduced version of another picture in the file
        if is_preview or 50706 in image.tag_v2 or data[8:10] == b"CR":  # DNGVersion; Canon's CR2
            raise _UnusableError(SkipReason.NOT_AN_IMAGE, "camera raw is not supported; convert it to JPEG or TIFF")
    elif image.format != "PNG":
        # A preallocated file whose copy broke off ends in zeros, which decode to grey.
        content = data.rstrip(b"\0")
        if len(data) - len(content) >= 64 and not content.endswith(b"\xff\xd9"):
            raise _UnusableError(SkipReason.CORRUPT, "the end of the file is missing (zero bytes instead)")


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


def _as_rgb8(image: Image.Image) -> Image.Image:
    """Eight bits a channel, without alpha (COLMAP drops it, too)."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.clip(np.asarray(image).astype(np.int64), 0, None)
        # Many 16-bit files hold 10 or 12 bits: the top eight that are used are kept.
        shift = max(int(values.max()).bit_length() - 8, 0)
        return Image.fromarray((values >> shift).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise _UnusableError(SkipReason.NOT_AN_IMAGE, "floating-point pixels are not supported; export it with 8 bit")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _read_exif(image: Image.Image, path: Path) -> _Exif:
    """The EXIF fields; broken EXIF is no reason to leave a photo out."""
    try:
        tags: Image.Exif = image.getexif()
        details = tags.get_ifd(_EXIF_IFD)
        fields = [_number(details.get(tag)) for tag in (_FOCAL_MM, _FOCAL_35MM, _PLANE_RESOLUTION, _PLANE_UNIT)]
        orientation, unit = _number(tags.get(_ORIENTATION)), fields[3]
        return _Exif(
            orientation=int(orientation) if orientation else 1,
            make=_text(tags.get(_MAKE)),
            model=_text(tags.get(_MODEL)),
            focal_mm=fields[0],
            focal_35mm=fields[1],
            plane_resolution=fields[2],
            plane_unit=int(unit) if unit else None,
        )
    except Exception as error:  # noqa: BLE001 - Pillow raises almost anything on damaged EXIF data
        logger.warning("EXIF of %s cannot be read and is ignored: %s", path, error)
        return _Exif()


def _number(value: Any) -> float | None:
    """A positive finite number, or None for anything else (0/0 is common in EXIF)."""
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _text(value: Any) -> str:
    """Text as cameras mean it: up to the first NUL, printable, single spaces."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""
    printable = "".join(char if char.isprintable() else " " for char in text.split("\0")[0])
    return " ".join(printable.split())


def _focal_px(exif: _Exif, width_px: int, height_px: int) -> float | None:
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
        exif = _Exif(make=make, model=model, focal_mm=focal_mm)
        Image.new("L", (side_px, side_px)).save(path, exif=_exif_to_write(exif))
        camera = pycolmap.infer_camera_from_image(path)
    return focal_mm * side_px / camera.focal_length if camera.has_prior_focal_length else None


# ---------------------------------------------------------------- filling the image folder


class _Ledger:
    """What was put into the image folder, kept beside it so that COLMAP does not take it for an image.

    Attributes:
        image_dir: The folder.
        records: What is known of every photo of the last run with the same options.
    """

    def __init__(self, image_dir: Path, options: PhotoOptions) -> None:
        self.image_dir = image_dir
        self.records: dict[str, _Record] = {}
        self._path = image_dir.parent / (image_dir.name + _LEDGER_SUFFIX)
        self._key = {"version": _LEDGER_VERSION, "options": asdict(replace(options, recursive=True))}
        self._names: set[str] = set()
        self._num_unsaved = 0
        if self._path.exists():
            self._read()

    def _read(self) -> None:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            names = {str(name) for name in content["names"]}
            is_current = content["key"] == self._key
            records = {name: _Record.from_json(row) for name, row in content["records"].items() if is_current}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{self._path} is damaged ({error}); delete {self.image_dir} and it") from error
        self._names, self.records = names, records

    def claim(self, files: dict[str, Path]) -> None:
        """Announce what may be written before it is, so that a killed run leaves nothing of unknown origin."""
        self._remove(self._names - files.keys())
        for name, path in files.items():
            target = self.image_dir / name
            if name not in self._names and os.path.lexists(target) and not _is_same_file(path, target):
                raise ValueError(f"{target} is in the way and no earlier run wrote it; choose another output folder")
        self._names = set(files)
        self._write()

    def remember(self, name: str, record: _Record) -> None:
        """Note a photo that is in its place; every so often on disk, for a run that follows a killed one."""
        self.records[name] = record
        self._num_unsaved += 1
        if self._num_unsaved >= _SAVE_EVERY:
            self._write()

    def finish(self, kept: dict[str, _Record]) -> None:
        """Remove what is not used any more and remember the rest."""
        self._remove(self._names - kept.keys())
        self._names, self.records = set(kept), dict(kept)
        self._write()

    def _write(self) -> None:
        self._num_unsaved = 0
        records = {name: asdict(record) for name, record in sorted(self.records.items())}
        atomic_write_json(self._path, {"key": self._key, "names": sorted(self._names), "records": records})

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            target = self.image_dir / name
            if os.path.lexists(target):
                target.unlink()
            for folder in (self.image_dir / parent for parent in PurePosixPath(name).parents if parent.name):
                with suppress(OSError):  # not empty
                    folder.rmdir()


@contextmanager
def _scratch_folder(image_dir: Path) -> Iterator[Path]:
    """Where files are written before they are moved to their place: on the same file system, out of COLMAP's sight."""
    folder = image_dir.parent / f"{TEMP_PREFIX}{image_dir.name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place(source: Path, data: bytes, picture: _Picture, target: Path, scratch: Path) -> None:
    """Link, copy or write the photo into the image folder, as a whole or not at all."""
    temporary = scratch / uuid.uuid4().hex
    try:
        if picture.is_readable_by_colmap:
            if _is_same_file(source, target):
                return
            try:
                os.link(os.path.realpath(source), temporary)
            except OSError:  # another file system, or one without links
                temporary.write_bytes(data)
        else:
            options: dict[str, Any] = {"compress_level": 1}
            if picture.container == "JPEG":
                options = {"quality": 98, "subsampling": 0}
            picture.image.save(temporary, picture.container, exif=_exif_to_write(picture.exif), **options)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise _UnusableError(SkipReason.BAD_NAME, "the path in the output folder is too long; rename it") from error


def _exif_to_write(exif: _Exif) -> Image.Exif:
    """The EXIF of an upright picture: all that COLMAP derives a camera from, and nothing else."""
    tags = Image.Exif()
    tags.update({tag: text for tag, text in ((_MAKE, exif.make), (_MODEL, exif.model)) if text})
    numbers = {
        _FOCAL_MM: _rational(exif.focal_mm),
        _FOCAL_35MM: exif.focal_35mm and round(exif.focal_35mm),
        _PLANE_RESOLUTION: _rational(exif.plane_resolution),
        _PLANE_UNIT: exif.plane_unit,
    }
    tags.get_ifd(_EXIF_IFD).update({tag: number for tag, number in numbers.items() if number})
    return tags


def _rational(number: float | None) -> TiffImagePlugin.IFDRational | None:
    """As EXIF stores it; COLMAP does not find a floating-point number."""
    if number is None:
        return None
    fraction = Fraction(number).limit_denominator(1_000_000)
    return TiffImagePlugin.IFDRational(fraction.numerator, fraction.denominator)


def _stamp(path: Path) -> tuple[int, int]:
    """Size and modification time; (-1, -1) where there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _is_same_file(path: Path, other: Path) -> bool:
    """Whether both names are one file on disk."""
    try:
        return os.path.samestat(os.stat(path), os.lstat(other))
    except OSError:
        return False


# ---------------------------------------------------------------- cameras


def camera_groups(photos: Sequence[Photo], mode: CameraMode) -> tuple[tuple[str, ...], ...]:
    """Which photos share one camera.

    AUTO takes photos for those of one camera that agree in all that is known: make, model, size, focal length. So
    photos of equal size without EXIF data share one, unlike with COLMAP's AUTO; PER_IMAGE keeps them apart.

    Returns:
        Names of each group in name order; groups in the order of their first names.

    Raises:
        ValueError: the photos of a group (SINGLE, PER_FOLDER) differ in size.
    """

    def key(photo: Photo) -> object:
        if mode is CameraMode.SINGLE:
            return None
        if mode is CameraMode.PER_FOLDER:
            return PurePosixPath(photo.name).parent
        if mode is CameraMode.PER_IMAGE:
            return photo.name
        focal = None if photo.focal_px is None else round(photo.focal_px, 3)
        return photo.make, photo.model, photo.width_px, photo.height_px, focal

    groups: dict[object, list[Photo]] = {}
    for photo in sorted(photos, key=lambda photo: photo.name):
        group = groups.setdefault(key(photo), [])
        group.append(photo)
        first = group[0]
        if (first.width_px, first.height_px) != (photo.width_px, photo.height_px):
            raise ValueError(
                f"camera mode {mode} needs photos of equal size, got {first.name} with {first.width_px} x "
                f"{first.height_px} px and {photo.name} with {photo.width_px} x {photo.height_px} px; "
                f"use camera mode {CameraMode.AUTO}"
            )
    return tuple(tuple(photo.name for photo in group) for group in groups.values())


def import_cameras(database_path: Path, photo_set: PhotoSet, mode: CameraMode) -> None:
    """Make a COLMAP database with all photos and their cameras, ready for ``pycolmap.extract_features``.

    Cameras are SIMPLE_RADIAL, one for each of `camera_groups`, each in a rig of its own as COLMAP wants it. The focal
    length is the first one that EXIF gives in the group, marked as a prior, else COLMAP's guess of 1.2 times the longer
    side. Image ids count from 1 in name order; those of ``pycolmap.extract_features`` alone depend on its threads.

    Raises:
        ValueError: the database has images already, or the mode does not suit the photos.
    """
    import pycolmap

    photos = {photo.name: photo for photo in photo_set.photos}
    groups = camera_groups(photo_set.photos, mode)
    with pycolmap.Database.open(database_path) as database:
        if database.num_images() or database.num_cameras():
            raise ValueError(f"expected a new database, got {database_path} with {database.num_images()} images")
        with pycolmap.DatabaseTransaction(database):
            camera_ids, rig_ids = {}, {}
            for names in groups:
                camera = _initial_camera([photos[name] for name in names])
                camera.camera_id = database.write_camera(camera)
                rig = pycolmap.Rig()
                rig.add_ref_sensor(camera.sensor_id)
                rig_ids[camera.camera_id] = database.write_rig(rig)
                camera_ids.update(dict.fromkeys(names, camera.camera_id))
            for name in sorted(photos):
                image = pycolmap.Image(name=name, camera_id=camera_ids[name])
                image.image_id = database.write_image(image)
                frame = pycolmap.Frame()
                frame.rig_id = rig_ids[camera_ids[name]]
                frame.add_data_id(image.data_id)
                database.write_frame(frame)


def _initial_camera(photos: Sequence[Photo]) -> pycolmap.Camera:
    import pycolmap

    width, height = photos[0].width_px, photos[0].height_px
    focal = next((photo.focal_px for photo in photos if photo.focal_px is not None), None)
    guess = _GUESSED_FOCAL_FACTOR * max(width, height)
    camera = pycolmap.Camera.create_from_model_name(0, "SIMPLE_RADIAL", focal or guess, width, height)
    camera.has_prior_focal_length = focal is not None
    return camera
