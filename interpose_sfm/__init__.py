"""COLMAP reconstruction of photos that overlap too little, with bridging clips as a checked fallback.

    import interpose_sfm

    result = interpose_sfm.reconstruct("photos")
    print(result.model_dirs, result.report.num_registered_after)

Importing the package loads neither COLMAP nor the networks; they are loaded when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interpose_sfm.doctor import diagnose
    from interpose_sfm.options import InterposeOptions, ReconstructOptions
    from interpose_sfm.report import ReconstructionResult, RunReport
    from interpose_sfm.workflows.drop_in import extend, incremental_mapping, installed
    from interpose_sfm.workflows.make_clips import BridgeResult, bridge_photos
    from interpose_sfm.workflows.reconstruct import find_weak_pairs, reconstruct
    from interpose_sfm.workflows.relative_pose import RelativePoseResult, relative_pose

__version__ = "0.1.0"

__all__ = [
    "BridgeResult",
    "InterposeOptions",
    "ReconstructOptions",
    "ReconstructionResult",
    "RelativePoseResult",
    "RunReport",
    "__version__",
    "bridge_photos",
    "diagnose",
    "extend",
    "find_weak_pairs",
    "incremental_mapping",
    "installed",
    "reconstruct",
    "relative_pose",
]

_MODULES = {
    "BridgeResult": "workflows.make_clips",
    "InterposeOptions": "options",
    "ReconstructOptions": "options",
    "ReconstructionResult": "report",
    "RelativePoseResult": "workflows.relative_pose",
    "RunReport": "report",
    "bridge_photos": "workflows.make_clips",
    "diagnose": "doctor",
    "extend": "workflows.drop_in",
    "find_weak_pairs": "workflows.reconstruct",
    "incremental_mapping": "workflows.drop_in",
    "installed": "workflows.drop_in",
    "reconstruct": "workflows.reconstruct",
    "relative_pose": "workflows.relative_pose",
}


def __getattr__(name: str) -> object:
    """Load a public name at its first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value  # from now on without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
