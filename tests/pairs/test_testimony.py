from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import evidence
from interpose_sfm import geometry
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.testimony import FOR_PER_AGAINST, MAX_DIRECTION_DEG, MIN_SURPRISE, confirmed
from interpose_sfm.products import Doubts, Link, Pose
from linked_world import model, offered

LIMITS = ConsensusOptions()


def sure(a: str, b: str, error_deg: float = 0.0) -> Link:
    return replace(offered(a, b, error_deg=error_deg), evidence=evidence())


def near(a: str, b: str, error_deg: float = 0.0, agreement: float = 0.7) -> Link:
    """A near miss, turned away from the truth."""
    return replace(offered(a, b, error_deg=error_deg), evidence=evidence(agreement=agreement))


def bent(link: Link, angle_deg: float) -> Link:
    """The link with a wrong direction, off the plane in which the photos of the world lie."""
    way = link.b_from_a.translation
    sideways = np.cross(way, link.b_from_a.rotation @ np.array([0.0, 1.0, 0.0]))
    rotation = geometry.rotation_from_axis_angle(sideways, angle_deg)
    return replace(link, b_from_a=Pose(link.b_from_a.rotation, rotation @ way))


def pairs(possible: Sequence[Link], others: Sequence[Link] = (), models: Sequence[Mapping[str, Pose]] = ()) -> set[str]:
    """Names of the near misses that are confirmed, where all other links are believed."""
    found = confirmed(possible, [*possible, *others], others, models, LIMITS)
    assert all(found.values())  # each with a reason
    return {pair.a + pair.b for pair in found}


def around(names: str, error_deg: float = 0.0) -> list[Link]:
    """Sure links from a, and from b, to each of some third photos; those to b are turned away from the truth."""
    return [link for c in names for link in (sure("a", c), sure("b", c, error_deg))]


@pytest.mark.parametrize(("witnesses", "is_confirmed"), [("", False), ("c", False), ("cd", True), ("cde", True)])
def test_two_third_photos_confirm_a_near_miss(witnesses: str, is_confirmed: bool) -> None:
    """One does not, though both of its links are sure: each photo speaks once."""
    assert pairs([near("a", "b")], around(witnesses)) == ({"ab"} if is_confirmed else set())
    assert pairs([near("b", "a")], around(witnesses)) == ({"ba"} if is_confirmed else set())


@pytest.mark.parametrize(("error_deg", "is_confirmed"), [(9.9, True), (10.1, False), (90.0, False)])
def test_a_witness_must_find_the_rotation(error_deg: float, is_confirmed: bool) -> None:
    assert bool(pairs([near("a", "b", error_deg)], around("cde"))) is is_confirmed


@pytest.mark.parametrize(("share", "is_confirmed"), [(0.25, True), (2.0, False), (4.0, False)])
def test_a_witness_must_find_the_direction(share: float, is_confirmed: bool) -> None:
    """Near the arc that the two other directions span, since no length is known."""
    offer = bent(near("a", "d"), share * MAX_DIRECTION_DEG)
    others = [sure(x, c) for c in "bce" for x in "ad"]
    assert bool(pairs([offer], others)) is is_confirmed


@pytest.mark.parametrize(("num_for", "is_confirmed"), [(2, False), (3, True)])
def test_three_must_speak_for_it_for_each_that_speaks_against(num_for: int, is_confirmed: bool) -> None:
    assert FOR_PER_AGAINST == 3
    assert bool(pairs([near("a", "b")], [*around("cde"[:num_for]), *around("h", 60.0)])) is is_confirmed


def test_the_matches_of_all_that_speak_must_agree() -> None:
    """Witnesses that find the predicted pose with most of their own matches against it are no help."""
    trusted = [sure("a", c) for c in "cde"]
    for agreement, is_confirmed in ((0.3, False), (0.9, True)):
        witnesses = [near("b", c, agreement=agreement) for c in "cde"]
        offer = near("a", "b", agreement=0.65)
        found = confirmed([offer], [offer, *witnesses], trusted, [], LIMITS)
        assert bool(found) is is_confirmed


@pytest.mark.parametrize(("agreement", "is_confirmed"), [(0.73, True), (0.75, False), (0.85, False)])
def test_a_link_that_agrees_enough_needs_witnesses_that_leave_as_much(agreement: float, is_confirmed: bool) -> None:
    """It lacks something else, and those who hear of it must not agree less than any link needs."""
    trusted = [sure("a", c) for c in "cde"]
    witnesses = [near("b", c, agreement=0.62) for c in "cde"]
    offer = near("a", "b", agreement=agreement)
    assert bool(confirmed([offer], [offer, *witnesses], trusted, [], LIMITS)) is is_confirmed
    if agreement >= LIMITS.min_agreement:
        better = [near("b", c, agreement=0.80) for c in "cde"]
        assert confirmed([offer], [offer, *better], trusted, [], LIMITS)


@pytest.mark.parametrize(("silence", "is_confirmed"), [(0.09, True), (0.11, False)])
def test_no_third_photo_mends_what_should_be_seen_and_is_not(silence: float, is_confirmed: bool) -> None:
    offer = replace(near("a", "b"), doubts=Doubts(silence_a=silence, silence_b=silence))
    assert bool(pairs([offer], around("cde"))) is is_confirmed


def test_matches_that_luck_explains_are_no_witness() -> None:
    trusted = [sure("a", c) for c in "cde"]
    for surprise, is_confirmed in ((MIN_SURPRISE - 0.1, False), (MIN_SURPRISE + 0.1, True)):
        witnesses = [replace(sure("b", c), evidence=evidence(surprise=surprise)) for c in "cde"]
        assert bool(confirmed([near("a", "b")], witnesses, trusted, [], LIMITS)) is is_confirmed


def test_near_misses_are_witnesses_and_those_that_nobody_believes_are_no_ways() -> None:
    """Some way to each third photo must be known: that refused links agree with one another is not enough."""
    refused = [near(x, c) for c in "cde" for x in "ab"]
    assert pairs([near("a", "b"), *refused]) == set()
    known = [sure("a", c) for c in "cde"]
    assert "ab" in pairs([near("a", "b"), *(near("b", c) for c in "cde")], known)


def test_what_is_confirmed_lets_others_be_heard() -> None:
    """Of c to d, a is a witness at once, and b as soon as the way from c to b is known."""
    possible = [near("c", "b"), near("c", "d"), near("d", "b")]
    others = [sure("c", "a"), sure("d", "a")]
    assert pairs(possible, others) == set()
    others += [sure(x, y) for x in "cb" for y in "ef"]
    assert pairs(possible, others) == {"cb", "cd"}


# ---------------------------------------------------------------- base models


def test_a_base_model_tells_the_way_to_third_photos() -> None:
    """A photo whose links to a model's photos are all near misses: they confirm one another."""
    offers = [near("h", c) for c in "abc"]
    assert pairs(offers, (), [model("abcd")]) == {"ha", "hb", "hc"}
    assert pairs(offers[:2], (), [model("abcd")]) == set()  # each has one witness only


def test_near_misses_that_contradict_one_another_stay_out() -> None:
    offers = [near("h", c, error_deg) for c, error_deg in zip("abcd", (0.0, 60.0, 120.0, 170.0), strict=True)]
    assert pairs(offers, (), [model("abcde")]) == set()


def test_a_model_that_holds_both_ways_is_no_third_opinion() -> None:
    assert pairs([near("a", "b")], (), [model("abcdef")]) == set()


def test_a_model_tests_the_sure_links_of_its_photos() -> None:
    """b hangs on c, d and e by sure links, and a model holds these with a: it is they that speak."""
    links = [sure("b", c) for c in "cde"]
    for error_deg, is_confirmed in ((0.0, True), (40.0, False)):
        assert bool(pairs([near("a", "b", error_deg)], links, [model("acde")])) is is_confirmed


def test_order_and_frames_do_not_matter() -> None:
    offers = [near("h", c, agreement=0.95) for c in "abcef"] + [near("h", "d", 50.0)]
    expected = pairs(offers, (), [model("abcdef")])
    assert expected == {"ha", "hb", "hc", "he", "hf"}
    for seed, order in enumerate(itertools.islice(itertools.permutations(offers), 0, 720, 31)):
        assert pairs(order, (), [model("abcdef", seed)]) == expected
