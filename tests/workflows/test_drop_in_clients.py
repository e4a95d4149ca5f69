"""Programs that know nothing of this package, run under the drop-in: what they print, exit with, and get."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pycolmap
import pytest

import interpose_sfm
from geometry_scenes import worst_error_deg
from hook_scene import OPTIONS, QUICK, Apart, dump, listing
from interpose_sfm.cli import main as cli
from interpose_sfm.cli.script import run_script
from interpose_sfm.options import InterposeOptions
from paths import ROOT, TESTS

CLIENTS = TESTS / "clients"
FLAGS = ("--generator", "none")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def python(*arguments: str | Path, cwd: Path = ROOT) -> Done:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def hook(*arguments: str | Path, cwd: Path = ROOT) -> Done:
    return python("-m", "interpose_sfm", "hook", *arguments, cwd=cwd)


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


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


SHOW = """\
import sys, pickle
class Thing: pass
print(sys.argv, sys.path[0], __name__, __file__, __package__, sys.modules["__main__"].__dict__ is globals())
print(type(pickle.loads(pickle.dumps(Thing()))) is Thing)
"""


def test_a_script_sees_what_it_sees_without_us(tmp_path: Path) -> None:
    write(tmp_path / "scripts" / "show.py", SHOW)
    arguments = ("scripts/show.py", "--verbose", "-q", "--", "a b")
    plain, hooked = python(*arguments, cwd=tmp_path), hook("--", *arguments, cwd=tmp_path)
    assert plain.code == hooked.code == 0
    assert hooked.out == plain.out
    assert str(tmp_path / "scripts") in hooked.out
    assert hooked.err == ""


def test_a_module_sees_what_it_sees_without_us(tmp_path: Path) -> None:
    write(tmp_path / "package" / "__init__.py", "")
    write(tmp_path / "package" / "other.py", "VALUE = 5\n")
    write(tmp_path / "package" / "show.py", "from .other import VALUE\nprint(VALUE)\n" + SHOW)
    arguments = ("-m", "package.show", "--json")
    plain, hooked = python(*arguments, cwd=tmp_path), hook("--", *arguments, cwd=tmp_path)
    assert plain.code == hooked.code == 0, hooked.err
    assert hooked.out == plain.out
    assert "5\n" in hooked.out


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("import sys; sys.exit()", 0),
        ("import sys; sys.exit(7)", 7),
        ("import sys; sys.exit('no photos')", 1),
        ("def f():\n    raise RuntimeError('boom')\nf()\n", 1),
        ("raise KeyboardInterrupt", 130),
        ("x = = 1\n", 1),
    ],
)
def test_exit_codes_and_tracebacks_are_the_scripts(tmp_path: Path, text: str, code: int) -> None:
    script = write(tmp_path / "script.py", text)
    plain, hooked = python(script), hook("--", script)
    assert hooked.code == code
    assert plain.code in (code, -2)  # of a signal
    assert hooked.err == plain.err


def test_the_scripts_name_is_the_replaced_function(tmp_path: Path) -> None:
    text = "from pycolmap import incremental_mapping as f\nprint(hasattr(f, 'replaced_by_interpose_sfm'))\n"
    script = write(tmp_path / "script.py", text)
    assert (hook("--", script).out, python(script).out) == ("True\n", "False\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "got no script"),
        (("script.py",), "got no script"),
        (("--",), "got no script"),
        (("--", "-m"), "got no script"),
        (("--", "nowhere.py"), "there is no script nowhere.py"),
        (("--", "-m", "no_such_module.at_all"), "there is no module"),
        (("--", "."), "folder"),
        (("--json", "--", __file__), "--json"),
        (("-v", "-q", "--", __file__), "--verbose and --quiet"),
        (("--seed", "-1", "--", __file__), "option seed"),
    ],
)
def test_unusable_command_lines(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["hook", *arguments]) == cli.UNUSABLE
    assert message in capsys.readouterr().err


def test_options_reach_the_hook(tmp_path: Path) -> None:
    command = cli.parse(["hook", "--clips", "clips", "--seed", "3", "--", __file__, "--seed", "4"])
    assert command.script == (__file__, "--seed", "4")
    assert command.options.seed == 3
    assert command.options.bridging.clip_dir == Path("clips")
    plain = cli.parse(["hook", "--", __file__])
    assert (plain.script, plain.options) == ((__file__,), InterposeOptions())


def test_the_process_is_as_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs that run scripts by `run_script` and live on."""
    path = write(tmp_path / "script.py", "import sys\nsys.path.append('x')\nprint(sys.argv)\n")
    before = (list(sys.argv), list(sys.path), sys.modules["__main__"], pycolmap.incremental_mapping)
    assert run_script([str(path), "a"], InterposeOptions(), verbose=False, quiet=True) == 0
    assert capsys.readouterr().out == f"{[str(path), 'a']}\n"
    assert (sys.argv, sys.path, sys.modules["__main__"], pycolmap.incremental_mapping) == before


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
