"""What the points of two models say of their scales: lengths of baselines, and photos or points that both hold."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap import reconstruction
from interpose_sfm.geometry import Similarity
from interpose_sfm.joining import guessed_lengths
from interpose_sfm.joining.ties import Length, Overlap
from interpose_sfm.products import DepthSamples, FloatArray, IndexArray, Intrinsics, Link

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

NEAR_PX = 3.0  # key points this close lie on one surface but at the edges of things, which the median forgives
MIN_DEPTHS = 8  # so that three wrong ones do not move a median by more than its spread
GUESS_SIGMA = 0.1  # of a length by depths that a network guesses, as a share; those of good ones err by less
MAX_LENGTH_SIGMA = 0.25  # of a measured length: what is less sure leaves models apart, and a guess is better
MIN_PARALLAX_DEG = 1.0  # below, the depth of a key point that is one pixel off is anything
MIN_PHOTO_POINTS = 30  # that a model's pose of a photo rests on; COLMAP registers photos with as many
MIN_COMMON_POINTS = 12  # a similarity has 7 degrees of freedom, 3 points fix it: four times that leave no chance
MIN_COMMON_SHARE = 0.5  # of common points that agree; COLMAP merges models at 0.3
MAX_REPROJECTION_PX = 8.0  # of points of one model in the photos of the other, as where COLMAP merges models
MAX_DISTANCE_SHARE = 0.03  # of the distance to the camera: depths from few degrees of parallax are that exact
SCALE_SIGMA, POSITION_SIGMA, ROTATION_SIGMA_DEG = 0.02, 0.01, 0.5
"""Overlaps count as no surer: models of a handful of photos bend by as much. The position's is a share of the depth."""


# ---------------------------------------------------------------- lengths of baselines


@dataclass(frozen=True)
class BaselineLength:
    """The baseline of a link, measured by the depths of a model.

    Attributes:
        length: In the unit of the model; None where too few depths are at hand.
        num_depths: Key points of the link with a depth in the model.
    """

    length: Length | None
    num_depths: int


def link_depths(model: pycolmap.Reconstruction, links: Sequence[Link]) -> dict[str, tuple[DepthSamples, ...]]:
    """Depths that links within a model add to its points, by photo, in the unit of the model.

    A photo that a clip ties to the model has depths from the clip's frames where the model has no points.
    """
    centers = {image.name: np.asarray(image.projection_center()) for image in model.images.values() if image.has_pose}
    depths: dict[str, tuple[DepthSamples, ...]] = {}
    for link in links:
        a, b = link.pair.a, link.pair.b
        if a in centers and b in centers:
            length = float(np.linalg.norm(centers[a] - centers[b]))
            for name, samples in ((a, link.seen_a), (b, link.seen_b)):
                depths[name] = (*depths.get(name, ()), samples.scaled(length))
    return depths


def baseline_length(
    model: pycolmap.Reconstruction,
    name: str,
    link: Link,
    cameras: Mapping[str, Intrinsics],
    further: Sequence[DepthSamples] = (),
) -> BaselineLength:
    """Measure a link's baseline by one of its photos, which a model holds.

    The link has depths in units of its baseline, from the frames of a clip or from its correspondences; the model's
    points at the same places of the photo have depths in the model's unit. The ratio is the length. Its uncertainty is
    that of the median, and that of the link's own pose, which bends all depths alike: those of correspondences by its
    spread over the angle between the rays. Where nothing measured says enough, a pose network's guesses do: depths, and
    the poses of photos beside the link's.

    Args:
        name: Photo of the link that the model holds.
        cameras: Of both photos.
        further: Depths in the photo, in the unit of the model, beyond those of its points.

    Raises:
        ValueError: The photo is not one of the link's.
    """
    pair = link.pair
    if name not in (pair.a, pair.b):
        raise ValueError(f"got photo {name!r}, expected one of {pair.a!r} and {pair.b!r}")
    seen_px, seen_depths = reconstruction.observed_depths(model, name)
    seen_px = np.concatenate([seen_px, *(samples.points_px for samples in further)])
    seen_depths = np.concatenate([seen_depths, *(samples.depths for samples in further)])
    samples = link.seen_a if name == pair.a else link.seen_b
    nearest = _nearest(samples.points_px, seen_px)
    if np.count_nonzero(nearest >= 0) >= MIN_DEPTHS:  # from several views, and so surer than those of the two photos
        return _length(seen_depths[nearest[nearest >= 0]], samples.depths[nearest >= 0], np.radians(link.spread_deg))
    samples, angle_deg = _two_view_depths(link, name, cameras)
    nearest = _nearest(samples.points_px, seen_px)
    number = int(np.count_nonzero(nearest >= 0))
    measured = BaselineLength(None, number)
    if number >= MIN_DEPTHS:
        bend = link.spread_deg / angle_deg
        measured = _length(seen_depths[nearest[nearest >= 0]], samples.depths[nearest >= 0], bend)
    if measured.length is not None and measured.length.sigma <= MAX_LENGTH_SIGMA:
        return measured
    guessed = link.guessed_a if name == pair.a else link.guessed_b
    nearest = _nearest(guessed.points_px, seen_px)
    by_depths = None
    if np.count_nonzero(nearest >= 0) >= MIN_DEPTHS:
        by_depths = _length(seen_depths[nearest[nearest >= 0]], guessed.depths[nearest >= 0], GUESS_SIGMA).length
    guess = guessed_lengths.agreed(by_depths, guessed_lengths.length_by_poses(model, name, link))
    return measured if guess is None else BaselineLength(guess, number)


def _length(in_model: FloatArray, in_baselines: FloatArray, bend: float) -> BaselineLength:
    value, sigma = _median_ratio(in_model, in_baselines)
    return BaselineLength(Length(value, float(np.hypot(sigma, bend))), len(in_model))


def _two_view_depths(link: Link, name: str, cameras: Mapping[str, Intrinsics]) -> tuple[DepthSamples, float]:
    """Depths of a link's correspondences in one of its photos, in baselines, and the median angle of their rays."""
    pair = link.pair
    rays_a = geometry.pixel_to_ray(link.points_a_px, cameras[pair.a])
    rays_b = geometry.pixel_to_ray(link.points_b_px, cameras[pair.b])
    points = geometry.triangulate(link.b_from_a, rays_a, rays_b)
    angles_deg = geometry.triangulation_angles_deg(link.b_from_a, points.x_in_a)
    is_usable = (points.depths_a > 0) & (points.depths_b > 0) & (angles_deg >= MIN_PARALLAX_DEG)
    if not np.any(is_usable):
        return DepthSamples(), 180.0
    points_px, depths = (link.points_a_px, points.depths_a) if name == pair.a else (link.points_b_px, points.depths_b)
    return DepthSamples(points_px[is_usable], depths[is_usable]), float(np.median(angles_deg[is_usable]))


def points_at(model: pycolmap.Reconstruction, name: str, points_px: FloatArray) -> tuple[IndexArray, FloatArray]:
    """Which of some positions in a photo have a point in the model within NEAR_PX, and the (n, 3) points of these."""
    image = model.find_image_with_name(name)
    observed = [point for point in image.points2D if point.has_point3D()]
    nearest = _nearest(points_px, np.array([point.xy for point in observed]).reshape(-1, 2))
    rows = np.flatnonzero(nearest >= 0).astype(np.uint32)
    x_in_world = [model.point3D(observed[nearest[row]].point3D_id).xyz for row in rows]
    return rows, np.array(x_in_world).reshape(-1, 3)


def _nearest(points_px: FloatArray, seen_px: FloatArray) -> IndexArray:
    """(n,) row of the nearest seen key point, -1 where none is within NEAR_PX."""
    from scipy.spatial import cKDTree

    if len(points_px) == 0 or len(seen_px) == 0:
        return np.full(len(points_px), -1)
    distances, rows = cKDTree(seen_px).query(points_px, distance_upper_bound=NEAR_PX)
    return np.where(np.isfinite(distances), rows, -1)


def _median_ratio(numerators: FloatArray, denominators: FloatArray) -> tuple[float, float]:
    """Median of ratios, and its one-sigma uncertainty as a share, from the median absolute deviation."""
    logs = np.log(numerators / denominators)
    middle = float(np.median(logs))
    # A median of normal errors is sqrt(pi / 2) less sure than a mean.
    sigma = 1.4826 * float(np.median(np.abs(logs - middle))) * np.sqrt(np.pi / 2 / len(logs))
    return float(np.exp(middle)), max(float(sigma), SCALE_SIGMA)


# ---------------------------------------------------------------- photos that both hold


def photo_overlap(target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, name: str) -> Overlap | None:
    """What a photo that both models hold says of the similarity between them.

    Its two poses give rotation and position, the depths that both models have at the same places of it the scale. That
    counts only if the points confirm it: points of one model, moved into the other, have to reproject into photos of
    the other that see them, both ways. Where the models have too few places in common, the scale is left open.

    Returns:
        None where either model holds the photo by too few points, or the points disagree.
    """
    images = target.find_image_with_name(name), source.find_image_with_name(name)
    if min(image.num_points3D for image in images) < MIN_PHOTO_POINTS:
        return None
    pose_t, pose_s = (geometry.from_rigid3d(image.cam_from_world()) for image in images)
    rotation = pose_t.rotation.T @ pose_s.rotation
    centers = pose_t.inverse().translation, pose_s.inverse().translation
    (seen_px, depths_t), (other_px, depths_s) = (
        reconstruction.observed_depths(model, name) for model in (target, source)
    )
    position_sigma = POSITION_SIGMA * float(np.median(depths_t))
    nearest = _nearest(other_px, seen_px)
    is_near = nearest >= 0
    scale = None
    if np.count_nonzero(is_near) >= MIN_COMMON_POINTS:
        value, sigma = _median_ratio(depths_t[nearest[is_near]], depths_s[is_near])
        similarity = Similarity(value, rotation, centers[0] - value * rotation @ centers[1])
        shares = (
            _reprojecting(target, source, name, similarity),
            _reprojecting(source, target, name, similarity.inverse()),
        )
        if min(shares) < MIN_COMMON_SHARE:
            logger.info("both models hold %s, but only %.0f %% of its points agree", name, 100 * min(shares))
            return None
        scale = Length(value, sigma)
    return Overlap(f"the photo {name}", rotation, ROTATION_SIGMA_DEG, *centers, position_sigma, scale)


def _reprojecting(
    target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, name: str, target_from_source: Similarity
) -> float:
    """Share of the target's observations in other photos that common points of the source, moved, reproject to."""
    image_t, image_s = target.find_image_with_name(name), source.find_image_with_name(name)
    common = [
        (point_t.point3D_id, point_s.point3D_id)
        for point_t, point_s in zip(image_t.points2D, image_s.points2D, strict=False)
        if point_t.has_point3D() and point_s.has_point3D() and np.linalg.norm(point_t.xy - point_s.xy) < NEAR_PX
    ]
    is_near = []
    for target_id, source_id in common:
        moved = target_from_source.apply(np.asarray(source.point3D(source_id).xyz))
        for element in target.point3D(target_id).track.elements:
            image = target.image(element.image_id)
            if image.name == name or not image.has_pose:
                continue
            seen_px = image.project_point(moved)
            observed_px = image.points2D[element.point2D_idx].xy
            is_near.append(seen_px is not None and bool(np.linalg.norm(seen_px - observed_px) <= MAX_REPROJECTION_PX))
    return float(np.mean(is_near)) if is_near else 0.0


# ---------------------------------------------------------------- points that both hold


def point_overlap(
    name: str, x_in_target: FloatArray, x_in_source: FloatArray, distances: FloatArray, seed: int
) -> Overlap | None:
    """What points that both models have triangulated say of the similarity between them.

    Args:
        name: For reports.
        x_in_target, x_in_source: (n, 3) the same points in either model.
        distances: (n,) of the points from a photo that sees them, in the target.
        seed: Of RANSAC.

    Returns:
        None where there are too few, or too few agree on one similarity.
    """
    import pycolmap

    if len(x_in_target) < MIN_COMMON_POINTS:
        return None
    max_error = MAX_DISTANCE_SHARE * float(np.median(distances))
    options = pycolmap.RANSACOptions(max_error=max_error, random_seed=seed, num_threads=1)
    # A dictionary, whatever its type hint says.
    robust: dict[str, object] | None = pycolmap.estimate_sim3d_robust(x_in_source, x_in_target, options)  # type: ignore[assignment]
    if robust is None:
        return None
    agree = np.asarray(robust["inlier_mask"], bool)
    if np.count_nonzero(agree) < max(MIN_COMMON_POINTS, MIN_COMMON_SHARE * len(agree)):
        return None
    return _fitted_overlap(name, x_in_target[agree], x_in_source[agree], float(np.median(distances)))


def _fitted_overlap(name: str, x_in_target: FloatArray, x_in_source: FloatArray, distance: float) -> Overlap:
    """Least squares over points that agree; uncertainties from how far they miss and how far apart they lie."""
    similarity = geometry.fit_similarity(x_in_source, x_in_target)
    middle_t, middle_s = x_in_target.mean(axis=0), x_in_source.mean(axis=0)
    error = float(np.sqrt(np.mean((similarity.apply(x_in_source) - x_in_target) ** 2) / len(x_in_target)))
    extents = np.linalg.svd(x_in_target - middle_t, compute_uv=False) / np.sqrt(len(x_in_target))
    return Overlap(
        name,
        similarity.rotation,
        max(ROTATION_SIGMA_DEG, float(np.degrees(error / extents[1]))),  # about the longest axis
        middle_t,
        middle_s,
        max(POSITION_SIGMA * distance, error),
        Length(similarity.scale, max(SCALE_SIGMA, error / float(np.linalg.norm(extents)))),
    )
