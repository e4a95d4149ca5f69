"""Retrievers by name: the built-in one and those of other packages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MappingProxyType

from interpose_sfm.options import ReconstructOptions
from interpose_sfm.registry import BackendTable
from interpose_sfm.retrieval.protocol import Retriever, RetrieverContext, checked_rankings

RETRIEVERS: BackendTable[Retriever] = BackendTable(
    kind="retriever",
    builtin=MappingProxyType({"vocabulary": "interpose_sfm.retrieval.vocabulary:VocabularyTree"}),
    entry_point_group="interpose_sfm.retrievers",
    base=Retriever,
)
"""Classes that are built from a `RetrieverContext`."""


def create_retriever(name: str, context: RetrieverContext) -> Retriever:
    """Build a retriever by name.

    Raises:
        ValueError: Unknown name; the message lists the known ones.
        MissingDependencyError: Something it needs is not installed; the message holds the pip command.
    """
    return RETRIEVERS.resolve(name)(context)


def rankings(
    photo_names: Sequence[str],
    queries: Sequence[str],
    number: int,
    *,
    image_dir: Path,
    database_path: Path,
    work_dir: Path,
    options: ReconstructOptions,
) -> Iterator[tuple[str, Sequence[str]]]:
    """What looks like some photos, by the retriever that the options name.

    Args:
        photo_names: All photos.
        queries: Those that are asked about.
        number: Of answers for each, at most.
        image_dir, database_path, work_dir: See `RetrieverContext`.
        options: Of the run.

    Raises:
        ValueError: See `create_retriever` and `checked_rankings`.
        MissingDependencyError: See `create_retriever`.
    """
    context = RetrieverContext(
        photo_names=tuple(photo_names),
        image_dir=image_dir,
        database_path=database_path,
        work_dir=work_dir,
        seed=options.seed,
        num_threads=options.base.num_threads,
    )
    return checked_rankings(create_retriever(options.pairing.retriever, context), queries, number, photo_names)
