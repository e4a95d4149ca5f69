"""The fallback itself: from a database and base models, whoever made them, to the models that links extend.

These are stages 3 to 9 of ``docs/architecture.md``. `reconstruct` runs them behind its own base stage, `drop_in_run`
behind pycolmap's mapper.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from interpose_sfm.bridging.factory import NO_BRIDGING
from interpose_sfm.clips.protocol import BudgetError
from interpose_sfm.colmap import calibration, databases, reconstruction
from interpose_sfm.colmap.cameras import refined_cameras
from interpose_sfm.engines.protocol import WorkerDiedError
from interpose_sfm.joining.final_mapping import FinalMapper, FinalModels
from interpose_sfm.joining.global_final_mapping import GlobalFinalMapper
from interpose_sfm.joining.mapping_run import MappingRun
from interpose_sfm.matching.ahead import Ahead, PairJob
from interpose_sfm.matching.cache import PhotoViews
from interpose_sfm.options import Mapper, ReconstructOptions
from interpose_sfm.pairs.consensus import settled
from interpose_sfm.pairs.further_links import FurtherLinks
from interpose_sfm.pairs.network_poses import photos_beside
from interpose_sfm.pairs.records import (
    PairRecord,
    accepted_links,
    connected_groups,
    least_strength,
    left_open,
    promising,
)
from interpose_sfm.pairs.view_graph import Expand, build_view_graph
from interpose_sfm.products import (
    FloatArray,
    ImagePair,
    Intrinsics,
    LinkVerdict,
    LookAlike,
    PairMatch,
    PairOutcome,
    Pose,
    ViewGraph,
)
from interpose_sfm.retrieval.factory import rankings
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.workspace import CLIPS_NAME
from interpose_sfm.workflows.posers import PairWork, Posers, opened_posers

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

UNCONFIRMED = "the models that it would join do not confirm it"
"""Why a link that was matched late is not accepted. It is no contradiction that others would have to answer."""

MAX_GROUPS = 40  # pairs, best matches first, that a pose network sees among others: eight views take five times two

TRIES_ONCE_CONNECTED = 3  # a photo that is connected is still matched with so many others, to close cycles


@dataclass(frozen=True)
class Base:
    """What the fallback starts from.

    Attributes:
        database_path: COLMAP database of the models; ours, since pycolmap opens it. It is not extended.
        image_dir: Folder that holds the photos under their names.
        names: Photos that may be matched.
        models: Base models, largest first, without the photos that are not to be trusted.
        registered: What COLMAP registered in each of its models, these photos included, largest first.
        one_place: Photos that were taken from one place and are in no model.
        look_alikes: Pairs for which COLMAP's models are suspected to be folded.
        positions_m: East, north and up of the photos whose GPS position is known and used; up may be NaN.
        mask_dir: Folder of the photos' masks; None for none.
        known: Photos whose focal length was known before mapping, by EXIF, a database or an option.
        given: cam_from_world of photos whose poses were handed in, which stay.
    """

    database_path: Path
    image_dir: Path
    names: tuple[str, ...]
    models: tuple[pycolmap.Reconstruction, ...] = ()
    registered: tuple[frozenset[str], ...] = ()
    one_place: frozenset[str] = frozenset()
    look_alikes: tuple[LookAlike, ...] = ()
    positions_m: Mapping[str, FloatArray] = field(default_factory=dict)
    mask_dir: Path | None = None
    known: frozenset[str] = frozenset()
    given: Mapping[str, Pose] = field(default_factory=dict)


@dataclass(frozen=True)
class Extension:
    """What the fallback made of a base.

    Attributes:
        records: The last record of every weak pair, in rank order.
        models: Final models, largest first; the base models themselves where nothing was gained.
        database_path: The extended copy of the database; None where no link was accepted.
        warnings: What the user should know of the models.
        failure: What kept it from making anything; the models are those of the base then.
    """

    records: tuple[PairRecord, ...]
    models: tuple[pycolmap.Reconstruction, ...]
    database_path: Path | None = None
    warnings: tuple[str, ...] = ()
    failure: BaseException | None = None


def attempt(extend: Callable[[], Extension], base: Base, log: RunLog) -> Extension:
    """What extends a base, or the base itself if that fails: COLMAP's models are never lost to what comes after them.

    Raises:
        BaseException: What the user or the progress callback stopped the run by.
    """
    try:
        return extend()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if log.stopped_by is not None:
            raise
        logger.debug("the fallback failed", exc_info=True)
        return Extension((), base.models, failure=error)


def build_graph(base: Base, options: ReconstructOptions, log: RunLog) -> ViewGraph:
    """Stage 3: what the base models connect, and the weak pairs."""
    with log.stage("view graph"):
        if len(base.names) < 2:
            return ViewGraph(base.names, {}, (), (), frozenset(base.names), ())
        members = [reconstruction.registered_names(model) for model in base.models]
        if len(base.names) <= options.base.exhaustive_limit:
            return build_view_graph(base.database_path, members, options.view_graph, base.names)
        with TemporaryDirectory(prefix="interpose_sfm-") as folder:
            expand = Expand(partial(_rankings, base, Path(folder), options), options.base.exhaustive_limit)
            return build_view_graph(base.database_path, members, options.view_graph, base.names, expand)


def _rankings(
    base: Base, work_dir: Path, options: ReconstructOptions, queries: Sequence[str]
) -> Iterator[tuple[str, Sequence[str]]]:
    """What looks like some photos, of all others."""
    return rankings(
        base.names,
        queries,
        len(base.names) - 1,
        image_dir=base.image_dir,
        database_path=base.database_path,
        work_dir=work_dir,
        options=options,
    )


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
    with opened_run(base, graph, store_dir, options, log) as run:
        # 4. weak pairs -> learned matches -> links, by which guessed focal lengths are known better
        run.match_weak_pairs()
        run.calibrate()
        # 4. what is still apart -> poses that a network proposes -> links, by the same matches
        run.propose()
        # 5.-7. what is still apart -> bridging clips -> hypotheses -> choices -> links
        run.bridge()
        # 8. links -> mutually consistent set
        run.settle()
        # 9. links into the database, base models continued
        extension = run.map_links(work_dir)
        # 4, 8, 9 again, with pairs that were left out because of links that could not place their photos
        if run.match_after_all(extension):
            run.settle()
            records = tuple(run.records)
            again = run.map_links(work_dir / "again")
            is_no_worse = _num_registered(again) >= _num_registered(extension)
            extension = again if is_no_worse else replace(extension, records=records)
        log.warnings.extend(extension.warnings)
        return extension


def pairs_to_bridge(base: Base, store_dir: Path, options: ReconstructOptions, log: RunLog) -> tuple[ImagePair, ...]:
    """The weak pairs for which `extend_base` would ask for clips, most promising first, as far as stage 4 can tell.

    Args:
        base, store_dir, log: See `extend_base`.
        options: Of all stages; those of the generator are not used.
    """
    graph = build_graph(base, options, log)
    if not graph.weak_pairs:
        return ()
    options = replace(options, generator=NO_BRIDGING)
    with opened_run(base, graph, store_dir, options, log) as run:
        run.match_weak_pairs()
        run.calibrate()
        run.propose()
        records = promising(run.records, graph, run.poser.num_clips_on_disk)
    return tuple(record.pair for record in records[: options.view_graph.max_bridged_pairs])


def _is_needless(pair: ImagePair, group: Mapping[str, object], tries: Counter[str]) -> bool:
    """Whether links connect two photos, and one of them has had its share of tries."""
    return group[pair.a] is group[pair.b] and max(tries[pair.a], tries[pair.b]) >= TRIES_ONCE_CONNECTED


def _share_photos(models: Sequence[pycolmap.Reconstruction]) -> bool:
    """Whether two models hold one photo, so that all but the scale between them is known."""
    names = [reconstruction.registered_names(model) for model in models]
    return sum(map(len, names)) > len(frozenset().union(*names))


def _num_registered(extension: Extension) -> tuple[int, int]:
    """Photos in the largest model, and in all."""
    names = [reconstruction.registered_names(model) for model in extension.models]
    return max(map(len, names), default=0), len(frozenset().union(*names))


@contextmanager
def opened_run(
    base: Base, graph: ViewGraph, store_dir: Path, options: ReconstructOptions, log: RunLog
) -> Iterator[FallbackRun]:
    """A run over a base and its weak pairs, with its stores open; arguments as of `extend_base`."""
    with opened_posers(store_dir, base.names, store_dir / CLIPS_NAME, options, log.tell) as posers:
        yield FallbackRun(base, graph, posers, options, log)


class FallbackRun:
    """One run of stages 4 to 9. It owns the records of the pairs; no stage changes them."""

    def __init__(
        self,
        base: Base,
        graph: ViewGraph,
        posers: Posers,
        options: ReconstructOptions,
        log: RunLog,
    ) -> None:
        self._base, self._graph, self._posers = base, graph, posers
        self._options, self._limits, self._log = options, options.consensus, log
        self._grouped: set[ImagePair] = set()
        self.records = [PairRecord(weak) for weak in graph.weak_pairs]
        self._index = {record.pair: index for index, record in enumerate(self.records)}
        self._see(refined_cameras(base.database_path, base.models))

    def _see(self, cameras: Mapping[str, Intrinsics]) -> None:
        """Look at the photos through these cameras."""
        self._views = PhotoViews(self._base.image_dir, cameras, self._base.mask_dir)
        if self._posers.take_placements:
            placement = partial(reconstruction.placement, self._base.models)
            self._views = replace(self._views, placement=placement)
        self.poser = self._posers.poser(self._views)

    # ------------------------------------------------------------ stages

    def match_weak_pairs(self) -> None:
        """Stage 4: in rank order, until every photo is connected and has had its share of tries."""
        tries: Counter[str] = Counter()
        group = connected_groups(self._graph, accepted_links(self.records))

        def wanted() -> Iterator[ImagePair]:
            yield from (r.pair for r in tuple(self.records) if not _is_needless(r.pair, group, tries))

        with self._log.stage("learned matching"), self._posers.matching(self.poser, self._views, wanted()) as ahead:
            for index, record in enumerate(self.records):
                pair = record.pair
                self._log.tell("learned matching", index, len(self.records), f"{pair.a}, {pair.b}")
                group = connected_groups(self._graph, accepted_links(self.records))
                if _is_needless(pair, group, tries):
                    self._add(index, skipped="not needed: other links connect the photos already")
                    continue
                self._match_when_ready(index, ahead)
                tries.update((pair.a, pair.b))
            self._log.tell("learned matching", len(self.records), len(self.records))

    def calibrate(self) -> None:
        """Stage 4 again, where cameras are guessed: learn focal lengths from the links and verify by them once more."""
        links, camera_ids = accepted_links(self.records), databases.camera_ids(self._base.database_path)
        cameras = calibration.calibrate_focal_lengths(self._views.cameras, camera_ids, links, self._options.seed)
        if cameras == self._views.cameras:
            return
        self._see(cameras)
        for index, record in enumerate(self.records):
            if record.tried:
                self.match_pair(index)

    def propose(self) -> None:
        """Stage 4 at last: ask a pose network, if there is one, for the pairs whose photos nothing connects yet."""
        if not self.poser.can_propose:
            return
        # Chosen before any is asked for: an engine that works ahead looks at other pairs than one that does not.
        best = [record.pair for record in left_open(self.records, self._graph)]
        self._grouped.update(best[: MAX_GROUPS - len(self._grouped)])

        def wanted() -> Iterator[PairJob]:
            begun: set[ImagePair] = set()
            while True:
                left = (record.pair for record in left_open(self.records, self._graph) if record.pair not in begun)
                pair = next(left, None)
                if pair is None:
                    return
                begun.add(pair)
                yield PairJob((pair,), self._beside(pair))

        with (
            self._log.stage("pose network"),
            self._posers.ahead(PairWork.PROPOSE, self.poser, self._views, wanted()) as ahead,
        ):
            total = len(left_open(self.records, self._graph))
            for done in range(total):
                open_records = left_open(self.records, self._graph)
                if not open_records:
                    break
                pair = open_records[0].pair
                self._log.tell("pose network", done, total, f"{pair.a}, {pair.b}")
                try:
                    ahead.wait(pair)
                    proposed = self.poser.propose(pair, self._beside(pair))
                except WorkerDiedError as error:
                    self._log.warnings.append(f"the pose network was not asked for {pair.a} and {pair.b}: {error}")
                    proposed = ()
                self._add(self._index[pair], proposed=proposed)
            self._log.tell("pose network", total, total)

    def _beside(self, pair: ImagePair) -> tuple[str, ...]:
        """Photos that a pose network sees besides, of the pairs that matched best."""
        return photos_beside(self._graph, pair) if pair in self._grouped else ()

    def bridge(self) -> None:
        """Stages 5 to 7: spend the budget of clips on the pairs that would connect what is still apart."""
        if self._options.generator == NO_BRIDGING:
            return
        min_strength = least_strength(self.poser.clip_kinds)
        with self._log.stage("bridging"):
            budget = self._options.view_graph.max_bridged_pairs
            for done in range(budget):
                records = promising(self.records, self._graph, self.poser.num_clips_on_disk, min_strength)
                if not records:
                    break
                pair = records[0].pair
                self._log.tell("bridging", done, min(budget, done + len(records)), f"{pair.a}, {pair.b}")
                self._add(self._index[pair], bridged=self._bridged(pair))

    def _bridged(self, pair: ImagePair) -> PairOutcome:
        try:
            return self.poser.bridge(pair)
        except BudgetError as error:
            pairs = self._options.view_graph.max_bridged_pairs
            raise BudgetError(f"{error}; a run bridges up to {pairs} pairs", error.limit_usd) from error

    def settle(self) -> None:
        """Stage 8: near misses that third photos confirm rise; links that contradict models or one another fall."""
        with self._log.stage("consensus"):
            poses = [reconstruction.poses(model) for model in self._base.models]
            self.records = settled(self.records, poses, self._limits)

    def map_links(self, work_dir: Path) -> Extension:
        """Stage 9: what the links make of the base models, and what the models say of the links."""
        accepted = accepted_links(self.records)
        if not accepted and not _share_photos(self._base.models):
            return Extension(tuple(self.records), self._base.models)
        with self._log.stage("final mapping"):
            self._log.tell("final mapping", 0, 1)
            work_dir.mkdir(exist_ok=True)
            database_path = work_dir / "database.db"
            databases.copy_database(self._base.database_path, database_path)
            databases.guess_focal_lengths(database_path, self._views.cameras)
            kind = GlobalFinalMapper if self._options.base.mapper is Mapper.GLOBAL else FinalMapper
            run = MappingRun(
                database_path=database_path,
                image_dir=self._base.image_dir,
                work_dir=work_dir,
                base=self._options.base,
                limits=self._limits,
                seed=self._options.seed,
                positions_m=self._base.positions_m,
                given=self._base.given,
            )
            poser = self.poser
            guess = poser.with_guesses if poser.can_propose else None
            matched, fetch = (poser.match, poser.hold), partial(self._posers.fetch, poser, self._views)
            source = FurtherLinks(tuple(self.records), self._graph, *matched, self._limits, guess, fetch)
            contradicted = [
                record.decision.link
                for record in self.records
                if record.verdict is LinkVerdict.CONTRADICTED
                and record.findings.contradiction != UNCONFIRMED
                and record.decision.link is not None
            ]
            final = kind(run).map_links(self._base.models, accepted, source, contradicted)
            self._hear(final, source.matched_late)
            self._log.tell("final mapping", 1, 1)
        if not accepted and len(final.models) == len(self._base.models):
            return Extension(tuple(self.records), self._base.models, warnings=final.warnings)
        return Extension(tuple(self.records), final.models, database_path, final.warnings)

    def match_after_all(self, found: Extension) -> bool:
        """Stage 4 for the pairs that other links made needless, where these could not place their photos.

        Returns:
            Whether a pair of them is linked now.
        """
        held = reconstruction.names_in_any(found.models)
        linked = {name for link in accepted_links(self.records) for name in (link.pair.a, link.pair.b)}
        left = [
            index
            for index, record in enumerate(self.records)
            if record.findings.skipped and {record.pair.a, record.pair.b} & (linked - held)
        ]
        pairs = [self.records[index].pair for index in left]
        with self._log.stage("learned matching"), self._posers.matching(self.poser, self._views, pairs) as ahead:
            for done, index in enumerate(left):
                self._log.tell("learned matching", done, len(left))
                self._add(index, skipped="")
                self._match_when_ready(index, ahead)
        return any(self.records[index].verdict is LinkVerdict.ACCEPTED for index in left)

    # ------------------------------------------------------------ records

    def _match_when_ready(self, index: int, ahead: Ahead) -> None:
        """Make the next record of a pair, or the one that tells that no worker survived it."""
        try:
            ahead.wait(self.records[index].pair)
        except WorkerDiedError as error:
            self._add(index, skipped=f"not matched: {error}")
            return
        self.match_pair(index)

    def _add(self, index: int, **found: Any) -> None:
        """Make the next record of a pair from what a step found."""
        record = self.records[index]
        self.records[index] = record.after(replace(record.findings, **found), self._limits)

    def match_pair(self, index: int) -> None:
        """Make the next record of a pair from its learned matches."""
        pair = self.records[index].pair
        self._add(index, matched=self.poser.match(pair))

    def _hear(self, final: FinalModels, matched_late: Mapping[ImagePair, PairMatch]) -> None:
        """Take over what joining found out: late matches, confirmed links, dropped ones."""
        for index, record in enumerate(self.records):
            pair = record.pair
            if pair in matched_late:
                self._add(index, matched=matched_late[pair])
                if self.records[index].verdict is LinkVerdict.ACCEPTED and pair not in final.confirmed:
                    self._add(index, contradiction=UNCONFIRMED)
            if pair in final.confirmed:
                link, why = final.confirmed[pair]
                self._add(index, confirmation=why, confirmed_link=link)
            if pair in final.dropped:
                self._add(index, dropped=final.dropped[pair].detail, dropped_link=final.dropped[pair].link)
