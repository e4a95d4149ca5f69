"""Files and folders that are there as a whole or not at all."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from folders import contents, fill
from interpose_sfm.storage.atomic import (
    atomic_directory,
    atomic_write_bytes,
    atomic_write_text,
)
from processes import kill, start

# ---------------------------------------------------------------- atomic writes


def test_atomic_write_replaces_and_obeys_the_umask(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 120 + ".txt")  # 244 bytes: hardly room for anything in the name of a temporary file
    umask = os.umask(0o022)
    try:
        atomic_write_text(path, "one\r\n")
        with path.open("rb") as reader:
            atomic_write_text(path, "two\n")
            assert reader.read() == b"one\r\n"  # a new file, not the old one written over
    finally:
        os.umask(umask)
    assert path.read_bytes() == b"two\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == [path.name]


def test_atomic_write_to_a_folder_fails_cleanly(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        atomic_write_bytes(tmp_path / "taken", b"x")
    assert os.listdir(tmp_path) == ["taken"]


KILLED_WRITES = """
import sys
from pathlib import Path
from interpose_sfm.storage.atomic import atomic_write_bytes
path = Path(sys.argv[1])
for i in range(10**6):
    atomic_write_bytes(path, bytes([i % 256]) * 200_000)
    print(i)
"""


def test_a_killed_write_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for attempt in range(4):
        process = start(KILLED_WRITES, path)
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
        time.sleep(0.007 * attempt)
        acknowledged = [1, *map(int, kill(process).split())][-1]
        data = path.read_bytes()
        assert len(data) == 200_000
        assert len(set(data)) == 1
        assert data[0] - acknowledged in (0, 1)  # the last one may be there without the line that says so


# ---------------------------------------------------------------- atomic folders


def test_atomic_directory_replaces_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    for content in ("one", "two"):
        with atomic_directory(path) as new:
            assert os.listdir(new) == []
            assert new.parent == tmp_path
            fill(new, content)
            (new / content).touch()
            assert not (path / content).exists()
        assert contents(path) == [content] * 3
    assert not (path / "one").exists()
    assert os.listdir(tmp_path) == ["sparse"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("existed", [True, False])
def test_atomic_directory_keeps_the_old_one_on_errors(
    tmp_path: Path, error: type[BaseException], existed: bool
) -> None:
    path = tmp_path / "sparse"
    if existed:
        path.mkdir()
        fill(path, "old")

    def interrupted() -> None:
        with atomic_directory(path) as new:
            fill(new, "new")
            raise error

    with pytest.raises(error):
        interrupted()
    assert os.listdir(tmp_path) == (["sparse"] if existed else [])
    assert not existed or contents(path) == ["old"] * 3


def test_atomic_directory_survives_the_loss_of_the_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.mkdir()
    fill(path, "old")
    with pytest.raises(FileNotFoundError), atomic_directory(path) as new:
        new.rmdir()
    assert contents(path) == ["old"] * 3
    assert os.listdir(tmp_path) == ["sparse"]


def test_atomic_directory_refuses_to_replace_a_file_or_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(ValueError, match="not a folder"), atomic_directory(tmp_path / name):
            pass
    assert (tmp_path / "file").read_text() == "mine"
