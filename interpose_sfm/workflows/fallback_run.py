"""One run of the fallback: its stages, one after the other, and the records of the pairs between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
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
from interpose_sfm.pairs.expansion import beside_links
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
from interpose_sfm.pairs.view_graph import weak_pair
from interpose_sfm.products import (
    ImagePair,
    Intrinsics,
    LinkVerdict,
    PairMatch,
    PairOutcome,
    ViewGraph,
)
from interpose_sfm.run_log import RunLog
from interpose_sfm.workflows.extension import Base, Extension
from interpose_sfm.workflows.posers import PairWork, Posers

if TYPE_CHECKING:
    import pycolmap

UNCONFIRMED = "the models that it would join do not confirm it"
"""Why a link that was matched late is not accepted. It is no contradiction that others would have to answer."""

NOT_NEEDED = "not needed: other links connect the photos already"
DIED = "not matched: its workers died"

MAX_GROUPS = 40  # pairs, best matches first, that a pose network sees among others: eight views take five times two

TRIES_ONCE_CONNECTED = 3  # a photo that is connected is still matched with so many others, to close cycles


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
                    self._add(index, skipped=NOT_NEEDED)
                    continue
                self._match_when_ready(index, ahead)
                tries.update((pair.a, pair.b))
            self._log.tell("learned matching", len(self.records), len(self.records))

    def match_beside_links(self) -> None:
        """Stage 4 again, of a large collection: what lies beside the links, until any two parts have enough of them."""
        if len(self._graph.names) <= self._options.base.exhaustive_limit:  # whose pairs are ranked one by one
            return
        with self._log.stage("learned matching"):
            while pairs := beside_links([x.pair for x in accepted_links(self.records)], self._graph, self._tried()):
                self._log.tell("learned matching", len(self.records), len(self.records) + len(pairs))
                can_match = frozenset(self._posers.fetch(self.poser, self._views, pairs))
                for pair in pairs:
                    if pair not in self._index:
                        self._index[pair] = len(self.records)
                        self.records.append(PairRecord(weak_pair(pair, self._graph)))
                    index = self._index[pair]
                    self._add(index, skipped="" if pair in can_match else DIED)
                    if pair in can_match:
                        self.match_pair(index)
            self._log.tell("learned matching", len(self.records), len(self.records))

    def _tried(self) -> frozenset[ImagePair]:
        """The pairs that were matched, and those that no worker survived."""
        return frozenset(r.pair for r in self.records if r.findings.skipped != NOT_NEEDED)

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


def _is_needless(pair: ImagePair, group: Mapping[str, object], tries: Counter[str]) -> bool:
    """Whether links connect two photos, and one of them has had its share of tries."""
    return group[pair.a] is group[pair.b] and max(tries[pair.a], tries[pair.b]) >= TRIES_ONCE_CONNECTED


def _share_photos(models: Sequence[pycolmap.Reconstruction]) -> bool:
    """Whether two models hold one photo, so that all but the scale between them is known."""
    names = [reconstruction.registered_names(model) for model in models]
    return sum(map(len, names)) > len(frozenset().union(*names))
