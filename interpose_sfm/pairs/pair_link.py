"""What the learned matches of two photos say by themselves."""

from __future__ import annotations

from interpose_sfm.matching import overlays, rivals, silence, verification
from interpose_sfm.pairs.judge import RIVAL_OF_COPIES, is_small_patch
from interpose_sfm.pairs.proposals import Views
from interpose_sfm.products import PAIR_ALONE, Doubts, ImagePair, Link, Matches, PairMatch, TwoView

NUM_SEARCHES_OF_PATCH = 8
"""For a rival of a small patch: of a wallpaper's roses, one search in two found the pose of another copy."""
NUM_SEEDS = 2**31  # of RANSAC: beyond these a seed is none


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
    heard = silence.listen(two_view.b_from_a, *views, matches.above(min_score).indices)
    doubts = Doubts(
        _far_rival(two_view, heard.num_satellites, views, matches, seed, min_score),
        heard.silence_a,
        heard.silence_b,
        heard.num_satellites,
        heard.whisper,
        overlays.overlay_share(views[0], points_a_px, views[2], points_b_px),
    )
    cues = two_view.evidence, PAIR_ALONE
    link = Link(pair, two_view.b_from_a, two_view.spread_deg, points_a_px, points_b_px, *cues, doubts=doubts)
    return PairMatch(two_view, link)


def _far_rival(
    two_view: TwoView, num_satellites: int, views: Views, matches: Matches, seed: int, min_score: float
) -> float:
    """The best of several searches where one patch matches, for one of them may miss what the next one finds."""
    assert two_view.b_from_a is not None
    is_small = is_small_patch(two_view.evidence.weight, num_satellites)
    found = 0.0
    for search in range(NUM_SEARCHES_OF_PATCH if is_small else 1):
        found = max(found, rivals.far_rival(two_view.b_from_a, *views, matches, (seed + search) % NUM_SEEDS, min_score))
        if found > RIVAL_OF_COPIES:
            break
    return found
