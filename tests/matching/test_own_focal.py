"""Focal lengths that the matches of two photos tell, and those that they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import FOCAL_PX, arc, camera, cloud, observe, turn
from interpose_sfm import geometry
from interpose_sfm.matching.own_focal import MAX_SPREAD_DEG, OwnFocal, better_elsewhere, own_focal
from interpose_sfm.matching.verification import pose_from_points
from interpose_sfm.products import FloatArray, Pose
from interpose_sfm.synthetic import look_at


def told(points_a_px: FloatArray, points_b_px: FloatArray, factor: float, pose: Pose | None = None) -> OwnFocal | None:
    """What matches say to cameras that state so many times their focal length."""
    stated = replace(camera(is_trusted=False), focal_px=factor * FOCAL_PX)
    begun = pose or pose_from_points(points_a_px, stated, points_b_px, stated, 0)
    assert begun is not None
    return own_focal(begun, points_a_px, stated, points_b_px, stated)


NEARER = [look_at((0, -8, 0.6), (0, 0, 0)), look_at((3.4, -4.0, 1.2), (0.7, 0.0, 0.3))]


def seen(noise_px: float = 0.5, poses: Sequence[Pose] = NEARER) -> tuple[FloatArray, FloatArray]:
    scene = observe(cloud(4, 200), poses, noise_px=noise_px, seed=4)
    rows = scene.true_rows(0, 1)
    return scene.features[0].keypoints_px[rows[:, 0]], scene.features[1].keypoints_px[rows[:, 1]]


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.6])
def test_matches_of_a_wide_turn_tell_it(factor: float) -> None:
    found = told(*seen(), factor)
    assert found is not None
    assert found.factor * factor == pytest.approx(1.0, abs=0.05)
    assert found.spread_deg > 0.1


def test_the_spread_grows_with_the_noise_and_with_fewer_matches() -> None:
    few = tuple(points_px[:25] for points_px in seen())
    spreads = [found.spread_deg for found in (told(*seen(), 1.2), told(*few, 1.2), told(*seen(3.0), 1.2)) if found]
    assert spreads[0] < 0.9 * spreads[1]
    assert spreads[0] < 0.9 * spreads[2]


def test_two_that_look_at_one_point_from_equally_far_tell_none() -> None:
    """Sturm, "On focal length calibration from two views", CVPR 2001: whatever the noise."""
    for turn_deg in (25.0, 50.0):
        found = told(*seen(0.1, arc((0, turn_deg))), 1.3)
        assert found is None or found.spread_deg > MAX_SPREAD_DEG


def test_a_plane_seen_from_afar_tells_none() -> None:
    """Hardly any perspective: another lens, farther away, sees the same."""
    rng = np.random.default_rng(2)
    points = rng.uniform((-1, 0, -1), (1, 0, 1), (80, 3))
    scene = observe(points, arc((0, 30), radius=60.0), noise_px=0.5, seed=2)
    rows = scene.true_rows(0, 1)
    found = told(scene.features[0].keypoints_px[rows[:, 0]], scene.features[1].keypoints_px[rows[:, 1]], 1.3)
    assert found is None or found.spread_deg > MAX_SPREAD_DEG


@pytest.mark.parametrize("zoom", [1.2, 1.4, 0.75])
def test_two_lenses_are_not_taken_for_one(zoom: float) -> None:
    """One focal length explains the matches of two nearly as well, by another pose."""
    points_a_px, points_b_px = seen()
    middle_px = np.array([400.0, 300.0])
    found = told(points_a_px, middle_px + zoom * (points_b_px - middle_px), 1.2)
    assert found is None or found.spread_deg > MAX_SPREAD_DEG


def test_a_turn_on_the_spot_tells_it_as_well() -> None:
    scene = observe(cloud(5, 4000, (20, 20, 10), (0, -7, 0.6)), turn((0, 30)), noise_px=0.5, seed=5)
    rows = scene.true_rows(0, 1)
    points_px = scene.features[0].keypoints_px[rows[:, 0]], scene.features[1].keypoints_px[rows[:, 1]]
    pose = Pose(geometry.rotation_exp(np.radians([6.0, 25.0, 3.0])), np.zeros(3))
    found = told(*points_px, 1.25, pose)
    assert found is not None
    assert found.factor * 1.25 == pytest.approx(1.0, abs=0.05)
    assert found.spread_deg < MAX_SPREAD_DEG


def test_few_matches_tell_nothing() -> None:
    points_a_px, points_b_px = (points_px[:14] for points_px in seen())
    assert told(points_a_px, points_b_px, 1.0) is None
    wrong = camera(is_trusted=False).zoomed(2.0)
    pose = geometry.with_unit_translation(geometry.relative_pose(NEARER[1], NEARER[0]))
    assert not better_elsewhere(pose, points_a_px, wrong, points_b_px, wrong).contradicts


@pytest.mark.parametrize("noise_px", [0.1, 0.5, 1.0])
@pytest.mark.parametrize(("factor", "is_right"), [(1.0, True), (1.03, True), (0.6, False), (1.8, False)])
def test_a_focal_length_that_is_far_off_is_contradicted(noise_px: float, factor: float, is_right: bool) -> None:
    points_a_px, points_b_px = seen(noise_px)
    stated = camera(is_trusted=False).zoomed(factor)
    pose = pose_from_points(points_a_px, stated, points_b_px, stated, 0)
    assert pose is not None
    found = better_elsewhere(pose, points_a_px, stated, points_b_px, stated)
    assert found.contradicts is not is_right
    if factor == 1.0:
        assert found.sigmas < 3.0


def test_what_tells_no_focal_length_contradicts_none() -> None:
    for factor in (0.7, 1.0, 1.4):
        points_a_px, points_b_px = seen(0.5, arc((0, 40)))
        stated = camera(is_trusted=False).zoomed(factor)
        pose = pose_from_points(points_a_px, stated, points_b_px, stated, 0)
        assert pose is not None
        assert not better_elsewhere(pose, points_a_px, stated, points_b_px, stated).contradicts
