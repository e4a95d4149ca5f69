from __future__ import annotations

from pathlib import Path

import numpy as np
import pycolmap
import pytest

from geometry_scenes import DatabaseOptions, all_rows, arc, cloud, observe, true_model, turned, write_database
from interpose_sfm import geometry
from interpose_sfm.colmap import photo_audit

NAMES = tuple(f"{view}.jpg" for view in range(6))
SCENE = observe(cloud(1, 250), arc([0, 10, 20, 30, 40, 50]), noise_px=0.3, seed=1)


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    return write_database(tmp_path / "database.db", SCENE, NAMES, DatabaseOptions(rows=all_rows(SCENE, range(6))))


def true(database_path: Path) -> pycolmap.Reconstruction:
    return true_model(database_path, SCENE, NAMES, range(6))


def move(model: pycolmap.Reconstruction, name: str, angle_deg: float) -> None:
    """Turn a camera on the spot."""
    image = model.find_image_with_name(name)
    pose = turned(geometry.from_rigid3d(image.cam_from_world()), angle_deg)
    shift = geometry.rotation_from_axis_angle((0, 1, 0), angle_deg) @ image.cam_from_world().translation
    model.frame(image.frame_id).rig_from_world = geometry.to_rigid3d(type(pose)(pose.rotation, shift))


def test_nothing_speaks_against_a_right_model(database_path: Path) -> None:
    supports = photo_audit.photo_supports(database_path, true(database_path))
    assert supports.keys() == set(NAMES)
    assert all(s.num_agreeing > 0.9 * s.num_verified for s in supports.values())
    assert photo_audit.refuted_photos(database_path, true(database_path)) == {}


def test_a_photo_in_a_wrong_place_is_refuted_and_no_other(database_path: Path) -> None:
    model = true(database_path)
    move(model, "5.jpg", 25.0)
    assert photo_audit.refuted_photos(database_path, model).keys() == {"5.jpg"}


def test_a_photo_held_by_few_right_matches_stands(tmp_path: Path) -> None:
    rows = {pair: found[:18] if 5 in pair else found for pair, found in all_rows(SCENE, range(6)).items()}
    path = write_database(tmp_path / "database.db", SCENE, NAMES, DatabaseOptions(rows=rows))
    supports = photo_audit.photo_supports(path, true_model(path, SCENE, NAMES, range(6)))
    assert supports["5.jpg"].num_verified == 18 * photo_audit.NUM_PAIRS
    assert not supports["5.jpg"].is_refuted


def test_wrong_matches_that_verification_left_out_do_not_count(tmp_path: Path) -> None:
    raw = {(0, 1): np.concatenate([SCENE.true_rows(0, 1), np.roll(SCENE.true_rows(0, 1), 3, 0)[:, ::-1] % 200])}
    path = tmp_path / "database.db"
    write_database(path, SCENE, NAMES, DatabaseOptions(rows=all_rows(SCENE, range(6)), raw=raw))
    assert photo_audit.refuted_photos(path, true_model(path, SCENE, NAMES, range(6))) == {}


def test_photos_without_enough_matches_are_not_judged(tmp_path: Path) -> None:
    rows = {pair: found[:14] if 5 in pair else found for pair, found in all_rows(SCENE, range(6)).items()}
    path = write_database(tmp_path / "database.db", SCENE, NAMES, DatabaseOptions(rows=rows))
    model = true_model(path, SCENE, NAMES, range(6))
    move(model, "5.jpg", 25.0)
    assert photo_audit.photo_supports(path, model).keys() == set(NAMES[:5])
    assert photo_audit.refuted_photos(path, model) == {}


def test_only_thin_refuted_photos_are_removable_and_only_from_models_of_some_size(database_path: Path) -> None:
    model = true(database_path)
    assert photo_audit.removable(model, {"1.jpg", "2.jpg"}, {"2.jpg", "3.jpg"}, min_size=3) == {"2.jpg"}
    assert photo_audit.removable(model, set(NAMES[:4]), set(NAMES[:4]), min_size=3) == frozenset()
