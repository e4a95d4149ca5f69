"""Engines by name: the built-in ones and those of other packages."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from interpose_sfm.engines.protocol import Engine
from interpose_sfm.options import EngineOptions
from interpose_sfm.registry import BackendTable

ENGINES: BackendTable[Engine] = BackendTable(
    kind="engine",
    builtin=MappingProxyType(
        {
            "local": "interpose_sfm.engines.local:LocalEngine",
            "ray": "interpose_sfm.engines.ray_cluster:RayEngine",
            "slurm": "interpose_sfm.engines.slurm:SlurmEngine",
        }
    ),
    entry_point_group="interpose_sfm.engines",
    base=Engine,
)
"""Classes that are built from the options and a folder that all workers see."""


def is_elsewhere(options: EngineOptions) -> bool:
    """See `Engine.is_elsewhere`, of the engine that the options name.

    Raises:
        ValueError, MissingDependencyError: As `create_engine`.
    """
    return ENGINES.resolve(options.engine).is_elsewhere(options)


def create_engine(options: EngineOptions, folder: Path) -> Engine:
    """Build the engine that the options name.

    Args:
        options: Of the run.
        folder: For its files, if it needs any.

    Raises:
        ValueError: Unknown name; the message lists the known ones.
        MissingDependencyError: Something it needs is not installed; the message holds the pip command.
    """
    return ENGINES.resolve(options.engine)(options, folder)
