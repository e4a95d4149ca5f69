from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import evidence, link
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.judge import judge, judge_evidence, needed_score
from interpose_sfm.products import Evidence, Link, LinkVerdict, Pose
from linked_world import offered

OPTIONS = ConsensusOptions()
ACCEPTED = LinkVerdict.ACCEPTED
EPSILON = 1e-6


def verdict_of(found: Evidence, knows_cameras: bool = True) -> LinkVerdict:
    verdict, detail = judge_evidence(found, knows_cameras, OPTIONS)
    assert detail
    return verdict


@pytest.mark.parametrize(
    ("name", "limit", "refusal"),
    [
        ("share", OPTIONS.min_inlier_share, LinkVerdict.LOW_SHARE),
        ("score", OPTIONS.min_score_near, LinkVerdict.LOW_SCORE),
        ("density", OPTIONS.min_density, LinkVerdict.LOW_DENSITY),
    ],
)
def test_each_cue_has_its_limit(name: str, limit: float, refusal: LinkVerdict) -> None:
    assert verdict_of(evidence(**{name: limit})) is ACCEPTED  # type: ignore[arg-type]
    assert verdict_of(evidence(**{name: limit - EPSILON})) is refusal  # type: ignore[arg-type]


def test_the_number_of_inliers_has_its_limit() -> None:
    assert verdict_of(evidence(num_inliers=OPTIONS.min_inliers)) is ACCEPTED
    assert verdict_of(evidence(num_inliers=OPTIONS.min_inliers - 1)) is LinkVerdict.FEW_INLIERS
    assert verdict_of(evidence(num_inliers=100_000, share=0.5)) is LinkVerdict.LOW_SHARE


@pytest.mark.parametrize(("angle_deg", "needed"), [(0, 0.75), (45, 0.75), (62.5, 0.65), (80, 0.55), (150, 0.55)])
def test_near_photos_must_match_with_more_confidence(angle_deg: float, needed: float) -> None:
    assert needed_score(angle_deg, OPTIONS) == pytest.approx(needed)
    assert verdict_of(evidence(angle_deg=angle_deg, score=needed + EPSILON)) is ACCEPTED
    assert verdict_of(evidence(angle_deg=angle_deg, score=needed - EPSILON)) is LinkVerdict.LOW_SCORE


@pytest.mark.parametrize(
    ("is_calibrated", "knows_cameras", "expected"),
    [
        (True, True, ACCEPTED),
        (False, True, LinkVerdict.NOT_CALIBRATED),
        (False, False, ACCEPTED),
        (True, False, ACCEPTED),
    ],
)
def test_the_geometry_must_fit_known_cameras_only(
    is_calibrated: bool, knows_cameras: bool, expected: LinkVerdict
) -> None:
    assert verdict_of(evidence(is_calibrated=is_calibrated), knows_cameras) is expected


def test_the_detail_names_the_figures() -> None:
    detail = judge_evidence(evidence(share=0.5), True, OPTIONS)[1]
    assert "50%" in detail
    assert "85%" in detail


def judged(candidate: Link) -> LinkVerdict:
    verdict, detail = judge(candidate, True, OPTIONS)
    assert detail
    return verdict


def test_a_link_needs_a_sure_pose_with_a_direction() -> None:
    pose = offered("a", "b").b_from_a
    assert judged(link("a", "b", pose)) is ACCEPTED
    assert judged(link("a", "b", pose, spread_deg=OPTIONS.max_spread_deg)) is ACCEPTED
    assert judged(link("a", "b", pose, spread_deg=OPTIONS.max_spread_deg + EPSILON)) is LinkVerdict.UNSURE_POSE
    assert judged(link("a", "b", pose, spread_deg=180.0)) is LinkVerdict.UNSURE_POSE
    assert judged(link("a", "b", Pose(pose.rotation, np.zeros(3)))) is LinkVerdict.ROTATION_ONLY
    assert judged(link("a", "b", pose, evidence(share=0.5))) is LinkVerdict.LOW_SHARE


@pytest.mark.parametrize(("num_points", "expected"), [(30, ACCEPTED), (29, LinkVerdict.FEW_INLIERS)])
def test_enough_correspondences_must_reach_both_photos(num_points: int, expected: LinkVerdict) -> None:
    points = np.zeros((num_points, 2))
    candidate = link("a", "b", offered("a", "b").b_from_a, points_px=(points, points))
    assert candidate.evidence.num_inliers == 100
    assert judged(candidate) is expected


def test_the_link_of_a_clip_needs_no_correspondences_in_both_photos() -> None:
    """Its pose rests on the frames between; learned matches of the two photos have nothing else to rest on."""
    alone = link("a", "b", offered("a", "b").b_from_a, points_px=(np.zeros((0, 2)), np.zeros((0, 2))))
    assert judged(alone) is LinkVerdict.FEW_INLIERS
    assert judged(replace(alone, source="morph-0")) is ACCEPTED
    few = replace(alone.evidence, num_inliers=OPTIONS.min_inliers - 1)  # of the weakest step over the frames
    assert judged(replace(alone, source="morph-0", evidence=few)) is LinkVerdict.FEW_INLIERS
