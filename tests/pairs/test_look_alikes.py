"""Folded models are told, sound ones are not, and a ring comes apart where it was folded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pycolmap
import pytest

from geometry_scenes import worst_error_deg
from interpose_sfm import geometry
from interpose_sfm.colmap import incremental_mapper, reconstruction
from interpose_sfm.options import BaseOptions
from interpose_sfm.pairs import look_alike_split, look_alikes
from look_alike_ring import HALF, NAMES, NUM, ring_scene, write_ring

OPTIONS = BaseOptions(num_threads=1)


@dataclass(frozen=True)
class Ring:
    database_path: Path
    model: pycolmap.Reconstruction


def mapped(database_path: Path) -> pycolmap.Reconstruction:
    folder = database_path.with_suffix(".models")
    folder.mkdir()
    return incremental_mapper.map_base(database_path, folder, folder, OPTIONS, 0)[0]


def made(folder: Path, *, looks_alike: bool) -> Ring:
    path = write_ring(folder / "database.db", looks_alike=looks_alike)
    return Ring(path, mapped(path))


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Ring:
    return made(tmp_path_factory.mktemp("folded"), looks_alike=True)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Ring:
    return made(tmp_path_factory.mktemp("sound"), looks_alike=False)


def truth() -> dict[str, geometry.Pose]:
    return dict(zip(NAMES, ring_scene().cam_from_world, strict=True))


def test_the_mapper_folds_the_ring_and_is_told(folded: Ring) -> None:
    poses = reconstruction.poses(folded.model)
    assert geometry.rotation_angle_deg(poses[NAMES[0]].rotation @ poses[NAMES[HALF]].rotation.T) < 10
    found = look_alikes.look_alikes(folded.database_path, folded.model)
    assert len(found) >= 5
    for one in found:
        assert int(one.pair.b[:2]) - int(one.pair.a[:2]) == HALF
        assert 0.5 < one.silent_share < 0.8
        assert one.num_verified >= 15
    shares = [one.silent_share for one in found]
    assert shares == sorted(shares, reverse=True)


def test_nothing_is_told_of_a_sound_ring(sound: Ring) -> None:
    assert worst_error_deg(sound.model, truth()) < 2
    assert look_alikes.look_alikes(sound.database_path, sound.model) == ()


def test_silent_key_points_that_no_third_photo_confirms_say_nothing(folded: Ring, tmp_path: Path) -> None:
    """What grows or moves around a thing matches nowhere."""
    path = write_ring(tmp_path / "database.db", looks_alike=True, room_matches=False)
    assert look_alikes.look_alikes(path, folded.model) == ()


def test_one_photo_in_a_wrong_place_is_no_fold(folded: Ring) -> None:
    """Of the other side one photo is left."""
    model = pycolmap.Reconstruction(folded.model)
    reconstruction.remove_photos(model, NAMES[HALF + 1 :])
    assert look_alikes.look_alikes(folded.database_path, model) == ()


def test_without_what_looks_alike_the_ring_opens(folded: Ring, tmp_path: Path) -> None:
    found = look_alikes.look_alikes(folded.database_path, folded.model)
    before = folded.database_path.read_bytes()
    left_out = look_alike_split.copy_without(folded.database_path, tmp_path / "split.db", found)
    assert folded.database_path.read_bytes() == before
    assert left_out == HALF + 2 * NUM  # opposite photos, and up to two beside these
    opened = mapped(tmp_path / "split.db")
    assert opened.num_reg_images() == NUM
    assert worst_error_deg(opened, truth()) < 2
    assert look_alikes.look_alikes(folded.database_path, opened) == ()
