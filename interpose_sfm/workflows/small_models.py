"""What is given out where no model has as many photos as one needs.

COLMAP keeps its first model however small it is, so it is kept here, too, unless its own matches speak against it.
Where COLMAP has none, a link that is believed makes one of its two photos: it is not left without a model.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm import geometry
from interpose_sfm.colmap import databases, incremental_mapper, lifted_limits, reconstruction
from interpose_sfm.matching import pure_rotation, verification
from interpose_sfm.matching.own_focal import own_focal
from interpose_sfm.options import ReconstructOptions
from interpose_sfm.pairs.records import accepted_links
from interpose_sfm.products import Link
from interpose_sfm.run_log import RunLog
from interpose_sfm.workflows import base_models
from interpose_sfm.workflows.extension import Base, Extension

if TYPE_CHECKING:
    import pycolmap


def or_smaller(base: Base, extension: Extension, options: ReconstructOptions, log: RunLog) -> Extension:
    """The extension, with a smaller model where it has none.

    Args:
        base: With the largest of COLMAP's models that are too small.
        extension: What the fallback made of it.
        options: Of all stages.
        log: Gets a warning of what is kept, or of why no link makes a model.
    """
    if extension.models:
        return extension
    small = base.small
    if small is not None and _is_sound(small, base):
        model, which = small, "COLMAP's"
    else:
        found = _of_two(base, extension, options, log)
        if found is None:
            return extension
        model, which = found, "the one that a link makes"
    names = ", ".join(sorted(reconstruction.registered_names(model)))
    least = options.base.min_model_size
    log.warnings.append(f"no model has {least} photos (--min-model-size); {which} of {names} is kept")
    return replace(extension, models=(model,))


def _is_sound(model: pycolmap.Reconstruction, base: Base) -> bool:
    has_moved = base_models.without_one_place([model], base.database_path)
    return bool(has_moved) and lifted_limits.judge(model, base.database_path).is_sound


def _of_two(
    base: Base, extension: Extension, options: ReconstructOptions, log: RunLog
) -> pycolmap.Reconstruction | None:
    """The two photos of the surest link; None where its pose rests on a focal length that nobody knows."""
    database_path = extension.database_path
    if database_path is None or not options.base.lift_limits:
        return None
    for link in sorted(accepted_links(extension.records), key=lambda link: (-link.evidence.strength, link.pair)):
        sure = _by_known_focal(link, base, database_path, options.seed)
        if sure is None:
            turn_deg = float(geometry.rotation_angle_deg(link.b_from_a.rotation))
            log.warnings.append(
                f"{link.pair.a} and {link.pair.b} make no model by themselves: their turn of {turn_deg:.0f} degrees "
                "errs with the focal length, which is a guess; --camera-params gives it, where it is known"
            )
            continue
        model = incremental_mapper.start_from_link(sure, database_path, options.base, options.seed)
        if model is not None:
            return model
    return None


def _by_known_focal(link: Link, base: Base, database_path: Path, seed: int) -> Link | None:
    """The link as it is, or with the pose by the focal length that its own points tell, which the cameras get then.

    None where the pose turns so far that it errs with a focal length that nothing tells.
    """
    if base.known.issuperset((link.pair.a, link.pair.b)) or not pure_rotation.is_wide(link.b_from_a.rotation):
        return link
    cameras = databases.cameras(database_path)
    a, b = cameras[link.pair.a], cameras[link.pair.b]
    told = own_focal(link.b_from_a, link.points_a_px, a, link.points_b_px, b)
    if told is None or not told.is_told:
        return None
    a, b = a.zoomed(told.factor), b.zoomed(told.factor)
    pose = verification.pose_from_points(link.points_a_px, a, link.points_b_px, b, seed)
    if pose is None:
        return None
    databases.guess_focal_lengths(database_path, {link.pair.a: a, link.pair.b: b})
    return replace(link, b_from_a=pose)
