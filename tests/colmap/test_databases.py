from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest

import base_models
from base_models import Base
from geometry_scenes import (
    FOCAL_PX,
    DatabaseOptions,
    arc,
    cloud,
    observe,
    write_database,
)
from interpose_sfm.colmap import databases

NAMES = ("z.jpg", "sub/é.jpg", "a.jpg")
IDS = (4, 9, 2)
SCENE = observe(cloud(1, 60), arc([0, 12, 24]), seed=1)


def database(folder: Path, **options: object) -> Path:
    return write_database(
        folder / "database.db",
        SCENE,
        NAMES,
        DatabaseOptions(rows={(0, 1): SCENE.true_rows(0, 1)}, ids=IDS, **options),  # type: ignore[arg-type]
    )


def guess(path: Path, camera_id: int) -> None:
    """Let a camera have a focal length of 500 px that nobody knows."""
    with pycolmap.Database.open(path) as stored:
        camera = stored.read_camera(camera_id)
        camera.focal_length = 500.0
        camera.has_prior_focal_length = False
        stored.update_camera(camera)


def rename(path: Path, old: str, new: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute("UPDATE images SET name = ? WHERE name = ?", (new, old)).rowcount == 1


# ---------------------------------------------------------------- copies


def test_a_copy_is_equal_and_apart(tmp_path: Path) -> None:
    source, target = database(tmp_path), tmp_path / "copy.db"
    before = source.read_bytes()
    databases.copy_database(source, target)
    assert databases.photo_names(target) == databases.photo_names(source)
    with pycolmap.Database.open(target) as copied:
        np.testing.assert_array_equal(copied.read_two_view_geometry(4, 9).inlier_matches, SCENE.true_rows(0, 1))
    rename(target, "a.jpg", "b.jpg")
    assert "b.jpg" in databases.photo_names(target)
    assert "b.jpg" not in databases.photo_names(source)
    assert source.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"database.db", "copy.db"}


def test_what_stands_in_the_write_ahead_log_is_copied_and_read(tmp_path: Path) -> None:
    source = database(tmp_path)
    with contextlib.closing(sqlite3.connect(source)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("UPDATE images SET name = 'new.jpg' WHERE name = 'a.jpg'")
        writer.commit()
        assert (tmp_path / "database.db-wal").stat().st_size > 0
        assert b"new.jpg" not in source.read_bytes()  # in the log alone
        databases.copy_database(source, tmp_path / "copy.db")
        assert databases.photo_names(source)[0] == "new.jpg"
    assert databases.photo_names(tmp_path / "copy.db")[0] == "new.jpg"


def test_what_is_no_database_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, but as long as the header of one would be: 100 bytes" * 2)
    for name in ("nowhere.db", "text.db"):
        with pytest.raises(ValueError, match="expected a COLMAP database"):
            databases.copy_database(tmp_path / name, tmp_path / "copy.db")
    assert not (tmp_path / "nowhere.db").exists()


# ---------------------------------------------------------------- photos and cameras


def test_photos_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    assert databases.photo_names(database(tmp_path)) == ("a.jpg", "z.jpg", "sub/é.jpg")


@pytest.mark.parametrize("shares_camera", [True, False])
def test_every_photo_has_its_camera(tmp_path: Path, shares_camera: bool) -> None:
    path = database(tmp_path, shares_camera=shares_camera)
    guess(path, 1 if shares_camera else 9)
    ids = databases.camera_ids(path)
    assert ids == (dict.fromkeys(NAMES, 1) if shares_camera else dict(zip(NAMES, IDS, strict=True)))
    found = databases.cameras(path)
    for name in NAMES:
        is_changed = shares_camera or name == "sub/é.jpg"
        assert found[name].focal_px == (500.0 if is_changed else FOCAL_PX)
        assert found[name].is_trusted == (not is_changed)  # a focal length that is no prior is a guess
    stored_cameras = databases.stored_cameras(path)
    assert {name: camera.camera_id for name, camera in stored_cameras.items()} == ids


def test_what_is_learned_of_a_focal_length_replaces_a_guess_and_no_prior(tmp_path: Path) -> None:
    path = database(tmp_path, shares_camera=False)
    guess(path, 9)
    learned = {name: replace(camera, focal_px=700.0) for name, camera in databases.cameras(path).items()}
    databases.guess_focal_lengths(path, learned)
    found = databases.cameras(path)
    assert {name: camera.focal_px for name, camera in found.items()} == {
        "z.jpg": FOCAL_PX,
        "sub/é.jpg": 700.0,
        "a.jpg": FOCAL_PX,
    }
    assert not found["sub/é.jpg"].is_trusted


def test_of_photos_that_share_a_guessed_camera_the_median_counts(tmp_path: Path) -> None:
    path = database(tmp_path)
    guess(path, 1)
    camera = databases.cameras(path)["a.jpg"]
    databases.guess_focal_lengths(
        path, {name: replace(camera, focal_px=px) for name, px in zip(NAMES, (9000.0, 610.0, 600.0), strict=True)}
    )
    assert {camera.focal_px for camera in databases.cameras(path).values()} == {610.0}


def test_only_frames_of_several_photos_are_rigs(tmp_path: Path) -> None:
    path = database(tmp_path)
    assert not databases.has_rigs(path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE frame_data SET frame_id = 4 WHERE data_id = 9")
    assert databases.has_rigs(path)


# ---------------------------------------------------------------- matches


def test_verified_rows_follow_the_order_of_the_ids_that_are_asked_for(tmp_path: Path) -> None:
    path = database(tmp_path)
    truth = SCENE.true_rows(0, 1)
    assert len(truth) > 30
    assert not np.array_equal(truth[:, 0], truth[:, 1])
    for ids, columns in (((4, 9), (0, 1)), ((9, 4), (1, 0))):
        found = databases.verified_rows(path, *ids)
        assert found == (truth[:, columns[0]].tolist(), truth[:, columns[1]].tolist())
    assert databases.verified_rows(path, 4, 2) == ([], [])


# ---------------------------------------------------------------- names


def test_names_are_read_without_touching_the_database(base: Base) -> None:
    before = base.database_path.read_bytes(), sorted(base.database_path.parent.iterdir())
    assert databases.photo_names(base.database_path) == base_models.NAMES
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


# ---------------------------------------------------------------- damage


def test_a_whole_database_passes_and_one_without_some_tables_too(tmp_path: Path) -> None:
    path = database(tmp_path)
    databases.check(path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE descriptors")  # COLMAP makes it anew
    databases.check(path)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE keypoints SET rows = rows + 1 WHERE image_id = 4",
        "UPDATE keypoints SET rows = 1000000000, cols = 1000000000",
        "UPDATE keypoints SET cols = 1, rows = rows * cols",
        "UPDATE descriptors SET data = x'00'",
        "UPDATE matches SET data = NULL",
        "UPDATE two_view_geometries SET rows = rows - 1",
        "UPDATE cameras SET width = 0",
        "UPDATE cameras SET params = x'0000'",
        "DROP TABLE images",
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, change: str) -> None:
    path = database(tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(change)
    with pytest.raises(ValueError, match=r"database\.db"):
        databases.check(path)
