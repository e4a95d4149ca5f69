"""A network of known geometry: it stands where DUSt3R's stands and answers with point maps rendered from the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.pose.dust3r.crops import cut
from interpose_sfm.pose.dust3r.network import Encoding
from interpose_sfm.pose.point_maps.maps import PointMaps
from interpose_sfm.products import FloatArray, ImageArray, Intrinsics, Pose
from interpose_sfm.synthetic.known_views import FAR_M, KnownView, KnownViews, seed_of
from interpose_sfm.synthetic.scene import Scene


@dataclass(frozen=True, kw_only=True)
class MapErrors:
    """How the answers differ from the truth. Every ordered pair has errors of its own, the same whenever it is asked.

    Attributes:
        depth_sigma: Relative standard deviation of the depths, normal and independent per pixel; points move along the
            rays of the first camera, in whose frame they are.
        outlier_share: Share of the pixels that get the point of another pixel.
        confidence: Of right points; half of it for what the other camera does not see. It varies by a fifth.
        outlier_confidence: Largest confidence of wrong points; DUSt3R's confidences begin at 1.
        seed: Of the errors.
    """

    depth_sigma: float = 0.0
    outlier_share: float = 0.0
    confidence: float = 8.0
    outlier_confidence: float = 1.5
    seed: int = 0


class KnownGeometryNetwork:
    """Satisfies `interpose_sfm.pose.dust3r.network.PairNetwork`.

    Views are made known beforehand and recognised by a thumbnail, so that a compressed frame of a clip is still known.

    Args:
        scene: What the views show.
        errors: Of the answers.
        size_px: Longer side of the crops.
    """

    def __init__(self, scene: Scene, errors: MapErrors | None = None, size_px: int = 512) -> None:
        self._scene, self._errors, self._size_px = scene, errors or MapErrors(), size_px
        self._known = KnownViews(scene, partial(cut, size_px=size_px))
        self.identity = f"known geometry {self._errors}"

    def with_errors(self, errors: MapErrors) -> KnownGeometryNetwork:
        """The same network with other errors."""
        network = KnownGeometryNetwork(self._scene, errors, self._size_px)
        network._known = self._known
        return network

    def add_view(self, image: ImageArray, intrinsics: Intrinsics, cam_from_world: Pose) -> None:
        """See `KnownViews.add`."""
        self._known.add(image, intrinsics, cam_from_world)

    def encode(self, images: Sequence[ImageArray]) -> list[Encoding]:
        """The tokens hold the number of the known view."""
        return [
            Encoding(np.array([[self._known.recognise(image)]], np.float32), (image.shape[0], image.shape[1]))
            for image in images
        ]

    def decode(self, pairs: Sequence[tuple[Encoding, Encoding]]) -> list[PointMaps]:
        """Point maps of known views, in a scale of the pair's own: the mean distance of all points is one."""
        return [self._maps(int(first.tokens[0, 0]), int(second.tokens[0, 0])) for first, second in pairs]

    def _maps(self, i: int, j: int) -> PointMaps:
        """Point maps of a pair of known views, in one scale."""
        first, second = self._known[i], self._known[j]
        generator = np.random.default_rng(seed_of(self._errors.seed, i, j))
        maps = [self._answer(first, seen, other, generator) for seen, other in ((first, second), (second, first))]
        scale = 1.0 / float(np.mean([np.mean(np.linalg.norm(points, axis=-1)) for points, _ in maps]))
        (points_i, conf_i), (points_j, conf_j) = (
            ((scale * points).astype(np.float32), conf.astype(np.float32)) for points, conf in maps
        )
        return PointMaps(points_i, conf_i, points_j, conf_j)

    def _answer(
        self, frame: KnownView, seen: KnownView, other: KnownView, generator: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Points of one view in the frame of a camera, and their confidence."""
        errors, shape = self._errors, seen.points_in_world.shape[:2]
        points = seen.points_in_world @ frame.cam_from_world.rotation.T + frame.cam_from_world.translation
        if errors.depth_sigma:
            points = points * np.maximum(1.0 + errors.depth_sigma * generator.standard_normal(shape), 0.05)[..., None]
        conf = errors.confidence * (1.0 + 0.2 * generator.uniform(-1.0, 1.0, shape))
        conf = np.where(_is_inside(seen.points_in_world, other), conf, np.maximum(0.5 * conf, 1.0))
        is_sky = np.linalg.norm(points, axis=-1) > 0.7 * FAR_M
        conf = np.where(is_sky, 1.0, conf)
        if errors.outlier_share:
            is_wrong = generator.random(shape) < errors.outlier_share
            flat, places = points.reshape(-1, 3), generator.permutation(is_wrong.size).reshape(shape)
            points = np.where(is_wrong[..., None], flat[places], points)
            conf = np.where(is_wrong, generator.uniform(1.0, errors.outlier_confidence, shape), conf)
        return points, conf


def _is_inside(points_in_world: FloatArray, view: KnownView) -> FloatArray:
    """Which points lie within the picture of a view, hidden or not."""
    in_cam = points_in_world @ view.cam_from_world.rotation.T + view.cam_from_world.translation
    positions_px = geometry.project(in_cam, view.intrinsics)  # NaN behind the camera
    size_px = view.intrinsics.width_px, view.intrinsics.height_px
    return np.asarray(np.all((positions_px >= 0) & (positions_px < size_px), axis=-1))
