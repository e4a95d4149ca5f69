"""What the report tells of a link: the same numbers that decided on it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import evidence
from interpose_sfm.options import ConsensusOptions, ConsistencyOptions
from interpose_sfm.pairs.decide import Findings, decide
from interpose_sfm.pairs.judge import MIN_OVERLAY
from interpose_sfm.pairs.link_witnesses import MEANINGS, link_witnesses
from interpose_sfm.pairs.records import PairRecord
from interpose_sfm.pairs.reporting import MAX_SHOWN_MATCHES, pair_report
from interpose_sfm.products import (
    ChoiceReason,
    ClipPreview,
    ClipScore,
    Doubts,
    JudgedProposal,
    Link,
    LinkVerdict,
    PairMatch,
    PairOutcome,
    Pose,
    PoseChoice,
    PoseHypothesis,
    PoseProposal,
    PoseStatus,
    ScoreKind,
    TwoView,
    WeakPair,
    WeakReason,
)
from interpose_sfm.report import WitnessReport
from linked_world import offered

LIMITS, CHOOSING = ConsensusOptions(), ConsistencyOptions()
GOOD = replace(offered("a", "b"), evidence=evidence(), doubts=Doubts(far_rival=0.25, silence_a=0.04, silence_b=0.01))


def matched(link: Link) -> PairMatch:
    return PairMatch(TwoView(PoseStatus.OK, link.b_from_a, np.zeros(0, np.uint32), link.evidence, 0.5), link)


def told(findings: Findings, limits: ConsensusOptions = LIMITS) -> dict[str, WitnessReport]:
    return {one.name: one for one in link_witnesses(findings, decide(findings, limits), limits, CHOOSING)}


def turned_pose(angle_deg: float) -> Pose:
    angle = math.radians(angle_deg)
    rotation = np.array([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]])
    return Pose(rotation, np.array([1.0, 0.0, 0.0]))


def record(findings: Findings) -> PairRecord:
    return PairRecord(WeakPair(GOOD.pair, (WeakReason.NO_VERIFIED_MATCH,), 0)).after(findings, LIMITS)


def test_a_believed_link_has_no_witness_against_it() -> None:
    found = told(Findings(matched=matched(GOOD)))
    assert all(one.holds for one in found.values())
    assert found["matches that agree"].value == GOOD.evidence.num_inliers
    assert found["matches that agree"].limit == LIMITS.min_inliers
    assert found["net agreement"].value == pytest.approx(GOOD.evidence.agreement * 0.98)
    assert (found["what another pose explains"].value, found["what another pose explains"].limit) == (0.25, 0.85)
    assert found["missing in the other photo"].value == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("changes", "name", "verdict"),
    [
        ({"evidence": evidence(agreement=0.5)}, "net agreement", LinkVerdict.LOW_AGREEMENT),
        ({"evidence": evidence(surprise=3.0)}, "luck is ruled out", LinkVerdict.CHANCE),
        ({"spread_deg": 12.0}, "spread of the pose", LinkVerdict.UNSURE_POSE),
        ({"doubts": Doubts(far_rival=0.95)}, "what another pose explains", LinkVerdict.POSSIBLE),
        ({"doubts": Doubts(silence_a=0.2, silence_b=0.2)}, "missing in the other photo", LinkVerdict.LOOK_ALIKE),
        ({"doubts": Doubts(overlay=MIN_OVERLAY)}, "burnt into both photos", LinkVerdict.OVERLAY),
    ],
)
def test_what_a_link_is_refused_for_speaks_against_it(
    changes: dict[str, object], name: str, verdict: LinkVerdict
) -> None:
    findings = Findings(matched=matched(replace(GOOD, **changes)))  # type: ignore[arg-type]
    assert decide(findings, LIMITS).verdict is verdict
    assert [one.name for one in told(findings).values() if not one.holds] == [name]


def test_what_others_say_is_a_witness_without_a_number() -> None:
    found = told(Findings(matched=matched(GOOD), contradiction="a cycle does not close"))["other links"]
    assert (found.holds, found.detail) == (False, "a cycle does not close")
    assert math.isnan(found.value)


def test_a_proposal_is_held_against_the_limits_of_proposals() -> None:
    proposal = PoseProposal(GOOD.pair, GOOD.b_from_a, 0.5, "da3")
    judged = JudgedProposal(replace(GOOD, source="da3", proposal=proposal, evidence=evidence(agreement=0.6)), 1, 30.0)
    found = told(Findings(proposed=(judged,)))
    assert found["net agreement"].limit == LIMITS.min_agreement_proposed
    assert found["what another pose explains"].limit == LIMITS.max_rival_proposed
    assert found["net agreement"].holds


def test_every_verdict_has_a_meaning() -> None:
    assert MEANINGS.keys() == set(LinkVerdict)


# ---------------------------------------------------------------- clips


def bridged(clip_link: Link | None) -> PairOutcome:
    poses = [turned_pose(angle) for angle in (0.0, 1.0, 3.0)]
    hypotheses = (
        *(PoseHypothesis("clip-0", (n,), PoseStatus.OK, pose, 1.0, 40 + n) for n, pose in enumerate(poses)),
        PoseHypothesis("clip-0", (9,), PoseStatus.FEW_MATCHES, None, 180.0, 0),
    )
    scores = (ClipScore("clip-0", poses[1], 2.0, 5.0, math.nan, 3, 1.0),)
    reason = ChoiceReason.ACCEPTED if clip_link else ChoiceReason.INCONSISTENT
    choice = PoseChoice(GOOD.pair, reason, poses[1], "clip-0", ScoreKind.D_TOTAL, 7.0, 1.0, scores)
    frames = tuple(np.full((6, 8, 3), n, np.uint8) for n in range(3))
    return PairOutcome(choice, clip_link, ("clip-0",), {}, hypotheses, previews=(ClipPreview("clip-0", 40, frames),))


def test_hypotheses_are_told_around_the_chosen_pose() -> None:
    found = pair_report(
        record(Findings(matched=matched(GOOD), bridged=bridged(None))), strips={"clip-0": "strips/x.jpg"}
    )
    assert found.hypotheses_around == "the chosen pose (clip-0)"
    assert [round(one.rotation_deg, 6) for one in found.hypotheses[:3]] == [1.0, 0.0, 2.0]
    assert [one.is_medoid for one in found.hypotheses] == [False, True, False, False]
    assert math.isnan(found.hypotheses[3].rotation_deg)
    (clip,) = found.clips
    assert (clip.num_frames, clip.strip, clip.num_strip_frames, clip.is_chosen) == (40, "strips/x.jpg", 3, True)
    scores = {one.name: (one.value, one.limit) for one in found.witnesses if one.name.startswith("D_")}
    assert scores == {
        "D_med of clip-0": (2.0, CHOOSING.max_d_med_deg),
        "D_bias of clip-0": (5.0, CHOOSING.max_d_bias_deg),
    }


def test_real_matches_are_shown_and_not_what_a_clip_carries() -> None:
    rows = np.arange(200.0)[:, None] + [0.0, 0.04]
    own = replace(GOOD, points_a_px=rows, points_b_px=rows + 1)
    carried = replace(GOOD, source="clip-0", points_a_px=rows + 500, points_b_px=rows + 500)
    for outcome in (None, bridged(carried)):
        shown = pair_report(record(Findings(matched=matched(own), bridged=outcome))).matches_px
        assert len(shown) == MAX_SHOWN_MATCHES
        assert (shown[0], shown[-1]) == ((0.0, 0.0, 1.0, 1.0), (199.0, 199.0, 200.0, 200.0))
    without = PairMatch(TwoView(PoseStatus.FEW_INLIERS, None, np.zeros(0, np.uint32), GOOD.evidence, 180.0), None)
    assert pair_report(record(Findings(matched=without, bridged=bridged(carried)))).matches_px == ()
