from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bridging_scene import camera, pan, write_folder
from geometry_scenes import Scene, arc, cloud, observe, pose_error_deg

from interpose_sfm import geometry, pair_pose
from interpose_sfm.bridging.clips import ClipsGenerator
from interpose_sfm.bridging.morph import MorphGenerator
from interpose_sfm.learned import LearnedCache, open_stores
from interpose_sfm.matching import image_key
from interpose_sfm.options import BridgingOptions, ConsistencyOptions, ReconstructOptions
from interpose_sfm.pair_pose import PairOutcome, PairPoser
from interpose_sfm.products import ChoiceReason, ClipFlag, ClipProblem, Features, ImagePair, Matches, View

PAIR = ImagePair("a.jpg", "b.jpg")
FRAMES = pan(seed=5, num_frames=7)
NOTHING = Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))


class KnownCache(LearnedCache):
    """Features and matches of a scene in place of those of the network; the photos do not match.

    Views that are more than two apart match with less confidence.
    """

    scene: Scene
    wide_score = 1.0

    def features(self, view: View) -> Features:
        return self.scene.features[KEYS.index(view.key)]

    def matches(self, a: View, b: View) -> Matches:
        pair = KEYS.index(a.key), KEYS.index(b.key)
        if pair == (0, len(FRAMES) - 1):
            return NOTHING
        found = self.scene.matches(*pair)
        return found if abs(pair[0] - pair[1]) <= 2 else replace(found, scores=self.wide_score * found.scores)


KEYS = [image_key(frame) for frame in FRAMES]


def test_the_depths_of_a_clips_link_are_in_baselines(tmp_path: Path) -> None:
    """Whatever unit the small reconstruction of the frames has."""
    unit = 20.0
    write_folder(tmp_path / "a__b", FRAMES)
    poses = arc([0, 8, 16, 24, 32, 40, 48], radius=7 * unit)
    scene = observe(unit * cloud(1, 200), poses, noise_px=0.1, intrinsics=camera(FRAMES[0]), seed=1)
    options = ReconstructOptions(
        generator="clips",
        bridging=BridgingOptions(clip_dir=tmp_path),
        consistency=ConsistencyOptions(num_random_subsets=3),
    )
    photos = {PAIR.a: FRAMES[0], PAIR.b: FRAMES[-1]}
    with open_stores(tmp_path) as (features, matches, hypotheses):
        cache = KnownCache(features, matches, options.matching)
        cache.scene = scene

        def view(name: str) -> View:
            return View(image_key(photos[name]), photos[name], camera(photos[name]))

        poser = PairPoser(view, (PAIR.a, PAIR.b), cache, hypotheses, options)
        assert poser.num_clips_on_disk(PAIR) == 1
        outcome = poser.bridge(PAIR)
    assert outcome.choice.reason is ChoiceReason.ACCEPTED
    link = outcome.link
    assert link is not None
    assert max(pose_error_deg(link.b_from_a, scene.b_from_a(0, -1))) < 2.0
    length = np.linalg.norm(geometry.relative_pose(poses[-1], poses[0]).translation)
    for number, samples in ((0, link.seen_a), (-1, link.seen_b)):
        distances_px = np.linalg.norm(scene.features[number].keypoints_px[None] - samples.points_px[:, None], axis=2)
        points = scene.points_in_world[scene.point_of_row[number][distances_px.argmin(axis=1)]]
        depths = (points @ poses[number].rotation.T + poses[number].translation)[:, 2]
        assert len(depths) > 50
        assert np.median(samples.depths * length / depths) == pytest.approx(1.0, rel=0.03)


def bridged(folder: Path, num_clips: int, change: Callable[[KnownCache], None] = lambda cache: None) -> PairOutcome:
    """The outcome of so many clips, all the same, whose wide steps match badly."""
    folder.mkdir(exist_ok=True)
    for number in range(num_clips):
        write_folder(folder / f"a__b_{number}", FRAMES)
    scene = observe(cloud(1, 200), arc([0, 8, 16, 24, 32, 40, 48]), noise_px=0.1, intrinsics=camera(FRAMES[0]), seed=1)
    options = ReconstructOptions(
        generator="clips",
        bridging=BridgingOptions(clip_dir=folder),
        consistency=ConsistencyOptions(num_clips=2, num_random_subsets=5),
    )
    photos = {PAIR.a: FRAMES[0], PAIR.b: FRAMES[-1]}
    with open_stores(folder) as (features, matches, hypotheses):
        cache = KnownCache(features, matches, options.matching)
        cache.scene, cache.wide_score = scene, 0.5
        change(cache)

        def view(name: str) -> View:
            return View(image_key(photos[name]), photos[name], camera(photos[name]))

        return PairPoser(view, (PAIR.a, PAIR.b), cache, hypotheses, options).bridge(PAIR)


def weakest_score(outcome: PairOutcome) -> float:
    assert outcome.choice.reason is ChoiceReason.ACCEPTED
    assert outcome.link is not None
    return outcome.link.evidence.mean_score


def test_a_pose_that_most_clips_tell_is_judged_by_the_small_steps_of_a_whole_clip(tmp_path: Path) -> None:
    assert weakest_score(bridged(tmp_path / "two", 2)) > 0.8
    assert weakest_score(bridged(tmp_path / "one", 1)) < 0.6  # nobody else says so: every step counts


def test_a_whole_clip_with_a_bad_step_is_no_better(tmp_path: Path) -> None:
    def spoil(cache: KnownCache) -> None:
        matches = cache.matches

        def spoiled(a: View, b: View) -> Matches:
            found = matches(a, b)
            crosses = (KEYS.index(a.key) <= 2) != (KEYS.index(b.key) <= 2)
            return replace(found, scores=0.5 * found.scores) if crosses else found

        cache.matches = spoiled  # type: ignore[method-assign]

    assert weakest_score(bridged(tmp_path, 2, spoil)) < 0.6


def test_clips_of_one_guess_do_not_confirm_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClipsGenerator, "makes_independent_clips", False, raising=False)
    assert weakest_score(bridged(tmp_path, 2)) < 0.6
    assert not MorphGenerator.makes_independent_clips


@pytest.mark.parametrize("problem", [ClipProblem.HARD_CUT, ClipProblem.CROSS_FADE, ClipProblem.WRONG_SIZE])
def test_clips_with_a_cut_confirm_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: ClipProblem
) -> None:
    flags = (ClipFlag(problem, 0.5, 0.2, "here"),)
    monkeypatch.setattr(pair_pose, "check_clip", lambda clip, pair: replace(clip, flags=flags))
    outcome = bridged(tmp_path, 2)
    assert (weakest_score(outcome) < 0.6) is (problem is not ClipProblem.WRONG_SIZE)
