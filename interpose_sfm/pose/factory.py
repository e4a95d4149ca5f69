"""Pose estimators by name: the built-in ones and those of other packages."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from interpose_sfm.pose.protocol import EstimatorContext, PoseEstimator
from interpose_sfm.registry import BackendTable

logger = logging.getLogger(__name__)

AUTO = "auto"
"""Learned matches place the frames of clips, and a pose network that may be used commercially proposes for pairs."""

POSE_ESTIMATORS: BackendTable[PoseEstimator] = BackendTable(
    kind="pose estimator",
    builtin=MappingProxyType(
        {
            "da3": "interpose_sfm.pose.da3.estimator:Da3Estimator",
            "dust3r": "interpose_sfm.pose.dust3r.estimator:Dust3rEstimator",
            "mapanything": "interpose_sfm.pose.mapanything.estimator:MapAnythingEstimator",
            "matcher": "interpose_sfm.pose.matcher:MatcherEstimator",
        }
    ),
    entry_point_group="interpose_sfm.pose_estimators",
    base=PoseEstimator,
    choices=(AUTO,),
)
"""Classes that are built from an `EstimatorContext`."""


PERMISSIVE = ("da3",)
"""Networks whose code and weights may be used commercially, those that are preferred first."""


def create_estimators(
    name: str, context: EstimatorContext, options: Mapping[str, object] = MappingProxyType({})
) -> tuple[PoseEstimator, PoseEstimator | None]:
    """Build what places the frames of clips, and what proposes poses of pairs alone.

    Args:
        name: Of an estimator, which then does both if it can; or ``auto`` for the matcher and the first permissive
            network whose weights are on this machine.
        context, options: See `create_estimator`.

    Returns:
        The estimator, and the one that proposes; None for none.

    Raises:
        ValueError, MissingDependencyError: See `create_estimator`.
    """
    if name == AUTO:
        return create_estimator("matcher", context, options), _permissive_network(context, options)
    estimator = create_estimator(name, context, options)
    return estimator, estimator if estimator.proposes else None


def _permissive_network(context: EstimatorContext, options: Mapping[str, object]) -> PoseEstimator | None:
    targets = POSE_ESTIMATORS.targets()
    for name in PERMISSIVE:
        if name not in targets:
            continue
        backend = POSE_ESTIMATORS.load(targets[name])
        if not backend.missing_requirements() and backend.has_weights(options.get(name)):
            return create_estimator(name, context, options)
        logger.info("pose network %s is not on this machine; `interpose_sfm doctor` tells what is missing", name)
    return None


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
