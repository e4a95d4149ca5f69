"""Relative poses that may tie base models together."""

from __future__ import annotations

from dataclasses import dataclass, field

from interpose_sfm._compat import StrEnum
from interpose_sfm.products.arrays import FloatArray
from interpose_sfm.products.cameras import Pose
from interpose_sfm.products.matches import Evidence
from interpose_sfm.products.pairs import ImagePair
from interpose_sfm.products.poses import DepthSamples


class LinkVerdict(StrEnum):
    """What became of the link that a weak pair offers. Everything but ACCEPTED is a refusal."""

    ACCEPTED = "accepted"
    NOT_TRIED = "not tried"
    NO_GEOMETRY = "no two-view geometry"
    FEW_INLIERS = "too few inliers"
    LOW_SHARE = "too many matches contradict the pose"
    LOW_SCORE = "matches lack confidence for photos said to be this close"
    LOW_DENSITY = "the matched area is full of key points without a match"
    NOT_CALIBRATED = "geometry does not fit the known cameras"
    UNSURE_POSE = "pose is too uncertain"
    ROTATION_ONLY = "pure rotation: nothing can be triangulated"
    INCONSISTENT = "hypotheses disagree"
    CONTRADICTED = "contradicted by other links"
    DROPPED = "contradicted by the adjusted model"


PAIR_ALONE = "pair"


@dataclass(frozen=True)
class Link:
    """A relative pose between two photos with the correspondences that carry it.

    Attributes:
        pair: The photos.
        b_from_a: Rotation and unit translation.
        spread_deg: One-sigma angular uncertainty.
        points_a_px, points_b_px: (n, 2) corresponding positions in the full photos.
        evidence: Why to believe it.
        source: PAIR_ALONE for learned matches of the two photos, else the name of the clip.
        seen_a, seen_b: Depths in A and in B in units of the baseline, beyond those that the correspondences have.
    """

    pair: ImagePair
    b_from_a: Pose
    spread_deg: float
    points_a_px: FloatArray
    points_b_px: FloatArray
    evidence: Evidence
    source: str
    seen_a: DepthSamples = field(default_factory=DepthSamples)
    seen_b: DepthSamples = field(default_factory=DepthSamples)


@dataclass(frozen=True)
class LinkDecision:
    """A link, and what the consensus says of it."""

    link: Link
    verdict: LinkVerdict
    detail: str = ""
