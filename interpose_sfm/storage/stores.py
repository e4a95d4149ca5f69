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

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from interpose_sfm.storage.atomic import TEMP_PREFIX, atomic_write_bytes, fsync_path
from interpose_sfm.storage.digests import SealState, break_seal, seal, seal_state, sealed
from interpose_sfm.storage.item_files import ItemFiles, StoreError, group_name
from interpose_sfm.storage.locks import SharedLock, claimed

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_LOCK = "lock"
_DAMAGED = ".damaged"  # what the name of a file is given that is set aside


def _parts_of(path: Path) -> Path:
    """The folder of a store's items that are not in its file yet."""
    return path.with_name(f"{path.name}.parts")


def _is_sealed(path: Path) -> bool:
    return seal_state(path) is SealState.WHOLE


def has_store(path: Path) -> bool:
    """Whether there is a store; one that was killed before its first end has parts and no file yet."""
    return path.is_file() or any(_parts_of(path).glob("*.h5"))


class Store(ItemFiles[_T]):
    """A mapping on disk from text keys to products of one type, for several processes and threads.

    What `put` returned from survives the death of the process at any later moment. Close the store (or use it in a
    ``with`` block), and the last one to close it folds the new items into the file. No thread may use it then.
    """

    def __init__(self, path: Path) -> None:
        """Open a store, or make a new one, and take over what a killed run left.

        Args:
            path: The HDF5 file; it need not exist.

        Raises:
            StoreError: if the file is of another kind or of another version.
            OSError: if the folder cannot be written.
        """
        self.path = Path(path).absolute()
        self._parts = _parts_of(self.path)
        self._pending: dict[str, str] = {}  # group name -> key of the items that are parts still, by this process
        self._file: Any = None
        self._is_open = False
        self._lock = SharedLock(self._parts / _LOCK)
        try:
            if self._lock.try_alone():
                self._clean_up()
                self._fold()
            self._lock.share()
            self._file = self._open_file(self.path) if self.path.exists() and self._is_whole(self.path) else None
            self._is_open = True
        finally:
            if not self._is_open:
                self._unlock()

    @property
    def is_for_several(self) -> bool:
        """Whether several processes may have it open at once, which takes a file system with locks."""
        return self._lock.has_locks

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
        with claimed(self._claim(key)):
            yield self.get(key)

    @contextmanager
    def making_if_free(self, key: str) -> Iterator[bool]:
        """The same without waiting for others: who makes several values at once claims each of them in this way.

        Yields:
            Whether the value is to be made here: nobody else is at it, or has made it by now.
        """
        with claimed(self._claim(key), wait=False) as is_ours:
            yield is_ours and self.get(key) is None

    def _claim(self, key: str) -> Path:
        return self._parts / f"{self._group_name(key)}.claim"

    def take(self, path: Path) -> int:
        """Take over the items of another store of this kind that this one does not have; nothing is written there.

        Args:
            path: Its file; what a killed run has left beside it counts, and so does what a run there has put by now.
                Without either there is nothing to take.

        Returns:
            How many they were.

        Raises:
            StoreError: It is of another kind or of another version.
        """
        parts = sorted(_parts_of(path).glob("*.h5"))  # which come first: what is folded meanwhile is in the file then
        return sum(self._take_file(part, _is_sealed) for part in parts) + self._take_file(path, self._is_whole)

    def _take_file(self, path: Path, is_whole: Callable[[Path], bool]) -> int:
        try:
            if not is_whole(path):
                logger.warning("%s is damaged: its %s are not taken", path, self.kind)
                return 0
            file = self._open_file(path)
        except FileNotFoundError:
            return 0
        with file:
            with self._naming_damage(path):
                names = list(file)
            return sum(self._take_item(file, name) for name in names)

    def _take_item(self, file: Any, name: str) -> bool:
        """Put an item of another store's file here, unless it is here or is none."""
        try:
            with self._naming_damage(Path(file.filename)):
                key = str(file[name].attrs["key"])
                if key in self:
                    return False
            value = self._read_item(file, self._group_name(key), key)
        except StoreError as error:
            logger.warning("%s", error)
            return False
        self.put(key, value)
        return True

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
                self._remove_leftovers()
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
        return group_name(key)

    def _part(self, name: str) -> Path:
        return self._parts / f"{name}.h5"

    def _has_part(self, name: str) -> bool:
        """Whether an item is a part still; of those of others only whole ones count, since HDF5 is to see no others."""
        part = self._part(name)
        return name in self._pending or (part.exists() and _is_sealed(part))

    def _remove_leftovers(self) -> None:
        """Remove what killed processes were writing and had claimed; only while nobody else has the store open."""
        for leftover in (*self._parts.glob(f"{TEMP_PREFIX}*"), *self._parts.glob("*.claim")):
            leftover.unlink()

    def _clean_up(self) -> None:
        """Remove what killed processes left, set the file aside if it is not whole, remove parts that are not.

        Only while nobody else has the store open.
        """
        self._remove_leftovers()
        if self.path.exists() and not self._is_whole(self.path):
            aside = self.path.with_name(self.path.name + _DAMAGED)
            os.replace(self.path, aside)
            logger.warning(
                "%s is damaged: its %s are made again (it is kept as %s, and may be deleted)",
                *(self.path, self.kind, aside.name),
            )
        for part in self._parts.glob("*.h5"):
            if not _is_sealed(part):
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
            if _is_sealed(temp):
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
