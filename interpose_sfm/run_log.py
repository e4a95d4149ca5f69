"""What is told of a run while it goes on, and kept of it for its report."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)

AT = f"{__name__}.at"
"""Name of the logger that is told, at level INFO, what a long stage is at, such as the pair that it matches."""

Progress = Callable[[str, int, int], None]
"""Called with the stage, what is done and the total (0 where unknown)."""


@dataclass
class RunLog:
    """Progress, times and warnings of a run.

    Attributes:
        progress: Told how far every stage is.
        timings_s: Stage -> seconds.
        warnings: What the user should know, a sentence each.
        stopped_by: What ``progress`` raised to end the run.
    """

    progress: Progress | None = None
    timings_s: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    stopped_by: BaseException | None = None

    def tell(self, stage: str, done: int, total: int, at: str = "") -> None:
        """Report progress, and what the stage is at."""
        try:
            if self.progress is not None:
                self.progress(stage, done, total)
        except BaseException as error:
            self.stopped_by = error
            raise
        if at:
            logging.getLogger(AT).info("%s", at)

    def counter(self, stage: str, total: int) -> Callable[[], None]:
        """What reports progress by one with every call; the first photo of a model comes with the second."""
        done = itertools.count(2)
        return lambda: self.tell(stage, min(next(done), total), total)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; a stage that is entered again adds up."""
        logger.info("stage %s", name)
        start = time.monotonic()
        try:
            yield
        finally:
            self.timings_s[name] = self.timings_s.get(name, 0.0) + time.monotonic() - start
