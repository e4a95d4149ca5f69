"""Scale and distance by the depths that a pose network guesses, where nothing measured tells them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from geometry_scenes import DatabaseOptions, all_rows, link_of, write_database
from interpose_sfm import geometry
from interpose_sfm.colmap import link_rows, reconstruction
from interpose_sfm.joining.joiner import Joined, ModelJoiner
from interpose_sfm.joining.mapping_run import MappingRun
from interpose_sfm.joining.overlaps import GUESS_SIGMA, baseline_length
from interpose_sfm.options import BaseOptions, ConsensusOptions
from interpose_sfm.products import DepthSamples, Link, Pose
from two_pieces import (
    CAMERAS,
    NAMES,
    NOWHERE,
    SCENE,
    baseline,
    clip_link,
    depth_samples,
    piece,
    take_points,
    without_points,
)

LEFT, RIGHT = range(4), range(4, 8)


@dataclass
class Guesses:
    """What a network says of links, and which it was asked for."""

    links: Sequence[Link] = ()
    asked: list[Link] = field(default_factory=list)

    def candidates(self, first: frozenset[str], second: frozenset[str]) -> Sequence[Link]:
        return ()

    def predicted(self, link: Link, poses: Sequence[Pose]) -> Sequence[Link]:
        return ()

    def support(self, links: Sequence[Link]) -> Sequence[Link]:
        return ()

    def guessed(self, links: Sequence[Link]) -> Sequence[Link]:
        self.asked.extend(links)
        return [link for link in self.links if link.pair in {one.pair for one in links}]


def bare(a: int, b: int) -> Link:
    """A link that has no depth by itself."""
    return dataclasses.replace(without_points(link_of(SCENE, NAMES, a, b)), points_a_px=NOWHERE, points_b_px=NOWHERE)


def guessed(link: Link, error: float = 1.0, spread: float = 0.1) -> Link:
    """The link with what a network says of the depths: each errs by a tenth, and all by some factor."""
    a, b = NAMES.index(link.pair.a), NAMES.index(link.pair.b)
    unit = baseline(a, b) / error
    return dataclasses.replace(
        link,
        guessed_a=depth_samples(a, unit, seed=1, spread=spread),
        guessed_b=depth_samples(b, unit, seed=2, spread=spread),
    )


def seen_with(
    link: Link, beside: Sequence[int], turn_deg: float = 0.0, far: float = 1.0, around_deg: float = 0.0
) -> Link:
    """The link with the poses that a network has of its ends and of photos beside, in baselines.

    Args:
        turn_deg: By which those beside are turned where they are, each about an axis of its own.
        far: By what factor those beside are moved away from the first photo.
        around_deg: By which they are moved around it.
    """
    a, b = NAMES.index(link.pair.a), NAMES.index(link.pair.b)
    unit, told = baseline(a, b), {}
    for view in (a, *beside, b):
        pose = geometry.relative_pose(SCENE.cam_from_world[view], SCENE.cam_from_world[a])
        if view in beside:
            axis = geometry.unit_vectors(np.random.default_rng(view).normal(size=3))
            turn = geometry.rotation_exp(np.radians(turn_deg) * axis)
            x_in_a = far * geometry.rotation_exp([0.0, np.radians(around_deg), 0.0]) @ pose.inverse().translation
            pose = Pose(turn @ pose.rotation, -turn @ pose.rotation @ x_in_a)
        told[NAMES[view]] = Pose(pose.rotation, pose.translation / unit)
    return dataclasses.replace(link, guessed_poses=told)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("guess") / "database.db"
    rows = {**all_rows(SCENE, LEFT), **all_rows(SCENE, RIGHT)}
    return write_database(path, SCENE, NAMES, DatabaseOptions(rows=rows))


def joined(
    database: Path, folder: Path, pieces: Sequence[Sequence[int]], links: Sequence[Link], source: Guesses
) -> Joined:
    folder.mkdir(exist_ok=True)
    path = folder / "database.db"
    shutil.copyfile(database, path)
    models = [piece(path, views, in_source=number > 0) for number, views in enumerate(pieces)]
    link_rows.inject_links(path, links)
    run = MappingRun(
        database_path=path,
        image_dir=folder,
        work_dir=folder / "work",
        base=BaseOptions(num_threads=1),
        limits=ConsensusOptions(),
        seed=0,
    )
    return ModelJoiner(run).join_all(models, links, source, lambda *_: True)


def errors(model: pycolmap.Reconstruction) -> tuple[float, float]:
    """Of the right half beside the left one: degrees by which it is turned, and the share by which it is too large."""
    found, truth = reconstruction.poses(model), dict(zip(NAMES, SCENE.cam_from_world, strict=True))

    def span(poses: Mapping[str, Pose], first: int, last: int) -> Pose:
        return geometry.relative_pose(poses[NAMES[last]], poses[NAMES[first]])

    turned = span(found, 0, 7).rotation @ span(truth, 0, 7).rotation.T
    lengths = [
        [np.linalg.norm(span(poses, *ends).translation) for ends in ((4, 7), (0, 3))] for poses in (found, truth)
    ]
    size = lengths[0][0] / lengths[0][1] / (lengths[1][0] / lengths[1][1])
    return float(geometry.rotation_angle_deg(turned)), float(abs(size - 1.0))


def test_a_link_that_tells_no_distance_joins_two_models_by_guessed_depths(database: Path, tmp_path: Path) -> None:
    link = bare(3, 4)
    without = joined(database, tmp_path / "without", (LEFT, RIGHT), [link], Guesses())
    assert [model.num_reg_images() for model in without.models] == [4, 4]
    assert "scale" in without.apart[0]
    source = Guesses([guessed(link)])
    found = joined(database, tmp_path / "with", (LEFT, RIGHT), [link], source)
    assert [model.num_reg_images() for model in found.models] == [8]
    turn_deg, size = errors(found.models[0])
    assert turn_deg < 1.0
    assert size < 0.03
    assert found.apart == ()
    assert found.remarks == (f"scale or distance in the model of {NAMES[0]} rests on what a pose network guesses",)


def test_what_depths_are_off_by_alike_is_no_matter_between_two_models(database: Path, tmp_path: Path) -> None:
    """A network whose baselines are too short sees both models too far away, and their scale is right all the same."""
    link = bare(3, 4)
    found = joined(database, tmp_path, (LEFT, RIGHT), [link], Guesses([guessed(link, error=1.2)]))
    assert [model.num_reg_images() for model in found.models] == [8]
    assert errors(found.models[0])[1] < 0.03


def test_a_single_photo_is_placed_by_guessed_depths(database: Path, tmp_path: Path) -> None:
    link = bare(3, 4)
    found = joined(database, tmp_path, (LEFT,), [link], Guesses([guessed(link)]))
    assert [model.num_reg_images() for model in found.models] == [5]
    poses = reconstruction.poses(found.models[0])
    length = np.linalg.norm(geometry.relative_pose(poses[NAMES[4]], poses[NAMES[3]]).translation)
    assert length == pytest.approx(baseline(3, 4), rel=0.03)


def test_nobody_is_asked_where_depths_are_measured(database: Path, tmp_path: Path) -> None:
    source = Guesses([guessed(bare(3, 4), error=3.0)])
    found = joined(database, tmp_path, (LEFT, RIGHT), [clip_link(3, 4)], source)
    assert [model.num_reg_images() for model in found.models] == [8]
    assert source.asked == []
    assert found.remarks == ()


def test_only_links_that_lead_out_of_a_model_are_asked_for(database: Path, tmp_path: Path) -> None:
    source = Guesses()
    joined(database, tmp_path, (LEFT, RIGHT), [bare(3, 4), bare(1, 2)], source)
    assert {link.pair for link in source.asked} == {bare(3, 4).pair}


def test_a_guess_counts_for_less_than_what_is_measured(database: Path) -> None:
    model = piece(database, LEFT)
    wrong = guessed(clip_link(3, 4), error=2.0)
    measured = baseline_length(model, NAMES[3], wrong, CAMERAS).length
    assert measured is not None
    assert measured.value == pytest.approx(baseline(3, 4), rel=0.03)
    unsure = dataclasses.replace(guessed(link_of(SCENE, NAMES, 3, 4)), spread_deg=20.0)
    by_guess = baseline_length(model, NAMES[3], unsure, CAMERAS).length
    assert by_guess is not None
    assert by_guess.sigma == pytest.approx(GUESS_SIGMA, rel=0.1)
    sure = baseline_length(model, NAMES[3], dataclasses.replace(unsure, spread_deg=0.1), CAMERAS).length
    assert sure is not None
    assert sure.sigma < 0.5 * GUESS_SIGMA


def test_a_guess_needs_depths_of_the_model(database: Path) -> None:
    few = take_points(piece(database, LEFT), NAMES[3], 7)
    assert baseline_length(few, NAMES[3], guessed(bare(3, 4)), CAMERAS).length is None
    nothing = dataclasses.replace(bare(3, 4), guessed_a=DepthSamples())
    assert baseline_length(piece(database, LEFT), NAMES[3], nothing, CAMERAS).length is None


# ---------------------------------------------------------------- photos beside the two


def test_photos_beside_a_link_tell_its_length_in_either_model(database: Path, tmp_path: Path) -> None:
    """No key point of the link has a depth; how the network places three photos of either side does instead."""
    link = bare(3, 4)
    found = joined(database, tmp_path, (LEFT, RIGHT), [link], Guesses([seen_with(link, (1, 2, 5, 6), turn_deg=2.0)]))
    assert [model.num_reg_images() for model in found.models] == [8]
    turn_deg, size = errors(found.models[0])
    assert turn_deg < 1.0
    assert size < 0.03
    assert found.remarks == (f"scale or distance in the model of {NAMES[0]} rests on what a pose network guesses",)


def test_a_single_photo_is_placed_by_those_beside_its_neighbour(database: Path, tmp_path: Path) -> None:
    link = bare(3, 4)
    found = joined(database, tmp_path, (LEFT,), [link], Guesses([seen_with(link, (0, 1, 2))]))
    assert [model.num_reg_images() for model in found.models] == [5]
    poses = reconstruction.poses(found.models[0])
    length = np.linalg.norm(geometry.relative_pose(poses[NAMES[4]], poses[NAMES[3]]).translation)
    assert length == pytest.approx(baseline(3, 4), rel=0.03)


@pytest.mark.parametrize(
    ("turn_deg", "far", "around_deg", "is_told"),
    [(3.0, 1.0, 3.0, True), (12.0, 1.0, 0.0, False), (0.0, 1.0, 40.0, False), (3.0, 1.3, 0.0, True)],
)
def test_photos_beside_tell_nothing_where_the_network_has_them_elsewhere(
    database: Path, turn_deg: float, far: float, around_deg: float, is_told: bool
) -> None:
    """A turn is seen. That all of them are too far away is not: the length is too short then by as much."""
    link = seen_with(bare(3, 4), (0, 1, 2), turn_deg, far, around_deg)
    length = baseline_length(piece(database, LEFT), NAMES[3], link, CAMERAS).length
    assert (length is not None) is is_told
    if length is not None and far == 1.0:
        assert length.value == pytest.approx(baseline(3, 4), rel=0.03)


def test_a_photo_too_near_to_the_end_tells_no_length(database: Path) -> None:
    link = bare(3, 4)
    near = {
        name: Pose(pose.rotation, 0.1 * pose.translation) for name, pose in seen_with(link, (2,)).guessed_poses.items()
    }
    near[NAMES[4]] = link.b_from_a
    told = dataclasses.replace(link, guessed_poses=near)
    assert baseline_length(piece(database, LEFT), NAMES[3], told, CAMERAS).length is None


def test_depths_and_photos_that_contradict_one_another_tell_nothing(database: Path) -> None:
    """Both are one network's: where they agree, the length is surer than by either."""
    model, link = piece(database, LEFT), seen_with(bare(3, 4), (0, 1, 2))
    alone = baseline_length(model, NAMES[3], link, CAMERAS).length
    agreed = baseline_length(model, NAMES[3], guessed(link), CAMERAS).length
    assert alone is not None
    assert agreed is not None
    assert agreed.sigma < alone.sigma
    assert agreed.value == pytest.approx(baseline(3, 4), rel=0.03)
    assert baseline_length(model, NAMES[3], guessed(link, error=2.0), CAMERAS).length is None
