"""Pictures as networks want them, and the way of pixels and cameras between photo and crop."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from interpose_sfm.products import FloatArray, ImageArray, Intrinsics


@dataclass(frozen=True)
class Crop:
    """A picture scaled and cropped for the network: ``x_crop = scale * x_photo - offset_px``, per axis.

    Attributes:
        image: (height, width, 3) uint8 RGB, sides multiples of the patch of the network.
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
