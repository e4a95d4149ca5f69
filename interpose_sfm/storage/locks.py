"""Locks that belong to their process, so that a crash leaves no stale lock behind."""

from __future__ import annotations

import errno
import logging
import os
import socket
import weakref
from pathlib import Path
from typing import ClassVar, TextIO

logger = logging.getLogger(__name__)


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
