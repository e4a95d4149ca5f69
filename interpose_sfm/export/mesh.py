"""A coarse surface through the points of a model, to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from interpose_sfm.colmap.point_cloud import load_whole, oriented_point_cloud
from interpose_sfm.export.source import ExportSource

MESH_NAME = "mesh.ply"
MIN_POINTS = 200
"""Of fewer points Poisson's surface is a bubble that shows nothing."""

_TRIMMED_SHARE = 0.01  # of the points' own places on the surface


def check(source: ExportSource) -> None:
    """Raise a ValueError if a model has too few points for a surface."""
    num_points = source.model.num_points3D()
    if num_points < MIN_POINTS:
        raise ValueError(
            f"the model {source.model_dir} has {num_points} points, expected at least {MIN_POINTS} for a mesh; leave "
            "mesh out of the formats"
        )


def write(source: ExportSource, folder: Path) -> None:
    """Write mesh.ply: Poisson surface reconstruction (Kazhdan and Hoppe 2013) by open3d, with colours.

    Poisson's surface is closed. It is cut where fewer points hold it than at all but a hundredth of the points
    themselves. Frame and units are those of the model.

    Raises:
        OSError: The file cannot be written, or nothing is left of the surface.
    """
    from scipy.spatial import cKDTree

    open3d = load_whole("open3d")
    cloud = oriented_point_cloud(source.model)
    depth = round(np.log2(len(cloud.points)) / 2) + 1  # of the octree; n points on a surface hold no finer detail
    # One thread: with more, open3d 0.20 ended the process once among many calls.
    mesh, densities = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=depth, n_threads=1)
    held = np.asarray(densities)
    _, nearest = cKDTree(np.asarray(mesh.vertices)).query(np.asarray(cloud.points))
    mesh.remove_vertices_by_mask(held < np.quantile(held[nearest], _TRIMMED_SHARE))
    if not open3d.io.write_triangle_mesh(folder / MESH_NAME, mesh):
        raise OSError(f"cannot write {folder / MESH_NAME}: its surface has {len(mesh.triangles)} triangles")
