"""Programs of others, run to their end with their words in the log, and ended when we are."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_LOOK_S = 0.1  # an interruption reaches a thread between two looks only
_PATIENCE_S = 5.0
_NUM_LAST_LINES = 3
_MAX_LAST_WORDS = 500


@dataclass(frozen=True)
class Finished:
    """What is left of a program.

    Attributes:
        exit_code: As the system has it; negative for a signal.
        last_words: Its last lines, on one line.
    """

    exit_code: int
    last_words: str


def run_logged(
    command: Sequence[str], work_dir: Path, environment: Mapping[str, str], logger: logging.Logger
) -> Finished:
    """Run a program; every line that it prints goes to the log at once, as a debug message.

    It gets a process group of its own, all of which is ended when this call is left, however that happens: Ctrl-C in
    the terminal does not reach it otherwise.

    Raises:
        ValueError: It cannot be started.
    """
    lines: deque[str] = deque(maxlen=_NUM_LAST_LINES)
    logger.debug("running %s", " ".join(command))
    try:
        process = subprocess.Popen(
            command,
            cwd=work_dir,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise ValueError(f"{command[0]} cannot be started: {error}") from error
    assert process.stdout is not None
    reader = threading.Thread(target=_follow, args=(process.stdout, lines, logger), daemon=True)
    try:
        reader.start()
        while process.poll() is None:
            time.sleep(_LOOK_S)
    finally:
        _end(process)
        reader.join(_PATIENCE_S)  # something that it has left behind may still hold the pipe
    return Finished(process.returncode, " | ".join(lines)[-_MAX_LAST_WORDS:] or "nothing")


def _follow(stream: IO[str], lines: deque[str], logger: logging.Logger) -> None:
    with suppress(ValueError), stream:
        for line in stream:
            text = line.strip()
            if text:
                logger.debug("%s", text)
                lines.append(text)


def _end(process: subprocess.Popen[str]) -> None:
    """End a group of processes that has nothing to save."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
