"""Whether the link of a pair is believed by its own evidence, before any other link is heard.

A wrong link is worse than no link, so a link is refused rather than guessed: the photos must be shown to be of one
place. The number of inliers does not show it, since look-alike structure yields geometry as rigid as the truth.
"""

from __future__ import annotations

import numpy as np

from interpose_sfm.options import ConsensusOptions
from interpose_sfm.products import PAIR_ALONE, Evidence, Link, LinkVerdict


def needed_score(triangulation_angle_deg: float, limits: ConsensusOptions) -> float:
    """Mean match confidence that photos at this angle must reach: the nearer they are said to be, the more."""
    return float(
        np.interp(
            triangulation_angle_deg,
            (limits.near_angle_deg, limits.far_angle_deg),
            (limits.min_score_near, limits.min_score_far),
        )
    )


def judge_evidence(evidence: Evidence, knows_cameras: bool, limits: ConsensusOptions) -> tuple[LinkVerdict, str]:
    """Whether the matches show the same place, by the cues alone.

    Args:
        evidence: Cues of a pair or of the weakest step of a bridge.
        knows_cameras: Whether the focal lengths are known, so that an uncalibrated geometry speaks against the link.
        limits: What the cues must reach.

    Returns:
        The verdict and one sentence with the figures behind it.
    """
    needed = needed_score(evidence.triangulation_angle_deg, limits)
    if evidence.num_inliers < limits.min_inliers:
        return LinkVerdict.FEW_INLIERS, f"{evidence.num_inliers} inliers, needs {limits.min_inliers}"
    if evidence.inlier_share < limits.min_inlier_share:
        return (
            LinkVerdict.LOW_SHARE,
            f"{evidence.inlier_share:.0%} of {evidence.num_matches} matches agree, needs {limits.min_inlier_share:.0%}",
        )
    if evidence.mean_score < needed:
        return (
            LinkVerdict.LOW_SCORE,
            f"mean confidence {evidence.mean_score:.2f}, needs {needed:.2f} at "
            f"{evidence.triangulation_angle_deg:.0f} degrees",
        )
    if evidence.density < limits.min_density:
        return (
            LinkVerdict.LOW_DENSITY,
            f"{evidence.density:.0%} of the key points in the matched area match, needs {limits.min_density:.0%}",
        )
    if knows_cameras and not evidence.is_calibrated:
        return LinkVerdict.NOT_CALIBRATED, "a fundamental matrix explains clearly more matches than the known cameras"
    return LinkVerdict.ACCEPTED, (
        f"{evidence.num_inliers} inliers, {evidence.inlier_share:.0%} of the matches, confidence "
        f"{evidence.mean_score:.2f}, density {evidence.density:.0%}"
    )


def judge(link: Link, knows_cameras: bool, limits: ConsensusOptions) -> tuple[LinkVerdict, str]:
    """Whether a link is believed by itself: its evidence, and what its pose must be good for.

    Returns:
        The verdict and one sentence with the figures behind it.
    """
    verdict, detail = judge_evidence(link.evidence, knows_cameras, limits)
    if verdict is not LinkVerdict.ACCEPTED:
        return verdict, detail
    if link.source == PAIR_ALONE and len(link.points_a_px) < limits.min_inliers:
        return (
            LinkVerdict.FEW_INLIERS,
            f"{len(link.points_a_px)} correspondences reach both photos, needs {limits.min_inliers}",
        )
    if not np.any(link.b_from_a.translation):
        return LinkVerdict.ROTATION_ONLY, "the photos were taken from one place"
    if link.spread_deg > limits.max_spread_deg:
        return (
            LinkVerdict.UNSURE_POSE,
            f"the pose is known to {link.spread_deg:.1f} degrees, needs {limits.max_spread_deg:.1f}",
        )
    return verdict, detail
