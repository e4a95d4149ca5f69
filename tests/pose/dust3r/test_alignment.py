"""From point maps to poses, on maps rendered from the truth; and the whole way with a network that gives these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from geometry_scenes import pose_error_deg
from interpose_sfm import geometry
from interpose_sfm.options import (
    AlignmentMethod,
    BridgingOptions,
    Dust3rOptions,
    MatchingOptions,
    PairSelection,
    ReconstructOptions,
)
from interpose_sfm.pairs import consistency
from interpose_sfm.pose.dust3r import network, network_code, published_alignment
from interpose_sfm.pose.dust3r.agreement import edge_evidence, weakest_step
from interpose_sfm.pose.dust3r.alignment import Alignment, Edge, align
from interpose_sfm.pose.dust3r.estimator import Dust3rEstimator
from interpose_sfm.pose.dust3r.inference import CachedInference, all_ordered_pairs, tying_pairs
from interpose_sfm.pose.dust3r.network import PointMaps
from interpose_sfm.pose.dust3r.pair_geometry import (
    MapSamples,
    PairSamples,
    focal_px,
    grid_index,
    grid_px,
    moved_pose,
    refine_pose,
    sample,
)
from interpose_sfm.pose.protocol import EstimatorContext
from interpose_sfm.products import Evidence, Features, Intrinsics, LinkVerdict, Matches, Pose, PoseStatus, View
from interpose_sfm.synthetic import (
    RenderOptions,
    SampleOptions,
    SampleTruth,
    Scene,
    Viewpoint,
    orbit,
    render,
    write_sample,
)
from interpose_sfm.synthetic.point_maps import KnownGeometryNetwork, MapErrors
from interpose_sfm.workflows.relative_pose import relative_pose

SIZE_PX = 192
CAMERA = Intrinsics(SIZE_PX, 144, 170.0, SIZE_PX / 2, 72.0, is_trusted=True)
TARGET = (-2.0, 1.0, 1.8)
POSES = orbit(Viewpoint(-35, 11, 2.0, TARGET), Viewpoint(15, 11, 2.6, TARGET), 5)
OUTLIERS = MapErrors(outlier_share=0.1)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.courtyard(0, texels_per_m=16)


@pytest.fixture(scope="module")
def views(scene: Scene) -> list[View]:
    options = RenderOptions(supersampling=1)
    return [View(str(i), render(scene, CAMERA, pose, options).image, CAMERA) for i, pose in enumerate(POSES)]


def known(scene: Scene, views: Sequence[View], errors: MapErrors | None = None) -> KnownGeometryNetwork:
    found = KnownGeometryNetwork(scene, errors, SIZE_PX)
    for view, pose in zip(views, POSES, strict=True):
        found.add_view(view.image, CAMERA, pose)
    return found


def point_maps(
    scene: Scene, views: Sequence[View], errors: MapErrors | None = None, is_economical: bool = False
) -> dict[Edge, PointMaps]:
    inference = CachedInference(known(scene, views, errors), SIZE_PX)
    keys = [view.key for view in views]
    pairs = (tying_pairs if is_economical else all_ordered_pairs)(keys)
    inference.compute(views, pairs)
    return {(int(i), int(j)): inference.point_maps((i, j)) for i, j in pairs}


def sampled(maps: Mapping[Edge, PointMaps]) -> dict[Edge, PairSamples]:
    return {edge: sample(found) for edge, found in maps.items()}


def errors_deg(found: Alignment) -> list[float]:
    """Largest error of rotation or direction of every view but the first."""
    errors = []
    for pose, truth in zip(found.cam_from_first[1:], POSES[1:], strict=True):
        assert pose is not None
        errors.append(max(pose_error_deg(pose, geometry.relative_pose(truth, POSES[0]))))
    return errors


# ---------------------------------------------------------------- alignment


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


# ---------------------------------------------------------------- evidence


def test_evidence_tells_true_poses_from_wrong_ones(scene: Scene, views: list[View]) -> None:
    samples = sampled(point_maps(scene, views, replace(OUTLIERS, depth_sigma=0.03)))
    found = align(samples, [CAMERA] * 5, 0)
    good = edge_evidence(samples[0, 1], found, (0, 1))
    assert good.inlier_share > 0.95
    assert good.density > 0.6
    assert 0.8 < good.mean_score < 0.95
    assert 50 < good.num_inliers <= good.num_matches < 192 * 144 / 16**2
    assert 8 < good.triangulation_angle_deg < 20
    turned = moved_pose(found.cam_from_first[1] or POSES[0], np.radians([4, 0, 0, 0, 0, 0]))
    wrong = replace(found, cam_from_first=(found.cam_from_first[0], turned, *found.cam_from_first[2:]))
    assert edge_evidence(samples[0, 1], wrong, (0, 1)).inlier_share < 0.6


def test_points_that_would_be_seen_through_speak_against_a_pair(scene: Scene, views: list[View]) -> None:
    """The points of j float in front of what i sees."""
    samples = sampled(point_maps(scene, views, OUTLIERS))
    found = align(samples, [CAMERA] * 5, 0)
    of_j = samples[0, 1].of_j
    floating = replace(of_j, points=np.where(np.arange(len(of_j.points))[:, None] % 2, 0.5 * of_j.points, of_j.points))
    assert edge_evidence(PairSamples(samples[0, 1].of_i, floating), found, (0, 1)).inlier_share < 0.75


def test_the_weakest_step_of_the_best_way() -> None:
    def evidence(strength: float) -> Evidence:
        return Evidence(100, 100, strength, 1.0, 1.0, 10.0, True, 0.9, 90.0, 50.0)

    edges = {(0, 2): 0.2, (0, 1): 0.9, (1, 2): 0.6, (2, 1): 0.5, (3, 0): 0.95}
    given = {edge: evidence(strength) for edge, strength in edges.items()}
    assert weakest_step(given, 2) == evidence(0.5)
    assert weakest_step({**given, (0, 2): evidence(0.7)}, 2) == evidence(0.7)
    assert weakest_step(given, 4) is None


# ---------------------------------------------------------------- the estimator


def context(**options: object) -> EstimatorContext:
    generator = np.random.default_rng(0)
    features = Features(
        generator.uniform(4, 140, (200, 2)),
        np.ones((200, 8), np.float32) / 8**0.5,
        np.ones(200, np.float32),
        (192, 144),
    )
    nothing = Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))
    chosen = Dust3rOptions(dust3r_size_px=SIZE_PX, **options)  # type: ignore[arg-type]
    return EstimatorContext(features=lambda view: features, matches=lambda a, b: nothing, options=chosen)


@pytest.mark.parametrize(("pairs", "num_pairs"), [(PairSelection.ECONOMICAL, 14), (PairSelection.EXACT, 20)])
def test_subsets_share_images_and_pairs(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View], pairs: PairSelection, num_pairs: int
) -> None:
    monkeypatch.setattr(network, "load_network", lambda options: known(scene, views, OUTLIERS))
    estimator = Dust3rEstimator(context(dust3r_pairs=pairs))
    for chosen in ([0, 1, 2, 3, 4], [0, 1, 3, 4], [0, 2, 4], [0, 4]):
        poses = estimator.estimate([views[i] for i in chosen])
        assert poses.status is PoseStatus.OK
        assert max(pose_error_deg(poses.cam_from_first[-1], geometry.relative_pose(POSES[4], POSES[0]))) < 0.1
    assert (estimator.inference.num_encoded, estimator.inference.num_decoded) == (5, num_pairs)


def test_traits_follow_options_and_weights(monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View]) -> None:
    monkeypatch.setattr(network, "load_network", lambda options: known(scene, views))
    economical = Dust3rEstimator(context(dust3r_pool=5)).traits
    assert (economical.frame_pool, economical.gains_from_more_views) == (5, False)
    exact = Dust3rEstimator(context(dust3r_pairs=PairSelection.EXACT)).traits
    assert exact.frame_pool is None
    monkeypatch.setattr(network, "load_network", lambda options: known(scene, views, OUTLIERS))
    other_weights = Dust3rEstimator(context(dust3r_pool=5)).traits
    keys = {economical.settings_key, exact.settings_key, other_weights.settings_key}
    assert len(keys) == 3


def test_what_the_network_said_is_read_again_from_the_folder(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View], tmp_path: Path
) -> None:
    """By the next estimator, and by the same one after it was closed."""
    monkeypatch.setattr(network, "load_network", lambda options: known(scene, views))
    shown = replace(context(), store_dir=tmp_path)
    first, second = Dust3rEstimator(shown), Dust3rEstimator(shown)
    assert not list(tmp_path.iterdir())
    poses = first.estimate([views[0], views[2]])
    assert (first.inference.num_encoded, first.inference.num_decoded) == (2, 2)
    first.close()
    assert {path.name for path in tmp_path.iterdir()} == {"encodings.h5", "point_maps.h5"}
    for estimator in (second, first):
        again = estimator.estimate([views[0], views[2]])
        assert (estimator.inference.num_encoded, estimator.inference.num_decoded) == (0, 0)
        np.testing.assert_array_equal(again.points_b_px, poses.points_b_px)
        estimator.close()


def test_options_of_something_else_are_refused() -> None:
    with pytest.raises(ValueError, match="got MatchingOptions, expected Dust3rOptions"):
        Dust3rEstimator(replace(context(), options=MatchingOptions()))


def test_recovered_focal_lengths_are_those_of_the_photo(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View]
) -> None:
    """The photo is twice as large as what the network sees."""
    large = replace(CAMERA, width_px=384, height_px=288, focal_px=340.0, cx_px=192.0, cy_px=144.0)
    options = RenderOptions(supersampling=1)
    photos = [render(scene, large, POSES[i], options).image for i in (0, 2)]
    network_ = KnownGeometryNetwork(scene, OUTLIERS, SIZE_PX)
    for photo, i in zip(photos, (0, 2), strict=True):
        network_.add_view(photo, large, POSES[i])
    monkeypatch.setattr(network, "load_network", lambda options: network_)
    guess = replace(large, focal_px=500.0, is_trusted=False)
    seen = [View(str(i), photo, guess) for i, photo in enumerate(photos)]
    poses = Dust3rEstimator(context()).estimate(seen)
    assert [camera.focal_px for camera in poses.intrinsics] == pytest.approx([340.0, 340.0], rel=3e-3)
    assert max(pose_error_deg(poses.cam_from_first[-1], geometry.relative_pose(POSES[2], POSES[0]))) < 0.1


@pytest.mark.skipif(bool(network_code.missing_requirements()), reason="DUSt3R's code is not installed")
@pytest.mark.filterwarnings("ignore:.*autocast.*:FutureWarning", "ignore:Converting a tensor:UserWarning")
def test_the_published_aligner_can_be_chosen(monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View]) -> None:
    monkeypatch.setattr(network, "load_network", lambda options: known(scene, views))
    poses = Dust3rEstimator(context(alignment=AlignmentMethod.DUST3R)).estimate([views[0], views[2]])
    assert poses.status is PoseStatus.OK
    assert 1e-3 < max(pose_error_deg(poses.cam_from_first[-1], geometry.relative_pose(POSES[2], POSES[0]))) < 5.0


def test_frames_are_drawn_from_a_pool() -> None:
    assert consistency.frame_pool(4, 6) == (0, 1, 2, 3)
    assert consistency.frame_pool(50, None) == tuple(range(50))
    pool = consistency.frame_pool(49, 6)
    assert len(pool) == 6
    assert np.ptp(np.diff(pool)) <= 1
    assert pool[0] + pool[-1] == 48


# ---------------------------------------------------------------- the whole way


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> SampleTruth:
    options = SampleOptions(width_px=320, photos_per_group=3, num_frames=14, supersampling=1)
    return write_sample(tmp_path_factory.mktemp("sample"), options)


def test_a_weak_pair_gets_its_pose_from_the_network(monkeypatch: pytest.MonkeyPatch, collection: SampleTruth) -> None:
    """Two photos 74 degrees apart, whose matches fail."""
    network_ = KnownGeometryNetwork(Scene.courtyard(collection.seed, texels_per_m=16), OUTLIERS, SIZE_PX)
    for name, pose in collection.cam_from_world.items():
        with Image.open(collection.photo_dir / name) as photo:
            network_.add_view(np.asarray(photo.convert("RGB"), np.uint8), collection.intrinsics, pose)
    with av.open(str(collection.clip_dir / collection.clip_name)) as clip:
        frames = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in clip.decode(video=0)]
    for frame, pose in zip(frames, collection.clip_cam_from_world, strict=True):
        network_.add_view(frame, collection.clip_intrinsics, pose)
    monkeypatch.setattr(network, "load_network", lambda options: network_)
    options = ReconstructOptions(
        pose_estimator="dust3r",
        bridging=BridgingOptions(clip_dir=collection.clip_dir, frames_per_clip=12),
        dust3r=Dust3rOptions(dust3r_size_px=SIZE_PX),
    )
    a, b = (Path(collection.photo_dir / name) for name in (collection.gap.a, collection.gap.b))
    found = relative_pose(a, b, options)
    truth = geometry.relative_pose(
        collection.cam_from_world[collection.gap.b], collection.cam_from_world[collection.gap.a]
    )
    assert found.verdict is LinkVerdict.ACCEPTED
    assert found.b_from_a is not None
    assert max(pose_error_deg(found.b_from_a, truth)) < 1.0
    assert found.choice is not None
    assert found.choice.clip_scores[0].num_hypotheses == 11
