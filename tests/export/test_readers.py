"""What is exported is read back by the programs that it is meant for.

Those that pip does not install here are looked for by environment variables that name folders, apart by colons as in
PYTHONPATH, and are skipped without: NERFSTUDIO_PATH, where the package nerfstudio and what it imports lie; GSPLAT_PATH,
with the folder examples of gsplat's repository.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exported_scene import NAMES, colours_at, is_kept, make_source
from interpose_sfm.export import colmap_files, nerfstudio, undistorted
from interpose_sfm.export.source import ExportSource
from paths import TESTS

HAS_NERFSTUDIO = "NERFSTUDIO_PATH" in os.environ or importlib.util.find_spec("nerfstudio") is not None
HAS_GSPLAT = "GSPLAT_PATH" in os.environ


def read_by(client: str, variable: str, *arguments: Path) -> Any:
    """What a program of tests/clients prints, in a process that finds what a variable names."""
    environment = {**os.environ, "PYTHONPATH": os.environ.get(variable, "")}
    command = [sys.executable, str(TESTS / "clients" / client), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def pixels_of(source: ExportSource) -> dict[str, tuple[list[int], list[list[float]]]]:
    """Per photo, the ids of its points, and where its camera projects them."""
    found = {}
    for image in source.images():
        ids = [point.point3D_id for point in image.points2D if point.has_point3D()]
        found[image.name] = ids, [image.project_point(source.model.point3D(i).xyz).tolist() for i in ids]
    return found


@pytest.mark.long
@pytest.mark.skipif(not HAS_NERFSTUDIO, reason="nerfstudio is not installed, and NERFSTUDIO_PATH not set")
@pytest.mark.parametrize("model", ["PINHOLE", "OPENCV", "OPENCV_FISHEYE"])
def test_nerfstudios_data_parser(model: str, tmp_path: Path) -> None:
    """Rays of its cameras, distortion included, go through the points that it reads."""
    source = make_source(tmp_path / "model", model, num_cameras=2, with_masks=True)
    (tmp_path / "out").mkdir()
    nerfstudio.write(source, tmp_path / "out")
    pixels = pixels_of(source)
    (tmp_path / "pixels.json").write_text(json.dumps({name: where for name, (_, where) in pixels.items()}))
    read = read_by("nerfstudio_reader.py", "NERFSTUDIO_PATH", tmp_path / "out", tmp_path / "pixels.json")
    ids = sorted(source.model.points3D)
    expected = np.array([source.model.point3D(i).xyz for i in ids]) @ nerfstudio.APPLIED_TRANSFORM[:, :3].T
    points = np.array(read["points"])
    assert len(points) == len(ids)
    nearest = np.linalg.norm(points[:, None] - expected[None], axis=-1).argmin(axis=0)
    np.testing.assert_allclose(points[nearest], expected, atol=1e-4)
    assert [read["colours"][i] for i in nearest] == [source.model.point3D(i).color.tolist() for i in ids]
    rows = dict(zip(ids, nearest, strict=True))
    for name, (seen, _) in pixels.items():
        rays = {key: np.array(value) for key, value in read["rays"][name].items()}
        towards = points[[rows[i] for i in seen]] - rays["origins"]
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        angles = np.linalg.norm(np.cross(towards, rays["directions"]), axis=1)
        assert len(angles) > 20
        assert angles.max() < 1e-3  # 0.15 px
        assert np.sum(towards * rays["directions"], axis=1).min() > 0
    kept = int(is_kept(np.stack(np.mgrid[:120, :160][::-1], -1) + 0.5).sum())
    assert read["masks"] == {f"masks/{name}.png": kept for name in NAMES}


@pytest.mark.skipif(not HAS_GSPLAT, reason="GSPLAT_PATH is not set to the folder examples of gsplat")
@pytest.mark.parametrize("model", ["OPENCV", "FISHEYE", "THIN_PRISM_FISHEYE"])
def test_gsplats_colmap_reader(model: str, tmp_path: Path) -> None:
    """Its points fall, by its cameras, where the undistorted pictures show what was photographed there."""
    source = make_source(tmp_path / "model", model, num_cameras=2, with_masks=True)
    (tmp_path / "out").mkdir()
    undistorted.write(source, tmp_path / "out")
    read = read_by("gsplat_reader.py", "GSPLAT_PATH", tmp_path / "out")
    ids = sorted(source.model.points3D)
    np.testing.assert_allclose(read["points"], [source.model.point3D(i).xyz for i in ids], atol=1e-5)
    assert read["colours"] == [source.model.point3D(i).color.tolist() for i in ids]
    assert read["frames"].keys() == set(NAMES)
    for image in source.images():
        frame = read["frames"][image.name]
        picture = np.asarray(Image.open(frame["path"]))
        assert list(picture.shape) == frame["shape"]
        seen = np.array(frame["seen"])
        assert len(seen) > 20
        world = np.c_[np.array(read["points"])[seen], np.ones(len(seen))]
        rays = (world @ np.linalg.inv(frame["camtoworld"]).T)[:, :3]
        x, y = ((rays @ np.array(frame["K"]).T)[:, :2] / rays[:, 2:]).T
        inside = (x > 3) & (y > 3) & (x < picture.shape[1] - 3) & (y < picture.shape[0] - 3)
        assert inside.sum() > 10
        there = np.array([image.project_point(source.model.point3D(ids[i]).xyz) for i in seen[inside]])
        shown = picture[y[inside].astype(int), x[inside].astype(int)]
        assert np.abs(shown.astype(int) - colours_at(there)).max() <= 4  # a pixel is up to 2 grey values wide


def test_open3d(tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d")
    source = make_source(tmp_path / "model", "OPENCV")
    (tmp_path / "out").mkdir()
    nerfstudio.write(source, tmp_path / "out")
    colmap_files.write_points(source, tmp_path)
    turned = open3d.io.read_point_cloud(tmp_path / "out" / "sparse_pc.ply")
    plain, cleaned = (open3d.io.read_point_cloud(tmp_path / name) for name in ("points.ply", "cleaned.ply"))
    points = np.asarray(plain.points)
    assert len(points) == source.model.num_points3D()
    np.testing.assert_allclose(turned.points, points @ nerfstudio.APPLIED_TRANSFORM[:, :3].T, atol=1e-4)
    np.testing.assert_array_equal(turned.colors, plain.colors)
    assert cleaned.has_normals()
    assert cleaned.has_colors()
    kept = np.linalg.norm(np.asarray(cleaned.points)[:, None] - points[None], axis=-1).min(axis=1)
    assert kept.max() < 1e-4


@pytest.mark.skipif(shutil.which("colmap") is None, reason="COLMAP's command line is not installed")
def test_colmaps_command_line(tmp_path: Path) -> None:
    """An older COLMAP reads the text model and that of the undistorted photos, and finds nothing left to undistort."""
    source = make_source(tmp_path / "model", "OPENCV")
    for name, write in (("text", colmap_files.write_text), ("flat", undistorted.write)):
        (tmp_path / name).mkdir()
        write(source, tmp_path / name)
    sizes = (f"Registered images: {len(NAMES)}", f"Points: {source.model.num_points3D()}")
    for folder in ("text", "flat/sparse/0"):
        told = colmap("model_analyzer", "--path", tmp_path / folder)
        assert all(size in told for size in sizes)
    places = ("--image_path", tmp_path / "flat" / "images", "--input_path", tmp_path / "flat" / "sparse" / "0")
    (tmp_path / "again").mkdir()
    colmap("image_undistorter", *places, "--output_path", tmp_path / "again")
    for name in NAMES:
        once, again = (np.asarray(Image.open(tmp_path / folder / "images" / name)) for folder in ("flat", "again"))
        np.testing.assert_array_equal(once, again)


def colmap(*arguments: str | Path) -> str:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    command = ["colmap", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("model", ["PINHOLE", "OPENCV", "FISHEYE"])
def test_open3ds_pinhole_reader(model: str, tmp_path: Path) -> None:
    """Points fall, by its cameras, where the undistorted pictures show what was photographed there."""
    open3d = pytest.importorskip("open3d")
    source = make_source(tmp_path / "model", model, num_cameras=2)
    (tmp_path / "out").mkdir()
    undistorted.write(source, tmp_path / "out")
    views = open3d.io.read_pinhole_camera_trajectory(tmp_path / "out" / "open3d.json").parameters
    assert len(views) == len(NAMES)
    for image, view in zip(source.images(), views, strict=True):
        picture = np.asarray(Image.open(tmp_path / "out" / "images" / image.name))
        assert (view.intrinsic.height, view.intrinsic.width) == picture.shape[:2]
        ids = [point.point3D_id for point in image.points2D if point.has_point3D()]
        world = np.array([[*source.model.point3D(i).xyz, 1.0] for i in ids])
        rays = (world @ view.extrinsic.T)[:, :3] @ view.intrinsic.intrinsic_matrix.T
        x, y = (rays[:, :2] / rays[:, 2:]).T  # the middles of pixels are whole numbers
        inside = (x > 3) & (y > 3) & (x < picture.shape[1] - 3) & (y < picture.shape[0] - 3)
        assert inside.sum() > 10
        there = np.array([image.project_point(source.model.point3D(i).xyz) for i in ids])[inside]
        columns, rows = np.round(x[inside]).astype(int), np.round(y[inside]).astype(int)
        shown, expected = picture[rows, columns].astype(float), colours_at(there).astype(float)
        assert np.abs(shown - expected).max() <= 4
        offset_px = np.stack(
            [x[inside] - columns, y[inside] - rows], axis=-1
        )  # within a pixel, 1.6 and 2.1 grey values
        error = shown[:, :2] + offset_px * [255 / 160, 255 / 120] - expected[:, :2]
        assert np.abs(error.mean(axis=0)).max() < 0.5  # half a pixel would be 0.8 and 1.1
