from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from geometry_scenes import HEIGHT_PX, WIDTH_PX, arc, camera, cloud, link
from interpose_sfm import geometry
from interpose_sfm.geometry import Similarity
from interpose_sfm.joining.reprojection_fit import Sighting, fit_pixels
from interpose_sfm.joining.similarity_fit import Statements
from interpose_sfm.joining.ties import Baseline, Overlap, Tie
from interpose_sfm.products import FloatArray, Pose

TRUTH = Similarity(0.4, geometry.rotation_exp([0.3, -0.5, 1.0]), np.array([1.0, -4.0, 3.0]))
POSES = arc([0, 12, 24, 36, 60, 72])  # the first three are the target's, the last two the source's; 3 is in both
NUM, OUTLIER_SHARE = 60, 0.4


def in_source(pose: Pose) -> Pose:
    return TRUTH.inverse().move_camera(pose)


def sighting(*, is_in_target: bool, view: int, seed: int, outlier_share: float = OUTLIER_SHARE) -> Sighting:
    """Points of one model in a photo of the other, half a pixel off, a share of them anywhere in the photo."""
    rng = np.random.default_rng(seed)
    points = cloud(seed, NUM)
    seen_px = geometry.project(points @ POSES[view].rotation.T + POSES[view].translation, camera())
    seen_px += rng.normal(0, 0.5, seen_px.shape)
    num_wrong = round(outlier_share * NUM)
    seen_px[:num_wrong] = rng.uniform((0, 0), (WIDTH_PX, HEIGHT_PX), (num_wrong, 2))
    if is_in_target:
        return Sighting(True, points, seen_px, in_source(POSES[view]), camera())
    return Sighting(False, TRUTH.inverse().apply(points), seen_px, POSES[view], camera())


def overlap(turn_deg: float = 0.0) -> Overlap:
    """What a photo in both models says where it leaves the scale open."""
    wrong = geometry.rotation_from_axis_angle((0, 1, 0), turn_deg)
    centers = POSES[3].inverse().translation, in_source(POSES[3]).inverse().translation
    return Overlap("photo 3", wrong @ TRUTH.rotation, 0.5, *centers, 0.07)


def tie(a: int, b: int) -> Tie:
    b_from_a = geometry.with_unit_translation(geometry.relative_pose(POSES[b], POSES[a]))
    return Tie(link("a", "b", b_from_a, spread_deg=2.0), POSES[a], in_source(POSES[b]), True, Baseline())


def started_off(factor: float) -> Similarity:
    """The truth but for the scale, with the photo in both at its place."""
    center = overlap().x_in_source
    scale = factor * TRUTH.scale
    return Similarity(scale, TRUTH.rotation, TRUTH.apply(center) - scale * TRUTH.rotation @ center)


def both(seed: int) -> list[Sighting]:
    return [sighting(is_in_target=True, view=4, seed=seed), sighting(is_in_target=False, view=1, seed=seed + 100)]


def errors(found: Similarity) -> tuple[float, float, float]:
    """Of the scale as a share, of the rotation in degrees, and of places as a share of the depth."""
    places = np.array([pose.inverse().translation for pose in POSES[3:]])
    moved = found.apply(TRUTH.inverse().apply(places))
    return (
        abs(float(np.log(found.scale / TRUTH.scale))),
        float(geometry.rotation_angle_deg(found.rotation @ TRUTH.rotation.T)),
        float(np.linalg.norm(moved - places, axis=1).max()) / 7.0,
    )


@pytest.mark.parametrize("factor", [1 / 7.9, 1 / 3, 0.8, 1.0, 1.3, 3.0, 7.9])
def test_the_scale_is_found_from_a_start_that_is_off_by_a_factor(factor: float) -> None:
    sightings = both(seed=1)
    found = fit_pixels(Statements((tie(1, 4),), (overlap(),), True), started_off(factor), sightings)
    scale, turn_deg, place = errors(found.target_from_source)
    assert scale < 0.01
    assert turn_deg < 0.3
    assert place < 0.01
    assert found.num_sightings == 2 * NUM
    for agreeing, seen in (found.target_points, found.source_points):
        assert seen == NUM
        assert (1 - OUTLIER_SHARE) * NUM <= agreeing <= (1 - OUTLIER_SHARE) * NUM + 4
    num_right = round((1 - OUTLIER_SHARE) * 2 * NUM)
    assert num_right <= found.num_agreeing <= num_right + 4  # few of the wrong ones lie within 8 px by chance


@pytest.mark.parametrize("is_in_target", [True, False])
def test_points_of_one_model_suffice(is_in_target: bool) -> None:
    seen = [sighting(is_in_target=is_in_target, view=5 if is_in_target else 0, seed=3)]
    found = fit_pixels(Statements((), (overlap(),), True), started_off(2.0), seen)
    assert errors(found.target_from_source)[0] < 0.02
    assert found.num_agreeing >= 36
    assert (found.target_points[1], found.source_points[1]) == ((NUM, 0) if is_in_target else (0, NUM))


def test_links_alone_are_a_start_as_well() -> None:
    statements = Statements((tie(1, 4), tie(0, 5)), (), True)
    found = fit_pixels(statements, TRUTH, both(seed=5))
    assert max(errors(found.target_from_source)) < 0.3
    assert errors(found.target_from_source)[0] < 0.01


def test_pixels_correct_what_is_known_to_degrees_only() -> None:
    """The photo in both is a degree off in one model: two of its sigmas, and a dozen pixels."""
    seen = both(seed=7)
    found = fit_pixels(Statements((), (overlap(turn_deg=1.0),), True), started_off(1.2), seen)
    assert errors(found.target_from_source)[1] < 0.4
    assert found.num_agreeing >= 72


@pytest.mark.parametrize("seed", range(5))
def test_points_seen_anywhere_agree_on_nothing(seed: int) -> None:
    seen = [
        sighting(is_in_target=True, view=4, seed=seed, outlier_share=1.0),
        sighting(is_in_target=False, view=1, seed=seed + 100, outlier_share=1.0),
    ]
    found = fit_pixels(Statements((), (overlap(),), True), started_off(1.0), seen)
    assert found.num_agreeing < 0.15 * found.num_sightings


@pytest.mark.parametrize("is_in_target", [True, False])
def test_errors_are_those_of_the_pixels(is_in_target: bool) -> None:
    view = 4 if is_in_target else 1
    exact = sighting(is_in_target=is_in_target, view=view, seed=2, outlier_share=0.0)
    error_px: FloatArray = exact.errors_px(TRUTH)
    assert error_px.shape == (NUM, 2)
    assert 0.3 < error_px.std() < 0.7
    moved = Sighting(is_in_target, exact.x_in_model, exact.points_px - [3.0, -2.0], exact.cam_from_model, camera())
    np.testing.assert_allclose(moved.errors_px(TRUTH) - error_px, np.tile([3.0, -2.0], (NUM, 1)), atol=1e-9)


def test_points_behind_the_photo_are_far_off() -> None:
    exact = sighting(is_in_target=False, view=1, seed=2, outlier_share=0.0)
    center = POSES[1].inverse().translation
    behind: Sequence[FloatArray] = TRUTH.inverse().apply(2 * center - TRUTH.apply(exact.x_in_model))
    mirrored = Sighting(False, np.asarray(behind), exact.points_px, exact.cam_from_model, camera())
    assert np.all(np.linalg.norm(mirrored.errors_px(TRUTH), axis=1) >= WIDTH_PX)
