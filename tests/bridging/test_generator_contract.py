"""What every generator owes its caller, and the table from which generators come."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import crossfade
from bridging_scene import HEIGHT_PX, SHIFT_PX, WIDTH_PX, context, pan, similarity, texture, write_folder, write_video
from interpose_sfm.bridging import factory
from interpose_sfm.bridging.factory import (
    GENERATORS,
    VIDEO_MODELS,
    create_clip_maker,
    create_generator,
    create_generators,
    generator_tables,
)
from interpose_sfm.clips.protocol import GeneratorContext, VideoGenerator, check_clip, clip_requests
from interpose_sfm.options import BridgingOptions, GenerationOptions
from interpose_sfm.products import Clip, ClipRequest, ClipStatus, FrameMapping, GeneratorKind, ImagePair
from interpose_sfm.registry import BackendTable
from interpose_sfm.video_models.diffusion import LocalChoice
from interpose_sfm.video_models.protocol import GenerationContext
from paths import ROOT

A, B, LONELY = "a.jpg", "sub/b.jpg", "c.jpg"
PAIR = ImagePair(A, B)
FRAMES = pan(seed=3, num_frames=11)
PHOTOS = {A: FRAMES[0], B: FRAMES[-1], LONELY: texture(9, WIDTH_PX, HEIGHT_PX)}


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
    return context(
        PHOTOS, {PAIR: (np.vstack([near, far]), in_b)}, clip_dirs=(folder,), max_frame_px=160, frames_per_clip=4
    )


@pytest.fixture(scope="module")
def generation(tmp_path_factory: pytest.TempPathFactory) -> GenerationContext:
    """The same photos for a video model."""
    return GenerationContext(
        photo_names=tuple(PHOTOS),
        load_image=PHOTOS.__getitem__,
        bridging=BridgingOptions(max_frame_px=160, frames_per_clip=4),
        generation=GenerationOptions(),
        store_dir=tmp_path_factory.mktemp("store"),
    )


@pytest.fixture(scope="module", autouse=True)
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two other distributions: the example of a generator, installed as its users do it, and a video model."""
    source, target = tmp_path_factory.mktemp("source") / "own_backend", tmp_path_factory.mktemp("site-packages")
    shutil.copytree(ROOT / "examples" / "own_backend", source)
    command = "install --quiet --no-index --no-deps --no-build-isolation --disable-pip-version-check --target"
    subprocess.run([sys.executable, "-m", "pip", *command.split(), str(target), str(source)], check=True)
    crossfade.install(target)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(target)
        yield


@pytest.fixture(scope="module", params=[*GENERATORS.builtin, "crosszoom", "crossfade"])
def generator(request: pytest.FixtureRequest, scene: GeneratorContext, generation: GenerationContext) -> VideoGenerator:
    """The built-in generators, the example of one, and the one around any video model."""
    return create_generator(request.param, scene, generation)


@functools.cache
def ask(
    generator: VideoGenerator, index: int = 0, pair: ImagePair = PAIR, backwards: bool = False, seed: int = 0
) -> Clip:
    return check_clip(generator.generate(pair, ClipRequest(index, backwards, seed)), pair)


def same(x: Clip, y: Clip) -> bool:
    return len(x.frames) == len(y.frames) and all(np.array_equal(p, q) for p, q in zip(x.frames, y.frames, strict=True))


def test_name_is_the_name_in_the_table(generator: VideoGenerator) -> None:
    assert generator.name in generator_tables()
    assert ask(generator).generator == generator.name


def test_every_clip_has_a_source(generator: VideoGenerator) -> None:
    sources = generator.sources(PAIR)
    assert len(sources) == generator.num_clips(PAIR)
    assert all(source and ":" not in source for source in sources)


def test_every_clip_of_a_served_pair_is_ok(generator: VideoGenerator) -> None:
    assert generator.num_clips(PAIR) >= 2
    for index in range(2):
        clip = ask(generator, index)
        assert clip.status is ClipStatus.OK, clip.detail
        assert 3 <= len(clip.frames) <= 4
        assert 100 < max(clip.frames[0].shape[:2]) <= 160
        assert all(np.isfinite([*m.scale, *m.offset_px]).all() for m in (clip.frame_from_a, clip.frame_from_b))


def test_photos_fill_the_frames(generator: VideoGenerator) -> None:
    """Which have their shape."""
    clip = ask(generator)
    height_px, width_px = clip.frames[0].shape[:2]
    for mapping in (clip.frame_from_a, clip.frame_from_b):
        np.testing.assert_allclose(mapping.scale, (width_px / WIDTH_PX, height_px / HEIGHT_PX), rtol=0.005)
        np.testing.assert_allclose(mapping.offset_px, 0, atol=0.8)


def test_equal_requests_give_equal_clips(
    generator: VideoGenerator, scene: GeneratorContext, generation: GenerationContext
) -> None:
    again = create_generator(generator.name, scene, generation)
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


def test_clips_exist_that_are_files(generator: VideoGenerator) -> None:
    is_on_disk = generator.kind is GeneratorKind.FILES
    assert generator.num_existing(PAIR) == (generator.num_clips(PAIR) if is_on_disk else 0)
    assert generator.num_existing(ImagePair("missing.jpg", B)) == 0


def test_what_was_prepared_is_the_same_clip_also_after_closing(generator: VideoGenerator) -> None:
    expected = ask(generator)
    generator.prepare(PAIR, clip_requests(2, 0))
    generator.close()
    generator.close()
    assert same(check_clip(generator.generate(PAIR, ClipRequest(0, False, 0)), PAIR), expected)


@pytest.mark.parametrize("index", [0, 1])
def test_photos_that_have_nothing_in_common_are_no_error(generator: VideoGenerator, index: int) -> None:
    clip = ask(generator, index, ImagePair(A, LONELY))
    assert (clip.status is ClipStatus.OK) is (generator.name in ("crosszoom", "crossfade"))


@pytest.mark.parametrize("pair", [ImagePair(A, "missing.jpg"), ImagePair("missing.jpg", B)])
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


@pytest.mark.parametrize(
    "field", [f.name for f in dataclasses.fields(BridgingOptions) if isinstance(f.default, (int, float))]
)
def test_options_check_themselves(field: str) -> None:
    with pytest.raises(ValueError, match=f"option {field.replace('_', '-')}: got -1"):
        BridgingOptions(**{field: -1})


def test_an_unknown_name_lists_the_known_ones(scene: GeneratorContext, generation: GenerationContext) -> None:
    with pytest.raises(ValueError, match=r"unknown video generator 'sora'.*clips.*crossfade.*morph.*wan-vace"):
        create_generator("sora", scene, generation)
    with pytest.raises(ValueError, match="'morph:x', expected 'morph' without a colon"):
        create_generator("morph:x", scene, generation)


@pytest.mark.parametrize("name", ["morph", "crosszoom", "none"])
def test_only_a_video_model_makes_clips_ahead(name: str, generation: GenerationContext) -> None:
    assert create_clip_maker("crossfade", generation).kind is GeneratorKind.IMAGINED
    with pytest.raises(ValueError, match=f"'{name}' is no video model.*: crossfade, diffusers, .*wan-vace"):
        create_clip_maker(name, generation)


def test_an_option_names_generators(scene: GeneratorContext, generation: GenerationContext) -> None:
    assert create_generators("none", scene, generation) == []
    assert [g.name for g in create_generators("morph", scene, generation)] == ["morph"]
    assert [g.name for g in create_generators("auto", scene, replace(generation, store_dir=None))] == ["clips"]


def test_clips_of_the_store_are_served_beside_those_of_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generation: GenerationContext
) -> None:
    """But once where the store is one of the folders."""
    monkeypatch.setattr(factory, "local_model", lambda options: LocalChoice(None, "no GPU here"))
    one, two, store = (tmp_path / name for name in ("one", "two", "store"))
    for folder in (one, two, store):
        folder.mkdir()
    stored = replace(generation, store_dir=store)
    for folders, expected in (((one, two), 2), ((one, store), 1), ((), 1)):
        assert len(create_generators("auto", context(PHOTOS, clip_dirs=folders), stored)) == expected


def test_clips_without_a_folder_says_what_to_set(generation: GenerationContext) -> None:
    with pytest.raises(ValueError, match="clip_dirs"):
        create_generator("clips", context({A: FRAMES[0]}), generation)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({"x": "not_installed_anywhere.module:Thing"}, ImportError, "pip install not_installed_anywhere"),
        ({"x": "bridging_backend:Needy"}, ImportError, "pip install absent-thing"),
        ({"x": "bridging_backend:Absent"}, ValueError, "module:Class"),
        ({"x": "bridging_backend"}, ValueError, "module:Class"),
        ({"x": "bridging_backend:Stranger"}, ValueError, "derived from VideoGenerator"),
        ({"x": "bridging_backend:Idle"}, ValueError, "lacks generate, num_clips of VideoGenerator"),
        ({}, ValueError, "none installed"),
    ],
)
def test_resolve_says_what_is_missing(
    table: dict[str, str], error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bridging_backend.py").write_text(
        "from interpose_sfm.backends import VideoGenerator\nclass Stranger: ...\nclass Idle(VideoGenerator): ...\n"
        "class Needy(VideoGenerator):\n    requires = {'absent_thing': 'pip install absent-thing'}\n"
        "    num_clips = generate = None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    things = BackendTable(kind="thing", builtin=table, entry_point_group="interpose_sfm.nothing", base=VideoGenerator)
    with pytest.raises(error, match=message):
        things.resolve("x")


def test_other_distributions_do_not_replace_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    info = tmp_path / "dreamer-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dreamer\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[interpose_sfm.generators]\nmorph = dreamer:Dreamer\nwan-vace = dreamer:Dreamer\n"
        "[interpose_sfm.video_models]\nltx = dreamer:Dreamer\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    tables = generator_tables()
    assert tables["wan-vace"] is tables["ltx"] is VIDEO_MODELS
    for table in (GENERATORS, VIDEO_MODELS):
        assert dict(table.builtin).items() <= table.targets().items()
    for name in ("morph", "wan-vace", "ltx"):
        assert f"{name!r} of dreamer:Dreamer is hidden by interpose_sfm." in caplog.text


def test_importing_loads_no_heavy_module() -> None:
    modules = "registry, bridging.factory, bridging.clips_on_disk, bridging.morph"
    code = "import sys\n" + "".join(f"import interpose_sfm.{m.strip()}\n" for m in modules.split(","))
    code += "print([m for m in ('av', 'cv2', 'pycolmap', 'scipy', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
