"""Generators of clips by name: the built-in ones, those of other packages, and what ``auto`` stands for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from interpose_sfm import registry
from interpose_sfm.clips.protocol import GeneratorContext, VideoGenerator
from interpose_sfm.options import GenerationOptions

if TYPE_CHECKING:
    from interpose_sfm.video_models.diffusion import LocalChoice

_log = logging.getLogger(__name__)


ENTRY_POINT_GROUP = "interpose_sfm.generators"


GENERATORS: Mapping[str, str] = MappingProxyType(
    {
        "clips": "interpose_sfm.bridging.clips_on_disk:ClipsGenerator",
        "diffusers": "interpose_sfm.video_models.diffusion:DiffusersModel",
        "dynamicrafter": "interpose_sfm.video_models.dynamicrafter:DynamiCrafterModel",
        "framepack": "interpose_sfm.video_models.diffusion:DiffusersModel",
        "ltx": "interpose_sfm.video_models.diffusion:DiffusersModel",
        "ltx2": "interpose_sfm.video_models.diffusion:DiffusersModel",
        "luma": "interpose_sfm.video_models.hosted:LumaModel",
        "morph": "interpose_sfm.bridging.morph:MorphGenerator",
        "runway": "interpose_sfm.video_models.hosted:RunwayModel",
        "skyreels": "interpose_sfm.video_models.diffusion:DiffusersModel",
        "wan-flf2v": "interpose_sfm.video_models.diffusion:DiffusersModel",
        "wan-vace": "interpose_sfm.video_models.diffusion:DiffusersModel",
    }
)
"""Built-in generators, name -> ``"module:Class"``."""


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
    from interpose_sfm.video_models.generated import GeneratedClips  # which imports this module
    from interpose_sfm.video_models.prompts import PairPrompts
    from interpose_sfm.video_models.workers import worker_devices

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
    from interpose_sfm.video_models import diffusion

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
