"""The pipelines of diffusers that take a first and a last frame, and how each of them wants to be told.

A `Family` is one pipeline class. The next one needs an entry in `FAMILIES`, and a function that puts the two pictures
into its arguments where none of those below does. Everything here was read in the source of the classes in diffusers
0.42.1 and in its documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from interpose_sfm.video_models.diffusion import objections
from interpose_sfm.video_models.diffusion.formats import FormatRules
from interpose_sfm.video_models.diffusion.objections import Config
from interpose_sfm.video_models.protocol import ClipTask

Arguments = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One pipeline class.

    Attributes:
        name: Ours.
        pipeline: The class in diffusers that is run.
        published_as: Classes that ``model_index.json`` of a checkpoint may name; their components are the same.
        has_two_stages: Whether its checkpoints hold a transformer for much noise and one for little, as Wan 2.2 does.
        rules: Sizes and lengths.
        steps, guidance_scale: As the documentation of diffusers, or else the signature, has them.
        arguments: (pipeline, task) -> the arguments that hold the pictures, and those that only this class has.
        objection: (model_index.json, component -> its config.json) -> why a checkpoint of the class cannot be used
            with a last frame; empty if it can. Without such a check the last frame would be ignored in silence.
        checked_parts: Components whose configuration `objection` needs.
        part_dtypes: Components that run in a number format of their own, as the documentation advises.
        flow_shift: Shift of the noise schedule that the documentation advises; None to leave it as published.
        always_tiled: Whether the VAE works on tiles although there is memory; advised for those that decode all
            frames at once.
        own_libraries: Modules of diffusers' pipelines that hold components of this class.
        working_gib: What a clip of the default format takes on top of the weights. Estimates, not measured: some 12
            tensors of (tokens, width) in a block of the transformer at 2 bytes, or the VAE's largest layers,
            whichever is more, rounded up.
    """

    name: str
    pipeline: str
    published_as: tuple[str, ...]
    rules: FormatRules
    steps: int
    guidance_scale: float
    arguments: Callable[[Any, ClipTask], Arguments]
    objection: Callable[[Config, Mapping[str, Config]], str] = lambda index, configs: ""
    checked_parts: tuple[str, ...] = ()
    part_dtypes: Mapping[str, str] = field(default_factory=dict)
    flow_shift: float | None = None
    always_tiled: bool = False
    own_libraries: tuple[str, ...] = ()
    working_gib: float = 5.0
    has_two_stages: bool = False


# ---------------------------------------------------------------- the pictures, as each class wants them


def _pictures(task: ClipTask) -> tuple[Any, Any]:
    from PIL import Image

    return Image.fromarray(task.first), Image.fromarray(task.last)


def _image_and_last_image(pipe: Any, task: ClipTask) -> Arguments:
    """The last frame of the conditioning video, its mask, and the image encoder hold the picture."""
    first, last = _pictures(task)
    return {"image": first, "last_image": last}


def _video_and_mask(pipe: Any, task: ClipTask) -> Arguments:
    """A video that is grey between the two pictures, and a mask that is white where frames are to be made."""
    from PIL import Image

    first, last = _pictures(task)
    between = task.format.num_frames - 2
    grey, keep, make = Image.new("RGB", first.size, (128, 128, 128)), *(Image.new("L", first.size, v) for v in (0, 255))
    return {"video": [first, *[grey] * between, last], "mask": [keep, *[make] * between, keep]}


def _ltx_conditions(pipe: Any, task: ClipTask) -> Arguments:
    """Conditions at frames. The two noise levels and the decoding time are those that the documentation advises."""
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    first, last = _pictures(task)
    return {
        "conditions": [
            LTXVideoCondition(image=first, frame_index=0),
            LTXVideoCondition(image=last, frame_index=task.format.num_frames - 1),
        ],
        "frame_rate": int(task.format.fps),
        "image_cond_noise_scale": 0.025,
        "decode_timestep": 0.05,
        "decode_noise_scale": 0.025,
    }


def _ltx2_conditions(pipe: Any, task: ClipTask) -> Arguments:
    """Conditions at latent frames, and of all guidance only that by the text: the sound is not wanted.

    The pipeline puts a picture at latent index i > 0 to the frame ``8 (i - 1) + 1``. Its -1, the last latent, is thus
    the frame seven before the last; the original code of the model takes the frame itself. The index of the last
    frame is a fraction, of which the pipeline makes nothing but that frame.
    """
    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    first, last = _pictures(task)
    last_frame = task.format.num_frames - 1
    return {
        "conditions": [
            LTX2VideoCondition(frames=first, index=0),
            LTX2VideoCondition(frames=last, index=(last_frame - 1) / pipe.vae_temporal_compression_ratio + 1),
        ],
        "frame_rate": task.format.fps,
        "stg_scale": 0.0,
        "audio_stg_scale": 0.0,
        "modality_scale": 1.0,
        "audio_modality_scale": 1.0,
        "audio_guidance_scale": 1.0,
        "guidance_rescale": 0.0,
        "audio_guidance_rescale": 0.0,
        "use_cross_timestep": bool(pipe.transformer.config.cross_attn_mod),  # from LTX-2.3 on
    }


_FRAMEPACK_WINDOW = 9  # latent frames that the published weights make at a time


def _framepack(pipe: Any, task: ClipTask) -> Arguments:
    """Sections of nine latent frames, made from the last to the first, with the last picture behind the last section.

    However many frames are asked for, whole sections come back: 36 frames each, and one.
    """
    sections = (task.format.num_frames - 1) // 36
    return {
        **_image_and_last_image(pipe, task),
        "num_frames": sections * ((_FRAMEPACK_WINDOW - 1) * 4 + 1),
        "latent_window_size": _FRAMEPACK_WINDOW,
        "sampling_type": "inverted_anti_drifting",  # the only one that takes a last frame
    }


def _skyreels_forcing(pipe: Any, task: ClipTask) -> Arguments:
    """All frames in one window and at one noise level, with the last picture as a latent frame behind the last one."""
    return {
        **_image_and_last_image(pipe, task),
        "base_num_frames": task.format.num_frames,
        "fps": int(task.format.fps),
    }


# ---------------------------------------------------------------- the table

# 81 frames at 16 per second are the five seconds of the clips in the InterPose paper, and what Wan was trained for. The
# area is that of 480p, which all its checkpoints know: 720p takes 2.3 times the tokens, and more than five times the
# attention, for frames that are scaled down to 1024 px before they are matched.
_WAN_RULES = FormatRules(
    side_step_px=16,
    frame_step=4,
    frames=81,
    max_frames=81,
    area_px=832 * 480,
    min_side_px=32,
    max_side_px=1280,
    fps=16.0,
)
_SKYREELS_RULES = FormatRules(
    side_step_px=16,
    frame_step=4,
    frames=97,
    max_frames=97,
    area_px=960 * 544,
    min_side_px=32,
    max_side_px=1280,
    fps=24.0,
)
_WAN_DTYPES = MappingProxyType({"vae": "float32", "image_encoder": "float32"})

_WAN_I2V = Family(
    name="wan-i2v",
    pipeline="WanImageToVideoPipeline",
    published_as=("WanImageToVideoPipeline",),
    rules=_WAN_RULES,
    steps=50,
    guidance_scale=5.5,
    arguments=_image_and_last_image,
    objection=objections.wan,
    checked_parts=("transformer", "transformer_2", "vae"),
    part_dtypes=_WAN_DTYPES,
)
_WAN_VACE = Family(
    name="wan-vace",
    pipeline="WanVACEPipeline",
    published_as=("WanVACEPipeline",),
    rules=_WAN_RULES,
    steps=30,
    guidance_scale=5.0,
    arguments=_video_and_mask,
    part_dtypes=_WAN_DTYPES,
    flow_shift=3.0,
)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            _WAN_I2V,
            _WAN_VACE,
            # Without the image encoder of Wan 2.1. Steps and guidance are those of its model card.
            replace(_WAN_I2V, name="wan2.2-i2v", steps=40, guidance_scale=3.5, has_two_stages=True),
            replace(_WAN_VACE, name="wan2.2-vace", has_two_stages=True),
            Family(
                name="ltx",
                pipeline="LTXConditionPipeline",
                published_as=("LTXConditionPipeline", "LTXPipeline", "LTXImageToVideoPipeline"),
                rules=FormatRules(
                    side_step_px=32,
                    frame_step=8,
                    frames=121,
                    max_frames=257,
                    area_px=768 * 512,
                    min_side_px=32,
                    max_side_px=1280,
                    fps=25.0,
                ),
                steps=40,
                guidance_scale=3.0,
                arguments=_ltx_conditions,
                objection=objections.ltx,
                checked_parts=("vae",),
                always_tiled=True,
                working_gib=3.0,
            ),
            Family(
                name="ltx2",
                pipeline="LTX2ConditionPipeline",
                published_as=("LTX2Pipeline", "LTX2ImageToVideoPipeline", "LTX2ConditionPipeline"),
                # The VAE mirrors the margins of the latents, and needs two of them for that.
                rules=FormatRules(
                    side_step_px=32,
                    frame_step=8,
                    frames=121,
                    max_frames=257,
                    area_px=768 * 512,
                    min_side_px=64,
                    max_side_px=1536,
                    fps=24.0,
                ),
                steps=40,
                guidance_scale=4.0,
                arguments=_ltx2_conditions,
                always_tiled=True,
                own_libraries=("ltx2",),
                working_gib=4.0,
            ),
            Family(
                name="framepack",
                pipeline="HunyuanVideoFramepackPipeline",
                published_as=("HunyuanVideoFramepackPipeline",),
                # One section more than two makes 3.6 seconds; each costs a whole denoising.
                rules=FormatRules(
                    side_step_px=16,
                    frame_step=36,
                    frames=109,
                    max_frames=181,
                    area_px=832 * 480,
                    min_side_px=32,
                    max_side_px=1280,
                    fps=30.0,
                ),
                steps=30,
                guidance_scale=9.0,
                arguments=_framepack,
                objection=objections.framepack,
                checked_parts=("transformer",),
                part_dtypes=MappingProxyType(
                    dict.fromkeys(("vae", "text_encoder", "text_encoder_2", "image_encoder"), "float16")
                ),
                always_tiled=True,
            ),
            Family(
                name="skyreels",
                pipeline="SkyReelsV2DiffusionForcingImageToVideoPipeline",
                published_as=(
                    "SkyReelsV2DiffusionForcingImageToVideoPipeline",
                    "SkyReelsV2DiffusionForcingPipeline",
                ),
                rules=_SKYREELS_RULES,
                steps=50,
                guidance_scale=5.0,
                arguments=_skyreels_forcing,
                objection=objections.tokenless,
                checked_parts=("transformer",),
                part_dtypes=_WAN_DTYPES,
                flow_shift=5.0,
                working_gib=7.0,
            ),
            Family(
                name="skyreels-i2v",
                pipeline="SkyReelsV2ImageToVideoPipeline",
                published_as=("SkyReelsV2ImageToVideoPipeline",),
                rules=_SKYREELS_RULES,
                steps=50,
                guidance_scale=5.0,
                arguments=_image_and_last_image,
                objection=objections.wan,
                checked_parts=("transformer", "vae"),
                part_dtypes=_WAN_DTYPES,
                flow_shift=5.0,
                working_gib=7.0,
            ),
        )
    }
)


def family_of(index: Config, source: str) -> Family:
    """The family of a checkpoint by its ``model_index.json``.

    Raises:
        ValueError: A class that takes no last frame, or code of its own; the message lists those that can be used.
    """
    class_name = index.get("_class_name")
    has_two_stages = bool(index.get("boundary_ratio"))
    for family in FAMILIES.values():
        if class_name in family.published_as and family.has_two_stages == has_two_stages:
            return family
    known = sorted({name for family in FAMILIES.values() for name in family.published_as})
    reason = objections.ONE_PICTURE.get(class_name, "") if isinstance(class_name, str) else ""
    raise ValueError(
        f"{source} is a checkpoint of {class_name!r}{reason and ', ' + reason}, expected one that makes videos from a "
        f"first and a last frame: {', '.join(known)}"
    )
