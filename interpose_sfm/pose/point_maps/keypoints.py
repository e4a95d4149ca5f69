"""Carries learned key points from A to B by the point maps: correspondences that tracks of other photos can join."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interpose_sfm import geometry
from interpose_sfm.pose.point_maps.agreement import epipolar_errors_px, land, log_depths
from interpose_sfm.pose.point_maps.alignment import Alignment
from interpose_sfm.pose.point_maps.crops import Crop
from interpose_sfm.pose.point_maps.maps import PointMaps
from interpose_sfm.pose.point_maps.pair_geometry import MAX_ERROR_SHARE, PairSamples, grid_index, grid_px
from interpose_sfm.products import Features, FloatArray, Pose

SNAP_SHARE = 1 / 128  # of the longer side: key points of B this near to where the maps take one of A may be it


@dataclass(frozen=True)
class Correspondences:
    """Positions of the same points in the photos A and B, and their depths in the scale of the poses.

    Attributes:
        points_a_px, points_b_px: (n, 2).
        depths_a, depths_b: (n,), NaN where a depth is not known.
    """

    points_a_px: FloatArray
    points_b_px: FloatArray
    depths_a: FloatArray
    depths_b: FloatArray


def carry_keypoints(
    features: tuple[Features, Features],
    crops: tuple[Crop, Crop],
    maps_b_a: PointMaps,
    samples_b_a: PairSamples,
    alignment: Alignment,
) -> Correspondences:
    """Correspondences at the key points of A.

    A key point goes where the point map of the ordered pair (B, A) takes its pixel. Where B has key points around that
    place, the one with the most similar descriptor is taken instead, if it wants the key point of A too.

    Args:
        features: Of the photos A and B.
        crops: Of A and B, the first and the last view.
        maps_b_a, samples_b_a: Point maps of the ordered pair (B, A), which holds the points of A in the frame of B.
        alignment: Of all views; A and B have a pose.
    """
    b_from_a = alignment.cam_from_first[-1]
    assert b_from_a is not None
    camera_a, camera_b = alignment.intrinsics[0], alignment.intrinsics[-1]
    pixels_a = crops[0].to_crop(features[0].keypoints_px)
    height_px, width_px = crops[0].shape
    rows = np.flatnonzero(np.all((pixels_a >= 0) & (pixels_a < (width_px, height_px)), axis=1))
    x, y = np.floor(pixels_a[rows]).astype(np.intp).T
    enough = 0.5 * float(np.median(samples_b_a.of_j.weights))
    is_sure = np.log(np.maximum(maps_b_a.conf_j[y, x], 1.0)) >= max(enough, 1e-6)
    rows, x, y = rows[is_sure], x[is_sure], y[is_sure]
    landing = land(maps_b_a.points_j_in_i[y, x].astype(np.float64), log_depths(samples_b_a.of_i), camera_b)
    # The map speaks of the pixel's centre, the key point lies beside it.
    pixels_b = landing.pixels + pixels_a[rows] - (np.floor(pixels_a[rows]) + 0.5)
    rows, pixels_b = rows[landing.is_seen], pixels_b[landing.is_seen]
    points_b_px = _snapped(features, rows, pixels_b, crops[1])
    rays_a = geometry.pixel_to_ray(pixels_a[rows], camera_a)
    rays_b = geometry.pixel_to_ray(crops[1].to_crop(points_b_px), camera_b)
    kept = epipolar_errors_px(b_from_a, rays_a, rays_b, camera_b) < MAX_ERROR_SHARE * max(crops[1].shape)
    depths_a = _depths(alignment.log_depths[0], pixels_a[rows[kept]], crops[0])
    depths_b = _depths(alignment.log_depths[-1], crops[1].to_crop(points_b_px[kept]), crops[1])
    return Correspondences(features[0].keypoints_px[rows[kept]], points_b_px[kept], depths_a, depths_b)


def _snapped(
    features: tuple[Features, Features], rows: NDArray[np.intp], pixels_b: FloatArray, crop_b: Crop
) -> FloatArray:
    """(n, 2) positions in the photo B: of B's own key points where one is meant, else as they were predicted."""
    from scipy.spatial import cKDTree

    points_px = crop_b.to_photo(pixels_b)
    keypoints_b = crop_b.to_crop(features[1].keypoints_px)
    if not len(keypoints_b) or not len(rows):
        return points_px
    radius = SNAP_SHARE * max(crop_b.shape)
    best_for_b: dict[int, tuple[float, int]] = {}
    for index, near in enumerate(cKDTree(keypoints_b).query_ball_point(pixels_b, radius)):
        if not near:
            continue
        likeness = features[1].descriptors[near] @ features[0].descriptors[rows[index]]
        best = int(np.argmax(likeness))
        if float(likeness[best]) > best_for_b.get(near[best], (-np.inf, 0))[0]:
            best_for_b[near[best]] = float(likeness[best]), index
    for row_b, (_, index) in best_for_b.items():
        points_px[index] = features[1].keypoints_px[row_b]
    return points_px


def _depths(log_depths_of_view: FloatArray, pixels: FloatArray, crop: Crop) -> FloatArray:
    inside = np.clip(pixels, 0.0, np.array([crop.shape[1], crop.shape[0]]) - 1e-6)
    return np.asarray(np.exp(log_depths_of_view[grid_index(inside, crop.shape)]))


def is_rotation_only(alignment: Alignment, b_from_a: Pose, max_parallax_px: float, min_share: float) -> bool:
    """Whether B's place differs so little from A's that hardly a sample of A moves by it in B."""
    camera_a, camera_b = alignment.intrinsics[0], alignment.intrinsics[-1]
    depths = np.exp(alignment.log_depths[0])
    known = np.isfinite(depths)
    rays = geometry.pixel_to_ray(grid_px((camera_a.height_px, camera_a.width_px))[known], camera_a)
    turned = (rays * depths[known, None]) @ b_from_a.rotation.T
    still, moved = geometry.project(turned, camera_b), geometry.project(turned + b_from_a.translation, camera_b)
    parallax_px = np.linalg.norm(moved - still, axis=1)
    parallax_px = parallax_px[np.isfinite(parallax_px)]
    return len(parallax_px) > 0 and float(np.mean(parallax_px < max_parallax_px)) >= min_share
