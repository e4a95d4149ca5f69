"""Crash-safe HDF5 stores of what is expensive to compute, such as features and matches.

A store is one HDF5 file: a group per item, named by the hash of its key, with the key as attribute ``key`` and one
dataset per array. HDF5 files that are open for writing do not survive a kill. So the file itself is never written in
place: each item first becomes a small file in the folder ``<name>.h5.parts``, and closing the store (or opening it
after a crash) folds these into a new version of the file that replaces the old one as a whole.

Several processes may have a store open at once, on one machine or on several that share a disk: each item is written
under another name and then renamed, and the file changes only while a single process has the store open. What one of
them puts, the others find at once; `Store.making` keeps them from making one thing twice.

Every file ends in a seal (`storage.digests`), and HDF5 sees none that is broken: what is damaged is named, set aside,
and made again. Only a file that is sealed and yet not ours to read, of another kind or version, is refused.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import logging
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from interpose_sfm.storage.arrays import check_sizes, is_storable
from interpose_sfm.storage.atomic import TEMP_PREFIX, atomic_write_bytes, fsync_path
from interpose_sfm.storage.digests import SealState, break_seal, seal, seal_state, sealed
from interpose_sfm.storage.locks import SharedLock, claimed

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
"""Version of the store files; a file of another version is refused."""

_T = TypeVar("_T")
_LOCK = "lock"
_SEALED = "is_sealed"  # attribute of files that have a seal
_DAMAGED = ".damaged"  # what the name of a file is given that is set aside
_COUNTER = itertools.count()


class StoreError(RuntimeError):
    """A store is in use elsewhere, damaged, or not one of ours; the message says what to do."""


def has_store(path: Path) -> bool:
    """Whether there is a store; one that was killed before its first end has parts and no file yet."""
    return path.is_file() or any(path.with_name(f"{path.name}.parts").glob("*.h5"))


class Store(ABC, Generic[_T]):
    """A mapping on disk from text keys to products of one type, for several processes and threads.

    What `put` returned from survives the death of the process at any later moment. Close the store (or use it in a
    ``with`` block), and the last one to close it folds the new items into the file. No thread may use it then.
    """

    kind: ClassVar[str]
    """Name of the product in the file."""

    def __init__(self, path: Path) -> None:
        """Open a store, or make a new one, and take over what a killed run left.

        Args:
            path: The HDF5 file; it need not exist.

        Raises:
            StoreError: if the file is of another kind or of another version.
            OSError: if the folder cannot be written.
        """
        self.path = Path(path).absolute()
        self._parts = self.path.with_name(self.path.name + ".parts")
        self._pending: dict[str, str] = {}  # group name -> key of the items that are parts still, by this process
        self._file: Any = None
        self._is_open = False
        self._lock = SharedLock(self._parts / _LOCK)
        try:
            if self._lock.try_alone():
                self._clean_up()
                self._fold()
            self._lock.share()
            self._file = self._open_file(self.path) if self.path.exists() and self._is_whole() else None
            self._is_open = True
        finally:
            if not self._is_open:
                self._unlock()

    @abstractmethod
    def _write(self, group: Any, value: _T) -> None:
        """Write a value into its empty h5py group; raises ValueError if it could not be read back exactly."""

    @abstractmethod
    def _read(self, group: Any) -> _T:
        """Read a value from its h5py group."""

    # -------------------------------------------------------- mapping

    def get(self, key: str) -> _T | None:
        """The value of a key, exactly as it was put; None if there is none, or if what is there is not one."""
        name = self._group_name(key)
        try:
            if self._has_part(name):
                with self._open_file(self._part(name)) as part:
                    return self._read_item(part, name, key)
            if self._file is None or name not in self._file:
                return None
            return self._read_item(self._file, name, key)
        except StoreError as error:
            logger.warning("%s", error)
            return None

    def put(self, key: str, value: _T) -> None:
        """Store a value, in place of an earlier one of the same key. When this returns the value is safe on disk.

        Raises:
            ValueError: if the key or the value cannot be stored exactly.
            OSError: if the disk is full or cannot be written.
        """
        name = self._group_name(key)
        atomic_write_bytes(self._part(name), sealed(self._part_bytes(name, key, value)))
        self._pending[name] = key

    def __contains__(self, key: str) -> bool:
        """Whether a key has a value."""
        name = self._group_name(key)
        return self._has_part(name) or (self._file is not None and name in self._file)

    @contextmanager
    def making(self, key: str) -> Iterator[_T | None]:
        """Keep all others, threads and processes, from making a value while this one does.

        Yields:
            The value, if somebody else has made it by now.
        """
        with claimed(self._parts / f"{self._group_name(key)}.claim"):
            yield self.get(key)

    def take(self, path: Path) -> int:
        """Take over the items of another store of this kind that this one does not have.

        Args:
            path: Its file; what a killed run has left beside it counts. Without either there is nothing to take.

        Returns:
            How many they were.
        """
        if not has_store(path):
            return 0
        with type(self)(path) as other:
            lacking = sorted(set(other.keys()) - set(self.keys()))
            num_taken = 0
            for key in lacking:
                value = other.get(key)
                if value is not None:
                    self.put(key, value)
                    num_taken += 1
        return num_taken

    def keys(self) -> list[str]:
        """All keys, sorted."""
        self._require_open()
        stored: list[str] = []
        if self._file is not None:
            with self._naming_damage(self.path):
                stored = [str(group.attrs["key"]) for group in self._file.values()]
        return sorted({*stored, *self._pending.values(), *self._keys_of_others()})

    def _keys_of_others(self) -> Iterator[str]:
        for part in self._parts.glob("*.h5"):
            if self._has_part(part.stem) and part.stem not in self._pending:
                with self._open_file(part) as file, self._naming_damage(part):
                    yield str(file[part.stem].attrs["key"])

    def __len__(self) -> int:
        """Number of items."""
        return len(self.keys())

    # -------------------------------------------------------- opening and closing

    def close(self) -> None:
        """Fold the new items into the file and give the store free; may be called again."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            if self._file is not None:
                self._file.close()
                self._file = None
            if self._lock.is_ours and self._lock.try_alone():  # else others fold it
                self._fold()
        finally:
            self._unlock()

    def __enter__(self) -> Self:
        """The store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the store."""
        self.close()

    def _require_open(self) -> None:
        if not self._is_open:
            raise ValueError(f"{self.path} is closed")

    def _unlock(self) -> None:
        """Give the lock back and remove what only it needed."""
        self._lock.release(remove=self._lock.is_ours and self._lock.try_alone())
        try:
            self._parts.rmdir()
        except OSError as error:  # parts are left after a failed fold, or somebody else has the store open
            logger.debug("kept %s: %s", self._parts, error)

    # -------------------------------------------------------- files

    def _group_name(self, key: object) -> str:
        """The hash by which a key is found."""
        self._require_open()
        if not isinstance(key, str) or not is_storable(key):
            raise ValueError(f"got key {key!r}, expected text without NUL characters and lone surrogates")
        return hashlib.sha256(key.encode("utf-8")).hexdigest()

    def _part(self, name: str) -> Path:
        return self._parts / f"{name}.h5"

    def _has_part(self, name: str) -> bool:
        """Whether an item is a part still; of those of others only whole ones count, since HDF5 is to see no others."""
        part = self._part(name)
        return name in self._pending or (part.exists() and seal_state(part) is SealState.WHOLE)

    def _part_bytes(self, name: str, key: str, value: _T) -> bytes:
        """An HDF5 file that holds one item."""
        import h5py

        memory_name = f"interpose_sfm-{os.getpid()}-{next(_COUNTER)}"  # HDF5 shares files that are open by one name
        with h5py.File(memory_name, "w", driver="core", backing_store=False) as file:
            self._stamp(file)
            group = file.create_group(name)
            group.attrs["key"] = key
            self._write(group, value)
            file.flush()
            return bytes(file.id.get_file_image())

    def _stamp(self, file: Any) -> None:
        file.attrs["format"] = f"interpose_sfm {self.kind}"
        file.attrs["format_version"] = FORMAT_VERSION
        file.attrs[_SEALED] = True

    def _is_whole(self) -> bool:
        """By its seal; a file of an earlier version has none, and does not say that it has one."""
        state = seal_state(self.path)
        if state is not SealState.NONE:
            return state is SealState.WHOLE
        try:
            with self._open_file(self.path) as file, self._naming_damage(self.path):
                return _SEALED not in file.attrs
        except StoreError:
            return False

    def _read_item(self, file: Any, name: str, key: str | None = None) -> _T:
        """Read a group; of another key, or of more data than its file has, it is no item.

        Raises:
            StoreError: it is none.
        """
        path = Path(file.filename)
        with self._naming_damage(path):
            group = file[name]
            if key is not None and group.attrs["key"] != key:
                raise ValueError(f"the item of {key} is that of {group.attrs['key']}")
            check_sizes(group, path.stat().st_size)
            return self._read(group)

    def _open_file(self, path: Path) -> Any:
        """Open a file for reading and check that it is one of this kind."""
        import h5py

        with self._naming_damage(path):
            try:
                file = h5py.File(path, "r")
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                    raise
                # HDF5's own lock fails on some network file systems. Ours suffices. (Not tried first: HDF5 refuses to
                # open a file with and without lock in one process.)
                file = h5py.File(path, "r", locking=False)
            file_format, version = file.attrs.get("format"), file.attrs.get("format_version")
        if file_format == f"interpose_sfm {self.kind}" and version == FORMAT_VERSION:
            return file
        file.close()
        if file_format == f"interpose_sfm {self.kind}":
            raise StoreError(
                f"{path} has format version {version}, this version of interpose_sfm reads {FORMAT_VERSION}; update "
                "interpose_sfm, or delete the file: its content will be made anew"
            )
        raise StoreError(f"{path} does not hold {self.kind} of interpose_sfm (format {file_format!r}); move it away")

    @contextmanager
    def _naming_damage(self, path: Path) -> Iterator[None]:
        """Turn what h5py raises on damaged files into an error that names the file; errors of the system pass."""
        try:
            yield
        except StoreError:
            raise
        except (OSError, LookupError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise StoreError(
                f"{path} is damaged ({error}); it holds only computed {self.kind}, which are made again: it is safe to "
                "delete it"
            ) from error

    def _clean_up(self) -> None:
        """Remove what killed processes left, set the file aside if it is not whole, remove parts that are not.

        Only while nobody else has the store open.
        """
        for leftover in (*self._parts.glob(f"{TEMP_PREFIX}*"), *self._parts.glob("*.claim")):
            leftover.unlink()
        if self.path.exists() and not self._is_whole():
            aside = self.path.with_name(self.path.name + _DAMAGED)
            os.replace(self.path, aside)
            logger.warning(
                "%s is damaged: its %s are made again (it is kept as %s, and may be deleted)",
                *(self.path, self.kind, aside.name),
            )
        for part in self._parts.glob("*.h5"):
            if seal_state(part) is not SealState.WHOLE:
                part.unlink()
                logger.warning("%s is damaged: its %s are made again", part, self.kind)

    def _fold(self) -> None:
        """Move all parts into the file. A kill at any moment leaves every item in the file or in its part."""
        parts = {part.stem: part for part in sorted(self._parts.glob("*.h5"))}
        if not parts:
            return
        temp = self._parts / f"{TEMP_PREFIX}fold"
        try:
            self._write_folded(temp, parts)
            seal(temp)
            fsync_path(temp)
            os.replace(temp, self.path)
        finally:
            temp.unlink(missing_ok=True)
        fsync_path(self.path.parent)
        for part in parts.values():
            part.unlink()

    def _write_folded(self, temp: Path, parts: dict[str, Path]) -> None:
        """A new version of the file: what it held and is not replaced, and all parts."""
        import h5py

        kept: list[str] | None = []  # None: all of them
        if self.path.exists():
            with self._open_file(self.path) as file:
                kept = [name for name in file if name not in parts] if any(name in file for name in parts) else None
        if kept is None:
            shutil.copyfile(self.path, temp)  # much faster than group by group
            if seal_state(temp) is SealState.WHOLE:
                break_seal(temp)
        try:
            with h5py.File(temp, "r+" if kept is None else "w", locking=False) as target:
                self._stamp(target)
                if kept:  # an HDF5 file does not give back the room of what is deleted in it, so leave that out
                    with self._open_file(self.path) as file:
                        self._copy(file, kept, target)
                for name, path in parts.items():
                    with self._open_file(path) as part:
                        self._copy(part, [name], target)
        except StoreError:
            raise
        except (OSError, RuntimeError) as error:  # h5py has both for a full disk
            raise OSError(f"cannot write a new version of {self.path}: {error}") from error

    def _copy(self, source: Any, names: Iterable[str], target: Any) -> None:
        for name in names:
            try:
                source.copy(name, target)
            except (OSError, KeyError, ValueError, RuntimeError):
                self._read_item(source, name)  # tells if the source is to blame
                raise
