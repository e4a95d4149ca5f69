"""Running a user's script under the drop-in, as ``python -m cProfile`` runs one under its profiler."""

from __future__ import annotations

import io
import logging
import os
import runpy
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from interpose_sfm.cli import console
from interpose_sfm.cli.terminal import PROGRAM
from interpose_sfm.options import InterposeOptions

FAILED, STOPPED = 1, 130


def missing_script(command: Sequence[str]) -> str:
    """What is wrong with a command line of a script, or of ``-m`` and a module; empty if it can be run."""
    usage = "expected: hook [options] -- SCRIPT [ARGUMENT ...]"
    if not command or command == ["-m"]:
        return f"got no script, {usage}"
    if command[0] != "-m":
        if os.path.isdir(command[0]):
            return f"got the folder {command[0]}, expected a Python script in it"
        return "" if os.path.isfile(command[0]) else f"there is no script {command[0]}"
    with _command_line(command[1:], os.getcwd()):
        try:
            spec = find_spec(command[1])
        except (ImportError, ValueError):  # of a package that does not exist
            spec = None
    return "" if spec is not None else f"there is no module {command[1]}"


def run_script(command: Sequence[str], options: InterposeOptions, verbose: bool, quiet: bool) -> int:
    """Run a script, or ``-m`` and a module, as ``__main__`` with the drop-in installed.

    Args:
        command: The script and its arguments, without ``python``.
        options: Of the drop-in.
        verbose, quiet: How much of what the drop-in says goes to stderr.

    Returns:
        What ``python`` would exit with.
    """
    from interpose_sfm.workflows import drop_in

    teller = logging.getLogger(f"{PROGRAM}.workflows.drop_in_run")
    old_level = teller.level
    with console.messages(verbose, quiet):
        if not quiet:
            teller.setLevel(min(logging.INFO, logging.getLogger(PROGRAM).level))
        try:
            with drop_in.installed(options):
                return _run_module(command[1:]) if command[0] == "-m" else _run_file(command)
        except SystemExit as stop:
            return _exit_code(stop)
        except BaseException as error:  # noqa: BLE001 - shown as python shows it
            error.__traceback__ = _own_frames(error.__traceback__)
            sys.excepthook(type(error), error, error.__traceback__)
            return STOPPED if isinstance(error, KeyboardInterrupt) else FAILED
        finally:
            teller.setLevel(old_level)


def _run_file(command: Sequence[str]) -> int:
    script = os.path.abspath(command[0])
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=script, __builtins__=__builtins__, __cached__=None)
    with io.open_code(script) as file:
        code = compile(file.read(), script, "exec")
    old_main = sys.modules["__main__"]
    with _command_line(command, str(Path(script).resolve().parent)):
        sys.modules["__main__"] = main  # for what pickles or re-imports it
        try:
            exec(code, main.__dict__)
        finally:
            sys.modules["__main__"] = old_main
    return 0


def _run_module(command: Sequence[str]) -> int:
    with _command_line(command, os.getcwd()):
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    return 0


@contextmanager
def _command_line(arguments: Sequence[str], folder: str) -> Iterator[None]:
    """``sys.argv`` and ``sys.path[0]`` as python sets them."""
    old_arguments, old_path = sys.argv, list(sys.path)
    sys.argv = list(arguments)
    if not getattr(sys.flags, "safe_path", False):  # then python puts no folder there
        sys.path[0] = folder
    try:
        yield
    finally:
        sys.argv = old_arguments
        sys.path[:] = old_path


def _exit_code(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    sys.stderr.write(f"{stop.code}\n")
    return FAILED


def _own_frames(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames that led to the script."""
    outside = {__file__, runpy.__file__, "<frozen runpy>"}
    while traceback is not None and traceback.tb_frame.f_code.co_filename in outside:
        traceback = traceback.tb_next
    return traceback
