"""What COLMAP writes by itself: its text files, and the points as PLY."""

from __future__ import annotations

from pathlib import Path

from interpose_sfm.export.source import ExportSource

POINTS_NAME = "points.ply"


def check_text(source: ExportSource) -> None:
    """Raise a ValueError if a photo's name does not survive COLMAP's text files, which end names at the first blank."""
    cut = [image.name for image in source.images() if any(map(str.isspace, image.name))]
    if cut:
        raise ValueError(
            f"COLMAP's text files end names of photos at the first blank, and {len(cut)} have one, such as {cut[0]!r}; "
            "leave text out of the formats, or rename the photos and reconstruct them again"
        )


def write_text(source: ExportSource, folder: Path) -> None:
    """Write cameras.txt, images.txt, points3D.txt, rigs.txt and frames.txt."""
    source.model.write_text(folder)


def write_points(source: ExportSource, folder: Path) -> None:
    """Write all points of the model with their colours, in its frame and units, as binary PLY with float32."""
    source.model.export_PLY(folder / POINTS_NAME)
