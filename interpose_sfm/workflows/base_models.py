"""Which base models the fallback starts from: plain COLMAP's, or where these lack photos, those of a second mapping."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm.colmap import calibration, incremental_mapper, lifted_limits, one_place, photo_audit, reconstruction
from interpose_sfm.colmap.lifted_limits import JudgedModel
from interpose_sfm.options import BaseOptions, Mapper
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.atomic import atomic_directory
from interpose_sfm.storage.content_keys import content_key
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.workflows.extension import Base

if TYPE_CHECKING:
    import pycolmap

STAGE = "mapping again"

ONE_PLACE = "taken from one place: directions only, nothing can be triangulated"


@dataclass(frozen=True)
class SecondMapping:
    """COLMAP's matches mapped once more, which a workspace keeps beside the plain models.

    Where focal lengths are known or shared limits are lifted. Where they are not small angles would leave them open, so
    that they are found from the verified pairs, and COLMAP's own limits stay.

    Attributes:
        workspace: Locked.
        key: Of the plain models: what the new ones depend on as well.
        database_path: Holds the matches.
        image_dir: The photos.
        names: Their names.
        stage: Of the workspace, and its folder beside the plain models.
        given: Photos whose poses were handed in; they stay where they are, so that nothing is mapped once more.
    """

    workspace: Workspace
    key: str
    database_path: Path
    image_dir: Path
    names: tuple[str, ...]
    stage: str = "again"
    given: frozenset[str] = frozenset()

    @cached_property
    def lifts_limits(self) -> bool:
        """Which of the two is done."""
        return lifted_limits.are_cameras_held(self.database_path, self.names)

    def models(
        self, options: BaseOptions, seed: int, log: RunLog, names: Collection[str] | None = None
    ) -> list[pycolmap.Reconstruction]:
        """Largest first; made once.

        Args:
            options, seed, log: See `believed`.
            names: Photos that are worth mapping; all by default.
        """
        folder = self.workspace.base_dir / self.stage
        chosen = sorted(self.names if names is None else names)
        key = content_key(self.key, "lifted limits" if self.lifts_limits else "focal lengths from pairs")
        if len(chosen) < len(self.names):
            key = content_key(key, chosen)
        if not self.workspace.is_done(self.stage, key):
            with log.stage(STAGE), atomic_directory(folder) as temporary:
                self._map(temporary, chosen, options, seed, log.counter(STAGE, len(chosen)))
            self.workspace.mark_done(self.stage, key, outputs=[folder])
        return reconstruction.read_models(folder, options.min_model_size)

    def _map(
        self, folder: Path, names: Sequence[str], options: BaseOptions, seed: int, count: Callable[[], None]
    ) -> None:
        database_path = self.database_path
        if not self.lifts_limits:
            database_path = self.workspace.work_dir / "calibrated.db"
            if not calibration.calibrated_copy(self.database_path, database_path, seed):
                return
        some = names if len(names) < len(self.names) else ()
        incremental_mapper.map_base(
            database_path, self.image_dir, folder, options, seed, count, lifts_limits=self.lifts_limits, names=some
        )


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
    plain: Sequence[pycolmap.Reconstruction], second: SecondMapping, options: BaseOptions, seed: int, log: RunLog
) -> BelievedModels:
    """The models to go on with, without photos that their matches refute; warnings say what was done.

    Args:
        plain: What plain COLMAP made, largest first; photos are taken out of them.
        second: What to do where they lack photos.
        options, seed: Of the base stage.
        log: Gets times, warnings and progress.
    """
    groups = one_place.one_place_groups(second.database_path, second.names)
    kept = without_one_place(plain, second.database_path, second.given)
    base = [lifted_limits.judge(model, second.database_path) for model in kept]
    models = _climbed(base, second, groups, options, seed, log)
    if models is None:
        for judged in base:
            _sift(judged, second.given, options, log)
        solid = [judged.model for judged in base if judged.model.num_points3D() >= lifted_limits.MIN_POINTS]
        solid += [judged.model for judged in base if judged.model not in solid and _has(judged.model, second.given)]
        models = reconstruction.sort_models(solid, options.min_model_size, second.given)
    held = reconstruction.names_in_any(models)
    turned = [group for group in groups if len(group) >= options.min_model_size]
    names = reconstruction.names_in_any(m for m in plain if m not in kept).union(*turned) - held
    if names:
        log.warnings.append(f"{ONE_PLACE}: {', '.join(sorted(names))}")
    return BelievedModels(tuple(models), names)


def without_one_place(
    models: Sequence[pycolmap.Reconstruction], database_path: Path, given: Collection[str] = ()
) -> list[pycolmap.Reconstruction]:
    """The models but for those of photos that were taken from one place, whose points are not there, and not given."""
    return [
        m
        for m in models
        if _has(m, given) or not one_place.is_one_place(database_path, reconstruction.registered_names(m))
    ]


def _has(model: pycolmap.Reconstruction, given: Collection[str]) -> bool:
    return not reconstruction.registered_names(model).isdisjoint(given)


def without_false(models: Sequence[pycolmap.Reconstruction], base: Base) -> list[pycolmap.Reconstruction]:
    """Of final models those that have points, and that links have not made of photos from one place."""
    with_points = [model for model in models if model.num_points3D() or _has(model, base.given)]
    return without_one_place(with_points, base.database_path, base.given) if base.one_place else with_points


def _climbed(
    base: Sequence[JudgedModel],
    second: SecondMapping,
    one_place_groups: Sequence[frozenset[str]],
    options: BaseOptions,
    seed: int,
    log: RunLog,
) -> list[pycolmap.Reconstruction] | None:
    """Models of the second mapping in the place of plain ones; None where they are of no use."""
    if not options.lift_limits or options.mapper is Mapper.GLOBAL or second.given:
        return None
    num_sound = max((judged.num_sound for judged in base), default=0)
    of_use = frozenset(second.names).difference(*one_place_groups)
    reach = groups = lifted_limits.within_reach(second.database_path, of_use)
    if base and base[0].is_sound:  # which every gain must hold as a whole, see `lifted_limits.chosen`
        largest = reconstruction.registered_names(base[0].model)
        groups = tuple(group for group in groups if group & largest)
    if max(map(len, groups), default=0) <= max(num_sound, options.min_model_size - 1):
        return None
    held = [reconstruction.registered_names(judged.model) for judged in base if judged.is_sound]
    whole = [group for group in reach if any(group <= names for names in held)]  # nothing can be added to these
    names = frozenset(second.names).difference(*whole)
    candidates = [
        lifted_limits.judge(model, second.database_path)
        for model in without_one_place(second.models(options, seed, log, names), second.database_path)
    ]
    models = lifted_limits.chosen(base, candidates)
    if models is None:
        return None
    log.warnings.append(_told(base, models, second.lifts_limits))
    for model in models:
        _flag(reconstruction.thinly_held(model, options.min_points_per_photo), options, log)
    return models


def _told(base: Sequence[JudgedModel], models: Sequence[pycolmap.Reconstruction], lifts_limits: bool) -> str:
    before = max((judged.model.num_reg_images() for judged in base), default=0)
    how = "forward motion, small angles and points of two photos" if lifts_limits else "focal lengths found from them"
    text = (
        f"COLMAP's matches were mapped once more with {how}, which put {models[0].num_reg_images()} photos in one "
        f"model where plain COLMAP put {before}"
    )
    refuted = sorted({name for judged in base for name in judged.refuted})
    if refuted:
        text += f", against most matches of {', '.join(refuted)}"
    held = reconstruction.names_in_any(models)
    lost = reconstruction.names_in_any(judged.model for judged in base) - held
    if lost:
        text += f"; plain COLMAP had {', '.join(sorted(lost))} as well, in a model that is not to be trusted"
    return text


def _flag(names: Collection[str], options: BaseOptions, log: RunLog) -> None:
    if names:
        log.warnings.append(
            f"held by fewer than {options.min_points_per_photo} points, though nothing speaks against them: "
            + ", ".join(sorted(names))
        )


def _sift(judged: JudgedModel, given: Collection[str], options: BaseOptions, log: RunLog) -> None:
    """Take thinly held photos out of a plain model if they are refuted, and say what else there is to know of it."""
    model, refuted = judged.model, judged.refuted.keys()
    thin = reconstruction.thinly_held(model, options.min_points_per_photo) - set(given)
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
