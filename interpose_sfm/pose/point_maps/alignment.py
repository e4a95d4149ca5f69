"""From point maps of pairs to cameras of all views in one scale: closed form and robust, then a small refinement.

Every ordered pair gives a relative pose in a scale of its own (`pair_geometry`). A view that is in two pairs is seen
by both at the same pixels: the ratio of its depths is the ratio of their scales. Scales are solved for first, poses are
laid along a spanning tree of the best pairs, and Gauss-Newton on the pose graph evens out what all pairs say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.pose.point_maps.pair_geometry import (
    CONVERGED,
    PATCH_SAMPLES,
    PairPose,
    PairSamples,
    focal_px,
    moved_pose,
    pair_pose,
)
from interpose_sfm.products import FloatArray, Intrinsics, Pose

Edge = tuple[int, int]

SCALE_STRIDE = 3  # every third sample is plenty for a median over thousands
MIN_SHARED = 20  # samples that two point maps of one view must share for a ratio of scales
MIN_SCALE_SIGMA = 1e-3  # of a logarithm; what a median of rounded depths can be trusted with
NUM_ITERATIONS = 15


@dataclass(frozen=True)
class Alignment:
    """Cameras of all views, and the depths of their pixels, in one scale.

    Attributes:
        cam_from_first: None for views that no pair ties to the first.
        intrinsics: Cameras of the crops; the focal lengths are those that were used.
        log_depths: Per view (n,) logarithm of the depth of every sample, NaN where no confident point map has one;
            empty for views without a pose.
        pair_poses: Ordered pairs that have a pose of their own.
        last_spread_deg: One-sigma angular uncertainty of the last view's pose: of its rotation or of the direction of
            its translation, whichever is larger; 180 without a pose.
    """

    cam_from_first: tuple[Pose | None, ...]
    intrinsics: tuple[Intrinsics, ...]
    log_depths: tuple[FloatArray, ...]
    pair_poses: Mapping[Edge, PairPose]
    last_spread_deg: float


def align(samples: Mapping[Edge, PairSamples], cameras: Sequence[Intrinsics], seed: int) -> Alignment:
    """Align the point maps of a few views.

    Args:
        samples: Ordered pairs of view indices -> their point maps.
        cameras: Of the crops; a focal length that is not trusted is replaced by that of the point maps.
        seed: Equal seeds give equal results.
    """
    intrinsics = tuple(with_focal(view, camera, samples) for view, camera in enumerate(cameras))
    poses: dict[Edge, PairPose] = {}
    for (i, j), pair_samples in samples.items():
        pose = pair_pose(pair_samples.of_j, intrinsics[j], seed)
        if pose is not None:
            poses[i, j] = pose
    return align_pairs(samples, poses, intrinsics)


def with_focal(view: int, camera: Intrinsics, samples: Mapping[Edge, PairSamples]) -> Intrinsics:
    """The camera of a view, with the focal length of its point maps where its own is a guess."""
    own = [pair_samples.of_i for (i, _), pair_samples in samples.items() if i == view]
    if camera.is_trusted or not own:
        return camera
    found_px = focal_px(own, (camera.height_px, camera.width_px), (camera.cx_px, camera.cy_px))
    if found_px is None:
        return camera
    return replace(camera, focal_px=found_px, is_trusted=False)


def align_pairs(
    samples: Mapping[Edge, PairSamples], poses: Mapping[Edge, PairPose], intrinsics: tuple[Intrinsics, ...]
) -> Alignment:
    """The same for pairs whose relative poses are known already."""
    num_views = len(intrinsics)
    tree = _spanning_tree(poses, samples, num_views)
    reached = {0} | {view for edge in tree for view in edge}
    edges = [edge for edge in poses if reached.issuperset(edge)]
    if not edges:
        first = Pose(np.eye(3), np.zeros(3))
        nothing = tuple(np.zeros(0) for _ in range(num_views))
        return Alignment((first, *(None,) * (num_views - 1)), intrinsics, nothing, poses, 180.0)
    log_depths = {edge: _log_depths(samples[edge], poses[edge]) for edge in edges}
    ratios = _scale_ratios(edges, log_depths)
    log_scales = _solve_scales(edges, ratios)
    graph = _PoseGraph(edges, poses, ratios, num_views)
    start = _lay_out(tree, edges, poses, log_scales, num_views)
    placed, log_scales, spread_deg = graph.refine(start, log_scales)
    fused = tuple(_fuse(view, edges, log_depths, log_scales) for view in range(num_views))
    return Alignment(tuple(placed), intrinsics, fused, poses, spread_deg)


# ---------------------------------------------------------------- scales


def _log_depths(samples: PairSamples, pose: PairPose) -> tuple[FloatArray, FloatArray]:
    """Logarithms of the depths of i's samples in i and of j's in j, NaN where the network is not confident."""
    moved = samples.of_j.points @ pose.j_from_i.rotation.T + pose.j_from_i.translation
    log_depths = []
    for depths, is_confident in (
        (samples.of_i.points[:, 2], samples.of_i.is_confident),
        (moved[:, 2], samples.of_j.is_confident),
    ):
        used = is_confident & (depths > 1e-9)
        log_depths.append(np.log(depths, where=used, out=np.full(len(depths), np.nan)))
    return log_depths[0], log_depths[1]


@dataclass(frozen=True)
class _ScaleRatio:
    """Logarithm of the ratio of the scales of two edges, by their indices, with its standard deviation."""

    first: int
    second: int
    log_ratio: float
    sigma: float


def _scale_ratios(edges: Sequence[Edge], log_depths: Mapping[Edge, tuple[FloatArray, FloatArray]]) -> list[_ScaleRatio]:
    """Ratios of all edges that share a view: medians over the pixels of that view, which no few outliers shift."""
    seen: dict[int, list[tuple[int, FloatArray]]] = {}
    for index, edge in enumerate(edges):
        for view, depths in zip(edge, log_depths[edge], strict=True):
            seen.setdefault(view, []).append((index, depths[::SCALE_STRIDE]))
    ratios = []
    for maps in seen.values():
        for k, (first, of_first) in enumerate(maps):
            for second, of_second in maps[k + 1 :]:
                difference = of_first - of_second
                known = difference[np.isfinite(difference)]
                if len(known) < MIN_SHARED:
                    continue
                middle = float(np.median(known))
                scatter = 1.4826 * float(np.median(np.abs(known - middle)))
                count = len(known) * SCALE_STRIDE / PATCH_SAMPLES
                ratios.append(_ScaleRatio(first, second, middle, max(1.2533 * scatter / count**0.5, MIN_SCALE_SIGMA)))
    return ratios


def _solve_scales(edges: Sequence[Edge], ratios: Sequence[_ScaleRatio]) -> FloatArray:
    """Logarithms of all scales, the first one zero: L1 by iteratively reweighted least squares."""
    matrix, values = np.zeros((len(ratios) + 1, len(edges))), np.zeros(len(ratios) + 1)
    matrix[-1, 0] = 1.0
    sigma = np.ones(len(ratios) + 1)
    for row, ratio in enumerate(ratios):
        matrix[row, ratio.first], matrix[row, ratio.second] = 1.0, -1.0
        values[row], sigma[row] = ratio.log_ratio, ratio.sigma
    scales: FloatArray = np.zeros(len(edges))
    weights = np.ones(len(values))
    for _ in range(10):
        root = np.sqrt(weights) / sigma
        scales = np.asarray(np.linalg.lstsq(matrix * root[:, None], values * root, rcond=None)[0], np.float64)
        weights = 1.0 / np.maximum(np.abs(matrix @ scales - values) / sigma, 1.0)
    return scales


def _fuse(
    view: int,
    edges: Sequence[Edge],
    log_depths: Mapping[Edge, tuple[FloatArray, FloatArray]],
    log_scales: FloatArray,
) -> FloatArray:
    """(n,) middle logarithm of the depth of every sample of a view over all pairs that see it."""
    maps = [log_depths[edge][edge.index(view)] - log_scales[index] for index, edge in enumerate(edges) if view in edge]
    if not maps:
        return np.zeros(0)
    stacked = np.stack(maps)
    fused = np.full(stacked.shape[1], np.nan)
    known = np.any(np.isfinite(stacked), axis=0)
    fused[known] = np.nanmedian(stacked[:, known], axis=0)
    return fused


# ---------------------------------------------------------------- poses


def _spanning_tree(poses: Mapping[Edge, PairPose], samples: Mapping[Edge, PairSamples], num_views: int) -> list[Edge]:
    """Edges from the first view outwards, the best one next (Prim): confident maps whose pose many samples support."""

    def quality(edge: Edge) -> float:
        pair_samples = samples[edge]
        return float(np.mean(pair_samples.of_i.weights) * np.mean(pair_samples.of_j.weights)) * poses[edge].inlier_share

    reached, tree = {0}, []
    while len(reached) < num_views:
        border = [edge for edge in poses if (edge[0] in reached) != (edge[1] in reached)]
        if not border:
            break
        best = max(border, key=lambda edge: (quality(edge), edge))
        tree.append(best)
        reached |= set(best)
    return tree


def _lay_out(
    tree: Sequence[Edge], edges: Sequence[Edge], poses: Mapping[Edge, PairPose], log_scales: FloatArray, num_views: int
) -> list[Pose | None]:
    """cam_from_first along the tree, in one scale."""
    placed: list[Pose | None] = [Pose(np.eye(3), np.zeros(3)), *(None,) * (num_views - 1)]
    for i, j in tree:
        step = poses[i, j].j_from_i
        step = Pose(step.rotation, step.translation * np.exp(-log_scales[edges.index((i, j))]))
        start, end = placed[i], placed[j]
        if start is not None:
            placed[j] = step @ start
        else:
            assert end is not None
            placed[i] = step.inverse() @ end
    return placed


class _PoseGraph:
    """Gauss-Newton on the poses of all views but the first, and on the scales of all edges but the first.

    Residuals are the small motion (in the scale of the edge) that takes the pose predicted for an edge to the one that
    was measured, whitened by its information, and the ratios of scales. An edge that contradicts the others loses
    weight by Cauchy's function of its distance over the middle distance, so that only relative accuracies matter.
    """

    def __init__(
        self, edges: Sequence[Edge], poses: Mapping[Edge, PairPose], ratios: Sequence[_ScaleRatio], num_views: int
    ) -> None:
        self._edges, self._poses, self._ratios, self._num_views = edges, poses, ratios, num_views
        self._whitening = [_whitening(poses[edge].information) for edge in edges]

    def refine(
        self, start: Sequence[Pose | None], log_scales: FloatArray
    ) -> tuple[list[Pose | None], FloatArray, float]:
        """Poses, logarithms of scales, and the uncertainty of the last view in degrees."""
        views = list(start)
        scales = log_scales.copy()
        free = [view for view in range(1, self._num_views) if views[view] is not None]
        column = {view: 6 * k for k, view in enumerate(free)}
        num_poses = 6 * len(free)
        size = num_poses + len(self._edges)
        information = np.eye(size)
        for _ in range(NUM_ITERATIONS):
            information, gradient, variance = self._normal_equations(views, scales, column, size)
            step = np.asarray(-np.linalg.solve(information, gradient), np.float64)
            for view in free:
                pose = views[view]
                assert pose is not None
                views[view] = moved_pose(pose, step[column[view] : column[view] + 6])
            scales = scales + step[num_poses:]
            if float(np.max(np.abs(step))) < CONVERGED:
                break
        last = views[-1]
        if last is None:
            return views, scales, 180.0
        at = column[self._num_views - 1]
        covariance = np.asarray(max(variance, 1.0) * np.linalg.inv(information)[at : at + 6, at : at + 6], np.float64)
        return views, scales, _spread_deg(last, covariance)

    def _normal_equations(
        self, views: Sequence[Pose | None], scales: FloatArray, column: Mapping[int, int], size: int
    ) -> tuple[FloatArray, FloatArray, float]:
        """Information, gradient, and the middle squared residual per degree of freedom."""
        blocks = [self._edge_block(index, views, scales, column, size) for index in range(len(self._edges))]
        distances2 = np.array([float(residual @ residual) for residual, _ in blocks]) / 6.0
        middle = max(float(np.median(distances2)), 1e-12)
        information = 1e-9 * np.eye(size)
        information[size - len(self._edges), size - len(self._edges)] += (
            1e12  # the scale of the whole is free: hold one
        )
        gradient = np.zeros(size)
        for (residual, jacobian), distance2 in zip(blocks, distances2, strict=True):
            weight = 1.0 / (1.0 + distance2 / (4.0 * middle))
            information += weight * jacobian.T @ jacobian
            gradient += weight * jacobian.T @ residual
        offset = size - len(self._edges)
        for ratio in self._ratios:
            first, second = offset + ratio.first, offset + ratio.second
            residual = (scales[ratio.first] - scales[ratio.second] - ratio.log_ratio) / ratio.sigma
            weight = 1.0 / (1.0 + residual**2 / 4.0) / ratio.sigma
            gradient[first] += weight * residual
            gradient[second] -= weight * residual
            information[[first, second], [first, second]] += weight / ratio.sigma
            information[[first, second], [second, first]] -= weight / ratio.sigma
        return information, gradient, middle

    def _edge_block(
        self, index: int, views: Sequence[Pose | None], scales: FloatArray, column: Mapping[int, int], size: int
    ) -> tuple[FloatArray, FloatArray]:
        """(6,) whitened residual of an edge and its (6, size) derivatives."""
        i, j = self._edges[index]
        start, end = views[i], views[j]
        assert start is not None
        assert end is not None
        measured = self._poses[i, j].j_from_i
        step = geometry.relative_pose(end, start)
        scale = float(np.exp(scales[index]))
        shift = scale * step.translation
        turn = geometry.rotation_log(measured.rotation @ step.rotation.T)
        residual = np.append(turn, measured.translation - geometry.rotation_exp(turn) @ shift)
        jacobian = np.zeros((6, size))
        if j in column:
            at = column[j]
            jacobian[:3, at : at + 3] = -np.eye(3)
            jacobian[3:, at + 3 : at + 6] = -scale * np.eye(3)
        if i in column:
            at = column[i]
            jacobian[:3, at : at + 3] = step.rotation
            jacobian[3:, at : at + 3] = _cross(shift) @ step.rotation
            jacobian[3:, at + 3 : at + 6] = scale * step.rotation
        jacobian[3:, size - len(self._edges) + index] = -shift
        whitening = self._whitening[index]
        return whitening @ residual, whitening @ jacobian


def _cross(x: FloatArray) -> FloatArray:
    return np.array([[0.0, -x[2], x[1]], [x[2], 0.0, -x[0]], [-x[1], x[0], 0.0]])


def _whitening(information: FloatArray) -> FloatArray:
    """(6, 6) W with W^T W = information, also where that is singular."""
    values, vectors = np.linalg.eigh(information)
    return cast(FloatArray, np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T)


def _spread_deg(pose: Pose, covariance: FloatArray) -> float:
    """The larger one of the uncertainties of rotation and direction, in degrees, 180 at most."""
    turn_deg = np.degrees(np.sqrt(max(float(np.linalg.eigvalsh(covariance[:3, :3])[-1]), 0.0)))
    center_sigma = np.sqrt(max(float(np.linalg.eigvalsh(covariance[3:, 3:])[-1]), 0.0))
    length = float(np.linalg.norm(pose.translation))
    direction_deg = 180.0 if length == 0.0 else np.degrees(np.arctan2(center_sigma, length))
    return float(min(max(turn_deg, direction_deg), 180.0))
