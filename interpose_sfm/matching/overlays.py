"""What is burnt into pictures: the same stamp or logo matches wherever two photos were taken."""

from __future__ import annotations

import numpy as np

from interpose_sfm.products import Features, FloatArray

BORDER_SHARE = 0.1  # of the diagonal: COLMAP's watermark_border_size
WITHIN_PX = 1.0  # of one shift: what is copied lies there exactly, but for how key points are found


def overlay_share(
    features_a: Features, points_a_px: FloatArray, features_b: Features, points_b_px: FloatArray
) -> float:
    """Share of the matches that lie in the border of both photos, at one and the same shift of pixels.

    As COLMAP finds watermarks (``DetectWatermarkMatches`` in estimators/two_view_geometry.cc). It allows 4 pixels, by
    which the photos of a facade from afar have one shift, too.

    Args:
        features_a, features_b: Of the photos, for their sizes.
        points_a_px, points_b_px: (n, 2) matches that agree with a pose.
    """
    is_outer = _in_border(points_a_px, features_a.size_px) & _in_border(points_b_px, features_b.size_px)
    if not np.any(is_outer):
        return 0.0
    shifts_px = (points_b_px - points_a_px)[is_outer]
    away_px = np.linalg.norm(shifts_px - np.median(shifts_px, axis=0), axis=1)
    return float(np.sum(away_px <= WITHIN_PX)) / len(points_a_px)


def _in_border(points_px: FloatArray, size_px: tuple[int, int]) -> np.ndarray:
    width_px = BORDER_SHARE * np.hypot(*size_px)
    is_inner = np.all((points_px > width_px) & (points_px < np.array(size_px) - width_px), axis=1)
    return np.asarray(~is_inner)
