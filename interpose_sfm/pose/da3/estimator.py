"""The pose estimator `da3`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.options import Da3Options
from interpose_sfm.pose.da3 import checkpoint, network, network_code
from interpose_sfm.pose.da3.architectures import NON_COMMERCIAL_REASON, PUBLISHED
from interpose_sfm.pose.da3.network import SceneGuess, SceneNetwork
from interpose_sfm.pose.da3.pictures import cut_alike
from interpose_sfm.pose.point_maps.agreement import log_depths
from interpose_sfm.pose.point_maps.alignment import Alignment, Edge
from interpose_sfm.pose.point_maps.maps import MapArray, PointMaps
from interpose_sfm.pose.point_maps.pair_geometry import sample
from interpose_sfm.pose.point_maps.reading import read_alignment
from interpose_sfm.pose.protocol import EstimatorContext, EstimatorTraits, PoseEstimator
from interpose_sfm.products import Intrinsics, Pose, PoseStatus, View, ViewPoses
from interpose_sfm.storage.content_keys import content_key

SPREAD_DEG = 2.0
"""The network does not say how sure it is of a pose. With this the photos' own matches may refine it within 6 degrees;
within 15, matches of repeated structure drag even a true one away."""


class Da3Estimator(PoseEstimator):
    """Depths, poses and focal lengths of all views from one forward pass of Depth Anything 3.

    The network is loaded at the first estimate. Its poses go by no matches, so those of the pair alone are proposals
    that the matches of the two photos can judge.
    """

    name = "da3"
    proposes = True

    def __init__(self, context: EstimatorContext) -> None:
        """Choose the options; loads nothing.

        Raises:
            ValueError: Options of something else.
        """
        options = Da3Options() if context.options is None else context.options
        if not isinstance(options, Da3Options):
            raise ValueError(f"estimator {self.name!r}: got {type(options).__name__}, expected Da3Options")
        self._context, self._options = context, options
        self._network: SceneNetwork | None = None

    @classmethod
    def missing_requirements(cls) -> dict[str, str]:
        """What is not installed: module -> pip command."""
        return network_code.missing_requirements()

    @classmethod
    def probe(cls) -> str:
        """Import the network classes and look for weights, which are not read.

        Raises:
            ValueError: No weights are here.
        """
        code = network_code.load_network_code()
        here = [size for size in PUBLISHED if checkpoint.find(size) is not None]
        told = [
            f"{item.repo.partition('/')[2]} ({item.licence}, {item.num_bytes / 1e6:.0f} MB) "
            + ("is here" if size in here else f"is not here: {checkpoint.fetch_command(size)}")
            for size, item in PUBLISHED.items()
        ]
        detail = f"depth-anything-3 {code.version} (Apache-2.0); weights: {'; '.join(told)}; {NON_COMMERCIAL_REASON}"
        if not here:
            raise ValueError(detail)
        return detail

    @classmethod
    def has_weights(cls, options: object | None) -> bool:
        """See `PoseEstimator`."""
        weights = (options if isinstance(options, Da3Options) else Da3Options()).da3_weights
        if weights.lower() == checkpoint.AUTO:
            return any(checkpoint.find(size) is not None for size in PUBLISHED)
        return weights.lower() not in PUBLISHED or checkpoint.find(weights.lower()) is not None

    @property
    def traits(self) -> EstimatorTraits:
        """See `EstimatorTraits`."""
        key = content_key(self._options, self._loaded().identity)
        return EstimatorTraits(gains_from_more_views=False, trusts_focal_lengths=False, settings_key=key)

    def estimate(self, views: Sequence[View]) -> ViewPoses:
        """See `PoseEstimator`."""
        if len(views) < 2:
            raise ValueError(f"got {len(views)} views, expected at least A and B")
        crops = cut_alike([view.image for view in views], self._options.da3_size_px)
        guess = self._loaded().guess([crop.image for crop in crops])
        if guess is None:
            first = Pose(np.eye(3), np.zeros(3))
            return ViewPoses(PoseStatus.DEGENERATE, (first, *(None for _ in views[1:])))
        cameras = tuple(_camera(guess, view) for view in range(len(views)))
        points = [_points(guess, view, camera) for view, camera in enumerate(cameras)]
        maps = {edge: _point_maps(guess, points, edge) for edge in _tying(len(views))}
        samples = {edge: sample(found) for edge, found in maps.items()}
        last = len(views) - 1
        own = [samples[(0, last) if view == 0 else (view, 0)].of_i for view in range(len(views))]
        alignment = Alignment(guess.cam_from_first, cameras, tuple(log_depths(each) for each in own), {}, SPREAD_DEG)
        features = self._context.features(views[0]), self._context.features(views[-1])
        poses = read_alignment(alignment, samples, maps[last, 0], views, crops, features)
        # What is known of a camera is known better than by the network, which is not told.
        known = zip(views, poses.intrinsics, strict=True)
        return replace(poses, intrinsics=tuple(v.intrinsics if v.intrinsics.is_trusted else c for v, c in known))

    def close(self) -> None:
        """Let go of the network; the next estimate loads it again."""
        self._network = None

    def _loaded(self) -> SceneNetwork:
        if self._network is None:
            self._network = network.load_network(self._options)
        return self._network


def _camera(guess: SceneGuess, view: int) -> Intrinsics:
    """The camera of a crop as the network has it: depths, poses and focal lengths of one answer go together."""
    height_px, width_px = guess.depths[view].shape
    return Intrinsics(width_px, height_px, guess.focals_px[view], width_px / 2, height_px / 2)


def _points(guess: SceneGuess, view: int, camera: Intrinsics) -> MapArray:
    """(h, w, 3) points of a view's pixels in its own camera."""
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
