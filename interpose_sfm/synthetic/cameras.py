"""Camera poses for synthetic scenes: looking at a point, arcs, and the way between two poses. World z points up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from interpose_sfm import geometry
from interpose_sfm.products import FloatArray, Pose

_WORLD_UP = (0.0, 0.0, 1.0)


def look_at(center: ArrayLike, target: ArrayLike, up: ArrayLike = _WORLD_UP) -> Pose:
    """cam_from_world of a camera at ``center`` that sees ``target`` in the middle of its picture.

    Args:
        center, target: (3,) points in the world.
        up: (3,) direction that points to the upper border of the picture.

    Raises:
        ValueError: Centre and target coincide, or ``up`` is parallel to the line of sight.
    """
    center_in_world = np.asarray(center, np.float64)
    forward = np.asarray(target, np.float64) - center_in_world
    right = np.cross(forward, np.asarray(up, np.float64))
    if np.linalg.norm(forward) < 1e-12 or np.linalg.norm(right) < 1e-9 * np.linalg.norm(forward):
        raise ValueError(
            f"no view from {center!r} to {target!r} with up {up!r}: they must differ, and up must not be parallel"
        )
    z_axis = forward / np.linalg.norm(forward)
    x_axis = right / np.linalg.norm(right)
    rotation = np.stack([x_axis, np.cross(z_axis, x_axis), z_axis])
    return Pose(rotation, -rotation @ center_in_world)


def center_in_world(cam_from_world: Pose) -> FloatArray:
    """(3,) position of the camera."""
    return cam_from_world.inverse().translation


@dataclass(frozen=True)
class Viewpoint:
    """A camera on an arc about the world's vertical axis.

    Attributes:
        azimuth_deg: 0 stands on the -y side and looks along +y, 90 stands on the +x side and looks along -x.
        radius: Horizontal distance from the axis.
        height: z of the camera.
        target: Point in the world that the camera looks at.
    """

    azimuth_deg: float
    radius: float
    height: float
    target: tuple[float, float, float]

    @property
    def cam_from_world(self) -> Pose:
        """Pose of the camera."""
        azimuth = math.radians(self.azimuth_deg)
        return look_at((self.radius * math.sin(azimuth), -self.radius * math.cos(azimuth), self.height), self.target)

    def towards(self, other: Viewpoint, fraction: float) -> Viewpoint:
        """The viewpoint at a fraction of the way along the arc to another."""

        def mix(start: float, end: float) -> float:
            # Exact at both ends, so that a clip begins and ends at its photos.
            return (1.0 - fraction) * start + fraction * end

        x, y, z = (mix(start, end) for start, end in zip(self.target, other.target, strict=True))
        return Viewpoint(
            mix(self.azimuth_deg, other.azimuth_deg),
            mix(self.radius, other.radius),
            mix(self.height, other.height),
            (x, y, z),
        )


def orbit(first: Viewpoint, last: Viewpoint, num: int) -> tuple[Pose, ...]:
    """cam_from_world at ``num`` even steps along the arc between two viewpoints, both included.

    Raises:
        ValueError: Fewer than two poses are asked for.
    """
    if num < 2:
        raise ValueError(f"an arc needs at least 2 poses, got {num}")
    return tuple(first.towards(last, index / (num - 1)).cam_from_world for index in range(num))


def interpolate(cam1_from_world: Pose, cam2_from_world: Pose, fraction: float) -> Pose:
    """The pose at a fraction of the way: the camera moves straight, and turns about one axis at constant speed."""
    if fraction in (0.0, 1.0):
        return cam2_from_world if fraction else cam1_from_world
    turn_rad = geometry.rotation_log(cam2_from_world.rotation @ cam1_from_world.rotation.T)
    rotation = geometry.rotation_exp(fraction * turn_rad) @ cam1_from_world.rotation
    center = (1.0 - fraction) * center_in_world(cam1_from_world) + fraction * center_in_world(cam2_from_world)
    return Pose(rotation, -rotation @ center)
