"""One pair of photos, from learned matches over bridging clips to one pose choice or a refusal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.bridging.factory import auto_generators, create_generator
from interpose_sfm.clips.checks import describe_flags
from interpose_sfm.clips.protocol import GeneratorContext, VideoGenerator, check_clip, clip_requests
from interpose_sfm.matching import verification
from interpose_sfm.matching.cache import LearnedCache
from interpose_sfm.matching.lightglue import weights_id
from interpose_sfm.options import ReconstructOptions
from interpose_sfm.pairs import consistency
from interpose_sfm.pose import clip_calibration
from interpose_sfm.pose.dust3r.stores import NetworkStores
from interpose_sfm.pose.factory import create_estimator
from interpose_sfm.pose.protocol import EstimatorContext, PoseEstimator, check_poses, traits_of
from interpose_sfm.products import (
    PAIR_ALONE,
    ChoiceReason,
    Clip,
    ClipFlag,
    ClipStatus,
    Features,
    FloatArray,
    FrameMapping,
    ImagePair,
    Intrinsics,
    Link,
    Matches,
    PairMatch,
    PairOutcome,
    Pose,
    PoseChoice,
    PoseHypothesis,
    PoseStatus,
    ScoreKind,
    View,
    ViewPoses,
)
from interpose_sfm.storage.content_keys import content_key, image_key
from interpose_sfm.storage.hypotheses import HypothesisStore
from interpose_sfm.storage.stores import store_key
from interpose_sfm.video_models.budget import BudgetError
from interpose_sfm.video_models.generated import GeneratedClips

logger = logging.getLogger(__name__)

AUTO, NO_BRIDGING = "auto", "none"
MAX_GUESSED_TURN_DEG = 25.0
"""A turn errs in proportion to the focal length. Clips of photos without EXIF put it at two thirds of COLMAP's guess in
the median (docs/results/interpose_pairs.md), so that wider turns err by more than a cycle of links is allowed to."""

MAX_DISTANCE_TO_CHOICE_DEG = 10.0  # hypotheses this near to the choice lend it their correspondences


class PairPoser:
    """Finds relative poses of pairs with the generator and the estimator that the options name.

    Args:
        views: Photo name -> view; called when a photo is needed.
        photo_names: All photos, for the names of clips.
        cache: Learned features and matches.
        hypotheses: Store of pose hypotheses; a clip that is in it is not estimated again.
        options: Of the run.
        network_stores: Where pair-wise networks keep their results; None to keep them in memory.
        clip_store: Where generated clips are kept if the options name no folder.
        progress: Called with the stage, what is done and the total.

    Raises:
        ValueError, MissingDependencyError: A generator or estimator that does not exist or cannot run.
    """

    def __init__(
        self,
        views: Callable[[str], View],
        photo_names: Sequence[str],
        cache: LearnedCache,
        hypotheses: HypothesisStore,
        options: ReconstructOptions,
        network_stores: NetworkStores | None = None,
        clip_store: Path | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self._views, self._cache, self._store, self._options = views, cache, hypotheses, options
        self._estimator_context = EstimatorContext(
            features=cache.features,
            matches=cache.matches,
            seed=options.seed,
            dust3r=options.dust3r,
            network_stores=network_stores,
        )
        self._estimator: PoseEstimator = create_estimator(options.pose_estimator, self._estimator_context)
        context = GeneratorContext(
            photo_names=tuple(photo_names),
            load_image=lambda name: views(name).image,
            intrinsics=lambda name: views(name).intrinsics,
            features_and_matches=self._features_and_matches,
            options=options.bridging,
            seed=options.seed,
            generation=options.generation,
            store_dir=clip_store,
            progress=progress,
        )
        self._generators = _generators(options.generator, context)

    @property
    def has_video_model(self) -> bool:
        """Whether one of the generators imagines its frames, rather than morphing or reading them."""
        return any(isinstance(generator, GeneratedClips) for generator in self._generators)

    def match(self, pair: ImagePair) -> PairMatch:
        """The pair alone, by learned matches: its two-view geometry, and the link it offers if there is a pose."""
        a, b = self._views(pair.a), self._views(pair.b)
        features_a, features_b, matches = self._features_and_matches(pair)
        found = verification.verify(features_a, a.intrinsics, features_b, b.intrinsics, matches, self._options.seed)
        if found.b_from_a is None:
            return PairMatch(found, None)
        points_a_px, points_b_px = verification.matched_points(features_a, features_b, matches, found.inliers)
        link = Link(pair, found.b_from_a, found.spread_deg, points_a_px, points_b_px, found.evidence, PAIR_ALONE)
        return PairMatch(found, link)

    def num_clips_on_disk(self, pair: ImagePair) -> int:
        """Clips that exist already for the pair."""
        return sum(g.num_clips(pair) for g in self._generators if g.name == "clips")

    def bridge(self, pair: ImagePair) -> PairOutcome:
        """Clips, hypotheses and the self-consistent choice for a pair."""
        nothing = PoseChoice(pair, ChoiceReason.NO_HYPOTHESIS, None, "", ScoreKind.NONE, np.nan, 180.0)
        generator = self._generator_for(pair)
        if generator is None:
            return PairOutcome(nothing, None, ())
        found: dict[str, Clip] = {}
        flags: dict[str, tuple[ClipFlag, ...]] = {}
        tried = []
        number = min(self._options.consistency.num_clips, generator.num_clips(pair))
        requests = clip_requests(number, self._options.seed)
        if isinstance(generator, GeneratedClips):
            try:
                generator.prepare([generator.plan(pair, request) for request in requests])
            except BudgetError as error:
                if self._options.generation.max_cost is None:
                    pairs = self._options.view_graph.max_bridged_pairs
                    raise BudgetError(f"{error}; a run bridges up to {pairs} pairs") from error
                return PairOutcome(nothing, None, (str(error),))
        for request in requests:
            clip = check_clip(generator.generate(pair, request), pair)
            tried.append(_told(clip))
            flags[clip.name] = clip.flags
            if clip.status is ClipStatus.OK:
                found[clip.name] = clip
        a, b, note, is_guess = self._calibrated(pair, list(found.values()))
        tried += note
        clips = {name: frame_views(clip, a.intrinsics, b.intrinsics) for name, clip in found.items()}
        pair_only = self._estimated(pair, "", a, (), b, [()])[0]
        hypotheses = tuple(h for name, views in clips.items() for h in self._hypotheses(pair, name, a, views, b))
        options = replace(self._options.consistency, allow_pair_only=False)
        choice = consistency.choose(pair, hypotheses, pair_only, options)
        if choice.reason is ChoiceReason.ACCEPTED and is_guess and _turn_deg(choice) > MAX_GUESSED_TURN_DEG:
            choice = replace(choice, reason=ChoiceReason.GUESSED_FOCAL)
        link = self._link(choice, hypotheses, a, clips, b) if choice.reason is ChoiceReason.ACCEPTED else None
        self._cache.forget_frames()
        return PairOutcome(choice, link, tuple(tried), flags, hypotheses, pair_only)

    def _calibrated(self, pair: ImagePair, clips: Sequence[Clip]) -> tuple[View, View, list[str], bool]:
        """The photos with focal lengths from the clips where nothing else tells them, and a note for the report.

        The last item tells whether poses rest on focal lengths that nobody knows.
        """
        a, b = self._views(pair.a), self._views(pair.b)
        unknown = not (a.intrinsics.is_trusted or b.intrinsics.is_trusted)
        if not unknown or not clips or not traits_of(self._estimator).trusts_focal_lengths:
            return a, b, [], False
        frames = [frame_views(clip, a.intrinsics, b.intrinsics) for clip in clips]
        scale = clip_calibration.focal_scale(frames, self._estimator_context)
        if scale is None:
            return a, b, ["focal lengths: the clips do not agree on them"], True
        a, b = (replace(v, intrinsics=replace(v.intrinsics, focal_px=scale * v.intrinsics.focal_px)) for v in (a, b))
        return a, b, [f"focal lengths: {scale:.2f} times the guess, by the clips"], False

    def _generator_for(self, pair: ImagePair) -> VideoGenerator | None:
        return next((g for g in self._generators if g.num_clips(pair) > 0), None)

    def _features_and_matches(self, pair: ImagePair) -> tuple[Features, Features, Matches]:
        a, b = self._views(pair.a), self._views(pair.b)
        return self._cache.features(a), self._cache.features(b), self._cache.matches(a, b)

    def _hypotheses(
        self, pair: ImagePair, clip: str, a: View, frames: Sequence[View], b: View
    ) -> tuple[PoseHypothesis, ...]:
        """One hypothesis per subset of the clip's frames (InterPose, section 3)."""
        traits = traits_of(self._estimator)
        pool = consistency.frame_pool(len(frames), traits.frame_pool)
        drawn = consistency.draw_subsets(len(pool), self._options.consistency, self._options.seed)
        return self._estimated(pair, clip, a, frames, b, [tuple(pool[index] for index in subset) for subset in drawn])

    def _estimated(
        self,
        pair: ImagePair,
        clip: str,
        a: View,
        frames: Sequence[View],
        b: View,
        subsets: Sequence[tuple[int, ...]],
    ) -> tuple[PoseHypothesis, ...]:
        """One hypothesis per subset of frames, each with the estimate behind it; taken from the store where it is."""
        key = store_key(
            pair.a,
            pair.b,
            clip,
            content_key(
                [view.key for view in (a, *frames, b)],
                [view.intrinsics for view in (a, *frames, b)],
                tuple(subsets),
                self._estimator.name,
                traits_of(self._estimator).settings_key,
                self._options.matching,
                self._options.seed,
                weights_id(),
            ),
        )
        found = self._store.get(key)
        if found is None:
            found = tuple(_hypothesis(self._estimate(a, frames, subset, b), clip, subset) for subset in subsets)
            self._store.put(key, found)
        return found

    def _estimate(self, a: View, frames: Sequence[View], subset: Sequence[int], b: View) -> ViewPoses:
        views = [a, *(frames[i] for i in subset), b]
        return check_poses(self._estimator.estimate(views), views, self._estimator.name)

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
        if traits_of(self._estimator).gains_from_more_views:  # small steps carry the most correspondences through
            frames = clips[choice.clip]
            whole = self._estimated(choice.pair, choice.clip, a, frames, b, [tuple(range(len(frames)))])
            near += [hypothesis for hypothesis in whole if _is_near(hypothesis, chosen)]
        estimates = [  # those that an earlier version stored without are made anew
            h.estimate if h.estimate is not None else self._estimate(a, clips[choice.clip], h.frames, b) for h in near
        ]
        evidence = min(
            (e.evidence for e in estimates if e.evidence is not None), key=lambda e: e.strength, default=None
        )
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


def _turn_deg(choice: PoseChoice) -> float:
    return 0.0 if choice.b_from_a is None else float(geometry.rotation_angle_deg(choice.b_from_a.rotation))


def _told(clip: Clip) -> str:
    """A clip as the report names it, with what is wrong with it."""
    parts = [] if clip.status is ClipStatus.OK else [f"{clip.status} {clip.detail}".strip()]
    parts += [describe_flags(clip.flags)] if clip.flags else []
    return f"{clip.name}: {'; '.join(parts)}" if parts else clip.name


def _generators(name: str, context: GeneratorContext) -> list[VideoGenerator]:
    """The generators that a name stands for; of a pair's clips, those of the first that has some are used."""
    if name == NO_BRIDGING:
        return []
    return auto_generators(context) if name == AUTO else [create_generator(name, context)]


def frame_views(clip: Clip, intrinsics_a: Intrinsics, intrinsics_b: Intrinsics) -> list[View]:
    """The frames of a clip as views, with cameras that go over from A's to B's."""
    first = frame_intrinsics(intrinsics_a, clip.frame_from_a, clip)
    last = frame_intrinsics(intrinsics_b, clip.frame_from_b, clip)
    views = []
    for index, frame in enumerate(clip.frames):
        share = (index + 1) / (len(clip.frames) + 1)
        between = replace(
            first,
            focal_px=first.focal_px + share * (last.focal_px - first.focal_px),
            cx_px=first.cx_px + share * (last.cx_px - first.cx_px),
            cy_px=first.cy_px + share * (last.cy_px - first.cy_px),
            radial=first.radial + share * (last.radial - first.radial),
            is_trusted=first.is_trusted and last.is_trusted,
        )
        views.append(View(image_key(frame), frame, between))
    return views


def frame_intrinsics(photo: Intrinsics, frame_from_photo: FrameMapping, clip: Clip) -> Intrinsics:
    """The camera of a frame that shows a photo scaled and shifted."""
    height_px, width_px = clip.frames[0].shape[:2]
    scale_x, scale_y = frame_from_photo.scale
    return Intrinsics(
        width_px=width_px,
        height_px=height_px,
        focal_px=photo.focal_px * float(np.sqrt(scale_x * scale_y)),
        cx_px=scale_x * photo.cx_px + frame_from_photo.offset_px[0],
        cy_px=scale_y * photo.cy_px + frame_from_photo.offset_px[1],
        radial=photo.radial,
        is_trusted=photo.is_trusted,
    )


def _is_near(hypothesis: PoseHypothesis, b_from_a: Pose) -> bool:
    found = hypothesis.b_from_a
    return found is not None and geometry.signed_pose_distance_deg(found, b_from_a) <= MAX_DISTANCE_TO_CHOICE_DEG


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
