from __future__ import annotations

import numpy as np
import pycolmap
import pytest

from interpose_sfm import geometry
from interpose_sfm.colmap import camera_fitting


@pytest.mark.parametrize(
    ("model_name", "params", "expected"),
    [
        ("SIMPLE_PINHOLE", [500, 320, 240], (500, 320, 240, 0)),
        ("PINHOLE", [500, 520, 320, 240], (510, 320, 240, 0)),
        ("SIMPLE_RADIAL", [500, 320, 240, 0.1], (500, 320, 240, 0.1)),
        ("RADIAL", [500, 320, 240, 0.1, 0.02], (500, 320, 240, 0.1)),
        ("OPENCV", [500, 500, 320, 240, 0.1, 0, 0, 0], (500, 320, 240, 0.1)),
        ("FULL_OPENCV", [500, 500, 320, 240, -0.05, 0, 0, 0, 0, 0, 0, 0], (500, 320, 240, -0.05)),
    ],
)
def test_cameras_of_any_model_become_intrinsics(
    model_name: str, params: list[float], expected: tuple[float, ...]
) -> None:
    stored = pycolmap.Camera(model=model_name, width=640, height=480, params=params)
    found = camera_fitting.intrinsics_of(stored, is_trusted=True)
    assert (found.focal_px, found.cx_px, found.cy_px, found.radial) == pytest.approx(expected)
    assert (found.width_px, found.height_px, found.is_trusted) == (640, 480, True)


@pytest.mark.parametrize(
    ("model_name", "params", "low_px", "high_px"),
    [
        ("SIMPLE_RADIAL", [500, 320, 240, 0.1], 0, 0),
        ("PINHOLE", [500, 504, 320, 240], 0.5, 3),
        ("OPENCV", [500, 502, 320, 240, -0.1, 0.02, 0.001, 0], 1, 3),
        ("OPENCV_FISHEYE", [600, 600, 320, 240, 0.01, 0, 0, 0], 1, 4),
        ("OPENCV_FISHEYE", [250, 250, 320, 240, 0.01, 0, 0, 0], 20, np.inf),
        ("EQUIRECTANGULAR", [640, 480], np.inf, np.inf),
    ],
)
def test_cameras_know_how_well_one_radial_coefficient_describes_them(
    model_name: str, params: list[float], low_px: float, high_px: float
) -> None:
    stored = pycolmap.Camera(model=model_name, width=640, height=480, params=params)
    error_px = camera_fitting.camera_error_px(stored)
    assert low_px <= error_px <= high_px
    found = camera_fitting.intrinsics_of(stored, is_trusted=True)
    assert found.focal_px > 0
    if error_px > 10:  # its picture folds over
        return
    positions = np.random.default_rng(0).uniform((0, 0), (640, 480), (200, 2))
    rays = stored.cam_from_img(positions)
    back = geometry.project(np.concatenate([rays, np.ones((200, 1))], 1), found)
    assert np.linalg.norm(back - positions, axis=1).max() <= error_px + 1e-6
