from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from facade_views import OPTIONS
from interpose_sfm.matching.ahead import MAX_WORKERS, MatchingAhead, num_workers
from interpose_sfm.matching.cache import LearnedCache
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.products import Features, ImagePair, Matches, View
from interpose_sfm.storage.run_stores import open_stores

PAIRS = [ImagePair("a", str(number)) for number in range(5)]


def test_pairs_are_matched_at_once_and_each_only_once() -> None:
    done: list[ImagePair] = []
    together = threading.Barrier(2, timeout=20)  # two must be under way for either to go on

    def compute(pair: ImagePair) -> None:
        together.wait()
        done.append(pair)

    with MatchingAhead(compute, 2) as ahead:
        assert ahead.num_ahead == 2
        ahead.begin(PAIRS[:4])
        ahead.begin(PAIRS[1:4])
        for pair in PAIRS[:4]:
            ahead.wait(pair)
    assert sorted(done) == PAIRS[:4]


def test_every_worker_takes_one_thread_and_the_caller_keeps_its_own() -> None:
    before, found = torch.get_num_threads(), []
    with MatchingAhead(lambda _: found.append(torch.get_num_threads()), 2) as ahead:
        ahead.begin(PAIRS[:2])
        ahead.wait(PAIRS[0])
        ahead.wait(PAIRS[1])
    assert found == [1, 1]
    assert torch.get_num_threads() == before
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found[2] == before


def test_with_one_worker_nothing_is_done_ahead() -> None:
    with MatchingAhead(lambda pair: pytest.fail(f"{pair} was computed"), 1) as ahead:
        assert ahead.num_ahead == 0
        ahead.begin(PAIRS)
        ahead.wait(PAIRS[0])


def test_an_error_comes_out_where_its_pair_is_waited_for_and_the_rest_is_not_begun() -> None:
    begun: list[ImagePair] = []

    def compute(pair: ImagePair) -> None:
        begun.append(pair)
        time.sleep(0.05)
        raise ValueError(f"{pair.b} cannot be matched")

    with MatchingAhead(compute, 2) as ahead:
        ahead.begin(PAIRS)
        with pytest.raises(ValueError, match="0 cannot be matched"):
            ahead.wait(PAIRS[0])
    assert len(begun) < len(PAIRS)


def test_as_many_workers_as_torch_may_use_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for threads, expected in ((1, 1), (2, 2), (64, MAX_WORKERS)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert num_workers("cpu") == expected
        assert num_workers("cuda") == 1


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
