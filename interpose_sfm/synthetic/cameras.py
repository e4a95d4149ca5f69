"""Camera poses for synthetic scenes: looking at a point, arcs, and the way between two poses. World z points up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

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
    axis_angle = _rotation_vector(cam2_from_world.rotation @ cam1_from_world.rotation.T)
    rotation = _rotation_matrix(fraction * axis_angle) @ cam1_from_world.rotation
    center = (1.0 - fraction) * center_in_world(cam1_from_world) + fraction * center_in_world(cam2_from_world)
    return Pose(rotation, -rotation @ center)


def _rotation_matrix(vector: FloatArray) -> FloatArray:
    """Rodrigues' formula."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-15:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    matrix: FloatArray = np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * (cross @ cross)
    return matrix


def _rotation_vector(rotation: FloatArray) -> FloatArray:
    """Axis times angle in radians; of the two axes of a half turn either one."""
    skew = 0.5 * np.array([
        rotation[2, 1] - rotation[1, 2],
        rotation[0, 2] - rotation[2, 0],
        rotation[1, 0] - rotation[0, 1],
    ])  # fmt: skip
    sine = float(np.linalg.norm(skew))
    angle = math.atan2(sine, (float(np.trace(rotation)) - 1.0) / 2.0)
    if sine > 1e-6:
        vector: FloatArray = skew * (angle / sine)
        return vector
    if angle < 1.0:
        return skew
    # Near a half turn the skew part vanishes; the axis is the dominant column of R + I.
    columns = rotation + np.eye(3)
    axis: FloatArray = columns[:, int(np.argmax(np.diag(columns)))]
    vector = angle * axis / np.linalg.norm(axis)
    return vector if float(vector @ skew) >= 0.0 else -vector
