"""A pose that comes from elsewhere, held against the matches of two photos.

What proposed it did not see these matches, so it has no freedom left among them: a dozen of them on its epipolar lines
are stronger evidence than many more on those of a pose that was made of them (a contrario, Desolneux et al. 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.matching import agreement
from interpose_sfm.matching.agreement import Sight
from interpose_sfm.matching.nearest import mutually_nearest
from interpose_sfm.products import Features, FloatArray, IndexArray, Matches, Pose

BAND_SCALES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Widths of the epipolar bands in which a pose as proposed is looked for, in tolerances: it is not exact."""

STEPS = (16.0, 8.0, 4.0, 2.0, 1.0)  # tolerances of the refinement, coarse to fine
ITERATIONS_PER_STEP = 4
START_SHARE = 0.5  # of the bound: how far from the proposal the other starts of the refinement lie
MAX_SEARCHED = 300  # matches, the most confident: more cost time and do not move the search
NUM_FINISHED = 3  # starts that are followed to the finest step
GUIDED_QUANTILE = 0.5  # of the likeness of the matches that agree: what guided matches must reach
MAX_GUIDED_BY_LUCK = 0.2  # of the guided matches may be found in the bands of other points as well; else none is taken
NUM_SHIFTS = 4
DEPTH_MARGIN = 2.0  # guided matches lie no nearer than the nearest match over this


def surprise(pose: Pose, seen: Sight, tests: float) -> float:
    """Surprise of a pose that was not made of these matches, in the band that is most surprising.

    Args:
        tests: Poses that were tried; each band is a test more.
    """
    number = len(seen.scores)
    if number == 0:
        return 0.0
    values = []
    for scale in BAND_SCALES:
        within_rad = scale * seen.within_rad
        num_agreeing = int(agreement.agree(pose, seen.rays_a, seen.rays_b, within_rad).mask.sum())
        luck = agreement.chance(pose, seen.rays_a, seen.all_a, seen.rays_b, seen.all_b, within_rad)
        values.append(agreement.surprise(num_agreeing, number, luck, 0, tests * len(BAND_SCALES)))
    return max(values)


def refined_surprise(pose: Pose, seen: Sight, tests: float) -> float:
    """Surprise of a pose after it was refined on the matches: what agrees then agrees with the best of many poses."""
    number = len(seen.scores)
    if number == 0:
        return 0.0
    mask = seen.agreeing(pose)
    luck = agreement.chance(pose, seen.rays_a, seen.all_a, seen.rays_b, seen.all_b, seen.within_rad)
    freedom = agreement.POSE_FREEDOM if np.any(pose.translation) else 3
    return agreement.surprise(int(mask.sum()), number, luck, freedom, tests)


def refine(proposed: Pose, bound_deg: float, seen: Sight, others: Sequence[Pose] = ()) -> tuple[Pose, int]:
    """The pose near a proposal with which most of the matches' confidence agrees.

    Coarse to fine from the proposal and from starts around it, each match weighted by its confidence. Bounded: a search
    that is not slides to the optimum of look-alike structure, far away.

    Args:
        proposed: With a unit translation, or without one: then so is the answer.
        bound_deg: Neither rotation nor direction leaves the proposal by more.
        seen: Of the two photos.
        others: Poses from elsewhere that count if they lie within the bound.

    Returns:
        The pose, and how many starts were tried. The proposal itself where nothing is gained.
    """
    if len(seen.scores) < agreement.POSE_FREEDOM + 1:
        return proposed, 1
    bound_rad, few = float(np.radians(bound_deg)), _most_confident(seen)
    starts = _starts(proposed, START_SHARE * bound_rad)
    coarse = [_search(start, proposed, bound_rad, few, STEPS[:2]) for start in starts]
    coarse.sort(key=lambda pose: -_soft_weight(pose, few, STEPS[1]))
    found = [_search(pose, proposed, bound_rad, few, STEPS[2:]) for pose in (*coarse[:NUM_FINISHED], proposed)]
    found += [pose for pose in others if is_within(pose, proposed, bound_deg)]
    best, best_weight = proposed, seen.weight(proposed)
    for pose in found:
        weight = seen.weight(pose)
        if weight > best_weight:
            best, best_weight = pose, weight
    return best, len(starts) + len(others)


def _most_confident(seen: Sight) -> Sight:
    rows = np.sort(np.argsort(-seen.scores, kind="stable")[:MAX_SEARCHED])
    return replace(seen, rays_a=seen.rays_a[rows], rays_b=seen.rays_b[rows], scores=seen.scores[rows])


def is_within(pose: Pose, proposed: Pose, bound_deg: float) -> bool:
    """Whether a pose is a variant of another one: rotation and direction within an angle, or both pure rotations."""
    if float(geometry.rotation_angle_deg(pose.rotation @ proposed.rotation.T)) > bound_deg:
        return False
    lengths = np.any(pose.translation), np.any(proposed.translation)
    if not all(lengths):
        return not any(lengths)
    return float(geometry.direction_angle_deg(pose.translation, proposed.translation)) <= bound_deg


def _starts(proposed: Pose, by_rad: float) -> list[Pose]:
    freedom = 5 if np.any(proposed.translation) else 3
    return [proposed, *(_moved(proposed, sign * by_rad * axis) for axis in np.eye(freedom) for sign in (1.0, -1.0))]


def _moved(pose: Pose, by: FloatArray) -> Pose:
    """Turned by a rotation vector, and the direction moved within its tangent plane."""
    rotation = geometry.rotation_exp(by[:3]) @ pose.rotation
    if len(by) == 3:
        return Pose(rotation, pose.translation)
    direction = pose.translation + _tangent(pose.translation) @ by[3:]
    return Pose(rotation, direction / np.linalg.norm(direction))


def _tangent(direction: FloatArray) -> FloatArray:
    """(3, 2) orthogonal to a direction."""
    return np.asarray(np.linalg.svd(direction[None])[2][1:].T)


def _residuals(pose: Pose, seen: Sight) -> FloatArray:
    """(n, k) how far the matches miss: the signed sines to the epipolar planes, or the offsets under a rotation."""
    return _linearized(pose, seen)[0]


def _linearized(pose: Pose, seen: Sight) -> tuple[FloatArray, FloatArray]:
    """Residuals (n, k) and their derivatives (n, k, 3 or 5) by the parameters of `_moved`.

    The lengths of the normals are taken as constant: they change what a residual weighs, not where it is zero.
    """
    in_b, rays_b, t = seen.rays_a @ pose.rotation.T, seen.rays_b, pose.translation
    if not np.any(t):
        axes = np.eye(3)
        return in_b - rays_b, np.stack([np.cross(axis, in_b) for axis in axes], axis=-1)
    across = np.cross(in_b, rays_b)
    lengths = np.maximum([np.linalg.norm(np.cross(t, in_b), axis=1), np.linalg.norm(np.cross(t, rays_b), axis=1)], 1e-9)
    length = lengths.min(axis=0)[:, None]
    by_turn = (in_b @ t)[:, None] * rays_b - np.sum(in_b * rays_b, axis=1)[:, None] * t
    return (across @ t)[:, None] / length, (np.hstack([by_turn, across @ _tangent(t)]) / length)[:, None]


def _weights(residuals: FloatArray, seen: Sight, sigma: float) -> FloatArray:
    square = np.sum(residuals**2, axis=1) / sigma**2
    return np.asarray(seen.scores / (1 + square) ** 2)  # Geman and McClure


def _soft_weight(pose: Pose, seen: Sight, scale: float) -> float:
    square = np.sum(_residuals(pose, seen) ** 2, axis=1) / (scale * seen.within_rad) ** 2
    in_front = agreement.agree(pose, seen.rays_a, seen.rays_b, 3 * scale * seen.within_rad).mask
    return float(np.sum(seen.scores * in_front / (1 + square)))


def _search(start: Pose, proposed: Pose, bound_rad: float, seen: Sight, steps: Sequence[float]) -> Pose:
    """Weighted Gauss-Newton from coarse to fine; a step that leaves the bound is not taken."""
    pose, bound_deg = start, float(np.degrees(bound_rad))
    freedom = 5 if np.any(start.translation) else 3
    for scale in steps:
        for _ in range(ITERATIONS_PER_STEP):
            residuals, jacobian = _linearized(pose, seen)
            weights = _weights(residuals, seen, scale * seen.within_rad)
            normal = np.einsum("n,nki,nkj->ij", weights, jacobian, jacobian)
            gradient = np.einsum("n,nki,nk->i", weights, jacobian, residuals)
            damping = 1e-9 + (scale * seen.within_rad / bound_rad) ** 2 * float(weights.sum()) * 1e-2
            by = -np.linalg.solve(normal + damping * np.eye(freedom), gradient)
            by *= min(1.0, START_SHARE * bound_rad / max(float(np.linalg.norm(by)), 1e-12))
            moved = _moved(pose, by)
            if not is_within(moved, proposed, bound_deg):
                break
            pose = moved
    return pose


def guided(
    pose: Pose,
    features_a: Features,
    features_b: Features,
    matches: Matches,
    seen: Sight,
) -> IndexArray:
    """(m, 2) further correspondences along the epipolar lines of a pose that is believed.

    Of the key points that no agreeing match has, those that are mutually most alike within each other's bands, at
    depths from the nearest match on, and as much alike as half of the matches that agree are. Luck is measured on the
    same key points, each with the bands of others; where it finds nearly as many, the descriptors cannot tell.
    """
    agreeing = agreement.agree(pose, seen.rays_a, seen.rays_b, seen.within_rad)
    rows = matches.indices[agreeing.mask]
    nothing = np.zeros((0, 2), np.uint32)
    if len(rows) < agreement.POSE_FREEDOM or not np.any(pose.translation):
        return nothing
    free_a = np.setdiff1d(np.arange(len(seen.all_a)), rows[:, 0])
    free_b = np.setdiff1d(np.arange(len(seen.all_b)), rows[:, 1])
    if min(len(free_a), len(free_b)) == 0:
        return nothing
    alike = np.sum(features_a.descriptors[rows[:, 0]] * features_b.descriptors[rows[:, 1]], axis=1)
    known = agreeing.depths_a[agreeing.mask & np.isfinite(agreeing.depths_a)]
    nearest = float(known.min()) / DEPTH_MARGIN if len(known) else 0.0
    likeness = (features_a.descriptors[free_a] @ features_b.descriptors[free_b].T).astype(np.float64)
    least = float(np.quantile(alike, GUIDED_QUANTILE))
    in_b = seen.all_a[free_a] @ pose.rotation.T
    normals = np.cross(pose.translation, in_b)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    found = _alike_in_bands(normals, seen.all_b[free_b], likeness, least, seen.within_rad)
    shifts = np.unique(np.linspace(1, max(len(normals) - 1, 1), NUM_SHIFTS).astype(int))
    bands_of_others = [np.roll(normals, int(shift), axis=0) for shift in shifts]
    by_luck = np.mean(
        [len(_alike_in_bands(n, seen.all_b[free_b], likeness, least, seen.within_rad)) for n in bands_of_others]
    )
    if by_luck > MAX_GUIDED_BY_LUCK * len(found):
        return nothing
    found_a, found_b = free_a[found[:, 0]], free_b[found[:, 1]]
    met = agreement.agree(pose, seen.all_a[found_a], seen.all_b[found_b], seen.within_rad)
    kept = met.mask & (met.depths_a >= nearest)
    return np.stack([found_a[kept], found_b[kept]], 1).astype(np.uint32)


def _alike_in_bands(
    normals: FloatArray, rays: FloatArray, likeness: FloatArray, least: float, within_rad: float
) -> IndexArray:
    """(m, 2) rows that are mutually most alike, among those whose rays lie in the band of a normal."""
    inside = np.where(np.abs(normals @ rays.T) < np.sin(within_rad), likeness, -np.inf)
    rows, columns = mutually_nearest(inside)
    alike = inside[rows, columns] >= least
    return np.stack([rows[alike], columns[alike]], 1)
