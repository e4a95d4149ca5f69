"""What a video model is told: two prompts per pair, one short and one longer, as in InterPose (arXiv 2412.16155)."""

from __future__ import annotations

from collections.abc import Sequence

from interpose_sfm.bridging import GeneratorContext
from interpose_sfm.bridging.generated import ClipPrompt
from interpose_sfm.products import ImagePair

NEGATIVE = "people, moving objects, changing light, hard cut, cross-fade, text, distortion, blur"

_SHORT = "The camera moves smoothly through a static scene."
_LONG = (
    "One continuous shot of a static scene. The camera moves slowly and smoothly from the first view to the last one; "
    "nothing in the scene moves or changes, the light stays the same, and walls, ground and objects keep their shape."
)


class PairPrompts:
    """The prompts of every pair."""

    def __init__(self, context: GeneratorContext) -> None:
        self._context = context

    def prompts(self, pair: ImagePair) -> Sequence[ClipPrompt]:
        """A short prompt and a longer one, the same for a pair in any order."""
        return ClipPrompt(_SHORT, NEGATIVE), ClipPrompt(_LONG, NEGATIVE)

    def close(self) -> None:
        """Free the memory of a captioner."""
