from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interpose_sfm.pose.dust3r import crops, network_code
from interpose_sfm.products import Intrinsics
from tiny_dust3r import needs_code


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4000, 3000), (512, 384)),
        ((3000, 4000), (384, 512)),
        ((1000, 1000), (512, 384)),
        ((640, 480), (512, 384)),
        ((1920, 1080), (512, 288)),
        ((1001, 667), (512, 336)),
        ((300, 200), (512, 336)),
    ],
)
def test_crops_have_the_sizes_of_dust3r(size: tuple[int, int], expected: tuple[int, int]) -> None:
    crop = crops.cut(np.zeros((size[1], size[0], 3), np.uint8), 512)
    assert crop.shape == (expected[1], expected[0])


@needs_code
@pytest.mark.parametrize("size", [(800, 600), (600, 800), (501, 301), (90, 90), (300, 171)])
def test_crops_equal_those_of_the_published_loader(
    code: network_code.NetworkCode, tmp_path: Path, size: tuple[int, int]
) -> None:
    from PIL import Image

    image = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    theirs = code.module("utils.image").load_images([str(tmp_path / "a.png")], size=512, verbose=False)[0]["img"]
    ours = crops.cut(image, 512).image.transpose(2, 0, 1) / 127.5 - 1.0
    np.testing.assert_allclose(theirs[0].numpy(), ours, atol=1e-6)


@pytest.mark.parametrize("size", [(800, 600), (600, 800), (501, 301), (400, 400)])
def test_positions_and_cameras_go_to_the_crop_and_back(size: tuple[int, int]) -> None:
    """A bright dot is where the mapping says."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    x, y = int(0.4 * size[0]), int(0.55 * size[1])
    image[y - 4 : y + 4, x - 4 : x + 4] = 255
    crop = crops.cut(image, 256)
    shine = crop.image[..., 0].astype(float)
    rows, columns = np.mgrid[: shine.shape[0], : shine.shape[1]] + 0.5
    center = np.array([np.sum(columns * shine), np.sum(rows * shine)]) / shine.sum()
    np.testing.assert_allclose(crop.to_crop(np.array([x, y], float)), center, atol=0.1)
    np.testing.assert_allclose(crop.to_photo(crop.to_crop(np.array([[3.0, 7.0]]))), [[3.0, 7.0]], atol=1e-9)
    photo = Intrinsics(size[0], size[1], 700.0, size[0] / 2 + 3, size[1] / 2 - 2, (0.01,))
    camera = crop.crop_intrinsics(photo)
    assert camera.focal_px == pytest.approx(700.0 * 256 / max(size), rel=2e-3)
    assert crop.photo_intrinsics(photo, camera.focal_px).focal_px == pytest.approx(700.0)
    np.testing.assert_allclose(crop.to_photo(np.array([camera.cx_px, camera.cy_px])), [photo.cx_px, photo.cy_px])


def test_a_strip_is_refused() -> None:
    with pytest.raises(ValueError, match="2000 x 20 px, whose shorter side falls below 16 px"):
        crops.cut(np.zeros((20, 2000, 3), np.uint8), 512)
