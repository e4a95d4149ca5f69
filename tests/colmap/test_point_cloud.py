"""Native modules are loaded as a whole."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from base_models import Base
from exported_scene import model_of_points
from interpose_sfm.colmap import point_cloud
from interpose_sfm.colmap.point_cloud import load_whole

MODULE = """
import signal
signal.raise_signal(signal.SIGINT)
is_whole = True
"""


def test_a_signal_waits_until_the_module_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        load_whole("slow_module")
    assert sys.modules["slow_module"].is_whole
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_signal_it_is_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quiet_module.py").write_text("value = 1")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_whole("quiet_module").value == 1
    with pytest.raises(ModuleNotFoundError):
        load_whole("no_such_module")


# ---------------------------------------------------------------- files


def test_the_point_cloud_is_cleaned(base: Base, tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d")
    far = [100.0, 100.0, 100.0]
    num_before = base.model.num_points3D()
    for _ in range(2):
        base.model.add_point3D(far, pycolmap.Track(), [255, 0, 0])
    path = tmp_path / "points.ply"
    num_kept = point_cloud.write_point_cloud(base.model, path)
    points = np.asarray(open3d.io.read_point_cloud(path).points)
    assert len(points) == num_kept
    assert 0.9 * num_before <= num_kept <= num_before
    assert np.abs(points).max() < 10


def test_normals_point_to_the_photos_that_see_the_points(tmp_path: Path) -> None:
    """Two walls, the photos between them, and a point far off."""
    open3d = pytest.importorskip("open3d")
    random = np.random.default_rng(0)
    walls = np.c_[np.repeat([-3.0, 3.0], 300), random.uniform(-1, 1, (600, 2))] + random.normal(0, 0.002, (600, 3))
    model = model_of_points(np.r_[walls, [[30.0, 0.0, 0.0]]], [9, 9, 9])
    point_cloud.write_oriented_point_cloud(model, tmp_path / "cloud.ply")
    cloud = open3d.io.read_point_cloud(tmp_path / "cloud.ply")
    points, normals = np.asarray(cloud.points), np.asarray(cloud.normals)
    assert 560 < len(points) <= 600
    assert (-np.sign(points[:, 0]) * normals[:, 0]).min() > 0.95


def test_few_points_are_written_as_they_are(tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d")
    model = pycolmap.Reconstruction()
    for x in (0.0, 1.0, 50.0):
        model.add_point3D([x, 0, 0], pycolmap.Track(), [10, 20, 30])
    assert point_cloud.write_point_cloud(model, tmp_path / "few.ply") == 3
    cloud_read = open3d.io.read_point_cloud(tmp_path / "few.ply")
    assert sorted(np.asarray(cloud_read.points)[:, 0]) == [0, 1, 50]
    np.testing.assert_allclose(np.asarray(cloud_read.colors)[0] * 255, [10, 20, 30], atol=1)


def test_a_point_cloud_that_cannot_be_written_is_an_error(original: Base, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        point_cloud.write_point_cloud(original.model, tmp_path / "no" / "folder" / "points.ply")


def test_the_outliers_are_those_of_open3d(tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d")
    random = np.random.default_rng(3)
    points = np.r_[random.normal(0, 1, (500, 3)), random.normal(0, 9, (400, 3))]
    model = model_of_points(points, [1, 2, 200])
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    _, expected = cloud.remove_statistical_outlier(nb_neighbors=16, std_ratio=2.0)
    assert point_cloud.write_point_cloud(model, tmp_path / "points.ply") == len(expected) < 890
    written = open3d.io.read_point_cloud(tmp_path / "points.ply")
    np.testing.assert_array_equal(np.sort(np.asarray(written.points), 0), np.sort(points[expected], 0))
    np.testing.assert_allclose(np.asarray(written.colors), np.tile(np.array([1, 2, 200]) / 255, (len(expected), 1)))
