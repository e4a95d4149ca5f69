"""Which hosted models are offered, in which sizes and lengths and at which price; the SDKs' own types are the truth."""

from __future__ import annotations

import inspect
import itertools
import sys
import typing

import pytest

from hosted_scene import model, task
from interpose_sfm.video_models.hosted.catalogue import (
    LUMA_AGENTS_MODELS,
    LUMA_MODELS,
    RUNWAY_MODELS,
    HostedSpec,
    chosen_spec,
)


@pytest.mark.parametrize(
    ("photo", "name", "wanted_px", "expected"),
    [
        ((1600, 1200), "runway:seedance2", None, (1112, 834)),
        ((1600, 1200), "runway:seedance2", 700, (752, 560)),
        ((3000, 4000), "runway:seedance2", None, (834, 1112)),
        ((1600, 1200), "runway", None, (1280, 720)),
        ((1200, 1600), "runway", None, (720, 1280)),
        ((1600, 900), "runway", 1900, (1920, 1080)),
        ((1600, 1200), "luma", None, (1152, 864)),
        ((1920, 1080), "luma", 960, (960, 540)),
        ((500, 500), "luma", None, (1024, 1024)),
    ],
)
def test_the_nearest_shape_then_the_nearest_size(
    photo: tuple[int, int], name: str, wanted_px: int | None, expected: tuple[int, int]
) -> None:
    found = model(name.split(":")[0], name=name, video_long_side_px=wanted_px).format_for(photo)
    assert (found.width_px, found.height_px) == expected


@pytest.mark.parametrize(("frames", "seconds"), [(None, 4), (100, 4), (130, 6), (1000, 8)])
def test_the_nearest_length(frames: int | None, seconds: int) -> None:
    assert model("runway", video_frames=frames).format_for((16, 9)).num_frames == 24 * seconds


def test_prices_are_those_of_the_vendors_lists() -> None:
    def price(name: str, **options: object) -> float:
        hosted = model(name.split(":")[0], name=name, **options)
        estimate = hosted.estimate(hosted.format_for((1600, 900)))
        assert estimate.basis
        return estimate.cost_usd

    assert price("runway") == pytest.approx(4 * 0.10)
    assert price("runway:veo3.1", video_frames=192) == pytest.approx(8 * 0.20)
    assert price("runway:seedance2") == pytest.approx(4 * 0.36)
    assert price("luma") == pytest.approx(0.71, abs=0.005)  # 720p, 5 s
    assert price("luma:ray-flash-2") == pytest.approx(0.24, abs=0.005)
    assert price("luma", video_long_side_px=1920) == pytest.approx(1.59, abs=0.005)
    assert price("luma", clip_price=0.5) == 0.5


def test_a_model_without_a_price_needs_one() -> None:
    with pytest.raises(ValueError, match="--clip-price"):
        model("runway", name="runway:kling3.0_pro")
    hosted = model("runway", name="runway:kling3.0_pro", clip_price=0.8)
    assert hosted.estimate(hosted.format_for((16, 9))).cost_usd == 0.8


@pytest.mark.parametrize("name", ["runway:gen4_turbo", "runway:gen3a_turbo", "runway:", "luma:ray-3", "luma:"])
def test_models_that_take_no_last_frame_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected .*: and one of"):
        model(name.split(":")[0], name=name)


def test_prompts_are_cut_to_what_the_model_takes(caplog: pytest.LogCaptureFixture) -> None:
    hosted = model("runway")
    long = "\N{MOUNTAIN RAILWAY} word" * 300
    wanted = task(hosted.format_for((16, 9)))
    cut = hosted.prompt(type(wanted)(**{**wanted.__dict__, "prompt": long}))
    assert 900 < len(cut.encode("utf-16-le")) // 2 <= 1000
    assert long.startswith(cut)
    assert "prompts of up to 1000" in caplog.text
    assert hosted.prompt(wanted) == wanted.prompt


def _runway_types() -> dict[str, dict[str, object]]:
    """Model -> fields of its type in the installed SDK."""
    from runwayml.types import image_to_video_create_params as params

    found = {}
    for kind in typing.get_args(params.ImageToVideoCreateParams):
        hints = typing.get_type_hints(kind, vars(params))
        found[typing.get_args(hints["model"])[0]] = hints
    return found


def _source_of(model: str) -> str:
    """What the SDK says of a model's type, which is not kept where the program runs."""
    from runwayml.types import image_to_video_create_params as params

    kinds = (inspect.getsource(kind) for kind in typing.get_args(params.ImageToVideoCreateParams))
    return next(source for source in kinds if f'Literal["{model}"]' in source)


def _positions(prompt_image: object) -> set[object]:
    image = next(
        typing.get_args(arg)[0]
        for arg in typing.get_args(prompt_image)
        if typing.get_origin(arg) is not None and typing.get_args(arg)
    )
    return set(_literals(typing.get_type_hints(image, vars(sys.modules[image.__module__]))["position"]))


def _literals(hint: object) -> list[object]:
    """All values of the literals in a type."""
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    return list(itertools.chain.from_iterable(_literals(arg) for arg in typing.get_args(hint)))


@pytest.mark.parametrize("spec", RUNWAY_MODELS.values(), ids=lambda spec: spec.model)
def test_the_catalogue_agrees_with_the_types_of_the_sdk(spec: HostedSpec) -> None:
    hints = _runway_types()[spec.model]
    if spec.model in ("wan3", "wan3_prime", "hailuo3"):  # whose type says so in words only
        assert "Use position `first`/`last` for keyframe mode" in _source_of(spec.model)
    else:
        assert {"first", "last"} <= _positions(hints["prompt_image"])
    if spec.sends_size:
        assert set(spec.sizes) <= set(_literals(hints["ratio"]))
    else:
        assert ("ratio" in spec.extras) == ("ratio" in hints)
    lengths = [value for value in _literals(hints["duration"]) if isinstance(value, int)]
    assert not lengths or tuple(lengths) == spec.durations_s
    assert spec.has_seed == ("seed" in hints)
    assert spec.has_negative_prompt == ("negative_prompt" in hints)
    assert set(spec.extras) <= set(hints)
    for name, value in spec.extras.items():
        assert value in (_literals(hints[name]) or [value])
    assert ("audio" in spec.extras) == ("audio" in hints)


def test_luma_names_agree_with_the_types_of_the_sdk() -> None:
    from lumaai.types import generation_create_params as params

    hints = typing.get_type_hints(params.GenerationCreateParams, vars(params))
    assert set(LUMA_MODELS) == set(_literals(hints["model"]))
    for spec in LUMA_MODELS.values():
        ratios, resolutions = zip(*(name.split(" ") for name in spec.sizes), strict=True)
        assert set(ratios) == set(_literals(hints["aspect_ratio"]))
        assert set(resolutions) <= set(_literals(hints["resolution"]))
        assert {f"{duration}s" for duration in spec.durations_s} == set(_literals(hints["duration"]))


def test_luma_agents_names_agree_with_the_types_of_the_sdk() -> None:
    pytest.importorskip("luma_agents")
    from luma_agents.types import generation_create_params, model, video_duration, video_options_param, video_resolution

    assert set(LUMA_AGENTS_MODELS) <= set(_literals(model.Model))
    hints = typing.get_type_hints(generation_create_params.GenerationCreateParams, vars(generation_create_params))
    assert {"model", "type", "prompt", "aspect_ratio", "video"} <= set(hints)
    assert {"resolution", "duration", "keyframes", "keyframe_indexes"} <= set(
        video_options_param.VideoOptionsParam.__annotations__
    )
    for spec in LUMA_AGENTS_MODELS.values():
        ratios, resolutions = zip(*(name.split(" ") for name in spec.sizes), strict=True)
        assert set(ratios) <= set(_literals(hints["aspect_ratio"]))
        assert set(resolutions) == set(_literals(video_resolution.VideoResolution))
        assert {f"{duration}s" for duration in spec.durations_s} == set(_literals(video_duration.VideoDuration))


def test_the_first_model_is_the_default() -> None:
    assert chosen_spec("runway", RUNWAY_MODELS).model == "veo3.1_fast"
    assert chosen_spec("runway:veo3.1", RUNWAY_MODELS).model == "veo3.1"
