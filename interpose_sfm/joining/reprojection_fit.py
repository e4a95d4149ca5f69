"""How two models lie to each other, measured by the pixels: points of one in the photos of the other.

Links know rotation and direction to degrees, and a photo that both models hold leaves the scale open. Where photos of
the two models match at all, a few dozen correspondences fix the scale to percents, provided that one starts near enough
and that most of them are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.geometry import Similarity
from interpose_sfm.joining.similarity_fit import Statements
from interpose_sfm.products import FloatArray, Intrinsics, Pose

SIGMA_PX = 2.0  # of a moved point: models bend by as much between photos that share none of their points
NEAR_PX = 12.0  # a rotation that is half a degree off moves points so far in a photo of usual size
AGREE_PX = 8.0  # once fitted; where COLMAP merges models it asks the same
SCALE_STEPS = np.geomspace(1 / 8, 8, 121)  # 3.5 percent apart, which moves points by less than NEAR_PX


@dataclass(frozen=True)
class Sighting:
    """Points of one model and where a photo of the other model sees them.

    Attributes:
        is_in_target: Whether the points are the target's, seen by a photo of the source; else the other way round.
        x_in_model: (n, 3) points in their model's frame.
        points_px: (n, 2) where the photo sees them.
        cam_from_model: Of the photo, in its own model's frame.
        camera: Of the photo.
    """

    is_in_target: bool
    x_in_model: FloatArray
    points_px: FloatArray
    cam_from_model: Pose
    camera: Intrinsics

    def errors_px(self, target_from_source: Similarity) -> FloatArray:
        """(n, 2) reprojection errors; far off for points behind the photo."""
        if self.is_in_target:
            x_in_photos_model = target_from_source.inverse().apply(self.x_in_model)
        else:
            x_in_photos_model = target_from_source.apply(self.x_in_model)
        x_in_cam = x_in_photos_model @ self.cam_from_model.rotation.T + self.cam_from_model.translation
        in_front = x_in_cam[:, 2] > 1e-9
        x_in_cam[~in_front] = (0.0, 0.0, 1.0)
        errors = geometry.project(x_in_cam, self.camera) - self.points_px
        errors[~in_front] = self.camera.width_px
        return np.asarray(errors)


@dataclass(frozen=True)
class PixelFit:
    """A similarity, and how many of the sightings agree with it.

    A wrong scale can suit the points of one model, as it moves the photo that sees them, but then not the other's.

    Attributes:
        target_points, source_points: Of the sightings of either model's points, how many reproject within AGREE_PX, and
            how many there are.
    """

    target_from_source: Similarity
    target_points: tuple[int, int]
    source_points: tuple[int, int]

    @property
    def num_agreeing(self) -> int:
        """Of both models' points."""
        return self.target_points[0] + self.source_points[0]

    @property
    def num_sightings(self) -> int:
        """Of both models' points."""
        return self.target_points[1] + self.source_points[1]


def fit_pixels(statements: Statements, start: Similarity, sightings: Sequence[Sighting]) -> PixelFit:
    """The similarity that reprojects the sightings best, while it keeps to what else ties the models.

    Every scale around that of the start is tried first, since a start that has its scale from one direction may be off
    by a factor; then all seven unknowns are refined with a robust loss.

    Args:
        statements: Links and overlaps between the two models.
        start: A similarity on which they agree.
        sightings: At least one.
    """
    from scipy.optimize import least_squares

    chart = _PixelChart(statements, start, sightings)
    best = max(SCALE_STEPS, key=lambda factor: _closeness(chart.scaled(float(factor)), sightings))
    chart = _PixelChart(statements, chart.scaled(float(best)), sightings)
    solution = least_squares(chart.residuals, np.zeros(7), loss="cauchy", max_nfev=100)
    similarity = chart.similarity(solution.x)
    return PixelFit(
        similarity,
        _agreement(similarity, [s for s in sightings if s.is_in_target]),
        _agreement(similarity, [s for s in sightings if not s.is_in_target]),
    )


def _agreement(similarity: Similarity, sightings: Sequence[Sighting]) -> tuple[int, int]:
    """How many sightings agree with a similarity, and how many there are."""
    errors = [np.linalg.norm(s.errors_px(similarity), axis=1) for s in sightings]
    return int(sum(np.count_nonzero(e <= AGREE_PX) for e in errors)), sum(len(e) for e in errors)


def _closeness(similarity: Similarity, sightings: Sequence[Sighting]) -> float:
    """Sightings that reproject well, each counting the more the nearer it does."""
    errors = np.concatenate([np.linalg.norm(s.errors_px(similarity), axis=1) for s in sightings])
    return float(np.sum(1.0 / (1.0 + (errors / NEAR_PX) ** 2)))


class _PixelChart:
    """Similarities around one by seven numbers: turn, move and growth about a place that is sure in both models."""

    def __init__(self, statements: Statements, origin: Similarity, sightings: Sequence[Sighting]) -> None:
        self._statements, self._origin, self._sightings = statements, origin, sightings
        held = statements.overlaps
        self._pivot = held[0].x_in_source if held else statements.middle()
        depths = [np.linalg.norm(s.x_in_model - s.x_in_model.mean(axis=0), axis=1).mean() for s in sightings]
        self._unit = max(float(np.median(depths)), 1e-9)

    def scaled(self, factor: float) -> Similarity:
        """The origin with another scale; the place that is sure stays where it is."""
        return self._around(self._origin.scale * factor, self._origin.rotation, np.zeros(3))

    def similarity(self, x: FloatArray) -> Similarity:
        rotation = geometry.rotation_exp(x[:3]) @ self._origin.rotation
        return self._around(self._origin.scale * float(np.exp(np.clip(x[6], -5.0, 5.0))), rotation, self._unit * x[3:6])

    def _around(self, scale: float, rotation: FloatArray, move: FloatArray) -> Similarity:
        place = self._origin.apply(self._pivot) + move
        return Similarity(scale, rotation, place - scale * rotation @ self._pivot)

    def residuals(self, x: FloatArray) -> FloatArray:
        similarity = self.similarity(x)
        rows = [sighting.errors_px(similarity).ravel() / SIGMA_PX for sighting in self._sightings]
        return np.concatenate([self._statements.residuals(similarity), *rows])
