"""A pose estimator for tests that finds nothing and remembers what happened to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from interpose_sfm.pose.protocol import EstimatorContext, PoseEstimator
from interpose_sfm.products import Pose, PoseStatus, View, ViewPoses

TARGETS: Mapping[str, str] = {"lost": "lost_estimator:LostEstimator"}


class LostEstimator(PoseEstimator):
    """Every one that is built is in `built`."""

    name = "lost"
    built: ClassVar[list[LostEstimator]] = []

    def __init__(self, context: EstimatorContext) -> None:
        self.context = context
        self.seen: list[View] = []
        self.num_closed = 0
        self.built.append(self)

    def estimate(self, views: Sequence[View]) -> ViewPoses:
        self.seen += views
        return ViewPoses(PoseStatus.DISCONNECTED, (Pose(np.eye(3), np.zeros(3)), *(None for _ in views[1:])))

    def close(self) -> None:
        self.num_closed += 1
