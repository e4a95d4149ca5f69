"""Which proposals for a pair support one another because different video models imagined them.

Clips of one model agree on wrong scenes, so that they are no witnesses of one another. Models that were trained apart
err apart, as long as one does not sell the other's frames; but all of them like to move on an arc around what both
photos show, and agree on that without having seen it. So agreement names and orders what pixels leave open, and never
accepts a link (``docs/links.md``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.matching.rivals import FAR_DEG
from interpose_sfm.pairs.judge import turn_between_deg
from interpose_sfm.products import PairOutcome, PoseProposal

MIN_APART_DEG = 10.0
"""Poses that are nearer are one, however small their spreads. A spread tells how far the hypotheses of a clip scatter
and not how far off they all are; clips of one pair are let differ by 15 percent in focal length
(`clip_calibration.MAX_RATIO`), and that bends a turn of 60 degrees by 9."""


def agreeing_sources(proposals: Sequence[PoseProposal]) -> Mapping[str, tuple[str, ...]]:
    """Clip -> the other sources of which a clip proposes the same pose, in name order; clips without any are left out.

    Args:
        proposals: Of the clips of one pair; a clip may have several.
    """
    found: dict[str, set[str]] = {}
    for one in proposals:
        strangers = (other for other in proposals if other.imagined_by != one.imagined_by)
        agreeing = {other.imagined_by for other in strangers if propose_the_same(one, other)}
        found.setdefault(one.source, set()).update(agreeing)
    return {clip: tuple(sorted(others)) for clip, others in found.items() if others}


def agreeing_in(bridged: PairOutcome) -> Mapping[str, tuple[str, ...]]:
    """`agreeing_sources` of all that was proposed for a pair and held against its pixels."""
    held = [found.link.proposal for found in bridged.proposals]
    return agreeing_sources([proposal for proposal in held if proposal is not None])


def propose_the_same(one: PoseProposal, other: PoseProposal) -> bool:
    """Whether two poses are one within their spreads: as they came, since the photos' matches moved both alike.

    A pure rotation says nothing of a baseline, so that the rotation alone is compared where one is.
    """
    apart_deg = [turn_between_deg(one.b_from_a, other.b_from_a)]
    towards = one.b_from_a.translation, other.b_from_a.translation
    if all(map(np.any, towards)):
        apart_deg.append(float(geometry.direction_angle_deg(*towards)))
    return max(apart_deg) <= float(np.clip(one.spread_deg + other.spread_deg, MIN_APART_DEG, FAR_DEG))
