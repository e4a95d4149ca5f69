"""Up, from cameras of known tilt in a world that is turned anyhow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pycolmap
import pytest
from scipy.spatial.transform import Rotation

from exported_scene import make_source
from interpose_sfm.export.orientation import up_direction, upright
from interpose_sfm.products import FloatArray

WORLD = Rotation.random(random_state=5)


def cameras(yaw_deg: FloatArray, pitch_deg: FloatArray | float, roll_deg: FloatArray | float = 0.0) -> FloatArray:
    """(n, 3, 3) cam_from_world; up in the world is `UP`."""
    angles = np.stack(np.broadcast_arrays(yaw_deg, pitch_deg, roll_deg), axis=-1)
    level_from_cam = Rotation.from_euler("YXZ", angles, degrees=True)  # y of the level frame points down
    return (WORLD * level_from_cam).inv().as_matrix()


UP = WORLD.apply([0.0, -1.0, 0.0])


def error_deg(found: FloatArray | None) -> float:
    assert found is not None
    assert np.linalg.norm(found) == pytest.approx(1.0)
    return float(np.degrees(np.arccos(np.clip(found @ UP, -1, 1))))


@pytest.mark.parametrize("pitch_deg", [0.0, -40.0, 25.0])
def test_pitch_does_not_count_where_photos_look_several_ways(pitch_deg: float) -> None:
    random = np.random.default_rng(1)
    found = up_direction(cameras(random.uniform(0, 100, 30), pitch_deg, random.normal(0, 2, 30)))
    assert error_deg(found) < 2.0


def test_photos_that_are_tilted_do_not_count() -> None:
    random = np.random.default_rng(2)
    roll_deg = random.normal(0, 1, 40)
    roll_deg[::4] = 90  # portraits whose files do not say so
    found = up_direction(cameras(random.uniform(0, 360, 40), random.uniform(-30, 30, 40), roll_deg))
    assert error_deg(found) < 1.5


def test_photos_that_look_one_way_are_taken_for_level() -> None:
    found = up_direction(cameras(np.array([0.0, 1, -1, 2]), 3.0))
    assert 1.0 < error_deg(found) < 4.0
    assert error_deg(up_direction(cameras(np.array([0.0, 90.0]), 0.0))) < 1e-6


def test_a_drone_looks_down() -> None:
    random = np.random.default_rng(3)
    yaw_deg = np.repeat([0.0, 180.0], 10) + random.normal(0, 2, 20)  # there and back: no upper side points anywhere
    assert error_deg(up_direction(cameras(yaw_deg + 90 * (np.arange(20) % 2), -90.0, random.normal(0, 2, 20)))) < 3.0


def test_photos_that_are_held_anyhow_are_refused(tmp_path: Path) -> None:
    assert up_direction(Rotation.random(60, random_state=4).as_matrix()) is None
    source = make_source(tmp_path / "model", "OPENCV")
    slanted = Rotation.align_vectors([[1.0, 0, 0]], [[1.0, 1, 1]])[0].as_matrix()
    turns = [*(np.roll(np.eye(3), shift, axis=1) for shift in range(3)), slanted]
    for image, turn in zip(source.images(), turns, strict=True):
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(turn), image.cam_from_world().translation)
        source.model.frames[image.frame_id].rig_from_world = pose
    with pytest.raises(ValueError, match=r"held in too many ways to tell which way is up, expected 60% .* leave"):
        upright(source)
