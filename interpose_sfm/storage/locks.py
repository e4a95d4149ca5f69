"""Locks that belong to their process, so that a crash leaves no stale lock behind."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

_EXCLUSIVE, _SHARED, _AT_ONCE = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_NB
_LOOK_S = 0.05  # how often a waiting process looks
_PATIENCE_S = 120.0  # until it says so: what it waits for may hang
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


class SharedLock:
    """A lock that many processes hold together or one alone, so that the last one to leave may clean up.

    The lock ends with its process, however that ends; a forked process has no say in it. On file systems without locks
    everybody seems to be alone, as with `acquire_lock`.

    Attributes:
        has_locks: False once the file system has turned out to have none.
    """

    def __init__(self, path: Path) -> None:
        """Make the file and its folder if need be; nothing is held yet.

        Raises:
            OSError: if the file cannot be written.
        """
        self._path, self._process = path, os.getpid()
        self._descriptor = -1
        self.has_locks = True
        self._open()

    def try_alone(self) -> bool:
        """Hold it alone, if nobody else holds it; else it is not held at all."""
        return self._lock(_EXCLUSIVE | _AT_ONCE)

    def share(self) -> None:
        """Hold it with others, after waiting for who holds it alone."""
        while not self._lock(_SHARED):
            continue

    def try_share(self) -> bool:
        """Hold it with others, unless somebody holds it alone."""
        return self._lock(_SHARED | _AT_ONCE)

    def sign(self) -> None:
        """Name this process in the file; only while it is held alone."""
        _write_holder(self._descriptor)

    def holder(self) -> str:
        """Who holds it alone, as far as the file tells."""
        return _read_holder(self._path)

    def release(self, *, remove: bool = False) -> None:
        """Give it back; may be called again.

        Args:
            remove: Whether the file goes, too; only of a lock that is held alone.
        """
        if self._descriptor < 0:
            return
        if os.getpid() == self._process and remove:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)  # which also ends the lock
        self._descriptor = -1

    @property
    def is_ours(self) -> bool:
        """Whether it is open, and this is no fork of the process that opened it."""
        return self._descriptor >= 0 and os.getpid() == self._process

    def _open(self) -> None:
        for _ in range(100):  # the folder may vanish under us when its last user removes it
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
                return
        raise OSError(errno.EBUSY, "the lock file keeps vanishing", str(self._path))

    def _lock(self, how: int) -> bool:
        """Lock the file that lies there now; one that its last user has removed meanwhile is no lock."""
        while True:
            try:
                fcntl.flock(self._descriptor, how)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    return False
                if error.errno not in _WITHOUT_LOCKS:
                    raise
                logger.warning("no file locks at %s (%s): do not start a second run there", self._path.parent, error)
                self.has_locks = False
                return True
            if self._is_there():
                return True
            os.close(self._descriptor)
            self._open()

    def _is_there(self) -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        return False


@contextmanager
def claimed(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a claim alone, such as to make one thing that several processes want; its file is there only meanwhile.

    Args:
        path: A file of its own; its folder is made if need be.
        wait: Whether to wait for who holds it; the claim of a process that died is free at once.

    Yields:
        Whether it is held; always true after waiting.
    """
    lock = SharedLock(path)
    is_held, is_told = False, False
    try:
        is_held, begun_s = lock.try_alone(), time.monotonic()
        while not is_held and wait:
            time.sleep(_LOOK_S)
            is_held = lock.try_alone()
            if not (is_held or is_told) and time.monotonic() - begun_s > _PATIENCE_S:
                logger.warning("waiting for %s, which holds %s", lock.holder(), path)
                is_told = True
        if is_held:
            lock.sign()
        yield is_held
    finally:
        lock.release(remove=is_held)


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
