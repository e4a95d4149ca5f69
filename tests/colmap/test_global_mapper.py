"""COLMAP's global mapper: what it makes of stored poses, and that links never make it worse."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import pytest

from geometry_scenes import (
    FOCAL_PX,
    DatabaseOptions,
    all_rows,
    arc,
    cloud,
    link_of,
    observe,
    turned,
    worst_error_deg,
    write_database,
)
from hook_scene import QUICK, Apart
from interpose_sfm import geometry
from interpose_sfm.colmap import global_mapper, reconstruction
from interpose_sfm.colmap.link_rows import inject_links
from interpose_sfm.joining import global_final_mapping
from interpose_sfm.options import BaseOptions, Mapper, ReconstructOptions
from interpose_sfm.products import Pose
from interpose_sfm.workflows import reconstruct

NAMES = tuple(f"{letter}.jpg" for letter in "abcdefg")
SCENE = observe(cloud(1, 300), arc([0, 12, 24, 36, 60, 72, 84]), noise_px=0.3, seed=1)
TRUTH = dict(zip(NAMES, SCENE.cam_from_world, strict=True))
OPTIONS = BaseOptions(num_threads=1, mapper=Mapper.GLOBAL)
BRIDGE = (3, 4)


def two_groups(path: Path, *, is_calibrated: bool = True) -> Path:
    """Four and three views with calibrated pairs inside each group and none between them."""
    rows = {**all_rows(SCENE, range(4)), **all_rows(SCENE, range(4, 7))}
    write_database(path, SCENE, NAMES, DatabaseOptions(rows=rows))
    poses = {pair: SCENE.b_from_a(*pair) for pair in rows} if is_calibrated else {}
    store(path, poses)
    return path


def store(path: Path, poses: Mapping[tuple[int, int], Pose]) -> None:
    """Relative poses into two-view geometries that are there."""
    with pycolmap.Database.open(path) as database:
        for (a, b), pose in poses.items():
            found = database.read_two_view_geometry(a + 1, b + 1)
            found.cam2_from_cam1 = geometry.to_rigid3d(pose)
            found.E = pycolmap.essential_matrix_from_pose(found.cam2_from_cam1)
            database.delete_two_view_geometry(a + 1, b + 1)
            database.write_two_view_geometry(a + 1, b + 1, found)


def stored_pose(path: Path, a: int, b: int) -> Pose:
    with pycolmap.Database.open(path) as database:
        found = database.read_two_view_geometry(a + 1, b + 1).cam2_from_cam1
    assert found is not None
    return geometry.from_rigid3d(found)


def relative(model: pycolmap.Reconstruction, a: int, b: int) -> Pose:
    poses = reconstruction.poses(model)
    return geometry.with_unit_translation(geometry.relative_pose(poses[NAMES[b]], poses[NAMES[a]]))


def add_link(path: Path, angle_deg: float = 0.0) -> None:
    """The true link between the groups, with its pose turned away from what its points say."""
    inject_links(path, [link_of(SCENE, NAMES, *BRIDGE, limit=40)])
    store(path, {BRIDGE: turned(SCENE.b_from_a(*BRIDGE), angle_deg)})


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


def test_a_link_joins_the_groups(tmp_path: Path) -> None:
    path = two_groups(tmp_path / "database.db")
    base = global_mapper.map_base(path, tmp_path, tmp_path / "models", OPTIONS, 0)
    add_link(path)
    before = stored_pose(path, *BRIDGE)
    warnings: list[str] = []
    models = global_final_mapping.map_all_photos(base, path, tmp_path, tmp_path / "linked", OPTIONS, 0, warnings)
    assert [model.num_reg_images() for model in models] == [7]
    assert worst_error_deg(models[0], TRUTH) < 0.5
    assert warnings == []
    after = stored_pose(path, *BRIDGE)
    np.testing.assert_array_equal(after.rotation, before.rotation)
    np.testing.assert_array_equal(after.translation, before.translation)


def test_without_gain_the_base_models_are_kept(tmp_path: Path) -> None:
    path = two_groups(tmp_path / "database.db")
    base = global_mapper.map_base(path, tmp_path, tmp_path / "models", OPTIONS, 0)
    models = global_final_mapping.map_all_photos(base, path, tmp_path, tmp_path / "linked", OPTIONS, 0, [])
    assert [model is old for model, old in zip(models, base, strict=True)] == [True, True]


def test_worse_than_the_base_is_refused(tmp_path: Path) -> None:
    """Poses within a group that contradict its base model turn it."""
    path = two_groups(tmp_path / "database.db")
    base = global_mapper.map_base(path, tmp_path, tmp_path / "models", OPTIONS, 0)
    add_link(path)
    store(path, {(a, b): turned(SCENE.b_from_a(a, b), 50 * (b - a)) for a in range(4) for b in range(a + 1, 4)})
    warnings: list[str] = []
    models = global_final_mapping.map_all_photos(base, path, tmp_path, tmp_path / "linked", OPTIONS, 0, warnings)
    assert [model is old for model, old in zip(models, base, strict=True)] == [True, True]
    assert "kept as they were" in " ".join(warnings)


def test_reconstruct_with_the_global_mapper(apart: Apart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = pycolmap.global_mapping

    def count(*arguments: Any) -> Any:
        calls.append("global")
        return original(*arguments)

    monkeypatch.setattr(pycolmap, "global_mapping", count)
    (tmp_path / "out").mkdir()
    for file in apart.side_dir.glob("*.h5"):
        (tmp_path / "out" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "out" / ".interpose_sfm").write_bytes((apart.side_dir / ".interpose_sfm").read_bytes())
    options = ReconstructOptions(generator=QUICK.generator, base=OPTIONS)
    result = reconstruct.reconstruct(apart.photo_dir, tmp_path / "out", options)
    assert calls == ["global", "global"]  # base models, and with the links
    assert (result.report.num_registered_before, result.report.num_registered_after) == (3, 6)
    assert worst_error_deg(pycolmap.Reconstruction(result.model_dirs[0]), apart.truth.cam_from_world) < 1.0
    assert result.report.options["base"]["mapper"] == "global"
