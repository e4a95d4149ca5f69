from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from geometry_scenes import DatabaseOptions, arc, cloud, observe, write_database
from interpose_sfm.options import ViewGraphOptions
from interpose_sfm.pairs.expansion import NEAR, PER_SINGLE, Known, asking, expansion_pairs
from interpose_sfm.pairs.view_graph import Expand, build_view_graph, expanded_weak_pairs, rank_weak_pairs
from interpose_sfm.products import ImagePair, WeakReason

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


# ---------------------------------------------------------------- the graph


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
