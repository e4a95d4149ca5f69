"""Verified matches of a clip: what is matched of its views, and where matching stops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import arc, cloud, observe, pose_error_deg, undescribed
from interpose_sfm.pose.edges import VerifiedEdges, usable
from interpose_sfm.pose.protocol import EstimatorContext
from interpose_sfm.products import Features, Matches, View

NUM_VIEWS = 6
LAST = NUM_VIEWS - 1
NOTHING = Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))
ALL = {(i, i + 1) for i in range(LAST)} | {(i, i + 2) for i in range(LAST - 1)}


class Clip:
    """Views around an object, of which some do not match, and what was matched by a network.

    Descriptors tell nothing unless they are `told`.
    """

    def __init__(self, broken: set[tuple[int, int]], num_views: int = NUM_VIEWS, *, told: bool = False) -> None:
        scene = observe(cloud(1, 250), arc([8.0 * i for i in range(num_views)]), noise_px=0.5, seed=1)
        self.scene, self.described = scene, list(scene.features)
        image = np.zeros((2, 2, 3), np.uint8)
        self.views = [View(str(number), image, camera) for number, camera in enumerate(self.scene.intrinsics)]
        self.broken, self.matched = broken, set[tuple[int, int]]()
        self.told = told
        self.edges = VerifiedEdges(EstimatorContext(features=self.features, matches=self.matches, seed=0))

    def features(self, view: View) -> Features:
        features = self.described[int(view.key)]
        return features if self.told else undescribed(features)

    def matches(self, a: View, b: View) -> Matches:
        step = int(a.key), int(b.key)
        self.matched.add(step)
        return NOTHING if step in self.broken else self.scene.matches(*step, seed=1)


@pytest.mark.parametrize("broken", [set(), {(2, 3)}, {(2, 3), (1, 3)}, {(0, 1), (3, 5)}])
def test_what_leads_through_is_matched_wholly(broken: set[tuple[int, int]]) -> None:
    """One edge over every gap is enough: nobody knows beforehand which of the others are of use."""
    clip = Clip(broken)
    found = clip.edges.through(clip.views)
    assert set(found) == clip.matched == ALL
    assert set(usable(found)) == ALL - broken


@pytest.mark.parametrize(
    ("broken", "not_matched"),
    [
        ({(2, 3), (1, 3), (2, 4)}, {(0, 2), (3, 5)}),
        ({(0, 1), (0, 2)}, {(1, 3), (2, 4), (3, 5)}),
        ({(4, 5), (3, 5)}, {(0, 2), (1, 3), (2, 4)}),
    ],
)
def test_nothing_more_is_matched_where_nothing_leads_through(
    broken: set[tuple[int, int]], not_matched: set[tuple[int, int]]
) -> None:
    clip = Clip(broken)
    clip.edges.through(clip.views)
    assert clip.matched == ALL - not_matched


@pytest.mark.parametrize("num_views", [3, 4])
def test_the_ends_are_matched_where_they_are_asked_for(num_views: int) -> None:
    """They are the witness of what lies between them."""
    ends = 0, num_views - 1
    clip = Clip(set(), num_views)
    assert ends not in clip.edges.between(clip.views, with_ends=False)
    assert ends not in clip.edges.through(clip.views)
    assert ends not in clip.matched
    assert ends in clip.edges.between(clip.views)


def test_no_network_is_asked_for_what_descriptors_tell() -> None:
    clip = Clip(set(), told=True)
    found = clip.edges.through(clip.views)
    assert set(usable(found)) == set(found) == ALL
    assert clip.matched == set()
    for (i, j), (_, two_view) in found.items():
        assert pose_error_deg(two_view.b_from_a, clip.scene.b_from_a(i, j))[0] < 1.0


def test_a_network_is_asked_where_descriptors_are_not_clear() -> None:
    """The last view looks unlike the others; both steps to it are learned, and no others."""
    clip = Clip(set(), told=True)
    last = clip.described[LAST]
    others = np.random.default_rng(0).normal(size=last.descriptors.shape).astype(np.float32)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    clip.described[LAST] = replace(last, descriptors=others)
    assert set(usable(clip.edges.through(clip.views))) == ALL
    assert clip.matched == {(LAST - 2, LAST), (LAST - 1, LAST)}


def test_two_photos_alone_are_always_matched_by_a_network() -> None:
    """Their matches are evidence, which limits were measured on."""
    clip = Clip(set(), 2, told=True)
    clip.edges.between(clip.views)
    assert clip.matched == {(0, 1)}
