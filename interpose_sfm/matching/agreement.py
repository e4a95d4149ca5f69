"""Which matches agree with a relative pose, and how little luck explains that so many do.

Whatever is measured here is relative to the pictures or dimensionless, so that it means the same in every collection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interpose_sfm import geometry
from interpose_sfm.products import Features, FloatArray, Intrinsics, Matches, Pose

NETWORK_PX = 1024  # long side of the picture in which key points are found; smaller ones are not enlarged
TOLERANCE_NETWORK_PX = 2.5
"""Key points err in proportion to the picture that the network saw: 3.9 px in a photo of 1600 px, where COLMAP allows
4, and 2.5 px in one of 1024."""

KEYPOINT_SIGMA_PX = 1.0  # neighbouring key points err alike, so residuals alone make a pose look too sure
MIN_CHANCE = 1e-4  # of one match: below the grain of a few thousand key points nothing can be measured
MAX_SURPRISE = 999.0
POSES_PER_SAMPLE = 10  # at most, of five matches (Nister 2004)
POSE_FREEDOM = 5


@dataclass(frozen=True)
class Agreement:
    """Which matches agree with a pose.

    Attributes:
        mask: (n,) true where the rays meet within the tolerance, in front of both cameras.
        depths_a, depths_b: (n,) distances along the unit rays, in baselines; infinite where they are not known.
    """

    mask: NDArray[np.bool_]
    depths_a: FloatArray
    depths_b: FloatArray


def tolerance_px(size_px: tuple[int, int]) -> float:
    """Error of a key point in a picture of this size."""
    return TOLERANCE_NETWORK_PX * max(1.0, max(size_px) / NETWORK_PX)


def tolerance_rad(
    features_a: Features, intrinsics_a: Intrinsics, features_b: Features, intrinsics_b: Intrinsics
) -> float:
    """The angle by which a match may miss an epipolar plane, the larger of both pictures."""
    return max(
        tolerance_px(features_a.size_px) / intrinsics_a.focal_px,
        tolerance_px(features_b.size_px) / intrinsics_b.focal_px,
    )


@dataclass(frozen=True)
class Sight:
    """Rays and matches of two photos.

    Attributes:
        rays_a, rays_b: (n, 3) unit rays of the matches.
        all_a, all_b: Of all key points.
        scores: (n,) the matcher's confidence.
        within_rad: By how much a match may miss.
    """

    rays_a: FloatArray
    rays_b: FloatArray
    all_a: FloatArray
    all_b: FloatArray
    scores: FloatArray
    within_rad: float

    def agreeing(self, pose: Pose) -> NDArray[np.bool_]:
        """(n,) which matches agree with a pose."""
        return agree(pose, self.rays_a, self.rays_b, self.within_rad).mask

    def weight(self, pose: Pose) -> float:
        """Confidence of the matches that agree with a pose."""
        return float(self.scores[self.agreeing(pose)].sum())


def sight(
    features_a: Features, intrinsics_a: Intrinsics, features_b: Features, intrinsics_b: Intrinsics, matches: Matches
) -> Sight:
    """What poses are held against; matches of any score."""
    all_a = geometry.unit_rays(features_a.keypoints_px, intrinsics_a)
    all_b = geometry.unit_rays(features_b.keypoints_px, intrinsics_b)
    return Sight(
        all_a[matches.indices[:, 0]],
        all_b[matches.indices[:, 1]],
        all_a,
        all_b,
        matches.scores.astype(np.float64),
        tolerance_rad(features_a, intrinsics_a, features_b, intrinsics_b),
    )


def agree(b_from_a: Pose, rays_a: FloatArray, rays_b: FloatArray, within_rad: float) -> Agreement:
    """Which unit rays lie within an angle of one another's epipolar plane, and meet in front of both cameras.

    Of a pure rotation: which lie within the angle of where the rotation takes the other. NaN agrees with nothing.
    """
    in_b, t = rays_a @ b_from_a.rotation.T, b_from_a.translation
    if not np.any(t):
        far = np.full(len(rays_a), np.inf)
        return Agreement(np.linalg.norm(in_b - rays_b, axis=1) < within_rad, far, far)
    off = np.maximum(_sine_to_plane(np.cross(t, in_b), rays_b), _sine_to_plane(np.cross(t, rays_b), in_b))
    cosine = np.sum(in_b * rays_b, axis=1)
    square = np.maximum(1 - cosine**2, 1e-12)
    along_a, along_b = in_b @ t, rays_b @ t
    depths_a, depths_b = (cosine * along_b - along_a) / square, (along_b - cosine * along_a) / square
    is_far = (square < (2 * within_rad) ** 2) & (cosine > 0)  # parallel within the error: no depth, but in front
    in_front = is_far | ((depths_a > 0) & (depths_b > 0))
    mask = (np.arcsin(np.clip(off, 0, 1)) < within_rad) & in_front
    depths_a, depths_b = (np.where(is_far | ~(depths > 0), np.inf, depths) for depths in (depths_a, depths_b))
    return Agreement(mask, depths_a, depths_b)


def _sine_to_plane(normals: FloatArray, rays: FloatArray) -> FloatArray:
    lengths = np.maximum(np.linalg.norm(normals, axis=1), 1e-9)
    return np.asarray(np.abs(np.sum(normals * rays, axis=1)) / lengths)


def chance(
    b_from_a: Pose,
    rays_a: FloatArray,
    all_a: FloatArray,
    rays_b: FloatArray,
    all_b: FloatArray,
    within_rad: float,
) -> float:
    """How probably one match agrees with a pose by luck.

    The share of the other photo's key points that lie in the epipolar band of a match's point, its mean over the
    matches, the larger of both photos. It holds the width of the band, an epipole inside of the picture, and key points
    that crowd along a line: the pose's own generosity.

    Args:
        rays_a, rays_b: Of the matches.
        all_a, all_b: Of all key points.
    """
    in_b, everything_in_b = rays_a @ b_from_a.rotation.T, all_a @ b_from_a.rotation.T
    if not np.any(b_from_a.translation):
        share = float(np.mean(in_b @ all_b.T > np.cos(within_rad)))
    else:
        share = max(
            _share_in_band(np.cross(b_from_a.translation, in_b), all_b, within_rad),
            _share_in_band(np.cross(b_from_a.translation, rays_b), everything_in_b, within_rad),
        )
    return float(np.clip(share, MIN_CHANCE, 1.0))


def _share_in_band(normals: FloatArray, rays: FloatArray, within_rad: float) -> float:
    unit = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return float(np.mean(np.abs(unit @ rays.T) < within_rad))


def surprise(num_agreeing: int, num: int, chance: float, freedom: int = 0, tests: float = 1.0) -> float:
    """-log10 of the number of false alarms: how often luck makes as many of so many matches agree with some pose.

    ``tests * C(num, freedom) * P(at least num_agreeing - freedom of num - freedom agree by luck)`` (Moisan and Stival
    2004; Moulon et al. 2012): the matches that made the pose agree by construction, and every choice of them is a test.

    Args:
        num_agreeing, num: Matches that agree, and all of them.
        chance: Of one match to agree by luck.
        freedom: Matches that determine the pose; 0 for a pose that was not made of these matches.
        tests: Poses per choice of matches.
    """
    from scipy.special import gammaln
    from scipy.stats import binom

    if num_agreeing <= freedom:
        return 0.0
    tail = float(binom.logsf(num_agreeing - freedom - 1, num - freedom, chance)) / np.log(10)
    choices = float(gammaln(num + 1) - gammaln(freedom + 1) - gammaln(num - freedom + 1)) / np.log(10)
    return float(np.clip(-tail - choices - np.log10(tests), 0.0, MAX_SURPRISE))
