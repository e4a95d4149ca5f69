"""Pose estimators by name: the built-in ones and those of other packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from interpose_sfm.pose.protocol import EstimatorContext, PoseEstimator
from interpose_sfm.registry import BackendTable

POSE_ESTIMATORS: BackendTable[PoseEstimator] = BackendTable(
    kind="pose estimator",
    builtin=MappingProxyType(
        {
            "da3": "interpose_sfm.pose.da3.estimator:Da3Estimator",
            "dust3r": "interpose_sfm.pose.dust3r.estimator:Dust3rEstimator",
            "matcher": "interpose_sfm.pose.matcher:MatcherEstimator",
        }
    ),
    entry_point_group="interpose_sfm.pose_estimators",
    base=PoseEstimator,
)
"""Classes that are built from an `EstimatorContext`."""


def create_estimator(
    name: str, context: EstimatorContext, options: Mapping[str, object] = MappingProxyType({})
) -> PoseEstimator:
    """Build an estimator by name.

    Args:
        name: Of the estimator.
        context: What it may use.
        options: Name of an estimator -> its group of options, of those that have one.

    Raises:
        ValueError: Unknown name; the message lists the known ones.
        MissingDependencyError: Something it needs is not installed; the message holds the pip command.
    """
    backend = POSE_ESTIMATORS.resolve(name)
    return backend(replace(context, options=options[name]) if name in options else context)
