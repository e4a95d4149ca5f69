"""Collections of which no model has as many photos as one needs: a smaller one, where there is one to be believed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from geometry_scenes import (
    DatabaseOptions,
    Scene,
    arc,
    cloud,
    link_of,
    observe,
    pose_error_deg,
    true_model,
    write_database,
)
from interpose_sfm import geometry
from interpose_sfm.colmap import reconstruction
from interpose_sfm.colmap.link_rows import inject_links
from interpose_sfm.matching.verification import pose_from_points
from interpose_sfm.options import BaseOptions, ReconstructOptions
from interpose_sfm.pairs.records import PairRecord
from interpose_sfm.products import LinkDecision, LinkVerdict, WeakPair, WeakReason
from interpose_sfm.run_log import RunLog
from interpose_sfm.synthetic import look_at
from interpose_sfm.workflows.extension import Base, Extension
from interpose_sfm.workflows.small_models import or_smaller

OPTIONS = ReconstructOptions(base=BaseOptions(num_threads=1), generator="none")
NAMES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
SCENE = observe(cloud(1, 250), arc([0, 24, 48, 60]), noise_px=0.3, seed=1)


def base_of(folder: Path, scene: Scene = SCENE) -> Base:
    """Neighbours are verified, and COLMAP has nothing but the first two photos in a model."""
    rows = {(a, b): scene.matches(a, b).indices for a, b in pairwise(range(len(NAMES)))}
    path = write_database(folder / "database.db", scene, NAMES, DatabaseOptions(rows=rows))
    small = true_model(path, scene, NAMES, range(2))
    return Base(path, folder, NAMES, registered=(frozenset(NAMES[:2]),), small=small, known=frozenset(NAMES))


def linked(folder: Path, *pairs: tuple[int, int]) -> Extension:
    """Believed links between photos, as sure as one another, in a database of their own."""
    path = write_database(folder / "extended.db", SCENE, NAMES, DatabaseOptions())
    links = [link_of(SCENE, NAMES, a, b) for a, b in pairs]
    inject_links(path, links)
    records = tuple(
        PairRecord(
            WeakPair(link.pair, (WeakReason.UNREGISTERED,), 0),
            decision=LinkDecision(LinkVerdict.ACCEPTED, "sure", link),
        )
        for link in links
    )
    return Extension(records, (), path)


def told(base: Base, extension: Extension) -> tuple[list[frozenset[str]], list[str]]:
    log = RunLog(None)
    found = or_smaller(base, extension, OPTIONS, log)
    return [reconstruction.registered_names(model) for model in found.models], log.warnings


def test_colmaps_first_model_is_kept_however_small_it_is(tmp_path: Path) -> None:
    models, (warning,) = told(base_of(tmp_path), linked(tmp_path, (2, 3)))
    assert models == [frozenset(NAMES[:2])]
    assert "COLMAP's of a.jpg, b.jpg is kept" in warning


def test_it_is_not_where_there_is_a_larger_one(tmp_path: Path) -> None:
    base = base_of(tmp_path)
    larger = true_model(base.database_path, SCENE, NAMES, range(4))
    assert told(base, Extension((), (larger,))) == ([frozenset(NAMES)], [])


def test_it_is_not_where_its_matches_speak_against_it(tmp_path: Path) -> None:
    base = base_of(tmp_path)
    assert base.small is not None
    base.small.image(2).frame.rig_from_world = geometry.to_rigid3d(SCENE.cam_from_world[3])
    assert told(base, Extension((), ())) == ([], [])


def test_a_link_makes_a_model_where_colmap_has_none(tmp_path: Path) -> None:
    base = replace(base_of(tmp_path), small=None)
    extension = linked(tmp_path, (0, 1), (2, 3))
    found = or_smaller(base, extension, OPTIONS, RunLog(None))
    (model,) = found.models
    poses = reconstruction.poses(model)
    assert poses.keys() == set(NAMES[:2])
    assert max(pose_error_deg(geometry.relative_pose(poses["b.jpg"], poses["a.jpg"]), SCENE.b_from_a(0, 1))) < 1.0
    assert found.records == extension.records


@pytest.mark.parametrize(("pairs", "expected"), [([(0, 1)], []), ([(0, 1), (2, 3)], [frozenset(NAMES[2:])])])
def test_a_wide_turn_by_a_guessed_focal_length_makes_none(
    tmp_path: Path, pairs: list[tuple[int, int]], expected: list[frozenset[str]]
) -> None:
    """24 degrees, where 15 are allowed; 12 are."""
    base = replace(base_of(tmp_path), small=None, known=frozenset({"a.jpg"}))
    models, warnings = told(base, linked(tmp_path, *pairs))
    assert models == expected
    assert "a.jpg and b.jpg make no model by themselves: their turn of 24 degrees" in warnings[0]


@pytest.mark.parametrize("factor", [0.75, 1.4])
def test_a_focal_length_that_the_points_of_the_link_tell_makes_one(tmp_path: Path, factor: float) -> None:
    poses = look_at((0, -8, 0.6), (0, 0, 0)), look_at((3.4, -4.0, 1.2), (0.7, 0.0, 0.3))
    scene = observe(cloud(4, 250), poses, noise_px=0.3, seed=4)
    right = scene.intrinsics[0]
    off = replace(right, focal_px=factor * right.focal_px, is_trusted=False)
    path = write_database(tmp_path / "extended.db", replace(scene, intrinsics=(off, off)), NAMES[:2], DatabaseOptions())
    link = link_of(scene, NAMES, 0, 1)
    by_guess = pose_from_points(link.points_a_px, off, link.points_b_px, off, 0)
    assert by_guess is not None
    assert max(pose_error_deg(by_guess, scene.b_from_a(0, 1))) > 5.0
    link = replace(link, b_from_a=by_guess)
    inject_links(path, [link])
    record = PairRecord(
        WeakPair(link.pair, (WeakReason.UNREGISTERED,), 0), decision=LinkDecision(LinkVerdict.ACCEPTED, "sure", link)
    )
    base = Base(path, tmp_path, NAMES[:2])
    (model,) = or_smaller(base, Extension((record,), (), path), OPTIONS, RunLog(None)).models
    found = reconstruction.poses(model)
    assert max(pose_error_deg(geometry.relative_pose(found["b.jpg"], found["a.jpg"]), scene.b_from_a(0, 1))) < 2.0
    assert model.cameras[1].mean_focal_length() == pytest.approx(right.focal_px, rel=0.05)


def test_nothing_is_made_of_nothing(tmp_path: Path) -> None:
    base = replace(base_of(tmp_path), small=None)
    assert told(base, Extension((), ())) == ([], [])
