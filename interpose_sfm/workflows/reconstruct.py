"""The whole way from photos to models: stages 1, 2 and 10 of ``docs/architecture.md``, around those of `fallback`."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from interpose_sfm import report
from interpose_sfm.colmap import (
    databases,
    features,
    global_mapper,
    incremental_mapper,
    known_model,
    point_cloud,
    reconstruction,
    room,
)
from interpose_sfm.colmap.cameras import checked_groups, import_cameras, known_focal_lengths, write_pose_priors
from interpose_sfm.joining.georegistration import georegister
from interpose_sfm.options import CameraMode, EngineOptions, Mapper, ReconstructOptions
from interpose_sfm.photos import gps, masks
from interpose_sfm.products import LookAlike, PhotoSet, Pose, ViewGraph
from interpose_sfm.run_log import Progress, RunLog
from interpose_sfm.storage.atomic import atomic_directory, atomic_write_json
from interpose_sfm.storage.content_keys import content_key, file_sha256
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.workflows import (
    base_models,
    fallback,
    folded_models,
    known_start,
    next_steps,
    report_page,
    several_lenses,
    small_models,
)
from interpose_sfm.workflows.base_models import SecondMapping
from interpose_sfm.workflows.extension import Base, Extension, attempt
from interpose_sfm.workflows.pair_choice import PairChoice
from interpose_sfm.workflows.photo_stage import PhotoStage
from interpose_sfm.workflows.run_report import run_report, write_strips
from interpose_sfm.workflows.start_checks import check_clips, check_path, check_run, with_device

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

TURNED_BY_180_DEG = 3  # by EXIF


def reconstruct(
    photo_dir: Path,
    output: Path | None = None,
    options: ReconstructOptions | None = None,
    progress: Progress | None = None,
) -> report.ReconstructionResult:
    """Reconstruct a folder of photos with COLMAP, and bridge what COLMAP leaves apart.

    Where COLMAP connects all photos the result is COLMAP's own. A run that was killed goes on where it stopped.

    Args:
        photo_dir: Folder with photos, sub-folders included, or a video.
        output: Output folder; ``<photo_dir>_interpose`` beside the photos by default.
        options: All options.
        progress: Called with the stage, what is done and the total (0 where unknown).

    Raises:
        ValueError: Bad input; the message says what was got, what was expected and what to do.
        WorkspaceBusyError: Another run works in the output folder.
        FallbackError: COLMAP has mapped, and what follows failed; its models and the report are on disk.
    """
    options = options or ReconstructOptions()
    workspace = workspace_of(photo_dir, output)
    check_run(Path(photo_dir), workspace, options)
    with workspace.locked():
        return PhotoRun(workspace, with_device(options), RunLog(progress)).execute(Path(photo_dir))


def workspace_of(photo_dir: Path, output: Path | None) -> Workspace:
    """The output folder that a user named, else ``<photo_dir>_interpose`` beside the photos; makes nothing.

    Raises:
        ValueError: See `check_path`; or a folder of something else.
    """
    check_path(photo_dir)
    if output is not None:
        check_path(output)
        return Workspace(Path(output))
    resolved = Path(photo_dir).resolve()
    name = resolved.stem if resolved.is_file() else resolved.name
    return Workspace(resolved.with_name(f"{name}_interpose"))


def find_weak_pairs(
    photo_dir: Path, options: ReconstructOptions | None = None, progress: Progress | None = None
) -> ViewGraph:
    """The view graph of a folder of photos with its weak pairs; leaves nothing on disk.

    Raises:
        ValueError: There are fewer than two photos; or see `reconstruct`.
    """
    with TemporaryDirectory(prefix="interpose_sfm-") as folder:
        workspace = Workspace(Path(folder) / "run")
        options = replace(options or ReconstructOptions(), execution=EngineOptions())  # no store but the one that goes
        check_path(photo_dir)
        check_run(Path(photo_dir), workspace, options)
        with workspace.locked():
            run = PhotoRun(workspace, options, RunLog(progress))
            photo_set = run.collect(Path(photo_dir))
            if photo_set.lack:
                raise ValueError(f"{photo_dir}: got {photo_set.lack}")
            return fallback.build_graph(
                run.map_base(photo_set), workspace.root, workspace.work_dir, run.options, run.log
            )


def _camera_key(options: ReconstructOptions) -> tuple[object, ...]:
    """What of the cameras belongs into the key of base models: nothing by default, so that earlier keys stay good."""
    given = options.camera_model, options.camera_params, options.base.refine_intrinsics
    default = ReconstructOptions()
    return () if given == (default.camera_model, default.camera_params, default.base.refine_intrinsics) else given


# ---------------------------------------------------------------- one run


@dataclass(frozen=True)
class PhotoRun:
    """One run over a folder of photos, in a locked workspace.

    Attributes:
        workspace: Its output folder.
        options: Of all stages.
        log: Times, warnings and progress.
    """

    workspace: Workspace
    options: ReconstructOptions
    log: RunLog

    def execute(self, photo_dir: Path) -> report.ReconstructionResult:
        """All stages."""
        # 1. photos -> images/ and the list of what is usable
        photo_set = self.collect(photo_dir)
        check_clips(self.options, [photo.name for photo in photo_set.photos])
        # 2. photos -> database and base models, plain COLMAP
        base = self.map_base(photo_set)
        # 3.-9. what the base models leave apart -> links -> final models
        extended = attempt(lambda: self.extend(base), Extension((), base.models), self.log)
        extension = attempt(lambda: small_models.or_smaller(base, extended, self.options, self.log), extended, self.log)
        # 10. models and report on disk
        result = self.finish(photo_set, base, extension, photo_dir)
        if extension.failure is not None:
            raise report.FallbackError(result.report.failure, result) from extension.failure
        return result

    # ------------------------------------------------------------ stages

    def collect(self, photo_dir: Path, *, goes_on: bool = False) -> PhotoSet:
        """Stage 1, see `photo_stage.PhotoStage.collect`."""
        return PhotoStage(self.workspace, self.options, self.log).collect(photo_dir, goes_on=goes_on)

    @property
    def mask_dir(self) -> Path | None:
        """Folder of the photos' masks; None for none."""
        return None if self.options.mask_path is None else self.workspace.masks_dir

    def map_base(self, photo_set: PhotoSet) -> Base:
        """Stage 2: photos -> database and base models."""
        options, workspace = self.options, self.workspace
        names = tuple(photo.name for photo in photo_set.photos)
        database_path = workspace.base_dir / "database.db"
        pair_choice = PairChoice(photo_set, database_path, workspace.work_dir, options, self.log)
        if len(names) < 2:
            self.log.warnings.append(f"got {photo_set.lack}")
            return Base(database_path, photo_set.image_dir, names)
        photo_key = content_key(
            [(p.name, p.sha256, p.focal_px) for p in photo_set.photos],
            options.camera_mode,
            options.base,
            options.seed,
            "" if options.database is None else file_sha256(options.database),
            report.versions()["pycolmap"],
            *masks.digests(self.mask_dir),
            *_camera_key(options),
            *(["known poses", *sorted(photo_set.known.items())] if photo_set.known else []),
            *(["as stored"] if options.photos.keep_orientation else []),
            *pair_choice.key_parts(),
        )
        models_dir = workspace.base_dir / "models"
        given = {name: view.cam_from_world for name, view in photo_set.known.items()}
        if database_path.is_file():
            databases.check_free(database_path)
        is_mapped = workspace.is_done("base", photo_key) and self._is_whole(database_path)
        if not is_mapped:
            choose_pairs = None
            if options.database is None:  # what is asked for in vain is refused before what is there is taken away
                choose_pairs = pair_choice.chooser()
                checked_groups(photo_set, options.camera_mode, options.camera_params)
            if not (workspace.is_done("photos", photo_key) and self._is_whole(database_path)):
                self._import_photos(database_path, photo_set, photo_key)
            if options.database is None:
                with self.log.stage("features"):
                    features.extract_and_match(
                        database_path,
                        photo_set.image_dir,
                        names,
                        options.base,
                        options.seed,
                        self.log.progress,
                        mask_dir=self.mask_dir,
                        choose_pairs=choose_pairs,
                    )
        if given:
            turned = [photo.name for photo in photo_set.photos if photo.orientation == TURNED_BY_180_DEG]
            doubt = known_model.doubt(given, database_path, turned)
            if doubt and options.photos.keep_orientation:
                doubt += "; if they are of upright pictures, leave --keep-orientation out"
            self.log.warnings.extend([doubt] if doubt else [])
        if not is_mapped:
            with self.log.stage("mapping"):
                self._map_plain(database_path, photo_set.image_dir, models_dir, names, given)
            workspace.mark_done("base", photo_key, outputs=[models_dir, database_path])
        plain = reconstruction.read_models(models_dir, 2, given)
        second = SecondMapping(workspace, photo_key, database_path, photo_set.image_dir, names, given=frozenset(given))
        if options.camera_mode is CameraMode.AUTO and options.database is None and not given:
            second, plain = self._apart(second, plain)
        models = reconstruction.sort_models(plain, options.base.min_model_size, given)
        small = None if models or not plain else plain[0]
        registered = tuple(map(reconstruction.registered_names, models or plain[:1]))
        believed = base_models.believed(models, second, options.base, options.seed, self.log)
        is_split = options.base.split_lookalikes
        remedy = "" if is_split else "; --split-lookalikes maps again without what looks alike"
        look_alikes = folded_models.suspected(believed.models, database_path, self.log, remedy)
        if look_alikes and is_split:
            second, believed = self._unfolded(second, look_alikes)
        if not believed.models:  # links between photos of one place would be of no use, and some look as if they were
            names = tuple(name for name in names if name not in believed.one_place)
        positions = gps.positions_m(photo_set.photos) if options.use_gps else {}
        return Base(
            second.database_path,
            photo_set.image_dir,
            names,
            believed.models,
            registered,
            small,
            believed.one_place,
            look_alikes,
            positions,
            self.mask_dir,
            known_focal_lengths(photo_set, options.camera_params, options.database),
            given,
        )

    def _import_photos(self, database_path: Path, photo_set: PhotoSet, photo_key: str) -> None:
        """A database with the photos and their cameras, in a new folder of the base stage."""
        options, workspace = self.options, self.workspace
        workspace.forget("photos")
        shutil.rmtree(workspace.base_dir, ignore_errors=True)
        workspace.base_dir.mkdir(parents=True)
        if options.database is not None:
            databases.copy_database(options.database, database_path)
            if not options.base.refine_intrinsics:
                databases.hold_focal_lengths(database_path)
            known_model.store_cameras(database_path, photo_set.known)
        else:
            room.check_room(workspace.base_dir)
            import_cameras(
                database_path,
                photo_set,
                options.camera_mode,
                options.camera_model,
                options.camera_params,
                is_fixed=not options.base.refine_intrinsics,
            )
        workspace.mark_done("photos", photo_key)  # what it wrote grows with the next stage, so it has no digest

    def _is_whole(self, database_path: Path) -> bool:
        """Whether what a killed run has put into the database can be gone on with."""
        try:
            databases.check(database_path)
        except ValueError as error:
            logger.warning("%s; it is made again", error)
            return False
        return True

    def _apart(
        self, second: SecondMapping, plain: list[pycolmap.Reconstruction]
    ) -> tuple[SecondMapping, list[pycolmap.Reconstruction]]:
        """The plain models, with a camera for each photo where those that share one differ in focal length."""

        def map_plain(database_path: Path, models_dir: Path) -> None:
            self._map_plain(database_path, second.image_dir, models_dir, second.names)

        if not self.options.base.refine_intrinsics:
            return second, plain
        return several_lenses.mapped_apart(plain, second, map_plain, self.log) or (second, plain)

    def _unfolded(
        self, second: SecondMapping, look_alikes: Sequence[LookAlike]
    ) -> tuple[SecondMapping, base_models.BelievedModels]:
        """The base models once more, without the pairs that fold them."""

        def map_plain(database_path: Path, models_dir: Path) -> None:
            with self.log.stage(base_models.STAGE):
                self._map_plain(database_path, second.image_dir, models_dir, second.names)

        base = self.options.base
        smaller = folded_models.split(second, look_alikes, map_plain, self.log)
        models = reconstruction.read_models(smaller.database_path.parent / "models", base.min_model_size)
        return smaller, base_models.believed(models, smaller, base, self.options.seed, self.log)

    def _map_plain(
        self,
        database_path: Path,
        image_dir: Path,
        models_dir: Path,
        names: Sequence[str],
        given: Mapping[str, Pose] | None = None,
    ) -> None:
        """COLMAP's own models; where poses were given, by going on from these."""
        if self.options.base.mapper is Mapper.GLOBAL:
            with atomic_directory(models_dir) as folder:
                global_mapper.map_base(database_path, image_dir, folder, self.options.base, self.options.seed)
            return
        on_image = self.log.counter("mapping", len(names))
        if given:
            work_dir = self.workspace.work_dir
            with atomic_directory(models_dir) as folder:
                known_start.map_from(given, names, database_path, image_dir, folder, work_dir, self.options, on_image)
            return
        with atomic_directory(models_dir) as folder:
            incremental_mapper.map_base(
                database_path, image_dir, folder, self.options.base, self.options.seed, on_image
            )

    def extend(self, base: Base) -> Extension:
        """Stages 3 to 9: base models -> final models."""
        extension = fallback.extend_base(base, self.workspace.root, self.workspace.work_dir, self.options, self.log)
        extension = replace(extension, models=tuple(base_models.without_false(extension.models, base)))
        if self.options.base.split_lookalikes:
            extension = folded_models.kept_apart(base, extension, self.workspace.base_dir / "database.db", self.log)
        return extension

    def finish(self, photo_set: PhotoSet, base: Base, found: Extension, photo_dir: Path) -> report.ReconstructionResult:
        """Stage 10: models, point cloud and report."""
        found, georeference = self._in_metres(photo_set, found)
        workspace, models = self.workspace, found.models
        with self.log.stage("report"):
            self.log.tell("report", 0, 1)
            with atomic_directory(workspace.sparse_dir) as folder:
                reconstruction.write_models(models, folder)
            source = found.database_path or base.database_path
            if source.exists():
                workspace.put(source, workspace.database_path)
                if self.options.database is None:  # positions do not matter to the base stage, and may be others by now
                    write_pose_priors(workspace.database_path, photo_set)
            if models and models[0].num_points3D():
                temporary = workspace.work_dir / "points.ply"
                point_cloud.write_point_cloud(models[0], temporary)
                temporary.replace(workspace.points_path)
            else:
                workspace.points_path.unlink(missing_ok=True)
        model_dirs = tuple(workspace.sparse_dir / str(index) for index in range(len(models)))
        paths = [path.relative_to(workspace.root) for path in model_dirs]
        strips = write_strips(found.records, workspace.root)
        summary = run_report(photo_set, base, found, paths, self.options, self.log, strips)
        steps = next_steps.after_reconstruct(photo_dir, workspace.root, self.options, summary.advice, bool(models))
        summary = replace(summary, next_steps=steps, georeference=georeference)
        atomic_write_json(workspace.report_path, summary)
        report_page.attempt(workspace, summary, models, photo_set.image_dir, wanted=self.options.html)
        self.log.tell("report", 1, 1)
        return report.ReconstructionResult(workspace.root, model_dirs, summary)

    def _in_metres(self, photo_set: PhotoSet, found: Extension) -> tuple[Extension, report.GeoreferenceReport | None]:
        """The final models by GPS, where that is asked for and can be done; they share one frame then."""
        if not self.options.georegister:
            return found, None
        frame = gps.local_frame(photo_set.photos)
        if frame is None:
            self.log.warnings.append(
                "no model is georegistered: that takes three photos with a GPS position, and fewer than two have one"
            )
            return found, None
        moved = [georegister(model, frame.positions_m, self.options.seed) for model in found.models]
        for index, each in enumerate(moved):
            if not each.is_done:
                self.log.warnings.append(f"sparse/{index} is {each.detail}")
        told = tuple(each.detail for each in moved)
        done = tuple(each.is_done for each in moved)
        summary = report.GeoreferenceReport(frame.latitude_deg, frame.longitude_deg, told, done)
        return replace(found, models=tuple(each.model for each in moved)), summary
