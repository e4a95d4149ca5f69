"""Clips that are wanted of a video model: what each is to show, and what came of its making."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from interpose_sfm.products import ClipFormat, ClipStatus, ImagePair
from interpose_sfm.video_models.protocol import ClipEstimate, VideoModel


class PromptSource(Protocol):
    """Says what the clips of a pair are to show."""

    def prompts(self, pair: ImagePair) -> Sequence[ClipPrompt]:
        """The variants for a pair in name order, at least one; always the same for the same pair."""
        ...

    def close(self) -> None:
        """Free the memory of a captioner."""
        ...


@dataclass(frozen=True)
class ClipPrompt:
    """What a model is told.

    Attributes:
        text: What the clip shows.
        negative: What it must not show; empty for none.
    """

    text: str
    negative: str = ""


ModelMaker = Callable[[str], VideoModel]
"""Builds the model for a device."""


@dataclass(frozen=True, kw_only=True)
class ClipPlan:
    """One clip that is wanted.

    Attributes:
        key: Content key of everything that determines it.
        pair: The photos, in name order.
        backwards: Whether the model is to go from the second photo to the first.
        number: Which of the pair's clips it is.
        prompt, negative_prompt, seed, format: What the model is told.
        estimate: What it is expected to take.
    """

    key: str
    pair: ImagePair
    backwards: bool
    number: int
    prompt: str
    negative_prompt: str
    seed: int
    format: ClipFormat
    estimate: ClipEstimate

    @property
    def ends(self) -> tuple[str, str]:
        """The photos that the model is given as first and as last frame."""
        return (self.pair.b, self.pair.a) if self.backwards else (self.pair.a, self.pair.b)


@dataclass(frozen=True)
class Failure:
    """Why there is no clip.

    Attributes:
        status: GENERATION_FAILED, or REFUSED if asking again is of no use.
        detail: One sentence.
    """

    status: ClipStatus
    detail: str


@dataclass(frozen=True)
class Making:
    """What came of the making of a clip, which is in the store if nothing is said.

    Attributes:
        failure: Why there is none.
        is_elsewhere: Whether another process is making it.
    """

    failure: Failure | None = None
    is_elsewhere: bool = False
