"""Relative poses of two views: of what poses in a world, how far apart, and their average."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from interpose_sfm.geometry.rotations import (
    direction_angle_deg,
    line_angle_deg,
    mean_direction,
    mean_rotation,
    rotation_angle_deg,
    unit_vectors,
)
from interpose_sfm.products import FloatArray, Pose

NEAR_ZERO_BASELINE = 1e-6
"""A translation shorter than this has no direction."""


def relative_pose(b_from_world: Pose, a_from_world: Pose) -> Pose:
    """b_from_a, in the scale of the world."""
    return b_from_world @ a_from_world.inverse()


def with_unit_translation(pose: Pose, min_baseline: float = NEAR_ZERO_BASELINE) -> Pose:
    """Scale the translation to length one, or to zero where it is shorter than ``min_baseline`` (in its own unit)."""
    if float(np.linalg.norm(pose.translation)) < min_baseline:
        return Pose(pose.rotation, np.zeros(3))
    return Pose(pose.rotation, unit_vectors(pose.translation))


def pose_distance_deg(first: Pose, second: Pose) -> float:
    """Distance of two relative poses, InterPose Eq. 2 to 4: ``angle(R2 R1^T) + arccos |t1 . t2|``, in [0, 270] degrees.

    The absolute value makes t and -t agree. Where either translation is near zero its direction means nothing and the
    rotation angle alone is returned. Both poses are ``b_from_a`` of the same pair; translations may have any length.
    """
    return float(pose_distance_matrix_deg([first], [second])[0, 0])


def signed_pose_distance_deg(first: Pose, second: Pose) -> float:
    """As ``pose_distance_deg``, but t and -t are 180 degrees apart; in [0, 360]."""
    return float(pose_distance_matrix_deg([first], [second], signed=True)[0, 0])


def pose_distance_matrix_deg(first: Sequence[Pose], second: Sequence[Pose], *, signed: bool = False) -> FloatArray:
    """(n, m) distances in degrees of every pose in ``first`` to every pose in ``second``, as ``pose_distance_deg``."""
    rotations_deg, directions_deg = pose_distance_terms_deg(first, second, signed=signed)
    return rotations_deg + np.nan_to_num(directions_deg, nan=0.0)


def pose_distance_terms_deg(
    first: Sequence[Pose], second: Sequence[Pose], *, signed: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Split the pose distance into its two terms, for every pose in ``first`` against every pose in ``second``.

    Args:
        first: n relative poses of one pair.
        second: m relative poses of the same pair.
        signed: False for the angle between lines (t and -t agree), True for the angle between directions.

    Returns:
        rotations_deg: (n, m) degrees.
        directions_deg: (n, m) degrees; NaN where either translation is near zero.
    """
    rotations_1, rotations_2 = (np.array([p.rotation for p in ps]).reshape(-1, 3, 3) for ps in (first, second))
    rotations_deg = rotation_angle_deg(rotations_2[None] @ np.swapaxes(rotations_1, -1, -2)[:, None])
    translations_1, translations_2 = (np.array([p.translation for p in ps]).reshape(-1, 3) for ps in (first, second))
    moves_1, moves_2 = (np.linalg.norm(t, axis=1) >= NEAR_ZERO_BASELINE for t in (translations_1, translations_2))
    directions_deg = np.full(rotations_deg.shape, np.nan)
    angle_deg = direction_angle_deg if signed else line_angle_deg
    directions_deg[np.ix_(moves_1, moves_2)] = angle_deg(translations_1[moves_1][:, None], translations_2[moves_2])
    return rotations_deg, directions_deg


def link_errors_deg(implied: Pose, linked: Pose) -> tuple[float, float]:
    """Angles of rotation and of direction between two relative poses of one pair; 180 where there is no baseline."""
    rotation_deg = float(rotation_angle_deg(implied.rotation @ linked.rotation.T))
    if not np.any(implied.translation):
        return rotation_deg, 180.0
    return rotation_deg, float(direction_angle_deg(implied.translation, linked.translation))


def average_pose(poses: Sequence[Pose]) -> Pose:
    """Average one or more relative poses of one pair: ``mean_rotation`` and ``mean_direction``.

    The translation has length one; it is zero if at least half of the poses have none, which is the weaker claim.
    """
    translations = [p.translation for p in poses if float(np.linalg.norm(p.translation)) >= NEAR_ZERO_BASELINE]
    translation = mean_direction(translations) if 2 * len(translations) > len(poses) else np.zeros(3)
    return Pose(mean_rotation([p.rotation for p in poses]), translation)
