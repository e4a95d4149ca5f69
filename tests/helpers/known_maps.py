"""Rendered views whose point maps are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from interpose_sfm.pose.dust3r.inference import CachedInference, all_ordered_pairs, tying_pairs
from interpose_sfm.pose.point_maps.alignment import Edge
from interpose_sfm.pose.point_maps.maps import PointMaps
from interpose_sfm.pose.point_maps.pair_geometry import (
    PairSamples,
    sample,
)
from interpose_sfm.products import Intrinsics, View
from interpose_sfm.synthetic import (
    Scene,
    Viewpoint,
    orbit,
)
from interpose_sfm.synthetic.point_maps import KnownGeometryNetwork, MapErrors

SIZE_PX = 192
CAMERA = Intrinsics(SIZE_PX, 144, 170.0, SIZE_PX / 2, 72.0, is_trusted=True)
TARGET = (-2.0, 1.0, 1.8)
POSES = orbit(Viewpoint(-35, 11, 2.0, TARGET), Viewpoint(15, 11, 2.6, TARGET), 5)
OUTLIERS = MapErrors(outlier_share=0.1)


def known(scene: Scene, views: Sequence[View], errors: MapErrors | None = None) -> KnownGeometryNetwork:
    found = KnownGeometryNetwork(scene, errors, SIZE_PX)
    for view, pose in zip(views, POSES, strict=True):
        found.add_view(view.image, CAMERA, pose)
    return found


def point_maps(
    scene: Scene, views: Sequence[View], errors: MapErrors | None = None, is_economical: bool = False
) -> dict[Edge, PointMaps]:
    inference = CachedInference(known(scene, views, errors), SIZE_PX)
    keys = [view.key for view in views]
    pairs = (tying_pairs if is_economical else all_ordered_pairs)(keys)
    inference.compute(views, pairs)
    return {(int(i), int(j)): inference.point_maps((i, j)) for i, j in pairs}


def sampled(maps: Mapping[Edge, PointMaps]) -> dict[Edge, PairSamples]:
    return {edge: sample(found) for edge, found in maps.items()}
