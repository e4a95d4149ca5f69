"""Where a frame shows a photo."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bridging_scene import pan, shown, texture
from interpose_sfm.clips.image_alignment import Box, content_box, register_photo
from interpose_sfm.products import FrameMapping, ImageArray

FRAMES = pan(seed=5, num_frames=13)

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
