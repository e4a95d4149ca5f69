"""One run at a time in a folder."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from interpose_sfm.storage.locks import acquire_lock, claimed
from interpose_sfm.storage.workspace import Workspace, WorkspaceBusyError
from processes import kill, start

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
    with pytest.raises(ValueError, match="is a symbolic link"), Workspace(tmp_path / "run").locked():
        pass
    with pytest.raises(OSError, match="symbolic links"):
        acquire_lock(tmp_path / "run" / ".interpose_sfm.lock")
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


def next_descriptor() -> int:
    """The lowest that is free: higher than before where a file was left open."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


def test_who_is_interrupted_while_it_waits_for_a_claim_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("interpose_sfm.storage.locks.time.sleep", interrupt)
    with claimed(tmp_path / "claim"):
        before = next_descriptor()
        with pytest.raises(KeyboardInterrupt), claimed(tmp_path / "claim"):
            pytest.fail("two have one claim")
        assert next_descriptor() == before
        assert (tmp_path / "claim").exists()
    assert not (tmp_path / "claim").exists()


def test_who_waits_long_for_a_claim_says_for_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    script = """
import sys, time
from pathlib import Path
from interpose_sfm.storage.locks import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
    process = start(script, tmp_path / "claim")
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        monkeypatch.setattr("interpose_sfm.storage.locks._PATIENCE_S", 0.1)
        threading.Timer(0.5, process.kill).start()
        with claimed(tmp_path / "claim") as is_held:
            assert is_held
    finally:
        kill(process)
    assert caplog.text.count("waiting for process") == 1
    assert (
        f"waiting for process {process.pid} on {socket.gethostname()}, which holds {tmp_path / 'claim'}" in caplog.text
    )


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


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "run")
    with workspace.locked():
        pass
    return workspace
