"""Clips on disk: which file is for which photos, what is decoded, and where the photos lie in the frames."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from bridging_scene import CODECS, SHIFT_PX, context, pan, shown, texture, write_folder, write_video
from interpose_sfm.bridging.clips_on_disk import ClipsGenerator
from interpose_sfm.clips.files import index_clips, natural_key, parse_name
from interpose_sfm.clips.image_alignment import Box, content_box, register_photo
from interpose_sfm.clips.protocol import check_clip
from interpose_sfm.clips.video import UnreadableClipError, read_clip
from interpose_sfm.products import Clip, ClipRequest, ClipStatus, FrameMapping, ImageArray, ImagePair
from paths import DATA

A, B = "a.jpg", "b.jpg"
PAIR = ImagePair(A, B)
FRAMES = pan(seed=5, num_frames=13)


def serve(folder: Path, index: int = 0, pair: ImagePair = PAIR, **options: object) -> Clip:
    generator = ClipsGenerator(context({A: FRAMES[0], B: FRAMES[-1]}, clip_dir=folder, **options))
    return check_clip(generator.generate(pair, ClipRequest(index, False, 0)), pair)


# ---------------------------------------------------------------- file names

KEYS = {
    "a": frozenset({"a.jpg"}),
    "b": frozenset({"b.jpg"}),
    "b_2": frozenset({"b_2.jpg"}),
    "x__y": frozenset({"x__y.jpg"}),
    "sub_b": frozenset({"sub/b.jpg"}),
    "é": frozenset({"é.jpg"}),
    "twin": frozenset({"left/twin.jpg", "right/twin.jpg"}),
    "left_twin": frozenset({"left/twin.jpg"}),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a__b", ("a.jpg", "b.jpg")),
        ("b__a", ("b.jpg", "a.jpg")),
        ("a__b_0", ("a.jpg", "b.jpg")),
        ("a__b_17", ("a.jpg", "b.jpg")),
        ("a__b_ba", ("b.jpg", "a.jpg")),
        ("a__b_3_ba", ("b.jpg", "a.jpg")),
        ("a__b_2_1", ("a.jpg", "b_2.jpg")),
        ("a__b_2_1_ba", ("b_2.jpg", "a.jpg")),
        ("a__x__y", ("a.jpg", "x__y.jpg")),
        ("x__y__a_4", ("x__y.jpg", "a.jpg")),
        ("a__sub_b", ("a.jpg", "sub/b.jpg")),
        ("a__left_twin_1", ("a.jpg", "left/twin.jpg")),
        ("a__e\u0301", ("a.jpg", "é.jpg")),
        ("a__c", None),
        ("a_b", None),
        ("a__b_ba_3", None),
        ("a__b_x", None),
        ("a__a", None),
    ],
)
def test_names(text: str, expected: tuple[str, str] | None) -> None:
    assert parse_name(text, KEYS) == expected


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [("a__b_2", "'b.jpg'", "'b_2.jpg'"), ("a__twin", "'left/twin.jpg'", "'right/twin.jpg'")],
)
def test_an_ambiguous_name_is_refused_and_both_readings_are_named(text: str, first: str, second: str) -> None:
    with pytest.raises(ValueError, match="can mean") as caught:
        parse_name(text, KEYS)
    assert first in str(caught.value)
    assert second in str(caught.value)


def test_the_folder_is_indexed_by_pair_in_natural_order(tmp_path: Path) -> None:
    for name in (
        "a__b_10.mp4",
        "a__b_9.MP4",
        "b__a.webm",
        "a__b.txt",
        "other__b.mp4",
        "notes.mp4",
        "a.png__b.jpg_1.gif",
    ):
        (tmp_path / name).touch()
    (tmp_path / "left_a__b").mkdir()
    names = ["a.png", "b.jpg", "left/a.png"]
    with pytest.raises(ValueError, match=r"'a\.png' to 'b\.jpg' or 'left/a\.png' to 'b\.jpg'"):
        index_clips(tmp_path, names)
    found = index_clips(tmp_path, ["a.png", "b.jpg", "left/c.png"])
    assert list(found) == [ImagePair("a.png", "b.jpg")]
    files = found[ImagePair("a.png", "b.jpg")]
    assert [f.name for f in files] == ["a.png__b.jpg_1.gif", "a__b_9.MP4", "a__b_10.mp4", "b__a.webm"]
    assert [(f.first, f.last) for f in files][-2:] == [("a.png", "b.jpg"), ("b.jpg", "a.png")]


def test_natural_order() -> None:
    assert sorted(["f10.png", "f2.png", "F1.png", "f02b.png"], key=natural_key) == [
        "F1.png",
        "f2.png",
        "f02b.png",
        "f10.png",
    ]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        index_clips(tmp_path / "nowhere", [A, B])


# ---------------------------------------------------------------- clips.json


def test_json_gives_pairs_directions_and_order(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("deep/pan.mp4", "z.mov", "a__b.mp4"):
        (tmp_path / name).touch()
    entries = [
        {"a": A, "b": B, "clips": ["z.mov", {"file": "deep/pan.mp4", "backwards": True}, "a__b.mp4"]},
        {"a": A, "b": "lost.jpg", "clips": ["z.mov"]},
    ]
    (tmp_path / "clips.json").write_text(json.dumps(entries))
    found = index_clips(tmp_path, [A, B])
    assert [(f.name, f.first) for f in found[PAIR]] == [("z.mov", A), ("deep/pan.mp4", B), ("a__b.mp4", A)]
    assert list(found) == [PAIR]


ENTRY = {"a": A, "b": B}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ({"a": A}, "expected a list"),
        ([3], "entry 0: got int"),
        ([{"a": A, "b": B}], "exactly 'a', 'b' and 'clips'"),
        ([{**ENTRY, "clips": [], "extra": 1}], "exactly 'a', 'b' and 'clips'"),
        ([{"a": A, "b": A, "clips": []}], "two different photos"),
        ([{"a": A, "b": 3, "clips": []}], "two different photos"),
        ([{**ENTRY, "clips": "x.mp4"}], "expected a list"),
        ([{**ENTRY, "clips": [3]}], "expected a path or an object"),
        ([{**ENTRY, "clips": [{"path": "x.mp4"}]}], "expected a path or an object"),
        ([{**ENTRY, "clips": [{"file": "x.mp4", "speed": 2}]}], "expected a path or an object"),
        ([{**ENTRY, "clips": [{"file": "x.mp4", "backwards": "yes"}]}], "true or false"),
        ([{**ENTRY, "clips": [""]}], "to be text"),
        ([{**ENTRY, "clips": ["x\0.mp4"]}], "to be text"),
        ([{**ENTRY, "clips": ["missing.mp4"]}], "does not exist"),
        ([{**ENTRY, "clips": ["../outside.mp4"]}], "leads out"),
        ([{**ENTRY, "clips": ["/etc/passwd"]}], "leads out"),
        ([{**ENTRY, "clips": ["link.mp4"]}], "leads out"),
        ([{**ENTRY, "clips": ["."]}], "leads out"),
        ([{**ENTRY, "clips": ["x.mp4", {"file": "./x.mp4", "backwards": True}]}], "listed twice"),
    ],
)
def test_json_errors_say_where_and_what(tmp_path: Path, content: object, message: str) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "x.mp4").touch()
    (tmp_path / "outside.mp4").touch()
    (folder / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    raw = (
        content
        if isinstance(content, bytes)
        else (content if isinstance(content, str) else json.dumps(content)).encode()
    )
    (folder / "clips.json").write_bytes(raw)
    with pytest.raises(ValueError, match=message) as caught:
        index_clips(folder, [A, B])
    assert "clips.json" in str(caught.value)


# ---------------------------------------------------------------- decoding


@pytest.mark.parametrize("suffix", ["", *CODECS])
def test_every_kind_of_clip_is_served(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a__b{suffix}"
    if suffix:
        write_video(path, FRAMES)
    else:
        write_folder(path, FRAMES)
    clip = serve(tmp_path, frames_per_clip=5)
    assert clip.status is ClipStatus.OK, clip.detail
    assert clip.name == path.name
    assert len(clip.frames) == 5
    np.testing.assert_allclose(clip.frame_from_a.scale, 1, atol=0.005)
    # Frames 2, 4, ... 10 of 13: the ends are not among them, and a folder is not read in alphabetical order.
    for frame, expected in zip(clip.frames, FRAMES[2:12:2], strict=True):
        errors = [np.abs(frame.astype(float) - other).mean() for other in FRAMES]
        assert np.argmin(errors) == np.argmin([np.abs(expected.astype(float) - other).mean() for other in FRAMES])


def test_a_backwards_file_is_turned_round(tmp_path: Path) -> None:
    write_folder(tmp_path / "a__b_0", FRAMES)
    write_folder(tmp_path / "a__b_1_ba", FRAMES[::-1])
    forwards, backwards = serve(tmp_path, 0, frames_per_clip=20), serve(tmp_path, 1, frames_per_clip=20)
    swapped = serve(tmp_path, 0, ImagePair(B, A), frames_per_clip=20)
    assert len(forwards.frames) == len(FRAMES) - 2
    for i, frame in enumerate(forwards.frames):
        np.testing.assert_array_equal(frame, backwards.frames[i])
        np.testing.assert_array_equal(frame, swapped.frames[-1 - i])
    assert swapped.frame_from_a == forwards.frame_from_b


def test_a_file_in_the_wrong_direction_is_not_registered(tmp_path: Path) -> None:
    write_folder(tmp_path / "a__b", FRAMES[::-1])
    clip = serve(tmp_path)
    assert clip.status is ClipStatus.NOT_REGISTERED
    assert "limit" in clip.detail


def test_the_ends_are_never_among_the_frames(tmp_path: Path) -> None:
    write_folder(tmp_path / "a__b", [FRAMES[0], FRAMES[4], FRAMES[8], FRAMES[-1]])
    frames = serve(tmp_path, frames_per_clip=12).frames
    assert len(frames) == 2
    np.testing.assert_array_equal(frames[0], FRAMES[4])
    np.testing.assert_array_equal(frames[1], FRAMES[8])


def test_memory_and_frame_size_are_bounded(tmp_path: Path) -> None:
    count = 200
    write_video(tmp_path / "a__b.mp4", pan(seed=5, num_frames=count))
    decoded = read_clip(tmp_path / "a__b.mp4", num_frames=6, max_frame_px=100)
    assert len(decoded.middle) == 6
    assert decoded.first.shape == (75, 100, 3)
    # Evenly spread: frame k of 6 has moved by about (k + 1) / 7 of the whole way.
    wide = pan(seed=5, num_frames=count)
    small = np.stack([np.asarray(Image.fromarray(f).resize((100, 75), Image.Resampling.BOX), float) for f in wide])
    nearest = [int(np.abs(small - frame).mean(axis=(1, 2, 3)).argmin()) for frame in decoded.middle]
    np.testing.assert_allclose(nearest, np.arange(1, 7) / 7 * (count - 1), atol=5)


def _truncated(path: Path) -> None:
    write_video(path.with_name("whole.mkv"), pan(seed=5, num_frames=90))
    data = path.with_name("whole.mkv").read_bytes()
    path.with_name("whole.mkv").unlink()
    path.write_bytes(data[: len(data) // 3])


def _without_index(path: Path) -> None:
    write_video(path, FRAMES)
    path.write_bytes(path.read_bytes()[:-2000])


def _noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def _folder_of(**files: bytes):
    def make(path: Path) -> None:
        write_folder(path, FRAMES[:4])
        for name, data in files.items():
            (path / f"{name}.png").write_bytes(data)

    return make


def _mixed_sizes(path: Path) -> None:
    write_folder(path, FRAMES[:4])
    Image.fromarray(FRAMES[0][:-8]).save(path / "frame_9.png")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a__b.mp4", Path.touch),
        ("a__b.mp4", _noise),
        ("a__b.gif", _noise),
        ("a__b.mp4", lambda path: path.write_text("this is no video")),
        ("a__b.mp4", _without_index),
        ("a__b.mp4", lambda path: path.symlink_to("gone.mp4")),
        ("a__b.mp4", lambda path: path.symlink_to(path)),
        ("a__b.mp4", lambda path: write_video(path, FRAMES[:2])),
        ("a__b.mp4", lambda path: write_video(path, [f[:16, :16] for f in FRAMES])),
        ("a__b", Path.mkdir),
        ("a__b", lambda path: write_folder(path, FRAMES[:2])),
        ("a__b", _folder_of(frame_1=b"")),
        ("a__b", _folder_of(frame_2=b"\x89PNG\r\n\x1a\nrubbish")),
        ("a__b", _mixed_sizes),
    ],
)
def test_what_cannot_be_read_is_a_status(tmp_path: Path, name: str, make) -> None:
    make(tmp_path / name)
    clip = serve(tmp_path)
    assert clip.status is ClipStatus.UNREADABLE
    assert clip.detail


def test_a_video_that_is_cut_off_is_never_served(tmp_path: Path) -> None:
    _truncated(tmp_path / "a__b.mkv")
    assert serve(tmp_path).status in (ClipStatus.UNREADABLE, ClipStatus.NOT_REGISTERED)


def test_a_download_that_stopped_between_two_frames_is_reported(tmp_path: Path) -> None:
    # The index comes first in such a file, so that what is there decodes without an error.
    path = write_video(tmp_path / "a__b.mp4", pan(seed=5, num_frames=60), movflags="faststart")
    with av.open(str(path)) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.size]
    path.write_bytes(path.read_bytes()[: starts[30]])
    with pytest.raises(UnreadableClipError, match="30 of 60 frames"):
        read_clip(path, 4, 320)


# ---------------------------------------------------------------- registration

PHOTO = texture(11, 640, 480)


def _treated(
    crop: tuple[float, ...], size: tuple[int, int], photo: ImageArray = PHOTO
) -> tuple[ImageArray, FrameMapping]:
    """A frame without borders and the mapping that it was made with."""
    scale = (size[0] / (crop[2] - crop[0]), size[1] / (crop[3] - crop[1]))
    return shown(photo, crop, size, (0, 0)), FrameMapping(scale, (-scale[0] * crop[0], -scale[1] * crop[1]))


def _error_px(found: FrameMapping, truth: FrameMapping, photo: ImageArray) -> float:
    corners = np.array([[0, 0], photo.shape[1::-1]], float)
    return float(np.abs(corners * found.scale + found.offset_px - corners * truth.scale - truth.offset_px).max())


@pytest.mark.parametrize(
    ("crop", "size"),
    [
        ((0, 0, 640, 480), (640, 480)),
        ((0, 0, 640, 480), (256, 192)),
        ((0, 0, 640, 480), (1024, 768)),
        ((0, 0, 640, 480), (640, 424)),
        ((0, 0, 640, 480), (560, 480)),
        ((0, 60, 640, 420), (640, 360)),
        ((0, 48.5, 640, 432.5), (512, 308)),
        ((170, 0, 470, 480), (300, 480)),
        ((40, 90, 600, 405), (640, 360)),
        ((100, 0, 640, 405), (576, 432)),
    ],
)
def test_crop_scale_and_stretch_are_measured_to_a_fraction_of_a_pixel(
    crop: tuple[float, ...], size: tuple[int, int]
) -> None:
    frame, truth = _treated(crop, size)
    found = register_photo(PHOTO, frame)
    assert found.correlation > 0.995
    assert _error_px(found.frame_from_photo, truth, PHOTO) < 0.05


def test_brightness_noise_and_something_that_moved_do_not_matter() -> None:
    frame, truth = _treated((40, 90, 600, 405), (640, 360))
    rng = np.random.default_rng(1)
    harmed = 30 + 0.6 * frame.astype(float) + rng.normal(0, 4, frame.shape)
    harmed[100:300, 100:400] = harmed[100:300, 112:412]
    found = register_photo(PHOTO, harmed.clip(0, 255).astype(np.uint8))
    assert 0.7 < found.correlation < 0.99
    # Without robust weights it is 2 px.
    assert _error_px(found.frame_from_photo, truth, PHOTO) < 0.8


def test_a_large_photo_is_mapped_in_its_own_pixels() -> None:
    large = np.asarray(Image.fromarray(PHOTO).resize((2560, 1920), Image.Resampling.BICUBIC))
    frame, truth = _treated((160, 360, 2400, 1620), (640, 360), large)
    assert _error_px(register_photo(large, frame).frame_from_photo, truth, large) < 0.1


@pytest.mark.parametrize(
    "other", [texture(13, 640, 360), np.zeros((360, 640, 3), np.uint8), np.full((360, 640, 3), 90, np.uint8)]
)
def test_what_does_not_show_the_photo_correlates_little(other: ImageArray) -> None:
    assert register_photo(PHOTO, other).correlation < 0.6


@pytest.mark.parametrize(("x", "y"), [(0, 0), (52, 0), (0, 33), (7, 5)])
def test_black_borders_are_found(x: int, y: int) -> None:
    noise = np.random.default_rng(2).integers(0, 12, (240 + 2 * y, 320 + 2 * x, 3), dtype=np.uint8)
    frames = [np.maximum(shown(f, (0, 0, 320, 240), (320, 240), (x, y)), noise) for f in FRAMES[:3]]
    assert content_box(frames) == Box(x, y, x + 320, y + 240)


def test_a_dark_part_of_one_frame_is_no_border() -> None:
    dark = FRAMES[0].copy()
    dark[120:] = 3
    assert content_box([dark, FRAMES[5]]) == content_box([FRAMES[5], dark]) == Box(0, 0, 320, 240)
    assert content_box([dark, dark]) == Box(0, 0, 320, 120)
    assert content_box([np.zeros_like(dark)]) == Box(0, 0, 320, 240)


def test_borders_are_cut_and_the_mapping_follows(tmp_path: Path) -> None:
    frames = [shown(f, (0, 30, 320, 210), (256, 144), (0, 24)) for f in FRAMES]
    write_video(tmp_path / "a__b.mp4", frames)
    clip = serve(tmp_path)
    assert clip.status is ClipStatus.OK, clip.detail
    assert clip.frames[0].shape == (144, 256, 3)
    for mapping in (clip.frame_from_a, clip.frame_from_b):
        assert _error_px(mapping, FrameMapping((0.8, 0.8), (0, -24)), FRAMES[0]) < 0.005 * 256


@pytest.mark.parametrize(("missing_px", "status"), [(2, ClipStatus.OK), (20, ClipStatus.NOT_REGISTERED)])
def test_a_last_frame_that_drifted_is_told_from_one_that_is_off(
    tmp_path: Path, missing_px: int, status: ClipStatus
) -> None:
    # Both still correlate perfectly under a shifted mapping: only its disagreement with the other end gives them away.
    wide = texture(5, 320 + SHIFT_PX, 240)
    last = wide[:, SHIFT_PX - missing_px : SHIFT_PX - missing_px + 320]
    last = (last + np.random.default_rng(0).uniform(-20, 20, last.shape)).clip(0, 255).astype(np.uint8)
    write_folder(tmp_path / "a__b", [*FRAMES[:-1], last])
    clip = serve(tmp_path)
    assert clip.status is status, clip.detail
    assert f"drift {100 * missing_px / 320:.1f}"[:7] in clip.detail
    if status is ClipStatus.OK:
        assert clip.frame_from_a == clip.frame_from_b
        assert _error_px(clip.frame_from_b, FrameMapping((1, 1), (0, 0)), FRAMES[0]) < 0.3


def test_photos_of_different_shape_have_their_own_mappings(tmp_path: Path) -> None:
    wide, tall = texture(21, 400, 240), texture(22, 240, 400)
    ends = [shown(wide, (40, 0, 360, 240), (320, 240), (0, 0)), shown(tall, (0, 110, 240, 290), (320, 240), (0, 0))]
    write_folder(tmp_path / "a__b", [ends[0], *FRAMES[1:4], ends[1]])
    generator = ClipsGenerator(context({A: wide, B: tall}, clip_dir=tmp_path))
    clip = check_clip(generator.generate(PAIR, ClipRequest(0, False, 0)), PAIR)
    assert clip.status is ClipStatus.OK, clip.detail
    assert _error_px(clip.frame_from_a, FrameMapping((1, 1), (-40, 0)), wide) < 1.6
    assert _error_px(clip.frame_from_b, FrameMapping((4 / 3, 4 / 3), (0, -440 / 3)), tall) < 1.6


# ---------------------------------------------------------------- videos of real models


def _real_pairs() -> Path:
    return DATA / "interpose_pairs"


@pytest.mark.photos
@pytest.mark.skipif(not _real_pairs().is_dir(), reason="no real videos here")
@pytest.mark.parametrize(
    ("example", "file", "mapping"),
    [
        # Scaled to cover 640x384 and cropped; letterboxed within 640x400; a few rows lost; cropped to half the height.
        ("cambridge/02", "runway_0_ab", FrameMapping((1.0667, 1.0667), (-21.33, 0))),
        ("navi/08", "dynamicrafter_1_ba", FrameMapping((0.8333, 0.8333), (None, 0))),
        ("dl3dv/04", "luma_1_ba", FrameMapping((1, 1), (0, -3))),
        ("scannet/06", "runway_0_ab", FrameMapping((1, 1), (None, -47))),
    ],
)
def test_videos_of_real_models_register(tmp_path: Path, example: str, file: str, mapping: FrameMapping) -> None:
    folder = _real_pairs() / example
    suffix = "_ba" if file.endswith("_ba") else ""
    (tmp_path / f"a__b{suffix}.mp4").symlink_to(folder / f"{file}.mp4")
    photos = {name: np.asarray(Image.open(folder / name).convert("RGB")) for name in (A, B)}
    generator = ClipsGenerator(context(photos, clip_dir=tmp_path, frames_per_clip=12))
    clip = check_clip(generator.generate(PAIR, ClipRequest(0, False, 0)), PAIR)
    assert clip.status is ClipStatus.OK, clip.detail
    assert len(clip.frames) == 12
    np.testing.assert_allclose(clip.frame_from_a.scale, mapping.scale, rtol=0.005)
    for found, expected in zip(clip.frame_from_a.offset_px, mapping.offset_px, strict=True):
        assert expected is None or abs(found - expected) < 0.005 * 640
    turned = ClipsGenerator(context({A: photos[B], B: photos[A]}, clip_dir=tmp_path))
    assert turned.generate(PAIR, ClipRequest(0, False, 0)).status is ClipStatus.NOT_REGISTERED
