"""The ground plane, in scenes of known geometry that lie anyhow in their world."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from exported_scene import make_source, make_workspace, model_of_points
from interpose_sfm import geometry
from interpose_sfm.export import ground as ground_plane
from interpose_sfm.export.ground import Ground, find_ground
from interpose_sfm.export.orientation import upright
from interpose_sfm.products import FloatArray, Pose
from interpose_sfm.synthetic import look_at
from interpose_sfm.workflows.export_models import export_models

TURN = geometry.rotation_exp([0.4, -1.1, 0.7])
SHIFT = np.array([3.0, -2.0, 5.0])
UP = TURN @ [0.0, 0.0, 1.0]
HEIGHT = float(UP @ SHIFT)  # of the ground along it


def scene(*, num_ground: int = 400, num_below: int = 0, slope_deg: float = 0.0) -> FloatArray:
    """A street: two walls have more points than the ground between them, and some lie about; z is up."""
    rng = np.random.default_rng(4)

    def sheet(num: int, low: tuple[float, ...], high: tuple[float, ...]) -> FloatArray:
        return rng.uniform(low, high, (num, 3)) + rng.normal(0, 0.01, (num, 3))

    ground = sheet(num_ground, (-2, 0, 0), (2, 10, 0))
    ground[:, 2] += np.tan(np.radians(slope_deg)) * (ground[:, 1] - 5)
    walls = sheet(800, (-2, 0, 0.2), (-2, 10, 6)), sheet(800, (2, 0, 0.2), (2, 10, 6))
    clutter = sheet(60, (-2, 0, 0), (2, 10, 3))
    below = sheet(num_below, (-2, 0, -4), (2, 10, -1))
    return np.concatenate([ground, *walls, clutter, below])


def model_of(points: FloatArray, *, camera_height: float = 1.6, roll_deg: float = 0.0) -> pycolmap.Reconstruction:
    """The scene in its world, with photos at a height that are level but for a roll to one side."""
    model = model_of_points(points @ TURN.T + SHIFT, (100, 100, 100))
    world_from_scene = Pose(TURN, SHIFT)
    for index, image in enumerate(sorted(model.images.values(), key=lambda image: image.image_id)):
        center = (0.3 * index, 1.0 + index, camera_height)
        pose = look_at(center, (2.0 * (-1) ** index, 5.0 + index, camera_height))
        roll = Pose(geometry.rotation_from_axis_angle([0, 0, 1], roll_deg), np.zeros(3))
        cam_from_world = roll @ pose @ world_from_scene.inverse()
        model.frames[image.frame_id].rig_from_world = geometry.to_rigid3d(cam_from_world)
    return model


def tilted(angle_deg: float) -> FloatArray:
    return TURN @ geometry.rotation_from_axis_angle([1.0, 0.5, 0.0], angle_deg) @ np.array([0.0, 0.0, 1.0])


def error_deg(ground: Ground | None) -> float:
    assert ground is not None
    return float(np.degrees(np.arccos(np.clip(ground.up @ UP, -1, 1))))


@pytest.mark.parametrize("angle_deg", [0.0, 3.0, -4.5])
def test_the_ground_is_found_and_says_better_than_photos_which_way_is_up(angle_deg: float) -> None:
    ground = find_ground(model_of(scene()), tilted(angle_deg))
    assert ground is not None
    assert error_deg(ground) < 0.2
    assert ground.height == pytest.approx(HEIGHT, abs=0.02)
    assert ground.tilt_deg == pytest.approx(abs(angle_deg), abs=0.2)
    assert 380 <= ground.num_points < 500


def test_equal_seeds_find_equal_grounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five draws some seeds find none."""
    monkeypatch.setattr(ground_plane, "_NUM_DRAWS", 5)
    model = model_of(scene())
    found = [find_ground(model, UP, seed) for seed in [1] * 8]
    heights = {None if ground is None else ground.height for ground in found}
    others = {None if ground is None else ground.height for ground in (find_ground(model, UP, s) for s in range(6))}
    assert len(heights) == 1
    assert len(others) > 1


@pytest.mark.parametrize(
    ("model", "up"),
    [
        (model_of(scene()), tilted(7.0)),  # the photos say otherwise
        (model_of(scene(num_below=300)), UP),  # a table, or a roof
        (model_of(scene(), camera_height=-0.5), UP),
        (model_of(scene(num_ground=30)), UP),
        (model_of(scene(slope_deg=20.0)), UP),
        (model_of(scene()[:40]), UP),
    ],
)
def test_what_is_no_ground_is_none(model: pycolmap.Reconstruction, up: FloatArray) -> None:
    assert find_ground(model, up) is None


def test_height_is_zero_on_the_ground_and_the_note_says_so(tmp_path: Path) -> None:
    source = make_source(tmp_path, "PINHOLE")
    found = upright(replace(source, model=model_of(scene(), roll_deg=2.5)))
    assert found.note.startswith("height zero and up are those of the ground plane of ")
    heights = -np.array([point.xyz[1] for point in found.source.model.points3D.values()])[:400]
    assert np.abs(heights).max() < 0.06
    centers = np.array([i.projection_center() for i in found.source.model.images.values()])
    np.testing.assert_allclose(-centers[:, 1], 1.6, atol=0.03)


def test_the_manifest_tells_of_every_model_what_set_its_height(tmp_path: Path) -> None:
    output = make_workspace(tmp_path / "out", (4, 4)).root
    first, second = (output / "sparse" / name for name in ("0", "1"))
    names = sorted(image.name for image in pycolmap.Reconstruction(first).images.values())
    model = model_of(scene())
    for image, name in zip(model.images.values(), names, strict=True):
        image.name = name
    model.write(first)
    level = pycolmap.Reconstruction(second)
    for index, image in enumerate(level.images.values()):
        pose = look_at((float(index), 0.0, 0.0), (2.0 * index, 5.0, 0.0))
        level.frames[image.frame_id].rig_from_world = geometry.to_rigid3d(pose)
    level.write(second)
    result = export_models(output, ["ply"], align="up")
    told = [model["note"] for model in json.loads((output / "export" / "export.json").read_text())["models"]]
    assert told == [model.note for model in result.models]
    assert "are those of the ground plane" in told[0]
    assert "no ground plane was found" in told[1]
    assert all(model.note == "" for model in export_models(output, ["ply"]).models)
