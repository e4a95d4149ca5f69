"""What is measured of the rows of a study, as InterPose does: errors, accuracies, area under the curve, and refusal.

A pose that is missing counts as wrong in accuracies and areas, and so does a translation that is. It has no error, so
means are over the poses that there are, with their number beside them; two ways are compared on the pairs for which
both have a pose.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.study import Row, pose_in
from interpose_sfm import geometry
from interpose_sfm.products import Pose
from interpose_sfm.synthetic.scoring import MISSING_ERROR_DEG, auc

LIMITS_DEG = (5.0, 15.0, 30.0)
AUC_DEG = 30.0
WRONG_DEG = 15.0

ALONE, AVERAGE, MEDOID, PAPER, JUDGE, ORACLE = "pair alone", "average", "medoid", "paper's score", "judge", "oracle"
WAYS = (ALONE, AVERAGE, MEDOID, PAPER, JUDGE, ORACLE)


@dataclass(frozen=True)
class PoseError:
    """How far a pose is from the truth.

    Attributes:
        rotation_deg: Angle between the rotations.
        line_deg: Angle between the translations as lines, 0 to 90, as the paper's distance has it; NaN where one of the
            poses has none.
        direction_deg: The same with the sign, 0 to 180; NaN likewise.
        lacks_line: Whether the truth has a translation and the pose has none.
    """

    rotation_deg: float
    line_deg: float
    direction_deg: float
    lacks_line: bool = False

    @property
    def larger_deg(self) -> float:
        """The larger one of rotation and line; 180 where the pose lacks the line, the rotation where there is none."""
        if self.lacks_line:
            return MISSING_ERROR_DEG
        return self.rotation_deg if math.isnan(self.line_deg) else max(self.rotation_deg, self.line_deg)

    @property
    def is_wrong(self) -> bool:
        """Whether a reconstruction would suffer: rotation or direction, sign included, off by more than WRONG_DEG."""
        return self.rotation_deg > WRONG_DEG or self.direction_deg > WRONG_DEG  # NaN is not above


Errors = Sequence[PoseError | None]


def pose_of_way(row: Row, way: str) -> Pose | None:
    """The pose that a way has for a row; that of the judge only where it is given out."""
    if "error" in row:
        return None
    if way == ALONE:
        return pose_in(row["alone"]["pose"])
    if way == ORACLE:
        return pose_in(row["oracle"])
    if way == JUDGE:
        return pose_in(row["judge"]["pose"]) if row["judge"]["accepted"] else None
    return pose_in(row["strategies"][{AVERAGE: "average", MEDOID: "medoid", PAPER: "paper"}[way]])


def error_of(row: Row, pose: Pose | None) -> PoseError | None:
    """The error of a pose of a row; None without one."""
    truth = pose_in(row["truth"])
    if pose is None or truth is None:
        return None
    rotations, lines = geometry.pose_distance_terms_deg([truth], [pose])
    directions = geometry.pose_distance_terms_deg([truth], [pose], signed=True)[1]
    lacks_line = bool(np.any(truth.translation) and not np.any(pose.translation))
    return PoseError(float(rotations[0, 0]), float(lines[0, 0]), float(directions[0, 0]), lacks_line)


def errors_of(rows: Iterable[Row], way: str) -> list[PoseError | None]:
    """The errors of a way, row by row."""
    return [error_of(row, pose_of_way(row, way)) for row in rows]


@dataclass(frozen=True)
class Summary:
    """Of one way over some pairs.

    Attributes:
        num_pairs, num_poses: How many there are.
        rotation_deg, translation_deg: Mean errors of the poses that there are; NaN without any.
        rotation_within, translation_within: Percent of all pairs within 5, 15 and 30 degrees.
        auc: Up to 30 degrees, of the larger one of both errors, in percent; NaN without pairs.
        num_wrong: Poses off by more than 15 degrees, sign included.
    """

    num_pairs: int
    num_poses: int
    rotation_deg: float
    translation_deg: float
    rotation_within: tuple[float, ...]
    translation_within: tuple[float, ...]
    auc: float
    num_wrong: int


def summarize(errors: Errors) -> Summary:
    """What the tables say of a way."""
    found = [error for error in errors if error is not None]
    lines = [error.line_deg for error in found if not math.isnan(error.line_deg)]
    larger = [MISSING_ERROR_DEG if error is None else error.larger_deg for error in errors]

    def within(value: Callable[[PoseError], float]) -> tuple[float, ...]:
        return tuple(_percent(sum(value(error) <= limit for error in found), len(errors)) for limit in LIMITS_DEG)

    return Summary(
        num_pairs=len(errors),
        num_poses=len(found),
        rotation_deg=float(np.mean([error.rotation_deg for error in found])) if found else math.nan,
        translation_deg=float(np.mean(lines)) if lines else math.nan,
        rotation_within=within(lambda error: error.rotation_deg),
        translation_within=within(lambda error: error.line_deg),
        auc=auc(larger, AUC_DEG) if larger else math.nan,
        num_wrong=sum(error.is_wrong for error in found),
    )


def paired_means_deg(ours: Errors, base: Errors) -> tuple[int, tuple[float, float], tuple[float, float]]:
    """(pairs that both have a pose for, mean rotation and translation error of one, of the other)."""
    both = [(x, y) for x, y in zip(ours, base, strict=True) if x is not None and y is not None]

    def means(side: int) -> tuple[float, float]:
        summary = summarize([pair[side] for pair in both])
        return summary.rotation_deg, summary.translation_deg

    return len(both), means(0), means(1)


def error_ratio(ours: tuple[float, float], base: tuple[float, float]) -> float:
    """Of the sums of mean rotation and translation errors; of rotations alone where a side has no translation."""
    if any(map(math.isnan, (*ours, *base))):
        return ours[0] / base[0]
    return sum(ours) / sum(base)


# ---------------------------------------------------------------- what refusal buys


@dataclass(frozen=True)
class CurvePoint:
    """Of a risk-coverage curve.

    Attributes:
        coverage: Share of all pairs that are answered.
        risk: Share of the answers that are wrong.
        mean_deg: Mean of the larger errors of the answers.
    """

    coverage: float
    risk: float
    mean_deg: float


def risk_coverage(confidences: Sequence[float | None], errors: Errors) -> list[CurvePoint]:
    """What is answered, and what of it is wrong, as more and more pairs are, the most confident first.

    Equal confidences are answered together. Pairs without a confidence or a pose are never answered.

    Args:
        confidences: More is better; None for no answer.
        errors: Of the answers.
    """
    answered = [(c, e) for c, e in zip(confidences, errors, strict=True) if c is not None and e is not None]
    answered.sort(key=lambda item: -item[0])
    points, wrong, total = [], 0, 0.0
    for index, (confidence, error) in enumerate(answered, 1):
        wrong += error.is_wrong
        total += error.larger_deg
        if index == len(answered) or answered[index][0] != confidence:
            points.append(CurvePoint(index / len(errors), wrong / index, total / index))
    return points


def confidence(row: Row, way: str) -> float | None:
    """How sure a way is of a row: minus its score in degrees; the judge by its verdict, then by matched confidence."""
    if "error" in row:
        return None
    if way == JUDGE:
        judge = row["judge"]
        return judge["weight"] + (1e6 if judge["accepted"] else 0.0) if judge["pose"] is not None else None
    chosen = row["strategies"][{AVERAGE: "average", MEDOID: "medoid", PAPER: "paper"}[way]]
    return None if chosen["score_deg"] is None else -float(chosen["score_deg"])


def judged_errors(rows: Iterable[Row]) -> list[PoseError | None]:
    """The errors of the judge's poses, refused ones included."""
    return [None if "error" in row else error_of(row, pose_in(row["judge"]["pose"])) for row in rows]


@dataclass(frozen=True)
class JudgeCounts:
    """What the judge gives out of some rows.

    Attributes:
        num_rows, num_poses, num_right: How many there are, have a pose of the judge, and a right one, given out or not.
        right_given, wrong_given: Of the poses that are given out.
    """

    num_rows: int
    num_poses: int
    num_right: int
    right_given: int
    wrong_given: int

    @property
    def coverage(self) -> float:
        """Share of the rows that are answered."""
        return (self.right_given + self.wrong_given) / max(self.num_rows, 1)


def judge_counts(rows: Sequence[Row]) -> JudgeCounts:
    """Count what the judge gives out and what it refuses."""
    found = [error for error in judged_errors(rows) if error is not None]
    given = [error for error in errors_of(rows, JUDGE) if error is not None]
    wrong = sum(error.is_wrong for error in given)
    return JudgeCounts(len(rows), len(found), sum(not error.is_wrong for error in found), len(given) - wrong, wrong)


def binned(rows: Sequence[Row], key: str, edges: Sequence[float]) -> list[tuple[str, list[Row]]]:
    """Rows by the value of a key: (label, rows) of every bin that holds some; the last bin has both its edges."""
    found = []
    for low, high in itertools.pairwise(edges):
        end = math.nextafter(high, math.inf) if high == edges[-1] else high
        inside = [row for row in rows if row[key] is not None and low <= row[key] < end]
        if inside:
            found.append((f"{low:g} to {high:g}", inside))
    return found


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else math.nan
