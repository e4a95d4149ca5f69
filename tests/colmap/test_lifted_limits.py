from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from geometry_scenes import (
    DatabaseOptions,
    Scene,
    all_rows,
    arc,
    camera,
    cloud,
    observe,
    pose_error_deg,
    true_model,
    turned,
    write_database,
)
from interpose_sfm import geometry
from interpose_sfm.colmap import incremental_mapper, lifted_limits, reconstruction
from interpose_sfm.colmap.lifted_limits import JudgedModel
from interpose_sfm.colmap.photo_audit import PhotoSupport
from interpose_sfm.options import BaseOptions
from interpose_sfm.products import Intrinsics, Pose
from interpose_sfm.synthetic import look_at

OPTIONS = BaseOptions(num_threads=1)
NAMES = tuple(f"{view}.jpg" for view in range(6))
ARC = observe(cloud(1, 250), arc([0, 10, 20, 30, 40, 50]), noise_px=0.3, seed=1)
STREET_POSES = [look_at((0.0, -9.0 + 0.8 * step, 0.0), (0.0, 5.0, 0.0)) for step in range(5)]
STREET = observe(cloud(3, 400, (4.0, 6.0, 3.0), (0, 4, 0)), STREET_POSES, noise_px=0.3, seed=3)
REFUTED = {"5.jpg": PhotoSupport(3, 100)}


def database(folder: Path, scene: Scene = ARC, intrinsics: Intrinsics | None = None, *, shares: bool = True) -> Path:
    views = len(scene.cam_from_world)
    if intrinsics is not None:
        scene = Scene(
            scene.points_in_world, scene.cam_from_world, (intrinsics,) * views, scene.features, scene.point_of_row
        )
    options = DatabaseOptions(rows=all_rows(scene, range(views)), shares_camera=shares)
    return write_database(folder / "database.db", scene, NAMES[:views], options)


def test_forward_motion_gives_a_model_with_lifted_limits_alone(tmp_path: Path) -> None:
    path = database(tmp_path, STREET)
    found = []
    for lifts in (False, True):
        folder = tmp_path / str(lifts)
        folder.mkdir()
        found.append(incremental_mapper.map_base(path, tmp_path, folder, OPTIONS, 0, lifts_limits=lifts))
    assert found[0] == []
    model = found[1][0]
    assert model.num_reg_images() == len(STREET_POSES)
    poses = reconstruction.poses(model)
    relative = geometry.relative_pose(poses["4.jpg"], poses["0.jpg"])
    assert max(pose_error_deg(relative, STREET.b_from_a(0, 4))) < 1.0
    assert lifted_limits.judge(model, path).is_sound


def test_a_callers_wider_limits_stay() -> None:
    options = pycolmap.IncrementalPipelineOptions()
    options.mapper.init_min_tri_angle = 1.5
    lifted = lifted_limits.lift(options)
    assert lifted.mapper.init_min_tri_angle == 1.5
    assert lifted.mapper.init_max_forward_motion == 1.0
    assert not lifted.triangulation.ignore_two_view_tracks


@pytest.mark.parametrize(
    ("is_trusted", "shares", "names", "expected"),
    [
        (True, False, NAMES, True),
        (False, True, NAMES, True),
        (False, False, NAMES, False),
        (False, True, NAMES[:2], False),
    ],
)
def test_cameras_are_held_by_exif_or_by_three_photos(
    tmp_path: Path, is_trusted: bool, shares: bool, names: Sequence[str], expected: bool
) -> None:
    path = database(tmp_path, intrinsics=camera(is_trusted=is_trusted), shares=shares)
    assert lifted_limits.are_cameras_held(path, names) is expected


def test_photos_without_a_verified_pair_are_out_of_reach(tmp_path: Path) -> None:
    rows = all_rows(ARC, range(3)) | {(3, 4): ARC.true_rows(3, 4), (0, 5): ARC.true_rows(0, 5)[:14]}
    path = write_database(tmp_path / "database.db", ARC, NAMES, DatabaseOptions(rows=rows))
    assert set(lifted_limits.within_reach(path, NAMES)) == {frozenset(NAMES[:3]), frozenset(NAMES[3:5])}
    assert lifted_limits.within_reach(path, NAMES[2:]) == (frozenset(NAMES[3:5]),)


@pytest.mark.parametrize(("focal_px", "is_sound"), [(700.0, True), (240.0, False), (2500.0, False)])
def test_focal_lengths_far_from_what_is_known_are_a_fault(tmp_path: Path, focal_px: float, is_sound: bool) -> None:
    path = database(tmp_path)
    model = true_model(path, ARC, NAMES, range(6))
    model.camera(1).focal_length = focal_px
    assert (not lifted_limits.judge(model, path).fault) is is_sound


def test_a_long_lens_that_exif_knows_is_none(tmp_path: Path) -> None:
    path = database(tmp_path, intrinsics=camera(4000.0))
    model = true_model(path, ARC, NAMES, range(6))
    model.camera(1).focal_length = 4100.0
    assert "focal" not in lifted_limits.judge(model, path).fault


@pytest.mark.parametrize(
    ("is_trusted", "told"),
    [(True, "4 times what EXIF or a calibration says, unless that is wrong"), (False, "3.5 times the longer side")],
)
def test_the_fault_says_what_the_focal_length_was_held_against(tmp_path: Path, is_trusted: bool, told: str) -> None:
    path = database(tmp_path, intrinsics=camera(700.0, is_trusted=is_trusted))
    model = true_model(path, ARC, NAMES, range(6))
    model.camera(1).focal_length = 2800.0
    assert lifted_limits.judge(model, path).fault == f"its focal lengths reach {told}"


# ---------------------------------------------------------------- which model is kept


def model_of(path: Path, views: Sequence[int], turn_deg: float = 0.0) -> pycolmap.Reconstruction:
    """The true model of some views, the first of them turned."""
    model = true_model(path, ARC, NAMES, views)
    image = model.find_image_with_name(NAMES[views[0]])
    pose: Pose = turned(geometry.from_rigid3d(image.cam_from_world()), turn_deg)
    model.frame(image.frame_id).rig_from_world = geometry.to_rigid3d(pose)
    return model


def sound(model: pycolmap.Reconstruction) -> JudgedModel:
    return JudgedModel(model, {}, "")


def members(models: list[pycolmap.Reconstruction] | None) -> list[list[int]] | None:
    if models is None:
        return None
    return [sorted(NAMES.index(name) for name in reconstruction.registered_names(model)) for model in models]


def test_more_photos_are_taken_where_nothing_is_lost(tmp_path: Path) -> None:
    path = database(tmp_path)
    everything = sound(model_of(path, range(6)))
    assert members(lifted_limits.chosen([], [everything])) == [[0, 1, 2, 3, 4, 5]]
    assert members(lifted_limits.chosen([sound(model_of(path, range(4)))], [everything])) == [[0, 1, 2, 3, 4, 5]]


def test_the_base_stays_where_nothing_is_gained_or_something_is_lost_or_turned(tmp_path: Path) -> None:
    path = database(tmp_path)
    base, five = sound(model_of(path, range(4))), model_of(path, range(1, 6))
    assert lifted_limits.chosen([base], [sound(model_of(path, range(4)))]) is None
    assert lifted_limits.chosen([base], [sound(five)]) is None  # without photo 0
    assert lifted_limits.chosen([base], [sound(model_of(path, range(6), turn_deg=8.0))]) is None
    assert lifted_limits.chosen([base], [JudgedModel(model_of(path, range(6)), REFUTED, "")]) is None
    assert lifted_limits.chosen([base], [JudgedModel(model_of(path, range(6)), {}, "it has 3 points")]) is None


def test_a_refuted_base_model_has_no_say(tmp_path: Path) -> None:
    path = database(tmp_path)
    broken = JudgedModel(model_of(path, range(6), turn_deg=60.0), {"0.jpg": PhotoSupport(0, 100), **REFUTED}, "")
    assert members(lifted_limits.chosen([broken], [sound(model_of(path, range(1, 6)))])) == [[1, 2, 3, 4, 5]]


def test_further_models_of_other_photos_are_gone_on_with(tmp_path: Path) -> None:
    path = database(tmp_path)
    base = [sound(model_of(path, (0, 1))), sound(model_of(path, (4, 5)))]
    found = lifted_limits.chosen(base, [sound(model_of(path, (0, 1, 2)))])
    assert members(found) == [[0, 1, 2], [4, 5]]


def test_changes_are_asked_of_common_photos_only(tmp_path: Path) -> None:
    path = database(tmp_path)
    before, after = model_of(path, range(4)), model_of(path, range(1, 6))
    assert reconstruction.largest_change_deg(before, after) == 180.0
    assert reconstruction.largest_change_deg(before, after, NAMES[1:4]) == pytest.approx(0.0, abs=1e-6)
    assert np.isclose(reconstruction.largest_change_deg(before, model_of(path, range(4), 8.0)), 8.0, atol=1e-6)
