"""Sizes and lengths of clips: the rules of each model, and the format that comes nearest to a photo."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from interpose_sfm.products import ClipFormat

# Wider photos are cropped: the models were trained on 16:9 and narrower, upright and across.
_MAX_ASPECT = 2.0


@dataclass(frozen=True, kw_only=True)
class FormatRules:
    """What a model can make, and what it makes by default.

    Attributes:
        side_step_px: Both sides are multiples of it: the compression of the VAE times the patch of the transformer.
        frame_step: The number of frames is a multiple of it, plus one.
        frames, max_frames: By default, and at most: what the model was trained for, or can make in one piece.
        area_px: Pixels of a frame by default.
        min_side_px, max_side_px: Shortest and longest side.
        fps: Frames per second that the model assumes.
    """

    side_step_px: int
    frame_step: int
    frames: int
    max_frames: int
    area_px: int
    min_side_px: int
    max_side_px: int
    fps: float

    def clip_format(
        self, photo_size_px: tuple[int, int], frames: int | None = None, long_side_px: int | None = None
    ) -> ClipFormat:
        """The format for a photo.

        Args:
            photo_size_px: (width, height).
            frames: Wanted number of frames, brought to the nearest allowed one; None for the default.
            long_side_px: Wanted longer side, brought to the nearest allowed one; None for the default area.

        Returns:
            The allowed size whose shape is nearest to the photo's.

        Raises:
            ValueError: A photo without pixels.
        """
        if min(photo_size_px) < 1:
            raise ValueError(f"got a photo of {photo_size_px[0]}x{photo_size_px[1]} px, expected at least 1x1")
        aspect = photo_size_px[0] / photo_size_px[1]
        aspect = min(max(aspect, 1 / _MAX_ASPECT), _MAX_ASPECT)
        if long_side_px is None:
            width_px, height_px = self._by_area(aspect)
        else:
            width_px, height_px = self._by_long_side(aspect, long_side_px)
        return ClipFormat(width_px=width_px, height_px=height_px, num_frames=self._num_frames(frames), fps=self.fps)

    def _num_frames(self, wanted: int | None) -> int:
        steps = round(((wanted or self.frames) - 1) / self.frame_step)
        return self.frame_step * min(max(1, steps), (self.max_frames - 1) // self.frame_step) + 1

    def _by_long_side(self, aspect: float, long_side_px: int) -> tuple[int, int]:
        long_px = self._side(min(long_side_px, self.max_side_px))
        short_px = self._side(long_px / max(aspect, 1 / aspect))
        return (long_px, short_px) if aspect >= 1 else (short_px, long_px)

    def _by_area(self, aspect: float) -> tuple[int, int]:
        """Of the sizes around the default area, none of them larger, the one of the nearest shape."""
        step = self.side_step_px
        columns, rows = math.sqrt(self.area_px * aspect) / step, math.sqrt(self.area_px / aspect) / step
        sizes = itertools.product(
            range(math.floor(columns) - 1, math.ceil(columns) + 1), range(math.floor(rows) - 1, math.ceil(rows) + 1)
        )
        fitting = [(w * step, h * step) for w, h in sizes if w * h * step**2 <= self.area_px]
        return min(fitting, key=lambda size: (round(abs(math.log(size[0] / size[1] / aspect)), 3), -size[0] * size[1]))

    def _side(self, length_px: float) -> int:
        return round(max(length_px, self.min_side_px) / self.side_step_px) * self.side_step_px
