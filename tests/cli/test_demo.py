"""The demonstration: scores and pictures of models whose errors are known, and the command itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

from interpose_sfm import geometry
from interpose_sfm.cli import demo
from interpose_sfm.cli import main as cli
from interpose_sfm.cli.demo import DemoOptions, draw_before_after, score_models
from interpose_sfm.options import ConsistencyOptions, MatchingOptions, ReconstructOptions, ViewGraphOptions
from interpose_sfm.products import Pose
from interpose_sfm.synthetic import SampleOptions, SampleTruth, plan_sample

SMALL = SampleOptions(seed=2, width_px=160, photos_per_group=3, num_frames=3, supersampling=1)
BLUE, ORANGE = demo.GROUP_COLORS


@pytest.fixture
def truth(tmp_path: Path) -> SampleTruth:
    return plan_sample(tmp_path / "sample", SMALL)


def model_of(
    truth: SampleTruth, names: tuple[str, ...], turned: dict[str, float] | None = None
) -> pycolmap.Reconstruction:
    """A model of the true poses in another frame and scale; some photos turned about their own viewing axis."""
    world_b_from_a = geometry.Similarity(
        0.3, geometry.rotation_from_axis_angle([1.0, 2.0, 3.0], 50.0), np.array([5.0, -3.0, 2.0])
    )
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(geometry.to_colmap_camera(truth.intrinsics))
    for index, name in enumerate(names):
        pose = world_b_from_a.move_camera(truth.cam_from_world[name])
        roll = geometry.rotation_from_axis_angle([0.0, 0.0, 1.0], (turned or {}).get(name, 0.0))
        pose = Pose(roll @ pose.rotation, roll @ pose.translation)
        image = pycolmap.Image(name=name, camera_id=1, image_id=index + 1)
        model.add_image_with_trivial_frame(image, geometry.to_rigid3d(pose))
    rng = np.random.default_rng(0)
    for xyz in world_b_from_a.apply(rng.uniform((-2.0, -2.0, 0.0), (2.0, 2.0, 3.0), (200, 3))):
        model.add_point3D(xyz, pycolmap.Track(), np.array([10, 160, 10], np.uint8))
    return model


# ---------------------------------------------------------------- scores


def test_score_of_a_perfect_model(truth: SampleTruth) -> None:
    score = score_models(truth, [model_of(truth, truth.groups[0] + truth.groups[1])])
    assert (score.num_photos, score.num_registered, score.num_models) == (6, 6, 1)
    assert score.max_error_deg < 1e-4
    assert score.auc_5 > 99.99
    assert score.auc_30 > 99.99


def test_score_counts_photos_that_are_missing(truth: SampleTruth) -> None:
    models = [model_of(truth, group) for group in truth.groups]
    score = score_models(truth, models)
    assert (score.num_registered, score.num_models) == (3, 2)
    assert score.median_error_deg < 1e-4
    assert score.auc_5 == pytest.approx(100 * 3 / 15, abs=0.01)  # 3 of the 15 pairs are in the largest model


def test_score_of_a_photo_that_is_turned(truth: SampleTruth) -> None:
    names = truth.groups[0] + truth.groups[1]
    score = score_models(truth, [model_of(truth, names, {names[0]: 7.0})])
    assert score.max_error_deg == pytest.approx(7.0, abs=1e-3)
    assert score.median_error_deg < 1e-4  # 5 of 15 pairs are turned
    assert score.auc_5 == pytest.approx(100 * 10 / 15, abs=0.01)


def test_score_without_a_model(truth: SampleTruth) -> None:
    score = score_models(truth, [])
    assert (score.num_registered, score.num_models, score.auc_5, score.auc_30) == (0, 0, 0.0, 0.0)
    assert np.isnan([score.median_error_deg, score.max_error_deg]).all()


# ---------------------------------------------------------------- picture


def share(box: Image.Image, color: tuple[int, int, int]) -> float:
    return float(np.mean(np.all(np.abs(np.asarray(box, np.int64) - color) < 12, axis=-1)))


def extent(box: Image.Image, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """First and last row and column with a colour."""
    rows, columns = np.nonzero(np.all(np.abs(np.asarray(box, np.int64) - color) < 30, axis=-1))
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def test_picture_has_a_box_per_model_and_fills_registered_photos_only(truth: SampleTruth) -> None:
    halves = [model_of(truth, group) for group in truth.groups]
    whole = model_of(truth, truth.groups[0] + truth.groups[1])
    image = draw_before_after(truth, halves, [whole])
    step, left = demo.BOX_PX + demo.MARGIN_PX, demo.MARGIN_PX
    assert image.size[0] == 3 * step + 3 * demo.MARGIN_PX
    lefts = [left, left + step, left + 2 * step + 2 * demo.MARGIN_PX]
    boxes = [image.crop((x, demo.TITLE_PX, x + demo.BOX_PX, demo.TITLE_PX + demo.BOX_PX)) for x in lefts]
    blue, orange = ([share(box, color) for box in boxes] for color in (BLUE, ORANGE))
    assert [value > 0.002 for value in blue] == [True, False, True]
    assert [value > 0.002 for value in orange] == [False, True, True]
    assert all(share(box, (10, 160, 10)) > 0.0005 for box in boxes)
    # A model is moved to where its photos were taken, which is where they are outlined when they are missing.
    for filled, missing, color in (
        (boxes[0], boxes[1], BLUE),
        (boxes[1], boxes[0], ORANGE),
        (boxes[2], boxes[1], BLUE),
    ):
        np.testing.assert_allclose(extent(filled, color), extent(missing, demo.GREY), atol=3)


def test_picture_without_models_and_with_one_that_cannot_be_placed(truth: SampleTruth) -> None:
    image = draw_before_after(truth, [], [model_of(truth, truth.groups[0][:2])])
    assert image.size[0] == 2 * (demo.BOX_PX + demo.MARGIN_PX) + 3 * demo.MARGIN_PX
    assert share(image, BLUE) == 0.0
    half = image.size[0] // 2
    for box in (image.crop((0, 0, half, image.size[1])), image.crop((half, 0, *image.size))):
        assert share(box, demo.GREY) > 0.0005  # the outlines of all photos


# ---------------------------------------------------------------- the command


def test_sample_is_rendered_once_per_options(tmp_path: Path) -> None:
    def provide(options: SampleOptions) -> tuple[SampleTruth, list[int]]:
        done: list[int] = []
        return demo.provide_sample(tmp_path, options, lambda stage, number, total: done.append(total)), done

    first, rendered = provide(SMALL)
    assert rendered == [9] * 9
    again, rendered = provide(SMALL)
    assert not rendered
    assert again.cam_from_world.keys() == first.cam_from_world.keys()
    (again.photo_dir / next(iter(again.cam_from_world))).unlink()
    assert provide(SMALL)[1]
    assert provide(SampleOptions(seed=3, width_px=160, photos_per_group=3, num_frames=3, supersampling=1))[1]


def test_demo_options_are_those_of_the_parts() -> None:
    options = DemoOptions()
    assert options.sample == SampleOptions()
    command = cli.parse(["demo", "--seed", "4", "--output", "x"])
    assert command.options == DemoOptions(sample=SampleOptions(seed=4))


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ReconstructOptions(
        view_graph=ViewGraphOptions(max_weak_pairs=2, max_bridged_pairs=1),
        matching=MatchingOptions(max_keypoints=512),
        consistency=ConsistencyOptions(num_random_subsets=1, min_hypotheses=2),
    )
    sample = SampleOptions(seed=7, width_px=320, photos_per_group=3, num_frames=9, supersampling=1)
    command = cli.parse(["demo", "--output", str(tmp_path / "out"), "--json"])
    command = replace(command, options=DemoOptions(sample=sample, reconstruct=quick))
    code = cli.execute(command)
    result = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [result[key]["num_models"] for key in ("before", "after")] == [2, 1]
    for key, registered, score in (("before", 3, "num_registered_before"), ("after", 6, "num_registered_after")):
        assert result[key]["num_photos"] == 6
        assert result[key]["num_registered"] == result["reconstruction"]["report"][score] == registered
        assert result[key]["max_error_deg"] < 2.5
    assert result["before"]["auc_5"] < 20 < 70 < result["after"]["auc_5"]
    assert result["reconstruction"]["report"]["options"]["bridging"]["clip_dirs"] == [
        str(tmp_path / "out/sample/clips")
    ]
    with Image.open(result["picture"]) as picture:
        assert picture.size[0] > demo.BOX_PX * 2
    rendered = (tmp_path / "out" / "sample" / "truth.json").stat().st_mtime_ns
    assert cli.execute(replace(command, json=False)) == 0
    text = capsys.readouterr().out
    assert "6 of 6" in text
    assert f"{result['after']['auc_30']:.1f}" in text
    assert str(tmp_path / "out" / "before_after.png") in text
    assert (tmp_path / "out" / "sample" / "truth.json").stat().st_mtime_ns == rendered
