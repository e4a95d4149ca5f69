"""What pose estimators say of a pair and frames or photos beside it, each asked once and kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.matching.cache import LearnedCache
from interpose_sfm.matching.lightglue import weights_id
from interpose_sfm.pose.protocol import PoseEstimator, check_poses
from interpose_sfm.products import ImagePair, PoseHypothesis, PoseStatus, View, ViewPoses
from interpose_sfm.storage.content_keys import content_key, store_key
from interpose_sfm.storage.hypotheses import HypothesisStore


class Estimates:
    """Asks estimators, and keeps what they say.

    Args:
        store: What is in it is not estimated again.
        cache: Learned features and matches, whose options the answers rest on.
        seed: Seed of everything that is random.
    """

    def __init__(self, store: HypothesisStore, cache: LearnedCache, seed: int) -> None:
        self._store, self._cache, self._seed = store, cache, seed

    def of(
        self,
        estimator: PoseEstimator,
        pair: ImagePair,
        clip: str,
        a: View,
        frames: Sequence[View],
        b: View,
        subsets: Sequence[tuple[int, ...]],
    ) -> tuple[PoseHypothesis, ...]:
        """One hypothesis per subset of what lies between A and B, each with the estimate behind it."""
        views = (a, *frames, b)
        parts: list[object] = [
            [view.key for view in views],
            [view.intrinsics for view in views],
            tuple(subsets),
            estimator.name,
            estimator.traits.settings_key,
            self._cache.options,
            self._seed,
            weights_id(),
        ]
        if estimator.takes_placements:
            parts.append([view.placement for view in views])
        key = store_key(pair.a, pair.b, clip, content_key(*parts))
        hypotheses = self._store.get(key)
        if hypotheses is None:
            hypotheses = tuple(_hypothesis(estimate(estimator, a, frames, s, b), clip, s) for s in subsets)
            self._store.put(key, hypotheses)
        return hypotheses


def estimate(estimator: PoseEstimator, a: View, frames: Sequence[View], subset: Sequence[int], b: View) -> ViewPoses:
    """What an estimator says of A, some of the frames, and B.

    Raises:
        ValueError: See `check_poses`.
    """
    views = [a, *(frames[i] for i in subset), b]
    return check_poses(estimator.estimate(views), views, estimator.name)


def baseline(poses: ViewPoses) -> float:
    """Distance of A and B in the scale of the poses; 1 where they have none."""
    last = poses.cam_from_first[-1]
    assert last is not None
    return float(np.linalg.norm(last.translation)) or 1.0


def _hypothesis(poses: ViewPoses, clip: str, subset: tuple[int, ...]) -> PoseHypothesis:
    last = poses.cam_from_first[-1]
    b_from_a = None
    if poses.has_pose and last is not None:
        b_from_a = geometry.with_unit_translation(last)
    status = poses.status if b_from_a is not None or not poses.has_pose else PoseStatus.DEGENERATE
    return PoseHypothesis(clip, subset, status, b_from_a, poses.spread_deg, len(poses.points_a_px), poses)
