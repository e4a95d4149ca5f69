from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from geometry_scenes import (
    link_of,
    turned,
    worst_error_deg,
)
from interpose_sfm import geometry
from interpose_sfm.colmap import incremental_mapper, reconstruction
from interpose_sfm.joining import overlaps, placing
from interpose_sfm.joining.alignment import Alignment, Apart, ApartReason, ScaleCue
from interpose_sfm.options import BaseOptions
from interpose_sfm.products import Link
from two_pieces import (
    CAMERAS,
    NAMES,
    SCENE,
    TARGET_FROM_SOURCE,
    baseline,
    clip_link,
    piece,
    take_points,
    without_points,
)

TRUTH = dict(zip(NAMES, SCENE.cam_from_world, strict=True))


def find_join(
    target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, links: Sequence[Link], database: Path
) -> Alignment | Apart:
    return placing.find_ties(target, source, links, database, 0).align()


@pytest.fixture(scope="module")
def overlapping(database: Path) -> pycolmap.Reconstruction:
    """A model that shares photo 3 with the target."""
    return piece(database, range(3, 8), in_source=True)


def aligned(found: Alignment | Apart) -> Alignment:
    assert isinstance(found, Alignment), found
    return found


def scale_error(found: Alignment) -> float:
    return abs(float(np.log(found.target_from_source.scale / TARGET_FROM_SOURCE.scale)))


# ---------------------------------------------------------------- lengths


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
    found = aligned(placing.find_photo_ties(target, NAMES[5], [link_of(SCENE, NAMES, 5, 3)], CAMERAS).align())
    assert found.cue is ScaleCue.DEPTHS
    grown = placing.attach(target, NAMES[5], found, database)
    assert reconstruction.registered_names(grown) == frozenset({*NAMES[:4], NAMES[5]})
    assert worst_error_deg(grown, TRUTH) < 2.0
    distance = [np.linalg.norm(reconstruction.poses(grown)[NAMES[v]].inverse().translation) for v in (3, 5)]
    truth = [np.linalg.norm(SCENE.cam_from_world[v].inverse().translation) for v in (3, 5)]
    assert distance[1] / distance[0] == pytest.approx(truth[1] / truth[0], rel=0.05)


def test_a_single_photo_is_placed_by_the_depths_of_a_clip(target: pycolmap.Reconstruction, database: Path) -> None:
    found = aligned(placing.find_photo_ties(target, NAMES[6], [clip_link(1, 6)], CAMERAS).align())
    assert found.cue is ScaleCue.DEPTHS
    placed = reconstruction.poses(placing.attach(target, NAMES[6], found, database))
    length = np.linalg.norm(geometry.relative_pose(placed[NAMES[6]], placed[NAMES[1]]).translation)
    assert length == pytest.approx(baseline(1, 6), rel=0.03)


def test_single_photos_follow_one_another_over_the_depths_of_clips(
    target: pycolmap.Reconstruction, database: Path
) -> None:
    """The second has a link to the first alone, in which the model has no point."""
    links = [clip_link(2, 5), clip_link(7, 5)]
    apart = placing.find_photo_ties(target, NAMES[7], links, CAMERAS).align()
    assert isinstance(apart, Apart)
    first = aligned(placing.find_photo_ties(target, NAMES[5], links, CAMERAS).align())
    grown = placing.attach(target, NAMES[5], first, database)
    second = aligned(placing.find_photo_ties(grown, NAMES[7], links, CAMERAS).align())
    assert second.cue is ScaleCue.DEPTHS
    placed = placing.attach(grown, NAMES[7], second, database)
    assert worst_error_deg(placed, TRUTH) < 2.0
    poses = reconstruction.poses(placed)
    length = np.linalg.norm(geometry.relative_pose(poses[NAMES[7]], poses[NAMES[5]]).translation)
    assert length == pytest.approx(baseline(5, 7), rel=0.05)


def test_a_single_photo_is_placed_by_two_links_without_points(target: pycolmap.Reconstruction, database: Path) -> None:
    links = [without_points(link_of(SCENE, NAMES, a, 5)) for a in (0, 3)]
    found = aligned(placing.find_photo_ties(target, NAMES[5], links, CAMERAS).align())
    assert found.cue is ScaleCue.DIRECTIONS
    assert worst_error_deg(placing.attach(target, NAMES[5], found, database), TRUTH) < 1.0
    one = placing.find_photo_ties(target, NAMES[5], links[:1], CAMERAS).align()
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
