"""Two-view geometry of putative matches, and the evidence that both images show the same place.

Look-alike structure yields geometry as rigid as the truth, so the number of inliers does not tell a right link from a
wrong one; the cues of :class:`interpose_sfm.products.Evidence` do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap.constants import MAX_ERROR_PX, MIN_VERIFIED_MATCHES
from interpose_sfm.matching import agreement, pure_rotation
from interpose_sfm.products import (
    Evidence,
    Features,
    FloatArray,
    IndexArray,
    Intrinsics,
    Matches,
    Pose,
    PoseStatus,
    TwoView,
)

MIN_NUM_TRIALS, MAX_NUM_TRIALS = 1000, 5000  # of RANSAC; fewer than the first are not cut short
ON_EDGE_PX = 1e-6  # what a corner of a hull may lie beyond its edges, for rounding
MIN_CALIBRATED_SHARE = 0.95  # COLMAP's min_E_F_inlier_ratio: fewer E than F inliers means the cameras do not fit


def verify(
    features_a: Features,
    intrinsics_a: Intrinsics,
    features_b: Features,
    intrinsics_b: Intrinsics,
    matches: Matches,
    seed: int,
    min_score: float = 0.0,
    max_num_trials: int = MAX_NUM_TRIALS,
) -> TwoView:
    """Robust relative pose of two images from their putative matches.

    The pose comes from LO-RANSAC on the essential matrix, refined on all inliers (COLMAP's
    ``estimate_relative_pose`` and ``refine_relative_pose``).
    Whether a pure rotation explains the matches as well is asked separately: then the direction means nothing.

    Args:
        features_a, features_b: Key points in the pixels of the intrinsics.
        matches: Rows into both.
        seed: Equal seeds give equal results.
        min_score: Matches with a lower score propose no pose and are not counted; the agreement weighs them as well.
        max_num_trials: Of RANSAC; few are enough where nearly all matches have to agree.
    """
    everything, counted = matches, matches.above(min_score)
    rows = np.flatnonzero(matches.scores >= min_score)
    num_matches = len(rows)
    if num_matches < MIN_VERIFIED_MATCHES:
        return _no_pose(PoseStatus.FEW_MATCHES, counted, 0)
    points_a_px = features_a.keypoints_px[counted.indices[:, 0]]
    points_b_px = features_b.keypoints_px[counted.indices[:, 1]]
    estimate = _relative_pose(points_a_px, intrinsics_a, points_b_px, intrinsics_b, seed, max_num_trials)
    if estimate is None:
        return _no_pose(PoseStatus.FEW_INLIERS, counted, 0)
    b_from_a, mask = estimate
    rays_a = geometry.unit_rays(points_a_px, intrinsics_a)
    rays_b = geometry.unit_rays(points_b_px, intrinsics_b)
    mask = mask & np.isfinite(rays_a).all(axis=1) & np.isfinite(rays_b).all(axis=1)
    inliers = rows[mask].astype(np.uint32)
    if len(inliers) < MIN_VERIFIED_MATCHES:
        return _no_pose(PoseStatus.FEW_INLIERS, counted, len(inliers))
    if _on_one_line(points_a_px[mask]) or _on_one_line(points_b_px[mask]):
        return _no_pose(PoseStatus.DEGENERATE, counted, len(inliers))

    rays_a, rays_b = rays_a[mask], rays_b[mask]
    angle_deg = float(np.median(geometry.direction_angle_deg(rays_a @ b_from_a.rotation.T, rays_b)))
    weighed = weigh(b_from_a, features_a, intrinsics_a, features_b, intrinsics_b, everything, min_score)
    evidence = Evidence(
        num_matches=num_matches,
        num_inliers=len(inliers),
        inlier_share=len(inliers) / num_matches,
        mean_score=float(counted.scores.mean()),
        density=density(features_a, points_a_px[mask], features_b, points_b_px[mask]),
        triangulation_angle_deg=angle_deg,
        is_calibrated=_is_calibrated(points_a_px, points_b_px, len(inliers), seed),
        agreement=weighed.agreement,
        weight=weighed.weight,
        surprise=weighed.surprise,
    )
    focal_px = (intrinsics_a.focal_px + intrinsics_b.focal_px) / 2
    rotation, is_rotation = pure_rotation.best_rotation(rays_a, rays_b, focal_px)
    if is_rotation:
        pose = Pose(rotation, np.zeros(3))
        return TwoView(PoseStatus.ROTATION_ONLY, pose, inliers, evidence, pure_rotation.SPREAD_DEG)
    spread = spread_deg(b_from_a, points_a_px[mask], intrinsics_a, points_b_px[mask], intrinsics_b)
    return TwoView(PoseStatus.OK, b_from_a, inliers, evidence, spread)


def _no_pose(status: PoseStatus, matches: Matches, num_inliers: int) -> TwoView:
    num_matches = len(matches.indices)
    score = float(matches.scores.mean()) if num_matches else 0.0
    share = num_inliers / max(num_matches, 1)
    evidence = Evidence(num_matches, num_inliers, share, score, 0.0, 0.0, False, 0.0, 0.0, 0.0)
    return TwoView(status, None, np.zeros(0, np.uint32), evidence, 180.0)


@dataclass(frozen=True)
class Weighed:
    """What all matches say of a pose; see `products.Evidence`."""

    agreement: float
    weight: float
    surprise: float


def weigh(
    b_from_a: Pose,
    features_a: Features,
    intrinsics_a: Intrinsics,
    features_b: Features,
    intrinsics_b: Intrinsics,
    matches: Matches,
    min_score: float,
) -> Weighed:
    """Agreement and surprise of a pose that was estimated from the matches above a score.

    A doubtful match says little for or against a pose, so each weighs as much as the matcher believes in it: at wide
    baselines many doubtful ones fail and weigh nothing, while a wrong pose lives on them.
    """
    seen = agreement.sight(features_a, intrinsics_a, features_b, intrinsics_b, matches)
    agrees, is_counted = seen.agreeing(b_from_a), matches.scores >= min_score
    luck = agreement.chance(
        b_from_a, seen.rays_a[is_counted], seen.all_a, seen.rays_b[is_counted], seen.all_b, seen.within_rad
    )
    surprise = agreement.surprise(
        int(np.sum(agrees & is_counted)),
        int(np.sum(is_counted)),
        luck,
        agreement.POSE_FREEDOM,
        agreement.POSES_PER_SAMPLE,
    )
    weight, total = float(seen.scores[agrees].sum()), float(seen.scores.sum())
    return Weighed(weight / max(total, 1e-9), weight, surprise)


def _relative_pose(
    points_a_px: FloatArray,
    intrinsics_a: Intrinsics,
    points_b_px: FloatArray,
    intrinsics_b: Intrinsics,
    seed: int,
    max_num_trials: int = MAX_NUM_TRIALS,
) -> tuple[Pose, np.ndarray] | None:
    """b_from_a with a unit translation and which matches agree with it; None if none fits."""
    import pycolmap

    camera_a, camera_b = geometry.to_colmap_camera(intrinsics_a), geometry.to_colmap_camera(intrinsics_b)
    options = pycolmap.RANSACOptions(
        max_error=MAX_ERROR_PX,
        confidence=0.9999,
        min_num_trials=min(MIN_NUM_TRIALS, max_num_trials),
        max_num_trials=max_num_trials,
        random_seed=seed,
        num_threads=1,
    )
    estimate = pycolmap.estimate_relative_pose(camera_a, points_a_px, camera_b, points_b_px, options)
    if estimate is None:
        return None
    rigid, mask = estimate["cam2_from_cam1"], estimate["inlier_mask"]
    refined = pycolmap.refine_relative_pose(rigid, camera_a, points_a_px, camera_b, points_b_px, mask)
    pose = geometry.from_rigid3d((refined or estimate)["cam2_from_cam1"])
    norm = float(np.linalg.norm(pose.translation))
    return (Pose(pose.rotation, pose.translation / norm), mask) if norm > 0 else None


def pose_from_points(
    points_a_px: FloatArray,
    intrinsics_a: Intrinsics,
    points_b_px: FloatArray,
    intrinsics_b: Intrinsics,
    seed: int,
    max_num_trials: int = MAX_NUM_TRIALS,
) -> Pose | None:
    """b_from_a with a unit translation from correspondences that were verified before; None if none fits them."""
    estimate = _relative_pose(points_a_px, intrinsics_a, points_b_px, intrinsics_b, seed, max_num_trials)
    return None if estimate is None else estimate[0]


def _on_one_line(points_px: FloatArray) -> bool:
    """Whether points lie within the pixel error of one line: many poses fit them, and each looks sure of itself."""
    centred = points_px - points_px.mean(axis=0)
    across_px = np.linalg.svd(centred, compute_uv=False)[1] / np.sqrt(len(points_px))
    return bool(across_px < MAX_ERROR_PX)


def _is_calibrated(points_a_px: FloatArray, points_b_px: FloatArray, num_essential: int, seed: int) -> bool:
    """False if a fundamental matrix explains clearly more matches than the essential matrix."""
    import pycolmap

    options = pycolmap.RANSACOptions(max_error=MAX_ERROR_PX, random_seed=seed, max_num_trials=2000, num_threads=1)
    estimate = pycolmap.estimate_fundamental_matrix(points_a_px, points_b_px, options)
    return estimate is None or num_essential >= MIN_CALIBRATED_SHARE * int(estimate["num_inliers"])


def density(features_a: Features, inliers_a_px: FloatArray, features_b: Features, inliers_b_px: FloatArray) -> float:
    """Share of the key points within the convex hull of the inliers that are inliers, the lower one of both images.

    An image with more key points than the other counts as if it were thinned to as many: no more could match.
    """
    num_a, num_b = len(features_a.keypoints_px), len(features_b.keypoints_px)
    inside_a = _num_inside(features_a.keypoints_px, inliers_a_px) * min(1.0, num_b / num_a)
    inside_b = _num_inside(features_b.keypoints_px, inliers_b_px) * min(1.0, num_a / num_b)
    return min(1.0, len(inliers_a_px) / max(inside_a, inside_b, 1.0))


def _num_inside(keypoints_px: FloatArray, inliers_px: FloatArray) -> float:
    """Key points within the convex hull of the inliers; infinity where these span no area."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = ConvexHull(inliers_px)
    except QhullError:
        return np.inf
    beyond_px = keypoints_px @ hull.equations[:, :2].T + hull.equations[:, 2]  # (keypoints, edges of the hull)
    return float(np.count_nonzero((beyond_px <= ON_EDGE_PX).all(axis=1)))


def spread_deg(
    b_from_a: Pose, points_a_px: FloatArray, intrinsics_a: Intrinsics, points_b_px: FloatArray, intrinsics_b: Intrinsics
) -> float:
    """One-sigma angular uncertainty of a relative pose: the larger of rotation and direction, in degrees.

    From the Gauss-Newton covariance of the angles between ray_b and the epipolar plane of ray_a. Their variance is
    estimated robustly from themselves, but not below `agreement.KEYPOINT_SIGMA_PX`. 180 where the pose is not
    determined.
    """
    rays_a = geometry.unit_rays(points_a_px, intrinsics_a)
    rays_b = geometry.unit_rays(points_b_px, intrinsics_b)
    has_rays = np.isfinite(rays_a).all(axis=1) & np.isfinite(rays_b).all(axis=1)
    rays_a, rays_b = rays_a[has_rays], rays_b[has_rays]
    if len(rays_a) < 6:
        return 180.0
    unit = b_from_a.translation / np.linalg.norm(b_from_a.translation)
    tangent = np.linalg.svd(unit[None])[2][1:].T  # (3, 2), orthogonal to the direction

    def residuals(parameters: FloatArray) -> FloatArray:
        in_b = rays_a @ (geometry.rotation_exp(parameters[:3]) @ b_from_a.rotation).T
        normals = np.cross(unit + tangent @ parameters[3:], in_b)
        norms = np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        return np.asarray(np.sum(normals / norms * rays_b, axis=1))

    step = 1e-6
    jacobian = np.stack([(residuals(step * axis) - residuals(-step * axis)) / (2 * step) for axis in np.eye(5)], 1)
    min_sigma = agreement.KEYPOINT_SIGMA_PX / min(intrinsics_a.focal_px, intrinsics_b.focal_px)
    sigma = max(1.4826 * float(np.median(np.abs(residuals(np.zeros(5))))), min_sigma)
    information = jacobian.T @ jacobian / sigma**2
    if np.linalg.eigvalsh(information)[0] < 1e-6:
        return 180.0
    covariance = np.linalg.inv(information)
    worst = max(np.linalg.eigvalsh(covariance[:3, :3])[-1], np.linalg.eigvalsh(covariance[3:, 3:])[-1])
    return float(min(180.0, np.degrees(np.sqrt(worst))))


def depths(
    b_from_a: Pose, points_a_px: FloatArray, intrinsics_a: Intrinsics, points_b_px: FloatArray, intrinsics_b: Intrinsics
) -> tuple[FloatArray, FloatArray]:
    """(n,) depths of correspondences in A and in B, in units of the baseline; NaN for points behind a camera."""
    points = geometry.triangulate(
        b_from_a,
        geometry.pixel_to_ray(points_a_px, intrinsics_a),
        geometry.pixel_to_ray(points_b_px, intrinsics_b),
    )
    behind = ~((points.depths_a > 0) & (points.depths_b > 0))
    return np.where(behind, np.nan, points.depths_a), np.where(behind, np.nan, points.depths_b)


def matched_points(
    features_a: Features, features_b: Features, matches: Matches, rows: IndexArray
) -> tuple[FloatArray, FloatArray]:
    """Pixel positions (n, 2) in both images of some rows of the matches."""
    chosen = matches.indices[rows]
    return features_a.keypoints_px[chosen[:, 0]], features_b.keypoints_px[chosen[:, 1]]
