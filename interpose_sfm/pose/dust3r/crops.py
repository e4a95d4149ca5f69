"""Pictures as DUSt3R wants them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from interpose_sfm.pose.point_maps.crops import Crop
from interpose_sfm.products import ImageArray

PATCH_PX = 16  # the networks cut pictures into patches of this size


def cut(image: ImageArray, size_px: int) -> Crop:
    """Scale the longer side to ``size_px`` and crop to whole patches, by DUSt3R's rules for its 512 networks.

    The crop is centred; a square picture is cropped to 4:3, for the networks saw no squares.

    Args:
        image: (height, width, 3) uint8 RGB.
        size_px: Longer side of the crop, a multiple of 64.

    Raises:
        ValueError: The picture is so elongated that its shorter side would fill no patch.
    """
    height_px, width_px = image.shape[:2]
    longer_px = max(height_px, width_px)
    scaled = (round(width_px * size_px / longer_px), round(height_px * size_px / longer_px))
    filter_ = Image.Resampling.LANCZOS if longer_px > size_px else Image.Resampling.BICUBIC
    picture = Image.fromarray(np.ascontiguousarray(image)).resize(scaled, filter_)
    center_x, center_y = scaled[0] // 2, scaled[1] // 2
    half_x, half_y = (2 * center_x) // PATCH_PX * (PATCH_PX // 2), (2 * center_y) // PATCH_PX * (PATCH_PX // 2)
    if scaled[0] == scaled[1]:
        half_y = 3 * half_x // 4
    if min(half_x, half_y) == 0:
        raise ValueError(
            f"got a picture of {width_px} x {height_px} px, whose shorter side falls below {PATCH_PX} px when the "
            f"longer one is scaled to {size_px}; crop it to a less elongated shape"
        )
    left, top = center_x - half_x, center_y - half_y
    cropped = picture.crop((left, top, center_x + half_x, center_y + half_y))
    scale = (scaled[0] / width_px, scaled[1] / height_px)
    return Crop(np.asarray(cropped), scale, (float(left), float(top)))
