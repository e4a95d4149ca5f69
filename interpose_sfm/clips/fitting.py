"""Photos brought to the size of a video model, with the mapping kept, and that mapping in a video of another size.

Pixel positions are COLMAP's: the centre of the top-left pixel is (0.5, 0.5), so a picture of w pixels covers [0, w],
and scaling it by s scales its positions by s, without a shift.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from interpose_sfm.clips.image_alignment import Box
from interpose_sfm.options import Fit
from interpose_sfm.products import FrameMapping, ImageArray

Size = tuple[int, int]

_NO_BAR_PX = 1e-3

SAME_SHAPE = 0.01
"""Aspect ratios that agree this well are of one picture scaled; services round sides to multiples of 8 or 16."""


def fit_photo(image: ImageArray, width_px: int, height_px: int, fit: Fit) -> tuple[ImageArray, FrameMapping]:
    """Scale a photo to a frame, both axes alike, with the middle of the photo in the middle of the frame.

    Args:
        image: (height, width, 3) uint8 RGB.
        width_px, height_px: Size of the frame.
        fit: CROP fills the frame and loses the margin of the photo; LETTERBOX shows all of it between black bars, but
            for up to a pixel of the frame on either side, so that the bars end between pixels.

    Returns:
        (height_px, width_px, 3) uint8 RGB, and where the photo lies in it.

    Raises:
        ValueError: No size above zero, or a photo too long and thin to leave a pixel in the frame.
    """
    photo_height, photo_width = image.shape[:2]
    if min(width_px, height_px, photo_width, photo_height) < 1:
        raise ValueError(f"got a photo of {photo_width}x{photo_height} px and a frame of {width_px}x{height_px} px")
    ratios = width_px / photo_width, height_px / photo_height
    scale = max(ratios) if fit is Fit.CROP else min(ratios)
    shown_width, shown_height = (
        _whole(scale * photo_side, frame_side)
        for photo_side, frame_side in ((photo_width, width_px), (photo_height, height_px))
    )
    if min(shown_width, shown_height) < 1:
        raise ValueError(
            f"a photo of {photo_width}x{photo_height} px leaves nothing in a frame of {width_px}x{height_px} px; "
            f"use the fit {Fit.CROP}"
        )
    half_width, half_height = shown_width / scale / 2, shown_height / scale / 2
    box = (
        max(0.0, photo_width / 2 - half_width),
        max(0.0, photo_height / 2 - half_height),
        min(photo_width, photo_width / 2 + half_width),
        min(photo_height, photo_height / 2 + half_height),
    )
    shown = Image.fromarray(image).resize((shown_width, shown_height), Image.Resampling.LANCZOS, box=box)
    frame = np.zeros((height_px, width_px, 3), np.uint8)
    left, top = (width_px - shown_width) // 2, (height_px - shown_height) // 2
    frame[top : top + shown_height, left : left + shown_width] = np.asarray(shown)
    offset_px = (width_px - scale * photo_width) / 2, (height_px - scale * photo_height) / 2
    return frame, FrameMapping((scale, scale), offset_px)


def _whole(scaled_px: float, frame_px: int) -> int:
    """How many whole pixels of a side show the photo: at most the frame's, and as many of them left as right."""
    if scaled_px > frame_px - 1e-6 * frame_px:
        return frame_px
    shown = math.floor(scaled_px + 1e-6)
    return shown - (frame_px - shown) % 2


def rescaled(mapping: FrameMapping, size_px: Size, new_size_px: Size) -> FrameMapping | None:
    """The mapping into frames that came back in another size than was asked for.

    Args:
        mapping: Where a photo lies in frames of `size_px`.
        size_px, new_size_px: (width, height).

    Returns:
        The mapping with both axes scaled; None where the shape differs, since then it is open whether the picture was
        cropped or stretched.
    """
    factors = new_size_px[0] / size_px[0], new_size_px[1] / size_px[1]
    if not is_same_shape(size_px, new_size_px):
        return None
    return FrameMapping(
        (mapping.scale[0] * factors[0], mapping.scale[1] * factors[1]),
        (mapping.offset_px[0] * factors[0], mapping.offset_px[1] * factors[1]),
    )


def shifted(mapping: FrameMapping, box: Box) -> FrameMapping:
    """The mapping into the frames cut to a box."""
    return FrameMapping(mapping.scale, (mapping.offset_px[0] - box.left, mapping.offset_px[1] - box.top))


def for_photo_size(mapping: FrameMapping, size_px: Size, new_size_px: Size) -> FrameMapping | None:
    """The mapping for the same photo in another size, both (width, height); None if its shape differs."""
    if not is_same_shape(size_px, new_size_px):
        return None
    factors = size_px[0] / new_size_px[0], size_px[1] / new_size_px[1]
    return FrameMapping((mapping.scale[0] * factors[0], mapping.scale[1] * factors[1]), mapping.offset_px)


def is_same_shape(size_px: Size, other_px: Size) -> bool:
    """Whether two (width, height) have one aspect ratio, but for rounding."""
    return abs(size_px[0] * other_px[1] / (size_px[1] * other_px[0]) - 1) <= SAME_SHAPE


def shown_box(mappings: tuple[FrameMapping, ...], photo_sizes_px: tuple[Size, ...], frame_size_px: Size) -> Box:
    """The smallest box of a frame that holds all photos; outside of it there are only the bars of LETTERBOX.

    Args:
        mappings: One per photo.
        photo_sizes_px: (width, height) of each.
        frame_size_px: (width, height).

    Returns:
        The box, inside of the frame. It stays clear of the bars by a pixel: LETTERBOX may have cut that much off, and
        in a compressed video bars bleed.
    """
    corners = np.array([mapping.offset_px for mapping in mappings])
    low = corners.min(axis=0)
    high = (corners + [np.multiply(m.scale, size) for m, size in zip(mappings, photo_sizes_px, strict=True)]).max(
        axis=0
    )
    margin_low, margin_high = low > _NO_BAR_PX, high < np.array(frame_size_px) - _NO_BAR_PX
    left, top = np.where(margin_low, np.ceil(low - _NO_BAR_PX) + 1, 0).astype(int)
    right, bottom = np.where(margin_high, np.floor(high + _NO_BAR_PX) - 1, frame_size_px).astype(int)
    return Box(int(left), int(top), int(right), int(bottom))
