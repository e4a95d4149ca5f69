"""What every video model offers, whether it runs here or behind an API: the `VideoModel` protocol.

A model turns two pictures of its own size into one clip. Fitting photos to that size, both orders, prompts, the store
of finished clips and their checks are the same for all models and lie around it, in `generated.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from interpose_sfm.engines.protocol import Engine
from interpose_sfm.options import BridgingOptions, GenerationOptions
from interpose_sfm.products import ClipFormat, ImageArray, Settings
from interpose_sfm.registry import Backend
from interpose_sfm.run_log import Progress


@dataclass(frozen=True, kw_only=True)
class GenerationContext:
    """What making clips needs, whichever model makes them.

    Attributes:
        photo_names: All photos of the collection.
        load_image: Photo name -> upright (height, width, 3) uint8 RGB image.
        bridging: How finished clips are read.
        generation: How clips are made.
        store_dir: Where clips are kept if the options name no folder; made with the first clip. None where nothing may
            be generated.
        progress: Told how many clips are made; may raise to end the run.
        is_dry_run: Nothing is made, asked for or written.
        image_dir: Folder that holds the photos under their names; None where they are in memory only.
        engine: Runs models that cost nothing; None for this process.
        worker_gpus: What each worker of it takes of a machine, where models run on a GPU.
    """

    photo_names: tuple[str, ...]
    load_image: Callable[[str], ImageArray]
    bridging: BridgingOptions
    generation: GenerationOptions
    store_dir: Path | None = None
    progress: Progress | None = None
    is_dry_run: bool = False
    image_dir: Path | None = None
    engine: Engine | None = None
    worker_gpus: float = 1.0

    @property
    def clip_store(self) -> Path | None:
        """Folder of the clips."""
        return self.generation.clip_store or self.store_dir


@dataclass(frozen=True, kw_only=True)
class ClipEstimate:
    """What one clip is expected to take.

    Attributes:
        time_s: Seconds; None where nobody has measured it for this machine.
        memory_gib: Memory of the device; None for models that run elsewhere.
        cost_usd: Price; zero for models that run here.
        basis: Where the figures come from, one sentence.
    """

    time_s: float | None = None
    memory_gib: float | None = None
    cost_usd: float = 0.0
    basis: str = ""


@dataclass(frozen=True, kw_only=True)
class ClipTask:
    """One clip to be made, in the order of generation: which photo is A does not matter here.

    Attributes:
        key: Content key of everything that determines the clip.
        first, last: (height, width, 3) uint8 RGB pictures of the size that `format` says.
        prompt: What the clip shows.
        negative_prompt: What it must not show; empty for none.
        seed: Of the noise; models that know no seed ignore it.
        format: Size and length.
    """

    key: str
    first: ImageArray
    last: ImageArray
    prompt: str
    seed: int
    format: ClipFormat
    negative_prompt: str = ""


@dataclass(frozen=True, kw_only=True)
class MadeVideo:
    """What a model made: frames, or the file that a service sent.

    Attributes:
        frames: (height, width, 3) uint8 RGB, the first one shows `ClipTask.first`; empty where there is a file.
        file: The bytes of an MP4 file; empty where there are frames.
        cost_usd: What was paid.
        revision: Of the weights, or the model's name as the service tells it.
    """

    frames: tuple[ImageArray, ...] = ()
    file: bytes = b""
    cost_usd: float = 0.0
    revision: str = ""


class TaskJournal(Protocol):
    """Notes about one clip that survive a kill: written to disk before `write` returns."""

    def read(self) -> dict[str, str]:
        """The notes of the last `write`; empty before the first."""
        ...

    def write(self, notes: Mapping[str, str]) -> None:
        """Replace the notes."""
        ...


class VideoModel(Backend, Protocol):
    """A model that imagines the frames between two pictures.

    Its class stands in the table of video models, or in the entry-point group ``interpose_sfm.video_models``. It is
    built with the name that the user chose, such as ``diffusers:REPO``, the options of the run, and one torch device.
    Building one loads no weights and asks no service: that happens with the first `make`.
    """

    runs_here: ClassVar[bool] = True
    """False for a model that runs elsewhere; its device is empty."""
    needs_gpu: ClassVar[bool] = False
    """True for a model that takes hours for a clip without a GPU on this machine; the doctor says so."""
    has_own_torch: ClassVar[bool] = False
    """True for a model that runs in an environment of its own, whose torch may see other devices than ours."""
    parallel_clips: ClassVar[int] = 1
    """How many of a model that runs elsewhere are built, and used in as many threads."""

    name: str
    settings: Settings
    """Everything but the task that determines a clip: model, revision, steps ... It is part of the key of a clip."""

    def __init__(self, name: str, options: GenerationOptions, device: str) -> None: ...

    @abstractmethod
    def format_for(self, photo_size_px: tuple[int, int]) -> ClipFormat:
        """The format for photos of this (width, height): the model's own rules, the nearest shape."""

    @abstractmethod
    def estimate(self, clip_format: ClipFormat) -> ClipEstimate:
        """What one clip takes."""

    @abstractmethod
    def make(self, task: ClipTask, journal: TaskJournal) -> MadeVideo:
        """Make a clip.

        Raises:
            GenerationError: There is no clip of this task; the message says why.
            ValueError, ImportError: The user has to mend something (key, weights, memory).
        """

    def close(self) -> None:
        """Free the memory that the model holds; a later `make` loads it again."""
        return


class GenerationError(Exception):
    """A model made no clip; the message is one sentence for the report.

    Attributes:
        is_final: True if asking again with the same task is of no use, as when a service refuses the pictures.
    """

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final
