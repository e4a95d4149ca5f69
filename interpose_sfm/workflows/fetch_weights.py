"""Weights that a run never fetches by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from interpose_sfm.pose.da3 import checkpoint, fetching
from interpose_sfm.pose.da3.architectures import NON_COMMERCIAL, NON_COMMERCIAL_REASON, PUBLISHED, Published
from interpose_sfm.registry import unknown_name
from interpose_sfm.run_log import Progress

NAMES: Mapping[str, str] = MappingProxyType({name: size for size, name in checkpoint.FETCH_NAMES.items()})
"""Name of weights -> size of Depth Anything 3."""


@dataclass(frozen=True)
class FetchedWeights:
    """Weights that are on this machine now.

    Attributes:
        name: Under which they were asked for.
        repo, revision, licence, num_bytes: See `Published`.
        path: The file, in the cache of the hub.
    """

    name: str
    repo: str
    revision: str
    licence: str
    num_bytes: int
    path: Path


def published(name: str) -> Published:
    """What is fetched under a name.

    Raises:
        ValueError: Unknown name, or weights that may not be used commercially.
    """
    if name in {f"da3-{size}" for size in NON_COMMERCIAL}:
        raise ValueError(f"got {name!r}: {NON_COMMERCIAL_REASON}")
    if name not in NAMES:
        raise unknown_name("weights", name, NAMES)
    return PUBLISHED[NAMES[name]]


def fetch_weights(
    name: str, announce: Callable[[Published], None] = lambda item: None, progress: Progress | None = None
) -> FetchedWeights:
    """Fetch weights into the cache of the hub, unless they are there.

    Args:
        name: One of `NAMES`.
        announce: Told what is going to be fetched, with its licence, before anything is.
        progress: Told how many megabytes are here.

    Raises:
        ValueError, MissingDependencyError: See `published` and `fetching.fetch`.
    """
    item = published(name)
    announce(item)

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(f"fetching {name}", done // 1_000_000, total // 1_000_000)

    path = fetching.fetch(NAMES[name], tell)
    return FetchedWeights(name, item.repo, item.revision, item.licence, item.num_bytes, path)
