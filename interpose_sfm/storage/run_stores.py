"""The HDF5 stores of one run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from interpose_sfm.storage.feature_stores import FeatureStore, MatchStore
from interpose_sfm.storage.hypotheses import HypothesisStore


@dataclass(frozen=True)
class RunStores:
    """What a run computes once.

    Attributes:
        features: Learned features of photos and frames.
        matches: Learned matches of two of them.
        hypotheses: Pose hypotheses of the clips of pairs.
    """

    features: FeatureStore
    matches: MatchStore
    hypotheses: HypothesisStore


@contextmanager
def open_stores(folder: Path) -> Iterator[RunStores]:
    """The stores of a run, closed at the end."""
    with (
        FeatureStore(folder / "features.h5") as features,
        MatchStore(folder / "matches.h5") as matches,
        HypothesisStore(folder / "hypotheses.h5") as hypotheses,
    ):
        yield RunStores(features, matches, hypotheses)
