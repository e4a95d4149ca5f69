"""COLMAP's text files, and the points as PLY."""

from __future__ import annotations

from pathlib import Path

from interpose_sfm.colmap.point_cloud import write_oriented_point_cloud
from interpose_sfm.export.source import ExportSource

POINTS_NAME, CLEANED_NAME = "points.ply", "cleaned.ply"


def check_text(source: ExportSource) -> None:
    """Raise a ValueError if a photo's name does not survive COLMAP's text files, which end names at the first blank."""
    cut = names_that_are_cut(source)
    if cut:
        raise ValueError(
            f"COLMAP's text files end names of photos at the first blank, and {len(cut)} have one, such as {cut[0]!r}; "
            "leave text out of the formats, or rename the photos and reconstruct them again"
        )


def names_that_are_cut(source: ExportSource) -> list[str]:
    """Names of photos that have a blank."""
    return [image.name for image in source.images() if any(map(str.isspace, image.name))]


def write_text(source: ExportSource, folder: Path) -> None:
    """Write cameras.txt, images.txt, points3D.txt, rigs.txt and frames.txt."""
    source.model.write_text(folder)


def write_points(source: ExportSource, folder: Path) -> None:
    """Write points.ply, all points of the model with their colours, and cleaned.ply, with normals and without outliers.

    Frame and units are those of the model. The former is COLMAP's own binary PLY with float32.
    """
    source.model.export_PLY(folder / POINTS_NAME)
    write_oriented_point_cloud(source.model, folder / CLEANED_NAME)
