from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from facade_views import OPTIONS
from interpose_sfm.engines.local import in_threads
from interpose_sfm.matching.ahead import Ahead, PairJob, a_few_at_once, at_once, bundled
from interpose_sfm.matching.cache import LearnedCache
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.products import Features, ImagePair, Matches, View
from interpose_sfm.storage.run_stores import open_stores

PAIRS = [ImagePair("a", str(number)) for number in range(5)]


def test_what_is_waited_for_is_done_and_little_more() -> None:
    done: list[ImagePair] = []
    with Ahead(in_threads(lambda: lambda job: done.extend(job.pairs), bundled(PAIRS, 1), 2)) as ahead:
        ahead.wait(PAIRS[1])
        assert PAIRS[1] in done
        ahead.wait(PAIRS[0])
        assert PAIRS[0] in done
        ahead.wait(ImagePair("never", "begun"))  # which takes all that there is
        assert sorted(done) == PAIRS


def test_what_depends_on_results_is_asked_for_late() -> None:
    needed = set(PAIRS)
    done: list[ImagePair] = []
    jobs = bundled((pair for pair in PAIRS if pair in needed), 1)
    with Ahead(in_threads(lambda: lambda job: done.extend(job.pairs), jobs, 1)) as ahead:
        ahead.wait(PAIRS[0])
        needed.clear()
        for pair in PAIRS[1:]:
            ahead.wait(pair)
    assert done == PAIRS[:1]


def test_an_error_comes_out_where_its_pair_is_waited_for_and_the_rest_is_not_begun() -> None:
    begun: list[ImagePair] = []

    def compute(job: PairJob) -> None:
        begun.extend(job.pairs)
        time.sleep(0.05)
        raise ValueError(f"{job.pairs[0].b} cannot be matched")

    with (
        Ahead(in_threads(lambda: compute, bundled(PAIRS, 1), 2)) as ahead,
        pytest.raises(ValueError, match="0 cannot be"),
    ):
        ahead.wait(PAIRS[0])
    assert len(begun) < len(PAIRS)


def test_pairs_that_are_matched_together_are_waited_for_together() -> None:
    done: list[int] = []
    with Ahead(in_threads(lambda: lambda job: done.append(len(job.pairs)), bundled(PAIRS, 3), 1)) as ahead:
        ahead.wait(PAIRS[2])
        assert done == [3]
        ahead.wait(PAIRS[0])
        assert done == [3]
        ahead.wait(PAIRS[4])
    assert done == [3, 2]


def test_all_at_once_or_an_error() -> None:
    done: list[int] = []
    at_once(done.append, range(5))
    assert sorted(done) == list(range(5))
    with pytest.raises(ZeroDivisionError):
        at_once(lambda number: 1 / number, range(5))


def test_results_come_in_the_order_of_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def late(number: int) -> str:
        time.sleep(0.02 * (number == 0))  # the first is done last
        return str(number)

    assert at_once(late, range(4)) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_who_stops_early_wastes_few(number: int) -> None:
    begun: list[int] = []
    results = a_few_at_once(lambda item: begun.append(item) or item, range(5), number)
    assert [next(results) for _ in range(2)] == [0, 1]
    assert sorted(begun) == list(range(max(2, number)))
    assert list(results) == [2, 3, 4]
    assert sorted(begun) == list(range(5))


def test_an_error_comes_in_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where one item is computed after another, whichever fails first in time."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def late(number: int) -> int:
        time.sleep(0.1 * (number == 0))
        if number:
            raise ValueError(f"of {number}")
        return number

    def latest_first(number: int) -> None:
        time.sleep(0.1 * (number == 0))
        raise ValueError(f"of {number}")

    results = a_few_at_once(late, range(4), 2)
    assert next(results) == 0
    with pytest.raises(ValueError, match="of 1"):
        next(results)
    with pytest.raises(ValueError, match="of 0"):
        at_once(latest_first, range(4))


@pytest.mark.parametrize("number_of_items", [1, 3])
def test_what_is_computed_alone_has_all_cores(number_of_items: int) -> None:
    """In the calling thread: that of a worker would leave all cores but one idle."""
    results = list(a_few_at_once(lambda _: threading.current_thread(), range(number_of_items), 2))
    assert results[-1] is threading.current_thread()


def test_of_threads_that_ask_for_the_same_one_computes(
    views: list[tuple[View, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []

    def extract(self: LearnedMatcher, image: np.ndarray) -> Features:
        computed.append("features")
        time.sleep(0.05)
        nothing = np.zeros((0, 2)), np.zeros((0, 128), np.float32), np.zeros(0, np.float32)
        return Features(*nothing, size_px=(image.shape[1], image.shape[0]))

    def match(self: LearnedMatcher, a: Features, b: Features) -> Matches:
        computed.append("matches")
        time.sleep(0.05)
        return Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))

    monkeypatch.setattr(LearnedMatcher, "extract", extract)
    monkeypatch.setattr(LearnedMatcher, "match", match)
    a, b = views[0][0], views[1][0]
    with open_stores(tmp_path) as stores:
        cache = LearnedCache(stores.features, stores.matches, OPTIONS)
        asking = [threading.Thread(target=cache.features_and_matches, args=(a, b)) for _ in range(4)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
    assert sorted(computed) == ["features", "features", "matches"]
