"""Matches of two images that differ little, by their descriptors alone.

Between neighbouring frames of a clip descriptors tell nearly every match, at a hundredth of what a network costs there.
Where they do not, what they find is not clear by `is_clear`, and a network has to be asked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from interpose_sfm.products import Features, Matches, TwoView

SHARPNESS = 10.0
"""Of the softmax over products of descriptors of length one. With 5 no match is confident, with 20 unlike key points
get confident ones, and poses err by twice as much (docs/results/clip_steps.md)."""

MIN_SCORE = 0.3  # matches with a lower one propose no pose
MIN_CLEAR_INLIERS = 100
MIN_CLEAR_SHARE = 0.95
MIN_CLEAR_AGREEMENT = 0.9
"""What is clear by these errs by 0.2 to 0.5 degrees in the median, where a network errs by 0.2 to 0.3: enough for a
proposal, which the two photos' own matches refine and judge. With half or twice as many inliers and shares of 0.9 to
0.98 errors stay there (docs/results/clip_steps.md)."""


def nearest_matches(a: Features, b: Features, sharpness: float = SHARPNESS) -> Matches:
    """Mutually best matches by a softmax over descriptors in both directions.

    After Rocco et al. 2018, and Sun et al. 2021, section 3.3. Scores are the geometric mean of the two directions.

    Args:
        a, b: Key points with descriptors of length one.
        sharpness: Of the softmax, the inverse of its temperature.

    Returns:
        Rows into both, of any score in [0, 1].
    """
    if not (len(a.descriptors) and len(b.descriptors)):
        return Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))
    likeness = sharpness * (a.descriptors @ b.descriptors.T)
    scores = np.sqrt(_softmax(likeness, 1) * _softmax(likeness, 0))
    rows_a, rows_b = mutually_nearest(scores)
    return Matches(np.stack([rows_a, rows_b], axis=1).astype(np.uint32), scores[rows_a, rows_b])


def mutually_nearest(likeness: NDArray[np.floating]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns that are most alike to one another.

    Args:
        likeness: (n, m), at least one of each.
    """
    to_b, to_a = likeness.argmax(axis=1), likeness.argmax(axis=0)
    rows = np.flatnonzero(to_a[to_b] == np.arange(len(to_b)))
    return rows, to_b[rows]


def is_clear(found: TwoView) -> bool:
    """Whether so many matches by descriptors agree that no network need be asked."""
    evidence = found.evidence
    return (
        found.b_from_a is not None
        and evidence.num_inliers >= MIN_CLEAR_INLIERS
        and evidence.inlier_share >= MIN_CLEAR_SHARE
        and evidence.agreement >= MIN_CLEAR_AGREEMENT
    )


def _softmax(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))
