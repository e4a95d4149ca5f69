"""Photos of a collection, and files that are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from interpose_sfm._compat import StrEnum
from interpose_sfm.products.cameras import KnownView


class SkipReason(StrEnum):
    """Why a file in the photo folder is not used."""

    NOT_AN_IMAGE = "not an image"
    EMPTY = "empty file"
    CORRUPT = "corrupt or truncated"
    TOO_SMALL = "too small"
    TOO_LARGE = "too large"
    DUPLICATE = "duplicate"
    PANORAMA = "360-degree photo"
    DATASET_FOLDER = "part of a dataset"
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
        name: Name of its image, as COLMAP knows it: a POSIX path below the image folder.
        path: The image file that the stages read; upright (EXIF orientation already applied) unless photos were asked
            for as their files store them.
        width_px, height_px: Size of that image.
        focal_px: Focal length from EXIF in pixels of that image, None where EXIF does not tell.
        make, model: Camera from EXIF, empty where EXIF does not tell.
        sha256: Hex digest of the original file.
        gps: Where it was taken, None where EXIF does not tell.
        source: POSIX path of the original file below the photo folder, which has the name of the image unless COLMAP
            writes no format of such a name; empty where it is the name.
        orientation: EXIF orientation by which the pixels of the original were turned, 1 where they were not.
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
    source: str = ""
    orientation: int = 1


_MAX_TOLD_REASONS = 3  # in a message


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
        notes: What was done to photos or with folders that a user should know, a sentence each.
        known: Cameras and poses that were handed in, by photo.
    """

    image_dir: Path
    photos: tuple[Photo, ...]
    skipped: tuple[SkippedFile, ...]
    notes: tuple[str, ...] = ()
    known: Mapping[str, KnownView] = field(default_factory=dict)

    def image_name(self, name: str) -> str:
        """The name of the image of a photo that is called by either; what names no photo stays as it is."""
        return {photo.source: photo.name for photo in self.photos if photo.source}.get(name, name)

    @property
    def lack(self) -> str:
        """What is wrong with fewer than two photos, for messages; empty if there are enough."""
        if len(self.photos) >= 2:
            return ""
        return (
            f"{len(self.photos)} usable photo{'' if len(self.photos) == 1 else 's'}, expected at least two; "
            f"{_why_left_out(self.skipped) or 'there are no other files in the folder'}"
        )


def _why_left_out(skipped: Sequence[SkippedFile]) -> str:
    """Why files were left out, the most frequent reason first; empty if none was."""
    groups: dict[tuple[SkipReason, str], list[SkippedFile]] = {}
    for file in skipped:
        kind = file.detail if file.reason is SkipReason.NOT_AN_IMAGE else ""  # sizes and the like differ
        groups.setdefault((file.reason, kind), []).append(file)
    largest = sorted(groups.values(), key=len, reverse=True)
    texts = [f"{_files(group)}: {group[0].why}" for group in largest[:_MAX_TOLD_REASONS]]
    more = sum(map(len, largest[_MAX_TOLD_REASONS:]))
    return f"left out: {'; '.join(texts)}{f' and {more} more' if more else ''}" if texts else ""


def _files(group: Sequence[SkippedFile]) -> str:
    return group[0].name if len(group) == 1 else f"{len(group)} files such as {group[0].name}"
