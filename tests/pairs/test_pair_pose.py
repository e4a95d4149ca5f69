from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from bridging_scene import camera, context, pan, write_folder
from geometry_scenes import Scene, arc, cloud, observe, pose_error_deg, turned
from geometry_scenes import link as link_between
from interpose_sfm import geometry
from interpose_sfm.bridging.clips_on_disk import ClipsGenerator
from interpose_sfm.clips.protocol import BudgetError, VideoGenerator
from interpose_sfm.engines.local import LocalEngine
from interpose_sfm.matching import ahead
from interpose_sfm.matching.cache import LearnedCache
from interpose_sfm.matching.own_focal import MAX_SPREAD_DEG, OwnFocal, own_focal
from interpose_sfm.options import ConsensusOptions, ConsistencyOptions, EngineOptions, MatchingOptions
from interpose_sfm.pairs import pair_pose
from interpose_sfm.pairs.decide import Findings, decide
from interpose_sfm.pairs.judge import judge_proposed
from interpose_sfm.pairs.pair_pose import PairPoser
from interpose_sfm.pose import clip_calibration
from interpose_sfm.pose.matcher import MatcherEstimator
from interpose_sfm.pose.protocol import EstimatorContext, EstimatorTraits
from interpose_sfm.products import (
    ChoiceReason,
    Clip,
    ClipRequest,
    DepthSamples,
    Features,
    GeneratorKind,
    ImagePair,
    JudgedProposal,
    LinkVerdict,
    Matches,
    PairOutcome,
    Pose,
    View,
    ViewPoses,
)
from interpose_sfm.storage.content_keys import image_key
from interpose_sfm.storage.hypotheses import HypothesisStore
from interpose_sfm.storage.run_stores import open_stores
from interpose_sfm.synthetic import look_at
from interpose_sfm.workflows import relative_pose
from known_proposer import KnownProposer

PAIR = ImagePair("a.jpg", "b.jpg")
FRAMES = pan(seed=5, num_frames=7)
FEW_SUBSETS = ConsistencyOptions(num_random_subsets=3)
NOTHING = Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))


class KnownCache(LearnedCache):
    """Features and matches of a scene in place of those of the network; the photos do not match unless told."""

    scene: Scene
    are_matched = False

    def features(self, view: View) -> Features:
        return self.scene.features[KEYS.index(view.key)]

    def matches(self, a: View, b: View) -> Matches:
        pair = KEYS.index(a.key), KEYS.index(b.key)
        is_known = self.are_matched or pair != (0, len(FRAMES) - 1)
        return self.scene.matches(*pair) if is_known else NOTHING


KEYS = [image_key(frame) for frame in FRAMES]


def arc_scene(unit: float = 1.0, turn_deg: float = 48.0) -> Scene:
    """A way around a cloud of points, seen by the camera of the frames, in metres of this length."""
    poses = arc([turn_deg * step / 6 for step in range(7)], radius=7 * unit)
    return observe(unit * cloud(1, 200), poses, noise_px=0.1, intrinsics=camera(FRAMES[0]), seed=1)


def nearing_scene() -> Scene:
    """A way around the cloud that gets nearer, and looks beside it: from equally far, nothing tells a focal length."""
    poses = []
    for step in range(7):
        angle, away = np.radians(8.0 * step), 8.0 - 0.5 * step
        poses.append(look_at((away * np.sin(angle), -away * np.cos(angle), 0.5 + 0.1 * step), (0.12 * step, 0.0, 0.3)))
    return observe(cloud(1, 300), poses, noise_px=0.1, intrinsics=camera(FRAMES[0]), seed=1)


@contextmanager
def opened(
    folder: Path,
    scene: Scene,
    *,
    is_trusted: bool = True,
    factor: float = 1.0,
    relay_frames: int | None = None,
    choosing: ConsistencyOptions = FEW_SUBSETS,
    limits: ConsensusOptions | None = None,
) -> Iterator[PairPoser]:
    """A poser over the clips of a folder, one by default, whose photos state so many times their focal length."""
    folder.mkdir(exist_ok=True)
    if not list(folder.glob("a__b*")):
        write_folder(folder / "a__b", FRAMES)
    photos = {PAIR.a: FRAMES[0], PAIR.b: FRAMES[-1]}

    def view(name: str) -> View:
        right = camera(photos[name])
        stated = replace(right, focal_px=factor * right.focal_px, is_trusted=is_trusted)
        return View(image_key(photos[name]), photos[name], stated)

    with open_stores(folder) as stores:
        cache = KnownCache(stores.features, stores.matches, MatchingOptions())
        cache.scene = scene
        estimator = MatcherEstimator(EstimatorContext(features=cache.features, matches=cache.matches))
        generators = [ClipsGenerator(context(photos, clip_dirs=(folder,)))]
        poser = PairPoser(
            *(view, cache, stores.hypotheses, estimator, generators, choosing),
            seed=0,
            limits=limits,
            relay_frames=relay_frames,
        )
        assert poser.num_clips_on_disk(PAIR) == len(list(folder.glob("a__b*")))
        yield poser


def bridged(
    folder: Path,
    scene: Scene,
    *,
    is_trusted: bool = True,
    relay_frames: int | None = None,
    choosing: ConsistencyOptions = FEW_SUBSETS,
) -> PairOutcome:
    """The outcome of the clips of a folder; what its stores hold is not computed again."""
    with opened(folder, scene, is_trusted=is_trusted, relay_frames=relay_frames, choosing=choosing) as poser:
        return poser.bridge(PAIR)


def test_the_depths_of_a_clips_link_are_in_baselines(tmp_path: Path) -> None:
    """Whatever unit the small reconstruction of the frames has."""
    scene = arc_scene(unit=20.0)
    outcome = bridged(tmp_path, scene)
    assert outcome.choice.reason is ChoiceReason.ACCEPTED
    link = outcome.link
    assert link is not None
    assert max(pose_error_deg(link.b_from_a, scene.b_from_a(0, -1))) < 2.0
    poses = scene.cam_from_world
    length = np.linalg.norm(geometry.relative_pose(poses[-1], poses[0]).translation)
    for number, samples in ((0, link.seen_a), (-1, link.seen_b)):
        distances_px = np.linalg.norm(scene.features[number].keypoints_px[None] - samples.points_px[:, None], axis=2)
        points = scene.points_in_world[scene.point_of_row[number][distances_px.argmin(axis=1)]]
        depths = (points @ poses[number].rotation.T + poses[number].translation)[:, 2]
        assert len(depths) > 50
        assert np.median(samples.depths * length / depths) == pytest.approx(1.0, rel=0.03)


@pytest.mark.parametrize(
    ("scale", "is_trusted", "expected"),
    [
        (None, False, ChoiceReason.GUESSED_FOCAL),
        (1.0, False, ChoiceReason.ACCEPTED),
        (None, True, ChoiceReason.ACCEPTED),
    ],
)
def test_a_wide_turn_on_a_guessed_focal_length_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float | None, is_trusted: bool, expected: ChoiceReason
) -> None:
    monkeypatch.setattr(clip_calibration, "focal_scale", lambda clips, photos, context: scale)
    outcome = bridged(tmp_path, arc_scene(), is_trusted=is_trusted)  # turns by 48 degrees
    assert outcome.choice.reason is expected
    assert (outcome.link is not None) is (expected is ChoiceReason.ACCEPTED)
    assert outcome.choice.b_from_a is not None  # for the report


def test_calibration_goes_by_the_matches_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(clip_calibration, "focal_scale", lambda clips, photos, context: asked.append(context))
    bridged(tmp_path, arc_scene(), is_trusted=False)
    (context,) = asked
    cache = context.matches.__self__
    assert isinstance(cache, KnownCache)
    assert context == EstimatorContext.of_cache(cache, seed=0)
    assert (context.min_match_score, context.store_dir) == (cache.options.min_match_score, None)
    assert (context.features, context.prepare) == (cache.features, cache.prepare)


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_the_photos_own_matches_tell_their_focal_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    """Then no clip is asked for it, and the wide turn is given out; they are asked once."""
    monkeypatch.setattr(KnownCache, "are_matched", True)
    asked = []
    monkeypatch.setattr(pair_pose, "own_focal", lambda *given: asked.append(given) or own_focal(*given))
    monkeypatch.setattr(clip_calibration, "focal_scale", lambda *_: pytest.fail("a clip was asked"))
    scene = nearing_scene()
    with opened(tmp_path, scene, is_trusted=False, factor=factor) as poser:
        alone = poser.findings_alone(PAIR)
        outcome = poser.bridge(PAIR)
    assert alone.own_focal is not None
    assert alone.own_focal * factor == pytest.approx(1.0, abs=0.05)
    assert not alone.guessed_focal
    decided = decide(alone, ConsensusOptions())
    assert decided.verdict is LinkVerdict.ACCEPTED
    assert f"focal lengths {alone.own_focal:.2f} times the guess, by the photos' own matches" in decided.detail
    assert decided.link is not None
    assert max(pose_error_deg(decided.link.b_from_a, scene.b_from_a(0, -1))) < 2.0
    assert decided.link.spread_deg > 0.1  # with the focal length unknown
    assert any("by the photos' own matches" in note for note in outcome.tried)
    assert outcome.focal_factor == pytest.approx(alone.own_focal)
    assert len(asked) == 1


@pytest.mark.parametrize(("are_matched", "told"), [(True, None), (False, 0.8), (False, None)])
def test_a_relative_pose_tells_the_cameras_that_it_holds_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, are_matched: bool, told: float | None
) -> None:
    """By the photos' own matches, by the clips, or as they are stated."""
    monkeypatch.setattr(KnownCache, "are_matched", are_matched)
    monkeypatch.setattr(clip_calibration, "focal_scale", lambda *_: told)
    with opened(tmp_path, nearing_scene(), is_trusted=False, factor=1.25) as poser:
        monkeypatch.setattr(relative_pose, "opened_pair", lambda *_: nullcontext((poser, PAIR)))
        result = relative_pose.relative_pose(Path(PAIR.a), Path(PAIR.b))
        stated = poser.cameras(PAIR)
    right = {FRAMES[0].shape, FRAMES[-1].shape}
    assert {(camera.height_px, camera.width_px, 3) for camera in result.cameras} == right
    expected = 0.8 if are_matched else told or 1.0
    for found, before in zip(result.cameras, stated, strict=True):
        assert found.focal_px == pytest.approx(expected * before.focal_px, rel=0.05 if are_matched else 1e-9)
        assert replace(found, focal_px=before.focal_px) == before


def test_the_cameras_of_a_refused_pose_are_those_that_it_was_found_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photos match with nothing, and the hypotheses of the clip are refused."""
    monkeypatch.setattr(clip_calibration, "focal_scale", lambda *_: 0.8)
    strict = replace(FEW_SUBSETS, max_d_med_deg=1e-6)
    with opened(tmp_path, nearing_scene(), is_trusted=False, choosing=strict) as poser:
        monkeypatch.setattr(relative_pose, "opened_pair", lambda *_: nullcontext((poser, PAIR)))
        result = relative_pose.relative_pose(Path(PAIR.a), Path(PAIR.b))
        stated = poser.cameras(PAIR)
    assert result.verdict is LinkVerdict.INCONSISTENT
    assert result.b_from_a is not None
    for found, before in zip(result.cameras, stated, strict=True):
        assert found.focal_px == pytest.approx(0.8 * before.focal_px)


def test_matches_that_are_not_believed_leave_the_focal_length_to_the_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looks alike may agree on one as well."""
    monkeypatch.setattr(KnownCache, "are_matched", True)
    monkeypatch.setattr(clip_calibration, "focal_scale", lambda *_: 0.9)
    limits = ConsensusOptions(min_inliers=100_000)
    with opened(tmp_path, nearing_scene(), is_trusted=False, factor=1.4, limits=limits) as poser:
        alone = poser.findings_alone(PAIR)
        outcome = poser.bridge(PAIR)
    assert alone.own_focal == pytest.approx(1 / 1.4, rel=0.05)
    assert decide(alone, limits).verdict is LinkVerdict.POSSIBLE
    assert outcome.focal_factor == pytest.approx(0.9)
    assert any("by the clips" in note for note in outcome.tried)


@pytest.mark.parametrize(("told", "is_believed"), [(1.0, True), (1.8, False)])
def test_a_focal_length_of_clips_that_the_photos_contradict_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: float, is_believed: bool
) -> None:
    """Also where they do not know it well enough to tell it."""
    monkeypatch.setattr(KnownCache, "are_matched", True)
    monkeypatch.setattr(pair_pose, "own_focal", lambda *_: OwnFocal(1.0, MAX_SPREAD_DEG + 0.1))
    monkeypatch.setattr(clip_calibration, "focal_scale", lambda *_: told)
    with opened(tmp_path, nearing_scene(), is_trusted=False) as poser:
        outcome = poser.bridge(PAIR)
    assert outcome.focal_factor == pytest.approx(1.0)
    assert ("which the photos' own matches contradict" in outcome.tried[1]) is not is_believed
    decided = decide(Findings(matched=poser.match(PAIR), guessed_focal=True, bridged=outcome), ConsensusOptions())
    assert (decided.verdict is LinkVerdict.ACCEPTED) is is_believed


def test_matches_that_show_nothing_contradict_no_focal_length_of_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_calibration, "focal_scale", lambda *_: 1.8)
    with opened(tmp_path, nearing_scene(), is_trusted=False) as poser:
        assert poser.bridge(PAIR).focal_factor == pytest.approx(1.8)


def test_a_focal_length_that_matters_little_or_is_known_is_not_sought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KnownCache, "are_matched", True)
    monkeypatch.setattr(pair_pose, "own_focal", lambda *_: pytest.fail("sought"))
    with opened(tmp_path, arc_scene(), is_trusted=True) as poser:
        assert not poser.findings_alone(PAIR).guessed_focal
    with opened(tmp_path, arc_scene(turn_deg=12.0), is_trusted=False) as poser:
        alone = poser.findings_alone(PAIR)
    assert alone.guessed_focal
    assert alone.own_focal is None


def test_matches_that_tell_no_focal_length_leave_it_a_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KnownCache, "are_matched", True)
    monkeypatch.setattr(pair_pose, "own_focal", lambda *_: OwnFocal(0.8, MAX_SPREAD_DEG + 0.1))
    with opened(tmp_path, arc_scene(), is_trusted=False) as poser:
        alone = poser.findings_alone(PAIR)
    assert alone.guessed_focal
    assert decide(alone, ConsensusOptions()).verdict is LinkVerdict.UNSURE_POSE


def test_a_small_turn_may_rest_on_a_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_calibration, "focal_scale", lambda clips, photos, context: None)
    outcome = bridged(tmp_path, arc_scene(turn_deg=12.0), is_trusted=False)
    assert outcome.choice.reason is ChoiceReason.ACCEPTED


@pytest.mark.parametrize("are_matched", [True, False])
def test_no_clip_is_asked_once_the_photos_settle_the_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, are_matched: bool
) -> None:
    """Their own matches say the same of whatever leads there."""
    monkeypatch.setattr(KnownCache, "are_matched", are_matched)
    for number in range(3):
        write_folder(tmp_path / f"a__b_{number}", FRAMES)
    scene = arc_scene()
    outcome = bridged(tmp_path, scene, choosing=ConsistencyOptions(num_random_subsets=3, num_clips=3))
    assert len({hypothesis.clip for hypothesis in outcome.hypotheses}) == (1 if are_matched else 3)
    assert ("2 more not asked" in outcome.tried[-1]) is are_matched
    if are_matched:
        verdict, detail = judge_proposed(outcome.proposals[0], ConsensusOptions())
        assert verdict is LinkVerdict.ACCEPTED, detail
        assert max(pose_error_deg(outcome.proposals[0].own.b_from_a, scene.b_from_a(0, -1))) < 1.0


@pytest.mark.parametrize("is_trusted", [True, False])
def test_clips_are_asked_at_once_and_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_trusted: bool
) -> None:
    """By an estimator that several threads may ask; of a network's no two clips are asked at once."""
    outcomes = []
    for number, folder, is_for_threads in ((1, "one", True), (2, "two", True), (2, "network", False)):
        asked: set[int] = set()
        monkeypatch.setattr(KnownCache, "num_at_once", lambda self, number=number: number)
        options = EngineOptions(engine_workers=number)
        monkeypatch.setattr(ahead, "LocalEngine", lambda options=options: LocalEngine(options))
        traits = EstimatorTraits(is_for_threads=is_for_threads, settings_key="known")
        monkeypatch.setattr(MatcherEstimator, "traits", traits)
        estimate = MatcherEstimator.estimate

        def told(self: MatcherEstimator, views: Sequence[View], estimate=estimate, asked=asked) -> ViewPoses:
            asked.add(threading.get_ident())
            return estimate(self, views)

        monkeypatch.setattr(MatcherEstimator, "estimate", told)
        (tmp_path / folder).mkdir()
        for clip in range(2):
            write_folder(tmp_path / folder / f"a__b_{clip}", FRAMES)
        outcomes.append(bridged(tmp_path / folder, arc_scene(), is_trusted=is_trusted))
        assert (asked == {threading.get_ident()}) is (folder != "two")
        monkeypatch.setattr(MatcherEstimator, "estimate", estimate)
    first, *others = outcomes
    for other in others:
        assert other.tried == first.tried
        assert [h.clip for h in other.hypotheses] == [h.clip for h in first.hypotheses]
        assert geometry.pose_distance_deg(other.choice.b_from_a, first.choice.b_from_a) == 0.0


def test_frames_that_match_with_nothing_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five frames two are kept: those that match with their neighbours."""
    matches = KnownCache.matches
    blurred = {KEYS[2], KEYS[3], KEYS[5]}
    monkeypatch.setattr(
        KnownCache, "matches", lambda self, a, b: NOTHING if {a.key, b.key} & blurred else matches(self, a, b)
    )
    outcome = bridged(tmp_path / "relay", arc_scene(), relay_frames=2)
    assert outcome.previews[0].num_frames == 2
    kept = {frame for hypothesis in outcome.hypotheses for frame in hypothesis.frames}
    assert kept <= {0, 1}
    for number, shown in zip((1, 4), outcome.previews[0].frames, strict=True):
        small = Image.fromarray(FRAMES[number]).resize(shown.shape[1::-1], Image.Resampling.BOX)
        assert np.mean(np.abs(np.asarray(small, float) - shown)) < 3.0


def test_a_resumed_run_estimates_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the hypotheses nor what the link is made of."""
    first = bridged(tmp_path, arc_scene())
    assert first.link is not None

    def fail(self: MatcherEstimator, views: Sequence[View]) -> NoReturn:
        raise AssertionError(f"{len(views)} views were estimated again")

    monkeypatch.setattr(MatcherEstimator, "estimate", fail)
    second = bridged(tmp_path, arc_scene())
    assert second.link is not None
    np.testing.assert_array_equal(second.link.points_a_px, first.link.points_a_px)
    np.testing.assert_array_equal(second.link.seen_b.depths, first.link.seen_b.depths)
    assert second.link.evidence == first.link.evidence
    assert geometry.pose_distance_deg(second.link.b_from_a, first.link.b_from_a) == 0.0


def test_hypotheses_of_an_earlier_version_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They lack the estimates behind them; only those that the link is made of are made anew."""
    first = bridged(tmp_path, arc_scene())
    with HypothesisStore(tmp_path / "hypotheses.h5") as store:
        for key in list(store.keys()):  # a store is no dictionary
            stored = store.get(key)
            assert stored is not None
            store.put(key, tuple(replace(hypothesis, estimate=None) for hypothesis in stored))
    asked: list[int] = []
    estimate = MatcherEstimator.estimate

    def counted(self: MatcherEstimator, views: Sequence[View]) -> ViewPoses:
        asked.append(len(views))
        return estimate(self, views)

    monkeypatch.setattr(MatcherEstimator, "estimate", counted)
    second = bridged(tmp_path, arc_scene())
    assert 0 < len(asked) <= len(first.hypotheses) + 1
    assert first.link is not None
    assert second.link is not None
    np.testing.assert_array_equal(second.link.points_a_px, first.link.points_a_px)


class Priced(VideoGenerator):
    """Offers clips that are too dear."""

    name = "priced"
    kind = GeneratorKind.IMAGINED

    def __init__(self, limit_usd: float | None) -> None:
        self.limit_usd = limit_usd

    def num_clips(self, pair: ImagePair) -> int:
        return 2

    def generate(self, pair: ImagePair, request: ClipRequest) -> Clip:
        raise AssertionError("it could not be prepared")

    def prepare(self, pair: ImagePair, requests: Sequence[ClipRequest]) -> None:
        raise BudgetError(f"{len(requests)} clips cost $1", self.limit_usd)


def poser_with(folder: Path, *generators: VideoGenerator) -> PairPoser:
    """A poser that never gets to its photos."""
    with open_stores(folder) as stores:
        cache = LearnedCache(stores.features, stores.matches, MatchingOptions())
    estimator = MatcherEstimator(EstimatorContext(features=cache.features, matches=cache.matches))
    return PairPoser(
        lambda name: pytest.fail(name), cache, stores.hypotheses, estimator, generators, ConsistencyOptions(), 0
    )


def test_clips_over_the_budget_are_told_and_unlimited_spending_is_asked_for(tmp_path: Path) -> None:
    outcome = poser_with(tmp_path, Priced(0.5)).bridge(PAIR)
    assert (outcome.choice.reason, outcome.link) == (ChoiceReason.NO_HYPOTHESIS, None)
    assert outcome.tried == ("2 clips cost $1",)
    with pytest.raises(BudgetError, match="2 clips"):
        poser_with(tmp_path, Priced(None)).bridge(PAIR)


def test_what_generators_say_of_themselves_decides_what_to_bridge(tmp_path: Path) -> None:
    write_folder(tmp_path / "a__b", FRAMES)
    on_disk = ClipsGenerator(context({PAIR.a: FRAMES[0], PAIR.b: FRAMES[-1]}, clip_dirs=(tmp_path,)))
    poser = poser_with(tmp_path, on_disk)
    assert (poser.clip_kinds, poser.num_clips_on_disk(PAIR)) == ({GeneratorKind.FILES}, 1)
    poser = poser_with(tmp_path, Priced(None), on_disk)
    assert (poser.clip_kinds, poser.num_clips_on_disk(PAIR)) == ({GeneratorKind.FILES, GeneratorKind.IMAGINED}, 1)


# ---------------------------------------------------------------- what a pose network proposes


class MatchingCache(KnownCache):
    """Photos that match; doubtfully, so that their matches find no pose by themselves."""

    number = 60

    def matches(self, a: View, b: View) -> Matches:
        return self.scene.matches(
            KEYS.index(a.key), KEYS.index(b.key), limit=self.number, outlier_share=0.3, score=0.08, outlier_score=0.03
        )


@contextmanager
def asking(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int = 60, **guess: object
) -> Iterator[tuple[PairPoser, Scene]]:
    """A poser with a network that knows the truth, and what the photos show, whose cameras are guessed or known."""
    scene = arc_scene(turn_deg=40.0)
    for name, value in {
        "answers": {(KEYS[0], KEYS[-1]): scene.b_from_a(0, -1)},
        "depths": {},
        "needs": 2,
        "asked": [],
        "focal_px": scene.intrinsics[0].focal_px,
    }.items():
        monkeypatch.setattr(KnownProposer, name, value)
    photos = {PAIR.a: FRAMES[0], PAIR.b: FRAMES[-1], "c.jpg": FRAMES[1], "d.jpg": FRAMES[-2]}

    def view(name: str) -> View:
        return View(image_key(photos[name]), photos[name], replace(scene.intrinsics[0], **guess))  # type: ignore[arg-type]

    with open_stores(folder) as stores:
        cache = MatchingCache(stores.features, stores.matches, MatchingOptions())
        cache.scene, cache.number = scene, number
        known = EstimatorContext(features=cache.features, matches=cache.matches)
        estimator, proposer = MatcherEstimator(known), KnownProposer(known)
        choosing = ConsistencyOptions()
        poser = PairPoser(view, cache, stores.hypotheses, estimator, (), choosing, seed=0, proposer=proposer)
        assert poser.can_propose
        yield poser, scene


def proposed(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int = 60, **guess: object) -> list[JudgedProposal]:
    """What the network proposes for the two photos."""
    with asking(folder, monkeypatch, number, **guess) as (poser, _):
        return list(poser.propose(PAIR))


def test_a_proposal_is_judged_under_the_focal_lengths_that_are_known_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = arc_scene(turn_deg=40.0)
    wrong = 2.0 * scene.intrinsics[0].focal_px
    (known,) = proposed(tmp_path / "known", monkeypatch, is_trusted=True)
    (guessed,) = proposed(tmp_path / "guessed", monkeypatch, is_trusted=False, focal_px=wrong)
    (trusted_and_wrong,) = proposed(tmp_path / "wrong", monkeypatch, is_trusted=True, focal_px=wrong)
    for found in (known, guessed):
        assert judge_proposed(found, ConsensusOptions())[0] is LinkVerdict.ACCEPTED
        assert max(pose_error_deg(found.link.b_from_a, scene.b_from_a(0, -1))) < 2.0
        assert found.link.source == "da3"
    assert judge_proposed(trusted_and_wrong, ConsensusOptions())[0] is not LinkVerdict.ACCEPTED
    focals = [found.link.proposal.focal_px for found in (known, guessed) if found.link.proposal is not None]
    assert focals == [None, scene.intrinsics[0].focal_px]


def test_a_network_is_not_asked_where_nothing_could_judge_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert proposed(tmp_path, monkeypatch, number=14, is_trusted=True) == []
    assert KnownProposer.asked == []
    assert not poser_with(tmp_path).can_propose
    assert poser_with(tmp_path).propose(PAIR) == ()


def test_what_a_network_said_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(proposed(tmp_path, monkeypatch, is_trusted=True)) == 1
    assert len(KnownProposer.asked) == 1
    assert len(proposed(tmp_path, monkeypatch, is_trusted=True)) == 1
    assert KnownProposer.asked == []


def test_guessed_depths_are_in_baselines_and_of_two_photos_of_each_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asking(tmp_path, monkeypatch, is_trusted=True) as (poser, scene):
        pose, unit = scene.b_from_a(0, -1), 2.5
        KnownProposer.answers = {(KEYS[0], KEYS[-1]): Pose(pose.rotation, unit * pose.translation)}
        spots = np.zeros((9, 2))
        KnownProposer.depths = {KEYS[0]: DepthSamples(spots, np.full(9, 3.0))}
        KnownProposer.depths[KEYS[-1]] = DepthSamples(spots, np.full(9, 6.0))
        link = link_between(PAIR.a, PAIR.b, pose)
        found = poser.with_guesses(link, ["c.jpg", "d.jpg"])
        length = unit * np.linalg.norm(pose.translation)
        np.testing.assert_allclose(found.guessed_a.depths, 3.0 / length)
        np.testing.assert_allclose(found.guessed_b.depths, 6.0 / length)
        assert found.b_from_a is link.b_from_a
        assert set(found.guessed_poses) == {PAIR.a, PAIR.b}  # it has placed no other
        assert np.linalg.norm(found.guessed_poses[PAIR.b].translation) == pytest.approx(1.0)
        assert KnownProposer.asked == [(KEYS[0], KEYS[1], KEYS[-2], KEYS[-1])]


def test_depths_of_another_pose_than_the_links_say_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with asking(tmp_path, monkeypatch, is_trusted=True) as (poser, scene):
        KnownProposer.depths = dict.fromkeys((KEYS[0], KEYS[-1]), DepthSamples(np.zeros((9, 2)), np.ones(9)))
        link = link_between(PAIR.a, PAIR.b, turned(scene.b_from_a(0, -1), 20.0))
        assert poser.with_guesses(link) is link
    assert poser_with(tmp_path).with_guesses(link) is link
