"""How far estimated poses are from the truth: errors of all pairs, and the area under their recall curve."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from interpose_sfm.geometry import link_errors_deg
from interpose_sfm.products import FloatArray, Pose

MISSING_ERROR_DEG = 180.0


def pose_errors_deg(truth: Mapping[str, Pose], estimate: Mapping[str, Pose]) -> FloatArray:
    """Relative pose errors over all pairs of photos; independent of the frame and scale of either side.

    Args:
        truth: cam_from_world of every photo that should have been reconstructed.
        estimate: cam_from_world of the photos of one model. Photos that ``truth`` does not name are ignored.

    Returns:
        One error per pair in name order, in degrees: the larger of the rotation error and the angle between the two
        translation directions, sign included. A pair with a photo that is not in the estimate counts as 180.
    """
    return np.array([
        _pair_error_deg(truth[b] @ truth[a].inverse(), estimate[b] @ estimate[a].inverse())
        if a in estimate and b in estimate
        else MISSING_ERROR_DEG
        for a, b in combinations(sorted(truth), 2)
    ])  # fmt: skip


def auc(errors_deg: ArrayLike, threshold_deg: float) -> float:
    """Area under the recall curve up to a threshold, in percent of the largest possible.

    Recall at an error is the share of pairs that are not worse, linear between the pairs.

    Raises:
        ValueError: There are no errors, or the threshold is not positive.
    """
    errors = np.sort(np.asarray(errors_deg, np.float64).ravel())
    if not len(errors) or not threshold_deg > 0:
        raise ValueError(f"errors and a positive threshold expected, got {len(errors)} errors and {threshold_deg}")
    within = errors[errors < threshold_deg]
    recall = np.arange(len(within) + 1) / len(errors)
    x = np.concatenate([[0.0], within, [threshold_deg]])
    y = np.append(recall, recall[-1])
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2.0) / threshold_deg * 100.0)


def _pair_error_deg(true_b_from_a: Pose, b_from_a: Pose) -> float:
    """The larger of the angles of rotation and of direction; 180 where one of the poses has no direction."""
    if not np.any(b_from_a.translation):
        return MISSING_ERROR_DEG
    return max(link_errors_deg(true_b_from_a, b_from_a))
