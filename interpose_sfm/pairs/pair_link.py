"""What the learned matches of two photos say by themselves."""

from __future__ import annotations

from interpose_sfm.matching import overlays, rivals, silence, verification
from interpose_sfm.pairs.judge import RIVAL_OF_COPIES, is_small_patch
from interpose_sfm.pairs.proposals import Views
from interpose_sfm.products import PAIR_ALONE, Doubts, ImagePair, Link, Matches, PairMatch, TwoView

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
    heard = silence.listen(two_view.b_from_a, *views, matches.above(min_score).indices)
    doubts = Doubts(
        rivals.far_rival(two_view.b_from_a, *views, matches, seed, min_score),
        heard.silence_a,
        heard.silence_b,
        heard.num_satellites,
        heard.whisper,
        overlays.overlay_share(views[0], points_a_px, views[2], points_b_px),
        _copy_rival(two_view, heard.num_satellites, views, matches, seed, min_score),
    )
    cues = two_view.evidence, PAIR_ALONE
    link = Link(pair, two_view.b_from_a, two_view.spread_deg, points_a_px, points_b_px, *cues, doubts=doubts)
    return PairMatch(two_view, link)


def _copy_rival(
    two_view: TwoView, num_satellites: int, views: Views, matches: Matches, seed: int, min_score: float
) -> float:
    """Of a small patch that could be believed; nothing else is asked whether it is a copy."""
    evidence = two_view.evidence
    is_asked = evidence.agreement >= MIN_ASKED and is_small_patch(evidence.weight, num_satellites)
    if two_view.b_from_a is None or not is_asked:
        return 0.0
    return rivals.copy_rival(two_view.b_from_a, *views, matches, seed, min_score, RIVAL_OF_COPIES)
