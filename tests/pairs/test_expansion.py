from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from geometry_scenes import DatabaseOptions, arc, cloud, observe, write_database
from interpose_sfm.options import ViewGraphOptions
from interpose_sfm.pairs.expansion import (
    BESIDE,
    COMPARED_PER_TRY,
    ENOUGH_LINKS,
    MIN_POOL,
    NEAR,
    PER_SINGLE,
    POOL,
    TRIES_PER_LINK,
    Known,
    asking,
    beside_links,
    expansion_pairs,
)
from interpose_sfm.pairs.view_graph import Expand, build_view_graph, expanded_weak_pairs, rank_weak_pairs
from interpose_sfm.products import ImagePair, ViewGraph, WeakReason

NUM_MODELS, SIZE = 12, 30
MODELS = [frozenset(f"m{k:02}_{i:02}" for i in range(SIZE)) for k in range(NUM_MODELS)]
SINGLES = [f"z{i:02}" for i in range(20)]
NAMES = sorted([name for model in MODELS for name in model] + SINGLES)  # 380 photos
BUDGET = 570


def model_of(name: str) -> int:
    return int(name[1:3]) if name[0] == "m" else NUM_MODELS + int(name[1:])


def alike_by_place(queries: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Most alike is one's own place, then the model with the next number, and so on around."""
    for query in queries:
        yield query, [name for name in seen_from(model_of(query) % NUM_MODELS) if name != query]


@cache
def seen_from(place: int) -> list[str]:
    return sorted(NAMES, key=lambda name: ((model_of(name) - place) % NUM_MODELS, name))


def expand(
    models: Sequence[frozenset[str]] = MODELS, budget: int = BUDGET, per_join: int = 12, known: Known | None = None
) -> list[ImagePair]:
    known = known or Known({}, {}, alike_by_place(asking(NAMES, models)))
    return expansion_pairs(NAMES, models, known, ViewGraphOptions(max_pairs_per_join=per_join), budget)


def joins(pairs: Sequence[ImagePair]) -> Counter[tuple[int, int]]:
    return Counter(tuple(sorted((model_of(pair.a), model_of(pair.b)))) for pair in pairs)  # type: ignore[misc]


# ---------------------------------------------------------------- by right


def test_every_two_models_get_their_best_first() -> None:
    pairs = expand()
    number = NUM_MODELS * (NUM_MODELS - 1) // 2
    first = joins(pairs[:number])
    assert set(first) == set(itertools.combinations(range(NUM_MODELS), 2))
    assert set(first.values()) == {1}
    assert len(pairs) == len(set(pairs)) == BUDGET


@pytest.mark.parametrize("per_join", [1, 5])
def test_no_two_parts_get_more_than_their_share(per_join: int) -> None:
    counts = joins(expand(budget=10**6, per_join=per_join))
    of_models = {join: n for join, n in counts.items() if join[1] < NUM_MODELS}
    assert set(of_models.values()) == {per_join}
    assert len(of_models) == NUM_MODELS * (NUM_MODELS - 1) // 2
    with_single = {join: n for join, n in counts.items() if join[1] >= NUM_MODELS > join[0]}
    assert max(with_single.values()) == min(per_join, PER_SINGLE)
    assert {join[1] for join in with_single} == set(range(NUM_MODELS, NUM_MODELS + len(SINGLES)))
    assert max((n for join, n in counts.items() if join[0] >= NUM_MODELS), default=0) <= 1


def test_what_joins_most_photos_comes_first() -> None:
    models = [frozenset(n for n in NAMES if n[:3] in ("m00", "m01", "m02")), MODELS[5], MODELS[6] - {"m06_00"}]
    models += [frozenset(("m09_00", "m09_01", "m09_02"))]
    pairs = expand(models)
    sizes = {name: len(model) for model in models for name in model}
    gains = [min(sizes.get(pair.a, 1), sizes.get(pair.b, 1)) for pair in pairs]
    assert gains[:6] == [SIZE, SIZE - 1, SIZE - 1, 3, 3, 3]
    assert gains[6] == 1


def test_a_single_photo_asks_for_what_looks_most_like_it() -> None:
    models = [frozenset(NAMES) - {"z03", "z04"}]
    pairs = expand(models)
    asked = {pair.a if pair.b == "z03" else pair.b for pair in pairs if "z03" in (pair.a, pair.b)}
    assert len(asked) <= PER_SINGLE + 1
    assert len({name for name in asked if name.startswith("m03")}) == PER_SINGLE


# ---------------------------------------------------------------- what is known


def test_matches_and_names_are_candidates_where_nobody_knows_what_looks_alike() -> None:
    models = [frozenset("abcd"), frozenset("wxyz")]
    names = sorted("abcdwxyz")
    matched = {ImagePair("a", "z"): 40, ImagePair("b", "y"): 12, ImagePair("c", "x"): 9, ImagePair("a", "b"): 500}
    known = Known(matched, {ImagePair("a", "z"): 17})
    found = expansion_pairs(names, models, known, ViewGraphOptions(), 300)
    assert ["".join((pair.a, pair.b)) for pair in found] == ["az", "by", "dw", "cw", "dx"]


def test_matches_count_more_than_looks_and_looks_more_than_names() -> None:
    models = [frozenset("abcd"), frozenset("wxyz")]
    rankings = [("w", "zyxcabd"), ("x", "cwyzabd")]
    known = Known({ImagePair("a", "y"): 30}, {}, rankings)
    found = expansion_pairs(sorted("abcdwxyz"), models, known, ViewGraphOptions(max_pairs_per_join=4), 300)
    assert ["".join((pair.a, pair.b)) for pair in found] == ["ay", "cx", "cw", "aw"]


def test_within_a_part_nothing_is_weak() -> None:
    assert expand([frozenset(NAMES)]) == []
    shared = [frozenset(NAMES[:200]), frozenset(NAMES[150:])]  # photos of both need no link to either
    for pair in expand(shared):
        assert not any(pair.a in model and pair.b in model for model in shared)


def test_where_nothing_is_apart_nobody_is_asked() -> None:
    def refuse(queries: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
        raise AssertionError

    graph = expanded_weak_pairs(NAMES, {}, {}, [frozenset(NAMES)], ViewGraphOptions(), Expand(refuse, 200))
    assert graph.weak_pairs == ()
    assert graph.models == (frozenset(NAMES),)


def test_only_the_photos_outside_the_largest_model_ask() -> None:
    assert asking(NAMES, MODELS) == tuple(name for name in NAMES if name not in MODELS[0])
    assert asking("abc", []) == tuple("abc")


@pytest.mark.parametrize(("num_photos", "budget"), [(2, 300), (200, 300), (400, 600), (1000, 1500)])
def test_the_budget_grows_with_the_photos(num_photos: int, budget: int) -> None:
    assert Expand(alike_by_place, 200).budget(ViewGraphOptions(), num_photos) == budget


def test_only_what_is_wanted_of_an_answer_is_remembered() -> None:
    """Nobody holds all pairs: of photos in as many parts each asks for a few."""
    singles = expansion_pairs(NAMES, [], Known({}, {}, alike_by_place(NAMES)), ViewGraphOptions(), 10**6)
    assert len(singles) <= len(NAMES) * (NEAR + 2)


# ---------------------------------------------------------------- by learned descriptors


class Likeness:
    """Knows how alike some pairs are, and is asked once."""

    def __init__(self, alike: dict[ImagePair, int] | None = None) -> None:
        self.alike, self.asked = alike or {}, list[ImagePair]()

    def __call__(self, pairs: Sequence[ImagePair]) -> dict[ImagePair, int]:
        assert not self.asked
        self.asked = list(pairs)
        return self.alike


def compared(likeness: Likeness, boundary: Sequence[str] = (), **known: dict[ImagePair, int]) -> Known:
    given = {"matched": {}, "verified": {}, **known}
    return Known(given["matched"], given["verified"], alike_by_place(asking(NAMES, MODELS)), boundary, likeness)


def of_models(pairs: Sequence[ImagePair]) -> Counter[tuple[int, int]]:
    return Counter({join: n for join, n in joins(pairs).items() if join[1] < NUM_MODELS})


def test_what_lies_at_the_boundary_of_two_models_is_compared_and_only_there() -> None:
    likeness = Likeness()
    ends = [f"m{k:02}_{i:02}" for k in range(3) for i in (SIZE - 2, SIZE - 1)]
    expand(known=compared(likeness, ends))
    asked = set(likeness.asked)
    assert {ImagePair("m00_28", "m01_29"), ImagePair("m01_28", "m02_28")} <= asked
    assert ImagePair("m00_28", "m00_29") not in asked  # of one model
    retrieved = Likeness()
    expand(known=compared(retrieved))
    assert len(asked - set(retrieved.asked)) == 3 * 2 * 2
    per_join = of_models(retrieved.asked)
    assert set(per_join.values()) == {max(MIN_POOL, round(POOL * TRIES_PER_LINK * 2 / NUM_MODELS))}


def test_a_pair_that_only_its_descriptors_tell_comes_first() -> None:
    right = ImagePair("m03_29", "m07_29")
    ends = (right.a, right.b, "m03_28", "m07_28")
    without = expand(known=compared(Likeness(), ends))
    pairs = expand(known=compared(Likeness({right: 40, ImagePair("m03_28", "m07_28"): 10}), ends))
    of_two = [pair for pair in pairs if {model_of(pair.a), model_of(pair.b)} == {3, 7}]
    assert of_two[0] == right
    assert right not in [pair for pair in without if {model_of(pair.a), model_of(pair.b)} == {3, 7}][:1]


def test_descriptors_and_retrieval_choose_by_turns() -> None:
    models = [frozenset("abcd"), frozenset("wxyz")]
    rankings = [("w", "dcba"), ("x", "dcba"), ("y", "dcba"), ("z", "dcba")]
    alike = {ImagePair("a", "w"): 9, ImagePair("a", "x"): 8, ImagePair("a", "y"): 7, ImagePair("a", "z"): 6}
    known = Known({}, {}, rankings, "abcdwxyz", Likeness(alike))
    found = expansion_pairs(sorted("abcdwxyz"), models, known, ViewGraphOptions(max_pairs_per_join=4), 300)
    assert sorted("".join((pair.a, pair.b)) for pair in found) == ["aw", "ax", "ay", "dw"]


def test_what_sift_verifies_comes_before_what_only_looks_alike() -> None:
    verified, alike = ImagePair("m03_05", "m07_05"), ImagePair("m03_29", "m07_29")
    known = compared(Likeness({alike: 99}), (alike.a, alike.b), verified={verified: 16}, matched={verified: 16})
    of_two = [pair for pair in expand(known=known) if {model_of(pair.a), model_of(pair.b)} == {3, 7}]
    assert of_two[:2] == [verified, alike]


@pytest.mark.parametrize("number", [2, 5, NUM_MODELS])
def test_tries_are_in_proportion_to_the_models_and_not_to_their_pairs(number: int) -> None:
    left = frozenset(name for model in MODELS[number:] for name in model) | frozenset(SINGLES)
    names = [name for name in NAMES if name not in left]
    known = Known(
        {}, {}, [(name, [o for o in seen_from(model_of(name)) if o in names]) for name in names], (), Likeness()
    )
    pairs = expansion_pairs(names, MODELS[:number], known, ViewGraphOptions(), 10**6)
    assert len(pairs) == min(TRIES_PER_LINK * (number - 1), 12 * number * (number - 1) // 2)
    assert set(of_models(pairs)) == set(itertools.combinations(range(number), 2))  # each has some by right


def test_what_is_compared_grows_with_the_photos_and_not_with_the_pairs_of_models() -> None:
    """Many models of few photos are all boundary."""
    number = 150
    models = [frozenset(f"m{k:03}_{i}" for i in range(3)) for k in range(number)]
    names = sorted(name for model in models for name in model)
    rankings = [(name, [other for other in names if other != name]) for name in names]
    likeness = Likeness()
    pairs = expansion_pairs(names, models, Known({}, {}, rankings, names, likeness), ViewGraphOptions(), 675)
    assert len(pairs) == len(set(pairs)) == 675
    assert 675 * COMPARED_PER_TRY <= len(likeness.asked) <= 2 * 675 * COMPARED_PER_TRY


def test_without_a_budget_nobody_is_asked() -> None:
    likeness = Likeness()
    assert expand(known=compared(likeness), budget=0) == []
    assert likeness.asked == []

    def refuse(queries: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
        raise AssertionError

    nothing = ViewGraphOptions(max_weak_pairs=0)
    assert expanded_weak_pairs(NAMES, {}, {}, MODELS, nothing, Expand(refuse, 200, (), likeness)).weak_pairs == ()


def test_single_photos_push_no_models_out_of_what_is_compared() -> None:
    few = Likeness()
    expand(known=compared(few), budget=20)  # so that there is no room for all
    assert len(few.asked) == 20 * COMPARED_PER_TRY
    assert not any("z" in (pair.a[0], pair.b[0]) for pair in few.asked)


def test_single_photos_keep_their_share() -> None:
    counts = joins(expand(budget=10**6, known=compared(Likeness())))
    assert {join[1] for join in counts if join[1] >= NUM_MODELS} == set(range(NUM_MODELS, NUM_MODELS + len(SINGLES)))


# ---------------------------------------------------------------- beside links


def linked_graph() -> ViewGraph:
    """Two models of a row each, every photo verified with its next ones."""
    verified = {
        ImagePair(f"m{k:02}_{i:02}", f"m{k:02}_{i + step:02}"): 100 - 10 * step
        for k in range(3)
        for step in (1, 2, 3)
        for i in range(SIZE - step)
    }
    names = [*(name for name in NAMES if name[:3] in ("m00", "m01", "m02")), "z00"]
    return expanded_weak_pairs(names, {}, verified, MODELS[:3], ViewGraphOptions(), Expand(lambda _: [], 20))


def test_beside_a_link_its_neighbours_are_tried() -> None:
    graph, link = linked_graph(), ImagePair("m00_29", "m01_00")
    found = beside_links([link], graph, {link})
    assert found == [ImagePair("m00_29", "m01_01"), ImagePair("m00_28", "m01_00")]
    assert len(found) == ENOUGH_LINKS - 1


def test_what_was_tried_is_not_tried_again_until_nothing_is_left() -> None:
    graph, link = linked_graph(), ImagePair("m00_29", "m01_00")
    asked = {link}
    while found := beside_links([link], graph, asked):
        assert not asked.intersection(found)
        asked.update(found)
    assert len(asked) == (BESIDE + 1) ** 2
    assert {pair.a for pair in asked} == {"m00_29", "m00_28", "m00_27"}


def test_enough_links_need_no_more() -> None:
    graph = linked_graph()
    links = [ImagePair(f"m00_{29 - i:02}", f"m01_{i:02}") for i in range(ENOUGH_LINKS)]
    assert beside_links(links, graph, links) == []
    assert beside_links(links[:-1], graph, links[:-1]) != []
    assert beside_links([], graph, []) == []


def test_neighbours_of_a_third_model_are_not_beside_a_link() -> None:
    """A photo that two models share has neighbours in either."""
    shared = [MODELS[0] | {"m02_00"}, MODELS[1], MODELS[2]]
    verified = {ImagePair("m00_29", "m02_00"): 90, ImagePair("m02_00", "m02_01"): 99, ImagePair("m01_00", "m01_01"): 99}
    names = sorted(frozenset[str]().union(*shared))
    graph = expanded_weak_pairs(names, {}, verified, shared, ViewGraphOptions(), Expand(lambda _: [], 20))
    link = ImagePair("m01_00", "m02_00")
    found = beside_links([link], graph, {link})
    assert found == [ImagePair("m01_01", "m02_00"), ImagePair("m00_29", "m01_00")]


def test_a_single_photo_has_no_neighbours_of_its_own() -> None:
    graph, link = linked_graph(), ImagePair("m02_10", "z00")
    found = beside_links([link], graph, {link})
    assert {pair.b for pair in found} == {"z00"}
    assert {pair.a for pair in found} == {"m02_09", "m02_11"}


# ---------------------------------------------------------------- the graph


def test_models_are_compared_where_they_end() -> None:
    likeness = Likeness()
    names = [name for name in NAMES if name[:3] in ("m00", "m01")]
    centers = [{name: np.array([float(name[4:]), 0.0, 0.0]) for name in model} for model in MODELS[:2]]
    verified = {
        ImagePair(f"m{k:02}_{i:02}", f"m{k:02}_{i + step:02}"): 50
        for k in range(2)
        for step in (1, 2, 3)
        for i in range(SIZE - step)
    }
    expand = Expand(lambda _: [], 20, centers, likeness)
    expanded_weak_pairs(names, {}, verified, MODELS[:2], ViewGraphOptions(), expand)
    ends = ("00", "01", "28", "29")
    assert {ImagePair(f"m00_{i}", f"m01_{j}") for i in ends for j in ends} <= set(likeness.asked)
    assert ImagePair("m00_15", "m01_15") not in likeness.asked


def test_the_graph_is_that_of_a_small_collection_but_for_the_order(tmp_path: Path) -> None:
    scene = observe(cloud(1, 60), arc([0, 10, 20, 30]))
    rows = {(a, b): scene.true_rows(a, b) for a in range(3) for b in range(a + 1, 3)}
    path = write_database(tmp_path / "database.db", scene, "abcd", DatabaseOptions(rows=rows))
    models = [frozenset("ab")]
    large = build_view_graph(path, models, ViewGraphOptions(), "abcd", Expand(lambda _: [], 2))
    small = build_view_graph(path, models, ViewGraphOptions(), "abcd")
    assert (large.names, large.verified, large.models) == (small.names, small.verified, small.models)
    assert (large.verified_components, large.unregistered) == (small.verified_components, small.unregistered)
    assert set(large.weak_pairs) == {weak for weak in small.weak_pairs if weak.pair != ImagePair("a", "d")}
    assert len(small.weak_pairs) == 5  # a and d are too far from each other by name, and nothing else is known
    fewer = build_view_graph(path, models, ViewGraphOptions(), "abd", Expand(lambda _: [], 2))  # c does not count
    assert {weak.pair for weak in fewer.weak_pairs} == {ImagePair("a", "d"), ImagePair("b", "d")}
    assert large.weak_pairs[0].reasons == (WeakReason.FEW_MATCHES, WeakReason.UNREGISTERED)


def test_small_collections_are_ranked_as_ever() -> None:
    names = list("abcdef")
    graph = rank_weak_pairs(names, {}, {}, [frozenset("ab")], ViewGraphOptions(max_weak_pairs=4))
    assert ["".join((w.pair.a, w.pair.b)) for w in graph.weak_pairs] == ["bc", "cd", "de", "ef"]
