"""Programs that know nothing of this package, run under the drop-in: what they print, exit with, and get."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pycolmap
import pytest

import interpose_sfm
from geometry_scenes import worst_error_deg
from hook_scene import OPTIONS, QUICK, Apart, dump, listing
from paths import TESTS
from programs import hook, python

CLIENTS = TESTS / "clients"

FLAGS = ("--generator", "none")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CLIENTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def features(apart: Apart, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key points without shape and descriptors, and raw matches, as importers get them from their networks."""
    arrays: dict[str, Any] = {}
    with pycolmap.Database.open(apart.copy(tmp_path_factory.mktemp("features"), with_stores=False)) as database:
        names = {image.image_id: image.name for image in database.read_all_images()}
        for image_id, name in names.items():
            arrays[f"keypoints/{name}"] = database.read_keypoints(image_id)[:, :2] - 0.5
        for pair_id, rows in zip(*database.read_all_matches(), strict=True):
            first, second = pycolmap.pair_id_to_image_pair(pair_id)
            arrays[f"matches/{names[first]}|{names[second]}"] = rows
    path = tmp_path_factory.mktemp("features") / "features.npz"
    np.savez(path, **arrays)
    return path


# ---------------------------------------------------------------- importers of features


@pytest.mark.parametrize("is_hooked", [False, True])
def test_importer_of_features(apart: Apart, features: Path, tmp_path: Path, is_hooked: bool) -> None:
    sfm_dir = tmp_path / "sfm"
    sfm_dir.mkdir()
    apart.copy_stores(sfm_dir / "database.db")
    command = (CLIENTS / "imported_features.py", sfm_dir, apart.photo_dir, features)
    done = hook(*FLAGS, "--", *command) if is_hooked else python(*command)
    assert done.code == 0, done.err
    expected = "1 models, the largest of 6 photos" if is_hooked else "2 models, the largest of 3 photos"
    assert done.out.startswith(expected)
    assert ("photos in models: 6 -> 6, in the largest: 3 -> 6" in done.err) == is_hooked
    model = pycolmap.Reconstruction(sfm_dir)
    assert model.num_reg_images() == (6 if is_hooked else 3)
    assert worst_error_deg(model, apart.truth.cam_from_world) < 1.0
    rows = dump(sfm_dir / "database.db")
    assert rows["descriptors"] == []
    assert {row[2] for row in rows["keypoints"]} == {2}


def test_an_importers_database_is_not_altered(apart: Apart, features: Path, tmp_path: Path) -> None:
    """Extended beside it, with as many columns, and without descriptors still."""
    database = tmp_path / "database.db"
    load("imported_features").fill_database(database, apart.photo_dir, features)
    models = pycolmap.incremental_mapping(database, apart.photo_dir, tmp_path / "plain", OPTIONS)
    before, files = dump(database), listing(tmp_path)
    side_dir = apart.copy_stores(database)
    found = interpose_sfm.extend(models, database, apart.photo_dir, OPTIONS, interpose=QUICK)
    assert found[0].num_reg_images() == 6
    assert dump(database) == before
    after = dump(side_dir / "database.db")
    assert after["descriptors"] == []
    stored = {row[0]: row for row in before["keypoints"]}
    for image_id, num_rows, columns, data in after["keypoints"]:
        assert columns == 2
        assert num_rows >= stored[image_id][1]
        assert data.startswith(stored[image_id][3])
    shutil.rmtree(side_dir)  # takes everything out again
    assert listing(tmp_path) == files


@pytest.mark.skipif("HLOC_PATH" not in os.environ, reason="HLOC_PATH is not set to a checkout of hloc")
@pytest.mark.parametrize("is_hooked", [False, True])
def test_hlocs_own_reconstruction(
    apart: Apart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_hooked: bool
) -> None:
    """As it is published, its ``reconstruction.main`` gets six photos in one model instead of three."""
    sfm_dir = tmp_path / "sfm"
    sfm_dir.mkdir()
    apart.copy_stores(sfm_dir / "database.db")
    monkeypatch.setenv("PYTHONPATH", os.environ["HLOC_PATH"])
    command = (CLIENTS / "hloc_reconstruction.py", apart.database_path, apart.photo_dir, sfm_dir)
    done = hook(*FLAGS, "--", *command) if is_hooked else python(*command)
    assert done.code == 0, done.err
    assert f"hloc returned a model of {6 if is_hooked else 3} photos" in done.out
    model = pycolmap.Reconstruction(sfm_dir)
    assert model.num_reg_images() == (6 if is_hooked else 3)
    assert worst_error_deg(model, apart.truth.cam_from_world) < 1.0


# ---------------------------------------------------------------- mappers in Python


def test_mapper_in_python_gets_its_models_extended(apart: Apart, tmp_path: Path) -> None:
    database = apart.copy(tmp_path)
    models = load("python_mapper").main(database, apart.photo_dir, tmp_path / "out")
    assert [model.num_reg_images() for model in models.values()] == [3, 3]
    before = dump(database)
    found = interpose_sfm.extend(models, database, apart.photo_dir, OPTIONS, interpose=QUICK)
    assert [model.num_reg_images() for model in found.values()] == [6]
    assert worst_error_deg(found[0], apart.truth.cam_from_world) < 1.0
    assert dump(database) == before


def test_mapper_in_python_runs_under_the_hook_as_without(apart: Apart, tmp_path: Path) -> None:
    database = apart.copy(tmp_path, with_stores=False)
    done = hook("--", CLIENTS / "python_mapper.py", database, apart.photo_dir, tmp_path / "out")
    assert (done.code, done.out) == (0, "")
    assert [pycolmap.Reconstruction(tmp_path / "out" / name).num_reg_images() for name in "01"] == [3, 3]
    assert not (tmp_path / "database_interpose").exists()


# ---------------------------------------------------------------- COLMAP's command line


@pytest.mark.skipif(shutil.which("colmap") is None, reason="COLMAP's command line is not installed")
def test_database_and_model_of_colmaps_command_line(apart: Apart, tmp_path: Path) -> None:
    """An older COLMAP makes the database, reads our model, and counts what is in it."""

    def colmap(*arguments: str | Path) -> str:
        environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
        command = ["colmap", *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    database, out = tmp_path / "database.db", tmp_path / "out"
    extraction = ("--ImageReader.single_camera", "1", "--SiftExtraction.use_gpu", "0", "--SiftExtraction.num_threads=1")
    colmap("feature_extractor", "--database_path", database, "--image_path", apart.photo_dir, *extraction)
    matching = ("--SiftMatching.use_gpu", "0", "--SiftMatching.num_threads", "1")
    colmap("exhaustive_matcher", "--database_path", database, *matching)
    apart.copy_stores(database)
    plain = Path(shutil.copyfile(database, tmp_path / "plain.db"))
    pycolmap.incremental_mapping(plain, apart.photo_dir, tmp_path / "plain", OPTIONS)
    found = interpose_sfm.incremental_mapping(database, apart.photo_dir, out, OPTIONS, interpose=QUICK)
    assert found[0].num_reg_images() == 6
    assert dump(database) == dump(plain)  # pycolmap itself brings older databases up to date; nothing else was done
    told = colmap("model_analyzer", "--path", out / "0")
    assert "Registered images: 6" in told
    assert f"Points: {found[0].num_points3D()}" in told
    (tmp_path / "text").mkdir()
    colmap("model_converter", "--input_path", out / "0", "--output_path", tmp_path / "text", "--output_type", "TXT")
    assert "left_1.jpg" in (tmp_path / "text" / "images.txt").read_text()


# ---------------------------------------------------------------- running scripts


def test_two_sqlite_libraries_do_not_meet(apart: Apart, features: Path, tmp_path: Path) -> None:
    """A client that holds the database open, as those with a progress bar do, keeps a working connection."""
    database = apart.copy(tmp_path)
    held = pycolmap.Database.open(database)
    found = interpose_sfm.incremental_mapping(database, apart.photo_dir, tmp_path / "out", OPTIONS, interpose=QUICK)
    assert found[0].num_reg_images() == 6
    assert held.num_images() == 6
    held.close()
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
