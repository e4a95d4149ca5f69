from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import evidence
from interpose_sfm import geometry
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.decide import Findings, decide
from interpose_sfm.products import (
    ChoiceReason,
    Link,
    LinkVerdict,
    PairMatch,
    PairOutcome,
    Pose,
    PoseChoice,
    PoseStatus,
    ScoreKind,
    TwoView,
)
from linked_world import offered

LIMITS = ConsensusOptions()
TRUSTING = ConsensusOptions(accept_unseen=True)
GOOD = replace(offered("a", "b"), evidence=evidence())
LOW = replace(offered("a", "b"), evidence=evidence(agreement=0.5))
CLIP = replace(GOOD, source="clip-0")


def matched(link: Link | None, status: PoseStatus = PoseStatus.OK) -> PairMatch:
    pose = None if link is None else link.b_from_a
    return PairMatch(TwoView(status, pose, np.zeros(0, np.uint32), (link or GOOD).evidence, 0.5), link)


def bridged(link: Link | None, reason: ChoiceReason, score_deg: float = 12.0) -> PairOutcome:
    kind = ScoreKind.D_MED if math.isfinite(score_deg) else ScoreKind.NONE
    pose = None if reason is ChoiceReason.NO_HYPOTHESIS else GOOD.b_from_a
    return PairOutcome(PoseChoice(GOOD.pair, reason, pose, "clip-0", kind, score_deg, 1.0), link, ("clip-0",))


def verdict(findings: Findings) -> LinkVerdict:
    return decide(findings, LIMITS).verdict


def test_a_pair_that_nobody_looked_at_is_not_tried() -> None:
    assert verdict(Findings()) is LinkVerdict.NOT_TRIED
    skipped = decide(Findings(skipped="others connect it"), LIMITS)
    assert (skipped.verdict, skipped.detail, skipped.link) == (LinkVerdict.NOT_TRIED, "others connect it", None)


def test_learned_matches_decide_where_there_are_no_clips() -> None:
    accepted = decide(Findings(matched=matched(GOOD)), LIMITS)
    assert accepted.verdict is LinkVerdict.ACCEPTED
    assert accepted.link is GOOD
    refused = decide(Findings(matched=matched(LOW)), LIMITS)
    assert refused.verdict is LinkVerdict.LOW_AGREEMENT
    assert refused.link is LOW
    nothing = decide(Findings(matched=matched(None, PoseStatus.FEW_INLIERS)), LIMITS)
    assert (nothing.verdict, nothing.detail, nothing.link) == (LinkVerdict.NO_GEOMETRY, "too few inliers", None)


@pytest.mark.parametrize(
    ("turn_deg", "is_guess", "verdict"),
    [
        (40.0, True, LinkVerdict.UNSURE_POSE),
        (40.0, False, LinkVerdict.ACCEPTED),
        (17.0, True, LinkVerdict.UNSURE_POSE),  # of a lens twice as long: 34
        (13.0, True, LinkVerdict.ACCEPTED),
    ],
)
def test_wide_turns_do_not_rest_on_guessed_focal_lengths(turn_deg: float, is_guess: bool, verdict: LinkVerdict) -> None:
    """They err with them, however well the matches agree."""
    pose = Pose(geometry.rotation_from_axis_angle((0, 1, 0), turn_deg), GOOD.b_from_a.translation)
    found = decide(Findings(matched=matched(replace(GOOD, b_from_a=pose)), guessed_focal=is_guess), LIMITS)
    assert found.verdict is verdict
    assert ("guess" in found.detail) == (verdict is LinkVerdict.UNSURE_POSE)


def test_the_link_of_clips_is_judged_as_any_other() -> None:
    """Where its steps are trusted; also by how sure its pose is, which used to be asked in a reconstruction only."""
    found = decide(Findings(matched=matched(LOW), bridged=bridged(CLIP, ChoiceReason.ACCEPTED)), TRUSTING)
    assert found.verdict is LinkVerdict.ACCEPTED
    assert found.link is CLIP
    assert found.detail.startswith("D_med 12.0 degrees; weakest step: ")
    unsure = replace(CLIP, spread_deg=LIMITS.max_spread_deg + 1)
    findings = Findings(matched=matched(LOW), bridged=bridged(unsure, ChoiceReason.ACCEPTED))
    assert verdict(findings) is LinkVerdict.UNSURE_POSE
    weak = replace(CLIP, evidence=evidence(agreement=0.5))
    assert verdict(replace(findings, bridged=bridged(weak, ChoiceReason.ACCEPTED))) is LinkVerdict.LOW_AGREEMENT


def test_clips_that_disagree_refuse_the_pair_and_keep_the_link_of_the_photos() -> None:
    found = decide(Findings(matched=matched(LOW), bridged=bridged(None, ChoiceReason.INCONSISTENT)), LIMITS)
    assert (found.verdict, found.detail) == (LinkVerdict.INCONSISTENT, "hypotheses disagree: D_med 12.0 degrees")
    assert found.link is LOW
    few = decide(
        Findings(matched=matched(None), bridged=bridged(None, ChoiceReason.TOO_FEW_HYPOTHESES, math.nan)), LIMITS
    )
    assert (few.verdict, few.detail) == (LinkVerdict.INCONSISTENT, "too few hypotheses: not scored")


def test_clips_without_a_hypothesis_say_nothing() -> None:
    silent = bridged(None, ChoiceReason.NO_HYPOTHESIS, math.nan)
    assert verdict(Findings(matched=matched(LOW), bridged=silent)) is LinkVerdict.LOW_AGREEMENT


@pytest.mark.parametrize("link", [GOOD, LOW])
def test_later_findings_come_before_earlier_ones(link: Link) -> None:
    """An adjusted model before a confirmation, that before a contradiction, that before the link's own evidence."""
    findings = Findings(matched=matched(link), contradiction="a cycle breaks")
    broken = decide(findings, LIMITS)
    assert (broken.verdict, broken.detail, broken.link) == (LinkVerdict.CONTRADICTED, "a cycle breaks", link)
    alone = decide(Findings(matched=matched(link)), LIMITS).detail
    confirmed = decide(replace(findings, confirmation="all else says so"), LIMITS)
    assert (confirmed.verdict, confirmed.detail) == (LinkVerdict.ACCEPTED, f"all else says so; by itself: {alone}")
    refitted = replace(link, spread_deg=2.0)
    dropped = decide(replace(findings, confirmation="all else says so", dropped="bent", dropped_link=refitted), LIMITS)
    assert (dropped.verdict, dropped.detail, dropped.link) == (LinkVerdict.DROPPED, "bent", refitted)
