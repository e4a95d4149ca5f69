"""Photos taken from one place: whether matches tell nothing but a turn, and how well they know it.

A turn of wide angle is as wrong as the focal lengths are: a lens taken for two thirds of its length makes 76 degrees of
55. Matches of a pure rotation tell the focal length themselves, though (Hartley, "Self-calibration from multiple views
with a rotating camera", ECCV 1994), and how well: what they leave possible, whatever a guess or a clip tells, is how
unsure the turn is.
"""

from __future__ import annotations

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap.constants import MAX_ERROR_PX
from interpose_sfm.matching import agreement
from interpose_sfm.products import FloatArray, Intrinsics

MIN_SHARE = 0.9  # a pure rotation explains this share of the matches that a relative pose explains
SPREAD_DEG = 0.5  # where the focal lengths are right: far below what decides anything
MAX_GUESSED_TURN_DEG = 15.0
"""Where nothing tells the focal length of two photos, the turn between them grows with it, and as many of their matches
agree. A lens may be twice as long as COLMAP guesses (85 mm in terms of 35 mm film); a turn then errs by as much again,
and 15 degrees are where a pose counts as wrong."""

MAX_FACTOR = 4.0  # by which a focal length may be off
MAX_CONDITION = 1e12  # of what matches tell of the focal length: beyond, they tell nothing


def is_wide(rotation: FloatArray) -> bool:
    """Whether a turn is so wide that it errs with the focal lengths where these are a guess."""
    return float(geometry.rotation_angle_deg(rotation)) > MAX_GUESSED_TURN_DEG


def errors_px(
    rotation: FloatArray, points_a_px: FloatArray, a: Intrinsics, points_b_px: FloatArray, b: Intrinsics
) -> FloatArray:
    """(4n,) by how much a turn misses matches in both pictures, along x and y; so weighed that each counts once."""
    there_px = geometry.project(geometry.unit_rays(points_a_px, a) @ rotation.T, b) - points_b_px
    back_px = geometry.project(geometry.unit_rays(points_b_px, b) @ rotation, a) - points_a_px
    return np.asarray(np.concatenate([there_px, back_px]).ravel() / np.sqrt(2.0))


def best_rotation(rays_a: FloatArray, rays_b: FloatArray, focal_px: float) -> tuple[FloatArray, bool]:
    """The best rotation between unit rays, and whether it explains them as a pure rotation within the pixel error."""
    rotation = _align(rays_a, rays_b)
    for _ in range(5):  # trimmed: a few near points must not hide that the rest only turned
        residual = np.linalg.norm(rays_b - rays_a @ rotation.T, axis=1)
        kept = residual <= np.quantile(residual, MIN_SHARE)
        rotation = _align(rays_a[kept], rays_b[kept])
    residual_px = np.linalg.norm(rays_b - rays_a @ rotation.T, axis=1) * focal_px
    return rotation, bool(np.mean(residual_px < MAX_ERROR_PX) >= MIN_SHARE)


def spread_deg(
    rotation: FloatArray,
    points_a_px: FloatArray,
    intrinsics_a: Intrinsics,
    points_b_px: FloatArray,
    intrinsics_b: Intrinsics,
) -> float:
    """How far a turn may be from the true one, by the focal lengths that the matches leave possible, in degrees.

    Args:
        rotation: b_from_a.
        points_a_px, points_b_px: (n, 2) what agrees with it.
        intrinsics_a, intrinsics_b: If the focal length of one is known the turn is known well. Else both are taken to
            be off by the same factor.

    Returns:
        Root mean square of how far it is from the turns by focal lengths one sigma below and above what the matches
        tell, whatever the cameras state; at least `SPREAD_DEG`, and that where the turn is small.
    """
    if intrinsics_a.is_trusted or intrinsics_b.is_trusted or not is_wide(rotation):
        return SPREAD_DEG
    from scipy.optimize import least_squares

    def residuals(turn: FloatArray, log_factor: float) -> FloatArray:
        a, b = (camera.zoomed(np.exp(log_factor)) for camera in (intrinsics_a, intrinsics_b))
        found = errors_px(geometry.rotation_exp(turn) @ rotation, points_a_px, a, points_b_px, b)
        return np.asarray(np.where(np.isfinite(found), found, MAX_ERROR_PX)) / agreement.KEYPOINT_SIGMA_PX

    limit = np.log(MAX_FACTOR)
    joint = least_squares(
        lambda x: residuals(x[:3], x[3]),
        np.zeros(4),
        loss="soft_l1",
        bounds=([-np.pi] * 3 + [-limit], [np.pi] * 3 + [limit]),
    )
    information = joint.jac.T @ joint.jac
    if np.linalg.cond(information) > MAX_CONDITION:
        return 180.0
    scale = max(1.0, float(np.median(np.abs(joint.fun))) / 0.6745)
    sigma = scale * float(np.sqrt(np.linalg.inv(information)[3, 3]))
    ends = np.clip([float(joint.x[3]) - sigma, float(joint.x[3]) + sigma], -limit, limit)
    turns = [least_squares(residuals, joint.x[:3], loss="soft_l1", args=(float(end),)).x for end in ends]
    return max(SPREAD_DEG, float(np.degrees(np.sqrt(np.mean([turn @ turn for turn in turns])))))


def _align(rays_a: FloatArray, rays_b: FloatArray) -> FloatArray:
    """Least-squares rotation b_from_a between unit rays (Kabsch)."""
    return geometry.nearest_rotation(rays_b.T @ rays_a)
