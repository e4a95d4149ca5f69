"""What others have named is shown, and never obeyed."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from interpose_sfm.cli import terminal, text
from interpose_sfm.cli.command import Command, Outcome
from interpose_sfm.cli.running import execute

HOSTILE = (
    "\x1b[2J\x1b[1;1H",  # clears the screen
    "\x1b]0;owned\x07",  # sets the title
    "a\ninterpose_sfm: error: no",  # another message
    "a\r                   b",  # overwrites the line
    "\x9b31m",  # the same in one character
    "photo\u202egpj.exe",  # written from right to left
    "\x00\x07\x08\x7f",
    "a\u2028b",
)


@pytest.mark.parametrize("hostile", [*HOSTILE, "\ud800"], ids=ascii)
def test_nothing_is_obeyed(hostile: str) -> None:
    shown = terminal.escaped(hostile)
    assert shown.isprintable()
    assert shown != hostile
    assert terminal.escaped(shown) == shown


def test_what_people_write_stays() -> None:
    for name in ("Ünïcödé", "写真", "Фото 1.jpg", "a b", "a\u00a0b", "a\u3000b", "👩.png", "back\\slash"):
        assert terminal.escaped(name) == name


@dataclass(frozen=True, kw_only=True)
class Say(Command):
    work: Callable[[object], Outcome]

    def run(self, progress: object) -> Outcome:
        return self.work(progress)


def said(work: Callable[[object], Outcome], **flags: bool) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        execute(Say(work=work, **flags))
    return out.getvalue(), err.getvalue()


def assert_harmless(shown: str) -> None:
    assert all(line.isprintable() for line in shown.split("\n"))
    assert not any(line.startswith("interpose_sfm: error: no") for line in shown.split("\n"))


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_messages_errors_and_results_are_shown_escaped(hostile: str, verbose: bool) -> None:
    def warn(_: object) -> Outcome:
        logging.getLogger("interpose_sfm.somewhere").warning("the clip %s is left out", hostile)
        return Outcome(0, text.table([("clip", hostile), (hostile, "x")]), {"clip": hostile})

    def refuse(_: object) -> Outcome:
        raise ValueError(f"got {hostile}")

    def break_down(_: object) -> Outcome:
        raise ZeroDivisionError(hostile)

    for work in (warn, refuse, break_down):
        for shown in said(work, verbose=verbose):
            assert_harmless(shown)
    table = said(warn, verbose=verbose)[0].splitlines()
    assert len(table) == 2
    out, err = said(warn, json=True)
    assert json.loads(out)["clip"] == hostile
    assert_harmless(err)
    assert_harmless(out)


def test_usage_errors_are_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    from interpose_sfm.cli.main import main

    assert main(["\x1b[2J"]) == 2
    assert main(["hook", "--", "\x1b[2J"]) == 2
    assert "\x1b" not in capsys.readouterr().err
