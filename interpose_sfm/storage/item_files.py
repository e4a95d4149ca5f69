"""HDF5 files of items: a group per item, named by the hash of its key, and what of such a file is believed."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from interpose_sfm.storage.arrays import check_sizes, is_storable
from interpose_sfm.storage.digests import SealState, seal_state

FORMAT_VERSION = 1
"""Version of the files; a file of another version is refused."""

_T = TypeVar("_T")
_SEALED = "is_sealed"  # attribute of files that have a seal
_COUNTER = itertools.count()


class StoreError(RuntimeError):
    """A store is in use elsewhere, damaged, or not one of ours; the message says what to do."""


def group_name(key: object) -> str:
    """The hash by which the item of a key is found.

    Raises:
        ValueError: HDF5 cannot hold the key.
    """
    if not isinstance(key, str) or not is_storable(key):
        raise ValueError(f"got key {key!r}, expected text without NUL characters and lone surrogates")
    return hashlib.sha256(key.encode("utf-8")).hexdigest()


class ItemFiles(ABC, Generic[_T]):
    """How products of one type lie in files, of one item or of many; keeps nothing open."""

    kind: ClassVar[str]
    """Name of the product in the file."""

    @abstractmethod
    def _write(self, group: Any, value: _T) -> None:
        """Write a value into its empty h5py group; raises ValueError if it could not be read back exactly."""

    @abstractmethod
    def _read(self, group: Any) -> _T:
        """Read a value from its h5py group."""

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

    def _is_whole(self, path: Path) -> bool:
        """Whether a file is whole, by its seal; one of an earlier version has none, and does not say that it has one.

        Raises:
            OSError: It is not there, or cannot be read.
        """
        state = seal_state(path)
        if state is not SealState.NONE:
            return state is SealState.WHOLE
        try:
            with self._open_file(path) as file, self._naming_damage(path):
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
