"""What should match in two photos and does not: the look-alike object before other backgrounds.

An object with a repeated print matches itself from the other side, as rigidly as the truth. Then one patch of the
photos matches, and all around it both photos show what the other should show, too, and does not (missing
correspondences: Zach et al. 2008; Heinly et al. 2014; Yan et al. 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interpose_sfm import geometry
from interpose_sfm.matching import agreement
from interpose_sfm.matching.nearest import mutually_nearest
from interpose_sfm.products import Features, FloatArray, IndexArray, Intrinsics, Pose

NEAR_SHARE = 0.05  # of the diagonal: key points within it of an agreeing match are not silent (the grain of pictures)
BORDER_SHARE = 0.01  # of the diagonal: what is predicted nearer to the border may be outside
MAX_SCALE = 2.0  # key points match up to about this change of scale
CLOSER = 1.5  # than the nearest match may a key point be whose scale is asked for
NUM_DEPTHS = 6
NEAREST_QUANTILE = 0.05  # of the depths of the matches
MIN_WHISPERING = 5  # silent points in either photo
MIN_CHANCE = 2e-3
NUM_SHIFTS = 30


@dataclass(frozen=True)
class Silence:
    """See `products.Doubts`."""

    silence_a: float
    silence_b: float
    num_satellites: int
    whisper: float


@dataclass(frozen=True)
class _Side:
    """One photo as the other hears it.

    Attributes:
        rays: Unit rays of all key points.
        matched: Rows of the key points that agree with the pose.
        depths: Of these, along the ray, in baselines; infinite where not known.
    """

    features: Features
    intrinsics: Intrinsics
    rays: FloatArray
    matched: IndexArray
    depths: FloatArray


def listen(
    b_from_a: Pose,
    features_a: Features,
    intrinsics_a: Intrinsics,
    features_b: Features,
    intrinsics_b: Intrinsics,
    rows: IndexArray,
) -> Silence:
    """What two photos lack under a pose.

    Args:
        rows: (n, 2) rows of the features that are matched.
    """
    within_rad = agreement.tolerance_rad(features_a, intrinsics_a, features_b, intrinsics_b)
    all_a = geometry.unit_rays(features_a.keypoints_px, intrinsics_a)
    all_b = geometry.unit_rays(features_b.keypoints_px, intrinsics_b)
    agreeing = agreement.agree(b_from_a, all_a[rows[:, 0]], all_b[rows[:, 1]], within_rad)
    mask = agreeing.mask
    if not np.any(mask):
        return Silence(0.0, 0.0, 0, 0.0)
    a = _Side(features_a, intrinsics_a, all_a, rows[mask, 0], agreeing.depths_a[mask])
    b = _Side(features_b, intrinsics_b, all_b, rows[mask, 1], agreeing.depths_b[mask])
    away_a, away_b = _away(a), _away(b)
    return Silence(
        float(np.mean(away_a & _is_asked_for(a, b_from_a, b))),
        float(np.mean(away_b & _is_asked_for(b, b_from_a.inverse(), a))),
        min(_num_satellites(a), _num_satellites(b)),
        _whisper(a, away_a, b, away_b, b_from_a, 2 * within_rad),
    )


def grain_px(size_px: tuple[int, int]) -> float:
    """The grain of a picture: key points within it of a match are near it."""
    return float(NEAR_SHARE * np.hypot(*size_px))


def are_near(points_px: FloatArray, others_px: FloatArray, within_px: float) -> NDArray[np.bool_]:
    """(n,) which points have one of the others within a distance."""
    from scipy.spatial import cKDTree

    if not len(others_px):
        return np.zeros(len(points_px), bool)
    return np.asarray(cKDTree(others_px).query(points_px)[0] <= within_px)


def are_inside(x_in_camera: FloatArray, intrinsics: Intrinsics) -> NDArray[np.bool_]:
    """(...,) which (..., 3) points a photo shows, and not so near to its border that it may miss them."""
    size_px = np.array([intrinsics.width_px, intrinsics.height_px])
    margin_px = BORDER_SHARE * np.hypot(*size_px)
    seen_px = geometry.project(x_in_camera, intrinsics)  # NaN behind the camera, which is not inside
    return np.asarray(np.all((seen_px > margin_px) & (seen_px < size_px - margin_px), axis=-1))


def _are_open(x_in_camera: FloatArray, side: _Side) -> NDArray[np.bool_]:
    """(...,) which (..., 3) points a photo shows where it can have key points."""
    inside = are_inside(x_in_camera, side.intrinsics)
    mask = side.features.mask
    if mask is not None:
        columns, rows = np.floor(geometry.project(x_in_camera[inside], side.intrinsics)).astype(int).T
        inside[inside] = mask[rows, columns]
    return inside


def _away(side: _Side) -> NDArray[np.bool_]:
    """Which key points lie away from all that match."""
    points_px = side.features.keypoints_px
    return ~are_near(points_px, points_px[side.matched], grain_px(side.features.size_px))


def _num_satellites(side: _Side) -> int:
    """Matched key points that are not in the largest patch of them, whose members lie near one another."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    points_px = side.features.keypoints_px[side.matched]
    number = len(points_px)
    pairs = cKDTree(points_px).query_pairs(grain_px(side.features.size_px), output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(number, number))
    patch = connected_components(graph, directed=False)[1]
    return number - int(np.bincount(patch).max())


def _is_asked_for(side: _Side, other_from_here: Pose, other: _Side) -> NDArray[np.bool_]:
    """Which key points the other photo must show, not under its mask, and at a scale that matches.

    Their depths are not known: all from the nearest match to infinity count. For the scale they count from two thirds
    of that, so that forward motion, where near things change scale, is no silence.
    """
    known = side.depths[np.isfinite(side.depths)]
    nearest = float(1 / np.quantile(known, NEAREST_QUANTILE)) if len(known) else 0.0
    turned = (side.rays @ other_from_here.rotation.T)[:, None]

    def there(largest: float) -> FloatArray:
        steps = np.linspace(0.0, largest, NUM_DEPTHS)[None, :, None]
        return np.asarray(turned + steps * other_from_here.translation)

    is_inside = np.all(_are_open(there(nearest), other), axis=1)
    scale = np.linalg.norm(there(CLOSER * nearest), axis=-1)  # distance there / distance here
    is_alike = np.all((scale > 1 / MAX_SCALE) & (scale < MAX_SCALE), axis=1)
    return np.asarray(is_inside & is_alike)


def _whisper(
    a: _Side, away_a: NDArray[np.bool_], b: _Side, away_b: NDArray[np.bool_], b_from_a: Pose, within_rad: float
) -> float:
    """Surprise of mutually nearest descriptors among silent points that agree with the pose.

    The matcher is out of its depth where photos differ much; what its descriptors still say of the background tells a
    wide baseline from another background. Luck is measured on the same pairs, each point with others' partners.
    """
    rows_a, rows_b = np.flatnonzero(away_a), np.flatnonzero(away_b)
    if min(len(rows_a), len(rows_b)) < MIN_WHISPERING:
        return 0.0
    likeness = a.features.descriptors[rows_a] @ b.features.descriptors[rows_b].T
    nearest_a, nearest_b = mutually_nearest(likeness)
    rays_a, rays_b = a.rays[rows_a[nearest_a]], b.rays[rows_b[nearest_b]]

    def num_agreeing(shift: int) -> int:
        return int(agreement.agree(b_from_a, rays_a, np.roll(rays_b, shift, axis=0), within_rad).mask.sum())

    shifts = np.unique(np.linspace(1, max(len(rays_a) - 1, 1), NUM_SHIFTS).astype(int))
    luck = float(np.mean([num_agreeing(int(shift)) for shift in shifts])) / len(rays_a)
    return agreement.surprise(num_agreeing(0), len(rays_a), float(np.clip(luck, MIN_CHANCE, 1.0)))
