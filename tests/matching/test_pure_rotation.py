"""Turns of a camera on the spot: how well the matches know them where the focal length is a guess."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import FOCAL_PX, camera, cloud, observe, turn
from interpose_sfm import geometry
from interpose_sfm.matching import pure_rotation
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.judge import judge
from interpose_sfm.pairs.pair_link import pair_link
from interpose_sfm.products import ImagePair, Intrinsics, LinkVerdict, PairMatch

TURN_DEG = 40.0


def matched(factor: float, *, is_trusted: bool = False) -> tuple[PairMatch, float]:
    """A turn on the spot under a focal length that is off by a factor, and by how many degrees it is found wrong."""
    seen = observe(
        cloud(5, 4000, (20, 20, 10), (0, -7, 0.6)), turn((0, TURN_DEG)), noise_px=0.7, num_clutter=20, seed=5
    )
    off = replace(camera(is_trusted=is_trusted), focal_px=factor * FOCAL_PX)
    found = pair_link(
        ImagePair("a", "b"), (seen.features[0], off, seen.features[1], off), seen.matches(0, 1, limit=60), 0, 0.1
    )
    assert found.link is not None
    assert not np.any(found.link.b_from_a.translation)
    truth = seen.cam_from_world[1].rotation @ seen.cam_from_world[0].rotation.T
    return found, float(geometry.rotation_angle_deg(found.link.b_from_a.rotation @ truth.T))


@pytest.mark.parametrize("factor", [0.95, 1.0, 1.05])
def test_a_focal_length_that_is_right_leaves_a_turn_sure(factor: float) -> None:
    found, error_deg = matched(factor)
    assert found.link is not None
    assert error_deg < 3.0
    assert found.link.spread_deg < 3.0
    assert judge(found.link, ConsensusOptions())[0] is LinkVerdict.ROTATION_ONLY


@pytest.mark.parametrize("factor", [0.5, 0.65])
def test_a_focal_length_that_the_matches_do_not_tell_makes_a_turn_unsure(factor: float) -> None:
    """Matches in a narrow strip, which a turn explains under any focal length within a few pixels."""
    rng = np.random.default_rng(1)
    right = camera(is_trusted=False)
    points_a_px = rng.uniform((690, 0), (800, 600), (30, 2))
    truth = geometry.rotation_exp(np.radians([1.0, -52.0, 2.0]))
    points_b_px = geometry.project(geometry.unit_rays(points_a_px, right) @ truth.T, right)
    points_b_px += rng.normal(0, 0.7, points_b_px.shape)
    off = replace(right, focal_px=factor * FOCAL_PX)
    rays = geometry.unit_rays(points_a_px, off), geometry.unit_rays(points_b_px, off)
    found, _ = pure_rotation.best_rotation(*rays, off.focal_px)
    error_deg = float(geometry.rotation_angle_deg(found @ truth.T))
    spread_deg = pure_rotation.spread_deg(found, points_a_px, off, points_b_px, off)
    assert error_deg > 15.0
    assert 0.8 * error_deg < spread_deg < 1.3 * error_deg


def test_a_turn_that_is_unsure_is_no_pure_rotation_that_is_told() -> None:
    found, _ = matched(1.0)
    assert found.link is not None
    verdict, detail = judge(replace(found.link, spread_deg=12.0), ConsensusOptions())
    assert verdict is LinkVerdict.UNSURE_POSE
    assert (
        detail == "the matches do not tell the focal lengths, or others: the turn is known to 12.0 degrees, needs 10.0"
    )


def test_a_focal_length_that_is_known_is_not_doubted() -> None:
    found, _ = matched(0.95, is_trusted=True)
    assert found.link is not None
    assert found.link.spread_deg == pure_rotation.SPREAD_DEG


def test_few_or_equal_matches_of_a_wide_turn_tell_nothing() -> None:
    guess = Intrinsics(640, 480, 500.0, 320.0, 240.0)
    points_px = np.random.default_rng(0).uniform(250, 400, (20, 2))
    turned_px = {}
    for turn_deg in (10.0, 20.0):
        turn = geometry.rotation_exp(np.radians([0.0, turn_deg, 0.0]))
        rays = geometry.unit_rays(points_px, guess) @ turn.T
        turned_px[turn_deg] = turn, geometry.project(rays, guess)
    small, small_px = turned_px[10.0]
    assert pure_rotation.spread_deg(small, points_px, guess, small_px, guess) == pure_rotation.SPREAD_DEG
    wide, wide_px = turned_px[20.0]
    known = replace(guess, is_trusted=True)
    assert pure_rotation.spread_deg(wide, points_px, known, wide_px, known) == pure_rotation.SPREAD_DEG
    same = np.zeros(20, np.int64)
    assert pure_rotation.spread_deg(wide, points_px[same], guess, wide_px[same], guess) > 10.0
