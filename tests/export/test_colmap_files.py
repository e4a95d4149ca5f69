"""COLMAP's own files, read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pycolmap
import pytest

from exported_scene import make_source, read_ply
from interpose_sfm.export import colmap_files


def test_the_text_model_is_the_model(tmp_path: Path) -> None:
    source = make_source(tmp_path / "model", "OPENCV")
    (tmp_path / "text").mkdir()
    colmap_files.check_text(source)
    colmap_files.write_text(source, tmp_path / "text")
    assert {path.suffix for path in (tmp_path / "text").iterdir()} == {".txt"}
    read = pycolmap.Reconstruction(tmp_path / "text")
    assert (read.num_points3D(), read.num_reg_images()) == (source.model.num_points3D(), 4)
    for image in source.images():
        other = read.find_image_with_name(image.name)
        np.testing.assert_allclose(other.cam_from_world().matrix(), image.cam_from_world().matrix(), atol=1e-9)
        np.testing.assert_allclose(other.camera.params, image.camera.params)


def test_names_that_text_files_would_cut_are_refused(tmp_path: Path) -> None:
    source = make_source(tmp_path / "model", "OPENCV", ("a b.png", "c.png"))
    with pytest.raises(ValueError, match=r"1 have one, such as 'a b.png'; leave text out"):
        colmap_files.check_text(source)
    source.model.write_text(tmp_path)  # or the check would have no reason any more
    assert {image.name for image in pycolmap.Reconstruction(tmp_path).images.values()} == {"a", "c.png"}


def test_points_have_their_colours(tmp_path: Path) -> None:
    source = make_source(tmp_path / "model", "OPENCV")
    colmap_files.write_points(source, tmp_path)
    points, colours = read_ply(tmp_path / "points.ply")
    expected = {tuple(point.color.tolist()): point.xyz for point in source.model.points3D.values()}
    assert len(points) == len(expected)
    for point, colour in zip(points, colours, strict=True):
        np.testing.assert_allclose(point, expected[tuple(colour.tolist())], atol=1e-5)
    assert {path.name for path in tmp_path.glob("*.ply")} == {"points.ply", "cleaned.ply"}
