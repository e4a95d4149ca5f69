"""Which files are pictures, by how they begin, and the names under which COLMAP can read and write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from PIL import Image, ImageFile, features

from interpose_sfm.products import SkipReason

RAW_HINT = "camera raw is not supported; convert it to JPEG or TIFF"

_PILLOW_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF")  # JPEG includes MPO, a JPEG followed by further ones
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")

_HEAD_BYTES = 64

_PROJECTION = re.compile(rb"GPano:ProjectionType(?:\s*=\s*[\"']|\s*>)\s*(equirectangular|cylindrical)")

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RAW_SUFFIXES = (".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw", ".x3f")
_OTHER_FORMATS = (  # offset, bytes, name
    (0, b"GIF8", "GIF"), (0, b"8BPS", "Photoshop"), (4, b"jP  ", "JPEG 2000"), (4, b"JXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"), (4, b"ftypcrx", "camera raw"),
)  # fmt: skip

# Names of formats that COLMAP cannot write, so that whatever it makes of a photo of such a name is lost, and the ending
# of what is written in their place: of a lossless format where the photo may be lossless, else of JPEG.
_WRITTEN_AS: Mapping[str, str] = {".webp": ".png", **dict.fromkeys((".heic", ".heif", ".hif", ".avif"), ".jpg")}
_FORMATS: Mapping[str, str] = {".jpg": "JPEG", ".png": "PNG"}

COLMAP_WRITES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".tif", ".tiff", ".bmp"})
"""Endings of names that COLMAP writes pictures under, measured with pycolmap 4.2.1: of other names it logs an error."""


class UnusableError(Exception):
    """A file cannot be used; ends as a SkippedFile."""

    def __init__(self, reason: SkipReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def os_reason(error: OSError) -> str:
    """What the system says of an error, for the detail of a skipped file."""
    return (error.strerror or str(error)).lower()


def check_signature(head: bytes, path: Path) -> None:
    """Refuse a file that does not begin as one of the formats that are read, and say what it is.

    Args:
        head: The first bytes of the file, 64 where it has as many.
        path: Its place, for its ending.

    Raises:
        UnusableError: It is something else.
    """
    if path.name.lower().endswith(_RAW_SUFFIXES):
        raise UnusableError(SkipReason.NOT_AN_IMAGE, RAW_HINT)
    if head.startswith(_SIGNATURES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        return
    if _is_heif(head) or _is_avif(head):
        return
    for offset, magic, name in _OTHER_FORMATS:
        if head.startswith(magic, offset):
            raise UnusableError(SkipReason.NOT_AN_IMAGE, f"{name} is not supported; convert it to JPEG or PNG")
    if head.startswith(b"ftyp", 4) or head.startswith(b"\x1aE\xdf\xa3") or head[:4] + head[8:12] == b"RIFFAVI ":
        raise UnusableError(SkipReason.NOT_AN_IMAGE, "a video, not a photo")
    if not head.strip(b"\0"):
        raise UnusableError(SkipReason.CORRUPT, "only zero bytes, as a failed copy leaves them")
    raise UnusableError(
        SkipReason.NOT_AN_IMAGE, "no JPEG, PNG, TIFF, WebP, HEIC or AVIF data; convert it if it is a photo"
    )


def check_projection(data: bytes) -> None:
    """Refuse a photo whose XMP says, by Google's GPano, that it shows all directions or was stitched of several photos.

    Raises:
        UnusableError: It is one.
    """
    match = _PROJECTION.search(data)
    if match is not None:
        raise UnusableError(
            SkipReason.PANORAMA,
            f"its projection is {match[1].decode()}, which is no camera's; cut it into perspective views first, by "
            "ffmpeg -i PHOTO -vf v360=equirect:flat:yaw=0:h_fov=90:v_fov=90 VIEW.jpg for yaw 0, 45, 90, ...",
        )


def open_picture(data: BinaryIO) -> ImageFile.ImageFile:
    """A picture whose header is read, of any of the formats; with damaged files anything may be raised.

    HEIC goes by pillow-heif and not by a plugin of Pillow's, which would be one of the whole process.

    Raises:
        UnusableError: Its decoder is not here.
    """
    head = data.read(_HEAD_BYTES)
    data.seek(0)
    if _is_avif(head) and not features.check("avif"):
        raise UnusableError(SkipReason.NOT_AN_IMAGE, "this Pillow has no decoder for AVIF: pip install 'pillow>=11.3'")
    if not _is_heif(head):
        return Image.open(data, formats=_PILLOW_FORMATS)
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        detail = f"no decoder for HEIC ({error}): pip install pillow-heif"
        raise UnusableError(SkipReason.NOT_AN_IMAGE, detail) from error
    return HeifImageFile(data)  # type: ignore[no-untyped-call]


def _is_heif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and not _is_avif(head)


def _is_avif(head: bytes) -> bool:
    """Also where the first brand is one that both have, and a later one tells."""
    return head[4:8] == b"ftyp" and (
        head[8:12] in _AVIF_BRANDS or (head[8:12] in (b"mif1", b"msf1") and any(b in head[16:] for b in _AVIF_BRANDS))
    )


def format_of_changed_name(name: str, image_name: str) -> str:
    """Pillow's name of the format that the image of a photo must have to be what its name says.

    Empty where the image has the photo's own name: COLMAP reads what is in it, whatever the name says.
    """
    return "" if name == image_name else _FORMATS[PurePosixPath(image_name).suffix]


def names_to_write(files: Mapping[str, Path]) -> dict[str, str]:
    """The names of the images of photos: their own, but for formats that COLMAP does not write.

    ``a.webp`` is written as ``a.png``, or as ``a.webp.png`` where there is another ``a.png``. A photo whose name tells
    no format, ``a.txt``, becomes ``a.txt.jpg`` or ``a.txt.png``.

    Args:
        files: POSIX path below the photo folder -> file.

    Returns:
        Name of every photo -> name of its image; no two alike.
    """
    taken = {*files, *(str(folder) for name in files for folder in PurePosixPath(name).parents)}
    written = {}
    for name, file in files.items():
        path = PurePosixPath(name)
        ending = path.suffix.lower()
        suffix = _WRITTEN_AS.get(ending)
        image_name = name if suffix is None else str(path.with_suffix(suffix))
        if suffix is None and ending not in COLMAP_WRITES:
            suffix = _ending_of(file)
        if suffix is not None and image_name in taken:
            image_name = name
            while image_name in taken:
                image_name += suffix
        taken.add(image_name)
        written[name] = image_name
    return written


def _ending_of(file: Path) -> str | None:
    """The ending for the image of a file whose name tells no format; None where it is no picture."""
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD_BYTES)
        check_signature(head, file)
    except (OSError, UnusableError):
        return None
    return ".jpg" if head.startswith(b"\xff\xd8\xff") or _is_heif(head) or _is_avif(head) else ".png"
