"""What every generator owes its caller, and the table from which generators come."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bridging_scene import HEIGHT_PX, SHIFT_PX, WIDTH_PX, context, pan, similarity, texture, write_folder, write_video
from interpose_sfm import registry
from interpose_sfm.bridging.factory import GENERATORS, create_generator, generator_names, video_model_names
from interpose_sfm.clips.protocol import GeneratorContext, VideoGenerator, check_clip
from interpose_sfm.options import BridgingOptions
from interpose_sfm.products import Clip, ClipRequest, ClipStatus, FrameMapping, ImagePair

A, B, LONELY = "a.jpg", "sub/b.jpg", "c.jpg"
PAIR = ImagePair(A, B)
FRAMES = pan(seed=3, num_frames=11)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> GeneratorContext:
    """Two photos that share most of their content, two clips, matches of two planes, and a photo of something else."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "a__b_0.mp4", FRAMES)
    write_folder(folder / "a__b_1_ba", FRAMES[::-1][::2])
    rng = np.random.default_rng(0)
    near = rng.uniform([SHIFT_PX, 0], [WIDTH_PX, HEIGHT_PX], (80, 2))
    far = rng.uniform([SHIFT_PX, 0], [WIDTH_PX, HEIGHT_PX], (40, 2))
    in_b = np.vstack([near - [SHIFT_PX, 0], far - [SHIFT_PX - 30, 0]])
    photos = {A: FRAMES[0], B: FRAMES[-1], LONELY: texture(9, WIDTH_PX, HEIGHT_PX)}
    return context(photos, {PAIR: (np.vstack([near, far]), in_b)}, clip_dir=folder, max_frame_px=160, frames_per_clip=4)


@pytest.fixture(scope="module", params=sorted({*GENERATORS} - {*video_model_names()}))
def generator(request: pytest.FixtureRequest, scene: GeneratorContext) -> VideoGenerator:
    return create_generator(request.param, scene)


@functools.cache
def ask(
    generator: VideoGenerator, index: int = 0, pair: ImagePair = PAIR, backwards: bool = False, seed: int = 0
) -> Clip:
    return check_clip(generator.generate(pair, ClipRequest(index, backwards, seed)), pair)


def same(x: Clip, y: Clip) -> bool:
    return len(x.frames) == len(y.frames) and all(np.array_equal(p, q) for p, q in zip(x.frames, y.frames, strict=True))


def test_name_is_the_name_in_the_table(generator: VideoGenerator) -> None:
    assert generator.name in GENERATORS
    assert ask(generator).generator == generator.name


def test_every_clip_of_a_served_pair_is_ok(generator: VideoGenerator) -> None:
    assert generator.num_clips(PAIR) >= 2
    for index in range(2):
        clip = ask(generator, index)
        assert clip.status is ClipStatus.OK, clip.detail
        assert 3 <= len(clip.frames) <= 4
        assert max(clip.frames[0].shape[:2]) == 160
        assert all(np.isfinite([*m.scale, *m.offset_px]).all() for m in (clip.frame_from_a, clip.frame_from_b))


def test_photos_lie_in_the_frames_at_half_size(generator: VideoGenerator) -> None:
    clip = ask(generator)
    for mapping in (clip.frame_from_a, clip.frame_from_b):
        np.testing.assert_allclose(mapping.scale, 0.5, rtol=0.005)
        np.testing.assert_allclose(mapping.offset_px, 0, atol=0.8)


def test_equal_requests_give_equal_clips(generator: VideoGenerator, scene: GeneratorContext) -> None:
    again = create_generator(generator.name, scene)
    first, second = ask(generator), ask(again)
    assert same(first, second)
    assert (first.name, first.frame_from_a, first.frame_from_b) == (
        second.name,
        second.frame_from_a,
        second.frame_from_b,
    )


@pytest.mark.parametrize("seeds", [(0, 0), (0, 1)])
def test_different_indices_give_different_clips(generator: VideoGenerator, seeds: tuple[int, int]) -> None:
    clips = [ask(generator, index, seed=seed) for index, seed in enumerate(seeds)]
    assert clips[0].name != clips[1].name
    assert not same(*clips)


def test_an_index_beyond_the_clips_is_a_status(generator: VideoGenerator) -> None:
    clip = ask(generator, index=50)
    assert clip.status is ClipStatus.NO_CLIP
    assert clip.detail


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("index", [0, 1])
def test_frames_run_from_a_to_b(generator: VideoGenerator, index: int, backwards: bool) -> None:
    frames = ask(generator, index, backwards=backwards).frames
    assert similarity(frames[0], FRAMES[0]) > similarity(frames[-1], FRAMES[0]) + 0.1
    assert similarity(frames[-1], FRAMES[-1]) > similarity(frames[0], FRAMES[-1]) + 0.1


def test_the_swapped_pair_is_served_in_its_own_order(generator: VideoGenerator) -> None:
    frames = ask(generator, pair=ImagePair(B, A)).frames
    assert similarity(frames[0], FRAMES[-1]) > similarity(frames[-1], FRAMES[-1]) + 0.1


@pytest.mark.parametrize("pair", [ImagePair(A, LONELY), ImagePair(A, "missing.jpg"), ImagePair("missing.jpg", B)])
def test_a_pair_that_cannot_be_served_is_a_status(generator: VideoGenerator, pair: ImagePair) -> None:
    clip = ask(generator, pair=pair)
    assert clip.status in (ClipStatus.NO_CLIP, ClipStatus.NO_MATCHES)
    assert clip.frames == ()
    assert generator.num_clips(pair) >= 0


# ---------------------------------------------------------------- check_clip


GOOD = Clip(PAIR, "x-0", "x", (FRAMES[0], FRAMES[1]), FrameMapping((1, 1), (0, 0)), FrameMapping((1, 1), (0, 0)))


def test_check_clip_passes_a_good_clip_through() -> None:
    assert check_clip(GOOD, PAIR) is GOOD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pair": ImagePair(B, A)}, "expected the pair|got the pair"),
        ({"name": ""}, "need names"),
        ({"frames": ()}, "0 frames"),
        ({"status": ClipStatus.UNREADABLE}, "2 frames"),
        ({"frames": (FRAMES[0].astype(np.float32),)}, "float32"),
        ({"frames": (FRAMES[0][..., 0],)}, "uint8"),
        ({"frames": ([[1, 2, 3]],)}, "list"),
        ({"frames": (FRAMES[0], FRAMES[0][1:])}, "one size"),
        ({"frame_from_a": FrameMapping((np.nan, 1), (0, 0))}, "frame_from_a"),
        ({"frame_from_b": FrameMapping((1, 1), (np.inf, 0))}, "frame_from_b"),
        ({"frame_from_b": FrameMapping((1, -1), (0, 0))}, "frame_from_b"),
    ],
)
def test_check_clip_names_the_generator_and_the_fault(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_clip(dataclasses.replace(GOOD, **change), PAIR)  # type: ignore[arg-type]
    assert "generator 'x'" in str(caught.value)


# ---------------------------------------------------------------- options and table


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(BridgingOptions) if f.name != "clip_dir"])
def test_options_check_themselves(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        BridgingOptions(**{field: -1})


def test_an_unknown_name_lists_the_known_ones(scene: GeneratorContext) -> None:
    with pytest.raises(ValueError, match=r"unknown video generator 'sora'.*clips.*morph"):
        create_generator("sora", scene)
    assert set(generator_names()) >= {"clips", "morph"}


def test_clips_without_a_folder_says_what_to_set() -> None:
    with pytest.raises(ValueError, match="clip_dir"):
        create_generator("clips", context({A: FRAMES[0]}))


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({"x": "not_installed_anywhere.module:Thing"}, ImportError, "pip install not_installed_anywhere"),
        ({"x": "bridging_backend:Needy"}, ImportError, "pip install absent-thing"),
        ({"x": "bridging_backend:Absent"}, ValueError, "module:Class"),
        ({"x": "bridging_backend"}, ValueError, "module:Class"),
        ({}, ValueError, "none installed"),
    ],
)
def test_resolve_says_what_is_missing(
    table: dict[str, str], error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bridging_backend.py").write_text(
        "class Needy:\n    requires = {'absent_thing': 'pip install absent-thing'}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error, match=message):
        registry.resolve("thing", "x", table, "interpose_sfm.nothing")


def test_other_distributions_add_generators_but_do_not_replace_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: GeneratorContext, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "dreamer.py").write_text(
        "class Dreamer:\n    def __init__(self, context):\n        self.name = 'dreamer'\n"
    )
    info = tmp_path / "dreamer-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dreamer\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[interpose_sfm.generators]\ndreamer = dreamer:Dreamer\nmorph = dreamer:Dreamer\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "dreamer" in generator_names()
    assert create_generator("dreamer", scene).name == "dreamer"
    assert create_generator("morph", scene).name == "morph"
    assert "hidden" in caplog.text


def test_importing_loads_no_heavy_module() -> None:
    modules = "registry, bridging.factory, bridging.clips_on_disk, bridging.morph"
    code = "import sys\n" + "".join(f"import interpose_sfm.{m.strip()}\n" for m in modules.split(","))
    code += "print([m for m in ('av', 'cv2', 'pycolmap', 'scipy', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
