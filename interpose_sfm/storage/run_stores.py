"""The HDF5 stores of one run, and the folder in which several runs may share them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from interpose_sfm.storage.atomic import atomic_write_text
from interpose_sfm.storage.digests import SealState, seal_state
from interpose_sfm.storage.feature_stores import FeatureStore, MatchStore
from interpose_sfm.storage.folders import STORE_MARKER, check_ours
from interpose_sfm.storage.hypotheses import HypothesisStore
from interpose_sfm.storage.names import refuse_links
from interpose_sfm.storage.stores import has_store
from interpose_sfm.storage.workspace import is_output_folder

_FEATURES = "features.h5"


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
        FeatureStore(folder / _FEATURES) as features,
        MatchStore(folder / "matches.h5") as matches,
        HypothesisStore(folder / "hypotheses.h5") as hypotheses,
    ):
        yield RunStores(features, matches, hypotheses)


def has_stores(folder: Path) -> bool:
    """Whether a folder is the output folder of a run, or its store, though nothing may be in it yet."""
    return _is_marked(folder) or has_store(folder / _FEATURES)


def check_store_folder(folder: Path) -> None:
    """Refuse a folder that holds other things than stores, or a symbolic link, without writing anything.

    Fine are new and empty folders, marked ones, and output folders of runs.

    Raises:
        ValueError: It is none of these.
        PermissionError: It cannot be written, or not be made.
    """
    if not (_is_marked(folder) or _is_of_earlier_version(folder)):
        check_ours(folder, STORE_MARKER, "store")
    refuse_links(folder, "store")
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise ValueError(f"the store {folder} would lie in {there}, which is a file; choose another one")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(there))


def store_folder(named: Path | None, output: Path) -> Path:
    """The folder of a run's stores: the one that the user has named, which is marked, or its output folder.

    Raises:
        ValueError: See `check_store_folder`.
        OSError: It cannot be written.
    """
    folder = (named or output).absolute()
    if named is not None:
        check_store_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not (named is None or _is_marked(folder)):
        atomic_write_text(folder / STORE_MARKER, "a store of interpose_sfm; its content can be made again\n")
    return folder


def _is_marked(folder: Path) -> bool:
    return is_output_folder(folder) or (folder / STORE_MARKER).is_file()


def _is_of_earlier_version(folder: Path) -> bool:
    """Whether stores lie there and no marker; the file of another program has no seal."""
    features = folder / _FEATURES
    return seal_state(features) is not SealState.NONE if features.is_file() else has_store(features)
