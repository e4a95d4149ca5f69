from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from geometry_scenes import pose_error_deg
from interpose_sfm import geometry
from interpose_sfm.options import BridgingOptions, ConsensusOptions, Da3Options, MatchingOptions, ReconstructOptions
from interpose_sfm.pairs.proposals import MIN_BOUND_DEG, bound_deg
from interpose_sfm.pose.da3 import checkpoint, network
from interpose_sfm.pose.da3.estimator import Da3Estimator
from interpose_sfm.pose.da3.network import Da3Network
from interpose_sfm.pose.protocol import EstimatorContext, check_poses
from interpose_sfm.products import Features, ImagePair, Intrinsics, LinkVerdict, Matches, PoseProposal, PoseStatus, View
from interpose_sfm.synthetic import RenderOptions, SampleOptions, Scene, Viewpoint, orbit, render, write_sample
from interpose_sfm.synthetic.known_scene import KnownSceneNetwork, SceneErrors
from interpose_sfm.workflows.relative_pose import relative_pose
from tiny_da3 import needs_code, pictures, tiny_module

SIZE_PX = 196
CAMERA = Intrinsics(SIZE_PX, 140, 170.0, SIZE_PX / 2, 70.0, is_trusted=True)
TARGET = (-2.0, 1.0, 1.8)
POSES = orbit(Viewpoint(-35, 11, 2.0, TARGET), Viewpoint(15, 11, 2.6, TARGET), 3)


def context(**options: object) -> EstimatorContext:
    generator = np.random.default_rng(0)
    features = Features(
        generator.uniform(4, 130, (200, 2)),
        np.ones((200, 8), np.float32) / 8**0.5,
        np.ones(200, np.float32),
        (CAMERA.width_px, CAMERA.height_px),
    )
    nothing = Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))
    chosen = Da3Options(da3_size_px=SIZE_PX, **options)  # type: ignore[arg-type]
    return EstimatorContext(features=lambda view: features, matches=lambda a, b: nothing, options=chosen)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.courtyard(0, texels_per_m=16)


@pytest.fixture(scope="module")
def views(scene: Scene) -> list[View]:
    options = RenderOptions(supersampling=1)
    return [View(str(i), render(scene, CAMERA, pose, options).image, CAMERA) for i, pose in enumerate(POSES)]


def known(scene: Scene, views: Sequence[View], **errors: float) -> KnownSceneNetwork:
    found = KnownSceneNetwork(scene, SceneErrors(**errors), SIZE_PX)  # type: ignore[arg-type]
    for view, pose in zip(views, POSES, strict=True):
        found.add_view(view.image, CAMERA, pose)
    return found


def test_all_views_are_placed_in_one_pass(monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View]) -> None:
    answers = known(scene, views, depth_sigma=0.03)
    monkeypatch.setattr(network, "load_network", lambda options: answers)
    poses = check_poses(Da3Estimator(context()).estimate(views), views, "da3")
    assert answers.num_passes == 1
    assert poses.status is PoseStatus.OK
    for found, pose in zip(poses.cam_from_first[1:], POSES[1:], strict=True):
        assert max(pose_error_deg(found, geometry.relative_pose(pose, POSES[0]))) < 0.01


def test_depths_are_told_of_key_points_that_only_one_view_shows(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View]
) -> None:
    """They say how long the baseline is, in the scale of the poses; sky has none."""
    answers = known(scene, views, depth_sigma=0.03)
    monkeypatch.setattr(network, "load_network", lambda options: answers)
    poses = Da3Estimator(context()).estimate(views)
    last = poses.cam_from_first[-1]
    assert last is not None
    unit = np.linalg.norm(last.translation) / np.linalg.norm(geometry.relative_pose(POSES[-1], POSES[0]).translation)
    for samples, pose in ((poses.seen_a, POSES[0]), (poses.seen_b, POSES[-1])):
        truth = render(scene, CAMERA, pose, RenderOptions(supersampling=1)).depth
        x, y = samples.points_px.astype(int).T
        assert np.all(np.isfinite(truth[y, x]))
        assert len(samples.depths) > 80
        assert np.median(samples.depths / unit / truth[y, x]) == pytest.approx(1.0, abs=0.03)
    assert len(poses.seen_a.depths) > np.count_nonzero(np.isfinite(poses.depths_a))


def test_what_is_known_of_a_camera_stays_and_what_is_guessed_is_told(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View]
) -> None:
    monkeypatch.setattr(network, "load_network", lambda options: known(scene, views))
    guess = replace(views[2], intrinsics=replace(CAMERA, focal_px=300.0, is_trusted=False))
    poses = Da3Estimator(context()).estimate([views[0], guess])
    assert poses.intrinsics[0] == CAMERA
    assert poses.intrinsics[1].focal_px == pytest.approx(CAMERA.focal_px, rel=1e-6)


def test_depths_that_do_not_fit_together_are_told_by_the_evidence(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View]
) -> None:
    """What one view puts into the other is then in front of what that one sees. It takes a turn of some degrees."""
    agreements = []
    for turn_deg in (0.0, 10.0, 40.0):
        found = []
        for seed in range(4):
            answers = known(scene, views, turn_deg=turn_deg, seed=seed)
            monkeypatch.setattr(network, "load_network", lambda options, answers=answers: answers)
            poses = Da3Estimator(context()).estimate([views[0], views[1]])
            assert poses.evidence is not None
            found.append(poses.evidence.agreement)
        agreements.append(float(np.mean(found)))
    assert agreements[0] > 0.95
    assert 0.5 < agreements[1] < 0.75
    assert agreements[2] < 0.45


def test_the_photos_own_matches_may_refine_a_proposal_by_little(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View]
) -> None:
    monkeypatch.setattr(network, "load_network", lambda options: known(scene, views))
    poses = Da3Estimator(context()).estimate([views[0], views[1]])
    assert bound_deg(PoseProposal(ImagePair("a", "b"), POSES[0], poses.spread_deg, "da3")) == MIN_BOUND_DEG


def test_results_are_kept_by_options_and_weights(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View]
) -> None:
    monkeypatch.setattr(network, "load_network", lambda options: known(scene, views))
    keys = [Da3Estimator(context()).traits.settings_key, Da3Estimator(context()).traits.settings_key]
    assert keys[0] == keys[1]
    keys.append(Da3Estimator(context(da3_dtype="bfloat16")).traits.settings_key)
    monkeypatch.setattr(network, "load_network", lambda options: known(scene, views, depth_sigma=0.1))
    keys.append(Da3Estimator(context()).traits.settings_key)
    assert len(set(keys)) == 3


def test_options_of_something_else_are_refused() -> None:
    with pytest.raises(ValueError, match="got MatchingOptions, expected Da3Options"):
        Da3Estimator(replace(context(), options=MatchingOptions()))


@needs_code
@pytest.mark.parametrize("number", [2, 5])
def test_the_published_classes_answer_with_something_whole(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Random weights know nothing, and what they say must still be a result."""
    monkeypatch.setattr(network, "load_network", lambda options: Da3Network(tiny_module(), "tiny"))
    camera = Intrinsics(112, 84, 100.0, 56.0, 42.0)
    views = [View(str(i), picture, camera) for i, picture in enumerate(pictures(number))]
    estimator = Da3Estimator(replace(context(), options=Da3Options(da3_size_px=112)))
    poses = check_poses(estimator.estimate(views), views, "da3")
    assert len(poses.cam_from_first) == number
    assert poses.has_pose
    again = estimator.estimate(views)
    np.testing.assert_array_equal(again.points_b_px, poses.points_b_px)


def test_an_answer_that_is_no_camera_is_a_status(monkeypatch: pytest.MonkeyPatch, views: list[View]) -> None:
    class Lost:
        identity = "lost"

        def guess(self, images: object, told: object) -> None:
            return None

    monkeypatch.setattr(network, "load_network", lambda options: Lost())
    poses = check_poses(Da3Estimator(context()).estimate(views), views, "da3")
    assert poses.status is PoseStatus.DEGENERATE
    assert not poses.has_pose


# ---------------------------------------------------------------- the doctor


@needs_code
def test_the_doctor_is_told_of_licences_and_of_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "find", lambda size: None)
    with pytest.raises(ValueError, match=r"no weights; get some with: interpose_sfm fetch da3"):
        Da3Estimator.probe()
    terms = r"DA3-SMALL \(Apache-2.0, 137 MB\) is not here: .*DA3-LARGE.*CC BY-NC 4\.0"
    assert re.search(terms, Da3Estimator.terms("da3"))
    assert not Da3Estimator.has_weights(None)
    assert Da3Estimator.has_weights(Da3Options(da3_weights="mine.safetensors"))
    monkeypatch.setattr(checkpoint, "find", lambda size: "path" if size == "base" else None)
    assert Da3Estimator.probe().startswith("depth-anything-3 ")
    assert "DA3-BASE (Apache-2.0, 542 MB) is here" in Da3Estimator.terms("da3")
    assert "DA3-SMALL (Apache-2.0, 137 MB) is not here" in Da3Estimator.terms("da3")
    assert Da3Estimator.has_weights(None)
    assert not Da3Estimator.has_weights(Da3Options(da3_weights="small"))


# ---------------------------------------------------------------- the whole way


def test_a_weak_pair_gets_its_pose_from_the_network_and_the_frames_of_a_clip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two photos 74 degrees apart, whose matches fail; the network sees them and three frames at once."""
    options = SampleOptions(width_px=320, photos_per_group=3, num_frames=14, supersampling=1)
    collection = write_sample(tmp_path, options)
    answers = KnownSceneNetwork(Scene.courtyard(collection.seed, texels_per_m=16), SceneErrors(depth_sigma=0.03), 252)
    for name, pose in collection.cam_from_world.items():
        with Image.open(collection.photo_dir / name) as photo:
            answers.add_view(np.asarray(photo.convert("RGB"), np.uint8), collection.intrinsics, pose)
    with av.open(str(collection.clip_dir / collection.clip_name)) as clip:
        frames = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in clip.decode(video=0)]
    for frame, pose in zip(frames, collection.clip_cam_from_world, strict=True):
        answers.add_view(frame, collection.clip_intrinsics, pose)
    monkeypatch.setattr(network, "load_network", lambda options: answers)
    monkeypatch.setattr(Da3Estimator, "has_weights", classmethod(lambda cls, options: True))
    found = relative_pose(
        collection.photo_dir / collection.gap.a,
        collection.photo_dir / collection.gap.b,
        ReconstructOptions(
            pose_estimator="da3",
            bridging=BridgingOptions(clip_dirs=(collection.clip_dir,), frames_per_clip=12),
            da3=Da3Options(da3_size_px=252),
            consensus=ConsensusOptions(accept_unseen=True),
        ),
    )
    cameras = collection.cam_from_world
    truth = geometry.relative_pose(cameras[collection.gap.b], cameras[collection.gap.a])
    assert found.verdict is LinkVerdict.ACCEPTED
    assert found.b_from_a is not None
    assert max(pose_error_deg(found.b_from_a, truth)) < 1.0
    assert found.choice is not None
    assert found.choice.clip_scores[0].num_hypotheses == 11
    assert found.tried[:2] == ("learned matching", "pose network")
