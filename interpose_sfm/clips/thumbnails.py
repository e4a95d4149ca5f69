"""Small grey pictures of frames, and how two or three of them compare: by their blocks, and as a sum of two others."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from interpose_sfm.products import ImageArray

GrayArray = NDArray[np.float32]

_LONG_SIDE_PX = 96
_BLOCK_PX = 16
_BLOCK_STEP_PX = 8
# How far a block may go between two pictures: a seventh of the longer side, more than any of the 240 videos moves.
_RADIUS_PX = 14
# Grey levels. Blocks flatter than this hold noise, which finds itself nowhere.
_MIN_TEXTURE = 4.0
_MIN_BLOCKS = 5
# One minus the correlation of whole pictures; repeated frames of H.264 files reach a tenth of it.
_REPEATED = 5e-4
_MIN_WEIGHT = 0.15


class Picture:
    """A small grey picture and what is computed of it once."""

    def __init__(self, index: int, gray: GrayArray) -> None:
        self.index, self.gray = index, gray
        self._centred = gray - gray.mean()
        self._norm = float(np.linalg.norm(self._centred))

    def repeats(self, other: Picture) -> bool:
        """Whether both show the same, but for compression."""
        if self.gray.shape != other.gray.shape:
            return False
        if self._norm * other._norm == 0:
            return self._norm == other._norm
        return 1 - float(np.vdot(self._centred, other._centred)) / (self._norm * other._norm) < _REPEATED

    @cached_property
    def detail(self) -> GrayArray:
        """The picture without what varies slowly: light and shade would make every sum fit."""
        from scipy import ndimage

        return np.asarray(self.gray - ndimage.gaussian_filter(self.gray, _LONG_SIDE_PX / 12), np.float32)

    @cached_property
    def windows(self) -> tuple[GrayArray, GrayArray]:
        """All windows of a block's size without their mean, (rows, columns, pixels), and their norms."""
        height, width = self.gray.shape
        size = min(_BLOCK_PX, height), min(_BLOCK_PX, width)
        windows = sliding_window_view(self.gray, size)
        flat = windows.reshape(*windows.shape[:2], -1)
        flat = flat - flat.mean(axis=2, keepdims=True)
        return np.asarray(flat, np.float32), np.asarray(np.linalg.norm(flat, axis=2), np.float32)


def thumbnail(frame: ImageArray) -> GrayArray:
    """(h, w) brightness, the longer side `_LONG_SIDE_PX`."""
    height, width = frame.shape[:2]
    scale = _LONG_SIDE_PX / max(height, width)
    size = max(8, round(width * scale)), max(8, round(height * scale))
    return np.asarray(Image.fromarray(frame).convert("L").resize(size, Image.Resampling.BOX), np.float32)


def unlikeness(first: Picture, last: Picture) -> float:
    """How unlike two pictures are, each block of the first being looked for near its place in the last.

    One minus the mean correlation of the blocks with the best place nearby: 0 for the same picture, some 0.45 for two
    that have nothing in common.
    """
    windows, norms = first.windows
    others, other_norms = last.windows
    rows, columns, pixels = windows.shape
    texture = norms / math.sqrt(pixels)
    places = [(y, x) for y in range(0, rows, _BLOCK_STEP_PX) for x in range(0, columns, _BLOCK_STEP_PX)]
    places.sort(key=lambda place: -float(texture[place]))
    textured = [place for place in places if texture[place] >= _MIN_TEXTURE]
    correlations = [
        _best_correlation(windows[place], max(float(norms[place]), 1e-6), others, other_norms, place)
        for place in (textured if len(textured) >= _MIN_BLOCKS else places[:_MIN_BLOCKS])
    ]
    return 1.0 - float(np.mean(correlations))


def _best_correlation(
    block: GrayArray, norm: float, windows: GrayArray, norms: GrayArray, place: tuple[int, int]
) -> float:
    """Highest correlation of a block with a window within the radius, in [0, 1]."""
    y, x = place
    near = (
        slice(max(0, y - _RADIUS_PX), y + _RADIUS_PX + 1),
        slice(max(0, x - _RADIUS_PX), x + _RADIUS_PX + 1),
    )
    # A window without texture would correlate by its noise: it counts with a grey level of contrast at least.
    contrast = np.maximum(norms[near], math.sqrt(len(block)))
    return max(0.0, float(((windows[near] @ block) / (contrast * norm)).max()))


def blend_residual(first: GrayArray, middle: GrayArray, last: GrayArray) -> float:
    """Share of the variance of the middle picture that ``a * first + b * last`` leaves, with the best a and b.

    1 where one of the two has hardly any weight: that is no fade.
    """
    p, q, m = (picture.ravel().astype(np.float64) for picture in (first, last, middle))
    normal = np.array([[p @ p, p @ q], [p @ q, q @ q]])
    total = float(m @ m)
    if total == 0 or np.linalg.cond(normal) > 1e9:
        return 1.0
    weights = np.linalg.solve(normal, np.array([p @ m, q @ m]))
    if weights.min() < _MIN_WEIGHT:
        return 1.0
    rest = m - weights[0] * p - weights[1] * q
    return float(rest @ rest) / total
