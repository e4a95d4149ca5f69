"""What a stage is at, behind its bar."""

from __future__ import annotations

import logging

import pytest

from interpose_sfm.cli.whereabouts import shown_behind
from interpose_sfm.run_log import AT, RunLog


class Bars:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_bars_are_told_what_a_stage_is_at(caplog: pytest.LogCaptureFixture) -> None:
    bars, log, steps = Bars(), RunLog(), []
    log.progress = lambda *step: steps.append(step)
    with shown_behind(bars):
        log.tell("matching", 1, 2, "a.jpg, \x1b[31mb.jpg")
        log.tell("matching", 2, 2)
        log.tell("matching", 2, 2, "x" * 99)
    assert bars.said == ["a.jpg, \\x1b[31mb.jpg", "x" * 39 + "…"]
    assert steps == [("matching", 1, 2), ("matching", 2, 2), ("matching", 2, 2)]
    assert caplog.records == []
    log.tell("matching", 1, 2, "later")
    assert len(bars.said) == 2
    assert logging.getLogger(AT).propagate
