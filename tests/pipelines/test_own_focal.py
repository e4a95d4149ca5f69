"""The pipeline on focal lengths by matches alone: what it makes of a pair, and what its document counts."""

from __future__ import annotations

import numpy as np
import pytest

import own_focal
from geometry_scenes import cloud, observe, undescribed
from interpose_sfm.products import ImagePair
from interpose_sfm.synthetic import look_at
from own_focal import Row, document, row_of

PAIR = ImagePair("a", "b")


def test_a_pair_is_measured_by_guess_by_matches_and_by_truth() -> None:
    poses = look_at((0, -8, 0.6), (0, 0, 0)), look_at((3.4, -4.0, 1.2), (0.7, 0.0, 0.3))
    scene = observe(cloud(4, 200), poses, noise_px=0.3, seed=4)
    features = [undescribed(found) for found in scene.features]
    sides = features[0], scene.intrinsics[0], features[1], scene.intrinsics[1]
    row = row_of("place", PAIR, sides, scene.matches(0, 1), scene.b_from_a(0, 1))
    assert row is not None
    assert row.factor == pytest.approx(1.0, abs=0.05)
    assert row.spread_deg < 3.0
    assert max(row.by_matches_deg, row.by_truth_deg) < 2.0
    assert row.by_guess_deg > 5.0 or np.isnan(row.by_guess_deg)


def test_the_document_counts_what_is_given_out() -> None:
    sure = [Row("one", 20.0, 0.5, 1.5, 0.5 + 0.1 * number, 1.0) for number in range(4)]
    unsure = [Row("two", np.nan, 1.0, 4.5, 12.0, 1.4), Row("two", np.nan, np.nan), Row("two", 3.0, 1.0, 1.8, 2.0, 0.9)]
    text = document([*sure, *unsure], [Row("three", 1.0, 1.0, 2.0, np.nan, 1.0)])
    assert "| one | 4 | 4: 0.5 / 0.5 | 4: 20.0 / 20.0 | 4 | 1.00 to 1.00 | 0.6 / 0.8 |" in text
    assert "| two | 3 | 2: 1.0 / 1.0 | 1: 3.0 / 3.0 | 1 | 0.90 to 0.90 | 2.0 / 2.0 |" in text
    assert "| three (unseen) | 1 | 1: 1.0 / 1.0 | 1: 1.0 / 1.0 | 0 | - | - |" in text
    assert "| 3 | 5 | 0.7 / 2.0 | 0 | 0 | 0 | - | 0 | 0 |" in text
    assert "| 5 | 6 | 0.8 / 12.0 | 1 | 0 | 0 | - | 0 | 0 |" in text
    assert "| one | 4 | 4 | 0.6 / 0.8 | 0 | 0 |" in text  # the largest limit that the other place bears
    assert "| two | 10 | 2 | 7.0 / 12.0 | 1 | 0 |" in text
    assert own_focal.within([sure[0]], 1.0) == []
