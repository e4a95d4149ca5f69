"""Locks that belong to their process, so that a crash leaves no stale lock behind."""

from __future__ import annotations

import errno
import logging
import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # of file systems that have none


class LockHeldError(RuntimeError):
    """A file lock is held by somebody else.

    Attributes:
        holder: Who holds it, such as ``process 123 on host``.
    """

    def __init__(self, path: Path, holder: str) -> None:
        """Say which file is locked by whom."""
        super().__init__(f"{path} is locked by {holder}")
        self.holder = holder


def acquire_lock(path: Path) -> FileLock:
    """Take an exclusive lock on a file at once or not at all; makes the file and its folder if need be.

    The lock ends with its process, however that ends; processes that are forked from the holder do not hold it. The
    file names the holder. Its removal is up to the holder, who must do it before the release.

    Raises:
        LockHeldError: if another process, or another lock of this one, holds it.
        OSError: if the file cannot be written.
    """
    lock = FileLock(path, timeout=0, thread_local=False, on_acquired=_write_holder)
    for _ in range(100):  # file and folder may vanish under us when their holder removes them
        path.parent.mkdir(parents=True, exist_ok=True)  # filelock would make the target of a broken link
        try:
            lock.acquire()
            return lock
        except FileNotFoundError:
            continue
        except Timeout:
            if path.exists():
                raise LockHeldError(path, _read_holder(path)) from None
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
            logger.warning("no file locks at %s (%s): do not start a second run there", path.parent, error)
            return lock
    raise OSError(errno.EBUSY, "the lock file keeps vanishing", str(path))


def _write_holder(descriptor: int) -> None:
    """Name this process in the lock file that it has just locked."""
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def _read_holder(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return "another process"
    with open(descriptor, encoding="utf-8", errors="replace") as file:
        return file.read(200).strip() or "another process"
