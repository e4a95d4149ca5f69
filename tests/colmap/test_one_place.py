from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from geometry_scenes import DatabaseOptions, Scene, all_rows, arc, camera, cloud, observe, turn, write_database
from interpose_sfm.colmap import one_place
from interpose_sfm.products import Pose

NAMES = tuple(f"{view}.jpg" for view in range(6))
BOX = cloud(5, 500, (6.0, 3.0, 3.0))
WALL = cloud(6, 400, (5.0, 0.0, 3.0))
TURN = turn([-12, -8, -4, 0, 4, 8])
ARC = arc([0, 8, 16, 24, 32, 40])


def database(
    folder: Path, points: np.ndarray, poses: Sequence[Pose], focal_px: float | None = None
) -> tuple[Path, Scene]:
    scene = observe(points, poses, noise_px=0.3, seed=7)
    if focal_px is not None:  # what the database believes
        scene = replace(scene, intrinsics=(camera(focal_px, is_trusted=False),) * len(poses))
    options = DatabaseOptions(rows=all_rows(scene, range(len(poses))))
    return write_database(folder / "database.db", scene, NAMES[: len(poses)], options), scene


@pytest.mark.parametrize("focal_px", [None, 960.0])
def test_photos_of_one_place_are_told_by_any_focal_length(tmp_path: Path, focal_px: float | None) -> None:
    path, _ = database(tmp_path, BOX, TURN, focal_px)
    assert one_place.one_place_groups(path, NAMES) == [frozenset(NAMES)]
    assert one_place.is_one_place(path, NAMES[:3])


@pytest.mark.parametrize("points", [BOX, WALL])
def test_photos_with_a_way_between_them_are_not(tmp_path: Path, points: np.ndarray) -> None:
    path, _ = database(tmp_path, points, ARC)
    assert one_place.one_place_groups(path, NAMES) == []


def test_a_few_photos_of_one_place_do_not_make_a_walk_one(tmp_path: Path) -> None:
    path, _ = database(tmp_path, BOX, [*TURN[:3], *ARC[1:4]])
    assert not one_place.is_one_place(path, NAMES)
    assert one_place.is_one_place(path, NAMES[:3])


def test_photos_that_no_pair_connects_are_not_judged(tmp_path: Path) -> None:
    scene = observe(BOX, TURN, noise_px=0.3, seed=7)
    rows = {(0, 1): scene.true_rows(0, 1), (1, 2): scene.true_rows(1, 2)[:29]}
    path = write_database(tmp_path / "database.db", scene, NAMES, DatabaseOptions(rows=rows))
    assert one_place.one_place_groups(path, NAMES) == [frozenset(NAMES[:2])]
    assert not one_place.is_one_place(path, NAMES[:3])


def test_a_stamp_in_one_place_of_all_photos_does_not_make_them_of_one_place(tmp_path: Path) -> None:
    """COLMAP keeps the pairs that it finds a watermark in among the verified ones."""
    path, _ = database(tmp_path, BOX, TURN)
    with pycolmap.Database.open(path) as opened:
        for other in range(2, 7):
            found = opened.read_two_view_geometry(1, other)
            found.config = pycolmap.TwoViewGeometryConfiguration.WATERMARK
            opened.update_two_view_geometry(1, other, found)
    assert one_place.one_place_groups(path, NAMES) == [frozenset(NAMES[1:])]
    assert one_place.is_one_place(path, NAMES[1:])
    assert not one_place.is_one_place(path, NAMES[:2])
