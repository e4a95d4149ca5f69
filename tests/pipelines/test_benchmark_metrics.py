"""The figures of the benchmark, against numbers that were made by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from benchmarks import metrics
from benchmarks.metrics import ALONE, AVERAGE, JUDGE, MEDOID, ORACLE, PAPER, PoseError
from benchmarks.study import pose_of
from interpose_sfm import geometry
from interpose_sfm.products import Pose

Row = dict[str, Any]


def pose(turn_deg: float, direction: tuple[float, float, float] = (1, 0, 0)) -> Row:
    """As rows have it."""
    return pose_of(Pose(geometry.rotation_from_axis_angle([0, 1, 0], turn_deg), np.array(direction, dtype=float)))


def row(**poses: Row | None) -> Row:
    """A row with the truth at 60 degrees, and the poses of the ways that are named."""
    choice = {"reason": "", "accepted": False, "video": "", "score_deg": 10.0, "score_kind": ""}
    return {
        "pair": "a/b/c",
        "model": "true",
        "truth": pose(60),
        "yaw_deg": 60.0,
        "overlap": 0.5,
        "alone": {"pose": poses.get("alone")},
        "strategies": {key: choice | (poses.get(key) or {}) for key in ("average", "medoid", "paper", "pair-only")},
        "judge": {"accepted": "judge" in poses, "weight": 5.0, "verdict": "", "pose": poses.get("judge", pose(0))},
        "oracle": poses.get("oracle"),
    }


def test_errors_are_angles_of_rotation_and_of_the_line() -> None:
    found = metrics.error_of(row(), metrics.pose_in(pose(70, (0, 1, 0))))
    assert found is not None
    assert (found.rotation_deg, found.line_deg, found.direction_deg) == pytest.approx((10, 90, 90), abs=1e-3)
    turned = metrics.error_of(row(), metrics.pose_in(pose(60, (-1, 0, 0))))
    assert turned is not None
    assert (turned.line_deg, turned.direction_deg) == pytest.approx((0, 180), abs=1e-3)
    assert turned.is_wrong  # though the paper's distance sees nothing
    assert turned.larger_deg == pytest.approx(0, abs=1e-3)
    still = metrics.error_of(row(), metrics.pose_in(pose(62, (0, 0, 0))))
    assert still is not None
    assert math.isnan(still.line_deg)
    assert not still.is_wrong


def test_every_way_has_its_own_pose() -> None:
    turns = {"alone": 61, "average": 62, "medoid": 63, "paper": 64, "judge": 65, "oracle": 66}
    one = row(**{key: pose(turn) for key, turn in turns.items()})
    ways = (ALONE, AVERAGE, MEDOID, PAPER, JUDGE, ORACLE)
    found = [metrics.error_of(one, metrics.pose_of_way(one, way)) for way in ways]
    assert [error.rotation_deg for error in found if error] == pytest.approx([1, 2, 3, 4, 5, 6], abs=1e-3)
    broken: Row = {"error": "broken", "truth": None}
    assert metrics.errors_of([row(), broken], JUDGE) == [None, None]  # refused, and not studied


def test_summaries_by_hand() -> None:
    errors = [PoseError(2, 4, 4), PoseError(10, 20, 160), PoseError(40, math.nan, math.nan), None]
    found = metrics.summarize(errors)
    assert (found.num_pairs, found.num_poses, found.num_wrong) == (4, 3, 2)
    assert found.rotation_deg == pytest.approx((2 + 10 + 40) / 3)
    assert found.translation_deg == pytest.approx((4 + 20) / 2)
    assert found.rotation_within == pytest.approx((25, 50, 50))
    assert found.translation_within == pytest.approx((25, 25, 50))
    # Recall rises linearly from 0 to 1/4 at 4 degrees, to 2/4 at 20, and stays there up to 30.
    assert found.auc == pytest.approx(100 * (4 * 0.125 + 16 * 0.375 + 10 * 0.5) / 30)
    nothing = metrics.summarize([])
    assert nothing.num_pairs == 0
    assert math.isnan(nothing.auc)
    assert metrics.summarize([None]).auc == 0


def test_a_pose_without_the_translation_that_there_is_counts_as_wrong_in_the_area() -> None:
    """As in T; its rotation alone would make an average of "no motion" the best of all."""
    still: Row = {**pose(60), "direction": [0.0, 0.0, 0.0]}
    turned_only, both_still = row(judge=still), row(judge=still)
    both_still["truth"] = {**both_still["truth"], "direction": [0.0, 0.0, 0.0]}
    lacking, same = (metrics.error_of(one, metrics.pose_of_way(one, JUDGE)) for one in (turned_only, both_still))
    assert lacking is not None
    assert same is not None
    assert (lacking.larger_deg, same.larger_deg) == (180, pytest.approx(0, abs=1e-3))
    assert metrics.summarize([lacking]).auc == 0
    assert metrics.summarize([same]).auc == pytest.approx(100, abs=0.1)
    assert not lacking.is_wrong  # nothing is claimed of the translation


def test_two_ways_are_compared_where_both_have_a_pose() -> None:
    ours = [PoseError(1, 2, 2), None, PoseError(3, 4, 4)]
    base = [PoseError(10, 20, 20), PoseError(90, 90, 90), None]
    assert metrics.paired_means_deg(ours, base) == (1, (1, 2), (10, 20))
    assert metrics.error_ratio((1, 2), (10, 20)) == pytest.approx(0.1)
    assert metrics.error_ratio((1, math.nan), (10, 20)) == pytest.approx(0.1)


def test_risk_grows_with_what_is_answered() -> None:
    right, wrong = PoseError(1, 1, 1), PoseError(30, 5, 5)
    curve = metrics.risk_coverage([0.9, 0.8, 0.7, None, 0.6], [right, wrong, right, right, None])
    assert [point.coverage for point in curve] == pytest.approx([0.2, 0.4, 0.6])
    assert [point.risk for point in curve] == pytest.approx([0, 1 / 2, 1 / 3])
    assert [point.mean_deg for point in curve] == pytest.approx([1, 31 / 2, 32 / 3])


def test_equal_confidences_are_answered_together() -> None:
    right, wrong = PoseError(1, 1, 1), PoseError(30, 5, 5)
    for errors in ([right, wrong], [wrong, right]):
        assert metrics.risk_coverage([0.5, 0.5], errors) == [metrics.CurvePoint(1.0, 0.5, 15.5)]
    assert metrics.risk_coverage([], []) == []


def test_the_judge_is_surer_of_what_it_gives_out() -> None:
    given, refused = row(judge=pose(60)), row()
    given["judge"]["weight"] = 1.0
    sure, unsure = (metrics.confidence(one, JUDGE) for one in (given, refused))
    assert sure is not None
    assert unsure is not None
    assert sure > unsure
    assert metrics.confidence(row(), PAPER) == -10.0
    assert metrics.confidence({"error": "broken"}, PAPER) is None


def test_bins_hold_their_lower_edge_and_the_last_one_both() -> None:
    rows: list[Row] = [{"yaw_deg": value} for value in (30.0, 45.0, 59.9, 60.0, 61.0, None)]
    found = metrics.binned(rows, "yaw_deg", (30, 45, 60))
    assert [(label, len(inside)) for label, inside in found] == [("30 to 45", 1), ("45 to 60", 3)]
    assert metrics.binned(rows, "yaw_deg", (0, 10)) == []


def test_the_judge_is_counted_by_what_it_gives_out() -> None:
    given, wrong, refused_right = row(judge=pose(62)), row(judge=pose(90)), row()
    refused_right["judge"]["pose"] = pose(60)
    nothing = row()
    nothing["judge"]["pose"] = None
    found = metrics.judge_counts([given, wrong, refused_right, row(), nothing, {"error": "broken", "truth": None}])
    assert found == metrics.JudgeCounts(num_rows=6, num_poses=4, num_right=2, right_given=1, wrong_given=1)
    assert found.coverage == pytest.approx(1 / 3)
