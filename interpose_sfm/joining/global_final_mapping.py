"""Accepted links into models by COLMAP's global mapper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm.colmap import reconstruction
from interpose_sfm.colmap.global_mapper import map_stored_poses
from interpose_sfm.joining.final_mapping import MAX_BASE_CHANGE_DEG, FinalMapper
from interpose_sfm.options import BaseOptions

if TYPE_CHECKING:
    import pycolmap


def map_all_photos(
    base: Sequence[pycolmap.Reconstruction],
    database_path: Path,
    image_dir: Path,
    work_dir: Path,
    options: BaseOptions,
    seed: int,
    warnings: list[str],
) -> list[pycolmap.Reconstruction]:
    """Models of a database with links, or the base models where these are not better.

    Args:
        base: Base models.
        database_path: Holds the links with their poses.
        image_dir: The photos.
        work_dir: Folder for what pycolmap writes, created here.
        options: Of the mapper.
        seed: Of the mapper.
        warnings: Gets a sentence where the base models are kept because the new ones went wrong.

    Returns:
        Models that hold the photos of every base model in one model, turned by no more than MAX_BASE_CHANGE_DEG, and
        more photos in the largest or in all of them; else the base models.
    """
    models = map_stored_poses(database_path, image_dir, work_dir, options, seed)
    if not base:
        return models
    changes_deg = [min((reconstruction.largest_change_deg(old, new) for new in models), default=180.0) for old in base]
    if max(changes_deg) > MAX_BASE_CHANGE_DEG:
        harm = (
            "lost some of their photos" if max(changes_deg) >= 180 else f"turned them by {max(changes_deg):.0f} degrees"
        )
        warnings.append(f"base models are kept as they were: global mapping with the links {harm}")
        return list(base)
    return models if _sizes(models) > _sizes(base) else list(base)


def _sizes(models: Sequence[pycolmap.Reconstruction]) -> tuple[int, int]:
    """Photos in all models, and in the largest."""
    names = [reconstruction.registered_names(model) for model in models]
    return len(frozenset().union(*names)), max(map(len, names), default=0)


class GlobalFinalMapper(FinalMapper):
    """Stage 9 with the global mapper; audited as the incremental one is."""

    def continued(self, base_models: Sequence[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
        """Models of all photos from the stored poses instead of continued base models."""
        return map_all_photos(
            base_models,
            self.run.database_path,
            self.run.image_dir,
            self.run.work_dir / "global",
            self.run.base,
            self.run.seed,
            self.warnings,
        )
