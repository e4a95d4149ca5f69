"""What the learned matches of two photos say by themselves."""

from __future__ import annotations

from dataclasses import replace

from interpose_sfm.matching import pure_rotation, rivals, verification
from interpose_sfm.pairs.judge import RIVAL_OF_COPIES, is_small_patch
from interpose_sfm.pairs.proposals import Views, doubts_of
from interpose_sfm.products import PAIR_ALONE, ImagePair, Link, Matches, PairMatch, PoseStatus

MIN_ASKED = 0.5  # agreement: what is below is not believed anyway


def pair_link(
    pair: ImagePair,
    views: Views,
    matches: Matches,
    seed: int,
    min_score: float,
) -> PairMatch:
    """What learned matches of two photos say: their two-view geometry, and the link with what speaks against it.

    Args:
        pair: The photos.
        views: Features and camera of each.
        matches: Of any score.
        seed: Of everything that is random.
        min_score: Matches with a lower score propose no pose.
    """
    two_view = verification.verify(*views, matches, seed, min_score)
    if two_view.b_from_a is None:
        return PairMatch(two_view, None)
    points_a_px, points_b_px = verification.matched_points(views[0], views[2], matches, two_view.inliers)
    spread_deg = two_view.spread_deg
    if two_view.status is PoseStatus.ROTATION_ONLY:
        spread_deg = pure_rotation.spread_deg(two_view.b_from_a.rotation, points_a_px, views[1], points_b_px, views[3])
    cues = two_view.evidence, PAIR_ALONE
    link = Link(pair, two_view.b_from_a, spread_deg, points_a_px, points_b_px, *cues)
    doubts = doubts_of(link, views, matches, seed, min_score)
    if link.evidence.agreement >= MIN_ASKED and is_small_patch(link.evidence.weight, doubts.num_satellites):
        copied = rivals.copy_rival(link.b_from_a, *views, matches, seed, min_score, RIVAL_OF_COPIES)
        doubts = replace(doubts, copy_rival=copied)
    return PairMatch(two_view, replace(link, doubts=doubts))
