"""The surface through points of known shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exported_scene import make_source, model_of_points
from interpose_sfm.export import mesh
from interpose_sfm.export.source import ExportSource
from interpose_sfm.products import FloatArray


def bowl(num_points: int) -> FloatArray:
    """(n, 3) points on the lower half of a unit sphere alone."""
    points = np.random.default_rng(0).normal(size=(num_points, 3))
    points[:, 2] = -np.abs(points[:, 2])
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))


def test_a_bowl_stays_open(tmp_path: Path) -> None:
    """Poisson closes it; what no point holds is cut off."""
    open3d = pytest.importorskip("open3d")
    source = ExportSource(tmp_path, model_of_points(bowl(3000), [200, 100, 50]), tmp_path)
    mesh.check(source)
    mesh.write(source, tmp_path)
    read = open3d.io.read_triangle_mesh(tmp_path / "mesh.ply")
    vertices = np.asarray(read.vertices)
    assert len(read.triangles) > 500
    assert np.abs(np.linalg.norm(vertices, axis=1) - 1).max() < 0.1
    assert vertices[:, 2].max() < 0.2
    assert read.get_surface_area() == pytest.approx(2 * np.pi, rel=0.15)
    np.testing.assert_allclose(np.median(np.asarray(read.vertex_colors), axis=0) * 255, [200, 100, 50], atol=2)


def test_too_few_points_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 60 points, expected at least 200 for a mesh; leave mesh out"):
        mesh.check(make_source(tmp_path / "model", "OPENCV"))
