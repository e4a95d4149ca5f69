"""What a user of the command line sees and can do while a command runs: messages, progress, Ctrl-C."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from interpose_sfm.cli import terminal
from interpose_sfm.cli.terminal import PROGRAM
from interpose_sfm.cli.text import duration
from interpose_sfm.cli.whereabouts import shown_behind

HEARTBEAT_S = 30.0
"""Where there is no bar, a stage that takes long says so as often."""


@contextlib.contextmanager
def messages(verbose: bool, quiet: bool) -> Iterator[None]:
    """Messages of the package on stderr, above the progress bar."""
    from tqdm import tqdm

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tqdm.write(terminal.message(self.format(record)), file=sys.stderr)

    handler = Handler()
    if verbose:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    else:
        handler.setFormatter(_PlainFormatter(f"{PROGRAM}: %(level)s: %(message)s"))
    package = logging.getLogger(PROGRAM)
    old_level = package.level
    package.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING)
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(old_level)


class _PlainFormatter(logging.Formatter):
    """Level names in lower case, as compilers write them."""

    def format(self, record: logging.LogRecord) -> str:
        record.level = record.levelname.lower()
        return super().format(record)


def set_up_colmap(verbose: bool, signals: Signals) -> None:
    """Load Ceres and COLMAP, and keep their messages back unless asked for. Where they are not, the command says so.

    COLMAP calls it an error when it finds no model, which is why this package exists; what it throws is told anyway.
    """
    for name in ("pyceres", "pycolmap"):
        with contextlib.suppress(Exception):  # of a broken wheel
            importlib.import_module(name)
        signals.catch()  # each has set a handler of its own, which prints a stack trace on SIGTERM
    colmap = sys.modules.get("pycolmap")
    if colmap is not None:
        colmap.logging.minloglevel = 0 if verbose else 3


class Stop(KeyboardInterrupt):
    """Ctrl-C or SIGTERM. Python takes note of its own KeyboardInterrupt, and lets the process die by it in the end."""


class Signals:
    """Ctrl-C and SIGTERM let the work end in order; a second one ends the process at once.

    Native code may take minutes until it looks, and a kill harms nothing on disk. So one that comes while a module
    loads ends the process as well: what native code or a library makes of an exception there is anything at all.

    Attributes:
        received: Number of the signal; 0 before there was one.
    """

    def __init__(self) -> None:
        self.received = 0
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        """Catch the signals."""
        self._old = self.catch()
        return self

    def catch(self) -> dict[int, Any]:
        """Catch them again, once native libraries are loaded that have set handlers; returns what was there.

        Does nothing outside of the main thread, where Python cannot.
        """
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_: object) -> None:
        """Put back what was there; handlers of native code, which Python cannot, become the default."""
        for number, handler in self._old.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            os._exit(128 + number)
        if is_importing(frame):
            sys.stderr.write(f"\n{PROGRAM}: stopped\n")
            sys.stderr.flush()
            os._exit(128 + number)
        self.received = number
        if "pycolmap" in sys.modules:  # it reports every thread that is stopped as an error
            sys.modules["pycolmap"].logging.minloglevel = 3
        sys.stderr.write(f"\n{PROGRAM}: stopping; once more to stop at once\n")
        sys.stderr.flush()
        raise Stop


def is_importing(frame: FrameType | None) -> bool:
    """Whether a frame, or one that has called it, loads a module."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


class ProgressBars:
    """Progress on stderr: a bar per stage, or a line per stage when it ends, or nothing."""

    def __init__(self, *, has_bars: bool, has_lines: bool) -> None:
        self._has_bars, self._has_lines = has_bars, has_lines
        self._stage, self._done, self._total, self._start = "", 0, 0, 0.0
        self._bar: Any = None
        self._has_ended = threading.Event()
        self._behind = contextlib.ExitStack()

    @classmethod
    def suited(cls, quiet: bool, json: bool) -> ProgressBars:
        """Bars on a terminal; lines in a log file, unless the result is for a program."""
        is_terminal = sys.stderr.isatty()
        return cls(has_bars=is_terminal and not quiet, has_lines=not (is_terminal or quiet or json))

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is; ``total`` is 0 where it is unknown."""
        if stage != self._stage:
            self.close()
            self._stage, self._start = stage, time.monotonic()
            if self._has_bars:
                from tqdm import tqdm

                width: dict[str, Any] = {"dynamic_ncols": True} if _has_width() else {"ncols": 80, "nrows": 24}
                self._bar = tqdm(desc=f"{stage:16}", total=total or None, file=sys.stderr, **width)
        self._done, self._total = done, total
        if self._bar is not None:
            self._bar.total = total or None
            self._bar.update(done - self._bar.n)

    def say(self, text: str) -> None:
        """Show what the stage is at."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def __enter__(self) -> ProgressBars:
        """The callback itself."""
        if self._has_lines:
            threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        self._behind.enter_context(shown_behind(self))
        return self

    def __exit__(self, *_: object) -> None:
        """End the stage that is shown."""
        self._has_ended.set()
        self.close()
        self._behind.close()

    def _beat(self) -> None:
        """Say now and then that the work goes on; also while native code gives no sign."""
        while not self._has_ended.wait(HEARTBEAT_S):
            stage, seconds = self._stage, time.monotonic() - self._start
            if stage and seconds >= HEARTBEAT_S:
                of_total = f" of {self._total}" if self._total else ""
                sys.stderr.write(f"{stage}: {self._done}{of_total} after {duration(seconds)}\n")

    def close(self) -> None:
        """End the stage that is shown."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elif self._stage and self._has_lines:
            sys.stderr.write(f"{self._stage}: {self._done} in {duration(time.monotonic() - self._start)}\n")
        self._stage = ""


def _has_width() -> bool:
    """Whether the terminal says how wide it is; some pseudo-terminals say 0, and a bar of that width is blank."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):
        return False
