from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from base_models import NAMES, SIFT, Base, shifted
from geometry_scenes import (
    camera,
)
from interpose_sfm import geometry
from interpose_sfm.colmap import databases, reconstruction


def model_of(views: Sequence[int], original: Base) -> pycolmap.Reconstruction:
    """The base model reduced to some of its views."""
    model = pycolmap.Reconstruction(original.model)
    reconstruction.remove_photos(model, {NAMES[v] for v in range(4)} - {NAMES[v] for v in views})
    return model


# ---------------------------------------------------------------- base models


def test_models_are_sorted_and_small_ones_left_out(original: Base) -> None:
    sizes = [model_of(views, original) for views in ([0, 1, 2], [0, 1], [0, 1, 2, 3], [1, 2, 3])]
    assert [m.num_reg_images() for m in reconstruction.sort_models(sizes, 3)] == [4, 3, 3]
    assert [m.num_reg_images() for m in reconstruction.sort_models(sizes, 2)] == [4, 3, 3, 2]


def test_eleven_models_are_read_in_numerical_order(original: Base, tmp_path: Path) -> None:
    """Folder 10 comes after folder 9; equal models keep the order of their folders."""
    models = []
    for index in range(11):
        models.append(pycolmap.Reconstruction(original.model))
        models[-1].transform(pycolmap.Sim3d(1.0 + index, pycolmap.Rotation3d(), np.zeros(3)))
    reconstruction.write_models(models, tmp_path)
    found = reconstruction.read_models(tmp_path, 3)
    sizes = [np.linalg.norm(reconstruction.poses(m)[NAMES[0]].translation) for m in found]
    np.testing.assert_allclose(np.array(sizes) / sizes[0], 1.0 + np.arange(11), rtol=1e-6)
    assert reconstruction.read_models(tmp_path, 5) == []


def test_cameras_and_poses_are_read(original: Base) -> None:
    stored = databases.cameras(original.database_path)
    assert stored == dict.fromkeys(NAMES, camera())
    assert databases.camera_ids(original.database_path) == dict.fromkeys(NAMES, 1)
    assert reconstruction.model_cameras(original.model) == dict.fromkeys(NAMES[:4], camera())
    assert reconstruction.registered_names(original.model) == frozenset(NAMES[:4])
    found = reconstruction.poses(original.model)
    assert found.keys() == set(NAMES[:4])
    for name, pose in found.items():
        truth = SIFT.cam_from_world[NAMES.index(name)]
        np.testing.assert_allclose(pose.rotation, truth.rotation, atol=1e-9)
        np.testing.assert_allclose(pose.translation, truth.translation, atol=1e-9)


# ---------------------------------------------------------------- comparing and reducing models


def test_removed_photos_leave_no_observations(base: Base) -> None:
    reconstruction.remove_photos(base.model, {NAMES[1], "stranger.jpg"})
    assert reconstruction.registered_names(base.model) == {NAMES[0], NAMES[2], NAMES[3]}
    assert not base.model.image(2).has_pose
    assert base.model.image(2).num_points3D == 0
    assert all(e.image_id != 2 for p in base.model.points3D.values() for e in p.track.elements)
    assert base.model.num_points3D() > 100
    reconstruction.remove_photos(base.model, {NAMES[1]})
    assert base.model.num_reg_images() == 3


def test_models_inside_others_are_dropped(original: Base) -> None:
    sets = [[0, 1], [0, 1, 2], [2, 3], [1, 3], [0, 1, 2]]
    kept = reconstruction.drop_covered([model_of(views, original) for views in sets])
    names = [sorted(reconstruction.registered_names(m)) for m in kept]
    assert names[0] == sorted([NAMES[0], NAMES[1], NAMES[2]])
    assert sorted(names[1:]) == sorted([sorted([NAMES[2], NAMES[3]]), sorted([NAMES[1], NAMES[3]])])
    assert reconstruction.drop_covered([]) == []


@pytest.mark.parametrize("angle_deg", [0.0, 3.0, 170.0])
def test_the_largest_change_is_that_of_the_worst_photo(original: Base, angle_deg: float) -> None:
    after = shifted(original.model)
    image = after.image(3)
    turn = pycolmap.Rotation3d(geometry.rotation_from_axis_angle([0, 1, 0], angle_deg))
    after.frame(image.frame_id).rig_from_world = pycolmap.Rigid3d(turn, [0, 0, 0]) * image.cam_from_world()
    assert reconstruction.largest_change_deg(original.model, after) == pytest.approx(angle_deg, abs=1e-6)


def test_the_change_counts_whichever_photo_turned(original: Base) -> None:
    """The photo that the others are compared with may be the one that turned."""
    after = shifted(original.model)
    first = next(i for i in after.images.values() if i.name == min(NAMES))
    turn = pycolmap.Rotation3d(geometry.rotation_from_axis_angle([0, 1, 0], 20))
    after.frame(first.frame_id).rig_from_world = pycolmap.Rigid3d(turn, [0, 0, 0]) * first.cam_from_world()
    assert reconstruction.largest_change_deg(original.model, after) == pytest.approx(20, abs=1e-6)


def test_photos_that_turn_apart_change_by_the_sum(original: Base) -> None:
    after = shifted(original.model)
    others = sorted((i for i in after.images.values() if i.name != min(NAMES)), key=lambda i: i.name)
    for image, angle_deg in zip(others[:2], (15, -15), strict=True):
        turned = pycolmap.Rotation3d(geometry.rotation_from_axis_angle([0, 1, 0], angle_deg))
        after.frame(image.frame_id).rig_from_world = image.cam_from_world() * pycolmap.Rigid3d(turned, [0, 0, 0])
    assert reconstruction.largest_change_deg(original.model, after) == pytest.approx(30, abs=1e-6)


def test_a_lost_photo_is_the_largest_change(original: Base) -> None:
    assert reconstruction.largest_change_deg(original.model, model_of([0, 1, 2], original)) == 180.0
    assert reconstruction.largest_change_deg(model_of([0, 1, 2], original), original.model) < 1e-6


# ---------------------------------------------------------------- writing


def test_written_models_are_readable(original: Base, tmp_path: Path) -> None:
    models = [original.model, model_of([0, 1], original)]
    folders = reconstruction.write_models(models, tmp_path / "sparse")
    assert folders == (tmp_path / "sparse" / "0", tmp_path / "sparse" / "1")
    for folder, model in zip(folders, models, strict=True):
        assert {"cameras.bin", "images.bin", "points3D.bin"} <= {p.name for p in folder.iterdir()}
        read = pycolmap.Reconstruction(folder)
        assert reconstruction.registered_names(read) == reconstruction.registered_names(model)
        assert read.num_points3D() == model.num_points3D()
        assert reconstruction.largest_change_deg(model, read) < 1e-6
    assert reconstruction.write_models([], tmp_path / "none") == ()
