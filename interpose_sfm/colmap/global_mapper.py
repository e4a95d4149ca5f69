"""COLMAP's global mapper (GLOMAP) as the second mapper: base models, and models with the links' poses.

Of a pair with a stored relative pose pycolmap 4.2.1 takes that pose as it is; ``decompose_relative_pose`` only fills in
those that are missing. What would estimate poses anew is ``calibrate_view_graph`` with its default options, so it only
runs before there are links.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm.colmap import calibration, databases, reconstruction
from interpose_sfm.options import BaseOptions

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)


def mapper_options(options: BaseOptions, seed: int) -> pycolmap.GlobalPipelineOptions:
    """COLMAP's own defaults but for the model size, threads and seed."""
    import pycolmap

    pipeline = pycolmap.GlobalPipelineOptions(
        min_model_size=options.min_model_size, num_threads=options.num_threads, random_seed=seed
    )
    pipeline.decompose_relative_pose = True  # stored poses are kept
    if not options.refine_intrinsics:
        adjustment = pipeline.mapper.bundle_adjustment
        adjustment.refine_focal_length = adjustment.refine_extra_params = False
    return pipeline


def map_base(
    database_path: Path, image_dir: Path, output_dir: Path, options: BaseOptions, seed: int
) -> list[pycolmap.Reconstruction]:
    """Plain global mapping; models in ``output_dir``/0, 1, ..., largest first.

    Focal lengths that no EXIF gives are first found from the verified pairs, as COLMAP advises, and kept in the
    database with the relative poses that follow from them.
    """
    import pycolmap

    if not all(camera.has_prior_focal_length for camera in databases.stored_cameras(database_path).values()):
        calibration_options = pycolmap.ViewGraphCalibrationOptions(random_seed=seed)
        if not calibration.calibrate_database(database_path, calibration_options):
            logger.warning("focal lengths could not be found from the verified pairs; those in the database are used")
    return map_stored_poses(database_path, image_dir, output_dir, options, seed)


def map_stored_poses(
    database_path: Path, image_dir: Path, output_dir: Path, options: BaseOptions, seed: int
) -> list[pycolmap.Reconstruction]:
    """Global mapping of a database by the relative poses that it holds; models as of `map_base`."""
    import pycolmap

    output_dir.mkdir(parents=True, exist_ok=True)
    models = pycolmap.global_mapping(database_path, image_dir, output_dir, mapper_options(options, seed))
    for index in models:
        reconstruction.check_written(output_dir / str(index))
    return reconstruction.sort_models(models.values(), options.min_model_size)
