"""COLMAP's own limits, where the stages around it must draw the line where COLMAP does."""

from __future__ import annotations

MIN_VERIFIED_MATCHES = 15
"""Inliers of a pair below which COLMAP does not count it as verified (``min_num_inliers`` of its two-view geometry) and
its mapper passes it over (``min_num_matches``)."""

MAX_ERROR_PX = 4.0
"""Error of an inlier of a two-view geometry (``max_error`` of COLMAP's RANSAC)."""

FOCAL_RANGE = (0.35, 3.0)
"""Focal lengths that are usual, as factors of the longer side: wide-angle to long lenses. Of cameras that small angles
leave open came 0.02, 4 and 60 times the longer side, with perfect residuals."""
