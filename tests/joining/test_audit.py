from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from geometry_scenes import turned
from interpose_sfm.joining.audit import audit
from interpose_sfm.options import ConsensusOptions
from linked_world import model, offered

OPTIONS = ConsensusOptions()


def test_a_model_that_agrees_with_everything_is_left_alone() -> None:
    found = audit(model("abcde", 3), [model("abc", 1)], [offered("a", "d"), offered("d", "e")], OPTIONS)
    assert found.unsupported == frozenset()
    assert found.contradicted == {}


def test_base_photos_need_no_link() -> None:
    found = audit(model("abcd", 3), [model("abcd", 1)], [], OPTIONS)
    assert found.unsupported == frozenset()


def test_a_photo_without_a_link_is_unsupported() -> None:
    for links in ([], [offered("e", "f")]):
        found = audit(model("abcd", 3), [model("abc", 1)], links, OPTIONS)
        assert found.unsupported == {"d"}
        assert found.contradicted == {}


def test_photos_held_only_by_one_another_are_unsupported() -> None:
    found = audit(model("abcdef", 3), [model("abc", 1)], [offered("d", "e"), offered("e", "f")], OPTIONS)
    assert found.unsupported == set("def")


@pytest.mark.parametrize(("error_deg", "is_held"), [(9.9, True), (10.1, False), (120.0, False)])
def test_a_link_that_the_model_contradicts_holds_nothing(error_deg: float, is_held: bool) -> None:
    links = [offered("a", "b"), offered("a", "d", 0.9, error_deg)]
    found = audit(model("abcd", 3), [model("abc", 1)], links, OPTIONS)
    assert found.unsupported == (frozenset() if is_held else {"d"})
    assert set(found.contradicted) == (set() if is_held else {1})
    if not is_held:
        assert found.contradicted[1] == pytest.approx(error_deg, abs=1e-6)


@pytest.mark.parametrize(
    ("spread_deg", "error_deg", "is_held"),
    [(5.0, 14.9, True), (5.0, 15.1, False), (3.0, 9.9, True), (3.0, 10.1, False)],
)
def test_a_model_may_turn_away_from_a_link_by_three_of_its_sigmas(
    spread_deg: float, error_deg: float, is_held: bool
) -> None:
    """At least by what cycles may miss."""
    unsure = replace(offered("a", "d", 0.9, error_deg), spread_deg=spread_deg)
    found = audit(model("abcd", 3), [model("abc", 1)], [unsure], OPTIONS)
    assert found.unsupported == (frozenset() if is_held else {"d"})
    assert set(found.contradicted) == (set() if is_held else {0})


def test_a_wrong_photo_is_found_and_the_base_photos_are_not_blamed() -> None:
    placed = model("abcd", 3)
    placed["d"] = turned(placed["d"], 70)
    found = audit(placed, [model("abc", 1)], [offered("a", "d"), offered("b", "d"), offered("a", "c")], OPTIONS)
    assert found.unsupported == {"d"}
    assert set(found.contradicted) == {0, 1}
    assert list(found.contradicted.values()) == pytest.approx([70, 70], abs=1e-6)


def test_one_agreeing_link_holds_a_photo() -> None:
    found = audit(model("abcd", 3), [model("abc", 1)], [offered("a", "d", 0.9, 90), offered("b", "d", 0.3)], OPTIONS)
    assert found.unsupported == frozenset()
    assert set(found.contradicted) == {0}


def test_a_second_base_model_is_held_as_a_whole() -> None:
    bases = [model("abcd", 1), model("efg", 2)]
    assert audit(model("abcdefg", 3), bases, [offered("a", "e")], OPTIONS).unsupported == frozenset()
    assert audit(model("abcdefg", 3), bases, [], OPTIONS).unsupported == set("efg")
    bent = model("abcdefg", 3)
    bent["g"] = turned(bent["g"], 30)
    assert audit(bent, bases, [offered("a", "e")], OPTIONS).unsupported == {"g"}


def test_without_a_base_model_the_largest_group_stays() -> None:
    links = [offered("a", "b"), offered("b", "c"), offered("d", "e")]
    assert audit(model("abcde", 3), [], links, OPTIONS).unsupported == {"d", "e"}


def test_the_base_model_stays_even_where_more_photos_hang_together_elsewhere() -> None:
    links = [offered(a, b) for a, b in itertools.pairwise("defgh")]
    found = audit(model("abcdefgh", 3), [model("abc", 1)], links, OPTIONS)
    assert found.unsupported == set("defgh")
    held = audit(model("abcdefgh", 3), [model("abc", 1)], [*links, offered("h", "a")], OPTIONS)
    assert held.unsupported == frozenset()


def test_links_to_photos_outside_the_model_do_not_count() -> None:
    found = audit(model("abc", 3), [model("abc", 1)], [offered("a", "h", 0.9, 90), offered("g", "h")], OPTIONS)
    assert (found.unsupported, found.contradicted) == (frozenset(), {})


def test_photos_of_given_poses_stay_and_hold_what_hangs_on_them() -> None:
    bases = [model("abcde", 1), model("fg", 2)]
    assert audit(model("abcdefgh", 3), bases, [offered("g", "h")], OPTIONS).unsupported == set("fgh")
    found = audit(model("abcdefgh", 3), bases, [offered("g", "h")], OPTIONS, given="f")
    assert found.unsupported == set("abcde")
    alone = model("abcd", 3)
    alone["d"] = turned(alone["d"], 70)
    assert audit(alone, [model("abcd", 1)], [], OPTIONS, given="ad").unsupported == frozenset()
