"""Models of tiny checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from interpose_sfm.options import GenerationOptions, NetworkDtype
from interpose_sfm.video_models.diffusion import (
    DiffusersModel,
    create_model,
)

OPTIONS = GenerationOptions(
    video_dtype=NetworkDtype.FLOAT32, video_steps=2, video_frames=5, video_long_side_px=64, video_device="cpu"
)


def model_of(folder: Path | str) -> DiffusersModel:
    return create_model(f"diffusers:{folder}", OPTIONS, "cpu")


TinyCheckpoint = Callable[..., Path]
