"""What the point maps of an ordered pair say of two cameras: focal lengths and relative pose, in the pair's scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from interpose_sfm import geometry
from interpose_sfm.pose.point_maps.maps import MapArray, PointMaps
from interpose_sfm.products import FloatArray, Intrinsics, Pose

STRIDE_PX = 4  # neighbouring pixels tell the same; every fourth along both axes leaves some 12000 at 512 x 384
PATCH_SAMPLES = 16  # so many samples lie in one patch of the network and err alike: they count as one
MAX_SAMPLES_RANSAC = 1000
MAX_ERROR_SHARE = 1 / 64  # of the longer side: 8 px at 512, which holds what point maps that err by a few percent do
MAX_LOG_DEPTH_ERROR = 0.5  # beyond it a depth is off by two thirds, and no error of a working network
MIN_INLIER_SHARE = 0.25  # a pose that fewer of the confident samples support is chance
MIN_SIGMA_PX = 0.1  # residuals of point maps without errors are rounding
CONVERGED = 1e-7  # a step of so many radians, or of so much of the depth, changes nothing
TUKEY = 4.685  # 95 % efficiency for normal errors (Holland and Welsch, 1977)


@dataclass(frozen=True)
class MapSamples:
    """A point map on a regular grid of pixels; views of one shape have one grid.

    Attributes:
        points: (n, 3) float64.
        weights: (n,) float64, logarithm of the confidence, as DUSt3R weighs: zero where the network knows nothing.
    """

    points: FloatArray
    weights: FloatArray

    @property
    def is_confident(self) -> NDArray[np.bool_]:
        """(n,) at least half as confident as the middle one: what a few wild confidences cannot shift."""
        return (self.weights > 0) & (self.weights >= 0.5 * float(np.median(self.weights)))


@dataclass(frozen=True)
class PairSamples:
    """Point maps of an ordered pair, sampled: the points of i and of j, both in the frame of i."""

    of_i: MapSamples
    of_j: MapSamples


@dataclass(frozen=True)
class PairPose:
    """Relative pose of an ordered pair.

    Attributes:
        j_from_i: In the pair's scale.
        information: (6, 6) inverse covariance of a small motion (rotation vector, translation) after j_from_i.
        inlier_share: Share of the confident samples of j that are where the pose has them.
    """

    j_from_i: Pose
    information: FloatArray
    inlier_share: float


def grid_px(shape: tuple[int, int]) -> FloatArray:
    """(n, 2) positions of the sampled pixels of a crop (height, width), COLMAP's pixel convention."""
    start = STRIDE_PX // 2
    y, x = np.mgrid[start : shape[0] : STRIDE_PX, start : shape[1] : STRIDE_PX]
    return np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1).astype(np.float64)


def grid_index(points_px: FloatArray, shape: tuple[int, int]) -> NDArray[np.intp]:
    """(n,) row of the sample nearest to each position, which must lie inside of the crop."""
    start = STRIDE_PX // 2
    counts = [len(range(start, side, STRIDE_PX)) for side in shape]
    nearest = np.rint((points_px - 0.5 - start) / STRIDE_PX).astype(np.intp)
    x, y = np.clip(nearest[:, 0], 0, counts[1] - 1), np.clip(nearest[:, 1], 0, counts[0] - 1)
    return np.asarray(y * counts[1] + x)


def sample(maps: PointMaps) -> PairSamples:
    """Point maps on the grid of :func:`grid_px`."""
    return PairSamples(_sample(maps.points_i, maps.conf_i), _sample(maps.points_j_in_i, maps.conf_j))


def _sample(points: MapArray, conf: MapArray) -> MapSamples:
    picked = slice(STRIDE_PX // 2, None, STRIDE_PX)
    flat = points[picked, picked].reshape(-1, 3).astype(np.float64)
    confidence = conf[picked, picked].ravel().astype(np.float64)
    is_finite = np.all(np.isfinite(flat), axis=1) & np.isfinite(confidence)
    weights = np.where(is_finite, np.log(np.maximum(confidence, 1.0, where=is_finite, out=np.ones_like(confidence))), 0)
    return MapSamples(np.where(is_finite[:, None], flat, 0.0), weights)


def focal_px(maps: Sequence[MapSamples], shape: tuple[int, int], center_px: tuple[float, float]) -> float | None:
    """Focal length of a view from its point maps in its own frame; None where they show nothing in front.

    The weighted L1 solution of ``pixel - centre = f * (x, y) / z`` by iteratively reweighted least squares
    (Weiszfeld), as DUSt3R does (its section 3.3).
    """
    from_center = grid_px(shape) - np.array(center_px)
    slopes, pixels, weights = [], [], []
    for samples in maps:
        z = samples.points[:, 2]
        used = samples.is_confident & (z > 1e-6)
        slopes.append(samples.points[used, :2] / z[used, None])
        pixels.append(from_center[used])
        weights.append(samples.weights[used])
    slope, pixel, weight = np.concatenate(slopes), np.concatenate(pixels), np.concatenate(weights)
    across, along = np.sum(slope * pixel, axis=1), np.sum(slope * slope, axis=1)
    if not len(weight) or not np.sum(weight * along) > 0:
        return None
    focal = float(np.sum(weight * across) / np.sum(weight * along))
    for _ in range(15):
        pull = weight / np.maximum(np.linalg.norm(pixel - focal * slope, axis=1), 1e-3)
        focal = float(np.sum(pull * across) / np.sum(pull * along))
    return focal if np.isfinite(focal) and focal > 0 else None


def pair_pose(points_j_in_i: MapSamples, intrinsics_j: Intrinsics, seed: int) -> PairPose | None:
    """Pose of camera j in the frame of i from the points of j there and the pixels that see them; None without one.

    RANSAC on a thinned set (COLMAP's absolute pose), then Gauss-Newton on all confident samples with Tukey's weights.

    Args:
        points_j_in_i: Of the grid of j's crop.
        intrinsics_j: Camera of j's crop.
        seed: Of RANSAC.
    """
    used = np.flatnonzero(points_j_in_i.is_confident)
    if len(used) < 6:
        return None
    pixels = grid_px((intrinsics_j.height_px, intrinsics_j.width_px))[used]
    points, weights = points_j_in_i.points[used], points_j_in_i.weights[used]
    max_error_px = MAX_ERROR_SHARE * max(intrinsics_j.width_px, intrinsics_j.height_px)
    start = _ransac(points, pixels, intrinsics_j, max_error_px, seed)
    if start is None:
        return None
    rays = geometry.pixel_to_ray(pixels, intrinsics_j)[:, :2]
    pose, information = refine_pose(start, points, rays, weights, MIN_SIGMA_PX / intrinsics_j.focal_px)
    seen = _Seen.of(pose, points, rays)
    max_error = max_error_px / intrinsics_j.focal_px
    across, along = _split(seen)
    max_along = max_error + MAX_LOG_DEPTH_ERROR * seen.per_log_depth
    share = float(np.mean((np.abs(across) < max_error) & (np.abs(along) < max_along)))
    return PairPose(pose, information / PATCH_SAMPLES, share) if share >= MIN_INLIER_SHARE else None


def _ransac(
    points: FloatArray, pixels: FloatArray, intrinsics: Intrinsics, max_error_px: float, seed: int
) -> Pose | None:
    import pycolmap

    thinned = np.unique(np.linspace(0, len(points) - 1, MAX_SAMPLES_RANSAC).astype(np.intp))
    scale = float(np.median(np.linalg.norm(points, axis=1)))
    if not scale > 0:
        return None
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac.max_error, options.ransac.random_seed = max_error_px, seed
    options.ransac.max_num_trials, options.ransac.confidence = 500, 0.999
    options.ransac.num_threads = 1
    camera = geometry.to_colmap_camera(intrinsics)
    estimate = pycolmap.estimate_absolute_pose(pixels[thinned], points[thinned] / scale, camera, options)
    if estimate is None:
        return None
    pose = geometry.from_rigid3d(estimate["cam_from_world"])
    return Pose(pose.rotation, pose.translation * scale)


def refine_pose(
    start: Pose, points: FloatArray, rays: FloatArray, weights: FloatArray, min_sigma: float
) -> tuple[Pose, FloatArray]:
    """Gauss-Newton on reprojection errors with Tukey's biweight.

    Networks err in depth above all. An error in depth shifts a reprojection along its epipolar line, by far more than
    what is across, and not evenly to both sides, which would turn the pose. So the errors along and across the lines
    get a standard deviation each, taken from themselves: where they are alike, this is ordinary reprojection error.

    Args:
        start: cam_from_points; the points come from a camera at their origin.
        points: (n, 3).
        rays: (n, 2) where they are seen, at depth 1.
        weights: (n,).
        min_sigma: Least standard deviation of the errors across, at depth 1.

    Returns:
        The pose, and the (6, 6) information of a small motion (rotation vector, translation) after it.
    """
    pose, information = start, np.eye(6)
    scaled = weights / max(float(np.mean(weights)), 1e-12)
    for _ in range(25):
        seen = _Seen.of(pose, points, rays)
        across, along = _split(seen)
        log_depth_errors = np.abs(along) / seen.per_log_depth
        sigma = max(1.4826 * float(np.median(np.abs(across))), min_sigma)
        wide = seen.per_log_depth >= np.median(seen.per_log_depth)
        depth_sigma = 1.4826 * float(np.median(log_depth_errors[wide]))
        along_sigma = np.hypot(sigma, depth_sigma * seen.per_log_depth)
        errors = np.stack([across / sigma, along / along_sigma], axis=1)
        pull = scaled * np.maximum(1.0 - np.sum(np.minimum(errors**2, 1e9), axis=1) / TUKEY**2, 0.0) ** 2
        used = pull > 0
        axes = np.stack([seen.across / sigma, seen.along / along_sigma[:, None]], axis=1)[used]
        whitened = axes @ _reprojection_derivative(seen.moved[used])
        weighted = whitened * pull[used, None, None]
        information = cast(FloatArray, np.einsum("nij,nik->jk", weighted, whitened))
        gradient = cast(FloatArray, np.einsum("nij,ni->j", weighted, errors[used]))
        step = np.asarray(-np.linalg.lstsq(information, gradient, rcond=None)[0], np.float64)
        pose = moved_pose(pose, step)
        unit = np.append(np.ones(3), np.full(3, max(float(np.median(seen.moved[:, 2])), 1e-9)))
        if float(np.max(np.abs(step / unit))) < CONVERGED:
            break
    return pose, information


def moved_pose(pose: Pose, motion: FloatArray) -> Pose:
    """The pose followed by a small motion: (3,) rotation vector, (3,) translation."""
    turn = geometry.rotation_exp(motion[:3])
    return Pose(geometry.nearest_rotation(turn @ pose.rotation), turn @ pose.translation + motion[3:])


@dataclass(frozen=True)
class _Seen:
    """Points as a pose has them appear, against where they are seen.

    Attributes:
        moved: (n, 3) in the camera.
        offsets: (n, 2) reprojection errors at depth 1; far off for points that are not in front.
        along, across: (n, 2) unit vectors along the epipolar line and across it.
        per_log_depth: (n,) how far a reprojection moves along its line when the logarithm of its depth changes by one.
    """

    moved: FloatArray
    offsets: FloatArray
    along: FloatArray
    across: FloatArray
    per_log_depth: FloatArray

    @classmethod
    def of(cls, pose: Pose, points: FloatArray, rays: FloatArray) -> _Seen:
        moved = points @ pose.rotation.T + pose.translation
        z = moved[:, 2:]
        is_front = z > 1e-6 * float(np.median(np.abs(z)))
        z = np.where(is_front, z, 1.0)
        seen = moved[:, :2] / z
        offsets = np.where(is_front, seen - rays, 1e3)
        motion = moved - pose.translation  # what the point moves by in the camera when its depth grows e-fold
        shift = (motion[:, :2] - seen * motion[:, 2:]) / z
        length = np.linalg.norm(shift, axis=1)
        along = np.where(length[:, None] > 1e-12, shift / np.maximum(length, 1e-12)[:, None], [1.0, 0.0])
        across = np.stack([-along[:, 1], along[:, 0]], axis=1)
        return cls(moved, offsets, along, across, np.maximum(length, 1e-12))


def _split(seen: _Seen) -> tuple[FloatArray, FloatArray]:
    """(n,) errors across the epipolar lines and along them, both at depth 1."""
    return np.sum(seen.offsets * seen.across, axis=1), np.sum(seen.offsets * seen.along, axis=1)


def _reprojection_derivative(moved: FloatArray) -> FloatArray:
    """(n, 2, 6) derivatives of reprojections by a small motion after the pose."""
    x, y, z = moved.T
    inverse, u, v, zero = 1.0 / z, x / z, y / z, np.zeros_like(z)
    rows = [-u * v, 1 + u * u, -v, inverse, zero, -u * inverse], [-1 - v * v, u * v, u, zero, inverse, -v * inverse]
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)
