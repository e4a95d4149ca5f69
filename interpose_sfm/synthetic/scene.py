"""Scenes made of textured rectangles. World units are metres, z points up, the ground is z = 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from interpose_sfm.products import FloatArray
from interpose_sfm.synthetic.textures import Texture, make_texture

DEFAULT_TEXELS_PER_M = 96.0
_WALL_RGBS = ((165, 150, 128), (148, 126, 112), (172, 166, 150), (138, 142, 132), (160, 138, 140))
_BOX_RGBS = ((120, 95, 70), (96, 112, 96), (130, 120, 110), (105, 105, 125))


@dataclass(frozen=True, eq=False)
class Rectangle:
    """A flat, opaque, textured surface, seen from both sides.

    Attributes:
        name: Which surface it is, unique in its scene.
        corner_in_world: (3,) the texture's upper left corner.
        x_axis, y_axis: (3,) orthogonal unit vectors in the world, along the texture's rows and columns.
        size_m: Extent along both axes.
        texture: What is on it.
    """

    name: str
    corner_in_world: FloatArray
    x_axis: FloatArray
    y_axis: FloatArray
    size_m: tuple[float, float]
    texture: Texture

    @property
    def corners_in_world(self) -> FloatArray:
        """(4, 3) corners, in order around the rectangle."""
        x, y = self.size_m[0] * self.x_axis, self.size_m[1] * self.y_axis
        return self.corner_in_world + np.stack([0.0 * x, x, x + y, y])


@dataclass(frozen=True, eq=False)
class Scene:
    """A set of opaque surfaces.

    Attributes:
        surfaces: All of them, with unique names.
    """

    surfaces: tuple[Rectangle, ...]

    @classmethod
    def courtyard(cls, seed: int, *, texels_per_m: float = DEFAULT_TEXELS_PER_M) -> Scene:
        """A building whose corner stands on the vertical axis, in a walled court.

        The facade ``front`` (y = 0, x < 0) faces -y, the facade ``side`` (x = 0, y > 0) faces +x. Shallow
        bays protrude from both and crates stand before them, so that the geometry is not planar. From the direction of
        one facade the other is seen at a grazing angle, which makes photos of the two hard to match directly.

        Args:
            seed: Of textures and of the sizes and places of the boxes.
            texels_per_m: Texture density; about a pixel's size at the nearest surface is enough.
        """
        builder = _Builder(seed, texels_per_m)
        builder.add_ground(18.0)
        builder.add_wall("front", (-10.0, 0.0), (0.0, 0.0), 6.5, num_windows=10)
        builder.add_wall("side", (0.0, 0.0), (0.0, 10.0), 6.5, num_windows=10)
        builder.add_walls("court", ((-18, -18), (18, -18), (18, 18), (-18, 18)), 5.0)
        rng = builder.layout_rng
        for x in (-7.6, -4.9, -2.2):
            depth, width = rng.uniform(0.12, 0.25), rng.uniform(0.9, 1.5)
            x = x + rng.uniform(-0.3, 0.3)
            builder.add_box(f"front bay {x:.1f}", (x, -depth, 0.0), (x + width, 0.0, rng.uniform(2.0, 5.5)))
        for y in (1.2, 3.8, 6.5):
            depth, width = rng.uniform(0.12, 0.25), rng.uniform(0.9, 1.5)
            y = y + rng.uniform(-0.3, 0.3)
            builder.add_box(f"side bay {y:.1f}", (0.0, y, 0.0), (depth, y + width, rng.uniform(2.0, 5.5)))
        # The crates stand where a visitor of one facade sees them but a visitor of the other does not.
        for x in (-3.4, -1.9):
            x, y, size = x + rng.uniform(-0.3, 0.3), rng.uniform(-6.0, -5.2), rng.uniform(0.45, 0.7)
            builder.add_box(f"front crate {x:.1f}", (x, y, 0.0), (x + size, y + size, rng.uniform(0.5, 0.8)))
        for y in (1.2, 2.7):
            x, y, size = rng.uniform(4.4, 5.2), y + rng.uniform(-0.3, 0.3), rng.uniform(0.45, 0.7)
            builder.add_box(f"side crate {y:.1f}", (x, y, 0.0), (x + size, y + size, rng.uniform(0.5, 0.8)))
        return builder.scene()


class _Builder:
    """Collects surfaces; the texture of a surface depends on the seed and on the order of the calls alone."""

    def __init__(self, seed: int, texels_per_m: float) -> None:
        self.layout_rng, self._texture_rng = np.random.default_rng(seed).spawn(2)
        self._texels_per_m = texels_per_m
        self._surfaces: list[Rectangle] = []

    def scene(self) -> Scene:
        names = [surface.name for surface in self._surfaces]
        assert len(set(names)) == len(names), names
        return Scene(tuple(self._surfaces))

    def draw_texture(
        self,
        name: str,
        size_m: tuple[float, float],
        base_rgb: Sequence[float],
        *,
        num_windows: int = 0,
        detail: float = 1.0,
        density: float = 1.0,
    ) -> Texture:
        red, green, blue = (float(value) for value in base_rgb)
        (rng,) = self._texture_rng.spawn(1)
        return make_texture(
            rng,
            size_m,
            self._texels_per_m * density,
            base_rgb=(red, green, blue),
            num_windows=num_windows,
            detail=detail,
        )

    def add_ground(self, half_m: float) -> None:
        size_m = (2 * half_m, 2 * half_m)
        # Seen at a grazing angle throughout, so half the density is enough.
        texture = self.draw_texture("ground", size_m, (128, 124, 116), detail=0.25, density=0.5)
        self._add("ground", (-half_m, half_m, 0.0), (1, 0, 0), (0, -1, 0), size_m, texture)

    def add_walls(self, name: str, corners: Sequence[tuple[float, float]], height_m: float) -> None:
        """Walls around a closed polygon of ground positions, at half the density: they stand in the background."""
        for index, end in enumerate(corners):
            self.add_wall(f"{name} {index}", corners[index - 1], end, height_m, num_windows=16, detail=0.4, density=0.5)

    def add_wall(
        self,
        name: str,
        left: tuple[float, float],
        right: tuple[float, float],
        height_m: float,
        *,
        texture: Texture | None = None,
        num_windows: int = 0,
        detail: float = 1.0,
        density: float = 1.0,
    ) -> Rectangle:
        """An upright wall between two ground positions, named as one sees them who faces the wall."""
        along = np.subtract(right, left)
        size_m = (float(np.linalg.norm(along)), height_m)
        if texture is None:
            base_rgb = _WALL_RGBS[len(self._surfaces) % len(_WALL_RGBS)]
            texture = self.draw_texture(name, size_m, base_rgb, num_windows=num_windows, detail=detail, density=density)
        x_axis = (along[0] / size_m[0], along[1] / size_m[0], 0.0)
        return self._add(name, (left[0], left[1], height_m), x_axis, (0, 0, -1), size_m, texture)

    def add_box(self, name: str, low: tuple[float, float, float], high: tuple[float, float, float]) -> None:
        """A box aligned with the axes that stands on the ground: four walls and a lid."""
        corners = ((low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1]))
        base_rgb = _BOX_RGBS[len(self._surfaces) % len(_BOX_RGBS)]
        height_m = high[2] - low[2]
        for index, start in enumerate(corners):
            end = corners[(index + 1) % 4]
            size_m = (abs(end[0] - start[0]) + abs(end[1] - start[1]), height_m)
            texture = self.draw_texture(name, size_m, base_rgb)
            self.add_wall(f"{name} {index}", start, end, high[2], texture=texture)
        lid_m = (high[0] - low[0], high[1] - low[1])
        lid = self.draw_texture(name, lid_m, base_rgb)
        self._add(f"{name} lid", (low[0], high[1], high[2]), (1, 0, 0), (0, -1, 0), lid_m, lid)

    def _add(
        self,
        name: str,
        corner: ArrayLike,
        x_axis: ArrayLike,
        y_axis: ArrayLike,
        size_m: tuple[float, float],
        texture: Texture,
    ) -> Rectangle:
        axes = np.asarray(x_axis, np.float64), np.asarray(y_axis, np.float64)
        surface = Rectangle(name, np.asarray(corner, np.float64), *axes, size_m, texture)
        self._surfaces.append(surface)
        return surface
