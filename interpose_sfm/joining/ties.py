"""What ties one component to another: links between their photos, and what both hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.geometry import Similarity
from interpose_sfm.products import FloatArray, Link, Pose

MIN_SPREAD_DEG = 0.5
"""Links count as no surer than this: their spread knows the key points' errors, not those of the camera model."""
MIN_LENGTH_SIGMA = 0.1
"""Lengths from depths count as no surer than this share: base models bend by a few percent, and depths are skewed."""


@dataclass(frozen=True)
class Length:
    """A measured length, or a ratio of lengths.

    Attributes:
        value: In the unit of its component, above zero.
        sigma: One-sigma uncertainty as a share of the value.
    """

    value: float
    sigma: float


@dataclass(frozen=True)
class Baseline:
    """The length of a link's baseline in the unit of either component, where depths tell it."""

    in_target: Length | None = None
    in_source: Length | None = None


@dataclass(frozen=True)
class Overlap:
    """Something that both components hold, and what it says of the similarity between them.

    Attributes:
        name: For reports.
        rotation: (3, 3) target_from_source.
        rotation_sigma_deg: Its uncertainty.
        x_in_target, x_in_source: (3,) one position in both.
        position_sigma: Uncertainty of the position, in the unit of the target.
        scale: Of target_from_source; None where the overlap has none, such as a photo without points in common.
    """

    name: str
    rotation: FloatArray
    rotation_sigma_deg: float
    x_in_target: FloatArray
    x_in_source: FloatArray
    position_sigma: float
    scale: Length | None = None


@dataclass(frozen=True)
class Tie:
    """A link between a photo of the target and one of the source.

    Attributes:
        target_cam: cam_from_target of the photo in the target.
        source_cam: cam_from_source of the photo in the source.
        target_is_a: Whether the photo in the target is the link's first.
    """

    link: Link
    target_cam: Pose
    source_cam: Pose
    target_is_a: bool
    baseline: Baseline

    @property
    def names(self) -> tuple[str, str]:
        """Photo in the target, photo in the source."""
        pair = self.link.pair
        return (pair.a, pair.b) if self.target_is_a else (pair.b, pair.a)

    @property
    def rotation(self) -> FloatArray:
        """(3, 3) target_from_source, by this link alone."""
        linked = self.link.b_from_a.rotation
        source_cam_from_target_cam = linked if self.target_is_a else linked.T
        return np.asarray(self.target_cam.rotation.T @ source_cam_from_target_cam.T @ self.source_cam.rotation)

    @property
    def spread_deg(self) -> float:
        """The link's own, but not below MIN_SPREAD_DEG."""
        return max(self.link.spread_deg, MIN_SPREAD_DEG)

    @property
    def x_in_target(self) -> FloatArray:
        """(3,) centre of the target's photo."""
        return self.target_cam.inverse().translation

    @property
    def x_in_source(self) -> FloatArray:
        """(3,) centre of the source's photo."""
        return self.source_cam.inverse().translation

    def b_from_a(self, target_from_source: Similarity) -> Pose:
        """The relative pose that a similarity implies, in the unit of the target."""
        moved = target_from_source.move_camera(self.source_cam)
        cam_a, cam_b = (self.target_cam, moved) if self.target_is_a else (moved, self.target_cam)
        return geometry.relative_pose(cam_b, cam_a)

    def errors_deg(self, target_from_source: Similarity) -> tuple[float, float]:
        """Angles of rotation and of direction by which a similarity misses the link."""
        return geometry.link_errors_deg(self.b_from_a(target_from_source), self.link.b_from_a)

    def ray(self, rotation: FloatArray) -> FloatArray:
        """(3,) direction from the target's photo to the source's, in the target, given target_from_source."""
        translation = geometry.unit_vectors(self.link.b_from_a.translation)  # towards A's centre, as B sees it
        if self.target_is_a:
            return np.asarray(-rotation @ self.source_cam.rotation.T @ translation)
        return np.asarray(self.target_cam.rotation.T @ translation)

    def length_errors(self, target_from_source: Similarity) -> list[tuple[float, float]]:
        """Logarithms of implied to measured lengths, and their sigmas."""
        implied = float(np.linalg.norm(self.b_from_a(target_from_source).translation))
        errors = []
        for measured, unit in ((self.baseline.in_target, 1.0), (self.baseline.in_source, target_from_source.scale)):
            if measured is not None:
                error = float(np.log(max(implied, 1e-12) / (measured.value * unit)))
                errors.append((error, max(measured.sigma, MIN_LENGTH_SIGMA)))
        return errors


def find_tie(target: Mapping[str, Pose], source: Mapping[str, Pose], link: Link, baseline: Baseline) -> Tie | None:
    """The link as a tie; None unless it has a direction, one photo in the target only and one in the source only."""
    a, b = link.pair.a, link.pair.b
    if not np.any(link.b_from_a.translation):
        return None
    for in_target, in_source, is_a in ((a, b, True), (b, a, False)):
        exclusive = in_target not in source and in_source not in target
        if in_target in target and in_source in source and exclusive:
            return Tie(link, target[in_target], source[in_source], is_a, baseline)
    return None
