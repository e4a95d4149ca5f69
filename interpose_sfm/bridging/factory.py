"""Generators of clips by name: the built-in ones, those of other packages, and what ``auto`` stands for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from interpose_sfm.clips.files import check_any_clip_dir, check_clip_dir
from interpose_sfm.clips.protocol import GeneratorContext, VideoGenerator
from interpose_sfm.options import BridgingOptions, GenerationOptions
from interpose_sfm.options.devices import check_device
from interpose_sfm.registry import BackendTable, unknown_name
from interpose_sfm.video_models.captioners import create_captioner
from interpose_sfm.video_models.devices import worker_devices
from interpose_sfm.video_models.generated import GeneratedClips
from interpose_sfm.video_models.prompts import PairPrompts, read_prompt_file
from interpose_sfm.video_models.protocol import GenerationContext, VideoModel

if TYPE_CHECKING:
    from interpose_sfm.video_models.diffusion import LocalChoice

logger = logging.getLogger(__name__)

AUTO, NO_BRIDGING = "auto", "none"

VIDEO_MODELS: BackendTable[VideoModel] = BackendTable(
    kind="video model",
    builtin=MappingProxyType(
        {
            "diffusers": "interpose_sfm.video_models.diffusion:DiffusersModel",
            "dynamicrafter": "interpose_sfm.video_models.dynamicrafter:DynamiCrafterModel",
            "framepack": "interpose_sfm.video_models.diffusion:DiffusersModel",
            "ltx": "interpose_sfm.video_models.diffusion:DiffusersModel",
            "ltx2": "interpose_sfm.video_models.diffusion:DiffusersModel",
            "luma": "interpose_sfm.video_models.hosted:LumaModel",
            "luma-agents": "interpose_sfm.video_models.hosted:LumaAgentsModel",
            "runway": "interpose_sfm.video_models.hosted:RunwayModel",
            "skyreels": "interpose_sfm.video_models.diffusion:DiffusersModel",
            "veo": "interpose_sfm.video_models.hosted:VeoModel",
            "wan-flf2v": "interpose_sfm.video_models.diffusion:DiffusersModel",
            "wan-vace": "interpose_sfm.video_models.diffusion:DiffusersModel",
            "wan2.2": "interpose_sfm.video_models.diffusion:DiffusersModel",
            "wan2.2-vace": "interpose_sfm.video_models.diffusion:DiffusersModel",
        }
    ),
    entry_point_group="interpose_sfm.video_models",
    base=VideoModel,
)
"""Models from which `GeneratedClips` makes a generator of the same name."""

GENERATORS: BackendTable[VideoGenerator] = BackendTable(
    kind="video generator",
    builtin=MappingProxyType(
        {
            "clips": "interpose_sfm.bridging.clips_on_disk:ClipsGenerator",
            "morph": "interpose_sfm.bridging.morph:MorphGenerator",
        }
    ),
    entry_point_group="interpose_sfm.generators",
    base=VideoGenerator,
    reserved=VIDEO_MODELS.builtin,
)
"""Generators that are built from a `GeneratorContext`."""


def generator_tables() -> Mapping[str, BackendTable[VideoGenerator] | BackendTable[VideoModel]]:
    """Name of every generator -> the table in which it is looked up, sorted by name."""
    generators, models = GENERATORS.targets(), VIDEO_MODELS.targets()
    return {name: GENERATORS if name in generators else VIDEO_MODELS for name in sorted({*generators, *models})}


def check_generator(name: str, bridging: BridgingOptions, generation: GenerationOptions) -> None:
    """Look whether the generators that an option names can be had, without making any.

    Raises:
        ValueError: Unknown name or model, a device that is not there, a clip folder or prompt file that cannot be used.
        MissingDependencyError: Something it needs is not installed.
    """
    if generation.prompt_file is not None:
        read_prompt_file(generation.prompt_file)
    create_captioner(generation)
    for folder in bridging.clip_dirs:
        check_clip_dir(folder)
    key, is_named = name.partition(":")[0], name not in (NO_BRIDGING, AUTO)
    model = VIDEO_MODELS.resolve(key) if is_named and _table_of(key) is VIDEO_MODELS else None
    if generation.video_device != AUTO and (model is None or not model.has_own_torch):
        for device in worker_devices(generation.video_device):
            check_device("video-device", device)
    if model is not None:
        for device in worker_devices(generation.video_device) if model.runs_here else ("",):
            model(name, generation, device)
    elif is_named:
        _resolved(name)
        if key == "clips":
            check_any_clip_dir(bridging.clip_dirs)


def _table_of(key: str) -> BackendTable[VideoGenerator] | BackendTable[VideoModel]:
    tables = generator_tables()
    if key not in tables:
        raise unknown_name(GENERATORS.kind, key, [*tables, AUTO, NO_BRIDGING])
    return tables[key]


def _resolved(name: str) -> type[VideoGenerator]:
    key, colon, _ = name.partition(":")
    backend = GENERATORS.resolve(key)
    if colon:
        raise ValueError(f"got the video generator {name!r}, expected {key!r} without a colon")
    return backend


def create_generators(name: str, context: GeneratorContext, generation: GenerationContext) -> list[VideoGenerator]:
    """The generators that an option names; of a pair's clips, those of the first that has some are used.

    Args:
        name: Of a generator, ``auto``, or ``none``.
        context: For those that make their clips of the photos, or find them.
        generation: For those that have a video model make them.

    Raises:
        ValueError, MissingDependencyError: See `create_generator`.
    """
    if name == NO_BRIDGING:
        return []
    return auto_generators(context, generation) if name == AUTO else [create_generator(name, context, generation)]


def create_generator(name: str, context: GeneratorContext, generation: GenerationContext) -> VideoGenerator:
    """Build a generator by name; what follows a colon in it, as in ``diffusers:REPO``, is for the video model to read.

    Raises:
        ValueError: Unknown name; the message lists the known ones.
        MissingDependencyError: Something it needs is not installed; the message holds the pip command.
    """
    if _table_of(name.partition(":")[0]) is VIDEO_MODELS:
        return create_clip_maker(name, generation)
    return _resolved(name)(context)


def check_makes_clips(name: str) -> None:
    """Refuse the name of a generator that is no video model; ``auto`` may stand for one.

    Raises:
        ValueError: It is none; the message lists those that there are.
    """
    models = VIDEO_MODELS.targets()
    if name != AUTO and name.partition(":")[0] not in models:
        raise ValueError(f"the generator {name!r} is no video model; set --generator to one of: {', '.join(models)}")


def create_clip_maker(name: str, context: GenerationContext) -> GeneratedClips:
    """Build the generator around a video model.

    Raises:
        ValueError: No video model has this name; the message lists those that there are.
        MissingDependencyError: Something it needs is not installed; the message holds the pip command.
    """
    check_makes_clips(name)
    model = VIDEO_MODELS.resolve(name.partition(":")[0])
    options = context.generation
    devices = worker_devices(options.video_device) if model.runs_here else ("",) * model.parallel_clips
    return GeneratedClips(name, partial(model, name, options), devices, context, PairPrompts(context))


def auto_generators(context: GeneratorContext, generation: GenerationContext) -> list[VideoGenerator]:
    """What ``auto`` stands for.

    Clips on disk, those of the store included; for pairs that have none a video model, if one can run here as things
    are.
    """
    clip_dirs, clip_store = context.options.clip_dirs, generation.clip_store
    served = [clip_dirs] if clip_dirs else []
    known = [folder.absolute() for folder in clip_dirs]
    if clip_store is not None and clip_store.is_dir() and clip_store.absolute() not in known:
        served.append((clip_store,))
    generators = [
        create_generator("clips", replace(context, options=replace(context.options, clip_dirs=folders)), generation)
        for folders in served
    ]
    name = None if clip_store is None else local_model(generation.generation).name
    return generators if name is None else [*generators, create_generator(name, context, generation)]


def local_model(options: GenerationOptions) -> LocalChoice:
    """The best video model whose weights are on this machine with a GPU that holds it, or why there is none."""
    from interpose_sfm.video_models import diffusion

    choice = diffusion.local_model(options)
    logger.info("generator auto: %s (%s)", choice.name or "no video model", choice.reason)
    return choice
