from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pycolmap
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
    turned,
    worst_error_deg,
    write_database,
)
from interpose_sfm import geometry
from interpose_sfm.colmap import incremental_mapper, reconstruction
from interpose_sfm.colmap.link_rows import inject_links
from interpose_sfm.joining.final_mapping import FinalMapper, FinalModels
from interpose_sfm.joining.mapping_run import MappingRun
from interpose_sfm.matching.cache import LearnedCache
from interpose_sfm.options import BaseOptions, ConsensusOptions, ReconstructOptions
from interpose_sfm.pairs.further_links import FurtherLinks
from interpose_sfm.pairs.pair_pose import PairPoser
from interpose_sfm.pose.matcher import MatcherEstimator
from interpose_sfm.pose.protocol import EstimatorContext
from interpose_sfm.products import (
    DepthSamples,
    Features,
    ImagePair,
    IndexArray,
    Link,
    Matches,
    Pose,
    View,
    ViewGraph,
)
from interpose_sfm.storage.run_stores import open_stores
from interpose_sfm.synthetic import look_at

OPTIONS = ReconstructOptions(base=BaseOptions(num_threads=1), generator="none")
NAMES = tuple(f"{view}.jpg" for view in range(8))
SIDE = range(4), range(4, 8)
SCENE = observe(cloud(1, 250), arc([0, 12, 24, 36, 60, 72, 84, 96]), noise_px=0.3, seed=1)
TRUTH = dict(zip(NAMES, SCENE.cam_from_world, strict=True))


class KnownCache(LearnedCache):
    """Features and matches of a scene in place of those of the network; views are keyed by the name of their photo."""

    scene: Scene

    def features(self, view: View) -> Features:
        return self.scene.features[NAMES.index(view.key)]

    def matches(self, a: View, b: View) -> Matches:
        return self.scene.matches(NAMES.index(a.key), NAMES.index(b.key))


@contextmanager
def poser_of(scene: Scene, folder: Path) -> Iterator[PairPoser]:
    with open_stores(folder) as stores:
        cache = KnownCache(stores.features, stores.matches, OPTIONS.matching)
        cache.scene = scene

        def view(name: str) -> View:
            return View(name, np.zeros((2, 2, 3), np.uint8), scene.intrinsics[NAMES.index(name)])

        estimator = MatcherEstimator(EstimatorContext(features=cache.features, matches=cache.matches))
        yield PairPoser(view, cache, stores.hypotheses, estimator, (), OPTIONS.consistency, OPTIONS.seed)


@dataclass(frozen=True)
class Base:
    """What the base stage leaves."""

    database_path: Path
    models: tuple[pycolmap.Reconstruction, ...]
    graph: ViewGraph


def base_of(folder: Path, sides: Sequence[Sequence[int]], rows: dict[tuple[int, int], IndexArray]) -> Base:
    path = write_database(folder / "database.db", SCENE, NAMES, DatabaseOptions(rows=rows))
    models = tuple(true_model(path, SCENE, NAMES, side) for side in sides)
    models[1].transform(pycolmap.Sim3d(2.5, pycolmap.Rotation3d([0.0, 0.6, 0.0, 0.8]), [1.0, -4.0, 3.0]))
    verified = {ImagePair(NAMES[a], NAMES[b]): len(found) for (a, b), found in rows.items()}
    held = tuple(frozenset(NAMES[v] for v in side) for side in sides)
    return Base(path, models, ViewGraph(NAMES, verified, (), held, frozenset(), ()))


def true_rows(views: Sequence[int], ids: np.ndarray | None = None) -> dict[tuple[int, int], IndexArray]:
    found = {(a, b): SCENE.true_rows(a, b) for a, b in itertools.combinations(views, 2)}
    if ids is None:
        return found
    return {(a, b): rows[np.isin(SCENE.point_of_row[a][rows[:, 0]], ids)] for (a, b), rows in found.items()}


@dataclass(frozen=True)
class Offers:
    """Further links: refused ones, and learned matches of the ends of links with their neighbours."""

    graph: ViewGraph
    poser: PairPoser
    refused: Sequence[Link] = ()

    def candidates(self, first: frozenset[str], second: frozenset[str]) -> Sequence[Link]:
        return self.refused

    def predicted(self, link: Link, poses: Sequence[Pose]) -> Sequence[Link]:
        return ()

    def support(self, links: Sequence[Link]) -> Sequence[Link]:
        return FurtherLinks((), self.graph, self.poser.match, self.poser.hold, ConsensusOptions()).support(links)

    def guessed(self, links: Sequence[Link]) -> Sequence[Link]:
        return ()


def run_of(database_path: Path, folder: Path, base: BaseOptions, given: Mapping[str, Pose] | None = None) -> MappingRun:
    return MappingRun(
        database_path=database_path,
        image_dir=folder,
        work_dir=folder / "work",
        base=base,
        limits=OPTIONS.consensus,
        seed=0,
        given=given or {},
    )


def run(
    base: Base,
    folder: Path,
    accepted: Sequence[Link] = (),
    refused: Sequence[Link] = (),
    given: Mapping[str, Pose] | None = None,
) -> FinalModels:
    (folder / "work").mkdir()
    with poser_of(SCENE, folder) as poser:
        mapper = FinalMapper(run_of(base.database_path, folder, OPTIONS.base, given))
        return mapper.map_links(base.models, accepted, Offers(base.graph, poser, refused))


@pytest.fixture
def halves(tmp_path: Path) -> Base:
    """Two models of four photos each that have nothing in common."""
    return base_of(tmp_path, SIDE, true_rows(SIDE[0]) | true_rows(SIDE[1]))


@pytest.fixture
def overlapping(tmp_path: Path) -> Base:
    """Two models that share photo 3 but no point: the scale is open."""
    seen_px = SCENE.features[3].keypoints_px[:, 0]
    is_left = seen_px < np.median(seen_px)
    left, right = SCENE.point_of_row[3][is_left], SCENE.point_of_row[3][~is_left]
    return base_of(tmp_path, (range(4), range(3, 8)), true_rows(range(4), left) | true_rows(range(3, 8), right))


def test_an_accepted_link_joins_the_base_models(halves: Base, tmp_path: Path) -> None:
    final = run(halves, tmp_path, [link_of(SCENE, NAMES, 3, 4)])
    assert [reconstruction.registered_names(model) for model in final.models] == [frozenset(NAMES)]
    assert worst_error_deg(final.models[0], TRUTH) < 1.0
    assert (final.confirmed, final.dropped, final.warnings) == ({}, {}, ())


def test_given_poses_stay_where_they_are_whatever_is_joined_to_them(tmp_path: Path) -> None:
    """Though their model is the smaller one, and stands behind the other."""
    base = base_of(tmp_path, (range(3, 8), range(3)), true_rows(range(3)) | true_rows(range(3, 8)))
    given = {name: pose for name, pose in reconstruction.poses(base.models[1]).items() if name != NAMES[1]}
    final = run(base, tmp_path, [link_of(SCENE, NAMES, 2, 3)], given=given)
    assert [reconstruction.registered_names(model) for model in final.models] == [frozenset(NAMES)]
    assert worst_error_deg(final.models[0], TRUTH) < 1.0
    found = reconstruction.poses(final.models[0])
    for name, pose in given.items():
        assert found[name].rotation == pytest.approx(pose.rotation, abs=1e-9)
        assert found[name].translation == pytest.approx(pose.translation, abs=1e-9)


def test_without_a_link_the_base_models_are_left_alone(halves: Base, tmp_path: Path) -> None:
    models = run(halves, tmp_path, refused=[link_of(SCENE, NAMES, 3, 4)]).models
    assert sorted(sorted(reconstruction.registered_names(m)) for m in models) == [list(NAMES[:4]), list(NAMES[4:])]
    for before, after in zip(halves.models, models, strict=True):
        assert reconstruction.largest_change_deg(before, after) == pytest.approx(0.0, abs=1e-9)
        assert before.num_points3D() == after.num_points3D()


def test_a_refused_link_is_believed_where_all_else_predicts_it(overlapping: Base, tmp_path: Path) -> None:
    refused = link_of(SCENE, NAMES, 1, 5)
    final = run(overlapping, tmp_path, refused=[refused])
    assert [model.num_reg_images() for model in final.models] == [8]
    assert worst_error_deg(final.models[0], TRUTH) < 1.5
    assert list(final.confirmed) == [refused.pair]
    assert final.confirmed[refused.pair]
    assert not any("stay apart" in sentence for sentence in final.warnings)


def test_without_a_candidate_models_stay_apart_and_the_missing_link_is_named(overlapping: Base, tmp_path: Path) -> None:
    final = run(overlapping, tmp_path)
    assert sorted(model.num_reg_images() for model in final.models) == [4, 5]
    assert any("stay apart" in sentence and "wanted: " in sentence for sentence in final.warnings)


def test_a_photo_that_only_the_depths_of_a_clip_place_stays(tmp_path: Path) -> None:
    """It sees no point of the model, so that the adjustment has no use for its link; yet nothing contradicts that."""
    rows = true_rows(range(4)) | true_rows(range(4, 7))
    base = base_of(tmp_path, (range(4), range(4, 7)), rows)
    exact = link_of(SCENE, NAMES, 3, 7)
    length = np.linalg.norm(geometry.relative_pose(SCENE.cam_from_world[7], SCENE.cam_from_world[3]).translation)
    points, pose = SCENE.points_in_world[SCENE.point_of_row[3]], SCENE.cam_from_world[3]
    depths = (points @ pose.rotation.T + pose.translation)[:, 2] / length
    seen = DepthSamples(SCENE.features[3].keypoints_px, depths)
    clip = replace(exact, points_a_px=np.zeros((0, 2)), points_b_px=np.zeros((0, 2)), source="clip-0", seen_a=seen)
    final = run(base, tmp_path, [clip])
    assert frozenset({*NAMES[:4], NAMES[7]}) in [reconstruction.registered_names(model) for model in final.models]
    assert final.dropped == {}


def test_a_link_whose_rotation_the_final_model_contradicts_is_dropped(halves: Base, tmp_path: Path) -> None:
    exact = link_of(SCENE, NAMES, 0, 6)
    nowhere = np.zeros((0, 2))
    wrong = replace(
        exact,
        b_from_a=turned(exact.b_from_a, 70.0),
        points_a_px=nowhere,
        points_b_px=nowhere,
        source="clip-0",
    )
    final = run(halves, tmp_path, [link_of(SCENE, NAMES, 3, 4), wrong])
    assert [model.num_reg_images() for model in final.models] == [8]
    assert worst_error_deg(final.models[0], TRUTH) < 1.0
    assert list(final.dropped) == [wrong.pair]
    assert "70 degrees" in final.dropped[wrong.pair].detail


# ---------------------------------------------------------------- no base model


STREET = observe(
    cloud(3, 400, (4.0, 6.0, 3.0), (0, 4, 0)),
    [look_at((0.0, -9.0 + 0.8 * step, 0.0), (0.0, 5.0, 0.0)) for step in range(5)],
    noise_px=0.3,
    seed=3,
)


class NoOffers:
    def candidates(self, first: frozenset[str], second: frozenset[str]) -> Sequence[Link]:
        return ()

    def predicted(self, link: Link, poses: Sequence[Pose]) -> Sequence[Link]:
        return ()

    def support(self, links: Sequence[Link]) -> Sequence[Link]:
        return ()

    def guessed(self, links: Sequence[Link]) -> Sequence[Link]:
        return ()


def street(folder: Path, base: BaseOptions, links: Sequence[Link]) -> FinalModels:
    """What links between photos of a street give, none of which COLMAP has matched."""
    path = write_database(folder / "database.db", STREET, NAMES[:5], DatabaseOptions())
    mapper = FinalMapper(run_of(path, folder, base))
    return mapper.map_links((), links, NoOffers())


def street_links() -> list[Link]:
    return [link_of(STREET, NAMES, a, b) for a, b in itertools.combinations(range(5), 2)]


def test_links_of_forward_motion_start_a_model_where_there_is_none(tmp_path: Path) -> None:
    final = street(tmp_path, OPTIONS.base, street_links())
    assert [model.num_reg_images() for model in final.models] == [5]
    poses = reconstruction.poses(final.models[0])
    relative = geometry.relative_pose(poses[NAMES[4]], poses[NAMES[0]])
    assert max(pose_error_deg(relative, STREET.b_from_a(0, 4))) < 1.0


def test_they_do_not_where_limits_are_not_to_be_lifted(tmp_path: Path) -> None:
    assert street(tmp_path, replace(OPTIONS.base, lift_limits=False), street_links()).models == ()


def test_the_pose_of_a_link_starts_a_model_where_mapping_finds_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incremental_mapper, "map_remaining", lambda *_, **__: [])
    final = street(tmp_path, OPTIONS.base, street_links())
    assert [model.num_reg_images() for model in final.models] == [5]
    assert final.models[0].num_points3D() > 100


def test_a_link_of_few_points_starts_no_model(tmp_path: Path) -> None:
    few = [link_of(STREET, NAMES, a, b, limit=20) for a, b in itertools.combinations(range(5), 2)]
    path = write_database(tmp_path / "database.db", STREET, NAMES[:5], DatabaseOptions())
    inject_links(path, few)
    assert incremental_mapper.start_from_link(few[0], path, OPTIONS.base, 0) is None
