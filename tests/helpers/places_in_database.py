"""A COLMAP database of several places whose photos share descriptors with those of their own place only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap


def write_places(
    path: Path,
    places: Sequence[Sequence[str]],
    num_descriptors: int = 120,
    seed: int = 0,
    bare: Sequence[str] = (),
    undescribed: Sequence[str] = (),
) -> Path:
    """Photos with SIFT-like descriptors: those of one place are seen again in its photos, with noise.

    Args:
        places: Names of the photos of each place.
        num_descriptors: Of a photo.
        bare: Photos without any key point.
        undescribed: Photos with key points of another program, which wrote no descriptors.
    """
    rng = np.random.default_rng(seed)
    with pycolmap.Database.open(path) as database:
        camera = pycolmap.Camera.create_from_model_name(1, "SIMPLE_RADIAL", 400.0, 400, 300)
        database.write_camera(camera)
        seen = [rng.integers(0, 180, (num_descriptors * 3 // 2, 128)) for _ in places]
        for image_id, (name, place) in enumerate(sorted((n, k) for k, names in enumerate(places) for n in names), 1):
            image = pycolmap.Image(name=name, camera_id=1)
            image.image_id = image_id
            database.write_image(image, use_image_id=True)
            number = 0 if name in bare else num_descriptors
            rows = rng.permutation(len(seen[place]))[:number]
            noisy = np.clip(seen[place][rows] + rng.integers(-6, 7, (number, 128)), 0, 255).astype(np.uint8)
            keypoints = np.column_stack([rng.uniform(0, 300, (number, 2)), np.ones(number), np.zeros(number)])
            database.write_keypoints(image_id, keypoints.astype(np.float32))
            if name not in undescribed:
                described = pycolmap.FeatureDescriptors(pycolmap.FeatureExtractorType.SIFT, noisy)
                database.write_descriptors(image_id, described)
    return path
