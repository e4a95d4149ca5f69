"""A drone's flight over a field; a stretch of it is missing, so that there are two models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from flight import CENTERS_M, ENU, LENGTH_M, NAMES, centers_m, flight, gps
from interpose_sfm.colmap.reconstruction import poses
from interpose_sfm.joining.georegistration import georegister


@pytest.mark.parametrize("noise_m", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("seed", range(4))
def test_a_flight_with_a_gap_comes_out_in_metres(noise_m: float, seed: int) -> None:
    """Two models that share no photo, one frame."""
    first, second = range(7), range(10, len(NAMES))
    positions = gps(noise_m, seed)
    found = [georegister(flight(rows, seed), positions, seed) for rows in ((*first, *range(33, 40)), range(10, 33))]
    assert [each.is_done for each in found] == [True, True]
    together = {name: pose for each in found for name, pose in poses(each.model).items()}
    flown_m = centers_m(together)
    assert len(flown_m) == len([*first, *second])
    length_m = float(np.sum(np.linalg.norm(np.diff(flown_m, axis=0), axis=1)))
    assert length_m == pytest.approx(LENGTH_M, rel=0.02)
    truth_m = CENTERS_M[[*first, *second]] + ENU
    assert np.linalg.norm(flown_m - truth_m, axis=1).max() < 0.01 + 4 * noise_m
    for each in found:
        assert each.error_m < 0.01 + 3.5 * noise_m
        assert "in metres by" in each.detail


def test_the_model_itself_is_not_altered() -> None:
    model = flight(range(40))
    before = centers_m(poses(model))
    assert georegister(model, gps(0.0), 0).model is not model
    np.testing.assert_array_equal(centers_m(poses(model)), before)


def test_single_positions_that_are_wrong_do_not_count() -> None:
    positions = gps(1.0)
    positions["03.jpg"] = positions["03.jpg"] + [400.0, 0.0, 0.0]
    found = georegister(flight(range(40)), positions, 0)
    assert np.linalg.norm(centers_m(poses(found.model)) - CENTERS_M - ENU, axis=1).max() < 2.0
    assert "1 miss by more than 15 m and do not count" in found.detail


def test_positions_without_an_altitude_do_not_count() -> None:
    positions = gps(0.0)
    for name in NAMES[:5]:
        positions[name] = np.array([0.0, 0.0, np.nan])
    found = georegister(flight(range(40)), positions, 0)
    assert found.num_photos == 35
    assert np.linalg.norm(centers_m(poses(found.model)) - CENTERS_M - ENU, axis=1).max() < 0.01


@pytest.mark.parametrize(("rows", "known", "why"), [
    (range(40), range(2), "2 of its photos have a GPS position with an altitude, expected 3"),
    (range(20, 40), range(40), "lie in a line"),  # the second strip: straight, and level
    (range(3), range(40), "too close together"),
])  # fmt: skip
def test_what_positions_do_not_tell_is_said(rows: Sequence[int], known: Sequence[int], why: str) -> None:
    positions = {NAMES[row]: gps(1.0)[NAMES[row]] for row in known}
    model = flight(rows)
    found = georegister(model, positions, 0)
    assert not found.is_done
    assert found.model is model
    assert found.detail.startswith("not georegistered: ")
    assert why in found.detail


def test_positions_that_fit_no_model_are_said() -> None:
    rng = np.random.default_rng(0)
    rows = (0, 5, 22, 30)
    positions = {NAMES[row]: rng.uniform(-5000, 5000, 3) for row in rows}
    found = georegister(flight(rows), positions, 0)
    assert not found.is_done
    assert "no similarity brings 3 photos to within 15 m" in found.detail
