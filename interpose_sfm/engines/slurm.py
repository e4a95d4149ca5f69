"""The engine of a Slurm cluster, by submitit; its local and debug executors run on this machine."""

from __future__ import annotations

import logging
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Generic

from interpose_sfm.engines.protocol import (
    Done,
    Engine,
    EngineError,
    J,
    R,
    Worker,
    WorkerDiedError,
    attempt,
    portable,
    release,
)
from interpose_sfm.options import EngineOptions

logger = logging.getLogger(__name__)

DEFAULT_WORKERS = 4
MAX_JOBS_AT_ONCE = 16  # of ours in one of Slurm's, which waits in its queue and loads a model once

_LOOK_S = 0.2


class SlurmEngine(Engine):
    """Several jobs of ours in each of Slurm's.

    Where one of Slurm's dies, those of ours that it had are tried again one by one, so that only what kills a worker is
    lost; what is in the store by then is not made again. Log files of what failed are kept.
    """

    name = "slurm"
    requires: ClassVar[Mapping[str, str]] = {"submitit": "pip install 'interpose_sfm[slurm]'"}

    @classmethod
    def check(cls, options: EngineOptions) -> None:
        """See `Engine.check`; the executors that need no Slurm work anywhere."""
        if options.slurm_cluster == "slurm" and shutil.which("srun") is None:
            raise ValueError(
                "engine slurm: got a machine without srun, expected one of a Slurm cluster, such as its login node; "
                "or leave --engine out to work on this machine alone"
            )

    @classmethod
    def is_elsewhere(cls, options: EngineOptions) -> bool:
        """See `Engine.is_elsewhere`; the other executors are on this machine."""
        return options.slurm_cluster == "slurm"

    @classmethod
    def probe(cls) -> str:
        """See `Backend.probe`."""
        cls.check(EngineOptions())
        return f"submitit {metadata.version('submitit')}"

    def __init__(self, options: EngineOptions, folder: Path) -> None:
        """Submit nothing yet.

        Args:
            options: Cluster, partition, time limit, and how many workers.
            folder: For the files by which submitit and its jobs talk; on a disk that all machines see. Runs that share
                a store share it, so each has a folder of its own there.
        """
        self._options, self._folder = options, Path(folder) / f"{os.getpid()}-{secrets.token_hex(4)}"
        self._has_failed = False

    def map(
        self, make_worker: Callable[[], Worker[J, R]], jobs: Iterable[J], *, gpus: float = 0.0, cpus: float = 1.0
    ) -> Generator[Done[J, R], None, None]:
        """See `Engine.map`; shares of GPUs and cores are rounded up.

        Raises:
            EngineError: Slurm has not taken a job, as of a partition that it does not have.
        """
        executor = self._executor(gpus, cpus)
        most = self._options.engine_workers or DEFAULT_WORKERS
        size = MAX_JOBS_AT_ONCE
        if isinstance(jobs, Sized):
            size = max(1, min(size, math.ceil(len(jobs) / most)))
        feed = iter(jobs)
        again: list[_Bundle[J]] = []
        under_way: dict[Any, _Bundle[J]] = {}
        try:
            while True:
                while len(under_way) < most:
                    bundle = again.pop(0) if again else _Bundle(tuple(islice(feed, size)))
                    if not bundle.jobs:
                        break
                    under_way[_submitted(executor, make_worker, bundle.jobs)] = bundle
                if not under_way:
                    return
                finished = [task for task in under_way if task.done()]
                for task in finished:
                    bundle = under_way.pop(task)
                    results = self._results(task)
                    if results is not None:
                        yield from (Done(job, *result) for job, result in zip(bundle.jobs, results, strict=True))
                    elif bundle.is_second_try:
                        yield Done(bundle.jobs[0], error=WorkerDiedError(f"2 workers died of it; see {self._folder}"))
                    else:
                        again += [_Bundle((job,), is_second_try=True) for job in bundle.jobs]
                if not finished:
                    time.sleep(_LOOK_S)
        finally:
            for task in under_way:
                with suppress(Exception):  # it may have ended, and Slurm may have forgotten it
                    task.cancel()

    def close(self) -> None:
        """Remove the files of jobs, unless one of them died."""
        if not self._has_failed:
            shutil.rmtree(self._folder, ignore_errors=True)
            with suppress(OSError):  # another run has files there, or there is none
                self._folder.parent.rmdir()

    def _executor(self, gpus: float, cpus: float) -> Any:
        import submitit

        options = self._options
        executor = submitit.AutoExecutor(folder=self._folder, cluster=options.slurm_cluster)
        executor.update_parameters(
            name="interpose_sfm",
            timeout_min=options.slurm_minutes,
            cpus_per_task=math.ceil(cpus),
        )
        if gpus:  # partitions without GPUs may refuse to be asked for none
            executor.update_parameters(gpus_per_node=math.ceil(gpus))
        if options.slurm_partition:
            executor.update_parameters(slurm_partition=options.slurm_partition)
        return executor

    def _results(self, task: Any) -> Sequence[Any] | None:
        """What a job of Slurm's came to; None if it died."""
        from submitit.core.utils import UncompletedJobError

        try:
            results = task.result()
        except UncompletedJobError as death:
            self._has_failed = True
            logger.warning("job %s of Slurm died: %s", task.job_id, str(death).partition("\n")[0])
            return None
        if isinstance(results, Exception):
            raise results
        return list(results)


def _submitted(executor: Any, make_worker: Callable[[], Worker[J, R]], jobs: Sequence[J]) -> Any:
    """A job of Slurm's that does some of ours.

    Raises:
        EngineError: Slurm has not taken it.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        task = executor.submit(_do_all, make_worker, jobs)
    except (FailedJobError, FailedSubmissionError) as error:
        said = " ".join(str(error).split())
        raise EngineError(
            f"engine slurm: Slurm has not taken a job ({said}); "
            "see --slurm-partition, --slurm-minutes and --worker-gpus"
        ) from error
    for path in Path(executor.folder).glob(".submission_file_*"):
        if path.is_symlink():  # to the script of the job; a folder with links in it is refused by the next run
            path.unlink()
    return task


@dataclass(frozen=True)
class _Bundle(Generic[J]):
    """Jobs of ours in one of Slurm's.

    Attributes:
        jobs: Some of them; a single one at a second try.
        is_second_try: Whether a worker has died that had it.
    """

    jobs: tuple[J, ...]
    is_second_try: bool = False


def _do_all(make_worker: Callable[[], Worker[J, R]], jobs: Sequence[J]) -> Any:
    """What a job of Slurm's does; what making the worker raised, where that failed."""
    try:
        worker = make_worker()
    except Exception as error:  # noqa: BLE001 - it is raised in the calling process
        return portable(error)
    try:
        return [attempt(worker, job) for job in jobs]
    finally:
        release(worker)
