"""A flight over a field in two strips: its models, each in a frame of its own, and the GPS positions of its photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pycolmap

from interpose_sfm import geometry
from interpose_sfm.products import FloatArray, Pose
from interpose_sfm.synthetic import look_at

STRIP_M = np.arange(0.0, 300.0, 15.0)
CENTERS_M = np.array(
    [(x, 0.0, 60.0 + 2.0 * np.sin(x / 40)) for x in STRIP_M] + [(x, 40.0, 61.0) for x in STRIP_M[::-1]]
)
NAMES = tuple(f"{index:02}.jpg" for index in range(len(CENTERS_M)))
ENU = np.array([1200.0, -340.0, 95.0])  # where the field's corner lies
LENGTH_M = float(np.sum(np.linalg.norm(np.diff(CENTERS_M, axis=0), axis=1)))


def flight(rows: Sequence[int], seed: int = 0) -> pycolmap.Reconstruction:
    """Some of the photos as a model in a frame and a unit of its own."""
    rng = np.random.default_rng(seed)
    own = geometry.Similarity(
        float(np.exp(rng.uniform(-4, 0))), geometry.rotation_exp(rng.uniform(-2, 2, 3)), rng.normal(size=3)
    )
    model = pycolmap.Reconstruction()
    camera = pycolmap.Camera.create_from_model_name(1, "SIMPLE_RADIAL", 800.0, 1000, 750)
    model.add_camera_with_trivial_rig(camera)
    for row in rows:
        x, y, z = CENTERS_M[row]
        pose = own.move_camera(look_at((x, y, z), (x, y + 8.0, 0.0)))
        image = pycolmap.Image(name=NAMES[row], camera_id=1, image_id=row + 1)
        model.add_image_with_trivial_frame(image, geometry.to_rigid3d(pose))
    return model


def gps(noise_m: float, seed: int = 0) -> dict[str, FloatArray]:
    """Positions that err by so much along the ground and twice that in height, each for itself."""
    rng = np.random.default_rng([seed, 1])
    errors_m = noise_m * rng.normal(size=CENTERS_M.shape) * [1.0, 1.0, 2.0]
    return dict(zip(NAMES, CENTERS_M + ENU + errors_m, strict=True))


def centers_m(found: Mapping[str, Pose]) -> FloatArray:
    return np.array([found[name].inverse().translation for name in sorted(found)])
