"""A pose network for tests that is told what to answer, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from interpose_sfm.pose.protocol import EstimatorContext, EstimatorTraits, PoseEstimator
from interpose_sfm.products import DepthSamples, Intrinsics, Placement, Pose, PoseStatus, View, ViewPoses

TARGETS: Mapping[str, str] = {
    "da3": "known_proposer:KnownProposer",
    "matcher": "interpose_sfm.pose.matcher:MatcherEstimator",
}


class KnownProposer(PoseEstimator):
    """Stands where `da3` stands.

    Attributes:
        answers: Keys of two views -> the pose of the second from the first, of any scale; others have none. Of more
            views the first and the last are asked for, and those between by the first.
        needs: So many views at least it needs for an answer.
        depths: Key of a view -> depths in it, in the scale of its poses.
        focal_px: Of all views, if it is asked for it.
        asked: Keys of all views that it was shown.
        placements: Where base models have the views that it was shown last.
        num_closed: How many were closed.
    """

    name = "da3"
    proposes = True
    answers: ClassVar[dict[tuple[str, str], Pose]] = {}
    needs: ClassVar[int] = 2
    depths: ClassVar[dict[str, DepthSamples]] = {}
    focal_px: ClassVar[float] = 0.0
    asked: ClassVar[list[tuple[str, ...]]] = []
    placements: ClassVar[tuple[Placement | None, ...]] = ()
    is_here: ClassVar[bool] = True
    num_closed: ClassVar[int] = 0

    def __init__(self, context: EstimatorContext) -> None: ...

    @classmethod
    def has_weights(cls, options: object | None) -> bool:
        return cls.is_here

    @property
    def traits(self) -> EstimatorTraits:
        return EstimatorTraits(settings_key=str((sorted(self.answers), sorted(self.depths), self.needs)))

    def estimate(self, views: Sequence[View]) -> ViewPoses:
        first = Pose(np.eye(3), np.zeros(3))
        self.asked.append(tuple(view.key for view in views))
        type(self).placements = tuple(view.placement for view in views)
        answer = self.answers.get((views[0].key, views[-1].key))
        if answer is None or len(views) < self.needs:
            return ViewPoses(PoseStatus.DEGENERATE, (first, *(None for _ in views[1:])))
        cameras = tuple(
            Intrinsics(*(view.image.shape[1::-1]), self.focal_px, view.intrinsics.cx_px, view.intrinsics.cy_px)
            for view in (views if self.focal_px else ())
        )
        poses = (first, *(self.answers.get((views[0].key, view.key)) for view in views[1:-1]), answer)
        seen_a, seen_b = (self.depths.get(views[end].key, DepthSamples()) for end in (0, -1))
        return ViewPoses(PoseStatus.OK, poses, 3.0, seen_a=seen_a, seen_b=seen_b, intrinsics=cameras)

    def close(self) -> None:
        type(self).num_closed += 1
