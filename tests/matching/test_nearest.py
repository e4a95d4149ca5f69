"""Matches by descriptors alone: those of the same points, and none where nothing is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import arc, cloud, described_anew, observe, pose_error_deg
from interpose_sfm.matching import verification
from interpose_sfm.matching.nearest import (
    MIN_CLEAR_INLIERS,
    MIN_SCORE,
    MIN_TRACK_SCORE,
    clear_edge,
    is_clear,
    mutually_nearest,
    nearest_matches,
)
from interpose_sfm.options import MatchingOptions
from interpose_sfm.products import Pose, PoseStatus, TwoView

SCENE = observe(cloud(1, 250), arc([0.0, 10.0]), noise_px=0.5, seed=1)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_the_same_points_match(noise: float) -> None:
    a, b = SCENE.features
    found = nearest_matches(a, described_anew(b, noise))
    true = {tuple(rows) for rows in SCENE.true_rows(0, 1).tolist()}
    sure = {tuple(rows) for rows in found.above(MIN_SCORE).indices.tolist()}
    assert len(sure & true) >= 0.9 * len(true)
    assert len(sure - true) <= 0.02 * len(true)
    assert found.indices.dtype == np.uint32
    assert found.scores.dtype == np.float32
    assert 0 <= found.scores.min() <= found.scores.max() <= 1


def test_mutually_nearest_are_the_best_of_their_row_and_their_column() -> None:
    rows, columns = mutually_nearest(np.array([[0.9, 0.2, 0.1], [0.8, 0.3, 0.1]]))
    assert rows.tolist() == [0]  # the second row likes the first column best, which likes the first row
    assert columns.tolist() == [0]


def test_every_key_point_has_one_match_at_most() -> None:
    a, b = SCENE.features
    rows_a, rows_b = nearest_matches(described_anew(a, 1.0), described_anew(b, 1.0)).indices.T
    assert len(set(rows_a.tolist())) == len(rows_a)
    assert len(set(rows_b.tolist())) == len(rows_b)


def test_nothing_is_sure_where_descriptors_are_alike() -> None:
    a, b = (
        replace(f, descriptors=np.ones_like(f.descriptors) / np.sqrt(f.descriptors.shape[1])) for f in SCENE.features
    )
    assert len(nearest_matches(a, b).above(MIN_SCORE).indices) == 0


def test_a_view_without_key_points_has_no_matches() -> None:
    a, b = SCENE.features
    assert nearest_matches(a, b.chosen(np.zeros(0, np.intp))).indices.shape == (0, 2)
    assert nearest_matches(a.chosen(np.zeros(0, np.intp)), b).scores.shape == (0,)


@pytest.mark.parametrize(
    ("changes", "clear"),
    [
        ({}, True),
        ({"num_inliers": 99}, False),
        ({"inlier_share": 0.94}, False),
        ({"agreement": 0.89}, False),
    ],
)
def test_what_is_clear_has_many_matches_that_agree(changes: dict[str, float], clear: bool) -> None:
    a, b = SCENE.features
    found = verification.verify(a, SCENE.intrinsics[0], b, SCENE.intrinsics[1], nearest_matches(a, b), 0, MIN_SCORE)
    at_limits = replace(found.evidence, num_inliers=100, inlier_share=0.95, agreement=0.9)
    assert is_clear(replace(found, evidence=replace(at_limits, **changes))) == clear


def test_nothing_is_clear_without_a_pose() -> None:
    a, b = SCENE.features
    found = verification.verify(a, SCENE.intrinsics[0], b, SCENE.intrinsics[1], nearest_matches(a, b), 0, MIN_SCORE)
    assert is_clear(found)
    assert not is_clear(TwoView(PoseStatus.FEW_INLIERS, None, found.inliers, found.evidence, 180.0))
    assert is_clear(replace(found, b_from_a=Pose(np.eye(3), np.zeros(3)), status=PoseStatus.ROTATION_ONLY))


def test_a_clear_edge_has_the_true_pose() -> None:
    a, b = SCENE.features
    edge = clear_edge(a, SCENE.intrinsics[0], b, SCENE.intrinsics[1], 0)
    assert edge is not None
    matches, found = edge
    assert max(pose_error_deg(found.b_from_a, SCENE.b_from_a(0, 1))) < 1.0
    assert matches.scores[found.inliers].min() >= MIN_SCORE


def test_too_few_confident_matches_are_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = SCENE.features
    few = a.chosen(np.arange(MIN_CLEAR_INLIERS - 1))

    def refuse(*_: object) -> None:
        pytest.fail("verified what cannot be clear")

    monkeypatch.setattr(verification, "verify", refuse)
    assert clear_edge(few, SCENE.intrinsics[0], b, SCENE.intrinsics[1], 0) is None


def test_an_edge_whose_matches_do_not_agree_is_not_clear() -> None:
    a, b = SCENE.features
    order = np.random.default_rng(3).permutation(len(b.descriptors))
    mixed = replace(b, descriptors=b.descriptors[order])
    assert clear_edge(a, SCENE.intrinsics[0], mixed, SCENE.intrinsics[1], 0) is None


def test_doubtful_matches_of_a_clear_edge_count_as_inliers_where_they_agree() -> None:
    a, b = SCENE.features
    b = described_anew(b, 0.7)
    edge = clear_edge(a, SCENE.intrinsics[0], b, SCENE.intrinsics[1], 0)
    assert edge is not None
    matches, found = edge
    scores = matches.scores[found.inliers]
    assert MIN_TRACK_SCORE <= scores.min() < MIN_SCORE
    assert found.evidence.num_inliers == np.count_nonzero(scores >= MIN_SCORE) < len(scores)
    true = SCENE.is_true(0, 1, matches)
    assert np.count_nonzero(true[found.inliers]) >= 0.99 * len(scores)
    doubtful = np.flatnonzero((matches.scores >= MIN_TRACK_SCORE) & (matches.scores < MIN_SCORE) & true)
    assert np.isin(doubtful, found.inliers).mean() > 0.95


def test_a_clear_edge_is_as_strong_as_one_of_a_network() -> None:
    """Else the steps of a clip would be thrown away as weak; see `pose.edges.MIN_STEP_STRENGTH`."""
    a, b = SCENE.features
    b = described_anew(b, 0.7)
    edge = clear_edge(a, SCENE.intrinsics[0], b, SCENE.intrinsics[1], 0)
    assert edge is not None
    evidence = edge[1].evidence
    assert evidence.mean_score == evidence.inlier_share
    network = verification.verify(
        a, SCENE.intrinsics[0], b, SCENE.intrinsics[1], SCENE.matches(0, 1), 0, MatchingOptions().min_match_score
    )
    assert 0.7 * network.evidence.strength < evidence.strength <= 1.1 * network.evidence.strength
