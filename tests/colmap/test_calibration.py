from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from geometry_scenes import (
    DatabaseOptions,
    Scene,
    all_rows,
    camera,
    cloud,
    link,
    link_of,
    observe,
    turn,
    write_database,
)
from interpose_sfm import geometry
from interpose_sfm.colmap.calibration import (
    MAX_FOCAL_FACTOR,
    calibrate_database,
    calibrate_focal_lengths,
    calibrated_copy,
)
from interpose_sfm.products import Intrinsics, Link
from interpose_sfm.synthetic import look_at

NAMES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
ONE, EACH = dict.fromkeys(NAMES, 1), {name: 11 * index + 3 for index, name in enumerate(NAMES)}
GUESS_PX = 960.0
TRIANGLE = ((0, 1), (1, 2), (0, 2))


def scene_of(focal_px: float, noise_px: float = 0.5) -> Scene:
    """Four views in general position: where optical axes meet, any focal length would do."""
    poses = [
        look_at((0, -7, 0.6), (0.8, 0, 0.5)),
        look_at((2, -6, -0.8), (-0.7, 0, -0.4), up=(1, 0, 0.3)),
        look_at((-2.5, -6, 1), (0.3, 0, -0.6), up=(-0.4, 0, 1)),
        look_at((1, -5.5, 2), (-0.5, 0, 0.6), up=(0.3, 0.2, 1)),
    ]
    points = cloud(3, 300, half_size=(2, 2, 2))
    return observe(points, poses, intrinsics=camera(focal_px), noise_px=noise_px)


def links_of(scene: Scene, pairs: Sequence[tuple[int, int]]) -> list[Link]:
    return [link_of(scene, NAMES, a, b) for a, b in pairs]


def guessed() -> dict[str, Intrinsics]:
    return dict.fromkeys(NAMES, camera(GUESS_PX, is_trusted=False))


@pytest.mark.parametrize("focal_px", [400.0, 700.0, 1400.0])
@pytest.mark.parametrize("camera_ids", [ONE, EACH])
def test_guesses_are_replaced_by_what_the_links_imply(focal_px: float, camera_ids: dict[str, int]) -> None:
    found = calibrate_focal_lengths(guessed(), camera_ids, links_of(scene_of(focal_px), TRIANGLE), 0)
    assert found.keys() == set(NAMES)
    for name in NAMES[:3]:
        assert found[name].focal_px == pytest.approx(focal_px, rel=0.07)
        assert found[name] == replace(guessed()[name], focal_px=found[name].focal_px)  # nothing else, and no more trust
    # The fourth photo has no link: it shares the camera, or it keeps the guess.
    assert found[NAMES[3]].focal_px == (found[NAMES[0]].focal_px if camera_ids is ONE else GUESS_PX)


def test_perfect_matches_give_the_perfect_focal_length() -> None:
    found = calibrate_focal_lengths(guessed(), ONE, links_of(scene_of(700.0, noise_px=0.0), TRIANGLE), 0)
    assert found[NAMES[0]].focal_px == pytest.approx(700.0, rel=1e-4)


def test_trusted_cameras_stay_as_they_are() -> None:
    links = links_of(scene_of(700.0), TRIANGLE)
    cameras = {**guessed(), NAMES[0]: camera(800.0)}
    found = calibrate_focal_lengths(cameras, EACH, links, 0)
    assert found[NAMES[0]] == cameras[NAMES[0]]
    assert found[NAMES[1]].focal_px != GUESS_PX
    everything = dict.fromkeys(NAMES, camera(800.0))
    assert calibrate_focal_lengths(everything, EACH, links, 0) == everything


def test_a_trusted_camera_helps_the_others() -> None:
    cameras = {**guessed(), NAMES[0]: camera(700.0)}
    found = calibrate_focal_lengths(cameras, EACH, links_of(scene_of(700.0), [(0, 1)]), 0)
    assert found[NAMES[1]].focal_px == pytest.approx(700.0, rel=0.05)
    assert found[NAMES[1]].focal_px != 700.0  # its own, not that of the other camera


def test_without_links_nothing_changes() -> None:
    assert calibrate_focal_lengths(guessed(), ONE, [], 0) == guessed()


def test_wrong_matches_among_right_ones_do_not_matter() -> None:
    scene = scene_of(700.0)
    links = []
    for a, b in TRIANGLE:
        rows = scene.matches(a, b, outlier_share=0.2, seed=a + b).indices
        points_px = scene.features[a].keypoints_px[rows[:, 0]], scene.features[b].keypoints_px[rows[:, 1]]
        links.append(link(NAMES[a], NAMES[b], scene.b_from_a(a, b), points_px=points_px))
    found = calibrate_focal_lengths(guessed(), ONE, links, 0)
    assert found[NAMES[0]].focal_px == pytest.approx(700.0, rel=0.1)


@pytest.mark.parametrize("kind", ["nonsense", "rotation", "one point"])
def test_links_that_calibrate_nothing_leave_a_sane_camera(kind: str) -> None:
    rng = np.random.default_rng(0)
    if kind == "nonsense":
        points_px = (rng.uniform(0, 600, (60, 2)), rng.uniform(0, 600, (60, 2)))
    elif kind == "one point":
        points_px = (np.full((60, 2), 300.0), np.full((60, 2), 200.0))
    else:
        scene = observe(cloud(1, half_size=(4, 2, 2)), turn([0, 10]))
        rows = scene.true_rows(0, 1)
        points_px = scene.features[0].keypoints_px[rows[:, 0]], scene.features[1].keypoints_px[rows[:, 1]]
    bad = link(NAMES[0], NAMES[1], scene_of(700.0).b_from_a(0, 1), points_px=points_px)
    found = calibrate_focal_lengths(guessed(), EACH, [bad], 0)
    for name in NAMES:
        assert 800 / MAX_FOCAL_FACTOR < found[name].focal_px < 800 * MAX_FOCAL_FACTOR


def test_equal_seeds_give_equal_results() -> None:
    links = links_of(scene_of(700.0), TRIANGLE)
    assert calibrate_focal_lengths(guessed(), EACH, links, 4) == calibrate_focal_lengths(guessed(), EACH, links, 4)


def test_what_the_pairs_do_not_calibrate_stays_a_guess(tmp_path: Path) -> None:
    """A fisheye, and a photo without verified pairs, which COLMAP marks as known all the same."""
    scene = replace(scene_of(700.0), intrinsics=(camera(GUESS_PX, is_trusted=False),) * 4)
    fisheye = replace(scene.intrinsics[0], model="OPENCV_FISHEYE", distortion=(0.0,) * 4)
    path = tmp_path / "database.db"
    options = DatabaseOptions(raw=all_rows(scene, (0, 1, 2)), shares_camera=False)
    write_database(path, scene, NAMES, options)
    pycolmap.geometric_verification(path)
    with pycolmap.Database.open(path) as database:
        database.update_camera(geometry.to_colmap_camera(fisheye, 3))
    assert calibrated_copy(path, tmp_path / "copy.db", 0)
    found = calibrate_database(path, pycolmap.ViewGraphCalibrationOptions(random_seed=0))
    assert found == {1: pytest.approx(700.0, rel=0.1), 2: pytest.approx(700.0, rel=0.1)}
    for calibrated in (path, tmp_path / "copy.db"):
        with pycolmap.Database.open(calibrated) as database:
            cameras = database.read_all_cameras()
        assert [camera.has_prior_focal_length for camera in cameras] == [True, True, False, False]
        assert [camera.mean_focal_length() for camera in cameras[2:]] == [GUESS_PX, GUESS_PX]
