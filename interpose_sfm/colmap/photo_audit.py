"""What COLMAP's own matches say for and against the photos of a model. Nothing is matched and no network runs.

A photo that look-alike structure has put in a wrong place fits the points that put it there, but few of all its
matches fit its pose, and its pairs by themselves would have another one. So the matches of a pair that agree with the
model are held against those that verification kept for the pair alone. Both are counts over the same matches: no number
of points, density or angle enters that a kind of photos could have more of than another.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap import databases
from interpose_sfm.colmap.constants import MIN_VERIFIED_MATCHES
from interpose_sfm.products import FloatArray, Pose

if TYPE_CHECKING:
    import pycolmap

AGREE_PX = 2.0
"""Distance from the epipolar line within which a match agrees with an adjusted model. Tighter than COLMAP's
verification (4 px), so that a wrong pose gets little by luck."""

NUM_PAIRS = 4  # of a photo that are asked, those with most verified matches

MIN_AGREEING_RATIO = 0.55
"""Matches of a photo's pairs that agree with the model, per verified one, below which they refute the photo. Measured
on COLMAP's models of seven collections: wrong photos had at most 0.48, right ones at least 0.61; without castle-P30,
which most of the wrong ones are of, 0.50 and 0.75."""


@dataclass(frozen=True)
class PhotoSupport:
    """What the strongest pairs of a photo say together.

    Attributes:
        num_agreeing: Matches that agree with the model's poses.
        num_verified: Matches that verification kept, of each pair alone.
    """

    num_agreeing: int
    num_verified: int

    @property
    def is_refuted(self) -> bool:
        """Whether the matches speak for another pose; a photo without a pair of enough matches is not."""
        return self.num_agreeing < MIN_AGREEING_RATIO * self.num_verified


@dataclass(frozen=True)
class _Pair:
    """Two registered images and the number of their verified matches."""

    a: pycolmap.Image
    b: pycolmap.Image
    num_verified: int


def refuted_photos(
    database_path: Path, model: pycolmap.Reconstruction, agree_px: float = AGREE_PX
) -> dict[str, PhotoSupport]:
    """Photos of a model that its database's matches refute.

    Args:
        database_path: What the model was made from.
        model: It may lack key points that the database has gained since.
        agree_px: Distance within which a match agrees; wider for learned key points.
    """
    supports = photo_supports(database_path, model, agree_px)
    return {name: support for name, support in supports.items() if support.is_refuted}


def photo_supports(
    database_path: Path, model: pycolmap.Reconstruction, agree_px: float = AGREE_PX
) -> dict[str, PhotoSupport]:
    """Of every registered photo that has a pair of enough verified matches within the model."""
    import pycolmap

    with pycolmap.Database.open(database_path) as database:
        pairs_of = _strongest_pairs(database, model)
        keypoints: dict[int, FloatArray] = {}
        agreeing: dict[tuple[int, int], int] = {}
        supports = {}
        for name, pairs in pairs_of.items():
            for pair in pairs:
                ids = pair.a.image_id, pair.b.image_id
                if ids not in agreeing:
                    for image_id in set(ids) - keypoints.keys():
                        keypoints[image_id] = np.asarray(database.read_keypoints(image_id), np.float64)[:, :2]
                    rows = np.asarray(database.read_matches(*ids))
                    points_px = keypoints[ids[0]][rows[:, 0]], keypoints[ids[1]][rows[:, 1]]
                    agreeing[ids] = _num_agreeing(model, pair, points_px, agree_px)
            supports[name] = PhotoSupport(
                sum(agreeing[pair.a.image_id, pair.b.image_id] for pair in pairs),
                sum(pair.num_verified for pair in pairs),
            )
    return supports


def _strongest_pairs(database: pycolmap.Database, model: pycolmap.Reconstruction) -> dict[str, list[_Pair]]:
    images = {image_id: image for image_id, image in model.images.items() if image.has_pose}
    pairs_of: dict[str, list[_Pair]] = {}
    for ids, num_verified in databases.num_verified(database).items():
        if num_verified < MIN_VERIFIED_MATCHES or not images.keys() >= set(ids) or not database.exists_matches(*ids):
            continue
        pair = _Pair(images[ids[0]], images[ids[1]], num_verified)
        for image in (pair.a, pair.b):
            pairs_of.setdefault(image.name, []).append(pair)
    return {name: sorted(pairs, key=lambda pair: -pair.num_verified)[:NUM_PAIRS] for name, pairs in pairs_of.items()}


def _num_agreeing(
    model: pycolmap.Reconstruction, pair: _Pair, points_px: tuple[FloatArray, FloatArray], agree_px: float
) -> int:
    """Matches near the epipolar lines of the model's poses (Sampson), and in front of both cameras."""
    poses = [geometry.from_rigid3d(image.cam_from_world()) for image in (pair.a, pair.b)]
    b_from_a = geometry.relative_pose(poses[1], poses[0])
    length = float(np.linalg.norm(b_from_a.translation))
    if length == 0:
        return 0
    b_from_a = Pose(b_from_a.rotation, b_from_a.translation / length)
    cameras = [model.camera(image.camera_id) for image in (pair.a, pair.b)]
    rays_a, rays_b = (
        np.column_stack([np.asarray(camera.cam_from_img(px)), np.ones(len(px))])
        for camera, px in zip(cameras, points_px, strict=True)
    )
    essential = np.cross(np.eye(3), b_from_a.translation).T @ b_from_a.rotation
    lines_b, lines_a = rays_a @ essential.T, rays_b @ essential
    normal = np.sum(lines_a[:, :2] ** 2, axis=1) + np.sum(lines_b[:, :2] ** 2, axis=1)
    focal_px = np.mean([camera.mean_focal_length() for camera in cameras])
    is_near = np.sum(rays_b * lines_b, axis=1) ** 2 <= (agree_px / focal_px) ** 2 * normal
    points = geometry.triangulate(b_from_a, rays_a, rays_b)
    return int(np.count_nonzero(is_near & (points.depths_a > 0) & (points.depths_b > 0)))


def removable(
    model: pycolmap.Reconstruction, thin: Collection[str], refuted: Collection[str], min_size: int
) -> frozenset[str]:
    """Thinly held photos that are refuted; none if hardly any others would be left.

    A refuted photo of many points is another matter: it stands where the model is broken, and to take it out would
    leave the parts of the model in their wrong places.
    """
    photos = frozenset(thin) & frozenset(refuted)
    return photos if model.num_reg_images() - len(photos) >= min_size else frozenset()
