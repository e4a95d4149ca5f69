"""Which of the models that are here a machine can run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from interpose_sfm.options import GenerationOptions, MemoryProfile
from interpose_sfm.video_models.diffusion import (
    local_model,
)
from interpose_sfm.video_models.diffusion.catalogue import CHECKPOINTS, Checkpoint
from tiny_models import TinyCheckpoint

COUNTED = tuple(name for name, checkpoint in CHECKPOINTS.items() if checkpoint.parameters)


def here(*names: str) -> Callable[[Checkpoint, str], Mapping[str, float] | None]:
    return lambda checkpoint, _: checkpoint.parameters if checkpoint in map(CHECKPOINTS.get, names) else None


@pytest.mark.parametrize(
    ("free_gib", "names", "chosen"),
    [
        ({}, COUNTED, None),
        ({"cuda:0": 79.0}, (), None),
        ({"cuda:0": 79.0}, COUNTED, "wan-flf2v"),
        ({"cuda:0": 10.0, "cuda:1": 79.0}, ("ltx", "skyreels"), "skyreels"),
        ({"cuda:0": 23.5}, COUNTED, "wan-vace"),
        ({"cuda:0": 23.5}, ("wan-flf2v", "ltx"), "ltx"),
        ({"cuda:0": 23.5}, ("wan-flf2v",), None),
    ],
)
def test_auto_takes_what_fits_and_is_here(free_gib: dict[str, float], names: tuple[str, ...], chosen: str) -> None:
    choice = local_model(
        GenerationOptions(),
        probe=lambda: free_gib,
        count=here(*names),
    )
    assert choice.name == chosen
    assert choice.reason


def test_auto_counts_a_small_clip_and_an_explicit_profile() -> None:
    probe = {"cuda:0": 23.5}
    slow = GenerationOptions(video_memory=MemoryProfile.SEQUENTIAL)
    assert local_model(slow, probe=lambda: probe, count=here("wan-flf2v")).name == "wan-flf2v"
    whole = GenerationOptions(video_memory=MemoryProfile.FULL)
    assert "too large for 24 GiB: wan-flf2v" in local_model(whole, lambda: probe, here("wan-flf2v")).reason
    small = GenerationOptions(video_frames=9)
    almost = {"cuda:0": 13.0}
    assert local_model(GenerationOptions(), lambda: almost, here("wan-vace")).name is None
    assert local_model(small, lambda: almost, here("wan-vace")).name == "wan-vace"


def test_auto_looks_into_the_cache(cache: Callable[[str, Path, str], None], tiny_checkpoint: TinyCheckpoint) -> None:
    assert local_model(GenerationOptions(), probe=lambda: {"cuda:0": 8.0}).reason.startswith("no weights")
    cache(CHECKPOINTS["ltx"].repo, tiny_checkpoint("ltx"), "3" * 40)
    assert local_model(GenerationOptions(), probe=lambda: {"cuda:0": 8.0}).name == "ltx"
    assert local_model(GenerationOptions()).name is None  # no GPU here
