"""Jobs shared out among workers, one thread each, that stop in order."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)
_LOOK_S = 0.2  # how often the waiting thread lets a signal through
_PATIENCE_S = 60.0  # a step of a large model on a slow device


class _StopWorkError(BaseException):
    """Raised inside a worker to end what it is doing; no handler of `Exception` swallows it."""


def share_out(jobs: Sequence[T], workers: Sequence[Callable[[T], None]], on_done: Callable[[int], None]) -> None:
    """Do every job once, each by the worker that is free first.

    A single worker works in the calling thread, where Ctrl-C reaches it at once. When several work and one fails, or
    the calling thread is interrupted, the others are stopped at their next Python instruction.

    Args:
        jobs: In the order in which they are begun.
        workers: At least one.
        on_done: Called in the calling thread with the number of finished jobs; may raise to end the work.

    Raises:
        BaseException: What a worker or `on_done` raised first.
    """
    if len(workers) == 1 or len(jobs) < 2:
        for index, job in enumerate(jobs):
            workers[0](job)
            on_done(index + 1)
        return
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    finished: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    at_work = _AtWork()
    threads = [
        threading.Thread(target=_work, args=(worker, waiting, finished, at_work), name=f"clip worker {i}", daemon=True)
        for i, worker in enumerate(workers[: len(jobs)])
    ]
    try:
        for thread in threads:
            thread.start()
        for index in range(len(jobs)):
            error = _next(finished)
            if error is not None:
                raise error
            on_done(index + 1)
    except BaseException:
        _drain(waiting)
        at_work.stop()
        _wait_for(threads)
        raise
    for thread in threads:
        thread.join()


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
    worker: Callable[[T], None],
    waiting: queue.SimpleQueue[T],
    finished: queue.SimpleQueue[BaseException | None],
    at_work: _AtWork,
) -> None:
    with contextlib.suppress(_StopWorkError):  # which may come at any instruction, also while another error is told
        if not at_work.begin():
            return
        try:
            while True:
                try:
                    job = waiting.get_nowait()
                except queue.Empty:
                    break
                worker(job)
                finished.put(None)
        except _StopWorkError:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised again in the calling thread
            finished.put(error)
        at_work.end()


def _next(finished: queue.SimpleQueue[BaseException | None]) -> BaseException | None:
    while True:
        with contextlib.suppress(queue.Empty):
            return finished.get(timeout=_LOOK_S)


def _drain(waiting: queue.SimpleQueue[T]) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            waiting.get_nowait()


def _wait_for(threads: Sequence[threading.Thread]) -> None:
    """Wait a while for threads that were stopped; what is left ends with the process."""
    deadline = time.monotonic() + _PATIENCE_S
    for thread in threads:
        if thread.ident is None:  # an interrupt may come before all are started
            continue
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            logger.warning("%s does not stop; it ends with the process", thread.name)


def worker_devices(option: str) -> tuple[str, ...]:
    """The torch devices that an option names, one worker each.

    Args:
        option: Devices separated by commas, the same one several times if wanted; ``auto`` for all CUDA devices, else
            Metal, else the CPU.

    Raises:
        ValueError: Something else.
    """
    import torch

    names = tuple(name.strip() for name in option.split(","))
    if names == ("auto",):
        if torch.cuda.is_available():
            return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
        return ("mps",) if torch.backends.mps.is_available() else ("cpu",)
    for name in names:
        try:
            torch.device(name)
        except RuntimeError as error:
            raise ValueError(
                f"option video-device: got {option!r}, expected auto, or torch devices such as cuda:0,cuda:1"
            ) from error
    return names
