"""The most likely similarity between two components, given everything that ties them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.geometry import Similarity
from interpose_sfm.joining.ties import MIN_LENGTH_SIGMA, Length, Overlap, Tie
from interpose_sfm.products import FloatArray, IndexArray

ROBUST_SIGMAS = 3.0
"""Errors beyond this pull less: the uncertainty of a link is itself uncertain."""

Equations = tuple[FloatArray, FloatArray]  # (n, 4) and (n,): matrix @ (scale, translation) = right


@dataclass(frozen=True)
class Statements:
    """All that is said about two components; not empty.

    Attributes:
        has_scale: False where the source is a single photo, which has no size.
        scale: Of target_from_source, where something tells it that is neither link nor overlap, such as GPS.
    """

    ties: tuple[Tie, ...]
    overlaps: tuple[Overlap, ...]
    has_scale: bool
    scale: Length | None = None

    @property
    def has_lengths(self) -> bool:
        """Whether one link, with what else tells the scale, fixes the distance."""
        lengths = [(t.baseline.in_target is not None) + (t.baseline.in_source is not None) for t in self.ties]
        return max(lengths, default=0) >= (2 if self.has_scale and self.scale is None else 1)

    def rotations(self) -> list[FloatArray]:
        """(3, 3) target_from_source, as each tie and each overlap has it."""
        return [tie.rotation for tie in self.ties] + [overlap.rotation for overlap in self.overlaps]

    def middle(self) -> FloatArray:
        """(3,) a place in the source amid what is tied."""
        places = [tie.x_in_source for tie in self.ties] + [overlap.x_in_source for overlap in self.overlaps]
        return np.asarray(np.mean(places, axis=0))

    def residuals(self, similarity: Similarity) -> FloatArray:
        """Errors in units of their uncertainty."""
        rows = [self._stacked.residuals(similarity)] if self.ties else []
        for overlap in self.overlaps:
            turn = geometry.rotation_log(similarity.rotation @ overlap.rotation.T)
            rows.append(turn / np.radians(overlap.rotation_sigma_deg))
            rows.append((similarity.apply(overlap.x_in_source) - overlap.x_in_target) / overlap.position_sigma)
            if overlap.scale is not None and self.has_scale:
                rows.append(np.array([np.log(similarity.scale / overlap.scale.value) / overlap.scale.sigma]))
        if self.scale is not None and self.has_scale:
            rows.append(np.array([np.log(similarity.scale / self.scale.value) / self.scale.sigma]))
        return np.concatenate(rows)

    @cached_property
    def _stacked(self) -> _StackedTies:
        return _StackedTies(self.ties)

    def num_spare(self) -> int:
        """Equations beyond the unknowns; a direction counts two."""
        lengths = sum((t.baseline.in_target is not None) + (t.baseline.in_source is not None) for t in self.ties)
        known = [self.scale, *(overlap.scale for overlap in self.overlaps)]
        scales = sum(scale is not None for scale in known) if self.has_scale else 0
        return 5 * len(self.ties) + lengths + 6 * len(self.overlaps) + scales - (7 if self.has_scale else 6)


@dataclass(frozen=True)
class Fit:
    """A similarity with its uncertainty.

    Attributes:
        rotation_sigma_deg: One sigma, largest axis.
        scale_sigma: One sigma as a share of the scale; where there is no scale, of the distance. Infinite where the
            statements do not fix it.
    """

    similarity: Similarity
    rotation_sigma_deg: float
    scale_sigma: float


def fit_statements(statements: Statements) -> Fit:
    """Minimise the errors of rotations, directions, lengths and positions, each in units of its uncertainty.

    A robust rotation first, then scale and translation by linear least squares, then all seven unknowns together. The
    uncertainty follows from the normal equations, and grows where the statements agree less than they claim.
    """
    from scipy.optimize import least_squares

    chart = _Chart(statements, _linear(statements, geometry.median_rotation(statements.rotations())))
    solution = least_squares(
        chart.residuals, np.zeros(chart.num_unknowns), loss="soft_l1", f_scale=ROBUST_SIGMAS, max_nfev=200
    )
    solved = chart.similarity(solution.x)
    num_spare = statements.num_spare()
    inflation = max(1.0, 2.0 * float(solution.cost) / num_spare) if num_spare > 0 else 1.0
    values, vectors = np.linalg.eigh(solution.jac.T @ solution.jac)
    if values[0] <= 1e-12 * values[-1]:
        return Fit(solved, 180.0, np.inf)
    covariance = inflation * (vectors / values) @ vectors.T
    rotation_sigma_deg = float(np.degrees(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1])))
    if statements.has_scale:
        return Fit(solved, rotation_sigma_deg, float(np.sqrt(covariance[6, 6])))
    distance = _distance(statements, solved) / chart.unit
    return Fit(solved, rotation_sigma_deg, float(np.sqrt(np.linalg.eigvalsh(covariance[3:6, 3:6])[-1])) / distance)


class _Chart:
    """Similarities around one by seven numbers: turn, move and growth about the middle of what is tied."""

    def __init__(self, statements: Statements, origin: Similarity) -> None:
        self._statements, self._origin = statements, origin
        self._middle = statements.middle()
        self.unit = _distance(statements, origin)
        self.num_unknowns = 7 if statements.has_scale else 6

    def similarity(self, x: FloatArray) -> Similarity:
        scale = self._origin.scale * (float(np.exp(np.clip(x[6], -30.0, 30.0))) if self.num_unknowns == 7 else 1.0)
        rotation = geometry.rotation_exp(x[:3]) @ self._origin.rotation
        place = self._origin.apply(self._middle) + self.unit * x[3:6]
        return Similarity(scale, rotation, place - scale * rotation @ self._middle)

    def residuals(self, x: FloatArray) -> FloatArray:
        return self._statements.residuals(self.similarity(x))


class _StackedTies:
    """The residuals of all ties at once: a fit asks for them hundreds of times."""

    def __init__(self, ties: Sequence[Tie]) -> None:
        self._target_from_target_cam = np.array([tie.target_cam.rotation.T for tie in ties])
        self._source_from_source_cam = np.array([tie.source_cam.rotation.T for tie in ties])
        self._x_in_target = np.array([tie.x_in_target for tie in ties])
        self._x_in_source = np.array([tie.x_in_source for tie in ties])
        self._a_from_b = np.array([tie.link.b_from_a.rotation.T for tie in ties])
        self._linked = geometry.unit_vectors(np.array([tie.link.b_from_a.translation for tie in ties]))
        self._target_is_a = np.array([tie.target_is_a for tie in ties])
        self._sigma_rad = np.radians([tie.spread_deg for tie in ties])[:, None]
        baselines = [tie.baseline for tie in ties]
        self._lengths_in_target = _length_table([b.in_target for b in baselines])
        self._lengths_in_source = _length_table([b.in_source for b in baselines])

    def residuals(self, similarity: Similarity) -> FloatArray:
        """Turns and bends (3 each), then logarithms of lengths; in units of their uncertainty."""
        turned = similarity.rotation @ self._source_from_source_cam  # target from the source's cameras
        moves = similarity.apply(self._x_in_source) - self._x_in_target
        choose = self._target_is_a[:, None, None]
        target_from_a = np.where(choose, self._target_from_target_cam, turned)
        b_from_target = np.swapaxes(np.where(choose, turned, self._target_from_target_cam), 1, 2)
        b_to_a = np.where(self._target_is_a[:, None], -moves, moves)
        implied = np.einsum("nij,nj->ni", b_from_target, b_to_a)
        turns = geometry.rotation_log(b_from_target @ target_from_a @ self._a_from_b)
        rows = [turns / self._sigma_rad, _turns_rad(self._linked, implied) / self._sigma_rad]
        lengths = np.maximum(np.linalg.norm(moves, axis=1), 1e-12)
        for table, unit in ((self._lengths_in_target, 1.0), (self._lengths_in_source, similarity.scale)):
            which, values, sigmas = table
            rows.append(np.log(lengths[which] / (unit * values)) / sigmas)
        return np.concatenate([row.ravel() for row in rows])


def _length_table(lengths: Sequence[Length | None]) -> tuple[IndexArray, FloatArray, FloatArray]:
    """Which ties have a length, their values and sigmas."""
    known = [(index, length) for index, length in enumerate(lengths) if length is not None]
    return (
        np.array([index for index, _ in known], np.int64),
        np.array([length.value for _, length in known], np.float64),
        np.array([max(length.sigma, MIN_LENGTH_SIGMA) for _, length in known], np.float64),
    )


def _turns_rad(units: FloatArray, vectors: FloatArray) -> FloatArray:
    """(n, 3) rotation vectors from directions of length one to others of any length."""
    normals = np.cross(units, vectors)
    sines = np.linalg.norm(normals, axis=1)
    cosines = np.sum(units * vectors, axis=1)
    factors = np.divide(np.arctan2(sines, cosines), sines, out=np.zeros_like(sines), where=sines > 0.0)
    turns = factors[:, None] * normals
    turns[(sines == 0.0) & (cosines <= 0.0), 0] = np.pi  # opposite, or no direction at all: about any axis
    return np.asarray(turns)


def _distance(statements: Statements, similarity: Similarity) -> float:
    """Median length of the links' baselines in the target; without links, what the overlaps are known to."""
    lengths = [float(np.linalg.norm(tie.b_from_a(similarity).translation)) for tie in statements.ties]
    return max(float(np.median(lengths)), 1e-12) if lengths else statements.overlaps[0].position_sigma


def _linear(statements: Statements, rotation: FloatArray) -> Similarity:
    """Scale and translation by linear least squares given the rotation, to start from."""
    equations = [equation for tie in statements.ties for equation in _tie_equations(tie, rotation)]
    equations += [equation for overlap in statements.overlaps for equation in _overlap_equations(overlap, rotation)]
    if statements.scale is not None:
        spreads_deg = [tie.spread_deg for tie in statements.ties] + [o.rotation_sigma_deg for o in statements.overlaps]
        equations.append(_scale_equation(statements.scale, 1.0 / np.radians(min(spreads_deg))))
    matrix, right = (np.concatenate([equation[k] for equation in equations]) for k in (0, 1))
    if not statements.has_scale:
        return Similarity(1.0, rotation, np.linalg.lstsq(matrix[:, 1:], right - matrix[:, 0], rcond=None)[0])
    scale, *translation = np.linalg.lstsq(matrix, right, rcond=None)[0]
    # A scale below zero would mirror: the rays meet behind the photos, and the fit will tell by how much they miss.
    return Similarity(max(abs(float(scale)), 1e-9), rotation, np.array(translation))


def _tie_equations(tie: Tie, rotation: FloatArray) -> list[Equations]:
    """Off the link's ray nothing, along it the measured lengths; all as shares of the distance."""
    ray, center = tie.ray(rotation), tie.x_in_target
    place = np.column_stack([rotation @ tie.x_in_source, np.eye(3)])
    off_ray = (np.eye(3) - np.outer(ray, ray)) / np.radians(tie.spread_deg)
    equations = [(off_ray @ place, off_ray @ center)]
    for length, is_target in ((tie.baseline.in_target, True), (tie.baseline.in_source, False)):
        if length is None:
            continue
        row = ray @ place if is_target else ray @ place - [length.value, 0.0, 0.0, 0.0]
        value = ray @ center + (length.value if is_target else 0.0)
        equations.append((row[None] / length.sigma, np.array([value]) / length.sigma))
    return equations


def _overlap_equations(overlap: Overlap, rotation: FloatArray) -> list[Equations]:
    weight = 1.0 / np.radians(overlap.rotation_sigma_deg)  # as sure as its rotation, seen from the distance of links
    equations = [(weight * np.column_stack([rotation @ overlap.x_in_source, np.eye(3)]), weight * overlap.x_in_target)]
    if overlap.scale is not None:
        equations.append(_scale_equation(overlap.scale, weight))
    return equations


def _scale_equation(scale: Length, weight: float) -> Equations:
    return weight * np.array([[1.0, 0.0, 0.0, 0.0]]), weight * np.array([scale.value])
