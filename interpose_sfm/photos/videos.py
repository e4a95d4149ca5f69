"""Videos among photos: which files are, which only move a photo, and the names of the frames that stand for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath

from interpose_sfm.photos.formats import UnusableError
from interpose_sfm.photos.walk import printable
from interpose_sfm.products import SkippedFile, SkipReason

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi"})

_PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".heic", ".heif", ".hif", ".avif", ".png", ".dng"})  # of phones

FramesOf = Callable[[Path], Mapping[str, Path]]
"""Takes frames from a video: the file -> name of each, in the order in which they show -> its picture.

Raises an `UnusableError` where there are none.
"""


def is_video(path: Path | PurePosixPath) -> bool:
    """Whether the name of a file is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def put_frames_in_place(
    files: dict[str, Path], frames_of: FramesOf, names_to_keep: Collection[str] | None = None
) -> list[SkippedFile]:
    """Put the frames of every video in the place of the video itself.

    The frames of ``film.mp4`` are called ``film/...``, or ``film.mp4/...`` where there is another ``film``. A video of
    the same name as a photo beside it is what phones record around a photo, and no film of its own.

    Args:
        files: Name -> path of every file; videos give way to their frames.
        frames_of: Takes them.
        names_to_keep: Names that a database has; videos with no frame among them are left out undecoded.

    Returns:
        The videos that give none.
    """
    skipped = []
    others = {name for name in files if not is_video(PurePosixPath(name))}
    photos = {name.rpartition(".")[0]: name for name in others if PurePosixPath(name).suffix.lower() in _PHOTO_SUFFIXES}
    taken = {str(folder) for name in others for folder in PurePosixPath(name).parents} | others
    for name in [name for name in files if is_video(PurePosixPath(name))]:
        path = files.pop(name)
        stem = name.rpartition(".")[0]
        if stem in photos:
            detail = f"the moving part of the photo {printable(photos[stem])}"
            skipped.append(SkippedFile(printable(name), SkipReason.NOT_AN_IMAGE, detail))
            continue
        folder = name if stem in taken else stem
        taken.add(folder)
        if names_to_keep is not None and not any(known.startswith(f"{folder}/") for known in names_to_keep):
            detail = "a video, and the database has no frames of it"
            skipped.append(SkippedFile(printable(name), SkipReason.NOT_AN_IMAGE, detail))
            continue
        try:
            files.update({f"{folder}/{frame}": picture for frame, picture in frames_of(path).items()})
        except UnusableError as error:
            skipped.append(SkippedFile(printable(name), error.reason, str(error)))
    return skipped
