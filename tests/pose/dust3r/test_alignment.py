"""From point maps to poses, on maps rendered from the truth; and the whole way with a network that gives these."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import pose_error_deg
from interpose_sfm import geometry
from interpose_sfm.pose.dust3r import network_code, published_alignment
from interpose_sfm.pose.dust3r.inference import CachedInference, all_ordered_pairs
from interpose_sfm.pose.point_maps.alignment import Alignment, align
from interpose_sfm.pose.point_maps.pair_geometry import (
    MapSamples,
    PairSamples,
    focal_px,
    grid_index,
    grid_px,
    moved_pose,
    refine_pose,
)
from interpose_sfm.products import Intrinsics, Pose, View
from interpose_sfm.synthetic import (
    RenderOptions,
    Scene,
    render,
)
from interpose_sfm.synthetic.point_maps import KnownGeometryNetwork, MapErrors
from known_maps import CAMERA, OUTLIERS, POSES, SIZE_PX, point_maps, sampled


def errors_deg(found: Alignment) -> list[float]:
    """Largest error of rotation or direction of every view but the first."""
    errors = []
    for pose, truth in zip(found.cam_from_first[1:], POSES[1:], strict=True):
        assert pose is not None
        errors.append(max(pose_error_deg(pose, geometry.relative_pose(truth, POSES[0]))))
    return errors


@pytest.mark.parametrize("is_economical", [False, True])
@pytest.mark.parametrize(("sigma", "lower_deg", "upper_deg"), [(0.0, 0.0, 1e-3), (0.03, 1e-4, 0.05), (0.1, 1e-4, 0.1)])
def test_poses_from_noisy_maps(
    scene: Scene, views: list[View], sigma: float, lower_deg: float, upper_deg: float, is_economical: bool
) -> None:
    """A tenth of the points is grossly wrong. Noise in depth biases plain reprojection errors by degrees."""
    found = align(
        sampled(point_maps(scene, views, replace(OUTLIERS, depth_sigma=sigma), is_economical)), [CAMERA] * 5, 0
    )
    assert lower_deg <= max(errors_deg(found)) <= upper_deg
    assert max(errors_deg(found)[-1:]) < 5 * found.last_spread_deg
    assert found.last_spread_deg < 1.0


def test_poses_and_depths_share_one_scale(scene: Scene, views: list[View]) -> None:
    """Every pair comes in a scale of its own."""
    found = align(sampled(point_maps(scene, views, OUTLIERS)), [CAMERA] * 5, 0)
    truths = [geometry.relative_pose(pose, POSES[0]) for pose in POSES]
    scales = [
        np.linalg.norm(pose.translation) / np.linalg.norm(truth.translation)
        for pose, truth in zip(found.cam_from_first[1:], truths[1:], strict=True)
        if pose is not None
    ]
    np.testing.assert_allclose(scales, scales[0], rtol=1e-3)
    for view, pose in enumerate(POSES):
        depth = render(scene, CAMERA, pose, RenderOptions(supersampling=1)).depth[2::4, 2::4].ravel()
        ratio = np.exp(found.log_depths[view]) / depth / scales[0]
        ratio = ratio[np.isfinite(ratio)]
        assert len(ratio) > 600
        assert np.quantile(np.abs(ratio - 1.0), 0.95) < 1e-3


@pytest.mark.parametrize("sigma", [0.0, 0.03])
def test_focal_lengths_are_found_where_they_are_guesses(scene: Scene, views: list[View], sigma: float) -> None:
    guess = replace(CAMERA, focal_px=250.0, is_trusted=False)
    maps = sampled(point_maps(scene, views, replace(OUTLIERS, depth_sigma=sigma)))
    found = align(maps, [guess] * 5, 0)
    for camera in found.intrinsics:
        assert camera.focal_px == pytest.approx(170.0, rel=2e-3)
    assert max(errors_deg(found)) < 0.1
    misled = align(maps, [replace(guess, is_trusted=True)] * 5, 0)
    assert misled.intrinsics[0].focal_px == 250.0
    assert max(errors_deg(misled)) > 1.0


def test_wrong_pairs_are_outvoted(scene: Scene, views: list[View]) -> None:
    """Two ordered pairs have their points turned by 25 degrees, with the same confidence."""
    maps = point_maps(scene, views, replace(OUTLIERS, depth_sigma=0.02))
    turn = geometry.rotation_from_axis_angle([0, 1, 0], 25.0)
    for edge in ((0, 4), (2, 3)):
        maps[edge] = replace(maps[edge], points_j_in_i=(maps[edge].points_j_in_i @ turn.T).astype(np.float32))
    assert max(errors_deg(align(sampled(maps), [CAMERA] * 5, 0))) < 0.5
    alone = {edge: found for edge, found in maps.items() if edge in ((0, 4), (1, 0), (2, 0), (3, 0))}
    assert errors_deg(align(sampled(alone), [CAMERA] * 5, 0))[-1] > 20


def test_uncertainty_grows_with_the_noise(scene: Scene, views: list[View]) -> None:
    spreads = [
        align(sampled(point_maps(scene, views, MapErrors(depth_sigma=sigma))), [CAMERA] * 5, 0).last_spread_deg
        for sigma in (0.01, 0.1)
    ]
    assert 0 < 3 * spreads[0] < spreads[1] < 5.0


def test_views_without_a_pair_have_no_pose(scene: Scene, views: list[View]) -> None:
    maps = sampled(point_maps(scene, views))
    found = align({edge: m for edge, m in maps.items() if 4 not in edge and set(edge) != {1, 2}}, [CAMERA] * 5, 0)
    assert found.cam_from_first[4] is None
    assert found.last_spread_deg == 180.0
    assert all(pose is not None for pose in found.cam_from_first[:4])
    nothing = align({}, [CAMERA] * 3, 0)
    assert nothing.cam_from_first[1:] == (None, None)


def test_maps_of_nothing_give_no_pose() -> None:
    """Points at random, such as an untrained network gives."""
    generator = np.random.default_rng(0)
    count = len(grid_px((144, SIZE_PX)))
    maps = {
        edge: PairSamples(*(MapSamples(generator.normal(size=(count, 3)), np.ones(count)) for _ in range(2)))
        for edge in ((0, 1), (1, 0))
    }
    assert align(maps, [CAMERA] * 2, 0).cam_from_first[1] is None
    blind = {
        edge: PairSamples(*(replace(m, weights=np.zeros(count)) for m in (p.of_i, p.of_j))) for edge, p in maps.items()
    }
    assert align(blind, [CAMERA] * 2, 0).cam_from_first[1] is None
    assert focal_px([blind[0, 1].of_i], (144, SIZE_PX), (96.0, 72.0)) is None


def test_refinement_reports_its_information() -> None:
    """Repeated estimates scatter as the information says, or a little less: Tukey's weights give some of it away."""
    generator = np.random.default_rng(0)
    truth = Pose(geometry.rotation_exp([0.1, -0.3, 0.05]), np.array([1.0, -0.2, 0.4]))
    points = generator.uniform((-2, -2, 3), (2, 2, 7), (400, 3))
    seen = points @ truth.rotation.T + truth.translation
    rays = seen[:, :2] / seen[:, 2:]
    offsets, predicted = [], []
    for _ in range(150):
        noisy = rays + 2e-3 * generator.standard_normal(rays.shape)
        pose, information = refine_pose(truth, points, noisy, np.ones(400), 1e-6)
        turn = pose.rotation @ truth.rotation.T
        offsets.append(np.append(geometry.rotation_log(turn), pose.translation - turn @ truth.translation))
        predicted.append(np.sqrt(np.diag(np.linalg.inv(information))))
    ratio = np.std(offsets, axis=0) / np.mean(predicted, axis=0)
    assert np.all((ratio > 0.6) & (ratio < 1.1))
    start = moved_pose(truth, np.array([0.05, 0.02, -0.04, 0.1, -0.1, 0.05]))
    again, _ = refine_pose(start, points, rays, np.ones(400), 1e-6)
    np.testing.assert_allclose(again.translation, truth.translation, atol=1e-6)


def test_the_grid_finds_its_own_samples() -> None:
    for shape in ((144, 192), (192, 144)):
        pixels = grid_px(shape)
        np.testing.assert_array_equal(grid_index(pixels + 1.4, shape), np.arange(len(pixels)))


@pytest.mark.skipif(bool(network_code.missing_requirements()), reason="DUSt3R's code is not installed")
@pytest.mark.filterwarnings("ignore:.*autocast.*:FutureWarning", "ignore:Converting a tensor:UserWarning")
def test_the_published_aligner_runs_on_the_same_maps(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
    """At a tiny size and in few steps it is no match for the other; it must get there within some degrees."""
    monkeypatch.setattr(published_alignment, "NUM_STEPS", 60)
    camera = Intrinsics(64, 48, 57.0, 32.0, 24.0)
    chosen = (0, 1, 2)
    network_ = KnownGeometryNetwork(scene, MapErrors(), 64)
    views = []
    for index in chosen:
        image = render(scene, camera, POSES[index], RenderOptions(supersampling=1)).image
        network_.add_view(image, camera, POSES[index])
        views.append(View(str(index), image, camera))
    inference = CachedInference(network_, 64)
    inference.compute(views, all_ordered_pairs([view.key for view in views]))
    maps = {(int(i), int(j)): inference.point_maps((i, j)) for i, j in all_ordered_pairs(["0", "1", "2"])}
    for count in (2, 3):
        picked = {edge: found for edge, found in maps.items() if max(edge) < count}
        found = published_alignment.align(picked, [camera] * count)
        last = found.cam_from_first[-1]
        assert last is not None
        assert 0 < max(pose_error_deg(last, geometry.relative_pose(POSES[count - 1], POSES[0]))) < 10.0
        assert found.intrinsics[0].focal_px == pytest.approx(57.0, rel=0.1)
        assert len(found.log_depths[0]) == len(grid_px((48, 64)))
