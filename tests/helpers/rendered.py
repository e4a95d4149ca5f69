"""What tests of rendered pictures measure in them."""

from __future__ import annotations

import numpy as np

from interpose_sfm.products import FloatArray, Intrinsics, Pose

DENSITY = 30.0


def rotation_about(axis: int, angle_deg: float) -> FloatArray:
    a, b = [i for i in range(3) if i != axis]
    rotation = np.eye(3)
    angle = np.radians(angle_deg)
    rotation[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return rotation


def pixel_grid(camera: Intrinsics) -> FloatArray:
    return np.stack(np.meshgrid(np.arange(camera.width_px) + 0.5, np.arange(camera.height_px) + 0.5), axis=-1)


def in_camera(points_in_world: FloatArray, cam_from_world: Pose) -> FloatArray:
    return points_in_world @ cam_from_world.rotation.T + cam_from_world.translation


def read_at(image: np.ndarray, positions_px: FloatArray) -> FloatArray:
    """Bilinear colours at (n, 2) positions."""
    x, y = (positions_px - 0.5).T
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    right, down = (x - column)[:, None], (y - row)[:, None]
    pixels = image.astype(np.float64)
    upper = pixels[row, column] * (1 - right) + pixels[row, column + 1] * right
    lower = pixels[row + 1, column] * (1 - right) + pixels[row + 1, column + 1] * right
    return upper * (1 - down) + lower * down
