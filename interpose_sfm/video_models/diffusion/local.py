"""Which video model can run on this machine as it is, for the generator ``auto``: no network, no download."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from interpose_sfm.options import GenerationOptions, MemoryProfile
from interpose_sfm.video_models.diffusion import memory
from interpose_sfm.video_models.diffusion.catalogue import CHECKPOINTS, Checkpoint, billions_here
from interpose_sfm.video_models.diffusion.model import DiffusersModel, footprint_of

logger = logging.getLogger(__name__)

PREFERRED: tuple[str, ...] = (
    "wan-flf2v",
    "wan2.2",
    "wan2.2-vace",
    "wan-vace:14b",
    "ltx2:2.5",
    "ltx2",
    "skyreels",
    "ltx:13b",
    "framepack",
    "wan-vace",
    "skyreels:1.3b",
    "ltx",
)
"""By size; of similar ones, those whose clip ends with the last photo itself come before those that end near it."""


@dataclass(frozen=True)
class LocalChoice:
    """The model for ``auto``.

    Attributes:
        name: Name of the generator; None if no model can run.
        reason: Why this one, or why none, for the log.
    """

    name: str | None
    reason: str


def free_cuda_gib() -> dict[str, float]:
    """Device -> free memory, of all CUDA devices."""
    import torch

    if not torch.cuda.is_available():
        return {}
    return {f"cuda:{i}": torch.cuda.mem_get_info(i)[0] / memory.GIB for i in range(torch.cuda.device_count())}


def local_model(
    options: GenerationOptions,
    probe: Callable[[], Mapping[str, float]] = free_cuda_gib,
    count: Callable[[Checkpoint, str], Mapping[str, float] | None] = billions_here,
) -> LocalChoice:
    """The best model that has its weights here and a GPU that holds it, at least one component at a time.

    Layer by layer (`sequential`) counts only if the options ask for it: it would take hours where nobody asked for a
    video model at all.

    Args:
        options: Of the stage.
        probe: Device -> free GiB.
        count: (checkpoint, revision) -> component -> billions of parameters, or None if the weights are not here.
    """
    missing = [module for module in DiffusersModel.requires if find_spec(module) is None]
    if missing:
        return LocalChoice(None, f"not installed: {', '.join(missing)}")
    free_gib = probe()
    if not free_gib:
        return LocalChoice(None, "no CUDA device")
    best_gib = max(free_gib.values())
    profile = MemoryProfile.OFFLOAD if options.video_memory is MemoryProfile.AUTO else options.video_memory
    too_large = []
    for name in PREFERRED:
        checkpoint = CHECKPOINTS[name]
        billions = count(checkpoint, options.video_revision)
        if billions is None:
            continue
        clip_format = checkpoint.family.rules.clip_format((4, 3), options.video_frames, options.video_long_side_px)
        need_gib = footprint_of(checkpoint, billions, options.video_dtype, clip_format).need_gib(profile)
        if need_gib + memory.RESERVE_GIB <= best_gib:
            return LocalChoice(name, f"weights are here, needs {need_gib:.0f} of {best_gib:.0f} GiB")
        too_large.append(f"{name} ({need_gib:.0f} GiB)")
    if too_large:
        return LocalChoice(None, f"too large for {best_gib:.0f} GiB: {', '.join(too_large)}")
    return LocalChoice(None, "no weights of a video model in the cache of the hub")
