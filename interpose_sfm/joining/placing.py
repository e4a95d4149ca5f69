"""Joining models, and attaching single photos, by links, depths and what both hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm.colmap import databases, reconstruction
from interpose_sfm.geometry import Similarity
from interpose_sfm.joining import overlaps
from interpose_sfm.joining.alignment import Alignment, Apart, align
from interpose_sfm.joining.similarity_fit import Statements
from interpose_sfm.joining.ties import Baseline, Length, Overlap, Tie, find_tie
from interpose_sfm.products import FloatArray, ImagePair, Intrinsics, Link, Pose

if TYPE_CHECKING:
    import pycolmap

MAX_TURN_DEG = 10.0  # between a link and the alignment, as in the cycles of links

SCALE_FACTORS = np.geomspace(1 / 16, 16, 81)  # 7 percent apart, around the scale that makes both models equally large

SINGLE_POSE = Pose(np.eye(3), np.zeros(3))
"""cam_from_world of a photo that is a component of its own."""


@dataclass(frozen=True)
class Between:
    """Everything that ties two models.

    Attributes:
        target, source: cam_from_world of the photos of either.
        links: Those between a photo of the target only and one of the source only.
        baselines: Lengths by pair, where depths tell them.
        overlaps: What both models hold.
        scale: Of target_from_source, where GPS tells it.
    """

    target: Mapping[str, Pose]
    source: Mapping[str, Pose]
    links: tuple[Link, ...]
    baselines: Mapping[ImagePair, Baseline]
    overlaps: tuple[Overlap, ...] = ()
    scale: Length | None = None

    @property
    def statements(self) -> Statements:
        """The same as equations."""
        ties = (self.tie(link) for link in self.links)
        return Statements(
            tuple(tie for tie in ties if tie is not None), self.overlaps, len(self.source) > 1, self.scale
        )

    def tie(self, link: Link) -> Tie | None:
        """A link as a tie of the two models; None if it does not join them."""
        return find_tie(self.target, self.source, link, self.baselines.get(link.pair, Baseline()))

    def family(self) -> list[Similarity]:
        """Similarities that differ in scale alone, where a photo that both models hold fixes all else; else none."""
        if not self.overlaps:
            return []
        held = min(self.overlaps, key=lambda overlap: overlap.rotation_sigma_deg)
        middle = _extent(self.target) / max(_extent(self.source), 1e-9)
        return [
            Similarity(float(scale), held.rotation, held.x_in_target - scale * held.rotation @ held.x_in_source)
            for scale in middle * SCALE_FACTORS
        ]

    def align(self, max_angle_deg: float = MAX_TURN_DEG) -> Alignment | Apart:
        """The similarity on which everything agrees, or why the models stay apart and which link is missing."""
        return align(
            self.target,
            self.source,
            self.links,
            baselines=self.baselines,
            overlaps=self.overlaps,
            scale=self.scale,
            max_angle_deg=max_angle_deg,
        )


def find_ties(
    target: pycolmap.Reconstruction,
    source: pycolmap.Reconstruction,
    links: Sequence[Link],
    database_path: Path,
    seed: int,
) -> Between:
    """Collect what ties two models.

    Args:
        target, source: Models with all key points of the database, links triangulated.
        links: Every link whose own evidence is good; what contradicts must be heard. Links that do not join the two
            models are passed over.
        database_path: Holds the correspondences of the links.
        seed: Of RANSAC.
    """
    poses_t, poses_s = reconstruction.poses(target), reconstruction.poses(source)
    cameras = {**reconstruction.model_cameras(source), **reconstruction.model_cameras(target)}
    ends = [(tie.link, *tie.names) for tie in (find_tie(poses_t, poses_s, x, Baseline()) for x in links) if tie]
    depths_t, depths_s = overlaps.link_depths(target, links), overlaps.link_depths(source, links)
    baselines = {
        link.pair: Baseline(
            overlaps.baseline_length(target, name_t, link, cameras, depths_t.get(name_t, ())).length,
            overlaps.baseline_length(source, name_s, link, cameras, depths_s.get(name_s, ())).length,
        )
        for link, name_t, name_s in ends
    }
    shared = [overlaps.photo_overlap(target, source, name) for name in sorted(poses_t.keys() & poses_s.keys())]
    common = [_common_points(target, name_t, source, name_s, database_path) for _, name_t, name_s in ends]
    nothing = np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0)
    x_in_target, x_in_source, distances = (np.concatenate(part) for part in zip(nothing, *common, strict=True))
    by_points = overlaps.point_overlap("what the links' points say", x_in_target, x_in_source, distances, seed)
    held = tuple(overlap for overlap in [*shared, by_points] if overlap is not None)
    return Between(poses_t, poses_s, tuple(link for link, *_ in ends), baselines, held)


def find_photo_ties(
    target: pycolmap.Reconstruction,
    name: str,
    links: Sequence[Link],
    cameras: Mapping[str, Intrinsics],
) -> Between:
    """Collect what ties a single photo, at SINGLE_POSE, to a model: its links alone.

    Args:
        target: A model without the photo.
        links: Every link of the photo whose own evidence is good.
        cameras: At least that of the photo.
    """
    poses = reconstruction.poses(target)
    known = {**cameras, **reconstruction.model_cameras(target)}
    ties = [tie for tie in (find_tie(poses, {name: SINGLE_POSE}, link, Baseline()) for link in links) if tie]
    depths = overlaps.link_depths(target, links)
    baselines: dict[ImagePair, Baseline] = {
        tie.link.pair: Baseline(
            overlaps.baseline_length(target, tie.names[0], tie.link, known, depths.get(tie.names[0], ())).length
        )
        for tie in ties
    }
    return Between(poses, {name: SINGLE_POSE}, tuple(tie.link for tie in ties), baselines)


def join(
    target: pycolmap.Reconstruction,
    source: pycolmap.Reconstruction,
    target_from_source: Similarity,
    database_path: Path,
) -> pycolmap.Reconstruction:
    """The target with the photos it lacks, posed by the similarity; their points are not triangulated yet."""
    poses = {name: target_from_source.move_camera(pose) for name, pose in reconstruction.poses(source).items()}
    return reconstruction.with_photos(target, poses, database_path)


def attach(
    target: pycolmap.Reconstruction, name: str, found: Alignment, database_path: Path
) -> pycolmap.Reconstruction:
    """The target with a single photo of :func:`find_photo_ties`; its points are not triangulated yet."""
    pose = found.target_from_source.move_camera(SINGLE_POSE)
    return reconstruction.with_photos(target, {name: pose}, database_path)


def _extent(poses: Mapping[str, Pose]) -> float:
    """Mean distance of the photos from their middle."""
    centres = np.array([pose.inverse().translation for pose in poses.values()])
    return float(np.mean(np.linalg.norm(centres - centres.mean(axis=0), axis=1)))


def _common_points(
    target: pycolmap.Reconstruction, name_t: str, source: pycolmap.Reconstruction, name_s: str, database_path: Path
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points of a link in the target, in the source, and their distances to the link's photo in the target."""
    image_t, image_s = target.find_image_with_name(name_t), source.find_image_with_name(name_s)
    rows_t, rows_s = databases.verified_rows(database_path, image_t.image_id, image_s.image_id)
    points_t, points_s = (
        {row: point.point3D_id for row, point in enumerate(image.points2D) if point.has_point3D()}
        for image in (image_t, image_s)
    )
    pairs = [
        (target.point3D(points_t[t]).xyz, source.point3D(points_s[s]).xyz)
        for t, s in zip(rows_t, rows_s, strict=True)
        if t in points_t and s in points_s
    ]
    x_in_target = np.array([pair[0] for pair in pairs]).reshape(-1, 3)
    x_in_source = np.array([pair[1] for pair in pairs]).reshape(-1, 3)
    return x_in_target, x_in_source, np.linalg.norm(x_in_target - image_t.projection_center(), axis=1)
