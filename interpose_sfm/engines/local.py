"""The engine of a single machine: the calling thread, or several, that stop in order."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, ClassVar

from threadpoolctl import threadpool_limits

from interpose_sfm.engines.protocol import Done, Engine, J, R, Worker, release
from interpose_sfm.options import EngineOptions

logger = logging.getLogger(__name__)

MAX_THREADS = 4  # a pair of 2048 key points takes some 300 MB
NUM_WAITING = 1  # jobs that are taken ahead, so that no thread waits while the caller looks at a result

_LOOK_S = 0.2  # how often the waiting thread lets a signal through
_GRACE_S = 0.1  # for threads that are at their end: stopped in a callback of Python's own, they would complain
_PATIENCE_S = 60.0  # a step of a large model on a slow device
_END = object()


class LocalEngine(Engine):
    """Threads of this process, as many as torch may use; on a GPU one."""

    name = "local"
    shares_memory: ClassVar[bool] = True

    @classmethod
    def probe(cls) -> str:
        """See `Backend.probe`."""
        return "threads of the process that is started"

    def __init__(self, options: EngineOptions | None = None, folder: Path | None = None) -> None:
        """Begin nothing.

        Args:
            options: How many threads; by default as many as there are cores for.
            folder: Not used.
        """
        self._num_workers = (options or EngineOptions()).engine_workers

    def map(
        self, make_worker: Callable[[], Worker[J, R]], jobs: Iterable[J], *, gpus: float = 0.0, cpus: float = 1.0
    ) -> Generator[Done[J, R], None, None]:
        """See `Engine.map`; a worker is made in its own thread, in which torch uses as many threads as it has cores."""
        import torch

        number = self._num_workers or num_threads(gpus, cpus)
        if number == 1:
            yield from in_threads(make_worker, jobs, 1)
            return

        def make_with_few_threads() -> Worker[J, R]:
            torch.set_num_threads(max(1, int(cpus)))
            return make_worker()

        before = torch.get_num_threads()
        try:
            with threadpool_limits(max(1, int(cpus)), "blas"):  # of numpy and scipy, whose threads wait by spinning
                yield from in_threads(make_with_few_threads, jobs, number)
        finally:
            torch.set_num_threads(before)  # threads that begin later take the number that was set last


def num_threads(gpus: float = 0.0, cpus: float = 1.0) -> int:
    """How many jobs are done at once: as many as torch may use threads, which a network uses badly; 1 on a GPU."""
    import torch

    return 1 if gpus else max(1, min(int(torch.get_num_threads() / cpus), MAX_THREADS))


def in_threads(
    make_worker: Callable[[], Worker[J, R]], jobs: Iterable[J], number: int
) -> Generator[Done[J, R], None, None]:
    """Do every job once, each in the thread that is free first.

    A single worker works in the calling thread, where Ctrl-C reaches it at once. When the iterator is left before its
    end, threads are stopped at their next Python instruction.

    Args:
        make_worker, jobs: See `Engine.map`.
        number: Of threads.
    """
    if number == 1:
        worker = make_worker()
        try:
            for job in jobs:
                yield _done(worker, job)
        finally:
            release(worker)
        return
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
    at_work, feed = _AtWork(), iter(jobs)
    threads: list[threading.Thread] = []
    num_under_way, is_complete = 0, False
    try:
        while True:
            while num_under_way < number + NUM_WAITING:
                taken: Any = next(feed, _END)
                if taken is _END:
                    break
                waiting.put(taken)
                num_under_way += 1
                if len(threads) < number:
                    arguments = make_worker, waiting, finished, at_work
                    threads.append(threading.Thread(target=_work, args=arguments, name="worker", daemon=True))
                    threads[-1].start()
            if not num_under_way:
                is_complete = True
                return
            done = _next(finished)
            if isinstance(done, BaseException):  # there is no worker
                raise done
            num_under_way -= 1
            yield done
    finally:
        _drain(waiting)
        for _ in threads:
            waiting.put(_END)
        try:
            _join(threads, _GRACE_S)
        finally:
            if not is_complete:
                at_work.stop()
            _wait_for(threads)


def _done(worker: Worker[J, R], job: J) -> Done[J, R]:
    try:
        return Done(job, worker(job))
    except Exception as error:  # noqa: BLE001 - the caller of the engine decides about it
        return Done(job, error=error)


class _StopWorkError(BaseException):
    """Raised inside a worker to end what it is doing; no handler of `Exception` swallows it."""


class _AtWork:
    """The threads that may be stopped: a thread that has said goodbye is left alone, and so ends without a word."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idents: set[int] = set()
        self._is_over = False

    def begin(self) -> bool:
        """Say that this thread works now; false where it shall not begin."""
        with self._lock:
            if not self._is_over:
                self._idents.add(threading.get_ident())
            return not self._is_over

    def end(self) -> None:
        """Say that this thread is at its end."""
        with self._lock:
            self._idents.discard(threading.get_ident())

    def stop(self) -> None:
        """Raise `_StopWorkError` in every thread that works."""
        with self._lock:
            self._is_over = True
            for ident in self._idents:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(_StopWorkError))


def _work(
    make_worker: Callable[[], Worker[Any, Any]],
    waiting: queue.SimpleQueue[Any],
    finished: queue.SimpleQueue[Any],
    at_work: _AtWork,
) -> None:
    with contextlib.suppress(_StopWorkError):  # which may come at any instruction, also while another error is told
        if not at_work.begin():
            return
        try:
            worker = make_worker()
            try:
                while (job := waiting.get()) is not _END:
                    finished.put(_done(worker, job))
            finally:
                release(worker)
        except _StopWorkError:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised again in the calling thread
            finished.put(error)
        at_work.end()


def _next(finished: queue.SimpleQueue[Any]) -> Any:
    while True:
        with contextlib.suppress(queue.Empty):
            return finished.get(timeout=_LOOK_S)


def _drain(waiting: queue.SimpleQueue[Any]) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            waiting.get_nowait()


def _wait_for(threads: Iterable[threading.Thread]) -> None:
    """Wait a while for threads that are to end; what is left ends with the process."""
    _join(threads, _PATIENCE_S)
    for thread in threads:
        if thread.is_alive():
            logger.warning("%s does not stop; it ends with the process", thread.name)


def _join(threads: Iterable[threading.Thread], time_s: float) -> None:
    deadline = time.monotonic() + time_s
    for thread in threads:
        if thread.ident is not None:  # an interrupt may come before all are started
            thread.join(max(0.0, deadline - time.monotonic()))
