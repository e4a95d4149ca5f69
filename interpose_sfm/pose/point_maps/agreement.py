"""How far point maps can be believed: correspondences that the network implies, checked against the poses of all views.

A pair of point maps implies where every pixel of one view appears in the other. What a view hides is no
correspondence; what it would see through is one that fails. The cues are those of learned matches
(`products.Evidence`), so one judgement serves both, though its limits were measured with matches alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interpose_sfm import geometry
from interpose_sfm.matching.agreement import POSE_FREEDOM, POSES_PER_SAMPLE, surprise
from interpose_sfm.pose.point_maps.alignment import Alignment, Edge
from interpose_sfm.pose.point_maps.pair_geometry import (
    MAX_ERROR_SHARE,
    PATCH_SAMPLES,
    MapSamples,
    PairSamples,
    grid_index,
    grid_px,
)
from interpose_sfm.products import Evidence, FloatArray, Intrinsics, Pose

BAND_SHARE = (
    4 * MAX_ERROR_SHARE
)  # of a picture, at most: an epipolar band of that error, as long as the picture is wide
MIN_DEPTH_TOLERANCE = 0.1  # beyond the noise of most point maps, below the depth of most objects
MAX_DEPTH_TOLERANCE = 0.4


@dataclass(frozen=True)
class Landing:
    """Where points of one view appear in another.

    Attributes:
        pixels: (n, 2) positions in the other crop.
        is_seen: (n,) inside of that crop, at the depth that it has there.
        is_seen_through: (n,) inside, but in front of what the other view sees there.
    """

    pixels: FloatArray
    is_seen: NDArray[np.bool_]
    is_seen_through: NDArray[np.bool_]


def land(points: FloatArray, log_depths: FloatArray, camera: Intrinsics) -> Landing:
    """Project points into a view of known depths.

    Args:
        points: (n, 3) in the camera of the view, in the scale of its depths.
        log_depths: Logarithm of the depth of every sample of the view, NaN where it is not known.
        camera: Of the view's crop.
    """
    pixels = geometry.project(points, camera)
    size = np.array([camera.width_px, camera.height_px])
    is_inside = np.all(np.isfinite(pixels) & (pixels >= 0) & (pixels < size), axis=1)
    shape = camera.height_px, camera.width_px
    there = log_depths[grid_index(np.where(is_inside[:, None], pixels, 0.0), shape)]
    is_known = is_inside & np.isfinite(there)
    depths = np.where(is_known, points[:, 2], 1.0)
    difference = np.where(is_known, np.log(depths) - np.where(is_known, there, 0.0), np.nan)
    near = difference[np.abs(difference) < MAX_DEPTH_TOLERANCE]
    scatter = 1.4826 * float(np.median(np.abs(near - np.median(near)))) if len(near) else 0.0
    tolerance = float(np.clip(3.0 * scatter, MIN_DEPTH_TOLERANCE, MAX_DEPTH_TOLERANCE))
    return Landing(pixels, np.abs(difference) <= tolerance, difference < -tolerance)


def edge_evidence(samples: PairSamples, alignment: Alignment, edge: Edge) -> Evidence:
    """Evidence of an ordered pair (i, j): where the points of j land in i, and whether the poses agree.

    Samples err alike within a patch of the network, so a patch counts as one match.
    """
    i, j = edge
    camera_i, camera_j = alignment.intrinsics[i], alignment.intrinsics[j]
    used = samples.of_j.is_confident
    landing = land(samples.of_j.points[used], log_depths(samples.of_i), camera_i)
    pixels_j = grid_px((camera_j.height_px, camera_j.width_px))
    rays_i = geometry.pixel_to_ray(landing.pixels, camera_i)
    rays_j = geometry.pixel_to_ray(pixels_j[used], camera_j)
    j_from_i = _relative(alignment, i, j)
    errors_px = epipolar_errors_px(j_from_i, rays_i, rays_j, camera_j)
    is_inlier = landing.is_seen & (errors_px < MAX_ERROR_SHARE * max(camera_j.width_px, camera_j.height_px))
    is_match = landing.is_seen | landing.is_seen_through
    num_matches, num_inliers = int(np.sum(is_match)), int(np.sum(is_inlier))
    scores = -np.expm1(-samples.of_j.weights[used][is_match])  # 1 - 1 / confidence
    angles_deg = geometry.direction_angle_deg(rays_i[is_inlier] @ j_from_i.rotation.T, rays_j[is_inlier])
    return Evidence(
        num_matches=num_matches // PATCH_SAMPLES,
        num_inliers=num_inliers // PATCH_SAMPLES,
        inlier_share=num_inliers / max(num_matches, 1),
        mean_score=float(np.mean(scores)) if num_matches else 0.0,
        density=num_inliers / max(_num_inside(pixels_j, pixels_j[used][is_inlier]), 1),
        triangulation_angle_deg=float(np.median(angles_deg)) if num_inliers else 0.0,
        is_calibrated=True,
        agreement=float(np.sum(scores[is_inlier[is_match]])) / max(float(np.sum(scores)), 1e-9),
        weight=float(np.sum(scores[is_inlier[is_match]])) / PATCH_SAMPLES,
        surprise=surprise(
            num_inliers // PATCH_SAMPLES, num_matches // PATCH_SAMPLES, BAND_SHARE, POSE_FREEDOM, POSES_PER_SAMPLE
        ),
    )


def weakest_step(edges: Mapping[Edge, Evidence], last: int) -> Evidence | None:
    """The weakest step of that way from view 0 to the last one whose weakest step is best; None without a way.

    Where edges join views strongest first (Kruskal), it is the edge that brings the two together. A pair that is there
    in both orders is as strong as the weaker of them.
    """
    pairs: dict[Edge, Evidence] = {}
    for (i, j), evidence in edges.items():
        pair = min(i, j), max(i, j)
        pairs[pair] = min(evidence, pairs.get(pair, evidence), key=lambda e: e.strength)
    group = {view: {view} for pair in pairs for view in pair}
    for i, j in sorted(pairs, key=lambda pair: (-pairs[pair].strength, pair)):
        joined = group[i] | group[j]
        for view in joined:
            group[view] = joined
        if {0, last} <= joined:
            return pairs[i, j]
    return None


def epipolar_errors_px(b_from_a: Pose, rays_a: FloatArray, rays_b: FloatArray, camera_b: Intrinsics) -> FloatArray:
    """(n,) distances in b between rays at depth 1 and the epipolar lines of the others, in pixels; infinite for NaN.

    Where the cameras share a place, the distance to where the rotation takes the ray.
    """
    turned = rays_a @ b_from_a.rotation.T
    if not np.any(b_from_a.translation):
        with np.errstate(divide="ignore", invalid="ignore"):
            errors = np.linalg.norm(turned[:, :2] / turned[:, 2:] - rays_b[:, :2], axis=1)
    else:
        normals = np.cross(b_from_a.translation / np.linalg.norm(b_from_a.translation), turned)
        lengths = np.maximum(np.linalg.norm(normals[:, :2], axis=1), 1e-12)
        errors = np.abs(np.sum(normals * rays_b, axis=1)) / lengths
    return np.asarray(np.nan_to_num(errors * camera_b.focal_px, nan=np.inf))


def log_depths(samples: MapSamples) -> FloatArray:
    """(n,) logarithms of the depths of a view's samples in its own frame, NaN where the network is not confident."""
    depths = samples.points[:, 2]
    used = samples.is_confident & (depths > 1e-9)
    return np.where(used, np.log(np.where(used, depths, 1.0)), np.nan)


def _relative(alignment: Alignment, i: int, j: int) -> Pose:
    start, end = alignment.cam_from_first[i], alignment.cam_from_first[j]
    assert start is not None
    assert end is not None
    return geometry.relative_pose(end, start)


def _num_inside(points: FloatArray, inliers: FloatArray) -> int:
    """How many points lie within the convex hull of the inliers; all of them where these span no area."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        sides = ConvexHull(inliers).equations if len(inliers) >= 3 else None
    except QhullError:
        sides = None
    if sides is None:
        return len(points)
    return int(np.sum(np.all(points @ sides[:, :2].T + sides[:, 2] <= 1e-6, axis=1)))
