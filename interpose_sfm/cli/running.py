"""One command from its start to an exit code: progress and messages on stderr, its result on stdout."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import traceback

from interpose_sfm import failures
from interpose_sfm.cli import console, terminal
from interpose_sfm.cli.command import DEFECT, ENVIRONMENT, NOT_EXTENDED, UNUSABLE, Command, reader_may_leave
from interpose_sfm.engines.protocol import EngineError
from interpose_sfm.registry import MissingDependencyError
from interpose_sfm.report import FallbackError
from interpose_sfm.storage.item_files import StoreError
from interpose_sfm.storage.json_values import to_jsonable
from interpose_sfm.storage.workspace import WorkspaceBusyError

logger = logging.getLogger(__name__)

EXPECTED_ERRORS = (
    ValueError,
    OSError,
    ImportError,
    MissingDependencyError,
    WorkspaceBusyError,
    StoreError,
    EngineError,
)
"""What a user can mend; everything else is a defect and keeps its traceback."""


def execute(command: Command) -> int:
    """Run a command; returns the exit code."""
    stdout = sys.stdout
    progress = console.ProgressBars.suited(command.quiet, command.json)
    with (
        console.messages(command.verbose, command.quiet),
        contextlib.redirect_stdout(sys.stderr if command.json else stdout),
        console.Signals() as signals,
    ):
        try:
            with progress:
                console.set_up_colmap(command.verbose, signals)
                outcome = command.run(progress)
            if signals.received:  # and something that was loading a library took it for a failure of its own
                raise KeyboardInterrupt
        except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - each gets its exit code
            progress.close()
            # A signal in the middle of native code, as while a module loads, comes out as any error at all.
            if signals.received or isinstance(error, KeyboardInterrupt):
                again = "; the same command goes on where this one stopped" if command.keeps_its_work else ""
                terminal.tell(f"stopped{again}")
                return 128 + (signals.received or signal.SIGINT)
            return _failed(error, command)
    try:
        with reader_may_leave(stdout):
            if command.json:
                print(json.dumps(to_jsonable(outcome.data), indent=2), file=stdout)
            elif outcome.text and not (command.quiet and outcome.is_optional):
                terminal.show(outcome.text, stdout)
    except OSError as error:  # what it is written to is full
        terminal.tell(f"error: the result cannot be printed: {failures.sentence(error)}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        return ENVIRONMENT
    return outcome.code


def _failed(error: BaseException, command: Command) -> int:
    """Say what happened, and whose fault it is: the code says the same."""
    # What Slurm or Ray says of itself, such as "Access/permission denied", is nothing that this machine lacks.
    is_of_engine = any(isinstance(one, EngineError) for one in (error, error.__cause__))
    if not is_of_engine and failures.lack_of(error) is not None:
        goes_on = command.keeps_its_work and not isinstance(error, ValueError)  # which says itself what to do
        again = "; then the same command goes on where this one stopped" if goes_on else ""
        logger.error("%s%s", failures.sentence(error), again, exc_info=_traceback(error, command))
        return ENVIRONMENT
    if isinstance(error, FallbackError):
        logger.error("%s", error, exc_info=_traceback(error, command))
        return NOT_EXTENDED
    if isinstance(error, EXPECTED_ERRORS):
        logger.error("%s", error, exc_info=_traceback(error, command))
        if isinstance(error, ImportError):
            logger.error("'%s doctor' shows what to install", terminal.PROGRAM)
        return UNUSABLE
    print(terminal.message("".join(traceback.format_exception(error)).rstrip()), file=sys.stderr)
    terminal.tell("error: this is a defect; CONTRIBUTING.md says how to report it, with the lines above")
    return DEFECT


def _traceback(error: BaseException, command: Command) -> BaseException | None:
    return error if command.verbose else None
