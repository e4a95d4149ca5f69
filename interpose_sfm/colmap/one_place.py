"""Whether photos were taken from one place: then there are directions, and nothing can be triangulated.

COLMAP tells pairs of one place by a homography, which walls give as well. Of photos from one place it makes no model, a
model without points, or, where it guesses the focal length badly, a whole one with thousands of points that are not
there. So a rotation is asked for, by the focal length that suits it best.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap import databases
from interpose_sfm.colmap.constants import MAX_ERROR_PX
from interpose_sfm.products import FloatArray, ImagePair, connected_components

if TYPE_CHECKING:
    import pycolmap

ROTATION_SHARE = 0.9
"""Of the verified matches of a pair that a rotation explains, and of the pairs of photos taken from one place. Rendered
ones had 1.0 in each of 75 pairs, real ones with a way between them at most 0.49 in 306, walls 0.03."""

MIN_INLIERS = 30  # verified matches below which a pair is not asked
MAX_PAIRS = 300  # that are asked, evenly spread: a share needs no more
FOCAL_FACTORS = np.geomspace(0.4, 3.0, 60)  # of the longer side, that are tried
ROUNDS = 8  # of fitting a rotation to the matches that it explains best


def one_place_groups(database_path: Path, names: Collection[str]) -> list[frozenset[str]]:
    """Photos that verified pairs connect, of each group that was taken from one place, largest first."""
    import pycolmap

    with pycolmap.Database.open(database_path) as database:
        no_scene = databases.watermarked(database_path)  # that a stamp stays where it is says nothing of the camera
        pairs = {pair: ids for pair, ids in _pairs(database, names).items() if ids not in no_scene}
        groups = connected_components(names, pairs)
        return [group for group in groups if len(group) > 1 and _is_one_place(database, _within(pairs, group))]


def is_one_place(database_path: Path, names: Collection[str]) -> bool:
    """Whether photos were taken from one place, as far as verified pairs connect all of them."""
    return one_place_groups(database_path, names) == [frozenset(names)]


def _pairs(database: pycolmap.Database, names: Collection[str]) -> dict[ImagePair, tuple[int, int]]:
    """Verified pairs of enough matches, with their image ids."""
    name_of = {image.image_id: image.name for image in database.read_all_images() if image.name in names}
    return {
        ImagePair.sorted(name_of[ids[0]], name_of[ids[1]]): ids
        for ids, count in databases.num_verified(database).items()
        if count >= MIN_INLIERS and name_of.keys() >= set(ids)
    }


def _within(pairs: dict[ImagePair, tuple[int, int]], group: Collection[str]) -> list[tuple[int, int]]:
    return [ids for pair, ids in pairs.items() if pair.a in group and pair.b in group]


def _is_one_place(database: pycolmap.Database, every: Sequence[tuple[int, int]]) -> bool:
    pairs = [every[index] for index in np.linspace(0, len(every) - 1, min(len(every), MAX_PAIRS)).astype(int)]
    num_other = 0
    for ids in pairs:
        num_other += _rotation_share(database, *ids) < ROTATION_SHARE
        if num_other > (1 - ROTATION_SHARE) * len(pairs):  # soon, for all but photos of one place
            return False
    return True


def _rotation_share(database: pycolmap.Database, id_a: int, id_b: int) -> float:
    """Share of a pair's verified matches that one rotation explains, by the known focal lengths or the best one."""
    import pycolmap

    rows = database.read_two_view_geometry(id_a, id_b).inlier_matches
    points_px = [
        np.asarray(database.read_keypoints(image_id), np.float64)[rows[:, side], :2]
        for side, image_id in enumerate((id_a, id_b))
    ]
    cameras = [database.read_camera(database.read_image(image_id).camera_id) for image_id in (id_a, id_b)]
    share = _explained(points_px, cameras)
    if share >= ROTATION_SHARE:
        return share
    ransac = pycolmap.RANSACOptions(max_error=MAX_ERROR_PX, random_seed=0)
    homography = pycolmap.estimate_homography_matrix(points_px[0], points_px[1], ransac)
    if homography is None:
        return share
    focal_px = _rotation_focal_px(np.asarray(homography["H"]), cameras[0])
    fitted = [pycolmap.Camera.create_from_model_name(1, "SIMPLE_PINHOLE", focal_px, c.width, c.height) for c in cameras]
    return max(share, _explained(points_px, fitted))


def _rotation_focal_px(homography: FloatArray, camera: pycolmap.Camera) -> float:
    """The focal length by which a homography is nearest to a rotation."""
    focals_px = FOCAL_FACTORS * max(camera.width, camera.height)
    matrices = np.zeros((len(focals_px), 3, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = focals_px
    matrices[:, :, 2] = camera.width / 2, camera.height / 2, 1
    values = np.linalg.svd(np.linalg.inv(matrices) @ homography @ matrices, compute_uv=False)
    return float(focals_px[np.argmin(values[:, 0] / values[:, 2])])


def _explained(points_px: list[FloatArray], cameras: list[pycolmap.Camera]) -> float:
    """Share of correspondences that the rotation which explains most of them explains."""
    points = [np.asarray(camera.cam_from_img(px)) for camera, px in zip(cameras, points_px, strict=True)]
    is_known = np.all(np.isfinite(np.concatenate(points, axis=1)), axis=1)  # not beyond what a lens model can undo
    if np.count_nonzero(is_known) < ROTATION_SHARE * len(is_known):
        return 0.0
    rays_a, rays_b = (geometry.unit_vectors(np.pad(p[is_known], ((0, 0), (0, 1)), constant_values=1)) for p in points)
    focal_px = np.mean([camera.mean_focal_length() for camera in cameras])
    is_kept = np.ones(len(rays_a), bool)
    for _ in range(ROUNDS):
        rotation = geometry.nearest_rotation(rays_b[is_kept].T @ rays_a[is_kept])
        errors_px = np.linalg.norm(rays_b - rays_a @ rotation.T, axis=1) * focal_px
        is_kept = errors_px <= np.quantile(errors_px, ROTATION_SHARE)
    return float(np.count_nonzero(errors_px < MAX_ERROR_PX) / len(is_known))
