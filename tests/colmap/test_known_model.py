"""Models that go on from known poses: nothing of these moves, whatever COLMAP adds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from base_models import NAMES, SIFT, Base
from geometry_scenes import DatabaseOptions, all_rows, write_database
from interpose_sfm import geometry
from interpose_sfm.colmap import databases, incremental_mapper, known_model, reconstruction
from interpose_sfm.options import BaseOptions
from interpose_sfm.products import KnownView, Pose

OPTIONS = BaseOptions(num_threads=1)

OTHER_FRAME = geometry.Similarity(0.3, geometry.rotation_exp([0.3, -0.5, 1.0]), np.array([10.0, -4.0, 3.0]))

FLIP = Pose(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
UPSIDE_DOWN = Pose(np.diag([-1.0, -1.0, 1.0]), np.zeros(3))


def given(views: Sequence[int]) -> dict[str, Pose]:
    """True poses in another frame and unit."""
    return {NAMES[v]: OTHER_FRAME.move_camera(SIFT.cam_from_world[v]) for v in views}


def from_known(path: Path, folder: Path, known: dict[str, Pose]) -> pycolmap.Reconstruction:
    model = known_model.known_model(path, known)
    start = incremental_mapper.triangulate(model, path, folder, folder / "start", OPTIONS, 0)
    return incremental_mapper.continue_model(start, path, folder, folder / "grown", OPTIONS, 0, held=known)


def assert_kept(model: pycolmap.Reconstruction, known: dict[str, Pose]) -> None:
    found = reconstruction.poses(model)
    for name, pose in known.items():
        assert found[name].rotation == pytest.approx(pose.rotation, abs=1e-9)
        assert found[name].translation == pytest.approx(pose.translation, abs=1e-9)


def test_colmap_adds_photos_and_moves_no_known_one(base: Base, tmp_path: Path) -> None:
    known = given([0, 2])
    model = from_known(base.database_path, tmp_path, known)
    assert reconstruction.registered_names(model) == frozenset(NAMES[:4])
    assert_kept(model, known)
    found = reconstruction.poses(model)
    for name, true in given(
        [1, 3]
    ).items():  # in the frame and the unit of the known ones, so positions can be compared
        assert np.linalg.norm(found[name].inverse().translation - true.inverse().translation) < 0.01 * 0.3 * 7
    assert list(model.camera(model.find_image_with_name(NAMES[0]).camera_id).params) == [700.0, 400.0, 300.0, 0.0]


def test_known_photos_without_matches_stay(tmp_path: Path) -> None:
    """COLMAP's mapper knows no photo without matches, and writes none that sees nothing."""
    path = write_database(tmp_path / "a.db", SIFT, NAMES, DatabaseOptions(rows=all_rows(SIFT, range(3))))
    known = given([0, 1, 4])
    model = from_known(path, tmp_path, known)
    assert reconstruction.registered_names(model) == frozenset(NAMES[v] for v in (0, 1, 2, 4))
    assert_kept(model, known)


def test_a_model_without_known_photos_gets_none(base: Base, tmp_path: Path) -> None:
    """Else two final models would have them, at different poses."""
    known = given([0])
    model = from_known(base.database_path, tmp_path, given([1, 2]))
    grown = incremental_mapper.continue_model(
        known_model.known_model(base.database_path, given([1, 2])),
        base.database_path,
        tmp_path,
        tmp_path / "others",
        OPTIONS,
        0,
        held=known,
    )
    assert NAMES[0] in reconstruction.registered_names(model)
    assert NAMES[0] not in reconstruction.registered_names(grown)


def test_matches_tell_of_axes_that_are_turned_round(base: Base) -> None:
    known = given(range(4))
    assert known_model.doubt(known, base.database_path) == ""
    with pytest.raises(ValueError, match="only if y and z of every camera are turned round"):
        known_model.doubt({name: FLIP @ pose for name, pose in known.items()}, base.database_path)


@pytest.mark.parametrize("number", [1, 2, 4])
def test_matches_tell_of_poses_of_pictures_that_are_stored_upside_down(base: Base, number: int) -> None:
    """By EXIF the photo is turned; its size stays, so that nothing else tells."""
    upright = given(range(4))
    stored = dict(list(upright.items())[:number])
    known = upright | {name: UPSIDE_DOWN @ pose for name, pose in stored.items()}
    with pytest.raises(ValueError, match=f"matches of {number} photos, such as a.jpg, .*--keep-orientation takes them"):
        known_model.doubt(known, base.database_path, [*stored, "other.jpg"])
    assert known_model.doubt(upright, base.database_path, stored) == ""
    assert "--keep-orientation" not in known_model.doubt(known, base.database_path)


def test_matches_tell_of_poses_that_are_wrong(base: Base) -> None:
    known = given(range(4))
    shuffled = dict(zip(known, [*list(known.values())[1:], known[NAMES[0]]], strict=True))
    assert "most matches of their photos speak against the known poses" in known_model.doubt(
        shuffled, base.database_path
    )


def test_cameras_of_a_database_become_the_known_ones(base: Base) -> None:
    camera = geometry.from_colmap_camera(
        pycolmap.Camera.create_from_model_name(1, "OPENCV", 710.0, 800, 600), is_trusted=True
    )
    pose = SIFT.cam_from_world[0]
    known_model.store_cameras(base.database_path, dict.fromkeys(NAMES[:2], KnownView(camera, pose)))
    stored = databases.stored_cameras(base.database_path)[NAMES[3]]  # shares it
    assert stored.model.name == "OPENCV"
    assert stored.has_prior_focal_length
    views = {NAMES[0]: KnownView(camera, pose), NAMES[1]: KnownView(SIFT.intrinsics[0], pose)}
    with pytest.raises(ValueError, match=r"a.jpg and b.jpg share a camera in the database, and have different ones"):
        known_model.store_cameras(base.database_path, views)
