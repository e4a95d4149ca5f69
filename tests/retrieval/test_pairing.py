from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from interpose_sfm.options import MatchingMethod
from interpose_sfm.products import ImagePair, connected_components
from interpose_sfm.retrieval.pairing import (
    Hints,
    Proposals,
    bounded,
    chosen_pairs,
    chosen_rounds,
    follows_pictures,
    in_order,
    nearest,
    sequential_pairs,
)

WALK = [f"{index:03}.jpg" for index in range(240)]  # in the order in which they were taken


def degrees(pairs: Sequence[ImagePair] | set[ImagePair]) -> Counter[str]:
    return Counter(name for pair in pairs for name in (pair.a, pair.b))


def neighbours_on_walk(names: Sequence[str], number: int) -> dict[str, list[str]]:
    """What a good retriever finds: the nearest on the walk."""
    found = {}
    for name in names:
        here = WALK.index(name)
        found[name] = sorted((n for n in WALK if n != name), key=lambda other: abs(WALK.index(other) - here))[:number]
    return found


def choose(
    method: MatchingMethod, order: Sequence[str], positions: dict[str, np.ndarray] | None = None
) -> set[ImagePair]:
    return set(chosen_pairs(WALK, method, 12, Hints((tuple(order),), positions or {}), neighbours_on_walk))


def shuffled(seed: int = 0) -> list[str]:
    order = list(WALK)
    random.Random(seed).shuffle(order)
    return order


# ---------------------------------------------------------------- rounds


def rounds(method: MatchingMethod, reach: dict[str, int]) -> list[tuple[ImagePair, ...]]:
    """Where those pairs are verified that lie so near on the walk; the least of the reaches of both photos counts."""
    places = {name: place for place, name in enumerate(WALK)}

    def verified() -> set[ImagePair]:
        names = [name for name in WALK if reach[name]]
        near = ((a, b, abs(places[a] - places[b])) for a in names for b in names if a < b)
        return {ImagePair(a, b) for a, b, away in near if away <= min(reach[a], reach[b])}

    hints = Hints((tuple(shuffled()),), {})
    return list(chosen_rounds(WALK, method, 16, hints, neighbours_on_walk, verified))


def test_photos_with_many_neighbours_or_hardly_any_ask_for_more() -> None:
    reach = {name: 9 if place < 80 else (2 if place < 160 else 0) for place, name in enumerate(WALK)}
    first, second = rounds(MatchingMethod.RETRIEVAL, reach)
    assert max(degrees(first).values()) == 8
    assert max(degrees([*first, *second]).values()) <= 16
    assert not set(first) & set(second)
    more = degrees(second)
    assert min(more[name] for name in WALK[:70]) >= 3  # the later half of what they asked for is verified as well
    assert max(more[name] for name in WALK[90:150]) == 0  # enough, and nothing beyond two steps
    assert min(more[name] for name in WALK[170:]) >= 3  # none at all: who knows what was missed


@pytest.mark.parametrize(("size", "chance"), [(6, 18), (12, 10)])
def test_bursts_that_only_late_neighbours_join_are_joined(size: int, chance: int) -> None:
    """A dozen spots in a row, several photos of each, and look-alikes of other spots before those of the next one."""
    draw = random.Random(0)
    names = [f"{spot:02}_{number:02}" for spot in range(12) for number in range(size)]
    alike = {}
    for name in names:
        steps = {other: abs(int(other[:2]) - int(name[:2])) for other in draw.sample(names, len(names))}
        own, following, far = ([n for n in steps if n != name and min(steps[n], 2) == kind] for kind in range(3))
        alike[name] = [*own, *far[:chance], *following, *far[chance:]]
    asked: set[ImagePair] = set()

    def verified() -> set[ImagePair]:
        return {pair for pair in asked if abs(int(pair.a[:2]) - int(pair.b[:2])) <= 1}

    hints = Hints((), {})
    cut = {number: {name: others[:number] for name, others in alike.items()} for number in (20, 40)}
    for pairs in chosen_rounds(names, MatchingMethod.RETRIEVAL, 40, hints, lambda _, n: cut[n], verified):
        asked.update(pairs)
    assert len(connected_components(names, verified())) == 1
    assert max(degrees(asked).values()) <= 40


def test_all_that_a_single_round_chooses_is_asked_where_every_photo_asks_on() -> None:
    hints = Hints((tuple(WALK),), {})
    for method in (MatchingMethod.RETRIEVAL, MatchingMethod.AUTO):
        asked = [*chosen_rounds(WALK, method, 12, hints, neighbours_on_walk, frozenset)]
        once = set(chosen_pairs(WALK, method, 12, hints, neighbours_on_walk))
        assert len(once & {pair for pairs in asked for pair in pairs}) >= 0.95 * len(once)
        assert max(degrees([pair for pairs in asked for pair in pairs]).values()) <= 12


@pytest.mark.parametrize("method", [MatchingMethod.SEQUENTIAL, MatchingMethod.SPATIAL])
def test_what_does_not_go_by_looks_is_one_round(method: MatchingMethod) -> None:
    hints = Hints((tuple(WALK),), {name: np.array([float(place), 0.0]) for place, name in enumerate(WALK)})
    (pairs,) = chosen_rounds(WALK, method, 8, hints, neighbours_on_walk, lambda: pytest.fail("asked for nothing"))
    assert pairs == chosen_pairs(WALK, method, 8, hints, neighbours_on_walk)


# ---------------------------------------------------------------- the bound


@pytest.mark.parametrize("limit", [1, 2, 7, 20])
def test_no_photo_is_in_more_pairs_than_the_bound(limit: int) -> None:
    everybody = {name: [other for other in WALK if other != name] for name in WALK[:30]}
    pairs = bounded(WALK[:30], [everybody, in_order(WALK[:30], 8)], limit)
    assert max(degrees(pairs).values()) == limit
    assert len(pairs) == len(set(pairs)) >= 30 * limit // 2 - limit
    assert list(pairs) == sorted(pairs)


def test_what_is_wanted_most_comes_first() -> None:
    wanted = {"a": ["b", "c"], "b": ["c", "a"], "c": ["b"], "d": ["b", "a"]}
    assert bounded("abcd", [wanted], 1) == (ImagePair("a", "b"),)
    assert bounded("abcd", [wanted], 2) == (ImagePair("a", "b"), ImagePair("a", "c"), ImagePair("b", "c"))


def test_a_photo_that_all_want_does_not_leave_them_without_others() -> None:
    names = [f"{index}" for index in range(10)]
    wanted = {name: ["hub", *(n for n in names if n != name)] for name in names}
    pairs = bounded(["hub", *names], [wanted], 3)
    assert degrees(pairs)["hub"] == 3
    assert min(degrees(pairs)[name] for name in names) >= 2


def test_nothing_proposed_is_no_pair() -> None:
    assert bounded("abc", [], 5) == ()
    assert bounded("abc", [{}, {"a": []}], 5) == ()


# ---------------------------------------------------------------- order and place


@pytest.mark.parametrize("neighbours", [2, 8, 16, 40])
def test_sequential_pairs_are_next_and_at_growing_distance(neighbours: int) -> None:
    pairs = sequential_pairs(WALK, neighbours)
    gaps = {WALK.index(pair.b) - WALK.index(pair.a) for pair in pairs}
    half = max(1, neighbours // 4)
    assert set(range(1, half + 1)) <= gaps
    assert {2**power for power in range(half)} & set(range(240)) <= gaps
    assert max(degrees(pairs).values()) <= max(neighbours, 2)


def test_the_nearest_are_those_on_the_ground() -> None:
    positions = {f"{k}": np.array([10.0 * k, 0.0, np.nan if k == 3 else 50.0 * (k % 2)]) for k in range(6)}
    found = nearest(positions, 2)
    assert found["0"] == ["1", "2"]
    assert set(found["3"]) == {"2", "4"}
    assert nearest({"0": np.zeros(3)}, 4) == {}
    at_one_place = nearest({name: np.zeros(3) for name in "abcd"}, 2)
    assert all(len(others) == 2 and name not in others for name, others in at_one_place.items())


def test_an_order_counts_where_it_is_one_of_the_pictures() -> None:
    alike = neighbours_on_walk(WALK, 12)
    assert follows_pictures(WALK, alike)
    assert follows_pictures(WALK[::2], alike)
    assert not any(follows_pictures(shuffled(seed), alike) for seed in range(5))
    assert not follows_pictures(WALK, {})
    assert not follows_pictures((), alike)


# ---------------------------------------------------------------- the methods


@pytest.mark.parametrize(
    "method", [MatchingMethod.SEQUENTIAL, MatchingMethod.RETRIEVAL, MatchingMethod.SPATIAL, MatchingMethod.AUTO]
)
def test_all_methods_keep_the_bound_and_find_the_next(method: MatchingMethod) -> None:
    positions = {name: np.array([3.0 * index, 0.0, 0.0]) for index, name in enumerate(WALK)}
    pairs = choose(method, WALK, positions)
    assert {ImagePair(a, b) for a, b in pairwise(WALK)} <= pairs
    assert max(degrees(pairs).values()) <= 12


def test_shuffled_names_cost_retrieval_nothing() -> None:
    following, shuffled_pairs = (choose(MatchingMethod.AUTO, order) for order in (WALK, shuffled()))
    assert shuffled_pairs == choose(MatchingMethod.RETRIEVAL, WALK)
    assert {ImagePair(a, b) for a, b in pairwise(WALK)} <= following & shuffled_pairs
    by_name = sequential_pairs(shuffled(), 12)
    assert len(by_name & shuffled_pairs) < 0.1 * len(by_name)


def test_order_and_place_help_where_looks_say_nothing() -> None:
    def blind(names: Sequence[str], number: int) -> Proposals:
        return {name: neighbours_on_walk([name], number)[name] for name in names if not name.startswith("10")}

    positions = {name: np.array([3.0 * index, 0.0, 0.0]) for index, name in enumerate(WALK)}
    blinded = ImagePair("104.jpg", "105.jpg")
    for order, known in ((WALK, {}), (shuffled(), positions)):
        assert blinded in chosen_pairs(WALK, MatchingMethod.AUTO, 12, Hints((tuple(order),), known), blind)
    assert blinded not in chosen_pairs(WALK, MatchingMethod.AUTO, 12, Hints((tuple(shuffled()),), {}), blind)


def test_nobody_is_asked_for_looks_where_they_do_not_count() -> None:
    def refuse(names: Sequence[str], number: int) -> Proposals:
        raise AssertionError

    hints = Hints((tuple(WALK),), {name: np.array([float(i), 0.0, 0.0]) for i, name in enumerate(WALK)})
    for method in (MatchingMethod.SEQUENTIAL, MatchingMethod.SPATIAL):
        assert chosen_pairs(WALK, method, 8, hints, refuse)
