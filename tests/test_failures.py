"""What the machine lacked, by the words of those who ran into it."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from interpose_sfm.failures import Lack, lack_of, sentence
from paths import ROOT


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x"), Lack.DISK),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), Lack.DISK),
        (OSError(errno.EFBIG, "File too large"), Lack.DISK),
        (OSError(errno.EROFS, "Read-only file system"), Lack.PERMISSION),
        (PermissionError(errno.EACCES, "Permission denied", "x"), Lack.PERMISSION),
        (OSError(errno.EMFILE, "Too many open files"), Lack.HANDLES),
        (OSError(errno.EIO, "Input/output error"), Lack.DEVICE),
        (
            OSError("Can't write data (file write failed: time = now, errno = 28, error message = 'No space')"),
            Lack.DISK,
        ),
        (RuntimeError("Unable to flush file (errno = 5)"), Lack.DEVICE),
        (sqlite3.OperationalError("database or disk is full"), Lack.DISK),
        (sqlite3.OperationalError("attempt to write a readonly database"), Lack.PERMISSION),
        (RuntimeError("[database_sqlite.cc:1737] SQLite error: database or disk is full"), Lack.DISK),
        (RuntimeError("No registered database factory succeeded."), Lack.DISK),
        (MemoryError("std::bad_alloc"), Lack.MEMORY),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), Lack.MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), Lack.MEMORY),
        (ImportError("libOpen3D.so: failed to map segment from shared object"), Lack.MEMORY),
        (OSError("libtorch.so: cannot allocate memory in static TLS block"), Lack.MEMORY),
        (RuntimeError("can't start new thread"), Lack.MEMORY),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), None),
        (ValueError("got 'out of memory.jpg', expected a photo"), None),
        (ImportError("libGL.so.1: cannot open shared object file"), None),
        (RuntimeError("shapes do not match"), None),
    ],
)
def test_lack(error: BaseException, expected: Lack | None) -> None:
    assert lack_of(error) is expected
    wrapped = ValueError("in our words")
    wrapped.__cause__ = error
    assert lack_of(wrapped) is expected
    assert sentence(wrapped) == "in our words"
    assert (str(expected) in sentence(error)) is (expected is not None)


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert lack_of(first) is None


def fill_sqlite(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "x.db")) as connection:
        connection.execute("CREATE TABLE t (x BLOB)")
        connection.execute("INSERT INTO t VALUES (zeroblob(1000000))")
        connection.commit()


def fill_hdf5(folder: Path) -> None:
    with h5py.File(folder / "x.h5", "w") as file:
        file["x"] = np.random.default_rng(0).random(200_000)
        file.flush()


def fill(folder: Path) -> None:
    (folder / "x").write_bytes(bytes(1_000_000))


@pytest.mark.parametrize("write", [fill_sqlite, fill_hdf5, fill])
def test_the_words_of_a_full_disk_are_those_of_the_libraries(write: Callable[[Path], None], small_disk: Path) -> None:
    with pytest.raises((OSError, RuntimeError, sqlite3.OperationalError)) as caught:
        write(small_disk)
    assert lack_of(caught.value) is Lack.DISK


def test_the_words_of_too_little_memory_are_those_of_the_libraries() -> None:
    """In a process that may have no more than it has."""
    script = (
        "import resource, numpy, torch\n"
        "from interpose_sfm.failures import lack_of\n"
        "resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))\n"
        "for make in (lambda: numpy.ones(1 << 40), lambda: torch.ones(1 << 40), lambda: bytearray(1 << 45)):\n"
        "    try:\n"
        "        make()\n"
        "    except Exception as error:\n"
        "        print(lack_of(error).name)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["MEMORY"] * 3, done.stderr
