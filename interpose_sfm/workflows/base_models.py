"""Which base models the fallback starts from: plain COLMAP's, or where these lack photos, those of lifted limits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm.colmap import incremental_mapper, lifted_limits, one_place, photo_audit, reconstruction
from interpose_sfm.colmap.lifted_limits import JudgedModel
from interpose_sfm.options import BaseOptions, Mapper
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.atomic import atomic_directory
from interpose_sfm.storage.content_keys import content_key
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.workflows.fallback import Base

if TYPE_CHECKING:
    import pycolmap

STAGE = "mapping again"

ONE_PLACE = "taken from one place: directions only, nothing can be triangulated"


@dataclass(frozen=True)
class LiftedMapping:
    """Mapping with lifted limits, which a workspace keeps beside the plain models.

    Attributes:
        workspace: Locked.
        key: Of the plain models: what the new ones depend on as well.
        database_path: Holds the matches.
        image_dir: The photos.
        names: Their names.
    """

    workspace: Workspace
    key: str
    database_path: Path
    image_dir: Path
    names: tuple[str, ...]

    def models(self, options: BaseOptions, seed: int, log: RunLog) -> list[pycolmap.Reconstruction]:
        """Largest first; made once."""
        folder, key = self.workspace.base_dir / "lifted", content_key(self.key, "lifted limits")
        if not self.workspace.is_done("lifted", key):
            with log.stage(STAGE), atomic_directory(folder) as temporary:
                count = log.counter(STAGE, len(self.names))
                incremental_mapper.map_base(
                    self.database_path, self.image_dir, temporary, options, seed, count, lifts_limits=True
                )
            self.workspace.mark_done("lifted", key, outputs=[folder])
        return reconstruction.read_models(folder, options.min_model_size)


@dataclass(frozen=True)
class BelievedModels:
    """What the base stage goes on with.

    Attributes:
        models: Largest first.
        one_place: Photos that were taken from one place, so that there is no model of them.
    """

    models: tuple[pycolmap.Reconstruction, ...]
    one_place: frozenset[str] = frozenset()


def believed(
    plain: Sequence[pycolmap.Reconstruction], lifted: LiftedMapping, options: BaseOptions, seed: int, log: RunLog
) -> BelievedModels:
    """The models to go on with, without photos that their matches refute; warnings say what was done.

    Args:
        plain: What plain COLMAP made, largest first; photos are taken out of them.
        lifted: What to do where they lack photos.
        options, seed: Of the base stage.
        log: Gets times, warnings and progress.
    """
    groups = one_place.one_place_groups(lifted.database_path, lifted.names)
    kept = without_one_place(plain, lifted.database_path)
    base = [lifted_limits.judge(model, lifted.database_path) for model in kept]
    models = _climbed(base, lifted, groups, options, seed, log)
    if models is None:
        for judged in base:
            _sift(judged, options, log)
        found = [judged.model for judged in base if judged.model.num_points3D() >= lifted_limits.MIN_POINTS]
        models = reconstruction.sort_models(found, options.min_model_size)
    held = frozenset().union(*(reconstruction.registered_names(model) for model in models))
    turned = [group for group in groups if len(group) >= options.min_model_size]
    names = frozenset().union(*turned, *(reconstruction.registered_names(m) for m in plain if m not in kept)) - held
    if names:
        log.warnings.append(f"{ONE_PLACE}: {', '.join(sorted(names))}")
    return BelievedModels(tuple(models), names)


def without_one_place(models: Sequence[pycolmap.Reconstruction], database_path: Path) -> list[pycolmap.Reconstruction]:
    """The models but for those of photos that were taken from one place, whose points are not there."""
    return [m for m in models if not one_place.is_one_place(database_path, reconstruction.registered_names(m))]


def without_false(models: Sequence[pycolmap.Reconstruction], base: Base) -> list[pycolmap.Reconstruction]:
    """Of final models those that have points, and that links have not made of photos from one place."""
    found = [model for model in models if model.num_points3D()]
    return without_one_place(found, base.database_path) if base.one_place else found


def _climbed(
    base: Sequence[JudgedModel],
    lifted: LiftedMapping,
    one_place_groups: Sequence[frozenset[str]],
    options: BaseOptions,
    seed: int,
    log: RunLog,
) -> list[pycolmap.Reconstruction] | None:
    """Models of lifted limits in the place of plain ones; None where they are of no use."""
    if not options.lift_limits or options.mapper is Mapper.GLOBAL:
        return None
    num_sound = max((judged.num_sound for judged in base), default=0)
    of_use = frozenset(lifted.names).difference(*one_place_groups)
    if lifted_limits.num_within_reach(lifted.database_path, of_use) <= max(num_sound, options.min_model_size - 1):
        return None
    if not lifted_limits.are_cameras_held(lifted.database_path, lifted.names):
        log.warnings.append(
            "photos that COLMAP left out were not tried with lifted limits: focal lengths are neither in EXIF nor "
            f"shared by {lifted_limits.MIN_SHARED} photos (--camera-mode single says that one camera took all)"
        )
        return None
    found = [
        lifted_limits.judge(model, lifted.database_path)
        for model in without_one_place(lifted.models(options, seed, log), lifted.database_path)
    ]
    models = lifted_limits.chosen(base, found)
    if models is None:
        return None
    log.warnings.append(_told(base, models[0]))
    for model in models:
        _flag(reconstruction.thinly_held(model, options.min_points_per_photo), options, log)
    return models


def _told(base: Sequence[JudgedModel], model: pycolmap.Reconstruction) -> str:
    before = max((judged.model.num_reg_images() for judged in base), default=0)
    text = (
        "COLMAP's matches were mapped once more with forward motion, small angles and points of two photos, which put "
        f"{model.num_reg_images()} photos in one model where plain COLMAP put {before}"
    )
    refuted = sorted({name for judged in base for name in judged.refuted})
    return f"{text}, against most matches of {', '.join(refuted)}" if refuted else text


def _flag(names: Collection[str], options: BaseOptions, log: RunLog) -> None:
    if names:
        log.warnings.append(
            f"held by fewer than {options.min_points_per_photo} points, though nothing speaks against them: "
            + ", ".join(sorted(names))
        )


def _sift(judged: JudgedModel, options: BaseOptions, log: RunLog) -> None:
    """Take thinly held photos out of a plain model if they are refuted, and say what else there is to know of it."""
    model, refuted = judged.model, judged.refuted.keys()
    thin = reconstruction.thinly_held(model, options.min_points_per_photo)
    out = photo_audit.removable(model, thin, refuted, options.min_model_size)
    size = f"COLMAP's model of {model.num_reg_images()} photos"
    _flag(thin - refuted, options, log)
    if out:
        gone = ", ".join(sorted(out))
        log.warnings.append(f"taken out of {size}, since most of their matches speak against where it has them: {gone}")
    if refuted - out:
        broken = ", ".join(sorted(refuted - out))
        log.warnings.append(f"{size} is probably broken: most matches speak against where it has {broken}")
    if judged.fault:
        log.warnings.append(f"{size} is not to be trusted: {judged.fault}")
    reconstruction.remove_photos(model, out)
