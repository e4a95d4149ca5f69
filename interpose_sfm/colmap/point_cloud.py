"""The points of a model as a PLY file; with normals by open3d, which takes 200 MB to load."""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm.products import FloatArray, IndexArray
from interpose_sfm.storage.atomic import atomic_write_bytes

if TYPE_CHECKING:
    import open3d
    import pycolmap


_NUM_NEIGHBOURS = 16
_MAX_SIGMA = 2.0
_COLORS = ("red", "green", "blue")


def write_point_cloud(model: pycolmap.Reconstruction, path: Path) -> int:
    """Write the points of a model as PLY with their colours, cleaned of outliers; returns how many are left.

    Raises:
        OSError: The file cannot be written.
    """
    points = list(model.points3D.values())
    x_in_world = np.array([p.xyz for p in points], np.float64).reshape(-1, 3)
    kept = _without_outliers(x_in_world)
    vertices = np.empty(len(kept), [("x_in_world", "<f8", 3), ("rgb", "u1", 3)])
    vertices["x_in_world"] = x_in_world[kept]
    vertices["rgb"] = np.array([p.color for p in points], np.uint8).reshape(-1, 3)[kept]
    properties = [*(f"property double {axis}" for axis in "xyz"), *(f"property uchar {c}" for c in _COLORS)]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(kept)}", *properties, "end_header", ""]
    atomic_write_bytes(path, "\n".join(header).encode() + vertices.tobytes())
    return len(kept)


def write_oriented_point_cloud(model: pycolmap.Reconstruction, path: Path) -> None:
    """The same with normals.

    Raises:
        OSError: The file cannot be written.
    """
    _write(oriented_point_cloud(model), path)


def oriented_point_cloud(model: pycolmap.Reconstruction) -> open3d.geometry.PointCloud:
    """Points of a model without outliers, with colours, and normals that point to the photos that see them.

    A normal is that of the plane through a point and its 16 nearest neighbours; which of its two ways it points is
    decided by the mean of the centres of the photos that see the point.
    """
    open3d = load_whole("open3d")
    cloud, kept = _cleaned(model)
    cloud.estimate_normals(open3d.geometry.KDTreeSearchParamKNN(_NUM_NEIGHBOURS))
    normals = np.asarray(cloud.normals).reshape(-1, 3)
    centers = {image.image_id: image.projection_center() for image in model.images.values() if image.has_pose}
    points = list(model.points3D.values())
    towards = np.array([_seen_from(points[row], centers) - points[row].xyz for row in kept]).reshape(-1, 3)
    is_behind = np.sum(normals * towards, axis=1) < 0
    cloud.normals = open3d.utility.Vector3dVector(np.where(is_behind[:, None], -normals, normals))
    return cloud


def _seen_from(point: pycolmap.Point3D, centers: Mapping[int, FloatArray]) -> FloatArray:
    """Mean of the centres of the photos that see a point."""
    return np.asarray(np.mean([centers[e.image_id] for e in point.track.elements if e.image_id in centers], axis=0))


def _without_outliers(points: FloatArray) -> IndexArray:
    """Rows of the points that are no outliers.

    A point is one if its mean distance to its 16 nearest points, itself included, lies two sigma above the average.
    """
    from scipy.spatial import cKDTree

    if len(points) <= _NUM_NEIGHBOURS:
        return np.arange(len(points), dtype=np.uint32)
    distances, _ = cKDTree(points).query(points, _NUM_NEIGHBOURS)
    mean = distances.mean(1)
    counted = mean[mean > 0]  # of points that lie on 15 others nothing is known
    if len(counted) < 2:
        return np.arange(len(points), dtype=np.uint32)
    is_kept = (mean > 0) & (mean < counted.mean() + _MAX_SIGMA * counted.std(ddof=1))
    return np.flatnonzero(is_kept).astype(np.uint32)


def _cleaned(model: pycolmap.Reconstruction) -> tuple[open3d.geometry.PointCloud, IndexArray]:
    """Points without outliers, and their rows among the model's points."""
    open3d = load_whole("open3d")
    points = list(model.points3D.values())
    x_in_world = np.array([p.xyz for p in points], np.float64).reshape(-1, 3)
    kept = _without_outliers(x_in_world)
    colors = np.array([p.color for p in points], np.float64).reshape(-1, 3)[kept] / 255
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(x_in_world[kept]))
    cloud.colors = open3d.utility.Vector3dVector(colors)
    return cloud, kept


def _write(cloud: open3d.geometry.PointCloud, path: Path) -> None:
    if not load_whole("open3d").io.write_point_cloud(path, cloud):
        raise OSError(f"cannot write {path}")


def load_whole(name: str) -> ModuleType:
    """Import a module; Ctrl-C and SIGTERM wait until it is loaded.

    A half-loaded open3d ends the process with an exit code of its own, whatever the program wants to return.
    """
    with _signals_held():
        return importlib.import_module(name)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let signals that come within the block take effect after it; does nothing outside of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not None]  # None: native handlers
    handlers = {number: signal.signal(number, lambda n, _: received.append(n)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in received:
            signal.raise_signal(late)
