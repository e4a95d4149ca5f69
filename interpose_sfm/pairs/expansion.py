"""Weak pairs of a large collection: the best ones between every two of its parts, without a look at all pairs.

A part is a base model, or a photo that is in none. Two models get candidates by right, however little alike they look,
since a link between them would join most; a single photo gets some with every model, and with the photos that look most
like it.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from interpose_sfm.options import ViewGraphOptions
from interpose_sfm.products import ImagePair

NEAR = 10  # photos of other parts that a photo asks for, whichever parts they are in
NEAR_BY_NAME = 2  # photos to either side in name order that it asks for besides
PER_MODEL = 2  # photos of every model that it asks for by right
SLACK = 4  # times what two parts may have is remembered on the way
PER_SINGLE = 3  # candidates of one photo with a model; of two photos there is only one

Cost = tuple[int, int, float, int]
"""How a candidate is ordered: verified matches, tens of raw ones, place among what looks alike, distance by name."""


@dataclass(frozen=True)
class Known:
    """What is known of pairs before any is matched with learned features.

    Attributes:
        matched, verified: Raw and verified matches of those pairs that have some.
        rankings: Photos with all others, most alike first; asked once, answer by answer. Empty where nobody can tell.
    """

    matched: Mapping[ImagePair, int]
    verified: Mapping[ImagePair, int]
    rankings: Iterable[tuple[str, Sequence[str]]] = ()


@dataclass
class _Parts:
    """Which photo is in which parts."""

    names: Sequence[str]
    models: Sequence[frozenset[str]]
    sizes: list[int] = field(default_factory=list)
    of: dict[str, frozenset[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        held: dict[str, set[int]] = defaultdict(set)
        for index, model in enumerate(self.models):
            for name in model:
                held[name].add(index)
        self.sizes = [len(model) for model in self.models]
        for name in self.names:
            if name not in held:
                held[name].add(len(self.sizes))
                self.sizes.append(1)
        self.of = {name: frozenset(parts) for name, parts in held.items()}

    def between(self, a: str, b: str) -> tuple[int, int] | None:
        """The two parts that a link would join, the largest ones of those that hold the photos; None within a part."""
        if self.of[a] & self.of[b]:
            return None
        first, second = min(self.of[a]), min(self.of[b])  # models come largest first
        return min(first, second), max(first, second)

    def limit(self, parts: tuple[int, int], per_join: int) -> int:
        """Candidates that two parts may have."""
        first, second = (self.sizes[part] for part in parts)
        smaller = min(first, second)
        if smaller > 1:
            return min(per_join, first * second)
        return min(per_join, PER_SINGLE if max(first, second) > 1 else 1)


def asking(names: Sequence[str], models: Sequence[frozenset[str]]) -> tuple[str, ...]:
    """The photos that have to be compared with all others: all but those of the largest model, which the others ask."""
    largest = models[0] if models else frozenset()
    return tuple(name for name in names if name not in largest)


def expansion_pairs(
    names: Sequence[str], models: Sequence[frozenset[str]], known: Known, options: ViewGraphOptions, budget: int
) -> list[ImagePair]:
    """The weak pairs to try, in this order.

    In rounds: first the best candidate of every two parts, then the second best, and so on; in a round, what would join
    most photos comes first.

    Args:
        names: All photos, in name order.
        models: Photos of each base model, largest first.
        known: What candidates are found and ordered by.
        options: How many candidates two parts have at most.
        budget: At most so many pairs.
    """
    parts = _Parts(names, models)
    place = {name: index for index, name in enumerate(names)}
    best: dict[tuple[int, int], dict[ImagePair, Cost]] = defaultdict(dict)
    for pair, alike in _candidates(names, parts, known):
        joined = parts.between(pair.a, pair.b)
        if joined is None:
            continue
        cost = (
            -known.verified.get(pair, 0),
            -(known.matched.get(pair, 0) // 10),  # as in the ranking of small collections
            alike,
            place[pair.b] - place[pair.a],
        )
        candidates = best[joined]
        candidates[pair] = min(cost, candidates.get(pair, cost))
        limit = parts.limit(joined, options.max_pairs_per_join)
        if len(candidates) > SLACK * limit:
            best[joined] = _cheapest(candidates, limit)
    ordered: list[tuple[int, int, Cost, ImagePair]] = []
    for joined, candidates in best.items():
        gain = min(parts.sizes[part] for part in joined)
        kept = _cheapest(candidates, parts.limit(joined, options.max_pairs_per_join))
        ordered += [(turn, -gain, cost, pair) for turn, (pair, cost) in enumerate(kept.items())]
    return [pair for *_, pair in heapq.nsmallest(budget, ordered)]


def _cheapest(candidates: Mapping[ImagePair, Cost], number: int) -> dict[ImagePair, Cost]:
    """So many candidates, best first."""
    return {pair: cost for cost, pair in heapq.nsmallest(number, ((cost, pair) for pair, cost in candidates.items()))}


def _candidates(names: Sequence[str], parts: _Parts, known: Known) -> Iterator[tuple[ImagePair, float]]:
    """Pairs across parts, some of them twice, each with its place among what looks alike (infinite if unknown)."""
    for query, others in known.rankings:
        yield from ((ImagePair.sorted(query, other), float(at)) for at, other in _wanted(query, others, parts))
    for pair, count in known.matched.items():
        if count >= 10 or pair in known.verified:
            yield pair, math.inf
    for index, name in enumerate(names):
        for other in names[index + 1 : index + 1 + NEAR_BY_NAME]:
            yield ImagePair.sorted(name, other), math.inf


def _wanted(query: str, others: Sequence[str], parts: _Parts) -> Iterator[tuple[int, str]]:
    """The photos of other parts that a photo asks for: the most alike ones, and the best of every model."""
    num_near, num_due = 0, PER_MODEL * sum(query not in model for model in parts.models)
    own, asked = parts.of[query], Counter[int]()
    for at, other in enumerate(others):
        if num_near >= NEAR and num_due == 0:
            return
        theirs = parts.of.get(other, own)
        if not own.isdisjoint(theirs):
            continue
        part = min(theirs)
        is_due = part < len(parts.models) and asked[part] < PER_MODEL
        if num_near < NEAR or is_due:
            yield at, other
        num_near, num_due = num_near + 1, num_due - is_due
        asked[part] += 1
