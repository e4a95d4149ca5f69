"""The points of a model as a PLY file, by open3d."""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pycolmap


def write_point_cloud(model: pycolmap.Reconstruction, path: Path) -> int:
    """Write the points of a model as PLY, cleaned of outliers by open3d; returns how many are left.

    A point is an outlier if its mean distance to its 16 nearest neighbours lies two sigma above the average.
    """
    open3d = load_whole("open3d")
    points = list(model.points3D.values())
    cloud = open3d.geometry.PointCloud()
    cloud.points = open3d.utility.Vector3dVector(np.array([p.xyz for p in points], np.float64).reshape(-1, 3))
    cloud.colors = open3d.utility.Vector3dVector(np.array([p.color for p in points], np.float64).reshape(-1, 3) / 255)
    if len(points) > 16:
        cloud, _ = cloud.remove_statistical_outlier(nb_neighbors=16, std_ratio=2.0)
    if not open3d.io.write_point_cloud(path, cloud):
        raise OSError(f"cannot write {path}")
    return len(cloud.points)


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
