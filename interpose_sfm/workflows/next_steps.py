"""Commands that go on from a run, for its report."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from interpose_sfm.options import UNUSED_BY_BRIDGE, ReconstructOptions
from interpose_sfm.report import AdviceReport, CommandReport

_PROGRAM = ("python", "-m", "interpose_sfm")

# Not repeated: what the command names itself or must choose anew, leave to overwrite or to spend, and the device, which
# a run has found by itself.
_NOT_REPEATED = frozenset({"generator", "clip_dirs", "accept_unseen", "overwrite", "max_cost", "repeat_lost", "device"})


def after_reconstruct(
    photo_dir: Path, output: Path, options: ReconstructOptions, advice: Sequence[AdviceReport], has_models: bool
) -> tuple[CommandReport, ...]:
    """What can be done with the output folder of a run, and about what it left apart.

    Args:
        photo_dir, output, options: Of the run; commands that go on with it repeat its options.
        advice: What would connect more photos.
        has_models: Whether there is a model.
    """
    photos, folder = str(photo_dir.absolute()), str(output.absolute())
    found = []
    if advice:
        pair = (advice[0].a, advice[0].b)
        clips = [str(clip_dir.absolute()) for clip_dir in options.bridging.clip_dirs]
        clips += [] if any(Path(clip_dir).name == "clips" for clip_dir in clips) else ["clips"]
        found.append(
            _command(
                "Hand in frames that you filmed from one photo to the other, named A__B.mp4 in a folder clips",
                *("reconstruct", photos, "--output", folder, "--clips", *clips, "--accept-unseen"),
                *_flags(options, _NOT_REPEATED),
            )
        )
        found.append(
            _command(
                "See what it takes to let a video model make the clips of that pair; without --dry-run it makes them",
                *("bridge", photos, "--output", folder, "--pairs", *pair, "--dry-run"),
                *_flags(options, _NOT_REPEATED | UNUSED_BY_BRIDGE),
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


def _flags(options: Any, left_out: frozenset[str]) -> Iterator[str]:
    """The options of a dataclass, and of the groups in it, that are not the defaults, as the command line has them."""
    defaults = type(options)()
    for option in dataclasses.fields(options):
        value, default = getattr(options, option.name), getattr(defaults, option.name)
        if option.name in left_out or value == default:
            continue
        name = option.name.replace("_", "-")
        if dataclasses.is_dataclass(value):
            yield from _flags(value, left_out)
        elif isinstance(value, bool):
            yield f"--{name}" if value else f"--no-{name}"
        elif isinstance(value, Path):
            yield f"--{name}={value.absolute()}"
        elif value is not None:
            yield f"--{name}={value.value if isinstance(value, Enum) else value}"
