"""Threads of this process: as many as are worth it, and stopped in order."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable
from contextlib import closing

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from interpose_sfm.engines import local
from interpose_sfm.engines.local import MAX_THREADS, LocalEngine, in_threads, num_threads
from interpose_sfm.options import EngineOptions


def test_jobs_are_done_at_once() -> None:
    together = threading.Barrier(2, timeout=20)  # two must be under way for either to go on
    done = in_threads(lambda: lambda _: together.wait(), range(6), 2)
    assert sorted(each.job for each in done) == list(range(6))


def test_few_jobs_are_taken_ahead() -> None:
    taken = []

    def jobs():  # type: ignore[no-untyped-def]
        for number in range(100):
            taken.append(number)
            yield number

    with closing(in_threads(lambda: lambda job: job, jobs(), 2)) as results:
        for number, _ in enumerate(results, start=1):
            assert len(taken) <= number + 2 + local.NUM_WAITING
            if number == 10:
                break
    assert len(taken) < 20


def test_every_thread_takes_the_cores_it_is_given_and_the_caller_keeps_its_own() -> None:
    before, found = torch.get_num_threads(), []
    engine = LocalEngine(EngineOptions(engine_workers=2))
    for _ in engine.map(lambda: lambda _: found.append(torch.get_num_threads()), range(4), cpus=1):
        pass
    assert found == [1] * 4
    assert torch.get_num_threads() == before
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found[-1] == before


def test_threads_of_the_engine_have_no_threads_of_blas() -> None:
    def blas(_: int = 0) -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    with threadpool_limits(2, "blas"):
        before = blas()
        assert before
        assert max(before) == 2
        found = [done.value for done in LocalEngine(EngineOptions(engine_workers=2)).map(lambda: blas, range(4))]
        assert found == [[1] * len(before)] * 4
        assert blas() == before


def test_a_single_worker_works_in_the_calling_thread_with_all_cores() -> None:
    before = torch.get_num_threads()
    engine = LocalEngine(EngineOptions(engine_workers=1))
    found = list(engine.map(lambda: lambda _: (threading.get_ident(), torch.get_num_threads()), range(2)))
    assert [each.value for each in found] == [(threading.get_ident(), before)] * 2


def test_as_many_threads_as_torch_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    for threads, expected in ((1, 1), (2, 2), (64, MAX_THREADS)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert num_threads() == expected
        assert num_threads(gpus=1) == 1
        assert num_threads(cpus=2) == max(1, min(MAX_THREADS, threads // 2))


@pytest.mark.parametrize("number", [1, 2])
def test_an_interrupt_stops_every_worker(number: int) -> None:
    """The workers sleep for a minute in small steps, as a diffusion model does."""
    began, ended = threading.Semaphore(0), []

    def work(_: int) -> None:
        try:
            began.release()
            for _ in range(6000):
                time.sleep(0.01)
        finally:
            ended.append(1)

    def interrupt() -> None:
        import _thread

        for _ in range(number):
            began.acquire()
        _thread.interrupt_main()

    threading.Thread(target=interrupt, daemon=True).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(in_threads(lambda: work, range(10), number))
    assert time.monotonic() - start < 20
    assert len(ended) == number


class SlowToTell(queue.SimpleQueue):  # type: ignore[type-arg]
    """Takes its time once an error has been told, so that a worker is stopped while it tells one."""

    def put(self, item: object, *rest: object) -> None:  # type: ignore[override]
        super().put(item)
        if isinstance(item, BaseException):
            for _ in range(100):
                time.sleep(0.005)


def test_workers_that_fail_at_once_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As several do where there are no weights: one error, and no traceback of a thread."""
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    monkeypatch.setattr(local.queue, "SimpleQueue", SlowToTell)
    barrier = threading.Barrier(4)

    def fail() -> None:
        barrier.wait(5)
        raise ValueError("no weights")

    with pytest.raises(ValueError, match="no weights"):
        list(in_threads(fail, range(8), 4))  # type: ignore[arg-type]
    assert not told


def test_a_thread_that_is_about_to_end_is_not_stopped() -> None:
    """It might be in a callback of Python's own by then, which swallows the stop and complains."""
    numbers, stopped = itertools.count(), list[BaseException]()

    def broken() -> Callable[[int], int]:
        try:
            for _ in range(5 * next(numbers)):
                time.sleep(0.002)
        except BaseException as error:
            stopped.append(error)
            raise
        raise FileNotFoundError("no weights")

    with pytest.raises(FileNotFoundError):
        list(in_threads(broken, range(4), 2))
    assert not stopped
