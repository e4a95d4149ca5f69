"""The folder of images that COLMAP reads: how photos are put there, and the ledger of what was."""

from __future__ import annotations

import errno
import fcntl
import filecmp
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
from interpose_sfm.photos.formats import UnusableError, format_of_changed_name
from interpose_sfm.photos.pictures import Picture, exif_to_write
from interpose_sfm.products import GpsPosition, Photo, SkipReason
from interpose_sfm.storage.atomic import TEMP_PREFIX, atomic_write_json
from interpose_sfm.storage.content_keys import content_key, file_sha256
from interpose_sfm.storage.json_values import to_jsonable
from interpose_sfm.storage.names import inside

LEDGER_SUFFIX = ".interpose-photos.json"
"""What the name of a ledger has after the name of its image folder."""

Stamp = tuple[int, ...]
"""Size in bytes, times of the last change to the content and to anything (ns), and number of a file on its disk.

`cp -p` and `mv` keep the first two of another file, but not the others.
"""

_LEDGER_VERSION = 6  # raised with what images or records hold: images of another version are laid out anew
_SAME_RECORDS = (5, 6)  # versions; of 5 the images that were written anew lack the GPS position
_SAVE_EVERY = 50  # photos
_WHICH_FILES: dict[str, Any] = {"recursive": True, "image_list": None, "num_frames_target": 0}  # not how they are read
_CLONE = 0x40049409  # FICLONE of Linux: a copy that shares its blocks until one of both is written to


@dataclass(frozen=True)
class PhotoRecord:
    """What one file holds and where it was put."""

    source_stamp: Stamp
    target_stamp: Stamp
    width_px: int
    height_px: int
    focal_px: float | None
    make: str
    model: str
    sha256: str
    pixels_sha256: str
    gps: GpsPosition | None
    orientation: int
    num_bits: int | None

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> PhotoRecord:
        """The record that ``dataclasses.asdict`` and JSON made this of."""
        stamps = {key: tuple(map(int, row[key])) for key in ("source_stamp", "target_stamp")}
        gps = None if row["gps"] is None else GpsPosition(**row["gps"])
        return cls(**{**row, **stamps, "gps": gps})

    def is_of(self, path: Path) -> bool:
        """Whether a file has the content that was read."""
        try:
            return path.stat().st_size == self.source_stamp[0] and file_sha256(path) == self.sha256
        except OSError:
            return False

    def photo(self, name: str, path: Path, source: str) -> Photo:
        """The photo whose image has the name and the place that are given, and whose file had the name ``source``."""
        return Photo(
            name,
            path,
            self.width_px,
            self.height_px,
            self.focal_px,
            self.make,
            self.model,
            self.sha256,
            self.gps,
            source="" if source == name else source,
            orientation=self.orientation,
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
        self._key = {"version": _LEDGER_VERSION, "options": asdict(replace(options, **_WHICH_FILES))}
        self._options: dict[str, Any] = to_jsonable(options)
        self._options_before: dict[str, Any] = {}  # of the last run; empty where they are not known
        self._names: set[str] = set()
        self._photo_dir = ""
        self._earlier: dict[str, PhotoRecord] = {}  # of the last run, whatever its options
        self._num_unsaved = 0
        if self._path.exists():
            self._read()

    def _read(self) -> None:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            names, key, photo_dir, earlier = content["names"], content["key"], "", {}
            for name in names:
                inside(self.image_dir, name)
            if key["version"] in _SAME_RECORDS:
                if content.pop("check") != content_key(content):
                    raise ValueError("it was altered since it was written")
                photo_dir = content["photo_dir"]
                earlier = {name: PhotoRecord.from_json(row) for name, row in content["records"].items()}
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{self._path} is damaged ({error}); delete {self.image_dir} and it") from error
        self._names, self._photo_dir, self._earlier = set(names), photo_dir, earlier
        self._options_before = content.get("all_options") or {}
        self.records = dict(earlier) if key == self._key else {}

    def check_options(self) -> None:
        """Refuse options by which the images of the last run would be others.

        Raises:
            ValueError: The options differ.
        """
        before = self._options_before
        changed = [name for name, value in self._options.items() if name in before and before[name] != value]
        if changed:
            told = "; ".join(f"{_flag(name)} was {before[name]}, and is {self._options[name]} now" for name in changed)
            raise ValueError(
                f"{self.image_dir.parent} holds photos by other options: {told}; give those of the earlier run, or "
                "choose another output folder"
            )

    def claim(self, files: dict[str, Path], photo_dir: Path, *, overwrite: bool = False) -> None:
        """Announce what may be written before it is, so that a killed run leaves nothing of unknown origin.

        Args:
            files: The photos by name.
            photo_dir: Where they lie.
            overwrite: Whether images of other photos may give way.

        Raises:
            ValueError: The folder holds images of photos that this one lacks, or files of something else under the
                names of these.
        """
        lacking = () if overwrite else self._lacking(files, photo_dir)
        if lacking:
            which = (
                f"{len(lacking)} of them, such as {lacking[0]}" if len(lacking) < len(self._earlier) else "all of them"
            )
            raise ValueError(
                f"{self.image_dir.parent} is the output of the photos in {self._photo_dir}, and {photo_dir} lacks "
                f"{which}; choose another output folder, or replace what is there with --overwrite"
            )
        self._remove(self._names - files.keys())
        for name, path in files.items():
            target = inside(self.image_dir, name)
            if name not in self._names and os.path.lexists(target) and not _is_equal(path, target):
                raise ValueError(f"{target} is in the way and no earlier run wrote it; choose another output folder")
        self._names, self._photo_dir = set(files), str(photo_dir.resolve())
        self._write()

    def _lacking(self, files: dict[str, Path], photo_dir: Path) -> tuple[str, ...]:
        """Photos of the last run that another folder has not; none where the folder is the same: there they may go."""
        if self._photo_dir == str(photo_dir.resolve()):
            return ()
        return tuple(
            name for name, record in self._earlier.items() if name not in files or not record.is_of(files[name])
        )

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
        names = sorted(self._names)
        content = to_jsonable(
            {
                "key": self._key,
                "all_options": self._options,
                "photo_dir": self._photo_dir,
                "names": names,
                "records": records,
            }
        )
        atomic_write_json(self._path, {**content, "check": content_key(content)})

    def _remove(self, names: Iterable[str]) -> None:
        """Remove images, and folders that are empty then."""
        for name in names:
            target = inside(self.image_dir, name)
            if os.path.lexists(target):
                target.unlink()
            for folder in (self.image_dir / parent for parent in PurePosixPath(name).parents if parent.name):
                with suppress(OSError):  # not empty
                    folder.rmdir()


def _flag(name: str) -> str:
    return name.replace("_", "-")


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
    """Copy or write the photo into the image folder, as a whole or not at all.

    A hard link would need no room, but who changed the image, its permissions or times would change the user's photo.

    Raises:
        UnusableError: its path is too long for the file system.
        OSError: the folder cannot be written.
    """
    temporary = scratch / uuid.uuid4().hex
    try:
        named = format_of_changed_name(source.name, target.name)
        if picture.is_readable_by_colmap and named in ("", picture.file_format):
            _copy(source, data, temporary)
        else:
            container = named or picture.container
            options: dict[str, Any] = {"compress_level": 1}
            if container == "JPEG":
                options = {"quality": 98, "subsampling": 0}
            picture.image.save(temporary, container, exif=exif_to_write(picture.exif), **options)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise UnusableError(SkipReason.BAD_NAME, "the path in the output folder is too long; rename it") from error


def _copy(source: Path, data: bytes, target: Path) -> None:
    """Write a new file with what was read of another, if the file system can, without taking up room."""
    with target.open("xb") as copy:
        try:
            with source.open("rb") as original:
                fcntl.ioctl(copy, _CLONE, original.fileno())
        except OSError:
            copy.write(data)


def stamp(path: Path) -> Stamp:
    """Of a file; empty where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _is_equal(path: Path, other: Path) -> bool:
    """Whether two files have one content."""
    try:
        return filecmp.cmp(path, other, shallow=False)
    except OSError:
        return False
