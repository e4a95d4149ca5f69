"""Photos that look alike: the `Retriever` protocol, what a retriever gets, and the check of its answers.

Others add a retriever without touching the package: a class derived from `Retriever` and registered in the entry-point
group ``interpose_sfm.retrievers`` as ``name = "module:Class"``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from interpose_sfm.registry import Backend


@dataclass(frozen=True, kw_only=True)
class RetrieverContext:
    """What a retriever may use.

    Attributes:
        photo_names: All photos of the collection.
        image_dir: Folder that holds them under their names, upright.
        database_path: COLMAP database with their key points and descriptors; to be left as it is.
        work_dir: Folder for temporary files, which the caller removes.
        seed: Equal seeds give equal answers.
        num_threads: -1 for all cores.
    """

    photo_names: tuple[str, ...]
    image_dir: Path
    database_path: Path
    work_dir: Path
    seed: int = 0
    num_threads: int = -1


class Retriever(Backend, Protocol):
    """Something that finds, for a photo, those that look most like it. A class of the table is built from a context."""

    name: str

    def __init__(self, context: RetrieverContext) -> None: ...

    @abstractmethod
    def rankings(self, queries: Sequence[str], number: int) -> Iterator[tuple[str, Sequence[str]]]:
        """For each of some photos the others of the collection, most alike first.

        Answers come one by one, so that those of a large collection are never held all at once.

        Args:
            queries: Names; the answers may come in any order.
            number: At most so many for each. Fewer, or none at all, where nothing looks alike.
        """


def checked_rankings(
    retriever: Retriever, queries: Sequence[str], number: int, photo_names: Sequence[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What a retriever answers, checked once: its first ``number`` names each, without the photo itself.

    Raises:
        ValueError: An answer to what was not asked, or with a name that is none; the message names the retriever.
    """
    known, asked = frozenset(photo_names), set(queries)
    for query, answer in retriever.rankings(queries, number):
        if query not in asked:
            raise ValueError(f"retriever {retriever.name!r}: got an answer for {query!r}, which was not asked")
        asked.remove(query)
        others = tuple(dict.fromkeys(name for name in answer if name != query))
        unknown = next((name for name in others if name not in known), None)
        if unknown is not None:
            raise ValueError(f"retriever {retriever.name!r}: got the name {unknown!r}, which no photo has")
        yield query, others[:number]
