"""COLMAP reconstruction of photos that overlap too little, with bridging clips as a checked fallback.

    import interpose_sfm

    result = interpose_sfm.reconstruct("photos")
    print(result.model_dirs, result.report.num_registered_after)

Importing the package loads neither COLMAP nor the networks; they are loaded when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # under names of their own, or strict type checkers take them for private
    # fmt: off
    # isort: off
    from interpose_sfm.clips.protocol import BudgetError as BudgetError
    from interpose_sfm.doctor import BackendCheck as BackendCheck, CheckKind as CheckKind, diagnose as diagnose
    from interpose_sfm.engines.protocol import EngineError as EngineError
    from interpose_sfm.engines.shard import Shard as Shard
    from interpose_sfm.export.formats import ExportFormat as ExportFormat
    from interpose_sfm.export.orientation import ExportAlign as ExportAlign
    from interpose_sfm.options import (
        AlignmentMethod as AlignmentMethod, BaseOptions as BaseOptions, BridgingOptions as BridgingOptions,
        CameraMode as CameraMode, ConsensusOptions as ConsensusOptions, ConsistencyOptions as ConsistencyOptions,
        Da3Options as Da3Options, Dust3rOptions as Dust3rOptions, EngineOptions as EngineOptions,
        FallbackOptions as FallbackOptions, Fit as Fit,
        FrameChoice as FrameChoice, GenerationOptions as GenerationOptions, InterposeOptions as InterposeOptions,
        MapAnythingOptions as MapAnythingOptions, Mapper as Mapper, MatchingMethod as MatchingMethod,
        MatchingOptions as MatchingOptions, MemoryProfile as MemoryProfile, NetworkDtype as NetworkDtype,
        PairingOptions as PairingOptions, PairSelection as PairSelection, PhotoOptions as PhotoOptions,
        ReconstructOptions as ReconstructOptions, Strategy as Strategy, ViewGraphOptions as ViewGraphOptions,
    )
    from interpose_sfm.products import (
        ChoiceReason as ChoiceReason, ClipFlag as ClipFlag, ClipProblem as ClipProblem, ClipScore as ClipScore,
        ClipState as ClipState, Evidence as Evidence, ImagePair as ImagePair, Intrinsics as Intrinsics,
        LinkVerdict as LinkVerdict, Pose as Pose, PoseChoice as PoseChoice, PoseStatus as PoseStatus,
        ScoreKind as ScoreKind, ViewGraph as ViewGraph, WeakPair as WeakPair, WeakReason as WeakReason,
    )
    from interpose_sfm.registry import MissingDependencyError as MissingDependencyError
    from interpose_sfm.report import (
        AdviceReport as AdviceReport, CameraReport as CameraReport, ClipReport as ClipReport,
        CommandReport as CommandReport, FallbackError as FallbackError, GeoreferenceReport as GeoreferenceReport,
        HeldBy as HeldBy, HypothesisReport as HypothesisReport,
        LinkReport as LinkReport, LookAlikeReport as LookAlikeReport, ModelReport as ModelReport,
        PairReport as PairReport, PhotoReport as PhotoReport, ReconstructionResult as ReconstructionResult,
        RunReport as RunReport, VerifiedPairReport as VerifiedPairReport, WitnessReport as WitnessReport,
    )
    from interpose_sfm.run_log import Progress as Progress
    from interpose_sfm.storage.item_files import StoreError as StoreError
    from interpose_sfm.storage.workspace import WorkspaceBusyError as WorkspaceBusyError
    from interpose_sfm.workflows.drop_in import (
        extend as extend, incremental_mapping as incremental_mapping, installed as installed,
    )
    from interpose_sfm.workflows.export_models import (
        ExportedModel as ExportedModel, ExportResult as ExportResult, export_models as export_models,
    )
    from interpose_sfm.workflows.make_clips import (
        BridgeClip as BridgeClip, BridgeEstimate as BridgeEstimate, BridgeResult as BridgeResult,
        bridge_photos as bridge_photos,
    )
    from interpose_sfm.workflows.match_pairs import MatchResult as MatchResult, match_photos as match_photos
    from interpose_sfm.workflows.merge_stores import MergeResult as MergeResult, merge_outputs as merge_outputs
    from interpose_sfm.workflows.reconstruct import find_weak_pairs as find_weak_pairs, reconstruct as reconstruct
    from interpose_sfm.workflows.relative_pose import (
        RelativePoseResult as RelativePoseResult, relative_pose as relative_pose,
    )
    from interpose_sfm.workflows.report_page import PageResult as PageResult, write_report_page as write_report_page
    # fmt: on
    # isort: on

__version__ = "0.1.0"

_NAMES = {
    "clips.protocol": "BudgetError",
    "doctor": "BackendCheck CheckKind diagnose",
    "engines.protocol": "EngineError",
    "engines.shard": "Shard",
    "export.formats": "ExportFormat",
    "export.orientation": "ExportAlign",
    "options": (
        "AlignmentMethod BaseOptions BridgingOptions CameraMode ConsensusOptions ConsistencyOptions Da3Options "
        "Dust3rOptions EngineOptions FallbackOptions Fit FrameChoice GenerationOptions InterposeOptions "
        "MapAnythingOptions Mapper "
        "MatchingMethod MatchingOptions MemoryProfile NetworkDtype PairingOptions PairSelection PhotoOptions "
        "ReconstructOptions Strategy "
        "ViewGraphOptions"
    ),
    "products": (
        "ChoiceReason ClipFlag ClipProblem ClipScore ClipState Evidence ImagePair Intrinsics LinkVerdict Pose "
        "PoseChoice PoseStatus ScoreKind ViewGraph WeakPair WeakReason"
    ),
    "registry": "MissingDependencyError",
    "report": (
        "AdviceReport CameraReport ClipReport CommandReport FallbackError GeoreferenceReport HeldBy HypothesisReport "
        "LinkReport LookAlikeReport ModelReport PairReport PhotoReport ReconstructionResult RunReport "
        "VerifiedPairReport WitnessReport"
    ),
    "run_log": "Progress",
    "storage.item_files": "StoreError",
    "storage.workspace": "WorkspaceBusyError",
    "workflows.drop_in": "extend incremental_mapping installed",
    "workflows.export_models": "ExportedModel ExportResult export_models",
    "workflows.make_clips": "BridgeClip BridgeEstimate BridgeResult bridge_photos",
    "workflows.match_pairs": "MatchResult match_photos",
    "workflows.merge_stores": "MergeResult merge_outputs",
    "workflows.reconstruct": "find_weak_pairs reconstruct",
    "workflows.relative_pose": "RelativePoseResult relative_pose",
    "workflows.report_page": "PageResult write_report_page",
}
"""Module -> its public names, apart by blanks. Type checkers read the imports above; a test compares the two."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> object:
    """Load a public name at its first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value  # from now on without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
