"""Whether the link of a pair is believed by its own evidence, before any other link is heard.

A wrong link is worse than no link, so a link is refused rather than guessed: the photos must be shown to be of one
place. The number of inliers does not show it, since look-alike structure yields geometry as rigid as the truth.
Every quantity is a share or a probability, so that a limit means the same in every collection (``docs/links.md``).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap.constants import MIN_VERIFIED_MATCHES
from interpose_sfm.matching.given_pose import is_within
from interpose_sfm.matching.rivals import FAR_DEG
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.products import PAIR_ALONE, Doubts, Evidence, JudgedProposal, Link, LinkVerdict, Pose
from interpose_sfm.report import told_apart

MAX_SATELLITES = 2  # matches beyond the one patch: more say that the photos share more than one thing
MIN_WHISPER = 10.0  # surprise of what descriptors still say of the silent points: more is no silence

SURE_AGREEMENT = 0.90  # net: what agrees so far is believed however doubtful the matches are
SURE_SHARE = 0.90
"""Inliers of the matches that the matcher believes at all. Where so many agree, what contradicts is what it hardly
believes; of look-alike facades, some of what it believes contradicts."""
SURE_WEIGHT = 100.0
"""Confidence that agrees, added up: a twentieth of the 2048 key points of a photo. Facades that look alike share what
is repeated on them, which is less."""
NOTHING_MISSING = 0.05  # silence
NEAR_DEG = 45.0  # median angle between the rays: photos that see a thing from one side
MIN_NEAR_SCORE = 0.66
"""Mean confidence of the matches of photos that see a thing from one side. It looks the same to both then, so that the
matcher should know it again: where it hesitates, that may be another facade, which others must confirm."""
RIVAL_OF_PATCH = 0.4
"""Far rival of a patch that weighs less than `SURE_WEIGHT`. Right poses reach 0.36, but for eleven of 2,155; the label
on both sides of a can 0.74 to 0.81."""
RIVAL_OF_COPIES = 0.7
"""Copy rival of a small patch: prints that repeat reach 0.82 to 0.97, right poses 0.59 but for four of 67."""
COPY_WEIGHT = 150.0
"""Confidence that agrees, added up: a patch of which more is known again is not asked whether it is a copy. Prints that
repeat reach 67."""
MIN_OVERLAY = 0.7
"""Overlay: COLMAP's watermark_min_inlier_ratio. Stamps and logos reach 0.87 to 1.0, right pairs 0.16."""
FORWARD_DEG = 20.0
"""Angle of both viewing directions with the way between the photos, below which one was taken further along the other's
view. Then the picture changes by its scale, and the matcher hesitates for that."""


def judge_evidence(evidence: Evidence, limits: ConsensusOptions, silence: float = 0.0) -> tuple[LinkVerdict, str]:
    """Whether the matches show the same place, by the cues alone.

    What counts is the net agreement: what agrees, less what contradicts, less what is missing. The last two err apart:
    look-alike facades match in many places, and lack others.

    Args:
        evidence: Cues of a pair or of the weakest step of a bridge.
        limits: What the cues must reach.
        silence: Of the pair, see `products.Doubts`.

    Returns:
        The verdict and one sentence with the figures behind it.
    """
    if evidence.num_inliers < MIN_VERIFIED_MATCHES:
        return LinkVerdict.FEW_INLIERS, f"{evidence.num_inliers} inliers, needs {MIN_VERIFIED_MATCHES}"
    if evidence.surprise < limits.min_surprise:
        surprise, needed = told_apart(evidence.surprise, limits.min_surprise, ".0f")
        return (
            LinkVerdict.CHANCE,
            f"luck explains {evidence.num_inliers} of {evidence.num_matches} matches once in 1e{surprise} pairs, needs "
            f"1e{needed}",
        )
    net = net_agreement(evidence, silence)
    told, needed = told_apart(net, limits.min_agreement, ".0%")
    share = f"{told} net agreement"
    if silence > 0.005:
        share += (
            f" ({evidence.agreement:.0%} of the matches' confidence, less {silence:.0%} that should match and does not)"
        )
    if net < limits.min_agreement_confirmed:
        return LinkVerdict.LOW_AGREEMENT, f"{share}, needs {needed}"
    if net < limits.min_agreement and not _is_sure_near_miss(evidence, silence, limits):
        return LinkVerdict.POSSIBLE, f"{share}, needs {needed}"
    if evidence.num_inliers < limits.min_inliers:
        return LinkVerdict.POSSIBLE, f"{evidence.num_inliers} inliers, needs {limits.min_inliers}"
    return LinkVerdict.ACCEPTED, f"{evidence.num_inliers} inliers, {share}"


def _is_sure_near_miss(evidence: Evidence, silence: float, limits: ConsensusOptions) -> bool:
    """Whether at most half as much is lacking as third photos could mend, and next to nothing speaks against it."""
    return (
        net_agreement(evidence, silence) >= (limits.min_agreement + limits.min_agreement_confirmed) / 2
        and evidence.inlier_share >= SURE_SHARE
        and silence <= NOTHING_MISSING
    )


def net_agreement(evidence: Evidence, silence: float) -> float:
    """Of the matches' confidence what agrees, less what should match and does not, in [0, 1]."""
    return evidence.agreement * (1.0 - silence)


def judge(link: Link, limits: ConsensusOptions) -> tuple[LinkVerdict, str]:
    """Whether a link is believed by itself: its evidence, its doubts, and what its pose must be good for.

    Returns:
        The verdict and one sentence with the figures behind it. POSSIBLE is a near miss, which other photos may
        confirm; whatever they cannot mend comes before it.
    """
    verdict, detail = judge_evidence(link.evidence, limits, link.doubts.silence)
    if verdict not in (LinkVerdict.ACCEPTED, LinkVerdict.POSSIBLE):
        return verdict, detail
    beyond_mending = _beyond_mending(link, limits, detail)
    if beyond_mending is not None:
        return beyond_mending
    lacking = _lacking(link, limits, detail) if verdict is LinkVerdict.ACCEPTED else ""
    return (LinkVerdict.POSSIBLE, lacking) if lacking else (verdict, detail)


def _lacking(link: Link, limits: ConsensusOptions, detail: str) -> str:
    """What keeps a link whose cues suffice from being believed by itself, and other photos may mend; empty if none."""
    evidence, far_rival, copy_rival = link.evidence, link.doubts.far_rival, link.doubts.copy_rival
    if far_rival > limits.max_far_rival:
        rival, most = told_apart(far_rival, limits.max_far_rival, ".0%")
        return f"a pose turned far away explains {rival} of what this one explains, may {most}"
    if link.source != PAIR_ALONE:
        return ""
    if len(link.points_a_px) < limits.min_inliers:
        return f"{len(link.points_a_px)} correspondences reach both photos, needs {limits.min_inliers}"
    net = net_agreement(evidence, link.doubts.silence)
    if net < limits.min_agreement and link.doubts.num_satellites <= MAX_SATELLITES:
        told, needed = told_apart(net, limits.min_agreement, ".0%")
        return f"{told} net agreement, needs {needed} where one patch is all that matches"
    if is_like_a_copy(link):
        is_copied = copy_rival > RIVAL_OF_COPIES
        explained = (copy_rival, RIVAL_OF_COPIES) if is_copied else (far_rival, RIVAL_OF_PATCH)
        rival, most = told_apart(*explained, ".0%")
        return (
            f"{detail}, all in one patch, as of a pattern that repeats: a pose turned far away explains {rival} of "
            f"what this one explains, may {most}"
        )
    if hesitates(link):
        score, needed = told_apart(evidence.mean_score, MIN_NEAR_SCORE, ".2f")
        return (
            f"{detail}, by matches of {score} mean confidence for photos that are "
            f"{evidence.triangulation_angle_deg:.0f} degrees apart, needs {needed}, or {SURE_AGREEMENT:.0%}, or "
            f"{SURE_SHARE:.0%} inliers"
        )
    return ""


def judge_proposed(found: JudgedProposal, limits: ConsensusOptions) -> tuple[LinkVerdict, str]:
    """Whether a pose that does not come from the matches of its two photos is believed because of them.

    Where they find a pose by themselves, that one is judged: a proposal that leads to the same place is no second
    witness, since what looks alike leads both astray. Where they do not, the proposal is believed if most of them agree
    with it, though they are too few or too doubtful to have made it. UNSEEN says that they cannot tell, and speaks
    neither for nor against the pose.

    Returns:
        The verdict and one sentence with the figures behind it.
    """
    link = found.link
    evidence, doubts = link.evidence, link.doubts
    surprise = max(found.surprise, evidence.surprise)
    agreeing = f"{evidence.num_inliers} of {evidence.num_matches} matches agree with a pose that was not made of them"
    found_alone = _found_alone(found, limits)
    if found_alone is not None:
        return found_alone
    has_better = doubts.far_rival > limits.max_rival_proposed
    is_rivalled = found.rival_surprise >= limits.min_surprise and found.rival_surprise > surprise
    if is_rivalled and has_better:
        return (
            LinkVerdict.RIVAL,
            f"{agreeing}, which luck explains once in 1e{surprise:.0f} pairs; another pose explains "
            f"{min(doubts.far_rival, 99.0):.2f} times as much, and luck that once in 1e{found.rival_surprise:.0f}",
        )
    least = limits.min_agreement_proposed
    if doubts.far_rival > limits.max_far_rival:
        least = max(least, limits.min_agreement_confirmed)
    net = net_agreement(evidence, doubts.silence)
    told, needed = told_apart(net, least, ".0%")
    detail = f"{agreeing}, {told} net agreement"
    too_few = evidence.num_inliers < MIN_VERIFIED_MATCHES or surprise < limits.min_surprise
    if too_few or has_better or is_rivalled or net < least:
        luck, needed_luck = told_apart(surprise, limits.min_surprise, ".0f")
        return (
            LinkVerdict.UNSEEN,
            f"{detail}, needs {MIN_VERIFIED_MATCHES} matches and {needed}; luck explains them once in 1e{luck} pairs, "
            f"needs 1e{needed_luck}",
        )
    accepted = LinkVerdict.ACCEPTED, f"{detail}; luck explains it once in 1e{surprise:.0f} pairs"
    return _beyond_mending(link, limits, detail) or accepted


def _beyond_mending(link: Link, limits: ConsensusOptions, detail: str) -> tuple[LinkVerdict, str] | None:
    """What speaks against a link however well its matches agree, and is not for other photos to mend.

    The neighbours of a look-alike look alike, too.
    """
    if is_overlay(link.doubts):
        return (
            LinkVerdict.OVERLAY,
            f"{detail}, {link.doubts.overlay:.0%} of them at one and the same shift of pixels near the border, as of a "
            "stamp or a logo",
        )
    if is_one_thing(link.doubts, limits):
        return (
            LinkVerdict.LOOK_ALIKE,
            f"{detail}, but {link.doubts.silence_a:.0%} and {link.doubts.silence_b:.0%} of the key points should be "
            "seen in the other photo and match nothing there",
        )
    is_rotation = not np.any(link.b_from_a.translation)
    if link.spread_deg > limits.max_spread_deg:
        spread, most = told_apart(link.spread_deg, limits.max_spread_deg, ".1f")
        why = "the matches do not tell the focal lengths, or others: the turn" if is_rotation else "the pose"
        return LinkVerdict.UNSURE_POSE, f"{why} is known to {spread} degrees, needs {most}"
    if is_rotation:
        return LinkVerdict.ROTATION_ONLY, "the photos were taken from one place"
    return None


def supports(found: JudgedProposal, limits: ConsensusOptions) -> bool:
    """Whether the matches support a pose that all else predicts as much as any other pose, and enough by themselves.

    Where a pair has several optima, the best of them is not always the true one: what else is known chooses.
    """
    link = found.link
    return (
        link.evidence.num_inliers >= limits.min_inliers
        and link.evidence.surprise >= limits.min_surprise
        and link.doubts.far_rival <= limits.max_rival_proposed
        and net_agreement(link.evidence, link.doubts.silence) >= limits.min_agreement_proposed
        and link.spread_deg <= limits.max_spread_deg
        and not is_overlay(link.doubts)
        and not is_one_thing(link.doubts, limits)
    )


def believed_link(found: JudgedProposal, limits: ConsensusOptions) -> Link:
    """The link that a proposal leads to: that of the photos' own matches where they lead there as well."""
    own, link = found.own, found.link
    if own is None or not _leads_there(own, link.b_from_a, judge(own, limits)[0]):
        return link
    return replace(own, source=link.source, proposal=link.proposal)


def _found_alone(found: JudgedProposal, limits: ConsensusOptions) -> tuple[LinkVerdict, str] | None:
    """The verdict on a proposal where the photos' own matches find a pose by themselves that is more than luck."""
    own, pose = found.own, found.link.b_from_a
    if own is None:
        return None
    verdict, detail = judge(own, limits)
    if _leads_there(own, pose, verdict):
        return verdict, f"the photos' own matches lead there as well: {detail}"
    if verdict.tells_pose:
        return LinkVerdict.RIVAL, f"the photos' own matches lead elsewhere, {_apart(own.b_from_a, pose)} away: {detail}"
    return None


def is_settled_alone(found: JudgedProposal, limits: ConsensusOptions) -> bool:
    """Whether the photos' own matches settle the pair where a proposal leads: another one would lead there or fail."""
    decided = _found_alone(found, limits)
    return decided is not None and decided[0].tells_pose


def _leads_there(own: Link, pose: Pose, verdict: LinkVerdict) -> bool:
    """Whether what matches find by themselves, with some verdict, is more than luck, and a variant of a pose."""
    if verdict in (LinkVerdict.FEW_INLIERS, LinkVerdict.CHANCE):
        return False
    may_be_rotation = verdict in (LinkVerdict.ROTATION_ONLY, LinkVerdict.UNSURE_POSE)
    is_rotation = may_be_rotation and not np.any(own.b_from_a.translation)
    is_turned_alike = turn_between_deg(own.b_from_a, pose) <= FAR_DEG
    return is_within(own.b_from_a, pose, FAR_DEG) or (is_rotation and is_turned_alike)


def _apart(one: Pose, other: Pose) -> str:
    """How far two poses are from one another, in words."""
    turn_deg, angle_deg = (terms.item() for terms in geometry.pose_distance_terms_deg([one], [other], signed=True))
    turn = f"{turn_deg:.0f} degrees of rotation"
    return turn if np.isnan(angle_deg) else f"{turn} and {angle_deg:.0f} of direction"


def turn_between_deg(one: Pose, other: Pose) -> float:
    """Angle between the rotations of two poses."""
    return float(geometry.rotation_angle_deg(one.rotation @ other.rotation.T))


def hesitates(link: Link) -> bool:
    """Whether the matcher knows little again, though both photos see it from one side, and part of it contradicts."""
    evidence = link.evidence
    return (
        not _knows_enough(link)
        and not _is_forward(link.b_from_a)
        and evidence.triangulation_angle_deg < NEAR_DEG
        and evidence.mean_score < MIN_NEAR_SCORE
    )


def is_like_a_copy(link: Link) -> bool:
    """Whether one patch is all that matches, and what contradicts has a pose of its own.

    So it is with a printed pattern that repeats, such as a wallpaper's, or the label on both sides of a can: its copies
    are as true as can be, so that nearly all agrees; what lies around them may be hidden, and other copies give other
    poses. Only much that is known again says that it is the same copy.
    """
    doubts = link.doubts
    is_rivalled = link.evidence.weight < SURE_WEIGHT and doubts.far_rival > RIVAL_OF_PATCH
    is_copied = doubts.copy_rival > RIVAL_OF_COPIES
    return is_small_patch(link.evidence.weight, doubts.num_satellites) and (is_rivalled or is_copied)


def is_small_patch(weight: float, num_satellites: int) -> bool:
    """Whether one patch is all that matches, and little of it is known again."""
    return weight < COPY_WEIGHT and num_satellites <= MAX_SATELLITES


def is_overlay(doubts: Doubts) -> bool:
    """Whether what agrees is burnt into both photos."""
    return doubts.overlay >= MIN_OVERLAY


def _knows_enough(link: Link) -> bool:
    """Whether little of what the matcher knows again contradicts, or it knows much again."""
    evidence = link.evidence
    return (
        net_agreement(evidence, link.doubts.silence) >= SURE_AGREEMENT
        or evidence.inlier_share >= SURE_SHARE
        or evidence.weight >= SURE_WEIGHT
    )


def _is_forward(b_from_a: Pose) -> bool:
    """Whether one photo was taken further along the view of the other."""
    along = abs(b_from_a.translation[2]), abs((b_from_a.rotation.T @ b_from_a.translation)[2])
    return bool(min(along) > np.cos(np.radians(FORWARD_DEG)) * float(np.linalg.norm(b_from_a.translation)))


def is_one_thing(doubts: Doubts, limits: ConsensusOptions) -> bool:
    """Whether one patch matches, and all around it both photos show what the other lacks."""
    return (
        doubts.silence > limits.max_silence and doubts.num_satellites <= MAX_SATELLITES and doubts.whisper < MIN_WHISPER
    )
