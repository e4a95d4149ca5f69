"""Cameras and rigid transforms."""

from __future__ import annotations

from dataclasses import dataclass

from interpose_sfm.products.arrays import FloatArray


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera with one radial coefficient (COLMAP's SIMPLE_RADIAL).

    Attributes:
        width_px, height_px: Image size.
        focal_px: Focal length.
        cx_px, cy_px: Principal point.
        radial: First radial distortion coefficient.
        is_trusted: True where the focal length is known (EXIF or a reconstruction), False where it is a guess.
    """

    width_px: int
    height_px: int
    focal_px: float
    cx_px: float
    cy_px: float
    radial: float = 0.0
    is_trusted: bool = False


@dataclass(frozen=True)
class Pose:
    """A rigid transform ``b_from_a``; the scale of the translation is that of its context.

    Attributes:
        rotation: (3, 3) float64, a rotation matrix.
        translation: (3,) float64. For a relative pose of unknown scale a unit vector, or zero for a pure rotation.
    """

    rotation: FloatArray
    translation: FloatArray

    def inverse(self) -> Pose:
        """a_from_b."""
        return Pose(self.rotation.T, -self.rotation.T @ self.translation)

    def __matmul__(self, other: Pose) -> Pose:
        """``c_from_b @ b_from_a = c_from_a``."""
        return Pose(self.rotation @ other.rotation, self.rotation @ other.translation + self.translation)
