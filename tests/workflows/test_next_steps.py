"""Commands to copy: a shell reads them as they are meant, whatever photos are called."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from interpose_sfm.cli import main as cli
from interpose_sfm.options import (
    BaseOptions,
    BridgingOptions,
    CameraMode,
    ConsensusOptions,
    Dust3rOptions,
    GenerationOptions,
    MatchingOptions,
    PhotoOptions,
    ReconstructOptions,
)
from interpose_sfm.report import AdviceReport
from interpose_sfm.workflows.next_steps import after_drop_in, after_reconstruct

OPTIONS = ReconstructOptions()


def test_commands_are_ones_that_there_are(tmp_path: Path) -> None:
    photos, output, odd = tmp_path / "my photos", tmp_path / "o'ut", "a b;$(x).jpg"
    advice = (AdviceReport(odd, "c.jpg", 1, "x"),)
    found = [*after_reconstruct(photos, output, OPTIONS, advice, True), *after_drop_in(output, photos, tmp_path / "m")]
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


def test_commands_that_go_on_repeat_the_options_of_the_run(tmp_path: Path) -> None:
    given = ReconstructOptions(
        generator="none",
        database=tmp_path / "my data.db",
        mask_path=Path("masks"),
        camera_mode=CameraMode.SINGLE,
        camera_params="-1,2",
        position_file=tmp_path / "flight.csv",
        overwrite=True,
        html=False,
        seed=3,
        photos=PhotoOptions(image_list=tmp_path / "list.txt", keep_orientation=True, recursive=False),
        base=BaseOptions(refine_intrinsics=False),
        matching=MatchingOptions(device="cpu", max_keypoints=512),
        bridging=BridgingOptions(clip_dirs=(Path("old"),), frames_per_clip=4),
        dust3r=Dust3rOptions(dust3r_device="cpu"),
        generation=GenerationOptions(max_cost=5.0, prompt_file=tmp_path / "prompts.json"),
    )
    steps = after_reconstruct(tmp_path / "photos", tmp_path / "out", given, (AdviceReport("a", "b", 1, "x"),), True)
    reconstruct, bridge = (cli.parse(shlex.split(step.command)[3:]) for step in steps[:2])
    again = replace(
        given,
        generator="auto",
        mask_path=Path("masks").absolute(),
        overwrite=False,
        matching=MatchingOptions(max_keypoints=512),
        bridging=BridgingOptions(clip_dirs=(Path("old").absolute(), Path("clips")), frames_per_clip=4),
        consensus=ConsensusOptions(accept_unseen=True),
        generation=replace(given.generation, max_cost=None),
    )
    assert vars(reconstruct)["options"] == again
    plain = {name: getattr(OPTIONS, name) for name in ("html", "bridging", "dust3r", "consensus")}
    assert vars(bridge)["options"] == replace(again, **plain)


def test_nothing_to_look_at_is_not_looked_at(tmp_path: Path) -> None:
    assert [step.command.split()[3] for step in after_reconstruct(tmp_path, tmp_path, OPTIONS, (), False)] == ["report"]
    assert "--models" not in after_drop_in(tmp_path, tmp_path, None)[0].command
