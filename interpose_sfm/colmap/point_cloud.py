"""The points of a model as a PLY file, by open3d."""

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

from interpose_sfm.products import FloatArray

if TYPE_CHECKING:
    import open3d
    import pycolmap


_NUM_NEIGHBOURS = 16


def write_point_cloud(model: pycolmap.Reconstruction, path: Path) -> int:
    """Write the points of a model as PLY, cleaned of outliers by open3d; returns how many are left.

    Raises:
        OSError: The file cannot be written.
    """
    cloud, _ = _cleaned(model)
    _write(cloud, path)
    return len(cloud.points)


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


def _cleaned(model: pycolmap.Reconstruction) -> tuple[open3d.geometry.PointCloud, list[int]]:
    """Points without outliers, and their rows among the model's points.

    A point is an outlier if its mean distance to its 16 nearest neighbours lies two sigma above the average.
    """
    open3d = load_whole("open3d")
    points = list(model.points3D.values())
    cloud = open3d.geometry.PointCloud()
    cloud.points = open3d.utility.Vector3dVector(np.array([p.xyz for p in points], np.float64).reshape(-1, 3))
    cloud.colors = open3d.utility.Vector3dVector(np.array([p.color for p in points], np.float64).reshape(-1, 3) / 255)
    if len(points) <= _NUM_NEIGHBOURS:
        return cloud, list(range(len(points)))
    cloud, kept = cloud.remove_statistical_outlier(nb_neighbors=_NUM_NEIGHBOURS, std_ratio=2.0)
    return cloud, list(kept)


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
