"""Pictures without distortion and their model, read back by pycolmap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

from exported_scene import NAMES, PARAMS, colours_at, is_kept, make_source
from gps_noise import exif_north_of
from interpose_sfm.export import undistorted
from interpose_sfm.photos.pictures import read_position

WEBP = ("b.webp", "sub/a.png", "sub/C.WEBP", "d.tif")


@pytest.mark.parametrize("model", PARAMS)
def test_pictures_and_model_are_those_of_a_pinhole(model: str, tmp_path: Path) -> None:
    source = make_source(tmp_path / "model", model)
    (tmp_path / "out").mkdir()
    undistorted.write(source, tmp_path / "out")
    read = pycolmap.Reconstruction(tmp_path / "out" / "sparse" / "0")
    assert {image.name for image in read.images.values()} == set(NAMES)
    assert read.num_points3D() == source.model.num_points3D()
    assert read.compute_mean_reprojection_error() < 1e-3
    for image in read.images.values():
        original = source.model.image(image.image_id)
        assert image.name == original.name
        np.testing.assert_allclose(image.cam_from_world().matrix(), original.cam_from_world().matrix(), atol=1e-9)
        assert read.camera(image.camera_id).model_name == "PINHOLE"
        check_pixels(tmp_path / "out" / "images" / image.name, read.camera(image.camera_id), original.camera)


def check_pixels(path: Path, flat: pycolmap.Camera, distorted: pycolmap.Camera, tolerance: float = 2.5) -> None:
    """Every pixel of a picture shows what lies on its ray in the photo."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape == (flat.height, flat.width, 3)
    positions = np.stack(np.mgrid[: flat.height, : flat.width][::-1], -1) + 0.5
    rays = np.c_[flat.cam_from_img(positions.reshape(-1, 2)), np.ones(flat.width * flat.height)]
    expected = colours_at(distorted.img_from_cam(rays)).reshape(pixels.shape)
    inner = (slice(3, -3), slice(3, -3))  # at the border there is less to interpolate from
    assert np.abs(pixels[inner].astype(int) - expected[inner]).max() <= tolerance


def test_cameras_whose_coefficients_are_zero_are_pinholes_too(tmp_path: Path) -> None:
    source = make_source(tmp_path / "model", "OPENCV")
    source.model.camera(1).params = np.array([*PARAMS["PINHOLE"], 0.0, 0.0, 0.0, 0.0])
    (tmp_path / "out").mkdir()
    undistorted.write(source, tmp_path / "out")
    read = pycolmap.Reconstruction(tmp_path / "out" / "sparse" / "0")
    assert [(camera.model_name, *camera.params) for camera in read.cameras.values()] == [
        ("PINHOLE", *PARAMS["PINHOLE"])
    ]


@pytest.mark.parametrize("model", ["SIMPLE_RADIAL", "PINHOLE", "FISHEYE"])  # pycolmap copies files of PINHOLE cameras
def test_files_hold_what_their_names_say(model: str, tmp_path: Path) -> None:
    source = make_source(tmp_path / "model", model, WEBP)
    assert (source.image_dir / "b.webp").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "out").mkdir()
    undistorted.write(source, tmp_path / "out")
    read = pycolmap.Reconstruction(tmp_path / "out" / "sparse" / "0")
    assert {image.name for image in read.images.values()} == set(WEBP)
    for image in read.images.values():
        path = tmp_path / "out" / "images" / image.name
        if path.suffix.lower() == ".webp":
            assert Image.open(path).format == "WEBP"
        check_pixels(path, read.camera(image.camera_id), source.model.image(image.image_id).camera, 6)


def test_pictures_keep_where_they_were_taken(tmp_path: Path) -> None:
    names = ("b.webp", "sub/a.png", "c.JPG", "d.tif")
    source = make_source(tmp_path / "model", "OPENCV", names)
    for name in names:
        path = source.image_dir / name
        with Image.open(path) as image:
            kind = {".JPG": "JPEG", ".tif": "TIFF"}.get(path.suffix, "PNG")
            image.copy().save(path, kind, exif=exif_north_of((48, 30), 10))
    (tmp_path / "out").mkdir()
    undistorted.write(source, tmp_path / "out")
    for name in names:
        position = read_position(tmp_path / "out" / "images" / name)
        assert position is not None, name
        assert position.latitude_deg == pytest.approx(48.5 + 0.1 / 3600, abs=1e-7)


def test_nothing_else_lies_there(tmp_path: Path) -> None:
    source = make_source(tmp_path / "model", "OPENCV")
    source.model.deregister_frame(source.model.find_image_with_name("d.png").frame_id)
    source.model.write(source.model_dir)
    (tmp_path / "out").mkdir()
    undistorted.write(source, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images", "open3d.json", "sparse"]
    assert [path.name for path in (tmp_path / "out" / "sparse").iterdir()] == ["0"]
    pictures = [path for path in (tmp_path / "out" / "images").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path / "out" / "images").as_posix() for path in pictures} == {*NAMES} - {"d.png"}


@pytest.mark.parametrize("model", ["OPENCV", "PINHOLE", "FISHEYE"])
def test_masks_are_undistorted_like_the_photos(model: str, tmp_path: Path) -> None:
    names = ("b.webp", "sub/a.png", "c.JPG", "d.png")
    source = make_source(tmp_path / "model", model, names, with_masks=True)
    (tmp_path / "out").mkdir()
    undistorted.write(source, tmp_path / "out")
    read = pycolmap.Reconstruction(tmp_path / "out" / "sparse" / "0")
    for image in read.images.values():
        mask = Image.open(tmp_path / "out" / "masks" / f"{image.name}.png")
        assert mask.size == Image.open(tmp_path / "out" / "images" / image.name).size
        assert (mask.mode, mask.format, set(np.unique(mask))) == ("L", "PNG", {0, 255})
        flat, distorted = read.camera(image.camera_id), source.model.image(image.image_id).camera
        positions = np.stack(np.mgrid[: flat.height, : flat.width][::-1], -1) + 0.5
        rays = np.c_[flat.cam_from_img(positions.reshape(-1, 2)), np.ones(flat.width * flat.height)]
        expected = is_kept(distorted.img_from_cam(rays)).reshape(flat.height, flat.width)
        wrong = (np.asarray(mask) == 255) != expected
        assert wrong.mean() < 0.01  # the line of pixels that lie across the edge
        assert 0.3 < expected.mean() < 0.8
    assert not list((tmp_path / "out" / "images").rglob("*.png.png"))
    (tmp_path / "alone").mkdir()
    undistorted.check_masks(source)
    undistorted.write_masks(source, tmp_path / "alone")
    alone, beside = ({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.png")}
                     for folder in (tmp_path / "alone", tmp_path / "out" / "masks"))  # fmt: skip
    assert alone == beside
    assert len(alone) == 4


def test_masks_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="photos have no masks to export; leave masks out of the formats, or run"):
        undistorted.check_masks(make_source(tmp_path / "model", "OPENCV"))


def test_names_without_a_format_and_panoramas_are_refused(tmp_path: Path) -> None:
    source = make_source(tmp_path / "names", "OPENCV", ("a.png", "IMG_1"))
    with pytest.raises(
        ValueError, match=r"names of 1 photos .* such as IMG_1, expected one of .*; leave undistorted out"
    ):
        undistorted.check(source)
    source = make_source(tmp_path / "round", "OPENCV")
    source.model.camera(1).model = pycolmap.CameraModelId.EQUIRECTANGULAR
    with pytest.raises(ValueError, match=r"4 photos show all directions .* such as b.png; leave undistorted out"):
        undistorted.check(source)


def test_a_picture_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    source = make_source(tmp_path / "model", "OPENCV")
    (source.image_dir / "d.png").write_text("no picture")
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError, match=r"could not undistort 1 of 4 pictures, such as .*d\.png"):
        undistorted.write(source, tmp_path / "out")
