"""COLMAP's global mapper: what it makes of stored poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pycolmap
import pytest

from geometry_scenes import (
    FOCAL_PX,
    DatabaseOptions,
    all_rows,
    worst_error_deg,
    write_database,
)
from interpose_sfm import geometry
from interpose_sfm.colmap import global_mapper, reconstruction
from interpose_sfm.options import BaseOptions
from interpose_sfm.products import Pose
from two_groups_of_views import BRIDGE, NAMES, OPTIONS, SCENE, TRUTH, add_link, stored_pose, two_groups


def relative(model: pycolmap.Reconstruction, a: int, b: int) -> Pose:
    poses = reconstruction.poses(model)
    return geometry.with_unit_translation(geometry.relative_pose(poses[NAMES[b]], poses[NAMES[a]]))


def test_base_models(tmp_path: Path) -> None:
    path = two_groups(tmp_path / "database.db")
    models = global_mapper.map_base(path, tmp_path, tmp_path / "models", OPTIONS, 0)
    assert [model.num_reg_images() for model in models] == [4, 3]
    assert max(worst_error_deg(model, TRUTH) for model in models) < 0.5
    read = reconstruction.read_models(tmp_path / "models", OPTIONS.min_model_size)
    assert [model.num_reg_images() for model in read] == [4, 3]


def test_guessed_focal_lengths_are_found_first(tmp_path: Path) -> None:
    """GLOMAP has no way back from a focal length that is a third off."""
    path, pairs = tmp_path / "database.db", tmp_path / "pairs.txt"
    write_database(path, SCENE, NAMES, DatabaseOptions(raw=all_rows(SCENE, range(7))))
    with pycolmap.Database.open(path) as database:
        guess = database.read_all_cameras()[0]
        guess.params = [1.3 * FOCAL_PX, *guess.params[1:]]
        guess.has_prior_focal_length = False
        database.update_camera(guess)
    pairs.write_text("".join(f"{a} {b}\n" for a in NAMES for b in NAMES if a < b))
    pycolmap.verify_matches(path, pairs)
    models = global_mapper.map_base(path, tmp_path, tmp_path / "models", OPTIONS, 0)
    assert [model.num_reg_images() for model in models] == [7]
    assert worst_error_deg(models[0], TRUTH) < 1.0
    with pycolmap.Database.open(path) as database:
        assert database.read_all_cameras()[0].mean_focal_length() == pytest.approx(FOCAL_PX, rel=0.1)


@pytest.mark.parametrize("angle_deg", [0.0, 40.0])
def test_stored_poses_are_kept(tmp_path: Path, angle_deg: float) -> None:
    """The pose of a link, not one estimated from its points, says how the groups lie: seen where the two differ.

    A single link between the groups is met exactly by rotation averaging; the adjustment, which would go for the
    points, is left out.
    """
    path = two_groups(tmp_path / "database.db")
    add_link(path, angle_deg)
    before = stored_pose(path, *BRIDGE)
    options = global_mapper.mapper_options(OPTIONS, 0)
    options.mapper.skip_bundle_adjustment = options.mapper.skip_retriangulation = True
    models = pycolmap.global_mapping(path, tmp_path, tmp_path / "models", options)
    assert [model.num_reg_images() for model in models.values()] == [7]
    turn = relative(models[0], *BRIDGE).rotation @ before.rotation.T
    assert float(geometry.rotation_angle_deg(turn)) < 0.01
    after = stored_pose(path, *BRIDGE)
    np.testing.assert_array_equal(after.rotation, before.rotation)
    np.testing.assert_array_equal(after.translation, before.translation)


@pytest.mark.parametrize("is_refined", [True, False])
def test_cameras_are_refined_unless_that_is_switched_off(is_refined: bool) -> None:
    options = global_mapper.mapper_options(BaseOptions(refine_intrinsics=is_refined), 0)
    adjustment = options.mapper.bundle_adjustment
    assert (adjustment.refine_focal_length, adjustment.refine_extra_params) == (is_refined, is_refined)
