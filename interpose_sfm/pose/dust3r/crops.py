"""Pictures as DUSt3R wants them, and the way of pixels and cameras between photo and crop."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from interpose_sfm.products import FloatArray, ImageArray, Intrinsics

PATCH_PX = 16  # the networks cut pictures into patches of this size


@dataclass(frozen=True)
class Crop:
    """A picture scaled and cropped for the network: ``x_crop = scale * x_photo - offset_px``, per axis.

    Attributes:
        image: (height, width, 3) uint8 RGB, sides multiples of 16.
        scale: (x, y).
        offset_px: (x, y) in crop pixels.
    """

    image: ImageArray
    scale: tuple[float, float]
    offset_px: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.image.shape[0], self.image.shape[1]

    def to_crop(self, points_px: FloatArray) -> FloatArray:
        """(..., 2) positions in the crop of positions in the photo; COLMAP's pixel convention on both sides."""
        return np.asarray(points_px * np.array(self.scale) - np.array(self.offset_px))

    def to_photo(self, points_px: FloatArray) -> FloatArray:
        """(..., 2) positions in the photo of positions in the crop."""
        return np.asarray((points_px + np.array(self.offset_px)) / np.array(self.scale))

    def crop_intrinsics(self, photo: Intrinsics) -> Intrinsics:
        """The camera of the crop. Both axes are scaled alike up to rounding, so one focal length holds."""
        height_px, width_px = self.shape
        center = self.to_crop(np.array([photo.cx_px, photo.cy_px]))
        return replace(
            photo,
            width_px=width_px,
            height_px=height_px,
            focal_px=photo.focal_px * self._mean_scale,
            cx_px=float(center[0]),
            cy_px=float(center[1]),
        )

    def photo_intrinsics(self, photo: Intrinsics, crop_focal_px: float) -> Intrinsics:
        """The camera of the photo, with the focal length that was found in the crop."""
        return replace(photo, focal_px=crop_focal_px / self._mean_scale)

    @property
    def _mean_scale(self) -> float:
        return float(np.sqrt(self.scale[0] * self.scale[1]))


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
