"""What the machine lacked, told from the errors of those who ran into it.

COLMAP, SQLite, HDF5, torch and the loader of libraries each have words of their own for a full disk or too little
memory. This module alone knows them.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from interpose_sfm._compat import StrEnum


class Lack(StrEnum):
    """What was not there; the value says what to do."""

    DISK = "the disk is full; make room there"
    DEVICE = "the disk cannot be read or written; see what the system says of it"
    PERMISSION = "the system does not allow it; give access, or choose another folder"
    MEMORY = "the memory does not suffice; close other programs, or see docs/manual.md for options that need less"
    HANDLES = "too many files are open at once; raise the limit (ulimit -n)"


_NUMBERS: Mapping[int, Lack] = MappingProxyType(
    {
        **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), Lack.DISK),
        **dict.fromkeys((errno.EIO, errno.ESTALE), Lack.DEVICE),
        **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), Lack.PERMISSION),
        errno.ENOMEM: Lack.MEMORY,
        **dict.fromkeys((errno.EMFILE, errno.ENFILE), Lack.HANDLES),
    }
)

_WORDS: tuple[tuple[re.Pattern[str], Lack], ...] = tuple(
    (re.compile(words, re.IGNORECASE), lack)
    for words, lack in (
        # SQLite, also in COLMAP's exceptions, and the system. COLMAP says the last of all where it cannot open a
        # database, which was looked at before: nothing but the disk is left.
        (r"database or disk is full|no space left|quota exceeded|no registered database factory", Lack.DISK),
        (r"disk i/o error|input/output error", Lack.DEVICE),
        (r"readonly database|unable to open database file|permission denied|read-only file system", Lack.PERMISSION),
        # C++, torch on the CPU and on CUDA, numpy, the loader of libraries, Python's threads.
        (r"bad_alloc|out of memory|can(no|')t allocate memory|failed to map segment", Lack.MEMORY),
        (r"unable to allocate|can't start new thread|resource temporarily unavailable", Lack.MEMORY),
        (r"too many open files", Lack.HANDLES),
    )
)
_NUMBER_OF_HDF5 = re.compile(r"errno = (\d+)")

# Others say in their own words what is wrong with what a user gave.
_NATIVE = (RuntimeError, OSError, ImportError, SystemError, sqlite3.Error)


def lack_of(error: BaseException) -> Lack | None:
    """What the machine lacked, by an error or what caused it; None where it lacked nothing that is known."""
    for one in _chain(error):
        lack = _own_lack(one)
        if lack is not None:
            return lack
    return None


def sentence(error: BaseException) -> str:
    """One line for the user: what happened, with what was lacking if the error itself does not say so."""
    text = " ".join(str(error).split()) or type(error).__name__
    own = _own_lack(error)
    return f"{text}: {own}" if own is not None else text


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the computer, has no memory left."""
    return lack_of(error) is Lack.MEMORY


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__


def _own_lack(error: BaseException) -> Lack | None:
    if isinstance(error, MemoryError):
        return Lack.MEMORY
    if isinstance(error, OSError) and error.errno is not None:
        return _NUMBERS.get(error.errno)
    if not isinstance(error, _NATIVE):
        return None
    text = str(error)
    number = _NUMBER_OF_HDF5.search(text)
    if number is not None and int(number[1][:9]) in _NUMBERS:
        return _NUMBERS[int(number[1][:9])]
    return next((lack for words, lack in _WORDS if words.search(text)), None)


def disk_full(what: str, path: str | os.PathLike[str]) -> OSError:
    """The error of a disk that has no room left, for those who notice it before the system does."""
    return OSError(errno.ENOSPC, what, os.fspath(path))
