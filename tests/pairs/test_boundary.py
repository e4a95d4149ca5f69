from __future__ import annotations

import numpy as np
import pytest

from interpose_sfm.pairs.boundary import MAX_PER_MODEL, boundary
from interpose_sfm.products import FloatArray, ImagePair

REACH = 3  # neighbours to either side


def row(number: int) -> dict[str, FloatArray]:
    """Photos along a street, not quite in a line."""
    aside = np.random.default_rng(0).uniform(-0.05, 0.05, number)
    return {f"{place:02}": np.array([float(place), aside[place], 0.0]) for place in range(number)}


def ring(number: int) -> dict[str, FloatArray]:
    """Photos all around something."""
    turns = np.linspace(0, 2 * np.pi, number, endpoint=False)
    return {f"{place:02}": 10 * np.array([np.cos(turn), np.sin(turn), 0.0]) for place, turn in enumerate(turns)}


def near_by(number: int, around: int = 0) -> list[ImagePair]:
    """Each with its next neighbours; ``around`` photos close a ring."""
    steps = [(a, a + step) for a in range(number) for step in range(1, REACH + 1)]
    wrapped = [(a, b % around if around else b) for a, b in steps if around or b < number]
    return [ImagePair.sorted(f"{a:02}", f"{b:02}") for a, b in wrapped]


def test_a_row_ends_with_its_last_two_photos_on_either_side() -> None:
    found = boundary(row(20), near_by(20))
    assert set(found) == {"00", "01", "18", "19"}
    assert set(found[:2]) == {"00", "19"}  # the most one-sided ones


def test_a_long_row_has_no_more_of_them_than_a_short_one() -> None:
    assert set(boundary(row(9), near_by(9), number=9)) == {"00", "01", "07", "08"}
    assert len(boundary(row(90), near_by(90))) == MAX_PER_MODEL


def test_what_is_seen_from_all_around_ends_nowhere() -> None:
    assert boundary(ring(30), near_by(30, around=30)) == ()


def test_a_ring_with_a_gap_ends_at_the_gap() -> None:
    without = {name: center for name, center in ring(30).items() if name not in ("10", "11", "12", "13")}
    assert set(boundary(without, near_by(30, around=30))) == {"08", "09", "14", "15"}


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_unit_does_not_matter(scale: float) -> None:
    scaled = {name: scale * center for name, center in row(12).items()}
    assert boundary(scaled, near_by(12)) == boundary(row(12), near_by(12))


def test_a_photo_without_neighbours_is_at_the_boundary() -> None:
    alone = {**row(12), "99": np.array([50.0, 0.0, 0.0])}
    assert "99" in boundary(alone, near_by(12))


def test_photos_of_other_models_and_those_at_the_same_place_do_not_count() -> None:
    elsewhere = [ImagePair(f"{place:02}", "zz") for place in range(20)]
    twice = {**row(20), "05b": row(20)["05"]}
    assert set(boundary(twice, [*near_by(20), *elsewhere, ImagePair("05", "05b")])) >= {"00", "19"}
    assert boundary({}, near_by(4)) == ()
