from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from interpose_sfm import geometry
from interpose_sfm.pairs.clip_views import frame_views
from interpose_sfm.products import Clip, ClipStatus, FrameMapping, ImagePair, Intrinsics, MaskArray, View

PHOTO = np.zeros((200, 300, 3), np.uint8)
CAMERA = Intrinsics(300, 200, 250.0, 150.0, 100.0, (0.1,))
CLIP = Clip(
    ImagePair("a.jpg", "b.jpg"),
    "clip",
    "made",
    tuple(np.full((80, 150, 3), value, np.uint8) for value in (10, 20, 30)),
    FrameMapping((0.5, 0.5), (0.0, -10.0)),
    FrameMapping((0.5, 0.5), (0.0, -10.0)),
    ClipStatus.OK,
    "",
)


def view(mask: MaskArray | None = None, camera: Intrinsics = CAMERA) -> View:
    return View("photo", PHOTO, camera, mask)


def black(rows: slice, columns: slice) -> MaskArray:
    mask = np.ones(PHOTO.shape[:2], np.bool_)
    mask[rows, columns] = False
    return mask


def test_cameras_go_over_from_one_photo_to_the_other() -> None:
    last = replace(CAMERA, focal_px=290.0, distortion=(0.2,))
    frames = frame_views(CLIP, view(), view(camera=last))
    assert [frame.intrinsics.focal_px for frame in frames] == pytest.approx([130.0, 135.0, 140.0])
    assert [frame.intrinsics.distortion[0] for frame in frames] == pytest.approx([0.125, 0.15, 0.175])
    assert {(f.intrinsics.width_px, f.intrinsics.height_px, f.intrinsics.cy_px) for f in frames} == {(150, 80, 40.0)}


def test_between_lenses_of_two_models_the_nearer_one_counts() -> None:
    fisheye = replace(CAMERA, model="OPENCV_FISHEYE", distortion=(0.1, 0.0, 0.0, 0.0), aspect=1.1)
    frames = frame_views(CLIP, view(), view(camera=fisheye))
    assert [frame.intrinsics.model for frame in frames] == ["SIMPLE_RADIAL", "SIMPLE_RADIAL", "OPENCV_FISHEYE"]
    assert frames[2].intrinsics.aspect == 1.1


@pytest.mark.parametrize(("model", "distortion"), [
    ("SIMPLE_PINHOLE", ()),
    ("SIMPLE_RADIAL", (-0.1,)),
    ("RADIAL", (-0.1, 0.02)),
    ("OPENCV", (-0.1, 0.02, 0.001, 0.0)),
    ("SIMPLE_DIVISION", (-0.1,)),
    ("SIMPLE_FISHEYE", ()),
    ("SIMPLE_RADIAL_FISHEYE", (0.05,)),
    ("RADIAL_FISHEYE", (0.05, -0.01)),
    ("OPENCV_FISHEYE", (0.05, -0.01, 0.0, 0.0)),
])  # fmt: skip
def test_points_lie_in_frames_where_unequal_scales_put_them(model: str, distortion: tuple[float, ...]) -> None:
    aspect = 1.03 if model.startswith("OPENCV") else 1.0
    lens = replace(CAMERA, model=model, distortion=distortion, aspect=aspect)
    scale, offset_px = (0.5, 0.521), (3.0, -10.0)
    mapping = FrameMapping(scale, offset_px)
    frames = frame_views(
        replace(CLIP, frame_from_a=mapping, frame_from_b=mapping), view(camera=lens), view(camera=lens)
    )
    points = np.random.default_rng(0).uniform((-0.5, -0.4, 1), (0.5, 0.4, 1), (50, 3))
    expected_px = geometry.project(points, lens) * scale + offset_px
    for frame in frames:
        np.testing.assert_allclose(geometry.project(points, frame.intrinsics), expected_px, atol=1e-6)


def test_what_either_photo_masks_is_masked_in_every_frame() -> None:
    a, b = black(slice(0, 60), slice(0, 300)), black(slice(100, 200), slice(200, 300))
    plain, masked = frame_views(CLIP, view(), view()), frame_views(CLIP, view(a), view(b))
    expected = np.ones((80, 150), np.bool_)
    expected[:20] = False  # 60 px of the photo, halved, of which the frame lacks the upper 10
    expected[40:, 100:] = False
    for frame in masked:
        np.testing.assert_array_equal(frame.mask, expected)
    assert all(frame.mask is None for frame in plain)
    one = frame_views(CLIP, view(a), view())
    assert len({frames[0].key for frames in (plain, masked, one)}) == 3
