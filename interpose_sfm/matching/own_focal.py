"""The focal length that the matches of two photos tell, and how well they know the pose with it.

Where nothing else is known of the lens, the turn between two photos grows with it. Seven matches leave an essential
matrix and one focal length (Stewenius et al., "A minimal solution for relative pose with unknown focal length", CVPR
2005). How well they tell it depends on where the points are, and often they do not; then the pose is as unsure. That
both photos have one lens is a guess as well: two focal lengths must lead to the same pose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.matching import agreement, pure_rotation, verification
from interpose_sfm.matching.pure_rotation import MAX_FACTOR
from interpose_sfm.products import FloatArray, Intrinsics, Pose

STARTS = (1.0, 0.5, 0.7, 1.4, 2.0)  # times the guess
RIVAL_SIGMAS = 2.0  # a focal length that explains the matches no worse than by this is as possible
ONE_LENS_SIGMAS = 3.0  # where two focal lengths explain them better than one by more, there are two lenses, or a zoom
MIN_MATCHES = 15
MAX_SPREAD_DEG = 2.0
"""Where the pose is known as well as this the focal length is told. Poses err by more than their sigma says, since what
matches wrongly errs alike: by up to 4 degrees in five collections, in eleven others by up to 5 and once by 10. Limits
from 2 to 4 let as little through there (``docs/results/own_focal.md``); the lowest of them is taken, though none stops
matches of a facade that are off by a bay together (``docs/limits.md``)."""

CONTRADICTED_SIGMAS = 4.0
CONTRADICTED_DEG = 10.0
"""A focal length that something else told is contradicted where the matches know one that explains them better by so
many sigmas, and that leads to a pose farther off than one may be that is given out: with 4 that is 3 of 208 right ones
and 230 of 337 wrong ones, with 3 it is 6 and 251, with 6 it is 1 and 190 (``docs/results/own_focal.md``)."""

FAR_PX = 100.0


@dataclass(frozen=True)
class OwnFocal:
    """What matches say of the focal length.

    Attributes:
        factor: Times the one that both cameras state.
        spread_deg: One sigma of the pose, the larger of rotation and direction, with the focal length unknown; or how
            far from it another focal length leads that explains the matches as well, or one of each photo, if farther.
    """

    factor: float
    spread_deg: float

    @property
    def is_told(self) -> bool:
        """Whether the pose is known well enough with it."""
        return self.spread_deg <= MAX_SPREAD_DEG


@dataclass(frozen=True)
class Elsewhere:
    """Where matches lead with the focal length that explains them best.

    Attributes:
        sigmas: By how many it explains them better.
        apart_deg: How far its pose is from that with the focal length as it is, the larger of rotation and direction.
    """

    sigmas: float
    apart_deg: float

    @property
    def contradicts(self) -> bool:
        """Whether the focal length as it is cannot be right, and that matters."""
        return self.sigmas > CONTRADICTED_SIGMAS and self.apart_deg > CONTRADICTED_DEG


@dataclass(frozen=True)
class _Fit:
    """A pose with the logarithms of what both cameras' focal lengths are multiplied by.

    Attributes:
        cost: Half of the sum of squares, outliers weighed down, in variances of the residuals.
        variance: Of these, in pixels.
    """

    pose: Pose
    log_factors: FloatArray
    cost: float
    variance: float
    spread_deg: float

    def sigmas_better_than(self, other: _Fit) -> float:
        """By how many sigmas of one of its parameters it explains the matches better; 0 where it does not."""
        return float(np.sqrt(max(0.0, 2.0 * (other.cost * other.variance / self.variance - self.cost))))


def own_focal(
    pose: Pose, points_a_px: FloatArray, intrinsics_a: Intrinsics, points_b_px: FloatArray, intrinsics_b: Intrinsics
) -> OwnFocal | None:
    """The focal lengths at which a relative pose explains matches best; None where they tell none within the bounds.

    Args:
        pose: b_from_a under the cameras as they are; a pure rotation stays one.
        points_a_px, points_b_px: (n, 2) what agrees with it.
        intrinsics_a, intrinsics_b: Taken to be off by the same factor.
    """
    if len(points_a_px) < MIN_MATCHES:
        return None
    fits = _fits(pose, points_a_px, intrinsics_a, points_b_px, intrinsics_b)
    best = min(fits, key=lambda fit: fit.cost)
    log_factor = float(best.log_factors[0])
    if abs(log_factor) >= 0.99 * np.log(MAX_FACTOR):
        return None
    of_two_lenses = _fit(best.pose, np.full(2, log_factor), points_a_px, intrinsics_a, points_b_px, intrinsics_b)
    if of_two_lenses.sigmas_better_than(best) > ONE_LENS_SIGMAS:
        return None
    rivals = [fit for fit in fits if fit.cost <= best.cost + 0.5 * RIVAL_SIGMAS**2]
    others = [fit.pose for fit in [*rivals, of_two_lenses]]
    apart_deg = float(np.nanmax(geometry.pose_distance_terms_deg(others, [best.pose])))
    return OwnFocal(float(np.exp(log_factor)), max(best.spread_deg, apart_deg))


def better_elsewhere(
    pose: Pose, points_a_px: FloatArray, intrinsics_a: Intrinsics, points_b_px: FloatArray, intrinsics_b: Intrinsics
) -> Elsewhere:
    """How much better other focal lengths explain matches than those that something else told.

    Args:
        pose: b_from_a under the cameras as they are.
        points_a_px, points_b_px: (n, 2) what agrees with it.
        intrinsics_a, intrinsics_b: With what was told.
    """
    if len(points_a_px) < MIN_MATCHES:
        return Elsewhere(0.0, 0.0)
    sides = points_a_px, intrinsics_a, points_b_px, intrinsics_b
    best = min(_fits(pose, *sides), key=lambda fit: fit.cost)
    # From the better pose as well, so that it is the focal length which is compared, not two optima under one.
    as_told = min((_fit(begun, np.zeros(0), *sides) for begun in (pose, best.pose)), key=lambda fit: fit.cost)
    apart_deg = float(np.nanmax(geometry.pose_distance_terms_deg([best.pose], [as_told.pose])))
    return Elsewhere(best.sigmas_better_than(as_told), apart_deg)


def _fits(
    pose: Pose, points_a_px: FloatArray, intrinsics_a: Intrinsics, points_b_px: FloatArray, intrinsics_b: Intrinsics
) -> list[_Fit]:
    """Poses with one focal length, from several ones on; the first of them begins at that of the cameras."""
    fits = []
    for start in STARTS:
        a, b = intrinsics_a.zoomed(start), intrinsics_b.zoomed(start)
        begun: Pose | None = pose
        if start != 1.0 and np.any(pose.translation):
            begun = verification.pose_from_points(points_a_px, a, points_b_px, b, 0, 200)
        if begun is not None:
            fits.append(_fit(begun, np.log([start]), points_a_px, intrinsics_a, points_b_px, intrinsics_b))
    return fits


def _fit(
    pose: Pose,
    log_factors: FloatArray,
    points_a_px: FloatArray,
    intrinsics_a: Intrinsics,
    points_b_px: FloatArray,
    intrinsics_b: Intrinsics,
) -> _Fit:
    from scipy.optimize import least_squares

    is_rotation = not np.any(pose.translation)
    num_lenses = len(log_factors)
    tangent = np.zeros((3, 0)) if is_rotation else np.linalg.svd(pose.translation[None])[2][1:].T
    moved = _turned(pose, tangent)

    def residuals(x: FloatArray) -> FloatArray:
        first, last = (x[number], x[-1]) if num_lenses else (0.0, 0.0)
        pose, a, b = moved(x[:number]), intrinsics_a.zoomed(np.exp(first)), intrinsics_b.zoomed(np.exp(last))
        if is_rotation:
            found = pure_rotation.errors_px(pose.rotation, points_a_px, a, points_b_px, b)
        else:
            found = _epipolar_errors_px(pose, points_a_px, a, points_b_px, b)
        return np.clip(np.nan_to_num(found / agreement.KEYPOINT_SIGMA_PX, nan=FAR_PX), -FAR_PX, FAR_PX)

    number = 3 + tangent.shape[1]
    limit = np.log(MAX_FACTOR)
    begun = np.concatenate([np.zeros(number), log_factors])
    bounds = ([-np.inf] * number + [-limit] * num_lenses, [np.inf] * number + [limit] * num_lenses)
    scale = [0.1] * number + [0.3] * num_lenses
    found: Any = least_squares(residuals, begun, loss="soft_l1", bounds=bounds, x_scale=scale)
    variance = max(1.0, 1.4826 * float(np.median(np.abs(residuals(found.x))))) ** 2
    information = found.jac.T @ found.jac / variance
    spread_deg = 180.0
    if np.linalg.eigvalsh(information)[0] > 1e-6:
        covariance = np.linalg.inv(information)
        blocks = [covariance[:3, :3], covariance[3:number, 3:number]]
        worst = max(float(np.linalg.eigvalsh(block)[-1]) for block in blocks if len(block))
        spread_deg = float(min(180.0, np.degrees(np.sqrt(worst))))
    return _Fit(moved(found.x[:number]), found.x[number:], float(found.cost) / variance, variance, spread_deg)


def _turned(pose: Pose, tangent: FloatArray) -> Callable[[FloatArray], Pose]:
    def moved(by: FloatArray) -> Pose:
        translation = pose.translation + tangent @ by[3:]
        return Pose(
            geometry.rotation_exp(by[:3]) @ pose.rotation, translation / max(float(np.linalg.norm(translation)), 1e-12)
        )

    return moved


def _epipolar_errors_px(
    pose: Pose, points_a_px: FloatArray, a: Intrinsics, points_b_px: FloatArray, b: Intrinsics
) -> FloatArray:
    """Signed Sampson errors."""
    x_a, x_b = geometry.pixel_to_ray(points_a_px, a), geometry.pixel_to_ray(points_b_px, b)
    essential = np.cross(np.eye(3), pose.translation).T @ pose.rotation
    lines_b, lines_a = x_a @ essential.T, x_b @ essential
    gradients = [lines_a[:, :2] / a.focal_px, lines_b[:, :2] / b.focal_px]
    norms = np.sqrt(sum(np.sum(gradient**2, axis=1) for gradient in gradients))
    return np.asarray(np.sum(x_b * lines_b, axis=1) / np.maximum(norms, 1e-12))
