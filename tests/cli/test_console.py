"""What a command shows while it works, and how signals end it."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import logging
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interpose_sfm.cli import console
from interpose_sfm.cli.console import ProgressBars, messages
from paths import ROOT


def test_verbose_shows_debug_messages() -> None:
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        for verbose in (False, True):
            with messages(verbose, quiet=False):
                logging.getLogger("interpose_sfm.somewhere").debug("a detail, %s", verbose)
    assert "a detail, True" in err.getvalue()
    assert "a detail, False" not in err.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("quiet", "as_json", "is_shown"), [(False, False, True), (False, True, True), (True, False, False)]
)
def test_progress_is_a_bar_per_stage_on_a_terminal(quiet: bool, as_json: bool, is_shown: bool) -> None:
    terminal = Terminal()
    with contextlib.redirect_stderr(terminal), ProgressBars.suited(quiet, as_json) as progress:
        for done in range(4):
            progress("features", done, 3)
        progress("mapping", 1, 0)
        progress("mapping", 2, 7)
    shown = terminal.getvalue()
    assert bool(shown) is is_shown
    if is_shown:
        assert "features        : 100%" in shown
        assert "3/3" in shown
        assert "2/7" in shown
        assert shown.count("\n") == 2


def test_progress_is_visible_on_a_terminal_without_a_width() -> None:
    reader, writer = pty.openpty()  # of 0 columns
    with open(writer, "w", encoding="utf-8") as terminal, contextlib.redirect_stderr(terminal):
        with ProgressBars.suited(quiet=False, json=False) as progress:
            progress("features", 3, 3)
        terminal.flush()
    shown = b""
    with contextlib.suppress(OSError):  # what a terminal gives instead of an end of file
        while chunk := os.read(reader, 10_000):
            shown += chunk
    os.close(reader)
    assert "features        : 100%" in shown.decode()


def test_a_long_stage_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no bar; also while nobody reports progress, as in native code."""
    monkeypatch.setattr(console, "HEARTBEAT_S", 0.05)
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        for quiet in (True, False):
            with ProgressBars.suited(quiet, json=False) as progress:
                progress("matching", 3, 9)
                time.sleep(0.5)
            if quiet:
                assert not err.getvalue()
    lines = err.getvalue().splitlines()
    assert lines[0].startswith("matching: 3 of 9 after 0.")
    assert len(lines) > 2
    assert lines[-1].startswith("matching: 3 in ")


LOADING = """
import os, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), number)

module, number = sys.argv[1], int(sys.argv[2])
from interpose_sfm.__main__ import entry
sys.meta_path.insert(0, Finder())
sys.argv = ["interpose_sfm", "doctor"]
sys.exit(entry())
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    "module", [*("tyro", "pyceres", "pycolmap", "open3d"), pytest.param("torch", marks=pytest.mark.long)]
)
def test_a_signal_while_libraries_load_ends_by_its_own_code(module: str, number: signal.Signals, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADING, module, str(int(number))], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


NATIVE = """
import ctypes, sys
from interpose_sfm.cli.command import Command
from interpose_sfm.cli.running import execute

class Say(Command):
    def run(self, progress):
        any_object = ctypes.py_object
        run = ctypes.pythonapi.PyRun_String
        run.restype, run.argtypes = any_object, [ctypes.c_char_p, ctypes.c_int, any_object, any_object]
        run(b"import os\\nos.kill(os.getpid(), " + sys.argv[1].encode() + b")\\n", 257, {}, {})

sys.exit(execute(Say()))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_code_that_native_code_runs_ends_by_its_own_code(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Python would remember a KeyboardInterrupt that came that way, and end the process by SIGINT."""
    (tmp_path / "native.py").write_text(NATIVE)
    command = [sys.executable, "-m", "native", str(int(number))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_that_loads_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a signal raises there is anything at all in the end, so that the process is ended."""
    (tmp_path / "loads_slowly.py").write_text("import sys\nframe = sys._getframe()\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert console.is_importing(importlib.import_module("loads_slowly").frame)
    assert not console.is_importing(inspect.currentframe())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_second_signal_ends_a_command_that_does_not_stop(number: signal.Signals, code: int) -> None:
    script = (
        "import sys, time\n"
        "import pycolmap\n"
        "from interpose_sfm.cli.console import Signals\n"
        "with Signals():\n"
        "    try:\n"
        "        print('running', flush=True)\n"
        "        time.sleep(60)\n"
        "    except KeyboardInterrupt:\n"
        "        print('cleaning up', flush=True)\n"
        "        time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for state in ("running", "cleaning up"):
            assert process.stdout.readline().strip() == state
            os.kill(process.pid, number)
        err = process.communicate(timeout=30)[1]
    assert process.returncode == code
    assert err.split("\n")[1:] == ["interpose_sfm: stopping; once more to stop at once", ""]
