"""What finds relative poses in a run: stores, estimator and generators, opened once and closed at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from interpose_sfm._compat import StrEnum
from interpose_sfm.bridging.factory import NO_BRIDGING, create_generators
from interpose_sfm.clips.protocol import GeneratorContext
from interpose_sfm.engines.factory import create_engine, is_elsewhere
from interpose_sfm.engines.protocol import Engine, WorkerDiedError
from interpose_sfm.matching.ahead import TOGETHER, Ahead, PairJob, bundled
from interpose_sfm.matching.cache import LearnedCache, PhotoViews
from interpose_sfm.options import EngineOptions, FallbackOptions
from interpose_sfm.pairs.pair_pose import PairPoser
from interpose_sfm.pose.factory import create_estimators
from interpose_sfm.pose.protocol import EstimatorContext, PoseEstimator
from interpose_sfm.products import Features, ImagePair, Matches
from interpose_sfm.run_log import Progress
from interpose_sfm.storage.hypotheses import HypothesisStore
from interpose_sfm.storage.run_stores import open_stores, store_folder
from interpose_sfm.video_models.protocol import GenerationContext

MIN_AT_ONCE = 2  # pairs that several threads are begun for
MIN_TO_SEND = 16  # pairs that are sent to other processes, which load torch and the networks first

ENGINE_NAME = "engine"
"""Folder in which an engine keeps its files, if it needs any, beside the stores."""


class PairWork(StrEnum):
    """What is done ahead with pairs, so that a `PairPoser` finds it done."""

    MATCH = "learned matching"
    PROPOSE = "pose network"


@dataclass(frozen=True)
class Posers:
    """Makes a `PairPoser` for each set of cameras; they share features, matches, hypotheses and the estimator.

    Attributes:
        store_dir: Folder of the stores.
        photo_names: All photos.
        clips_dir: Where generated clips are kept if the options name no folder.
        options: Of the run.
        progress: Told how far the making of clips is.
        cache: Learned features and matches.
        hypotheses: Store of pose hypotheses.
        estimator: Of the whole run.
        proposer: What proposes poses of pairs alone; None for none.
        engine: Works ahead.
        at_end: Closes the generators.
    """

    store_dir: Path
    photo_names: tuple[str, ...]
    clips_dir: Path
    options: FallbackOptions
    progress: Progress | None
    cache: LearnedCache
    hypotheses: HypothesisStore
    estimator: PoseEstimator
    proposer: PoseEstimator | None
    engine: Engine
    at_end: ExitStack

    @property
    def take_placements(self) -> bool:
        """Whether an estimator goes by where base models have the photos."""
        return any(each is not None and each.takes_placements for each in (self.estimator, self.proposer))

    def poser(self, views: PhotoViews) -> PairPoser:
        """What finds relative poses of pairs of these photos.

        Raises:
            ValueError, MissingDependencyError: A generator that does not exist or cannot run.
        """
        load = views.loader(self.cache)

        def features_and_matches(pair: ImagePair) -> tuple[Features, Features, Matches]:
            features_a, features_b, matches = self.cache.features_and_matches(load(pair.a), load(pair.b))
            return features_a, features_b, matches.above(self.options.matching.min_match_score)

        context = GeneratorContext(
            photo_names=self.photo_names,
            load_image=lambda name: load(name).image,
            intrinsics=lambda name: load(name).intrinsics,
            features_and_matches=features_and_matches,
            options=self.options.bridging,
            seed=self.options.seed,
        )
        generation = GenerationContext(
            photo_names=self.photo_names,
            load_image=context.load_image,
            bridging=self.options.bridging,
            generation=self.options.generation,
            store_dir=self.clips_dir,
            progress=self.progress,
            image_dir=views.image_dir,
            engine=self.engine,
            worker_gpus=self.options.execution.worker_gpus,
        )
        generators = create_generators(self.options.generator, context, generation)
        for generator in generators:
            self.at_end.callback(generator.close)
        return PairPoser(
            load,
            self.cache,
            self.hypotheses,
            self.estimator,
            generators,
            self.options.consistency,
            self.options.seed,
            self.options.consensus,
            self.proposer,
            self.options.bridging.relay_frames,
        )

    def matching(self, poser: PairPoser, views: PhotoViews, pairs: Iterable[ImagePair]) -> Ahead:
        """Have the engine match pairs before the poser is asked for them; arguments as of `ahead`."""
        is_on_gpu = self.engine.shares_memory and self.cache.options.device != "cpu"
        return self.ahead(PairWork.MATCH, poser, views, bundled(pairs, TOGETHER if is_on_gpu else 1))

    def fetch(self, poser: PairPoser, views: PhotoViews, pairs: Sequence[ImagePair]) -> Sequence[ImagePair]:
        """Have the engine match all of some pairs, where that pays.

        Returns:
            Those that the poser may be asked for: all but those whose workers died.
        """
        if len(pairs) < (MIN_AT_ONCE if self.engine.shares_memory else MIN_TO_SEND):
            return pairs
        with self.matching(poser, views, pairs) as ahead:
            died = {pair for done in ahead.all() if isinstance(done.error, WorkerDiedError) for pair in done.job.pairs}
        return [pair for pair in pairs if pair not in died]

    def ahead(self, work: PairWork, poser: PairPoser, views: PhotoViews, jobs: Iterable[PairJob]) -> Ahead:
        """Have the engine do some work with pairs before the poser is asked for it.

        Args:
            work: What is to be done.
            poser: Which will be asked.
            views: That it was made of.
            jobs: Looked at when there is a worker for them.
        """
        make: Callable[[], Callable[[PairJob], None]] = partial(partial, _do, work, poser)
        if not self.engine.shares_memory:
            has_use = work is PairWork.PROPOSE and self.take_placements
            known = {name: views.placement(name) for name in self.photo_names} if has_use else {}
            views = replace(views, placement=known.get)  # which can be sent, unlike models
            make = PairWorkerMaker(work, self.store_dir, self.photo_names, self.clips_dir, views, self.options)
        elif work is PairWork.PROPOSE:
            jobs = ()  # a pose network uses all of a machine by itself
        gpus = 0.0 if self.cache.options.device == "cpu" else self.options.execution.worker_gpus
        return Ahead(self.engine.map(make, jobs, gpus=gpus))


def _do(work: PairWork, poser: PairPoser, job: PairJob) -> None:
    """Leave in the stores what the poser will look for there."""
    if work is PairWork.MATCH:
        poser.fetch_matches(job.pairs)
    else:
        poser.propose(job.pairs[0], job.beside)


@dataclass(frozen=True)
class PairWorkerMaker:
    """Makes a `PairWorker` in another process; attributes as those of `Posers`, and what the worker does."""

    work: PairWork
    store_dir: Path
    photo_names: tuple[str, ...]
    clips_dir: Path
    views: PhotoViews
    options: FallbackOptions

    def __call__(self) -> PairWorker:
        """Open the stores, and load networks with the first pair."""
        return PairWorker(self)


class PairWorker:
    """Matches pairs, or asks a pose network for them, and leaves what it finds in the stores."""

    def __init__(self, maker: PairWorkerMaker) -> None:
        import torch

        torch.set_num_threads(1)  # more are used badly
        self._at_end = ExitStack()
        options = replace(maker.options, generator=NO_BRIDGING, execution=EngineOptions())
        opened = opened_posers(maker.store_dir, maker.photo_names, maker.clips_dir, options)
        self._work = maker.work
        self._poser = self._at_end.enter_context(opened).poser(maker.views)

    def __call__(self, job: PairJob) -> None:
        """Do a job."""
        _do(self._work, self._poser, job)

    def close(self) -> None:
        """Close the stores."""
        self._at_end.close()


@contextmanager
def opened_posers(
    store_dir: Path,
    photo_names: tuple[str, ...],
    clips_dir: Path,
    options: FallbackOptions,
    progress: Progress | None = None,
) -> Iterator[Posers]:
    """Open what a run needs to find relative poses.

    Args:
        store_dir: Folder of the HDF5 stores, which later runs on the same photos read, if the options name none.
        photo_names, clips_dir, options, progress: See `Posers`.

    Raises:
        ValueError, MissingDependencyError: An estimator or an engine that does not exist or cannot run, or a store that
            is none.
    """
    store_dir = store_folder(options.execution.store, store_dir)
    with open_stores(store_dir) as stores, ExitStack() as at_end:
        engine = create_engine(options.execution, store_dir / ENGINE_NAME)
        at_end.callback(engine.close)
        if not (engine.shares_memory or stores.features.is_for_several):
            raise ValueError(
                f"engine {engine.name}: {store_dir} is on a disk without file locks, by which processes share a store; "
                "name a folder on another disk with --store, or leave --engine out"
            )
        is_here = not is_elsewhere(options.execution)
        cache = LearnedCache(stores.features, stores.matches, options.matching, is_here=is_here)
        options = replace(options, matching=cache.options)  # what auto means here holds for workers, too
        context = EstimatorContext.of_cache(cache, options.seed, store_dir)
        estimator, proposer = create_estimators(options.pose_estimator, context, options.estimator_options)
        at_end.callback(estimator.close)
        if proposer is not None and proposer is not estimator:
            at_end.callback(proposer.close)
        yield Posers(
            store_dir=store_dir,
            photo_names=photo_names,
            clips_dir=clips_dir,
            options=options,
            progress=progress,
            cache=cache,
            hypotheses=stores.hypotheses,
            estimator=estimator,
            proposer=proposer,
            engine=engine,
            at_end=at_end,
        )


@contextmanager
def opened_cache(store_dir: Path, options: FallbackOptions) -> Iterator[LearnedCache]:
    """Open what finds learned features and nothing else; arguments and errors as of `opened_posers`."""
    is_here = not is_elsewhere(options.execution)
    with open_stores(store_folder(options.execution.store, store_dir)) as stores:
        yield LearnedCache(stores.features, stores.matches, options.matching, is_here=is_here)
