"""The nouns that travel between the stages.

Conventions, everywhere in the package:

* ``b_from_a`` maps points from frame a to frame b: ``x_in_b = R @ x_in_a + t``. Cameras look along +z, y points down.
* Pixel positions follow COLMAP: the centre of the top-left pixel is (0.5, 0.5).
* Photos are named by their POSIX path below the photo folder, as COLMAP names its images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interpose_sfm._compat import StrEnum

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.uint32]
ImageArray = NDArray[np.uint8]


# ---------------------------------------------------------------- photos


class SkipReason(StrEnum):
    """Why a file in the photo folder is not used."""

    NOT_AN_IMAGE = "not an image"
    EMPTY = "empty file"
    CORRUPT = "corrupt or truncated"
    TOO_SMALL = "too small"
    TOO_LARGE = "too large"
    DUPLICATE = "duplicate"
    UNREADABLE = "unreadable"
    BAD_NAME = "name cannot be used"


@dataclass(frozen=True)
class Photo:
    """One usable photo.

    Attributes:
        name: POSIX path below the photo folder.
        path: The image file that the stages read; upright (EXIF orientation already applied).
        width_px, height_px: Size of the upright image.
        focal_px: Focal length from EXIF in pixels of the upright image, None where EXIF does not tell.
        make, model: Camera from EXIF, empty where EXIF does not tell.
        sha256: Hex digest of the original file.
    """

    name: str
    path: Path
    width_px: int
    height_px: int
    focal_px: float | None
    make: str
    model: str
    sha256: str


@dataclass(frozen=True)
class SkippedFile:
    """A file that was left out, and why."""

    name: str
    reason: SkipReason
    detail: str


@dataclass(frozen=True)
class PhotoSet:
    """The photos of one collection, sorted by name, and what was left out.

    Attributes:
        image_dir: Folder that holds every photo under its name; handed to COLMAP as the image path.
    """

    image_dir: Path
    photos: tuple[Photo, ...]
    skipped: tuple[SkippedFile, ...]


# ---------------------------------------------------------------- cameras and transforms


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera with one radial coefficient (COLMAP's SIMPLE_RADIAL).

    Attributes:
        width_px, height_px: Image size.
        focal_px: Focal length.
        cx_px, cy_px: Principal point.
        radial: First radial distortion coefficient.
        is_trusted: True where the focal length is known (EXIF or a reconstruction), False where it is a guess.
    """

    width_px: int
    height_px: int
    focal_px: float
    cx_px: float
    cy_px: float
    radial: float = 0.0
    is_trusted: bool = False


@dataclass(frozen=True)
class Pose:
    """A rigid transform ``b_from_a``; the scale of the translation is that of its context.

    Attributes:
        rotation: (3, 3) float64, a rotation matrix.
        translation: (3,) float64. For a relative pose of unknown scale a unit vector, or zero for a pure rotation.
    """

    rotation: FloatArray
    translation: FloatArray

    def inverse(self) -> Pose:
        """a_from_b."""
        return Pose(self.rotation.T, -self.rotation.T @ self.translation)

    def __matmul__(self, other: Pose) -> Pose:
        """``c_from_b @ b_from_a = c_from_a``."""
        return Pose(self.rotation @ other.rotation, self.rotation @ other.translation + self.translation)


# ---------------------------------------------------------------- view graph


@dataclass(frozen=True, order=True)
class ImagePair:
    """Two photos by name. The order is that of the relative pose b_from_a."""

    a: str
    b: str

    def __post_init__(self) -> None:
        if self.a == self.b:
            raise ValueError(f"a pair needs two different photos, got {self.a!r} twice")

    @classmethod
    def sorted(cls, x: str, y: str) -> ImagePair:
        """The pair in name order, the form in which the view graph names its pairs."""
        return cls(min(x, y), max(x, y))


def connected_components(names: Iterable[str], pairs: Iterable[ImagePair]) -> tuple[frozenset[str], ...]:
    """Connected components of a graph over photo names, largest first, ties in name order."""
    component = {name: {name} for name in names}
    for pair in pairs:
        first, second = component[pair.a], component[pair.b]
        if first is second:
            continue
        first |= second
        for name in second:
            component[name] = first
    distinct = {id(group): frozenset(group) for group in component.values()}
    return tuple(sorted(distinct.values(), key=lambda group: (-len(group), min(group))))


class WeakReason(StrEnum):
    """Why the base model does not connect two photos."""

    NO_VERIFIED_MATCH = "no verified match"
    FEW_MATCHES = "few matches"
    DISCONNECTED = "in different models"
    UNREGISTERED = "unregistered"


@dataclass(frozen=True)
class WeakPair:
    """A pair whose link would connect what the base model leaves apart.

    Attributes:
        reasons: Every reason that holds.
        num_verified: Verified SIFT matches of the pair in the database.
    """

    pair: ImagePair
    reasons: tuple[WeakReason, ...]
    num_verified: int


@dataclass(frozen=True)
class ViewGraph:
    """What the base stage connects and what it does not.

    Attributes:
        names: All photos in the database.
        verified: Verified match count of every verified pair, in name order.
        verified_components: Connected components of the verified graph, largest first.
        models: Photos registered in each base model, largest model first. A photo may be in several.
        unregistered: Photos in no base model.
        weak_pairs: Ranked, most promising first.
    """

    names: tuple[str, ...]
    verified: Mapping[ImagePair, int]
    verified_components: tuple[frozenset[str], ...]
    models: tuple[frozenset[str], ...]
    unregistered: frozenset[str]
    weak_pairs: tuple[WeakPair, ...]


# ---------------------------------------------------------------- features and matches


@dataclass(frozen=True)
class Features:
    """Learned local features of one image.

    Attributes:
        keypoints_px: (n, 2) float64, COLMAP pixel convention, in the full image.
        descriptors: (n, d) float32, unit length.
        scores: (n,) float32.
        size_px: (width, height) of the image.
    """

    keypoints_px: FloatArray
    descriptors: NDArray[np.float32]
    scores: NDArray[np.float32]
    size_px: tuple[int, int]


@dataclass(frozen=True)
class Matches:
    """Putative matches between two feature sets.

    Attributes:
        indices: (n, 2) uint32 rows into the features of a and b.
        scores: (n,) float32 in [0, 1].
    """

    indices: IndexArray
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Evidence:
    """How strongly putative matches say that two images show the same place.

    Look-alike structure passes every geometric test; what it lacks is the matcher's confidence and its completeness.
    The cues are independent of one another and of the number of inliers.

    Attributes:
        num_matches: Putative matches.
        num_inliers: Matches that agree with one relative pose.
        inlier_share: num_inliers / num_matches.
        mean_score: Mean confidence of all putative matches, in [0, 1].
        density: Share of the key points inside the convex hull of the inliers that are inliers; the lower one of both
            images.
        triangulation_angle_deg: Median angle between the rays of the inliers.
        is_calibrated: False if the matches agree with an uncalibrated geometry only, although the cameras are known.
    """

    num_matches: int
    num_inliers: int
    inlier_share: float
    mean_score: float
    density: float
    triangulation_angle_deg: float
    is_calibrated: bool

    @property
    def strength(self) -> float:
        """One number to order evidence by: the product of the cues in [0, 1]; not the number of inliers."""
        return self.inlier_share * self.mean_score * self.density


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


# ---------------------------------------------------------------- bridging


@dataclass(frozen=True)
class FrameMapping:
    """Where the picture of a photo lies in a frame: ``x_frame = scale * x_photo + offset_px``, per axis.

    Attributes:
        scale: (x, y).
        offset_px: (x, y) in frame pixels.
    """

    scale: tuple[float, float]
    offset_px: tuple[float, float]


@dataclass(frozen=True)
class ClipRequest:
    """What a generator is asked for.

    Attributes:
        index: Which of the pair's clips, counted from 0; a generator must return different clips for different indices.
        backwards: True if the clip is to be generated from B to A (it is still returned in A to B order).
        seed: Generators with equal requests return equal clips.
    """

    index: int
    backwards: bool
    seed: int


class ClipStatus(StrEnum):
    """Whether a generator could serve a request."""

    OK = "ok"
    NO_CLIP = "no clip for this pair"
    NO_MATCHES = "too few putative matches to morph"
    UNREADABLE = "clip cannot be read"
    NOT_REGISTERED = "first and last frame do not show the photos"
    GENERATION_FAILED = "the model made no clip"
    REFUSED = "the service refuses to make this clip"


class ClipState(StrEnum):
    """How far a clip is that a video model was to make."""

    EXISTS = "exists"
    MADE = "made"
    MISSING = "missing"
    FAILED = "failed"


class ClipProblem(StrEnum):
    """What can be seen to be wrong with a clip before any pose is estimated."""

    WRONG_LENGTH = "wrong number of frames"
    WRONG_SIZE = "wrong size of frames"
    FROZEN = "nothing moves"
    WRONG_FIRST = "the first frame does not show its photo"
    WRONG_LAST = "the last frame does not show its photo"
    HARD_CUT = "hard cut"
    CROSS_FADE = "cross-fade"


@dataclass(frozen=True)
class ClipFlag:
    """A problem of a clip, with its measure.

    Attributes:
        problem: Kind of problem.
        value: What was measured.
        limit: Where the problem begins.
        detail: One sentence for the report.
    """

    problem: ClipProblem
    value: float
    limit: float
    detail: str


@dataclass(frozen=True)
class Clip:
    """Bridging frames between two photos, in A to B order; the photos themselves are not among the frames.

    Attributes:
        pair: The photos.
        name: Stable name for reports and stores, such as ``morph-0`` or a file name.
        generator: Name of the generator.
        frames: RGB uint8 frames of equal size, each (height, width, 3); empty unless the status is OK.
        frame_from_a, frame_from_b: Where each photo lies in the frames; both photos and all frames share one mapping
            when the generator fitted them alike.
        status: OK, or why there is no clip.
        detail: One sentence for the report.
        flags: What the checks found wrong with the video.
    """

    pair: ImagePair
    name: str
    generator: str
    frames: tuple[ImageArray, ...]
    frame_from_a: FrameMapping
    frame_from_b: FrameMapping
    status: ClipStatus = ClipStatus.OK
    detail: str = ""
    flags: tuple[ClipFlag, ...] = ()


# ---------------------------------------------------------------- poses


@dataclass(frozen=True)
class View:
    """One image as a pose estimator sees it.

    Attributes:
        key: Content key, equal for equal pixels; caches are built on it.
        image: (height, width, 3) uint8 RGB.
        intrinsics: Camera of this image, in its own pixels.
    """

    key: str
    image: ImageArray
    intrinsics: Intrinsics


class PoseStatus(StrEnum):
    """Outcome of a pose estimate. Everything but OK and ROTATION_ONLY has no usable pose."""

    OK = "ok"
    ROTATION_ONLY = "pure rotation"
    FEW_MATCHES = "too few matches"
    FEW_INLIERS = "too few inliers"
    DEGENERATE = "degenerate geometry"
    DISCONNECTED = "views do not connect"


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
    """

    clip: str
    frames: tuple[int, ...]
    status: PoseStatus
    b_from_a: Pose | None
    spread_deg: float
    num_inliers: int


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
    """

    clip: str
    medoid: Pose
    d_med_deg: float
    d_bias_deg: float
    d_agreement_deg: float
    num_hypotheses: int


class ChoiceReason(StrEnum):
    """Why a pose choice was made or refused on the evidence of its own pair."""

    ACCEPTED = "accepted"
    NO_HYPOTHESIS = "no hypothesis has a pose"
    TOO_FEW_HYPOTHESES = "too few hypotheses"
    INCONSISTENT = "hypotheses disagree"
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


# ---------------------------------------------------------------- links


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
