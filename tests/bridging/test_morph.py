"""View morphing along homographies: geometry of the path, order of the hypotheses, and what the frames may contain."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from bridging_scene import camera, context, texture
from interpose_sfm import geometry
from interpose_sfm.bridging.morph import MorphGenerator
from interpose_sfm.clips.protocol import check_clip
from interpose_sfm.products import Clip, ClipRequest, ClipStatus, FrameMapping, ImageArray, ImagePair, Intrinsics

A, B = "a.jpg", "b.jpg"
PAIR = ImagePair(A, B)
WIDTH_PX, HEIGHT_PX, FOCAL_PX = 320, 240, 300.0
WALL = texture(31, 1400, 900)
"""A textured wall at depth 1: its pixel (x, y) lies at ((x - 700) / 300, (y - 450) / 300, 1)."""


def matrix(focal_px: float, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> np.ndarray:
    return np.array([[focal_px, 0, width_px / 2], [0, focal_px, height_px / 2], [0, 0, 1.0]])


def view_from_wall(yaw_deg: float, center: tuple[float, float, float], focal_px: float = FOCAL_PX) -> np.ndarray:
    """Homography from pixels of the wall to pixels of a camera."""
    rotation = Rotation.from_euler("y", -yaw_deg, degrees=True).as_matrix()
    ray_from_wall = np.array([[1 / 300, 0, -700 / 300], [0, 1 / 300, -450 / 300], [0, 0, 1.0]])
    return matrix(focal_px) @ rotation @ (np.eye(3) - np.outer(center, [0, 0, 1.0])) @ ray_from_wall


def render(homography: np.ndarray, size_px: tuple[int, int] = (WIDTH_PX, HEIGHT_PX)) -> ImageArray:
    """The wall through a homography, by Pillow, which shares no code with the generator."""
    inverse = np.linalg.inv(homography)
    coefficients = (inverse / inverse[2, 2]).ravel()[:8]
    return np.asarray(
        Image.fromarray(WALL).transform(
            size_px, Image.Transform.PERSPECTIVE, tuple(coefficients), Image.Resampling.BILINEAR
        )
    )


def moved(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    mapped = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return mapped[:, :2] / mapped[:, 2:]


def wall_matches(a: np.ndarray, b: np.ndarray, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points of the wall seen in both photos, half a pixel of noise."""
    rng = np.random.default_rng(seed)
    on_wall = rng.uniform([0, 0], [1400, 900], (60 * count, 2))
    in_a, in_b = moved(a, on_wall), moved(b, on_wall)
    seen = ((in_a > 0) & (in_b > 0) & (in_a < [WIDTH_PX, HEIGHT_PX]) & (in_b < [WIDTH_PX, HEIGHT_PX])).all(axis=1)
    rows = np.flatnonzero(seen)[:count]
    assert len(rows) == count
    return in_a[rows] + rng.normal(0, 0.5, (count, 2)), in_b[rows] + rng.normal(0, 0.5, (count, 2))


def behind_wall(yaw_deg: float, center: tuple[float, float, float], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points at depths 1.5 to 3 in front of both cameras."""
    depth = np.random.default_rng(6).uniform(1.5, 3, (count, 1))
    rays = np.random.default_rng(7).uniform([-0.3, -0.3], [0.3, 0.3], (count, 2))
    x_in_a = np.hstack([rays, np.ones((count, 1))]) * depth
    x_in_b = (x_in_a - center) @ Rotation.from_euler("y", -yaw_deg, degrees=True).as_matrix().T
    in_a, in_b = x_in_a @ matrix(FOCAL_PX).T, x_in_b @ matrix(FOCAL_PX).T
    return in_a[:, :2] / in_a[:, 2:], in_b[:, :2] / in_b[:, 2:]


def morph(
    matches: tuple[np.ndarray, np.ndarray],
    photos: dict[str, ImageArray] | None = None,
    index: int = 0,
    backwards: bool = False,
    **options: object,
) -> Clip:
    photos = photos or {A: texture(1, WIDTH_PX, HEIGHT_PX), B: texture(2, WIDTH_PX, HEIGHT_PX)}
    generator = MorphGenerator(context(photos, {PAIR: matches}, **options))
    return check_clip(generator.generate(PAIR, ClipRequest(index, backwards, 0)), PAIR)


def inner(image: ImageArray, filled: np.ndarray) -> np.ndarray:
    return image.astype(float)[filled]


@pytest.mark.parametrize(
    ("yaw_deg", "center"),
    [(0.0, (0.25, 0.0, 0.0)), (20.0, (0.0, 0.0, 0.0)), (15.0, (-0.3, 0.05, 0.1)), (-10.0, (0.0, 0.0, 0.3))],
)
def test_frames_are_views_of_the_plane_from_between(yaw_deg: float, center: tuple[float, float, float]) -> None:
    a, b = view_from_wall(0, (0, 0, 0)), view_from_wall(yaw_deg, center)
    # The wall alone leaves two paths; points behind it tell which one the camera took.
    matches = [np.vstack(pair) for pair in zip(wall_matches(a, b, 200), behind_wall(yaw_deg, center, 40), strict=True)]
    clip = morph((matches[0], matches[1]), {A: render(a), B: render(b)}, morph_frames=3)
    assert clip.status is ClipStatus.OK, clip.detail
    for s, frame in zip((0.25, 0.5, 0.75), clip.frames, strict=True):
        expected = render(view_from_wall(s * yaw_deg, tuple(s * np.array(center))))
        filled = np.zeros(frame.shape[:2], bool)
        # What the source photo shows for sure, at any of these poses.
        filled[70:170, 120:200] = True
        error = np.abs(inner(frame, filled) - inner(expected, filled)).mean()
        neighbour = render(view_from_wall((s + 0.15) * yaw_deg, tuple((s + 0.15) * np.array(center))))
        assert error < 3.0
        assert error < 0.5 * np.abs(inner(neighbour, filled) - inner(expected, filled)).mean()


FISHEYE = Intrinsics(
    WIDTH_PX, HEIGHT_PX, FOCAL_PX, WIDTH_PX / 2, HEIGHT_PX / 2, (-0.4, 0, 0, 0), True, "OPENCV_FISHEYE"
)


def through_fisheye(image: ImageArray) -> ImageArray:
    """What the fisheye sees of what a pinhole sees."""
    y, x = np.mgrid[:HEIGHT_PX, :WIDTH_PX] + 0.5
    rays = geometry.pixel_to_ray(np.stack([x, y], axis=-1), FISHEYE)
    seen_px = (rays @ matrix(FOCAL_PX).T)[..., :2].astype(np.float32) - 0.5
    return np.asarray(cv2.remap(image, seen_px[..., 0], seen_px[..., 1], cv2.INTER_LINEAR))


def test_photos_of_a_fisheye_are_morphed_along_its_rays() -> None:
    a, b = view_from_wall(0, (0, 0, 0)), view_from_wall(15, (-0.3, 0.05, 0.1))
    flat = np.vstack([np.stack(wall_matches(a, b, 200), 1), np.stack(behind_wall(15, (-0.3, 0.05, 0.1), 40), 1)])
    rays = np.concatenate([flat, np.ones((*flat.shape[:2], 1))], axis=2) @ np.linalg.inv(matrix(FOCAL_PX)).T
    seen_px = geometry.project(rays, FISHEYE)
    assert np.abs(seen_px - flat).max() > 5.0  # far more than matches err by
    photos = {A: through_fisheye(render(a)), B: through_fisheye(render(b))}
    base = context(photos, {PAIR: (seen_px[:, 0], seen_px[:, 1])}, morph_frames=3)
    base = replace(base, intrinsics=lambda _: FISHEYE)
    clip = check_clip(MorphGenerator(base).generate(PAIR, ClipRequest(0, False, 0)), PAIR)
    assert clip.status is ClipStatus.OK, clip.detail
    for s, frame in zip((0.25, 0.5, 0.75), clip.frames, strict=True):
        pinhole = render(view_from_wall(s * 15, tuple(s * np.array((-0.3, 0.05, 0.1)))))
        errors = [
            np.abs(frame.astype(float) - image)[70:170, 120:200].mean() for image in (through_fisheye(pinhole), pinhole)
        ]
        assert errors[0] < 3.0
        assert errors[0] < 0.5 * errors[1]


def test_the_camera_of_the_frames_is_that_of_a_and_backwards_that_of_b() -> None:
    a, b = view_from_wall(0, (0, 0, 0)), view_from_wall(5, (0.1, 0, 0), focal_px=400.0)
    photos = {A: render(a), B: render(b)}
    base = context(photos, {PAIR: wall_matches(a, b, 100)}, max_frame_px=160)
    cameras = {A: camera(photos[A], 300.0), B: camera(photos[B], 400.0)}
    generator = MorphGenerator(_with_cameras(base, cameras))
    forwards = generator.generate(PAIR, ClipRequest(0, False, 0))
    backwards = generator.generate(PAIR, ClipRequest(0, True, 0))
    _assert_mapping(forwards.frame_from_a, 0.5, 0.0)
    _assert_mapping(forwards.frame_from_b, 0.5 * 300 / 400, 80 - 0.375 * 160)
    _assert_mapping(backwards.frame_from_b, 0.5, 0.0)
    _assert_mapping(backwards.frame_from_a, 0.5 * 400 / 300, 80 - 160 * 2 / 3)
    # The last frame shows B's content: with A's focal length it looks wider than with B's.
    assert not np.array_equal(forwards.frames[-1], backwards.frames[-1])


def _with_cameras(base, cameras: dict[str, Intrinsics]):
    import dataclasses

    return dataclasses.replace(base, intrinsics=cameras.__getitem__)


def _assert_mapping(mapping: FrameMapping, scale: float, x_offset_px: float) -> None:
    np.testing.assert_allclose(mapping.scale, scale, rtol=1e-9)
    np.testing.assert_allclose(mapping.offset_px[0], x_offset_px, atol=1e-9)


def test_every_frame_holds_pixels_of_one_photo_only() -> None:
    # A is red, B is blue: a blend would be purple, and would match both wherever the homography puts them.
    red, blue = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8), np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    red[..., 0], blue[..., 2] = texture(1, WIDTH_PX, HEIGHT_PX)[..., 0], texture(2, WIDTH_PX, HEIGHT_PX)[..., 2]
    matches = wall_matches(view_from_wall(0, (0, 0, 0)), view_from_wall(10, (0.2, 0, 0)), 100)
    for count, backwards, num_red in ((4, False, 2), (4, True, 2), (5, False, 3), (5, True, 2), (1, False, 1)):
        frames = morph(matches, {A: red, B: blue}, backwards=backwards, morph_frames=count).frames
        has_red, has_blue = ([bool(f[..., c].max() > 0) for f in frames] for c in (0, 2))
        assert has_red == [i < num_red for i in range(count)]
        assert has_blue == [not red for red in has_red]


def test_what_the_photo_does_not_reach_has_its_mean_colour() -> None:
    a, b = view_from_wall(0, (0, 0, 0)), view_from_wall(30, (0, 0, 0))
    photos = {A: render(a), B: render(b)}
    last_of_a = morph(wall_matches(a, b, 100), photos, morph_frames=3).frames[1]
    # Turned by 15 degrees, the photo lacks a strip of tan(15 deg) * 300 = 80 px, less at the corners.
    np.testing.assert_allclose(last_of_a[:, -40:].reshape(-1, 3).mean(0), photos[A].reshape(-1, 3).mean(0), atol=1)
    assert last_of_a[:, -40:].std(axis=(0, 1)).max() < 0.5
    assert last_of_a[:, :160].std() > 10


def test_hypotheses_come_by_support_and_each_index_is_another_one() -> None:
    a = view_from_wall(0, (0, 0, 0))
    large = wall_matches(a, view_from_wall(0, (0.3, 0, 0)), 150, seed=1)
    small = wall_matches(a, view_from_wall(12, (-0.2, 0, 0)), 60, seed=2)
    outliers = np.random.default_rng(3).uniform(0, 240, (2, 30, 2))
    matches = tuple(np.vstack([small[i], large[i], outliers[i]]) for i in (0, 1))
    clips = [morph(matches, index=index) for index in range(3)]
    supports = [int(clip.detail.split("with ")[1].split()[0]) for clip in clips[:2]]
    assert 135 <= supports[0] <= 170
    assert 50 <= supports[1] <= 70
    assert [clip.name for clip in clips] == ["morph-0", "morph-1", "morph-2"]
    assert not np.array_equal(clips[0].frames[0], clips[1].frames[0])
    assert clips[2].status is ClipStatus.NO_CLIP
    assert "2 homographies" in clips[2].detail


@pytest.mark.parametrize(
    ("count", "status"), [(0, ClipStatus.NO_MATCHES), (11, ClipStatus.NO_MATCHES), (12, ClipStatus.OK)]
)
def test_too_few_matches_are_a_status(count: int, status: ClipStatus) -> None:
    points = wall_matches(view_from_wall(0, (0, 0, 0)), view_from_wall(8, (0.2, 0, 0)), 40)
    clip = morph((points[0][:count], points[1][:count]), morph_min_matches=12)
    assert clip.status is status
    assert status is ClipStatus.OK or f"{count} putative matches" in clip.detail


def test_random_matches_and_mirrored_ones_hold_no_homography() -> None:
    rng = np.random.default_rng(4)
    assert morph((rng.uniform(0, 240, (60, 2)), rng.uniform(0, 240, (60, 2)))).status is ClipStatus.NO_MATCHES
    points = rng.uniform(0, 240, (60, 2))
    assert morph((points, [WIDTH_PX, 0] + points * [-1, 1])).status is ClipStatus.NO_MATCHES
    assert morph((points, 100 + 0.1 * points)).status is ClipStatus.NO_MATCHES


def test_the_same_seed_gives_the_same_clip_in_another_process_order() -> None:
    matches = wall_matches(view_from_wall(0, (0, 0, 0)), view_from_wall(14, (0.2, 0.1, 0)), 90)
    first = [morph(matches, index=0) for _ in range(2)]
    for x, y in zip(first[0].frames, first[1].frames, strict=True):
        np.testing.assert_array_equal(x, y)
