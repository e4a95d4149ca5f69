"""Learned features and matches on several cores, or several at once on a GPU.

Two pairs with a thread each are done sooner than one after the other with two threads each: the networks use more
threads badly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from interpose_sfm.products import ImagePair

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

TOGETHER = 8  # pairs that a GPU matches at once; of those that turn out not to be needed no more are matched in vain
MAX_WORKERS = 4  # a pair of 2048 key points takes some 300 MB


def num_workers(device: str) -> int:
    """How many pairs are matched at once: as many as torch may use threads, which a pair uses badly; 1 on a GPU."""
    import torch

    return min(torch.get_num_threads(), MAX_WORKERS) if device == "cpu" else 1


class MatchingAhead:
    """Matches the pairs that come next while the present one is judged.

    A pair that turns out not to be needed is matched in vain, so few are begun ahead.

    Args:
        compute: Matches a pair, and keeps what it finds; called in other threads.
        num_workers: How many pairs are matched at once; with 1 nothing is done ahead.
    """

    def __init__(self, compute: Callable[[ImagePair], object], num_workers: int) -> None:
        self.num_ahead = num_workers if num_workers > 1 else 0
        """Pairs that are worth to be begun besides the present one."""
        self._compute = compute
        self._at_end = ExitStack()
        self._pool = self._at_end.enter_context(_pool(num_workers)) if self.num_ahead else None
        self._begun: dict[ImagePair, Future[object]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._at_end.close()

    def begin(self, pairs: Iterable[ImagePair]) -> None:
        """Begin the pairs that are not begun yet, in their order."""
        if self._pool is not None:
            for pair in pairs:
                if pair not in self._begun:
                    self._begun[pair] = self._pool.submit(self._compute, pair)

    def wait(self, pair: ImagePair) -> None:
        """Wait for a pair if it was begun.

        Raises:
            Exception: What computing it raised.
        """
        if pair in self._begun:
            self._begun[pair].result()


class MatchingTogether:
    """Matches the pairs that come next together with the present one, on a GPU, which one pair does not fill.

    Args:
        compute: Matches several pairs at once, and keeps what it finds.
    """

    num_ahead = TOGETHER - 1

    def __init__(self, compute: Callable[[Sequence[ImagePair]], object]) -> None:
        self._compute = compute
        self._begun: dict[ImagePair, None] = {}
        self._done: set[ImagePair] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._begun.clear()

    def begin(self, pairs: Iterable[ImagePair]) -> None:
        """Note pairs that are wanted, in their order."""
        self._begun.update(dict.fromkeys(pair for pair in pairs if pair not in self._done))

    def wait(self, pair: ImagePair) -> None:
        """Match all that are noted, if the pair is one of them."""
        if pair in self._begun:
            self._compute(tuple(self._begun))
            self._done.update(self._begun)
            self._begun.clear()


def at_once(compute: Callable[[T], object], items: Sequence[T], num_workers: int) -> None:
    """Compute all items, as many at a time as there are workers.

    Raises:
        Exception: What computing one of them raised; those that are not begun by then are left out.
    """
    with _pool(num_workers) as pool:
        for _ in pool.map(compute, items):
            pass


@contextmanager
def _pool(num_workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in which torch uses one thread each; at the end what is not begun is left out."""
    import torch

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(num_workers, "matching", torch.set_num_threads, (1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # threads that begin later take the number that was set last
