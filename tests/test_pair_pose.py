from __future__ import annotations

from collections.abc import Callable, Sequence
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
from interpose_sfm.pose import clip_calibration
from interpose_sfm.pose.matcher import MatcherEstimator
from interpose_sfm.products import (
    ChoiceReason,
    ClipFlag,
    ClipProblem,
    Evidence,
    Features,
    ImagePair,
    Matches,
    Pose,
    PoseStatus,
    View,
    ViewPoses,
)

PAIR = ImagePair("a.jpg", "b.jpg")
FRAMES = pan(seed=5, num_frames=7)
NOTHING = Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))


class KnownCache(LearnedCache):
    """Features and matches of a scene in place of those of the network; the photos do not match.

    Views that are more than two apart match with less confidence.
    """

    scene: Scene
    wide_score: float
    spoil: Callable[[Matches, int, int], Matches]

    def features(self, view: View) -> Features:
        return self.scene.features[KEYS.index(view.key)]

    def matches(self, a: View, b: View) -> Matches:
        pair = KEYS.index(a.key), KEYS.index(b.key)
        if pair == (0, len(FRAMES) - 1):
            return NOTHING
        found = self.spoil(self.scene.matches(*pair), *pair)
        return found if abs(pair[0] - pair[1]) <= 2 else replace(found, scores=self.wide_score * found.scores)


KEYS = [image_key(frame) for frame in FRAMES]


def arc_scene(unit: float = 1.0, turn_deg: float = 48.0) -> Scene:
    """A way around a cloud of points, seen by the camera of the frames, in metres of this length."""
    poses = arc([turn_deg * step / 6 for step in range(7)], radius=7 * unit)
    return observe(unit * cloud(1, 200), poses, noise_px=0.1, intrinsics=camera(FRAMES[0]), seed=1)


def bridged(
    folder: Path,
    scene: Scene,
    *,
    num_clips: int = 1,
    is_trusted: bool = True,
    wide_score: float = 1.0,
    spoil: Callable[[Matches, int, int], Matches] = lambda matches, a, b: matches,
) -> PairOutcome:
    """The outcome of so many clips of two, all the same; `spoil` changes the matches between two views."""
    folder.mkdir(exist_ok=True)
    for number in range(num_clips):
        write_folder(folder / f"a__b_{number}", FRAMES)
    options = ReconstructOptions(
        generator="clips",
        bridging=BridgingOptions(clip_dir=folder),
        consistency=ConsistencyOptions(num_clips=2, num_random_subsets=4),
    )
    photos = {PAIR.a: FRAMES[0], PAIR.b: FRAMES[-1]}

    def view(name: str) -> View:
        return View(image_key(photos[name]), photos[name], replace(camera(photos[name]), is_trusted=is_trusted))

    with open_stores(folder) as (features, matches, hypotheses):
        cache = KnownCache(features, matches, options.matching)
        cache.scene, cache.wide_score, cache.spoil = scene, wide_score, spoil
        poser = PairPoser(view, (PAIR.a, PAIR.b), cache, hypotheses, options)
        assert poser.num_clips_on_disk(PAIR) == num_clips
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


# ---------------------------------------------------------------- what is judged where several clips agree


def weakest_score(outcome: PairOutcome) -> float:
    assert outcome.choice.reason is ChoiceReason.ACCEPTED
    assert outcome.link is not None
    return outcome.link.evidence.mean_score


def test_a_pose_that_most_clips_tell_is_judged_by_the_small_steps_of_a_whole_clip(tmp_path: Path) -> None:
    scene = arc_scene()
    assert weakest_score(bridged(tmp_path / "two", scene, num_clips=2, wide_score=0.5)) > 0.8
    # Nobody else says so: every step counts.
    assert weakest_score(bridged(tmp_path / "one", scene, num_clips=1, wide_score=0.5)) < 0.6


def test_a_whole_clip_with_a_bad_step_is_no_better(tmp_path: Path) -> None:
    def broken(matches: Matches, a: int, b: int) -> Matches:
        return replace(matches, scores=0.5 * matches.scores) if (a <= 2) != (b <= 2) else matches

    assert weakest_score(bridged(tmp_path, arc_scene(), num_clips=2, spoil=broken)) < 0.6


@pytest.mark.parametrize(
    ("num_clips", "score", "expected"),
    [(2, 0.3, ChoiceReason.ACCEPTED), (2, 0.9, ChoiceReason.INCONSISTENT), (1, 0.3, ChoiceReason.INCONSISTENT)],
)
def test_a_pose_of_the_pair_alone_that_is_not_believed_has_no_say_against_most_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_clips: int, score: float, expected: ChoiceReason
) -> None:
    estimate = MatcherEstimator.estimate
    wrong = Pose(geometry.rotation_from_axis_angle(np.array([0.0, 1.0, 0.0]), 100.0), np.array([0.0, 0.0, 1.0]))
    weak = Evidence(60, 60, 1.0, score, 0.5, 10.0, True)

    def patched(self: MatcherEstimator, views: Sequence[View]) -> ViewPoses:
        if len(views) > 2:
            return estimate(self, views)
        return ViewPoses(PoseStatus.OK, (Pose(np.eye(3), np.zeros(3)), wrong), 1.0, evidence=weak)

    monkeypatch.setattr(MatcherEstimator, "estimate", patched)
    scene = arc_scene()
    outcome = bridged(tmp_path, scene, num_clips=num_clips)
    assert outcome.choice.reason is expected
    if expected is ChoiceReason.ACCEPTED:
        assert outcome.choice.b_from_a is not None
        assert max(pose_error_deg(outcome.choice.b_from_a, scene.b_from_a(0, -1))) < 2.0


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
    monkeypatch.setattr(clip_calibration, "focal_scale", lambda clips, context: scale)
    outcome = bridged(tmp_path, arc_scene(), is_trusted=is_trusted)  # turns by 48 degrees
    assert outcome.choice.reason is expected
    assert (outcome.link is not None) is (expected is ChoiceReason.ACCEPTED)
    assert outcome.choice.b_from_a is not None  # for the report


def test_a_small_turn_may_rest_on_a_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_calibration, "focal_scale", lambda clips, context: None)
    outcome = bridged(tmp_path, arc_scene(turn_deg=20.0), is_trusted=False)
    assert outcome.choice.reason is ChoiceReason.ACCEPTED


def test_clips_of_one_guess_do_not_confirm_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClipsGenerator, "makes_independent_clips", False, raising=False)
    assert weakest_score(bridged(tmp_path, arc_scene(), num_clips=2, wide_score=0.5)) < 0.6
    assert not MorphGenerator.makes_independent_clips


@pytest.mark.parametrize("problem", [ClipProblem.HARD_CUT, ClipProblem.CROSS_FADE, ClipProblem.WRONG_SIZE])
def test_clips_with_a_cut_confirm_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: ClipProblem
) -> None:
    flags = (ClipFlag(problem, 0.5, 0.2, "here"),)
    monkeypatch.setattr(pair_pose, "check_clip", lambda clip, pair: replace(clip, flags=flags))
    outcome = bridged(tmp_path, arc_scene(), num_clips=2, wide_score=0.5)
    assert (weakest_score(outcome) < 0.6) is (problem is not ClipProblem.WRONG_SIZE)
