"""COLMAP's global mapper (GLOMAP) as the second mapper: base models, and models with the links' poses.

Of a pair with a stored relative pose pycolmap 4.2.1 takes that pose as it is; ``decompose_relative_pose`` only fills in
those that are missing. What would estimate poses anew is ``calibrate_view_graph`` with its default options, so it only
runs before there are links.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm import databases, reconstruction
from interpose_sfm.final_mapping import MAX_BASE_CHANGE_DEG, FinalMapper
from interpose_sfm.options import BaseOptions

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)


def mapper_options(options: BaseOptions, seed: int) -> pycolmap.GlobalPipelineOptions:
    """COLMAP's own defaults but for the model size, threads and seed."""
    import pycolmap

    found = pycolmap.GlobalPipelineOptions(
        min_model_size=options.min_model_size, num_threads=options.num_threads, random_seed=seed
    )
    found.decompose_relative_pose = True  # stored poses are kept
    return found


def map_base(
    database_path: Path, image_dir: Path, output_dir: Path, options: BaseOptions, seed: int
) -> list[pycolmap.Reconstruction]:
    """Plain global mapping; models in ``output_dir``/0, 1, ..., largest first.

    Focal lengths that no EXIF gives are first found from the verified pairs, as COLMAP advises, and kept in the
    database with the relative poses that follow from them.
    """
    import pycolmap

    if not all(camera.has_prior_focal_length for camera in databases.stored_cameras(database_path).values()):
        found = pycolmap.calibrate_view_graph(database_path, pycolmap.ViewGraphCalibrationOptions(random_seed=seed))
        if not found:
            logger.warning("focal lengths could not be found from the verified pairs; those in the database are used")
    return map_stored_poses(database_path, image_dir, output_dir, options, seed)


def map_stored_poses(
    database_path: Path, image_dir: Path, output_dir: Path, options: BaseOptions, seed: int
) -> list[pycolmap.Reconstruction]:
    """Global mapping of a database by the relative poses that it holds; models as of `map_base`."""
    import pycolmap

    output_dir.mkdir(parents=True, exist_ok=True)
    models = pycolmap.global_mapping(database_path, image_dir, output_dir, mapper_options(options, seed))
    return reconstruction.sort_models(models.values(), options.min_model_size)


def map_links(
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
        warnings.append(
            f"base models are kept as they were: global mapping with the links turned them by {max(changes_deg):.0f} "
            "degrees (180: lost a photo)"
        )
        return list(base)
    return models if _sizes(models) > _sizes(base) else list(base)


def _sizes(models: Sequence[pycolmap.Reconstruction]) -> tuple[int, int]:
    """Photos in all models, and in the largest."""
    names = [reconstruction.registered_names(model) for model in models]
    return len(frozenset().union(*names)), max(map(len, names), default=0)


@dataclass(frozen=True)
class GlobalFinalMapper(FinalMapper):
    """Stage 9 with the global mapper; audited as the incremental one is."""

    def _continued(self, base: Sequence[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
        """Models of all photos from the stored poses instead of continued base models."""
        return map_links(
            base,
            self.database_path,
            self.image_dir,
            self.work_dir / "global",
            self.options.base,
            self.options.seed,
            self.warnings,
        )
