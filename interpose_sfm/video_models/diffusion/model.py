"""The `VideoModel` that runs a pipeline of diffusers on this machine."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from interpose_sfm import failures
from interpose_sfm.options import GenerationOptions, MemoryProfile, NetworkDtype
from interpose_sfm.products import ClipFormat, ImageArray, Settings
from interpose_sfm.video_models.diffusion import loading, memory, weights
from interpose_sfm.video_models.diffusion.catalogue import Checkpoint, billions_here, checkpoint_of, terms
from interpose_sfm.video_models.diffusion.memory import GIB, Footprint
from interpose_sfm.video_models.protocol import (
    ClipEstimate,
    ClipTask,
    GenerationError,
    MadeVideo,
    TaskJournal,
    VideoModel,
)

logger = logging.getLogger(__name__)

_COMMAND = "pip install 'interpose_sfm[video]'"
_BYTES = MappingProxyType({"float32": 4, "bfloat16": 2, "float16": 2})


class DiffusersModel(VideoModel):
    """A checkpoint that makes clips from a first and a last frame.

    The weights are read with the first `make`, from the cache of the hub or, where they are not there, from the hub.
    """

    needs_gpu: ClassVar[bool] = True
    requires: ClassVar[Mapping[str, str]] = MappingProxyType(
        dict.fromkeys(("accelerate", "diffusers", "ftfy", "sentencepiece", "transformers"), _COMMAND)
    )

    @classmethod
    def terms(cls, name: str) -> str:
        """See `Backend`."""
        return f"code diffusers (Apache-2.0); {terms(name)}"

    def __init__(self, name: str, options: GenerationOptions, device: str) -> None:
        """Name the checkpoint; loads nothing.

        Args:
            name: A name of the catalogue, or ``diffusers:REPO_OR_PATH``. For the latter the configuration is read, from
                the hub where the checkpoint is not on this machine.
            options: Of the stage.
            device: torch device.

        Raises:
            ValueError: No such name, or a checkpoint that cannot be used.
        """
        self.name = name
        self._options = options
        self._device = device
        self._checkpoint = checkpoint_of(name, options.video_revision)
        self._family = self._checkpoint.family
        self._steps = options.video_steps or self._family.steps
        self._loaded: loading.LoadedPipeline | None = None
        self._billions: Mapping[str, float] = {}  # counted in the files, once they are here
        self.settings: Settings = self._settings()

    def format_for(self, photo_size_px: tuple[int, int]) -> ClipFormat:
        """The format whose shape is nearest to a photo of this (width, height)."""
        return self._family.rules.clip_format(
            photo_size_px, self._options.video_frames, self._options.video_long_side_px
        )

    def estimate(self, clip_format: ClipFormat) -> ClipEstimate:
        """Memory of one clip; nobody has measured the time on this machine."""
        footprint = self._footprint(clip_format)
        if footprint is None:
            return ClipEstimate(basis="the size of the weights is known when they are here")
        profile = memory.choose_profile(self._options.video_memory, footprint, memory.free_gib(self._device))
        need_gib = footprint.need_gib(profile)
        weights_gib = need_gib - footprint.working_gib
        return ClipEstimate(
            memory_gib=round(need_gib, 1),
            basis=(
                f"{weights_gib:.1f} GiB of weights on the device at a time ({profile.value}), by their number of "
                f"parameters, and about {footprint.working_gib:.1f} GiB to work in, not measured"
            ),
        )

    def make(self, task: ClipTask, journal: TaskJournal) -> MadeVideo:
        """Make a clip; the journal has nothing to keep, since a killed clip is begun anew.

        Raises:
            GenerationError: The model returned something that is no picture.
            ValueError: Weights that are not there or do not fit, or too little memory.
        """
        _check_task(task)
        try:
            loaded = self.pipeline(task.format)
            with loading.quiet():
                frames = _as_frames(self._run(loaded.pipe, task))
        except (RuntimeError, MemoryError) as error:
            self.close()
            if not failures.is_out_of_memory(error):
                raise
            raise ValueError(self._too_large(task.format)) from error
        return MadeVideo(frames=frames, revision=loaded.revision)

    def pipeline(self, clip_format: ClipFormat) -> loading.LoadedPipeline:
        """What makes the clips: read with the first call, and placed by the memory that this format asks for."""
        if self._loaded is None:
            loaded = loading.load(self._checkpoint, self._options.video_revision, self._options.video_dtype)
            footprint = self._footprint(clip_format)
            assert footprint is not None  # the weights are here now
            free_gib = memory.free_gib(self._device)
            profile = memory.choose_profile(self._options.video_memory, footprint, free_gib)
            if free_gib is not None and footprint.need_gib(profile) > free_gib:
                logger.warning(
                    "%s may not fit: it needs about %.0f GiB, and %s has %.0f GiB free",
                    self.name,
                    footprint.need_gib(profile),
                    self._device,
                    free_gib,
                )
            memory.place(loaded.pipe, self._device, profile, self._family)
            logger.info("%s %s on %s, memory profile %s", self.name, loaded.revision, self._device, profile.value)
            self._loaded = loaded
        return self._loaded

    def close(self) -> None:
        """Free the memory of the weights."""
        if self._loaded is None:
            return
        with contextlib.suppress(RuntimeError):
            self._loaded.pipe.remove_all_hooks()
        self._loaded = None
        memory.release(self._device)

    # -------------------------------------------------------- parts

    def _settings(self) -> Settings:
        folder = Path(self._checkpoint.repo)
        return {
            "model": f"local {weights.fingerprint(folder)}" if folder.is_dir() else self._checkpoint.repo,
            "revision": "" if folder.is_dir() else self._options.video_revision,
            "pipeline": self._family.pipeline,
            "steps": self._steps,
            "guidance_scale": self._family.guidance_scale,
            "flow_shift": self._family.flow_shift or 0.0,
            "dtype": self._options.video_dtype.value,
        }

    def _run(self, pipe: Any, task: ClipTask) -> Any:
        import torch

        arguments = {
            "prompt": task.prompt,
            "negative_prompt": task.negative_prompt or None,
            "width": task.format.width_px,
            "height": task.format.height_px,
            "num_frames": task.format.num_frames,
            "num_inference_steps": self._steps,
            "guidance_scale": self._family.guidance_scale,
            # On the CPU, so that a seed means the same noise on every device.
            "generator": torch.Generator("cpu").manual_seed(task.seed),
            "output_type": "np",
            **self._family.arguments(pipe, task),
        }
        return pipe(**arguments).frames[0]

    def _footprint(self, clip_format: ClipFormat) -> Footprint | None:
        """Memory at a format; None where neither the table nor the files tell the size of the weights."""
        self._billions = self._billions or billions_here(self._checkpoint, self._options.video_revision) or {}
        billions = self._billions or self._checkpoint.parameters
        if not billions:
            return None
        return footprint_of(self._checkpoint, billions, self._options.video_dtype, clip_format)

    def _too_large(self, clip_format: ClipFormat) -> str:
        smaller = MemoryProfile.OFFLOAD, MemoryProfile.SEQUENTIAL
        return (
            f"{self.name} ran out of memory on {self._device} at {clip_format.width_px}x{clip_format.height_px} px and "
            f"{clip_format.num_frames} frames; use --video-memory {' or '.join(p.value for p in smaller)}, a smaller "
            "--video-long-side-px, fewer --video-frames, or a smaller model"
        )


def create_model(name: str, options: GenerationOptions, device: str) -> DiffusersModel:
    """The model of a name, as `DiffusersModel` has it.

    Raises:
        ValueError: No such name, or a checkpoint that cannot be used.
    """
    return DiffusersModel(name, options, device)


def footprint_of(
    checkpoint: Checkpoint, billions: Mapping[str, float], dtype: NetworkDtype, clip_format: ClipFormat
) -> Footprint:
    """Memory of a checkpoint.

    Args:
        checkpoint: Says the family.
        billions: Component -> parameters in 1e9.
        dtype: Number format that the user chose.
        clip_format: Working memory is in proportion to its pixels.
    """
    family = checkpoint.family
    own = loading.part_dtypes(family, dtype)
    parts_gib = {name: 1e9 * n * _BYTES[own.get(name, dtype.value)] / GIB for name, n in billions.items()}
    pixels = clip_format.width_px * clip_format.height_px * clip_format.num_frames
    share = pixels / (family.rules.area_px * family.rules.frames)
    return Footprint(parts_gib=parts_gib, working_gib=family.working_gib * share * _BYTES[dtype.value] / 2)


def _check_task(task: ClipTask) -> None:
    expected = (task.format.height_px, task.format.width_px, 3)
    for which, picture in (("first", task.first), ("last", task.last)):
        if picture.shape != expected or picture.dtype != np.uint8:
            raise ValueError(f"got a {which} picture of {picture.dtype} {picture.shape}, expected uint8 {expected}")


def _as_frames(video: Any) -> tuple[ImageArray, ...]:
    """uint8 frames of a (frames, height, width, 3) array in [0, 1].

    Raises:
        GenerationError: Some are not numbers, as where the number format of the weights overflows.
    """
    if not np.isfinite(video).all():
        raise GenerationError("the model returned frames that are not numbers; another --video-dtype may help")
    return tuple(np.round(255 * np.clip(frame, 0, 1)).astype(np.uint8) for frame in video)
