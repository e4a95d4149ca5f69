"""One pair of photos, from learned matches over bridging clips to one pose choice or a refusal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeVar

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.clips.checks import describe_flags
from interpose_sfm.clips.protocol import BudgetError, VideoGenerator, check_clip, clip_requests
from interpose_sfm.clips.strips import preview
from interpose_sfm.matching import pure_rotation
from interpose_sfm.matching.ahead import a_few_at_once
from interpose_sfm.matching.cache import LearnedCache
from interpose_sfm.matching.own_focal import OwnFocal, better_elsewhere, own_focal
from interpose_sfm.options import ConsensusOptions, ConsistencyOptions
from interpose_sfm.pairs import consistency
from interpose_sfm.pairs.clip_views import frame_views
from interpose_sfm.pairs.decide import Findings, decide_alone, pixels_believe
from interpose_sfm.pairs.estimates import Estimates, baseline, estimate
from interpose_sfm.pairs.judge import is_settled_alone
from interpose_sfm.pairs.network_poses import NetworkPoses
from interpose_sfm.pairs.own_matches import OwnMatches
from interpose_sfm.pairs.relay_frames import relay_frames
from interpose_sfm.pairs.witnesses import agreeing_sources
from interpose_sfm.pose import clip_calibration
from interpose_sfm.pose.protocol import EstimatorContext, PoseEstimator
from interpose_sfm.products import (
    ChoiceReason,
    Clip,
    ClipFlag,
    ClipStatus,
    Evidence,
    FloatArray,
    GeneratorKind,
    ImagePair,
    Intrinsics,
    JudgedProposal,
    Link,
    PairMatch,
    PairOutcome,
    Pose,
    PoseChoice,
    PoseHypothesis,
    PoseProposal,
    ScoreKind,
    View,
    ViewPoses,
)
from interpose_sfm.storage.hypotheses import HypothesisStore

logger = logging.getLogger(__name__)

R = TypeVar("R")

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
        proposer: Pose network that proposes poses and guesses scales; None for none.
        relay_frames: Of the frames of a clip so many are kept, those that match best with their neighbours on both
            sides; None for all of them.
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
        relay_frames: int | None = None,
    ) -> None:
        self._limits = limits or ConsensusOptions()
        self._views, self._cache, self._estimator, self._generators = views, cache, estimator, tuple(generators)
        self._choosing, self._seed, self._relay_frames = choosing, seed, relay_frames
        self._estimates, self._own = Estimates(hypotheses, cache, seed), OwnMatches(cache, seed)
        self._alone: dict[ImagePair, Findings] = {}
        self._network: NetworkPoses | None = None
        if proposer is not None:
            self._network = NetworkPoses(proposer, views, self._estimates, self._own, self._limits)

    @property
    def clip_kinds(self) -> frozenset[GeneratorKind]:
        """Where clips may come from."""
        return frozenset(generator.kind for generator in self._generators)

    def match(self, pair: ImagePair) -> PairMatch:
        """The pair alone, by learned matches: its two-view geometry, and the link it offers if there is a pose."""
        return self._own.matched(pair, self._views(pair.a), self._views(pair.b))

    def fetch_matches(self, pairs: Sequence[ImagePair]) -> None:
        """Have the learned matches of some pairs computed before `match` is asked for them; together on a GPU."""
        views = [(self._views(pair.a), self._views(pair.b)) for pair in pairs]
        if len(views) > 1:
            self._cache.match_all(views)
        else:
            self._cache.features_and_matches(*views[0])

    def _ends(self, pair: ImagePair) -> tuple[View, View]:
        return self._views(pair.a), self._views(pair.b)

    def findings_alone(self, pair: ImagePair) -> Findings:
        """What two photos say by themselves: under the focal lengths that their matches tell, if nothing else does."""
        if pair not in self._alone:
            self._alone[pair] = self._findings_alone(pair)
        return self._alone[pair]

    def _findings_alone(self, pair: ImagePair) -> Findings:
        matched = self.match(pair)
        if not self.has_guessed_focal(pair):
            return Findings(matched=matched)
        own = self._own_focal(pair, matched.link)
        if own is None or not own.is_told:
            return Findings(matched=matched, guessed_focal=True)
        matched = self._own.matched(pair, *_with_focal(own.factor, *self._ends(pair)))
        if matched.link is not None:
            link = replace(matched.link, spread_deg=max(matched.link.spread_deg, own.spread_deg))
            matched = replace(matched, link=link)
        return Findings(matched=matched, own_focal=own.factor)

    def _own_focal(self, pair: ImagePair, link: Link | None) -> OwnFocal | None:
        """What the matches behind a link say of the focal length; None where that is luck, or hardly matters."""
        if link is None or not _is_wide(link.b_from_a) or link.evidence.surprise < self._limits.min_surprise:
            return None
        a, b = self._ends(pair)
        return own_focal(link.b_from_a, link.points_a_px, a.intrinsics, link.points_b_px, b.intrinsics)

    def cameras(self, pair: ImagePair) -> tuple[Intrinsics, Intrinsics]:
        """Of both photos, before matches or clips tell their focal lengths."""
        a, b = self._ends(pair)
        return a.intrinsics, b.intrinsics

    def has_guessed_focal(self, pair: ImagePair) -> bool:
        """Whether nothing tells the focal length of either photo."""
        return not (self._views(pair.a).intrinsics.is_trusted or self._views(pair.b).intrinsics.is_trusted)

    def hold(self, pair: ImagePair, poses: Sequence[Pose]) -> tuple[JudgedProposal, ...]:
        """Those of some predicted poses that the photos' own matches support most, held against these matches."""
        return self._own.held(pair, poses, self._views(pair.a), self._views(pair.b))

    @property
    def can_propose(self) -> bool:
        """Whether a pose network can be asked."""
        return self._network is not None

    def propose(self, pair: ImagePair, beside: Sequence[str] = ()) -> tuple[JudgedProposal, ...]:
        """See `NetworkPoses.propose`; nothing without a network."""
        return () if self._network is None else self._network.propose(pair, beside)

    def with_guesses(self, link: Link, beside: Sequence[str] = ()) -> Link:
        """See `NetworkPoses.with_guesses`; the link as it is without a network."""
        return link if self._network is None else self._network.with_guesses(link, beside)

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
                usable[clip.name] = self._relayed(pair, clip)
                imagined_by[clip.name] = sources[request.index]
        a, b, note, is_guess = self._calibrated(pair, list(usable.values()))
        tried += note
        clips = {name: frame_views(clip, a, b) for name, clip in usable.items()}
        pair_only = self._asked(pair, "", a, (), b, [()])[0]
        options = replace(self._choosing, allow_pair_only=False)
        is_warped = generator.kind is GeneratorKind.WARPED  # along the photos' own matches, which are no judges then
        whole: tuple[PoseHypothesis, ...] = ()
        offered: tuple[PoseProposal, ...] = ()
        choice = consistency.choose(pair, whole, None, options)
        proposals: tuple[JudgedProposal, ...] = ()
        found = self._in_threads(lambda clip: self._whole(pair, clip, a, clips[clip], b), list(clips), may_stop=True)
        for number, (name, hypotheses) in enumerate(zip(clips, found, strict=True), start=1):
            whole += hypotheses
            choice = consistency.choose(pair, whole, None, options)
            offered = self._proposals(choice, a, is_guess, imagined_by)
            own = [proposal for proposal in offered if proposal.source == name and not is_warped]
            proposals += self._own.judged(pair, own, a, b)
            if number < len(clips) and any(is_settled_alone(judged, self._limits) for judged in proposals):
                tried.append(f"{len(clips) - number} more not asked: the photos' own matches settle the pair")
                break
        outcome = PairOutcome(choice, None, tuple(tried), flags, whole, pair_only, proposals)
        if not pixels_believe(outcome, self._limits):
            asked = self._in_threads(
                lambda clip: self._hypotheses(pair, clip, a, clips[clip], b), list(clips), may_stop=False
            )
            hypotheses = tuple(chain.from_iterable(asked))
            choice = consistency.choose(pair, hypotheses, pair_only, options)
            more = self._proposals(choice, a, is_guess, imagined_by)
            witnessed = agreeing_sources([*offered, *more])
            choice = consistency.choose(pair, hypotheses, pair_only, options, witnessed)
            if choice.reason is ChoiceReason.ACCEPTED and is_guess and _is_wide(choice.b_from_a):
                choice = replace(choice, reason=ChoiceReason.GUESSED_FOCAL)
            link = self._link(choice, hypotheses, a, clips, b) if choice.reason is ChoiceReason.ACCEPTED else None
            proposals += () if is_warped else self._own.judged(pair, more, a, b)
            outcome = PairOutcome(choice, link, tuple(tried), flags, hypotheses, pair_only, proposals)
        self._cache.forget_frames()
        focal_factor = a.intrinsics.focal_px / self._views(pair.a).intrinsics.focal_px
        return replace(outcome, previews=tuple(map(preview, usable.values())), focal_factor=focal_factor)

    def _relayed(self, pair: ImagePair, clip: Clip) -> Clip:
        """The clip with those of its frames that carry the way best, if not all are kept."""
        if self._relay_frames is None or len(clip.frames) <= self._relay_frames:
            return clip
        a, b = self._views(pair.a), self._views(pair.b)
        least = self._cache.options.min_match_score

        def count(one: View, other: View) -> int:
            return len(self._cache.matches(one, other).above(least).indices)

        frames = frame_views(clip, a, b)
        kept = relay_frames(a, frames, b, self._relay_frames, count, self._cache.prepare)
        return replace(clip, frames=tuple(clip.frames[index] for index in kept))

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
            and not (is_guess and _is_wide(score.medoid))
        )

    def _whole(
        self, pair: ImagePair, clip: str, a: View, frames: Sequence[View], b: View
    ) -> tuple[PoseHypothesis, ...]:
        """Hypotheses from the small steps of a whole clip: by all of its frames, and by every other one of them.

        A turn that few frames leave in steps too wide to match is often walked through by neighbours.
        """
        number = len(frames)
        if number < clip_calibration.MIN_WHOLE_FRAMES or not self._estimator.traits.gains_from_more_views:
            return ()
        ways = [tuple(range(number)), tuple(range(0, number, 2)), tuple(range(1, number, 2))]
        return self._asked(pair, clip, a, frames, b, ways)

    def _calibrated(self, pair: ImagePair, clips: Sequence[Clip]) -> tuple[View, View, list[str], bool]:
        """The photos with focal lengths from their matches, else from the clips, where nothing else tells them.

        Matches that are not believed to show one place are not believed about the focal length either.

        Besides, a note for the report, and whether poses rest on focal lengths that nobody knows.
        """
        a, b = self._views(pair.a), self._views(pair.b)
        if not self.has_guessed_focal(pair) or not clips or not self._estimator.traits.trusts_focal_lengths:
            return a, b, [], False
        alone = self.findings_alone(pair)
        if alone.own_focal is not None and decide_alone(alone, self._limits).verdict.tells_pose:
            note = f"focal lengths: {alone.own_focal:.2f} times the guess, by the photos' own matches"
            return *_with_focal(alone.own_focal, a, b), [note], False
        frames = [frame_views(clip, a, b) for clip in clips]
        scale = clip_calibration.focal_scale(frames, (a, b), EstimatorContext.of_cache(self._cache, self._seed))
        if scale is None:
            return a, b, ["focal lengths: the clips do not tell them, or do not agree"], True
        told = _with_focal(scale, a, b)
        if self._is_contradicted(pair, *told):
            note = f"focal lengths: {scale:.2f} times the guess by the clips, which the photos' own matches contradict"
            return a, b, [note], True
        return *told, [f"focal lengths: {scale:.2f} times the guess, by the clips"], False

    def _is_contradicted(self, pair: ImagePair, a: View, b: View) -> bool:
        """Whether the photos' own matches, if they are believed to show one place, know better focal lengths."""
        matched = self._own.matched(pair, a, b)
        link = matched.link
        if link is None or not _is_wide(link.b_from_a):
            return False
        believed = decide_alone(Findings(matched=matched), self._limits).verdict.tells_pose
        sides = link.points_a_px, a.intrinsics, link.points_b_px, b.intrinsics
        return believed and better_elsewhere(link.b_from_a, *sides).contradicts

    def _in_threads(self, compute: Callable[[str], R], clips: Sequence[str], *, may_stop: bool) -> Iterator[R]:
        """Results of some clips in their order, computed at once where the estimator can be asked so.

        No more at once than there are threads if some may turn out not to be needed.
        """
        number = self._cache.num_at_once() if self._estimator.traits.is_for_threads else 1
        return a_few_at_once(compute, clips, number if may_stop or number == 1 else max(1, len(clips)))

    def _generator_for(self, pair: ImagePair) -> VideoGenerator | None:
        return next((g for g in self._generators if g.num_clips(pair) > 0), None)

    def _hypotheses(
        self, pair: ImagePair, clip: str, a: View, frames: Sequence[View], b: View
    ) -> tuple[PoseHypothesis, ...]:
        """One hypothesis per subset of the clip's frames (InterPose, section 3)."""
        pool = consistency.frame_pool(len(frames), self._estimator.traits.frame_pool)
        drawn = consistency.draw_subsets(len(pool), self._choosing, self._seed)
        return self._asked(pair, clip, a, frames, b, [tuple(pool[index] for index in subset) for subset in drawn])

    def _asked(
        self,
        pair: ImagePair,
        clip: str,
        a: View,
        frames: Sequence[View],
        b: View,
        subsets: Sequence[tuple[int, ...]],
    ) -> tuple[PoseHypothesis, ...]:
        """One hypothesis per subset of frames."""
        return self._estimates.of(self._estimator, pair, clip, a, frames, b, subsets)

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
            whole = self._asked(choice.pair, choice.clip, a, frames, b, [tuple(range(len(frames)))])
            near += [hypothesis for hypothesis in whole if _is_near(hypothesis, chosen)]
        estimates = [  # those that an earlier version stored without are made anew
            h.estimate if h.estimate is not None else estimate(self._estimator, a, clips[choice.clip], h.frames, b)
            for h in near
        ]
        evidence = Evidence.of_weakest(e.evidence for e in estimates if e.evidence is not None)
        if evidence is None:
            return None
        points_a_px, points_b_px = _merged(estimates)
        deepest = max(estimates, key=lambda e: min(len(e.seen_a.depths), len(e.seen_b.depths)))
        to_baselines = 1.0 / baseline(deepest)
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


def _with_focal(factor: float, a: View, b: View) -> tuple[View, View]:
    """The views with focal lengths of so many times theirs."""
    first, second = (replace(view, intrinsics=view.intrinsics.zoomed(factor)) for view in (a, b))
    return first, second


def _is_wide(pose: Pose | None) -> bool:
    """Whether a pose turns so far that it errs with the focal lengths."""
    return pose is not None and pure_rotation.is_wide(pose.rotation)


def _described(clip: Clip) -> str:
    """A clip as the report names it, with what is wrong with it."""
    parts = [] if clip.status is ClipStatus.OK else [f"{clip.status} {clip.detail}".strip()]
    parts += [describe_flags(clip.flags)] if clip.flags else []
    return f"{clip.name}: {'; '.join(parts)}" if parts else clip.name


def _is_near(hypothesis: PoseHypothesis, b_from_a: Pose) -> bool:
    pose = hypothesis.b_from_a
    return pose is not None and geometry.signed_pose_distance_deg(pose, b_from_a) <= MAX_DISTANCE_TO_CHOICE_DEG


def _merged(estimates: Sequence[ViewPoses]) -> tuple[FloatArray, FloatArray]:
    """Distinct correspondences of several estimates; of those that share a position in A, the first."""
    a = np.concatenate([e.points_a_px for e in estimates]) if estimates else np.zeros((0, 2))
    b = np.concatenate([e.points_b_px for e in estimates]) if estimates else np.zeros((0, 2))
    _, first = np.unique(a, axis=0, return_index=True)
    first = np.sort(first)
    return a[first], b[first]
