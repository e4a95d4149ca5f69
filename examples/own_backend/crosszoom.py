"""A generator of clips in a package of its own: the picture zooms into photo A, jumps to photo B and zooms out again.

No pose was ever won with it. It shows all that a generator has to do; ``pip install .`` here, and
``interpose_sfm reconstruct PHOTOS --generator crosszoom`` finds it.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from interpose_sfm.backends import (
    Clip,
    ClipRequest,
    ClipStatus,
    FrameMapping,
    GeneratorContext,
    GeneratorKind,
    ImageArray,
    ImagePair,
    VideoGenerator,
    no_clip,
)

ZOOMS = (1.1, 1.2, 1.4)  # a clip each


class CrossZoomGenerator(VideoGenerator):
    """Frames of the shape of A."""

    name = "crosszoom"
    kind = GeneratorKind.WARPED

    def __init__(self, context: GeneratorContext) -> None:
        self._context = context

    def num_clips(self, pair: ImagePair) -> int:
        """One per zoom, between any two photos that differ."""
        return len(ZOOMS) if pair.a != pair.b and {pair.a, pair.b} <= {*self._context.photo_names} else 0

    def generate(self, pair: ImagePair, request: ClipRequest) -> Clip:
        """Two frames of either photo; the one that the clip starts from does not matter."""
        name = f"{self.name}-{request.index}"
        if not 0 <= request.index < self.num_clips(pair):
            return no_clip(pair, self.name, name, ClipStatus.NO_CLIP, f"there are {self.num_clips(pair)} clips")
        a, b = (self._context.load_image(photo) for photo in (pair.a, pair.b))
        shrink = min(1.0, self._context.options.max_frame_px / max(a.shape[:2]))
        size_px = round(shrink * a.shape[1]), round(shrink * a.shape[0])
        steps = ((a, 1.0), (a, ZOOMS[request.index]), (b, ZOOMS[request.index]), (b, 1.0))
        frames = tuple(zoomed(photo, zoom, size_px) for photo, zoom in steps)
        first, last = (FrameMapping((size_px[0] / p.shape[1], size_px[1] / p.shape[0]), (0.0, 0.0)) for p in (a, b))
        return Clip(pair, name, self.name, frames, first, last)


def zoomed(photo: ImageArray, zoom: float, size_px: tuple[int, int]) -> ImageArray:
    """The middle of a photo, in the size of a frame."""
    height, width = photo.shape[:2]
    x, y = width * (1 - 1 / zoom) / 2, height * (1 - 1 / zoom) / 2
    return np.asarray(Image.fromarray(photo).resize(size_px, box=(x, y, width - x, height - y)))
