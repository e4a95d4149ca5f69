"""What an estimator tells of aligned views: status, evidence, and what reaches from A to B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from interpose_sfm.pose.point_maps.agreement import edge_evidence, weakest_step
from interpose_sfm.pose.point_maps.alignment import Alignment, Edge
from interpose_sfm.pose.point_maps.crops import Crop
from interpose_sfm.pose.point_maps.keypoints import carry_keypoints, is_rotation_only
from interpose_sfm.pose.point_maps.maps import PointMaps
from interpose_sfm.pose.point_maps.pair_geometry import PairSamples
from interpose_sfm.products import DepthSamples, Features, FloatArray, Pose, PoseStatus, View, ViewPoses

PARALLAX_SHARE = 1 / 128  # of the longer side, 4 px at 512: less is within the errors of point maps
ROTATION_SHARE = 0.9  # of the samples, as for matches


def read_alignment(
    alignment: Alignment,
    samples: Mapping[Edge, PairSamples],
    maps_b_a: PointMaps,
    views: Sequence[View],
    crops: Sequence[Crop],
    features: tuple[Features, Features],
) -> ViewPoses:
    """Status, correspondences, depths and evidence from aligned views.

    Args:
        alignment: Of all views; the last one has a pose.
        samples: Point maps of ordered pairs of view indices, among them that of the last and the first view.
        maps_b_a: Those of the last and the first view in full.
        views, crops: All views, and what the network saw of each.
        features: Of the first and the last view.
    """
    last, b_from_a = len(views) - 1, alignment.cam_from_first[-1]
    assert b_from_a is not None
    parallax_px = PARALLAX_SHARE * max(crops[-1].shape)
    is_rotation = is_rotation_only(alignment, b_from_a, parallax_px, ROTATION_SHARE)
    if is_rotation:
        still = Pose(b_from_a.rotation, np.zeros(3))
        alignment = replace(alignment, cam_from_first=(*alignment.cam_from_first[:-1], still))
    evidence = {
        edge: edge_evidence(pair_samples, alignment, edge)
        for edge, pair_samples in samples.items()
        if all(alignment.cam_from_first[view] is not None for view in edge)
    }
    ends = crops[0], crops[-1]
    correspondences = carry_keypoints(features, ends, maps_b_a, samples[last, 0], alignment)
    nowhere = np.full(len(correspondences.points_a_px), np.nan)
    return ViewPoses(
        PoseStatus.ROTATION_ONLY if is_rotation else PoseStatus.OK,
        alignment.cam_from_first,
        alignment.last_spread_deg,
        correspondences.points_a_px,
        correspondences.points_b_px,
        nowhere if is_rotation else correspondences.depths_a,
        nowhere if is_rotation else correspondences.depths_b,
        weakest_step(evidence, last),
        DepthSamples() if is_rotation else _known(correspondences.points_a_px, correspondences.depths_a),
        DepthSamples() if is_rotation else _known(correspondences.points_b_px, correspondences.depths_b),
        intrinsics=tuple(
            crop.photo_intrinsics(view.intrinsics, camera.focal_px)
            for crop, view, camera in zip(crops, views, alignment.intrinsics, strict=True)
        ),
    )


def _known(points_px: FloatArray, depths: FloatArray) -> DepthSamples:
    is_known = np.isfinite(depths) & (depths > 0)
    return DepthSamples(points_px[is_known], depths[is_known])
