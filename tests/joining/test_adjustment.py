from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyceres  # noqa: F401  before pycolmap makes problems
import pycolmap
import pycolmap.cost_functions
import pytest

from geometry_scenes import (
    DatabaseOptions,
    all_rows,
    arc,
    cloud,
    link_of,
    observe,
    pose_error_deg,
    true_model,
    turned,
    worst_error_deg,
    write_database,
)
from interpose_sfm import geometry
from interpose_sfm.colmap import reconstruction
from interpose_sfm.geometry import Similarity
from interpose_sfm.joining.adjustment import (
    Adjustment,
    adjust,
    groups_by_points,
    load_pyceres,
    mean_error_px,
    prior_covariance,
    what_got_worse,
)
from interpose_sfm.products import FloatArray, ImagePair, Link, Pose
from interpose_sfm.registry import MissingDependencyError

NAMES = tuple(f"{view}.jpg" for view in range(8))
LEFT, RIGHT = NAMES[:4], NAMES[4:]
SCENE = observe(cloud(1, 200), arc([0, 12, 24, 36, 60, 72, 84, 96]), noise_px=0.3, seed=1)
TRUTH = dict(zip(NAMES, SCENE.cam_from_world, strict=True))
ACROSS = ((0, 4), (1, 6), (7, 2), (3, 5), (0, 7))


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> pycolmap.Reconstruction:
    """All views at their true poses; the two halves share no point."""
    rows = all_rows(SCENE, range(4)) | all_rows(SCENE, range(4, 8))
    path = tmp_path_factory.mktemp("halves") / "database.db"
    return true_model(write_database(path, SCENE, NAMES, DatabaseOptions(rows=rows)), SCENE, NAMES, range(8))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> pycolmap.Reconstruction:
    """All views at their true poses, with common points."""
    path = tmp_path_factory.mktemp("whole") / "database.db"
    return true_model(
        write_database(path, SCENE, NAMES, DatabaseOptions(rows=all_rows(SCENE, range(8)))), SCENE, NAMES, range(8)
    )


def displaced(model: pycolmap.Reconstruction, moved: Similarity) -> pycolmap.Reconstruction:
    """The model with its right half, photos and points, moved."""
    copied = pycolmap.Reconstruction(model)
    for name in RIGHT:
        image = copied.find_image_with_name(name)
        pose = moved.move_camera(geometry.from_rigid3d(image.cam_from_world()))
        copied.frame(image.frame_id).set_cam_from_world(image.camera_id, geometry.to_rigid3d(pose))
    for point in copied.points3D.values():
        if copied.image(point.track.elements[0].image_id).name in RIGHT:
            point.xyz = moved.apply(np.asarray(point.xyz))
    return copied


def links_across(pairs: Sequence[tuple[int, int]] = ACROSS, spread_deg: float = 0.5) -> list[Link]:
    return [replace(link_of(SCENE, NAMES, a, b), spread_deg=spread_deg) for a, b in pairs]


def ratio_of_sizes(model: pycolmap.Reconstruction) -> float:
    """Size of the right half in that of the left, over what it should be."""
    poses = reconstruction.poses(model)
    sizes = []
    for a, b in ((0, 3), (4, 7)):
        found, true = (
            np.linalg.norm(second.inverse().translation - first.inverse().translation)
            for first, second in (
                (poses[NAMES[a]], poses[NAMES[b]]),
                (SCENE.cam_from_world[a], SCENE.cam_from_world[b]),
            )
        )
        sizes.append(found / true)
    return float(sizes[1] / sizes[0])


def run(model: pycolmap.Reconstruction, links: Sequence[Link]) -> Adjustment:
    found = adjust(model, links, bases=[LEFT, RIGHT])
    assert reconstruction.registered_names(found.model) == frozenset(NAMES)
    assert [entry.pair for entry in found.links] == [entry.pair for entry in links]
    return found


# ---------------------------------------------------------------- what links do


def test_links_bring_halves_together_that_share_no_point(halves: pycolmap.Reconstruction) -> None:
    start = displaced(halves, Similarity(1.0, geometry.rotation_exp(np.radians([2.0, -2.0, 1.0])), np.full(3, 0.2)))
    assert worst_error_deg(start, TRUTH) > 2.5
    found = run(start, links_across())
    assert found.is_adjusted
    assert worst_error_deg(found.model, TRUTH) < 1.0
    assert worst_error_deg(start, TRUTH) > 2.5  # the input is as it was
    assert found.error_after_px == pytest.approx(found.error_before_px, abs=0.05)
    for entry, link in zip(found.links, links_across(), strict=True):
        assert entry.is_kept
        assert max(entry.rotation_deg, entry.direction_deg) < 1.0
        assert entry.spread_deg == 0.5
        assert entry.b_from_a is not None
        assert max(pose_error_deg(entry.b_from_a, link.b_from_a)) < 1.0
        assert np.linalg.norm(entry.b_from_a.translation) == pytest.approx(1.0)


def with_few_common_points(whole: pycolmap.Reconstruction, num: int) -> pycolmap.Reconstruction:
    """The model in which only some points are seen by both halves, the others by one each."""
    copied = pycolmap.Reconstruction(whole)
    for index, point_id in enumerate(sorted(copied.point3D_ids())[num:]):
        seen = [(e.image_id, e.point2D_idx) for e in copied.point3D(point_id).track.elements]
        for image_id, row in seen:
            if (copied.image(image_id).name in LEFT) != (index % 2 == 0):
                copied.delete_observation(image_id, row)
    return copied


@pytest.mark.parametrize("factor", [0.75, 1.3])
def test_the_length_of_a_baseline_is_free_where_points_know_it(whole: pycolmap.Reconstruction, factor: float) -> None:
    start = displaced(with_few_common_points(whole, 0), Similarity(factor, np.eye(3), np.zeros(3)))
    tied = with_few_common_points(whole, 20)  # these points now are elsewhere than either half has them
    for name in RIGHT:
        image, moved = tied.find_image_with_name(name), start.find_image_with_name(name)
        tied.frame(image.frame_id).set_cam_from_world(image.camera_id, moved.cam_from_world())
    seen = {
        point_id
        for point_id, point in tied.points3D.items()
        if all(tied.image(element.image_id).name in RIGHT for element in point.track.elements)
    }
    for point_id in seen:
        tied.point3D(point_id).xyz = factor * np.asarray(tied.point3D(point_id).xyz)
    assert ratio_of_sizes(tied) == pytest.approx(factor)
    found = run(tied, links_across(spread_deg=2.0))
    assert ratio_of_sizes(found.model) == pytest.approx(1.0, abs=0.01)
    assert worst_error_deg(found.model, TRUTH) < 0.5


def test_where_only_links_hold_the_scale_stays_as_the_join_has_it(halves: pycolmap.Reconstruction) -> None:
    for factor in (0.9, 1.1):
        start = displaced(halves, Similarity(factor, np.eye(3), np.zeros(3)))
        found = run(start, links_across(((0, 4), (1, 6)), spread_deg=3.0))
        assert ratio_of_sizes(found.model) == pytest.approx(factor, abs=0.03)


def test_without_a_link_nothing_moves_across(halves: pycolmap.Reconstruction) -> None:
    start = displaced(halves, Similarity(1.0, geometry.rotation_exp(np.radians([3.0, 0.0, 0.0])), np.zeros(3)))
    assert worst_error_deg(run(start, []).model, TRUTH) == pytest.approx(worst_error_deg(start, TRUTH), abs=0.3)


def test_surer_links_pull_harder(halves: pycolmap.Reconstruction) -> None:
    pair = ImagePair(NAMES[0], NAMES[4])
    errors = []
    for spread_deg in (0.5, 5.0):
        bent = [replace(x, b_from_a=turned(x.b_from_a, 3.0), spread_deg=spread_deg) for x in links_across(((0, 4),))]
        found = run(halves, [*links_across(ACROSS[1:], spread_deg=1.0), *bent])
        errors.append(next(entry.rotation_deg for entry in found.links if entry.pair == pair))
    assert errors[0] < 2.6
    assert errors[1] > 2.8


def test_residuals_err_as_the_covariance_says() -> None:
    rng = np.random.default_rng(0)
    prior = Pose(geometry.rotation_exp([0.3, -0.2, 0.5]), np.array([1.0, 2.0, -0.5]))
    covariance = prior_covariance(prior, 3.0, 0.7)
    cost = pycolmap.cost_functions.RelativePosePriorCost(np.eye(6), geometry.to_rigid3d(prior))
    length, along = np.linalg.norm(prior.translation), geometry.unit_vectors(prior.translation)
    identity = geometry.to_rigid3d(Pose(np.eye(3), np.zeros(3))).params
    samples: list[FloatArray] = []
    for _ in range(1500):
        turn, bend = np.radians(3.0) * rng.normal(size=(2, 3))
        bend -= along * (along @ bend)
        pose = Pose(geometry.rotation_exp(turn) @ prior.rotation, prior.translation + length * bend)
        samples.append(np.ravel(cost.evaluate(geometry.to_rigid3d(pose).params, identity)[0]))
    measured = np.cov(np.array(samples).T)
    free = np.zeros((6, 6))  # the samples do not err in length
    free[3:, 3:] = (0.7 * length) ** 2 * np.outer(along, along)
    scale = np.sqrt(np.diag(covariance - free))
    np.testing.assert_allclose(
        measured / np.outer(scale, scale), (covariance - free) / np.outer(scale, scale), atol=0.1
    )
    one = geometry.to_rigid3d(Pose(prior.rotation, 2.0 * prior.translation)).params
    weighted = pycolmap.cost_functions.RelativePosePriorCost(covariance, geometry.to_rigid3d(prior))
    assert np.linalg.norm(weighted.evaluate(one, identity)[0]) == pytest.approx(1.0 / 0.7)  # twice the length


# ---------------------------------------------------------------- what points say


def test_a_link_that_the_points_contradict_is_dropped(whole: pycolmap.Reconstruction) -> None:
    links = links_across()
    links[1] = replace(links[1], b_from_a=turned(links[1].b_from_a, 25))
    links[3] = replace(links[3], b_from_a=turned(links[3].b_from_a, 1.0))
    found = run(whole, links)
    assert [entry.is_kept for entry in found.links] == [True, False, True, True, True]
    assert found.links[1].rotation_deg == pytest.approx(25, abs=0.5)
    assert "25" in found.links[1].detail
    assert found.links[0].detail == ""
    assert found.is_adjusted
    assert worst_error_deg(found.model, TRUTH) < 0.3


def test_points_say_nothing_where_only_links_hold(halves: pycolmap.Reconstruction) -> None:
    assert sorted(groups_by_points(halves), key=min) == [frozenset(LEFT), frozenset(RIGHT)]
    links = links_across()
    links[1] = replace(links[1], b_from_a=turned(links[1].b_from_a, 25))
    found = run(halves, links)
    assert all(entry.is_kept for entry in found.links)
    assert found.links[1].rotation_deg > 20  # and yet the loss is robust
    assert worst_error_deg(found.model, TRUTH) < 3.0


def test_a_pair_with_common_points_is_one_group(whole: pycolmap.Reconstruction) -> None:
    assert groups_by_points(whole) == (frozenset(NAMES),)


def test_a_model_that_links_would_turn_is_kept_as_it_was(halves: pycolmap.Reconstruction) -> None:
    turn = geometry.rotation_exp(np.radians([0.0, 0.0, 20.0]))
    elsewhere = reconstruction.poses(displaced(halves, Similarity(1.0, turn, np.zeros(3))))
    wrong = [
        replace(
            x, b_from_a=geometry.with_unit_translation(geometry.relative_pose(elsewhere[x.pair.b], elsewhere[x.pair.a]))
        )
        for x in links_across()
    ]
    assert run(halves, wrong).is_adjusted  # two base models may turn against each other
    found = adjust(halves, wrong, bases=[NAMES])
    assert not found.is_adjusted
    assert "turned photos of a base model by 20 degrees" in found.detail
    assert [entry.is_kept for entry in found.links] == [False] * 5
    assert all(entry.detail == found.detail for entry in found.links)
    assert worst_error_deg(found.model, TRUTH) == pytest.approx(worst_error_deg(halves, TRUTH), abs=1e-9)
    assert found.error_before_px == pytest.approx(mean_error_px(halves, NAMES), abs=1e-6)


def test_a_larger_error_of_a_base_model_is_worse(whole: pycolmap.Reconstruction) -> None:
    for turn_deg, is_worse in ((0.005, False), (2.0, True)):
        after = displaced(whole, Similarity(1.0, geometry.rotation_exp(np.radians([0, 0, turn_deg])), np.zeros(3)))
        assert bool(what_got_worse(whole, after, [NAMES])) == is_worse
        assert not what_got_worse(whole, after, [])
    assert "reprojection error" in what_got_worse(whole, after, [NAMES])


def test_links_without_a_place_in_the_model_are_passed_over(whole: pycolmap.Reconstruction) -> None:
    part = pycolmap.Reconstruction(whole)
    reconstruction.remove_photos(part, [NAMES[7]])
    blind = part.find_image_with_name(NAMES[6])
    for row, point in enumerate(blind.points2D):
        if point.has_point3D():
            part.delete_observation(blind.image_id, row)
    still = replace(links_across(((0, 4),))[0], b_from_a=Pose(np.eye(3), np.zeros(3)))
    found = adjust(part, [*links_across(((0, 7), (0, 6))), still], bases=[LEFT])
    lacking, unseen, turn_only = found.links
    assert "lacks 7.jpg" in lacking.detail
    assert lacking.b_from_a is None
    assert "6.jpg sees no point" in unseen.detail
    assert "no baseline" in turn_only.detail
    assert not any(entry.is_kept for entry in found.links)
    assert reconstruction.registered_names(found.model) == frozenset(NAMES[:7])


# ---------------------------------------------------------------- the library


def test_equal_input_gives_equal_output(halves: pycolmap.Reconstruction) -> None:
    start = displaced(halves, Similarity(1.1, geometry.rotation_exp([0.03, 0.0, 0.0]), np.full(3, 0.1)))
    first, second = (reconstruction.poses(run(start, links_across()).model) for _ in range(2))
    for name, pose in first.items():
        np.testing.assert_array_equal(pose.rotation, second[name].rotation)
        np.testing.assert_array_equal(pose.translation, second[name].translation)


def test_without_pyceres_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, whole: pycolmap.Reconstruction
) -> None:
    monkeypatch.setitem(sys.modules, "pyceres", None)
    with pytest.raises(MissingDependencyError, match="pip install pyceres"):
        adjust(whole, links_across())


@pytest.mark.parametrize(("handler", "expected"), [("", -15), ("signal.signal(signal.SIGTERM, stop)", 7)])
def test_signals_still_end_the_process(tmp_path: Path, handler: str, expected: int) -> None:
    lines = [
        "import signal, sys",
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job does not have",
        "import pycolmap  # its first import takes SIGTERM over, whoever had it",
        "from interpose_sfm.joining.adjustment import load_pyceres",
        "def stop(*_): sys.exit(7)",
        handler,
        "load_pyceres()",
        "try:",
        "    signal.raise_signal(signal.SIGINT)",
        "    sys.exit(1)",
        "except KeyboardInterrupt:",
        "    signal.raise_signal(signal.SIGTERM)",
    ]
    script = tmp_path / "script.py"
    script.write_text("\n".join(lines))
    assert subprocess.run([sys.executable, str(script)], check=False, capture_output=True).returncode == expected
    assert load_pyceres().__name__ == "pyceres"


@pytest.mark.parametrize("is_fixed", [True, False])
def test_intrinsics_that_the_mapper_keeps_are_kept(whole: pycolmap.Reconstruction, is_fixed: bool) -> None:
    bent = pycolmap.Reconstruction(whole)
    for camera in bent.cameras.values():
        camera.params = camera.params * np.array([1.02, *np.ones(len(camera.params) - 1)])
    before = {camera_id: camera.params.copy() for camera_id, camera in bent.cameras.items()}
    mapper = pycolmap.IncrementalPipelineOptions(ba_refine_focal_length=not is_fixed, ba_refine_extra_params=False)
    found = adjust(bent, links_across(), mapper=mapper)
    for camera_id, camera in found.model.cameras.items():
        assert np.array_equal(camera.params, before[camera_id]) is is_fixed


@pytest.mark.parametrize("held", [LEFT[:2], LEFT, (LEFT[0], RIGHT[1])])
def test_photos_that_are_held_do_not_move_though_links_end_at_them(
    whole: pycolmap.Reconstruction, held: tuple[str, ...]
) -> None:
    """COLMAP holds a pose by a copy in its residuals, so that a link's residual alone would move it."""
    links = [link_of(SCENE, NAMES, a, b) for a, b in ((0, 1), (1, 6), (0, 5))]
    adjusted = adjust(whole, links, held=held)
    before, after = reconstruction.poses(whole), reconstruction.poses(adjusted.model)
    assert adjusted.is_adjusted
    changes = {name: float(np.abs(after[name].translation - before[name].translation).max()) for name in NAMES}
    assert {name for name, change in changes.items() if change < 1e-12} == set(held)
    assert max(changes.values()) < 0.05
