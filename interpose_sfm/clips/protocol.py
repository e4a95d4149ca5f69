"""Clips that bridge two photos: the `VideoGenerator` protocol, what a generator gets, and the check of what it returns.

Others add a generator without touching the package: a class derived from `VideoGenerator` and registered in the
entry-point group ``interpose_sfm.generators`` as ``name = "module:Class"``; ``examples/own_backend`` is one. Of a model
that turns two pictures into a video, `video_models.protocol` asks for less.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from interpose_sfm.options import BridgingOptions
from interpose_sfm.products import (
    Clip,
    ClipRequest,
    ClipStatus,
    Features,
    FrameMapping,
    GeneratorKind,
    ImageArray,
    ImagePair,
    Intrinsics,
    Matches,
)
from interpose_sfm.registry import Backend


class BudgetError(ValueError):
    """Clips would cost more than the user allows; nothing was spent.

    Attributes:
        limit_usd: What may be spent in all; None where the user allowed nothing.
    """

    def __init__(self, message: str, limit_usd: float | None = None) -> None:
        super().__init__(message)
        self.limit_usd = limit_usd


@dataclass(frozen=True, kw_only=True)
class GeneratorContext:
    """What a generator may use; it opens no photo and no store by itself.

    Attributes:
        photo_names: All photos of the collection; names of clip files are resolved against them.
        load_image: Photo name -> upright (height, width, 3) uint8 RGB image.
        intrinsics: Photo name -> camera in pixels of that image.
        features_and_matches: Pair -> learned features of A and of B, and their putative matches at a low threshold.
        options: Options of the stage.
        seed: Seed of the run; requests carry their own on top.
    """

    photo_names: tuple[str, ...]
    load_image: Callable[[str], ImageArray]
    intrinsics: Callable[[str], Intrinsics]
    features_and_matches: Callable[[ImagePair], tuple[Features, Features, Matches]]
    options: BridgingOptions
    seed: int = 0


class VideoGenerator(Backend, Protocol):
    """Something that offers clips between two photos. A class of the table is built from one `GeneratorContext`.

    A generator reports what it cannot do by the clip's status. It raises only for what the user must mend, such as a
    broken ``clips.json``. Equal requests give equal clips, different indices different clips.
    """

    name: str
    kind: GeneratorKind
    """Where its frames are from. Pairs without common points are left to IMAGINED."""

    def __init__(self, context: GeneratorContext) -> None: ...

    @abstractmethod
    def num_clips(self, pair: ImagePair) -> int:
        """How many different clips there are for the pair; ``request.index`` runs below it."""

    @abstractmethod
    def generate(self, pair: ImagePair, request: ClipRequest) -> Clip:
        """The clip number ``request.index`` of the pair, frames in A to B order whatever ``request.backwards`` says."""

    def num_existing(self, pair: ImagePair) -> int:
        """How many clips somebody has put there for the pair; such pairs are bridged before all others."""
        return 0

    def sources(self, pair: ImagePair) -> tuple[str, ...]:
        """Who imagined each clip of the pair: clips of one source are no witnesses of one another.

        As many names as `num_clips` says. Sizes and checkpoints of one generator, which follow a colon in its name, are
        one source.
        """
        return (self.name.partition(":")[0],) * self.num_clips(pair)

    def prepare(self, pair: ImagePair, requests: Sequence[ClipRequest]) -> None:
        """Make at once whatever `generate` would have to make for these requests.

        Raises:
            BudgetError: That would cost more than the options allow. Nothing was spent then.
        """
        return

    def close(self) -> None:
        """Free what it holds, such as the memory of a device; it may be used again."""
        return


def clip_requests(number: int, seed: int) -> tuple[ClipRequest, ...]:
    """What is asked for a pair: so many clips, every other one in the other order, each with a seed of its own."""
    return tuple(ClipRequest(index, index % 2 == 1, seed + index) for index in range(number))


def no_clip(pair: ImagePair, generator: str, name: str, status: ClipStatus, detail: str) -> Clip:
    """A clip without frames, and why."""
    nowhere = FrameMapping((1.0, 1.0), (0.0, 0.0))
    return Clip(pair, name, generator, (), nowhere, nowhere, status, detail)


def check_clip(clip: Clip, pair: ImagePair) -> Clip:
    """Check once what a generator returned.

    Args:
        clip: The generator's output.
        pair: The pair it was asked for.

    Returns:
        The clip.

    Raises:
        ValueError: Wrong pair, no name, OK without frames, frames with another status, frames that are not uint8 RGB
            images of one size, or a mapping that is not finite with positive scale. The message names the generator.
    """
    who = f"generator {clip.generator!r}, clip {clip.name!r}"
    if clip.pair != pair:
        raise ValueError(f"{who}: got the pair {clip.pair}, expected {pair}")
    if not clip.name or not clip.generator:
        raise ValueError(f"{who}: clips and generators need names")
    if (clip.status is ClipStatus.OK) != bool(clip.frames):
        raise ValueError(f"{who}: got {len(clip.frames)} frames with status {clip.status.value!r}")
    if clip.status is not ClipStatus.OK:
        return clip
    for frame in cast("tuple[object, ...]", clip.frames):
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            got = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise ValueError(f"{who}: got a frame of {got}, expected uint8 (height, width, 3)")
        if frame.shape != clip.frames[0].shape or 0 in frame.shape:
            raise ValueError(f"{who}: got frames of {clip.frames[0].shape} and {frame.shape}, expected one size")
    for side, mapping in (("a", clip.frame_from_a), ("b", clip.frame_from_b)):
        if not np.isfinite([*mapping.scale, *mapping.offset_px]).all() or min(mapping.scale) <= 0:
            raise ValueError(f"{who}: got frame_from_{side} = {mapping}, expected finite numbers and positive scales")
    return clip
