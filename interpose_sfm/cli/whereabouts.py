"""What a long stage is at, behind its progress bar."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from interpose_sfm.cli import terminal
from interpose_sfm.run_log import AT

_MAX_LETTERS = 40


class _BehindBar(logging.Handler):
    def __init__(self, bars: Any) -> None:
        super().__init__()
        self._bars = bars

    def emit(self, record: logging.LogRecord) -> None:
        text = terminal.escaped(record.getMessage())
        self._bars.say(text if len(text) <= _MAX_LETTERS else f"{text[: _MAX_LETTERS - 1]}…")


@contextmanager
def shown_behind(bars: Any) -> Iterator[None]:
    """Hand what stages say of their whereabouts to ``bars.say``; nobody else gets it meanwhile.

    Args:
        bars: Progress bars.
    """
    logger, handler = logging.getLogger(AT), _BehindBar(bars)
    logger.addHandler(handler)
    logger.propagate, level = False, logger.level
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
        logger.setLevel(level)
