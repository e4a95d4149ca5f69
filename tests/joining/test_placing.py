from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from geometry_scenes import (
    DatabaseOptions,
    all_rows,
    arc,
    camera,
    cloud,
    evidence,
    link,
    link_of,
    observe,
    true_model,
    turned,
    worst_error_deg,
    write_database,
)
from interpose_sfm import geometry
from interpose_sfm.colmap import incremental_mapper, reconstruction
from interpose_sfm.geometry import Similarity
from interpose_sfm.joining import overlaps, placing
from interpose_sfm.joining.alignment import Alignment, Apart, ApartReason, ScaleCue
from interpose_sfm.options import BaseOptions
from interpose_sfm.products import DepthSamples, Link

NAMES = tuple(f"{view}.jpg" for view in range(8))
SCENE = observe(cloud(1, 250), arc([0, 12, 24, 36, 60, 72, 84, 96]), noise_px=0.3, seed=1)
TRUTH = dict(zip(NAMES, SCENE.cam_from_world, strict=True))
CAMERAS = dict.fromkeys(NAMES, camera())
TARGET_FROM_SOURCE = Similarity(0.4, geometry.rotation_exp([0.3, -0.5, 1.0]), np.array([1.0, -4.0, 3.0]))


def find_join(
    target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, links: Sequence[Link], database: Path
) -> Alignment | Apart:
    return placing.find_ties(target, source, links, database, 0).align()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two groups of four views that match among themselves, and one verified pair between them."""
    rows = all_rows(SCENE, range(4)) | all_rows(SCENE, range(3, 8))
    path = tmp_path_factory.mktemp("joining") / "database.db"
    return write_database(path, SCENE, NAMES, DatabaseOptions(rows=rows))


def piece(database: Path, views: Sequence[int], *, in_source: bool = False) -> pycolmap.Reconstruction:
    """A model of some views, in a frame of its own."""
    model = true_model(database, SCENE, NAMES, views)
    if in_source:
        moved = TARGET_FROM_SOURCE.inverse()
        turn = pycolmap.Rotation3d(moved.rotation)
        model.transform(pycolmap.Sim3d(moved.scale, turn, moved.translation))
    return model


@pytest.fixture(scope="module")
def target(database: Path) -> pycolmap.Reconstruction:
    return piece(database, range(4))


@pytest.fixture(scope="module")
def source(database: Path) -> pycolmap.Reconstruction:
    return piece(database, range(4, 8), in_source=True)


@pytest.fixture(scope="module")
def overlapping(database: Path) -> pycolmap.Reconstruction:
    """A model that shares photo 3 with the target."""
    return piece(database, range(3, 8), in_source=True)


def without_points(exact: Link) -> Link:
    return link(exact.pair.a, exact.pair.b, exact.b_from_a, evidence(num_inliers=30))


def aligned(found: Alignment | Apart) -> Alignment:
    assert isinstance(found, Alignment), found
    return found


def scale_error(found: Alignment) -> float:
    return abs(float(np.log(found.target_from_source.scale / TARGET_FROM_SOURCE.scale)))


def take_points(model: pycolmap.Reconstruction, name: str, num_left: int) -> pycolmap.Reconstruction:
    """The model with fewer points in one photo."""
    copied = pycolmap.Reconstruction(model)
    seen = [p.point3D_id for p in copied.find_image_with_name(name).points2D if p.has_point3D()]
    for point_id in seen[num_left:]:
        copied.delete_point3D(point_id)
    return copied


# ---------------------------------------------------------------- lengths


@pytest.mark.parametrize("swaps", [False, True])
def test_depths_tell_the_baseline_in_the_unit_of_the_model(
    target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, swaps: bool
) -> None:
    exact = link_of(SCENE, NAMES, *((4, 3) if swaps else (3, 4)))
    truth = np.linalg.norm(geometry.relative_pose(SCENE.cam_from_world[4], SCENE.cam_from_world[3]).translation)
    for model, name, unit in ((target, NAMES[3], 1.0), (source, NAMES[4], 1.0 / TARGET_FROM_SOURCE.scale)):
        found = overlaps.baseline_length(model, name, exact, CAMERAS)
        assert found.num_depths > 100
        assert found.length is not None
        assert abs(np.log(found.length.value / (unit * truth))) < 0.01
        assert 0.02 <= found.length.sigma < 0.04


def test_a_baseline_is_as_unsure_as_the_pose_of_its_link(target: pycolmap.Reconstruction) -> None:
    exact = link_of(SCENE, NAMES, 3, 4)
    unsure = dataclasses.replace(exact, spread_deg=5.0)  # of the 24 degrees between the rays
    found = overlaps.baseline_length(target, NAMES[3], unsure, CAMERAS).length
    assert found is not None
    assert 0.15 < found.sigma < 0.3


def test_few_depths_tell_no_baseline(target: pycolmap.Reconstruction) -> None:
    limit = overlaps.MIN_DEPTHS
    for num, is_measured in ((limit - 1, False), (3 * limit, True)):
        found = overlaps.baseline_length(target, NAMES[3], link_of(SCENE, NAMES, 3, 4, num), CAMERAS)
        assert (found.length is not None) == is_measured
        assert 0 < found.num_depths <= num
    with pytest.raises(ValueError, match=r"'0\.jpg'"):
        overlaps.baseline_length(target, NAMES[0], link_of(SCENE, NAMES, 3, 4), CAMERAS)


def test_key_points_elsewhere_tell_no_baseline(target: pycolmap.Reconstruction) -> None:
    exact = link_of(SCENE, NAMES, 3, 4, 40)
    for offset_px, is_measured in ((1.0, True), (400.0, False)):
        moved = dataclasses.replace(exact, points_a_px=exact.points_a_px + [offset_px, 0.0])  # noqa: RUF005
        found = overlaps.baseline_length(target, NAMES[3], moved, CAMERAS)
        assert (found.length is not None) == is_measured


def depth_samples(view: int, unit: float = 1.0, seed: int = 0, spread: float = 0.0) -> DepthSamples:
    """Depths of all key points of a view that show a point, in some unit."""
    is_point = SCENE.point_of_row[view] >= 0
    points, pose = SCENE.points_in_world[SCENE.point_of_row[view][is_point]], SCENE.cam_from_world[view]
    depths = (points @ pose.rotation.T + pose.translation)[:, 2] / unit
    noise = np.exp(spread * np.random.default_rng(seed).normal(size=len(depths)))
    return DepthSamples(SCENE.features[view].keypoints_px[is_point], depths * noise)


def clip_link(a: int, b: int, **changes: float) -> Link:
    """The link of a clip that carried no correspondence through, but has depths in either photo, in baselines."""
    length = baseline(a, b)
    bare = dataclasses.replace(without_points(link_of(SCENE, NAMES, a, b)), points_a_px=NOWHERE, points_b_px=NOWHERE)
    return dataclasses.replace(
        bare,
        source="morph-0",
        seen_a=depth_samples(a, length, **changes),  # type: ignore[arg-type]
        seen_b=depth_samples(b, length, **changes),  # type: ignore[arg-type]
    )


NOWHERE = np.zeros((0, 2))


def baseline(a: int, b: int) -> float:
    return float(np.linalg.norm(geometry.relative_pose(SCENE.cam_from_world[b], SCENE.cam_from_world[a]).translation))


@pytest.mark.parametrize("swaps", [False, True])
def test_depths_of_a_clip_tell_the_baseline_without_a_correspondence(
    target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, swaps: bool
) -> None:
    clip = clip_link(*((6, 1) if swaps else (1, 6)), spread=0.1)
    for model, name, unit in ((target, NAMES[1], 1.0), (source, NAMES[6], 1.0 / TARGET_FROM_SOURCE.scale)):
        found = overlaps.baseline_length(model, name, clip, CAMERAS)
        assert found.num_depths > 100
        assert found.length is not None
        assert abs(np.log(found.length.value / (unit * baseline(1, 6)))) < 0.03
        assert 0.02 <= found.length.sigma < 0.04
    unsure = overlaps.baseline_length(target, NAMES[1], dataclasses.replace(clip, spread_deg=10.0), CAMERAS).length
    assert unsure is not None
    assert unsure.sigma == pytest.approx(np.radians(10.0), rel=0.05)


@pytest.mark.parametrize("num", [overlaps.MIN_DEPTHS - 1, overlaps.MIN_DEPTHS])
def test_few_depths_of_a_clip_leave_it_to_the_correspondences(target: pycolmap.Reconstruction, num: int) -> None:
    """These are taken three times too long, to tell which of the two spoke."""
    measured_px, _ = overlaps.observed_depths(target, NAMES[3])
    samples = depth_samples(3, 3 * baseline(3, 4))
    near = np.linalg.norm(samples.points_px[:, None] - measured_px[None], axis=2).min(axis=1)
    rows = np.flatnonzero(near < overlaps.NEAR_PX)[:num]
    few = DepthSamples(samples.points_px[rows], samples.depths[rows])
    found = overlaps.baseline_length(
        target, NAMES[3], dataclasses.replace(link_of(SCENE, NAMES, 3, 4), seen_a=few), CAMERAS
    )
    assert found.length is not None
    factor = 3.0 if num >= overlaps.MIN_DEPTHS else 1.0
    assert abs(np.log(found.length.value / (factor * baseline(3, 4)))) < 0.02


def test_depths_beyond_those_of_the_points_count_as_well(target: pycolmap.Reconstruction) -> None:
    bare = take_points(target, NAMES[3], 0)
    exact = link_of(SCENE, NAMES, 3, 4)
    assert overlaps.baseline_length(bare, NAMES[3], exact, CAMERAS).length is None
    further = [depth_samples(3)]
    for offered in (exact, clip_link(3, 4)):
        found = overlaps.baseline_length(bare, NAMES[3], offered, CAMERAS, further).length
        assert found is not None
        assert abs(np.log(found.value / baseline(3, 4))) < 0.02


def test_links_within_a_model_lend_it_their_depths(source: pycolmap.Reconstruction) -> None:
    links = [clip_link(4, 6), clip_link(7, 4), clip_link(1, 5)]  # the last one leaves the model
    found = overlaps.link_depths(source, links)
    assert {name: len(samples) for name, samples in found.items()} == {NAMES[4]: 2, NAMES[6]: 1, NAMES[7]: 1}
    for name, all_samples in found.items():
        truth = depth_samples(NAMES.index(name), TARGET_FROM_SOURCE.scale)
        for samples in all_samples:
            np.testing.assert_array_equal(samples.points_px, truth.points_px)
            np.testing.assert_allclose(samples.depths, truth.depths, rtol=1e-6)


def test_points_are_found_where_a_photo_sees_them(target: pycolmap.Reconstruction) -> None:
    observed_px, depths = overlaps.observed_depths(target, NAMES[2])
    assert len(depths) > 150
    for offset_px, is_near in ((0.9 * overlaps.NEAR_PX, True), (60.0 * overlaps.NEAR_PX, False)):
        asked_px = np.concatenate([[[-500.0, 0.0]], observed_px[:40] + [offset_px, 0.0]])  # noqa: RUF005
        rows, points = overlaps.points_at(target, NAMES[2], asked_px)
        assert len(rows) == len(points) == (40 if is_near else 0)
        if is_near:
            np.testing.assert_array_equal(rows, np.arange(1, 41))
    rows, points = overlaps.points_at(target, NAMES[2], observed_px)
    assert len(rows) == len(observed_px)
    pose = geometry.from_rigid3d(target.find_image_with_name(NAMES[2]).cam_from_world())
    in_cam = points @ pose.rotation.T + pose.translation
    np.testing.assert_allclose(in_cam[:, 2], depths)
    assert np.linalg.norm(geometry.project(in_cam, camera()) - observed_px, axis=1).max() < 3.0
    rows, points = overlaps.points_at(target, NAMES[2], np.zeros((0, 2)))
    assert (rows.shape, points.shape) == ((0,), (0, 3))


# ---------------------------------------------------------------- photos in both


def test_a_photo_in_both_joins_without_links(
    target: pycolmap.Reconstruction, overlapping: pycolmap.Reconstruction, database: Path
) -> None:
    found = aligned(find_join(target, overlapping, [], database))
    assert found.cue is ScaleCue.OVERLAP
    assert scale_error(found) < 0.01
    joined = placing.join(target, overlapping, found.target_from_source, database)
    assert reconstruction.registered_names(joined) == frozenset(NAMES)
    assert worst_error_deg(joined, TRUTH) < 1.0
    assert reconstruction.registered_names(target) == frozenset(NAMES[:4])  # a copy


def test_a_photo_that_a_model_has_wrong_is_not_believed(
    target: pycolmap.Reconstruction, overlapping: pycolmap.Reconstruction, database: Path
) -> None:
    wrong = pycolmap.Reconstruction(overlapping)
    image = wrong.find_image_with_name(NAMES[3])
    pose = turned(geometry.from_rigid3d(image.cam_from_world()), 8.0)
    wrong.frame(image.frame_id).set_cam_from_world(image.camera_id, geometry.to_rigid3d(pose))
    assert overlaps.photo_overlap(target, wrong, NAMES[3]) is None
    assert overlaps.photo_overlap(wrong, target, NAMES[3]) is None
    refused = find_join(target, wrong, [], database)
    assert isinstance(refused, Apart)
    assert refused.reason is ApartReason.NO_LINK


def test_a_photo_that_few_points_hold_is_not_believed(
    target: pycolmap.Reconstruction, overlapping: pycolmap.Reconstruction
) -> None:
    limit = overlaps.MIN_PHOTO_POINTS
    for num, counts in ((limit - 1, False), (3 * limit, True)):
        thin = take_points(target, NAMES[3], num)
        assert (overlaps.photo_overlap(thin, overlapping, NAMES[3]) is not None) == counts
        assert (overlaps.photo_overlap(overlapping, thin, NAMES[3]) is not None) == counts


def test_a_photo_in_both_without_common_places_leaves_the_scale_to_a_link(
    target: pycolmap.Reconstruction, overlapping: pycolmap.Reconstruction, database: Path
) -> None:
    parts = []
    for model, keeps_left in ((target, True), (overlapping, False)):
        part = pycolmap.Reconstruction(model)
        for point in part.find_image_with_name(NAMES[3]).points2D:
            if point.has_point3D() and (point.xy[0] < 400) != keeps_left:
                part.delete_point3D(point.point3D_id)
        parts.append(part)
    found = overlaps.photo_overlap(parts[0], parts[1], NAMES[3])
    assert found is not None
    assert found.scale is None
    assert isinstance(find_join(parts[0], parts[1], [], database), Apart)
    exact = without_points(link_of(SCENE, NAMES, 0, 7))
    assert scale_error(aligned(find_join(parts[0], parts[1], [exact], database))) < 0.02


# ---------------------------------------------------------------- links


def test_points_in_common_join(
    target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, database: Path
) -> None:
    found = aligned(find_join(target, source, [link_of(SCENE, NAMES, 3, 4)], database))
    assert found.cue is ScaleCue.OVERLAP
    assert scale_error(found) < 0.01
    assert worst_error_deg(placing.join(target, source, found.target_from_source, database), TRUTH) < 1.0


def test_depths_of_one_link_join_where_no_point_is_common(
    target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, database: Path
) -> None:
    exact = link_of(SCENE, NAMES, 0, 6)  # not verified in the database
    found = aligned(find_join(target, source, [exact], database))
    assert found.cue is ScaleCue.DEPTHS
    assert scale_error(found) < 0.03
    assert worst_error_deg(placing.join(target, source, found.target_from_source, database), TRUTH) < 2.0


def test_links_without_any_points_join(
    target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, database: Path
) -> None:
    links = [without_points(link_of(SCENE, NAMES, a, b)) for a, b in ((0, 4), (1, 6), (7, 2), (2, 5))]
    found = aligned(find_join(target, source, links, database))
    assert found.cue is ScaleCue.DIRECTIONS
    assert [r.pair for r in found.residuals] == [entry.pair for entry in links]
    assert worst_error_deg(placing.join(target, source, found.target_from_source, database), TRUTH) < 1.0
    one = find_join(target, source, links[:1], database)
    assert isinstance(one, Apart)
    assert one.reason is ApartReason.NO_SCALE


def test_a_link_that_contradicts_the_common_points_keeps_apart(
    target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, database: Path
) -> None:
    true = link_of(SCENE, NAMES, 3, 4)
    wrong = without_points(link_of(SCENE, NAMES, 0, 6))
    wrong = dataclasses.replace(wrong, b_from_a=turned(wrong.b_from_a, 60))
    refused = find_join(target, source, [true, wrong], database)
    assert isinstance(refused, Apart)
    assert refused.reason is ApartReason.CONTRADICTION


def test_points_that_do_not_agree_say_nothing() -> None:
    rng = np.random.default_rng(0)
    x_in_source = rng.uniform(-1, 1, (40, 3))
    x_in_target = TARGET_FROM_SOURCE.apply(x_in_source)
    for share_wrong, agrees in ((0.3, True), (0.7, False)):
        spoilt = x_in_target.copy()
        num_wrong = round(share_wrong * 40)
        spoilt[:num_wrong] = rng.uniform(-5, 5, (num_wrong, 3))
        found = overlaps.point_overlap("points", spoilt, x_in_source, np.full(40, 2.0), 0)
        assert (found is not None) == agrees
    assert overlaps.point_overlap("points", x_in_target[:11], x_in_source[:11], np.full(11, 2.0), 0) is None


# ---------------------------------------------------------------- single photos


def test_a_single_photo_is_placed_by_the_depths_of_one_link(target: pycolmap.Reconstruction, database: Path) -> None:
    found = aligned(placing.find_place(target, NAMES[5], [link_of(SCENE, NAMES, 5, 3)], CAMERAS))
    assert found.cue is ScaleCue.DEPTHS
    grown = placing.attach(target, NAMES[5], found, database)
    assert reconstruction.registered_names(grown) == frozenset({*NAMES[:4], NAMES[5]})
    assert worst_error_deg(grown, TRUTH) < 2.0
    distance = [np.linalg.norm(reconstruction.poses(grown)[NAMES[v]].inverse().translation) for v in (3, 5)]
    truth = [np.linalg.norm(SCENE.cam_from_world[v].inverse().translation) for v in (3, 5)]
    assert distance[1] / distance[0] == pytest.approx(truth[1] / truth[0], rel=0.05)


def test_a_single_photo_is_placed_by_the_depths_of_a_clip(target: pycolmap.Reconstruction, database: Path) -> None:
    found = aligned(placing.find_place(target, NAMES[6], [clip_link(1, 6)], CAMERAS))
    assert found.cue is ScaleCue.DEPTHS
    placed = reconstruction.poses(placing.attach(target, NAMES[6], found, database))
    length = np.linalg.norm(geometry.relative_pose(placed[NAMES[6]], placed[NAMES[1]]).translation)
    assert length == pytest.approx(baseline(1, 6), rel=0.03)


def test_single_photos_follow_one_another_over_the_depths_of_clips(
    target: pycolmap.Reconstruction, database: Path
) -> None:
    """The second has a link to the first alone, in which the model has no point."""
    links = [clip_link(2, 5), clip_link(7, 5)]
    apart = placing.find_place(target, NAMES[7], links, CAMERAS)
    assert isinstance(apart, Apart)
    first = aligned(placing.find_place(target, NAMES[5], links, CAMERAS))
    grown = placing.attach(target, NAMES[5], first, database)
    second = aligned(placing.find_place(grown, NAMES[7], links, CAMERAS))
    assert second.cue is ScaleCue.DEPTHS
    placed = placing.attach(grown, NAMES[7], second, database)
    assert worst_error_deg(placed, TRUTH) < 2.0
    poses = reconstruction.poses(placed)
    length = np.linalg.norm(geometry.relative_pose(poses[NAMES[7]], poses[NAMES[5]]).translation)
    assert length == pytest.approx(baseline(5, 7), rel=0.05)


def test_a_single_photo_is_placed_by_two_links_without_points(target: pycolmap.Reconstruction, database: Path) -> None:
    links = [without_points(link_of(SCENE, NAMES, a, 5)) for a in (0, 3)]
    found = aligned(placing.find_place(target, NAMES[5], links, CAMERAS))
    assert found.cue is ScaleCue.DIRECTIONS
    assert worst_error_deg(placing.attach(target, NAMES[5], found, database), TRUTH) < 1.0
    one = placing.find_place(target, NAMES[5], links[:1], CAMERAS)
    assert isinstance(one, Apart)
    assert one.reason is ApartReason.NO_SCALE


def test_a_joined_model_is_triangulated_over_the_join(
    target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, database: Path, tmp_path: Path
) -> None:
    found = aligned(find_join(target, source, [link_of(SCENE, NAMES, 3, 4)], database))
    joined = placing.join(target, source, found.target_from_source, database)
    ready = incremental_mapper.triangulate(
        joined, database, tmp_path, tmp_path / "ready", BaseOptions(num_threads=1), 0
    )
    assert reconstruction.registered_names(ready) == frozenset(NAMES)
    across = [
        point
        for point in ready.points3D.values()
        if len({NAMES.index(ready.image(e.image_id).name) >= 4 for e in point.track.elements}) == 2
    ]
    assert len(across) > 150


def test_a_photo_that_the_database_lacks_is_refused(target: pycolmap.Reconstruction, database: Path) -> None:
    with pytest.raises(ValueError, match=r"'nowhere\.jpg'"):
        reconstruction.list_photos(pycolmap.Reconstruction(target), ["nowhere.jpg"], database)
