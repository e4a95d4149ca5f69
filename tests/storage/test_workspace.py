"""The run folder: kills, locks, foreign folders, stages, keys, atomic writes."""

from __future__ import annotations

import ast
import dataclasses
import errno
import itertools
import json
import logging
import math
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum, IntEnum
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pytest

from interpose_sfm._compat import StrEnum
from interpose_sfm.storage.atomic import (
    TEMP_PREFIX,
    _beside,
    atomic_directory,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
)
from interpose_sfm.storage.content_keys import content_key
from interpose_sfm.storage.workspace import FORMAT_VERSION, STAGES, Workspace, WorkspaceBusyError
from paths import ROOT


class Colour(StrEnum):
    RED = "red"


class Fruit(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Plain(Enum):
    NAN = math.nan


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass(frozen=True)
class Options:
    size: int = 1
    name: object = "a"


@dataclasses.dataclass(frozen=True)
class OtherOptions:
    size: int = 1
    name: object = "a"


def start(script: str, *args: object) -> subprocess.Popen[str]:
    """Run a script; its output lines can be read as they come."""
    command = [sys.executable, "-u", "-c", script, *map(str, args)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def kill(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    return output


# ---------------------------------------------------------------- keys


DIFFERENT: list[Any] = [
    None, True, False, 0, 1, 1.0, 0.0, -0.0, math.nan, math.inf, -math.inf, 2**70, "1", "", "None", b"1", b"", "ä",
    "a\u0308", "\udcff", Colour.RED, Fruit.RED, "red", Number.ONE, Plain.NAN, Path("1"), Path("a/b"), "a/b",
    (), [], {}, set(), (1,), [1], {1}, {1: None}, (1, 2), (2, 1), Point(1, 2), Point(2, 1), (12,), ("ab", "c"),
    ("a", "bc"), ("abc",), ("a", "b"), ("astr:b",), [[1], 2], [[1, 2]], [[1, 2], []],
    (("a",), "bc"), ("a", ("bc",)), ((), ()), ((),),
    {"a": 1}, {"a": "1"}, {"a": 1, "b": 2}, {"a": 2, "b": 1},
    {"a": {"b": 1}}, (("a", 1),), {1: 2}, {"1": 2}, {True: 2}, {"a", "b"}, {"ab"}, Options(), OtherOptions(),
    Options(name=None), Options(size=2), Options(name=Options()), {"size": 1, "name": "a"},
    np.zeros(0), np.zeros((0, 2)), np.zeros((2, 0)), np.zeros(4), -np.zeros(4), np.zeros((2, 2)),
    np.zeros(4, np.float32), np.zeros(4, np.int64), np.zeros(4, np.uint32), np.zeros(4, bool),
    np.zeros((), np.int64), np.int64(0), np.uint8(0),
    np.float32(0), np.True_, np.array([1.0, 2.0]), np.array([2.0, 1.0]), np.array(["a", "b"]), np.array([np.nan] * 4),
    np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2), np.arange(6).reshape(3, 2).T,
]  # fmt: skip


def test_content_key_tells_all_values_apart() -> None:
    keys = [content_key(value) for value in DIFFERENT] + [content_key(), content_key(1, 2), content_key("a", "b")]
    clashes = [(i, j) for i, j in itertools.combinations(range(len(keys)), 2) if keys[i] == keys[j]]
    assert clashes == []
    assert all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in keys)


def test_content_key_of_equal_values_is_equal() -> None:
    payload_nan = np.array([0x7FF8000000000001], dtype=np.uint64).view(np.float64)
    matrix = np.arange(6.0).reshape(2, 3)
    equal: list[tuple[Any, Any]] = [
        (math.nan, float(payload_nan[0])),
        (payload_nan, np.array([np.nan])),
        ({"a": 1, "b": 2}, OrderedDict([("b", 2), ("a", 1)])),
        ({"x", "y", "z"}, frozenset(["z", "y", "x"])),
        (1.5, np.float64(1.5)),
        (matrix, np.asfortranarray(matrix)),
        (matrix, np.repeat(matrix, 2, axis=1)[:, ::2]),
        (matrix, matrix.astype(">f8")),
        (Path("a/b"), PurePosixPath("a/b")),
        (Options(name=(1, math.nan)), Options(name=(1, math.nan))),
    ]
    assert [content_key(a) == content_key(b) for a, b in equal] == [True] * len(equal)


@pytest.mark.parametrize(("module", "expected"), [("package.b", True), ("package", True), ("another.a", False)])
def test_content_key_survives_a_move_within_the_package(module: str, expected: bool) -> None:
    here, there = (dataclasses.make_dataclass("Setting", [("value", int)], frozen=True) for _ in range(2))
    here.__module__, there.__module__ = "package.a", module
    assert (content_key(here(1)) == content_key(there(1))) is expected


def test_content_key_is_the_same_in_every_process() -> None:
    value = {"names": frozenset({"ä", "b", "c"}), "pair": (1, None, 0.1), "path": Path("x")}
    script = (
        "from pathlib import Path; from interpose_sfm.storage.content_keys import content_key;"
        "print(content_key({'path': Path('x'), 'pair': (1, None, 0.1), 'names': frozenset({'c', 'b', 'ä'})}))"
    )
    output, _ = start(script).communicate()
    assert output.strip() == content_key(value)
    # Fixed on purpose: a change makes every run folder start anew, so it must not happen by accident.
    assert content_key("photos", 1, None) == "d087bae76f53dd4cf571a77ff687955a555c14eee9a4a4b1b98c420dc0712732"


@pytest.mark.parametrize(
    "value",
    [object(), Options, len, 1j, np.array([object()]), np.ma.masked_array([1, 2], [False, True]), np.zeros(1, "f8,i4"),
     np.longdouble(1), iter([1]), {"deep": [object()]}],
)  # fmt: skip
def test_content_key_refuses_what_it_cannot_tell(value: object) -> None:
    with pytest.raises(TypeError, match="content key"):
        content_key(value)


def test_content_key_changes_with_every_bit_of_an_array() -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(size=50)
    keys = {content_key(array)}
    for i in range(50):
        changed = array.copy()
        changed[i] = np.nextafter(changed[i], np.inf)
        keys.add(content_key(changed))
    assert len(keys) == 51


# ---------------------------------------------------------------- atomic writes


def test_json_holds_products(tmp_path: Path) -> None:
    value = {
        "z": math.nan, "inf": -math.inf, "f32": np.float32(0.5), "i": np.int64(7), "b": np.True_, "enum": Colour.RED,
        "path": Path("a") / "ä.jpg", "options": Options(name=(1, None)), "array": np.array([[1.0, np.nan]]),
        Colour.RED: [True], 5: {"b", "a"}, "long": np.longdouble(2),
    }  # fmt: skip
    path = tmp_path / "ö.json"
    atomic_write_json(path, value, sort_keys=True)
    text = path.read_text(encoding="utf-8")
    assert "ä.jpg" in text
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert json.loads(text) == {
        "z": None, "inf": None, "f32": 0.5, "i": 7, "b": True, "enum": "red", "path": "a/ä.jpg",
        "options": {"size": 1, "name": [1, None]}, "array": [[1.0, None]], "red": [True], "5": ["a", "b"], "long": 2.0,
    }  # fmt: skip
    atomic_write_json(path, {"b": 1, "a": 2})
    assert list(json.loads(path.read_text())) == ["b", "a"]


def test_json_of_a_name_that_is_not_unicode(tmp_path: Path) -> None:
    atomic_write_json(tmp_path / "a.json", ["\udcff", "ä"])
    assert json.loads((tmp_path / "a.json").read_bytes()) == ["\udcff", "ä"]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"a": [object()]}, TypeError, r"\$\.a\[0\]: a object has no JSON form"),
        ({"a": b"x"}, TypeError, "bytes"),
        ({(1, 2): 1}, TypeError, "cannot be the key"),
        ({True: 1}, TypeError, "cannot be the key"),
        ({None: 1}, TypeError, "cannot be the key"),
        ({1: 1, "1": 2}, ValueError, "two keys"),
        (1j, TypeError, "complex"),
    ],
)
def test_json_refuses_the_rest_and_keeps_the_file(
    tmp_path: Path, value: object, error: type[Exception], message: str
) -> None:
    path = tmp_path / "a.json"
    atomic_write_json(path, [1])
    with pytest.raises(error, match=message):
        atomic_write_json(path, value)
    assert json.loads(path.read_text()) == [1]
    assert os.listdir(tmp_path) == ["a.json"]


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


def fill(folder: Path, content: str) -> None:
    (folder / "sub").mkdir()
    for name in ("a", "sub/b", "sub/c"):
        (folder / name).write_text(content)


def contents(folder: Path) -> list[str]:
    return [(folder / name).read_text() for name in ("a", "sub/b", "sub/c")]


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


def test_a_kill_between_the_renames_is_put_right(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "run")
    with workspace.locked():
        for folder in (workspace.base_dir, workspace.root / "other"):
            new, old = _beside(folder)
            new.mkdir()
            old.mkdir()
            fill(new, "new")
            fill(old, "old")
    with workspace.locked():
        assert contents(workspace.base_dir) == contents(workspace.root / "other") == ["old"] * 3
        assert [name for name in os.listdir(workspace.root) if name.startswith(TEMP_PREFIX)] == []


KILLED_FOLDERS = """
import sys
from pathlib import Path
from interpose_sfm.storage.atomic import atomic_directory
from interpose_sfm.storage.workspace import Workspace
workspace = Workspace(Path(sys.argv[1]))
with workspace.locked():
    for i in range(10**6):
        with atomic_directory(workspace.sparse_dir) as new:
            for name in ("a", "b", "c"):
                (new / name).write_text(str(i))
        print(i)
"""


def test_a_killed_run_leaves_a_whole_folder(tmp_path: Path) -> None:
    rng = random.Random(1)
    workspace = Workspace(tmp_path / "run")
    for _ in range(6):
        process = start(KILLED_FOLDERS, workspace.root)
        assert process.stdout is not None
        first = int(process.stdout.readline())
        time.sleep(rng.uniform(0, 0.03))
        acknowledged = [first, *map(int, kill(process).split())]
        with workspace.locked():
            found = {(workspace.sparse_dir / name).read_text() for name in ("a", "b", "c")}
            assert len(found) == 1
            # The rename may have happened without the line that says so.
            assert int(found.pop()) - acknowledged[-1] in (0, 1)
            assert sorted(os.listdir(workspace.root)) == [".interpose_sfm", ".interpose_sfm.lock", "sparse", "work"]


CRASHER = """
import os, shutil, signal, sys
from pathlib import Path
from interpose_sfm.storage.atomic import atomic_directory
from interpose_sfm.storage.workspace import Workspace

root = Path(sys.argv[1]) / "run"
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")
NAMES = ("a", "b")

def run(content, log):
    workspace = Workspace(root)
    with workspace.locked():
        with atomic_directory(workspace.sparse_dir) as new:
            for name in NAMES:
                (new / name).write_text(content)
        os.write(log, b"folder ")
        workspace.mark_done("base", content, outputs=[workspace.sparse_dir])
        os.write(log, b"stage ")

def crash_at(step):  # at the step-th file operation below the root, just before it happens
    left = [step]
    def hook(event, arguments):
        if event in EVENTS and any(str(a).startswith((str(root), "sparse", "a", "b")) for a in arguments[:2]):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def was_killed_at(step, replaces):
    shutil.rmtree(root, ignore_errors=True)
    reader, log = os.pipe()
    if replaces:
        run("old", log)
        os.read(reader, 100)
    child = os.fork()
    if child == 0:
        crash_at(step)
        run("new", log)
        os._exit(0)
    os.close(log)
    _, status = os.waitpid(child, 0)
    acknowledged = os.read(reader, 100).decode().split()
    os.close(reader)
    workspace = Workspace(root)
    with workspace.locked():
        files = [workspace.sparse_dir / name for name in NAMES] if workspace.sparse_dir.exists() else []
        texts = {file.read_text() for file in files}
        stages = [key for key in ("old", "new") if workspace.is_done("base", key)]
        names = sorted(os.listdir(root))
    print(step, replaces, os.WIFSIGNALED(status), acknowledged, sorted(texts), stages, names, sep=";")
    return os.WIFSIGNALED(status)

for replaces in (False, True):
    step = 1
    while was_killed_at(step, replaces):
        step += 1
"""


def test_a_crash_before_any_file_operation_leaves_a_sound_folder(tmp_path: Path) -> None:
    process = start(CRASHER, tmp_path)
    output, _ = process.communicate()
    assert process.returncode == 0
    steps = [line.split(";") for line in output.splitlines()]
    for replaces in ("False", "True"):
        kills = [step[2] for step in steps if step[1] == replaces]
        assert len(kills) > 12
        assert kills == ["True"] * (len(kills) - 1) + ["False"]
    for step, replaces, was_killed, *rest in steps:
        acknowledged, texts, stages, names = map(ast.literal_eval, rest)
        before = ["old"] if replaces == "True" else []
        folders = [["new"]] if "folder" in acknowledged else [before, ["new"]]
        assert texts in folders, step
        assert stages in ([["new"]] if "stage" in acknowledged else [before, ["new"]]), step
        assert not (stages == ["new"] and texts != ["new"]), step
        assert was_killed == "True" or (texts, stages) == (["new"], ["new"])
        assert set(names) <= {".interpose_sfm", ".interpose_sfm.lock", "sparse", "stages.json", "work"}, step


# ---------------------------------------------------------------- the folder


def test_paths_are_where_the_documentation_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(Path("photos_interpose"))
    monkeypatch.chdir("/")
    assert workspace.root == tmp_path / "photos_interpose"
    names = {
        path.relative_to(workspace.root).as_posix()
        for path in vars(workspace).values()
        if isinstance(path, Path) and path != workspace.root
    }
    assert names == {
        "images", "database.db", "base", "sparse", "report.json", "points.ply", "stages.json", "work", "clips",
    }  # fmt: skip
    assert not workspace.root.exists()


def test_a_new_and_an_empty_folder_become_ours(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "clutter").mkdir()
    (tmp_path / "clutter" / ".DS_Store").touch()
    for name in ("new/deep/er", "empty", "clutter", "Ünï côde"):
        with Workspace(tmp_path / name).locked() as workspace:
            (workspace.root / "features.h5").touch()
            assert os.listdir(workspace.work_dir) == []
        with Workspace(tmp_path / name).locked():
            pass
        assert not workspace.work_dir.exists()
        assert json.loads((workspace.root / ".interpose_sfm").read_text()) == {"format": FORMAT_VERSION}


def test_a_first_start_that_was_killed_early_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".interpose_sfm.lock").touch()
    (tmp_path / f"{TEMP_PREFIX}1-ab").touch()
    with Workspace(tmp_path).locked():
        assert sorted(os.listdir(tmp_path)) == [".interpose_sfm", ".interpose_sfm.lock", "work"]


def test_a_folder_of_somebody_else_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("mine")
    with pytest.raises(ValueError, match=r"holiday\.jpg.*choose a new or an empty folder"):
        Workspace(tmp_path)
    assert os.listdir(tmp_path) == ["holiday.jpg"]


def test_a_folder_that_fills_before_the_start_is_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (tmp_path / "holiday.jpg").write_text("mine")
    with pytest.raises(ValueError, match="holiday"), workspace.locked():
        pass
    assert os.listdir(tmp_path) == ["holiday.jpg"]


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        (f'{{"format": {FORMAT_VERSION + 1}}}', "newer version.*update"),
        ("", "cannot be read"),
        ("[1]", "cannot be read"),
        ('{"format": "1"}', "holds format '1'"),
        ('{"format": true}', "holds format True"),
        ('{"format": 0}', "holds format 0"),
    ],
)
def test_a_marker_that_we_do_not_understand_is_refused(tmp_path: Path, marker: str, message: str) -> None:
    (tmp_path / ".interpose_sfm").write_text(marker)
    with pytest.raises(ValueError, match=message):
        Workspace(tmp_path)
    assert os.listdir(tmp_path) == [".interpose_sfm"]


def test_an_output_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is a file"):
        Workspace(tmp_path / "file")
    with pytest.raises(ValueError, match="choose another"), Workspace(tmp_path / "file" / "below").locked():
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_an_output_path_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path / "link", tmp_path / ("x" * 300), Path("/proc/interpose")):
        with pytest.raises(ValueError, match="output folder"), Workspace(path).locked():
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_without_write_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ValueError, match="cannot write to the output folder"), Workspace(tmp_path / "run").locked():
            pass
    finally:
        tmp_path.chmod(0o700)


# ---------------------------------------------------------------- locks


HOLDER = """
import sys, time
from pathlib import Path
from interpose_sfm.storage.workspace import Workspace
with Workspace(Path(sys.argv[1])).locked() as workspace:
    (workspace.work_dir / "leftover").touch()
    print("locked")
    time.sleep(60)
"""


def test_a_second_run_is_kept_out_until_the_first_is_killed(tmp_path: Path) -> None:
    root = tmp_path / "run"
    process = start(HOLDER, root)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    try:
        with pytest.raises(WorkspaceBusyError) as caught, Workspace(root).locked():
            pass
        assert isinstance(caught.value, RuntimeError)
        assert str(root) in str(caught.value)
        assert f"process {process.pid} " in str(caught.value)
        assert "wait for it, stop it, or choose another" in str(caught.value)
        assert (root / "work" / "leftover").exists()
    finally:
        kill(process)
    with Workspace(root).locked() as workspace:
        assert os.listdir(workspace.work_dir) == []


def test_a_lock_excludes_the_same_process_and_ends_with_its_block(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    def failing_run() -> None:
        with workspace.locked():
            with pytest.raises(WorkspaceBusyError, match=f"process {os.getpid()} "), workspace.locked():
                pass
            with pytest.raises(WorkspaceBusyError), Workspace(tmp_path).locked():
                pass
            raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            failing_run()


FORKING_HOLDER = """
import os, sys, time
from pathlib import Path
from interpose_sfm.storage.workspace import Workspace
with Workspace(Path(sys.argv[1])).locked():
    if os.fork() == 0:
        print(os.getpid())
        time.sleep(60)
        os._exit(0)
    time.sleep(60)
"""


def test_a_worker_that_outlives_a_killed_run_does_not_keep_the_lock(tmp_path: Path) -> None:
    process = start(FORKING_HOLDER, tmp_path / "run")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        with pytest.raises(WorkspaceBusyError), Workspace(tmp_path / "run").locked():
            pass
        process.kill()
        process.wait()
        os.kill(child, 0)  # the worker is alive
        with Workspace(tmp_path / "run").locked():
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".interpose_sfm.lock").symlink_to(tmp_path / "mine")
    with pytest.raises(ValueError, match="cannot write to the output folder"), Workspace(tmp_path / "run").locked():
        pass
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with Workspace(tmp_path / "run").locked() as workspace:
        assert workspace.work_dir.is_dir()
    assert "do not start a second run there" in caplog.text


RACER = """
import sys, time
from pathlib import Path
from interpose_sfm.storage.workspace import Workspace, WorkspaceBusyError
root = Path(sys.argv[1])
count = root.with_name("count")
for _ in range(100):
    try:
        with Workspace(root).locked():
            value = int(count.read_text()) if count.exists() else 0
            time.sleep(0.0005)
            count.write_text(str(value + 1))
            print("took it")
    except WorkspaceBusyError:
        time.sleep(0.001)
"""


def test_runs_that_start_together_never_work_together(tmp_path: Path) -> None:
    racers = [start(RACER, tmp_path / "run") for _ in range(3)]
    outputs = [racer.communicate()[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    successes = sum(output.count("took it") for output in outputs)
    assert 1 <= successes <= 300
    assert int((tmp_path / "count").read_text()) == successes


# ---------------------------------------------------------------- stages


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "run")
    with workspace.locked():
        pass
    return workspace


def done(workspace: Workspace, key: str = "k") -> list[str]:
    return [stage for stage in STAGES if Workspace(workspace.root).is_done(stage, key)]


def test_stages_are_remembered_with_their_key(workspace: Workspace) -> None:
    assert done(workspace) == []
    workspace.mark_done("photos", "k")
    workspace.mark_done("base", "k")
    assert done(workspace) == ["photos", "base"]
    assert done(workspace, "other") == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_new_key_forgets_the_later_stages_and_the_same_key_does_not(workspace: Workspace, stage: str) -> None:
    for name in STAGES:
        workspace.mark_done(name, "k")
    workspace.mark_done(stage, "k")
    assert done(workspace) == list(STAGES)
    workspace.mark_done(stage, "new")
    assert done(workspace) == list(STAGES[: STAGES.index(stage)])
    assert done(workspace, "new") == [stage]


def test_forget_drops_a_stage_and_the_later_ones(workspace: Workspace) -> None:
    for name in STAGES:
        workspace.mark_done(name, "k")
    workspace.forget("base")
    assert done(workspace) == ["photos"]
    workspace.forget("photos")
    workspace.mark_done("base", "k")
    workspace.mark_done("photos", "k")  # was not done before: what came later cannot rest on it
    assert done(workspace) == ["photos"]


def test_a_stages_file_of_an_earlier_version_is_read(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    workspace.images_dir.mkdir()
    earlier = {
        "photos": {"key": "k", "payload": None, "outputs": ["images"]},
        "base": {"key": "k", "payload": {"n": 3}, "outputs": []},
        "matching": {"key": "k", "payload": None, "outputs": []},
    }
    document = {"format": FORMAT_VERSION, "stages": earlier, "check": content_key(earlier)}
    workspace.stages_path.write_text(json.dumps(document))
    assert done(workspace) == ["photos", "base"]
    workspace.mark_done("base", "k")
    assert done(workspace) == ["photos", "base"]
    workspace.forget("base")
    assert done(workspace) == ["photos"]
    assert caplog.text == ""


def test_a_stage_without_its_outputs_is_not_done(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    workspace.base_dir.mkdir()
    workspace.database_path.touch()
    workspace.mark_done("base", "k", outputs=[workspace.base_dir, workspace.database_path])
    assert done(workspace) == ["base"]
    workspace.database_path.unlink()
    assert done(workspace) == []
    assert "database.db is missing" in caplog.text
    with pytest.raises(ValueError, match="elsewhere"):
        workspace.mark_done("base", "k", outputs=[Path("/elsewhere")])


def test_unknown_stages_are_refused(workspace: Workspace) -> None:
    calls = (
        lambda: workspace.is_done("fotos", "k"),
        lambda: workspace.mark_done("fotos", "k"),
        lambda: workspace.forget("fotos"),
    )
    for call in calls:
        with pytest.raises(ValueError, match="'fotos', expected one of photos, base"):
            call()


EDITED: dict[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "truncated": lambda text: text[: len(text) // 2],
    "binary": lambda text: "\x00\x01",
    "list": lambda text: "[]",
    "number": lambda text: "1",
    "deep": lambda text: "[" * 100_000,
    "other key": lambda text: text.replace('"k"', '"new"'),
    "other outputs": lambda text: text.replace("images", "base"),
    "newer format": lambda text: text.replace('"format": 1', '"format": 2'),
    "no stages": lambda text: json.dumps({**json.loads(text), "stages": {}}),
    "wrong types": lambda text: json.dumps({**json.loads(text), "stages": [1, 2]}),
}


@pytest.mark.parametrize("name", EDITED)
def test_a_damaged_or_edited_stages_file_means_nothing_is_done(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    workspace.images_dir.mkdir()
    workspace.mark_done("photos", "k", outputs=[workspace.images_dir])
    text = workspace.stages_path.read_text()
    changed = EDITED[name](text)
    assert changed != text
    workspace.stages_path.write_text(changed)
    again = Workspace(workspace.root)
    with caplog.at_level(logging.WARNING):
        assert [again.is_done(stage, key) for stage in STAGES for key in ("k", "new")] == [False] * 2 * len(STAGES)
    assert [record.message.count("damaged or was edited") for record in caplog.records] == [1]
    again.mark_done("photos", "k")
    assert done(workspace) == ["photos"]


def test_a_stages_file_may_be_reformatted(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    workspace.mark_done("photos", "k")
    workspace.stages_path.write_text(json.dumps(json.loads(workspace.stages_path.read_text()), sort_keys=True))
    assert done(workspace) == ["photos"]
    assert caplog.text == ""


def test_importing_loads_nothing_heavy() -> None:
    script = (
        "import sys; import interpose_sfm.storage.workspace, interpose_sfm.storage.stores;"
        "print(sorted({'torch', 'pycolmap', 'cv2', 'open3d', 'h5py'} & set(sys.modules)))"
    )
    assert start(script).communicate()[0].strip() == "[]"
