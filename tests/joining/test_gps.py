"""Distance and scale by GPS, for two models without a common point that one link ties, and for single photos."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest

from geometry_scenes import link_of
from gps_noise import positions_of
from interpose_sfm import geometry
from interpose_sfm.geometry import Similarity
from interpose_sfm.joining import gps
from interpose_sfm.joining.alignment import Alignment, Apart, ApartReason, ScaleCue
from interpose_sfm.joining.placing import SINGLE_POSE, Between
from interpose_sfm.joining.ties import Overlap
from interpose_sfm.products import FloatArray, Link, Pose
from two_pieces import NAMES, SCENE, TARGET_FROM_SOURCE, baseline, without_points

TRUTH = dict(zip(NAMES, SCENE.cam_from_world, strict=True))
TARGET = {name: TRUTH[name] for name in NAMES[:4]}
SOURCE = {name: TARGET_FROM_SOURCE.inverse().move_camera(TRUTH[name]) for name in NAMES[4:]}
CHORD = 2 * 7 * np.sin(np.radians(18))  # between the outer photos of either, in the unit of the target
UNIT_M = 120.0 / CHORD
LINK = without_points(link_of(SCENE, NAMES, 3, 5))

Positions = Mapping[str, FloatArray]


def bent(exact: Link, angle_deg: float) -> Link:
    """The link with a wrong direction and a right rotation."""
    pose = exact.b_from_a
    turn = geometry.rotation_from_axis_angle((0, 1, 0), angle_deg)
    return dataclasses.replace(exact, b_from_a=Pose(pose.rotation, turn @ pose.translation))


def join(positions_m: Positions, *links: Link, source: Mapping[str, Pose] = SOURCE) -> Alignment | Apart | None:
    """What GPS makes of two models; None where it says nothing."""
    found = gps.survey(TARGET, source, positions_m)
    return None if found is None else found.align(Between(TARGET, source, links, {}), 10.0)


def aligned(found: Alignment | Apart | None) -> Alignment:
    assert isinstance(found, Alignment), found
    return found


def place_error(found: Alignment, source: Mapping[str, Pose] = SOURCE) -> float:
    """Largest error of a photo of the source, in units of the target."""
    centers = np.array([pose.inverse().translation for pose in source.values()])
    truth = np.array([TRUTH[name].inverse().translation for name in source])
    return float(np.linalg.norm(found.target_from_source.apply(centers) - truth, axis=1).max())


def scale_error(found: Alignment) -> float:
    return abs(float(np.log(found.target_from_source.scale / TARGET_FROM_SOURCE.scale)))


# ---------------------------------------------------------------- the size of a model


def test_exact_positions_give_the_size_in_metres() -> None:
    size = gps.model_size(TARGET, positions_of(TRUTH, UNIT_M))
    assert size is not None
    assert size.unit.value == pytest.approx(UNIT_M, rel=1e-9)
    assert size.num_photos == 4
    assert 60 < size.extent_m < 125
    assert 1 <= size.unit.sigma * size.extent_m / gps.DISTANCE_SIGMA_M < 1.1  # they lie nearly on a level


def test_heights_tell_less_of_the_size() -> None:
    """Photos above one another, as along a tower, which GPS knows worse."""
    sigmas = []
    for axis in (0, 2):
        centers = np.zeros((3, 3))
        centers[:, axis] = (0.0, 1.0, 2.0)
        poses = {name: Pose(np.eye(3), -center) for name, center in zip(NAMES, centers, strict=False)}
        positions_m = {name: 120.0 * center for name, center in zip(NAMES, centers, strict=False)}
        size = gps.model_size(poses, positions_m)
        assert size is not None
        sigmas.append(size.unit.sigma)
    assert sigmas[1] == pytest.approx(gps.UP_SIGMA * sigmas[0])


def test_of_large_models_some_photos_are_looked_at() -> None:
    rng = np.random.default_rng(0)
    poses = {f"{index:05}": Pose(np.eye(3), rng.normal(size=3)) for index in range(20_000)}
    positions_m = {name: -100.0 * pose.translation for name, pose in poses.items()}
    size = gps.model_size(poses, positions_m)
    assert size is not None
    assert size.unit.value == pytest.approx(100.0)
    assert size.num_photos == 20_000
    names = list(poses)
    found = gps.survey({n: poses[n] for n in names[:10_000]}, {n: poses[n] for n in names[10_000:]}, positions_m)
    assert found is not None
    assert found.x_in_target.shape == found.source_m.shape == (gps.MAX_PHOTOS, 3)


def test_models_that_fit_their_positions_make_these_surer_than_five_metres() -> None:
    models = [TARGET, SOURCE]
    exact = gps.position_sigma_m(models, positions_of(TRUTH, UNIT_M))
    assert exact == pytest.approx(gps.POSITION_SIGMA_M * np.sqrt(4 / 14), rel=1e-6)  # 4 of the prior, 5 of each model
    found = [gps.position_sigma_m(models, positions_of(TRUTH, UNIT_M, 2.5, seed)) for seed in range(50)]
    assert 2.5 < np.median(found) < 4.5
    size, surer = (
        gps.model_size(TARGET, positions_of(TRUTH, UNIT_M), sigma) for sigma in (gps.POSITION_SIGMA_M, exact)
    )
    assert size is not None
    assert surer is not None
    assert surer.unit.sigma == pytest.approx(exact / gps.POSITION_SIGMA_M * size.unit.sigma)
    assert surer.unit.value == size.unit.value


def test_positions_that_models_do_not_fit_are_never_less_sure_than_five_metres() -> None:
    """An outlier is for the scatter of its own model, and spoils no other."""
    assert gps.position_sigma_m([TARGET, SOURCE], positions_of(TRUTH, UNIT_M, 30.0)) == gps.POSITION_SIGMA_M


def test_a_few_positions_or_none_of_known_height_leave_five_metres() -> None:
    positions_m = positions_of(TRUTH, UNIT_M)
    flat = {name: np.array([*position[:2], np.nan]) for name, position in positions_m.items()}
    two = {name: positions_m[name] for name in NAMES[:2]}
    for known in ({}, two, flat):
        assert gps.position_sigma_m([TARGET, SOURCE], known) == gps.POSITION_SIGMA_M


def test_the_size_is_off_by_about_what_it_says() -> None:
    errors = []
    for seed in range(200):
        size = gps.model_size(TARGET, positions_of(TRUTH, UNIT_M, 5.0, seed))
        if size is not None:
            errors.append(np.log(size.unit.value / UNIT_M) / size.unit.sigma)
    assert len(errors) > 190
    assert 0.3 < np.std(errors) < 1.1
    assert abs(np.mean(errors)) < 0.3


@pytest.mark.parametrize(("extent_m", "is_known"), [(150.0, True), (80.0, True), (25.0, False), (2.0, False)])
def test_photos_must_be_further_apart_than_positions_err(extent_m: float, is_known: bool) -> None:
    for seed in range(20):
        assert (gps.model_size(TARGET, positions_of(TRUTH, extent_m / CHORD, 2.0, seed)) is not None) is is_known


def test_positions_that_scatter_say_nothing() -> None:
    rng = np.random.default_rng(0)
    told = [gps.model_size(TRUTH, {name: rng.uniform(-200, 200, 3) for name in NAMES}) for _ in range(50)]
    assert sum(size is not None for size in told) <= 5


def test_one_wrong_position_among_many_does_not_count() -> None:
    positions_m = positions_of(TRUTH, UNIT_M, 2.0)
    positions_m[NAMES[2]] = positions_m[NAMES[2]] + [800.0, 0.0, 0.0]
    size = gps.model_size(TRUTH, positions_m)
    assert size is not None
    assert size.unit.value == pytest.approx(UNIT_M, rel=0.1)


def test_unknown_altitudes_leave_distances_on_the_ground() -> None:
    exact = positions_of(TRUTH, UNIT_M)
    unknown = {name: np.array([*position[:2], np.nan]) for name, position in exact.items()}
    mixed = {**exact, NAMES[0]: unknown[NAMES[0]]}
    for positions_m in (unknown, mixed):
        size = gps.model_size(TARGET, positions_m)
        assert size is not None
        assert size.unit.value == pytest.approx(UNIT_M, rel=0.02)


@pytest.mark.parametrize("num", [0, 1, 2])
def test_too_few_positions_say_nothing(num: int) -> None:
    few = {name: position for name, position in positions_of(TRUTH, UNIT_M).items() if name in NAMES[:num]}
    assert gps.model_size(TARGET, few) is None
    assert join(few, LINK) is None


def test_equal_positions_say_nothing() -> None:
    assert gps.model_size(TARGET, dict.fromkeys(NAMES, np.array([10.0, 20.0, 30.0]))) is None
    in_one_place = dict.fromkeys(TARGET, SINGLE_POSE)
    assert gps.model_size(in_one_place, positions_of(TRUTH, UNIT_M)) is None


# ---------------------------------------------------------------- two models


def test_one_link_without_points_leaves_models_apart_without_gps() -> None:
    found = Between(TARGET, SOURCE, (LINK,), {}).align()
    assert isinstance(found, Apart)
    assert found.reason is ApartReason.NO_SCALE


@pytest.mark.parametrize("exact", [LINK, without_points(link_of(SCENE, NAMES, 6, 1))])
def test_exact_positions_join_exactly(exact: Link) -> None:
    found = aligned(join(positions_of(TRUTH, UNIT_M), exact))
    assert found.cue is ScaleCue.GPS
    assert scale_error(found) < 1e-3
    assert place_error(found) < 0.01
    assert 0.05 < found.scale_sigma < 0.2  # positions never count as exact


def test_noisy_positions_join_within_their_error() -> None:
    errors, places, turns_deg = [], [], []
    for seed in range(30):
        found = aligned(join(positions_of(TRUTH, UNIT_M, 2.5, seed), LINK))
        errors.append(scale_error(found))
        places.append(place_error(found))
        turns_deg.append(geometry.rotation_angle_deg(found.target_from_source.rotation @ TARGET_FROM_SOURCE.rotation.T))
    assert max(errors) < 0.15
    assert 0.01 < np.median(errors) < 0.05  # they do err
    assert max(places) * UNIT_M < 25.0  # metres, of 120 in either model
    assert max(turns_deg) < 0.5  # the link's rotation, not that of GPS


@pytest.mark.parametrize("num_links", [1, 2])
def test_models_below_the_noise_stay_apart(num_links: int) -> None:
    links = [LINK, without_points(link_of(SCENE, NAMES, 3, 6))][:num_links]
    for seed in range(20):
        for extent_m in (5.0, 20.0):
            assert join(positions_of(TRUTH, extent_m / CHORD, 2.5, seed), *links) is None


def test_the_two_models_must_be_sure_together() -> None:
    """Each by itself is known to less than a quarter."""
    for seed in range(10):
        found = join(positions_of(TRUTH, 45.0 / CHORD, 0.3, seed), LINK)
        assert isinstance(found, Apart)
        assert found.reason is ApartReason.UNSURE_SCALE


def test_three_photos_in_either_model_suffice_and_two_do_not() -> None:
    errors = []
    for seed in range(20):
        positions_m = positions_of(TRUTH, UNIT_M, 2.0, seed)
        three = {name: position for name, position in positions_m.items() if name not in (NAMES[1], NAMES[6])}
        errors.append(scale_error(aligned(join(three, LINK))))
        assert join({name: position for name, position in three.items() if name != NAMES[2]}, LINK) is None
    assert 0.001 < np.median(errors) < 0.05
    assert max(errors) < 0.15


def test_a_photo_in_both_models_and_gps_join_them_without_a_link() -> None:
    """The photo tells all but the scale."""
    source = {**SOURCE, NAMES[3]: TARGET_FROM_SOURCE.inverse().move_camera(TRUTH[NAMES[3]])}
    poses = TARGET[NAMES[3]], source[NAMES[3]]
    centers = poses[0].inverse().translation, poses[1].inverse().translation
    shared = Overlap("the photo 3.jpg", poses[0].rotation.T @ poses[1].rotation, 0.5, *centers, 0.05)
    between = Between(TARGET, source, (), {}, (shared,))
    assert isinstance(between.align(), Apart)
    found = gps.survey(TARGET, source, positions_of(TRUTH, UNIT_M, 2.0))
    assert found is not None
    joined = aligned(found.align(between, 10.0))
    assert found.told(joined, between).startswith("the scale between ")  # the place is that of the photo
    assert scale_error(joined) < 0.1
    assert place_error(joined) * UNIT_M < 15


@pytest.mark.parametrize(("angle_deg", "is_joined"), [(0.0, True), (5.0, True), (90.0, False), (180.0, False)])
def test_a_direction_that_gps_contradicts_joins_nothing_and_is_told(angle_deg: float, is_joined: bool) -> None:
    for seed in range(5):
        found = join(positions_of(TRUTH, UNIT_M, 2.5, seed), bent(LINK, angle_deg))
        if is_joined:
            aligned(found)
            continue
        assert isinstance(found, Apart)
        assert found.reason is ApartReason.CONTRADICTION
        assert " misses GPS positions by " in found.detail


def test_a_scale_of_the_pictures_is_held_against_gps() -> None:
    found = gps.survey(TARGET, SOURCE, positions_of(TRUTH, UNIT_M, 2.5))
    assert found is not None
    assert found.contradiction(TARGET_FROM_SOURCE) == ""
    exact = TARGET_FROM_SOURCE
    for factor, is_told in ((1.2, False), (0.8, False), (3.0, True), (1 / 3, True)):
        told = found.contradiction(Similarity(factor * exact.scale, exact.rotation, exact.translation))
        assert bool(told) is is_told
        if is_told:
            assert f"{factor * exact.scale:.3g} by the pictures" in told
            assert " by GPS" in told
    far = found.contradiction(Similarity(exact.scale, exact.rotation, exact.translation + 12.0))
    assert "by the pictures misses that of GPS" in far


# ---------------------------------------------------------------- single photos


def test_a_single_photo_is_as_far_as_gps_says() -> None:
    exact, single = without_points(link_of(SCENE, NAMES, 0, 6)), {NAMES[6]: SINGLE_POSE}
    assert isinstance(Between(TARGET, single, (exact,), {}).align(), Apart)
    errors_m = []
    for seed in range(20):
        found = aligned(join(positions_of(TRUTH, UNIT_M, 2.5, seed), exact, source=single))
        assert found.cue is ScaleCue.GPS
        errors_m.append(place_error(found, single) * UNIT_M)
    assert 0.5 < np.median(errors_m) < 12.0
    assert max(errors_m) < 30.0  # at 260 m
    assert baseline(0, 6) * UNIT_M > 250


def test_a_single_photo_without_a_position_or_too_near_stays_out() -> None:
    single, near = {NAMES[6]: SINGLE_POSE}, {NAMES[4]: SINGLE_POSE}
    positions_m = positions_of(TRUTH, UNIT_M, 2.5)
    others = {name: position for name, position in positions_m.items() if name != NAMES[6]}
    assert join(others, without_points(link_of(SCENE, NAMES, 0, 6)), source=single) is None
    # In a model of 90 m that sees it, a photo a few steps away: five metres more or less are too much of its distance.
    steps = dict(positions_m)
    target = TARGET[NAMES[3]].inverse()
    close = Pose(np.eye(3), -(target.translation + np.array([0.3, 0.1, 0.0])))
    steps[NAMES[4]] = positions_of({NAMES[4]: close}, UNIT_M)[NAMES[4]]
    relative = geometry.with_unit_translation(geometry.relative_pose(close, TARGET[NAMES[3]]))
    found = join(
        steps, dataclasses.replace(without_points(link_of(SCENE, NAMES, 3, 4)), b_from_a=relative), source=near
    )
    assert isinstance(found, Apart)
    assert found.reason is ApartReason.UNSURE_SCALE
