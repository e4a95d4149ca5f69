"""The run folder: whose it is, kills, stages."""

from __future__ import annotations

import ast
import json
import logging
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from folders import contents, fill
from interpose_sfm.storage.atomic import (
    TEMP_PREFIX,
)
from interpose_sfm.storage.content_keys import content_key
from interpose_sfm.storage.workspace import FORMAT_VERSION, STAGES, Workspace
from processes import kill, start

# ---------------------------------------------------------------- atomic folders


def test_a_kill_between_the_renames_is_put_right(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "run")
    with workspace.locked():
        for folder in (workspace.base_dir, workspace.root / "other"):
            new, old = (folder.with_name(f"{TEMP_PREFIX}{folder.name}.{age}") for age in ("new", "old"))
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
        assert stages in ([["new"]] if "stage" in acknowledged else [before, [], ["new"]]), step
        assert not stages or texts == stages, step  # what is there is what the stage has made
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
        "images", "frames", "masks", "database.db", "base", "sparse", "report.json", "points.ply", "stages.json",
        "work", "clips", "report.html", "sheets",
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


def test_a_stage_whose_outputs_are_not_whole_is_not_done(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.base_dir.mkdir()
    changes = {
        "altered": lambda folder: (folder / "a").write_text("odd"),
        "cut": lambda folder: (folder / "a").write_text(""),
        "gone": lambda folder: (folder / "a").unlink(),
        "more": lambda folder: (folder / "d").touch(),
        "moved": lambda folder: (folder / "a").rename(folder / "sub" / "a"),
        "a link": lambda folder: ((folder / "a").unlink(), (folder / "a").symlink_to(folder / "sub" / "b")),
    }
    for name, change in changes.items():
        shutil.rmtree(workspace.base_dir)
        workspace.base_dir.mkdir()
        fill(workspace.base_dir, "old")
        workspace.mark_done("base", "k", outputs=[workspace.base_dir])
        assert done(workspace) == ["base"], name
        caplog.clear()
        change(workspace.base_dir)
        assert done(workspace) == [], name
        assert "stage base is done again" in caplog.text, name


def test_outputs_that_lie_elsewhere_are_not_looked_at(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for name in ("../secret", str(tmp_path / "secret"), "", ".", "a\0b", "a//b", "\ud800"):
        stages = {"base": {"key": "k", "outputs": {name: "0" * 64}}}
        document = {"format": FORMAT_VERSION, "stages": stages, "check": content_key(stages)}
        workspace.stages_path.write_text(json.dumps(document))
        assert done(workspace) == [], name


@pytest.mark.parametrize("place", ["images", "base/models", "features.h5", "clips/tasks", "work"])
def test_a_folder_with_a_link_is_refused(workspace: Workspace, tmp_path: Path, place: str) -> None:
    """What a run writes or removes would lie elsewhere."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("theirs")
    path = workspace.root / place
    path.parent.mkdir(exist_ok=True)
    if path.is_dir():
        path.rmdir()
    path.symlink_to(tmp_path / "theirs")
    with pytest.raises(ValueError, match=f"{place} is a symbolic link"), workspace.locked():
        pass
    assert (tmp_path / "theirs" / "file").read_text() == "theirs"


def test_a_stage_without_its_outputs_is_not_done(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    workspace.base_dir.mkdir()
    sqlite3.connect(workspace.database_path).close()
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
