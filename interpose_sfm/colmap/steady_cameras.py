"""Models of few photos whose cameras were refined to nonsense: mapped again with distortion held at its start.

Cameras of many parameters that start from a guess fit two or three photos perfectly, with parameters that no lens has.
Models of the same camera then contradict one another, and so does every link between them. Held at their start, all but
focal lengths, they agree; once a model has more photos the parameters may be refined, as far as they stay sane.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpose_sfm.colmap import incremental_mapper, reconstruction
from interpose_sfm.options import CallerOptions

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

FEW_PHOTOS = 3
"""Photos up to which a model does not determine distortion: of more, what was refined is believed."""

MAX_TURN_DEG = 5.0  # of photos of a model among one another by what is refined at last

_HELD: Mapping[str, Any] = {"ba_refine_extra_params": False, "mapper": {"abs_pose_refine_extra_params": False}}


def has_nonsense(models: Sequence[pycolmap.Reconstruction], options: CallerOptions) -> bool:
    """Whether a model of few photos has a camera that COLMAP itself would call bogus, and was asked to refine."""
    pipeline = incremental_mapper.mapper_options(options, 0)
    return pipeline.ba_refine_extra_params and any(
        model.num_reg_images() <= FEW_PHOTOS and _is_bogus(model, pipeline) for model in models
    )


def held(options: CallerOptions) -> CallerOptions:
    """The options with distortion held."""
    pipeline = {**options.pipeline, **_HELD}
    pipeline["mapper"] = {**options.pipeline.get("mapper", {}), **_HELD["mapper"]}
    return replace(options, pipeline=pipeline)


def mapped_again(
    models: Sequence[pycolmap.Reconstruction],
    names: Sequence[str],
    database_path: Path,
    image_dir: Path,
    work_dir: Path,
    options: CallerOptions,
    seed: int,
) -> list[pycolmap.Reconstruction] | None:
    """Models of the same matches with distortion held; None if they do not keep together what was.

    Args:
        models: As COLMAP refined them.
        names: Photos that may be in them.
        database_path, image_dir: What they were made from.
        work_dir: Folder for temporary models.
        options: Of the caller; distortion is held.
        seed: Of the mapper.
    """
    found = incremental_mapper.map_remaining(names, database_path, image_dir, work_dir, held(options), seed)
    held_now = [reconstruction.registered_names(model) for model in found]
    keeps_all = all(any(reconstruction.registered_names(m) <= now for now in held_now) for m in models)
    return found if keeps_all and not has_nonsense(found, options) else None


def refined(model: pycolmap.Reconstruction, options: CallerOptions) -> pycolmap.Reconstruction:
    """A model whose distortion was held, adjusted with it where more than few photos make sense of that.

    Cameras that the caller holds constant stay.
    """
    import pycolmap

    if model.num_reg_images() <= FEW_PHOTOS:
        return model
    pipeline = incremental_mapper.mapper_options(options, 0)
    adjusted = pycolmap.Reconstruction(model)
    config = pycolmap.BundleAdjustmentConfig()
    for image in adjusted.images.values():
        if image.has_pose:
            config.add_image(image.image_id)
    for camera_id in pipeline.constant_cameras:
        config.set_constant_cam_intrinsics(camera_id)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    adjustment = pycolmap.BundleAdjustmentOptions(
        print_summary=False,
        refine_focal_length=pipeline.ba_refine_focal_length,
        refine_principal_point=pipeline.ba_refine_principal_point,
        refine_extra_params=True,
    )
    pycolmap.create_default_bundle_adjuster(adjustment, config, adjusted).solve()
    adjusted.update_point_3d_errors()
    is_sane = not _is_bogus(adjusted, pipeline)
    change_deg = reconstruction.largest_change_deg(model, adjusted)
    logger.info("distortion of %d photos refined: sane %s, turned by %.1f", model.num_reg_images(), is_sane, change_deg)
    return adjusted if is_sane and change_deg <= MAX_TURN_DEG else model


def _is_bogus(model: pycolmap.Reconstruction, pipeline: pycolmap.IncrementalPipelineOptions) -> bool:
    limits = pipeline.min_focal_length_ratio, pipeline.max_focal_length_ratio, pipeline.max_extra_param
    used = {image.camera_id for image in model.images.values() if image.has_pose}
    return any(model.camera(camera_id).has_bogus_params(*limits) for camera_id in used)
