"""The pairs that COLMAP matches: chosen by looks, by order and by place, with a bound for every photo."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

from interpose_sfm.options import MatchingMethod
from interpose_sfm.products import FloatArray, ImagePair, connected_components

logger = logging.getLogger(__name__)

Proposals = Mapping[str, Sequence[str]]
"""Photo -> others that it should be matched with, best first."""

Rank = Callable[[Sequence[str], int], Proposals]
"""Photos and a number -> for each of them at most so many that look most like it."""

Verified = Callable[[], Collection[ImagePair]]
"""The pairs that matches have verified by now."""

MIN_NEIGHBOURS = 3  # a photo for which fewer are verified asks for more
MIN_LATE_SHARE = 0.5
"""So does one for which this share is verified of those in the later half of what it has asked for: it has many.

Shares from 0.2 to 0.8 find the same within a few percent; without one, collections in which every photo has many
neighbours lose a fifth of them (``docs/results/scale.md``)."""

ORDER_SHARE = 4  # of the pairs of a photo, one in so many may go to the next in order, and as many to the next by GPS
PROBE = 10  # the next in order is looked for among so many that look most alike
MIN_FOLLOWING = 0.25  # of the photos whose next one looks alike, for an order to be one of the pictures
MIN_TIMES_CHANCE = 3.0  # and how much more often than in a shuffled order


@dataclass(frozen=True)
class Hints:
    """What else than looks tells which photos lie near each other.

    Attributes:
        orders: Photos in an order that may be that of the pictures: by name, by time. Not every photo has to be in it.
        positions_m: East and north (and up, which is not used) of photos with GPS.
    """

    orders: tuple[tuple[str, ...], ...]
    positions_m: Mapping[str, FloatArray]


def chosen_pairs(
    names: Sequence[str], method: MatchingMethod, neighbours: int, hints: Hints, rank: Rank
) -> tuple[ImagePair, ...]:
    """The pairs to match by a method that keeps to a bound, in name order.

    Args:
        names: All photos.
        method: ``sequential``, ``retrieval``, ``spatial``, or ``auto`` for what these three say together.
        neighbours: No photo is in more pairs.
        hints: Orders and positions; the first order is what ``sequential`` goes by.
        rank: Finds photos that look alike; called for these methods only that need it.
    """
    if method is MatchingMethod.SEQUENTIAL:
        return tuple(sorted(sequential_pairs(hints.orders[0], neighbours)))
    if method is MatchingMethod.SPATIAL:
        return bounded(names, [nearest(hints.positions_m, neighbours)], neighbours)
    alike = rank(names, neighbours)
    return bounded(names, [alike, *_besides(method, neighbours, hints, alike)], neighbours)


def chosen_rounds(
    names: Sequence[str],
    method: MatchingMethod,
    neighbours: int,
    hints: Hints,
    rank: Rank,
    verified: Verified,
    min_late_share: float = MIN_LATE_SHARE,
) -> Iterator[tuple[ImagePair, ...]]:
    """The pairs of `chosen_pairs` in rounds, of which the second depends on what came of the first.

    By looks, each photo is matched with half of its neighbours first. Then those for which it pays ask for the others,
    and all for those that nothing ties to them yet: what joins bursts of photos comes late among what looks alike.

    Args:
        names, method, neighbours, hints, rank: See `chosen_pairs`.
        verified: Asked once the first round has been matched.
        min_late_share: See `MIN_LATE_SHARE`.
    """
    if method not in (MatchingMethod.AUTO, MatchingMethod.RETRIEVAL) or neighbours < 2:
        yield chosen_pairs(names, method, neighbours, hints, rank)
        return
    alike, half = rank(names, neighbours), neighbours // 2
    besides = _besides(method, neighbours, hints, alike)
    cut = {name: others[:half] for name, others in alike.items()}
    first = bounded(names, [cut, *besides], half)
    yield first
    right = frozenset(first) & frozenset(verified())
    asking = _asking(names, cut, frozenset(first), right, min_late_share)
    parts = connected_components(names, right)
    part_of = {name: part for part in parts for name in part}

    def is_wanted(name: str, other: str) -> bool:
        return name in asking or other not in part_of[name]

    logger.info("%d of %d photos ask for more than %d neighbours", len(asking), len(names), half)
    both = bounded(names, [alike, *besides], neighbours, first, is_wanted)
    yield tuple(sorted(set(both) - set(first)))


def _asking(
    names: Sequence[str],
    alike: Proposals,
    matched: frozenset[ImagePair],
    right: frozenset[ImagePair],
    min_late_share: float,
) -> frozenset[str]:
    """Photos that have found few neighbours, or so many that there will be more."""
    degree = Counter(name for pair in right for name in (pair.a, pair.b))
    asking = set()
    for name in names:
        others = alike.get(name, ())
        late = [ImagePair.sorted(name, other) for other in others[len(others) // 2 :]]
        asked = [pair for pair in late if pair in matched]
        num_right = sum(pair in right for pair in asked)
        if degree[name] < MIN_NEIGHBOURS or (asked and num_right >= min_late_share * len(asked)):
            asking.add(name)
    return frozenset(asking)


def _besides(method: MatchingMethod, neighbours: int, hints: Hints, alike: Proposals) -> list[Proposals]:
    """What proposes pairs besides looks, if the method is ``auto``."""
    if method is MatchingMethod.RETRIEVAL:
        return []
    some = max(1, neighbours // ORDER_SHARE)
    following = [order for order in dict.fromkeys(hints.orders) if follows_pictures(order, alike)]
    logger.info("%d of %d orders follow the pictures", len(following), len(hints.orders))
    return [*(in_order(order, some) for order in following), nearest(hints.positions_m, some)]


def bounded(
    names: Sequence[str],
    sources: Sequence[Proposals],
    limit: int,
    begun: Iterable[ImagePair] = (),
    is_wanted: Callable[[str, str], bool] = lambda name, other: True,
) -> tuple[ImagePair, ...]:
    """Pairs of all proposals, the best ones of every photo first, until its bound is reached.

    In rounds, so that what a photo wants most comes before what another one wants last.

    Args:
        names: Photos, in the order in which they choose.
        sources: What proposes.
        limit: No photo is in more pairs.
        begun: Pairs that are chosen already.
        is_wanted: Whether a photo still asks for another one that is proposed to it.

    Returns:
        With these, in name order.
    """
    pairs = set(begun)
    degree = Counter(name for pair in pairs for name in (pair.a, pair.b))
    longest = max((len(others) for source in sources for others in source.values()), default=0)
    for place in range(longest):
        for name in names:
            for source in sources:
                others = source.get(name, ())
                if place >= len(others) or max(degree[name], degree[others[place]]) >= limit:
                    continue
                pair = ImagePair.sorted(name, others[place])
                if pair not in pairs and is_wanted(name, others[place]):
                    pairs.add(pair)
                    degree.update((pair.a, pair.b))
    return tuple(sorted(pairs))


def sequential_pairs(order: Sequence[str], neighbours: int) -> set[ImagePair]:
    """Pairs of photos next in an order, and of others at growing distance, so that a second walk around is found.

    Half of them each; no photo is in more than ``neighbours`` pairs.
    """
    half = max(1, neighbours // 4)  # each photo is in twice as many pairs as it starts
    steps = sorted({*range(1, half + 1), *(2**power for power in range(half))})
    return {
        ImagePair.sorted(name, order[index + step])
        for index, name in enumerate(order)
        for step in steps
        if index + step < len(order)
    }


def in_order(order: Sequence[str], number: int) -> dict[str, list[str]]:
    """The next ones in an order, on both sides, nearest first."""
    found = {}
    for index, name in enumerate(order):
        places = chain.from_iterable((index + step, index - step) for step in range(1, number // 2 + 1))
        found[name] = [order[place] for place in places if 0 <= place < len(order)]
    return found


def nearest(positions_m: Mapping[str, FloatArray], number: int) -> dict[str, list[str]]:
    """The photos that were taken nearest to each, by east and north alone: altitudes err most, or are not known."""
    from scipy.spatial import KDTree

    if len(positions_m) < 2:
        return {}
    names = sorted(positions_m)
    plane_m = np.array([positions_m[name][:2] for name in names])
    _, rows = KDTree(plane_m).query(plane_m, k=min(number + 1, len(names)))
    return {
        name: [names[row] for row in found if row != index][:number]
        for index, (name, found) in enumerate(zip(names, rows, strict=True))
    }


def follows_pictures(order: Sequence[str], alike: Proposals) -> bool:
    """Whether the next photo in an order looks alike far more often than in a shuffled one."""
    steps = [(name, other) for name, other in pairwise(order) if alike.get(name)]
    if not steps:
        return False
    share = float(np.mean([other in alike[name][:PROBE] for name, other in steps]))
    chance = min(1.0, PROBE / max(len(order) - 1, 1))
    return share >= max(MIN_FOLLOWING, min(MIN_TIMES_CHANCE * chance, 1.0))
