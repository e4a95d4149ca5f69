"""Clips as still pictures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from interpose_sfm.clips.strips import MAX_PREVIEW_FRAMES, PREVIEW_SIDE_PX, preview, sheet_jpeg, strip_jpeg
from interpose_sfm.products import Clip, FrameMapping, ImageArray, ImagePair


def clip_of(number: int, size: tuple[int, int] = (300, 400)) -> Clip:
    frames = tuple(np.full((*size, 3), (5 * index, 100, 200), np.uint8) for index in range(number))
    mapping = FrameMapping((1.0, 1.0), (0.0, 0.0))
    return Clip(ImagePair("a", "b"), "clip.mp4", "clips", frames, mapping, mapping)


def pixels(jpeg: bytes) -> ImageArray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def test_a_preview_has_frames_from_first_to_last() -> None:
    shown = preview(clip_of(41))
    assert (shown.name, shown.num_frames, len(shown.frames)) == ("clip.mp4", 41, MAX_PREVIEW_FRAMES)
    assert {frame.shape for frame in shown.frames} == {(PREVIEW_SIDE_PX * 3 // 4, PREVIEW_SIDE_PX, 3)}
    reds = [int(frame[0, 0, 0]) for frame in shown.frames]
    assert (reds[0], reds[-1]) == (0, 200)
    assert reds == sorted(set(reds))
    assert len(preview(clip_of(1)).frames) == 1


def test_a_strip_has_the_frames_side_by_side() -> None:
    shown = preview(clip_of(3))
    strip = pixels(strip_jpeg(shown.frames))
    height, width, _ = shown.frames[0].shape
    assert strip.shape == (height, 3 * width, 3)
    for index in range(3):
        assert abs(int(strip[height // 2, index * width + width // 2, 0]) - 5 * index) < 6


def test_a_sheet_has_a_row_for_each_clip_between_the_photos() -> None:
    a, b = np.full((900, 600, 3), 250, np.uint8), np.full((300, 400, 3), 20, np.uint8)
    one, two = preview(clip_of(3)), preview(clip_of(5))
    short = pixels(sheet_jpeg("a to b\x1b[31m", a, b, [("one: hard cut", one)]))
    long = pixels(sheet_jpeg("a to b", a, b, [("one", one), ("two", two)]))
    assert long.shape[0] > 1.8 * short.shape[0]
    row = short[short.shape[0] // 2].astype(int)
    assert np.abs(row[60] - 250).max() < 8  # A, upright, first
    assert np.abs(row[-60] - 20).max() < 8  # B, last
