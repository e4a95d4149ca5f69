"""Pictures as networks want them that place several views in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from interpose_sfm.pose.point_maps.crops import Crop
from interpose_sfm.products import ImageArray

PATCH_PX = 14  # DINOv2, which looks at them, cuts them into patches of this size


def cut_alike(images: Sequence[ImageArray], size_px: int) -> list[Crop]:
    """Scale the longer sides to ``size_px`` and crop all pictures to one shape of whole patches.

    These are the rules of the published code of Depth Anything 3: both axes are scaled alike, and crops are centred.
    All views of a forward pass have one shape, so that a landscape beside a portrait loses what sticks out.

    Args:
        images: (height, width, 3) uint8 RGB.
        size_px: Longer side, a multiple of 14.

    Raises:
        ValueError: A picture is so elongated that its shorter side would fill no patch.
    """
    scaled = [_scaled_size(image, size_px) for image in images]
    width_px, height_px = (min(size[axis] for size in scaled) // PATCH_PX * PATCH_PX for axis in (0, 1))
    if min(width_px, height_px) == 0:
        sizes = ", ".join(f"{image.shape[1]} x {image.shape[0]}" for image in images)
        raise ValueError(
            f"got pictures of {sizes} px, of which one side falls below {PATCH_PX} px when the longer one is scaled to "
            f"{size_px}; crop them to less elongated shapes"
        )
    return [_cut(image, size, (width_px, height_px)) for image, size in zip(images, scaled, strict=True)]


def _scaled_size(image: ImageArray, size_px: int) -> tuple[int, int]:
    height_px, width_px = image.shape[:2]
    longer_px = max(height_px, width_px)
    return round(width_px * size_px / longer_px), round(height_px * size_px / longer_px)


def _cut(image: ImageArray, scaled: tuple[int, int], shape: tuple[int, int]) -> Crop:
    height_px, width_px = image.shape[:2]
    # The mean over the area when shrinking, as the published code has it.
    filter_ = Image.Resampling.BOX if scaled[0] < width_px else Image.Resampling.BICUBIC
    picture = Image.fromarray(np.ascontiguousarray(image)).resize(scaled, filter_)
    left, top = (scaled[0] - shape[0]) // 2, (scaled[1] - shape[1]) // 2
    cropped = picture.crop((left, top, left + shape[0], top + shape[1]))
    return Crop(np.asarray(cropped), (scaled[0] / width_px, scaled[1] / height_px), (float(left), float(top)))
