"""The fallback itself: from a database and base models, whoever made them, to the models that links extend.

These are stages 3 to 9 of ``docs/architecture.md``. `reconstruct` runs them behind its own base stage, `drop_in_run`
behind pycolmap's mapper.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from interpose_sfm.bridging.factory import NO_BRIDGING
from interpose_sfm.colmap import reconstruction
from interpose_sfm.colmap.cameras import refined_cameras
from interpose_sfm.matching.ahead import at_once
from interpose_sfm.matching.cache import PhotoViews
from interpose_sfm.matching.likeness import Descriptors, likenesses, strongest_descriptors
from interpose_sfm.options import ReconstructOptions
from interpose_sfm.pairs.records import promising
from interpose_sfm.pairs.view_graph import Expand, build_view_graph
from interpose_sfm.products import ImagePair, ViewGraph
from interpose_sfm.retrieval.factory import rankings
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.workspace import CLIPS_NAME
from interpose_sfm.workflows.extension import Base, Extension
from interpose_sfm.workflows.fallback_run import FallbackRun
from interpose_sfm.workflows.posers import opened_cache, opened_posers

MAX_COMPARED = 2048  # photos whose learned descriptors are held at once: half a gigabyte
PAIRS_AT_ONCE = 256  # that are compared before progress is told


def build_graph(base: Base, store_dir: Path, work_dir: Path, options: ReconstructOptions, log: RunLog) -> ViewGraph:
    """Stage 3: what the base models connect, and the weak pairs.

    Args:
        base, store_dir, options, log: See `extend_base`.
        work_dir: Folder for temporary things: that of the base stage, where a retriever may find what it made then.
    """
    with log.stage("view graph"):
        if len(base.names) < 2:
            return ViewGraph(base.names, {}, (), (), frozenset(base.names), ())
        members = [reconstruction.registered_names(model) for model in base.models]
        if len(base.names) <= options.base.exhaustive_limit:
            return build_view_graph(base.database_path, members, options.view_graph, base.names)
        expand = Expand(
            partial(_rankings, base, work_dir, options),
            options.base.exhaustive_limit,
            [
                {name: pose.inverse().translation for name, pose in reconstruction.poses(model).items()}
                for model in base.models
            ],
            partial(_likenesses, base, store_dir, options, log),
        )
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


def _likenesses(
    base: Base, store_dir: Path, options: ReconstructOptions, log: RunLog, pairs: Sequence[ImagePair]
) -> dict[ImagePair, int]:
    """How alike the photos of pairs are by learned descriptors, which matching will find in the store."""
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.a, pair.b)))[:MAX_COMPARED]
    descriptors: dict[str, Descriptors] = {}
    total = len(names) + len(pairs)
    with opened_cache(store_dir, options) as cache:
        cameras = refined_cameras(base.database_path, base.models)
        load = PhotoViews(base.image_dir, cameras, base.mask_dir).loader(cache)
        number = cache.num_at_once()  # no more photos than that are in memory
        for start in range(0, len(names), number):
            log.tell("view graph", start, total)
            some = names[start : start + number]
            found = at_once(lambda name: strongest_descriptors(cache.features(load(name))), some)
            descriptors.update(zip(some, found, strict=True))
    alike: dict[ImagePair, int] = {}
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        log.tell("view graph", len(names) + start, total)
        alike |= likenesses(descriptors, pairs[start : start + PAIRS_AT_ONCE])
    log.tell("view graph", total, total)
    return alike


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
    graph = build_graph(base, store_dir, work_dir, options, log)
    if not graph.weak_pairs:
        return Extension((), base.models)
    with opened_run(base, graph, store_dir, options, log) as run:
        # 4. weak pairs -> learned matches -> links, by which guessed focal lengths are known better
        run.match_weak_pairs()
        run.match_beside_links()
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


def pairs_to_bridge(
    base: Base, store_dir: Path, work_dir: Path, options: ReconstructOptions, log: RunLog
) -> tuple[ImagePair, ...]:
    """The weak pairs for which `extend_base` would ask for clips, most promising first, as far as stage 4 can tell.

    Args:
        base, store_dir, work_dir, log: See `extend_base`.
        options: Of all stages; those of the generator are not used.
    """
    graph = build_graph(base, store_dir, work_dir, options, log)
    if not graph.weak_pairs:
        return ()
    options = replace(options, generator=NO_BRIDGING)
    with opened_run(base, graph, store_dir, options, log) as run:
        run.match_weak_pairs()
        run.match_beside_links()
        run.calibrate()
        run.propose()
        records = promising(run.records, graph, run.poser.num_clips_on_disk)
    return tuple(record.pair for record in records[: options.view_graph.max_bridged_pairs])


@contextmanager
def opened_run(
    base: Base, graph: ViewGraph, store_dir: Path, options: ReconstructOptions, log: RunLog
) -> Iterator[FallbackRun]:
    """A run over a base and its weak pairs, with its stores open; arguments as of `extend_base`."""
    with opened_posers(store_dir, base.names, store_dir / CLIPS_NAME, options, log.tell) as posers:
        yield FallbackRun(base, graph, posers, options, log)


def _num_registered(extension: Extension) -> tuple[int, int]:
    """Photos in the largest model, and in all."""
    names = [reconstruction.registered_names(model) for model in extension.models]
    return max(map(len, names), default=0), len(frozenset().union(*names))
