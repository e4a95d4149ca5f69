from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import Scene, arc, cloud, evidence, observe, pose_error_deg, turn, turned
from interpose_sfm import geometry
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.decide import Findings, decide, pixels_believe
from interpose_sfm.pairs.judge import judge_proposed, supports
from interpose_sfm.pairs.pair_link import pair_link
from interpose_sfm.pairs.proposals import MAX_BOUND_DEG, MIN_BOUND_DEG, bound_deg, judge_family, judge_proposals
from interpose_sfm.products import (
    ChoiceReason,
    Doubts,
    Evidence,
    Features,
    ImagePair,
    JudgedProposal,
    LinkVerdict,
    Matches,
    PairMatch,
    PairOutcome,
    Pose,
    PoseChoice,
    PoseProposal,
    PoseStatus,
    ScoreKind,
    TwoView,
)
from linked_world import offered

PAIR = ImagePair("a", "b")
LIMITS = ConsensusOptions()


def scene(*, turns: bool = False) -> Scene:
    poses = turn([0, 15]) if turns else arc([0, 50])
    return observe(cloud(1, 250), poses, noise_px=0.5, num_clutter=200, seed=2)


def held_against(seen: Scene, matches: Matches, *poses: Pose, spread_deg: float = 3.0) -> list[JudgedProposal]:
    views = seen.features[0], seen.intrinsics[0], seen.features[1], seen.intrinsics[1]
    own = pair_link(PAIR, views, matches, 0, 0.1)
    proposals = [PoseProposal(PAIR, pose, spread_deg, f"clip-{i}") for i, pose in enumerate(poses)]
    return list(judge_proposals(proposals, views, matches, own, 0, 0.1))


def doubtful(seen: Scene, number: int) -> Matches:
    """Right and wrong matches, all of them too doubtful for RANSAC to be asked."""
    return seen.matches(0, 1, limit=number, outlier_share=0.4, score=0.08, outlier_score=0.03)


def verdict(found: JudgedProposal) -> LinkVerdict:
    decided, detail = judge_proposed(found, LIMITS)
    assert detail
    return decided


def test_pixels_believe_a_right_proposal_that_they_could_not_have_made() -> None:
    """A few doubtful matches: too few for RANSAC, and yet they lie on the lines of a pose from elsewhere."""
    seen = scene()
    true = seen.b_from_a(0, 1)
    found = held_against(seen, doubtful(seen, 40), turned(true, 3.0))[0]
    assert verdict(found) is LinkVerdict.ACCEPTED
    assert max(pose_error_deg(found.link.b_from_a, true)) < 2.0
    assert found.link.proposal is not None
    assert found.link.evidence.num_inliers >= 20
    assert found.link.spread_deg < 5.0


def test_pixels_refuse_a_wrong_proposal() -> None:
    """Where they know better it has a rival; where luck explains what agrees they say nothing."""
    seen = scene()
    wrong = turned(seen.b_from_a(0, 1), 60.0, (0.2, 1.0, 0.1))
    rivalled = held_against(seen, seen.matches(0, 1, outlier_share=0.2), wrong)[0]
    assert verdict(rivalled) in (LinkVerdict.UNSEEN, LinkVerdict.RIVAL)
    assert rivalled.rival_surprise > LIMITS.min_surprise > max(rivalled.surprise, rivalled.link.evidence.surprise)
    luck = seen.matches(0, 1, limit=40, outlier_share=0.9, score=0.08, outlier_score=0.03)
    assert verdict(held_against(seen, luck, wrong)[0]) is LinkVerdict.UNSEEN


def test_proposals_are_rivals_of_one_another() -> None:
    seen = scene()
    true = seen.b_from_a(0, 1)
    right, wrong = held_against(seen, doubtful(seen, 100), true, turned(true, 60.0))
    assert right.rival_surprise < wrong.rival_surprise
    assert right.link.doubts.far_rival < 1.1
    assert wrong.link.doubts.far_rival > 2.0
    assert right.num_tests == 2 * held_against(seen, doubtful(seen, 100), true)[0].num_tests


def test_guided_matches_carry_the_link_and_are_no_evidence() -> None:
    seen = scene()
    found = held_against(seen, doubtful(seen, 40), seen.b_from_a(0, 1))[0]
    assert len(found.link.points_a_px) > found.link.evidence.num_inliers + 50
    assert found.link.evidence.num_matches == 40


def test_a_proposed_rotation_is_told_as_one() -> None:
    seen = scene(turns=True)
    rotation = Pose(seen.b_from_a(0, 1).rotation, np.zeros(3))
    found = held_against(seen, doubtful(seen, 60), rotation)[0]
    assert verdict(found) is LinkVerdict.ROTATION_ONLY


def test_photos_without_a_match_leave_a_proposal_unseen() -> None:
    seen = scene()
    nothing = Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))
    found = held_against(seen, nothing, seen.b_from_a(0, 1))[0]
    assert verdict(found) is LinkVerdict.UNSEEN
    assert len(found.link.points_a_px) == 0


def stamped(*, shift_px: tuple[float, float] = (0.0, 0.0)) -> tuple[Scene, Matches]:
    """Dark photos, which show nothing but a stamp in a corner of both."""
    seen = scene()
    intrinsics = seen.intrinsics[0]
    random = np.random.default_rng(0)
    corner_px = np.array([intrinsics.width_px, intrinsics.height_px])
    points_px = corner_px - random.uniform([4.0, 4.0], 0.1 * corner_px, (60, 2))
    both = [points_px, points_px + shift_px + random.normal(0, 0.2, points_px.shape)]
    features = tuple(
        Features(in_it, of_photo.descriptors[:60], of_photo.scores[:60], of_photo.size_px)
        for of_photo, in_it in zip(seen.features, both, strict=True)
    )
    rows = np.arange(60, dtype=np.uint32)
    return replace(seen, features=features), Matches(np.stack([rows, rows], 1), np.full(60, 0.9, np.float32))


@pytest.mark.parametrize("shift_px", [(0.0, 0.0), (3.0, -2.0)])
def test_what_is_burnt_into_both_photos_bears_no_proposal_out(shift_px: tuple[float, float]) -> None:
    """A stamp in one place of both agrees with any direction of a proposal that hardly turns."""
    seen, matches = stamped(shift_px=shift_px)
    for direction in np.eye(3):
        (found,) = held_against(seen, matches, Pose(np.eye(3), direction))
        assert found.link.evidence.num_inliers > LIMITS.min_inliers
        assert found.link.doubts.overlay == 1.0
        assert verdict(found) is not LinkVerdict.ACCEPTED
        assert not supports(found, LIMITS)


def test_the_search_follows_the_spread_within_bounds() -> None:
    proposal = PoseProposal(PAIR, offered("a", "b").b_from_a, 3.0, "clip")
    assert bound_deg(proposal) == 9.0
    assert bound_deg(replace(proposal, spread_deg=0.1)) == MIN_BOUND_DEG
    assert bound_deg(replace(proposal, spread_deg=180.0)) == MAX_BOUND_DEG


# ---------------------------------------------------------------- poses that leave something open


def family(seen: Scene, true_at: int) -> list[Pose]:
    """Poses whose direction turns by two degrees from one to the next, the true one among them."""
    true = seen.b_from_a(0, 1)
    axis = np.cross(true.translation, (0.3, 1.0, 0.2))
    return [
        Pose(true.rotation, geometry.rotation_from_axis_angle(axis, 2.0 * (step - true_at)) @ true.translation)
        for step in range(40)
    ]


def judged_family(seen: Scene, matches: Matches, poses: list[Pose]) -> tuple[JudgedProposal, ...]:
    views = seen.features[0], seen.intrinsics[0], seen.features[1], seen.intrinsics[1]
    return judge_family(PAIR, poses, views, matches, pair_link(PAIR, views, matches, 0, 0.1), 0, 0.1)


def test_of_a_family_the_member_is_found_that_the_matches_support() -> None:
    """Though they are too doubtful to have found it by themselves; one that is off comes near by refinement."""
    seen = scene()
    matches = doubtful(seen, 120)
    found = max(judged_family(seen, matches, family(seen, 25)), key=lambda each: each.link.evidence.weight)
    assert max(pose_error_deg(found.link.b_from_a, seen.b_from_a(0, 1))) < 1.0
    assert supports(found, LIMITS)
    assert found.link.proposal is not None
    off = [turned(pose, 4.0) for pose in family(seen, 25)]
    found = max(judged_family(seen, matches, off), key=lambda each: each.link.evidence.weight)
    assert max(pose_error_deg(found.link.b_from_a, seen.b_from_a(0, 1))) < 1.0


def test_a_family_without_the_true_pose_is_not_supported() -> None:
    seen = scene()
    wrong = [turned(pose, 50.0) for pose in family(seen, 25)]
    assert not any(supports(found, LIMITS) for found in judged_family(seen, seen.matches(0, 1), wrong))
    nothing = Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))
    assert not any(supports(found, LIMITS) for found in judged_family(seen, nothing, wrong))


# ---------------------------------------------------------------- limits, on proposals of known figures

GOOD = JudgedProposal(
    replace(offered("a", "b"), evidence=evidence(num_inliers=30, agreement=0.8), source="clip", spread_deg=1.0),
    11,
    40.0,
)


def shown(
    found: JudgedProposal = GOOD, *, far_rival: float = 0.0, silence: float = 0.0, **figures: float
) -> JudgedProposal:
    cues: dict[str, float] = {"num_inliers": 30, "agreement": 0.8, "surprise": 5.0, **figures}
    doubts = Doubts(far_rival, silence, silence)
    link = replace(found.link, evidence=evidence(**cues), doubts=doubts)  # type: ignore[arg-type]
    return replace(found, link=link)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (shown(), LinkVerdict.ACCEPTED),
        (shown(agreement=0.51), LinkVerdict.ACCEPTED),
        (shown(agreement=0.49), LinkVerdict.UNSEEN),
        (shown(agreement=0.59, far_rival=0.9), LinkVerdict.UNSEEN),
        (shown(agreement=0.61, far_rival=0.9), LinkVerdict.ACCEPTED),
        (shown(agreement=0.61, far_rival=1.2), LinkVerdict.UNSEEN),
        (shown(replace(GOOD, surprise=9.0, rival_surprise=11.0)), LinkVerdict.UNSEEN),
        (shown(replace(GOOD, surprise=9.0, rival_surprise=13.0), far_rival=1.2), LinkVerdict.RIVAL),
        (shown(agreement=0.7, silence=0.4), LinkVerdict.UNSEEN),
        (shown(silence=0.2), LinkVerdict.LOOK_ALIKE),
        (shown(num_inliers=14), LinkVerdict.UNSEEN),
        (shown(replace(GOOD, surprise=11.0)), LinkVerdict.UNSEEN),
        (shown(replace(GOOD, surprise=11.0), surprise=13.0), LinkVerdict.ACCEPTED),
        (shown(replace(GOOD, rival_surprise=41.0), far_rival=1.2), LinkVerdict.RIVAL),
        (shown(replace(GOOD, rival_surprise=41.0), far_rival=1.1), LinkVerdict.UNSEEN),
        (shown(replace(GOOD, rival_surprise=39.0)), LinkVerdict.ACCEPTED),
        (replace(GOOD, link=replace(GOOD.link, spread_deg=11.0)), LinkVerdict.UNSURE_POSE),
    ],
)
def test_what_a_proposal_must_reach(found: JudgedProposal, expected: LinkVerdict) -> None:
    assert verdict(found) is expected


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({}, True),
        ({"agreement": 0.49}, False),
        ({"surprise": 11.0}, False),
        ({"far_rival": 1.2}, False),
        ({"far_rival": 1.1}, True),
        ({"silence": 0.4}, False),
        ({"num_inliers": 14}, False),
    ],
)
def test_what_a_predicted_pose_must_reach(figures: dict[str, float], expected: bool) -> None:
    good = {"agreement": 0.6, "surprise": 30.0}
    assert supports(shown(**{**good, **figures}), LIMITS) is expected  # type: ignore[arg-type]


def with_own(*, turn_deg: float, **figures: float) -> JudgedProposal:
    """A good proposal for photos whose own matches find a pose as well."""
    cues: dict[str, float] = {"num_inliers": 80, "agreement": 0.95, **figures}
    own = offered("a", "b")
    return shown(replace(GOOD, own=replace(own, b_from_a=turned(own.b_from_a, turn_deg), evidence=evidence(**cues))))  # type: ignore[arg-type]


def test_what_the_photos_find_by_themselves_is_no_second_witness() -> None:
    """A proposal that leads to look-alike structure is refused for what speaks against the structure."""
    assert verdict(with_own(turn_deg=5.0)) is LinkVerdict.ACCEPTED
    assert verdict(with_own(turn_deg=5.0, agreement=0.65)) is LinkVerdict.POSSIBLE
    assert verdict(with_own(turn_deg=5.0, agreement=0.5)) is LinkVerdict.LOW_AGREEMENT
    assert verdict(with_own(turn_deg=5.0, agreement=0.5, surprise=3.0)) is LinkVerdict.ACCEPTED  # luck, not structure


def test_the_link_is_that_of_the_photos_own_matches_where_they_lead_there_as_well() -> None:
    for figures in ({}, {"agreement": 0.65}):
        found = with_own(turn_deg=5.0, **figures)
        assert found.own is not None
        decided = decide(Findings(bridged=outcome(found)), LIMITS)
        assert decided.link is not None
        assert decided.link.b_from_a is found.own.b_from_a
        assert decided.link.source == "clip"
    found = with_own(turn_deg=5.0, surprise=3.0)
    decided = decide(Findings(bridged=outcome(found)), LIMITS)
    assert decided.link is found.link


def test_what_the_photos_are_sure_of_refutes_what_leads_elsewhere() -> None:
    assert verdict(with_own(turn_deg=40.0)) is LinkVerdict.RIVAL
    assert verdict(with_own(turn_deg=40.0, agreement=0.65)) is LinkVerdict.ACCEPTED  # of that they are not sure
    found = with_own(turn_deg=0.0)
    assert found.own is not None
    pose = found.own.b_from_a
    backwards = replace(found, own=replace(found.own, b_from_a=Pose(pose.rotation, -pose.translation)))
    refused, detail = judge_proposed(backwards, LIMITS)
    assert refused is LinkVerdict.RIVAL
    assert "lead elsewhere, 0 degrees of rotation and 180 of direction away" in detail


# ---------------------------------------------------------------- the decision on a pair


def outcome(*proposals: JudgedProposal, reason: ChoiceReason = ChoiceReason.INCONSISTENT) -> PairOutcome:
    choice = PoseChoice(GOOD.link.pair, reason, GOOD.link.b_from_a, "clip", ScoreKind.D_MED, 12.0, 1.0)
    through_the_clip: Evidence = evidence()
    link = replace(GOOD.link, evidence=through_the_clip) if reason is ChoiceReason.ACCEPTED else None
    return PairOutcome(choice, link, ("clip",), proposals=proposals)


def test_what_the_pixels_believe_needs_no_agreement_of_the_clips() -> None:
    found = decide(Findings(bridged=outcome(shown())), LIMITS)
    assert found.verdict is LinkVerdict.ACCEPTED
    assert found.link is not None
    assert found.link.evidence.num_inliers == 30
    assert pixels_believe(outcome(shown()), LIMITS)


def test_clips_that_lead_elsewhere_and_are_both_believed_are_not() -> None:
    other = shown(replace(GOOD, link=replace(GOOD.link, b_from_a=turned(GOOD.link.b_from_a, 30.0))))
    found = decide(Findings(bridged=outcome(shown(), other)), LIMITS)
    assert found.verdict is LinkVerdict.INCONSISTENT
    near = shown(replace(GOOD, link=replace(GOOD.link, b_from_a=turned(GOOD.link.b_from_a, 5.0))))
    assert decide(Findings(bridged=outcome(shown(), near)), LIMITS).verdict is LinkVerdict.ACCEPTED


def test_a_sound_clip_between_photos_that_share_nothing_is_unseen_unless_it_is_trusted() -> None:
    unseen = outcome(shown(num_inliers=5), reason=ChoiceReason.ACCEPTED)
    found = decide(Findings(bridged=unseen), LIMITS)
    assert found.verdict is LinkVerdict.UNSEEN
    assert "weakest step" in found.detail
    assert not pixels_believe(unseen, LIMITS)
    trusting = ConsensusOptions(accept_unseen=True)
    assert decide(Findings(bridged=unseen), trusting).verdict is LinkVerdict.ACCEPTED


def test_trust_in_a_clip_does_not_overrule_the_pixels() -> None:
    rivalled = outcome(shown(replace(GOOD, rival_surprise=50.0), far_rival=3.0), reason=ChoiceReason.ACCEPTED)
    for limits in (LIMITS, ConsensusOptions(accept_unseen=True)):
        assert decide(Findings(bridged=rivalled), limits).verdict is LinkVerdict.RIVAL


def test_any_clip_pose_that_the_pixels_refute_vetoes_its_clip() -> None:
    """An undecided one beside it does not hide that."""
    refuted = shown(replace(GOOD, rival_surprise=50.0), agreement=0.3, far_rival=2.0)
    undecided = shown(num_inliers=5, agreement=0.9)
    both = outcome(undecided, refuted, reason=ChoiceReason.ACCEPTED)
    assert decide(Findings(bridged=both), ConsensusOptions(accept_unseen=True)).verdict is LinkVerdict.RIVAL


def test_a_clip_that_is_not_believed_leaves_a_near_miss_what_it_is() -> None:
    link = replace(offered("a", "b"), evidence=evidence(num_inliers=60, agreement=0.65))
    matched = PairMatch(TwoView(PoseStatus.OK, link.b_from_a, np.zeros(60, np.uint32), link.evidence, 1.0), link)
    for found in (shown(num_inliers=5), shown(replace(GOOD, rival_surprise=50.0), far_rival=2.0)):
        alone = decide(Findings(matched=matched, bridged=outcome(found, reason=ChoiceReason.ACCEPTED)), LIMITS)
        assert alone.verdict is LinkVerdict.POSSIBLE
        assert alone.link is link


def test_a_confirmed_pose_is_the_link_of_the_pair() -> None:
    link, other = offered("a", "b"), replace(offered("a", "b"), spread_deg=2.0)
    found = decide(
        Findings(bridged=outcome(shown()), confirmation="all else predicts it", confirmed_link=other), LIMITS
    )
    assert found.link is other
    assert link.pair == other.pair


def test_the_bounds_hold_what_geometry_says_of_them() -> None:
    found = held_against(scene(), doubtful(scene(), 60), turned(scene().b_from_a(0, 1), 3.0))[0]
    assert found.link.proposal is not None
    moved_deg = geometry.rotation_angle_deg(found.link.b_from_a.rotation @ found.link.proposal.b_from_a.rotation.T)
    assert moved_deg < bound_deg(found.link.proposal)


# ---------------------------------------------------------------- what a pose network proposes for the photos alone


def test_a_networks_pose_counts_only_where_pixels_believe_it() -> None:
    believed = decide(Findings(proposed=(shown(),)), LIMITS)
    assert believed.verdict is LinkVerdict.ACCEPTED
    assert believed.link is not None
    own = offered("a", "b")
    matched = PairMatch(TwoView(PoseStatus.OK, own.b_from_a, np.zeros(0, np.uint32), evidence(agreement=0.5), 0.5), own)
    for refused in (shown(num_inliers=5), shown(replace(GOOD, rival_surprise=50.0), far_rival=3.0)):
        alone = decide(Findings(matched=matched), ConsensusOptions(accept_unseen=True))
        found = decide(Findings(matched=matched, proposed=(refused,)), ConsensusOptions(accept_unseen=True))
        assert found == alone
        assert decide(Findings(proposed=(refused,)), LIMITS).verdict is LinkVerdict.NOT_TRIED


def test_a_network_and_a_clip_that_lead_elsewhere_and_are_both_believed_are_not() -> None:
    other = shown(replace(GOOD, link=replace(GOOD.link, b_from_a=turned(GOOD.link.b_from_a, 30.0))))
    assert decide(Findings(proposed=(other,), bridged=outcome(shown())), LIMITS).verdict is LinkVerdict.INCONSISTENT
    near = shown(replace(GOOD, link=replace(GOOD.link, b_from_a=turned(GOOD.link.b_from_a, 5.0))))
    assert decide(Findings(proposed=(near,), bridged=outcome(shown())), LIMITS).verdict is LinkVerdict.ACCEPTED
