from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import IFDRational

from bad_photos import exif, picture
from interpose_sfm.photos.pictures import strict_pillow
from photo_folders import (
    collect,
    difference,
    read_by_colmap,
    rgb,
)

STORED = {  # EXIF orientation -> how a camera stores an upright picture
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_photos_end_up_upright(orientation: int, suffix: str, folder: Path) -> None:
    upright = picture("upright")
    method = STORED[orientation]
    stored = upright if method is None else upright.transpose(method)
    options = {"jpg": {"quality": 100}, "webp": {"lossless": True}}.get(suffix, {})
    tags = exif(Orientation=orientation, Make="Canon", FocalLength=10.0, FocalLengthIn35mmFilm=30)
    stored.save(folder / f"a.{suffix}", exif=tags, **options)
    (photo,) = collect(folder).photos
    assert (photo.width_px, photo.height_px) == upright.size
    camera = pycolmap.infer_camera_from_image(photo.path)
    assert (camera.width, camera.height) == upright.size
    assert difference(read_by_colmap(photo.path), np.asarray(upright)) < 2
    assert difference(rgb(photo.path), np.asarray(upright)) < 2
    assert Image.open(photo.path).getexif().get(0x0112, 1) == 1
    if suffix in ("jpg", "png"):  # a camera that COLMAP finds in the file, too
        assert photo.focal_px == pytest.approx(30 / 43.27 * 200)
        assert camera.focal_length == pytest.approx(photo.focal_px)


D90 = {"Make": "Nikon", "Model": "D90"}

FOCALS = (
    ("35 mm equivalent", {"FocalLengthIn35mmFilm": 28}, 28 / 43.27 * 500),
    ("35 mm before others", {"FocalLengthIn35mmFilm": 28, "FocalLength": 99, "Model": "D90"}, 28 / 43.27 * 500),
    ("per inch", {"FocalLength": 10, "FocalPlaneXResolution": 1000, "FocalPlaneResolutionUnit": 2}, 10 / 25.4 * 1000),
    ("per cm", {"FocalLength": 10, "FocalPlaneXResolution": 400, "FocalPlaneResolutionUnit": 3}, 400),
    ("per mm", {"FocalLength": 10, "FocalPlaneXResolution": 40, "FocalPlaneResolutionUnit": 4}, 400),
    ("per um", {"FocalLength": 10, "FocalPlaneXResolution": IFDRational(4, 100), "FocalPlaneResolutionUnit": 5}, 400),
    ("no unit", {"FocalLength": 10, "FocalPlaneXResolution": 1000}, None),
    ("unknown unit", {"FocalLength": 10, "FocalPlaneXResolution": 1000, "FocalPlaneResolutionUnit": 9}, None),
    ("known sensor", {"Make": "Canon", "Model": "Canon EOS 5D Mark II", "FocalLength": 50}, 50 / 36 * 400),
    ("untidy sensor", {"Make": "NIKON CORPORATION  ", "Model": "NIKON D90\0\0", "FocalLength": 20}, 20 / 23.6 * 400),
    ("zero equivalent", {**D90, "FocalLengthIn35mmFilm": 0, "FocalLength": 20}, 20 / 23.6 * 400),
    ("unknown sensor", {"Make": "Box", "Model": "Pinhole", "FocalLength": 50}, None),
    ("length alone", {"FocalLength": 50}, None),
    ("nothing", {"Make": "Canon"}, None),
)  # fmt: skip


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("tags", "expected"), [row[1:] for row in FOCALS], ids=[row[0] for row in FOCALS])
def test_focal_length_agrees_with_colmap(
    tags: dict[str, object], expected: float | None, orientation: int, folder: Path
) -> None:
    image = picture("a", 400, 300)
    image.save(folder / "a.jpg", exif=exif(Orientation=orientation, **tags))
    (photo,) = collect(folder).photos
    assert photo.focal_px == (None if expected is None else pytest.approx(expected, rel=1e-4))
    for path in (folder / "a.jpg", photo.path):  # the user's file, and what we made of it
        camera = pycolmap.infer_camera_from_image(path)
        assert camera.has_prior_focal_length == (expected is not None)
        assert camera.focal_length == pytest.approx(expected or 1.2 * 400, rel=1e-4)


@pytest.mark.parametrize(
    "tags",
    [
        {"FocalLength": IFDRational(5, 0), "FocalPlaneXResolution": 1000, "FocalPlaneResolutionUnit": 2},
        {"FocalLength": 10, "FocalPlaneXResolution": IFDRational(0, 0), "FocalPlaneResolutionUnit": 2},
        {"FocalLengthIn35mmFilm": 65535},
        {"FocalLength": 10, "FocalPlaneXResolution": 30, "FocalPlaneResolutionUnit": 2},
        {**D90, "FocalLength": 0},
        {"Make": "Canon", "Model": "Canon EOS 5D Mark II", "FocalLength": 1_000_000},
    ],
)
def test_absurd_focal_length_is_none(tags: dict[str, object], folder: Path) -> None:
    picture("a").save(folder / "a.jpg", exif=exif(**tags))
    (photo,) = collect(folder).photos
    assert photo.focal_px is None


def test_make_and_model_are_clean(folder: Path) -> None:
    tags = exif(Make="  Canon Inc.\0garbage", Model="EOS\t5D\n  Mark\x07 II ", FocalLengthIn35mmFilm=50)
    picture("a").save(folder / "a.jpg", exif=tags)
    (photo,) = collect(folder).photos
    assert (photo.make, photo.model) == ("Canon Inc.", "EOS 5D Mark II")


def test_digest_is_that_of_the_original(folder: Path) -> None:
    picture("a").save(folder / "a.webp")
    (photo,) = collect(folder).photos
    assert photo.sha256 == hashlib.sha256((folder / "a.webp").read_bytes()).hexdigest()


def test_threads_leave_pillow_as_it_was() -> None:
    """Also where the first that came in is the first to go."""
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    first, second = strict_pillow(), strict_pillow()
    first.__enter__()
    second.__enter__()
    assert Image.MAX_IMAGE_PIXELS is None
    first.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS is None
    second.__exit__(None, None, None)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
