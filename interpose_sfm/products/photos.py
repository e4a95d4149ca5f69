"""Photos of a collection, and files that are none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from interpose_sfm._compat import StrEnum


class SkipReason(StrEnum):
    """Why a file in the photo folder is not used."""

    NOT_AN_IMAGE = "not an image"
    EMPTY = "empty file"
    CORRUPT = "corrupt or truncated"
    TOO_SMALL = "too small"
    TOO_LARGE = "too large"
    DUPLICATE = "duplicate"
    UNREADABLE = "unreadable"
    BAD_NAME = "name cannot be used"


@dataclass(frozen=True)
class GpsPosition:
    """Where a photo was taken, in WGS84; the altitude in metres, None where it is not known."""

    latitude_deg: float
    longitude_deg: float
    altitude_m: float | None


@dataclass(frozen=True)
class Photo:
    """One usable photo.

    Attributes:
        name: POSIX path below the photo folder.
        path: The image file that the stages read; upright (EXIF orientation already applied).
        width_px, height_px: Size of the upright image.
        focal_px: Focal length from EXIF in pixels of the upright image, None where EXIF does not tell.
        make, model: Camera from EXIF, empty where EXIF does not tell.
        sha256: Hex digest of the original file.
        gps: Where it was taken, None where EXIF does not tell.
    """

    name: str
    path: Path
    width_px: int
    height_px: int
    focal_px: float | None
    make: str
    model: str
    sha256: str
    gps: GpsPosition | None = None


_MAX_NAMED_FILES = 3  # in a message


@dataclass(frozen=True)
class SkippedFile:
    """A file that was left out, and why."""

    name: str
    reason: SkipReason
    detail: str

    @property
    def why(self) -> str:
        """The reason with its detail, for messages."""
        return f"{self.reason} ({self.detail})"


@dataclass(frozen=True)
class PhotoSet:
    """The photos of one collection, sorted by name, and what was left out.

    Attributes:
        image_dir: Folder that holds every photo under its name; handed to COLMAP as the image path.
    """

    image_dir: Path
    photos: tuple[Photo, ...]
    skipped: tuple[SkippedFile, ...]

    @property
    def lack(self) -> str:
        """What is wrong with fewer than two photos, for messages; empty if there are enough."""
        if len(self.photos) >= 2:
            return ""
        left_out = "; ".join(f"{file.name}: {file.why}" for file in self.skipped[:_MAX_NAMED_FILES])
        more = len(self.skipped) - _MAX_NAMED_FILES
        return (
            f"{len(self.photos)} usable photo{'' if len(self.photos) == 1 else 's'}, expected at least two"
            f"{f'; left out: {left_out}' if left_out else ''}{f' and {more} more' if more > 0 else ''}"
        )
