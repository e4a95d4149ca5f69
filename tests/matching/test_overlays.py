from __future__ import annotations

import numpy as np
import pytest

from interpose_sfm.matching.overlays import BORDER_SHARE, WITHIN_PX, overlay_share
from interpose_sfm.products import Features

SIZE_PX = (1000, 750)
OUTER_PX = BORDER_SHARE * float(np.hypot(*SIZE_PX))
STAMP_PX = np.random.default_rng(0).uniform([700.0, 680.0], [980.0, 740.0], (40, 2))
NOISE_PX = np.random.default_rng(1).normal(0, 0.2, (40, 2))


def photo(size_px: tuple[int, int] = SIZE_PX) -> Features:
    nothing = np.zeros((0, 2)), np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    return Features(*nothing, size_px)


def share(a_px: np.ndarray, b_px: np.ndarray) -> float:
    return overlay_share(photo(), a_px, photo(), b_px)


@pytest.mark.parametrize("shift_px", [(0.0, 0.0), (5.0, -3.0)])
def test_a_stamp_lies_at_one_shift_in_the_border(shift_px: tuple[float, float]) -> None:
    assert share(STAMP_PX, STAMP_PX + shift_px + NOISE_PX) == 1.0


def test_what_agrees_elsewhere_counts_against_it() -> None:
    scene_px = np.random.default_rng(2).uniform([300, 300], [700, 450], (60, 2))
    a_px, b_px = np.concatenate([STAMP_PX, scene_px]), np.concatenate([STAMP_PX, scene_px + 20])
    assert share(a_px, b_px) == pytest.approx(0.4)
    assert share(scene_px, scene_px) == 0.0  # two photos from one place: all over the picture, not in its border


def test_what_moves_with_its_depth_is_no_stamp() -> None:
    moved_px = STAMP_PX + np.stack([np.linspace(-20 * WITHIN_PX, 20 * WITHIN_PX, 40), np.zeros(40)], axis=1)
    assert share(STAMP_PX, moved_px) < 0.15


def test_it_must_lie_in_the_border_of_both() -> None:
    inner_px = STAMP_PX - [0.0, 2 * OUTER_PX + 60]
    inner_px[:, 0] = np.clip(inner_px[:, 0] - 350, OUTER_PX + 1, None)
    assert share(STAMP_PX, inner_px) == 0.0


def test_the_border_is_that_of_each_photo() -> None:
    """A stamp in the right lower corner of a landscape and of a portrait."""
    portrait = SIZE_PX[1], SIZE_PX[0]
    in_portrait_px = STAMP_PX + np.subtract(portrait, SIZE_PX)
    assert overlay_share(photo(), STAMP_PX, photo(portrait), in_portrait_px) == 1.0
