"""The best other pose on the matches of a pair.

Where another pose, turned far away, explains nearly as many of the same matches, the place may be right, but the pose
is not known: planes and small parts of the picture leave it open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
    views = features_a, intrinsics_a, features_b, intrinsics_b
    seen = agreement.sight(*views, matches)
    own = seen.agreeing(b_from_a)
    parts = _parts(features_a.keypoints_px[matches.indices[:, 0]], own, matches.scores >= min_score)
    return max(_explained(b_from_a, FAR_DEG, parts, views, matches, seen, seed), default=0.0)


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
    views = features_a, intrinsics_a, features_b, intrinsics_b
    seen = agreement.sight(*views, matches)
    counted = np.flatnonzero(matches.scores >= min_score)
    parts = _neighbourhoods(features_a.keypoints_px[matches.indices[:, 0]], counted, seed)
    best = 0.0
    for explained in _explained(b_from_a, COPY_DEG, parts, views, matches, seen, seed):
        best = max(best, explained)
        if best > enough:
            break
    return best


def _explained(
    b_from_a: Pose,
    least_deg: float,
    parts: Iterable[tuple[np.ndarray, int]],
    views: tuple[Features, Intrinsics, Features, Intrinsics],
    matches: Matches,
    seen: agreement.Sight,
    seed: int,
) -> Iterator[float]:
    """What poses that are turned by more than an angle explain / what this one does.

    Args:
        b_from_a: This pose.
        least_deg: The angle.
        parts: Rows of matches that may propose a pose, and RANSAC's trials on them.
        views: Features and camera of each photo.
        matches, seen: What poses are held against.
        seed: Of RANSAC.
    """
    own = max(seen.weight(b_from_a), 1e-9)
    for rows, trials in parts:
        if len(rows) < MIN_PROPOSING:
            continue
        points_a_px, points_b_px = verification.matched_points(views[0], views[2], matches, rows.astype(np.uint32))
        pose = verification.pose_from_points(points_a_px, views[1], points_b_px, views[3], seed, trials)
        if pose is not None and float(geometry.rotation_angle_deg(pose.rotation @ b_from_a.rotation.T)) > least_deg:
            yield seen.weight(pose) / own


def _neighbourhoods(points_px: FloatArray, counted: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, int]]:
    """Rows of matches that lie next to one another, up to half of those that count, and RANSAC's trials on them."""
    if len(counted) < MIN_PROPOSING:
        return
    rng = np.random.default_rng(seed)
    for _ in range(NUM_NEIGHBOURHOODS):
        away_px = np.linalg.norm(points_px[counted] - points_px[rng.choice(counted)], axis=1)
        number = int(rng.integers(MIN_PROPOSING, max(MIN_PROPOSING, len(counted) // 2) + 1))
        yield counted[np.argsort(away_px, kind="stable")[:number]], TRIALS_ON_NEIGHBOURHOOD


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
