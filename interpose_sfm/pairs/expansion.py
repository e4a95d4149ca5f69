"""Weak pairs of a large collection: the best ones between every two of its parts, without a look at all pairs.

A part is a base model, or a photo that is in none. Two models get candidates by right, however little alike they look,
since a link between them would join most; a single photo gets some with every model, and with the photos that look most
like it.

What lies on either side of a gap looks hardly alike to SIFT, by which a vocabulary tree goes: of the photos next to the
gaps of a rendered town, the tree ranks the right partner like any other photo. So the photos at the boundary of one
model are candidates with those at the boundaries of others, and what is matched is chosen by learned descriptors, which
are compared at a hundredth of what matching costs.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from interpose_sfm.options import ViewGraphOptions
from interpose_sfm.pairs.network_poses import neighbours
from interpose_sfm.products import ImagePair, ViewGraph

NEAR = 10  # photos of other parts that a photo asks for, whichever parts they are in
NEAR_BY_NAME = 2  # photos to either side in name order that it asks for besides
PER_MODEL = 2  # photos of every model that it asks for by right
SLACK = 4  # times what two parts may have is remembered on the way
PER_SINGLE = 3  # candidates of one photo with a model; of two photos there is only one

TRIES_PER_LINK = 24
"""Pairs of two models that are matched for every model but one, which is how many links may join them at most. So many
models have few pairs of every two, nearly all of which show different places. A quarter as many find 8 of 12 gaps
of a town, so many 9, three times as many 10 (docs/results/scale.md)."""

POOL = 2.0  # times as many that retrieval names are compared by their learned descriptors
MIN_POOL = 3  # of every two models
COMPARED_PER_TRY = 12
"""Pairs that retrieval names, and as many of boundaries, for every pair that may be matched, so that the work grows
with the photos, however many parts they are in. In a town of 1,000 photos in 40 models 8 for each lie at boundaries."""

ENOUGH_LINKS = 3  # of two parts: one leaves their scale open, and of two that disagree either may be wrong
BESIDE = 2  # neighbours of either end of a link that are tried, too

Likeness = Callable[[Sequence[ImagePair]], Mapping[ImagePair, int]]
"""Pairs -> how alike their photos are by learned descriptors, of those where it can be told."""

Cost = tuple[int, int, int, float, int]
"""How a candidate is ordered: verified matches, likeness by learned descriptors (0 where they are not compared), tens
of raw matches, place among what looks alike to the retriever, distance by name."""

Join = tuple[int, int]
"""Two parts, by their index."""


@dataclass(frozen=True)
class Known:
    """What is known of pairs before any is matched with learned features.

    Attributes:
        matched, verified: Raw and verified matches of those pairs that have some.
        rankings: Photos with all others, most alike first; asked once, answer by answer. Empty where nobody can tell.
        boundary: Photos at the boundary of a base model.
        likeness: Asked once; None where nobody compares descriptors.
    """

    matched: Mapping[ImagePair, int]
    verified: Mapping[ImagePair, int]
    rankings: Iterable[tuple[str, Sequence[str]]] = ()
    boundary: Collection[str] = ()
    likeness: Likeness | None = None


@dataclass
class _Parts:
    """Which photo is in which parts, and where it is in name order."""

    names: Sequence[str]
    models: Sequence[frozenset[str]]
    sizes: list[int] = field(default_factory=list)
    of: dict[str, frozenset[int]] = field(default_factory=dict)
    place: dict[str, int] = field(default_factory=dict)

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
        self.place = {name: index for index, name in enumerate(self.names)}

    def between(self, a: str, b: str) -> Join | None:
        """The two parts that a link would join, the largest ones of those that hold the photos; None within a part."""
        if self.of[a] & self.of[b]:
            return None
        first, second = min(self.of[a]), min(self.of[b])  # models come largest first
        return min(first, second), max(first, second)

    def are_models(self, pair: ImagePair) -> bool:
        """Whether neither photo is a part by itself."""
        return max(min(self.of[pair.a]), min(self.of[pair.b])) < len(self.models)

    def limit(self, parts: Join, per_join: int) -> int:
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
    most = options.max_pairs_per_join
    if known.likeness is None:
        return [pair for pair, _ in _in_rounds(_by_join(parts, known, most, most), parts)[:budget]]
    tries = TRIES_PER_LINK * (len(models) - 1)
    pool = _pool(parts, known, most, tries, COMPARED_PER_TRY * budget)
    if not pool:
        return []
    rounds = _in_rounds(_most_alike(pool, parts, known.likeness, most), parts)
    too_many = frozenset([pair for pair, _ in rounds if parts.are_models(pair)][tries:])
    return [pair for pair, _ in rounds if pair not in too_many][:budget]


def beside_links(links: Sequence[ImagePair], graph: ViewGraph, asked: Collection[ImagePair]) -> list[ImagePair]:
    """Pairs beside the links of two parts that have too few of them, as many as these lack.

    Where one photo of a part sees one of another, their neighbours do so more often than any that only look alike.

    Args:
        links: Pairs that are linked.
        graph: The view graph of the base stage.
        asked: Pairs that were tried.
    """
    parts = _Parts(graph.names, graph.models)
    of_join: dict[Join, list[ImagePair]] = defaultdict(list)
    for pair in links:
        join = parts.between(pair.a, pair.b)
        if join is not None:
            of_join[join].append(pair)
    found: list[ImagePair] = []
    for join, linked in of_join.items():
        if len(linked) >= ENOUGH_LINKS:
            continue
        beside = sorted((turn, pair) for link in linked for turn, pair in enumerate(_beside(link, graph)))
        left = (pair for _, pair in beside if pair not in asked and parts.between(pair.a, pair.b) == join)
        found += itertools.islice(dict.fromkeys(left), ENOUGH_LINKS - len(linked))
    return found


def _beside(link: ImagePair, graph: ViewGraph) -> list[ImagePair]:
    """Pairs of the ends of a link and their neighbours, the nearest ones first."""
    sides = [[end, *neighbours(graph, end)[:BESIDE]] for end in (link.a, link.b)]
    ranked = sorted((i + j, i, j) for i in range(len(sides[0])) for j in range(len(sides[1])))
    return [
        ImagePair.sorted(sides[0][i], sides[1][j]) for total, i, j in ranked if total and sides[0][i] != sides[1][j]
    ]


def _by_join(parts: _Parts, known: Known, most: int, most_of_models: int) -> dict[Join, dict[ImagePair, Cost]]:
    """The candidates of every two parts by what is known without learned descriptors, best first."""
    best: dict[Join, dict[ImagePair, Cost]] = defaultdict(dict)
    limits: dict[Join, int] = {}
    for pair, alike in _candidates(parts, known):
        join = parts.between(pair.a, pair.b)
        if join is None:
            continue
        limit = limits.setdefault(join, parts.limit(join, most_of_models if parts.are_models(pair) else most))
        candidates, cost = best[join], _cost(pair, alike, parts, known)
        candidates[pair] = min(cost, candidates.get(pair, cost))
        if len(candidates) > SLACK * limit:
            best[join] = _cheapest(candidates, limit)
    return {join: _cheapest(candidates, limits[join]) for join, candidates in best.items()}


def _in_rounds(candidates: Mapping[Join, Mapping[ImagePair, Cost]], parts: _Parts) -> list[tuple[ImagePair, Cost]]:
    """The best of every two parts, then the second best, and so on; in a round, what would join most photos first."""
    ordered: list[tuple[int, int, Cost, ImagePair]] = []
    for join, pairs in candidates.items():
        gain = min(parts.sizes[part] for part in join)
        ordered += [(turn, -gain, cost, pair) for turn, (pair, cost) in enumerate(pairs.items())]
    return [(pair, cost) for *_, cost, pair in sorted(ordered)]


def _pool(parts: _Parts, known: Known, most: int, tries: int, room: int) -> dict[ImagePair, Cost]:
    """What learned descriptors are compared of: what is known without them, and what lies at boundaries.

    Pairs of models first, and so many of either kind at most.
    """
    num_joins = max(1, len(parts.models) * (len(parts.models) - 1) // 2)
    of_models = min(most, max(MIN_POOL, math.ceil(POOL * tries / num_joins)))
    rounds = _in_rounds(_by_join(parts, known, most, of_models), parts)
    pool = dict(sorted(rounds, key=lambda entry: not parts.are_models(entry[0]))[:room])
    for pair in itertools.islice(_across_boundaries(parts, known.boundary), room):
        pool.setdefault(pair, _cost(pair, math.inf, parts, known))
    return pool


def _across_boundaries(parts: _Parts, boundary: Collection[str]) -> Iterator[ImagePair]:
    """Every photo at the boundary of a model with those of all larger ones, the largest models first."""
    ends = [sorted(model.intersection(boundary)) for model in parts.models]
    for index, of_model in enumerate(ends):
        for a, b in itertools.product(of_model, itertools.chain.from_iterable(ends[:index])):
            if parts.between(a, b) is not None:
                yield ImagePair.sorted(a, b)


def _cost(pair: ImagePair, alike: float, parts: _Parts, known: Known) -> Cost:
    """What a candidate costs by all but its learned descriptors."""
    return (
        -known.verified.get(pair, 0),
        0,
        -(known.matched.get(pair, 0) // 10),  # as in the ranking of small collections
        alike,
        parts.place[pair.b] - parts.place[pair.a],
    )


def _most_alike(
    pool: Mapping[ImagePair, Cost], parts: _Parts, likeness: Likeness, most: int
) -> dict[Join, dict[ImagePair, Cost]]:
    """The best candidates of every two parts, now that learned descriptors are compared.

    By turns the most alike by these and the best by all else: each finds what the other one misses
    (docs/results/scale.md, right partners that SIFT does not find). Two to one, since retrieval knows nothing of a gap
    whose sides are seen from far apart.
    """
    alike = likeness(list(pool))
    of_join: dict[Join, dict[ImagePair, Cost]] = defaultdict(dict)
    for pair, cost in pool.items():
        join = parts.between(pair.a, pair.b)
        assert join is not None
        of_join[join][pair] = cost
    return {join: _by_turns(pairs, alike, parts.limit(join, most)) for join, pairs in of_join.items()}


def _by_turns(
    candidates: Mapping[ImagePair, Cost], alike: Mapping[ImagePair, int], number: int
) -> dict[ImagePair, Cost]:
    """Two of the most alike by their descriptors, then the best by all else, and so on."""
    compared = {pair: (cost[0], -alike.get(pair, 0), *cost[2:]) for pair, cost in candidates.items()}
    by_descriptors, by_all_else = (list(_cheapest(costs, number)) for costs in (compared, candidates))
    turns = (by_descriptors[2 * turn : 2 * turn + 2] + by_all_else[turn : turn + 1] for turn in range(len(by_all_else)))
    chosen = dict.fromkeys(itertools.chain.from_iterable(turns))
    return {pair: compared[pair] for pair in itertools.islice(chosen, number)}


def _cheapest(candidates: Mapping[ImagePair, Cost], number: int) -> dict[ImagePair, Cost]:
    """So many candidates, best first."""
    return {pair: cost for cost, pair in heapq.nsmallest(number, ((cost, pair) for pair, cost in candidates.items()))}


def _candidates(parts: _Parts, known: Known) -> Iterator[tuple[ImagePair, float]]:
    """Pairs across parts, some of them twice, each with its place among what looks alike (infinite if unknown)."""
    for query, others in known.rankings:
        yield from ((ImagePair.sorted(query, other), float(at)) for at, other in _wanted(query, others, parts))
    for pair, count in known.matched.items():
        if count >= 10 or pair in known.verified:
            yield pair, math.inf
    for index, name in enumerate(parts.names):
        for other in parts.names[index + 1 : index + 1 + NEAR_BY_NAME]:
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
