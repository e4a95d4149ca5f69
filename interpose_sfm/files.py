"""Content keys, JSON, and files that are whole or not there: what everything that the package keeps on disk rests on.

Whatever is written here survives a kill at any moment: files and folders are replaced as a whole or not at all, and a
lock belongs to its process, so a crash leaves no stale lock behind.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import logging
import math
import os
import secrets
import shutil
import socket
import struct
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, ClassVar, TextIO

import numpy as np

logger = logging.getLogger(__name__)

TEMP_PREFIX = ".interpose_sfm-tmp-"
"""Names that begin like this are of files and folders that are being written."""


# ---------------------------------------------------------------- content keys


def content_key(*parts: object) -> str:
    """Hash values into a key that is equal only for equal values of equal types.

    Types are part of the hash and items are hashed one by one, so different structures never meet by concatenation. 1,
    True, 1.0 and "1" differ, and so do 0.0 and -0.0, a list and a tuple; all NaNs are alike; the order of mappings and
    sets does not matter. A path counts by its name only: where the content of the file matters hand in its digest too.

    Args:
        parts: None, numbers, strings, bytes, enums, paths, arrays, dataclasses, and lists, tuples, sets or mappings of
            these.

    Returns:
        64 hexadecimal digits (SHA-256).

    Raises:
        TypeError: if a value is of another type, whose content could not be told reliably.
    """
    return _digest(parts).hex()


def _digest(value: object) -> bytes:
    return hashlib.sha256(_encode(value)).digest()


def _encode(value: object) -> bytes:
    """Injective byte code of a value; containers hold the digests of their items."""
    if value is None:
        return b"none:"
    if isinstance(value, Enum):
        return b"enum:" + _items([_type_name(value), value.name, value.value])
    if isinstance(value, bool):
        return b"bool:1" if value else b"bool:0"
    if isinstance(value, int):
        return b"int:%d" % int(value)
    if isinstance(value, float):  # numpy.float64 is one
        return b"float:" + struct.pack(">d", math.nan if math.isnan(value) else value)
    if isinstance(value, str):
        return b"str:" + value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return b"bytes:" + value
    if isinstance(value, PurePath):
        return b"path:" + value.as_posix().encode("utf-8", "surrogatepass")
    if isinstance(value, (np.ndarray, np.generic)):
        return _encode_array(value)
    return _encode_container(value)


def _encode_array(value: np.ndarray[Any, Any] | np.generic) -> bytes:
    array = np.asarray(value)
    # The padding of long doubles is arbitrary, objects are addresses, and a mask would be ignored.
    if array.dtype.char not in "?bBhHiIlLqQefdSU" or isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"cannot make a content key of a {type(value).__name__} of dtype {array.dtype}")
    array = np.array(array, dtype=array.dtype.newbyteorder("<"), order="C")
    if array.dtype.kind == "f":
        array[np.isnan(array)] = np.nan
    tag = b"array:" if isinstance(value, np.ndarray) else b"scalar:"
    return tag + _items([array.dtype.str, array.shape, array.tobytes()])


def _encode_container(value: object) -> bytes:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
        return b"dataclass:" + _items([_type_name(value), *pairs])
    if isinstance(value, tuple):
        return b"tuple:" + _items(value) if type(value) is tuple else b"named:" + _items([_type_name(value), *value])
    if isinstance(value, list):
        return b"list:" + _items(value)
    if isinstance(value, (set, frozenset)):
        return b"set:" + b"".join(sorted(map(_digest, value)))
    if isinstance(value, Mapping):
        return b"mapping:" + b"".join(sorted(_digest(key) + _digest(item) for key, item in value.items()))
    raise TypeError(f"cannot make a content key of a {type(value).__name__}; hand in its content instead")


def _items(values: Sequence[object]) -> bytes:
    return b"".join(map(_digest, values))


def _type_name(value: object) -> str:
    """Without the module, so that what is stored stays known when a class moves within its package."""
    return f"{type(value).__module__.partition('.')[0]}.{type(value).__qualname__}"


# ---------------------------------------------------------------- JSON


def to_jsonable(value: object, where: str = "$") -> Any:
    """Turn a product into what JSON can hold: null, booleans, numbers, strings, lists, objects.

    NaN and infinities become null, enums their value, dataclasses objects, paths their POSIX form, sets sorted lists.

    Args:
        value: What `content_key` takes except bytes; the keys of mappings are strings, enums, paths or integers.
        where: The place of the value in the document, for messages.

    Raises:
        TypeError: if a value or a key has no JSON form.
        ValueError: if two keys of a mapping have the same JSON form.
    """
    if isinstance(value, Enum):
        return to_jsonable(value.value, where)
    if value is None or isinstance(value, (bool, np.bool_)):
        return None if value is None else bool(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, np.ndarray):
        return to_jsonable(value.tolist(), where)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_jsonable(getattr(value, f.name), f"{where}.{f.name}") for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [to_jsonable(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return sorted((to_jsonable(item, f"{where}{{}}") for item in value), key=lambda item: json.dumps(item))
    if isinstance(value, Mapping):
        return _json_object(value, where)
    raise TypeError(f"{where}: a {type(value).__name__} has no JSON form")


def _json_object(mapping: Mapping[Any, object], where: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in mapping.items():
        name = to_jsonable(key, where) if isinstance(key, (str, int, np.integer, Enum, PurePath)) else None
        if name is None or isinstance(name, (bool, float, list, dict)):
            raise TypeError(f"{where}: {key!r} cannot be the key of a JSON object, expected a string or an integer")
        if str(name) in result:
            raise ValueError(f"{where}: two keys have the JSON form {str(name)!r}")
        result[str(name)] = to_jsonable(item, f"{where}.{name}")
    return result


# ---------------------------------------------------------------- atomic writes


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
    """Write a value as JSON (see `to_jsonable` for what it may hold), as a whole or not at all."""
    document = to_jsonable(value)
    try:
        data = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2, sort_keys=sort_keys).encode("utf-8")
    except UnicodeEncodeError:  # a file name that is not valid Unicode: UTF-8 cannot hold it, an escape can
        data = json.dumps(document, ensure_ascii=True, allow_nan=False, indent=2, sort_keys=sort_keys).encode("ascii")
    atomic_write_bytes(path, data + b"\n")


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


# ---------------------------------------------------------------- locks


class LockHeldError(RuntimeError):
    """A file lock is held by somebody else.

    Attributes:
        holder: Who holds it, such as ``process 123 on host``.
    """

    def __init__(self, path: Path, holder: str) -> None:
        """Say which file is locked by whom."""
        super().__init__(f"{path} is locked by {holder}")
        self.holder = holder


class FileLock:
    """An exclusive lock on a file that ends with its process, however that ends.

    Processes that were forked from the holder do not hold it.
    """

    _held: ClassVar[weakref.WeakSet[FileLock]] = weakref.WeakSet()
    _hook_installed: ClassVar[bool] = False

    def __init__(self, path: Path) -> None:
        """Name the lock file without touching it."""
        self.path = path
        self._file: TextIO | None = None

    def acquire(self) -> None:
        """Take the lock at once or not at all; makes the file and its folder if need be.

        Raises:
            LockHeldError: if another process, or another lock of this one, holds it.
            OSError: if the file cannot be written.
        """
        for _ in range(100):  # the file may vanish under us when its holder removes it on release
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = self.path.open("a+", encoding="utf-8", errors="replace")
            except FileNotFoundError:
                continue
            try:
                self._flock(file)
                if self.path.exists() and os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                    return self._hold(file)
            except BaseException:
                file.close()
                raise
            file.close()
        raise OSError(errno.EBUSY, "the lock file keeps vanishing", str(self.path))

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back; does nothing if it is not held.

        Args:
            remove: Whether to remove the lock file too.
        """
        if self._file is None:
            return
        if remove:
            self.path.unlink(missing_ok=True)
        self._file.close()
        self._file = None
        FileLock._held.discard(self)

    def _flock(self, file: TextIO) -> None:
        try:
            import fcntl
        except ImportError as error:
            raise OSError(errno.ENOTSUP, "file locks need a POSIX system", str(self.path)) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LockHeldError(self.path, file.read(200).strip() or "another process") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            logger.warning("no file locks at %s (%s): do not start a second run there", self.path.parent, error)

    def _hold(self, file: TextIO) -> None:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        self._file = file
        FileLock._held.add(self)
        if not FileLock._hook_installed:
            os.register_at_fork(after_in_child=FileLock._let_go_in_child)
            FileLock._hook_installed = True

    @staticmethod
    def _let_go_in_child() -> None:
        """Close the copies that a forked worker inherits: it would keep the lock if it outlived its parent."""
        for lock in list(FileLock._held):
            if lock._file is not None:
                lock._file.close()
                lock._file = None
        FileLock._held.clear()
