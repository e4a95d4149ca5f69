"""The whole way from photos to models. The only module that knows all stages."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from interpose_sfm import (
    calibration,
    consensus,
    databases,
    features,
    photos,
    reconstruction,
    report,
)
from interpose_sfm.cameras import import_cameras
from interpose_sfm.files import atomic_directory, atomic_write_json, content_key
from interpose_sfm.final_mapping import FinalMapper
from interpose_sfm.learned import LearnedCache, PhotoViews, open_stores
from interpose_sfm.network_stores import NetworkStores, open_network_stores
from interpose_sfm.options import ReconstructOptions
from interpose_sfm.pair_pose import PairOutcome, PairPoser
from interpose_sfm.pair_records import PairRecord, accepted_links, connected_groups, most_promising
from interpose_sfm.products import (
    ChoiceReason,
    Intrinsics,
    LinkVerdict,
    PhotoSet,
    ViewGraph,
)
from interpose_sfm.stores import HypothesisStore
from interpose_sfm.view_graph import build_view_graph
from interpose_sfm.workspace import Workspace

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]

TRIES_ONCE_CONNECTED = 3  # a photo that is connected is still matched with so many others, to close cycles


def reconstruct(
    photo_dir: Path,
    output: Path | None = None,
    options: ReconstructOptions | None = None,
    progress: Progress | None = None,
) -> report.ReconstructionResult:
    """Reconstruct a folder of photos with COLMAP, and bridge what COLMAP leaves apart.

    Where COLMAP connects all photos the result is COLMAP's own. A run that was killed goes on where it stopped.

    Args:
        photo_dir: Folder with photos, sub-folders included.
        output: Output folder; ``<photo_dir>_interpose`` beside the photos by default.
        options: All options.
        progress: Called with the stage, what is done and the total (0 where unknown).

    Raises:
        ValueError: Bad input; the message says what was got, what was expected and what to do.
        WorkspaceBusyError: Another run works in the output folder.
    """
    photo_dir = Path(photo_dir)
    if output is None:
        resolved = photo_dir.resolve()
        output = resolved.with_name(f"{resolved.name}_interpose")
    workspace = Workspace(Path(output))
    with workspace.locked():
        return _Run(workspace, options or ReconstructOptions(), progress).execute(photo_dir)


def find_weak_pairs(
    photo_dir: Path, options: ReconstructOptions | None = None, progress: Progress | None = None
) -> ViewGraph:
    """The view graph of a folder of photos with its weak pairs; leaves nothing on disk."""
    with TemporaryDirectory(prefix="interpose_sfm-") as folder:
        workspace = Workspace(Path(folder) / "run")
        with workspace.locked():
            run = _Run(workspace, options or ReconstructOptions(), progress)
            photo_set = run.collect(Path(photo_dir))
            return run.build_graph(run.map_base(photo_set))


# ---------------------------------------------------------------- one run


@dataclass(frozen=True)
class BaseModels:
    """What the base stage leaves.

    Attributes:
        names: Photos in the database.
        models: Base models, largest first, without the photos that are held too thinly to be trusted.
        registered: What COLMAP registered in each of its models, these photos included, largest first.
    """

    names: tuple[str, ...]
    models: tuple[pycolmap.Reconstruction, ...]
    registered: tuple[frozenset[str], ...] = ()


@dataclass
class _Run:
    workspace: Workspace
    options: ReconstructOptions
    progress: Progress | None
    timings_s: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def execute(self, photo_dir: Path) -> report.ReconstructionResult:
        # 1. photos -> images/ and the list of what is usable
        photo_set = self.collect(photo_dir)
        # 2. photos -> database and base models, plain COLMAP
        base = self.map_base(photo_set)
        # 3. database + base models -> weak pairs
        graph = self.build_graph(base)
        records = [PairRecord(weak) for weak in graph.weak_pairs]
        models = list(base.models)
        if records:
            root = self.workspace.root
            with open_stores(root) as stores, open_network_stores(root) as network_stores:
                cache = LearnedCache(stores[0], stores[1], self.options.matching)
                views = PhotoViews(photo_set.image_dir, self._cameras(base))
                poser = PairPoser(views.loader(cache), base.names, cache, stores[2], self.options, network_stores)
                # 4. weak pairs -> learned matches -> links
                self.match_weak_pairs(records, graph, poser, views)
                views, poser = self.calibrate(records, base, views, poser, cache, stores[2], network_stores)
                # 5.-7. what is still apart -> bridging clips -> hypotheses -> choices -> links
                self.bridge(records, graph, poser, views)
                # 8. links -> mutually consistent set
                self.settle(records, base)
                # 9. links into the database, base models continued
                models = self.map_links(records, graph, base, poser, photo_set)
        # 10. models and report on disk
        return self.finish(photo_set, base, records, models)

    # ------------------------------------------------------------ stages

    def collect(self, photo_dir: Path) -> PhotoSet:
        """Stage 1."""
        with self._stage("photos"):
            found = photos.collect_photos(
                photo_dir,
                self.workspace.images_dir,
                self.options.photos,
                lambda done, total: _tell(self.progress, "photos", done, total),
            )
        if self.options.database is not None:
            found = self._only_in_database(found, self.options.database)
        return found

    def map_base(self, photo_set: PhotoSet) -> BaseModels:
        """Stage 2."""
        options, workspace = self.options, self.workspace
        names = tuple(photo.name for photo in photo_set.photos)
        if len(names) < 2:
            self.warnings.append(f"{len(names)} usable photos: a model needs at least two")
            return BaseModels(names, ())
        database_path = workspace.base_dir / "database.db"
        photo_key = content_key(
            [(p.name, p.sha256, p.focal_px) for p in photo_set.photos],
            options.camera_mode,
            options.base,
            options.seed,
            _file_key(options.database),
            report.versions()["pycolmap"],
        )
        if not workspace.is_done("photos", photo_key):
            workspace.forget("photos")
            shutil.rmtree(workspace.base_dir, ignore_errors=True)
            workspace.base_dir.mkdir(parents=True)
            if options.database is not None:
                databases.copy_database(options.database, database_path)
            else:
                import_cameras(database_path, photo_set, options.camera_mode)
            workspace.mark_done("photos", photo_key, outputs=[database_path])
        models_dir = workspace.base_dir / "models"
        if not workspace.is_done("base", photo_key):
            if options.database is None:
                with self._stage("features"):
                    features.extract_and_match(
                        database_path, photo_set.image_dir, names, options.base, options.seed, self.progress
                    )
            with self._stage("mapping"):
                self._map_plain(database_path, photo_set.image_dir, models_dir, len(names))
            workspace.mark_done("base", photo_key, outputs=[models_dir])
        models = reconstruction.read_models(models_dir, options.base.min_model_size)
        registered = tuple(reconstruction.registered_names(model) for model in models)
        for model in models:
            thin = reconstruction.thinly_held(model, options.base.min_points_per_photo, options.base.min_model_size)
            if thin:
                self.warnings.append(
                    f"held by fewer than {options.base.min_points_per_photo} points, so a link must confirm them: "
                    + ", ".join(sorted(thin))
                )
                reconstruction.remove_photos(model, thin)
        return BaseModels(names, tuple(models), registered)

    def _map_plain(self, database_path: Path, image_dir: Path, models_dir: Path, num_photos: int) -> None:
        registered = [0]

        def on_image() -> None:
            registered[0] += 1
            _tell(self.progress, "mapping", min(registered[0] + 1, num_photos), num_photos)

        with atomic_directory(models_dir) as folder:
            reconstruction.map_base(database_path, image_dir, folder, self.options.base, self.options.seed, on_image)

    def build_graph(self, base: BaseModels) -> ViewGraph:
        """Stage 3."""
        with self._stage("view graph"):
            if len(base.names) < 2:
                return ViewGraph(base.names, {}, (), (), frozenset(base.names), ())
            members = [reconstruction.registered_names(model) for model in base.models]
            return build_view_graph(self.workspace.base_dir / "database.db", members, self.options.view_graph)

    def match_weak_pairs(
        self, records: Sequence[PairRecord], graph: ViewGraph, poser: PairPoser, views: PhotoViews
    ) -> None:
        """Stage 4: in rank order, until every photo is connected and has had its share of tries."""
        with self._stage("learned matching"):
            tries: Counter[str] = Counter()
            for index, record in enumerate(records):
                _tell(self.progress, "learned matching", index, len(records))
                pair = record.weak.pair
                group = connected_groups(graph, accepted_links(records))
                if group[pair.a] is group[pair.b] and max(tries[pair.a], tries[pair.b]) >= TRIES_ONCE_CONNECTED:
                    record.detail = "not needed: other links connect the photos already"
                    continue
                tries.update((pair.a, pair.b))
                record.match(*poser.match(pair), views.know(pair), self.options.consensus)
            _tell(self.progress, "learned matching", len(records), len(records))

    def calibrate(
        self,
        records: Sequence[PairRecord],
        base: BaseModels,
        views: PhotoViews,
        poser: PairPoser,
        cache: LearnedCache,
        hypotheses: HypothesisStore,
        network_stores: NetworkStores,
    ) -> tuple[PhotoViews, PairPoser]:
        """Where cameras are guessed, learn their focal lengths from the links and verify the matches once more."""
        links = accepted_links(records)
        camera_ids = databases.camera_ids(self.workspace.base_dir / "database.db")
        cameras = calibration.calibrate_focal_lengths(views.cameras, camera_ids, links, self.options.seed)
        if cameras == views.cameras:
            return views, poser
        views = replace(views, cameras=cameras)
        poser = PairPoser(views.loader(cache), base.names, cache, hypotheses, self.options, network_stores)
        for record in records:
            if record.tried:
                record.match(*poser.match(record.weak.pair), views.know(record.weak.pair), self.options.consensus)
        return views, poser

    def bridge(self, records: Sequence[PairRecord], graph: ViewGraph, poser: PairPoser, views: PhotoViews) -> None:
        """Stages 5 to 7: spend the budget of clips on the pairs that would connect what is still apart."""
        if self.options.generator == "none":
            return
        with self._stage("bridging"):
            budget = self.options.view_graph.max_bridged_pairs
            for done in range(budget):
                record = most_promising(records, graph, poser)
                if record is None:
                    break
                _tell(self.progress, "bridging", done, budget)
                self._bridge_one(record, poser.bridge(record.weak.pair), views)

    def _bridge_one(self, record: PairRecord, outcome: PairOutcome, views: PhotoViews) -> None:
        record.choice, record.tried = outcome.choice, (*record.tried, *(outcome.tried or ("no clip",)))
        if outcome.link is not None:
            decision = consensus.judge(outcome.link, views.know(record.weak.pair), self.options.consensus)
            record.take(decision)
        elif outcome.choice.reason is not ChoiceReason.NO_HYPOTHESIS:
            record.verdict = LinkVerdict.INCONSISTENT
            record.detail = (
                f"{outcome.choice.reason}, {outcome.choice.score_kind} {outcome.choice.score_deg:.1f} degrees"
            )

    def settle(self, records: Sequence[PairRecord], base: BaseModels) -> None:
        """Stage 8."""
        with self._stage("consensus"):
            offered = [record for record in records if record.decision is not None]
            decisions = [record.decision for record in offered if record.decision is not None]
            poses = [reconstruction.poses(model) for model in base.models]
            for record, decision in zip(
                offered, consensus.settle(decisions, poses, self.options.consensus), strict=True
            ):
                record.take(decision)

    def map_links(
        self,
        records: Sequence[PairRecord],
        graph: ViewGraph,
        base: BaseModels,
        poser: PairPoser,
        photo_set: PhotoSet,
    ) -> list[pycolmap.Reconstruction]:
        """Stage 9."""
        if not accepted_links(records):
            return list(base.models)
        with self._stage("final mapping"):
            _tell(self.progress, "final mapping", 0, 1)
            database_path = self.workspace.work_dir / "database.db"
            databases.copy_database(self.workspace.base_dir / "database.db", database_path)
            mapper = FinalMapper(
                database_path, photo_set.image_dir, self.workspace.work_dir, self.options, self.warnings
            )
            models = mapper.map_links(base.models, records, graph, poser)
            _tell(self.progress, "final mapping", 1, 1)
        return models

    def finish(
        self,
        photo_set: PhotoSet,
        base: BaseModels,
        records: Sequence[PairRecord],
        models: Sequence[pycolmap.Reconstruction],
    ) -> report.ReconstructionResult:
        """Stage 10."""
        workspace = self.workspace
        with self._stage("report"):
            _tell(self.progress, "report", 0, 1)
            with atomic_directory(workspace.sparse_dir) as folder:
                reconstruction.write_models(models, folder)
            linked = workspace.work_dir / "database.db"
            source = linked if linked.exists() else workspace.base_dir / "database.db"
            if source.exists():
                _replace_file(source, workspace.database_path, workspace.work_dir)
            if models:
                temporary = workspace.work_dir / "points.ply"
                reconstruction.write_point_cloud(models[0], temporary)
                temporary.replace(workspace.points_path)
            else:
                workspace.points_path.unlink(missing_ok=True)
        self._warn_of_apart(records, models)
        found = self._report(photo_set, base, records, models)
        atomic_write_json(workspace.report_path, found)
        _tell(self.progress, "report", 1, 1)
        model_dirs = tuple(workspace.sparse_dir / str(index) for index in range(len(models)))
        return report.ReconstructionResult(workspace.root, model_dirs, found)

    def _warn_of_apart(self, records: Sequence[PairRecord], models: Sequence[pycolmap.Reconstruction]) -> None:
        """Say which accepted links could not bring their photos into one model."""
        members = [reconstruction.registered_names(model) for model in models]
        for link in accepted_links(records):
            if not any(link.pair.a in names and link.pair.b in names for names in members):
                self.warnings.append(
                    f"{link.pair.a} and {link.pair.b} are linked but in no common model: they share "
                    f"{len(link.points_a_px)} points, too few of which are known in both models"
                )

    def _report(
        self,
        photo_set: PhotoSet,
        base: BaseModels,
        records: Sequence[PairRecord],
        models: Sequence[pycolmap.Reconstruction],
    ) -> report.RunReport:
        before = base.registered
        after = [reconstruction.registered_names(model) for model in models]
        return report.RunReport(
            photos=report.photo_reports(photo_set, before, after, [(r.weak.pair, r.verdict) for r in records]),
            pairs=tuple(record.report() for record in records),
            models=tuple(
                report.ModelReport(
                    path=f"sparse/{index}",
                    photos=tuple(sorted(names)),
                    num_points=model.num_points3D(),
                    mean_reprojection_error_px=model.compute_mean_reprojection_error(),
                )
                for index, (model, names) in enumerate(zip(models, after, strict=True))
            ),
            num_registered_before=max(map(len, before), default=0),
            num_registered_after=max(map(len, after), default=0),
            num_registered_before_any=len(frozenset().union(*before)),
            num_registered_after_any=len(frozenset().union(*after)),
            timings_s={stage: round(seconds, 3) for stage, seconds in self.timings_s.items()},
            versions=report.versions(),
            options=report.option_values(self.options),
            seed=self.options.seed,
            warnings=tuple(self.warnings),
        )

    # ------------------------------------------------------------ helpers

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        logger.info("stage %s", name)
        start = time.monotonic()
        try:
            yield
        finally:
            self.timings_s[name] = self.timings_s.get(name, 0.0) + time.monotonic() - start

    def _cameras(self, base: BaseModels) -> dict[str, Intrinsics]:
        """Cameras by photo name: as refined by a base model where one has the camera, else as in the database."""
        cameras = databases.cameras(self.workspace.base_dir / "database.db")
        camera_ids = databases.camera_ids(self.workspace.base_dir / "database.db")
        for model in reversed(base.models):
            registered = {image.camera_id for image in model.images.values() if image.has_pose}
            for name, camera_id in camera_ids.items():
                if camera_id in registered:
                    cameras[name] = reconstruction.intrinsics_of(model.camera(camera_id), is_trusted=True)
        return cameras

    def _only_in_database(self, photo_set: PhotoSet, database_path: Path) -> PhotoSet:
        """The photos that a handed-in database holds; says which it does not."""
        if not database_path.is_file():
            raise ValueError(f"got the database {database_path}, expected a COLMAP database file")
        with TemporaryDirectory(prefix="interpose_sfm-") as folder:
            databases.copy_database(database_path, Path(folder) / "copy.db")
            cameras = databases.cameras(Path(folder) / "copy.db")
        kept = []
        for photo in photo_set.photos:
            camera = cameras.get(photo.name)
            if camera is None:
                self.warnings.append(f"{photo.name} is not in the database and is left out")
            elif (camera.width_px, camera.height_px) != (photo.width_px, photo.height_px):
                raise ValueError(
                    f"{photo.name} has {photo.width_px} x {photo.height_px} px upright, the database says "
                    f"{camera.width_px} x {camera.height_px}; hand in the photos that the database was made from"
                )
            else:
                kept.append(photo)
        missing = sorted(cameras.keys() - {photo.name for photo in kept})
        if missing:
            raise ValueError(
                f"the database names {len(missing)} photos that the folder does not hold as usable photos, such as "
                f"{missing[0]}; hand in the folder that the database was made from"
            )
        return replace(photo_set, photos=tuple(kept))


def _tell(progress: Progress | None, stage: str, done: int, total: int) -> None:
    if progress is not None:
        progress(stage, done, total)


def _file_key(path: Path | None) -> str:
    """Content key of a handed-in file, empty without one."""
    if path is None:
        return ""
    if not path.is_file():
        raise ValueError(f"got the database {path}, expected a COLMAP database file")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _replace_file(source: Path, target: Path, work_dir: Path) -> None:
    """Copy a file into place as a whole."""
    temporary = work_dir / "copy"
    shutil.copyfile(source, temporary)
    temporary.replace(target)
