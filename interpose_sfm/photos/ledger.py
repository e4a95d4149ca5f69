"""The folder of images that COLMAP reads: how photos are put there, and the ledger of what was."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from interpose_sfm.options import PhotoOptions
from interpose_sfm.photos.pictures import Picture, UnusableError, exif_to_write
from interpose_sfm.products import GpsPosition, Photo, SkipReason
from interpose_sfm.storage.atomic import TEMP_PREFIX, atomic_write_json

LEDGER_SUFFIX = ".interpose-photos.json"
"""What the name of a ledger has after the name of its image folder."""

_LEDGER_VERSION = 2
_SAVE_EVERY = 50  # photos


@dataclass(frozen=True)
class PhotoRecord:
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
    gps: GpsPosition | None

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> PhotoRecord:
        """The record that ``dataclasses.asdict`` and JSON made this of."""
        stamps = {key: (int(row[key][0]), int(row[key][1])) for key in ("source_stamp", "target_stamp")}
        gps = None if row["gps"] is None else GpsPosition(**row["gps"])
        return cls(**{**row, **stamps, "gps": gps})

    def photo(self, name: str, path: Path) -> Photo:
        """The photo under the name and at the place that are given."""
        return Photo(
            name, path, self.width_px, self.height_px, self.focal_px, self.make, self.model, self.sha256, self.gps
        )


class PhotoLedger:
    """What was put into the image folder, kept beside it so that COLMAP does not take it for an image.

    Attributes:
        image_dir: The folder.
        records: What is known of every photo of the last run with the same options.
    """

    def __init__(self, image_dir: Path, options: PhotoOptions) -> None:
        self.image_dir = image_dir
        self.records: dict[str, PhotoRecord] = {}
        self._path = image_dir.parent / (image_dir.name + LEDGER_SUFFIX)
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
            records = {name: PhotoRecord.from_json(row) for name, row in content["records"].items() if is_current}
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

    def remember(self, name: str, record: PhotoRecord) -> None:
        """Note a photo that is in its place; every so often on disk, for a run that follows a killed one."""
        self.records[name] = record
        self._num_unsaved += 1
        if self._num_unsaved >= _SAVE_EVERY:
            self._write()

    def finish(self, kept: dict[str, PhotoRecord]) -> None:
        """Remove what is not used any more and remember the rest."""
        self._remove(self._names - kept.keys())
        self._names, self.records = set(kept), dict(kept)
        self._write()

    def _write(self) -> None:
        self._num_unsaved = 0
        records = {name: asdict(record) for name, record in sorted(self.records.items())}
        atomic_write_json(self._path, {"key": self._key, "names": sorted(self._names), "records": records})

    def _remove(self, names: Iterable[str]) -> None:
        """Remove images, and folders that are empty then."""
        for name in names:
            target = self.image_dir / name
            if os.path.lexists(target):
                target.unlink()
            for folder in (self.image_dir / parent for parent in PurePosixPath(name).parents if parent.name):
                with suppress(OSError):  # not empty
                    folder.rmdir()


@contextmanager
def scratch_folder(image_dir: Path) -> Iterator[Path]:
    """Where files are written before they are moved to their place: on the same file system, out of COLMAP's sight."""
    folder = image_dir.parent / f"{TEMP_PREFIX}{image_dir.name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place(source: Path, data: bytes, picture: Picture, target: Path, scratch: Path) -> None:
    """Link, copy or write the photo into the image folder, as a whole or not at all.

    Raises:
        UnusableError: its path is too long for the file system.
        OSError: the folder cannot be written.
    """
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
            picture.image.save(temporary, picture.container, exif=exif_to_write(picture.exif), **options)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise UnusableError(SkipReason.BAD_NAME, "the path in the output folder is too long; rename it") from error


def stamp(path: Path) -> tuple[int, int]:
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
