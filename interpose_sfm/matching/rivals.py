"""The best other pose on the matches of a pair.

Where another pose, turned far away, explains nearly as many of the same matches, the place may be right, but the pose
is not known: planes and small parts of the picture leave it open.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.matching import agreement, verification
from interpose_sfm.products import Features, FloatArray, Intrinsics, Matches, Pose

FAR_DEG = 15.0  # poses that differ by more are rivals, not variants of one another
MIN_PROPOSING = 8  # matches
TRIALS_ON_REST, TRIALS_ON_HALF = 1000, 300

COPY_DEG = 60.0
"""Turns that copies of a print give. What a small patch leaves open by itself, its depth and its plane, turns a pose by
up to 50 degrees."""
NUM_NEIGHBOURHOODS, TRIALS_ON_NEIGHBOURHOOD = 40, 100


def far_rival(
    b_from_a: Pose,
    features_a: Features,
    intrinsics_a: Intrinsics,
    features_b: Features,
    intrinsics_b: Intrinsics,
    matches: Matches,
    seed: int,
    min_score: float,
) -> float:
    """Confidence of the matches that agree with the best far pose / of those that agree with this one.

    Rivals are sought where they would hide: among the matches that the pose leaves (sequential RANSAC), and in each
    half of the picture, since halves see other planes. All matches weigh, as in the agreement.

    Args:
        matches: Of any score.
        seed: Of RANSAC.
        min_score: Matches with a lower score propose no pose.
    """
    points_a_px = features_a.keypoints_px[matches.indices[:, 0]]
    points_b_px = features_b.keypoints_px[matches.indices[:, 1]]
    rays_a, rays_b = geometry.unit_rays(points_a_px, intrinsics_a), geometry.unit_rays(points_b_px, intrinsics_b)
    within_rad = agreement.tolerance_rad(features_a, intrinsics_a, features_b, intrinsics_b)
    scores = matches.scores.astype(np.float64)

    def weight(pose: Pose) -> float:
        return float(scores[agreement.agree(pose, rays_a, rays_b, within_rad).mask].sum())

    own = agreement.agree(b_from_a, rays_a, rays_b, within_rad).mask
    rivals = [
        weight(pose)
        for rows, trials in _parts(points_a_px, own, matches.scores >= min_score)
        if len(rows) >= MIN_PROPOSING
        and (
            pose := verification.pose_from_points(
                points_a_px[rows], intrinsics_a, points_b_px[rows], intrinsics_b, seed, trials
            )
        )
        is not None
        and float(geometry.rotation_angle_deg(pose.rotation @ b_from_a.rotation.T)) > FAR_DEG
    ]
    return max(rivals, default=0.0) / max(float(scores[own].sum()), 1e-9)


def copy_rival(
    b_from_a: Pose,
    features_a: Features,
    intrinsics_a: Intrinsics,
    features_b: Features,
    intrinsics_b: Intrinsics,
    matches: Matches,
    seed: int,
    min_score: float,
    enough: float,
) -> float:
    """As `far_rival`, of the best pose that is turned by more than `COPY_DEG`.

    Another copy of a print explains nearly all that one copy does, so that a search among all matches finds the one
    pose over and over. Neighbourhoods of various sizes fit each pose by chance.

    Args:
        matches: Of any score.
        seed: Of RANSAC and of the neighbourhoods.
        min_score: Matches with a lower score propose no pose.
        enough: The search ends with a rival that explains more.
    """
    points_a_px = features_a.keypoints_px[matches.indices[:, 0]]
    points_b_px = features_b.keypoints_px[matches.indices[:, 1]]
    rays_a, rays_b = geometry.unit_rays(points_a_px, intrinsics_a), geometry.unit_rays(points_b_px, intrinsics_b)
    within_rad = agreement.tolerance_rad(features_a, intrinsics_a, features_b, intrinsics_b)
    scores = matches.scores.astype(np.float64)
    own = float(scores[agreement.agree(b_from_a, rays_a, rays_b, within_rad).mask].sum())
    counted = np.flatnonzero(matches.scores >= min_score)
    best = 0.0
    for rows in _neighbourhoods(points_a_px, counted, seed):
        points = points_a_px[rows], intrinsics_a, points_b_px[rows], intrinsics_b
        pose = verification.pose_from_points(*points, seed, TRIALS_ON_NEIGHBOURHOOD)
        if pose is None or float(geometry.rotation_angle_deg(pose.rotation @ b_from_a.rotation.T)) <= COPY_DEG:
            continue
        agrees = agreement.agree(pose, rays_a, rays_b, within_rad).mask
        best = max(best, float(scores[agrees].sum()) / max(own, 1e-9))
        if best > enough:
            break
    return best


def _neighbourhoods(points_px: FloatArray, counted: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Rows of matches that lie next to one another, up to half of those that count."""
    if len(counted) < MIN_PROPOSING:
        return
    rng = np.random.default_rng(seed)
    for _ in range(NUM_NEIGHBOURHOODS):
        away_px = np.linalg.norm(points_px[counted] - points_px[rng.choice(counted)], axis=1)
        number = int(rng.integers(MIN_PROPOSING, max(MIN_PROPOSING, len(counted) // 2) + 1))
        yield counted[np.argsort(away_px, kind="stable")[:number]]


def _parts(points_px: FloatArray, own: np.ndarray, is_counted: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Rows of matches that may propose a rival, and RANSAC's trials on them."""
    yield np.flatnonzero(is_counted & ~own), TRIALS_ON_REST
    if not np.any(is_counted & own):
        return
    middle_px = np.median(points_px[is_counted & own], axis=0)
    for axis in range(2):
        is_lower = points_px[:, axis] <= middle_px[axis]
        for half in (is_lower, ~is_lower):
            yield np.flatnonzero(is_counted & half), TRIALS_ON_HALF
