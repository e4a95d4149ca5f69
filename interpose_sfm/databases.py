"""Reading and copying COLMAP databases."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from interpose_sfm.products import Intrinsics
from interpose_sfm.reconstruction import intrinsics_of


def copy_database(source: Path, target: Path) -> None:
    """Copy a database as a whole, with what its write-ahead log holds, without touching the source.

    Opening a database with pycolmap writes to it, so a user's database is only ever opened as a copy.

    Raises:
        ValueError: The source is no SQLite database.
    """
    has_log = source.with_name(source.name + "-wal").exists()
    uri = f"{source.resolve().as_uri()}?{'mode=ro' if has_log else 'mode=ro&immutable=1'}"
    try:
        with (
            contextlib.closing(sqlite3.connect(uri, uri=True)) as reader,
            contextlib.closing(sqlite3.connect(target)) as writer,
        ):
            reader.backup(writer)
    except sqlite3.DatabaseError as error:
        raise ValueError(f"got {source}, expected a COLMAP database ({error})") from error


def camera_ids(path: Path) -> dict[str, int]:
    """Camera id of every photo."""
    import pycolmap

    with pycolmap.Database.open(path) as database:
        return {image.name: image.camera_id for image in database.read_all_images()}


def cameras(path: Path) -> dict[str, Intrinsics]:
    """Camera of every photo; trusted where its focal length is a prior."""
    import pycolmap

    with pycolmap.Database.open(path) as database:
        found = {camera.camera_id: camera for camera in database.read_all_cameras()}
        return {
            image.name: intrinsics_of(
                found[image.camera_id], is_trusted=bool(found[image.camera_id].has_prior_focal_length)
            )
            for image in database.read_all_images()
        }


def verified_rows(path: Path, id_a: int, id_b: int) -> tuple[list[int], list[int]]:
    """Key-point rows in two images of their verified matches."""
    import pycolmap

    with pycolmap.Database.open(path) as database:
        if not database.exists_two_view_geometry(id_a, id_b):
            return [], []
        rows = database.read_two_view_geometry(id_a, id_b).inlier_matches
    return rows[:, 0].tolist(), rows[:, 1].tolist()
