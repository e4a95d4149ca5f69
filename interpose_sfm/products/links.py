"""Relative poses that may tie base models together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from interpose_sfm._compat import StrEnum
from interpose_sfm.products.arrays import FloatArray
from interpose_sfm.products.cameras import Pose
from interpose_sfm.products.clips import ClipFlag, ClipPreview
from interpose_sfm.products.matches import Doubts, Evidence
from interpose_sfm.products.pairs import ImagePair
from interpose_sfm.products.poses import DepthSamples, PoseChoice, PoseHypothesis, PoseProposal, TwoView


class LinkVerdict(StrEnum):
    """What became of the link that a weak pair offers. Everything but ACCEPTED is a refusal."""

    ACCEPTED = "accepted"
    NOT_TRIED = "not tried"
    NO_GEOMETRY = "no two-view geometry"
    FEW_INLIERS = "too few inliers"
    CHANCE = "luck explains as many matches"
    LOW_AGREEMENT = "too many matches contradict the pose"
    POSSIBLE = "possible, but not sure unless other photos confirm it"
    LOOK_ALIKE = "one thing matches, and the photos share nothing around it"
    OVERLAY = "what matches is burnt into both photos"
    UNSURE_POSE = "pose is too uncertain"
    RIVAL = "another pose explains more of the matches"
    UNSEEN = "the photos show too little in common to judge the pose"
    ROTATION_ONLY = "pure rotation: nothing can be triangulated"
    INCONSISTENT = "hypotheses disagree"
    CONTRADICTED = "contradicted by other links"
    DROPPED = "contradicted by the adjusted model"

    @property
    def tells_pose(self) -> bool:
        """Whether the pose is believed: that of a link, or a pure rotation, which links nothing."""
        return self in (LinkVerdict.ACCEPTED, LinkVerdict.ROTATION_ONLY)


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
        guessed_a, guessed_b: Depths in A and in B in units of the baseline that a pose network guesses; they say its
            length where nothing that was measured does.
        guessed_poses: Poses of both photos and of others beside them, from A and in units of the baseline, that a
            network has of them all at once; they say the length where it is known how these lie.
        doubts: What speaks against it; asked of the two photos' own matches only.
        proposal: What the photos' own matches were held against; None for a pose that was made of them, or that they
            were not asked about.
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
    guessed_a: DepthSamples = field(default_factory=DepthSamples)
    guessed_b: DepthSamples = field(default_factory=DepthSamples)
    guessed_poses: Mapping[str, Pose] = field(default_factory=dict)
    doubts: Doubts = field(default_factory=Doubts)
    proposal: PoseProposal | None = None


@dataclass(frozen=True)
class JudgedProposal:
    """A proposal as the matches of the two photos see it.

    Attributes:
        link: The proposal refined on the matches, with those that agree, its evidence and doubts.
        num_tests: Poses that were held against the matches.
        surprise: Of the proposal as it came, without freedom; that of the link is of the refined pose.
        rival_surprise: Of the best pose that is no variant of it, with its freedom counted.
        own: What the matches find by themselves under the same cameras; None where they find nothing.
    """

    link: Link
    num_tests: int
    surprise: float
    rival_surprise: float = 0.0
    own: Link | None = None


@dataclass(frozen=True)
class PairMatch:
    """What learned matches of two photos say.

    Attributes:
        two_view: Their two-view geometry.
        link: The link that it offers; None without a pose.
    """

    two_view: TwoView
    link: Link | None


@dataclass(frozen=True)
class PairOutcome:
    """What bridging made of one pair.

    Attributes:
        choice: What the self-consistency stage decided.
        link: The chosen pose with the correspondences that reach both photos through the clip, and the evidence of
            its weakest step; None where nothing was chosen.
        tried: What was tried, clip by clip, for the report.
        flags: Clip -> what its checks found wrong.
        hypotheses: Of all clips.
        pair_only: What the estimator says of the two photos alone.
        proposals: What the clips propose, held against these matches, in order of the clips.
        previews: Of the clips that could be read.
        focal_factor: What the guessed focal lengths of both photos were multiplied by; 1 where they were not.
    """

    choice: PoseChoice
    link: Link | None
    tried: tuple[str, ...]
    flags: Mapping[str, tuple[ClipFlag, ...]] = field(default_factory=dict)
    hypotheses: tuple[PoseHypothesis, ...] = ()
    pair_only: PoseHypothesis | None = None
    proposals: tuple[JudgedProposal, ...] = ()
    previews: tuple[ClipPreview, ...] = ()
    focal_factor: float = 1.0


@dataclass(frozen=True)
class LinkDecision:
    """What became of a pair.

    Attributes:
        verdict: Whether its link is believed, or why not.
        detail: One sentence with the figures behind the verdict.
        link: The link that the verdict is about; None where none was offered.
    """

    verdict: LinkVerdict
    detail: str
    link: Link | None = None
