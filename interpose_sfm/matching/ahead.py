"""What is needed next, computed by an engine meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from interpose_sfm.engines.local import LocalEngine
from interpose_sfm.engines.protocol import Done
from interpose_sfm.products import ImagePair

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
R = TypeVar("R")

TOGETHER = 8  # pairs that a GPU matches at once; of those that turn out not to be needed no more are matched in vain


@dataclass(frozen=True)
class PairJob:
    """What a worker does at once.

    Attributes:
        pairs: One pair, or on a GPU several that are matched together.
        beside: Photos that a pose network is shown with the pair.
    """

    pairs: tuple[ImagePair, ...]
    beside: tuple[str, ...] = ()


def bundled(pairs: Iterable[ImagePair], number: int) -> Iterator[PairJob]:
    """Jobs of so many pairs, which are looked at when the job is."""
    source = iter(pairs)
    while bundle := tuple(islice(source, number)):
        yield PairJob(bundle)


class Ahead:
    """Jobs that an engine does in its order, while their results are asked for in another one.

    A job that turns out not to be needed was done in vain, so the engine should be handed jobs that are looked at only
    when it has a worker for them.

    Args:
        results: Of `Engine.map`.
    """

    def __init__(self, results: Generator[Done[PairJob, Any], None, None]) -> None:
        self._results = results
        self._errors: dict[ImagePair, BaseException | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._results.close()

    def all(self) -> Iterator[Done[PairJob, Any]]:
        """All that is done, as it comes."""
        yield from self._results

    def wait(self, pair: ImagePair) -> None:
        """Wait for a pair; at once where the engine has done it, or was never given it.

        Raises:
            BaseException: What doing it raised, or a `WorkerDiedError`.
        """
        while pair not in self._errors:
            done = next(self._results, None)
            if done is None:
                return
            self._errors.update(dict.fromkeys(done.job.pairs, done.error))
        error = self._errors[pair]
        if error is not None:
            raise error


def at_once(compute: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Compute all items in threads of this process.

    Args:
        compute: Uses torch.
        items: What to compute it of.

    Returns:
        The results, in the order of the items.

    Raises:
        BaseException: What the first item in their order raised that failed; those that are not begun by then are left
            out.
    """
    return list(_results(compute, items))


def a_few_at_once(compute: Callable[[T], R], items: Sequence[T], number: int) -> Iterator[R]:
    """Results of some items in their order, so many of them computed at once: who stops early wasted few.

    Args:
        compute: Uses torch.
        items: What to compute it of.
        number: With 1, one after another.

    Raises:
        BaseException: What an item raised, in its turn: not to who has stopped before it.
    """
    for start in range(0, len(items), number):
        yield from _results(compute, items[start : start + number])


def _results(compute: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """The results up to the first item that failed, then its error. All is computed before the first one is handed out.

    Which item fails first in time is chance; that the first in order tells its error makes runs alike. A single item is
    computed in the calling thread, which has all cores.
    """
    if len(items) == 1:
        yield compute(items[0])
        return
    found: dict[int, Done[int, R]] = {}
    first_failed = len(items)
    with closing(LocalEngine().map(lambda: lambda row: compute(items[row]), range(len(items)))) as results:
        for done in results:
            found[done.job] = done
            if done.error is not None:
                first_failed = min(first_failed, done.job)
            if first_failed < len(items) and all(row in found for row in range(first_failed)):
                break
    for row in range(min(first_failed + 1, len(items))):
        error = found[row].error
        if error is not None:
            raise error
        yield cast("R", found[row].value)
