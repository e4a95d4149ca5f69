"""Procedural textures that do not repeat and carry detail at every scale, with levels for smaller views.

A texture is defined in metres and drawn at any density, so that the same seed shows the same surface in a small test
as in a large rendering.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from interpose_sfm.products import FloatArray, ImageArray

_NOISE_CELLS_M = (3.0, 1.0, 0.35, 0.12, 0.04)
_NOISE_AMPLITUDES = (16.0, 14.0, 12.0, 11.0, 10.0)
_FINEST_COLOR_CELL_M = 0.3
# Typical size of a shape in metres, and how many there are per square metre.
_SHAPE_CLASSES = ((0.9, 0.35), (0.4, 1.6), (0.18, 7.0), (0.07, 26.0))
# Outlines in units of a shape's half sides: upright and turned rectangle, triangle, bar; none for the ellipse.
_OUTLINES = np.array([
    [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    [(-1, -0.8), (1, -0.5), (0.2, 1), (0.2, 1)],
    [(-1.6, -0.12), (1.6, -0.12), (1.6, 0.12), (-1.6, 0.12)],
    [(0, 0), (0, 0), (0, 0), (0, 0)],
], np.float64)  # fmt: skip
_ELLIPSE = 4
_KIND_SHARES = (0.15, 0.15, 0.25, 0.2, 0.25)


@dataclass(frozen=True)
class Texture:
    """The picture on a rectangle, with halved copies for views from afar.

    Attributes:
        levels: (h, w, 3) uint8 each; level 0 is the finest, level i has half the density of level i - 1.
        texels_per_m: Density of level 0. The centre of its first texel is half a texel from the corner.
    """

    levels: tuple[ImageArray, ...]
    texels_per_m: float

    def sample(self, x_m: FloatArray, y_m: FloatArray, footprint_m: FloatArray) -> NDArray[np.float32]:
        """Colours at positions on the surface.

        Args:
            x_m, y_m: (n,) positions from the corner of the rectangle.
            footprint_m: (n,) side of the patch that one sample stands for; picks the level.

        Returns:
            (n, 3) float32 in [0, 255].
        """
        texels = np.maximum(footprint_m * self.texels_per_m, 1e-9)
        level = np.clip(np.rint(np.log2(texels)), 0, len(self.levels) - 1).astype(np.int8)
        colors = np.empty((len(x_m), 3), np.float32)
        for index in np.unique(level):
            chosen = np.flatnonzero(level == index)
            density = self.texels_per_m / 2.0 ** int(index)
            colors[chosen] = _bilinear(self.levels[index], x_m[chosen] * density, y_m[chosen] * density)
        return colors


def make_texture(
    rng: np.random.Generator,
    size_m: tuple[float, float],
    texels_per_m: float,
    *,
    base_rgb: tuple[float, float, float] = (150.0, 140.0, 125.0),
    num_windows: int = 0,
    detail: float = 1.0,
) -> Texture:
    """Draw a surface: noise of several octaves under random rectangles, ellipses, triangles and lines.

    Args:
        rng: Source of everything random; equal states give equal surfaces at every density.
        size_m: (width, height) of the surface.
        texels_per_m: Density of the finest level.
        base_rgb: Mean colour.
        num_windows: Framed rectangles of different size and colour, which make a facade.
        detail: Factor on the number of shapes per square metre.

    Raises:
        ValueError: Size or density is not positive.
    """
    if min(size_m) <= 0 or texels_per_m <= 0:
        raise ValueError(f"a texture needs a positive size and density, got {size_m} m and {texels_per_m} per m")
    # One generator per layer: how many numbers a layer draws must not change the next layer.
    noise_rng, window_rng, shape_rng = rng.spawn(3)
    pixels = np.asarray(base_rgb, np.float32) + _noise(noise_rng, size_m, texels_per_m)
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(num_windows):
        _draw_window(draw, window_rng, size_m, texels_per_m)
    for typical_m, per_m2 in _SHAPE_CLASSES:
        num_shapes = round(size_m[0] * size_m[1] * per_m2 * detail)
        _draw_shapes(draw, shape_rng, num_shapes, size_m, texels_per_m, typical_m, base_rgb)
    # Shapes are flat; a second, weaker noise gives their insides something to tell them apart by.
    grain = np.float32(0.5) * _noise(shape_rng, size_m, texels_per_m)
    return _with_levels(np.clip(np.asarray(picture, np.float32) + grain, 0, 255).astype(np.uint8), texels_per_m)


def _noise(rng: np.random.Generator, size_m: tuple[float, float], texels_per_m: float) -> NDArray[np.float32]:
    """(h, w, 3) sum of smooth random fields; mostly brightness, a little colour."""
    width, height = _texel_size(size_m, texels_per_m)
    total = np.zeros((height, width, 3), np.float32)
    for cell_m, amplitude in zip(_NOISE_CELLS_M, _NOISE_AMPLITUDES, strict=True):
        # Colour changes slowly; fine grain is grey, which is a third of the work.
        num_channels = 3 if cell_m >= _FINEST_COLOR_CELL_M else 1
        cells = (math.ceil(size_m[1] / cell_m) + 1, math.ceil(size_m[0] / cell_m) + 1)
        grid = amplitude * rng.standard_normal((*cells, 1), np.float32)
        if num_channels == 3:
            grid = grid + 0.35 * amplitude * rng.standard_normal((*cells, 3), np.float32)
        if cell_m * texels_per_m < 1.0:
            continue  # finer than a texel; drawn all the same so that the random state does not depend on the density
        region = (0.0, 0.0, size_m[0] / cell_m, size_m[1] / cell_m)
        fields = [Image.fromarray(grid[..., channel]) for channel in range(num_channels)]
        smooth = [field.resize((width, height), Image.Resampling.BICUBIC, box=region) for field in fields]
        total += np.stack([np.asarray(field) for field in smooth], axis=-1)
    return total


def _draw_window(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, size_m: tuple[float, float], texels_per_m: float
) -> None:
    """A window somewhere on a facade: frame, pane and bar."""
    width_m, height_m = rng.uniform(0.5, 1.1), rng.uniform(0.8, 1.6)
    x_m = rng.uniform(0.0, max(size_m[0] - width_m, 0.01))
    y_m = rng.uniform(0.0, max(size_m[1] - height_m, 0.01))
    frame_m = rng.uniform(0.05, 0.12)
    (frame_rgb,) = _colors(rng, 1, (200.0, 195.0, 185.0), 25.0)
    (pane_rgb,) = _colors(rng, 1, (60.0, 70.0, 80.0), 25.0)
    bar_m = x_m + width_m * rng.uniform(0.3, 0.7)
    frame = (x_m, y_m, x_m + width_m, y_m + height_m)
    pane = (x_m + frame_m, y_m + frame_m, x_m + width_m - frame_m, y_m + height_m - frame_m)
    bar = (bar_m - frame_m / 3, y_m, bar_m + frame_m / 3, y_m + height_m)
    boxes = _texels(np.array([frame, pane, bar]), texels_per_m)
    for box, color in zip(boxes, (frame_rgb, pane_rgb, frame_rgb), strict=True):
        draw.rectangle(box, fill=color)


def _draw_shapes(
    draw: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    num_shapes: int,
    size_m: tuple[float, float],
    texels_per_m: float,
    typical_m: float,
    base_rgb: tuple[float, float, float],
) -> None:
    """Flat shapes of one size class, anywhere."""
    kinds = rng.choice(len(_OUTLINES), num_shapes, p=_KIND_SHARES)
    angles = rng.uniform(0, 2 * math.pi, num_shapes)
    centers = rng.uniform((0.0, 0.0), size_m, (num_shapes, 2))
    halves = 0.5 * typical_m * np.exp(rng.normal(0.0, 0.35, (num_shapes, 2)))
    colors = _colors(rng, num_shapes, base_rgb, 42.0)
    if typical_m * texels_per_m < 1.0:
        return  # smaller than a texel; the numbers are drawn all the same, as for the noise
    cosines, sines = np.where(kinds == 0, 1.0, np.cos(angles)), np.where(kinds == 0, 0.0, np.sin(angles))
    turns = np.stack([cosines, sines, -sines, cosines], axis=-1).reshape(-1, 2, 2)
    corners = (_OUTLINES[kinds] * halves[:, None]) @ turns + centers[:, None]  # (n, 4, 2)
    boxes = np.concatenate([centers - halves, centers + halves], axis=1)
    for kind, polygon, box, color in zip(
        kinds.tolist(), _texels(corners.reshape(-1, 8), texels_per_m), _texels(boxes, texels_per_m), colors, strict=True
    ):
        if kind == _ELLIPSE:
            draw.ellipse(box, fill=color)
        else:
            draw.polygon(polygon, fill=color)


def _colors(
    rng: np.random.Generator, count: int, mean_rgb: tuple[float, float, float], spread: float
) -> list[tuple[int, int, int]]:
    """Mostly a change of brightness, with some change of hue."""
    change = rng.standard_normal((count, 1)) + 0.45 * rng.standard_normal((count, 3))
    rgbs = np.clip(np.asarray(mean_rgb) + spread * change, 5, 250).astype(int)
    return [(red, green, blue) for red, green, blue in rgbs.tolist()]


def _texels(positions_m: FloatArray, texels_per_m: float) -> list[list[float]]:
    """Rows of positions for ImageDraw, whose integer coordinates are texel centres."""
    rows: list[list[float]] = (positions_m * texels_per_m - 0.5).tolist()
    return rows


def _texel_size(size_m: tuple[float, float], texels_per_m: float) -> tuple[int, int]:
    return max(1, round(size_m[0] * texels_per_m)), max(1, round(size_m[1] * texels_per_m))


def _with_levels(finest: ImageArray, texels_per_m: float) -> Texture:
    """A texture with its mipmap, each level half as large as the one before."""
    levels = [finest]
    while min(levels[-1].shape[:2]) >= 2:
        height, width = (side // 2 * 2 for side in levels[-1].shape[:2])
        quads = levels[-1][:height, :width].reshape(height // 2, 2, width // 2, 2, 3).astype(np.uint16)
        levels.append(((quads.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8))
    return Texture(tuple(levels), texels_per_m)


def _bilinear(picture: ImageArray, x: FloatArray, y: FloatArray) -> NDArray[np.float32]:
    """(n, 3) colours at texel positions whose first centre is (0.5, 0.5); clamped at the border."""
    height, width = picture.shape[:2]
    x = np.clip(x - 0.5, 0.0, width - 1.0)
    y = np.clip(y - 0.5, 0.0, height - 1.0)
    column, row = x.astype(np.int64), y.astype(np.int64)
    right = (x - column).astype(np.float32)[:, None]
    down = (y - row).astype(np.float32)[:, None]
    flat = picture.reshape(-1, 3)
    here = row * width + column
    to_right = (column < width - 1).astype(np.int64)
    below = here + width * (row < height - 1)
    upper = flat[here] * (1 - right) + flat[here + to_right] * right
    lower = flat[below] * (1 - right) + flat[below + to_right] * right
    blended: NDArray[np.float32] = upper * (1 - down) + lower * down
    return blended
