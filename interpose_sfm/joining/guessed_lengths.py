"""How long the baseline of a link is by the poses that a network has of its ends and of photos beside them.

The network has them all in one scale, and a base model knows how those of its side lie: so far from one another in its
unit, so far in baselines. What it knows of them tests the network as well.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap import reconstruction
from interpose_sfm.joining.ties import Length
from interpose_sfm.products import Link, Pose

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

PLACE_SIGMA = 0.035  # of a photo's place, as a share of its distance and of the baseline: two degrees
MAX_TURN_DEG = 10.0  # of a photo beside an end from where the model has it, in rotation and at least in direction
MAX_SIGMA = 0.25  # of a length by one photo: what lies nearer to the end says nothing
AGREEING_SIGMAS = 3.0


def length_by_poses(model: pycolmap.Reconstruction, name: str, link: Link) -> Length | None:
    """Measure a link's baseline by the photos beside one of its ends, which a model holds.

    Args:
        model: Holds the end.
        name: The end.
        link: With the poses that a network has of both ends and of photos beside them.

    Returns:
        The length in the unit of the model; None where no photo tells it, or the network has half of them or more
        elsewhere than the model.
    """
    known, told = reconstruction.poses(model), link.guessed_poses
    others = sorted((told.keys() & known.keys()) - {link.pair.a, link.pair.b})
    found = []
    for other in others:
        pose = geometry.relative_pose(told[other], told[name])
        length = _length(pose, geometry.relative_pose(known[other], known[name]))
        found += [] if length is None else [length]
    if not found or 2 * sum(length.sigma <= MAX_SIGMA for length in found) < len(found):
        return None
    return _mean([length for length in found if length.sigma <= MAX_SIGMA])


def agreed(by_depths: Length | None, by_poses: Length | None) -> Length | None:
    """What both readings of one answer say; None where they contradict one another."""
    if by_depths is None or by_poses is None:
        return by_depths or by_poses
    error = abs(float(np.log(by_depths.value / by_poses.value)))
    if error > AGREEING_SIGMAS * float(np.hypot(by_depths.sigma, by_poses.sigma)):
        logger.info("depths and poses of a network contradict one another by a factor of %.2f", np.exp(error))
        return None
    return _mean([by_depths, by_poses])


def _length(told: Pose, known: Pose) -> Length | None:
    """The baseline by one photo beside the end; of no use (infinite sigma) where the network has it elsewhere.

    None where the two are too near to one another to tell a distance.
    """
    x_told, x_known = told.inverse().translation, known.inverse().translation  # its centre, as the end sees it
    distance = float(np.linalg.norm(x_told))
    sigma = PLACE_SIGMA * float(np.hypot(1.0, distance)) / max(distance, geometry.NEAR_ZERO_BASELINE)
    if sigma > MAX_SIGMA or not np.any(x_known):
        return None
    turn_deg = float(geometry.rotation_angle_deg(told.rotation @ known.rotation.T))
    off_deg = float(geometry.direction_angle_deg(x_told, x_known))
    is_there = turn_deg <= MAX_TURN_DEG and off_deg <= max(MAX_TURN_DEG, np.degrees(AGREEING_SIGMAS * sigma))
    return Length(float(np.linalg.norm(x_known)) / distance, sigma if is_there else float("inf"))


def _mean(lengths: list[Length]) -> Length:
    """Their mean, weighted; as unsure as it is by their sigmas, or by their scatter if that is more."""
    logs, weights = np.log([x.value for x in lengths]), np.array([x.sigma**-2 for x in lengths])
    middle = float(np.average(logs, weights=weights))
    scatter = float(np.sqrt(np.average((logs - middle) ** 2, weights=weights)))
    return Length(float(np.exp(middle)), max(float(weights.sum() ** -0.5), scatter))
