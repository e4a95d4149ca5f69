"""Commands to copy: a shell reads them as they are meant, whatever photos are called."""

from __future__ import annotations

import shlex
from pathlib import Path

from interpose_sfm.cli import main as cli
from interpose_sfm.report import AdviceReport
from interpose_sfm.workflows.next_steps import after_drop_in, after_reconstruct


def test_commands_are_ones_that_there_are(tmp_path: Path) -> None:
    photos, output, odd = tmp_path / "my photos", tmp_path / "o'ut", "a b;$(x).jpg"
    advice = (AdviceReport(odd, "c.jpg", 1, "x"),)
    found = [*after_reconstruct(photos, output, advice, True), *after_drop_in(output, photos, tmp_path / "m")]
    commands = []
    for step in found:
        words = shlex.split(step.command)
        assert words[:3] == ["python", "-m", "interpose_sfm"]
        command = cli.parse(words[3:])
        assert command is not None
        commands.append((words[3], vars(command)))
    assert [name for name, _ in commands] == ["reconstruct", "bridge", "view", "export", "report", "report"]
    assert (commands[0][1]["photos"], commands[0][1]["output"]) == (photos, output)
    assert commands[1][1]["pairs"] == (odd, "c.jpg")
    assert commands[1][1]["dry_run"]
    assert (commands[5][1]["output"], commands[5][1]["models"]) == (output, tmp_path / "m")


def test_nothing_to_look_at_is_not_looked_at(tmp_path: Path) -> None:
    assert [step.command.split()[3] for step in after_reconstruct(tmp_path, tmp_path, (), False)] == ["report"]
    assert "--models" not in after_drop_in(tmp_path, tmp_path, None)[0].command
