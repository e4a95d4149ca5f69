"""A video model of known behaviour for tests: it fades from the first picture to the last.

Text and seed show in the frames, so that a wrong one is seen. Whatever a test wants to vary comes from the environment,
because some tests run the model in another process:

``CROSSFADE_LOG`` file that gets a line per clip, ``CROSSFADE_SLEEP_S`` time that a clip takes, ``CROSSFADE_USD`` its
price, ``CROSSFADE_FAIL`` a word: a prompt or seed that contains it makes no clip, for good if it begins with ``!``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from interpose_sfm.bridging import factory
from interpose_sfm.options import GenerationOptions
from interpose_sfm.products import ClipFormat, Settings
from interpose_sfm.registry import BackendTable
from interpose_sfm.video_models.protocol import (
    ClipEstimate,
    ClipTask,
    GenerationError,
    MadeVideo,
    TaskJournal,
    VideoModel,
)

NUM_FRAMES = 9
TARGETS: Mapping[str, str] = {"crossfade": "crossfade:CrossFade", "hosted": "crossfade:Hosted"}


@dataclass
class CrossFade(VideoModel):
    """Keeps what it was asked for."""

    name: str
    options: GenerationOptions
    device: str = "cpu"
    tasks: list[ClipTask] = field(default_factory=list)
    num_closed: int = 0
    is_loaded: bool = False
    largest: ClassVar[int] = 128

    @property
    def settings(self) -> Settings:
        return {"model": "crossfade", "steps": self.options.video_steps or 1}

    def format_for(self, photo_size_px: tuple[int, int]) -> ClipFormat:
        scale = self.largest / max(photo_size_px)
        width_px, height_px = (max(16, round(scale * side / 16) * 16) for side in photo_size_px)
        frames = self.options.video_frames or NUM_FRAMES
        return ClipFormat(width_px=width_px, height_px=height_px, num_frames=frames, fps=8.0)

    def estimate(self, clip_format: ClipFormat) -> ClipEstimate:
        price = float(os.environ.get("CROSSFADE_USD", "0"))
        return ClipEstimate(cost_usd=price, memory_gib=1.5, basis="a price list of 2026" if price else "")

    def make(self, task: ClipTask, journal: TaskJournal) -> MadeVideo:
        self.is_loaded = True
        self.tasks.append(task)
        journal.write({"task": task.key[:8]})
        _log(f"begin {self.device} {task.key}")
        time.sleep(float(os.environ.get("CROSSFADE_SLEEP_S", "0")))
        word = os.environ.get("CROSSFADE_FAIL", "")
        if word and word.lstrip("!") in f"{task.prompt} seed={task.seed}":
            raise GenerationError("it shows nothing", is_final=word.startswith("!"))
        frames = faded(task.first, task.last, task.format.num_frames, task.prompt, task.seed)
        _log(f"end {self.device} {task.key}")
        return MadeVideo(frames=frames, revision="r7", cost_usd=self.estimate(task.format).cost_usd)

    def close(self) -> None:
        self.num_closed += 1
        self.is_loaded = False


class Hosted(CrossFade):
    """The same, as if behind a service that takes two clips at once."""

    runs_here = False
    parallel_clips = 2


def faded(first: np.ndarray, last: np.ndarray, count: int, prompt: str, seed: int) -> tuple[np.ndarray, ...]:
    """Frames from one picture to another; in those between, noise of the seed and the prompt."""
    rng = np.random.default_rng([seed, *prompt.encode()])
    noise = rng.normal(0, 6, first.shape)
    frames = []
    for share in np.linspace(0, 1, count):
        mixed = (1 - share) * first.astype(float) + share * last
        if 0 < share < 1:
            mixed += noise
        frames.append(mixed.clip(0, 255).round().astype(np.uint8))
    return tuple(frames)


def _log(line: str) -> None:
    path = os.environ.get("CROSSFADE_LOG")
    if path:
        with Path(path).open("a") as file:
            file.write(line + "\n")


def made(log: Path, word: str = "end") -> Sequence[str]:
    """Keys of the clips whose making was begun or ended, in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.split()[-1] for line in lines if line.startswith(word)]


def add_to_table() -> None:
    """Put the models into the table of this process."""
    factory.VIDEO_MODELS = with_models()


def with_models() -> BackendTable[VideoModel]:
    """The table of video models with those of this module."""
    return replace(factory.VIDEO_MODELS, builtin={**factory.VIDEO_MODELS.builtin, **TARGETS})


def install(folder: Path) -> None:
    """Register the models as ``crossfade`` and ``hosted`` for processes with this folder on their path."""
    info = folder / "crossfade-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crossfade\nVersion: 1.0\n")
    lines = "".join(f"{name} = {target}\n" for name, target in TARGETS.items())
    (info / "entry_points.txt").write_text(f"[interpose_sfm.video_models]\n{lines}")
