"""Accepted links into a COLMAP database: key points, matches and two-view geometries with their poses."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap.constants import MAX_ERROR_PX
from interpose_sfm.products import FloatArray, IndexArray, Link, Pose

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

SNAP_PX = 1.0  # learned and SIFT key points this close are one key point, so that their tracks join


def inject_links(database_path: Path, links: Sequence[Link]) -> None:
    """Write links into a database as verified pairs; what the pairs had is kept where it agrees with the link's pose.

    New key points are appended behind the existing ones, so that all existing rows keep their meaning; their
    descriptors are zero, which matches nothing. The database must be ours: hand in a copy of a user's.

    Args:
        database_path: Database that holds all photos of the links.
        links: Accepted links, and learned matches between neighbours in a base model.
    """
    import pycolmap

    links = [link for link in links if len(link.points_a_px)]  # those without carry a pose alone
    if not links:
        return
    with pycolmap.Database.open(database_path) as database, pycolmap.DatabaseTransaction(database):
        images = {image.name: image for image in database.read_all_images()}
        missing = sorted({n for link in links for n in (link.pair.a, link.pair.b)} - images.keys())
        if missing:
            raise ValueError(f"links name photos that the database does not hold: {missing}")
        keypoints = _KeypointTable(database)
        for link in links:
            image_a, image_b = images[link.pair.a], images[link.pair.b]
            rows = np.stack(
                [
                    keypoints.rows(image_a.image_id, link.points_a_px),
                    keypoints.rows(image_b.image_id, link.points_b_px),
                ],
                axis=1,
            )
            cameras = database.read_camera(image_a.camera_id), database.read_camera(image_b.camera_id)
            _write_pair(database, image_a.image_id, image_b.image_id, cameras, link.b_from_a, rows, keypoints)
        grown = keypoints.write()
    _pad_descriptors(database_path, grown)


def _pad_descriptors(database_path: Path, grown: Mapping[int, int]) -> None:
    """Zero descriptors for new key points: COLMAP wants as many descriptors as key points; pycolmap has no update."""
    with contextlib.closing(sqlite3.connect(database_path)) as connection, connection:
        for image_id, num_new in grown.items():
            row = connection.execute("SELECT cols, data FROM descriptors WHERE image_id = ?", (image_id,)).fetchone()
            if row is not None:
                connection.execute(
                    "UPDATE descriptors SET rows = rows + ?, data = ? WHERE image_id = ?",
                    (num_new, (row[1] or b"") + bytes(num_new * row[0]), image_id),  # NULL where there is none
                )


class _KeypointTable:
    """Key points of the photos that links touch: looks positions up, appends the ones that are new."""

    def __init__(self, database: pycolmap.Database) -> None:
        self._database = database
        self._tables: dict[int, FloatArray] = {}
        self._num_stored: dict[int, int] = {}

    def positions(self, image_id: int) -> FloatArray:
        """(n, 2) pixel positions of all key points, new ones included."""
        return self._table(image_id)[:, :2]

    def rows(self, image_id: int, points_px: FloatArray) -> IndexArray:
        """Row of each position; positions without a key point within SNAP_PX are appended."""
        from scipy.spatial import cKDTree

        table = self._table(image_id)
        rows = np.full(len(points_px), -1, np.int64)
        if len(table):
            distance, nearest = cKDTree(table[:, :2]).query(points_px, distance_upper_bound=SNAP_PX)
            rows = np.where(np.isfinite(distance), nearest, -1)
        unique, inverse = np.unique(points_px[rows < 0], axis=0, return_inverse=True)
        rows[rows < 0] = len(table) + inverse.ravel()
        appended = np.zeros((len(unique), table.shape[1]))
        appended[:, :2] = unique
        if table.shape[1] == 6:
            appended[:, [2, 5]] = 1.0  # an affine shape of one pixel
        elif table.shape[1] == 4:
            appended[:, 2] = 1.0  # scale
        self._tables[image_id] = np.concatenate([table, appended])
        return rows.astype(np.uint32)

    def write(self) -> dict[int, int]:
        """Write the tables that have grown; returns by how many rows, by image."""
        grown = {}
        for image_id, table in self._tables.items():
            num_new = len(table) - self._num_stored[image_id]
            if num_new == 0:
                continue
            grown[image_id] = num_new
            if self._database.exists_keypoints(image_id):
                self._database.update_keypoints(image_id, table.astype(np.float32))
            else:
                self._database.write_keypoints(image_id, table.astype(np.float32))
        return grown

    def _table(self, image_id: int) -> FloatArray:
        if image_id not in self._tables:
            stored = self._database.read_keypoints(image_id)
            table = np.asarray(stored, np.float64) if len(stored) else np.zeros((0, 2))
            self._tables[image_id], self._num_stored[image_id] = table, len(table)
        return self._tables[image_id]


def _write_pair(
    database: pycolmap.Database,
    id_a: int,
    id_b: int,
    cameras: tuple[pycolmap.Camera, pycolmap.Camera],
    b_from_a: Pose,
    rows: IndexArray,
    keypoints: _KeypointTable,
) -> None:
    """Write one link, together with those rows of the pair that agree with its pose."""
    import pycolmap

    if database.exists_two_view_geometry(id_a, id_b):
        before = database.read_two_view_geometry(id_a, id_b).inlier_matches
        agree = _agrees(b_from_a, cameras, keypoints.positions(id_a), keypoints.positions(id_b), before)
        rows = _one_to_one(np.concatenate([before[agree], rows]))
        database.delete_two_view_geometry(id_a, id_b)
    else:
        rows = _one_to_one(rows)
    if database.exists_matches(id_a, id_b):
        matches = _one_to_one(np.concatenate([rows, database.read_matches(id_a, id_b)]))
        database.delete_matches(id_a, id_b)
    else:
        matches = rows
    database.write_matches(id_a, id_b, matches)

    two_view = pycolmap.TwoViewGeometry()
    two_view.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
    two_view.cam2_from_cam1 = geometry.to_rigid3d(b_from_a)
    two_view.E = pycolmap.essential_matrix_from_pose(two_view.cam2_from_cam1)
    inverse_a, inverse_b = (np.linalg.inv(camera.calibration_matrix()) for camera in cameras)
    two_view.F = inverse_b.T @ two_view.E @ inverse_a
    two_view.inlier_matches = rows
    database.write_two_view_geometry(id_a, id_b, two_view)


def _agrees(
    b_from_a: Pose,
    cameras: tuple[pycolmap.Camera, pycolmap.Camera],
    points_a_px: FloatArray,
    points_b_px: FloatArray,
    rows: IndexArray,
) -> np.ndarray:
    """Which matches lie within MAX_ERROR_PX of the epipolar geometry: the Sampson error, by the rays of the cameras."""
    camera_a, camera_b = (geometry.from_colmap_camera(camera, is_trusted=True) for camera in cameras)
    a_px, b_px = points_a_px[rows[:, 0]], points_b_px[rows[:, 1]]
    errors_b_px = geometry.epipolar_errors_px(b_from_a, a_px, camera_a, b_px, camera_b)
    errors_a_px = geometry.epipolar_errors_px(b_from_a.inverse(), b_px, camera_b, a_px, camera_a)
    tiny_px = 1e-6  # to divide by
    weights = np.maximum(errors_a_px, tiny_px) ** -2 + np.maximum(errors_b_px, tiny_px) ** -2
    return np.asarray(weights >= MAX_ERROR_PX**-2)


def _one_to_one(rows: IndexArray) -> IndexArray:
    """Rows in their order, without those that use a key point a second time."""
    seen_a: set[int] = set()
    seen_b: set[int] = set()
    kept = []
    for a, b in rows.tolist():
        if a not in seen_a and b not in seen_b:
            seen_a.add(a)
            seen_b.add(b)
            kept.append((a, b))
    return np.array(kept, np.uint32).reshape(-1, 2)
