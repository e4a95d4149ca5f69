"""Clips that bridge two photos: the `VideoGenerator` protocol, its backends by name, and the check of what they return.

Others add a generator without touching the package: a class that is built from one `GeneratorContext` and satisfies
`VideoGenerator`, registered in the entry-point group ``interpose_sfm.generators`` as ``name = "module:Class"``. A class
that satisfies `VideoModel` (`video_models.py`) may stand there as well: `GeneratedClips` makes a generator of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from interpose_sfm import registry
from interpose_sfm.options import BridgingOptions, GenerationOptions
from interpose_sfm.products import (
    Clip,
    ClipRequest,
    ClipStatus,
    Features,
    FrameMapping,
    ImageArray,
    ImagePair,
    Intrinsics,
    Matches,
)

if TYPE_CHECKING:
    from interpose_sfm.bridging.diffusion import LocalChoice

_log = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "interpose_sfm.generators"

GENERATORS: Mapping[str, str] = MappingProxyType(
    {
        "clips": "interpose_sfm.bridging.clips:ClipsGenerator",
        "diffusers": "interpose_sfm.bridging.diffusion:DiffusersModel",
        "dynamicrafter": "interpose_sfm.bridging.dynamicrafter:DynamiCrafterModel",
        "framepack": "interpose_sfm.bridging.diffusion:DiffusersModel",
        "ltx": "interpose_sfm.bridging.diffusion:DiffusersModel",
        "ltx2": "interpose_sfm.bridging.diffusion:DiffusersModel",
        "luma": "interpose_sfm.bridging.hosted:LumaModel",
        "morph": "interpose_sfm.bridging.morph:MorphGenerator",
        "runway": "interpose_sfm.bridging.hosted:RunwayModel",
        "skyreels": "interpose_sfm.bridging.diffusion:DiffusersModel",
        "wan-flf2v": "interpose_sfm.bridging.diffusion:DiffusersModel",
        "wan-vace": "interpose_sfm.bridging.diffusion:DiffusersModel",
    }
)
"""Built-in generators, name -> ``"module:Class"``."""


class VideoGenerator(Protocol):
    """Something that offers clips between two photos.

    A generator reports what it cannot do by the clip's status. It raises only for what the user must mend, such as a
    broken ``clips.json``. Equal requests give equal clips, different indices different clips.
    """

    name: str

    def generate(self, pair: ImagePair, request: ClipRequest) -> Clip:
        """The clip number ``request.index`` of the pair, frames in A to B order whatever ``request.backwards`` says."""
        ...

    def num_clips(self, pair: ImagePair) -> int:
        """How many different clips there are for the pair; ``request.index`` runs below it."""
        ...


@dataclass(frozen=True, kw_only=True)
class GeneratorContext:
    """What a generator may use; it opens no photo and no store by itself.

    Attributes:
        photo_names: All photos of the collection; names of clip files are resolved against them.
        load_image: Photo name -> upright (height, width, 3) uint8 RGB image.
        intrinsics: Photo name -> camera in pixels of that image.
        features_and_matches: Pair -> learned features of A and of B, and their putative matches at a low threshold.
        options: Options of the stage.
        seed: Seed of the run; requests carry their own on top.
        generation: Options of video models.
        store_dir: Where generated clips are kept if the options name no folder; made with the first clip. None where
            nothing may be generated.
        progress: Called with the stage, what is done and the total; may raise to end the run.
        is_dry_run: Nothing is made, asked for or written.
    """

    photo_names: tuple[str, ...]
    load_image: Callable[[str], ImageArray]
    intrinsics: Callable[[str], Intrinsics]
    features_and_matches: Callable[[ImagePair], tuple[Features, Features, Matches]]
    options: BridgingOptions
    seed: int = 0
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    store_dir: Path | None = None
    progress: Callable[[str, int, int], None] | None = None
    is_dry_run: bool = False

    @property
    def clip_dir(self) -> Path | None:
        """Folder with clips on disk, from the options."""
        return self.options.clip_dir

    @property
    def clip_store(self) -> Path | None:
        """Folder of generated clips."""
        return self.generation.clip_store or self.store_dir


def clip_requests(number: int, seed: int) -> tuple[ClipRequest, ...]:
    """What is asked for a pair: so many clips, every other one in the other order, each with a seed of its own."""
    return tuple(ClipRequest(index, index % 2 == 1, seed + index) for index in range(number))


def generator_names() -> tuple[str, ...]:
    """Names of all generators, built-in and from entry points."""
    return tuple(registry.targets(GENERATORS, ENTRY_POINT_GROUP))


def create_generator(name: str, context: GeneratorContext) -> VideoGenerator:
    """Build a generator by name; what follows a colon in it, as in ``diffusers:REPO``, is for the backend to read.

    Raises:
        ValueError: Unknown name; the message lists the known ones.
        MissingDependencyError: Something it needs is not installed; the message holds the pip command.
    """
    backend = registry.resolve("video generator", name.partition(":")[0], GENERATORS, ENTRY_POINT_GROUP)
    if not is_video_model(backend):
        if ":" in name:
            raise ValueError(f"got the video generator {name!r}, expected {name.partition(':')[0]!r} without a colon")
        return cast(VideoGenerator, backend(context))
    from interpose_sfm.bridging.generated import GeneratedClips  # which imports this module
    from interpose_sfm.bridging.prompts import PairPrompts
    from interpose_sfm.bridging.workers import worker_devices

    runs_here = getattr(backend, "runs_here", True)
    devices = (
        worker_devices(context.generation.video_device) if runs_here else ("",) * getattr(backend, "parallel_clips", 1)
    )
    make_model = cast(Any, backend)
    return GeneratedClips(
        name, lambda device: make_model(name, context.generation, device), devices, context, PairPrompts(context)
    )


def auto_generators(context: GeneratorContext) -> list[VideoGenerator]:
    """What ``auto`` stands for.

    Clips on disk, those of the store included; for pairs that have none a video model, if one can run here as things
    are, and else `morph`.
    """
    folders = {} if context.clip_dir is None else {context.clip_dir.absolute(): context.clip_dir}
    if context.clip_store is not None and context.clip_store.is_dir():
        folders.setdefault(context.clip_store.absolute(), context.clip_store)
    found = [
        create_generator("clips", replace(context, options=replace(context.options, clip_dir=folder)))
        for folder in folders.values()
    ]
    name = None if context.clip_store is None else local_model(context.generation).name
    return [*found, create_generator(name or "morph", context)]


def local_model(options: GenerationOptions) -> LocalChoice:
    """The best video model whose weights are on this machine with a GPU that holds it, or why there is none."""
    from interpose_sfm.bridging import diffusion

    choice = diffusion.local_model(options)
    _log.info("generator auto: %s (%s)", choice.name or "no video model", choice.reason)
    return choice


def video_model_names() -> tuple[str, ...]:
    """Names of the generators that make clips with a video model."""
    found = []
    for name, target in registry.targets(GENERATORS, ENTRY_POINT_GROUP).items():
        module_name, _, attribute = target.partition(":")
        with suppress(ImportError):
            if is_video_model(getattr(import_module(module_name), attribute, type)):
                found.append(name)
    return tuple(found)


def is_video_model(backend: type[object]) -> bool:
    """Whether a class in the table is a `VideoModel` rather than a generator of its own."""
    return hasattr(backend, "make") and hasattr(backend, "format_for")


def no_clip(pair: ImagePair, generator: str, name: str, status: ClipStatus, detail: str) -> Clip:
    """A clip without frames, and why."""
    nowhere = FrameMapping((1.0, 1.0), (0.0, 0.0))
    return Clip(pair, name, generator, (), nowhere, nowhere, status, detail)


def check_clip(clip: Clip, pair: ImagePair) -> Clip:
    """Check once what a generator returned.

    Args:
        clip: The generator's output.
        pair: The pair it was asked for.

    Returns:
        The clip.

    Raises:
        ValueError: Wrong pair, no name, OK without frames, frames with another status, frames that are not uint8 RGB
            images of one size, or a mapping that is not finite with positive scale. The message names the generator.
    """
    who = f"generator {clip.generator!r}, clip {clip.name!r}"
    if clip.pair != pair:
        raise ValueError(f"{who}: got the pair {clip.pair}, expected {pair}")
    if not clip.name or not clip.generator:
        raise ValueError(f"{who}: clips and generators need names")
    if (clip.status is ClipStatus.OK) != bool(clip.frames):
        raise ValueError(f"{who}: got {len(clip.frames)} frames with status {clip.status.value!r}")
    if clip.status is not ClipStatus.OK:
        return clip
    for frame in cast("tuple[object, ...]", clip.frames):
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            got = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise ValueError(f"{who}: got a frame of {got}, expected uint8 (height, width, 3)")
        if frame.shape != clip.frames[0].shape or 0 in frame.shape:
            raise ValueError(f"{who}: got frames of {clip.frames[0].shape} and {frame.shape}, expected one size")
    for side, mapping in (("a", clip.frame_from_a), ("b", clip.frame_from_b)):
        if not np.isfinite([*mapping.scale, *mapping.offset_px]).all() or min(mapping.scale) <= 0:
            raise ValueError(f"{who}: got frame_from_{side} = {mapping}, expected finite numbers and positive scales")
    return clip
