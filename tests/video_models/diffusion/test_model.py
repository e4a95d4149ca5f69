"""Video models on diffusers: the real pipeline classes at tiny size, from checkpoints on disk to frames."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interpose_sfm.options import GenerationOptions, MemoryProfile, NetworkDtype
from interpose_sfm.products import ClipFormat, ImageArray
from interpose_sfm.video_models.diffusion import DiffusersModel, create_model, loading, memory
from interpose_sfm.video_models.diffusion.catalogue import checkpoint_of
from interpose_sfm.video_models.protocol import ClipTask, GenerationError, MadeVideo

TinyCheckpoint = Callable[..., Path]

Call = dict[str, Any]

PIPELINES = {
    "wan-flf2v": "WanImageToVideoPipeline",
    "wan-vace": "WanVACEPipeline",
    "ltx": "LTXConditionPipeline",
    "ltx2": "LTX2ConditionPipeline",
    "framepack": "HunyuanVideoFramepackPipeline",
    "skyreels": "SkyReelsV2DiffusionForcingImageToVideoPipeline",
    "wan2.2": "WanImageToVideoPipeline",
    "wan2.2-vace": "WanVACEPipeline",
    "ltx2.5": "LTX2ConditionPipeline",
    "skyreels-flf2v": "SkyReelsV2ImageToVideoPipeline",
}

OPTIONS = GenerationOptions(
    video_dtype=NetworkDtype.FLOAT32, video_steps=2, video_frames=5, video_long_side_px=64, video_device="cpu"
)

LANDSCAPE, ODD_PORTRAIT = (400, 300), (301, 403)


class NoJournal:
    def read(self) -> dict[str, str]:
        raise AssertionError("there is nothing to take up")

    def write(self, notes: object) -> None:
        raise AssertionError("there is nothing to keep")


def picture(clip_format: ClipFormat, seed: int) -> ImageArray:
    """Coarse noise: as different between seeds as photos are, and with edges."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-clip_format.height_px // 8), -(-clip_format.width_px // 8), 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))[: clip_format.height_px, : clip_format.width_px]


def task(clip_format: ClipFormat, *, first: int = 1, last: int = 2, seed: int = 0) -> ClipTask:
    return ClipTask(
        key="key",
        first=picture(clip_format, first),
        last=picture(clip_format, last),
        prompt="a static scene, the camera moves slowly",
        negative_prompt="static",
        seed=seed,
        format=clip_format,
    )


def make(model: DiffusersModel, wanted: ClipTask) -> MadeVideo:
    return model.make(wanted, NoJournal())


def frames(model: DiffusersModel, wanted: ClipTask) -> ImageArray:
    return np.stack(make(model, wanted).frames)


@pytest.fixture(scope="module")
def models(tiny_checkpoint: TinyCheckpoint) -> Callable[[str], DiffusersModel]:
    """The tiny models by name; each is loaded once."""
    loaded: dict[str, DiffusersModel] = {}

    def model(name: str) -> DiffusersModel:
        if name not in loaded:
            options = replace(
                OPTIONS, video_long_side_px=96 if name.startswith("ltx2") else 64
            )  # whose sides are 64 at least
            loaded[name] = create_model(f"diffusers:{tiny_checkpoint(name)}", options, "cpu")
        return loaded[name]

    return model


# ---------------------------------------------------------------- clips


@pytest.mark.parametrize("name", PIPELINES)
def test_clip_depends_on_both_pictures_and_the_seed_alone(
    name: str, models: Callable[[str], DiffusersModel], capfd: pytest.CaptureFixture[str]
) -> None:
    model = models(name)
    wanted = model.format_for(ODD_PORTRAIT)
    made = make(model, task(wanted))
    assert type(model.pipeline(wanted).pipe).__name__ == PIPELINES[name]
    clip = np.stack(made.frames)
    assert clip.shape == (wanted.num_frames, wanted.height_px, wanted.width_px, 3)
    assert wanted.height_px > wanted.width_px
    assert clip.dtype == np.uint8
    assert clip.std() > 5
    assert made.file == b""
    assert made.cost_usd == 0
    assert made.revision.startswith("local ")

    np.testing.assert_array_equal(frames(model, task(wanted)), clip)
    for other in (task(wanted, last=3), task(wanted, first=3), task(wanted, seed=1)):
        assert np.abs(frames(model, other).astype(int) - clip).max() >= 2
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", PIPELINES)
def test_pictures_reach_the_transformer(name: str, models: Callable[[str], DiffusersModel]) -> None:
    """What the transformer is given holds the first and the last picture, each in its own place."""
    model = models(name)
    wanted = model.format_for(LANDSCAPE)
    calls = first_calls(model, wanted)
    before, other_last, other_first = (CONDITIONS[name](call, wanted) for call in calls)

    assert before.first.abs().max() > 0
    torch.testing.assert_close(other_last.first, before.first, rtol=0, atol=0)
    assert (other_last.last - before.last).abs().max() > 1e-3
    assert (other_first.first - before.first).abs().max() > 1e-3
    assert before.problem == ""


def first_calls(model: DiffusersModel, wanted: ClipFormat) -> list[Call]:
    """The arguments of the transformer's first call for three tasks: as it is, another last, another first picture."""
    transformer = model.pipeline(wanted).pipe.transformer
    calls: list[Call] = []
    hook = transformer.register_forward_pre_hook(lambda _, __, call: calls.append(call), with_kwargs=True)
    kept = []
    try:
        for wanted_task in (task(wanted), task(wanted, last=3), task(wanted, first=3)):
            calls.clear()
            make(model, wanted_task)
            kept.append(calls[0])
    finally:
        hook.remove()
    return kept


class Condition:
    """Where a call holds the two pictures, and what is wrong with how they are marked."""

    def __init__(self, first: torch.Tensor, last: torch.Tensor, problem: str = "") -> None:
        self.first, self.last, self.problem = first, last, problem


def conditioning_video(call: Call, wanted: ClipFormat) -> Condition:
    """Noise, four channels of mask, conditioning video."""
    latents = call["hidden_states"]
    assert latents.shape[1] == 36
    mask, video = latents[0, 16:20], latents[0, 20:]
    assert mask.shape[1] == (wanted.num_frames - 1) // 4 + 1
    marked = torch.zeros_like(mask)
    marked[:, 0], marked[-1, -1] = 1, 1  # the first latent frame is the first frame alone
    return Condition(video[:, 0], video[:, -1], "" if torch.equal(mask, marked) else "mask")


def conditioning_video_and_image(call: Call, wanted: ClipFormat) -> Condition:
    """The image encoder sees both pictures as well, in their order."""
    in_video = conditioning_video(call, wanted)
    first, last = call["encoder_hidden_states_image"]
    return Condition(
        torch.cat([in_video.first.flatten(), first.flatten()]),
        torch.cat([in_video.last.flatten(), last.flatten()]),
        in_video.problem,
    )


def control_video(call: Call, wanted: ClipFormat) -> Condition:
    """What is to be kept, what is to be made, 64 channels of mask."""
    control = call["control_hidden_states"][0]
    assert control.shape[0] == 96
    kept, made = control[:16], control[16:32]
    problem = "the video holds nothing" if torch.equal(kept, made) else ""
    return Condition(kept[:, 0], kept[:, -1], problem)


def ltx_tokens(call: Call, wanted: ClipFormat) -> Condition:
    """Tokens of the last picture before those of the video, at the time of the last frame, and free of noise."""
    tokens, coords, timestep = call["hidden_states"][0], call["video_coords"][0], call["timestep"][0]
    per_frame = wanted.width_px * wanted.height_px // 32**2
    assert len(tokens) == per_frame * ((wanted.num_frames - 1) // 8 + 2)
    times = coords[0, :per_frame]
    clean = timestep[: 2 * per_frame]
    expected = (wanted.num_frames - 1) / wanted.fps
    problem = "" if torch.allclose(times, torch.full_like(times, expected)) else f"at {times[0]} s, not {expected}"
    if clean.max() > 0 or timestep[2 * per_frame :].min() <= 0:
        problem = "noise"
    return Condition(tokens[per_frame : 2 * per_frame], tokens[:per_frame], problem)


def ltx2_tokens(call: Call, wanted: ClipFormat) -> Condition:
    """Tokens of the last picture behind those of the video, for the time of the last frame, and free of noise."""
    tokens, coords, timestep = call["hidden_states"][0], call["video_coords"][0], call["timestep"][0]
    per_frame = wanted.width_px * wanted.height_px // 32**2
    assert len(tokens) == per_frame * ((wanted.num_frames - 1) // 8 + 2)
    span = coords[0, -per_frame:] * wanted.fps
    expected = torch.tensor([wanted.num_frames - 1.0, wanted.num_frames]).expand_as(span)
    problem = "" if torch.allclose(span, expected) else f"at frames {span[0].tolist()}"
    if timestep[:per_frame].max() > 0 or timestep[-per_frame:].max() > 0 or timestep[per_frame:-per_frame].min() <= 0:
        problem = "noise"
    return Condition(tokens[:per_frame], tokens[-per_frame:], problem)


def framepack_history(call: Call, wanted: ClipFormat) -> Condition:
    """Two clean latent frames, one before all and one right behind the last section."""
    clean, indices = call["latents_clean"][0], call["indices_latents_clean"].tolist()
    made = call["indices_latents"].tolist()
    problem = "" if indices == [0, made[-1] + 1] else f"clean frames at {indices}, made {made}"
    return Condition(clean[:, 0], clean[:, 1], problem)


def forced_frames(call: Call, wanted: ClipFormat) -> Condition:
    """The first latent frame, and one behind the last, at noise level zero."""
    latents, timestep = call["hidden_states"][0], call["timestep"][0]
    assert latents.shape[1] == (wanted.num_frames - 1) // 4 + 2
    problem = "" if timestep[-1] == 0 and timestep[1:-1].min() > 0 else f"noise levels {timestep.tolist()}"
    return Condition(latents[:, 0], latents[:, -1], problem)


CONDITIONS: dict[str, Callable[[Call, ClipFormat], Condition]] = {
    "wan-flf2v": conditioning_video_and_image,
    "wan-vace": control_video,
    "ltx": ltx_tokens,
    "ltx2": ltx2_tokens,
    "framepack": framepack_history,
    "skyreels": forced_frames,
    "wan2.2": conditioning_video,
    "wan2.2-vace": control_video,
    "ltx2.5": ltx2_tokens,
    "skyreels-flf2v": conditioning_video_and_image,
}


# ---------------------------------------------------------------- formats


def test_framepack_makes_whole_sections(models: Callable[[str], DiffusersModel]) -> None:
    """The pipeline returns what its sections make; the frames that are asked for are those."""
    model = models("framepack")
    wanted = replace(model.format_for(LANDSCAPE), num_frames=73)
    assert len(make(model, task(wanted)).frames) == 73


def test_pictures_of_another_size_are_refused(models: Callable[[str], DiffusersModel]) -> None:
    model = models("ltx")
    wanted = task(model.format_for(LANDSCAPE))
    with pytest.raises(ValueError, match=r"last picture of uint8 .*expected uint8"):
        make(model, replace(wanted, last=wanted.last[:-1]))


# ---------------------------------------------------------------- memory, messages, numbers


def test_offloaded_pipeline_makes_the_same_clip(
    models: Callable[[str], DiffusersModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Placed by the hooks of accelerate, with the CPU in the role of the device."""
    plain = models("wan-vace")
    wanted = task(plain.format_for(LANDSCAPE))
    expected = frames(plain, wanted)
    monkeypatch.setattr(memory, "choose_profile", lambda *_: MemoryProfile.OFFLOAD)
    model = create_model(plain.name, OPTIONS, "cpu")
    pipe = model.pipeline(wanted.format).pipe
    assert hasattr(pipe.transformer, "_hf_hook")
    assert pipe.vae.use_tiling
    np.testing.assert_array_equal(frames(model, wanted), expected)
    model.close()


def test_sequential_pipeline_holds_no_layer_on_the_device(tiny_checkpoint: TinyCheckpoint) -> None:
    """It is not run here: with the CPU as device the hooks of accelerate take its copies for other tensors."""
    checkpoint = checkpoint_of(f"diffusers:{tiny_checkpoint('wan-vace')}", "")
    pipe = loading.load(checkpoint, "", NetworkDtype.FLOAT32).pipe
    memory.place(pipe, "cpu", MemoryProfile.SEQUENTIAL, checkpoint.family)
    for part in (pipe.transformer, pipe.text_encoder, pipe.vae):
        assert {weight.device.type for weight in part.parameters()} == {"meta"}
    assert pipe.vae.use_tiling


def test_tiles_are_used_where_advised(models: Callable[[str], DiffusersModel]) -> None:
    for name, tiled in (("wan-flf2v", False), ("ltx", True), ("ltx2", True), ("framepack", True)):
        assert models(name).pipeline(models(name).format_for(LANDSCAPE)).pipe.vae.use_tiling is tiled


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_too_little_memory_is_told(error: RuntimeError, tiny_checkpoint: TinyCheckpoint) -> None:
    model = create_model(f"diffusers:{tiny_checkpoint('ltx')}", OPTIONS, "cpu")
    wanted = task(model.format_for(LANDSCAPE))
    clip = frames(model, wanted)

    def exhausted(*_: object, **__: object) -> None:
        raise error

    before = model.pipeline(wanted.format)
    before.pipe.transformer.forward = exhausted
    with pytest.raises(ValueError, match=r"64x64 px and 9 frames.*--video-memory offload or sequential.*--video-long"):
        make(model, wanted)
    assert model.pipeline(wanted.format) is not before
    np.testing.assert_array_equal(frames(model, wanted), clip)  # loads again


def test_other_errors_are_not_taken_for_little_memory(tiny_checkpoint: TinyCheckpoint) -> None:
    model = create_model(f"diffusers:{tiny_checkpoint('ltx')}", OPTIONS, "cpu")
    wanted = task(model.format_for(LANDSCAPE))
    model.pipeline(wanted.format).pipe.transformer.forward = lambda **_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        make(model, wanted)
    model.pipeline(wanted.format).pipe.transformer.proj_in.weight.data = torch.zeros(3, 3)
    model.pipeline(wanted.format).pipe.transformer.__dict__.pop("forward")
    with pytest.raises(RuntimeError, match="shapes"):
        make(model, wanted)


def test_frames_that_are_no_numbers_are_no_clip(tiny_checkpoint: TinyCheckpoint) -> None:
    model = create_model(f"diffusers:{tiny_checkpoint('ltx')}", OPTIONS, "cpu")
    wanted = task(model.format_for(LANDSCAPE))
    with torch.no_grad():
        model.pipeline(wanted.format).pipe.transformer.proj_out.bias.fill_(torch.nan)
    with pytest.raises(GenerationError, match="not numbers"):
        make(model, wanted)


def test_close_frees_the_pipeline(tiny_checkpoint: TinyCheckpoint) -> None:
    model = create_model(f"diffusers:{tiny_checkpoint('ltx')}", OPTIONS, "cpu")
    model.close()
    pipe = weakref.ref(model.pipeline(model.format_for(LANDSCAPE)).pipe.transformer)
    assert pipe() is not None
    model.close()
    gc.collect()
    assert pipe() is None


def test_number_formats_are_those_of_the_documentation(tiny_checkpoint: TinyCheckpoint) -> None:
    half = replace(OPTIONS, video_dtype=NetworkDtype.BFLOAT16)
    expected = {
        "wan-flf2v": {
            "transformer": torch.bfloat16,
            "text_encoder": torch.bfloat16,
            "vae": torch.float32,
            "image_encoder": torch.float32,
        },
        "framepack": {"transformer": torch.bfloat16, "text_encoder": torch.float16, "vae": torch.float16},
    }
    for name, dtypes in expected.items():
        model = create_model(f"diffusers:{tiny_checkpoint(name)}", half, "cpu")
        pipe = model.pipeline(model.format_for(LANDSCAPE)).pipe
        assert {part: getattr(pipe, part).dtype for part in dtypes} == dtypes
    model = create_model(f"diffusers:{tiny_checkpoint('wan-flf2v')}", half, "cpu")
    assert frames(model, task(model.format_for(LANDSCAPE))).std() > 5


def test_schedule_is_shifted_where_the_documentation_says_so(models: Callable[[str], DiffusersModel]) -> None:
    for name, shift in (("wan-flf2v", 3.0), ("skyreels", 5.0)):  # 3 is what the tiny checkpoints come with
        model = models(name)
        assert model.pipeline(model.format_for(LANDSCAPE)).pipe.scheduler.config.flow_shift == shift


def test_silence_ends(models: Callable[[str], DiffusersModel]) -> None:
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    before = [(m.get_verbosity(), m.is_progress_bar_enabled()) for m in (of_diffusers, of_transformers)]
    with loading.quiet():
        with loading.quiet():
            pass
        assert not of_diffusers.is_progress_bar_enabled()
    assert [(m.get_verbosity(), m.is_progress_bar_enabled()) for m in (of_diffusers, of_transformers)] == before
