"""What is known of a weak pair, and the one function that makes a verdict of it.

Every step of a run adds to the findings of a pair; none of them sets a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from interpose_sfm import geometry
from interpose_sfm.matching import pure_rotation
from interpose_sfm.matching.rivals import FAR_DEG
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.judge import believed_link, judge, judge_proposed, turn_between_deg
from interpose_sfm.pairs.witnesses import agreeing_in
from interpose_sfm.products import (
    ChoiceReason,
    JudgedProposal,
    Link,
    LinkDecision,
    LinkVerdict,
    PairMatch,
    PairOutcome,
    PoseChoice,
)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that is known of a pair.

    Attributes:
        matched: What learned matches of the two photos say; None before they were made.
        proposed: What a pose network proposes for the two photos, held against their matches; None where none was
            asked.
        bridged: What the clips say; None where none were asked for.
        guessed_focal: Whether its focal lengths are a guess, which no other pair can mend.
        own_focal: By how much the pair's own matches say that a guess has to be multiplied, if they tell it.
        skipped: Why the pair was not tried.
        contradiction: What other links say against the pair's link.
        confirmation: What else says the same as a link that its own evidence does not carry.
        confirmed_link: That link, where it is another one than the pair offers by itself.
        dropped: What an adjusted model says against the link.
        dropped_link: The link as that model refitted it.
    """

    matched: PairMatch | None = None
    proposed: tuple[JudgedProposal, ...] | None = None
    bridged: PairOutcome | None = None
    guessed_focal: bool = False
    own_focal: float | None = None
    skipped: str = ""
    contradiction: str = ""
    confirmation: str = ""
    confirmed_link: Link | None = None
    dropped: str = ""
    dropped_link: Link | None = None


def decide(findings: Findings, limits: ConsensusOptions) -> LinkDecision:
    """The verdict on a pair: what an adjusted model says, else other links, else the link's own evidence.

    Args:
        findings: All that is known so far.
        limits: When a link is believed.

    Returns:
        The verdict with its reason, and the link that it is about; without a link where none was offered.
    """
    alone = decide_alone(findings, limits)
    if findings.dropped:
        return LinkDecision(LinkVerdict.DROPPED, findings.dropped, findings.dropped_link or alone.link)
    if findings.confirmation:
        detail = f"{findings.confirmation}; by itself: {alone.detail}"
        return LinkDecision(LinkVerdict.ACCEPTED, detail, findings.confirmed_link or alone.link)
    if findings.contradiction:
        return replace(alone, verdict=LinkVerdict.CONTRADICTED, detail=findings.contradiction)
    return alone


def decide_alone(findings: Findings, limits: ConsensusOptions) -> LinkDecision:
    """The verdict on a pair before any other link is heard: by what is proposed where that is believed or disagrees."""
    matched, bridged = findings.matched, findings.bridged
    proposed = decide_proposed(findings.proposed or (), bridged, limits)
    if proposed is not None:
        return _unless_near_miss(proposed, matched, limits)
    if bridged is not None and bridged.link is None and bridged.choice.reason is not ChoiceReason.NO_HYPOTHESIS:
        detail = f"{bridged.choice.reason}: {_scored(bridged.choice)}"
        return LinkDecision(LinkVerdict.INCONSISTENT, detail, None if matched is None else matched.link)
    if matched is None:
        return LinkDecision(LinkVerdict.NOT_TRIED, findings.skipped or "not reached yet")
    if matched.link is None:
        return LinkDecision(LinkVerdict.NO_GEOMETRY, matched.two_view.status.value)
    verdict, detail = judge(matched.link, limits)
    turn = matched.link.b_from_a.rotation
    if findings.guessed_focal and pure_rotation.is_wide(turn) and verdict.tells_pose:
        turn_deg = float(geometry.rotation_angle_deg(turn))
        verdict = LinkVerdict.UNSURE_POSE
        detail = (
            f"a turn of {turn_deg:.0f} degrees errs with the focal lengths, which are a guess: neither EXIF nor a clip "
            f"tells them; {detail}"
        )
    if findings.own_focal is not None:
        detail = f"{detail}; focal lengths {findings.own_focal:.2f} times the guess, by the photos' own matches"
    return LinkDecision(verdict, detail, matched.link)


def _unless_near_miss(proposed: LinkDecision, matched: PairMatch | None, limits: ConsensusOptions) -> LinkDecision:
    """What clips propose, unless pixels do not believe it, and the photos' own link lacks confirmation only."""
    if proposed.verdict not in (LinkVerdict.RIVAL, LinkVerdict.UNSEEN) or matched is None or matched.link is None:
        return proposed
    verdict, detail = judge(matched.link, limits)
    if verdict is not LinkVerdict.POSSIBLE:
        return proposed
    return LinkDecision(verdict, f"{detail}; what clips propose is not believed: {proposed.detail}", matched.link)


def decide_proposed(
    by_network: Sequence[JudgedProposal], bridged: PairOutcome | None, limits: ConsensusOptions
) -> LinkDecision | None:
    """The verdict on what clips and pose networks propose: by the pixels of the two photos, where these can tell.

    Args:
        by_network: What a pose network proposes for the two photos. It counts only where pixels believe it, for
            nothing else speaks for it.
        bridged: What the clips say.
        limits: When a link is believed.

    Returns:
        None where nothing is proposed, or nothing that is self-consistent and that pixels believe.
    """
    agreeing = {} if bridged is None else agreeing_in(bridged)
    proposals = (*by_network, *(() if bridged is None else bridged.proposals))
    judged = [(judge_proposed(found, limits), found) for found in proposals]
    judged.sort(key=lambda item: -item[1].link.evidence.weight)
    for wanted in (LinkVerdict.ACCEPTED, LinkVerdict.ROTATION_ONLY, LinkVerdict.POSSIBLE):
        believed = [(detail, believed_link(found, limits)) for (verdict, detail), found in judged if verdict is wanted]
        if any(turn_between_deg(believed[0][1].b_from_a, link.b_from_a) > FAR_DEG for _, link in believed[1:]):
            detail = "the photos' own matches believe proposed poses that are far from one another"
            return LinkDecision(LinkVerdict.INCONSISTENT, detail, believed[0][1])
        if believed:
            detail, best = believed[0]
            return LinkDecision(wanted, f"{best.source}: {detail}{_witnessed(best, agreeing)}", best)
    link = None if bridged is None else bridged.link
    if bridged is None or link is None:
        return None
    steps = judge(link, limits)
    detail = f"{_scored(bridged.choice)}; weakest step: {steps[1]}{_witnessed(link, agreeing)}"
    pixels = [item[0] for item in judged if item[1].link.source == link.source]
    against = [(verdict, why) for verdict, why in pixels if verdict is not LinkVerdict.UNSEEN]
    if against:
        return LinkDecision(against[0][0], f"{against[0][1]}; {detail}", link)
    if not pixels or steps[0] is not LinkVerdict.ACCEPTED or limits.accept_unseen:
        return LinkDecision(steps[0], detail, link)
    return LinkDecision(LinkVerdict.UNSEEN, f"{pixels[0][1]}; {detail}", link)


def pixels_believe(bridged: PairOutcome, limits: ConsensusOptions) -> bool:
    """Whether the matches of the two photos settle what the clips propose, so that nothing more need be asked of these.

    A pure rotation does as well.
    """
    found = decide_proposed((), replace(bridged, link=None), limits)
    return found is not None and found.verdict.tells_pose


def _witnessed(link: Link, agreeing: Mapping[str, tuple[str, ...]]) -> str:
    others = agreeing.get(link.source, ())
    return f"; clips of {', '.join(others)} propose the same pose" if others else ""


def _scored(choice: PoseChoice) -> str:
    return "not scored" if math.isnan(choice.score_deg) else f"{choice.score_kind} {choice.score_deg:.1f} degrees"
