"""The nouns that travel between the stages.

Conventions, everywhere in the package:

* ``b_from_a`` maps points from frame a to frame b: ``x_in_b = R @ x_in_a + t``. Cameras look along +z, y points down.
* Pixel positions follow COLMAP: the centre of the top-left pixel is (0.5, 0.5).
* Photos are named by their POSIX path below the photo folder, as COLMAP names its images.
"""

from interpose_sfm.products.arrays import FloatArray, ImageArray, IndexArray, MaskArray
from interpose_sfm.products.cameras import Intrinsics, KnownView, Pose
from interpose_sfm.products.clips import (
    CLIP_INDEX,
    CLIP_STORE,
    Clip,
    ClipFlag,
    ClipFormat,
    ClipPreview,
    ClipProblem,
    ClipRequest,
    ClipState,
    ClipStatus,
    FrameMapping,
    GeneratorKind,
    Settings,
)
from interpose_sfm.products.links import (
    PAIR_ALONE,
    JudgedProposal,
    Link,
    LinkDecision,
    LinkVerdict,
    PairMatch,
    PairOutcome,
)
from interpose_sfm.products.matches import Doubts, Evidence, Features, Matches
from interpose_sfm.products.pairs import ImagePair, LookAlike, ViewGraph, WeakPair, WeakReason, connected_components
from interpose_sfm.products.photos import GpsPosition, Photo, PhotoSet, SkippedFile, SkipReason
from interpose_sfm.products.poses import (
    ChoiceReason,
    ClipScore,
    DepthSamples,
    Placement,
    PoseChoice,
    PoseHypothesis,
    PoseProposal,
    PoseStatus,
    ScoreKind,
    TwoView,
    View,
    ViewPoses,
)

__all__ = [
    "CLIP_INDEX",
    "CLIP_STORE",
    "PAIR_ALONE",
    "ChoiceReason",
    "Clip",
    "ClipFlag",
    "ClipFormat",
    "ClipPreview",
    "ClipProblem",
    "ClipRequest",
    "ClipScore",
    "ClipState",
    "ClipStatus",
    "DepthSamples",
    "Doubts",
    "Evidence",
    "Features",
    "FloatArray",
    "FrameMapping",
    "GeneratorKind",
    "GpsPosition",
    "ImageArray",
    "ImagePair",
    "IndexArray",
    "Intrinsics",
    "JudgedProposal",
    "KnownView",
    "Link",
    "LinkDecision",
    "LinkVerdict",
    "LookAlike",
    "MaskArray",
    "Matches",
    "PairMatch",
    "PairOutcome",
    "Photo",
    "PhotoSet",
    "Placement",
    "Pose",
    "PoseChoice",
    "PoseHypothesis",
    "PoseProposal",
    "PoseStatus",
    "ScoreKind",
    "Settings",
    "SkipReason",
    "SkippedFile",
    "TwoView",
    "View",
    "ViewGraph",
    "ViewPoses",
    "WeakPair",
    "WeakReason",
    "connected_components",
]
