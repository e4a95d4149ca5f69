"""The fallback itself: from a database and base models, whoever made them, to the models that links extend.

These are stages 3 to 9 of ``docs/architecture.md``. `reconstruct` runs them behind its own base stage, `drop_in_run`
behind pycolmap's mapper.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm import report
from interpose_sfm.colmap import calibration, camera_fitting, databases, reconstruction
from interpose_sfm.joining.final_mapping import FinalMapper
from interpose_sfm.joining.global_final_mapping import GlobalFinalMapper
from interpose_sfm.matching.cache import LearnedCache, PhotoViews, open_stores
from interpose_sfm.options import Mapper, ReconstructOptions
from interpose_sfm.pairs import consensus
from interpose_sfm.pairs.pair_pose import PairOutcome, PairPoser
from interpose_sfm.pairs.records import PairRecord, accepted_links, connected_groups, most_promising, promising
from interpose_sfm.pairs.view_graph import build_view_graph
from interpose_sfm.pose.dust3r.stores import NetworkStores, open_network_stores
from interpose_sfm.products import ChoiceReason, ImagePair, Intrinsics, LinkVerdict, PhotoSet, ViewGraph
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.stores import HypothesisStore
from interpose_sfm.storage.workspace import CLIPS_NAME

if TYPE_CHECKING:
    import pycolmap

TRIES_ONCE_CONNECTED = 3  # a photo that is connected is still matched with so many others, to close cycles


@dataclass(frozen=True)
class Base:
    """What the fallback starts from.

    Attributes:
        database_path: COLMAP database of the models; ours, since pycolmap opens it. It is not extended.
        image_dir: Folder that holds the photos under their names.
        names: Photos that may be matched.
        models: Base models, largest first, without the photos that are held too thinly to be trusted.
        registered: What COLMAP registered in each of its models, these photos included, largest first.
    """

    database_path: Path
    image_dir: Path
    names: tuple[str, ...]
    models: tuple[pycolmap.Reconstruction, ...] = ()
    registered: tuple[frozenset[str], ...] = ()


@dataclass(frozen=True)
class Extension:
    """What the fallback made of a base.

    Attributes:
        records: Weak pairs in rank order, and what became of each.
        models: Final models, largest first; the base models themselves where nothing was gained.
        database_path: The extended copy of the database; None where no link was accepted.
    """

    records: tuple[PairRecord, ...]
    models: tuple[pycolmap.Reconstruction, ...]
    database_path: Path | None = None


def build_graph(base: Base, options: ReconstructOptions, log: RunLog) -> ViewGraph:
    """Stage 3: what the base models connect, and the weak pairs."""
    with log.stage("view graph"):
        if len(base.names) < 2:
            return ViewGraph(base.names, {}, (), (), frozenset(base.names), ())
        members = [reconstruction.registered_names(model) for model in base.models]
        return build_view_graph(base.database_path, members, options.view_graph, base.names)


def extend_base(base: Base, store_dir: Path, work_dir: Path, options: ReconstructOptions, log: RunLog) -> Extension:
    """Stages 3 to 9: connect what base models leave apart, as far as the evidence allows.

    Args:
        base: Database, photos and models.
        store_dir: Folder of the HDF5 stores, which later runs on the same photos read.
        work_dir: Folder for temporary things, also for the extended database.
        options: Of all stages.
        log: Gets times, warnings and progress. A progress callback that raises ends the run in order.
    """
    # 3. database + base models -> weak pairs
    graph = build_graph(base, options, log)
    if not graph.weak_pairs:
        return Extension((), base.models)
    with _opened(base, graph, store_dir, work_dir, options, log) as run:
        views = PhotoViews(base.image_dir, _cameras(base))
        poser = run.poser(views)
        # 4. weak pairs -> learned matches -> links, by which guessed focal lengths are known better
        run.match_weak_pairs(poser, views)
        views, poser = run.calibrate(views, poser)
        # 5.-7. what is still apart -> bridging clips -> hypotheses -> choices -> links
        run.bridge(poser, views)
        # 8. links -> mutually consistent set
        run.settle()
        # 9. links into the database, base models continued
        return run.map_links(poser)


def pairs_to_bridge(
    base: Base, store_dir: Path, work_dir: Path, options: ReconstructOptions, log: RunLog
) -> tuple[ImagePair, ...]:
    """The weak pairs for which `extend_base` would ask for clips, most promising first, as far as stage 4 can tell.

    Args:
        base, store_dir, work_dir, log: See `extend_base`.
        options: Of all stages; those of the generator are not used.
    """
    graph = build_graph(base, options, log)
    if not graph.weak_pairs:
        return ()
    options = replace(options, generator="none")
    with _opened(base, graph, store_dir, work_dir, options, log) as run:
        views = PhotoViews(base.image_dir, _cameras(base))
        poser = run.poser(views)
        run.match_weak_pairs(poser, views)
        views, poser = run.calibrate(views, poser)
        found = promising(run.records, graph, poser)
    return tuple(record.weak.pair for record in found[: options.view_graph.max_bridged_pairs])


@contextmanager
def _opened(
    base: Base, graph: ViewGraph, store_dir: Path, work_dir: Path, options: ReconstructOptions, log: RunLog
) -> Iterator[_Fallback]:
    records = tuple(PairRecord(weak) for weak in graph.weak_pairs)
    with open_stores(store_dir) as stores, open_network_stores(store_dir) as network_stores:
        cache = LearnedCache(stores[0], stores[1], options.matching)
        clips_dir = store_dir / CLIPS_NAME
        yield _Fallback(base, graph, records, cache, stores[2], network_stores, clips_dir, work_dir, options, log)


@dataclass(frozen=True)
class _Fallback:
    base: Base
    graph: ViewGraph
    records: tuple[PairRecord, ...]
    cache: LearnedCache
    hypotheses: HypothesisStore
    network_stores: NetworkStores
    clips_dir: Path
    work_dir: Path
    options: ReconstructOptions
    log: RunLog

    def poser(self, views: PhotoViews) -> PairPoser:
        """What finds relative poses, with these cameras."""
        return PairPoser(
            views.loader(self.cache),
            self.base.names,
            self.cache,
            self.hypotheses,
            self.options,
            self.network_stores,
            self.clips_dir,
            self.log.tell,
        )

    def match_weak_pairs(self, poser: PairPoser, views: PhotoViews) -> None:
        """Stage 4: in rank order, until every photo is connected and has had its share of tries."""
        with self.log.stage("learned matching"):
            tries: Counter[str] = Counter()
            for index, record in enumerate(self.records):
                self.log.tell("learned matching", index, len(self.records))
                pair = record.weak.pair
                group = connected_groups(self.graph, accepted_links(self.records))
                if group[pair.a] is group[pair.b] and max(tries[pair.a], tries[pair.b]) >= TRIES_ONCE_CONNECTED:
                    record.detail = "not needed: other links connect the photos already"
                    continue
                tries.update((pair.a, pair.b))
                record.match(*poser.match(pair), views.know(pair), self.options.consensus)
            self.log.tell("learned matching", len(self.records), len(self.records))

    def calibrate(self, views: PhotoViews, poser: PairPoser) -> tuple[PhotoViews, PairPoser]:
        """Stage 4 again, where cameras are guessed: learn focal lengths from the links and verify by them once more."""
        links = accepted_links(self.records)
        camera_ids = databases.camera_ids(self.base.database_path)
        cameras = calibration.calibrate_focal_lengths(views.cameras, camera_ids, links, self.options.seed)
        if cameras == views.cameras:
            return views, poser
        views = replace(views, cameras=cameras)
        poser = self.poser(views)
        for record in self.records:
            if record.tried:
                record.match(*poser.match(record.weak.pair), views.know(record.weak.pair), self.options.consensus)
        return views, poser

    def bridge(self, poser: PairPoser, views: PhotoViews) -> None:
        """Stages 5 to 7: spend the budget of clips on the pairs that would connect what is still apart."""
        if self.options.generator == "none":
            return
        with self.log.stage("bridging"):
            budget = self.options.view_graph.max_bridged_pairs
            for done in range(budget):
                record = most_promising(self.records, self.graph, poser)
                if record is None:
                    break
                self.log.tell("bridging", done, budget)
                self._bridge_one(record, poser.bridge(record.weak.pair), views)

    def _bridge_one(self, record: PairRecord, outcome: PairOutcome, views: PhotoViews) -> None:
        record.choice, record.tried = outcome.choice, (*record.tried, *(outcome.tried or ("no clip",)))
        record.clip_flags = outcome.flags
        if outcome.link is not None:
            decision = consensus.judge(outcome.link, views.know(record.weak.pair), self.options.consensus)
            record.take(decision)
        elif outcome.choice.reason is not ChoiceReason.NO_HYPOTHESIS:
            record.verdict = LinkVerdict.INCONSISTENT
            record.detail = (
                f"{outcome.choice.reason}, {outcome.choice.score_kind} {outcome.choice.score_deg:.1f} degrees"
            )

    def settle(self) -> None:
        """Stage 8: links that contradict base models or one another are refused."""
        with self.log.stage("consensus"):
            offered = [record for record in self.records if record.decision is not None]
            decisions = [record.decision for record in offered if record.decision is not None]
            poses = [reconstruction.poses(model) for model in self.base.models]
            for record, decision in zip(
                offered, consensus.settle(decisions, poses, self.options.consensus), strict=True
            ):
                record.take(decision)

    def map_links(self, poser: PairPoser) -> Extension:
        """Stage 9: accepted links -> final models."""
        if not accepted_links(self.records):
            return Extension(self.records, self.base.models)
        with self.log.stage("final mapping"):
            self.log.tell("final mapping", 0, 1)
            database_path = self.work_dir / "database.db"
            databases.copy_database(self.base.database_path, database_path)
            kind = GlobalFinalMapper if self.options.base.mapper is Mapper.GLOBAL else FinalMapper
            mapper = kind(database_path, self.base.image_dir, self.work_dir, self.options, self.log.warnings)
            models = mapper.map_links(self.base.models, self.records, self.graph, poser)
            self.log.tell("final mapping", 1, 1)
        return Extension(self.records, tuple(models), database_path)


def run_report(
    photo_set: PhotoSet,
    base: Base,
    found: Extension,
    model_paths: Sequence[Path],
    options: ReconstructOptions,
    log: RunLog,
) -> report.RunReport:
    """Stage 10: what a run tells its user.

    Args:
        photo_set: Used and left-out photos.
        base: Before the fallback.
        found: After it.
        model_paths: Where each final model lies.
        options: Of the run.
        log: Times and warnings.
    """
    before = base.registered
    after = [reconstruction.registered_names(model) for model in found.models]
    _warn_of_apart(found.records, found.models, log.warnings)
    return report.RunReport(
        photos=report.photo_reports(photo_set, before, after, [(r.weak.pair, r.verdict) for r in found.records]),
        pairs=tuple(record.report([reconstruction.poses(model) for model in found.models]) for record in found.records),
        models=tuple(
            report.ModelReport(
                path=path.as_posix(),
                photos=tuple(sorted(names)),
                num_points=model.num_points3D(),
                mean_reprojection_error_px=model.compute_mean_reprojection_error(),
            )
            for path, model, names in zip(model_paths, found.models, after, strict=True)
        ),
        num_registered_before=max(map(len, before), default=0),
        num_registered_after=max(map(len, after), default=0),
        num_registered_before_any=len(frozenset().union(*before)),
        num_registered_after_any=len(frozenset().union(*after)),
        timings_s={stage: round(seconds, 3) for stage, seconds in log.timings_s.items()},
        versions=report.versions(),
        options=report.option_values(options),
        seed=options.seed,
        warnings=tuple(log.warnings),
    )


def _warn_of_apart(
    records: Sequence[PairRecord], models: Sequence[pycolmap.Reconstruction], warnings: list[str]
) -> None:
    """Say which accepted links could not bring their photos into one model."""
    members = [reconstruction.registered_names(model) for model in models]
    for link in accepted_links(records):
        if not any(link.pair.a in names and link.pair.b in names for names in members):
            warnings.append(
                f"{link.pair.a} and {link.pair.b} are linked but in no common model: they share "
                f"{len(link.points_a_px)} points, too few of which are known in both models"
            )


def _cameras(base: Base) -> dict[str, Intrinsics]:
    """Cameras by photo name: as refined by a base model where one has the camera, else as in the database."""
    cameras = databases.cameras(base.database_path)
    camera_ids = databases.camera_ids(base.database_path)
    for model in reversed(base.models):
        registered = {image.camera_id for image in model.images.values() if image.has_pose}
        for name, camera_id in camera_ids.items():
            if camera_id in registered:
                cameras[name] = camera_fitting.intrinsics_of(model.camera(camera_id), is_trusted=True)
    return cameras
