"""Video files."""

from __future__ import annotations

import numpy as np
import pytest

from bridging_scene import pan
from clip_records import FRAMES, VIDEO
from interpose_sfm.clips.mp4 import encode_mp4, format_of
from interpose_sfm.clips.video import UnreadableClipError
from interpose_sfm.products import ClipFormat


def test_what_is_encoded_comes_back_nearly_unchanged() -> None:
    frames = pan(seed=3, num_frames=9)
    data = encode_mp4(frames, 16.0)
    assert format_of(data) == ClipFormat(width_px=320, height_px=240, num_frames=9, fps=16.0)
    decoded = _decoded(data)
    errors = np.array(decoded, float) - np.array(frames, float)
    assert 10 * np.log10(255**2 / (errors**2).mean()) > 38  # the colour format takes most of it
    assert np.abs(errors.mean(axis=(0, 1, 2))).max() < 1.6


def _decoded(data: bytes) -> list[np.ndarray]:
    import io

    import av

    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_odd_sizes_are_kept() -> None:
    frames = [np.full((33, 65, 3), value, np.uint8) for value in (0, 100, 200)]
    data = encode_mp4(frames, 24000 / 1001)
    found = format_of(data)
    assert (found.width_px, found.height_px, found.num_frames) == (65, 33, 3)
    assert found.fps == pytest.approx(23.976, abs=1e-3)
    assert [round(float(frame.mean()), -1) for frame in _decoded(data)] == [0, 100, 200]


def test_frames_that_make_no_video_are_named() -> None:
    with pytest.raises(ValueError, match="no frames"):
        encode_mp4([], 8)
    with pytest.raises(ValueError, match="float32"):
        encode_mp4([FRAMES[0].astype(np.float32)], 8)
    with pytest.raises(ValueError, match="expected uint8"):
        encode_mp4([FRAMES[0], FRAMES[0][1:]], 8)


@pytest.mark.parametrize("data", [b"", b"no video", VIDEO[: len(VIDEO) // 2], VIDEO[:-300]])
def test_a_file_that_is_cut_off_is_no_video(data: bytes) -> None:
    with pytest.raises(UnreadableClipError):
        format_of(data)
