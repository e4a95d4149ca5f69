"""What is known of a weak pair, and the one function that makes a verdict of it.

Every step of a run adds to the findings of a pair; none of them sets a verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.judge import judge
from interpose_sfm.products import ChoiceReason, Link, LinkDecision, LinkVerdict, PairMatch, PairOutcome, PoseChoice


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that is known of a pair.

    Attributes:
        matched: What learned matches of the two photos say; None before they were made.
        bridged: What the clips say; None where none were asked for.
        skipped: Why the pair was not tried.
        contradiction: What other links say against the pair's link.
        confirmation: What else says the same as a link that its own evidence does not carry.
        dropped: What an adjusted model says against the link.
        dropped_link: The link as that model refitted it.
    """

    matched: PairMatch | None = None
    bridged: PairOutcome | None = None
    skipped: str = ""
    contradiction: str = ""
    confirmation: str = ""
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
        return replace(alone, verdict=LinkVerdict.ACCEPTED, detail=detail)
    if findings.contradiction:
        return replace(alone, verdict=LinkVerdict.CONTRADICTED, detail=findings.contradiction)
    return alone


def decide_alone(findings: Findings, limits: ConsensusOptions) -> LinkDecision:
    """The verdict on a pair before any other link is heard: by its clips where these give a link or disagree."""
    matched, bridged = findings.matched, findings.bridged
    if bridged is not None and bridged.link is not None:
        verdict, detail = judge(bridged.link, limits)
        return LinkDecision(verdict, f"{_scored(bridged.choice)}; weakest step: {detail}", bridged.link)
    if bridged is not None and bridged.choice.reason is not ChoiceReason.NO_HYPOTHESIS:
        detail = f"{bridged.choice.reason}: {_scored(bridged.choice)}"
        return LinkDecision(LinkVerdict.INCONSISTENT, detail, None if matched is None else matched.link)
    if matched is None:
        return LinkDecision(LinkVerdict.NOT_TRIED, findings.skipped or "not reached yet")
    if matched.link is None:
        return LinkDecision(LinkVerdict.NO_GEOMETRY, matched.two_view.status.value)
    return LinkDecision(*judge(matched.link, limits), matched.link)


def _scored(choice: PoseChoice) -> str:
    return "not scored" if math.isnan(choice.score_deg) else f"{choice.score_kind} {choice.score_deg:.1f} degrees"
