"""What is wrong with a clip is flagged, and what is merely fast, dim or noisy is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bridging_scene import HEIGHT_PX, WIDTH_PX, context, pan, texture, write_video
from interpose_sfm.bridging.clips_on_disk import ClipsGenerator
from interpose_sfm.clips.checks import (
    ClipMeasures,
    check_frames,
    describe_flags,
    flag_clip,
    photos_differ,
)
from interpose_sfm.clips.video import UnreadableClipError, stream_frames
from interpose_sfm.products import ClipFormat, ClipProblem, ClipRequest, ClipStatus, ImageArray, ImagePair

CUT, FADE, FROZEN = ClipProblem.HARD_CUT, ClipProblem.CROSS_FADE, ClipProblem.FROZEN
Frames = list[ImageArray]


def problems(frames: Sequence[ImageArray]) -> frozenset[ClipProblem]:
    return check_frames(frames).problems


def moved(seed: int, num_frames: int, shift_px: int) -> Frames:
    """A pan over a wide texture, so many pixels in all."""
    wide = texture(seed, WIDTH_PX + shift_px, HEIGHT_PX)
    lefts = np.linspace(0, shift_px, num_frames).round().astype(int)
    return [np.ascontiguousarray(wide[:, left : left + WIDTH_PX]) for left in lefts]


def zoomed(seed: int, num_frames: int) -> Frames:
    """The camera goes ahead, to twice the size."""
    wide = Image.fromarray(texture(seed, 2 * WIDTH_PX, 2 * HEIGHT_PX))
    frames = []
    for scale in np.geomspace(1.0, 2.0, num_frames):
        width, height = 2 * WIDTH_PX / scale, 2 * HEIGHT_PX / scale
        box = (WIDTH_PX - width / 2, HEIGHT_PX - height / 2, WIDTH_PX + width / 2, HEIGHT_PX + height / 2)
        frames.append(np.asarray(wide.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BILINEAR, box=box)))
    return frames


def with_parallax(seed: int, num_frames: int) -> Frames:
    """A near layer passes before a far one at four times its speed."""
    far, near = texture(seed, WIDTH_PX + 60, HEIGHT_PX), texture(seed + 1, WIDTH_PX + 240, HEIGHT_PX)
    holes = texture(seed + 2, WIDTH_PX + 240, HEIGHT_PX).mean(axis=2) > 120
    frames = []
    for share in np.linspace(0, 1, num_frames):
        x, y = round(60 * share), round(240 * share)
        is_far = holes[:, y : y + WIDTH_PX, None]
        frames.append(np.where(is_far, far[:, x : x + WIDTH_PX], near[:, y : y + WIDTH_PX]))
    return frames


def noisy(frames: Sequence[ImageArray], sigma: float) -> Frames:
    rng = np.random.default_rng(3)
    return [np.clip(f + rng.normal(0, sigma, f.shape), 0, 255).astype(np.uint8) for f in frames]


def dimmed(frames: Sequence[ImageArray]) -> Frames:
    gains = np.linspace(1.0, 0.5, len(frames))
    return [(gain * frame).astype(np.uint8) for gain, frame in zip(gains, frames, strict=True)]


def doubled(frames: Sequence[ImageArray]) -> Frames:
    return [frame for frame in frames for _ in range(2)]


SOUND: dict[str, Callable[[], Frames]] = {
    "slow pan": lambda: pan(1, 49),
    "pan": lambda: moved(2, 25, 240),
    "quick pan at a low frame rate": lambda: moved(3, 13, 360),
    "zoom": lambda: zoomed(4, 25),
    "parallax": lambda: with_parallax(5, 30),
    "noise": lambda: noisy(moved(6, 25, 200), 6),
    "lights go down": lambda: dimmed(moved(7, 25, 200)),
    "every frame twice": lambda: doubled(moved(8, 20, 200)),
    "a stop in between": lambda: (p := moved(9, 24, 200))[:12] + [p[11]] * 10 + p[12:],
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_clip_is_not_flagged(name: str) -> None:
    report = check_frames(SOUND[name]())
    assert not report.flags, describe_flags(report.flags)


@pytest.mark.parametrize("name", sorted({*SOUND} - {"quick pan at a low frame rate", "zoom"}))
def test_a_cut_is_found(name: str) -> None:
    """The second half is of another place. Where a clip loses much by its own motion a cut does not stand out."""
    first = SOUND[name]()
    other = moved(40, len(first), 150)
    middle = len(first) // 2
    report = check_frames(first[:middle] + other[middle:])
    assert CUT in report.problems
    flag = next(flag for flag in report.flags if flag.problem is CUT)
    assert flag.value >= flag.limit
    frames = [int(word) for word in flag.detail.replace(",", "").split() if word.isdigit()]
    assert frames[0] < middle <= frames[1] + 1


def test_a_cut_with_a_mixed_frame_is_a_cut() -> None:
    first, other = moved(1, 30, 150), moved(41, 30, 150)
    mixed = ((first[15].astype(int) + other[15]) // 2).astype(np.uint8)
    assert CUT in problems([*first[:15], mixed, *other[16:]])


@pytest.mark.parametrize("length", [6, 8])
def test_a_fade_is_found(length: int) -> None:
    first, other = moved(1, 30 + length, 60), moved(42, 30 + length, 60)
    frames = list(first[:15])
    for step in range(length):
        share = (step + 1) / (length + 1)
        frames.append(((1 - share) * first[15 + step] + share * other[15 + step]).astype(np.uint8))
    frames += other[15 + length :]
    assert problems(frames) & {CUT, FADE}


def test_a_fade_of_the_whole_clip_is_found() -> None:
    """What a model does that does not understand how the photos belong together."""
    a, b = texture(1, WIDTH_PX, HEIGHT_PX), texture(2, WIDTH_PX, HEIGHT_PX)
    faded = [((1 - s) * a + s * b).astype(np.uint8) for s in np.linspace(0, 1, 17)]
    assert FADE in problems(faded)


@pytest.mark.parametrize(("pictures", "is_frozen"), [(1, True), (4, True), (5, False)])
def test_a_clip_of_a_few_pictures_is_frozen(pictures: int, is_frozen: bool) -> None:
    frames = [picture for picture in moved(1, pictures, 40) for _ in range(8)]
    assert (FROZEN in problems(frames)) is is_frozen


@pytest.mark.parametrize("num_frames", [3, 4])
def test_a_short_clip_whose_frames_all_differ_is_not_frozen(num_frames: int) -> None:
    frames = moved(1, num_frames, 40)
    assert FROZEN not in problems(frames)
    assert FROZEN in problems([*frames[:-1], frames[-2]])
    assert FROZEN in problems(frames[:2])  # of which nobody can tell


def test_photos_of_one_view_may_have_a_still_clip_between_them() -> None:
    still = texture(1, WIDTH_PX, HEIGHT_PX)
    other = texture(2, WIDTH_PX, HEIGHT_PX)
    assert not photos_differ(still, still)
    assert FROZEN not in check_frames([still] * 9, photos=(still, still)).problems
    assert FROZEN in check_frames([still] * 9, photos=(still, other)).problems


ASKED = ClipFormat(width_px=WIDTH_PX, height_px=HEIGHT_PX, num_frames=25, fps=15.0)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (ASKED, set()),
        (replace(ASKED, num_frames=24), {ClipProblem.WRONG_LENGTH}),
        (replace(ASKED, width_px=WIDTH_PX + 16), {ClipProblem.WRONG_SIZE}),
        (replace(ASKED, num_frames=49, height_px=64), {ClipProblem.WRONG_LENGTH, ClipProblem.WRONG_SIZE}),
    ],
)
def test_size_and_length_are_held_against_what_was_asked(asked: ClipFormat, expected: set[ClipProblem]) -> None:
    report = check_frames(moved(1, 25, 150), asked=asked)
    assert report.problems == expected
    assert all(str(asked.num_frames) in f.detail for f in report.flags if f.problem is ClipProblem.WRONG_LENGTH)


def test_frames_of_two_sizes_are_told() -> None:
    frames = moved(1, 20, 100)
    small = [np.ascontiguousarray(frame[::2, ::2]) for frame in frames[10:]]
    assert ClipProblem.WRONG_SIZE in problems([*frames[:10], *small])


@pytest.mark.parametrize("which", ["first", "last", "both"])
def test_ends_that_do_not_show_the_photos(which: str) -> None:
    frames, other = moved(1, 25, 150), texture(50, WIDTH_PX, HEIGHT_PX)
    photos = (frames[0] if which == "last" else other, frames[-1] if which == "first" else other)
    expected = {
        "first": {ClipProblem.WRONG_FIRST},
        "last": {ClipProblem.WRONG_LAST},
        "both": {ClipProblem.WRONG_FIRST, ClipProblem.WRONG_LAST},
    }
    assert check_frames(frames, photos=photos).problems == expected[which]
    assert not check_frames(frames, photos=(frames[0], frames[-1])).flags


@pytest.mark.parametrize(
    "frames", [[], [texture(1, 64, 64)], [texture(1, 64, 64)] * 2, [np.zeros((40, 40, 3), np.uint8)] * 9]
)
def test_clips_with_nothing_to_measure_are_measured_all_the_same(frames: Frames) -> None:
    measures = check_frames(frames).measures
    assert isinstance(measures, ClipMeasures)
    assert measures.num_frames == len(frames)
    assert ClipProblem.FROZEN in flag_clip(measures).problems


def test_memory_does_not_grow_with_the_clip() -> None:
    """Frames pass by one at a time: a generator is enough."""
    passed = []

    def frames() -> object:
        for index in range(60):
            passed.append(index)
            yield texture(1, 96 + index % 2, 96)[:, :96]

    check_frames(frames())  # type: ignore[arg-type]
    assert len(passed) == 60


def test_a_file_is_streamed(tmp_path: Path) -> None:
    frames = moved(1, 25, 150)
    path = write_video(tmp_path / "clip.mp4", frames[:12] + moved(44, 25, 150)[12:])
    assert sum(1 for _ in stream_frames(path, 1024)) == 25
    assert CUT in check_frames(path).problems
    (tmp_path / "broken.mp4").write_bytes(path.read_bytes()[:900])
    with pytest.raises(UnreadableClipError):
        check_frames(tmp_path / "broken.mp4")


# ---------------------------------------------------------------- on the way into the report


@pytest.mark.parametrize("is_backwards", [False, True])
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_clip_on_disk_carries_its_flags(tmp_path: Path, is_backwards: bool, is_cut: bool) -> None:
    frames = moved(5, 30, 120)
    if is_cut:
        frames = frames[:10] + moved(45, 30, 120)[10:20] + frames[20:]
    name = "b__a" if is_backwards else "a__b"
    write_video(tmp_path / f"{name}.mp4", frames[::-1] if is_backwards else frames)
    photos = {"a.jpg": frames[0], "b.jpg": frames[-1]}
    generator = ClipsGenerator(context(photos, clip_dirs=(tmp_path,), max_frame_px=320, frames_per_clip=5))
    clip = generator.generate(ImagePair("a.jpg", "b.jpg"), ClipRequest(0, False, 0))
    assert clip.status is ClipStatus.OK
    assert (CUT in {flag.problem for flag in clip.flags}) is is_cut
    assert ("hard cut" in describe_flags(clip.flags)) is is_cut
