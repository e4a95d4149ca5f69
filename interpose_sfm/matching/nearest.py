"""Matches of two images that differ little, by their descriptors alone.

Between neighbouring frames of a clip descriptors tell nearly every match, at a hundredth of what a network costs there.
Where they do not, what they find is not clear by `is_clear`, and a network has to be asked.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from interpose_sfm.matching import agreement, verification
from interpose_sfm.products import Features, Intrinsics, Matches, TwoView

SHARPNESS = 10.0
"""Of the softmax over products of descriptors of length one. With 5 no match is confident, with 20 unlike key points
get confident ones, and poses err by twice as much (docs/results/clip_steps.md)."""

MIN_SCORE = 0.5
"""Matches with a lower one propose no pose. With 0.3 poses err by up to twice as much as those of a network, with 0.5
by as much, and nearly as many pairs are clear; with 0.7 half as many (docs/results/clip_steps.md)."""

MIN_TRACK_SCORE = 0.3
"""Matches from this score on that agree with a clear pose bear tracks. Without them a photo that a clip links may have
too few points to be placed (castle-P30_s5, AUC@30 64.9, and 97.5 to 97.6 with limits from 0.2 to 0.4)."""

MIN_CLEAR_INLIERS = 100
MIN_CLEAR_SHARE = 0.95
MIN_CLEAR_AGREEMENT = 0.9
"""Half as many inliers and shares from 0.8 to 0.98 give the same errors in the median, to a tenth of a degree
(docs/results/clip_steps.md)."""

CLEAR_NUM_TRIALS = 100  # of RANSAC: of five matches all agree in three of four draws where 95 percent do


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


def clear_edge(
    features_a: Features, intrinsics_a: Intrinsics, features_b: Features, intrinsics_b: Intrinsics, seed: int
) -> tuple[Matches, TwoView] | None:
    """Matches of two images and what they verify, None where a network has to be asked.

    Inliers are the confident matches of the pose, and the doubtful ones that agree with it; evidence counts the first,
    in the measures of a network's: as dense as all of them, as confident as the first are right.

    Args:
        features_a, features_b: Key points in the pixels of the intrinsics.
        seed: Equal seeds give equal results.
    """
    matches = nearest_matches(features_a, features_b)
    if np.count_nonzero(matches.scores >= MIN_SCORE) < MIN_CLEAR_INLIERS:
        return None
    found = verification.verify(
        features_a, intrinsics_a, features_b, intrinsics_b, matches, seed, MIN_SCORE, CLEAR_NUM_TRIALS
    )
    if not is_clear(found):
        return None
    assert found.b_from_a is not None
    kept = agreement.sight(features_a, intrinsics_a, features_b, intrinsics_b, matches).agreeing(found.b_from_a)
    kept &= matches.scores >= MIN_TRACK_SCORE
    kept[found.inliers] = True
    inliers = np.flatnonzero(kept).astype(np.uint32)
    points_a_px, points_b_px = verification.matched_points(features_a, features_b, matches, inliers)
    evidence = replace(
        found.evidence,
        mean_score=found.evidence.inlier_share,  # a softmax is no probability: this is, of the confident matches
        density=verification.density(features_a, points_a_px, features_b, points_b_px),
    )
    return matches, replace(found, inliers=inliers, evidence=evidence)


def _softmax(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))
