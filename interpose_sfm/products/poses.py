"""Poses of views, hypotheses of a pair's pose, and the choice among them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from interpose_sfm._compat import StrEnum
from interpose_sfm.products.arrays import FloatArray, ImageArray, IndexArray, MaskArray
from interpose_sfm.products.cameras import Intrinsics, Pose
from interpose_sfm.products.matches import Evidence
from interpose_sfm.products.pairs import ImagePair


@dataclass(frozen=True)
class TwoView:
    """Two-view geometry of two images.

    Attributes:
        status: OK, ROTATION_ONLY, or why there is no usable pose.
        b_from_a: Rotation and unit translation, zero for a pure rotation; None without a usable pose.
        inliers: (n,) uint32 rows of the matches that agree with it.
        evidence: Why to believe it.
        spread_deg: One-sigma angular uncertainty from the residuals.
    """

    status: PoseStatus
    b_from_a: Pose | None
    inliers: IndexArray
    evidence: Evidence
    spread_deg: float


@dataclass(frozen=True)
class DepthSamples:
    """Depths at some positions of a photo.

    Attributes:
        points_px: (n, 2) positions.
        depths: (n,) above zero.
    """

    points_px: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))
    depths: FloatArray = field(default_factory=lambda: np.zeros(0))

    def scaled(self, factor: float) -> DepthSamples:
        """The same in another unit."""
        return DepthSamples(self.points_px, self.depths * factor)


@dataclass(frozen=True)
class Placement:
    """Where a base model has a photo.

    Attributes:
        model: Number of the model; photos of one model are placed in one frame and scale.
        cam_from_model: Its pose there.
        depths: Of points of the model at positions in the photo, in the unit of the model.
    """

    model: int
    cam_from_model: Pose
    depths: DepthSamples = field(default_factory=DepthSamples)


@dataclass(frozen=True)
class View:
    """One image as a pose estimator sees it.

    Attributes:
        key: Content key, equal for equal pixels and masks; caches are built on it.
        image: (height, width, 3) uint8 RGB.
        intrinsics: Camera of this image, in its own pixels.
        mask: (height, width), False where key points are ignored; None where none are.
        placement: Where a base model has the photo; None where none has, or nobody asks.
    """

    key: str
    image: ImageArray
    intrinsics: Intrinsics
    mask: MaskArray | None = None
    placement: Placement | None = None


class PoseStatus(StrEnum):
    """Outcome of a pose estimate. Everything but OK and ROTATION_ONLY has no usable pose."""

    OK = "ok"
    ROTATION_ONLY = "pure rotation"
    FEW_MATCHES = "too few matches"
    FEW_INLIERS = "too few inliers"
    DEGENERATE = "degenerate geometry"
    DISCONNECTED = "views do not connect"


@dataclass(frozen=True)
class ViewPoses:
    """What a pose estimator says of a set of views; the first view is A, the last is B.

    Attributes:
        status: Whether A and B have a relative pose.
        cam_from_first: One pose per view, in one common scale; None where a view could not be placed.
        spread_deg: One-sigma angular uncertainty of last_from_first as the estimator sees it.
        points_a_px, points_b_px: (n, 2) corresponding positions in A and B that agree with the pose.
        depths_a, depths_b: (n,) depths of these points in A and in B, in the scale of the poses; NaN where there is
            none.
        evidence: That of the weakest step on the best way from A to B; None without a way.
        seen_a, seen_b: Depths in A and in B of whatever other views see as well, in the scale of the poses. They say
            how long the baseline is, also where A and B have no point in common.
        intrinsics: Camera of every view as the estimator has it, in the view's own pixels; empty where it takes them as
            they are.
    """

    status: PoseStatus
    cam_from_first: tuple[Pose | None, ...]
    spread_deg: float = 180.0
    points_a_px: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))
    points_b_px: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))
    depths_a: FloatArray = field(default_factory=lambda: np.zeros(0))
    depths_b: FloatArray = field(default_factory=lambda: np.zeros(0))
    evidence: Evidence | None = None
    seen_a: DepthSamples = field(default_factory=DepthSamples)
    seen_b: DepthSamples = field(default_factory=DepthSamples)
    intrinsics: tuple[Intrinsics, ...] = ()

    @property
    def has_pose(self) -> bool:
        """True if the last view has a pose relative to the first."""
        return self.status in (PoseStatus.OK, PoseStatus.ROTATION_ONLY)


@dataclass(frozen=True)
class PoseHypothesis:
    """The relative pose that one subset of views implies.

    Attributes:
        clip: Name of the clip, empty for the pair alone.
        frames: Indices of the clip's frames in the subset.
        status: Outcome of the estimate.
        b_from_a: Rotation and unit translation (zero for a pure rotation); None without a usable pose.
        spread_deg: The estimator's own uncertainty.
        num_inliers: Correspondences between A and B that support the pose.
        estimate: What the estimator said of the views, for the link that the pose may become; None for hypotheses that
            were stored without it.
    """

    clip: str
    frames: tuple[int, ...]
    status: PoseStatus
    b_from_a: Pose | None
    spread_deg: float
    num_inliers: int
    estimate: ViewPoses | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class PoseProposal:
    """A relative pose that something offers which did not see the matches of the two photos: these can judge it.

    Attributes:
        pair: The photos.
        b_from_a: Rotation and unit translation, zero for a pure rotation.
        spread_deg: One-sigma angular uncertainty.
        source: What offers it; the name of a clip.
        focal_px: Focal length of A that it rests on; None for that of the photo.
        imagined_by: Whose frames it was estimated from, such as a video model; proposals of one are no witnesses of one
            another.
    """

    pair: ImagePair
    b_from_a: Pose
    spread_deg: float
    source: str
    focal_px: float | None = None
    imagined_by: str = ""


class ScoreKind(StrEnum):
    """Which self-consistency score chose a pose."""

    D_TOTAL = "D_med + D_bias"
    D_MED = "D_med"
    D_MED_AGREEMENT = "D_med + disagreement between clips"
    PAIR_ONLY = "pair only"
    NONE = "none"


@dataclass(frozen=True)
class ClipScore:
    """Self-consistency of one clip (InterPose, Eq. 8 and 9), degrees.

    Attributes:
        d_med_deg: Mean distance of the medoid to the clip's other hypotheses.
        d_bias_deg: Distance of the medoid to the pose of the pair alone; NaN where the pair alone has none.
        d_agreement_deg: Distance of the medoid to the medoid of all clips' medoids.
        num_hypotheses: Hypotheses with a usable pose.
        spread_deg: Measured spread of the clip's hypotheses around its medoid.
    """

    clip: str
    medoid: Pose
    d_med_deg: float
    d_bias_deg: float
    d_agreement_deg: float
    num_hypotheses: int
    spread_deg: float = 180.0


class ChoiceReason(StrEnum):
    """Why a pose choice was made or refused on the evidence of its own pair."""

    ACCEPTED = "accepted"
    NO_HYPOTHESIS = "no hypothesis has a pose"
    TOO_FEW_HYPOTHESES = "too few hypotheses"
    INCONSISTENT = "hypotheses disagree"
    GUESSED_FOCAL = "the turn is wide, and the focal lengths are a guess that the clips do not confirm"
    SIGN_CONFLICT = "hypotheses disagree in the sign of the translation"


@dataclass(frozen=True)
class PoseChoice:
    """What the self-consistency stage decides for one pair.

    Attributes:
        reason: ACCEPTED, or why the pair is refused.
        b_from_a: The chosen relative pose; None when refused without a pose.
        clip: The clip whose medoid was chosen, empty for the pair alone.
        score_kind: Which score chose.
        score_deg: Its value.
        spread_deg: Measured spread of the hypotheses around the choice.
        clip_scores: Every clip's score.
    """

    pair: ImagePair
    reason: ChoiceReason
    b_from_a: Pose | None
    clip: str
    score_kind: ScoreKind
    score_deg: float
    spread_deg: float
    clip_scores: tuple[ClipScore, ...] = ()
