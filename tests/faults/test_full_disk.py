"""A disk that is full at any moment, and too little memory: a sentence and code 3, and what was finished is kept."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from forked_runs import assert_same, found
from interpose_sfm.colmap import features, room
from interpose_sfm.colmap.reconstruction import check_written
from interpose_sfm.failures import Lack, lack_of
from interpose_sfm.products import Pose
from interpose_sfm.synthetic import SampleTruth
from paths import ROOT
from small_disks import mounted, resize

# The first six are smaller than what COLMAP needs in reserve, and the next two are used up while it works. The last
# two, without a reserve, hold what COLMAP makes, and are full when the results are written.
SIZES = ("8k", "100k", "400k", "1500k", "3000k", "4600k", "65m", "66m")
SIZES_WITHOUT_RESERVE = ("4800k", "5200k")
ENOUGH = "200m"


class Usage(NamedTuple):
    total: int
    used: int
    free: int


WITHOUT_RESERVE = """
import sys
from interpose_sfm.__main__ import entry
from interpose_sfm.colmap import room

room.RESERVE_BYTES = 0
sys.exit(entry())
"""


class Done(NamedTuple):
    code: int
    err: str


def run(
    sample: SampleTruth, output: Path, memory_kib: int | None = None, program: tuple[str, str] = ("-m", "interpose_sfm")
) -> Done:
    arguments = ["reconstruct", str(sample.photo_dir), "--output", str(output), "--generator", "none"]
    command = [sys.executable, *program, *arguments, "--max-weak-pairs=1", "--num-threads=1"]
    if memory_kib is not None:
        command = ["bash", "-c", f'ulimit -v {memory_kib}; exec "$@"', "bash", *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return Done(done.returncode, done.stderr)


@pytest.fixture(scope="module")
def expected(small_sample: SampleTruth, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Pose]]:
    output = tmp_path_factory.mktemp("enough") / "out"
    assert run(small_sample, output).code == 0
    return found(output)


def assert_told(done: Done) -> None:
    assert done.code == 3, done.err
    assert "Traceback" not in done.err
    assert "Abort" not in done.err
    assert "then the same command goes on where this one stopped" in done.err


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    ("size", "program"),
    [
        *((size, ("-m", "interpose_sfm")) for size in SIZES),
        *((size, ("-c", WITHOUT_RESERVE)) for size in SIZES_WITHOUT_RESERVE),
    ],
    ids=[*SIZES, *SIZES_WITHOUT_RESERVE],
)
def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(
    small_sample: SampleTruth, tmp_path: Path, size: str, program: tuple[str, str], expected: list[dict[str, Pose]]
) -> None:
    with mounted(tmp_path / "disk", size) as disk:
        done = run(small_sample, disk / "out", program=program)
        assert_told(done)
        assert "the disk is full" in done.err
        resize(disk, ENOUGH)
        again = run(small_sample, disk / "out")
        assert again.code == 0, again.err
        assert_same(found(disk / "out"), expected)


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("memory_kib", [400_000, 1_000_000, 1_500_000])
def test_too_little_memory_is_told_and_the_run_goes_on(
    small_sample: SampleTruth, tmp_path: Path, memory_kib: int, expected: list[dict[str, Pose]]
) -> None:
    done = run(small_sample, tmp_path / "out", memory_kib)
    assert_told(done)
    assert Lack.MEMORY in done.err
    assert run(small_sample, tmp_path / "out").code == 0
    assert_same(found(tmp_path / "out"), expected)


# ---------------------------------------------------------------- without a file system of a given size


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many bytes are free."""

    def have(free: int) -> None:
        monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Usage(1 << 40, (1 << 40) - free, free))

    return have


def test_colmap_is_not_begun_without_a_reserve(disk: Callable[[int], None], tmp_path: Path) -> None:
    disk(room.RESERVE_BYTES - 1)
    with pytest.raises(OSError, match="needs 64 MiB of free room") as caught:
        features.cancellable(lambda **_: pytest.fail("it was begun"), tmp_path)
    assert lack_of(caught.value) is Lack.DISK
    disk(room.RESERVE_BYTES)
    features.cancellable(lambda **_: None, tmp_path)


def test_colmap_is_stopped_where_the_disk_fills_up(disk: Callable[[int], None], tmp_path: Path) -> None:
    disk(room.RESERVE_BYTES)
    ended = []

    def work(cancellation_token: Any) -> None:
        disk(1000)
        end_s = time.monotonic() + 20
        while not cancellation_token.is_cancelled and time.monotonic() < end_s:
            time.sleep(0.01)
        ended.append(cancellation_token.is_cancelled)

    with pytest.raises(OSError, match="are left"):
        features.cancellable(work, tmp_path)
    assert ended == [True]


def test_a_file_system_that_tells_no_sizes_is_believed_to_have_room(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Usage(0, 0, 0))
    room.check_room(tmp_path)


def test_a_model_that_colmap_has_cut_off_is_not_taken_for_one(tmp_path: Path) -> None:
    """Its own writer says nothing of a full disk."""
    import base_models

    model = base_models.make_base(tmp_path).model
    with mounted(tmp_path / "disk", "8k") as folder:
        model.write(folder)
        with pytest.raises(OSError, match="not written the model whole") as caught:
            check_written(folder)
    assert lack_of(caught.value) is Lack.DISK
