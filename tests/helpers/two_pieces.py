"""Two models of one scene, the second in a frame and a scale of its own, and links between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap

from geometry_scenes import (
    arc,
    camera,
    cloud,
    evidence,
    link,
    link_of,
    observe,
    true_model,
)
from interpose_sfm import geometry
from interpose_sfm.geometry import Similarity
from interpose_sfm.products import DepthSamples, Link

NAMES = tuple(f"{view}.jpg" for view in range(8))
SCENE = observe(cloud(1, 250), arc([0, 12, 24, 36, 60, 72, 84, 96]), noise_px=0.3, seed=1)
CAMERAS = dict.fromkeys(NAMES, camera())
TARGET_FROM_SOURCE = Similarity(0.4, geometry.rotation_exp([0.3, -0.5, 1.0]), np.array([1.0, -4.0, 3.0]))
NOWHERE = np.zeros((0, 2))


def baseline(a: int, b: int) -> float:
    return float(np.linalg.norm(geometry.relative_pose(SCENE.cam_from_world[b], SCENE.cam_from_world[a]).translation))


def piece(database: Path, views: Sequence[int], *, in_source: bool = False) -> pycolmap.Reconstruction:
    """A model of some views, in a frame of its own."""
    model = true_model(database, SCENE, NAMES, views)
    if in_source:
        moved = TARGET_FROM_SOURCE.inverse()
        turn = pycolmap.Rotation3d(moved.rotation)
        model.transform(pycolmap.Sim3d(moved.scale, turn, moved.translation))
    return model


def without_points(exact: Link) -> Link:
    return link(exact.pair.a, exact.pair.b, exact.b_from_a, evidence(num_inliers=30))


def take_points(model: pycolmap.Reconstruction, name: str, num_left: int) -> pycolmap.Reconstruction:
    """The model with fewer points in one photo."""
    copied = pycolmap.Reconstruction(model)
    seen = [p.point3D_id for p in copied.find_image_with_name(name).points2D if p.has_point3D()]
    for point_id in seen[num_left:]:
        copied.delete_point3D(point_id)
    return copied


def depth_samples(view: int, unit: float = 1.0, seed: int = 0, spread: float = 0.0) -> DepthSamples:
    """Depths of all key points of a view that show a point, in some unit."""
    is_point = SCENE.point_of_row[view] >= 0
    points, pose = SCENE.points_in_world[SCENE.point_of_row[view][is_point]], SCENE.cam_from_world[view]
    depths = (points @ pose.rotation.T + pose.translation)[:, 2] / unit
    noise = np.exp(spread * np.random.default_rng(seed).normal(size=len(depths)))
    return DepthSamples(SCENE.features[view].keypoints_px[is_point], depths * noise)


def clip_link(a: int, b: int, **changes: float) -> Link:
    """The link of a clip that carried no correspondence through, but has depths in either photo, in baselines."""
    length = baseline(a, b)
    bare = dataclasses.replace(without_points(link_of(SCENE, NAMES, a, b)), points_a_px=NOWHERE, points_b_px=NOWHERE)
    return dataclasses.replace(
        bare,
        source="morph-0",
        seen_a=depth_samples(a, length, **changes),  # type: ignore[arg-type]
        seen_b=depth_samples(b, length, **changes),  # type: ignore[arg-type]
    )
