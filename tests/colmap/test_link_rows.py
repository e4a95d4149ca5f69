from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from geometry_scenes import (
    DatabaseOptions,
    all_rows,
    arc,
    camera,
    cloud,
    colmap_keypoints,
    evidence,
    link,
    link_of,
    observe,
    pose_error_deg,
    turned,
    write_database,
)
from interpose_sfm import geometry
from interpose_sfm.colmap.link_rows import inject_links
from interpose_sfm.products import FloatArray, Link

NAMES = ("a.jpg", "b/ü.jpg", "c.jpg", "d.jpg")
ASCENDING, DESCENDING = (1, 2, 3, 4), (9, 7, 4, 2)
POSES = arc([0, 15, 30, 45])
SIFT = observe(cloud(1, 200), POSES, noise_px=0.3, seed=1)
LEARNED = observe(cloud(2, 150), POSES, noise_px=0.3, seed=2)


def database(folder: Path, *, ids: Sequence[int] = ASCENDING, **options: object) -> Path:
    """A database with the SIFT key points of four views."""
    return write_database(folder / "database.db", SIFT, NAMES, DatabaseOptions(ids=ids, **options))  # type: ignore[arg-type]


def content(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def keypoints(path: Path, image_id: int) -> FloatArray:
    with pycolmap.Database.open(path) as stored:
        return np.asarray(stored.read_keypoints(image_id))


def descriptors(path: Path, image_id: int) -> np.ndarray:
    with pycolmap.Database.open(path) as stored:
        return np.asarray(stored.read_descriptors(image_id).data)


def geometry_of(path: Path, id_a: int, id_b: int) -> pycolmap.TwoViewGeometry:
    with pycolmap.Database.open(path) as stored:
        return stored.read_two_view_geometry(id_a, id_b)


def matches_of(path: Path, id_a: int, id_b: int) -> np.ndarray:
    with pycolmap.Database.open(path) as stored:
        return np.asarray(stored.read_matches(id_a, id_b))


def with_points(a: int, b: int, points_a_px: FloatArray, points_b_px: FloatArray) -> Link:
    found = evidence(num_inliers=len(points_a_px))
    return link(NAMES[a], NAMES[b], SIFT.b_from_a(a, b), found, points_px=(points_a_px, points_b_px))


# ---------------------------------------------------------------- key points


@pytest.mark.parametrize("num_columns", [2, 4, 6])
@pytest.mark.parametrize("with_descriptors", [True, False])
def test_new_key_points_are_appended_behind_the_old_ones(
    tmp_path: Path, num_columns: int, with_descriptors: bool
) -> None:
    path = database(tmp_path, num_columns=num_columns, with_descriptors=with_descriptors)
    before = {i: descriptors(path, i) for i in ASCENDING} if with_descriptors else {}
    offered = link_of(LEARNED, NAMES, 0, 1)
    inject_links(path, [offered])
    for view, points_px in ((0, offered.points_a_px), (1, offered.points_b_px)):
        old, new = colmap_keypoints(SIFT, view, num_columns), keypoints(path, view + 1)
        assert new.shape[1] == num_columns
        np.testing.assert_array_equal(new[: len(old)], old)
        num_new = len(new) - len(old)
        assert 0.9 * len(points_px) <= num_new <= len(points_px)  # a few happen to lie on old ones
        distance = np.abs(new[:, None, :2] - points_px[None]).max(2).min(0)
        assert distance.max() <= 1.0
        if num_columns == 4:
            assert np.all(new[len(old) :, 2] > 0)  # a scale
        if num_columns == 6:
            shapes = new[len(old) :, 2:].reshape(-1, 2, 2)
            assert np.all(np.linalg.det(shapes) > 0)
        if with_descriptors:
            stored = descriptors(path, view + 1)
            assert len(stored) == len(new)
            np.testing.assert_array_equal(stored[: len(old)], before[view + 1])
            assert not np.any(stored[len(old) :])
    for view in (2, 3):
        np.testing.assert_array_equal(keypoints(path, view + 1), colmap_keypoints(SIFT, view, num_columns))
    with pycolmap.Database.open(path) as stored:
        assert stored.num_descriptors() == (stored.num_keypoints() if with_descriptors else 0)


@pytest.mark.parametrize(("distance_px", "snaps"), [(0.0, True), (0.9, True), (1.1, False)])
def test_positions_near_a_key_point_become_that_key_point(tmp_path: Path, distance_px: float, snaps: bool) -> None:
    path = database(tmp_path)
    rows = SIFT.true_rows(0, 1)
    old = [colmap_keypoints(SIFT, v) for v in (0, 1)]
    gaps = [np.linalg.norm(k[:, None] - k[None], axis=2) + 99 * np.eye(len(k)) for k in old]
    lonely = (gaps[0].min(1)[rows[:, 0]] > 4) & (gaps[1].min(1)[rows[:, 1]] > 4)
    rows = rows[lonely][:40]
    assert len(rows) == 40
    offset = np.array([distance_px, 0.0])
    inject_links(path, [with_points(0, 1, old[0][rows[:, 0]] + offset, old[1][rows[:, 1]] - offset)])
    found = geometry_of(path, 1, 2).inlier_matches
    assert len(found) == 40
    if snaps:
        np.testing.assert_array_equal(found, rows)
        assert len(keypoints(path, 1)) == len(old[0])
    else:
        assert np.all(found >= [len(old[0]), len(old[1])])
        assert len(keypoints(path, 1)) == len(old[0]) + 40


def test_links_of_one_photo_share_their_key_points(tmp_path: Path) -> None:
    path = database(tmp_path)
    inject_links(path, [link_of(LEARNED, NAMES, 0, 1), link_of(LEARNED, NAMES, 1, 2)])
    num_new = len(keypoints(path, 2)) - len(SIFT.point_of_row[1])
    assert num_new <= len(LEARNED.point_of_row[1])
    joined = set(geometry_of(path, 1, 2).inlier_matches[:, 1]) & set(geometry_of(path, 2, 3).inlier_matches[:, 0])
    assert len(joined) > 0.9 * len(LEARNED.point_of_row[1])


def test_a_key_point_is_used_once_per_pair(tmp_path: Path) -> None:
    path = database(tmp_path)
    offered = link_of(LEARNED, NAMES, 0, 1)
    points_a_px, points_b_px = offered.points_a_px.copy(), offered.points_b_px.copy()
    points_a_px[1], points_a_px[2] = points_a_px[0], points_a_px[0] + 0.2
    points_b_px[5] = points_b_px[4]
    inject_links(path, [replace(offered, points_a_px=points_a_px, points_b_px=points_b_px)])
    for rows in (geometry_of(path, 1, 2).inlier_matches, matches_of(path, 1, 2)):
        assert len(np.unique(rows[:, 0])) == len(np.unique(rows[:, 1])) == len(rows)
        assert 0.9 * len(points_a_px) <= len(rows) <= len(points_a_px) - 2


def test_a_photo_without_any_key_point_gets_some(tmp_path: Path) -> None:
    nothing = observe(np.zeros((0, 3)), POSES)
    path = write_database(tmp_path / "database.db", nothing, NAMES)
    offered = link_of(LEARNED, NAMES, 0, 1)
    inject_links(path, [offered])
    found = keypoints(path, 1)
    assert 0.95 * len(offered.points_a_px) <= len(found) <= len(offered.points_a_px)
    assert len(geometry_of(path, 1, 2).inlier_matches) == len(found)
    assert len(descriptors(path, 1)) == len(found)


# ---------------------------------------------------------------- two-view geometries


@pytest.mark.parametrize("ids", [ASCENDING, DESCENDING])
@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 0)])
def test_the_geometry_is_that_of_the_link(tmp_path: Path, ids: Sequence[int], a: int, b: int) -> None:
    """COLMAP stores pairs by ascending id and turns what is asked for the other way round."""
    path = database(tmp_path, ids=ids)
    offered = link_of(LEARNED, NAMES, a, b)
    inject_links(path, [offered])
    found = geometry_of(path, ids[a], ids[b])
    assert found.config == pycolmap.TwoViewGeometryConfiguration.CALIBRATED
    pose = geometry.from_rigid3d(found.cam2_from_cam1)
    assert max(pose_error_deg(pose, SIFT.b_from_a(a, b))) < 1e-5
    positions = [keypoints(path, ids[v])[found.inlier_matches[:, k], :2] for k, v in enumerate((a, b))]
    assert len(positions[0]) > 100
    for k, points_px in enumerate((offered.points_a_px, offered.points_b_px)):
        assert np.linalg.norm(positions[k][:, None] - points_px[None], axis=2).min(1).max() <= 1.0
    for matrix, to_ray in ((found.E, True), (found.F, False)):
        assert _epipolar_error_px(matrix, positions, to_ray).max() < 4.0
        assert _epipolar_error_px(matrix.T, positions, to_ray).max() > 20.0


def _epipolar_error_px(matrix: np.ndarray, positions: Sequence[FloatArray], to_ray: bool) -> FloatArray:
    """Distance of the points of B to the epipolar lines of those of A."""
    if to_ray:
        inverse = np.linalg.inv(geometry.to_colmap_camera(SIFT.intrinsics[0]).calibration_matrix())
        matrix = inverse.T @ matrix @ inverse
    homogeneous = [np.column_stack([p, np.ones(len(p))]) for p in positions]
    lines = homogeneous[0] @ matrix.T
    return np.asarray(np.abs(np.sum(homogeneous[1] * lines, 1)) / np.linalg.norm(lines[:, :2], axis=1))


@pytest.mark.parametrize("ids", [ASCENDING, DESCENDING])
def test_earlier_matches_stay_where_they_agree(tmp_path: Path, ids: Sequence[int]) -> None:
    right = SIFT.true_rows(0, 1)[:60]
    wrong = SIFT.true_rows(0, 1)[60:100].copy()
    wrong[:, 1] = np.roll(wrong[:, 1], 7)
    path = database(tmp_path, ids=ids, rows={(0, 1): np.concatenate([right, wrong])})
    offered = link_of(LEARNED, NAMES, 0, 1)
    inject_links(path, [offered])
    found = {tuple(row) for row in geometry_of(path, ids[0], ids[1]).inlier_matches.tolist()}
    assert sum(tuple(row) in found for row in right.tolist()) >= 58
    assert sum(tuple(row) in found for row in wrong.tolist()) <= 8
    assert len(found) >= 58 + 0.8 * len(offered.points_a_px)
    every = {tuple(row) for row in matches_of(path, ids[0], ids[1]).tolist()}
    assert found <= every


@pytest.mark.parametrize(
    ("model", "distortion"),
    [("OPENCV", (-0.25, 0.05, 0.001, -0.001)), ("OPENCV_FISHEYE", (0.02, -0.01, 0.0, 0.0)), ("PINHOLE", ())],
)
def test_earlier_matches_of_curved_lenses_stay(tmp_path: Path, model: str, distortion: tuple[float, ...]) -> None:
    lens = replace(camera(450.0), model=model, distortion=distortion, aspect=1.02)
    scene = observe(cloud(1, 300, (5, 3, 2)), POSES, noise_px=0.3, seed=1, intrinsics=lens)
    right = scene.true_rows(0, 3)
    wrong = np.column_stack([right[:, 0], np.roll(right[:, 1], 7)])
    num_seen = len(right)
    assert num_seen > 150
    for index, (rows, least, most) in enumerate(((right, 0.99 * num_seen, num_seen), (wrong, 0, 0.15 * num_seen))):
        path = write_database(tmp_path / f"{index}.db", scene, NAMES, DatabaseOptions(rows={(0, 3): rows}))
        inject_links(path, [link_of(scene, NAMES, 0, 3, limit=1)])
        found = {tuple(row) for row in geometry_of(path, 1, 4).inlier_matches.tolist()}
        assert least <= sum(tuple(row) in found for row in rows.tolist()) <= most


def test_nothing_stays_of_a_geometry_that_contradicts_the_link(tmp_path: Path) -> None:
    rows = SIFT.true_rows(0, 1)[:60]
    path = database(tmp_path, rows={(0, 1): rows})
    offered = link_of(LEARNED, NAMES, 0, 1)
    inject_links(path, [replace(offered, b_from_a=turned(offered.b_from_a, 120, (0, 0, 1)))])
    found = {tuple(row) for row in geometry_of(path, 1, 2).inlier_matches.tolist()}
    assert sum(tuple(row) in found for row in rows.tolist()) <= 6
    assert len(found) >= 0.9 * len(offered.points_a_px)


def test_raw_matches_are_kept_behind_those_of_the_link(tmp_path: Path) -> None:
    raw = SIFT.true_rows(0, 1)[:30]
    path = database(tmp_path, raw={(0, 1): raw})
    inject_links(path, [link_of(LEARNED, NAMES, 0, 1)])
    inliers, every = geometry_of(path, 1, 2).inlier_matches, matches_of(path, 1, 2)
    np.testing.assert_array_equal(every[: len(inliers)], inliers)
    np.testing.assert_array_equal(every[len(inliers) :], [row for row in raw.tolist() if row in every.tolist()])
    assert len(every) - len(inliers) >= 28


def test_other_pairs_are_left_alone(tmp_path: Path) -> None:
    rows = all_rows(SIFT, [1, 2, 3])
    path = database(tmp_path, rows=rows)
    inject_links(path, [link_of(LEARNED, NAMES, 0, 1)])
    for (a, b), before in rows.items():
        np.testing.assert_array_equal(geometry_of(path, a + 1, b + 1).inlier_matches, before)
        np.testing.assert_array_equal(matches_of(path, a + 1, b + 1), before)
    with pycolmap.Database.open(path) as stored:
        assert stored.num_verified_image_pairs() == len(rows) + 1


def test_injecting_twice_adds_nothing(tmp_path: Path) -> None:
    path = database(tmp_path, rows={(0, 1): SIFT.true_rows(0, 1)[:60]})
    links = [link_of(LEARNED, NAMES, 0, 1), link_of(LEARNED, NAMES, 1, 2)]
    inject_links(path, links)
    once = [keypoints(path, i) for i in ASCENDING], geometry_of(path, 1, 2).inlier_matches
    inject_links(path, links)
    for before, image_id in zip(once[0], ASCENDING, strict=True):
        np.testing.assert_array_equal(keypoints(path, image_id), before)
    np.testing.assert_array_equal(geometry_of(path, 1, 2).inlier_matches, once[1])


# ---------------------------------------------------------------- bad input


def test_an_unknown_photo_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = database(tmp_path)
    before = content(path)
    good = link_of(LEARNED, NAMES, 0, 1)
    bad = link_of(LEARNED, ("a.jpg", "b/ü.jpg", "c.jpg", "nowhere.jpg"), 2, 3)
    with pytest.raises(ValueError, match=r"does not hold: \['nowhere.jpg'\]"):
        inject_links(path, [good, bad])
    assert content(path) == before


def test_no_links_change_nothing(tmp_path: Path) -> None:
    path = database(tmp_path)
    before = path.read_bytes()
    inject_links(path, [])
    assert path.read_bytes() == before


# ---------------------------------------------------------------- what COLMAP makes of it


def test_colmap_maps_a_database_that_lives_on_links_alone(tmp_path: Path) -> None:
    """Four views without a single SIFT match: the links are all there is."""
    path = database(tmp_path, num_columns=4, ids=DESCENDING)
    inject_links(path, [link_of(LEARNED, NAMES, a, b) for a, b in ((0, 1), (2, 1), (2, 3), (0, 2), (3, 1))])
    options = pycolmap.IncrementalPipelineOptions(min_model_size=3, random_seed=0, num_threads=1)
    models = pycolmap.incremental_mapping(path, tmp_path, tmp_path / "sparse", options)
    assert len(models) == 1
    model = models[0]
    assert model.num_reg_images() == 4
    assert model.compute_mean_reprojection_error() < 1.0
    poses = {i.name: geometry.from_rigid3d(i.cam_from_world()) for i in model.images.values()}
    for b in range(1, 4):
        found = geometry.with_unit_translation(geometry.relative_pose(poses[NAMES[b]], poses[NAMES[0]]))
        assert max(pose_error_deg(found, SIFT.b_from_a(0, b))) < 1.0


def test_the_stored_pose_is_read_by_colmaps_verification(tmp_path: Path) -> None:
    """COLMAP can filter matches by a stored pose; with the pose of the link it keeps those of the link."""
    path = database(tmp_path, ids=DESCENDING)
    offered = link_of(LEARNED, NAMES, 0, 1)
    inject_links(path, [offered])
    before = len(geometry_of(path, DESCENDING[0], DESCENDING[1]).inlier_matches)
    pycolmap.geometric_verification(path, pycolmap.GeometricVerifierOptions(use_existing_relative_pose=True))
    after = geometry_of(path, DESCENDING[0], DESCENDING[1])
    assert len(after.inlier_matches) >= 0.95 * before
    pose = geometry.from_rigid3d(after.cam2_from_cam1)
    assert max(pose_error_deg(pose, SIFT.b_from_a(0, 1))) < 1e-5
