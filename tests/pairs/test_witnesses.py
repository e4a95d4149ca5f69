"""Clips of different video models that imagine the same way, and takes of one model that do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from bridging_scene import camera, context, pan, write_folder
from geometry_scenes import Scene, arc, cloud, observe, pose_error_deg, turned
from interpose_sfm.bridging.clips_on_disk import ClipsGenerator
from interpose_sfm.matching.cache import LearnedCache
from interpose_sfm.options import ConsensusOptions, ConsistencyOptions, MatchingOptions
from interpose_sfm.pairs.decide import Findings, decide
from interpose_sfm.pairs.pair_pose import PairPoser
from interpose_sfm.pairs.records import PairRecord
from interpose_sfm.pairs.reporting import pair_report
from interpose_sfm.pairs.witnesses import agreeing_in, agreeing_sources, propose_the_same
from interpose_sfm.pose.matcher import MatcherEstimator
from interpose_sfm.pose.protocol import EstimatorContext
from interpose_sfm.products import (
    Features,
    ImagePair,
    LinkVerdict,
    Matches,
    PairOutcome,
    Pose,
    PoseProposal,
    View,
    WeakPair,
)
from interpose_sfm.storage.content_keys import image_key
from interpose_sfm.storage.run_stores import open_stores

PAIR = ImagePair("a.jpg", "b.jpg")
LIMITS = ConsensusOptions()
ENDS = pan(seed=5, num_frames=2)
PHOTOS = dict(zip((PAIR.a, PAIR.b), ENDS, strict=True))
NUM_FRAMES = 4
NOTHING = Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))


# ---------------------------------------------------------------- proposals of known poses

TRUE = Pose(arc([0])[0].rotation, np.array([1.0, 0.0, 0.0]))


def proposal(source: str, imagined_by: str, pose: Pose = TRUE, spread_deg: float = 1.0) -> PoseProposal:
    return PoseProposal(PAIR, pose, spread_deg, source, imagined_by=imagined_by)


def moved(angle_deg: float) -> Pose:
    """The pose with a wrong direction."""
    angle = np.radians(angle_deg)
    return Pose(TRUE.rotation, np.array([np.cos(angle), np.sin(angle), 0.0]))


@pytest.mark.parametrize(
    ("pose", "spread_deg", "expected"),
    [
        (turned(TRUE, 9.5), 0.1, True),  # a floor, however small the spreads
        (turned(TRUE, 10.5), 0.1, False),
        (turned(TRUE, 12.0), 6.5, True),  # the sum of the spreads
        (turned(TRUE, 14.0), 6.5, False),
        (turned(TRUE, 16.0), 40.0, False),  # that is another pose, whatever the spreads
        (moved(9.5), 0.1, True),
        (moved(10.5), 0.1, False),
        (moved(180.0), 0.1, False),
        (Pose(turned(TRUE, 9.5).rotation, np.zeros(3)), 0.1, True),  # a rotation has no direction to compare
        (Pose(turned(TRUE, 10.5).rotation, np.zeros(3)), 0.1, False),
    ],
)
def test_poses_are_one_within_their_spreads(pose: Pose, spread_deg: float, expected: bool) -> None:
    one, other = proposal("x", "runway", TRUE, spread_deg), proposal("y", "luma", pose, spread_deg)
    assert propose_the_same(one, other) is expected
    assert propose_the_same(other, one) is expected


def test_takes_of_one_model_are_no_witnesses_of_one_another() -> None:
    takes = [proposal("take-0", "luma"), proposal("take-1", "luma")]
    assert agreeing_sources(takes) == {}
    far = proposal("other", "runway", turned(TRUE, 30.0))
    assert agreeing_sources([*takes, far]) == {}
    near = [proposal("near", "runway", turned(TRUE, 5.0)), proposal("also", "ltx")]
    assert agreeing_sources([takes[0], far, *near]) == {
        "take-0": ("ltx", "runway"),
        "near": ("ltx", "luma"),
        "also": ("luma", "runway"),
    }


def test_of_two_proposals_of_a_clip_either_may_be_witnessed() -> None:
    twice = [proposal("x", "luma", turned(TRUE, 30.0)), proposal("x", "luma")]
    assert agreeing_sources([*twice, proposal("y", "runway")]) == {"x": ("runway",), "y": ("luma",)}


# ---------------------------------------------------------------- clips through the judge


@dataclass(frozen=True)
class Imagined:
    """A clip: its folder, and the way around a cloud of its own that it shows, with key points that err by so much."""

    folder: str
    turn_deg: float
    noise_px: float = 0.3


class ImaginedCache(LearnedCache):
    """Features and matches of frames that imagine worlds of their own in place of those of the network.

    The photos show the key points of all worlds. No frame matches one of another world, nor the photos one another but
    by what is handed in.
    """

    def imagine(self, worlds: Sequence[Scene], between: Matches) -> None:
        self.worlds, self.between = worlds, between
        self.ends = [[world.features[end] for world in worlds] for end in (0, -1)]
        self.keys = {
            image_key(frame): (number, index + 1)
            for number in range(len(worlds))
            for index, frame in enumerate(frames_of(number))
        }

    def features(self, view: View) -> Features:
        if view.key in self.keys:
            world, index = self.keys[view.key]
            return self.worlds[world].features[index]
        ends = self.ends[[image_key(end) for end in ENDS].index(view.key)]
        return replace(
            ends[0],
            keypoints_px=np.concatenate([each.keypoints_px for each in ends]),
            descriptors=np.concatenate([each.descriptors for each in ends]),
            scores=np.concatenate([each.scores for each in ends]),
        )

    def matches(self, a: View, b: View) -> Matches:
        known = [self.keys[view.key] for view in (a, b) if view.key in self.keys]
        if not known:
            return self.between
        world = known[0][0]
        if known[-1][0] != world:
            return NOTHING
        last = NUM_FRAMES + 1
        places = [
            self.keys[view.key][1] if view.key in self.keys else last * (view.key == image_key(ENDS[1]))
            for view in (a, b)
        ]
        found = self.worlds[world].matches(*places)
        rows = found.indices.copy()
        for column, place in enumerate(places):
            if place in (0, last):
                rows[:, column] += sum(len(end.scores) for end in self.ends[place == last][:world])
        return replace(found, indices=rows)


def frames_of(number: int) -> list[np.ndarray]:
    """Pictures between the photos, of which only the keys count."""
    return pan(seed=100 + number, num_frames=NUM_FRAMES)


def world_of(clip: Imagined, number: int) -> Scene:
    """A cloud seen from equal steps around it."""
    steps = arc(list(np.linspace(0, clip.turn_deg, NUM_FRAMES + 2)))
    return observe(cloud(number, 120), steps, noise_px=clip.noise_px, intrinsics=camera(ENDS[0]), seed=number)


def bridged(folder: Path, clips: Sequence[Imagined], *, num_clips: int = 4, num_matches: int = 0) -> PairOutcome:
    """The outcome of clips in the folders of several video models.

    Args:
        num_matches: Matches of the two photos in the world of the first clip, too doubtful for RANSAC to be asked.
    """
    order = sorted(range(len(clips)), key=lambda index: clips[index].folder)
    for number in order:
        (folder / clips[number].folder).mkdir(parents=True, exist_ok=True)
        write_folder(folder / clips[number].folder / f"a__b_{number}", [ENDS[0], *frames_of(number), ENDS[1]])
    folders = tuple(folder / name for name in dict.fromkeys(clip.folder for clip in clips))

    def view(name: str) -> View:
        return View(image_key(PHOTOS[name]), PHOTOS[name], replace(camera(PHOTOS[name]), is_trusted=True))

    with open_stores(folder) as stores:
        cache = ImaginedCache(stores.features, stores.matches, MatchingOptions())
        worlds = [world_of(clip, number) for number, clip in enumerate(clips)]
        doubtful = {"outlier_share": 0.4, "score": 0.08, "outlier_score": 0.03}
        cache.imagine(worlds, worlds[0].matches(0, NUM_FRAMES + 1, limit=num_matches, **doubtful))
        estimator = MatcherEstimator(EstimatorContext(features=cache.features, matches=cache.matches))
        choosing = ConsistencyOptions(num_random_subsets=2, num_clips=num_clips)
        generators = [ClipsGenerator(context(PHOTOS, clip_dirs=folders))]
        return PairPoser(view, cache, stores.hypotheses, estimator, generators, choosing, seed=0).bridge(PAIR)


def pose_of(turn_deg: float) -> Pose:
    return world_of(Imagined("", turn_deg), 0).b_from_a(0, -1)


def test_models_that_agree_are_told_and_accept_nothing(tmp_path: Path) -> None:
    outcome = bridged(tmp_path, [Imagined("runway", 40.0), Imagined("luma", 43.0)])
    assert agreeing_in(outcome) == {"runway/a__b_0": ("luma",), "luma/a__b_1": ("runway",)}
    record = PairRecord(WeakPair(PAIR, (), 0)).after(Findings(bridged=outcome), LIMITS)
    assert record.verdict is LinkVerdict.UNSEEN
    other = {"runway/a__b_0": "luma", "luma/a__b_1": "runway"}[outcome.choice.clip]
    assert record.decision.detail.endswith(f"; clips of {other} propose the same pose")
    assert pair_report(record).agreeing_sources == agreeing_in(outcome)
    assert {name.partition(":")[0] for name in record.tried} == {"runway/a__b_0", "luma/a__b_1"}


@pytest.mark.parametrize(
    "clips",
    [
        pytest.param([Imagined("runway", 40.0), Imagined("luma", 65.0)], id="models that disagree"),
        pytest.param([Imagined("luma", 40.0), Imagined("luma", 42.0)], id="takes of one model"),
    ],
)
def test_nothing_is_said_without_a_witness(tmp_path: Path, clips: Sequence[Imagined]) -> None:
    outcome = bridged(tmp_path, clips)
    assert len(outcome.proposals) == 4  # whole clips and subsets of either
    assert agreeing_in(outcome) == {}
    assert "propose the same pose" not in decide(Findings(bridged=outcome), LIMITS).detail


def test_agreement_of_models_breaks_the_tie_that_pixels_leave(tmp_path: Path) -> None:
    """Two takes of one model say the same, and more smoothly, than its third, which another model agrees with."""
    clips = [*[Imagined("luma", 46.0, 0.02)] * 2, Imagined("luma", 34.0, 1.0), Imagined("runway", 33.0, 1.0)]
    outcome = bridged(tmp_path, clips)
    smoothest = min(outcome.choice.clip_scores, key=lambda score: score.d_med_deg + score.d_agreement_deg)
    assert smoothest.clip in ("luma/a__b_0", "luma/a__b_1")
    assert set(agreeing_in(outcome)) == {"luma/a__b_2", "runway/a__b_3"}
    assert outcome.choice.clip in agreeing_in(outcome)
    assert max(pose_error_deg(outcome.choice.b_from_a, pose_of(34.0))) < 5.0
    assert decide(Findings(bridged=outcome), LIMITS).verdict is LinkVerdict.UNSEEN


def test_agreement_of_models_does_not_overrule_the_pixels(tmp_path: Path) -> None:
    """Two models agree on a wrong scene; a few doubtful matches of the photos say what the third one says."""
    clips = [Imagined("ltx", 40.0), Imagined("luma", 65.0), Imagined("runway", 63.0)]
    outcome = bridged(tmp_path, clips, num_matches=40)
    assert set(agreeing_in(outcome)) == {"luma/a__b_1", "runway/a__b_2"}
    found = decide(Findings(bridged=outcome), LIMITS)
    assert found.verdict is LinkVerdict.ACCEPTED
    assert found.link is not None
    assert found.link.source == "ltx/a__b_0"
    assert "propose the same pose" not in found.detail


def test_every_source_is_asked_for_as_many_clips(tmp_path: Path) -> None:
    clips = [Imagined("runway", 40.0), Imagined("runway", 40.0), Imagined("luma", 40.0), Imagined("luma", 40.0)]
    assert len(bridged(tmp_path, clips, num_clips=1).flags) == 2
