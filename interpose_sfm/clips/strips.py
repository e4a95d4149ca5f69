"""Clips as still pictures: a strip of frames from left to right, and a sheet of the strips of a pair."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from interpose_sfm.products import Clip, ClipPreview, ImageArray

PREVIEW_SIDE_PX = 200
MAX_PREVIEW_FRAMES = 12
_QUALITY = 80
_GAP_PX, _LINE_PX = 4, 18


def preview(clip: Clip) -> ClipPreview:
    """Frames of a clip, evenly spread and scaled down so that neither side exceeds `PREVIEW_SIDE_PX`."""
    rows = np.unique(np.linspace(0, len(clip.frames) - 1, MAX_PREVIEW_FRAMES).round().astype(int))
    return ClipPreview(clip.name, len(clip.frames), tuple(_small(clip.frames[row]) for row in rows))


def strip_jpeg(frames: Sequence[ImageArray]) -> bytes:
    """Frames of equal size side by side."""
    return _jpeg(Image.fromarray(np.concatenate(frames, axis=1)))


def sheet_jpeg(title: str, a: ImageArray, b: ImageArray, clips: Sequence[tuple[str, ClipPreview]]) -> bytes:
    """Photo A, the frames of a clip, and photo B in a row, a row for each clip, with what is to be said above it.

    Args:
        title: Of the sheet.
        a, b: The photos, (height, width, 3) uint8 RGB of any size.
        clips: Text and preview of each.
    """
    rows = [[_small(a), *shown.frames, _small(b)] for _, shown in clips]
    width = max([PREVIEW_SIDE_PX, *(sum(frame.shape[1] + _GAP_PX for frame in row) for row in rows)])
    heights = [max(frame.shape[0] for frame in row) + _LINE_PX + _GAP_PX for row in rows]
    sheet = Image.new("RGB", (width, _LINE_PX + sum(heights)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    draw.text((_GAP_PX, 2), _drawable(title), fill="black", font=font)
    top = _LINE_PX
    for (text, _), row, height in zip(clips, rows, heights, strict=True):
        draw.text((_GAP_PX, top + 2), _drawable(text), fill="black", font=font)
        left = 0
        for frame in row:
            sheet.paste(Image.fromarray(frame), (left, top + _LINE_PX))
            left += frame.shape[1] + _GAP_PX
        top += height
    return _jpeg(sheet)


def _small(image: ImageArray) -> ImageArray:
    picture = Image.fromarray(image)
    picture.thumbnail((PREVIEW_SIDE_PX, PREVIEW_SIDE_PX), Image.Resampling.BOX)
    return np.asarray(picture)


def _drawable(text: str) -> str:
    """Text without what a font cannot draw on one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _jpeg(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()
