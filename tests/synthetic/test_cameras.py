from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from interpose_sfm.products import Pose
from interpose_sfm.synthetic import (
    Viewpoint,
    center_in_world,
    interpolate,
    look_at,
    orbit,
)
from rendered import in_camera, rotation_about


def test_look_at_puts_the_target_in_the_middle_and_up_on_top() -> None:
    pose = look_at((2.0, -7.0, 1.5), (0.5, 1.0, 3.0))
    assert np.allclose(pose.rotation @ pose.rotation.T, np.eye(3))
    assert np.linalg.det(pose.rotation) > 0.999
    assert np.allclose(center_in_world(pose), (2.0, -7.0, 1.5))
    target = in_camera(np.array([0.5, 1.0, 3.0]), pose)
    assert np.allclose(target[:2], 0.0)
    assert target[2] > 0
    above = in_camera(np.array([0.5, 1.0, 3.1]), pose)
    assert above[1] < 0
    assert abs(above[0]) < 1e-12
    with pytest.raises(ValueError, match="parallel"):
        look_at((0, 0, 0), (0, 0, 3))
    with pytest.raises(ValueError, match="must differ"):
        look_at((1, 2, 3), (1, 2, 3))


@pytest.mark.parametrize("angle_deg", [1e-7, 3.0, 90.0, 179.0, 180.0])
def test_interpolation_goes_the_way_evenly(angle_deg: float) -> None:
    first = Pose(rotation_about(1, 20.0), np.array([1.0, 2.0, 3.0]))
    last = Pose(rotation_about(2, angle_deg) @ first.rotation, np.array([-2.0, 0.5, 1.0]))
    assert interpolate(first, last, 0.0) is first
    assert interpolate(first, last, 1.0) is last
    way = [interpolate(first, last, fraction) for fraction in np.linspace(0.0, 1.0, 5)]
    centers = np.array([center_in_world(pose) for pose in way])
    assert np.allclose(np.diff(centers, axis=0), (centers[-1] - centers[0]) / 4)
    turns = [b.rotation @ a.rotation.T for a, b in pairwise(way)]
    for turn in turns:
        assert np.abs(np.abs(turn) - np.abs(rotation_about(2, angle_deg / 4))).max() < 1e-7
        assert np.allclose(turn, turns[0], atol=1e-7)


def test_an_orbit_keeps_distance_and_ends_where_it_should() -> None:
    first, last = (Viewpoint(azimuth, 8.0, 1.6, (0.0, 0.0, 1.0)) for azimuth in (0.0, 90.0))
    poses = orbit(first, last, 7)
    centers = np.array([center_in_world(pose) for pose in poses])
    assert np.allclose(centers[0], (0.0, -8.0, 1.6))
    assert np.allclose(centers[-1], (8.0, 0.0, 1.6))
    assert np.allclose(np.hypot(centers[:, 0], centers[:, 1]), 8.0)
    with pytest.raises(ValueError, match="at least 2"):
        orbit(first, last, 1)
