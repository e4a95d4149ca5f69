from __future__ import annotations

import contextlib
import itertools
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from geometry_scenes import DatabaseOptions, arc, cloud, observe, write_database
from interpose_sfm.colmap.constants import MIN_VERIFIED_MATCHES
from interpose_sfm.options import ViewGraphOptions
from interpose_sfm.pairs.view_graph import build_view_graph, rank_weak_pairs
from interpose_sfm.products import ImagePair, ViewGraph, WeakReason

NO_MATCH, FEW = WeakReason.NO_VERIFIED_MATCH, WeakReason.FEW_MATCHES
DISCONNECTED, UNREGISTERED = WeakReason.DISCONNECTED, WeakReason.UNREGISTERED


def rank(
    names: str,
    models: list[str],
    verified: dict[str, int] | None = None,
    matched: dict[str, int] | None = None,
    limit: int = 300,
) -> ViewGraph:
    """The view graph of photos with one-letter names."""
    counts = [{ImagePair(*key): n for key, n in (table or {}).items()} for table in (matched, verified)]
    members = [frozenset(m) for m in models]
    return rank_weak_pairs(list(names), counts[0], counts[1], members, ViewGraphOptions(max_weak_pairs=limit))


def pairs(graph: ViewGraph) -> list[str]:
    return [w.pair.a + w.pair.b for w in graph.weak_pairs]


def test_photos_that_do_not_count_are_as_if_not_there(tmp_path: Path) -> None:
    scene = observe(cloud(1, 60), arc([0, 10, 20, 30]))
    rows = {(a, b): scene.true_rows(a, b) for a in range(4) for b in range(a + 1, 4)}
    path = write_database(tmp_path / "database.db", scene, "abcd", DatabaseOptions(rows=rows))
    models = [frozenset("ab"), frozenset("d")]
    graph = build_view_graph(path, models, ViewGraphOptions(), only="abc")
    assert graph.names == tuple("abc")
    assert graph.models == (frozenset("ab"),)
    assert set(graph.verified) == {ImagePair("a", "b"), ImagePair("a", "c"), ImagePair("b", "c")}
    assert set(pairs(graph)) == {"ac", "bc"}
    assert set(build_view_graph(path, models, ViewGraphOptions()).names) == set("abcd")


# ---------------------------------------------------------------- which pairs


def test_a_model_of_all_photos_leaves_nothing_weak() -> None:
    graph = rank("abcd", ["abcd"], {"ab": 50})
    assert graph.weak_pairs == ()
    assert graph.unregistered == frozenset()
    assert graph.models == (frozenset("abcd"),)


def test_pairs_are_weak_where_no_model_holds_both() -> None:
    graph = rank("abcde", ["abc", "cd"])
    assert set(pairs(graph)) == {"ad", "bd", "ae", "be", "ce", "de"}
    assert graph.unregistered == {"e"}


def test_without_any_model_every_pair_is_weak() -> None:
    graph = rank("dbca", [])
    assert set(pairs(graph)) == {a + b for a, b in itertools.combinations("abcd", 2)}
    assert graph.names == tuple("abcd")
    assert {w.reasons for w in graph.weak_pairs} == {(NO_MATCH, UNREGISTERED)}
    assert graph.unregistered == set("abcd")


def test_fewer_than_two_photos_have_no_pairs() -> None:
    assert rank("", []).weak_pairs == ()
    assert rank("a", []).weak_pairs == ()


def test_photos_in_two_models_are_not_weak_with_either() -> None:
    graph = rank("abcde", ["abc", "cde"])
    assert set(pairs(graph)) == {"ad", "ae", "bd", "be"}
    assert {w.reasons[1] for w in graph.weak_pairs} == {DISCONNECTED}
    assert graph.models == (frozenset("abc"), frozenset("cde"))


@pytest.mark.parametrize(
    ("pair", "reasons", "num_verified"),
    [
        ("ad", (FEW, DISCONNECTED), 20),
        ("bd", (NO_MATCH, DISCONNECTED), 0),
        ("af", (FEW, UNREGISTERED), 16),
        ("fg", (NO_MATCH, UNREGISTERED), 0),
    ],
)
def test_every_weak_pair_has_its_reasons(pair: str, reasons: tuple[WeakReason, ...], num_verified: int) -> None:
    graph = rank("abcdefg", ["abc", "de"], {"ad": 20, "af": 16, "ab": 300})
    found = next(w for w in graph.weak_pairs if w.pair == ImagePair(*pair))
    assert (found.reasons, found.num_verified) == (reasons, num_verified)


# ---------------------------------------------------------------- ranking and budget


def test_verified_matches_count_first_then_raw_ones_then_closeness() -> None:
    graph = rank("abcdef", [], {"af": 40, "be": 20}, {"cf": 90, "af": 40, "be": 20, "bd": 30})
    assert pairs(graph)[:4] == ["af", "be", "cf", "bd"]
    assert pairs(graph)[4:9] == ["ab", "bc", "cd", "de", "ef"]
    assert pairs(graph)[9:12] == ["ac", "ce", "df"]


def test_single_raw_matches_are_noise() -> None:
    near_first = rank("abcd", [], matched={"ad": 9, "ab": 1})
    far_first = rank("abcd", [], matched={"ad": 20, "ab": 1})
    assert pairs(near_first)[0] == "ab"
    assert pairs(far_first)[0] == "ad"


@pytest.mark.parametrize("limit", [0, 1, 7, 28, 1000])
def test_the_budget_keeps_the_most_promising(limit: int) -> None:
    verified = {"ah": 40, "cg": 30, "be": 20}
    everything, some = rank("abcdefgh", [], verified), rank("abcdefgh", [], verified, limit=limit)
    assert pairs(some) == pairs(everything)[:limit]
    assert len(pairs(some)) == min(limit, 28)


def test_the_order_of_the_names_does_not_matter() -> None:
    verified, matched = {"ad": 20, "bc": 20}, {"ae": 30, "cd": 30}
    expected = rank("abcde", ["ab"], verified, matched)
    for order in itertools.permutations("abcde"):
        assert rank("".join(order), ["ab"], verified, matched) == expected


# ---------------------------------------------------------------- from a database


NAMES = ("Ärger/été 1.jpg", "photo.jpg", "写真/東京 🏯.png", "русский.tif", "solo.jpg")


@pytest.fixture(scope="module")
def database_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five photos: 0-1 verified by many, 1-2 at COLMAP's limit, 2-3 below it, 0-3 matched only, 4 alone.

    Their ids are in the reverse order of the list.
    """
    scene = observe(cloud(0), arc([0, 10, 20, 30, 40]))
    options = DatabaseOptions(
        rows={
            (0, 1): scene.true_rows(0, 1)[:100],
            (1, 2): scene.true_rows(1, 2)[:MIN_VERIFIED_MATCHES],
            (2, 3): scene.true_rows(2, 3)[: MIN_VERIFIED_MATCHES - 1],
        },
        raw={(0, 3): scene.true_rows(0, 3)[:70]},
        ids=(9, 7, 5, 3, 1),
    )
    return write_database(tmp_path_factory.mktemp("database") / "данные.db", scene, NAMES, options)


def test_a_database_is_read_by_names(database_path: Path) -> None:
    graph = build_view_graph(database_path, [frozenset(NAMES[:3])], ViewGraphOptions())
    assert graph.names == tuple(sorted(NAMES))
    assert graph.verified == {
        ImagePair.sorted(NAMES[0], NAMES[1]): 100,
        ImagePair.sorted(NAMES[1], NAMES[2]): MIN_VERIFIED_MATCHES,
    }
    assert graph.verified_components[0] == frozenset(NAMES[:3])
    assert sorted(map(len, graph.verified_components)) == [1, 1, 3]
    assert graph.unregistered == frozenset(NAMES[3:])
    assert len(graph.weak_pairs) == 7
    assert graph.weak_pairs[0].pair == ImagePair.sorted(NAMES[0], NAMES[3])  # 70 raw matches
    assert graph.weak_pairs[1].pair == ImagePair.sorted(NAMES[2], NAMES[3])  # 14 raw matches
    assert {w.num_verified for w in graph.weak_pairs} == {0}


def test_reading_a_database_does_not_change_its_content(database_path: Path) -> None:
    def content() -> list[str]:
        with contextlib.closing(sqlite3.connect(database_path)) as connection:
            return list(connection.iterdump())

    before = content()
    build_view_graph(database_path, [], ViewGraphOptions())
    assert content() == before


def test_a_database_without_matches_makes_every_pair_weak(tmp_path: Path) -> None:
    scene = observe(np.zeros((0, 3)), arc([0, 10, 20]))
    path = write_database(tmp_path / "user.db", scene, NAMES[:3], DatabaseOptions(with_descriptors=False))
    graph = build_view_graph(path, [], ViewGraphOptions())
    assert graph.verified == {}
    assert [len(c) for c in graph.verified_components] == [1, 1, 1]
    assert [w.reasons for w in graph.weak_pairs] == [(NO_MATCH, UNREGISTERED)] * 3
