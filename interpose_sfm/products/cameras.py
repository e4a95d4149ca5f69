"""Cameras and rigid transforms."""

from __future__ import annotations

from dataclasses import dataclass, replace

from interpose_sfm.products.arrays import FloatArray


@dataclass(frozen=True)
class Intrinsics:
    """A camera of any of COLMAP's models; `geometry.pixel_to_ray` and `geometry.project` map by that model.

    Attributes:
        width_px, height_px: Image size.
        focal_px: Focal length; the mean of both axes where these differ.
        cx_px, cy_px: Principal point.
        distortion: What COLMAP calls the extra parameters of the model, in its order.
        is_trusted: True where the focal length is known (EXIF or a reconstruction), False where it is a guess.
        model: COLMAP's name of the model.
        aspect: Focal length along y over that along x; 1 for models that have only one.
    """

    width_px: int
    height_px: int
    focal_px: float
    cx_px: float
    cy_px: float
    distortion: tuple[float, ...] = (0.0,)
    is_trusted: bool = False
    model: str = "SIMPLE_RADIAL"
    aspect: float = 1.0

    def zoomed(self, factor: float) -> Intrinsics:
        """The camera with so many times the focal length."""
        return replace(self, focal_px=factor * self.focal_px)

    def scaled(
        self, size_px: tuple[int, int], scale: tuple[float, float], offset_px: tuple[float, float] = (0.0, 0.0)
    ) -> Intrinsics:
        """The camera of the picture scaled, and then shifted.

        Args:
            size_px: Width and height of the new picture.
            scale: Along x and y.
            offset_px: Added to what is scaled.
        """
        along_x, along_y = scale
        return replace(
            self,
            width_px=size_px[0],
            height_px=size_px[1],
            focal_px=self.focal_px * (along_x + self.aspect * along_y) / (1.0 + self.aspect),
            aspect=self.aspect * along_y / along_x,
            cx_px=along_x * self.cx_px + offset_px[0],
            cy_px=along_y * self.cy_px + offset_px[1],
        )


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


@dataclass(frozen=True)
class KnownView:
    """What is known of a photo before a run.

    Attributes:
        camera: Of its picture.
        cam_from_world: In the frame and unit of all that is known.
    """

    camera: Intrinsics
    cam_from_world: Pose
