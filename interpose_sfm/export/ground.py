"""The ground of a model: the lowest plane of its points that is about level, by open3d."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm.colmap.point_cloud import load_whole
from interpose_sfm.products import FloatArray

if TYPE_CHECKING:
    import pycolmap

MAX_TILT_DEG = 5.0
"""Between the plane and level, as the photos tell it: they err by a few degrees, and so does what is called ground."""

MIN_POINTS = 50
MIN_SHARE = 0.15  # of the lower points, to lie in the plane
MAX_BELOW_SHARE = 0.05  # of all points, below the plane: under a table or a roof there is more

_BAND = 0.01  # thickness of the plane to either side, as a share of the size of the model
_NUM_PLANES = 4  # that are looked at, largest first: walls have more points than the ground
_NUM_DRAWS = 1000  # of three points a plane


@dataclass(frozen=True)
class Ground:
    """The ground plane.

    Attributes:
        up: (3,) unit normal that points up, in the world.
        height: Of the plane along it.
        num_points: That lie in it.
        tilt_deg: Between its normal and the up that it was looked for with.
    """

    up: FloatArray
    height: float
    num_points: int
    tilt_deg: float


def find_ground(model: pycolmap.Reconstruction, up: FloatArray, seed: int = 0) -> Ground | None:
    """The largest plane through the lower points that is level within MAX_TILT_DEG and has hardly a point below it.

    All photos were taken from above it.

    Args:
        model: Points and photos.
        up: (3,) unit vector in its world.
        seed: Of RANSAC.

    Returns:
        None where there is no such plane.
    """
    points = np.array([point.xyz for point in model.points3D.values()]).reshape(-1, 3)
    centers = np.array([i.projection_center() for i in model.images.values() if i.has_pose]).reshape(-1, 3)
    if len(points) < MIN_POINTS or not len(centers):
        return None
    size = float(np.linalg.norm(np.subtract(*np.quantile(points, (0.9, 0.1), axis=0))))
    heights = points @ up
    lower = points[heights <= np.median(heights)]
    num_enough = max(MIN_POINTS, MIN_SHARE * len(lower))
    open3d = load_whole("open3d")
    open3d.utility.random.seed(seed)
    left = lower
    for _ in range(_NUM_PLANES):
        if len(left) < num_enough:
            return None
        cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(left))
        _, rows = cloud.segment_plane(_BAND * size, 3, _NUM_DRAWS)
        if len(rows) < num_enough:
            return None
        ground = _through(left[rows], up)
        if ground.tilt_deg <= MAX_TILT_DEG and _lies_below(ground, points, centers, _BAND * size):
            return ground
        left = np.delete(left, rows, axis=0)
    return None


def _through(points: FloatArray, up: FloatArray) -> Ground:
    """The plane through (n, 3) points by least squares, its normal on the side of up."""
    middle = points.mean(axis=0)
    normal = np.linalg.svd(points - middle, full_matrices=False)[2][2]
    normal = normal if normal @ up > 0 else -normal
    tilt_deg = float(np.degrees(np.arccos(np.clip(normal @ up, -1.0, 1.0))))
    return Ground(normal, float(normal @ middle), len(points), tilt_deg)


def _lies_below(ground: Ground, points: FloatArray, centers: FloatArray, band: float) -> bool:
    """Whether all photos and nearly all points are above a plane, or within its thickness."""
    below_share = float(np.mean(points @ ground.up < ground.height - 3 * band))
    return below_share <= MAX_BELOW_SHARE and bool(np.all(centers @ ground.up > ground.height))
