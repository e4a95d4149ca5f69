"""One run of the drop-in: pycolmap's models in, extended ones out, everything else in a folder beside the database.

pycolmap has done stages 1 and 2 of ``docs/architecture.md``; their results are only made ready for the others.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from interpose_sfm.colmap import databases, reconstruction, steady_cameras
from interpose_sfm.options import CallerOptions, FallbackOptions, InterposeOptions, ReconstructOptions
from interpose_sfm.photos import gps, masks
from interpose_sfm.photos.pictures import read_position, strict_pillow
from interpose_sfm.products import Photo, PhotoSet
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.atomic import TEMP_PREFIX, atomic_directory, atomic_write_json, remove_path
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.workflows import fallback, folded_models, next_steps, report_page
from interpose_sfm.workflows.extension import Base, Extension, attempt
from interpose_sfm.workflows.run_report import run_report, write_strips
from interpose_sfm.workflows.start_checks import with_device

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

MIN_MODEL_SIZE = 3  # of models that are new; pycolmap's own are kept whatever their size

# Of the caller's mapper options: what is about files and starting points, not about how to map.
_NOT_FOR_US = frozenset(
    {"image_path", "snapshot_path", "snapshot_frames_freq", "init_image_id1", "init_image_id2", "min_model_size"}
)


@dataclass(frozen=True)
class Output:
    """Where pycolmap has written its models.

    Attributes:
        folder: Holds them as 0, 1, ..., or the first one itself.
        is_single: Which of the two.
    """

    folder: Path
    is_single: bool

    def paths(self, number: int) -> list[Path]:
        """Folder of each of so many models."""
        return [self.folder if self.is_single else self.folder / str(index) for index in range(number)]

    def replace(self, models: Sequence[pycolmap.Reconstruction], num_before: int) -> None:
        """Put models in the place of those that pycolmap wrote; a kill leaves whole files, old or new."""
        if self.is_single:
            with tempfile.TemporaryDirectory(prefix=TEMP_PREFIX, dir=self.folder) as scratch:
                models[0].write(scratch)
                for file in sorted(Path(scratch).iterdir()):
                    file.replace(self.folder / file.name)
            return
        with ExitStack() as stack:
            for model, path in zip(models, self.paths(len(models)), strict=True):
                model.write(stack.enter_context(atomic_directory(path)))
        for index in range(len(models), num_before):
            remove_path(self.folder / str(index))


@dataclass(frozen=True)
class Call:
    """What the user called pycolmap's mapper with.

    Attributes:
        database_path, image_dir: Never written to.
        output: Where to write; None leaves that to the caller.
        options: Mapper options; None for the defaults.
        token: Looked at between steps.
    """

    database_path: Path
    image_dir: Path
    output: Output | None = None
    options: pycolmap.IncrementalPipelineOptions | None = None
    token: pycolmap.CancellationToken | None = None

    def check(self, *_: object) -> None:
        """Raise what pycolmap raises if the call was cancelled."""
        if self.token is not None and self.token.is_cancelled:
            raise InterruptedError("Operation cancelled")


def extended(
    models: Sequence[pycolmap.Reconstruction], wanted: Sequence[str], call: Call, settings: InterposeOptions
) -> list[pycolmap.Reconstruction] | None:
    """Extend models by links between what they leave apart, in memory and in the output folder.

    Args:
        models: In pycolmap's order; they are not altered.
        wanted: Photos that are to be registered.
        call: What pycolmap was called with.
        settings: Options of the fallback.

    Returns:
        Models in the order of those they continue, new ones behind; None where nothing was gained and nothing written
        but the report.
    """
    call.check()
    folder = settings.side_folder.replace("{database}", call.database_path.stem)
    workspace = Workspace(call.database_path.with_name(folder))
    with workspace.locked():
        run = _Run(workspace, call, models, _stage_options(models, call, settings), RunLog(call.check))
        # 1.-2. the user's database, photos and models -> what the fallback starts from
        photo_set, base = run.prepare(wanted)
        steady = run.steadied(base)
        is_steadied = steady is not base
        stages = run.options_with_held_distortion() if is_steadied else run.options
        # 3.-9. base -> links -> extended models
        extension = attempt(
            lambda: fallback.extend_base(steady, workspace.root, workspace.work_dir, stages, run.log),
            Extension((), base.models),
            run.log,
        )
        if is_steadied:
            extension = run.with_refined_distortion(extension)
        call.check()
        # 10. models and report on disk
        extended_models = run.finish(photo_set, base, extension)
        if extension.failure is not None:
            raise extension.failure
        return extended_models


def _stage_options(
    models: Sequence[pycolmap.Reconstruction], call: Call, settings: InterposeOptions
) -> ReconstructOptions:
    """Options of the stages: the fallback's by ``settings``, the mapper's by the caller's."""
    pipeline = {} if call.options is None else mapper_changes(call.options)
    smallest = min([MIN_MODEL_SIZE, *(model.num_reg_images() for model in models)])
    base = CallerOptions(
        min_points_per_photo=0,  # what pycolmap registered stays
        min_model_size=max(2, smallest),
        pipeline=pipeline,
    )
    shared = {option.name: getattr(settings, option.name) for option in fields(FallbackOptions)}
    return with_device(ReconstructOptions(base=base, **shared))


def mapper_changes(options: pycolmap.IncrementalPipelineOptions) -> dict[str, Any]:
    """How a caller's mapper options differ from pycolmap's defaults, as plain values; only what is about mapping."""
    import pycolmap

    changes = _differences(options.todict(), pycolmap.IncrementalPipelineOptions().todict())
    return {name: value for name, value in changes.items() if name not in _NOT_FOR_US}


def _differences(values: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    differences: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            inner = _differences(value, default[name])
            if inner:
                differences[name] = inner
        elif value != default[name]:
            differences[name] = value.name if hasattr(type(value), "__members__") else value  # enums by name
    return differences


@dataclass(frozen=True)
class _Run:
    workspace: Workspace
    call: Call
    models: Sequence[pycolmap.Reconstruction]
    options: ReconstructOptions
    log: RunLog

    def prepare(self, wanted: Sequence[str]) -> tuple[PhotoSet, Base]:
        """In place of stages 1 and 2: usable photos, and copies of all else, since the fallback may change it."""
        import pycolmap

        database_path = self.workspace.work_dir / "base.db"
        databases.copy_database(self.call.database_path, database_path)
        photo_set = PhotoSet(self.call.image_dir, self._usable_photos(database_path, wanted), ())
        models = reconstruction.sort_models(map(pycolmap.Reconstruction, self.models), 1)
        registered = tuple(map(reconstruction.registered_names, models))
        names = tuple(photo.name for photo in photo_set.photos)
        look_alikes = folded_models.suspected(models, database_path, self.log, warn=self._warn)
        positions = gps.positions_m(photo_set.photos) if self.options.use_gps else {}
        return photo_set, Base(
            database_path,
            self.call.image_dir,
            names,
            tuple(models),
            registered,
            look_alikes=look_alikes,
            positions_m=positions,
            mask_dir=self.options.mask_path,
            known=databases.names_with_priors(database_path),
        )

    def steadied(self, base: Base) -> Base:
        """The base with models whose distortion is held, where pycolmap refined it to nonsense; else itself."""
        options = self._caller
        if len(base.names) < 2 or not steady_cameras.has_nonsense(base.models, options):
            return base
        models = steady_cameras.mapped_again(
            base.models,
            base.names,
            base.database_path,
            base.image_dir,
            self.workspace.work_dir / "steady",
            options,
            self.options.seed,
        )
        if models is None:
            return base
        self._warn(
            f"pycolmap refined the cameras of models of up to {steady_cameras.FEW_PHOTOS} photos to nonsense; links "
            "are judged with distortion held at its start"
        )
        return replace(base, models=tuple(models))

    def options_with_held_distortion(self) -> ReconstructOptions:
        """The options for a base that was steadied."""
        return replace(self.options, base=steady_cameras.held(self._caller))

    def with_refined_distortion(self, found: Extension) -> Extension:
        """What the fallback made of a base that was steadied, with distortion refined where that makes sense."""
        return replace(found, models=tuple(steady_cameras.refined(model, self._caller) for model in found.models))

    @property
    def _caller(self) -> CallerOptions:
        assert isinstance(self.options.base, CallerOptions)  # by `_stage_options`
        return self.options.base

    def _usable_photos(self, database_path: Path, wanted: Sequence[str]) -> tuple[Photo, ...]:
        if databases.has_rigs(database_path):
            self._warn("the database has rigs of several cameras, which are left to pycolmap")
            return ()
        cameras = databases.stored_cameras(database_path)
        for model in self.models:
            cameras.update({i.name: model.camera(i.camera_id) for i in model.images.values() if i.has_pose})
        mask_dir = self.options.mask_path
        if mask_dir is not None and not any(masks.mask_file(mask_dir, name) for name in wanted):
            self._warn(f"no photo has a mask in {mask_dir}; expected NAME.png for the photo NAME")
        usable = []
        for name in sorted(wanted):
            path, camera = self.call.image_dir / name, cameras[name]
            problem = _problem(path, camera) or self._mask_problem(name, camera)
            if problem:
                self._warn(f"{name} is left out of the fallback: {problem}")
            else:
                usable.append(Photo(name, path, camera.width, camera.height, None, "", "", "", read_position(path)))
        return tuple(usable)

    def _mask_problem(self, name: str, camera: pycolmap.Camera) -> str:
        """What is wrong with the mask of a photo; empty if nothing is."""
        try:
            masks.photo_mask(self.options.mask_path, name, (camera.width, camera.height))
        except ValueError as error:
            return str(error)
        return ""

    def finish(self, photo_set: PhotoSet, base: Base, found: Extension) -> list[pycolmap.Reconstruction] | None:
        """Stage 10: write what was gained and the report."""
        before = [reconstruction.registered_names(model) for model in self.models]
        models = _in_order(found.models, before)
        after = [reconstruction.registered_names(model) for model in models]
        has_gained = found.failure is None and found.database_path is not None and _is_gain(before, after)
        if not has_gained:
            if found.database_path is not None:
                self._warn("links were accepted but gained nothing: pycolmap's models are kept")
            models = list(self.models)
        found = replace(found, models=tuple(models))
        output = self.call.output or Output(Path(), is_single=False)
        strips = write_strips(found.records, self.workspace.root)
        summary = run_report(photo_set, base, found, output.paths(len(models)), self.options, self.log, strips)
        model_dir = None if self.call.output is None else self.call.output.folder
        steps = next_steps.after_drop_in(self.workspace.root, self.call.image_dir, model_dir)
        summary = replace(summary, next_steps=steps)
        if has_gained:
            self._write(models, found.database_path)
        else:  # what an earlier call has added is not of these models
            remove_path(self.workspace.database_path)
            remove_path(self.workspace.base_dir)
        atomic_write_json(self.workspace.report_path, summary)
        report_page.attempt(self.workspace, summary, models, self.call.image_dir, wanted=self.options.html)
        if found.failure is not None:
            return None
        logger.info(
            "photos in models: %d -> %d, in the largest: %d -> %d; links: %d accepted, %d refused; %s says more",
            *(summary.num_registered_before_any, summary.num_registered_after_any),
            *(summary.num_registered_before, summary.num_registered_after),
            *(summary.num_accepted, summary.num_refused, self.workspace.report_path),
        )
        return models if has_gained else None

    def _write(self, models: Sequence[pycolmap.Reconstruction], database_path: Path | None) -> None:
        assert database_path is not None  # nothing is gained without a link
        self.workspace.put(database_path, self.workspace.database_path)
        with atomic_directory(self.workspace.base_dir) as folder:
            reconstruction.write_models(self.models, folder)
        if self.call.output is not None:
            self.call.output.replace(models, len(self.models))

    def _warn(self, text: str) -> None:
        logger.warning("%s", text)
        self.log.warnings.append(text)


def _problem(path: Path, camera: pycolmap.Camera) -> str:
    """Why a photo cannot be matched with learned features; empty if it can."""
    try:
        with strict_pillow(), Image.open(path) as image:
            size = image.size
    except Exception as error:  # noqa: BLE001 - Pillow raises almost anything
        return f"it cannot be read ({error})"
    if size != (camera.width, camera.height):
        return f"it has {size[0]} x {size[1]} px, the database says {camera.width} x {camera.height}"
    if camera.is_spherical():
        return f"its camera is {camera.model.name}, a panorama; cut it into views with a projection first"
    if min(camera.params[index] for index in camera.focal_length_idxs()) <= 0:
        return f"its {camera.model.name} camera has the focal length {camera.mean_focal_length():g} px"
    return ""


def _in_order(
    models: Sequence[pycolmap.Reconstruction], before: Sequence[frozenset[str]]
) -> list[pycolmap.Reconstruction]:
    """Models in the order of those that they continue, new ones behind, larger ones first."""

    def place(model: pycolmap.Reconstruction) -> tuple[int, int]:
        names = reconstruction.registered_names(model)
        continued = [index for index, old in enumerate(before) if old <= names]
        return min(continued, default=len(before)), -len(names)

    return sorted(models, key=place)


def _is_gain(before: Sequence[frozenset[str]], after: Sequence[frozenset[str]]) -> bool:
    """Whether photos or connections were gained, and none lost."""
    if not all(any(old <= new for new in after) for old in before):
        return False
    in_largest = max(map(len, after), default=0) > max(map(len, before), default=0)
    return in_largest or len(frozenset().union(*after)) > len(frozenset().union(*before))
