"""Clips on disk: which file is for which photos, what is decoded, and where the photos lie in the frames."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from bridging_scene import CODECS, SHIFT_PX, context, pan, shown, texture, write_folder, write_video
from clip_records import VIDEO, record
from interpose_sfm.bridging.clips_on_disk import ClipsGenerator
from interpose_sfm.clips.protocol import check_clip
from interpose_sfm.clips.reading import ClipReader
from interpose_sfm.clips.record import record_path
from interpose_sfm.clips.video import UnreadableClipError, read_clip
from interpose_sfm.options import BridgingOptions
from interpose_sfm.products import Clip, ClipRequest, ClipStatus, FrameMapping, ImageArray, ImagePair
from paths import DATA

A, B = "a.jpg", "b.jpg"

PAIR = ImagePair(A, B)

FRAMES = pan(seed=5, num_frames=13)


def serve(folder: Path, index: int = 0, pair: ImagePair = PAIR, **options: object) -> Clip:
    generator = ClipsGenerator(context({A: FRAMES[0], B: FRAMES[-1]}, clip_dirs=(folder,), **options))
    return check_clip(generator.generate(pair, ClipRequest(index, False, 0)), pair)


# ---------------------------------------------------------------- folders


def test_folders_are_sources_and_tell_their_clips_apart(tmp_path: Path) -> None:
    folders = tmp_path / "runway", tmp_path / "luma"
    for folder in folders:
        folder.mkdir()
        write_folder(folder / "a__b", FRAMES)
    write_folder(folders[1] / "b__a", FRAMES[::-1])
    generator = ClipsGenerator(context({A: FRAMES[0], B: FRAMES[-1]}, clip_dirs=folders))
    assert generator.sources(PAIR) == generator.sources(ImagePair(B, A)) == ("runway", "luma", "luma")
    names = [check_clip(generator.generate(PAIR, ClipRequest(index, False, 0)), PAIR).name for index in range(3)]
    assert names == ["runway/a__b", "luma/a__b", "luma/b__a"]
    assert serve(folders[0]).name == "a__b"
    assert generator.sources(ImagePair(A, "c.jpg")) == ()


@pytest.mark.parametrize(("generator", "source"), [("ltx", "ltx"), ("wan-vace:14b", "wan-vace")])
def test_a_record_says_who_made_a_clip_wherever_it_lies(tmp_path: Path, generator: str, source: str) -> None:
    """Also of which size a model was; a record of another file says nothing."""
    path = tmp_path / "a__b.mp4"
    path.write_bytes(VIDEO)
    served = ClipsGenerator(context({A: FRAMES[0], B: FRAMES[-1]}, clip_dirs=(tmp_path,)))
    made = record(generator=generator, sha256=hashlib.sha256(VIDEO).hexdigest())
    record_path(path).write_text(json.dumps(made.to_json()))
    assert served.sources(PAIR) == (source,)
    path.write_bytes(VIDEO[:-1])
    assert served.sources(PAIR) == (tmp_path.name,)


def test_what_is_read_ahead_is_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is held until then, no longer."""
    write_folder(tmp_path / "a__b", FRAMES)
    write_folder(tmp_path / "b__a", FRAMES[::-1])
    generator = ClipsGenerator(context({A: FRAMES[0], B: FRAMES[-1]}, clip_dirs=(tmp_path,)))
    requests = [ClipRequest(index, False, 0) for index in range(3)]  # there are two
    expected = [generator.generate(PAIR, request) for request in requests]
    read, num_read = ClipReader.read, []
    monkeypatch.setattr(ClipReader, "read", lambda self, *args: num_read.append(1) or read(self, *args))
    generator.prepare(PAIR, requests)
    assert len(num_read) == 2
    found = [generator.generate(PAIR, request) for request in requests]
    assert len(num_read) == 2
    assert [clip.name for clip in found] == [clip.name for clip in expected]
    assert [clip.status for clip in found] == [ClipStatus.OK, ClipStatus.OK, ClipStatus.NO_CLIP]
    for clip, other in zip(found, expected, strict=True):
        assert len(clip.frames) == len(other.frames)
        assert all(np.array_equal(*frames) for frames in zip(clip.frames, other.frames, strict=True))
    generator.generate(PAIR, requests[0])
    assert len(num_read) == 3


def test_an_interrupt_does_not_wait_for_clips_to_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A film may take minutes; Ctrl-C stops the threads that read."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    write_folder(tmp_path / "a__b", FRAMES)
    write_folder(tmp_path / "b__a", FRAMES[::-1])
    generator = ClipsGenerator(context({A: FRAMES[0], B: FRAMES[-1]}, clip_dirs=(tmp_path,)))

    def read(*_: object) -> Clip:
        for _ in range(300):
            time.sleep(0.05)
        raise AssertionError

    monkeypatch.setattr(ClipReader, "read", read)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    start_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        generator.prepare(PAIR, [ClipRequest(index, False, 0) for index in range(2)])
    assert time.monotonic() - start_s < 10.0


def test_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"option clips: got \['clips', 'clips'\], expected folders of different names"
    ):
        BridgingOptions(clip_dirs=(tmp_path / "x" / "clips", tmp_path / "y" / "clips"))


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


@pytest.mark.parametrize(
    ("name", "right"),
    [("a__b.mp4", "a__b_ba.mp4"), ("a__b_0_ba.mp4", "a__b_0.mp4"), ("b__a.mp4", "b__a_ba.mp4"), ("a__b", "a__b_ba")],
)
def test_a_clip_that_runs_the_other_way_is_told_what_to_be_called(tmp_path: Path, name: str, right: str) -> None:
    runs_from_b = name in ("a__b.mp4", "a__b")
    frames = FRAMES[::-1] if runs_from_b else FRAMES
    write = write_video if Path(name).suffix else write_folder
    write(tmp_path / name, frames)
    clip = serve(tmp_path)
    assert clip.status is ClipStatus.NOT_REGISTERED
    assert f"the other way round: rename it to {right}, or, if clips.json lists it" in clip.detail
    (tmp_path / name).rename(tmp_path / right)
    assert serve(tmp_path).status is ClipStatus.OK


def test_a_clip_of_something_else_is_not_told_to_be_turned(tmp_path: Path) -> None:
    write_video(tmp_path / "a__b.mp4", pan(seed=6, num_frames=13))
    clip = serve(tmp_path)
    assert clip.status is ClipStatus.NOT_REGISTERED
    assert "rename" not in clip.detail


def _error_px(found: FrameMapping, truth: FrameMapping, photo: ImageArray) -> float:
    corners = np.array([[0, 0], photo.shape[1::-1]], float)
    return float(np.abs(corners * found.scale + found.offset_px - corners * truth.scale - truth.offset_px).max())


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
    generator = ClipsGenerator(context({A: wide, B: tall}, clip_dirs=(tmp_path,)))
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
    generator = ClipsGenerator(context(photos, clip_dirs=(tmp_path,), frames_per_clip=12))
    clip = check_clip(generator.generate(PAIR, ClipRequest(0, False, 0)), PAIR)
    assert clip.status is ClipStatus.OK, clip.detail
    assert len(clip.frames) == 12
    np.testing.assert_allclose(clip.frame_from_a.scale, mapping.scale, rtol=0.005)
    for found, expected in zip(clip.frame_from_a.offset_px, mapping.offset_px, strict=True):
        assert expected is None or abs(found - expected) < 0.005 * 640
    turned = ClipsGenerator(context({A: photos[B], B: photos[A]}, clip_dirs=(tmp_path,)))
    assert turned.generate(PAIR, ClipRequest(0, False, 0)).status is ClipStatus.NOT_REGISTERED
