"""A model of a handful of views: photos and frames of different sizes in one, key points that err dropped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pycolmap
import pytest

from geometry_scenes import Scene, arc, camera, cloud, observe, pose_error_deg
from interpose_sfm.matching.verification import verify
from interpose_sfm.pose.small_sfm import poses_from_first, reconstruct_views
from interpose_sfm.products import Features, Intrinsics, Matches, TwoView

TURN_DEG = (0, 8, 16, 24)
NUM = len(TURN_DEG)


def scene(noise_px: float = 0.3) -> Scene:
    return observe(cloud(3, 250), arc(TURN_DEG), noise_px=noise_px, seed=3)


def enlarged(features: Features, intrinsics: Intrinsics, times: float) -> tuple[Features, Intrinsics]:
    """The same picture with more pixels."""
    size_px = round(times * intrinsics.width_px), round(times * intrinsics.height_px)
    larger = replace(features, keypoints_px=times * features.keypoints_px, size_px=size_px)
    return larger, intrinsics.scaled(size_px, (times, times))


def model_of(
    scene: Scene, views: list[tuple[Features, Intrinsics]], focals: tuple[int, ...] = ()
) -> pycolmap.Reconstruction:
    edges: dict[tuple[int, int], tuple[Matches, TwoView]] = {}
    for i in range(NUM):
        for j in range(i + 1, min(i + 3, NUM)):
            matches = scene.matches(i, j)
            edges[i, j] = matches, verify(*views[i], *views[j], matches, 0, 0.2)
    model = reconstruct_views([f for f, _ in views], [c for _, c in views], edges, 0, finds_focal_of=focals)
    assert model is not None
    return model


def assert_poses(scene: Scene, model: pycolmap.Reconstruction) -> None:
    for index, pose in enumerate(poses_from_first(model, NUM)):
        if index:
            assert max(pose_error_deg(pose, scene.b_from_a(0, index))) < 1.0


@pytest.mark.parametrize("times", [1.0, 5.0], ids=["of the frames' size", "five times as large"])
def test_photos_of_any_size_stand_among_frames(times: float) -> None:
    seen = scene()
    views = list(zip(seen.features, seen.intrinsics, strict=True))
    views[0], views[-1] = (enlarged(*view, times) for view in (views[0], views[-1]))
    model = model_of(seen, views)
    assert_poses(seen, model)
    assert model.image(1).num_points3D > 200  # the large photo keeps its points
    assert model.image(NUM).num_points3D > 200


def test_a_key_point_that_errs_by_more_than_its_network_does_bears_no_point() -> None:
    seen = scene(noise_px=0.0)
    views = list(zip(seen.features, seen.intrinsics, strict=True))
    astray = np.flatnonzero(np.isin(seen.point_of_row[1], range(0, 250, 10)))
    moved = views[1][0].keypoints_px.copy()
    moved[astray] += (0.0, 4.5)  # beside the other views some 3 px are left of it, which COLMAP would keep
    views[1] = replace(views[1][0], keypoints_px=moved), views[1][1]
    model = model_of(seen, views)
    assert_poses(seen, model)
    bearing = [model.image(2).points2D[row].has_point3D() for row in range(len(moved))]
    assert not np.any(np.array(bearing)[astray])
    assert np.mean(np.delete(bearing, astray)) > 0.9


def test_the_focal_length_of_large_pictures_is_found() -> None:
    seen = scene()
    views = [enlarged(*view, 5.0) for view in zip(seen.features, seen.intrinsics, strict=True)]
    views = [(features, replace(guess, focal_px=1.3 * guess.focal_px)) for features, guess in views]
    model = model_of(seen, views, (1,) * NUM)
    found = model.camera(1)
    assert found.mean_focal_length() / found.width == pytest.approx(camera().focal_px / camera().width_px, rel=0.05)
