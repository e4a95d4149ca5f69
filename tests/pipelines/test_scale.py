"""The document on large collections, whose parts are told by a module each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import scale
import scale_town
from benchmarks.figures import Axis
from interpose_sfm import geometry
from interpose_sfm.products import ImagePair, Pose
from town import CORNER_DEG, PER_BLOCK, Town, around_corners, corner_views


def test_the_document_is_what_its_figures_say() -> None:
    """But for its first paragraph, which names the machine."""
    figures = json.loads(scale.RESULT.with_suffix(".json").read_text(encoding="utf-8"))
    published = scale.RESULT.read_text(encoding="utf-8")
    assert scale.document(figures).partition("\n## ")[1:] == published.partition("\n## ")[1:]


def test_what_was_not_measured_is_told() -> None:
    together = {
        "photos": {"castle-P30": 2, "lund": 3},
        "models": [{"lund": 3}],
        "matched": 4,
        "accepted": 1,
        "across": [{"pair": [["castle-P30", "a.jpg"], ["lund", "b.jpg"]], "verdict": "accepted", "detail": ""}],
        "cpu_s": 7.0,
        "peak_mib": 800.0,
    }
    assert "places were matched, not reconstructed together" in scale.document({})
    text = scale.document({"together": together})
    assert "not reconstructed together" not in text
    assert "| 0 | 3 | lund 3 |" in text
    assert "- castle-P30 / a.jpg and lund / b.jpg" in text


def a_town(num_photos: int) -> Town:
    """Of names alone."""
    walk = tuple(f"{number:03}" for number in range(num_photos))
    return Town(Path(), {}, dict.fromkeys(walk, 0), walk, frozenset())


@pytest.mark.parametrize(("walk", "least_deg", "most_deg"), [("gaps", 60, 70), ("closed", 18, 18)])
def test_the_photos_around_a_corner_stand_as_far_apart_as_told(walk: str, least_deg: float, most_deg: float) -> None:
    """Both of either side for gaps, the two in the middle for none."""
    views = corner_views(np.zeros(3), np.array([1.0, 0, 0]), np.array([0, -1.0, 0]), CORNER_DEG[walk])
    before, after = (views[:2], views[2:]) if walk == "gaps" else (views[1:2], views[2:3])
    turns_deg = [geometry.rotation_angle_deg(a.rotation @ b.rotation.T) for a in before for b in after]
    # The photographer looks up a little, so that turns in space are somewhat less than those on the ground.
    assert min(turns_deg) == pytest.approx(least_deg, abs=1.0)
    assert max(turns_deg) == pytest.approx(most_deg, abs=1.0)


def test_a_corner_is_between_the_second_and_the_third_of_its_photos() -> None:
    assert around_corners(a_town(PER_BLOCK)) == [
        ImagePair("022", "023"),
        ImagePair("047", "048"),
        ImagePair("072", "073"),
        ImagePair("097", "098"),
    ]
    assert around_corners(a_town(23)) == []  # the walk ends before the gap


def test_corners_are_passed_by_one_model_with_photos_from_either_side() -> None:
    pose = Pose(np.eye(3), np.zeros(3))
    apart = [{"021": pose, "022": pose}, {"023": pose, "047": pose, "048": pose}]
    assert scale_town.corners_passed(apart, a_town(50)) == "1 of 2"


def test_growth_is_a_power_of_the_number_of_photos() -> None:
    def run(photos: int, features_s: float) -> scale_town.Figures:
        stages = {"features": features_s, "photos": 0.1, "mapping": 2.0 * features_s**2}
        return {"way": "ours", "walk": "gaps", "photos": photos, "stages_cpu_s": stages}

    runs = [run(1000, 100.0), run(100, 10.0)]
    [(walk, several)] = scale_town.grown(runs).items()
    powers = {stage: scale_town.exponent(points) for stage, points in scale_town.growth(several).items()}
    assert walk == "gaps"
    assert powers == pytest.approx({"features": 1.0, "mapping": 2.0})  # stages below a second say nothing
    assert list(scale_town.growth_drawings(runs)) == ["scale_growth_gaps.svg"]
    assert scale_town.growth_drawings(runs[:1]) == {}


def test_a_logarithmic_axis_has_equal_steps_for_equal_ratios() -> None:
    axis = Axis("photos", 1000, (10, 100, 1000), low=10)
    assert [axis.share(value) for value in axis.ticks] == pytest.approx([0, 0.5, 1])
    assert Axis("photos", 1000, ()).share(100) == pytest.approx(0.1)
