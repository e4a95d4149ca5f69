"""Photos fitted to a model's size: where their points come to lie, to a small part of a pixel."""

from __future__ import annotations

import numpy as np
import pytest

from interpose_sfm.clips.fitting import fit_photo, for_photo_size, rescaled, shifted, shown_box
from interpose_sfm.clips.image_alignment import Box
from interpose_sfm.options import Fit
from interpose_sfm.products import FrameMapping, ImageArray

RADIUS_PX = 6.0


def dots(width_px: int, height_px: int, centres_px: np.ndarray) -> ImageArray:
    """Round dots on black, COLMAP's pixel convention."""
    x, y = np.meshgrid(np.arange(width_px) + 0.5, np.arange(height_px) + 0.5)
    image = np.zeros((height_px, width_px))
    for cx, cy in centres_px:
        image += 240 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * RADIUS_PX**2))
    return np.repeat(image.clip(0, 255).round().astype(np.uint8)[..., None], 3, axis=2)


def centroid(image: ImageArray, near_px: np.ndarray, reach_px: int) -> np.ndarray:
    """Centre of the brightness around a position, above the level that rounding leaves everywhere."""
    left, top = (np.floor(near_px) - reach_px).astype(int)
    patch = image[top : top + 2 * reach_px + 1, left : left + 2 * reach_px + 1, 0].astype(float)
    x, y = np.meshgrid(np.arange(patch.shape[1]) + left + 0.5, np.arange(patch.shape[0]) + top + 0.5)
    return np.array([(patch * x).sum(), (patch * y).sum()]) / patch.sum()


def grid(width_px: int, height_px: int) -> np.ndarray:
    """Positions off the pixel grid, in the middle part that every crop shows."""
    xs, ys = (np.linspace(0.35, 0.65, 3) * side + 0.37 for side in (width_px, height_px))
    return np.array([(x, y) for x in xs for y in ys])


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize(
    ("photo_px", "frame_px"),
    [
        ((641, 427), (832, 480)),  # up, wider
        ((1501, 1001), (480, 480)),  # down, square
        ((600, 901), (833, 481)),  # upright into odd landscape
        ((832, 480), (832, 480)),
    ],
)
def test_points_lie_where_the_mapping_says(photo_px: tuple[int, int], frame_px: tuple[int, int], fit: Fit) -> None:
    centres = grid(*photo_px)
    frame, mapping = fit_photo(dots(*photo_px, centres), *frame_px, fit)
    assert frame.shape == (frame_px[1], frame_px[0], 3)
    assert mapping.scale[0] == mapping.scale[1]
    for centre in centres:
        expected = mapping.scale * centre + mapping.offset_px
        found = centroid(frame, expected, reach_px=max(4, round(3.5 * RADIUS_PX * mapping.scale[0])))
        np.testing.assert_allclose(found, expected, atol=0.02)


def test_crop_fills_the_frame_and_keeps_the_middle() -> None:
    photo = np.full((400, 600, 3), 200, np.uint8)
    frame, mapping = fit_photo(photo, 320, 320, Fit.CROP)
    assert frame.min() == 200
    assert mapping.scale == (0.8, 0.8)
    assert mapping.offset_px == pytest.approx((-80, 0))


def test_letterbox_keeps_all_but_two_pixels_between_bars_of_equal_width() -> None:
    photo = np.full((401, 600, 3), 200, np.uint8)
    frame, mapping = fit_photo(photo, 320, 320, Fit.LETTERBOX)
    rows = np.flatnonzero(frame[:, 160, 0])
    assert set(np.unique(frame)) == {0, 200}, "the bars end between pixels"
    assert rows[0] == 319 - rows[-1]
    assert 0 <= 401 * 320 / 600 - len(rows) < 2
    box = shown_box((mapping,), ((600, 401),), (320, 320))
    assert (box.left, box.right) == (0, 320)
    assert rows[0] <= box.top <= rows[0] + 2
    assert rows[-1] - 2 <= box.bottom - 1 <= rows[-1]


def test_a_photo_of_the_frames_size_is_unchanged() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    for fit in Fit:
        frame, mapping = fit_photo(photo, 64, 48, fit)
        np.testing.assert_array_equal(frame, photo)
        assert mapping == FrameMapping((1.0, 1.0), (0.0, 0.0))


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(ValueError, match="use the fit crop"):
        fit_photo(np.zeros((2, 4000, 3), np.uint8), 64, 64, Fit.LETTERBOX)
    with pytest.raises(ValueError, match="frame of 0x64"):
        fit_photo(np.zeros((20, 20, 3), np.uint8), 0, 64, Fit.CROP)


def test_a_video_of_another_size_keeps_its_points() -> None:
    mapping = FrameMapping((0.5, 0.5), (-10.0, 4.0))
    larger = rescaled(mapping, (832, 480), (1280, 738))
    assert larger is not None
    point = np.array([300.0, 200.0])
    in_frame = np.multiply(mapping.scale, point) + mapping.offset_px
    in_larger = np.multiply(larger.scale, point) + larger.offset_px
    np.testing.assert_allclose(in_larger, in_frame * [1280 / 832, 738 / 480])
    assert rescaled(mapping, (832, 480), (480, 480)) is None


def test_a_photo_of_another_size_lies_in_the_same_place() -> None:
    mapping = FrameMapping((0.5, 0.5), (-10.0, 4.0))
    smaller = for_photo_size(mapping, (1600, 1200), (800, 600))
    assert smaller == FrameMapping((1.0, 1.0), (-10.0, 4.0))
    assert for_photo_size(mapping, (1600, 1200), (800, 800)) is None


def test_the_shown_box_holds_both_photos() -> None:
    """Between an upright and a landscape photo in letterbox frames, both axes are used."""
    mappings, sizes = [], [(600, 400), (400, 600)]
    for width_px, height_px in sizes:
        photo = np.full((height_px, width_px, 3), 9, np.uint8)
        mappings.append(fit_photo(photo, 320, 240, Fit.LETTERBOX)[1])
    box = shown_box(tuple(mappings), tuple(sizes), (320, 240))
    assert box == Box(0, 0, 320, 240)
    alone = shown_box((mappings[1],), (sizes[1],), (320, 240))
    assert alone == Box(81, 0, 239, 240)
    assert shifted(mappings[1], alone).offset_px == pytest.approx((-1.0, 0.0))
