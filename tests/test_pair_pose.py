from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bridging_scene import camera, pan, write_folder
from geometry_scenes import Scene, arc, cloud, observe, pose_error_deg

from interpose_sfm import geometry
from interpose_sfm.learned import LearnedCache, open_stores
from interpose_sfm.matching import image_key
from interpose_sfm.options import BridgingOptions, ConsistencyOptions, ReconstructOptions
from interpose_sfm.pair_pose import PairPoser
from interpose_sfm.products import ChoiceReason, Features, ImagePair, Matches, View

PAIR = ImagePair("a.jpg", "b.jpg")
FRAMES = pan(seed=5, num_frames=7)
NOTHING = Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))


class KnownCache(LearnedCache):
    """Features and matches of a scene in place of those of the network; the photos do not match."""

    scene: Scene

    def features(self, view: View) -> Features:
        return self.scene.features[KEYS.index(view.key)]

    def matches(self, a: View, b: View) -> Matches:
        pair = KEYS.index(a.key), KEYS.index(b.key)
        return self.scene.matches(*pair) if pair != (0, len(FRAMES) - 1) else NOTHING


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
