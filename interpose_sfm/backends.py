"""What authors of backends need, under names that stay: protocols, what a backend is built from, and what it returns.

A backend is a class derived from `VideoGenerator`, `VideoModel`, `PoseEstimator`, `Retriever` or `Engine`, registered
in the entry-point group ``interpose_sfm.generators``, ``interpose_sfm.video_models``,
``interpose_sfm.pose_estimators``, ``interpose_sfm.retrievers`` or ``interpose_sfm.engines`` of its distribution.
``examples/own_backend`` is a whole one.
"""

from interpose_sfm.clips.protocol import (
    BudgetError,
    GeneratorContext,
    VideoGenerator,
    check_clip,
    clip_requests,
    no_clip,
)
from interpose_sfm.engines.protocol import Done, Engine, EngineError, WorkerDiedError, attempt
from interpose_sfm.options import BridgingOptions, EngineOptions, GenerationOptions
from interpose_sfm.pose.protocol import EstimatorContext, EstimatorTraits, PoseEstimator, check_poses
from interpose_sfm.products import (
    Clip,
    ClipFormat,
    ClipRequest,
    ClipStatus,
    DepthSamples,
    Evidence,
    Features,
    FrameMapping,
    GeneratorKind,
    ImageArray,
    ImagePair,
    Intrinsics,
    MaskArray,
    Matches,
    Placement,
    Pose,
    PoseStatus,
    Settings,
    View,
    ViewPoses,
)
from interpose_sfm.registry import Backend, MissingDependencyError
from interpose_sfm.retrieval.protocol import Retriever, RetrieverContext, checked_rankings
from interpose_sfm.video_models.protocol import (
    ClipEstimate,
    ClipTask,
    GenerationError,
    MadeVideo,
    TaskJournal,
    VideoModel,
)

__all__ = [
    "Backend",
    "BridgingOptions",
    "BudgetError",
    "Clip",
    "ClipEstimate",
    "ClipFormat",
    "ClipRequest",
    "ClipStatus",
    "ClipTask",
    "DepthSamples",
    "Done",
    "Engine",
    "EngineError",
    "EngineOptions",
    "EstimatorContext",
    "EstimatorTraits",
    "Evidence",
    "Features",
    "FrameMapping",
    "GenerationError",
    "GenerationOptions",
    "GeneratorContext",
    "GeneratorKind",
    "ImageArray",
    "ImagePair",
    "Intrinsics",
    "MadeVideo",
    "MaskArray",
    "Matches",
    "MissingDependencyError",
    "Placement",
    "Pose",
    "PoseEstimator",
    "PoseStatus",
    "Retriever",
    "RetrieverContext",
    "Settings",
    "TaskJournal",
    "VideoGenerator",
    "VideoModel",
    "View",
    "ViewPoses",
    "WorkerDiedError",
    "attempt",
    "check_clip",
    "check_poses",
    "checked_rankings",
    "clip_requests",
    "no_clip",
]
