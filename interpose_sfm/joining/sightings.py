"""What the pixels of two models say of one another: where photos of one see points of the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap import databases
from interpose_sfm.joining import overlaps
from interpose_sfm.joining.placing import Between
from interpose_sfm.joining.reprojection_fit import Sighting
from interpose_sfm.products import FloatArray

if TYPE_CHECKING:
    import pycolmap


def num_points(sightings: Sequence[Sighting]) -> int:
    """Of all sightings."""
    return sum(len(sighting.points_px) for sighting in sightings)


def find_sightings(
    between: Between,
    target: pycolmap.Reconstruction,
    source: pycolmap.Reconstruction,
    database_path: Path,
) -> list[Sighting]:
    """Points that one model has of a link, and where the link's photo in the other model sees them.

    What COLMAP verified between the two photos by itself counts as well: it may contradict the link.
    """
    sightings = []
    for link in between.links:
        tie = between.tie(link)
        if tie is None:
            continue
        name_t, name_s = tie.names
        points_t, points_s = link.points_a_px, link.points_b_px
        if not tie.target_is_a:
            points_t, points_s = points_s, points_t
        more_t, more_s = verified_points(target, name_t, source, name_s, database_path)
        points_t, points_s = np.concatenate([points_t, more_t]), np.concatenate([points_s, more_s])
        for is_in_target, model, name, here_px, other, other_name, there_px in (
            (True, target, name_t, points_t, source, name_s, points_s),
            (False, source, name_s, points_s, target, name_t, points_t),
        ):
            rows, x_in_model = overlaps.points_at(model, name, here_px)
            if len(rows) == 0:
                continue
            image = other.find_image_with_name(other_name)
            camera = geometry.from_colmap_camera(other.camera(image.camera_id), is_trusted=True)
            pose = geometry.from_rigid3d(image.cam_from_world())
            sightings.append(Sighting(is_in_target, x_in_model, np.asarray(there_px)[rows], pose, camera))
    return sightings


def verified_points(
    target: pycolmap.Reconstruction, name_t: str, source: pycolmap.Reconstruction, name_s: str, database_path: Path
) -> tuple[FloatArray, FloatArray]:
    """(n, 2) positions in both photos of the matches that the database holds as verified."""
    images = target.find_image_with_name(name_t), source.find_image_with_name(name_s)
    rows = databases.verified_rows(database_path, images[0].image_id, images[1].image_id)
    points_px = (
        np.array([image.points2D[row].xy for row in chosen]).reshape(-1, 2)
        for image, chosen in zip(images, rows, strict=True)
    )
    points_t, points_s = points_px
    return points_t, points_s
