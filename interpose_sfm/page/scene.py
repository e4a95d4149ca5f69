"""Points and cameras of models as the 3D view of a page draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from interpose_sfm import geometry
from interpose_sfm.products import FloatArray, ImageArray, IndexArray, Pose

if TYPE_CHECKING:
    import pycolmap

MAX_POINTS = 30_000  # of all models together: a browser turns them smoothly, and they take one megabyte
_FAR = 4.0  # times the median distance of points from their middle; what lies beyond would shrink all else
_FRUSTUM = 0.06  # depth of a camera's pyramid, as a share of the extent of the cameras
WIDTH = 10.0
"""How wide a model is shown."""
_DECIMALS = 3  # of that width


def scene(models: Sequence[pycolmap.Reconstruction], index_of: Mapping[str, int]) -> list[dict[str, Any]]:
    """One drawing per model, each turned so that its cameras stand upright, and brought to one size.

    Args:
        models: Final models.
        index_of: Photo name -> number on the page.

    Returns:
        Of each model ``points``: (3, n) lists of x, y and z, ``colors``: their "rgb(...)", and ``cameras``: of each the
        number of its ``photo``, its ``center``, and the four ``corners`` of its field of view.
    """
    total = sum(model.num_points3D() for model in models)
    return [_drawing(model, index_of, min(1.0, MAX_POINTS / max(1, total))) for model in models]


@dataclass(frozen=True)
class Placement:
    """How a model is shown: its middle at the origin, its mean upward direction along z, ten units wide.

    Attributes:
        middle: (3,) in the model's world.
        turn: (3, 3) rotation from that world.
        scale: From its units.
    """

    middle: FloatArray
    turn: FloatArray
    scale: float

    @classmethod
    def of(cls, poses: Sequence[Pose], points: FloatArray) -> Placement:
        """The placement of cam_from_world poses and (n, 3) points, of which far ones have no say."""
        everything = np.vstack([points[_is_near(points)], *(pose.inverse().translation[None] for pose in poses)])
        middle = np.median(everything, axis=0) if len(everything) else np.zeros(3)
        extent = float(np.max(np.ptp(everything, axis=0))) if len(everything) else 0.0
        turn = _upright(np.array([-pose.rotation[1] for pose in poses]).reshape(-1, 3))
        return cls(middle, turn, WIDTH / (extent or 1.0))

    def drawn(self, x_in_world: FloatArray) -> FloatArray:
        """(..., 3) places where they are shown."""
        return np.asarray((x_in_world - self.middle) @ self.turn.T * self.scale)


def point_arrays(model: pycolmap.Reconstruction) -> tuple[FloatArray, ImageArray]:
    """(n, 3) places and (n, 3) uint8 colours of the points of a model, by their numbers."""
    points = [point for _, point in sorted(model.points3D.items())]  # on disk they may lie in another order
    places = np.array([point.xyz for point in points], np.float64).reshape(-1, 3)
    return places, np.array([point.color for point in points], np.uint8).reshape(-1, 3)


def _drawing(model: pycolmap.Reconstruction, index_of: Mapping[str, int], share: float) -> dict[str, Any]:
    images = sorted((i for i in model.images.values() if i.has_pose and i.name in index_of), key=lambda i: i.name)
    poses = [geometry.from_rigid3d(image.cam_from_world()) for image in images]
    points, colors = point_arrays(model)
    placement = Placement.of(poses, points)
    kept = _thinned(points, share)

    def drawn(x_in_world: FloatArray) -> FloatArray:
        return np.round(placement.drawn(x_in_world), _DECIMALS)

    centers = np.array([pose.inverse().translation for pose in poses]).reshape(-1, 3)
    depth = _FRUSTUM * (float(np.max(np.ptp(centers, axis=0))) if len(centers) > 1 else WIDTH / placement.scale)
    cameras = []
    for image, pose in zip(images, poses, strict=True):
        corners = _corners(model.camera(image.camera_id), depth) @ pose.rotation + pose.inverse().translation
        cameras.append(
            {
                "photo": index_of[image.name],
                "center": drawn(pose.inverse().translation).tolist(),
                "corners": drawn(corners).tolist(),
            }
        )
    return {
        "points": drawn(points[kept]).T.tolist(),
        "colors": [f"rgb({r},{g},{b})" for r, g, b in colors[kept].tolist()],
        "cameras": cameras,
    }


def _is_near(points: FloatArray) -> NDArray[np.bool_]:
    """Which points are not far out."""
    if not len(points):
        return np.zeros(0, np.bool_)
    away = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    return np.asarray(away <= _FAR * np.median(away))


def _thinned(points: FloatArray, share: float) -> IndexArray:
    """Rows of a random share of the points that are not far out, in their order."""
    near = np.flatnonzero(_is_near(points))
    drawn = np.random.default_rng(0).permutation(near)[: int(np.ceil(share * len(near)))]
    return np.sort(drawn).astype(np.uint32)


def _upright(ups: FloatArray) -> FloatArray:
    """Rotation that turns the mean of some directions to +z."""
    up = geometry.unit_vectors(ups.sum(axis=0)) if len(ups) and np.any(ups.sum(axis=0)) else np.array([0.0, 0.0, 1.0])
    side = np.cross(up, np.eye(3)[int(np.argmin(np.abs(up)))])
    side /= np.linalg.norm(side)
    return np.array([side, np.cross(up, side), up])


def _corners(camera: pycolmap.Camera, depth: float) -> FloatArray:
    """(4, 3) corners of the picture in the frame of the camera, by focal length and size."""
    half = np.array([camera.width, camera.height]) / 2.0 / camera.mean_focal_length() * depth
    return np.array([[x * half[0], y * half[1], depth] for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
