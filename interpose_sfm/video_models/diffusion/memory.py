"""How much memory a model needs on its device, and how it shares that out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from interpose_sfm.options import MemoryProfile

if TYPE_CHECKING:
    from interpose_sfm.video_models.diffusion.families import Family

logger = logging.getLogger(__name__)

GIB = 2**30
# Kept free: fragments of the allocator, and the context of the device.
RESERVE_GIB = 1.0
# One layer of the largest transformers, and the embedding table of the text encoders, which is a layer as well.
_LAYER_GIB = 2.0


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Memory of one model.

    Attributes:
        parts_gib: Weights of every component in the number format that it runs in.
        working_gib: What making a clip of the wanted format takes on top of the weights.
    """

    parts_gib: Mapping[str, float]
    working_gib: float

    def need_gib(self, profile: MemoryProfile) -> float:
        """What the device must have free for a profile other than AUTO."""
        weights = {
            MemoryProfile.FULL: sum(self.parts_gib.values()),
            MemoryProfile.OFFLOAD: max(self.parts_gib.values(), default=0.0),
            MemoryProfile.SEQUENTIAL: min(_LAYER_GIB, max(self.parts_gib.values(), default=0.0)),
        }
        return weights[profile] + self.working_gib


def choose_profile(wanted: MemoryProfile, footprint: Footprint, free_gib: float | None) -> MemoryProfile:
    """The fastest profile that fits.

    Args:
        wanted: Taken as it is unless AUTO.
        footprint: Of the model at the wanted format.
        free_gib: Free memory of the device; None where that of the computer is used anyhow.
    """
    if free_gib is None:
        return MemoryProfile.FULL
    if wanted is not MemoryProfile.AUTO:
        return wanted
    for profile in (MemoryProfile.FULL, MemoryProfile.OFFLOAD):
        if footprint.need_gib(profile) + RESERVE_GIB <= free_gib:
            return profile
    return MemoryProfile.SEQUENTIAL


def free_gib(device: str) -> float | None:
    """Free memory of a CUDA device; None for others, which share the memory of the computer."""
    import torch

    if torch.device(device).type != "cuda":
        return None
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return free_bytes / GIB


def place(pipe: Any, device: str, profile: MemoryProfile, family: Family) -> None:
    """Put a loaded pipeline where its profile wants it.

    Args:
        pipe: The pipeline, on the CPU.
        device: torch device.
        profile: Anything but AUTO.
        family: Says whether the VAE always works on tiles. It does so in any case where memory is short.
    """
    if profile is MemoryProfile.FULL:
        pipe.to(device)
    elif profile is MemoryProfile.OFFLOAD:
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)
    if family.always_tiled or profile is not MemoryProfile.FULL:
        pipe.vae.enable_tiling()
        pipe.vae.enable_slicing()


def release(device: str) -> None:
    """Give back the memory of what is no longer referenced."""
    import gc

    import torch

    gc.collect()
    kind = torch.device(device).type
    if kind == "cuda":
        with torch.cuda.device(device):
            torch.cuda.empty_cache()
    elif kind == "mps":
        torch.mps.empty_cache()
