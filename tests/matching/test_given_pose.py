from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import Scene, arc, cloud, observe, pose_error_deg, turn
from interpose_sfm import geometry
from interpose_sfm.matching import agreement, given_pose
from interpose_sfm.matching.agreement import Sight
from interpose_sfm.products import Matches, Pose


def scene(*, num_clutter: int = 300, turns: bool = False) -> Scene:
    poses = turn([0, 8]) if turns else arc([0, 40])
    return observe(cloud(1, 200), poses, noise_px=0.5, num_clutter=num_clutter, seed=2)


def sight_of(seen: Scene, matches: Matches) -> Sight:
    return agreement.sight(seen.features[0], seen.intrinsics[0], seen.features[1], seen.intrinsics[1], matches)


def noisy(pose: Pose, angle_deg: float, seed: int) -> Pose:
    rng = np.random.default_rng(seed)
    rotation = geometry.rotation_from_axis_angle(rng.normal(size=3), angle_deg) @ pose.rotation
    axis = np.cross(pose.translation, rng.normal(size=3))
    return Pose(rotation, geometry.rotation_from_axis_angle(axis, angle_deg) @ pose.translation)


def test_a_dozen_matches_prove_a_pose_that_was_not_made_of_them() -> None:
    """And far fewer than one made of them would need: its freedom eats up what they say."""
    seen = scene()
    few = sight_of(seen, seen.matches(0, 1, limit=30, outlier_share=0.6))
    true = seen.b_from_a(0, 1)
    assert given_pose.surprise(true, few, tests=1.0) > 12
    assert given_pose.refined_surprise(true, few, tests=11.0) < 12
    assert given_pose.surprise(noisy(true, 60.0, 0), few, tests=1.0) < 3


def test_a_pose_that_is_not_exact_is_found_in_a_wider_band() -> None:
    seen = scene()
    matches = sight_of(seen, seen.matches(0, 1, limit=100, outlier_share=0.3))
    true = seen.b_from_a(0, 1)
    exact, near = (given_pose.surprise(pose, matches, 1.0) for pose in (true, noisy(true, 2.0, 1)))
    assert exact > near > 12


def test_every_pose_that_is_tried_costs() -> None:
    seen = scene()
    matches = sight_of(seen, seen.matches(0, 1, limit=30, outlier_share=0.5))
    true = seen.b_from_a(0, 1)
    one, hundred = (given_pose.surprise(true, matches, tests) for tests in (1.0, 100.0))
    assert one - hundred == pytest.approx(2.0)


@pytest.mark.parametrize("angle_deg", [3.0, 6.0])
def test_noisy_proposals_come_back(angle_deg: float) -> None:
    seen = scene()
    matches = sight_of(seen, seen.matches(0, 1, outlier_share=0.4, outlier_score=0.4))
    true = seen.b_from_a(0, 1)
    for seed in range(8):
        proposed = noisy(true, angle_deg, seed)
        found, num_starts = given_pose.refine(proposed, 2 * angle_deg, matches)
        assert max(pose_error_deg(found, true)) < 1.0
        assert max(pose_error_deg(proposed, true)) > 2.5
        assert num_starts == 11


def test_the_search_is_bounded() -> None:
    """Not even matches that all agree draw a pose out of its bounds."""
    seen = scene()
    matches = sight_of(seen, seen.matches(0, 1))
    proposed = noisy(seen.b_from_a(0, 1), 12.0, 0)
    found, _ = given_pose.refine(proposed, 4.0, matches)
    assert given_pose.is_within(found, proposed, 4.0)
    best, _ = given_pose.refine(proposed, 4.0, matches, [seen.b_from_a(0, 1)])
    assert given_pose.is_within(best, proposed, 4.0)


def test_a_pose_from_elsewhere_counts_within_the_bounds() -> None:
    seen = scene()
    matches = sight_of(seen, seen.matches(0, 1))
    true = seen.b_from_a(0, 1)
    found, num_starts = given_pose.refine(noisy(true, 5.0, 0), 8.0, matches, [true])
    assert max(pose_error_deg(found, true)) < 0.5
    assert num_starts == 12


def test_a_pure_rotation_stays_one() -> None:
    seen = scene(turns=True)
    matches = sight_of(seen, seen.matches(0, 1, outlier_share=0.3, outlier_score=0.5))
    true = Pose(seen.b_from_a(0, 1).rotation, np.zeros(3))
    proposed = Pose(geometry.rotation_from_axis_angle((0, 1, 0), 4.0) @ true.rotation, np.zeros(3))
    found, _ = given_pose.refine(proposed, 8.0, matches)
    assert not np.any(found.translation)
    assert geometry.rotation_angle_deg(found.rotation @ true.rotation.T) < 0.2
    assert not given_pose.is_within(replace(found, translation=np.array([1.0, 0, 0])), found, 8.0)


def test_nothing_is_refined_on_few_matches() -> None:
    seen = scene()
    few = sight_of(seen, seen.matches(0, 1, limit=5))
    proposed = noisy(seen.b_from_a(0, 1), 5.0, 0)
    assert given_pose.refine(proposed, 8.0, few) == (proposed, 1)
    nothing = sight_of(seen, Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32)))
    assert given_pose.surprise(proposed, nothing, 1.0) == given_pose.refined_surprise(proposed, nothing, 1.0) == 0.0


def test_guided_matches_are_true_ones_that_the_matcher_missed() -> None:
    seen = scene()
    matches = seen.matches(0, 1, limit=40)
    true = seen.b_from_a(0, 1)
    rows = given_pose.guided(true, seen.features[0], seen.features[1], matches, sight_of(seen, matches))
    found = Matches(rows, np.ones(len(rows), np.float32))
    assert len(rows) > 60
    assert np.mean(seen.is_true(0, 1, found)) > 0.95
    assert not set(rows[:, 0]) & set(matches.indices[:, 0])


def test_nothing_is_guided_where_descriptors_cannot_tell() -> None:
    seen = scene()
    matches = seen.matches(0, 1, limit=40)
    blind = [replace(f, descriptors=np.ones_like(f.descriptors) / 4) for f in seen.features]
    rows = given_pose.guided(seen.b_from_a(0, 1), blind[0], blind[1], matches, sight_of(seen, matches))
    assert len(rows) == 0
