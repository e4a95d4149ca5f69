from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import evidence, link
from interpose_sfm.colmap.constants import MIN_VERIFIED_MATCHES
from interpose_sfm.geometry import rotation_from_axis_angle
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.judge import (
    COPY_WEIGHT,
    FORWARD_DEG,
    MAX_SATELLITES,
    MIN_NEAR_SCORE,
    MIN_OVERLAY,
    MIN_WHISPER,
    NEAR_DEG,
    NOTHING_MISSING,
    RIVAL_OF_COPIES,
    RIVAL_OF_PATCH,
    SURE_AGREEMENT,
    SURE_SHARE,
    SURE_WEIGHT,
    judge,
    judge_evidence,
)
from interpose_sfm.products import Doubts, Evidence, Link, LinkVerdict, Pose
from linked_world import offered

OPTIONS = ConsensusOptions()
ACCEPTED, POSSIBLE = LinkVerdict.ACCEPTED, LinkVerdict.POSSIBLE
EPSILON = 1e-6
POSE = offered("a", "b").b_from_a
SILENT = Doubts(silence_a=0.2, silence_b=0.2)


def verdict_of(found: Evidence) -> LinkVerdict:
    verdict, detail = judge_evidence(found, OPTIONS)
    assert detail
    return verdict


def judged(candidate: Link) -> LinkVerdict:
    verdict, detail = judge(candidate, OPTIONS)
    assert detail
    return verdict


def doubted(doubts: Doubts, found: Evidence | None = None) -> LinkVerdict:
    return judged(replace(link("a", "b", POSE, found), doubts=doubts))


@pytest.mark.parametrize("below", [1e-3, 1e-6])
def test_a_near_miss_of_a_limit_reads_as_one(below: float) -> None:
    limit = OPTIONS.min_agreement
    found = evidence(agreement=limit - below)
    verdict, detail = judge_evidence(found, OPTIONS)
    assert verdict is POSSIBLE
    got, _, needed = detail.partition(" net agreement, needs ")
    assert float(got.removesuffix("%")) < float(needed.removesuffix("%"))


SIDEWAYS = Pose(np.eye(3), np.array([1.0, 0.0, 0.0]))
FORWARD = Pose(np.eye(3), np.array([0.0, 0.0, 1.0]))
DOUBTFUL = {
    "agreement": SURE_AGREEMENT - EPSILON,
    "angle_deg": NEAR_DEG - EPSILON,
    "score": MIN_NEAR_SCORE - EPSILON,
    "share": SURE_SHARE - EPSILON,
}


def test_a_matcher_that_hesitates_from_one_side_needs_third_photos() -> None:
    verdict, detail = judge(link("a", "b", SIDEWAYS, evidence(**DOUBTFUL)), OPTIONS)  # type: ignore[arg-type]
    assert verdict is POSSIBLE
    assert "by matches of 0.659999 mean confidence for photos that are 45 degrees apart, needs 0.660000" in detail


@pytest.mark.parametrize("name", DOUBTFUL)
def test_each_reason_for_confidence_suffices(name: str) -> None:
    sure = {**DOUBTFUL, name: DOUBTFUL[name] + 2 * EPSILON}
    assert judged(link("a", "b", SIDEWAYS, evidence(**sure))) is ACCEPTED  # type: ignore[arg-type]


def test_a_matcher_that_knows_much_again_may_hesitate() -> None:
    found = replace(evidence(**DOUBTFUL), weight=SURE_WEIGHT - EPSILON)  # type: ignore[arg-type]
    assert judged(link("a", "b", SIDEWAYS, found)) is POSSIBLE
    assert judged(link("a", "b", SIDEWAYS, replace(found, weight=SURE_WEIGHT))) is ACCEPTED


def test_whoever_walks_forward_sees_another_scale_and_may_hesitate() -> None:
    found = evidence(**DOUBTFUL)  # type: ignore[arg-type]
    assert judged(link("a", "b", FORWARD, found)) is ACCEPTED
    turned = Pose(rotation_from_axis_angle(np.array([0.0, 1.0, 0.0]), FORWARD_DEG + 1), FORWARD.translation)
    assert judged(link("a", "b", turned, found)) is POSSIBLE  # B looks elsewhere than along the way
    assert judged(link("a", "b", turned.inverse(), found)) is POSSIBLE


COPY = Doubts(copy_rival=RIVAL_OF_COPIES + EPSILON, num_satellites=MAX_SATELLITES)
COPIED = {"agreement": SURE_AGREEMENT - EPSILON, "share": SURE_SHARE - EPSILON}


def copied(found: Evidence, doubts: Doubts = COPY) -> LinkVerdict:
    return judged(replace(link("a", "b", SIDEWAYS, found), doubts=doubts))


def test_one_patch_that_a_rival_contradicts_may_be_a_print_that_repeats() -> None:
    """However sure the matcher is of it, and from whatever angle."""
    found = evidence(**COPIED)  # type: ignore[arg-type]
    verdict, detail = judge(replace(link("a", "b", SIDEWAYS, found), doubts=COPY), OPTIONS)
    assert verdict is POSSIBLE
    assert "in one patch, as of a pattern that repeats: a pose turned far away explains 70.0001%" in detail
    assert copied(found, replace(COPY, copy_rival=RIVAL_OF_COPIES)) is ACCEPTED
    assert copied(found, replace(COPY, num_satellites=MAX_SATELLITES + 1)) is ACCEPTED


def test_a_light_patch_with_any_far_rival_needs_third_photos() -> None:
    """As of the two sides of a can with one label, whose poses may be turned less."""
    found = replace(evidence(**COPIED), weight=SURE_WEIGHT - EPSILON)  # type: ignore[arg-type]
    rivalled = Doubts(far_rival=RIVAL_OF_PATCH + EPSILON, num_satellites=MAX_SATELLITES)
    verdict, detail = judge(replace(link("a", "b", SIDEWAYS, found), doubts=rivalled), OPTIONS)
    assert verdict is POSSIBLE
    assert "a pose turned far away explains 40.0001%" in detail
    assert copied(found, replace(rivalled, far_rival=RIVAL_OF_PATCH)) is ACCEPTED
    assert copied(found, replace(rivalled, num_satellites=MAX_SATELLITES + 1)) is ACCEPTED
    assert copied(replace(found, weight=SURE_WEIGHT), rivalled) is ACCEPTED


def test_nearly_all_may_agree_with_a_copy() -> None:
    """As of the two sides of a can with one label."""
    assert copied(evidence(agreement=1.0, share=1.0)) is POSSIBLE


def test_where_much_is_known_again_it_is_no_copy() -> None:
    found = evidence(**COPIED)  # type: ignore[arg-type]
    assert copied(replace(found, weight=COPY_WEIGHT - EPSILON)) is POSSIBLE
    assert copied(replace(found, weight=COPY_WEIGHT)) is ACCEPTED


def test_the_steps_of_a_clip_are_not_asked() -> None:
    step = replace(link("a", "b", SIDEWAYS, evidence(**DOUBTFUL)), source="clip 0")  # type: ignore[arg-type]
    assert judged(step) is ACCEPTED
    assert judged(replace(step, doubts=COPY)) is ACCEPTED


def test_one_patch_is_no_sure_near_miss() -> None:
    """As of a screen that shows a photo of the place: all of it agrees, and what is around it hardly matches."""
    near_miss = evidence(agreement=OPTIONS.min_agreement - 0.05, share=SURE_SHARE)
    assert doubted(Doubts(num_satellites=MAX_SATELLITES + 1), near_miss) is ACCEPTED
    assert doubted(Doubts(num_satellites=MAX_SATELLITES), replace(near_miss, weight=1000.0)) is POSSIBLE


def test_what_is_burnt_into_both_photos_links_nothing() -> None:
    """Nor does it tell that they were taken from one place, where it lies in one place of both."""
    stamped = Doubts(overlay=MIN_OVERLAY, num_satellites=50)
    assert doubted(stamped) is LinkVerdict.OVERLAY
    assert doubted(replace(stamped, overlay=MIN_OVERLAY - EPSILON)) is ACCEPTED
    still = link("a", "b", Pose(np.eye(3), np.zeros(3)))
    assert judged(still) is LinkVerdict.ROTATION_ONLY
    for doubts, expected in ((stamped, LinkVerdict.OVERLAY), (SILENT, LinkVerdict.LOOK_ALIKE)):
        verdict, detail = judge(replace(still, doubts=doubts), OPTIONS)
        assert verdict is expected, detail


# ---------------------------------------------------------------- evidence


@pytest.mark.parametrize(
    ("name", "limit", "refusal"),
    [
        ("agreement", OPTIONS.min_agreement, POSSIBLE),
        ("agreement", OPTIONS.min_agreement_confirmed, LinkVerdict.LOW_AGREEMENT),
        ("surprise", OPTIONS.min_surprise, LinkVerdict.CHANCE),
    ],
)
def test_each_cue_has_its_limit(name: str, limit: float, refusal: LinkVerdict) -> None:
    assert verdict_of(evidence(**{name: limit})) is not refusal  # type: ignore[arg-type]
    assert verdict_of(evidence(**{name: limit - EPSILON})) is refusal  # type: ignore[arg-type]
    assert verdict_of(evidence(**{name: limit + 0.5})) is ACCEPTED  # type: ignore[arg-type]


def test_a_near_miss_of_which_hardly_any_match_contradicts_is_believed_where_nothing_is_missing() -> None:
    near_miss = evidence(agreement=OPTIONS.min_agreement - 0.05, share=SURE_SHARE)
    halfway = (OPTIONS.min_agreement + OPTIONS.min_agreement_confirmed) / 2
    for found, silence, verdict in (
        (near_miss, 0.0, ACCEPTED),
        (near_miss, NOTHING_MISSING + EPSILON, POSSIBLE),
        (replace(near_miss, inlier_share=SURE_SHARE - EPSILON), 0.0, POSSIBLE),
        (replace(near_miss, agreement=halfway + EPSILON), 0.0, ACCEPTED),
        (replace(near_miss, agreement=halfway - EPSILON), 0.0, POSSIBLE),
    ):
        assert judge_evidence(found, OPTIONS, silence)[0] is verdict


def test_the_number_of_inliers_has_its_limits() -> None:
    """Below what COLMAP verifies nothing helps; a few more are a near miss; any number of them proves nothing."""
    assert verdict_of(evidence(num_inliers=OPTIONS.min_inliers)) is ACCEPTED
    assert verdict_of(evidence(num_inliers=OPTIONS.min_inliers - 1)) is POSSIBLE
    assert verdict_of(evidence(num_inliers=MIN_VERIFIED_MATCHES)) is POSSIBLE
    assert verdict_of(evidence(num_inliers=MIN_VERIFIED_MATCHES - 1)) is LinkVerdict.FEW_INLIERS
    assert verdict_of(evidence(num_inliers=100_000, agreement=0.5, surprise=999.0)) is LinkVerdict.LOW_AGREEMENT


def test_what_orders_links_does_not_judge_them() -> None:
    """Share, confidence, density and angle depend on the resolution, the subject and the way the camera went."""
    weak = evidence(share=0.3, score=0.3, density=0.01, angle_deg=0.5, is_calibrated=False)
    assert verdict_of(weak) is ACCEPTED


def test_the_detail_names_the_figures() -> None:
    detail = judge_evidence(evidence(agreement=0.5), OPTIONS)[1]
    assert "50%" in detail
    assert "74%" in detail
    detail = judge_evidence(evidence(surprise=3.0), OPTIONS)[1]
    assert "1e3 " in detail
    assert "1e12" in detail


# ---------------------------------------------------------------- doubts


def test_a_pose_that_a_far_one_rivals_is_not_known() -> None:
    """Not even where more than one patch matches."""
    several = MAX_SATELLITES + 1
    assert doubted(Doubts(far_rival=OPTIONS.max_far_rival, num_satellites=several)) is ACCEPTED
    assert doubted(Doubts(far_rival=OPTIONS.max_far_rival + EPSILON, num_satellites=several)) is POSSIBLE


def test_photos_that_share_one_thing_and_nothing_around_it_are_look_alikes() -> None:
    limit = OPTIONS.max_silence
    assert doubted(Doubts(silence_a=limit, silence_b=limit)) is ACCEPTED
    assert doubted(Doubts(silence_a=limit + EPSILON, silence_b=limit + EPSILON)) is LinkVerdict.LOOK_ALIKE
    assert doubted(Doubts(silence_a=0.9)) is ACCEPTED  # one photo shows more than the other
    for number, verdict in ((MAX_SATELLITES, LinkVerdict.LOOK_ALIKE), (MAX_SATELLITES + 1, ACCEPTED)):
        assert doubted(replace(SILENT, num_satellites=number)) is verdict
    for whisper, verdict in ((MIN_WHISPER - EPSILON, LinkVerdict.LOOK_ALIKE), (MIN_WHISPER, ACCEPTED)):
        assert doubted(replace(SILENT, whisper=whisper)) is verdict


@pytest.mark.parametrize(
    ("agreement", "silence", "expected"),
    [
        (0.80, 0.06, ACCEPTED),
        (0.80, 0.09, POSSIBLE),
        (0.80, 0.30, LinkVerdict.LOW_AGREEMENT),
        (0.95, 0.20, ACCEPTED),
        (0.95, 0.30, POSSIBLE),
    ],
)
def test_what_is_missing_is_taken_from_what_agrees(agreement: float, silence: float, expected: LinkVerdict) -> None:
    """However many things match: look-alike facades match in many places, and lack others."""
    offer = link("a", "b", POSE, evidence(agreement=agreement))
    doubts = Doubts(silence_a=silence, silence_b=silence, num_satellites=50, whisper=50.0)
    assert judged(replace(offer, doubts=doubts)) is expected
    assert judged(offer) is ACCEPTED


def test_a_look_alike_is_no_near_miss_that_others_may_confirm() -> None:
    """Its neighbours look alike, too. The same for what gives no link, whoever confirms it."""
    near = link("a", "b", POSE, evidence(agreement=0.73))
    assert judged(near) is POSSIBLE
    assert judged(replace(near, doubts=replace(SILENT, silence_a=0.11, silence_b=0.11))) is LinkVerdict.LOOK_ALIKE
    assert judged(replace(near, spread_deg=OPTIONS.max_spread_deg + EPSILON)) is LinkVerdict.UNSURE_POSE
    assert judged(replace(near, b_from_a=Pose(POSE.rotation, np.zeros(3)))) is LinkVerdict.ROTATION_ONLY


# ---------------------------------------------------------------- links


def test_a_link_needs_a_sure_pose_with_a_direction() -> None:
    assert judged(link("a", "b", POSE)) is ACCEPTED
    assert judged(link("a", "b", POSE, spread_deg=OPTIONS.max_spread_deg)) is ACCEPTED
    assert judged(link("a", "b", POSE, spread_deg=OPTIONS.max_spread_deg + EPSILON)) is LinkVerdict.UNSURE_POSE
    assert judged(link("a", "b", POSE, spread_deg=180.0)) is LinkVerdict.UNSURE_POSE
    assert judged(link("a", "b", Pose(POSE.rotation, np.zeros(3)))) is LinkVerdict.ROTATION_ONLY
    assert judged(link("a", "b", POSE, evidence(agreement=0.5))) is LinkVerdict.LOW_AGREEMENT


@pytest.mark.parametrize(("num_points", "expected"), [(25, ACCEPTED), (24, POSSIBLE)])
def test_enough_correspondences_must_reach_both_photos(num_points: int, expected: LinkVerdict) -> None:
    points = np.zeros((num_points, 2))
    candidate = link("a", "b", POSE, points_px=(points, points))
    assert candidate.evidence.num_inliers == 100
    assert judged(candidate) is expected


def test_the_link_of_a_clip_needs_no_correspondences_in_both_photos() -> None:
    """Its pose rests on the frames between; learned matches of the two photos have nothing else to rest on."""
    alone = link("a", "b", POSE, points_px=(np.zeros((0, 2)), np.zeros((0, 2))))
    assert judged(alone) is POSSIBLE
    assert judged(replace(alone, source="morph-0")) is ACCEPTED
    few = replace(alone.evidence, num_inliers=MIN_VERIFIED_MATCHES - 1)  # of the weakest step over the frames
    assert judged(replace(alone, source="morph-0", evidence=few)) is LinkVerdict.FEW_INLIERS
    for changes, verdict in (({"surprise": 3.0}, LinkVerdict.CHANCE), ({"agreement": 0.5}, LinkVerdict.LOW_AGREEMENT)):
        weak = replace(alone.evidence, **changes)
        assert judged(replace(alone, source="morph-0", evidence=weak)) is verdict
