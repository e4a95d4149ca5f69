from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from geometry_scenes import (
    FOCAL_PX,
    DatabaseOptions,
    all_rows,
    arc,
    camera,
    cloud,
    link_of,
    observe,
    true_model,
    worst_error_deg,
    write_database,
)
from interpose_sfm import geometry
from interpose_sfm.colmap import camera_fitting, databases, incremental_mapper, point_cloud, reconstruction
from interpose_sfm.colmap.link_rows import inject_links
from interpose_sfm.options import BaseOptions
from interpose_sfm.products import Pose

NAMES = ("a.jpg", "b.jpg", "sub/c.jpg", "d.jpg", "é.jpg")
OPTIONS = BaseOptions(num_threads=1)
POSES = arc([0, 12, 24, 36, 60])
SIFT = observe(cloud(1, 250), POSES, noise_px=0.3, seed=1)
TRUTH = dict(zip(NAMES, SIFT.cam_from_world, strict=True))
LEARNED = observe(cloud(2, 150), POSES, noise_px=0.3, seed=2)


def shifted(model: pycolmap.Reconstruction) -> pycolmap.Reconstruction:
    """A copy in another world frame."""
    copied = pycolmap.Reconstruction(model)
    turn = pycolmap.Rotation3d(geometry.rotation_exp([0.3, -0.5, 1.0]))
    copied.transform(pycolmap.Sim3d(2.5, turn, [1.0, -4.0, 3.0]))
    return copied


@dataclass(frozen=True)
class Base:
    """A database of five views and the base model of the first four; the fifth shares no SIFT match with them."""

    database_path: Path
    model: pycolmap.Reconstruction


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Base:
    path = tmp_path_factory.mktemp("base") / "database.db"
    write_database(path, SIFT, NAMES, DatabaseOptions(rows=all_rows(SIFT, range(4)), num_columns=4))
    return Base(path, true_model(path, SIFT, NAMES, range(4)))


@pytest.fixture
def base(original: Base, tmp_path: Path) -> Base:
    """A copy that a test may change."""
    path = tmp_path / "database.db"
    shutil.copyfile(original.database_path, path)
    return Base(path, pycolmap.Reconstruction(original.model))


def relative(poses: dict[str, Pose], a: str, b: str) -> Pose:
    return geometry.with_unit_translation(geometry.relative_pose(poses[b], poses[a]))


def model_of(views: Sequence[int], original: Base) -> pycolmap.Reconstruction:
    """The base model reduced to some of its views."""
    model = pycolmap.Reconstruction(original.model)
    reconstruction.remove_photos(model, {NAMES[v] for v in range(4)} - {NAMES[v] for v in views})
    return model


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


def test_equal_seeds_give_equal_models(base: Base, tmp_path: Path) -> None:
    found = []
    for run in ("1", "2"):
        models = incremental_mapper.map_base(base.database_path, tmp_path, tmp_path / run, OPTIONS, 7)
        found.append(reconstruction.poses(models[0]))
    for name, pose in found[0].items():
        np.testing.assert_array_equal(pose.rotation, found[1][name].rotation)
        np.testing.assert_array_equal(pose.translation, found[1][name].translation)


def test_names_are_read_without_touching_the_database(base: Base) -> None:
    before = base.database_path.read_bytes(), sorted(base.database_path.parent.iterdir())
    assert databases.photo_names(base.database_path) == NAMES
    assert (base.database_path.read_bytes(), sorted(base.database_path.parent.iterdir())) == before


def test_a_database_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, but as long as the header of one would be")
    for path, message in (
        (tmp_path / "nowhere.db", "expected a COLMAP database file"),
        (tmp_path / "text.db", "not a"),
    ):
        with pytest.raises(ValueError, match=message):
            databases.photo_names(path)
        with pytest.raises(ValueError, match=message):
            databases.copy_database(path, tmp_path / "copy.db")


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


def test_the_point_cloud_is_cleaned(base: Base, tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d")
    far = [100.0, 100.0, 100.0]
    num_before = base.model.num_points3D()
    for _ in range(2):
        base.model.add_point3D(far, pycolmap.Track(), [255, 0, 0])
    path = tmp_path / "points.ply"
    num_kept = point_cloud.write_point_cloud(base.model, path)
    points = np.asarray(open3d.io.read_point_cloud(path).points)
    assert len(points) == num_kept
    assert 0.9 * num_before <= num_kept <= num_before
    assert np.abs(points).max() < 10


def test_few_points_are_written_as_they_are(tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d")
    model = pycolmap.Reconstruction()
    for x in (0.0, 1.0, 50.0):
        model.add_point3D([x, 0, 0], pycolmap.Track(), [10, 20, 30])
    assert point_cloud.write_point_cloud(model, tmp_path / "few.ply") == 3
    cloud_read = open3d.io.read_point_cloud(tmp_path / "few.ply")
    assert sorted(np.asarray(cloud_read.points)[:, 0]) == [0, 1, 50]
    np.testing.assert_allclose(np.asarray(cloud_read.colors)[0] * 255, [10, 20, 30], atol=1)


def test_a_point_cloud_that_cannot_be_written_is_an_error(original: Base, tmp_path: Path) -> None:
    pytest.importorskip("open3d")
    with pytest.raises(OSError, match="cannot write"):
        point_cloud.write_point_cloud(original.model, tmp_path / "no" / "folder" / "points.ply")
