"""Digests of what lies on disk, by which it is known to be whole.

A stage notes the digests of what it wrote (`digest_of`). A file that is read by nobody but us, and only as a whole,
carries its own at its end (`seal`): formats that know their length, such as HDF5, do not see it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from interpose_sfm.storage.content_keys import file_sha256

DATABASE_SUFFIX = ".db"

_CHUNK_BYTES = 1 << 20
_SEAL = b"interpose_sfm-sha256"
_SEAL_BYTES = len(_SEAL) + hashlib.sha256().digest_size


def digest_of(path: Path) -> str:
    """Digest of a file, of all files below a folder with their names, or of the rows of a SQLite database.

    A database is told by its suffix. Its bytes say nothing, since opening one changes them.

    Raises:
        ValueError: Nothing is there, a symbolic link, something that is no file, or a database that cannot be read.
        OSError: It cannot be read.
    """
    if path.is_symlink() or not (path.is_dir() or path.is_file()):
        raise ValueError(f"{path} is {'a symbolic link' if path.is_symlink() else 'missing'}")
    if path.is_file():
        return _database_digest(path) if path.suffix == DATABASE_SUFFIX else file_sha256(path)
    digest = hashlib.sha256()
    for entry in sorted(path.iterdir(), key=lambda entry: os.fsencode(entry.name)):
        digest.update(hashlib.sha256(os.fsencode(entry.name)).digest())
        digest.update(f"{'folder' if entry.is_dir() else 'file'} {digest_of(entry)}".encode())
    return digest.hexdigest()


def _hashed(file: BinaryIO, size: int) -> hashlib._Hash:
    """Digest of the next bytes of a file, in pieces."""
    digest = hashlib.sha256()
    while size > 0 and (piece := file.read(min(size, _CHUNK_BYTES))):
        digest.update(piece)
        size -= len(piece)
    return digest


def _database_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with reading(path) as connection:
        tables = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        for name, sql in tables:
            digest.update(repr((name, sql)).encode("utf-8", "surrogateescape"))
            quoted = name.replace('"', '""')
            for row in connection.execute(f'SELECT * FROM "{quoted}" ORDER BY rowid'):
                for value in row:
                    content = value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogateescape")
                    digest.update(f"{type(value).__name__} {len(content)} ".encode())
                    digest.update(content)
    return digest.hexdigest()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a SQLite database that changes nothing on disk, though it sees what the write-ahead log holds.

    Raises:
        ValueError: The path is no file or no such database, or what is read in the block is damaged.
    """
    if not path.is_file():
        raise ValueError(f"got the database {path}, expected a COLMAP database file")
    has_log = path.with_name(path.name + "-wal").exists()
    uri = f"{path.resolve().as_uri()}?{'mode=ro' if has_log else 'mode=ro&immutable=1'}"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")  # what a database defines is data, and runs nothing
            yield connection
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise ValueError(f"got {path}, expected a COLMAP database ({error})") from error


# ---------------------------------------------------------------- sealed files


def sealed(data: bytes) -> bytes:
    """The data with its seal behind it."""
    return data + _SEAL + hashlib.sha256(data).digest()


def seal(path: Path) -> None:
    """Put a seal behind what a file holds."""
    with path.open("r+b") as file:
        digest = _hashed(file, os.fstat(file.fileno()).st_size).digest()
        file.seek(0, os.SEEK_END)
        file.write(_SEAL + digest)


def break_seal(path: Path) -> None:
    """Take the seal off a file, so that it can be written on."""
    os.truncate(path, path.stat().st_size - _SEAL_BYTES)


class SealState(Enum):
    """How a file ends."""

    WHOLE = "the seal of all that comes before"
    BROKEN = "the seal of something else"
    NONE = "no seal"


def seal_state(path: Path) -> SealState:
    """Look at the seal of a file.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size - _SEAL_BYTES
        digest = _hashed(file, size).digest()
        found = file.read()
    if size < 0 or not found.startswith(_SEAL):
        return SealState.NONE
    return SealState.WHOLE if found == _SEAL + digest else SealState.BROKEN
