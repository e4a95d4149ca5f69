"""One bundle adjustment of a joined model in which links are residuals next to the reprojection errors.

A link gives rotation and direction, weighted by its spread. The length of its baseline is free where points hold both
photos together. Where only links do, lengths and sizes stay near what the join found from directions and depths: were
they free, the depths would be forgotten, and errors of direction would pull photos together, since a short baseline
that is off by an angle is off by little.
Real correspondences win: a prior that they contradict is dropped, and a model that got worse is not kept.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap import reconstruction
from interpose_sfm.colmap.constants import MIN_VERIFIED_MATCHES
from interpose_sfm.geometry import link_errors_deg
from interpose_sfm.joining.ties import MIN_SPREAD_DEG
from interpose_sfm.products import FloatArray, ImagePair, Link, Pose, connected_components
from interpose_sfm.registry import MissingDependencyError

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

FREE_LENGTH_SIGMA = 1.0  # of the length of a baseline that points know, as a share: they decide
HELD_LENGTH_SIGMA = 0.02  # of one that only links know: the join has weighed all that is said of it already
ROBUST_SIGMAS = 3.0  # Cauchy's scale: six out of seven right links, whose five errors add up, lie within it
DROP_SIGMAS = 4.0  # of a rotation with three axes, one in a thousand is larger
MIN_COMMON_POINTS = MIN_VERIFIED_MATCHES  # that tie two photos to each other
MAX_LENGTH_CHANGE = 0.05  # of a baseline, before its prior is written anew with the length it has by then
MAX_ROUNDS = 10  # of adjusting anew; lengths settle in two or three
MAX_WORSE_SHARE, MAX_WORSE_PX = 0.1, 0.1  # by which priors may raise a base model's error, which noise does as well
MAX_BASE_TURN_DEG = 5.0  # a model whose photos turn further among themselves has gone wrong


@dataclass(frozen=True)
class AdjustedLink:
    """What became of a link in the adjustment.

    Attributes:
        pair: The photos.
        b_from_a: Rotation and unit translation in the adjusted model; None if that lacks a photo.
        spread_deg: Of the link.
        rotation_deg, direction_deg: By how much the adjusted model misses the link; NaN if it lacks a photo.
        is_kept: Whether the link is part of the adjusted model.
        detail: Why not, in a sentence.
        is_contradicted: Whether it is left out because the points say otherwise. A link of a photo that sees no point
            is left out as well, but nothing speaks against it.
    """

    pair: ImagePair
    b_from_a: Pose | None
    spread_deg: float
    rotation_deg: float
    direction_deg: float
    is_kept: bool
    detail: str = ""
    is_contradicted: bool = False


@dataclass(frozen=True)
class Adjustment:
    """An adjusted model.

    Attributes:
        model: The adjusted copy, or the model as it was where the adjustment made it worse.
        links: In the order of the input.
        is_adjusted: False if the model is as it was.
        detail: Why it is.
        error_before_px, error_after_px: Mean reprojection errors.
    """

    model: pycolmap.Reconstruction
    links: tuple[AdjustedLink, ...]
    is_adjusted: bool
    detail: str
    error_before_px: float
    error_after_px: float


def adjust(
    model: pycolmap.Reconstruction,
    links: Sequence[Link],
    *,
    bases: Sequence[Collection[str]] = (),
    held: Collection[str] = (),
    mapper: pycolmap.IncrementalPipelineOptions | None = None,
    num_threads: int = 1,
) -> Adjustment:
    """Adjust poses, points and cameras to reprojection errors and links together.

    Args:
        model: A joined model, triangulated; it is not changed.
        links: Accepted links; those without both photos in the model are passed over.
        bases: Photos of each base model, which must not get worse among themselves.
        held: Photos whose poses stay as they are.
        mapper: Says which intrinsics are refined, as in COLMAP's own adjustments.
        num_threads: With one, equal input gives equal output.

    Raises:
        MissingDependencyError: pyceres is not installed.
    """
    import pycolmap

    pyceres = load_pyceres()
    mapper = mapper or pycolmap.IncrementalPipelineOptions()
    before = pycolmap.Reconstruction(model)
    before.update_point_3d_errors()
    adjusted = pycolmap.Reconstruction(model)
    dropped: dict[int, str] = {i: why for i, link in enumerate(links) if (why := _unusable(adjusted, link))}
    refuted: set[int] = set()
    groups = groups_by_points(before)
    group_of = {name: group for group in groups for name in group}
    sizes = [_size_prior(before, group) for group in groups if len(groups) > 1 and len(group) > 1]

    def tied(link: Link) -> bool:
        return group_of[link.pair.a] is group_of[link.pair.b]

    for _ in range(MAX_ROUNDS):
        kept = [link for i, link in enumerate(links) if i not in dropped]
        priors = [_prior(link, adjusted if tied(link) else before, tied(link)) for link in kept]
        _solve(adjusted, [*priors, *sizes], held, pyceres, mapper, num_threads)
        contradicted = _contradicted(adjusted, [(i, x) for i, x in enumerate(links) if i not in dropped and tied(x)])
        dropped.update(contradicted)
        refuted.update(contradicted)
        if not contradicted and all(
            _has_settled(adjusted, prior) for link, prior in zip(kept, priors, strict=True) if tied(link)
        ):
            break
    adjusted.update_point_3d_errors()
    worse = what_got_worse(before, adjusted, bases)
    errors_px = before.compute_mean_reprojection_error(), adjusted.compute_mean_reprojection_error()
    if worse:
        logger.warning("the model is kept as it was: %s", worse)
        dropped = {i: dropped.get(i, worse) for i in range(len(links))}
    final = before if worse else adjusted
    poses = reconstruction.poses(final)
    reported = tuple(
        replace(_reported(poses, link, dropped.get(i, "")), is_contradicted=i in refuted and not worse)
        for i, link in enumerate(links)
    )
    return Adjustment(final, reported, not worse, worse, *errors_px)


def load_pyceres() -> ModuleType:
    """Import pyceres, before pycolmap makes problems: these are of pyceres' types.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import pyceres
    except ImportError as error:
        raise MissingDependencyError(
            f"adjusting with priors needs pyceres, which cannot be imported: {error}; try: pip install pyceres"
        ) from error
    return pyceres  # type: ignore[no-any-return]


# ---------------------------------------------------------------- priors


@dataclass(frozen=True)
class _Prior:
    """What is expected of the relative pose of two photos.

    Attributes:
        b_from_a: Rotation and translation in the unit of the model.
        covariance: (6, 6) of pycolmap's residual.
        is_robust: Whether it may be far off.
    """

    pair: ImagePair
    b_from_a: Pose
    covariance: FloatArray
    is_robust: bool


def _prior(link: Link, model: pycolmap.Reconstruction, is_tied: bool) -> _Prior:
    """The prior with the length that the baseline has in a model."""
    pose = Pose(link.b_from_a.rotation, geometry.unit_vectors(link.b_from_a.translation) * _length(model, link.pair))
    length_sigma = FREE_LENGTH_SIGMA if is_tied else HELD_LENGTH_SIGMA
    return _Prior(link.pair, pose, prior_covariance(pose, link.spread_deg, length_sigma), is_robust=True)


def _size_prior(model: pycolmap.Reconstruction, group: frozenset[str]) -> _Prior:
    """The size of a group of photos that only links hold to others, by its longest baseline.

    Directions to and from it hardly fix it, and the adjustment does not know the depths that the join went by.
    """
    poses = reconstruction.poses(model)
    pairs = [ImagePair(a, b) for a in group for b in group if a < b]
    moves = {pair: geometry.relative_pose(poses[pair.b], poses[pair.a]) for pair in sorted(pairs)}
    longest = max(moves, key=lambda pair: float(np.linalg.norm(moves[pair].translation)))
    return _Prior(longest, moves[longest], prior_covariance(moves[longest], 60.0, HELD_LENGTH_SIGMA), is_robust=False)


def _has_settled(model: pycolmap.Reconstruction, prior: _Prior) -> bool:
    """Whether the baseline has about the length that the prior was written with."""
    ratio = max(_length(model, prior.pair), 1e-12) / float(np.linalg.norm(prior.b_from_a.translation))
    return abs(float(np.log(ratio))) <= MAX_LENGTH_CHANGE


def prior_covariance(prior: Pose, spread_deg: float, length_sigma: float) -> FloatArray:
    """(6, 6) covariance of pycolmap's residual of a relative pose, for a link with a baseline of some length.

    The residual is (w, t - exp(w) t_prior), w being the rotation vector of R R_prior^T. With independent errors of
    rotation w and translation u, t = t_prior + u, it is (w, u + t_prior x w) to first order. The translation errs by
    the spread across the baseline, and by a share of its length along it.

    Args:
        prior: Rotation, and translation of the length that the baseline has.
        spread_deg: One-sigma uncertainty of rotation and direction about each axis.
        length_sigma: The same of the length, as a share.
    """
    sigma = np.radians(max(spread_deg, MIN_SPREAD_DEG))
    length = float(np.linalg.norm(prior.translation))
    along = prior.translation / length
    x, y, z = prior.translation
    jacobian = np.eye(6)
    jacobian[3:, :3] = [[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = sigma**2 * np.eye(3)
    covariance[3:, 3:] = length**2 * (sigma**2 * np.eye(3) + (length_sigma**2 - sigma**2) * np.outer(along, along))
    return np.asarray(jacobian @ covariance @ jacobian.T)


def _solve(
    model: pycolmap.Reconstruction,
    priors: Sequence[_Prior],
    held: Collection[str],
    pyceres: ModuleType,
    mapper: pycolmap.IncrementalPipelineOptions,
    num_threads: int,
) -> None:
    """One bundle adjustment in place; the gauge is fixed by two cameras, or by those that are held."""
    import pycolmap
    import pycolmap.cost_functions

    options = pycolmap.BundleAdjustmentOptions(
        print_summary=False,
        refine_focal_length=mapper.ba_refine_focal_length,
        refine_principal_point=mapper.ba_refine_principal_point,
        refine_extra_params=mapper.ba_refine_extra_params,
    )
    options.ceres.solver_options.num_threads = num_threads
    config = pycolmap.BundleAdjustmentConfig()
    for image in model.images.values():
        if image.has_pose:
            config.add_image(image.image_id)
            if image.name in held:
                config.set_constant_rig_from_world_pose(image.frame_id)
    for camera_id in mapper.constant_cameras:
        config.set_constant_cam_intrinsics(camera_id)
    if config.num_constant_rig_from_world_poses() < 2:  # else these fix it, and two more would be held
        config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    adjuster = pycolmap.create_default_ceres_bundle_adjuster(options, config, model)
    problem, cauchy, plain = adjuster.problem, pyceres.CauchyLoss(ROBUST_SIGMAS), pyceres.TrivialLoss()
    costs = []  # must outlive the problem, which does not own what comes from Python, nor the losses
    for prior in priors:
        blocks = [_pose_block(model, name) for name in (prior.pair.b, prior.pair.a)]
        rigid = geometry.to_rigid3d(prior.b_from_a)
        costs.append(pycolmap.cost_functions.RelativePosePriorCost(prior.covariance, rigid))
        problem.add_residual_block(costs[-1], cauchy if prior.is_robust else plain, blocks)
        for name, block in zip((prior.pair.b, prior.pair.a), blocks, strict=True):
            if name in held:  # COLMAP's residuals hold a copy of what is constant, so that this one brought it in
                problem.set_parameter_block_constant(block)
    adjuster.solve()
    del adjuster, problem


def _pose_block(model: pycolmap.Reconstruction, name: str) -> FloatArray:
    """The numbers of a photo's pose within the model, not a copy of them."""
    rig_from_world = model.frame(model.find_image_with_name(name).frame_id).rig_from_world
    assert rig_from_world is not None  # the photo has a pose
    return rig_from_world.params


def _unusable(model: pycolmap.Reconstruction, link: Link) -> str:
    """Why a link cannot be a residual; empty if it can."""
    for name in (link.pair.a, link.pair.b):
        image: pycolmap.Image | None = model.find_image_with_name(name)
        if image is None or not image.has_pose:
            return f"the model lacks {name}"
        if image.num_points3D == 0:  # not in the problem, and pyceres cannot make a manifold of poses
            return f"{name} sees no point of the model"
        if not image.is_ref_in_frame():
            return f"{name} is not the reference camera of its rig"
    if not np.any(link.b_from_a.translation) or _length(model, link.pair) == 0.0:
        return "it has no baseline"
    return ""


def _length(model: pycolmap.Reconstruction, pair: ImagePair) -> float:
    centers = [model.find_image_with_name(name).projection_center() for name in (pair.a, pair.b)]
    return float(np.linalg.norm(centers[1] - centers[0]))


# ---------------------------------------------------------------- what the points say


def _contradicted(model: pycolmap.Reconstruction, tied: Sequence[tuple[int, Link]]) -> dict[int, str]:
    """The link that the reprojection errors contradict most, if any, by its index, with the reason.

    One at a time, since others may agree once it is gone. Where only links hold two photos together, their points say
    nothing of a link between them: only tied links are asked.
    """
    poses = reconstruction.poses(model)
    worst = (1.0, -1, "")
    for index, link in tied:
        errors_deg = link_errors_deg(geometry.relative_pose(poses[link.pair.b], poses[link.pair.a]), link.b_from_a)
        limit_deg = DROP_SIGMAS * max(link.spread_deg, MIN_SPREAD_DEG)
        sentence = (
            f"the points turn the pair {errors_deg[0]:.1f} degrees and its direction {errors_deg[1]:.1f} degrees away "
            f"from the link, which is known to {link.spread_deg:.1f}"
        )
        worst = max(worst, (max(errors_deg) / limit_deg, index, sentence))
    return {worst[1]: worst[2]} if worst[1] >= 0 else {}


def groups_by_points(model: pycolmap.Reconstruction) -> tuple[frozenset[str], ...]:
    """Photos that hang together by MIN_COMMON_POINTS and more; largest group first."""
    names = {image_id: image.name for image_id, image in model.images.items() if image.has_pose}
    counts: dict[tuple[int, int], int] = {}
    for point in model.points3D.values():
        seen_by = sorted({element.image_id for element in point.track.elements})
        for k, first in enumerate(seen_by):
            for second in seen_by[k + 1 :]:
                counts[first, second] = counts.get((first, second), 0) + 1
    pairs = [ImagePair.sorted(names[i], names[j]) for (i, j), count in counts.items() if count >= MIN_COMMON_POINTS]
    return connected_components(names.values(), pairs)


def what_got_worse(
    before: pycolmap.Reconstruction, after: pycolmap.Reconstruction, bases: Sequence[Collection[str]]
) -> str:
    """What the adjustment made worse, in a sentence; empty if nothing."""
    old, new = reconstruction.poses(before), reconstruction.poses(after)
    if not all(np.all(np.isfinite(pose.rotation)) and np.all(np.isfinite(pose.translation)) for pose in new.values()):
        return "the adjustment diverged"
    for base in bases:
        names = sorted(set(base) & old.keys())
        if len(names) < 2:
            continue
        turns_deg = [
            float(geometry.rotation_angle_deg(_turn(new, names[0], name) @ _turn(old, names[0], name).T))
            for name in names[1:]
        ]
        if max(turns_deg) > MAX_BASE_TURN_DEG:
            return f"the adjustment turned photos of a base model by {max(turns_deg):.0f} degrees among themselves"
        error_before, error_after = (mean_error_px(model, names) for model in (before, after))
        if error_after > (1 + MAX_WORSE_SHARE) * error_before + MAX_WORSE_PX:
            return (
                f"the adjustment raised the reprojection error of a base model from {error_before:.2f} to "
                f"{error_after:.2f} px"
            )
    return ""


def _turn(poses: Mapping[str, Pose], a: str, b: str) -> FloatArray:
    return poses[b].rotation @ poses[a].rotation.T


def mean_error_px(model: pycolmap.Reconstruction, names: Collection[str]) -> float:
    """Mean reprojection error of points in some photos; zero without any, infinite where one lies behind its photo."""
    errors = []
    for name in names:
        image = model.find_image_with_name(name)
        for point2D in image.points2D:
            if point2D.has_point3D():
                seen = image.project_point(model.point3D(point2D.point3D_id).xyz)
                errors.append(np.inf if seen is None else float(np.linalg.norm(seen - point2D.xy)))
    return float(np.mean(errors)) if errors else 0.0


def _reported(poses: Mapping[str, Pose], link: Link, why_dropped: str) -> AdjustedLink:
    pair = link.pair
    if pair.a not in poses or pair.b not in poses:
        return AdjustedLink(pair, None, link.spread_deg, np.nan, np.nan, False, why_dropped)
    adjusted = geometry.relative_pose(poses[pair.b], poses[pair.a])
    errors_deg = link_errors_deg(adjusted, link.b_from_a) if np.any(link.b_from_a.translation) else (np.nan, np.nan)
    unit = geometry.with_unit_translation(adjusted)
    return AdjustedLink(pair, unit, link.spread_deg, *errors_deg, not why_dropped, why_dropped)
