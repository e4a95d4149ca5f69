from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from geometry_scenes import pose_error_deg
from interpose_sfm import geometry
from interpose_sfm.options import (
    AlignmentMethod,
    BridgingOptions,
    ConsensusOptions,
    Dust3rOptions,
    MatchingOptions,
    PairSelection,
    ReconstructOptions,
)
from interpose_sfm.pairs import consistency
from interpose_sfm.pose.dust3r import network, network_code
from interpose_sfm.pose.dust3r.estimator import Dust3rEstimator
from interpose_sfm.pose.protocol import EstimatorContext
from interpose_sfm.products import Features, LinkVerdict, Matches, PoseStatus, View
from interpose_sfm.synthetic import (
    RenderOptions,
    SampleOptions,
    SampleTruth,
    Scene,
    render,
    write_sample,
)
from interpose_sfm.synthetic.point_maps import KnownGeometryNetwork
from interpose_sfm.workflows.relative_pose import relative_pose
from known_maps import CAMERA, OUTLIERS, POSES, SIZE_PX, known

# ---------------------------------------------------------------- the estimator


def context(**options: object) -> EstimatorContext:
    generator = np.random.default_rng(0)
    features = Features(
        generator.uniform(4, 140, (200, 2)),
        np.ones((200, 8), np.float32) / 8**0.5,
        np.ones(200, np.float32),
        (192, 144),
    )
    nothing = Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))
    chosen = Dust3rOptions(dust3r_size_px=SIZE_PX, **options)  # type: ignore[arg-type]
    return EstimatorContext(features=lambda view: features, matches=lambda a, b: nothing, options=chosen)


@pytest.mark.parametrize(("pairs", "num_pairs"), [(PairSelection.ECONOMICAL, 14), (PairSelection.EXACT, 20)])
def test_subsets_share_images_and_pairs(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View], pairs: PairSelection, num_pairs: int
) -> None:
    monkeypatch.setattr(network, "load_network", lambda options: known(scene, views, OUTLIERS))
    estimator = Dust3rEstimator(context(dust3r_pairs=pairs))
    for chosen in ([0, 1, 2, 3, 4], [0, 1, 3, 4], [0, 2, 4], [0, 4]):
        poses = estimator.estimate([views[i] for i in chosen])
        assert poses.status is PoseStatus.OK
        assert max(pose_error_deg(poses.cam_from_first[-1], geometry.relative_pose(POSES[4], POSES[0]))) < 0.1
    assert (estimator.inference.num_encoded, estimator.inference.num_decoded) == (5, num_pairs)


def test_traits_follow_options_and_weights(monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View]) -> None:
    monkeypatch.setattr(network, "load_network", lambda options: known(scene, views))
    economical = Dust3rEstimator(context(dust3r_pool=5)).traits
    assert (economical.frame_pool, economical.gains_from_more_views) == (5, False)
    exact = Dust3rEstimator(context(dust3r_pairs=PairSelection.EXACT)).traits
    assert exact.frame_pool is None
    monkeypatch.setattr(network, "load_network", lambda options: known(scene, views, OUTLIERS))
    other_weights = Dust3rEstimator(context(dust3r_pool=5)).traits
    keys = {economical.settings_key, exact.settings_key, other_weights.settings_key}
    assert len(keys) == 3


def test_what_the_network_said_is_read_again_from_the_folder(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View], tmp_path: Path
) -> None:
    """By the next estimator, and by the same one after it was closed."""
    monkeypatch.setattr(network, "load_network", lambda options: known(scene, views))
    shown = replace(context(), store_dir=tmp_path)
    first, second = Dust3rEstimator(shown), Dust3rEstimator(shown)
    assert not list(tmp_path.iterdir())
    poses = first.estimate([views[0], views[2]])
    assert (first.inference.num_encoded, first.inference.num_decoded) == (2, 2)
    first.close()
    assert {path.name for path in tmp_path.iterdir()} == {"encodings.h5", "point_maps.h5"}
    for estimator in (second, first):
        again = estimator.estimate([views[0], views[2]])
        assert (estimator.inference.num_encoded, estimator.inference.num_decoded) == (0, 0)
        np.testing.assert_array_equal(again.points_b_px, poses.points_b_px)
        estimator.close()


def test_options_of_something_else_are_refused() -> None:
    with pytest.raises(ValueError, match="got MatchingOptions, expected Dust3rOptions"):
        Dust3rEstimator(replace(context(), options=MatchingOptions()))


def test_recovered_focal_lengths_are_those_of_the_photo(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View]
) -> None:
    """The photo is twice as large as what the network sees."""
    large = replace(CAMERA, width_px=384, height_px=288, focal_px=340.0, cx_px=192.0, cy_px=144.0)
    options = RenderOptions(supersampling=1)
    photos = [render(scene, large, POSES[i], options).image for i in (0, 2)]
    network_ = KnownGeometryNetwork(scene, OUTLIERS, SIZE_PX)
    for photo, i in zip(photos, (0, 2), strict=True):
        network_.add_view(photo, large, POSES[i])
    monkeypatch.setattr(network, "load_network", lambda options: network_)
    guess = replace(large, focal_px=500.0, is_trusted=False)
    seen = [View(str(i), photo, guess) for i, photo in enumerate(photos)]
    poses = Dust3rEstimator(context()).estimate(seen)
    assert [camera.focal_px for camera in poses.intrinsics] == pytest.approx([340.0, 340.0], rel=3e-3)
    assert max(pose_error_deg(poses.cam_from_first[-1], geometry.relative_pose(POSES[2], POSES[0]))) < 0.1


@pytest.mark.skipif(bool(network_code.missing_requirements()), reason="DUSt3R's code is not installed")
@pytest.mark.filterwarnings("ignore:.*autocast.*:FutureWarning", "ignore:Converting a tensor:UserWarning")
def test_the_published_aligner_can_be_chosen(monkeypatch: pytest.MonkeyPatch, scene: Scene, views: list[View]) -> None:
    monkeypatch.setattr(network, "load_network", lambda options: known(scene, views))
    poses = Dust3rEstimator(context(alignment=AlignmentMethod.DUST3R)).estimate([views[0], views[2]])
    assert poses.status is PoseStatus.OK
    assert 1e-3 < max(pose_error_deg(poses.cam_from_first[-1], geometry.relative_pose(POSES[2], POSES[0]))) < 5.0


def test_frames_are_drawn_from_a_pool() -> None:
    assert consistency.frame_pool(4, 6) == (0, 1, 2, 3)
    assert consistency.frame_pool(50, None) == tuple(range(50))
    pool = consistency.frame_pool(49, 6)
    assert len(pool) == 6
    assert np.ptp(np.diff(pool)) <= 1
    assert pool[0] + pool[-1] == 48


# ---------------------------------------------------------------- the whole way


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> SampleTruth:
    options = SampleOptions(width_px=320, photos_per_group=3, num_frames=14, supersampling=1)
    return write_sample(tmp_path_factory.mktemp("sample"), options)


def test_a_weak_pair_gets_its_pose_from_the_network(monkeypatch: pytest.MonkeyPatch, collection: SampleTruth) -> None:
    """Two photos 74 degrees apart, whose matches fail."""
    network_ = KnownGeometryNetwork(Scene.courtyard(collection.seed, texels_per_m=16), OUTLIERS, SIZE_PX)
    for name, pose in collection.cam_from_world.items():
        with Image.open(collection.photo_dir / name) as photo:
            network_.add_view(np.asarray(photo.convert("RGB"), np.uint8), collection.intrinsics, pose)
    with av.open(str(collection.clip_dir / collection.clip_name)) as clip:
        frames = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in clip.decode(video=0)]
    for frame, pose in zip(frames, collection.clip_cam_from_world, strict=True):
        network_.add_view(frame, collection.clip_intrinsics, pose)
    monkeypatch.setattr(network, "load_network", lambda options: network_)
    options = ReconstructOptions(
        pose_estimator="dust3r",
        bridging=BridgingOptions(clip_dirs=(collection.clip_dir,), frames_per_clip=12),
        dust3r=Dust3rOptions(dust3r_size_px=SIZE_PX),
        consensus=ConsensusOptions(accept_unseen=True),
    )
    a, b = (Path(collection.photo_dir / name) for name in (collection.gap.a, collection.gap.b))
    found = relative_pose(a, b, options)
    truth = geometry.relative_pose(
        collection.cam_from_world[collection.gap.b], collection.cam_from_world[collection.gap.a]
    )
    assert found.verdict is LinkVerdict.ACCEPTED
    assert found.b_from_a is not None
    assert max(pose_error_deg(found.b_from_a, truth)) < 1.0
    assert found.choice is not None
    assert found.choice.clip_scores[0].num_hypotheses == 11
    assert found.tried[:2] == ("learned matching", "pose network")
