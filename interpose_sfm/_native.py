"""Loading native modules that must not be interrupted while they load."""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


def load_whole(name: str) -> ModuleType:
    """Import a module; Ctrl-C and SIGTERM wait until it is loaded.

    A half-loaded open3d ends the process with an exit code of its own, whatever the program wants to return.
    """
    with _signals_held():
        return importlib.import_module(name)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let signals that come within the block take effect after it; does nothing outside of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not None]  # None: native handlers
    handlers = {number: signal.signal(number, lambda n, _: received.append(n)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in received:
            signal.raise_signal(late)
