"""What two views of one pose tell of correspondences: epipolar errors, points, and the angles at these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interpose_sfm.geometry.cameras import unit_rays
from interpose_sfm.geometry.rotations import direction_angle_deg
from interpose_sfm.products import FloatArray, Intrinsics, Pose

_PARALLEL_SINE = 1e-12


def epipolar_errors_px(
    b_from_a: Pose, points_a_px: FloatArray, intrinsics_a: Intrinsics, points_b_px: FloatArray, intrinsics_b: Intrinsics
) -> FloatArray:
    """(n,) distances of the points in B from the epipolar planes of those in A, as angles times the focal length.

    Infinite for points without a ray.
    """
    rays_a = unit_rays(points_a_px, intrinsics_a)
    rays_b = unit_rays(points_b_px, intrinsics_b)
    normals = np.cross(b_from_a.translation, rays_a @ b_from_a.rotation.T)
    sines = np.sum(normals * rays_b, axis=1) / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    errors_px = np.abs(np.arcsin(np.clip(sines, -1, 1))) * intrinsics_b.focal_px
    return np.asarray(np.nan_to_num(errors_px, nan=np.inf))


@dataclass(frozen=True)
class Triangulation:
    """Points from two views.

    Attributes:
        x_in_a: (n, 3) points in the frame of camera a, in the unit of the baseline; NaN where rays are parallel.
        depths_a, depths_b: (n,) depths in either camera, negative for points behind it; NaN where rays are parallel.
    """

    x_in_a: FloatArray
    depths_a: FloatArray
    depths_b: FloatArray


def triangulate(b_from_a: Pose, rays_a: FloatArray, rays_b: FloatArray) -> Triangulation:
    """Midpoint triangulation of many correspondences at once: the middle of the shortest segment between two rays.

    The baseline is in any unit; rays are (n, 3), of any length, in the frame of their camera, as of ``pixel_to_ray``.
    """
    in_b = rays_a @ b_from_a.rotation.T
    normal = np.cross(in_b, rays_b)
    square = np.sum(normal**2, axis=-1)
    is_parallel = square <= (_PARALLEL_SINE * np.linalg.norm(in_b, axis=-1) * np.linalg.norm(rays_b, axis=-1)) ** 2
    square = np.where(is_parallel, np.nan, square)
    along_a = np.sum(np.cross(rays_b, b_from_a.translation) * normal, axis=-1) / square
    along_b = np.sum(np.cross(in_b, b_from_a.translation) * normal, axis=-1) / square
    x_in_b = 0.5 * (along_a[:, None] * in_b + b_from_a.translation + along_b[:, None] * rays_b)
    x_in_a = (x_in_b - b_from_a.translation) @ b_from_a.rotation
    return Triangulation(x_in_a=x_in_a, depths_a=x_in_a[:, 2], depths_b=x_in_b[:, 2])


def triangulation_angles_deg(b_from_a: Pose, x_in_a: FloatArray) -> FloatArray:
    """(...) angles in degrees at points (..., 3) between the directions to the centres of a and b; NaN stays NaN."""
    x = np.asarray(x_in_a, dtype=np.float64)
    is_known = np.all(np.isfinite(x), axis=-1)
    angles_deg = np.full(is_known.shape, np.nan)
    angles_deg[is_known] = direction_angle_deg(x[is_known], x[is_known] - b_from_a.inverse().translation)
    return angles_deg
