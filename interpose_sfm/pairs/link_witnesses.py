"""Everything that is asked about the link of a weak pair, with its number and its limit, for the report.

What decides is `pairs/judge.py` and `pairs/decide.py`; this only tells it.
"""

from __future__ import annotations

import math

import numpy as np

from interpose_sfm.options import ConsensusOptions, ConsistencyOptions
from interpose_sfm.pairs.decide import Findings
from interpose_sfm.pairs.judge import MIN_OVERLAY, is_one_thing, is_overlay, net_agreement
from interpose_sfm.products import PAIR_ALONE, JudgedProposal, Link, LinkDecision, LinkVerdict, PoseChoice
from interpose_sfm.report import WitnessReport

SHARE, DEG, POWERS = "share", "deg", "powers of ten"
"""Units."""

MEANINGS = {
    LinkVerdict.ACCEPTED: "Both photos show the same place, and how they lie to one another is believed.",
    LinkVerdict.NOT_TRIED: "Nothing was tried on this pair.",
    LinkVerdict.NO_GEOMETRY: "No pose of the two photos explains what was matched between them.",
    LinkVerdict.FEW_INLIERS: "Too few matches agree with one pose to say anything.",
    LinkVerdict.CHANCE: "So few matches agree with one pose that luck may be the reason.",
    LinkVerdict.LOW_AGREEMENT: (
        "A pose was found, but too much of what was matched speaks against it, or is missing in the other photo."
    ),
    LinkVerdict.POSSIBLE: "The pose may be right; a third photo that sees what both see would settle it.",
    LinkVerdict.LOOK_ALIKE: "One thing matches and nothing around it does: probably two things that look alike.",
    LinkVerdict.OVERLAY: "A stamp, a logo or a frame matches, and nothing of what the photos show.",
    LinkVerdict.UNSURE_POSE: "The photos may belong together, but the pose is not known well enough to be used.",
    LinkVerdict.RIVAL: "The photos' own matches prefer another pose to the one that was proposed.",
    LinkVerdict.UNSEEN: "The photos have too little in common to check the pose that was proposed for them.",
    LinkVerdict.ROTATION_ONLY: "The photos were taken from one place, so they tell nothing of depth.",
    LinkVerdict.INCONSISTENT: "What was made for this pair proposes poses that differ from one another.",
    LinkVerdict.CONTRADICTED: "Other links, which agree with one another, lead to another pose.",
    LinkVerdict.DROPPED: "The link was used, and the adjusted model does not agree with it.",
}
"""Verdicts in plain words."""


def link_witnesses(
    findings: Findings, decision: LinkDecision, limits: ConsensusOptions, choosing: ConsistencyOptions
) -> tuple[WitnessReport, ...]:
    """What speaks for and against the link of a pair.

    Args:
        findings: All that is known of the pair.
        decision: What followed from that.
        limits: When a link is believed.
        choosing: When hypotheses agree.
    """
    found: list[WitnessReport] = []
    if decision.link is not None:
        found += _of_link(decision.link, findings, limits)
    if findings.bridged is not None:
        found += _of_choice(findings.bridged.choice, choosing)
    for name, said, holds in (
        ("other photos and links", findings.confirmation, True),
        ("other links", findings.contradiction, False),
        ("adjusted model", findings.dropped, False),
    ):
        if said:
            found.append(WitnessReport(name, math.nan, math.nan, True, "", holds, said))
    return tuple(found)


def _of_link(link: Link, findings: Findings, limits: ConsensusOptions) -> list[WitnessReport]:
    evidence, doubts = link.evidence, link.doubts
    is_proposed = any(link is judged.link for judged in _judged(findings))
    is_of_pixels = is_proposed or link.source == PAIR_ALONE or link.proposal is not None
    net = net_agreement(evidence, doubts.silence)
    least = limits.min_agreement_proposed if is_proposed else limits.min_agreement
    found = [
        _at_least("matches that agree", evidence.num_inliers, limits.min_inliers, ""),
        _at_least("net agreement", net, least, SHARE),
        _at_least("luck is ruled out", evidence.surprise, limits.min_surprise, POWERS),
        _at_most("spread of the pose", link.spread_deg, limits.max_spread_deg, DEG),
    ]
    if is_of_pixels:  # of a link that only a clip carries nobody asked them
        most = limits.max_rival_proposed if is_proposed else limits.max_far_rival
        found.append(_at_most("what another pose explains", doubts.far_rival, most, SHARE))
        holds = not is_overlay(doubts)  # at the limit, too
        found.append(WitnessReport("burnt into both photos", doubts.overlay, MIN_OVERLAY, False, SHARE, holds))
        one_thing = is_one_thing(doubts, limits)
        silence = "counts where one patch matches and nothing around it"
        found.append(
            WitnessReport(
                "missing in the other photo", doubts.silence, limits.max_silence, False, SHARE, not one_thing, silence
            )
        )
    if not np.any(link.b_from_a.translation):
        found.append(WitnessReport("baseline", 0.0, math.nan, True, "", False, "the photos were taken from one place"))
    return found


def _judged(findings: Findings) -> tuple[JudgedProposal, ...]:
    return (*(findings.proposed or ()), *(() if findings.bridged is None else findings.bridged.proposals))


def _of_choice(choice: PoseChoice, choosing: ConsistencyOptions) -> list[WitnessReport]:
    score = next((score for score in choice.clip_scores if score.clip == choice.clip), None)
    if score is None:
        return []
    found = [_at_most(f"D_med of {score.clip}", score.d_med_deg, choosing.max_d_med_deg, DEG)]
    if not math.isnan(score.d_bias_deg):
        found.append(_at_most(f"D_bias of {score.clip}", score.d_bias_deg, choosing.max_d_bias_deg, DEG))
    return found


def _at_least(name: str, value: float, limit: float, unit: str) -> WitnessReport:
    return WitnessReport(name, value, limit, True, unit, value >= limit)


def _at_most(name: str, value: float, limit: float, unit: str) -> WitnessReport:
    return WitnessReport(name, value, limit, False, unit, value <= limit)
