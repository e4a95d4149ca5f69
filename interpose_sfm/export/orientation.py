"""Which way is up, by the photos: cameras are held level far more often than not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from interpose_sfm._compat import StrEnum
from interpose_sfm.export.ground import find_ground
from interpose_sfm.export.source import ExportSource
from interpose_sfm.products import FloatArray

MAX_TILT_DEG = 20.0
"""A photo counts as held level if its lower side is at most so far from level."""

MIN_LEVEL_SHARE = 0.6
"""Of the photos that have to be held level."""

_MIN_SPREAD = np.sin(np.radians(10.0))  # of directions to the right, without which they leave the pitch open
_LOOKING_DOWN = 0.3  # mean height of the photos' upper sides, 1 for upright ones


class ExportAlign(StrEnum):
    """How models are turned before they are written."""

    NONE = "none"
    """As they are."""
    UP = "up"
    """So that -y points up, as COLMAP's own cameras and its orientation aligner have it; y is 0 on the ground."""


@dataclass(frozen=True)
class Upright:
    """A model that stands upright.

    Attributes:
        source: The model.
        note: By what it does, in a sentence.
    """

    source: ExportSource
    note: str


def upright(source: ExportSource) -> Upright:
    """The model turned about its origin by the least turn that lets its -y axis point up.

    Where the points show a ground plane that agrees with the photos its normal is up, and y is 0 there.

    Raises:
        ValueError: The photos do not tell which way that is.
    """
    import pycolmap

    cam_from_world = np.array([image.cam_from_world().rotation.matrix() for image in source.images()])
    up = up_direction(cam_from_world)
    if up is None:
        raise ValueError(
            f"the photos of the model {source.model_dir} are held in too many ways to tell which way is up, expected "
            f"{MIN_LEVEL_SHARE:.0%} of them to be level within {MAX_TILT_DEG:.0f} degrees; leave the alignment out"
        )
    ground = find_ground(source.model, up)
    moved, note = np.zeros(3), "up is that of the photos; no ground plane was found, so that height zero is as it was"
    if ground is not None:
        up, moved = ground.up, np.array([0.0, ground.height, 0.0])
        note = (
            f"height zero and up are those of the ground plane of {ground.num_points} points, {ground.tilt_deg:.1f} "
            "degrees from the photos' up"
        )
    turned = pycolmap.Reconstruction(source.model)
    turned.transform(pycolmap.Sim3d(1.0, pycolmap.Rotation3d(_turn(up, np.array([0.0, -1.0, 0.0]))), moved))
    return Upright(replace(source, model=turned), note)


def up_direction(cam_from_world: FloatArray) -> FloatArray | None:
    """Unit vector (3,) in the world that points up; None where too few photos are held level.

    Whoever holds a camera level may look up or down, but not have its right side higher than its left: up is at right
    angles to all directions to the right, by least absolute deviations, so that single tilted photos do not count.
    Where all photos look the same way that leaves the pitch open, and up is the mean of the photos' own.

    Args:
        cam_from_world: (n, 3, 3) rotations, in the axes of COLMAP: x right, y down, z forward.
    """
    rights, uppers, forwards = cam_from_world[:, 0], -cam_from_world[:, 1], cam_from_world[:, 2]
    mean_upper = uppers.mean(axis=0)
    weights = np.ones(len(rights))
    for _ in range(50):  # reweighted least squares
        _, spreads, axes = np.linalg.svd(weights[:, None] * rights)
        up = axes[2]
        weights = 1.0 / np.sqrt(np.maximum(np.abs(rights @ up), 1e-3))
    if len(rights) < 3 or spreads[1] < _MIN_SPREAD * spreads[0]:
        up = mean_upper / max(float(np.linalg.norm(mean_upper)), 1e-12)
    is_upright = abs(mean_upper @ up) > _LOOKING_DOWN
    # Photos whose upper sides point nowhere in particular look straight down: nobody takes ceilings alone.
    up = up * (np.sign(mean_upper @ up) if is_upright else -np.sign(forwards.mean(axis=0) @ up))
    level_share = np.mean(np.abs(rights @ up) < np.sin(np.radians(MAX_TILT_DEG)))
    return np.asarray(up) if level_share >= MIN_LEVEL_SHARE else None


def _turn(a: FloatArray, b: FloatArray) -> FloatArray:
    """(3, 3) least rotation that takes unit vector a to b."""
    axis = np.cross(a, b)
    if a @ b < -1.0 + 1e-9:  # against b: half a turn about any axis across
        across = np.roll(b, 1)
        return 2 * np.outer(across, across) - np.eye(3)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + cross + cross @ cross / (1.0 + a @ b))
