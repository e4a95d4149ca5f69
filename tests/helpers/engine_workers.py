"""Workers for the tests of engines. They note in a folder what they do, since they may work in other processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Squares:
    """Makes a worker that squares numbers.

    Attributes:
        folder: Gets a file for every worker made and every job begun.
        deadly: A job that kills its worker; ``deadly_times`` times.
        wrong: A job that raises.
        time_s: What a job takes.
    """

    folder: Path
    deadly: int | None = None
    deadly_times: int = 99
    wrong: int | None = None
    time_s: float = 0.0

    def __call__(self) -> Callable[[int], int]:
        """Make one."""
        note(self.folder, "worker")
        return self.square

    def square(self, job: int) -> int:
        """Do a job."""
        tries = len(list(self.folder.glob(f"job {job} *")))
        note(self.folder, f"job {job}")
        if job == self.wrong:
            raise LookupError(f"{job} is wrong")
        if job == self.deadly and tries < self.deadly_times:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.time_s)
        return job * job


def broken_maker() -> Callable[[int], int]:
    """Makes no worker."""
    raise FileNotFoundError("no weights")


def deadly_maker() -> Callable[[int], int]:
    """Kills whoever would be the worker."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def note(folder: Path, what: str) -> None:
    """Leave a file that tells what was done."""
    folder.mkdir(exist_ok=True)
    (folder / f"{what} {os.getpid()} {time.monotonic_ns()}").touch()


def noted(folder: Path, what: str) -> int:
    """How often something was done."""
    return len(list(folder.glob(f"{what} *")))
