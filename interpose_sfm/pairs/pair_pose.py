"""One pair of photos, from learned matches over bridging clips to one pose choice or a refusal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.clips.checks import describe_flags
from interpose_sfm.clips.protocol import BudgetError, VideoGenerator, check_clip, clip_requests
from interpose_sfm.clips.strips import preview
from interpose_sfm.colmap.constants import MIN_VERIFIED_MATCHES
from interpose_sfm.matching import given_pose
from interpose_sfm.matching.ahead import MatchingAhead, num_workers
from interpose_sfm.matching.cache import LearnedCache
from interpose_sfm.matching.lightglue import weights_id
from interpose_sfm.options import ConsensusOptions, ConsistencyOptions
from interpose_sfm.pairs import consistency
from interpose_sfm.pairs.clip_views import frame_views
from interpose_sfm.pairs.decide import MAX_GUESSED_TURN_DEG, pixels_believe
from interpose_sfm.pairs.pair_link import pair_link
from interpose_sfm.pairs.proposals import Views, judge_family, judge_proposals
from interpose_sfm.pairs.witnesses import agreeing_sources
from interpose_sfm.pose import clip_calibration
from interpose_sfm.pose.protocol import EstimatorContext, PoseEstimator, check_poses
from interpose_sfm.products import (
    ChoiceReason,
    Clip,
    ClipFlag,
    ClipStatus,
    Evidence,
    FloatArray,
    GeneratorKind,
    ImagePair,
    JudgedProposal,
    Link,
    Matches,
    PairMatch,
    PairOutcome,
    Pose,
    PoseChoice,
    PoseHypothesis,
    PoseProposal,
    PoseStatus,
    ScoreKind,
    View,
    ViewPoses,
)
from interpose_sfm.storage.content_keys import content_key
from interpose_sfm.storage.hypotheses import HypothesisStore
from interpose_sfm.storage.stores import store_key

logger = logging.getLogger(__name__)

MIN_WHOLE_FRAMES = 4  # of which every other one leaves two
MAX_DISTANCE_TO_GUESS_DEG = 10.0  # of a network's pose from the link's, in rotation and in direction
MAX_DISTANCE_TO_CHOICE_DEG = 10.0  # hypotheses this near to the choice lend it their correspondences


class PairPoser:
    """Finds relative poses of pairs, by learned matches and by bridging clips.

    Args:
        views: Photo name -> view; called when a photo is needed.
        cache: Learned features and matches.
        hypotheses: Store of pose hypotheses; a clip that is in it is not estimated again.
        estimator: Places the frames of clips and both photos.
        generators: Of a pair's clips, those of the first that has some are used.
        choosing: How many clips and subsets are taken, and how one pose is chosen.
        seed: Seed of everything that is random.
        limits: When a pose is believed: what the pixels of the two photos believe needs no further hypotheses.
        proposer: Pose network that places the two photos alone; None for none.
    """

    def __init__(
        self,
        views: Callable[[str], View],
        cache: LearnedCache,
        hypotheses: HypothesisStore,
        estimator: PoseEstimator,
        generators: Sequence[VideoGenerator],
        choosing: ConsistencyOptions,
        seed: int,
        limits: ConsensusOptions | None = None,
        proposer: PoseEstimator | None = None,
    ) -> None:
        self._limits = limits or ConsensusOptions()
        self._views, self._cache, self._store = views, cache, hypotheses
        self._estimator, self._generators, self._proposer = estimator, tuple(generators), proposer
        self._choosing, self._seed = choosing, seed

    @property
    def clip_kinds(self) -> frozenset[GeneratorKind]:
        """Where clips may come from."""
        return frozenset(generator.kind for generator in self._generators)

    def match(self, pair: ImagePair) -> PairMatch:
        """The pair alone, by learned matches: its two-view geometry, and the link it offers if there is a pose."""
        return self._matched(pair, self._views(pair.a), self._views(pair.b))

    def matching_ahead(self) -> MatchingAhead:
        """What matches pairs on the other cores before `match` is asked for them."""

        def compute(pair: ImagePair) -> None:
            self._cache.features_and_matches(self._views(pair.a), self._views(pair.b))

        return MatchingAhead(compute, num_workers(self._cache.options.device))

    def has_guessed_focal(self, pair: ImagePair) -> bool:
        """Whether nothing tells the focal length of either photo."""
        return not (self._views(pair.a).intrinsics.is_trusted or self._views(pair.b).intrinsics.is_trusted)

    def hold(self, pair: ImagePair, poses: Sequence[Pose]) -> tuple[JudgedProposal, ...]:
        """Those of some predicted poses that the photos' own matches support most, held against these matches."""
        a, b = self._views(pair.a), self._views(pair.b)
        views, matches = self._seen(a, b)
        own, least = self._matched(pair, a, b), self._cache.options.min_match_score
        return judge_family(pair, poses, views, matches, own, self._seed, least)

    @property
    def can_propose(self) -> bool:
        """Whether a pose network can be asked for the pose of two photos alone."""
        return self._proposer is not None

    def propose(self, pair: ImagePair) -> tuple[JudgedProposal, ...]:
        """The pose that a network has for the two photos alone, held against their own matches; nothing without one.

        Focal lengths that nobody knows are those of the network. Where too few matches could judge it, it is not asked.
        """
        if self._proposer is None:
            return ()
        a, b = self._views(pair.a), self._views(pair.b)
        if len(self._seen(a, b)[1].indices) < MIN_VERIFIED_MATCHES:
            return ()
        found = self._estimated(pair, "", a, (), b, [()], self._proposer)[0]
        if found.b_from_a is None or found.estimate is None:
            return ()
        is_guess = not (a.intrinsics.is_trusted and b.intrinsics.is_trusted)
        if is_guess and found.estimate.intrinsics:
            a, b = (replace(v, intrinsics=camera) for v, camera in zip((a, b), found.estimate.intrinsics, strict=True))
        focal_px = a.intrinsics.focal_px if is_guess else None
        proposal = PoseProposal(pair, found.b_from_a, found.spread_deg, self._proposer.name, focal_px)
        views, matches = self._seen(a, b)
        own, least = self._matched(pair, a, b), self._cache.options.min_match_score
        return judge_proposals([proposal], views, matches, own, self._seed, least)

    def with_guessed_depths(self, link: Link, beside: Sequence[str] = ()) -> Link:
        """The link with the depths that the pose network has in either photo, in units of the baseline.

        Where the network's own pose is another one than the link's, its depths say nothing of the link's baseline.

        Args:
            link: Of two photos.
            beside: Photos that the network is shown together with them.
        """
        if self._proposer is None:
            return link
        a, b = self._views(link.pair.a), self._views(link.pair.b)
        frames = [self._views(name) for name in beside]
        found = self._estimated(link.pair, "", a, frames, b, [tuple(range(len(frames)))], self._proposer)[0]
        said, is_ok = found.estimate, found.status is PoseStatus.OK
        if said is None or not is_ok or found.b_from_a is None:
            return link
        if not given_pose.is_within(found.b_from_a, link.b_from_a, MAX_DISTANCE_TO_GUESS_DEG):
            return link
        to_baselines = 1.0 / _baseline(said)
        return replace(link, guessed_a=said.seen_a.scaled(to_baselines), guessed_b=said.seen_b.scaled(to_baselines))

    def num_clips_on_disk(self, pair: ImagePair) -> int:
        """Clips that exist already for the pair."""
        return sum(generator.num_existing(pair) for generator in self._generators)

    def bridge(self, pair: ImagePair) -> PairOutcome:
        """Clips, hypotheses and the self-consistent choice for a pair.

        Raises:
            BudgetError: Its clips would have to be paid for, and the user has not said how much may be spent.
        """
        nothing = PoseChoice(pair, ChoiceReason.NO_HYPOTHESIS, None, "", ScoreKind.NONE, np.nan, 180.0)
        generator = self._generator_for(pair)
        if generator is None:
            return PairOutcome(nothing, None, ())
        usable: dict[str, Clip] = {}
        imagined_by: dict[str, str] = {}
        flags: dict[str, tuple[ClipFlag, ...]] = {}
        tried = []
        sources, number = generator.sources(pair), self._choosing.num_clips
        requests = clip_requests(len(sources), self._seed)
        requests = tuple(r for r in requests if sources[: r.index].count(sources[r.index]) < number)
        try:
            generator.prepare(pair, requests)
        except BudgetError as error:
            if error.limit_usd is None:
                raise
            return PairOutcome(nothing, None, (str(error),))
        for request in requests:
            clip = check_clip(generator.generate(pair, request), pair)
            tried.append(_described(clip))
            flags[clip.name] = clip.flags
            if clip.status is ClipStatus.OK:
                usable[clip.name] = clip
                imagined_by[clip.name] = sources[request.index]
        a, b, note, is_guess = self._calibrated(pair, list(usable.values()))
        tried += note
        clips = {name: frame_views(clip, a, b) for name, clip in usable.items()}
        own = self._matched(pair, a, b)
        pair_only = self._estimated(pair, "", a, (), b, [()])[0]
        options = replace(self._choosing, allow_pair_only=False)
        whole = tuple(h for name, views in clips.items() for h in self._whole(pair, name, a, views, b))
        choice = consistency.choose(pair, whole, None, options)
        is_warped = generator.kind is GeneratorKind.WARPED  # along the photos' own matches, which are no judges then
        offered = self._proposals(choice, a, is_guess, imagined_by)
        proposals = () if is_warped else self._judged(offered, a, b, own)
        outcome = PairOutcome(choice, None, tuple(tried), flags, whole, pair_only, proposals)
        if not pixels_believe(outcome, self._limits):
            hypotheses = tuple(h for name, views in clips.items() for h in self._hypotheses(pair, name, a, views, b))
            choice = consistency.choose(pair, hypotheses, pair_only, options)
            more = self._proposals(choice, a, is_guess, imagined_by)
            witnessed = agreeing_sources([*offered, *more])
            choice = consistency.choose(pair, hypotheses, pair_only, options, witnessed)
            if choice.reason is ChoiceReason.ACCEPTED and is_guess and _turn_deg(choice) > MAX_GUESSED_TURN_DEG:
                choice = replace(choice, reason=ChoiceReason.GUESSED_FOCAL)
            link = self._link(choice, hypotheses, a, clips, b) if choice.reason is ChoiceReason.ACCEPTED else None
            proposals += () if is_warped else self._judged(more, a, b, own)
            outcome = PairOutcome(choice, link, tuple(tried), flags, hypotheses, pair_only, proposals)
        self._cache.forget_frames()
        return replace(outcome, previews=tuple(map(preview, usable.values())))

    def _seen(self, a: View, b: View) -> tuple[Views, Matches]:
        """Features and camera of each photo, and their learned matches."""
        features_a, features_b, matches = self._cache.features_and_matches(a, b)
        return (features_a, a.intrinsics, features_b, b.intrinsics), matches

    def _matched(self, pair: ImagePair, a: View, b: View) -> PairMatch:
        """What the photos' own matches say under the focal lengths of the clips."""
        views, matches = self._seen(a, b)
        return pair_link(pair, views, matches, self._seed, self._cache.options.min_match_score)

    def _proposals(
        self, choice: PoseChoice, a: View, is_guess: bool, imagined_by: Mapping[str, str]
    ) -> tuple[PoseProposal, ...]:
        """What every self-consistent clip proposes."""
        focal_px = None if a.intrinsics.is_trusted else a.intrinsics.focal_px
        return tuple(
            PoseProposal(choice.pair, score.medoid, score.spread_deg, score.clip, focal_px, imagined_by[score.clip])
            for score in choice.clip_scores
            if score.num_hypotheses >= self._choosing.min_hypotheses
            and score.d_med_deg <= self._choosing.max_d_med_deg
            and not (is_guess and geometry.rotation_angle_deg(score.medoid.rotation) > MAX_GUESSED_TURN_DEG)
        )

    def _judged(
        self, proposals: Sequence[PoseProposal], a: View, b: View, own: PairMatch
    ) -> tuple[JudgedProposal, ...]:
        """What clips propose, held against the photos' own matches."""
        if not proposals:
            return ()
        views, matches = self._seen(a, b)
        return judge_proposals(proposals, views, matches, own, self._seed, self._cache.options.min_match_score)

    def _whole(
        self, pair: ImagePair, clip: str, a: View, frames: Sequence[View], b: View
    ) -> tuple[PoseHypothesis, ...]:
        """Hypotheses from the small steps of a whole clip: by all of its frames, and by every other one of them.

        A turn that few frames leave in steps too wide to match is often walked through by neighbours.
        """
        number = len(frames)
        if number < MIN_WHOLE_FRAMES or not self._estimator.traits.gains_from_more_views:
            return ()
        ways = [tuple(range(number)), tuple(range(0, number, 2)), tuple(range(1, number, 2))]
        return self._estimated(pair, clip, a, frames, b, ways)

    def _calibrated(self, pair: ImagePair, clips: Sequence[Clip]) -> tuple[View, View, list[str], bool]:
        """The photos with focal lengths from the clips where nothing else tells them, and a note for the report.

        The last item tells whether poses rest on focal lengths that nobody knows.
        """
        a, b = self._views(pair.a), self._views(pair.b)
        if not self.has_guessed_focal(pair) or not clips or not self._estimator.traits.trusts_focal_lengths:
            return a, b, [], False
        frames = [frame_views(clip, a, b) for clip in clips]
        context = EstimatorContext(
            features=self._cache.features,
            matches=self._cache.matches,
            prepare=self._cache.prepare,
            seed=self._seed,
            min_match_score=self._cache.options.min_match_score,
        )
        scale = clip_calibration.focal_scale(frames, context)
        if scale is None:
            return a, b, ["focal lengths: the clips do not agree on them"], True
        a, b = (replace(v, intrinsics=replace(v.intrinsics, focal_px=scale * v.intrinsics.focal_px)) for v in (a, b))
        return a, b, [f"focal lengths: {scale:.2f} times the guess, by the clips"], False

    def _generator_for(self, pair: ImagePair) -> VideoGenerator | None:
        return next((g for g in self._generators if g.num_clips(pair) > 0), None)

    def _hypotheses(
        self, pair: ImagePair, clip: str, a: View, frames: Sequence[View], b: View
    ) -> tuple[PoseHypothesis, ...]:
        """One hypothesis per subset of the clip's frames (InterPose, section 3)."""
        pool = consistency.frame_pool(len(frames), self._estimator.traits.frame_pool)
        drawn = consistency.draw_subsets(len(pool), self._choosing, self._seed)
        return self._estimated(pair, clip, a, frames, b, [tuple(pool[index] for index in subset) for subset in drawn])

    def _estimated(
        self,
        pair: ImagePair,
        clip: str,
        a: View,
        frames: Sequence[View],
        b: View,
        subsets: Sequence[tuple[int, ...]],
        by: PoseEstimator | None = None,
    ) -> tuple[PoseHypothesis, ...]:
        """One hypothesis per subset of frames, each with the estimate behind it; taken from the store where it is."""
        estimator = by or self._estimator
        key = store_key(
            pair.a,
            pair.b,
            clip,
            content_key(
                [view.key for view in (a, *frames, b)],
                [view.intrinsics for view in (a, *frames, b)],
                tuple(subsets),
                estimator.name,
                estimator.traits.settings_key,
                self._cache.options,
                self._seed,
                weights_id(),
            ),
        )
        hypotheses = self._store.get(key)
        if hypotheses is None:
            hypotheses = tuple(
                _hypothesis(_estimate(estimator, a, frames, subset, b), clip, subset) for subset in subsets
            )
            self._store.put(key, hypotheses)
        return hypotheses

    def _link(
        self,
        choice: PoseChoice,
        hypotheses: Sequence[PoseHypothesis],
        a: View,
        clips: Mapping[str, Sequence[View]],
        b: View,
    ) -> Link | None:
        """The chosen pose with the correspondences of all hypotheses of the winning clip that agree with it.

        Its evidence is that of the weakest step over these hypotheses. That the clips of one model agree with one
        another is none: they imagine a scene in the same wrong way (``docs/results/interpose_pairs.md``).
        """
        chosen = choice.b_from_a
        assert chosen is not None
        near = [h for h in hypotheses if h.clip == choice.clip and _is_near(h, chosen)]
        if self._estimator.traits.gains_from_more_views:  # small steps carry the most correspondences through
            frames = clips[choice.clip]
            whole = self._estimated(choice.pair, choice.clip, a, frames, b, [tuple(range(len(frames)))])
            near += [hypothesis for hypothesis in whole if _is_near(hypothesis, chosen)]
        estimates = [  # those that an earlier version stored without are made anew
            h.estimate if h.estimate is not None else _estimate(self._estimator, a, clips[choice.clip], h.frames, b)
            for h in near
        ]
        evidence = Evidence.of_weakest(e.evidence for e in estimates if e.evidence is not None)
        if evidence is None:
            return None
        points_a_px, points_b_px = _merged(estimates)
        deepest = max(estimates, key=lambda e: min(len(e.seen_a.depths), len(e.seen_b.depths)))
        to_baselines = 1.0 / _baseline(deepest)
        return Link(
            choice.pair,
            chosen,
            choice.spread_deg,
            points_a_px,
            points_b_px,
            evidence,
            choice.clip,
            deepest.seen_a.scaled(to_baselines),
            deepest.seen_b.scaled(to_baselines),
        )


def _estimate(estimator: PoseEstimator, a: View, frames: Sequence[View], subset: Sequence[int], b: View) -> ViewPoses:
    views = [a, *(frames[i] for i in subset), b]
    return check_poses(estimator.estimate(views), views, estimator.name)


def _turn_deg(choice: PoseChoice) -> float:
    return 0.0 if choice.b_from_a is None else float(geometry.rotation_angle_deg(choice.b_from_a.rotation))


def _described(clip: Clip) -> str:
    """A clip as the report names it, with what is wrong with it."""
    parts = [] if clip.status is ClipStatus.OK else [f"{clip.status} {clip.detail}".strip()]
    parts += [describe_flags(clip.flags)] if clip.flags else []
    return f"{clip.name}: {'; '.join(parts)}" if parts else clip.name


def _is_near(hypothesis: PoseHypothesis, b_from_a: Pose) -> bool:
    pose = hypothesis.b_from_a
    return pose is not None and geometry.signed_pose_distance_deg(pose, b_from_a) <= MAX_DISTANCE_TO_CHOICE_DEG


def _baseline(poses: ViewPoses) -> float:
    last = poses.cam_from_first[-1]
    assert last is not None
    return float(np.linalg.norm(last.translation)) or 1.0


def _hypothesis(poses: ViewPoses, clip: str, subset: tuple[int, ...]) -> PoseHypothesis:
    last = poses.cam_from_first[-1]
    b_from_a = None
    if poses.has_pose and last is not None:
        b_from_a = geometry.with_unit_translation(last)
    status = poses.status if b_from_a is not None or not poses.has_pose else PoseStatus.DEGENERATE
    return PoseHypothesis(clip, subset, status, b_from_a, poses.spread_deg, len(poses.points_a_px), poses)


def _merged(estimates: Sequence[ViewPoses]) -> tuple[FloatArray, FloatArray]:
    """Distinct correspondences of several estimates; of those that share a position in A, the first."""
    a = np.concatenate([e.points_a_px for e in estimates]) if estimates else np.zeros((0, 2))
    b = np.concatenate([e.points_b_px for e in estimates]) if estimates else np.zeros((0, 2))
    _, first = np.unique(a, axis=0, return_index=True)
    first = np.sort(first)
    return a[first], b[first]
