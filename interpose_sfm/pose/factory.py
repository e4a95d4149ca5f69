"""Pose estimators by name: the built-in ones and those of other packages."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from interpose_sfm import registry
from interpose_sfm.pose.protocol import EstimatorContext, PoseEstimator

if TYPE_CHECKING:
    pass

ENTRY_POINT_GROUP = "interpose_sfm.pose_estimators"


POSE_ESTIMATORS: Mapping[str, str] = MappingProxyType(
    {
        "dust3r": "interpose_sfm.pose.dust3r.estimator:Dust3rEstimator",
        "matcher": "interpose_sfm.pose.matcher:MatcherEstimator",
    }
)
"""Built-in estimators, name -> ``"module:Class"``."""


def estimator_names() -> tuple[str, ...]:
    """Names of all pose estimators, built-in and from entry points."""
    return tuple(registry.targets(POSE_ESTIMATORS, ENTRY_POINT_GROUP))


def create_estimator(name: str, context: EstimatorContext) -> PoseEstimator:
    """Build an estimator by name.

    Raises:
        ValueError: Unknown name; the message lists the known ones.
        MissingDependencyError: Something it needs is not installed; the message holds the pip command.
    """
    backend = registry.resolve("pose estimator", name, POSE_ESTIMATORS, ENTRY_POINT_GROUP)
    return cast(PoseEstimator, backend(context))
