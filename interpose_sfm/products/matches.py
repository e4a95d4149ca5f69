"""Features, matches, and what they tell of a pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interpose_sfm.products.arrays import FloatArray, IndexArray


@dataclass(frozen=True)
class Features:
    """Learned local features of one image.

    Attributes:
        keypoints_px: (n, 2) float64, COLMAP pixel convention, in the full image.
        descriptors: (n, d) float32, unit length.
        scores: (n,) float32.
        size_px: (width, height) of the image.
    """

    keypoints_px: FloatArray
    descriptors: NDArray[np.float32]
    scores: NDArray[np.float32]
    size_px: tuple[int, int]


@dataclass(frozen=True)
class Matches:
    """Putative matches between two feature sets.

    Attributes:
        indices: (n, 2) uint32 rows into the features of a and b.
        scores: (n,) float32 in [0, 1].
    """

    indices: IndexArray
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Evidence:
    """How strongly putative matches say that two images show the same place.

    Look-alike structure passes every geometric test; what it lacks is the matcher's confidence and its completeness.
    The cues are independent of one another and of the number of inliers.

    Attributes:
        num_matches: Putative matches.
        num_inliers: Matches that agree with one relative pose.
        inlier_share: num_inliers / num_matches.
        mean_score: Mean confidence of all putative matches, in [0, 1].
        density: Share of the key points inside the convex hull of the inliers that are inliers; the lower one of both
            images.
        triangulation_angle_deg: Median angle between the rays of the inliers.
        is_calibrated: False if the matches agree with an uncalibrated geometry only, although the cameras are known.
    """

    num_matches: int
    num_inliers: int
    inlier_share: float
    mean_score: float
    density: float
    triangulation_angle_deg: float
    is_calibrated: bool

    @property
    def strength(self) -> float:
        """One number to order evidence by: the product of the cues in [0, 1]; not the number of inliers."""
        return self.inlier_share * self.mean_score * self.density
