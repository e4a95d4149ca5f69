"""Joining models by the points that links have in common with both."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import databases, geometry, reconstruction
from interpose_sfm.geometry import Similarity
from interpose_sfm.products import FloatArray, Link

if TYPE_CHECKING:
    import pycolmap

MIN_POINTS = 12  # a similarity has 7 degrees of freedom, 3 points fix it: four times that leave no room for chance
MIN_SHARE = 0.5  # of the common points, which come from links that are believed already
MAX_DISTANCE_SHARE = 0.03  # of the distance to the camera: depths from few degrees of parallax are that exact
MAX_TURN_DEG = 10.0  # between the similarity and the links' own rotations


@dataclass(frozen=True)
class Join:
    """How a model lies in another.

    Attributes:
        target_from_source: The similarity.
        num_points: Common points that agree with it.
    """

    target_from_source: Similarity
    num_points: int


def find_join(
    target: pycolmap.Reconstruction,
    source: pycolmap.Reconstruction,
    links: Sequence[Link],
    database_path: Path,
    seed: int,
) -> Join | None:
    """The similarity between two models from the points that both have triangulated of the same correspondences.

    Args:
        target, source: Models with all key points of the database, links triangulated.
        links: Accepted links; those with one photo in each model count.
        database_path: Holds the correspondences of the links.
        seed: Of RANSAC.

    Returns:
        None where too few points are common, they do not agree on one similarity, or it contradicts a link's rotation.
    """
    import pycolmap

    found = [_common_points(target, source, link, database_path) for link in links]
    x_in_target = np.concatenate([points[0] for points in found]) if found else np.zeros((0, 3))
    x_in_source = np.concatenate([points[1] for points in found]) if found else np.zeros((0, 3))
    distances = np.concatenate([points[2] for points in found]) if found else np.zeros(0)
    if len(x_in_target) < MIN_POINTS:
        return None
    max_error = MAX_DISTANCE_SHARE * float(np.median(distances))
    options = pycolmap.RANSACOptions(max_error=max_error, random_seed=seed, num_threads=1)
    robust = pycolmap.estimate_sim3d_robust(x_in_source, x_in_target, options)
    if robust is None:
        return None
    moved = np.array([robust * x for x in x_in_source])
    agree = np.linalg.norm(moved - x_in_target, axis=1) <= max_error
    if np.count_nonzero(agree) < max(MIN_POINTS, MIN_SHARE * len(agree)):
        return None
    similarity = geometry.fit_similarity(x_in_source[agree], x_in_target[agree])
    if not all(_agrees(similarity, target, source, link) for link in links):
        return None
    return Join(similarity, int(np.count_nonzero(agree)))


def join(target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, found: Join) -> pycolmap.Reconstruction:
    """The target with the photos it lacks, posed by the similarity; their points are not triangulated yet."""
    merged = copy.deepcopy(target)
    held = reconstruction.registered_names(target)
    for image in source.images.values():
        if not image.has_pose or image.name in held:
            continue
        pose = found.target_from_source.move_camera(geometry.from_rigid3d(image.cam_from_world()))
        frame = merged.frame(merged.image(image.image_id).frame_id)
        frame.set_cam_from_world(image.camera_id, geometry.to_rigid3d(pose))
        merged.register_frame(frame.frame_id)
    return merged


def _common_points(
    target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, link: Link, database_path: Path
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points of a link in the target, in the source, and their distances to the link's photo in the target."""
    nothing = np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0)
    ends = _ends(target, source, link)
    if ends is None:
        return nothing
    image_t, image_s = ends
    rows_t, rows_s = databases.verified_rows(database_path, image_t.image_id, image_s.image_id)
    pairs = [
        (target.point3D(image_t.points2D[t].point3D_id).xyz, source.point3D(image_s.points2D[s].point3D_id).xyz)
        for t, s in zip(rows_t, rows_s, strict=True)
        if image_t.points2D[t].has_point3D() and image_s.points2D[s].has_point3D()
    ]
    if not pairs:
        return nothing
    x_in_target = np.array([pair[0] for pair in pairs])
    x_in_source = np.array([pair[1] for pair in pairs])
    return x_in_target, x_in_source, np.linalg.norm(x_in_target - image_t.projection_center(), axis=1)


def _ends(
    target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, link: Link
) -> tuple[pycolmap.Image, pycolmap.Image] | None:
    """The link's photos in the target and in the source; None if it does not join the two."""
    in_target, in_source = reconstruction.registered_names(target), reconstruction.registered_names(source)
    for first, second in ((link.pair.a, link.pair.b), (link.pair.b, link.pair.a)):
        if first in in_target and first not in in_source and second in in_source and second not in in_target:
            return target.find_image_with_name(first), source.find_image_with_name(second)
    return None


def _agrees(
    similarity: Similarity, target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, link: Link
) -> bool:
    ends = _ends(target, source, link)
    if ends is None:
        return True
    image_t, image_s = ends
    cam_t = geometry.from_rigid3d(image_t.cam_from_world())
    cam_s = similarity.move_camera(geometry.from_rigid3d(image_s.cam_from_world()))
    s_from_t = cam_s.rotation @ cam_t.rotation.T
    linked = link.b_from_a.rotation if image_t.name == link.pair.a else link.b_from_a.rotation.T
    return float(geometry.rotation_angle_deg(s_from_t @ linked.T)) <= MAX_TURN_DEG
