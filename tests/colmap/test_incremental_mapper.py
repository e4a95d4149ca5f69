from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from base_models import NAMES, POSES, SIFT, Base, shifted
from geometry_scenes import (
    FOCAL_PX,
    DatabaseOptions,
    all_rows,
    arc,
    cloud,
    link_of,
    observe,
    true_model,
    worst_error_deg,
    write_database,
)
from interpose_sfm.colmap import databases, incremental_mapper, reconstruction
from interpose_sfm.colmap.link_rows import inject_links
from interpose_sfm.options import BaseOptions

OPTIONS = BaseOptions(num_threads=1)


TRUTH = dict(zip(NAMES, SIFT.cam_from_world, strict=True))

LEARNED = observe(cloud(2, 150), POSES, noise_px=0.3, seed=2)


# ---------------------------------------------------------------- base models


def test_plain_mapping_finds_the_views_that_match(base: Base, tmp_path: Path) -> None:
    calls: list[int] = []
    models = incremental_mapper.map_base(
        base.database_path, tmp_path, tmp_path / "models", OPTIONS, 0, lambda: calls.append(1)
    )
    assert [reconstruction.registered_names(m) for m in models] == [frozenset(NAMES[:4])]
    assert worst_error_deg(models[0], TRUTH, NAMES[:4]) < 0.5
    assert 3 <= len(calls) <= 8  # the initial pair and two more, in one or two attempts
    read = reconstruction.read_models(tmp_path / "models", OPTIONS.min_model_size)
    assert [m.num_reg_images() for m in read] == [4]
    assert worst_error_deg(read[0], TRUTH, NAMES[:4]) < 0.5


@pytest.mark.parametrize("is_refined", [True, False])
def test_cameras_are_refined_unless_that_is_switched_off(base: Base, tmp_path: Path, is_refined: bool) -> None:
    options = BaseOptions(num_threads=1, refine_intrinsics=is_refined)
    with pycolmap.Database.open(base.database_path) as database:
        before = {camera.camera_id: list(camera.params) for camera in database.read_all_cameras()}
    (model,) = incremental_mapper.map_base(base.database_path, tmp_path, tmp_path / "models", options, 0)
    kept = [list(model.camera(i.camera_id).params) == before[i.camera_id] for i in model.images.values()]
    assert kept == [not is_refined] * 4


def test_equal_seeds_give_equal_models(base: Base, tmp_path: Path) -> None:
    found = []
    for run in ("1", "2"):
        models = incremental_mapper.map_base(base.database_path, tmp_path, tmp_path / run, OPTIONS, 7)
        found.append(reconstruction.poses(models[0]))
    for name, pose in found[0].items():
        np.testing.assert_array_equal(pose.rotation, found[1][name].rotation)
        np.testing.assert_array_equal(pose.translation, found[1][name].translation)


def test_the_mapper_differs_from_colmaps_in_what_the_options_say() -> None:
    ours, default = (
        o.todict()
        for o in (
            incremental_mapper.mapper_options(BaseOptions(num_threads=1, min_model_size=4), 7),
            pycolmap.IncrementalPipelineOptions(),
        )
    )
    changed = {key: value for key, value in ours.items() if value != default[key]}
    assert changed == {"min_model_size": 4, "num_threads": 1, "random_seed": 7}


def test_no_initial_pair_is_no_model(tmp_path: Path) -> None:
    path = write_database(tmp_path / "database.db", SIFT, NAMES)
    assert incremental_mapper.map_base(path, tmp_path, tmp_path / "models", OPTIONS, 0) == []


@pytest.mark.parametrize(("min_size", "num_models"), [(3, 1), (4, 1), (5, 0)])
def test_small_models_are_kept_down_to_the_limit(base: Base, tmp_path: Path, min_size: int, num_models: int) -> None:
    options = BaseOptions(num_threads=1, min_model_size=min_size)
    found = incremental_mapper.map_base(base.database_path, tmp_path, tmp_path / "models", options, 0)
    assert len(found) == num_models


# ---------------------------------------------------------------- continuing a model


def inject(base: Base, pairs: Sequence[tuple[int, int]]) -> None:
    inject_links(base.database_path, [link_of(LEARNED, NAMES, a, b) for a, b in pairs])


def grow(model: pycolmap.Reconstruction, database_path: Path, folder: Path) -> pycolmap.Reconstruction:
    """Triangulate what the links brought, then let the mapper go on."""
    ready = incremental_mapper.triangulate(model, database_path, folder, folder / "work" / "ready", OPTIONS, 0)
    return incremental_mapper.continue_model(ready, database_path, folder, folder / "work" / "grown", OPTIONS, 0)


def test_triangulation_adds_points_and_moves_nothing(base: Base, tmp_path: Path) -> None:
    inject(base, [(3, 4), (2, 3), (1, 2)])
    ready = incremental_mapper.triangulate(base.model, base.database_path, tmp_path, tmp_path / "t", OPTIONS, 0)
    assert reconstruction.registered_names(ready) == frozenset(NAMES[:4])
    before, after = reconstruction.poses(base.model), reconstruction.poses(ready)
    for name, pose in before.items():
        np.testing.assert_allclose(after[name].rotation, pose.rotation, atol=1e-12)
        np.testing.assert_allclose(after[name].translation, pose.translation, atol=1e-12)
    assert base.model.num_points3D() + 80 < ready.num_points3D() < base.model.num_points3D() + 170
    truth = np.concatenate([SIFT.points_in_world, LEARNED.points_in_world])
    xyz = np.array([point.xyz for point in ready.points3D.values()])
    error = np.linalg.norm(xyz[:, None] - truth[None], axis=2).min(axis=1)
    assert np.median(error) < 0.02
    assert np.quantile(error, 0.95) < 0.1


def test_a_model_is_continued_and_no_other_one_begun(tmp_path: Path) -> None:
    """Photos of another place make a larger model than those of the one that is continued."""
    scene = observe(cloud(3, 250), arc([12.0 * view for view in range(9)]), noise_px=0.3, seed=3)
    names = [f"{view}.jpg" for view in range(9)]
    rows = {**all_rows(scene, range(4)), **all_rows(scene, range(4, 9))}
    path = write_database(tmp_path / "database.db", scene, names, DatabaseOptions(rows=rows))
    grown = grow(true_model(path, scene, names, range(3)), path, tmp_path)
    assert reconstruction.registered_names(grown) == frozenset(names[:4])


def test_a_link_brings_a_missing_photo_in(base: Base, tmp_path: Path) -> None:
    before = reconstruction.poses(base.model)
    inject(base, [(3, 4), (2, 3), (1, 3), (1, 2)])  # one link, and learned matches around its end
    grown = grow(base.model, base.database_path, tmp_path)
    assert reconstruction.registered_names(grown) == frozenset(NAMES)
    assert worst_error_deg(grown, TRUTH, NAMES[:5]) < 0.5
    assert reconstruction.largest_change_deg(base.model, grown) < 0.2
    assert grown.compute_mean_reprojection_error() < 1.0
    assert grown.num_points3D() > base.model.num_points3D() + 60
    # The model handed in stays as it was.
    assert base.model.num_reg_images() == 4
    for name, pose in reconstruction.poses(base.model).items():
        np.testing.assert_array_equal(pose.rotation, before[name].rotation)


def test_the_scale_and_frame_of_the_base_do_not_matter(base: Base, tmp_path: Path) -> None:
    inject(base, [(3, 4), (2, 3), (1, 3)])
    moved = shifted(base.model)
    grown = grow(moved, base.database_path, tmp_path)
    assert reconstruction.registered_names(grown) == frozenset(NAMES)
    assert worst_error_deg(grown, TRUTH, NAMES[:5]) < 0.5


def test_without_a_link_nothing_is_added(base: Base, tmp_path: Path) -> None:
    inject(base, [(2, 3), (1, 2)])
    grown = grow(base.model, base.database_path, tmp_path)
    assert reconstruction.registered_names(grown) == frozenset(NAMES[:4])
    assert worst_error_deg(grown, TRUTH, NAMES[:4]) < 0.2


def test_refined_intrinsics_of_the_base_are_kept(base: Base, tmp_path: Path) -> None:
    inject(base, [(3, 4), (2, 3), (1, 3)])
    grown = grow(base.model, base.database_path, tmp_path)
    for found in reconstruction.model_cameras(grown).values():
        assert found.focal_px == pytest.approx(FOCAL_PX, rel=0.02)


def test_a_model_with_more_key_points_keeps_its_tracks(base: Base) -> None:
    inject(base, [(3, 4), (2, 3)])
    extended = reconstruction.with_database_keypoints(base.model, base.database_path)
    with pycolmap.Database.open(base.database_path) as database:
        for image in extended.images.values():
            stored = np.asarray(database.read_keypoints(image.image_id))
            assert image.num_points2D() == len(stored)
            np.testing.assert_array_equal(np.array([p.xy for p in image.points2D]), stored[:, :2])
    assert extended.image(4).num_points2D() > base.model.image(4).num_points2D() + 100
    assert extended.num_points3D() == base.model.num_points3D() > 200
    for point_id, point in base.model.points3D.items():
        copied = extended.point3D(point_id)
        np.testing.assert_array_equal(copied.xyz, point.xyz)
        elements = [{(e.image_id, e.point2D_idx) for e in p.track.elements} for p in (point, copied)]
        assert elements[0] == elements[1]
    for image_id, image in base.model.images.items():
        copied_image = extended.image(image_id)
        assert (copied_image.name, copied_image.has_pose) == (image.name, image.has_pose)
        assert copied_image.num_points3D == image.num_points3D
        if image.has_pose:
            np.testing.assert_array_equal(copied_image.cam_from_world().matrix(), image.cam_from_world().matrix())
    assert extended.compute_mean_reprojection_error() == pytest.approx(base.model.compute_mean_reprojection_error())


@pytest.mark.parametrize(("a", "b"), [(0, 2), (2, 0)])
def test_verified_rows_are_those_of_the_pair(base: Base, a: int, b: int) -> None:
    rows = databases.verified_rows(base.database_path, a + 1, b + 1)
    assert sorted(zip(*rows, strict=True)) == sorted(map(tuple, SIFT.true_rows(a, b).tolist()))
    assert databases.verified_rows(base.database_path, a + 1, 5) == ([], [])


def test_only_the_named_photos_are_mapped(base: Base, tmp_path: Path) -> None:
    found = incremental_mapper.map_remaining(
        [NAMES[v] for v in (0, 2, 3)], base.database_path, tmp_path, tmp_path / "more", OPTIONS, 0
    )
    assert [reconstruction.registered_names(m) for m in found] == [{NAMES[0], NAMES[2], NAMES[3]}]
