"""What others have named is shown, and never obeyed."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pycolmap
import pytest

from interpose_sfm.cli import terminal, text
from interpose_sfm.cli.command import Command, Outcome
from interpose_sfm.cli.main import main
from interpose_sfm.cli.running import execute
from interpose_sfm.workflows import reconstruct
from photo_folders import put

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
    assert main(["\x1b[2J"]) == 2
    assert main(["hook", "--", "\x1b[2J"]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two photos that nobody maps."""
    put(tmp_path / "photos", "a.jpg", "b.jpg")
    monkeypatch.setattr(reconstruct.PhotoRun, "map_base", lambda *_: pytest.fail("COLMAP mapped"))
    return tmp_path / "photos"


@pytest.mark.parametrize("name", [name for name in HOSTILE if "\0" not in name], ids=ascii)
def test_a_clip_is_named_as_it_is(photos: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    clips = photos.parent / "clips" / name
    clips.mkdir(parents=True)
    (clips / "clips.json").write_text("[1]")
    assert main(["reconstruct", str(photos), "--clips", str(clips), "--output", str(photos.parent / "out")]) == 2
    err = capsys.readouterr().err
    assert "clips.json" in err
    assert_harmless(err)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_photo_in_a_database_is_named_as_it_is(photos: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    database = photos.parent / "mine.db"
    with pycolmap.Database.open(database) as made:
        camera = pycolmap.Camera.create_from_model_name(1, "SIMPLE_RADIAL", 50.0, 64, 48)
        made.write_camera(camera, use_camera_id=True)
        made.write_image(pycolmap.Image(name=name.replace("\0", "") + ".jpg", camera_id=1, image_id=1))
    arguments = ["--database", str(database), "--output", str(photos.parent / "out")]
    assert main(["reconstruct", str(photos), *arguments]) == 2
    err = capsys.readouterr().err
    assert "error: " in err
    assert_harmless(err)
