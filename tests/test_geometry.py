from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from scipy.spatial.transform import Rotation

from interpose_sfm import geometry
from interpose_sfm.products import FloatArray, Intrinsics, Pose

X, Y, Z = np.eye(3)


def random_rotations(rng: np.random.Generator, count: int) -> FloatArray:
    return np.asarray(Rotation.random(count, rng=rng).as_matrix())


def random_pose(rng: np.random.Generator, scale: float = 1.0) -> Pose:
    return Pose(random_rotations(rng, 1)[0], scale * geometry.unit_vectors(rng.normal(size=3)))


# ---------------------------------------------------------------- angles


@pytest.mark.parametrize("angle_deg", [0.0, 1e-12, 1e-7, 1e-3, 45.0, 90.0, 135.0, 180.0 - 1e-7, 180.0])
def test_angles_are_accurate_at_both_ends(angle_deg: float) -> None:
    axis = np.array([1.0, -2.0, 0.5])
    rotation = geometry.rotation_from_axis_angle(axis, angle_deg)
    # Near 180 degrees the angle itself carries the rounding of 180, near 0 it does not.
    tolerance_deg = 1e-9 * angle_deg if angle_deg < 1.0 else 1e-12
    assert abs(geometry.rotation_angle_deg(rotation) - angle_deg) <= tolerance_deg + 1e-18
    u = np.cross(axis, X)
    about_u = geometry.direction_angle_deg(1e-200 * u, 1e200 * rotation @ u)
    assert abs(about_u - angle_deg) <= 1e-3 * tolerance_deg + 1e-12
    assert abs(geometry.line_angle_deg(u, rotation @ u) - min(angle_deg, 180.0 - angle_deg)) <= 1e-12


def test_angles_broadcast_and_have_signs() -> None:
    assert geometry.direction_angle_deg(X, [Y, -X, 3 * X]) == pytest.approx([90, 180, 0])
    assert geometry.line_angle_deg(X, [Y, -X, X + Y]) == pytest.approx([90, 0, 45])
    assert geometry.rotation_angle_deg(np.tile(np.eye(3), (2, 5, 1, 1))).shape == (2, 5)


@pytest.mark.parametrize("bad", [np.zeros(3), [np.nan, 0, 1], [np.inf, 0, 0]])
def test_a_direction_must_have_one(bad: FloatArray) -> None:
    with pytest.raises(ValueError, match="zero or not finite"):
        geometry.direction_angle_deg(X, bad)


# ---------------------------------------------------------------- rotations


def test_exp_and_log_undo_each_other() -> None:
    rng = np.random.default_rng(0)
    lengths = np.array([0.0, 1e-300, 1e-12, 1e-7, 0.3, 2.0, np.pi - 1e-3, np.pi - 1e-7, np.pi - 1e-12])
    vectors = lengths[:, None, None] * geometry.unit_vectors(rng.normal(size=(len(lengths), 20, 3)))
    rotations = geometry.rotation_exp(vectors)
    assert rotations.shape == (*vectors.shape, 3)
    assert np.abs(geometry.rotation_log(rotations) - vectors).max() < 1e-14
    assert np.linalg.norm(geometry.rotation_log(np.diag([-1.0, 1.0, -1.0]))) == pytest.approx(np.pi)


def test_rotations_are_right_handed() -> None:
    assert geometry.rotation_from_axis_angle(2 * Z, 90.0) @ X == pytest.approx(Y)
    assert geometry.rotation_exp(0.5 * np.pi * X) @ Y == pytest.approx(Z)


def test_poses_go_to_pycolmap_and_back() -> None:
    rng = np.random.default_rng(1)
    half_turns = [np.diag([1.0, -1.0, -1.0]), np.diag([-1.0, 1.0, -1.0]), np.diag([-1.0, -1.0, 1.0])]
    for rotation in np.concatenate([random_rotations(rng, 200), np.eye(3)[None], half_turns]):
        rigid = geometry.to_rigid3d(Pose(rotation, X))
        assert np.linalg.norm(rigid.rotation.quat) == pytest.approx(1.0, abs=1e-14)
        assert rigid.rotation.quat[3] >= 0
        back = geometry.from_rigid3d(rigid)
        assert np.abs(back.rotation - rotation).max() < 1e-14
        assert back.translation == pytest.approx(X)


def test_is_rotation() -> None:
    rotation = geometry.rotation_from_axis_angle([1, 2, 3], 50)
    assert geometry.is_rotation(rotation)
    assert geometry.is_rotation(rotation + 1e-8)
    for bad in (-rotation, 1.001 * rotation, rotation[:2], np.full((3, 3), np.nan), np.zeros((3, 3))):
        assert not geometry.is_rotation(bad)


def test_nearest_rotation_undoes_noise_and_never_reflects() -> None:
    rng = np.random.default_rng(2)
    rotations = random_rotations(rng, 50)
    near = geometry.nearest_rotation(2.5 * rotations + 0.01 * rng.normal(size=rotations.shape))
    angles_deg = geometry.rotation_angle_deg(near @ np.swapaxes(rotations, 1, 2))
    assert 0.01 < angles_deg.max() < 1.0
    assert all(geometry.is_rotation(r) for r in geometry.nearest_rotation(rng.normal(size=(50, 3, 3))))


# ---------------------------------------------------------------- distances


def test_pose_distance_by_hand() -> None:
    first = Pose(geometry.rotation_from_axis_angle(Y, 10), X)
    # 30 degrees further about y; the direction turned by 120 degrees, which as a line is 60.
    second = Pose(geometry.rotation_from_axis_angle(Y, 40), geometry.rotation_from_axis_angle(Z, 120) @ X)
    assert geometry.pose_distance_deg(first, second) == pytest.approx(30 + 60, abs=1e-10)
    assert geometry.signed_pose_distance_deg(first, second) == pytest.approx(30 + 120, abs=1e-10)


def test_t_and_minus_t_agree_unless_signed() -> None:
    pose = random_pose(np.random.default_rng(3))
    opposite = Pose(pose.rotation, -7.0 * pose.translation)
    assert geometry.pose_distance_deg(pose, opposite) == pytest.approx(0.0, abs=1e-12)
    assert geometry.signed_pose_distance_deg(pose, opposite) == pytest.approx(180.0, abs=1e-12)


@pytest.mark.parametrize("length", [0.0, 0.5 * geometry.NEAR_ZERO_BASELINE])
def test_near_zero_baselines_count_by_rotation_alone(length: float) -> None:
    first, second = Pose(np.eye(3), X), Pose(geometry.rotation_from_axis_angle(X, 25), length * Y)
    for distance in (geometry.pose_distance_deg, geometry.signed_pose_distance_deg):
        assert distance(first, second) == pytest.approx(25.0, abs=1e-10)
        assert distance(second, first) == pytest.approx(25.0, abs=1e-10)
        assert distance(first, Pose(second.rotation, 2 * geometry.NEAR_ZERO_BASELINE * Y)) == pytest.approx(115.0)


@pytest.mark.parametrize("signed", [False, True])
def test_pose_distance_matrix_is_a_distance(signed: bool) -> None:
    rng = np.random.default_rng(4)
    poses = [random_pose(rng, scale=rng.uniform(0.1, 10)) for _ in range(12)]
    matrix = geometry.pose_distance_matrix_deg(poses, poses, signed=signed)
    single = geometry.signed_pose_distance_deg if signed else geometry.pose_distance_deg
    assert matrix == pytest.approx(np.array([[single(p, q) for q in poses] for p in poses]), abs=1e-12)
    assert matrix == pytest.approx(matrix.T, abs=1e-12)
    assert np.diag(matrix) == pytest.approx(np.zeros(12), abs=1e-12)
    assert matrix[~np.eye(12, dtype=bool)].min() > 5.0
    assert np.all(matrix[:, :, None] <= matrix[:, None, :] + matrix.T[None, :, :] + 1e-9)
    # Turning frame b turns R and t of every hypothesis alike, and changes no distance.
    turn = Pose(random_rotations(rng, 1)[0], np.zeros(3))
    turned = [turn @ p for p in poses]
    assert geometry.pose_distance_matrix_deg(turned, turned, signed=signed) == pytest.approx(matrix, abs=1e-11)
    # Rows are the first argument, columns the second; either may be empty.
    assert geometry.pose_distance_matrix_deg(poses[:3], poses[5:], signed=signed) == pytest.approx(matrix[:3, 5:])
    assert geometry.pose_distance_matrix_deg(poses, [], signed=signed).shape == (12, 0)


# ---------------------------------------------------------------- averages


def test_means_of_two_are_halfway() -> None:
    first, second = (geometry.rotation_from_axis_angle([1, 1, 0], angle) for angle in (10, 50))
    halfway = geometry.rotation_from_axis_angle([1, 1, 0], 30)
    assert geometry.mean_rotation([first, second]) == pytest.approx(halfway, abs=1e-12)
    between = (X + Y) / np.sqrt(2)
    assert geometry.mean_direction([X + 0.5 * Y, 6 * Y + 3 * X]) == pytest.approx(between)
    average = geometry.average_pose([Pose(first, X + 0.5 * Y), Pose(second, Y + 0.5 * X)])
    assert average.rotation == pytest.approx(halfway, abs=1e-12)
    assert average.translation == pytest.approx(between)


def test_median_rotation_resists_outliers_and_the_mean_does_not() -> None:
    mean_errors, median_errors = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        truth = random_rotations(rng, 1)[0]
        inliers = geometry.rotation_exp(np.radians(1.0) * rng.normal(size=(14, 3))) @ truth
        rotations = np.concatenate([inliers, random_rotations(rng, 6)])
        mean_errors.append(geometry.rotation_angle_deg(geometry.mean_rotation(rotations) @ truth.T))
        median_errors.append(geometry.rotation_angle_deg(geometry.median_rotation(rotations) @ truth.T))
    assert 0.1 < np.mean(median_errors) < 1.0
    assert np.max(median_errors) < 2.5
    assert np.mean(mean_errors) > 10 * np.mean(median_errors)


def test_median_rotation_minimises_the_sum_of_angles() -> None:
    rng = np.random.default_rng(5)
    rotations = geometry.rotation_exp(0.5 * rng.normal(size=(9, 3)))

    def cost(rotation: FloatArray) -> float:
        return float(geometry.rotation_angle_deg(rotations @ rotation.T).sum())

    median = geometry.median_rotation(rotations)
    least = cost(median)
    assert least < min(cost(r) for r in rotations) - 0.1, "the optimum of this draw is not at an input"
    for step in 1e-3 * np.concatenate([np.eye(3), -np.eye(3)]):
        assert cost(geometry.rotation_exp(step) @ median) > least


def test_median_rotation_stays_at_an_input_that_is_optimal() -> None:
    angles = [0.0, 0.0, 0.0, 20.0, 90.0]  # on one axis, where the median is that of the angles
    rotations = [geometry.rotation_from_axis_angle(Z, a) for a in angles]
    assert geometry.rotation_angle_deg(geometry.median_rotation(rotations)) < 1e-9
    # With two outliers on each side of a lone input the pull on it is balanced.
    rotations = [geometry.rotation_from_axis_angle(Z, a) for a in (-50, -30, 0, 30, 50)]
    assert geometry.rotation_angle_deg(geometry.median_rotation(rotations)) < 1e-9


def test_median_rotation_does_not_stay_at_an_outlier() -> None:
    # Seen from the first, opposite to all others, half of them pull either way: a local minimum.
    rotations = [geometry.rotation_from_axis_angle(Z, a) for a in (180, -10, -8, 8, 10)]
    assert geometry.rotation_angle_deg(geometry.median_rotation(rotations)) < 10.1


def test_mean_direction_takes_the_sign_of_the_majority() -> None:
    rng = np.random.default_rng(6)
    signs = np.array([1, -1, 1, 1, -1, 1, 1])[:, None]
    directions = signs * (Y + 0.05 * rng.normal(size=(7, 3)))
    assert 0.0 < geometry.direction_angle_deg(geometry.mean_direction(directions), Y) < 5.0
    assert geometry.direction_angle_deg(geometry.mean_direction(-directions), -Y) < 5.0
    for axis in (X, Y, Z):
        assert geometry.mean_direction([axis, -axis]) == pytest.approx(axis)
        assert geometry.mean_direction([-axis, axis]) == pytest.approx(axis)


def test_average_pose_has_a_direction_only_if_most_have() -> None:
    moving, turning = Pose(np.eye(3), X), Pose(np.eye(3), np.zeros(3))
    assert geometry.average_pose([moving, moving, turning]).translation == pytest.approx(X)
    assert not geometry.average_pose([moving, turning]).translation.any()
    with pytest.raises(ValueError, match="n >= 1"):
        geometry.average_pose([])


# ---------------------------------------------------------------- frames


def test_similarity_is_recovered_composed_and_undone() -> None:
    rng = np.random.default_rng(7)
    truth = geometry.Similarity(3.5, random_rotations(rng, 1)[0], rng.normal(size=3))
    points = rng.normal(size=(40, 3))
    flat = points * (1, 1, 0)
    for x_in_a in (points, flat):
        found = geometry.fit_similarity(x_in_a, truth.apply(x_in_a))
        assert found.scale == pytest.approx(3.5, rel=1e-12)
        assert found.rotation == pytest.approx(truth.rotation, abs=1e-12)
        assert found.translation == pytest.approx(truth.translation, abs=1e-12)
    other = geometry.Similarity(0.2, random_rotations(rng, 1)[0], rng.normal(size=3))
    assert (other @ truth).apply(points) == pytest.approx(other.apply(truth.apply(points)))
    assert truth.inverse().apply(truth.apply(points)) == pytest.approx(points)
    noisy = geometry.fit_similarity(points, truth.apply(points) + 0.1 * rng.normal(size=points.shape))
    assert 1e-4 < abs(noisy.scale / 3.5 - 1) < 0.05


def test_a_moved_camera_takes_the_same_picture() -> None:
    rng = np.random.default_rng(8)
    b_from_a = geometry.Similarity(0.3, random_rotations(rng, 1)[0], rng.normal(size=3))
    cam_from_a, x_in_a = random_pose(rng), rng.normal(size=(10, 3))
    cam_from_b = b_from_a.move_camera(cam_from_a)
    in_cam = x_in_a @ cam_from_a.rotation.T + cam_from_a.translation
    assert b_from_a.apply(x_in_a) @ cam_from_b.rotation.T + cam_from_b.translation == pytest.approx(0.3 * in_cam)


@pytest.mark.parametrize(
    ("a", "b", "match"),
    [
        (np.outer(np.arange(5.0), X), np.outer(np.arange(5.0), X), "on one line"),
        (np.ones((5, 3)), np.ones((5, 3)), "on one line"),
        (np.eye(3)[:2], np.eye(3)[:2], "n >= 3"),
        (np.eye(3), np.ones((4, 3)), "n >= 3"),
        (np.full((4, 3), np.nan), np.ones((4, 3)), "not finite"),
    ],
)
def test_similarity_needs_points_that_determine_it(a: FloatArray, b: FloatArray, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        geometry.fit_similarity(a, b)


def test_relative_pose_and_unit_translation() -> None:
    rng = np.random.default_rng(9)
    a_from_world, b_from_world, x_in_world = random_pose(rng), random_pose(rng, 4.0), rng.normal(size=3)
    b_from_a = geometry.relative_pose(b_from_world, a_from_world)
    x_in_a = a_from_world.rotation @ x_in_world + a_from_world.translation
    x_in_b = b_from_world.rotation @ x_in_world + b_from_world.translation
    assert b_from_a.rotation @ x_in_a + b_from_a.translation == pytest.approx(x_in_b)
    assert np.linalg.norm(geometry.with_unit_translation(b_from_a).translation) == pytest.approx(1.0)
    assert not geometry.with_unit_translation(b_from_a, min_baseline=100.0).translation.any()


# ---------------------------------------------------------------- cameras


@pytest.mark.parametrize("radial", [-0.12, 0.0, 0.2])
def test_projection_is_that_of_pycolmap_and_is_undone(radial: float) -> None:
    intrinsics = Intrinsics(640, 480, 500.0, 310.0, 250.0, (radial,))
    camera = geometry.to_colmap_camera(intrinsics, camera_id=7)
    rng = np.random.default_rng(10)
    x_in_cam = rng.uniform([-2, -2, 4], [2, 2, 9], size=(200, 3))
    pixels = geometry.project(x_in_cam, intrinsics)
    assert pixels == pytest.approx(camera.img_from_cam(x_in_cam), abs=1e-9)
    rays = geometry.pixel_to_ray(pixels, intrinsics)
    assert rays == pytest.approx(x_in_cam / x_in_cam[:, 2:], abs=1e-9)
    assert geometry.pixel_to_ray(np.array([310.0, 250.0]), intrinsics) == pytest.approx(Z)


MODELS = {
    "SIMPLE_PINHOLE": (300, 310, 250),
    "PINHOLE": (300, 330, 310, 250),
    "SIMPLE_RADIAL": (300, 310, 250, -0.1),
    "RADIAL": (300, 310, 250, -0.1, 0.02),
    "OPENCV": (300, 330, 310, 250, -0.1, 0.02, 0.003, -0.002),
    "FULL_OPENCV": (300, 330, 310, 250, -0.1, 0.02, 0.003, -0.002, 0.01, 0.02, 0.01, 0.01),
    "FOV": (300, 330, 310, 250, 0.4),
    "SIMPLE_DIVISION": (300, 310, 250, -0.05),
    "DIVISION": (300, 330, 310, 250, -0.05),
    "EUCM": (300, 330, 310, 250, 0.6, 1.1),
    "SIMPLE_FISHEYE": (300, 310, 250),
    "FISHEYE": (300, 330, 310, 250),
    "SIMPLE_RADIAL_FISHEYE": (300, 310, 250, 0.05),
    "RADIAL_FISHEYE": (300, 310, 250, 0.05, 0.01),
    "OPENCV_FISHEYE": (300, 330, 310, 250, 0.05, 0.01, -0.005, 0.002),
    "THIN_PRISM_FISHEYE": (300, 330, 310, 250, 0.05, 0.01, 0.003, -0.002, 0.01, 0.001, 0.002, 0.001),
    "RAD_TAN_THIN_PRISM_FISHEYE": (300, 330, 310, 250, *(0.01,) * 6, 0.003, -0.002, 0.001, 0.001, 0.001, 0.001),
}


def test_every_model_with_a_projection_is_here() -> None:
    assert set(MODELS) == set(pycolmap.CameraModelId.__members__) - {"INVALID", "EQUIRECTANGULAR"}


@pytest.mark.parametrize("model", MODELS)
def test_cameras_of_every_model_map_as_pycolmap_does(model: str) -> None:
    camera = pycolmap.Camera(model=model, width=640, height=480, params=MODELS[model], camera_id=7)
    intrinsics = geometry.from_colmap_camera(camera, is_trusted=True)
    assert (intrinsics.width_px, intrinsics.height_px, intrinsics.cx_px, intrinsics.cy_px) == (640, 480, 310, 250)
    assert intrinsics.focal_px == pytest.approx(np.mean([MODELS[model][i] for i in camera.focal_length_idxs()]))
    back = geometry.to_colmap_camera(intrinsics, camera_id=7)
    assert (back.model_name, back.has_prior_focal_length, back.camera_id) == (model, True, 7)
    assert back.params == pytest.approx(MODELS[model], rel=1e-12)
    x_in_cam = np.random.default_rng(10).uniform([-2, -2, 3], [2, 2, 9], size=(10, 20, 3))
    pixels = geometry.project(x_in_cam, intrinsics)
    assert pixels.reshape(-1, 2) == pytest.approx(camera.img_from_cam(x_in_cam.reshape(-1, 3)))
    assert geometry.pixel_to_ray(pixels, intrinsics) == pytest.approx(x_in_cam / x_in_cam[..., 2:], abs=1e-6)
    # the focal length alone may be another: everything else goes with it
    longer = geometry.project(x_in_cam, replace(intrinsics, focal_px=2 * intrinsics.focal_px))
    assert longer - (310, 250) == pytest.approx(2 * (pixels - (310, 250)))


def test_a_panorama_keeps_its_model() -> None:
    camera = pycolmap.Camera(model="EQUIRECTANGULAR", width=640, height=320, params=[640, 320])
    back = geometry.to_colmap_camera(geometry.from_colmap_camera(camera, is_trusted=True))
    assert (back.model_name, list(back.params)) == ("EQUIRECTANGULAR", [640, 320])


def test_pixels_of_a_fisheye_beyond_ninety_degrees_have_no_ray() -> None:
    fisheye = Intrinsics(1000, 1000, 200.0, 500.0, 500.0, (0.0,) * 4, model="OPENCV_FISHEYE")
    angles = np.radians([0.0, 60.0, 89.0, 91.0, 120.0])
    rays = geometry.unit_rays(np.column_stack([500 + 200 * angles, np.full(5, 500.0)]), fisheye)
    assert rays[:3] == pytest.approx(np.column_stack([np.sin(angles), 0 * angles, np.cos(angles)])[:3], abs=1e-6)
    assert np.isnan(rays[3:]).all()


def test_projection_marks_what_it_cannot_do() -> None:
    intrinsics = Intrinsics(640, 480, 500.0, 320.0, 240.0, (-0.2,))
    assert np.isnan(geometry.project(np.array([[0.1, 0.1, -1.0], [0.1, 0.1, 0.0]]), intrinsics)).all()
    # u (1 - 0.2 u^2) has its maximum 0.861 at u = 1.291.
    pixels = np.array([[320 + 0.860 * 500, 240.0], [320 + 0.862 * 500, 240.0]])
    near, beyond = geometry.pixel_to_ray(pixels, intrinsics)
    assert 1.2 < near[0] < 1.291
    assert geometry.project(near, intrinsics) == pytest.approx(pixels[0], abs=1e-9)
    assert np.isnan(beyond).all()


def test_camera_and_rigid_conversions() -> None:
    camera = geometry.to_colmap_camera(Intrinsics(640, 480, 500.0, 310.0, 250.0, (0.1,), is_trusted=True), camera_id=7)
    assert (camera.camera_id, camera.model_name, camera.width, camera.height) == (7, "SIMPLE_RADIAL", 640, 480)
    assert camera.params == pytest.approx([500, 310, 250, 0.1])
    assert camera.has_prior_focal_length
    assert not geometry.to_colmap_camera(Intrinsics(640, 480, 500.0, 310.0, 250.0)).has_prior_focal_length
    rng = np.random.default_rng(11)
    c_from_b, b_from_a, x_in_a = random_pose(rng), random_pose(rng, 5.0), rng.normal(size=3)
    rigid = geometry.to_rigid3d(c_from_b) * geometry.to_rigid3d(b_from_a)
    c_from_a = geometry.from_rigid3d(rigid)
    assert c_from_a.rotation == pytest.approx((c_from_b @ b_from_a).rotation, abs=1e-12)
    assert c_from_a.translation == pytest.approx((c_from_b @ b_from_a).translation, abs=1e-12)
    assert geometry.to_rigid3d(b_from_a) * x_in_a == pytest.approx(b_from_a.rotation @ x_in_a + b_from_a.translation)


def test_triangulation_recovers_points_and_depths() -> None:
    rng = np.random.default_rng(12)
    b_from_a = Pose(geometry.rotation_from_axis_angle(Y, 20), np.array([-1.0, 0.1, 0.2]))
    x_in_a = rng.uniform([-2, -2, 4], [2, 2, 9], size=(100, 3))
    x_in_b = x_in_a @ b_from_a.rotation.T + b_from_a.translation
    rays_a = x_in_a / rng.uniform(0.1, 10, size=(100, 1))
    rays_b = x_in_b / rng.uniform(0.1, 10, size=(100, 1))
    points = geometry.triangulate(b_from_a, rays_a, rays_b)
    assert points.x_in_a == pytest.approx(x_in_a, abs=1e-10)
    assert points.depths_a == pytest.approx(x_in_a[:, 2], abs=1e-10)
    assert points.depths_b == pytest.approx(x_in_b[:, 2], abs=1e-10)
    wrong_sign = geometry.triangulate(Pose(b_from_a.rotation, -b_from_a.translation), rays_a, rays_b)
    assert (wrong_sign.depths_a < 0).all()
    assert (wrong_sign.depths_b < 0).all()
    # The z axis, and a ray from (1, 0.2, 0) that passes it at (0, 0.2, 1), meet in the middle of the gap.
    skew = geometry.triangulate(Pose(np.eye(3), -X - 0.2 * Y), Z[None], (Z - X)[None])
    assert skew.x_in_a[0] == pytest.approx([0, 0.1, 1])


def test_parallel_rays_have_no_point() -> None:
    rays_b = np.array([2 * Z, Z + 1e-13 * X, Z + 0.1 * X])
    points = geometry.triangulate(Pose(np.eye(3), X), np.array([Z, Z, Z]), rays_b)
    assert np.isnan(points.x_in_a[:2]).all()
    assert np.isnan([points.depths_a[:2], points.depths_b[:2]]).all()
    assert points.depths_a[2] == pytest.approx(10.0)


def test_triangulation_angles() -> None:
    b_from_a = Pose(geometry.rotation_from_axis_angle(Z, 33), geometry.rotation_from_axis_angle(Z, 33) @ (-2 * X))
    # b's centre is at 2 x; the first point is an apex of 90 degrees over that baseline.
    x_in_a = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 2.0], [np.nan, 0.0, 1.0]])
    assert geometry.triangulation_angles_deg(b_from_a, x_in_a) == pytest.approx([90, 45, np.nan], nan_ok=True)


def test_import_loads_no_heavy_library() -> None:
    heavy = {"pycolmap", "scipy", "torch"}
    code = f"import sys, interpose_sfm.pairs.consistency; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
