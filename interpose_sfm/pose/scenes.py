"""What networks that place a few pictures in one pass answer, and how that is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.pose.point_maps.agreement import log_depths
from interpose_sfm.pose.point_maps.alignment import Alignment, Edge
from interpose_sfm.pose.point_maps.crops import Crop
from interpose_sfm.pose.point_maps.maps import MapArray, PointMaps
from interpose_sfm.pose.point_maps.pair_geometry import sample
from interpose_sfm.pose.point_maps.reading import read_alignment
from interpose_sfm.products import (
    DepthSamples,
    Features,
    ImageArray,
    Intrinsics,
    Placement,
    Pose,
    PoseStatus,
    View,
    ViewPoses,
)

SPREAD_DEG = 2.0
"""Such networks do not say how sure they are of a pose. With this the photos' own matches may refine it within 6
degrees; within 15, matches of repeated structure drag even a true one away."""

SURE_SHARE = 0.5  # of the median confidence: depths of sky and of what the network does not know lie below


@dataclass(frozen=True)
class Told:
    """What is known of a picture that a network sees, in its pixels.

    Attributes:
        camera: None where nobody knows it.
        placement: Where a base model has the picture, with depths at positions in it; None where none has.
    """

    camera: Intrinsics | None = None
    placement: Placement | None = None

    @staticmethod
    def of(view: View, crop: Crop) -> Told:
        """What is known of a view, as its crop shows it."""
        camera = crop.crop_intrinsics(view.intrinsics) if view.intrinsics.is_trusted else None
        if view.placement is None:
            return Told(camera)
        depths = view.placement.depths
        return Told(camera, replace(view.placement, depths=DepthSamples(crop.to_crop(depths.points_px), depths.depths)))


@dataclass(frozen=True)
class SceneGuess:
    """What a network says of k pictures of one shape, in one scale of its own.

    Attributes:
        depths, confidences: (k, height, width) float32, z in each camera, and confidence from 1 upwards.
        cam_from_first: Per picture; that of the first is the identity.
        cameras: Per picture, in its own pixels.
    """

    depths: MapArray
    confidences: MapArray
    cam_from_first: tuple[Pose, ...]
    cameras: tuple[Intrinsics, ...]


class SceneNetwork(Protocol):
    """A network that places a few pictures.

    ``identity`` names its weights and settings: equal identities give equal results.
    """

    identity: str

    def guess(self, images: Sequence[ImageArray], told: Sequence[Told] = ()) -> SceneGuess | None:
        """One forward pass over pictures of one shape; None where an answer is no camera.

        Args:
            images: Pictures.
            told: What is known of each, for networks that take it; nothing for none.
        """
        ...


def central_camera(focal_px: float, shape: tuple[int, int]) -> Intrinsics:
    """A camera that looks through the middle of its picture.

    Args:
        focal_px: Focal length.
        shape: (height, width).
    """
    height_px, width_px = shape
    return Intrinsics(width_px, height_px, focal_px, width_px / 2, height_px / 2)


def place_views(
    guess: SceneGuess | None, views: Sequence[View], crops: Sequence[Crop], features: tuple[Features, Features]
) -> ViewPoses:
    """Poses of all views, what reaches from A to B, and how deep the key points of A and B lie.

    Args:
        guess: The network's answer; None for none.
        views, crops: What was asked about, and what the network saw of it.
        features: Of the first and the last view.
    """
    if guess is None:
        first = Pose(np.eye(3), np.zeros(3))
        return ViewPoses(PoseStatus.DEGENERATE, (first, *(None for _ in views[1:])))
    points = [_points(guess, view) for view in range(len(views))]
    maps = {edge: _point_maps(guess, points, edge) for edge in _tying(len(views))}
    samples = {edge: sample(found) for edge, found in maps.items()}
    last = len(views) - 1
    own = [samples[(0, last) if view == 0 else (view, 0)].of_i for view in range(len(views))]
    alignment = Alignment(guess.cam_from_first, guess.cameras, tuple(log_depths(each) for each in own), {}, SPREAD_DEG)
    poses = read_alignment(alignment, samples, maps[last, 0], views, crops, features)
    if poses.status is PoseStatus.OK:
        seen = [_depths_at(features[end], crops[view], guess, view) for end, view in ((0, 0), (1, last))]
        poses = replace(poses, seen_a=seen[0], seen_b=seen[1])
    # What is known of a camera is known better than by the network.
    known = zip(views, poses.intrinsics, strict=True)
    return replace(poses, intrinsics=tuple(v.intrinsics if v.intrinsics.is_trusted else c for v, c in known))


def _depths_at(features: Features, crop: Crop, guess: SceneGuess, view: int) -> DepthSamples:
    """Depths of a photo's key points, also of those that no other view shows, where the network is sure of them."""
    height_px, width_px = crop.shape
    x, y = np.floor(crop.to_crop(features.keypoints_px)).astype(int).T
    rows = np.flatnonzero((x >= 0) & (y >= 0) & (x < width_px) & (y < height_px))
    x, y = x[rows], y[rows]
    depths, confidences = guess.depths[view][y, x].astype(np.float64), guess.confidences[view][y, x]
    is_sure = np.isfinite(depths) & (depths > 0) & (confidences >= SURE_SHARE * np.median(guess.confidences[view]))
    return DepthSamples(features.keypoints_px[rows[is_sure]], depths[is_sure])


def _points(guess: SceneGuess, view: int) -> MapArray:
    """(h, w, 3) points of a view's pixels in its own camera."""
    camera = guess.cameras[view]
    y, x = np.mgrid[: camera.height_px, : camera.width_px] + 0.5
    rays = geometry.pixel_to_ray(np.stack([x, y], axis=-1), camera)
    return np.asarray(rays * guess.depths[view][..., None], np.float32)


def _point_maps(guess: SceneGuess, points: Sequence[MapArray], edge: Edge) -> PointMaps:
    """What the answer says of an ordered pair."""
    i, j = edge
    i_from_j = geometry.relative_pose(guess.cam_from_first[i], guess.cam_from_first[j])
    points_j_in_i = points[j] @ i_from_j.rotation.T.astype(np.float32) + i_from_j.translation.astype(np.float32)
    return PointMaps(points[i], guess.confidences[i], points_j_in_i, guess.confidences[j])


def _tying(num_views: int) -> list[Edge]:
    """A with B, and every frame with A and with B, in both orders."""
    ends = (0, num_views - 1)
    return [(i, j) for i in range(num_views) for j in range(num_views) if i != j and (i in ends or j in ends)]
