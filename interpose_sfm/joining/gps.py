"""What GPS positions of photos say of two components: distance and scale, where nothing else tells these.

Only distances between positions enter a model; rotations and directions stay those of the links, which GPS may veto.
Wherever pictures tell a scale, GPS is held against it and has no say.

A position errs by some five metres, whatever the scene: "GPS-enabled smartphones are typically accurate to within a
4.9 m radius under open sky" (gps.gov); in height by three times that. The errors of photos that were taken one after
another are alike, so many photos count as no surer than two of them. The sizes of two models are then known to a share
that depends on metres alone, and the limit that holds for any other source of scale (`alignment.MAX_SCALE_SIGMA`) says
whether the photos are far enough apart: about 40 m in both models, or 30 m in one where the other is large, in the
median of the distances that count. Where the models of a run fit their positions better, as those of one flight do to
decimetres, that counts for their sizes and for the veto (`position_sigma_m`), but not for the length of a link: the
receiver may have been off by the same all the time, and by something else at another. Two positions cannot contradict
each other, whatever they err by: it takes three.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.geometry import Similarity
from interpose_sfm.joining.alignment import (
    MAX_SCALE_SIGMA,
    TOLERANCE_SIGMAS,
    Alignment,
    Apart,
    ApartReason,
    ScaleCue,
    listed,
)
from interpose_sfm.joining.placing import Between
from interpose_sfm.joining.ties import MIN_LENGTH_SIGMA, Baseline, Length, Tie
from interpose_sfm.products import FloatArray, Pose

POSITION_SIGMA_M = 5.0  # of a photo's position, along any axis on the ground
DISTANCE_SIGMA_M = float(np.sqrt(2.0)) * POSITION_SIGMA_M
PRIOR_FREEDOM = 4  # residuals that the five metres count as much as: those of two models of three photos
UP_SIGMA, UNKNOWN_UP_SIGMA = 3.0, 100.0  # of the height, times that along the ground; where an altitude is missing
MIN_PHOTOS = 3  # of known position in a model
MAX_PHOTOS = 100  # of a model that are looked at, spread over their names: more cost time and memory, and say no more
FAR_SHARE = 0.5  # of the largest distance in a model: shorter ones say less of its size
MIN_LENGTH_SHARE, MAX_LENGTH_SHARE, NUM_LENGTHS = 1e-3, 3.0, 400  # of the extent, for the length of a link


@dataclass(frozen=True)
class ModelSize:
    """How large a model is.

    Attributes:
        unit: In metres.
        extent_m: Distance between its photos that the unit rests on.
        num_photos: Those of known position.
    """

    unit: Length
    extent_m: float
    num_photos: int

    def __str__(self) -> str:
        return f"{self.num_photos} photos over {self.extent_m:.0f} m"


def position_sigma_m(models: Sequence[Mapping[str, Pose]], positions_m: Mapping[str, FloatArray]) -> float:
    """By how much positions err along an axis on the ground, as the models that hold them tell: five metres, or less.

    The residuals of similarities from models to positions (Umeyama 1991), and the five metres as so many more, so that
    the few of small models cannot claim much. They miss what all photos of a model are off by alike, which does not
    change its size.

    Args:
        models: cam_from_world of their photos.
        positions_m: East, north and up by photo.
    """
    squares, freedom = PRIOR_FREEDOM * POSITION_SIGMA_M**2, PRIOR_FREEDOM
    for poses in models:
        names = [name for name in _some(poses.keys() & positions_m.keys()) if np.all(np.isfinite(positions_m[name]))]
        if len(names) < MIN_PHOTOS:
            continue
        here = _centered(_stacked([poses[name].inverse().translation for name in names]))
        known_m = _centered(_stacked([positions_m[name] for name in names]))
        turned = here @ geometry.nearest_rotation(known_m.T @ here).T
        unit_m = float(np.sum(turned * known_m) / max(np.sum(here**2), 1e-12))
        errors_m = (known_m - unit_m * turned) / [1.0, 1.0, UP_SIGMA]
        squares, freedom = squares + float(np.sum(errors_m**2)), freedom + 3 * len(names) - 7
    return min(float(np.sqrt(squares / freedom)), POSITION_SIGMA_M)


def model_size(
    poses: Mapping[str, Pose], positions_m: Mapping[str, FloatArray], sigma_m: float = POSITION_SIGMA_M
) -> ModelSize | None:
    """The size of a model by the positions of three or more of its photos; None where these do not tell.

    The median ratio of distances between photos that are far apart in the model: by the model, not by GPS, whose errors
    would choose for themselves. Where the ratios scatter by more than the known error, they err by that.

    Args:
        poses: cam_from_world of its photos.
        positions_m: East, north and up by photo.
        sigma_m: By how much these err along an axis on the ground.
    """
    known = poses.keys() & positions_m.keys()
    if len(known) < MIN_PHOTOS:
        return None
    names = _some(known)
    first, second = np.triu_indices(len(names), 1)
    centers = np.array([poses[name].inverse().translation for name in names])
    known_m = np.array([positions_m[name] for name in names])
    in_model = np.linalg.norm(centers[first] - centers[second], axis=1)
    is_far = in_model >= max(FAR_SHARE * in_model.max(), 1e-12)
    if not np.any(is_far):
        return None
    in_model = in_model[is_far]
    distances_m, sigmas_m = _distances_m(known_m[first][is_far], known_m[second][is_far])
    logs = np.log(np.maximum(distances_m, 1e-3) / in_model)
    unit_m = float(np.exp(np.median(logs)))
    extent_m = unit_m * float(np.median(in_model))
    scatter = 1.4826 * float(np.median(np.abs(logs - np.median(logs))))
    sigma = max(sigma_m / POSITION_SIGMA_M * float(np.median(sigmas_m)) / extent_m, scatter)
    return ModelSize(Length(unit_m, sigma), extent_m, len(known)) if sigma <= MAX_SCALE_SIGMA else None


def _distances_m(first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n,) in space, or on the ground where an altitude is not known, and (n,) one sigma of each."""
    moves = first - second
    moves = np.where(np.isnan(moves), 0.0, moves)
    distances = np.linalg.norm(moves, axis=1)
    stretched = np.linalg.norm(moves * [1.0, 1.0, UP_SIGMA], axis=1)
    stretch = np.divide(stretched, distances, out=np.ones_like(distances), where=distances > 0.0)
    return distances, DISTANCE_SIGMA_M * stretch


def _some(names: Collection[str]) -> list[str]:
    """At most MAX_PHOTOS, in order, spread over all."""
    ordered = sorted(names)
    rows = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), MAX_PHOTOS)).round().astype(int))
    return [ordered[row] for row in rows]


@dataclass(frozen=True)
class Survey:
    """What GPS says of two components.

    Attributes:
        target: Its size.
        source: The same; None for a single photo.
        x_in_target, x_in_source: (n, 3), (m, 3) centres of photos of known position that only one of the two holds, at
            most MAX_PHOTOS of either.
        target_m, source_m: (n, 3), (m, 3) their positions.
        names: What the two are called in sentences.
        sigma_m: By how much positions err within a model.
    """

    target: ModelSize
    source: ModelSize | None
    x_in_target: FloatArray
    x_in_source: FloatArray
    target_m: FloatArray
    source_m: FloatArray
    names: tuple[str, str]
    sigma_m: float = POSITION_SIGMA_M

    @property
    def _is_across(self) -> bool:
        return len(self.target_m) > 0 and len(self.source_m) > 0

    @cached_property
    def _across(self) -> tuple[FloatArray, FloatArray]:
        n, m = len(self.target_m), len(self.source_m)
        return _distances_m(np.repeat(self.target_m, m, axis=0), np.tile(self.source_m, (n, 1)))

    @property
    def distances_m(self) -> FloatArray:
        """(n * m,) from every photo of the target to every one of the source."""
        return self._across[0]

    @property
    def scale(self) -> Length | None:
        """Of target_from_source."""
        if self.source is None:
            return None
        value = self.source.unit.value / self.target.unit.value
        return Length(value, float(np.hypot(self.source.unit.sigma, self.target.unit.sigma)))

    @cached_property
    def sigmas_m(self) -> FloatArray:
        """(n * m,) uncertainty of the distances, that of the models' sizes included."""
        sigma = self.target.unit.sigma if self.scale is None else self.scale.sigma
        return np.asarray(np.hypot(self._across[1], sigma * self.distances_m))

    def errors_m(self, target_from_source: Similarity) -> FloatArray:
        """(n * m,) distances between photos of the two, less those of their positions."""
        moves = target_from_source.apply(self.x_in_source)[None] - self.x_in_target[:, None]
        return np.asarray(np.linalg.norm(moves, axis=2).ravel() * self.target.unit.value - self.distances_m)

    def align(self, between: Between, max_angle_deg: float) -> Alignment | Apart:
        """The similarity by the links for rotation and direction, and by GPS for what they leave open.

        Where the links point elsewhere than GPS, however long they may be, the components stay apart.
        """
        answer = self.measured(between).align(max_angle_deg)
        if isinstance(answer, Apart):
            return answer
        for tie in between.statements.ties:
            miss_m, is_contradicted = self._miss(answer.target_from_source, tie)
            if is_contradicted:
                detail = f"the link of {tie.link.pair.a} and {tie.link.pair.b} misses GPS positions by {miss_m:.0f} m"
                wanted = f"another link between {' and '.join(self.names)}, or photos without these positions"
                return Apart(ApartReason.CONTRADICTION, detail, wanted)
        return replace(answer, cue=ScaleCue.GPS)

    def measured(self, between: Between) -> Between:
        """What ties the two, with the scale by GPS, and the length of their surest link where none has a length."""
        if not self._gives_length(between):
            return replace(between, scale=self.scale)
        tie = min(between.statements.ties, key=lambda tie: (tie.spread_deg, tie.link.pair))
        baselines = {**between.baselines, tie.link.pair: Baseline(in_target=self._length(tie))}
        return replace(between, scale=self.scale, baselines=baselines)

    def _gives_length(self, between: Between) -> bool:
        """Whether the distance is left to GPS: there is no length among what ties the two."""
        ties = between.statements.ties
        has_length = any(tie.baseline.in_target or tie.baseline.in_source for tie in ties)
        return self._is_across and bool(ties) and not has_length and not between.overlaps

    def _length(self, tie: Tie) -> Length:
        """The length of a link on which most distances across the two agree, in the unit of the target."""
        from scipy.optimize import minimize_scalar

        scale = 1.0 if self.scale is None else self.scale.value
        ray, weights = tie.ray(tie.rotation), 1.0 / self.sigmas_m

        def miss(log_length: float) -> float:
            place = tie.x_in_target + np.exp(log_length) * ray - scale * tie.rotation @ tie.x_in_source
            return float(np.sum(weights * np.abs(self.errors_m(Similarity(scale, tie.rotation, place)))))

        extent = (self.distances_m.max() + DISTANCE_SIGMA_M) / self.target.unit.value
        steps = np.log(np.geomspace(MIN_LENGTH_SHARE * extent, MAX_LENGTH_SHARE * extent, NUM_LENGTHS))
        best, step = min(steps, key=miss), steps[1] - steps[0]
        length = float(np.exp(minimize_scalar(miss, bounds=(best - step, best + step), method="bounded").x))
        sigma = float(np.median(self.sigmas_m)) / (length * self.target.unit.value)
        return Length(length, sigma)

    def _miss(self, target_from_source: Similarity, along: Tie | None = None) -> tuple[float, bool]:
        """By how much the way from one component to the other misses GPS, and whether that is far more than GPS errs.

        The photos of both, as they lie by the similarity, are turned to their positions (Kabsch); errors of that turn
        move the other component the more, the further away it is and the less the photos spread. As for sizes, many
        photos count as two. Positions in a line say nothing of a turn about it, and so hardly anything here.

        Args:
            along: A link whose length is free.
        """
        if not self._is_across:
            return 0.0, False
        unit_m, up_sigma = self.target.unit.value, UP_SIGMA
        target_m, source_m = self.target_m.copy(), self.source_m.copy()
        up = np.concatenate([target_m[:, 2], source_m[:, 2]])
        if np.any(np.isnan(up)):
            target_m[:, 2], source_m[:, 2], up_sigma = 0.0, 0.0, UNKNOWN_UP_SIGMA
        distance_sigma_m = np.sqrt(2.0) * self.sigma_m
        moved = target_from_source.apply(self.x_in_source)
        here = unit_m * np.concatenate([_centered(self.x_in_target), _centered(moved)])
        known = np.concatenate([_centered(target_m), _centered(source_m)])
        enu_from_target = geometry.nearest_rotation(known.T @ here)
        turned = here @ enu_from_target.T
        way = unit_m * enu_from_target @ (moved.mean(axis=0) - self.x_in_target.mean(axis=0))
        error = source_m.mean(axis=0) - target_m.mean(axis=0) - way
        inertia = np.sum(turned**2) * np.eye(3) - turned.T @ turned
        turn_information = 4.0 / len(turned) * inertia / distance_sigma_m**2 + 1e-6 * np.eye(3)
        lever = np.cross(np.eye(3), way)
        size_sigma = self.target.unit.sigma if self.scale is None else self.scale.sigma
        spread = 0.0 if along is None else np.radians(along.spread_deg)
        covariance = (distance_sigma_m**2 + spread**2 * way @ way) * np.eye(3) + size_sigma**2 * np.outer(way, way)
        covariance += lever @ np.linalg.inv(turn_information) @ lever.T
        stretch = np.array([1.0, 1.0, up_sigma])
        weights = np.linalg.inv(covariance * np.outer(stretch, stretch))
        if along is not None:
            ray = enu_from_target @ along.ray(target_from_source.rotation)
            length_m = unit_m * float(np.linalg.norm(along.b_from_a(target_from_source).translation))
            error = error - max(float(ray @ weights @ error / (ray @ weights @ ray)), -length_m) * ray
        return float(np.linalg.norm(error)), bool(error @ weights @ error > TOLERANCE_SIGMAS**2)

    def contradiction(self, target_from_source: Similarity) -> str:
        """A sentence where pictures tell a scale or a distance, and GPS quite another one; else empty."""
        both = f"between {self.names[0]} and {self.names[1]}"
        if self.scale is not None:
            error = abs(float(np.log(target_from_source.scale / self.scale.value)))
            if error > TOLERANCE_SIGMAS * np.hypot(self.scale.sigma, MIN_LENGTH_SIGMA):
                return (
                    f"the scale {both} is {target_from_source.scale:.3g} by the pictures and {self.scale.value:.3g} by "
                    "GPS; that of the pictures is kept"
                )
        miss_m, is_contradicted = self._miss(target_from_source)
        if not is_contradicted:
            return ""
        return f"the way {both} by the pictures misses that of GPS by {miss_m:.0f} m; that of the pictures is kept"

    def told(self, found: Alignment, between: Between) -> str:
        """A sentence about a join of what lies between the two that rests on GPS."""
        if self.source is None:
            length_m = float(np.median(self.distances_m))
            return (
                f"how far {self.names[0]} lies from {self.names[1]} comes from GPS, known to {found.scale_sigma:.0%}: "
                f"{length_m:.0f} m from photos of it, {self.target}"
            )
        both, scale = f"between {self.names[0]} and {self.names[1]}", f"{found.target_from_source.scale:.3g}"
        known = f"known to {found.scale_sigma:.0%}"
        on_what = f"{self.source}, and {self.target}"
        if not self._gives_length(between):
            return f"the scale {both} comes from GPS, {scale} {known}: {on_what}"
        distance_m, sigma_m = float(np.median(self.distances_m)), float(np.median(self.sigmas_m))
        return (
            f"scale and distance {both} come from GPS, the scale of {scale} {known}, the {distance_m:.0f} m between "
            f"their photos to {sigma_m:.0f} m: {on_what}"
        )


def survey(
    target: Mapping[str, Pose],
    source: Mapping[str, Pose],
    positions_m: Mapping[str, FloatArray],
    sigma_m: float = POSITION_SIGMA_M,
) -> Survey | None:
    """What GPS says of two components; None where it does not tell their sizes, or the place of a single photo.

    Args:
        target, source: cam_from_world of their photos.
        positions_m: East, north and up by photo.
        sigma_m: By how much these err within a model.
    """
    sizes = model_size(target, positions_m, sigma_m), model_size(source, positions_m, sigma_m)
    in_target = _some((target.keys() - source.keys()) & positions_m.keys())
    in_source = _some((source.keys() - target.keys()) & positions_m.keys())
    if sizes[0] is None or (sizes[1] is None and (len(source) > 1 or not in_source)):
        return None
    return Survey(
        sizes[0],
        sizes[1],
        _stacked([target[name].inverse().translation for name in in_target]),
        _stacked([source[name].inverse().translation for name in in_source]),
        _stacked([positions_m[name] for name in in_target]),
        _stacked([positions_m[name] for name in in_source]),
        (listed(source), listed(target)),
        sigma_m,
    )


def _stacked(rows: Sequence[FloatArray]) -> FloatArray:
    return np.array(rows).reshape(-1, 3)


def _centered(rows: FloatArray) -> FloatArray:
    return np.asarray(rows - rows.mean(axis=0))
