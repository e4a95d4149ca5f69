"""Self-consistency: which of many pose hypotheses of one pair is to be believed, if any (InterPose, arXiv 2412.16155).

Every clip between two photos gives several hypotheses of their relative pose, one per subset of its frames. A sound
clip gives hypotheses that agree. ``draw_subsets`` draws the subsets; ``choose`` scores the clips, picks one pose, and
accepts or refuses it.

With distances as ``geometry.pose_distance_deg`` (Eq. 2 to 4), D_med is the least mean distance of a clip's hypothesis
to the clip's others; that hypothesis is the clip's medoid (Eq. 8). D_bias is the distance of the medoid to the pose of
the pair alone, and D_total = D_med + D_bias (Eq. 9). A low score is necessary, not sufficient: facades that look alike
give hypotheses that agree on a wrong pose.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.options import ConsistencyOptions, Strategy
from interpose_sfm.products import (
    ChoiceReason,
    ClipScore,
    FloatArray,
    ImagePair,
    Pose,
    PoseChoice,
    PoseHypothesis,
    PoseStatus,
    ScoreKind,
)

# Medians of the lengths of isotropic normal vectors of unit sigma, in 3 dimensions (rotation) and in 2 (direction).
_MEDIAN_CHI_3 = 1.538172
_MEDIAN_CHI_2 = 1.177410

# Scores that differ by less are tied; far above rounding errors, far below anything that matters.
_TIE_DECIMALS = 9


# ---------------------------------------------------------------- subsets


def draw_subsets(num_frames: int, options: ConsistencyOptions, seed: int) -> tuple[tuple[int, ...], ...]:
    """Draw the frame subsets of one clip: the uniform ones first, then random ones, all different.

    There are fewer than the options say where the clip has too few frames for so many different subsets: a repeated one
    would repeat its hypothesis and look like agreement. A clip too short for ``options.min_hypotheses`` of them gives
    smaller subsets as well, which still differ in what they saw.

    Args:
        num_frames: Frames of the clip, A and B not counted.
        options: Numbers of subsets and of frames in each.
        seed: Equal seeds give equal subsets.

    Returns:
        Subsets of sorted frame indices; none for a clip without frames.
    """
    if num_frames < 0:
        raise ValueError(f"num_frames: got {num_frames}, expected at least 0")
    size = min(options.frames_per_subset, num_frames)
    if size == 0:
        return ()
    count = options.num_uniform_subsets
    # A dict, because it keeps the order that a set would lose.
    subsets = dict.fromkeys(_uniform_subset(num_frames, size, index, count) for index in range(count))
    num_subsets = min(len(subsets) + options.num_random_subsets, math.comb(num_frames, size))
    generator = np.random.default_rng(seed)
    while len(subsets) < num_subsets:
        drawn = generator.choice(num_frames, size=size, replace=False)
        subsets[tuple(sorted(int(i) for i in drawn))] = None
    if num_frames <= options.frames_per_subset and options.num_random_subsets > 0:
        smaller = itertools.chain.from_iterable(
            itertools.combinations(range(num_frames), length) for length in range(size - 1, 0, -1)
        )
        missing = max(0, options.min_hypotheses - len(subsets))
        subsets.update(dict.fromkeys(itertools.islice(smaller, min(missing, options.num_random_subsets))))
    return tuple(subsets)


def frame_pool(num_frames: int, limit: int | None) -> tuple[int, ...]:
    """Indices of the frames that subsets are drawn from: at most so many, evenly spread; all without a limit."""
    if limit is None or num_frames <= limit:
        return tuple(range(num_frames))
    return _uniform_subset(num_frames, limit, 0, 1)


def _uniform_subset(num_frames: int, size: int, index: int, count: int) -> tuple[int, ...]:
    """Evenly spaced frames; the ``count`` subsets are shifted against one another, a single one lies in the middle.

    With A at -1 and B at num_frames, the frames of the middle one stand at the inner division points of that way. The
    spacing is at least one and the shift below half a spacing, so no two frames coincide and none falls out.
    """
    shift = (index + 0.5) / count - 0.5
    spacing = (num_frames + 1) / (size + 1)
    return tuple(math.floor((i + 1 + shift) * spacing - 0.5) for i in range(size))


# ---------------------------------------------------------------- choice


def choose(
    pair: ImagePair,
    hypotheses: Sequence[PoseHypothesis],
    pair_only: PoseHypothesis | None,
    options: ConsistencyOptions,
    witnessed: Collection[str] = (),
) -> PoseChoice:
    """Choose the relative pose of a pair, or refuse it with a reason.

    The clip with the lowest score wins, its medoid is the answer. The score is

    * D_med + D_bias (D_TOTAL) where the pair alone has a pose;
    * else D_med plus the distance of the clip's medoid to the medoid of all medoids (D_MED_AGREEMENT); the answer must
      then agree with more than half of the clips that are consistent in themselves;
    * D_med (D_MED) where only one clip competes, or by strategy; with the strategy AVERAGE, the mean distance of the
      hypotheses to their average.

    Pure rotations: hypotheses without a translation are compared by rotation alone. Where at least half of the
    hypotheses are of that kind so is the answer; clips of the other kind do not compete, for their scores have a term
    more, or less.

    Signs: distances ignore the sign of the translation, the answer keeps it. The choice is refused if anything that the
    score counts as close to the answer (hypotheses of its clip, the pose of the pair alone, medoids of other clips) has
    the opposite sign.

    The result does not depend on the order of the hypotheses; ties fall to the lower D_med, the more inliers, the
    smaller clip name, the earlier frames, in this order.

    Args:
        pair: The photos; poses are ``b_from_a``.
        hypotheses: Of all clips of the pair, those without a pose included.
        pair_only: What the estimator says of {A, B} alone; None if it was not asked.
        options: Strategy and limits.
        witnessed: Clips that those of another source agree with; one of them wins before all others.

    Returns:
        The choice. Refused as INCONSISTENT or SIGN_CONFLICT it still has the pose, for the report. ``score_deg`` is NaN
        where nothing was scored. ``spread_deg`` is one sigma per axis: the median distance to the answer of the other
        hypotheses of its clip, as rotation over 1.538 or as signed direction over 1.177 (the medians for isotropic
        normal errors of sigma 1), whichever is larger; plus, in quadrature, the median of their own spreads, because
        hypotheses share the matches between A and B and so scatter less than they err; at most 180. By simulation the
        first part is 1.0 to 1.6 times the true sigma, as the medoid has an error of its own.

    Raises:
        ValueError: If a hypothesis contradicts itself (status, pose, spread, clip name).
    """
    members = _members(hypotheses, options)
    if any(not m.hypothesis.clip for m in members):
        raise ValueError("got a hypothesis without a clip name, expected it as `pair_only`")
    pair_member = next(iter(_members([] if pair_only is None else [pair_only], options)), None)
    if options.strategy is Strategy.PAIR_ONLY or (not members and options.allow_pair_only):
        return _pair_only_choice(pair, pair_member)
    if not members:
        return _refusal(pair, ChoiceReason.NO_HYPOTHESIS)
    if options.strategy is Strategy.AVERAGE:
        return _average_choice(pair, members, options)
    clusters = _clusters(members)
    contest = _competing(clusters, options)
    scores = _clip_scores(clusters, contest, pair_member)
    if not contest:
        return _refusal(pair, ChoiceReason.TOO_FEW_HYPOTHESES, scores)
    return _medoid_choice(pair, contest, scores, pair_member, options, witnessed)


def oracle(hypotheses: Sequence[PoseHypothesis], truth: Pose) -> PoseHypothesis | None:
    """Pick the hypothesis nearest to the truth ``b_from_a`` by ``geometry.pose_distance_deg``; None if none has a pose.

    For evaluation: the bound on what selection can reach.
    """
    members = _members(hypotheses, ConsistencyOptions())
    if not members:
        return None
    errors_deg = geometry.pose_distance_matrix_deg([truth], [m.pose for m in members])[0]
    return members[_first_least(errors_deg)].hypothesis


@dataclass(frozen=True)
class _Member:
    """A usable hypothesis and its pose, with a translation of length one or zero."""

    hypothesis: PoseHypothesis
    pose: Pose

    @property
    def has_direction(self) -> bool:
        return bool(np.any(self.pose.translation))


@dataclass(frozen=True)
class _Cluster:
    """The usable hypotheses of one clip; d_med_deg is NaN if there is but one."""

    clip: str
    medoid: _Member
    others: tuple[_Member, ...]
    d_med_deg: float

    @property
    def members(self) -> tuple[_Member, ...]:
        return (self.medoid, *self.others)


def _members(hypotheses: Sequence[PoseHypothesis], options: ConsistencyOptions) -> list[_Member]:
    """Check the hypotheses; keep those with a pose, in an order that depends on their content alone."""
    members = []
    for hypothesis in hypotheses:
        if hypothesis.status not in (PoseStatus.OK, PoseStatus.ROTATION_ONLY):
            continue
        pose = hypothesis.b_from_a
        if pose is None or not geometry.is_rotation(pose.rotation) or not np.all(np.isfinite(pose.translation)):
            raise ValueError(f"got {hypothesis}, expected a rotation and a finite translation for this status")
        if not hypothesis.spread_deg >= 0.0:  # so that NaN fails, too
            raise ValueError(f"got {hypothesis}, expected a spread of 0 or more")
        if hypothesis.status is PoseStatus.ROTATION_ONLY:
            pose = Pose(pose.rotation, np.zeros(3))
        members.append(_Member(hypothesis, geometry.with_unit_translation(pose, options.min_baseline)))
    return sorted(members, key=_content_key)


def _content_key(member: _Member) -> tuple[object, ...]:
    hypothesis, pose = member.hypothesis, member.pose
    numbers = (hypothesis.spread_deg, *pose.rotation.ravel().tolist(), *pose.translation.tolist())
    return (-hypothesis.num_inliers, hypothesis.clip, hypothesis.frames, numbers)


def _first_least(values: FloatArray) -> int:
    return int(np.argmin(np.round(values, _TIE_DECIMALS)))


def _is_rotation_only(members: Sequence[_Member]) -> bool:
    """True if at least half of the members have no direction; a draw goes to the weaker claim."""
    return 2 * sum(m.has_direction for m in members) <= len(members)


def _poses(members: Sequence[_Member]) -> list[Pose]:
    return [m.pose for m in members]


def _mean_distances_deg(rotations_deg: FloatArray, directions_deg: FloatArray) -> FloatArray:
    """(n,) mean over axis 1 of the pose distance, each term averaged over the poses that have it.

    Where all poses have a direction this is the mean of Eq. 2 to 4. In a mixture a pose without direction would else
    be nearer to all others than these are to one another, and become the medoid for knowing less.
    """
    has_term = np.isfinite(directions_deg)
    sums = np.sum(np.where(has_term, directions_deg, 0.0), axis=1)
    return np.asarray(rotations_deg.mean(axis=1) + sums / np.maximum(np.sum(has_term, axis=1), 1))


def _clusters(members: Sequence[_Member]) -> list[_Cluster]:
    """One cluster per clip, in order of clip names."""
    clips = sorted({m.hypothesis.clip for m in members})
    return [_cluster(clip, tuple(m for m in members if m.hypothesis.clip == clip)) for clip in clips]


def _cluster(clip: str, members: tuple[_Member, ...]) -> _Cluster:
    """Find the medoid (Eq. 8) among the members of the kind, with or without direction, that prevails."""
    if len(members) == 1:
        return _Cluster(clip, members[0], (), math.nan)
    needs_direction = not _is_rotation_only(members)
    rotations_deg, directions_deg = geometry.pose_distance_terms_deg(_poses(members), _poses(members))
    is_other, shape = ~np.eye(len(members), dtype=bool), (len(members), len(members) - 1)
    means_deg = _mean_distances_deg(rotations_deg[is_other].reshape(shape), directions_deg[is_other].reshape(shape))
    is_candidate = np.array([m.has_direction == needs_direction for m in members])
    best = _first_least(np.where(is_candidate, means_deg, np.inf))
    return _Cluster(clip, members[best], members[:best] + members[best + 1 :], float(means_deg[best]))


def _competing(clusters: Sequence[_Cluster], options: ConsistencyOptions) -> list[_Cluster]:
    """Clips that have enough hypotheses, and a medoid of the kind, with or without direction, that prevails among them.

    Some clip has that kind: where half of all hypotheses lack a direction, so do half of those of some clip.
    """
    large = [c for c in clusters if len(c.members) >= options.min_hypotheses]
    needs_direction = not _is_rotation_only([m for c in large for m in c.members])
    return [c for c in large if c.medoid.has_direction == needs_direction]


def _reference(contest: Sequence[_Cluster]) -> Pose:
    """The medoid of the medoids; of two equally central ones that of the clip with the lower D_med."""
    by_d_med = sorted(contest, key=lambda c: (round(c.d_med_deg, _TIE_DECIMALS), c.clip))
    medoids = [c.medoid.pose for c in by_d_med]
    distances_deg = geometry.pose_distance_matrix_deg(medoids, medoids)
    return medoids[_first_least(distances_deg.sum(axis=1))]


def _clip_scores(
    clusters: Sequence[_Cluster], contest: Sequence[_Cluster], pair_member: _Member | None
) -> tuple[ClipScore, ...]:
    reference = _reference(contest) if contest else None
    return tuple(
        ClipScore(
            clip=c.clip,
            medoid=c.medoid.pose,
            d_med_deg=c.d_med_deg,
            d_bias_deg=geometry.pose_distance_deg(c.medoid.pose, pair_member.pose) if pair_member else math.nan,
            d_agreement_deg=geometry.pose_distance_deg(c.medoid.pose, reference) if reference else math.nan,
            num_hypotheses=len(c.members),
            spread_deg=_spread_deg(c.medoid.pose, c.others, c.members) if c.others else 180.0,
        )
        for c in clusters
    )


def _score_kind(contest: Sequence[_Cluster], pair_member: _Member | None, options: ConsistencyOptions) -> ScoreKind:
    if options.strategy is Strategy.MEDOID:
        return ScoreKind.D_MED
    if pair_member is not None:
        return ScoreKind.D_TOTAL
    return ScoreKind.D_MED_AGREEMENT if len(contest) > 1 else ScoreKind.D_MED


def _medoid_choice(
    pair: ImagePair,
    contest: Sequence[_Cluster],
    scores: tuple[ClipScore, ...],
    pair_member: _Member | None,
    options: ConsistencyOptions,
    witnessed: Collection[str],
) -> PoseChoice:
    """Let the clip with the lowest score win, of those that have a witness if there are any, then judge it."""
    kind = _score_kind(contest, pair_member, options)
    second_term_deg = {
        s.clip: {ScoreKind.D_TOTAL: s.d_bias_deg, ScoreKind.D_MED_AGREEMENT: s.d_agreement_deg}.get(kind, 0.0)
        for s in scores
    }

    def rank(cluster: _Cluster) -> tuple[bool, float, float, int, str]:
        score_deg = round(cluster.d_med_deg + second_term_deg[cluster.clip], _TIE_DECIMALS)
        d_med_deg = round(cluster.d_med_deg, _TIE_DECIMALS)
        return cluster.clip not in witnessed, score_deg, d_med_deg, -cluster.medoid.hypothesis.num_inliers, cluster.clip

    winner = min(contest, key=rank)
    answer, bias_deg = winner.medoid.pose, second_term_deg[winner.clip]
    is_consistent = winner.d_med_deg <= options.max_d_med_deg and bias_deg <= options.max_d_bias_deg
    references: list[Pose] = []
    if kind is ScoreKind.D_TOTAL and pair_member is not None:
        references = [pair_member.pose]
    elif kind is ScoreKind.D_MED_AGREEMENT:
        sound = [c for c in contest if c.d_med_deg <= options.max_d_med_deg]
        references = [c.medoid.pose for c in sound if c is not winner]
        is_consistent = is_consistent and _has_majority(answer, references, options)
    has_opposite = _has_opposite(answer, _poses(winner.others), options.max_d_med_deg)
    has_opposite = has_opposite or _has_opposite(answer, references, options.max_d_bias_deg)
    return PoseChoice(
        pair=pair,
        reason=_verdict(is_consistent, has_opposite),
        b_from_a=answer,
        clip=winner.clip,
        score_kind=kind,
        score_deg=winner.d_med_deg + bias_deg,
        spread_deg=_spread_deg(answer, winner.others, winner.members),
        clip_scores=scores,
    )


def _average_choice(pair: ImagePair, members: Sequence[_Member], options: ConsistencyOptions) -> PoseChoice:
    """Average all hypotheses of all clips (a baseline of the paper)."""
    if len(members) < options.min_hypotheses:
        return _refusal(pair, ChoiceReason.TOO_FEW_HYPOTHESES)
    average, limit_deg = geometry.average_pose(_poses(members)), options.max_d_med_deg
    score_deg = float(_mean_distances_deg(*geometry.pose_distance_terms_deg([average], _poses(members)))[0])
    reason = _verdict(score_deg <= limit_deg, _has_opposite(average, _poses(members), limit_deg))
    spread_deg = _spread_deg(average, members, members)
    return PoseChoice(pair, reason, average, "", ScoreKind.D_MED, score_deg, spread_deg)


def _pair_only_choice(pair: ImagePair, pair_member: _Member | None) -> PoseChoice:
    if pair_member is None:
        return _refusal(pair, ChoiceReason.NO_HYPOTHESIS)
    spread_deg = min(pair_member.hypothesis.spread_deg, 180.0)
    return PoseChoice(pair, ChoiceReason.ACCEPTED, pair_member.pose, "", ScoreKind.PAIR_ONLY, math.nan, spread_deg)


def _refusal(pair: ImagePair, reason: ChoiceReason, scores: tuple[ClipScore, ...] = ()) -> PoseChoice:
    return PoseChoice(pair, reason, None, "", ScoreKind.NONE, math.nan, 180.0, scores)


def _has_majority(answer: Pose, references: Sequence[Pose], options: ConsistencyOptions) -> bool:
    """True if more than half of the consistent clips, the answer's own included, agree with the answer.

    The medoid of the medoids is some clip's own, which then scores D_med + 0 however far all others are: the score
    alone would accept one of four clips that contradict one another.
    """
    distances_deg = geometry.pose_distance_matrix_deg([answer], references)[0]
    num_agreeing = 1 + int(np.sum(distances_deg <= options.max_d_bias_deg))
    return 2 * num_agreeing > 1 + len(references)


def _verdict(is_consistent: bool, has_opposite: bool) -> ChoiceReason:
    if not is_consistent:
        return ChoiceReason.INCONSISTENT
    return ChoiceReason.SIGN_CONFLICT if has_opposite else ChoiceReason.ACCEPTED


def _has_opposite(answer: Pose, poses: Sequence[Pose], max_distance_deg: float) -> bool:
    """True if a pose within the distance of the answer has the opposite sign of translation."""
    distances_deg = geometry.pose_distance_matrix_deg([answer], poses)[0]
    angles_deg = geometry.pose_distance_terms_deg([answer], poses, signed=True)[1][0]
    return bool(np.any((distances_deg <= max_distance_deg) & (angles_deg > 90.0)))  # NaN compares as False


def _spread_deg(answer: Pose, others: Sequence[_Member], members: Sequence[_Member]) -> float:
    """Estimate sigma per axis of the answer in degrees, as the docstring of ``choose`` says."""
    rotations_deg, directions_deg = geometry.pose_distance_terms_deg([answer], _poses(others), signed=True)
    measured_deg = float(np.median(rotations_deg)) / _MEDIAN_CHI_3
    known_deg = directions_deg[np.isfinite(directions_deg)]
    if known_deg.size:
        measured_deg = max(measured_deg, float(np.median(known_deg)) / _MEDIAN_CHI_2)
    own_deg = float(np.median([m.hypothesis.spread_deg for m in members]))
    return min(math.hypot(measured_deg, own_deg), 180.0)
