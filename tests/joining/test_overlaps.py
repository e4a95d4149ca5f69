from __future__ import annotations

import dataclasses

import numpy as np
import pycolmap
import pytest

from geometry_scenes import (
    camera,
    link_of,
)
from interpose_sfm import geometry
from interpose_sfm.colmap import reconstruction
from interpose_sfm.joining import overlaps
from interpose_sfm.products import DepthSamples
from two_pieces import (
    CAMERAS,
    NAMES,
    SCENE,
    TARGET_FROM_SOURCE,
    baseline,
    clip_link,
    depth_samples,
    take_points,
)


@pytest.mark.parametrize("swaps", [False, True])
def test_depths_tell_the_baseline_in_the_unit_of_the_model(
    target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, swaps: bool
) -> None:
    exact = link_of(SCENE, NAMES, *((4, 3) if swaps else (3, 4)))
    truth = np.linalg.norm(geometry.relative_pose(SCENE.cam_from_world[4], SCENE.cam_from_world[3]).translation)
    for model, name, unit in ((target, NAMES[3], 1.0), (source, NAMES[4], 1.0 / TARGET_FROM_SOURCE.scale)):
        found = overlaps.baseline_length(model, name, exact, CAMERAS)
        assert found.num_depths > 100
        assert found.length is not None
        assert abs(np.log(found.length.value / (unit * truth))) < 0.01
        assert 0.02 <= found.length.sigma < 0.04


def test_a_baseline_is_as_unsure_as_the_pose_of_its_link(target: pycolmap.Reconstruction) -> None:
    exact = link_of(SCENE, NAMES, 3, 4)
    unsure = dataclasses.replace(exact, spread_deg=5.0)  # of the 24 degrees between the rays
    found = overlaps.baseline_length(target, NAMES[3], unsure, CAMERAS).length
    assert found is not None
    assert 0.15 < found.sigma < 0.3


def test_few_depths_tell_no_baseline(target: pycolmap.Reconstruction) -> None:
    limit = overlaps.MIN_DEPTHS
    for num, is_measured in ((limit - 1, False), (3 * limit, True)):
        found = overlaps.baseline_length(target, NAMES[3], link_of(SCENE, NAMES, 3, 4, num), CAMERAS)
        assert (found.length is not None) == is_measured
        assert 0 < found.num_depths <= num
    with pytest.raises(ValueError, match=r"'0\.jpg'"):
        overlaps.baseline_length(target, NAMES[0], link_of(SCENE, NAMES, 3, 4), CAMERAS)


def test_key_points_elsewhere_tell_no_baseline(target: pycolmap.Reconstruction) -> None:
    exact = link_of(SCENE, NAMES, 3, 4, 40)
    for offset_px, is_measured in ((1.0, True), (400.0, False)):
        moved = dataclasses.replace(exact, points_a_px=exact.points_a_px + [offset_px, 0.0])  # noqa: RUF005
        found = overlaps.baseline_length(target, NAMES[3], moved, CAMERAS)
        assert (found.length is not None) == is_measured


@pytest.mark.parametrize("swaps", [False, True])
def test_depths_of_a_clip_tell_the_baseline_without_a_correspondence(
    target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, swaps: bool
) -> None:
    clip = clip_link(*((6, 1) if swaps else (1, 6)), spread=0.1)
    for model, name, unit in ((target, NAMES[1], 1.0), (source, NAMES[6], 1.0 / TARGET_FROM_SOURCE.scale)):
        found = overlaps.baseline_length(model, name, clip, CAMERAS)
        assert found.num_depths > 100
        assert found.length is not None
        assert abs(np.log(found.length.value / (unit * baseline(1, 6)))) < 0.03
        assert 0.02 <= found.length.sigma < 0.04
    unsure = overlaps.baseline_length(target, NAMES[1], dataclasses.replace(clip, spread_deg=10.0), CAMERAS).length
    assert unsure is not None
    assert unsure.sigma == pytest.approx(np.radians(10.0), rel=0.05)


@pytest.mark.parametrize("num", [overlaps.MIN_DEPTHS - 1, overlaps.MIN_DEPTHS])
def test_few_depths_of_a_clip_leave_it_to_the_correspondences(target: pycolmap.Reconstruction, num: int) -> None:
    """These are taken three times too long, to tell which of the two spoke."""
    measured_px, _ = reconstruction.observed_depths(target, NAMES[3])
    samples = depth_samples(3, 3 * baseline(3, 4))
    near = np.linalg.norm(samples.points_px[:, None] - measured_px[None], axis=2).min(axis=1)
    rows = np.flatnonzero(near < overlaps.NEAR_PX)[:num]
    few = DepthSamples(samples.points_px[rows], samples.depths[rows])
    found = overlaps.baseline_length(
        target, NAMES[3], dataclasses.replace(link_of(SCENE, NAMES, 3, 4), seen_a=few), CAMERAS
    )
    assert found.length is not None
    factor = 3.0 if num >= overlaps.MIN_DEPTHS else 1.0
    assert abs(np.log(found.length.value / (factor * baseline(3, 4)))) < 0.02


def test_depths_beyond_those_of_the_points_count_as_well(target: pycolmap.Reconstruction) -> None:
    bare = take_points(target, NAMES[3], 0)
    exact = link_of(SCENE, NAMES, 3, 4)
    assert overlaps.baseline_length(bare, NAMES[3], exact, CAMERAS).length is None
    further = [depth_samples(3)]
    for offered in (exact, clip_link(3, 4)):
        found = overlaps.baseline_length(bare, NAMES[3], offered, CAMERAS, further).length
        assert found is not None
        assert abs(np.log(found.value / baseline(3, 4))) < 0.02


def test_links_within_a_model_lend_it_their_depths(source: pycolmap.Reconstruction) -> None:
    links = [clip_link(4, 6), clip_link(7, 4), clip_link(1, 5)]  # the last one leaves the model
    found = overlaps.link_depths(source, links)
    assert {name: len(samples) for name, samples in found.items()} == {NAMES[4]: 2, NAMES[6]: 1, NAMES[7]: 1}
    for name, all_samples in found.items():
        truth = depth_samples(NAMES.index(name), TARGET_FROM_SOURCE.scale)
        for samples in all_samples:
            np.testing.assert_array_equal(samples.points_px, truth.points_px)
            np.testing.assert_allclose(samples.depths, truth.depths, rtol=1e-6)


def test_points_are_found_where_a_photo_sees_them(target: pycolmap.Reconstruction) -> None:
    observed_px, depths = reconstruction.observed_depths(target, NAMES[2])
    assert len(depths) > 150
    for offset_px, is_near in ((0.9 * overlaps.NEAR_PX, True), (60.0 * overlaps.NEAR_PX, False)):
        asked_px = np.concatenate([[[-500.0, 0.0]], observed_px[:40] + [offset_px, 0.0]])  # noqa: RUF005
        rows, points = overlaps.points_at(target, NAMES[2], asked_px)
        assert len(rows) == len(points) == (40 if is_near else 0)
        if is_near:
            np.testing.assert_array_equal(rows, np.arange(1, 41))
    rows, points = overlaps.points_at(target, NAMES[2], observed_px)
    assert len(rows) == len(observed_px)
    pose = geometry.from_rigid3d(target.find_image_with_name(NAMES[2]).cam_from_world())
    in_cam = points @ pose.rotation.T + pose.translation
    np.testing.assert_allclose(in_cam[:, 2], depths)
    assert np.linalg.norm(geometry.project(in_cam, camera()) - observed_px, axis=1).max() < 3.0
    rows, points = overlaps.points_at(target, NAMES[2], np.zeros((0, 2)))
    assert (rows.shape, points.shape) == ((0,), (0, 3))
