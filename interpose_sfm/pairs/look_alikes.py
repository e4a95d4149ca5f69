"""Whether a model folds look-alike sides of a thing onto one another, by COLMAP's own matches. Nothing is matched.

An object that looks alike from two sides matches itself as rigidly as the truth, so photos from both sides stand at
nearly one place in the model, and everything around the object differs. What should match there and does not (missing
correspondences: Zach et al. 2008, Heinly et al. 2014, Yan et al. 2017) is asked of pairs only that the model puts at
nearly one view, where SIFT has no excuse, and of key points only that third photos confirm from farther away: what
moves, grows, or is too faint to match over such a way is matched by no photo at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from interpose_sfm import geometry
from interpose_sfm.colmap import databases
from interpose_sfm.colmap.constants import MIN_VERIFIED_MATCHES
from interpose_sfm.matching import agreement
from interpose_sfm.matching.silence import (
    MAX_SCALE,
    NEAREST_QUANTILE,
    NUM_DEPTHS,
    are_inside,
    are_near,
    grain_px,
)
from interpose_sfm.products import FloatArray, ImagePair, IndexArray, Intrinsics, LookAlike, Pose

if TYPE_CHECKING:
    import pycolmap

MAX_ANGLE_DEG = 15.0
"""Between the rays of two photos to a point, whatever its depth, up to which the point is asked for. SIFT matches to
about twice that."""

MIN_SHARE = 0.25
"""Of the matchable parts of either photo that is silent, above which a pair is suspected. Both are counts of patches of
the same photo, so texture and resolution cancel (``docs/links.md`` has the measurement)."""

MIN_PATCHES = 5  # that are silent in either photo: below, a share is of too few
MIN_SEPARATE_PAIRS = 2  # suspected ones without a photo in common: a photo in a wrong place is not a fold
MIN_PAIR_SHARE = 0.05  # of the pairs at nearly one view that are suspected: large collections have odd pairs
MAX_PAIRS = 2000  # that are asked, evenly spread: a share needs no more


@dataclass(frozen=True)
class _View:
    """A registered photo.

    Attributes:
        rays: Unit rays of its key points.
        depths: Of the key points that are points of the model, along the rays; NaN for others.
        nearest: Depth beyond which nearly all points of the model lie.
        confirmed_from: Distance of the farthest photo of the model with which the key point is verified; 0 for none.
    """

    name: str
    pose: Pose
    intrinsics: Intrinsics
    keypoints_px: FloatArray
    rays: FloatArray
    depths: FloatArray
    nearest: float
    confirmed_from: FloatArray

    @property
    def grain_px(self) -> float:
        """See `silence.grain_px`."""
        return grain_px((self.intrinsics.width_px, self.intrinsics.height_px))


def look_alikes(database_path: Path, model: pycolmap.Reconstruction) -> tuple[LookAlike, ...]:
    """Pairs for which a model is suspected to be folded, worst first.

    Args:
        database_path: What the model was made from.
        model: It may have key points that the database lacks, and lack some that the database has gained since.

    Returns:
        None where there are so few that the model is not suspected.
    """
    found, num_asked = silent_pairs(database_path, model)
    if len(found) < MIN_PAIR_SHARE * num_asked or len(separate(found)) < MIN_SEPARATE_PAIRS:
        return ()
    return found


def silent_pairs(database_path: Path, model: pycolmap.Reconstruction) -> tuple[tuple[LookAlike, ...], int]:
    """Pairs that the model puts at nearly one view and that show different surroundings, worst first.

    Args:
        database_path, model: As of `look_alikes`.

    Returns:
        These pairs, and how many were asked.
    """
    import pycolmap

    with pycolmap.Database.open(database_path) as database:
        verified = verified_pairs(database, {i.image_id for i in model.images.values() if i.has_pose})
        views = _views(database, model, verified)
        asked = [ids for ids in verified if ids[0] in views and ids[1] in views and _is_close(views, ids)]
        asked = [asked[index] for index in np.linspace(0, len(asked) - 1, min(len(asked), MAX_PAIRS)).astype(int)]
        num_asked, found = 0, []
        for ids in asked:
            matches = np.asarray(database.read_matches(*ids)) if database.exists_matches(*ids) else verified[ids]
            share = _silent_share(views[ids[0]], views[ids[1]], matches)
            num_asked += share is not None
            if share is not None and share > MIN_SHARE:
                pair = ImagePair.sorted(*(views[image_id].name for image_id in ids))
                found.append(LookAlike(pair, share, len(verified[ids])))
    return tuple(sorted(found, key=lambda one: (-one.silent_share, one.pair))), num_asked


def verified_pairs(database: pycolmap.Database, image_ids: Collection[int]) -> dict[tuple[int, int], IndexArray]:
    """Verified matches, (n, 2) rows of key points, of every verified pair of these images."""
    return {
        ids: np.asarray(database.read_two_view_geometry(*ids).inlier_matches)
        for ids, count in databases.num_verified(database).items()
        if count >= MIN_VERIFIED_MATCHES and set(ids) <= set(image_ids)
    }


def _views(
    database: pycolmap.Database, model: pycolmap.Reconstruction, verified: Mapping[tuple[int, int], IndexArray]
) -> dict[int, _View]:
    """The registered photos that see points of the model."""
    views = {}
    for image in model.images.values():
        if not image.has_pose or not image.num_points3D:
            continue
        keypoints_px = np.asarray(database.read_keypoints(image.image_id), np.float64)[:, :2]
        pose = geometry.from_rigid3d(image.cam_from_world())
        intrinsics = geometry.from_colmap_camera(model.camera(image.camera_id), is_trusted=True)
        depths = np.full(len(keypoints_px), np.nan)
        # what links have added is behind what the database has
        rows = [row for row, point in enumerate(image.points2D[: len(keypoints_px)]) if point.has_point3D()]
        x_in_world = np.array([model.points3D[image.points2D[row].point3D_id].xyz for row in rows])
        depths[rows] = np.linalg.norm(x_in_world @ pose.rotation.T + pose.translation, axis=1)
        views[image.image_id] = _View(
            image.name,
            pose,
            intrinsics,
            keypoints_px,
            geometry.unit_rays(keypoints_px, intrinsics),
            depths,
            float(np.quantile(depths[rows], NEAREST_QUANTILE)),
            np.zeros(len(keypoints_px)),
        )
    _confirm(views, model, verified)
    return views


def _confirm(
    views: Mapping[int, _View], model: pycolmap.Reconstruction, verified: Mapping[tuple[int, int], IndexArray]
) -> None:
    """Note at the key points of the views how far away the photos are with which they are verified."""
    poses = {i.image_id: geometry.from_rigid3d(i.cam_from_world()) for i in model.images.values() if i.has_pose}
    for ids, matches in verified.items():
        distance = np.linalg.norm(geometry.relative_pose(poses[ids[1]], poses[ids[0]]).translation)
        for side, image_id in enumerate(ids):
            if image_id in views:
                noted, rows = views[image_id].confirmed_from, matches[:, side]
                noted[rows] = np.maximum(noted[rows], distance)


def _is_close(views: Mapping[int, _View], ids: tuple[int, int]) -> bool:
    """Whether a key point of either photo can be asked for at all: the longest side of the widest triangle there is."""
    a, b = views[ids[0]], views[ids[1]]
    longest = np.sqrt(1 + MAX_SCALE**2 - 2 * MAX_SCALE * np.cos(np.radians(MAX_ANGLE_DEG)))
    baseline = np.linalg.norm(geometry.relative_pose(b.pose, a.pose).translation)
    return bool(baseline <= longest * min(a.nearest, b.nearest))


def _silent_share(a: _View, b: _View, matches: IndexArray) -> float | None:
    """Of the patches of either photo that should match in the other, those that do not; the lower of both photos.

    Both, since a thing in front of the scene silences one photo and not the other. None where too few matches agree
    with the model for the pair to be of its making.
    """
    b_from_a = geometry.relative_pose(b.pose, a.pose)
    baseline = float(np.linalg.norm(b_from_a.translation)) * (1 + 1e-6)  # so that neither confirms the other
    within_rad = max(
        agreement.tolerance_px((view.intrinsics.width_px, view.intrinsics.height_px)) / view.intrinsics.focal_px
        for view in (a, b)
    )
    mask = agreement.agree(
        geometry.with_unit_translation(b_from_a), a.rays[matches[:, 0]], b.rays[matches[:, 1]], within_rad
    ).mask
    if np.count_nonzero(mask) < MIN_VERIFIED_MATCHES:
        return None
    shares = []
    for side, here, there, there_from_here in ((0, a, b, b_from_a), (1, b, a, b_from_a.inverse())):
        matched = np.unique(matches[mask, side])
        silent = (here.confirmed_from > baseline) & _is_asked_for(here, there, there_from_here)
        silent &= ~are_near(here.keypoints_px, here.keypoints_px[matched], here.grain_px)
        num_silent, num_matched = (_num_patches(here, rows) for rows in (silent, matched))
        shares.append(num_silent / (num_silent + num_matched) if num_silent >= MIN_PATCHES else 0.0)
    return min(shares)


def _num_patches(view: _View, rows: IndexArray | NDArray[np.bool_]) -> int:
    """Squares of the picture's grain that hold key points: texture is not to count by its density."""
    return len(np.unique(np.floor(view.keypoints_px[rows] / view.grain_px).astype(int), axis=0))


def _is_asked_for(here: _View, there: _View, there_from_here: Pose) -> NDArray[np.bool_]:
    """(n,) which key points the other photo must show at nearly the same angle and scale.

    At its own depth where the model has it, and at all depths from the nearest of the photo on: a folded model has
    depths for few of the points that give it away, and wrong ones.
    """
    turned = here.rays @ there_from_here.rotation.T

    def is_shown(inverse_depths: FloatArray) -> NDArray[np.bool_]:
        x_in_there = turned + inverse_depths[:, None] * there_from_here.translation
        scale = np.linalg.norm(x_in_there, axis=1)  # distance there / distance here
        cosine = np.sum(turned * x_in_there, axis=1) / np.maximum(scale, 1e-9)
        is_alike = (scale > 1 / MAX_SCALE) & (scale < MAX_SCALE) & (cosine > np.cos(np.radians(MAX_ANGLE_DEG)))
        return np.asarray(are_inside(x_in_there, there.intrinsics) & is_alike)

    asked = is_shown(np.where(np.isnan(here.depths), 0.0, 1 / np.where(here.depths > 0, here.depths, np.inf)))
    for inverse_depth in np.linspace(0.0, 1 / here.nearest, NUM_DEPTHS):
        asked &= is_shown(np.full(len(turned), inverse_depth))
    return asked


def separate(found: Sequence[LookAlike]) -> list[LookAlike]:
    """Those, picked in their order, no two of which have a photo in common."""
    seen: set[str] = set()
    picked = []
    for one in found:
        if not seen & {one.pair.a, one.pair.b}:
            seen |= {one.pair.a, one.pair.b}
            picked.append(one)
    return picked
