"""Reading and copying COLMAP databases."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pycolmap

from interpose_sfm import geometry
from interpose_sfm.colmap.room import check_room
from interpose_sfm.products import Intrinsics
from interpose_sfm.storage.digests import reading

_ROWS_FIT = {
    "keypoints": "rows * cols * 4 = coalesce(length(data), 0) AND (cols >= 2 OR rows = 0)",
    "descriptors": "coalesce(length(data), 0) IN (rows * cols, rows * cols * 2, rows * cols * 4)",
    "matches": "rows * cols * 4 = coalesce(length(data), 0)",
    "two_view_geometries": "rows * cols * 4 = coalesce(length(data), 0)",
    "images": "camera_id IN (SELECT camera_id FROM cameras)",
    "cameras": "width > 0 AND height > 0 AND length(params) % 8 = 0",
}
"""Table -> what holds of all its rows; COLMAP ends the process over some that it does not hold of."""


_ALWAYS_THERE = ("images", "cameras")


def check(path: Path) -> None:
    """Whether a COLMAP database is whole, by SQLite's own check and the sizes that its rows announce.

    Raises:
        ValueError: It is not, or is no COLMAP database; the message says why.
    """
    with reading(path) as connection:
        (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise ValueError(f"the database {path} is damaged ({state})")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table, condition in _ROWS_FIT.items():
            if table not in tables and table not in _ALWAYS_THERE:  # COLMAP adds what a database lacks
                continue
            (number,) = connection.execute(f"SELECT count(*) FROM {table} WHERE NOT ({condition})").fetchone()
            if number:
                raise ValueError(f"the database {path} is damaged ({number} rows of {table} do not fit)")


def check_free(path: Path) -> None:
    """Whether a database of ours can be written.

    Raises:
        ValueError: Another program holds it.
    """
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=1.0)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise ValueError(f"another program uses {path}; close it there and run again") from error
    except sqlite3.DatabaseError:  # no database: `check` says so
        return


def copy_database(source: Path, target: Path) -> None:
    """Copy a database as a whole, with what its write-ahead log holds, without touching the source.

    Opening a database with pycolmap writes to it, so a user's database is only ever opened as a copy.

    Raises:
        ValueError: The source is no file or no SQLite database.
        OSError: There is too little room for the target.
    """
    check_room(target.parent)  # pycolmap will write there
    with reading(source) as reader, contextlib.closing(sqlite3.connect(target)) as writer:
        reader.backup(writer)


def photo_names(path: Path) -> tuple[str, ...]:
    """Names of the photos in a database, in their order there, without touching it.

    Raises:
        ValueError: The path is no file or no COLMAP database.
    """
    with reading(path) as connection:
        return tuple(name for (name,) in connection.execute("SELECT name FROM images ORDER BY image_id"))


def names_with_priors(path: Path) -> frozenset[str]:
    """Photos of a database whose focal length is a prior, without touching it.

    Raises:
        ValueError: The path is no file or no COLMAP database.
    """
    query = "SELECT name FROM images JOIN cameras USING (camera_id) WHERE prior_focal_length"
    with reading(path) as connection:
        return frozenset(name for (name,) in connection.execute(query))


def camera_ids(path: Path) -> dict[str, int]:
    """Camera id of every photo."""
    import pycolmap

    with pycolmap.Database.open(path) as database:
        return {image.name: image.camera_id for image in database.read_all_images()}


def cameras(path: Path) -> dict[str, Intrinsics]:
    """Camera of every photo; trusted where its focal length is a prior."""
    stored = stored_cameras(path)
    return {
        name: geometry.from_colmap_camera(camera, bool(camera.has_prior_focal_length))
        for name, camera in stored.items()
    }


def stored_cameras(path: Path) -> dict[str, pycolmap.Camera]:
    """COLMAP's camera of every photo."""
    import pycolmap

    with pycolmap.Database.open(path) as database:
        by_id = {camera.camera_id: camera for camera in database.read_all_cameras()}
        return {image.name: by_id[image.camera_id] for image in database.read_all_images()}


def guess_focal_lengths(path: Path, known: Mapping[str, Intrinsics]) -> None:
    """Let cameras that no prior fixes start from what is known of their photos by now; they remain guesses.

    Args:
        path: A database of ours.
        known: Photo name -> camera; of photos that share one, the median counts.
    """
    import pycolmap

    with pycolmap.Database.open(path) as database:
        focal_px: dict[int, list[float]] = {}
        for image in database.read_all_images():
            if image.name in known:
                focal_px.setdefault(image.camera_id, []).append(known[image.name].focal_px)
        for camera in database.read_all_cameras():
            if camera.has_prior_focal_length or camera.camera_id not in focal_px:
                continue
            params = np.array(camera.params)
            params[list(camera.focal_length_idxs())] *= (
                np.median(focal_px[camera.camera_id]) / camera.mean_focal_length()
            )
            camera.params = params.tolist()
            database.update_camera(camera)


def hold_focal_lengths(path: Path) -> None:
    """Let all focal lengths of a database of ours count as priors, since nothing is to refine them."""
    import pycolmap

    with pycolmap.Database.open(path) as database:
        for camera in database.read_all_cameras():
            camera.has_prior_focal_length = True
            database.update_camera(camera)


def has_rigs(path: Path) -> bool:
    """Whether frames of several photos stand in a database."""
    import pycolmap

    with pycolmap.Database.open(path) as database:
        return any(len(frame.data_ids) > 1 for frame in database.read_all_frames())


def num_verified(database: pycolmap.Database) -> dict[tuple[int, int], int]:
    """Verified matches of every pair of image ids that has any."""
    import pycolmap

    counts = zip(*database.read_two_view_geometry_num_inliers(), strict=True)
    return {pycolmap.pair_id_to_image_pair(pair_id): int(count) for pair_id, count in counts}


def watermarked(path: Path) -> set[tuple[int, int]]:
    """Pairs of image ids whose verified matches are nothing but a watermark, as COLMAP found."""
    import pycolmap

    config = int(pycolmap.TwoViewGeometryConfiguration.WATERMARK)
    with reading(path) as connection:
        rows = connection.execute("SELECT pair_id FROM two_view_geometries WHERE config = ?", (config,)).fetchall()
    return {pycolmap.pair_id_to_image_pair(pair_id) for (pair_id,) in rows}


def verified_rows(path: Path, id_a: int, id_b: int) -> tuple[list[int], list[int]]:
    """Key-point rows in two images of their verified matches."""
    import pycolmap

    with pycolmap.Database.open(path) as database:
        if not database.exists_two_view_geometry(id_a, id_b):
            return [], []
        rows = database.read_two_view_geometry(id_a, id_b).inlier_matches
    return rows[:, 0].tolist(), rows[:, 1].tolist()
