"""Poses that something else proposes, judged by the real pixels of the two photos.

Imagined frames propose; what they agree on may be a wrong scene all the same. The matches of the two photos did not
make the pose, so they can tell: those that agree with it, what another pose explains of them, and what should match and
does not (``docs/links.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.matching import agreement, given_pose, overlays, pure_rotation, rivals, silence, verification
from interpose_sfm.pairs.judge import turn_between_deg
from interpose_sfm.products import (
    Doubts,
    Evidence,
    Features,
    FloatArray,
    ImagePair,
    Intrinsics,
    JudgedProposal,
    Link,
    Matches,
    PairMatch,
    Pose,
    PoseProposal,
)

BOUND_SIGMAS = 3.0  # of the proposal's spread: how far the refinement may go
MIN_BOUND_DEG, MAX_BOUND_DEG = 6.0, rivals.FAR_DEG  # beyond the latter it is another pose, and counts as a rival
HOPELESS = 2.0  # a rival that explains so many times as much decides by itself

PREDICTED = "what else ties the models"
PREDICTED_SPREADS_DEG = (1.0, 3.0)  # of models that share a photo: a few dozen points at the rim of a model hold it
FAMILY_BANDS = (4.0, 8.0, 16.0, 32.0)  # tolerances: members of a family err, and lie apart
PEAKS_PER_BAND = 2

Views = tuple[Features, Intrinsics, Features, Intrinsics]


def judge_proposals(
    proposals: Sequence[PoseProposal], views: Views, matches: Matches, own: PairMatch, seed: int, min_score: float
) -> tuple[JudgedProposal, ...]:
    """What the matches of two photos say of each proposal.

    Each is refined on them within the bounds of its spread. Each is a rival of those that are turned far from it, and
    so is the pose that the matches find by themselves.

    Args:
        proposals: Of one pair of photos.
        views: Features and camera of each photo, with the focal lengths that the proposals rest on.
        matches: Of any score.
        own: What these matches say by themselves under the same cameras.
        seed: Of everything that is random.
        min_score: Matches with a lower score propose no rival.
    """
    seen = agreement.sight(*views, matches)
    others = _own_poses(views, matches, own, seed)
    refined = [given_pose.refine(p.b_from_a, bound_deg(p), seen, others) for p in proposals]
    judged = []
    for proposal, (pose, num_starts) in zip(proposals, refined, strict=True):
        far = [q for q, _ in refined if turn_between_deg(q, pose) > rivals.FAR_DEG]
        rival = max([seen.weight(q) for q in [*others, *far]], default=0.0) / max(seen.weight(pose), 1e-9)
        no_variants = [q for q in [*others, *far] if not given_pose.is_within(q, pose, MAX_BOUND_DEG)]
        rival_surprise = max(
            [given_pose.refined_surprise(q, seen, agreement.POSES_PER_SAMPLE) for q in no_variants], default=0.0
        )
        num_tests = len(proposals) * num_starts
        evidence = _evidence(pose, views, matches, seen, num_tests, min_score)
        link, doubts = _link(proposal, pose, views, matches, seen, evidence), Doubts(far_rival=rival)
        if rival < HOPELESS and evidence.num_inliers > agreement.POSE_FREEDOM:
            doubts = doubts_of(link, views, matches, seed, min_score)
            doubts = replace(doubts, far_rival=max(rival, doubts.far_rival))
            link = _with_guided(link, views, matches, seen)
        surprise = given_pose.surprise(proposal.b_from_a, seen, float(len(proposals)))
        judged.append(JudgedProposal(replace(link, doubts=doubts), num_tests, surprise, rival_surprise, own.link))
    return tuple(judged)


def judge_family(
    pair: ImagePair, poses: Sequence[Pose], views: Views, matches: Matches, own: PairMatch, seed: int, min_score: float
) -> tuple[JudgedProposal, ...]:
    """Of poses that differ in what nothing else tells, such as a scale, those that the matches support most, judged.

    Args:
        pair: The photos.
        poses: In order of what differs; neighbours are alike.
        views, matches, own, seed, min_score: As of `judge_proposals`.
    """
    seen = agreement.sight(*views, matches)
    best: set[int] = set()
    for scale in FAMILY_BANDS:
        band = replace(seen, within_rad=scale * seen.within_rad)
        weights = np.array([band.weight(pose) for pose in poses])
        for index in _peaks(weights)[:PEAKS_PER_BAND]:
            if not best & {index - 1, index, index + 1}:
                best.add(index)
    proposals = [
        PoseProposal(pair, geometry.with_unit_translation(poses[index]), spread_deg, PREDICTED)
        for index in sorted(best)
        for spread_deg in PREDICTED_SPREADS_DEG
    ]
    return judge_proposals(proposals, views, matches, own, seed, min_score) if proposals else ()


def _peaks(weights: FloatArray) -> list[int]:
    """Indices of the highest values among their neighbours, highest first."""
    padded = np.concatenate([[-1.0], weights, [-1.0]])
    is_peak = (weights > padded[:-2]) & (weights >= padded[2:])
    return [int(index) for index in np.argsort(-weights, kind="stable") if is_peak[index]]


def _own_poses(views: Views, matches: Matches, own: PairMatch, seed: int) -> list[Pose]:
    """What the matches find by themselves: those that are not too doubtful, and all of them.

    A proposal that more of the doubtful ones agree with must not win for want of a rival.
    """
    found = [] if own.two_view.b_from_a is None else [own.two_view.b_from_a]
    if len(matches.indices) >= rivals.MIN_PROPOSING:
        everything = np.arange(len(matches.indices), dtype=np.uint32)
        points = verification.matched_points(views[0], views[2], matches, everything)
        pose = verification.pose_from_points(points[0], views[1], points[1], views[3], seed)
        found += [] if pose is None else [pose]
    return found


def bound_deg(proposal: PoseProposal) -> float:
    """How far from a proposal the pose is sought."""
    return float(np.clip(BOUND_SIGMAS * proposal.spread_deg, MIN_BOUND_DEG, MAX_BOUND_DEG))


def _evidence(
    pose: Pose,
    views: Views,
    matches: Matches,
    seen: agreement.Sight,
    num_tests: int,
    min_score: float,
) -> Evidence:
    """Evidence over all matches, however doubtful: a pose from elsewhere does not live on them."""
    mask, number = seen.agreeing(pose), len(seen.scores)
    rows = np.flatnonzero(mask).astype(np.uint32)
    rays_a, rays_b = seen.rays_a[mask] @ pose.rotation.T, seen.rays_b[mask]
    angles_deg = geometry.direction_angle_deg(rays_a, rays_b) if np.any(mask) else np.zeros(1)
    weight, counted = float(seen.scores[mask].sum()), seen.scores[seen.scores >= min_score]
    points_a_px, points_b_px = verification.matched_points(views[0], views[2], matches, rows)
    return Evidence(
        num_matches=number,
        num_inliers=int(mask.sum()),
        inlier_share=float(mask.mean()) if number else 0.0,
        mean_score=float(counted.mean()) if len(counted) else 0.0,
        density=verification.density(views[0], points_a_px, views[2], points_b_px) if mask.sum() > 3 else 0.0,
        triangulation_angle_deg=float(np.median(angles_deg)),
        is_calibrated=True,
        agreement=weight / max(float(seen.scores.sum()), 1e-9),
        weight=weight,
        surprise=given_pose.refined_surprise(pose, seen, float(num_tests)),
    )


def _link(
    proposal: PoseProposal,
    pose: Pose,
    views: Views,
    matches: Matches,
    seen: agreement.Sight,
    evidence: Evidence,
) -> Link:
    """The refined pose with the matches that agree with it."""
    mask = seen.agreeing(pose)
    rows = np.flatnonzero(mask).astype(np.uint32)
    points_a_px, points_b_px = verification.matched_points(views[0], views[2], matches, rows)
    seen_by = points_a_px, views[1], points_b_px, views[3]
    if np.any(pose.translation):
        spread_deg = verification.spread_deg(pose, *seen_by)
    else:
        spread_deg = pure_rotation.spread_deg(pose.rotation, *seen_by)
    spread_deg = min(spread_deg, proposal.spread_deg) if pose is proposal.b_from_a else spread_deg
    return Link(proposal.pair, pose, spread_deg, points_a_px, points_b_px, evidence, proposal.source, proposal=proposal)


def _with_guided(link: Link, views: Views, matches: Matches, seen: agreement.Sight) -> Link:
    """The link with the correspondences that its pose leads to besides."""
    rows = given_pose.guided(link.b_from_a, views[0], views[2], matches, seen)
    return replace(
        link,
        points_a_px=np.concatenate([link.points_a_px, views[0].keypoints_px[rows[:, 0]]]),
        points_b_px=np.concatenate([link.points_b_px, views[2].keypoints_px[rows[:, 1]]]),
    )


def doubts_of(link: Link, views: Views, matches: Matches, seed: int, min_score: float) -> Doubts:
    """What the matches and the features of two photos say against a link whose points agree with its pose."""
    heard = silence.listen(link.b_from_a, *views, matches.above(min_score).indices)
    return Doubts(
        rivals.far_rival(link.b_from_a, *views, matches, seed, min_score),
        heard.silence_a,
        heard.silence_b,
        heard.num_satellites,
        heard.whisper,
        overlays.overlay_share(views[0], link.points_a_px, views[2], link.points_b_px),
    )
