"""What a user of the command line sees and can do while a command runs: messages, progress, Ctrl-C."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from interpose_sfm.cli.text import duration

PROGRAM = "interpose_sfm"


@contextlib.contextmanager
def messages(verbose: bool, quiet: bool) -> Iterator[None]:
    """Messages of the package on stderr, above the progress bar."""
    from tqdm import tqdm

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tqdm.write(self.format(record), file=sys.stderr)

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


def set_up_colmap(verbose: bool) -> None:
    """Keep COLMAP's messages to errors unless asked for. Where it is not installed the command will say so."""
    with contextlib.suppress(ImportError):
        import pycolmap

        pycolmap.logging.minloglevel = 0 if verbose else 2


class Signals:
    """Ctrl-C and SIGTERM let the work end in order; a second one ends the process at once.

    Native code may take minutes until it looks, and a kill harms nothing on disk. Enter it after COLMAP is loaded,
    whose own handler would print a stack trace on SIGTERM.

    Attributes:
        received: Number of the signal; 0 before there was one.
    """

    def __init__(self) -> None:
        self.received = 0
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        """Catch the signals; does nothing outside of the main thread, where Python cannot."""
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        """Put back what was there; handlers of native code, which Python cannot, become the default."""
        for number, handler in self._old.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _stop(self, number: int, _: FrameType | None) -> None:
        if self.received:
            os._exit(128 + number)
        self.received = number
        if "pycolmap" in sys.modules:  # it reports every thread that is stopped as an error
            sys.modules["pycolmap"].logging.minloglevel = 3
        sys.stderr.write(f"\n{PROGRAM}: stopping; once more to stop at once\n")
        sys.stderr.flush()
        raise KeyboardInterrupt


class ProgressBars:
    """Progress on stderr: a bar per stage, or a line per stage when it ends, or nothing."""

    def __init__(self, *, has_bars: bool, has_lines: bool) -> None:
        self._has_bars, self._has_lines = has_bars, has_lines
        self._stage, self._done, self._start = "", 0, 0.0
        self._bar: Any = None

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
        self._done = done
        if self._bar is not None:
            self._bar.total = total or None
            self._bar.update(done - self._bar.n)

    def __enter__(self) -> ProgressBars:
        """The callback itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the stage that is shown."""
        self.close()

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
