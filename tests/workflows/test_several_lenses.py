"""What a run makes of photos of several focal lengths that share a camera."""

from __future__ import annotations

from pathlib import Path

import pytest

from geometry_scenes import DatabaseOptions, all_rows, worst_error_deg, write_database
from interpose_sfm.colmap import incremental_mapper, photo_audit, reconstruction
from interpose_sfm.options import BaseOptions
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.workflows import several_lenses
from interpose_sfm.workflows.base_models import SecondMapping
from plain_mapping import map_plain
from zoomed_photos import NAMES, TRUTH, zoomed

OPTIONS = BaseOptions(num_threads=1)


def second_of(workspace: Workspace, ratio: float) -> SecondMapping:
    scene, path = zoomed(ratio), workspace.base_dir / "database.db"
    write_database(path, scene, NAMES, DatabaseOptions(rows=all_rows(scene, range(len(NAMES)))))
    map_plain(path, workspace.base_dir / "models")
    return SecondMapping(workspace, "key", path, workspace.root, NAMES)


def test_photos_that_were_zoomed_get_cameras_of_their_own_once(workspace: Workspace) -> None:
    second, log = second_of(workspace, 1.6), RunLog()
    models = reconstruction.read_models(workspace.base_dir / "models", 2)
    assert worst_error_deg(models[0], TRUTH) > 10
    calls: list[Path] = []

    def counted(database_path: Path, models_dir: Path) -> None:
        calls.append(database_path)
        map_plain(database_path, models_dir)

    for _ in range(2):
        found = several_lenses.mapped_apart(models, second, counted, log)
    assert len(calls) == 1
    assert found is not None
    apart, (model,) = found
    assert worst_error_deg(model, TRUTH) < 2
    assert apart.key != second.key
    assert apart.database_path != second.database_path
    assert apart.database_path.is_file()
    assert log.warnings[0] == log.warnings[1]
    assert "0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, 5.jpg; so each has a camera of its own" in log.warnings[0]


def test_photos_of_one_camera_keep_it(workspace: Workspace) -> None:
    second, log = second_of(workspace, 1.0), RunLog()
    models = reconstruction.read_models(workspace.base_dir / "models", 2)
    assert several_lenses.mapped_apart(models, second, map_plain, log) is None
    assert log.warnings == []
    assert not (workspace.base_dir / "apart").exists()


def test_a_model_with_a_photo_in_a_wrong_place_is_not_asked(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That photo would gain by a camera of its own, too."""
    second, log = second_of(workspace, 1.6), RunLog()
    models = reconstruction.read_models(workspace.base_dir / "models", 2)
    monkeypatch.setattr(photo_audit, "refuted_photos", lambda *_: {"0.jpg"})
    assert several_lenses.mapped_apart(models, second, map_plain, log) is None
    assert log.warnings == []


def test_where_more_would_be_left_out_the_model_stays_and_is_doubted(workspace: Workspace) -> None:
    second, log = second_of(workspace, 1.6), RunLog()
    models = reconstruction.read_models(workspace.base_dir / "models", 2)

    def map_less(database_path: Path, models_dir: Path) -> None:
        models_dir.mkdir()
        incremental_mapper.map_base(database_path, models_dir, models_dir, OPTIONS, 0, names=NAMES[:4])

    assert several_lenses.mapped_apart(models, second, map_less, log) is None
    (warning,) = log.warnings
    assert "model of 6 photos is not to be trusted" in warning
    assert warning.endswith("(--camera-mode per_image) it has 4")
