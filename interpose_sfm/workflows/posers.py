"""What finds relative poses in a run: stores, estimator and generators, opened once and closed at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from interpose_sfm.bridging.factory import create_generators
from interpose_sfm.clips.protocol import GeneratorContext
from interpose_sfm.matching.cache import LearnedCache, PhotoViews
from interpose_sfm.options import FallbackOptions
from interpose_sfm.pairs.pair_pose import PairPoser
from interpose_sfm.pose.factory import create_estimators
from interpose_sfm.pose.protocol import EstimatorContext, PoseEstimator
from interpose_sfm.products import Features, ImagePair, Matches
from interpose_sfm.run_log import Progress
from interpose_sfm.storage.hypotheses import HypothesisStore
from interpose_sfm.storage.run_stores import open_stores
from interpose_sfm.video_models.protocol import GenerationContext


@dataclass(frozen=True)
class Posers:
    """Makes a `PairPoser` for each set of cameras; they share features, matches, hypotheses and the estimator.

    Attributes:
        photo_names: All photos.
        clips_dir: Where generated clips are kept if the options name no folder.
        options: Of the run.
        progress: Told how far the making of clips is.
        cache: Learned features and matches.
        hypotheses: Store of pose hypotheses.
        estimator: Of the whole run.
        proposer: What proposes poses of pairs alone; None for none.
        at_end: Closes the generators.
    """

    photo_names: tuple[str, ...]
    clips_dir: Path
    options: FallbackOptions
    progress: Progress | None
    cache: LearnedCache
    hypotheses: HypothesisStore
    estimator: PoseEstimator
    proposer: PoseEstimator | None
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
        store_dir: Folder of the HDF5 stores, which later runs on the same photos read.
        photo_names, clips_dir, options, progress: See `Posers`.

    Raises:
        ValueError, MissingDependencyError: An estimator that does not exist or cannot run.
    """
    with open_stores(store_dir) as stores, ExitStack() as at_end:
        cache = LearnedCache(stores.features, stores.matches, options.matching)
        context = EstimatorContext(
            features=cache.features,
            matches=cache.matches,
            prepare=cache.prepare,
            seed=options.seed,
            min_match_score=options.matching.min_match_score,
            store_dir=store_dir,
        )
        estimator, proposer = create_estimators(options.pose_estimator, context, options.estimator_options)
        at_end.callback(estimator.close)
        if proposer is not None and proposer is not estimator:
            at_end.callback(proposer.close)
        yield Posers(photo_names, clips_dir, options, progress, cache, stores.hypotheses, estimator, proposer, at_end)
