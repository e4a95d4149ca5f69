"""Work for several workers: the `Engine` protocol, and what comes back of a job.

Others add an engine without touching the package: a class derived from `Engine` and registered in the entry-point
group ``interpose_sfm.engines`` as ``name = "module:Class"``.
"""

from __future__ import annotations

import pickle
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

from interpose_sfm.options import EngineOptions
from interpose_sfm.registry import Backend

J = TypeVar("J")
R = TypeVar("R")

Worker = Callable[[J], R]
"""Does one job."""


class WorkerDiedError(RuntimeError):
    """The workers that were given a job died of it, or with it; other jobs are not concerned."""


class EngineError(RuntimeError):
    """An engine gets no workers, or none that live; the message says why, and what to do."""


@dataclass(frozen=True)
class Done(Generic[J, R]):
    """What came of a job.

    Attributes:
        job: The job.
        value: What the worker returned; None if it failed.
        error: What the worker raised, or a `WorkerDiedError`; None if all went well.
    """

    job: J
    value: R | None = None
    error: BaseException | None = None


class Engine(Backend, Protocol):
    """Workers that do jobs. A class of the table is built from the options of the run and a folder.

    An engine retries what its workers died of, once, and nothing else; so nothing that costs money may be done by one
    whose workers are not in this process.
    """

    name: str
    shares_memory: ClassVar[bool] = False
    """True where workers are threads of this process. Otherwise `map` sends them jobs, results and what makes a worker
    by pickle, and they share nothing with this process but its disk."""

    def __init__(self, options: EngineOptions, folder: Path) -> None:
        """Begin nothing, and write nothing."""

    @classmethod
    def check(cls, options: EngineOptions) -> None:
        """Look at the start of a run whether one could work here; makes and asks nothing.

        Raises:
            ValueError: It could not; the message says why, and what to do.
            MissingDependencyError: These options need what is not installed.
        """
        return

    @classmethod
    def is_elsewhere(cls, options: EngineOptions) -> bool:
        """Whether workers may be on other machines, whose devices this one need not have."""
        return not cls.shares_memory

    @abstractmethod
    def map(
        self, make_worker: Callable[[], Worker[J, R]], jobs: Iterable[J], *, gpus: float = 0.0, cpus: float = 1.0
    ) -> Generator[Done[J, R], None, None]:
        """Do jobs, and tell of each as it is done.

        Close the iterator (`contextlib.closing`) where it may be left before its end: that stops the workers.

        Args:
            make_worker: Makes a worker, such as by loading a model; called once by each. If a worker has a method
                ``close``, it is called at the end, unless the worker is a process and ends with that.
            jobs: Taken in this thread and as workers become free, so that the next ones may depend on what is done.
            gpus: What each worker takes of a machine, in GPUs; fractions share one where the engine can.
            cpus: The same, in cores.

        Raises:
            EngineError: There are no workers to be had.
            Exception: What making a worker raised.
        """

    def close(self) -> None:
        """Give back what is held between two calls of `map`."""
        return


def release(worker: object) -> None:
    """Close a worker that will get no further job, if it has anything to close."""
    close = getattr(worker, "close", None)
    if close is not None:
        close()


def attempt(worker: Worker[J, R], job: J) -> tuple[R | None, Exception | None]:
    """What a worker of another process makes of a job: a value, or an error that can be sent."""
    try:
        return worker(job), None
    except Exception as error:  # noqa: BLE001 - it is handed on
        return None, portable(error)


def portable(error: Exception) -> Exception:
    """An error as it is, or in words where it does not survive being sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever its class does when it is built anew
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
