"""Time as the hosted models see it, so that waiting can be tested without waiting."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_FIRST_DELAY_S = 2.0
_LONGEST_DELAY_S = 60.0
# Runway's documentation asks for a random delay of up to half of the waiting time on top of it.
_JITTER = 0.5
# What stops a worker thread reaches it between two instructions only.
_SLICE_S = 0.5


def _sleep(duration_s: float) -> None:
    end_s = time.monotonic() + duration_s
    while (rest_s := end_s - time.monotonic()) > 0:
        time.sleep(min(_SLICE_S, rest_s))


@dataclass(frozen=True)
class Clock:
    """Sources of time and chance.

    Attributes:
        now_s: Seconds since some moment, never running backwards.
        sleep: Waits so many seconds.
        chance: Uniform in [0, 1); not the generator that the caller may have seeded.
    """

    now_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = _sleep
    chance: Callable[[], float] = field(default_factory=lambda: random.Random().random)

    def back_off(self, attempt: int, at_least_s: float = 0.0) -> None:
        """Wait before the next attempt: twice as long each time, with jitter, and as long as the service asks for."""
        delay_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2.0**attempt)
        self.pause(max(delay_s, at_least_s))

    def pause(self, delay_s: float) -> None:
        """Wait, and up to half as long again."""
        self.sleep(delay_s * (1.0 + _JITTER * self.chance()))
