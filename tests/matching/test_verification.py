from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import Scene, arc, camera, cloud, observe, pose_error_deg, turn
from interpose_sfm import geometry
from interpose_sfm.colmap.constants import MIN_VERIFIED_MATCHES
from interpose_sfm.matching import agreement, verification
from interpose_sfm.matching.agreement import KEYPOINT_SIGMA_PX
from interpose_sfm.matching.verification import verify
from interpose_sfm.products import Features, Intrinsics, Matches, Pose, PoseStatus, TwoView
from interpose_sfm.synthetic import look_at


def two_views(seed: int, noise_px: float = 0.0, **options: object) -> Scene:
    """A cloud seen from two places 20 degrees apart."""
    return observe(cloud(seed), arc([0, 20]), noise_px=noise_px, seed=seed, **options)  # type: ignore[arg-type]


def solve(scene: Scene, matches: Matches, seed: int = 0, known: Intrinsics | None = None) -> TwoView:
    cameras = (known, known) if known else scene.intrinsics[:2]
    return verify(scene.features[0], cameras[0], scene.features[1], cameras[1], matches, seed)


def moved(baseline: float) -> list[Pose]:
    """Two views 20 degrees of turn and a step sideways apart; the cloud is seven steps of length one away."""
    first, second = turn([0, 20])
    return [first, Pose(second.rotation, second.translation + np.array([baseline, 0.0, 0.0]))]


# ---------------------------------------------------------------- the pose


@pytest.mark.parametrize(("noise_px", "lower_deg", "upper_deg"), [(0.0, 0.0, 1e-6), (0.3, 0.02, 0.4), (1.0, 0.1, 1.2)])
def test_the_pose_errs_as_much_as_the_key_points(noise_px: float, lower_deg: float, upper_deg: float) -> None:
    worst_deg = 0.0
    for seed in range(4):
        scene = two_views(seed, noise_px)
        found = solve(scene, scene.matches(0, 1, seed=seed))
        assert found.status is PoseStatus.OK
        assert found.b_from_a is not None
        assert np.linalg.norm(found.b_from_a.translation) == pytest.approx(1.0)
        worst_deg = max(worst_deg, *pose_error_deg(found.b_from_a, scene.b_from_a(0, 1)))
    assert lower_deg <= worst_deg <= upper_deg


def test_wrong_matches_are_left_out() -> None:
    scene = two_views(1, noise_px=0.5)
    matches = scene.matches(0, 1, outlier_share=0.4, seed=1)
    found = solve(scene, matches)
    is_true = scene.is_true(0, 1, matches)
    assert max(pose_error_deg(found.b_from_a, scene.b_from_a(0, 1))) < 1.0
    assert np.count_nonzero(is_true[found.inliers]) >= 0.98 * np.count_nonzero(is_true)
    assert np.count_nonzero(~is_true[found.inliers]) <= 0.1 * np.count_nonzero(~is_true)
    points_a_px, points_b_px = verification.matched_points(*scene.features, matches, found.inliers)
    rows = matches.indices[found.inliers]
    np.testing.assert_array_equal(points_a_px, scene.features[0].keypoints_px[rows[:, 0]])
    np.testing.assert_array_equal(points_b_px, scene.features[1].keypoints_px[rows[:, 1]])


def test_the_pose_goes_from_a_to_b() -> None:
    scene = two_views(2, noise_px=0.2)
    matches = scene.matches(0, 1)
    forth = solve(scene, matches)
    swapped = Matches(matches.indices[:, ::-1], matches.scores)
    back = verify(scene.features[1], scene.intrinsics[1], scene.features[0], scene.intrinsics[0], swapped, 0)
    assert forth.b_from_a is not None
    assert max(pose_error_deg(back.b_from_a, forth.b_from_a.inverse())) < 0.2
    assert max(pose_error_deg(back.b_from_a, forth.b_from_a)) > 20


def test_radial_distortion_and_different_cameras_are_honoured() -> None:
    near, far = camera(500.0, radial=0.08), camera(900.0)
    poses = arc([0, 20])
    views = [observe(cloud(3), poses, intrinsics=i, seed=3) for i in (near, far)]
    scene = Scene(
        views[0].points_in_world,
        tuple(poses),
        (near, far),
        (views[0].features[0], views[1].features[1]),
        (views[0].point_of_row[0], views[1].point_of_row[1]),
    )
    assert max(pose_error_deg(solve(scene, scene.matches(0, 1)).b_from_a, scene.b_from_a(0, 1))) < 0.01
    plain = replace(scene, intrinsics=(camera(500.0), far))
    assert max(pose_error_deg(solve(plain, plain.matches(0, 1)).b_from_a, scene.b_from_a(0, 1))) > 0.1


def test_equal_seeds_give_equal_results() -> None:
    scene = two_views(4, noise_px=1.0)
    matches = scene.matches(0, 1, outlier_share=0.5)
    first, second = solve(scene, matches, seed=5), solve(scene, matches, seed=5)
    assert first.b_from_a is not None
    assert second.b_from_a is not None
    np.testing.assert_array_equal(first.b_from_a.rotation, second.b_from_a.rotation)
    np.testing.assert_array_equal(first.b_from_a.translation, second.b_from_a.translation)
    np.testing.assert_array_equal(first.inliers, second.inliers)
    assert (first.spread_deg, first.evidence) == (second.spread_deg, second.evidence)


# ---------------------------------------------------------------- pure rotation


@pytest.mark.parametrize("noise_px", [0.0, 1.0])
@pytest.mark.parametrize("azimuth_deg", [0.0, 5.0, 25.0])
def test_a_pure_rotation_is_told(azimuth_deg: float, noise_px: float) -> None:
    points = cloud(0, half_size=(4, 2, 2))
    scene = observe(points, turn([0, azimuth_deg]), noise_px=noise_px)
    found = solve(scene, scene.matches(0, 1))
    assert found.status is PoseStatus.ROTATION_ONLY
    assert found.b_from_a is not None
    assert not np.any(found.b_from_a.translation)
    error_deg = geometry.rotation_angle_deg(found.b_from_a.rotation @ scene.b_from_a(0, 1).rotation.T)
    assert error_deg < 0.1
    assert error_deg < found.spread_deg < 1.0


@pytest.mark.parametrize(("baseline", "is_rotation"), [(0.03, True), (0.05, True), (0.3, False), (1.0, False)])
def test_a_rotation_that_is_nearly_pure_is_none(baseline: float, is_rotation: bool) -> None:
    for seed in range(3):
        scene = observe(cloud(seed, half_size=(4, 2, 2)), moved(baseline), noise_px=0.5, seed=seed)
        found = solve(scene, scene.matches(0, 1))
        assert found.status is (PoseStatus.ROTATION_ONLY if is_rotation else PoseStatus.OK)
        if not is_rotation:
            error_deg = max(pose_error_deg(found.b_from_a, scene.b_from_a(0, 1)))
            assert error_deg < 4 * found.spread_deg < 20


@pytest.mark.parametrize(("num_near", "is_rotation"), [(0, True), (20, True), (80, False)])
def test_a_few_near_points_do_not_make_a_translation(num_near: int, is_rotation: bool) -> None:
    """Photos of far mountains with a few near leaves: the leaves move by a hundred pixels, the mountains only turn."""
    far = cloud(1, 300, half_size=(240, 120, 20), center=(0, 400, 0))
    near = cloud(2, num_near, half_size=(0.4, 0.2, 0.4), center=(0.3, -4.5, 0.6))
    first, second = turn([0, 5])
    poses = [first, Pose(second.rotation, second.translation + np.array([0.5, 0.0, 0.0]))]
    scene = observe(np.concatenate([far, near]), poses, noise_px=0.3)
    matches = scene.matches(0, 1)
    points = scene.point_of_row[0][matches.indices[:, 0]]
    assert np.count_nonzero(points >= 300) >= 0.8 * num_near
    found = solve(scene, matches)
    assert found.status is (PoseStatus.ROTATION_ONLY if is_rotation else PoseStatus.OK)


# ---------------------------------------------------------------- uncertainty


@pytest.mark.parametrize(("num_matches", "azimuth_deg"), [(300, 20.0), (60, 10.0), (25, 40.0)])
def test_the_spread_is_near_the_true_error(num_matches: int, azimuth_deg: float) -> None:
    errors_deg, spreads_deg = [], []
    for seed in range(12):
        scene = observe(cloud(seed), arc([0, azimuth_deg]), noise_px=KEYPOINT_SIGMA_PX, seed=seed)
        found = solve(scene, scene.matches(0, 1, limit=num_matches, seed=seed))
        errors_deg.append(max(pose_error_deg(found.b_from_a, scene.b_from_a(0, 1))))
        spreads_deg.append(found.spread_deg)
    ratio = np.mean(spreads_deg) / np.sqrt(np.mean(np.square(errors_deg)))
    assert 1 / 2.5 < ratio < 2.5


def test_the_spread_grows_with_noise_but_never_claims_perfection() -> None:
    spreads_deg = []
    for noise_px in (0.0, 0.3, 2.0):
        scene = two_views(5, noise_px)
        spreads_deg.append(solve(scene, scene.matches(0, 1)).spread_deg)
    assert spreads_deg[0] == pytest.approx(spreads_deg[1], rel=0.1)
    assert spreads_deg[0] > 0.1
    assert 1.5 * spreads_deg[1] < spreads_deg[2] < 10 * spreads_deg[1]


def test_five_correspondences_have_no_spread() -> None:
    scene = two_views(6)
    rows = scene.true_rows(0, 1)
    for num, low, high in ((5, 180.0, 180.0), (40, 0.1, 5.0)):
        points_px = [scene.features[v].keypoints_px[rows[:num, v]] for v in (0, 1)]
        spread_deg = verification.spread_deg(scene.b_from_a(0, 1), points_px[0], camera(), points_px[1], camera())
        assert low <= spread_deg <= high


# ---------------------------------------------------------------- no pose


def test_fewer_matches_than_colmap_wants_are_not_tried() -> None:
    scene = two_views(7)
    few, enough = (scene.matches(0, 1, limit=n) for n in (MIN_VERIFIED_MATCHES - 1, MIN_VERIFIED_MATCHES))
    found = solve(scene, few)
    assert (found.status, found.b_from_a, found.spread_deg) == (PoseStatus.FEW_MATCHES, None, 180.0)
    assert (found.evidence.num_matches, found.evidence.num_inliers, len(found.inliers)) == (14, 0, 0)
    assert found.evidence.mean_score == pytest.approx(0.9)
    assert solve(scene, enough).status is PoseStatus.OK


def test_no_match_at_all_is_no_pose() -> None:
    scene = two_views(7)
    found = solve(scene, Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32)))
    assert found.status is PoseStatus.FEW_MATCHES
    assert (found.evidence.inlier_share, found.evidence.mean_score) == (0.0, 0.0)


def test_random_matches_give_next_to_no_evidence() -> None:
    for seed in range(4):
        scene = two_views(seed)
        found = solve(scene, scene.matches(0, 1, outlier_share=1.0, limit=120, seed=seed))
        assert found.status is PoseStatus.OK  # eight points always lie on some geometry
        assert found.evidence.inlier_share < 0.2
        assert found.evidence.strength < 0.02


@pytest.mark.parametrize("noise_px", [0.0, 0.3, 1.0])
def test_points_on_one_line_are_degenerate(noise_px: float) -> None:
    on_line = np.linspace(-2, 2, 100)[:, None] * [1.0, 0.3, 0.2]
    for seed in range(3):
        scene = observe(on_line, arc([0, 20]), noise_px=noise_px, seed=seed)
        found = solve(scene, scene.matches(0, 1), seed)
        assert found.status in (PoseStatus.DEGENERATE, PoseStatus.FEW_INLIERS)
        assert found.b_from_a is None
        assert found.evidence.num_matches == 100
        assert found.evidence.strength == 0.0


def test_points_on_two_lines_are_not_degenerate() -> None:
    along = np.linspace(-2, 2, 100)[:, None]
    lines = np.concatenate([along * [1.0, 0.3, 0.2], along * [0.5, 1.0, -0.6] + [0.3, 0, 0.5]])
    scene = observe(lines, arc([0, 20]), noise_px=0.3)
    assert solve(scene, scene.matches(0, 1)).status is PoseStatus.OK


# ---------------------------------------------------------------- evidence


def test_the_share_counts_inliers_and_the_score_all_matches() -> None:
    scene = two_views(8, noise_px=0.5)
    for outlier_share in (0.0, 0.3):
        matches = scene.matches(0, 1, outlier_share=outlier_share, score=0.9, outlier_score=0.2)
        evidence = solve(scene, matches).evidence
        assert 1 - outlier_share - 0.01 <= evidence.inlier_share <= 1 - outlier_share + 0.05
        assert evidence.inlier_share == evidence.num_inliers / evidence.num_matches
        assert evidence.mean_score == pytest.approx(0.9 - 0.7 * outlier_share, abs=1e-3)


@pytest.mark.parametrize(("outlier_share", "outlier_score"), [(0.0, 0.9), (0.3, 0.9), (0.3, 0.2), (0.6, 0.2)])
def test_matches_speak_for_the_pose_by_their_confidence(outlier_share: float, outlier_score: float) -> None:
    """The share counts them alike; doubtful ones that fail weigh little, confident ones much."""
    scene = two_views(8, noise_px=0.5)
    matches = scene.matches(0, 1, outlier_share=outlier_share, score=0.9, outlier_score=outlier_score)
    found = solve(scene, matches).evidence
    wrong = outlier_share * outlier_score
    right = (1 - outlier_share) * 0.9
    assert right / (right + wrong) - 0.01 <= found.agreement <= right / (right + wrong) + 0.05 * (wrong > 0)
    assert found.weight == pytest.approx(found.agreement * float(matches.scores.sum()))


def test_doubtful_matches_propose_nothing_but_weigh() -> None:
    scene = two_views(8, noise_px=0.5)
    matches = scene.matches(0, 1, outlier_share=0.5, score=0.9, outlier_score=0.09)
    camera_a, camera_b = scene.intrinsics[:2]
    above = verify(scene.features[0], camera_a, scene.features[1], camera_b, matches, 0, 0.1)
    alone = solve(scene, matches.above(0.1))
    assert above.evidence.num_matches == alone.evidence.num_matches == round(0.5 * len(matches.scores))
    assert above.evidence.strength == alone.evidence.strength
    assert above.evidence.surprise == alone.evidence.surprise
    assert np.all(matches.scores[above.inliers] == np.float32(0.9))  # rows of what was handed in
    assert above.b_from_a is not None
    assert alone.b_from_a is not None
    np.testing.assert_array_equal(above.b_from_a.rotation, alone.b_from_a.rotation)
    assert alone.evidence.agreement > 0.99
    assert 0.9 / (0.9 + 0.09) - 0.01 < above.evidence.agreement < 0.9 / (0.9 + 0.09) + 0.01


def test_what_lies_behind_a_camera_does_not_agree() -> None:
    scene = two_views(8)
    matches = scene.matches(0, 1)
    pose = scene.b_from_a(0, 1)
    views = scene.features[0], camera(), scene.features[1], camera()
    assert verification.weigh(pose, *views, matches, 0.0).agreement > 0.999
    assert verification.weigh(Pose(pose.rotation, -pose.translation), *views, matches, 0.0).agreement == 0.0


@pytest.mark.parametrize(("width_px", "expected_px"), [(400, 2.5), (1024, 2.5), (1600, 3.90625), (4096, 10.0)])
def test_key_points_err_with_the_picture_that_the_network_saw(width_px: int, expected_px: float) -> None:
    """Four pixels in COLMAP's usual photo of 1600, less in a small one, and as many degrees in any large one."""
    for size_px in ((width_px, 300), (300, width_px)):
        assert agreement.tolerance_px(size_px) == pytest.approx(expected_px)


def test_luck_is_told_from_truth_by_how_surprising_the_matches_are() -> None:
    """RANSAC finds some pose for wrong matches, too; its freedom is counted."""
    for seed in range(4):
        scene = two_views(seed, noise_px=0.5, num_clutter=200)
        few = scene.matches(0, 1, limit=30, seed=seed)
        assert 25 < solve(scene, few).evidence.surprise < 60
        assert solve(scene, scene.matches(0, 1, limit=120, seed=seed)).evidence.surprise > 100
        wrong = solve(scene, scene.matches(0, 1, outlier_share=1.0, limit=120, seed=seed))
        assert wrong.evidence.surprise < 3


def test_surprise_is_the_number_of_false_alarms() -> None:
    assert agreement.surprise(10, 10, 0.1) == pytest.approx(10.0)
    assert agreement.surprise(10, 10, 0.1, tests=100.0) == pytest.approx(8.0)
    assert agreement.surprise(15, 15, 0.1, freedom=5) == pytest.approx(10 - np.log10(3003))
    assert agreement.surprise(0, 10, 0.1) == 0.0
    assert agreement.surprise(5, 10, 0.1, freedom=5) == 0.0
    rng = np.random.default_rng(0)
    alarms = [agreement.surprise(int(k), 100, 0.05) >= 1.0 for k in rng.binomial(100, 0.05, 20_000)]
    assert 0.02 < np.mean(alarms) <= 0.1  # at most one in ten; a count has steps


def test_the_chance_of_a_match_is_the_share_of_key_points_in_its_band() -> None:
    """Uniform key points: the area of the band. Where they crowd along the epipolar lines, luck is easier."""
    rng = np.random.default_rng(0)
    sideways = Pose(np.eye(3), np.array([1.0, 0.0, 0.0]))  # lines are rows of the picture
    spread = rng.uniform((0, 0), (800, 600), (2000, 2))
    crowded = np.column_stack([spread[:, 0], np.round(spread[:, 1] / 100) * 100])
    found = []
    for points_px in (spread, crowded):
        rays = geometry.unit_rays(points_px, camera())
        found.append(agreement.chance(sideways, rays[:200], rays, rays[:200], rays, 2.5 / camera().focal_px))
    assert 0.9 * 5 / 600 < found[0] < 1.3 * 5 / 600  # an angle covers more pixels in the corners
    assert found[1] > 10 * found[0]


@pytest.mark.parametrize(
    ("clutter", "low", "high"),
    [
        ((0, 0), 1.0, 1.0),
        ((1000, 0), 0.8, 1.0),
        ((0, 1000), 0.8, 1.0),
        ((300, 300), 0.6, 0.8),
        ((1000, 1000), 0.3, 0.5),
    ],
)
def test_density_falls_with_key_points_that_both_images_leave_unmatched(
    clutter: tuple[int, int], low: float, high: float
) -> None:
    """More key points in one image than in the other cannot match, and do not count."""
    scene = two_views(9, num_clutter=clutter)
    assert low <= solve(scene, scene.matches(0, 1)).evidence.density <= high


@pytest.mark.parametrize("crowded", [0, 1])
def test_density_is_the_lower_one_of_both_images(crowded: int) -> None:
    """Equally many unmatched key points in both images, in one of them outside of the matched area."""
    scene = two_views(9, num_clutter=600)
    matches = scene.matches(0, 1)
    features = list(scene.features)
    aside = features[1 - crowded].keypoints_px.copy()
    aside[scene.point_of_row[1 - crowded] < 0] = 1.0
    features[1 - crowded] = replace(features[1 - crowded], keypoints_px=aside)
    found = solve(replace(scene, features=tuple(features)), matches).evidence.density
    both = solve(scene, matches).evidence.density
    assert 0.4 < both < 0.6
    assert found == pytest.approx(both, rel=0.1)
    features[crowded] = replace(
        features[crowded],
        keypoints_px=np.where(scene.point_of_row[crowded][:, None] < 0, 1.0, features[crowded].keypoints_px),
    )
    assert solve(replace(scene, features=tuple(features)), matches).evidence.density == 1.0


def test_key_points_outside_the_matched_area_do_not_count() -> None:
    scene = two_views(10, num_clutter=500)
    rows = scene.true_rows(0, 1)
    is_left = scene.features[0].keypoints_px[rows[:, 0], 0] < 300
    some = Matches(rows[is_left], np.full(int(is_left.sum()), 0.9, np.float32))
    clutter_only = Matches(rows[::3], np.full(len(rows[::3]), 0.9, np.float32))
    dense, sparse = solve(scene, some).evidence.density, solve(scene, clutter_only).evidence.density
    assert 0.2 < dense < 0.7
    assert sparse < 0.5 * dense


def test_the_angle_is_that_between_the_rays() -> None:
    for azimuth_deg in (5.0, 30.0):
        scene = observe(cloud(11), arc([0, azimuth_deg]))
        angle_deg = solve(scene, scene.matches(0, 1)).evidence.triangulation_angle_deg
        assert angle_deg == pytest.approx(azimuth_deg, rel=0.25)


@pytest.mark.parametrize(("focal_factor", "is_calibrated"), [(1.0, True), (1.05, True), (0.5, False), (3.0, False)])
def test_cameras_that_do_not_fit_are_told(focal_factor: float, is_calibrated: bool) -> None:
    # Optical axes that meet would let any focal length pass.
    poses = [look_at((0, -7, 0.6), (0.8, 0, 0.5)), look_at((2, -6, -0.8), (-0.7, 0, -0.4), up=(1, 0, 0.3))]
    scene = observe(cloud(12, half_size=(2, 2, 2)), poses, noise_px=0.5)
    assert len(scene.matches(0, 1).indices) > 200
    known = camera(focal_factor * 700.0)
    found = solve(scene, scene.matches(0, 1), known=known)
    assert found.evidence.is_calibrated is is_calibrated


# ---------------------------------------------------------------- depths


def test_depths_are_in_units_of_the_baseline() -> None:
    scene = two_views(13)
    rows = scene.true_rows(0, 1)
    points_px = [scene.features[v].keypoints_px[rows[:, v]] for v in (0, 1)]
    pose = geometry.relative_pose(*reversed(scene.cam_from_world))
    baseline = np.linalg.norm(pose.translation)
    found = verification.depths(scene.b_from_a(0, 1), points_px[0], camera(), points_px[1], camera())
    points = scene.points_in_world[scene.point_of_row[0][rows[:, 0]]]
    for depths, cam_from_world in zip(found, scene.cam_from_world, strict=True):
        truth = (points @ cam_from_world.rotation.T + cam_from_world.translation)[:, 2] / baseline
        np.testing.assert_allclose(depths, truth, rtol=1e-6)


def test_points_behind_a_camera_have_no_depth() -> None:
    scene = two_views(14)
    rows = scene.true_rows(0, 1)
    points_px = [scene.features[v].keypoints_px[rows[:, v]] for v in (0, 1)]
    pose = scene.b_from_a(0, 1)
    behind = Pose(pose.rotation, -pose.translation)
    depths = verification.depths(behind, points_px[0], camera(), points_px[1], camera())
    assert np.all(np.isnan(depths))


def test_epipolar_errors_are_those_across_the_line() -> None:
    """Points moved along the epipolar line have none; those moved across it have as much as they moved."""
    scene = two_views(0)
    rows = scene.true_rows(0, 1)
    a_px, b_px = scene.features[0].keypoints_px[rows[:, 0]], scene.features[1].keypoints_px[rows[:, 1]]
    pose, (camera_a, camera_b) = scene.b_from_a(0, 1), scene.intrinsics[:2]
    assert geometry.epipolar_errors_px(pose, a_px, camera_a, b_px, camera_b).max() < 1e-6
    rays_a = geometry.pixel_to_ray(a_px, camera_a)
    deeper = geometry.project(2.0 * 30 * rays_a @ pose.rotation.T + pose.translation, camera_b)
    assert geometry.epipolar_errors_px(pose, a_px, camera_a, deeper, camera_b).max() < 1e-6
    along = (deeper - b_px) / np.linalg.norm(deeper - b_px, axis=1, keepdims=True)
    across = b_px + 7.0 * np.stack([-along[:, 1], along[:, 0]], axis=1)
    found = geometry.epipolar_errors_px(pose, a_px, camera_a, across, camera_b)
    assert found == pytest.approx(7.0, rel=0.35)  # angles times the focal length shrink towards the corners


def test_pose_from_points_agrees_with_verify() -> None:
    scene = two_views(15, noise_px=0.3)
    rows = scene.true_rows(0, 1)
    points_px = [scene.features[v].keypoints_px[rows[:, v]] for v in (0, 1)]
    found = verification.pose_from_points(points_px[0], camera(), points_px[1], camera(), 0)
    assert max(pose_error_deg(found, scene.b_from_a(0, 1))) < 0.5
    on_spot = np.tile([[400.0, 300.0]], (20, 1))
    assert verification.pose_from_points(on_spot, camera(), on_spot, camera(), 0) is None


def test_features_of_both_images_are_used_in_their_order() -> None:
    """Rows of the matches are rows of the features: shuffling the features with the matches changes nothing."""
    scene = two_views(16, noise_px=0.3)
    matches = scene.matches(0, 1)
    order = np.random.default_rng(0).permutation(len(scene.features[1].keypoints_px))
    b = scene.features[1]
    shuffled = Features(b.keypoints_px[order], b.descriptors[order], b.scores[order], b.size_px)
    rows = matches.indices.copy()
    rows[:, 1] = np.argsort(order)[rows[:, 1]]
    first = solve(scene, matches)
    second = solve(replace(scene, features=(scene.features[0], shuffled)), Matches(rows, matches.scores))
    assert first.b_from_a is not None
    assert max(pose_error_deg(second.b_from_a, first.b_from_a)) < 1e-6
    np.testing.assert_array_equal(first.inliers, second.inliers)
