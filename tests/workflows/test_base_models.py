"""Which base models a run goes on with, on databases of known geometry."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

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
    true_model,
    turn,
    turned,
    write_database,
)
from interpose_sfm import geometry
from interpose_sfm.colmap import calibration, incremental_mapper, reconstruction
from interpose_sfm.options import BaseOptions, Mapper
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.content_keys import content_key
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.synthetic import look_at
from interpose_sfm.workflows import base_models
from interpose_sfm.workflows.base_models import SecondMapping

OPTIONS = BaseOptions(num_threads=1)
NAMES = tuple(f"{view}.jpg" for view in range(6))
STREET = observe(
    cloud(3, 400, (4.0, 6.0, 3.0), (0, 4, 0)),
    [look_at((0.0, -9.0 + 0.8 * step, 0.0), (0.0, 5.0, 0.0)) for step in range(6)],
    noise_px=0.3,
    seed=3,
)
ARC = observe(cloud(1, 250), arc([0, 10, 20, 30, 40, 50]), noise_px=0.3, seed=1)


def mapping(workspace: Workspace, scene: Scene, few: int | None = None) -> SecondMapping:
    """Photo 5 has so many matches with each of the others."""
    rows = {pair: found[:few] if 5 in pair else found for pair, found in all_rows(scene, range(6)).items()}
    path = write_database(workspace.base_dir / "database.db", scene, NAMES, DatabaseOptions(rows=rows))
    return SecondMapping(workspace, "key", path, workspace.root, NAMES)


def test_a_street_is_mapped_with_lifted_limits_once(workspace: Workspace) -> None:
    told: list[tuple[str, int, int]] = []
    log = RunLog(lambda *step: told.append(step))
    second = mapping(workspace, STREET)
    found = base_models.believed([], second, OPTIONS, 0, log).models
    assert [model.num_reg_images() for model in found] == [6]
    assert any("put 6 photos in one model where plain COLMAP put 0" in warning for warning in log.warnings)
    assert base_models.STAGE in log.timings_s
    assert told[-1] == (base_models.STAGE, 6, 6)
    again = RunLog()
    assert [m.num_reg_images() for m in base_models.believed([], second, OPTIONS, 0, again).models] == [6]
    assert again.timings_s == {}
    assert again.warnings == log.warnings


@pytest.mark.parametrize("options", [replace(OPTIONS, lift_limits=False), replace(OPTIONS, mapper=Mapper.GLOBAL)])
def test_limits_are_second_only_where_that_is_asked_for(workspace: Workspace, options: BaseOptions) -> None:
    log = RunLog()
    assert base_models.believed([], mapping(workspace, STREET), options, 0, log).models == ()
    assert log.warnings == []


def test_a_complete_model_is_not_mapped_again(workspace: Workspace) -> None:
    second, log = mapping(workspace, ARC), RunLog()
    model = true_model(second.database_path, ARC, NAMES, range(6))
    assert base_models.believed([model], second, OPTIONS, 0, log).models == (model,)
    assert (log.timings_s, log.warnings) == ({}, [])


def test_only_what_can_gain_photos_is_mapped_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """As several places in one folder: photos 0 to 2 are one, 3 to 6 another, of which photo 6 is missing."""
    scene, names = observe(cloud(1, 250), arc(range(0, 70, 10)), noise_px=0.3, seed=1), (*NAMES, "6.jpg")
    rows = {pair: found for pair, found in all_rows(scene, range(7)).items() if max(pair) < 3 or min(pair) > 2}
    path = write_database(workspace.base_dir / "database.db", scene, names, DatabaseOptions(rows=rows))
    second, mapped = SecondMapping(workspace, "key", path, workspace.root, names), []
    plain = incremental_mapper.map_base

    def watched(*arguments: Any, **options: Any) -> Any:
        mapped.append(sorted(options["names"]))
        return plain(*arguments, **options)

    monkeypatch.setattr(incremental_mapper, "map_base", watched)
    first, part = true_model(path, scene, names, range(3)), true_model(path, scene, names, range(3, 6))
    # What is to be gained must hold the largest model as a whole, and no pair leads out of that.
    assert base_models.believed([first, part], second, OPTIONS, 0, RunLog()).models == (first, part)
    assert mapped == []
    found = base_models.believed([part, first], second, OPTIONS, 0, RunLog()).models
    assert mapped == [list(names[3:])]
    assert sorted(model.num_reg_images() for model in found) == [3, 4]


def test_a_thin_photo_stays_with_a_warning(workspace: Workspace) -> None:
    second, log = mapping(workspace, ARC, few=20), RunLog()
    model = true_model(second.database_path, ARC, NAMES, range(6))
    assert model.find_image_with_name("5.jpg").num_points3D < OPTIONS.min_points_per_photo
    found = base_models.believed([model], second, OPTIONS, 0, log).models
    assert found[0].num_reg_images() == 6
    assert log.warnings == ["held by fewer than 60 points, though nothing speaks against them: 5.jpg"]


def misplace(model: pycolmap.Reconstruction, name: str) -> None:
    image = model.find_image_with_name(name)
    pose = turned(geometry.from_rigid3d(image.cam_from_world()), 25.0)
    model.frame(image.frame_id).rig_from_world = geometry.to_rigid3d(pose)


@pytest.mark.parametrize(("few", "is_taken_out"), [(20, True), (None, False)])
def test_a_misplaced_photo_is_taken_out_if_it_is_thin_and_told_if_not(
    workspace: Workspace, few: int | None, is_taken_out: bool
) -> None:
    second, log = mapping(workspace, ARC, few), RunLog()
    model = true_model(second.database_path, ARC, NAMES, range(6))
    misplace(model, "5.jpg")
    found = base_models.believed([model], second, replace(OPTIONS, lift_limits=False), 0, log).models
    assert ("5.jpg" not in reconstruction.registered_names(found[0])) is is_taken_out
    word = "taken out of" if is_taken_out else "is probably broken"
    assert [word in warning and "5.jpg" in warning for warning in log.warnings] == [True]


def test_photos_of_given_poses_stay_and_nothing_is_mapped_again(workspace: Workspace) -> None:
    """Though the photo is thin and its matches refute it, and lifted limits would find all six."""
    second, log = mapping(workspace, ARC, 20), RunLog()
    model = true_model(second.database_path, ARC, NAMES, (0, 1, 2, 5))
    misplace(model, "5.jpg")
    given = replace(second, given=frozenset({"0.jpg", "5.jpg"}))
    found = base_models.believed([model], given, OPTIONS, 0, log).models
    assert [reconstruction.registered_names(m) for m in found] == [frozenset({"0.jpg", "1.jpg", "2.jpg", "5.jpg"})]
    assert log.timings_s == {}
    assert ["is probably broken" in warning and "5.jpg" in warning for warning in log.warnings] == [True]


def test_a_model_of_given_poses_stays_however_few_its_photos_and_points(workspace: Workspace) -> None:
    second, log = mapping(workspace, TURNED), RunLog()
    model = true_model(second.database_path, TURNED, NAMES, range(2))
    found = base_models.believed([model], replace(second, given=frozenset(NAMES[:2])), OPTIONS, 0, log)
    assert found.models == (model,)
    assert found.one_place == frozenset(NAMES[2:])


def test_a_broken_model_is_replaced_where_a_second_mapping_gives_a_whole_one(workspace: Workspace) -> None:
    second, log = mapping(workspace, ARC), RunLog()
    model = true_model(second.database_path, ARC, NAMES, range(6))
    misplace(model, "5.jpg")
    found = base_models.believed([model], second, OPTIONS, 0, log).models
    assert found[0] is not model
    assert found[0].num_reg_images() == 6
    assert any("against most matches of 5.jpg" in warning for warning in log.warnings)


@pytest.mark.parametrize(("few", "lost"), [(10, True), (None, False)])
def test_photos_that_only_a_distrusted_model_had_are_named(workspace: Workspace, few: int | None, lost: bool) -> None:
    second, log = mapping(workspace, ARC, few), RunLog()
    model = true_model(second.database_path, ARC, NAMES, range(6))
    for held in model.cameras.values():
        held.focal_length *= 20.0
    found = base_models.believed([model], second, OPTIONS, 0, log).models
    assert [model.num_reg_images() for model in found] == [5 if lost else 6]
    assert any("plain COLMAP had 5.jpg as well" in warning for warning in log.warnings) is lost


def test_a_model_without_points_is_none(workspace: Workspace) -> None:
    second = mapping(workspace, ARC)
    model = true_model(second.database_path, ARC, NAMES, range(6))
    for point_id in list(model.points3D):
        model.delete_point3D(point_id)
    log = RunLog()
    assert base_models.believed([model], second, replace(OPTIONS, lift_limits=False), 0, log).models == ()
    assert any("it has 0 points" in warning for warning in log.warnings)


def test_the_option_is_not_in_keys_so_that_earlier_results_stay_valid() -> None:
    assert content_key(OPTIONS) == content_key(replace(OPTIONS, lift_limits=False))
    assert content_key(OPTIONS) != content_key(replace(OPTIONS, min_model_size=4))


# ---------------------------------------------------------------- one place


TURNED = observe(cloud(5, 500, (6.0, 3.0, 3.0)), turn([-12, -8, -4, 0, 4, 8]), noise_px=0.3, seed=5)


def test_of_photos_from_one_place_there_is_no_model(workspace: Workspace) -> None:
    second, log = mapping(workspace, TURNED), RunLog()
    found = base_models.believed([], second, OPTIONS, 0, log)
    assert (found.models, found.one_place) == ((), frozenset(NAMES))
    assert log.timings_s == {}
    assert log.warnings == [f"{base_models.ONE_PLACE}: {', '.join(NAMES)}"]


def test_a_model_of_photos_from_one_place_is_not_kept(workspace: Workspace) -> None:
    """With a focal length that is far off COLMAP makes one, of points that are not there."""
    second, log = mapping(workspace, TURNED), RunLog()
    model = true_model(second.database_path, ARC, NAMES, range(6))
    found = base_models.believed([model], second, OPTIONS, 0, log)
    assert (found.models, found.one_place) == ((), frozenset(NAMES))


def test_focal_lengths_that_nothing_holds_are_found_from_the_pairs(workspace: Workspace) -> None:
    scene = replace(ARC, intrinsics=(camera(960.0, is_trusted=False),) * 6)  # EXIF has none: COLMAP's guess; true: 700
    options = DatabaseOptions(rows=all_rows(scene, range(6)), shares_camera=False)
    path = write_database(workspace.base_dir / "database.db", scene, NAMES, options)
    second, log = SecondMapping(workspace, "key", path, workspace.root, NAMES), RunLog()
    assert not second.lifts_limits
    assert not calibration.calibrated_copy(path, workspace.work_dir / "without_fundamental_matrices.db", 0)
    with pycolmap.Database.open(path) as database:
        database.clear_two_view_geometries()
    pycolmap.geometric_verification(path)
    found = base_models.believed([], second, OPTIONS, 0, log).models
    assert [model.num_reg_images() for model in found] == [6]
    assert all(abs(c.mean_focal_length() - 700) < 35 for c in found[0].cameras.values())
    assert any("focal lengths found from them" in warning for warning in log.warnings)
