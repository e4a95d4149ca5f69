"""Every option and its default, one frozen dataclass per stage. The command line is derived from these."""

from interpose_sfm.options.base import BaseOptions, CallerOptions, CameraMode, Mapper, PhotoOptions
from interpose_sfm.options.bridging import (
    BridgingOptions,
    Fit,
    FrameChoice,
    GenerationOptions,
    MemoryProfile,
    NetworkDtype,
)
from interpose_sfm.options.consensus import ConsensusOptions
from interpose_sfm.options.engine import EngineOptions
from interpose_sfm.options.matching import MatchingOptions, ViewGraphOptions
from interpose_sfm.options.pairing import MatchingMethod, PairingOptions
from interpose_sfm.options.poses import (
    AlignmentMethod,
    ConsistencyOptions,
    Da3Options,
    Dust3rOptions,
    MapAnythingOptions,
    PairSelection,
    Strategy,
)
from interpose_sfm.options.runs import (
    UNUSED_BY_BRIDGE,
    UNUSED_BY_MATCH,
    FallbackOptions,
    InterposeOptions,
    ReconstructOptions,
)

__all__ = [
    "UNUSED_BY_BRIDGE",
    "UNUSED_BY_MATCH",
    "AlignmentMethod",
    "BaseOptions",
    "BridgingOptions",
    "CallerOptions",
    "CameraMode",
    "ConsensusOptions",
    "ConsistencyOptions",
    "Da3Options",
    "Dust3rOptions",
    "EngineOptions",
    "FallbackOptions",
    "Fit",
    "FrameChoice",
    "GenerationOptions",
    "InterposeOptions",
    "MapAnythingOptions",
    "Mapper",
    "MatchingMethod",
    "MatchingOptions",
    "MemoryProfile",
    "NetworkDtype",
    "PairSelection",
    "PairingOptions",
    "PhotoOptions",
    "ReconstructOptions",
    "Strategy",
    "ViewGraphOptions",
]
