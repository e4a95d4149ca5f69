"""Casts a ray through every pixel of a pinhole camera onto the rectangles of a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interpose_sfm import geometry
from interpose_sfm.products import FloatArray, ImageArray, Intrinsics, Pose
from interpose_sfm.synthetic.scene import Rectangle, Scene

_ZENITH_RGB = np.array([140.0, 175.0, 215.0])
_HORIZON_RGB = np.array([215.0, 222.0, 228.0])
_NEAREST_DEPTH = 0.05


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """How a photo is taken.

    Attributes:
        supersampling: Rays per pixel along each axis.
        exposure: Factor on all colours.
        noise_sigma: Standard deviation of the noise added to every channel, in grey levels of 255.
        seed: Of the noise.
    """

    supersampling: int = 2
    exposure: float = 1.0
    noise_sigma: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.supersampling < 1 or self.exposure <= 0 or self.noise_sigma < 0:
            raise ValueError(f"supersampling >= 1, exposure > 0 and noise_sigma >= 0 expected, got {self}")


@dataclass(frozen=True)
class Rendering:
    """A view of a scene with its exact geometry at the centre of every pixel.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        depth: (h, w) float64, z in the camera; infinite where nothing is.
        points_in_world: (h, w, 3) float64; NaN where nothing is.
    """

    image: ImageArray
    depth: FloatArray
    points_in_world: FloatArray


def render(
    scene: Scene, intrinsics: Intrinsics, cam_from_world: Pose, options: RenderOptions | None = None
) -> Rendering:
    """Render one view.

    Colours are the mean of several rays per pixel, each of which reads its texture at the level that fits its
    footprint, so that a surface looks alike from near and far. Depths and points belong to the ray through the
    pixel's centre.

    Raises:
        ValueError: The image size or focal length is not positive, or the distortion folds the picture.
    """
    options = options or RenderOptions()
    if min(intrinsics.width_px, intrinsics.height_px) < 1 or not intrinsics.focal_px > 0:
        raise ValueError(f"a camera with positive size and focal length expected, got {intrinsics}")
    rays = _Rays.of_camera(intrinsics, options.supersampling)
    colors = _shade(scene, rays, cam_from_world)
    image = _develop(colors, options)
    rays = rays if options.supersampling == 1 else _Rays.of_camera(intrinsics, 1)
    inverse_depth, _ = _cast(scene, rays, cam_from_world)
    with np.errstate(divide="ignore"):
        depth = 1.0 / inverse_depth
    finite = np.where(np.isfinite(depth), depth, np.nan)
    points_in_cam = finite[..., None] * np.stack([rays.x, rays.y, np.ones_like(rays.x)], axis=-1)
    points_in_world = (points_in_cam - cam_from_world.translation) @ cam_from_world.rotation
    return Rendering(image, depth, points_in_world)


@dataclass(frozen=True)
class _Rays:
    """Rays (x, y, 1) in the camera, on a regular grid in the image.

    Attributes:
        x, y: (rows, columns).
        spacing: Distance of neighbouring rays at depth 1.
        is_separable: x depends on the column alone and y on the row alone.
    """

    x: FloatArray
    y: FloatArray
    spacing: float
    is_separable: bool

    @classmethod
    def of_camera(cls, intrinsics: Intrinsics, per_pixel: int) -> _Rays:
        columns = (np.arange(intrinsics.width_px * per_pixel) + 0.5) / per_pixel
        rows = (np.arange(intrinsics.height_px * per_pixel) + 0.5) / per_pixel
        is_pinhole = intrinsics.model == "SIMPLE_RADIAL" and not any(intrinsics.distortion)
        if not is_pinhole:
            rays = geometry.pixel_to_ray(np.stack(np.meshgrid(columns, rows), axis=-1), intrinsics)
            if not np.all(np.isfinite(rays)):
                lens = f"{intrinsics.model} distortion {intrinsics.distortion}"
                raise ValueError(f"{lens} folds the picture inside its borders; use a weaker one")
            x, y = rays[..., 0], rays[..., 1]
        else:
            x, y = np.meshgrid(
                (columns - intrinsics.cx_px) / intrinsics.focal_px, (rows - intrinsics.cy_px) / intrinsics.focal_px
            )
        return cls(x, y, 1.0 / (intrinsics.focal_px * per_pixel), is_pinhole)

    def window(self, corners_in_cam: FloatArray) -> tuple[slice, slice]:
        """Rows and columns outside of which no ray meets the polygon of these corners."""
        if not self.is_separable or corners_in_cam[:, 2].min() < _NEAREST_DEPTH:
            return slice(None), slice(None)
        lines = corners_in_cam[:, :2] / corners_in_cam[:, 2:]
        first_column, last_column = np.searchsorted(self.x[0], (lines[:, 0].min(), lines[:, 0].max()))
        first_row, last_row = np.searchsorted(self.y[:, 0], (lines[:, 1].min(), lines[:, 1].max()))
        return slice(first_row, last_row + 1), slice(first_column, last_column + 1)


def _surface_from_ray(surface: Rectangle, cam_from_world: Pose) -> FloatArray:
    """(3, 3) matrix that takes a ray (x, y, 1) to (u, v, 1) / depth, u and v in metres on the rectangle."""
    ray_from_surface = np.column_stack([
        cam_from_world.rotation @ surface.x_axis,
        cam_from_world.rotation @ surface.y_axis,
        cam_from_world.rotation @ surface.corner_in_world + cam_from_world.translation,
    ])  # fmt: skip
    if abs(np.linalg.det(ray_from_surface)) < 1e-12:
        return np.zeros((3, 3))  # seen exactly from the side
    return np.asarray(np.linalg.inv(ray_from_surface), np.float64)


def _cast(scene: Scene, rays: _Rays, cam_from_world: Pose) -> tuple[FloatArray, NDArray[np.int16]]:
    """Inverse depth (0 where nothing is) and index of the nearest rectangle (-1) of every ray."""
    inverse_depth = np.zeros_like(rays.x)
    nearest = np.full(rays.x.shape, -1, np.int16)
    for index, surface in enumerate(scene.surfaces):
        corners = surface.corners_in_world @ cam_from_world.rotation.T + cam_from_world.translation
        if corners[:, 2].max() < _NEAREST_DEPTH:
            continue
        window = rays.window(corners)
        x, y = rays.x[window], rays.y[window]
        matrix = _surface_from_ray(surface, cam_from_world)
        w = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
        is_hit = (w > inverse_depth[window]) & (w < 1.0 / _NEAREST_DEPTH)
        for row, extent in zip(matrix[:2], surface.size_m, strict=True):
            position = row[0] * x + row[1] * y + row[2]
            is_hit &= (position >= 0.0) & (position <= extent * w)
        inverse_depth[window][is_hit] = w[is_hit]
        nearest[window][is_hit] = index
    return inverse_depth, nearest


def _shade(scene: Scene, rays: _Rays, cam_from_world: Pose) -> NDArray[np.float32]:
    """(rows, columns, 3) colours seen along the rays."""
    inverse_depth, nearest = _cast(scene, rays, cam_from_world)
    x, y, w, flat = rays.x.ravel(), rays.y.ravel(), inverse_depth.ravel(), nearest.ravel()
    colors = np.empty((len(x), 3), np.float32)
    order = np.argsort(flat, kind="stable")
    bounds = np.searchsorted(flat[order], np.arange(-1, len(scene.surfaces) + 1))
    sky = order[bounds[0] : bounds[1]]
    colors[sky] = _sky(x[sky], y[sky], cam_from_world)
    for index, surface in enumerate(scene.surfaces):
        hits = order[bounds[index + 1] : bounds[index + 2]]
        if not len(hits):
            continue
        matrix = _surface_from_ray(surface, cam_from_world)
        u_m = (matrix[0, 0] * x[hits] + matrix[0, 1] * y[hits] + matrix[0, 2]) / w[hits]
        v_m = (matrix[1, 0] * x[hits] + matrix[1, 1] * y[hits] + matrix[1, 2]) / w[hits]
        # The area that a patch of rays covers on the surface is det(matrix) / w^3 (Jacobian of a homography).
        area = abs(float(np.linalg.det(matrix))) / w[hits] ** 3
        colors[hits] = surface.texture.sample(u_m, v_m, rays.spacing * np.sqrt(area))
    return colors.reshape(*rays.x.shape, 3)


def _sky(x: FloatArray, y: FloatArray, cam_from_world: Pose) -> FloatArray:
    """Plain and smooth: a sky must not give key points."""
    up_in_cam = cam_from_world.rotation[:, 2]
    sine = (up_in_cam[0] * x + up_in_cam[1] * y + up_in_cam[2]) / np.sqrt(x**2 + y**2 + 1.0)
    share = np.clip(sine, 0.0, 1.0)[:, None]
    colors: FloatArray = (1.0 - share) * _HORIZON_RGB + share * _ZENITH_RGB
    return colors


def _develop(colors: NDArray[np.float32], options: RenderOptions) -> ImageArray:
    """Average the rays of each pixel, expose, add noise."""
    step = options.supersampling
    mean = sum(colors[row::step, column::step] for row in range(step) for column in range(step)) / np.float32(step**2)
    developed = mean * np.float32(options.exposure)
    if options.noise_sigma:
        noise = np.random.default_rng(options.seed).standard_normal(developed.shape, np.float32)
        developed = developed + np.float32(options.noise_sigma) * noise
    image: ImageArray = np.clip(np.rint(developed), 0, 255).astype(np.uint8)
    return image
