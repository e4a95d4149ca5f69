from __future__ import annotations

from dataclasses import replace

import numpy as np

from interpose_sfm.pose.point_maps.agreement import edge_evidence, weakest_step
from interpose_sfm.pose.point_maps.alignment import align
from interpose_sfm.pose.point_maps.pair_geometry import (
    PairSamples,
    moved_pose,
)
from interpose_sfm.products import Evidence, View
from interpose_sfm.synthetic import (
    Scene,
)
from known_maps import CAMERA, OUTLIERS, POSES, point_maps, sampled


def test_evidence_tells_true_poses_from_wrong_ones(scene: Scene, views: list[View]) -> None:
    samples = sampled(point_maps(scene, views, replace(OUTLIERS, depth_sigma=0.03)))
    found = align(samples, [CAMERA] * 5, 0)
    good = edge_evidence(samples[0, 1], found, (0, 1))
    assert good.inlier_share > 0.95
    assert good.density > 0.6
    assert 0.8 < good.mean_score < 0.95
    assert 50 < good.num_inliers <= good.num_matches < 192 * 144 / 16**2
    assert 8 < good.triangulation_angle_deg < 20
    turned = moved_pose(found.cam_from_first[1] or POSES[0], np.radians([4, 0, 0, 0, 0, 0]))
    wrong = replace(found, cam_from_first=(found.cam_from_first[0], turned, *found.cam_from_first[2:]))
    assert edge_evidence(samples[0, 1], wrong, (0, 1)).inlier_share < 0.6


def test_points_that_would_be_seen_through_speak_against_a_pair(scene: Scene, views: list[View]) -> None:
    """The points of j float in front of what i sees."""
    samples = sampled(point_maps(scene, views, OUTLIERS))
    found = align(samples, [CAMERA] * 5, 0)
    of_j = samples[0, 1].of_j
    floating = replace(of_j, points=np.where(np.arange(len(of_j.points))[:, None] % 2, 0.5 * of_j.points, of_j.points))
    assert edge_evidence(PairSamples(samples[0, 1].of_i, floating), found, (0, 1)).inlier_share < 0.75


def test_the_weakest_step_of_the_best_way() -> None:
    def evidence(strength: float) -> Evidence:
        return Evidence(100, 100, strength, 1.0, 1.0, 10.0, True, 0.9, 90.0, 50.0)

    edges = {(0, 2): 0.2, (0, 1): 0.9, (1, 2): 0.6, (2, 1): 0.5, (3, 0): 0.95}
    given = {edge: evidence(strength) for edge, strength in edges.items()}
    assert weakest_step(given, 2) == evidence(0.5)
    assert weakest_step({**given, (0, 2): evidence(0.7)}, 2) == evidence(0.7)
    assert weakest_step(given, 4) is None
