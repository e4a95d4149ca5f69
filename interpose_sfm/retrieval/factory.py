"""Retrievers by name: the built-in one and those of other packages."""

from __future__ import annotations

from types import MappingProxyType

from interpose_sfm.registry import BackendTable
from interpose_sfm.retrieval.protocol import Retriever, RetrieverContext

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
