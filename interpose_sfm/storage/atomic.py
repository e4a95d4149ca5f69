"""Files and folders that are whole or not there.

Whatever is written here survives a kill at any moment: it is replaced as a whole or not at all.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interpose_sfm.storage.json_values import to_jsonable

logger = logging.getLogger(__name__)


TEMP_PREFIX = ".interpose_sfm-tmp-"
"""Names that begin like this are of files and folders that are being written."""


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all; its folder must exist.

    Raises:
        OSError: if it cannot be written; the file is as before then.
    """
    temp = path.with_name(f"{TEMP_PREFIX}{os.getpid()}-{secrets.token_hex(8)}")  # short: long names stay possible
    try:
        with temp.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temp, path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def atomic_write_text(path: Path, text: str) -> None:
    """Write text as UTF-8 with the line ends it has, as a whole or not at all."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: Path, value: object, *, sort_keys: bool = False) -> None:
    """Write a value as JSON (see `to_jsonable` for what it may hold), as a whole or not at all.

    Each key and item has a line of its own, and a list of numbers one line for all.
    """
    document = to_jsonable(value)
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2, sort_keys=sort_keys)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # a file name that is not valid Unicode: UTF-8 cannot hold it, an escape can
        text = json.dumps(document, ensure_ascii=True, allow_nan=False, indent=2, sort_keys=sort_keys)
    text = _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    atomic_write_bytes(path, text.encode("utf-8") + b"\n")


_NUMBERS = re.compile(r"\[\n\s*((?:(?:-?[0-9][0-9.eE+-]*|null),?\s+)+)\]")  # no text of JSON holds a line break


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Fill a new folder that replaces ``path`` as a whole when the block ends well; otherwise ``path`` stays as it was.

    One writer at a time. What a killed run left beside ``path`` is put right first (see `recover_directory`).

    Yields:
        An empty folder beside ``path``, on the same file system.

    Raises:
        ValueError: if ``path`` exists and is not a folder.
    """
    path = path.absolute()
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ValueError(f"{path} is not a folder and cannot be replaced by one; move it away")
    recover_directory(path)
    new, old = _beside(path)
    new.mkdir()
    try:
        yield new
        _fsync_tree(new)
        _swap(new, path, old)
    except BaseException:
        remove_path(new)
        raise
    fsync_path(path.parent)
    try:
        remove_path(old)
    except OSError as error:
        logger.warning("could not remove the replaced folder %s: %s", old, error)


def recover_directory(path: Path) -> None:
    """Put right what a kill within `atomic_directory` left: the folder is the old or the new one, nothing beside it."""
    new, old = _beside(path)
    if old.exists() and not path.exists():  # killed between the two renames
        os.replace(old, path)
    remove_path(old)
    remove_path(new)


def _beside(path: Path) -> tuple[Path, Path]:
    """Where the new folder is filled, and where the old one waits until the new one is in its place."""
    return path.with_name(f"{TEMP_PREFIX}{path.name}.new"), path.with_name(f"{TEMP_PREFIX}{path.name}.old")


def _swap(new: Path, path: Path, old: Path) -> None:
    """Put ``new`` in the place of ``path``; an interrupt leaves one of the two there."""
    try:
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
    except BaseException:
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise


def remove_path(path: Path) -> None:
    """Remove a file, a link or a folder with all that it holds; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def fsync_path(path: Path) -> None:
    """Flush a file or the entries of a folder to the disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no fsync for folders
            raise
    finally:
        os.close(descriptor)


def _fsync_tree(root: Path) -> None:
    for folder, _, names in os.walk(root):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            if not path.is_symlink():
                fsync_path(path)
