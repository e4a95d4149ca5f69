"""Relative poses from a few views: the `PoseEstimator` protocol, what an estimator gets, and the check of its output.

Others add an estimator without touching the package: a class derived from `PoseEstimator` and registered in the
entry-point group ``interpose_sfm.pose_estimators`` as ``name = "module:Class"``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.products import Features, Matches, View, ViewPoses
from interpose_sfm.registry import Backend

if TYPE_CHECKING:
    from interpose_sfm.matching.cache import LearnedCache


@dataclass(frozen=True, kw_only=True)
class EstimatorTraits:
    """How an estimator wants to be used.

    Attributes:
        frame_pool: Subsets of a clip's frames are drawn from so many of them, evenly spread; None for all. For
            estimators whose cost grows with the number of different frames.
        gains_from_more_views: Whether all frames at once carry more correspondences from A to B than a subset does.
        trusts_focal_lengths: Whether poses rest on the focal lengths that the views state; False for an estimator that
            finds those of unknown cameras itself.
        group_size: Photos that it sees at once at most, where it may choose: two, and those beside them.
        is_for_threads: Whether several threads may ask it at once. Not for a network, which uses all cores by itself.
        settings_key: Equal only for equal results on equal views: options and weights go in.
    """

    frame_pool: int | None = None
    gains_from_more_views: bool = True
    trusts_focal_lengths: bool = True
    group_size: int = 8
    is_for_threads: bool = False
    settings_key: str = ""


@dataclass(frozen=True, kw_only=True)
class EstimatorContext:
    """What an estimator may use.

    Attributes:
        features: View -> learned features; computed once per distinct image.
        matches: Two views -> putative matches of any score; computed once per distinct pair.
        prepare: Computes features and matches of many pairs on all cores, so that asking for them costs nothing more.
        prepare_features: The same of the features of many views.
        num_at_once: How many threads may ask for features and matches at once with gain.
        seed: Equal seeds give equal results.
        min_match_score: Matches with a lower score are too doubtful to propose a pose.
        options: The options of this estimator; None if it has none, or for its defaults.
        store_dir: Folder for files of its own, in which later runs on the same photos find them; None to keep all in
            memory.
    """

    features: Callable[[View], Features]
    matches: Callable[[View, View], Matches]
    prepare: Callable[[Sequence[tuple[View, View]]], None] = lambda pairs: None
    prepare_features: Callable[[Sequence[View]], None] = lambda views: None
    num_at_once: Callable[[], int] = lambda: 1
    seed: int = 0
    min_match_score: float = 0.0
    options: object | None = None
    store_dir: Path | None = None

    @classmethod
    def of_cache(cls, cache: LearnedCache, seed: int, store_dir: Path | None = None) -> EstimatorContext:
        """That of a run, whose learned features and matches an estimator shares."""
        return cls(
            features=cache.features,
            matches=cache.matches,
            prepare=cache.prepare,
            prepare_features=cache.prepare_features,
            num_at_once=cache.num_at_once,
            seed=seed,
            min_match_score=cache.options.min_match_score,
            store_dir=store_dir,
        )


class PoseEstimator(Backend, Protocol):
    """Something that places a few views relative to one another. A class of the table is built from a context.

    An estimator reports what it cannot do by the status of its result; it raises only for what the user must mend. One
    is made for a whole run.
    """

    name: str

    proposes: ClassVar[bool] = False
    """Whether it goes by no matches of the two photos, so that its pose of the pair alone is a proposal for them to
    judge."""

    takes_placements: ClassVar[bool] = False
    """Whether it goes by where base models have the photos (`View.placement`), if they have."""

    def __init__(self, context: EstimatorContext) -> None: ...

    @classmethod
    def has_weights(cls, options: object | None) -> bool:
        """Whether one with these options finds its weights on this machine, so that it may be chosen unasked."""
        return True

    @property
    def traits(self) -> EstimatorTraits:
        """How it wants to be used."""
        return EstimatorTraits()

    @abstractmethod
    def estimate(self, views: Sequence[View]) -> ViewPoses:
        """Poses of two or more views; the first is A, the last is B, frames lie between in order from A to B."""

    def close(self) -> None:
        """Close its files and free what it holds; it may be used again."""
        return


def check_poses(poses: ViewPoses, views: Sequence[View], name: str) -> ViewPoses:
    """Check once what an estimator returned.

    Raises:
        ValueError: A pose too few or too many, a first pose that is not the identity, a usable status without a pose of
            the last view, no rotation, or correspondences and depths of different numbers. The message names the
            estimator.
    """
    if len(poses.cam_from_first) != len(views):
        raise ValueError(f"estimator {name!r}: got {len(poses.cam_from_first)} poses for {len(views)} views")
    if poses.has_pose:
        first, last = poses.cam_from_first[0], poses.cam_from_first[-1]
        if first is None or last is None:
            raise ValueError(f"estimator {name!r}: status {poses.status.value!r} without a pose of A and B")
        if not np.allclose(first.rotation, np.eye(3), atol=1e-6) or not np.allclose(first.translation, 0, atol=1e-9):
            raise ValueError(f"estimator {name!r}: expected the identity for the first view, got {first}")
        if not all(geometry.is_rotation(p.rotation) for p in poses.cam_from_first if p is not None):
            raise ValueError(f"estimator {name!r}: got a matrix that is no rotation")
    counts = {len(poses.points_a_px), len(poses.points_b_px), len(poses.depths_a), len(poses.depths_b)}
    if len(counts) != 1:
        raise ValueError(f"estimator {name!r}: correspondences and depths differ in number: {sorted(counts)}")
    return poses
