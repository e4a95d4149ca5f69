"""Photos of several focal lengths that share a camera, on databases of known geometry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pycolmap
import pytest

from geometry_scenes import (
    DatabaseOptions,
    all_rows,
    camera,
    worst_error_deg,
    write_database,
)
from interpose_sfm.colmap import databases, incremental_mapper, own_cameras
from interpose_sfm.options import BaseOptions
from zoomed_photos import FOCAL_PX, NAMES, TRUTH, zoomed

OPTIONS = BaseOptions(num_threads=1)


def mapped(path: Path, output: Path) -> pycolmap.Reconstruction:
    output.mkdir()
    return incremental_mapper.map_base(path, output, output, OPTIONS, 0)[0]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    scene = zoomed(1.6)
    return write_database(tmp_path / "a.db", scene, NAMES, DatabaseOptions(rows=all_rows(scene, range(6))))


def test_focal_lengths_that_differ_are_found_and_mapped_right_with_cameras_apart(
    tmp_path: Path, database: Path
) -> None:
    shared = own_cameras.guessed_together(database)
    assert shared == (frozenset(NAMES),)
    model = mapped(database, tmp_path / "shared")
    assert model.num_reg_images() == 6
    assert worst_error_deg(model, TRUTH) > 10
    before = model.compute_mean_reprojection_error()
    (found,) = own_cameras.own_focals(model, shared)
    assert found.are_several
    assert found.names == NAMES
    assert 1.3 < found.focal_ratio < 1.9
    assert model.compute_mean_reprojection_error() == before  # it was a copy

    own_cameras.copy_with_own_cameras(database, tmp_path / "b.db", NAMES)
    cameras = databases.stored_cameras(tmp_path / "b.db")
    assert len({each.camera_id for each in cameras.values()}) == 6
    assert own_cameras.guessed_together(tmp_path / "b.db") == ()
    assert len({each.camera_id for each in databases.stored_cameras(database).values()}) == 1
    apart = mapped(tmp_path / "b.db", tmp_path / "apart")
    assert worst_error_deg(apart, TRUTH) < 2


def test_a_single_photo_that_was_zoomed_is_found(tmp_path: Path) -> None:
    scene = zoomed(1.4, views=[5])
    path = write_database(tmp_path / "a.db", scene, NAMES, DatabaseOptions(rows=all_rows(scene, range(6))))
    model = mapped(path, tmp_path / "shared")
    assert model.num_reg_images() == 6
    (found,) = own_cameras.own_focals(model, own_cameras.guessed_together(path))
    assert found.are_several


def test_photos_of_one_focal_length_are_not_told_apart(tmp_path: Path) -> None:
    scene = zoomed(1.0)
    path = write_database(tmp_path / "a.db", scene, NAMES, DatabaseOptions(rows=all_rows(scene, range(6))))
    (found,) = own_cameras.own_focals(mapped(path, tmp_path / "shared"), own_cameras.guessed_together(path))
    assert not found.are_several
    assert found.focal_ratio < 1.05
    assert found.error_share > 0.95


def test_only_shared_guesses_are_asked_about(tmp_path: Path) -> None:
    scene = zoomed(1.0)
    rows = all_rows(scene, range(6))
    known = replace(scene, intrinsics=(camera(FOCAL_PX),) * 6)
    path = write_database(tmp_path / "known.db", known, NAMES, DatabaseOptions(rows=rows))
    assert own_cameras.guessed_together(path) == ()
    path = write_database(tmp_path / "apart.db", scene, NAMES, DatabaseOptions(rows=rows, shares_camera=False))
    assert own_cameras.guessed_together(path) == ()


def test_photos_that_are_not_named_keep_their_camera(tmp_path: Path, database: Path) -> None:
    own_cameras.copy_with_own_cameras(database, tmp_path / "b.db", NAMES[:2])
    ids = {name: each.camera_id for name, each in databases.stored_cameras(tmp_path / "b.db").items()}
    assert len(set(ids.values())) == 3
    assert len({ids[name] for name in NAMES[2:]}) == 1
