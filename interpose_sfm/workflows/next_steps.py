"""Commands that go on from a run, for its report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from interpose_sfm.report import AdviceReport, CommandReport

_PROGRAM = ("python", "-m", "interpose_sfm")


def after_reconstruct(
    photo_dir: Path, output: Path, advice: Sequence[AdviceReport], has_models: bool
) -> tuple[CommandReport, ...]:
    """What can be done with the output folder of a run, and about what it left apart.

    Args:
        photo_dir, output: Of the run.
        advice: What would connect more photos.
        has_models: Whether there is a model.
    """
    photos, folder = str(photo_dir.absolute()), str(output.absolute())
    found = []
    if advice:
        pair = (advice[0].a, advice[0].b)
        found.append(
            _command(
                "Hand in frames that you filmed from one photo to the other, named A__B.mp4 in a folder clips",
                *("reconstruct", photos, "--output", folder, "--clips", "clips", "--accept-unseen"),
            )
        )
        found.append(
            _command(
                "See what it takes to let a video model make the clips of that pair; without --dry-run it makes them",
                *("bridge", photos, "--output", folder, "--pairs", *pair, "--dry-run"),
            )
        )
    if has_models:
        found.append(_command("Look at the models in an interactive viewer", "view", folder))
        found.append(_command("Write the models for nerfstudio, gsplat and others", "export", folder))
    return (*found, _command("Make this page anew", "report", folder))


def after_drop_in(side_dir: Path, image_dir: Path, model_dir: Path | None) -> tuple[CommandReport, ...]:
    """What can be done with the folder that the drop-in leaves beside a database.

    Args:
        side_dir: That folder.
        image_dir: Folder of the photos.
        model_dir: Folder that holds the models as 0, 1, ..., or the one model; None where they are not on disk.
    """
    places = ["--photos", str(image_dir.absolute())]
    places += [] if model_dir is None else ["--models", str(model_dir.absolute())]
    return (_command("Make this page anew", "report", str(side_dir.absolute()), *places),)


def _command(text: str, *words: str) -> CommandReport:
    return CommandReport(text, shlex.join([*_PROGRAM, *words]))
