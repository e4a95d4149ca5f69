"""What a run goes on with when what lies in its output folder is not what it left there."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from interpose_sfm.cli.main import main
from interpose_sfm.clips.protocol import BudgetError
from interpose_sfm.colmap import features, incremental_mapper
from interpose_sfm.colmap.reconstruction import poses
from interpose_sfm.options import BaseOptions, ReconstructOptions
from interpose_sfm.products import Pose
from interpose_sfm.report import FallbackError
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.synthetic import SampleTruth
from interpose_sfm.workflows import fallback, small_models
from interpose_sfm.workflows.extension import Extension
from interpose_sfm.workflows.reconstruct import PhotoRun, reconstruct

OPTIONS = ReconstructOptions(generator="none", base=BaseOptions(num_threads=1))


def map_base(photo_dir: Path, output: Path) -> tuple[dict[str, Pose], list[str]]:
    """Poses of all base models, and the stages that took place."""
    workspace = Workspace(output)
    with workspace.locked():
        run = PhotoRun(workspace, OPTIONS, RunLog())
        base = run.map_base(run.collect(photo_dir))
    return {n: p for model in base.models for n, p in poses(model).items()}, sorted({*run.log.timings_s} - {"photos"})


@dataclass(frozen=True)
class Done:
    photo_dir: Path
    output: Path
    poses: dict[str, Pose]


@pytest.fixture(scope="module")
def done(small_sample: SampleTruth, tmp_path_factory: pytest.TempPathFactory) -> Done:
    output = tmp_path_factory.mktemp("done") / "out"
    found, stages = map_base(small_sample.photo_dir, output)
    assert {"features", "mapping"} <= set(stages)
    assert len(found) == 6
    return Done(small_sample.photo_dir, output, found)


@pytest.fixture
def quick(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    """COLMAP's stages bring what they brought the first time, and take none."""

    def extract_and_match(database_path: Path, *_: object, **__: object) -> None:
        shutil.copyfile(done.output / "base" / "database.db", database_path)

    def map_again(_: Path, __: Path, folder: Path, *___: object, **____: object) -> None:
        shutil.copytree(done.output / "base" / "models", folder, dirs_exist_ok=True)

    monkeypatch.setattr(features, "extract_and_match", extract_and_match)
    monkeypatch.setattr(incremental_mapper, "map_base", map_again)


def assert_same(found: dict[str, Pose], expected: dict[str, Pose]) -> None:
    assert found.keys() == expected.keys()
    for name, pose in found.items():
        np.testing.assert_allclose(pose.rotation, expected[name].rotation, atol=1e-9)
        np.testing.assert_allclose(pose.translation, expected[name].translation, atol=1e-9)


def flip(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 4
    path.write_bytes(content)


def set_count(path: Path) -> None:
    content = bytearray(path.read_bytes())
    struct.pack_into("<Q", content, 0, 2**50)
    path.write_bytes(content)


def edit(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE keypoints SET data = zeroblob(length(data)) WHERE image_id = 1")
    connection.close()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "points cut": lambda base: os.truncate(base / "models/0/points3D.bin", 500),
    "huge count": lambda base: set_count(base / "models/0/images.bin"),
    "a flipped bit": lambda base: flip(base / "models/0/images.bin", 0.7),
    "a file missing": lambda base: (base / "models/1/cameras.bin").unlink(),
    "a file empty": lambda base: os.truncate(base / "models/1/frames.bin", 0),
    "a model missing": lambda base: shutil.rmtree(base / "models/1"),
    "one model twice": lambda base: shutil.copytree(base / "models/0", base / "models/2"),
    "database cut": lambda base: os.truncate(base / "database.db", 5000),
    "database of garbage": lambda base: (base / "database.db").write_bytes(b"garbage" * 1000),
    "database empty": lambda base: os.truncate(base / "database.db", 0),
    "database edited": lambda base: edit(base / "database.db"),
    "database missing": lambda base: (base / "database.db").unlink(),
}


@pytest.mark.usefixtures("quick")
def test_a_second_run_maps_nothing(done: Done, tmp_path: Path) -> None:
    output = shutil.copytree(done.output, tmp_path / "out")
    for _ in range(2):
        found, stages = map_base(done.photo_dir, output)
        assert "features" not in stages
        assert "mapping" not in stages
        assert_same(found, done.poses)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_damaged_is_named_and_made_again(
    done: Done, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    output = shutil.copytree(done.output, tmp_path / "out")
    DAMAGE[name](output / "base")
    found, stages = map_base(done.photo_dir, output)
    assert "mapping" in stages
    assert "is done again" in caplog.text
    assert str(output / "base") in caplog.text
    assert_same(found, done.poses)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["database cut", "database of garbage", "database empty"])
def test_a_database_that_is_not_finished_is_checked_as_well(
    done: Done, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """As a killed run leaves it: with no digest, since it was to grow."""
    output = shutil.copytree(done.output, tmp_path / "out")
    Workspace(output).forget("base")
    DAMAGE[name](output / "base")
    found, _ = map_base(done.photo_dir, output)
    assert "it is made again" in caplog.text
    assert_same(found, done.poses)


@pytest.mark.usefixtures("quick")
def test_a_database_that_somebody_writes_is_named(done: Done, tmp_path: Path) -> None:
    output = shutil.copytree(done.output, tmp_path / "out")
    holder = sqlite3.connect(output / "base" / "database.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(ValueError, match=r"another program uses .*database\.db"):
            map_base(done.photo_dir, output)
    finally:
        holder.close()
    found, _ = map_base(done.photo_dir, output)
    assert_same(found, done.poses)


# ---------------------------------------------------------------- what fails after the base models


class NativeError(BaseException):
    """Native code raises such things, and no handler of `Exception` sees them."""


STAGES = ("match_weak_pairs", "calibrate", "bridge", "settle", "map_links")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, BaseException], None]:
    """Makes a stage raise; those before it do nothing."""

    def arrange(stage: str, error: BaseException) -> None:
        def fail(*_: object) -> None:
            raise error

        for name in STAGES:
            monkeypatch.setattr(fallback.FallbackRun, name, lambda *_: None)
        monkeypatch.setattr(fallback.FallbackRun, stage, fail)

    return arrange


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [ZeroDivisionError("defect"), MemoryError(), BudgetError("dear", 1.0), NativeError()])
@pytest.mark.parametrize("stage", STAGES)
def test_what_fails_later_does_not_lose_the_base_models(
    done: Done, tmp_path: Path, failing: Callable[[str, BaseException], None], stage: str, error: BaseException
) -> None:
    failing(stage, error)
    output = shutil.copytree(done.output, tmp_path / "out")
    with pytest.raises(FallbackError, match=r"the fallback failed: .*sparse") as caught:
        reconstruct(done.photo_dir, output, OPTIONS)
    assert caught.value.__cause__ is error
    result = caught.value.result
    models = [pycolmap.Reconstruction(folder) for folder in result.model_dirs]
    assert_same({n: p for model in models for n, p in poses(model).items()}, done.poses)
    document = json.loads((output / "report.json").read_text())
    assert document["failure"] == result.report.failure != ""
    assert document["num_registered_after"] == document["num_registered_before"] == 3
    assert (output / "database.db").is_file()


@pytest.mark.usefixtures("quick")
def test_what_fails_after_the_fallback_does_not_lose_what_it_found(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ZeroDivisionError("defect")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(PhotoRun, "extend", lambda _, base: Extension((), base.models * 2))
    monkeypatch.setattr(small_models, "or_smaller", fail)
    output = shutil.copytree(done.output, tmp_path / "out")
    with pytest.raises(FallbackError, match=r"the fallback failed: .*sparse") as caught:
        reconstruct(done.photo_dir, output, OPTIONS)
    assert caught.value.__cause__ is error
    assert len(caught.value.result.model_dirs) == 4  # twice the two of COLMAP


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_who_stops_a_run_stops_it(
    done: Done, tmp_path: Path, failing: Callable[[str, BaseException], None], stop: type[BaseException]
) -> None:
    failing("settle", stop())
    output = shutil.copytree(done.output, tmp_path / "out")
    with pytest.raises(stop):
        reconstruct(done.photo_dir, output, OPTIONS)
    assert not (output / "sparse").exists()


@pytest.mark.usefixtures("quick")
def test_a_failure_is_told_on_the_terminal_and_by_the_exit_code(
    done: Done,
    tmp_path: Path,
    failing: Callable[[str, BaseException], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing("bridge", ZeroDivisionError("defect"))
    output = shutil.copytree(done.output, tmp_path / "out")
    command = ["reconstruct", str(done.photo_dir), "--output", str(output), "--generator", "none", "--num-threads", "1"]
    assert main(command) == 4
    told = capsys.readouterr().err
    assert f"the fallback failed: ZeroDivisionError: defect; the models are those before it: {output}" in told
    assert "Traceback" not in told
