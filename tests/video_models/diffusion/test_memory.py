"""How much memory a model takes, and where its weights go."""

from __future__ import annotations

import pytest
import torch

from interpose_sfm.options import GenerationOptions, MemoryProfile, NetworkDtype
from interpose_sfm.video_models.diffusion import (
    catalogue,
    create_model,
    loading,
    memory,
)
from interpose_sfm.video_models.diffusion.catalogue import CHECKPOINTS
from interpose_sfm.video_models.diffusion.model import footprint_of
from tiny_models import TinyCheckpoint, model_of


@pytest.mark.parametrize("name", ["wan-flf2v", "ltx2", "framepack", "wan2.2"])
def test_parameters_are_counted_without_loading(name: str, tiny_checkpoint: TinyCheckpoint) -> None:
    folder = tiny_checkpoint(name)
    checkpoint = catalogue.checkpoint_of(f"diffusers:{folder}")
    pipe = loading.load(checkpoint, "", NetworkDtype.FLOAT32).pipe
    networks = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    counted = catalogue.billions_here(checkpoint)
    assert counted is not None
    assert set(counted) == set(networks)
    for part, network in networks.items():
        inside = sum(p.numel() for p in network.parameters())
        buffers = sum(b.numel() for b in network.buffers())
        assert inside <= round(1e9 * counted[part]) <= inside + buffers


@pytest.mark.parametrize(
    ("name", "with_24_gb", "with_80_gb"),
    [
        ("wan-flf2v", MemoryProfile.SEQUENTIAL, MemoryProfile.FULL),
        ("wan-vace", MemoryProfile.FULL, MemoryProfile.FULL),
        ("wan-vace:14b", MemoryProfile.SEQUENTIAL, MemoryProfile.FULL),
        ("wan2.2", MemoryProfile.SEQUENTIAL, MemoryProfile.FULL),
        ("wan2.2-vace", MemoryProfile.SEQUENTIAL, MemoryProfile.OFFLOAD),
        ("ltx", MemoryProfile.FULL, MemoryProfile.FULL),
        ("ltx:13b", MemoryProfile.SEQUENTIAL, MemoryProfile.FULL),
        ("ltx2", MemoryProfile.SEQUENTIAL, MemoryProfile.FULL),
        ("framepack", MemoryProfile.SEQUENTIAL, MemoryProfile.FULL),
        ("skyreels", MemoryProfile.SEQUENTIAL, MemoryProfile.FULL),
        ("skyreels:1.3b", MemoryProfile.FULL, MemoryProfile.FULL),
    ],
)
def test_profiles_of_a_24_and_an_80_gb_card(name: str, with_24_gb: MemoryProfile, with_80_gb: MemoryProfile) -> None:
    checkpoint = CHECKPOINTS[name]
    wanted = checkpoint.family.rules.clip_format((4, 3))
    need = footprint_of(checkpoint, checkpoint.parameters, NetworkDtype.BFLOAT16, wanted)
    assert memory.choose_profile(MemoryProfile.AUTO, need, 23.5) is with_24_gb  # what such cards have free, in GiB
    assert memory.choose_profile(MemoryProfile.AUTO, need, 79.0) is with_80_gb
    assert need.need_gib(MemoryProfile.SEQUENTIAL) + memory.RESERVE_GIB < 23.5
    assert memory.choose_profile(MemoryProfile.OFFLOAD, need, 79.0) is MemoryProfile.OFFLOAD
    assert memory.choose_profile(MemoryProfile.OFFLOAD, need, None) is MemoryProfile.FULL


def test_footprint_is_parameters_times_bytes() -> None:
    checkpoint = CHECKPOINTS["wan-flf2v"]
    rules = checkpoint.family.rules
    half = footprint_of(checkpoint, checkpoint.parameters, NetworkDtype.BFLOAT16, rules.clip_format((16, 9)))
    assert half.parts_gib["transformer"] == pytest.approx(16.40e9 * 2 / 2**30)
    assert half.parts_gib["vae"] == pytest.approx(0.13e9 * 4 / 2**30)
    whole = footprint_of(checkpoint, checkpoint.parameters, NetworkDtype.FLOAT32, rules.clip_format((16, 9)))
    assert whole.parts_gib["transformer"] == 2 * half.parts_gib["transformer"]
    short = footprint_of(checkpoint, checkpoint.parameters, NetworkDtype.BFLOAT16, rules.clip_format((16, 9), 41))
    assert short.working_gib == pytest.approx(half.working_gib * 41 / 81)


def test_estimates(cache: object, tiny_checkpoint: TinyCheckpoint) -> None:
    model = create_model("wan-vace", GenerationOptions(), "cpu")
    estimate = model.estimate(model.format_for((4, 3)))
    assert estimate.memory_gib == pytest.approx(2 * 2.15e9 / 2**30 + 2 * 5.68e9 / 2**30 + 0.5 + 4.7, abs=0.2)
    assert estimate.time_s is None
    assert estimate.cost_usd == 0
    assert "not measured" in estimate.basis
    tiny = model_of(tiny_checkpoint("ltx"))
    assert tiny.estimate(tiny.format_for((4, 3))).memory_gib == pytest.approx(0, abs=0.1)
