from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import arc, cloud, described_anew, observe
from interpose_sfm.matching.likeness import MAX_KEYPOINTS, MAX_RATIO, likeness, likenesses, strongest_descriptors
from interpose_sfm.products import Features, ImagePair

SCENE = observe(cloud(1, 250), arc([0.0, 10.0]), noise_px=0.5, seed=1)
ELSEWHERE = observe(cloud(2, 250), arc([0.0, 10.0]), noise_px=0.5, seed=2)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_photos_of_one_place_are_more_alike_than_those_of_two(noise: float) -> None:
    a, same = SCENE.features[0], described_anew(SCENE.features[1], noise)
    other = described_anew(ELSEWHERE.features[1], noise)
    found, elsewhere = (likeness(strongest_descriptors(a), strongest_descriptors(b)) for b in (same, other))
    num_true = len(SCENE.true_rows(0, 1))
    assert 0.9 * num_true <= found <= len(a.keypoints_px)
    assert elsewhere <= 0.2 * found


def unit(*rows: tuple[float, float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
    vectors = np.array(rows, np.float32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def at(degrees: float) -> tuple[float, float]:
    return float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))


@pytest.mark.parametrize(("ratio", "count"), [(MAX_RATIO - 0.05, 2), (MAX_RATIO + 0.05, 0)])
def test_what_is_nearest_must_be_clearly_so(ratio: float, count: int) -> None:
    """The next one is 20 degrees away, for the match either way."""
    near = np.degrees(2 * np.arcsin(ratio * np.sin(np.radians(10.0))))  # so that the distances have this ratio
    a, b = unit(at(0.0), at(180.0)), unit(at(near), at(-20.0), at(180.0 - near), at(200.0))
    assert likeness(a, b) == likeness(b, a) == count


def test_who_is_nearest_to_two_is_alike_to_none_of_them() -> None:
    a, b = unit(at(0.0), at(12.0)), unit(at(6.0), at(170.0))
    assert likeness(a, b) == 0


def test_what_is_there_twice_is_alike_to_nothing() -> None:
    """Half precision makes lengths a little longer than one, or shorter."""
    once = SCENE.features[0]
    twice = replace(once, descriptors=np.repeat(once.descriptors, 2, 0), scores=np.repeat(once.scores, 2))
    doubled = replace(twice, keypoints_px=np.repeat(once.keypoints_px, 2, 0))
    assert likeness(strongest_descriptors(once), strongest_descriptors(doubled)) == 0


@pytest.mark.parametrize("number", [0, 1])
def test_without_descriptors_nothing_is_alike(number: int) -> None:
    few, many = np.ones((number, 8), np.float16), strongest_descriptors(SCENE.features[0])[:, :8]
    assert likeness(few, many) == likeness(many, few) == likeness(few, few) == 0


def test_only_the_strongest_are_kept_and_in_half_precision() -> None:
    number = MAX_KEYPOINTS + 100
    scores = np.random.default_rng(0).permutation(number).astype(np.float32)
    descriptors = np.eye(number, 64, dtype=np.float32)
    descriptors[:, 0] = scores
    kept = strongest_descriptors(Features(np.zeros((number, 2)), descriptors, scores, (10, 10)))
    assert kept.dtype == np.float16
    assert len(kept) == MAX_KEYPOINTS
    assert kept[:, 0].min() == 100


def test_pairs_of_unknown_photos_are_left_out() -> None:
    known = {"a": strongest_descriptors(SCENE.features[0]), "b": strongest_descriptors(SCENE.features[1])}
    pairs = [ImagePair("a", "z"), ImagePair("a", "b")]
    assert likenesses(known, pairs) == {ImagePair("a", "b"): likeness(known["a"], known["b"])}
    assert likenesses({}, pairs) == {}
