from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import pytest

from geometry_scenes import (
    DatabaseOptions,
    Scene,
    arc,
    camera,
    cloud,
    evidence,
    link,
    link_of,
    observe,
    pose_error_deg,
    true_model,
    turned,
    write_database,
)
from interpose_sfm import geometry
from interpose_sfm.colmap import databases, link_rows, reconstruction
from interpose_sfm.joining.joiner import ModelJoiner
from interpose_sfm.joining.mapping_run import MappingRun
from interpose_sfm.matching import verification
from interpose_sfm.options import BaseOptions, ConsensusOptions
from interpose_sfm.products import DepthSamples, FloatArray, ImagePair, IndexArray, Link, Pose
from interpose_sfm.synthetic import look_at

BASE = BaseOptions(num_threads=1)
SHARED = 3
NAMES = tuple(f"{view}.jpg" for view in range(9))
UNIT = 0.4  # of the target in units of the source


@dataclass(frozen=True)
class Two:
    """Two models that share a photo but no point, so that the photo leaves their scale open.

    Attributes:
        scene: Of all photos; the models hold different points of it.
        target, source: Photos up to the shared one and from it on, the source in a frame and a scale of its own.
    """

    scene: Scene
    database_path: Path
    target: pycolmap.Reconstruction
    source: pycolmap.Reconstruction


def rows_of(scene: Scene, views: Collection[int], ids: np.ndarray) -> dict[tuple[int, int], IndexArray]:
    """True matches between some views, of some of the points."""
    found = {}
    for a, b in itertools.combinations(sorted(views), 2):
        rows = scene.true_rows(a, b)
        found[a, b] = rows[np.isin(scene.point_of_row[a][rows[:, 0]], ids)]
    return found


def two_models(path: Path, scene: Scene, num_source: int = 4) -> Two:
    """The models of views 0 to 3, and of 3 on; the points left and right of the middle of the shared photo."""
    names = NAMES[: len(scene.features)]
    seen = scene.point_of_row[SHARED]
    is_left = scene.features[SHARED].keypoints_px[:, 0] < np.median(scene.features[SHARED].keypoints_px[:, 0])
    views = range(SHARED + 1), range(SHARED, SHARED + 1 + num_source)
    rows = rows_of(scene, views[0], seen[is_left]) | rows_of(scene, views[1], seen[~is_left])
    write_database(path, scene, names, DatabaseOptions(rows=rows))
    target, source = (true_model(path, scene, names, v) for v in views)
    source.transform(pycolmap.Sim3d(1 / UNIT, pycolmap.Rotation3d(TURN), MOVE))
    return Two(scene, path, target, source)


TURN, MOVE = geometry.rotation_exp([0.3, -0.5, 1.0]), np.array([1.0, -4.0, 3.0])


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Two:
    scene = observe(cloud(1, 300), arc([0, 12, 24, 36, 60, 72, 84, 96, 108]), noise_px=0.3, seed=1)
    return two_models(tmp_path_factory.mktemp("two") / "database.db", scene)


@dataclass
class Joining:
    """A joiner at work on copies."""

    database_path: Path
    models: Sequence[pycolmap.Reconstruction]
    folder: Path
    links: Sequence[Link] = ()
    candidates: Sequence[Link] = ()
    contradicted: Sequence[Link] = ()
    keeps: bool = True
    held_by_matches: Mapping[ImagePair, Sequence[Link]] = field(default_factory=dict)
    asked: list[tuple[frozenset[str], frozenset[str]]] = field(default_factory=list)
    predicted: list[tuple[ImagePair, tuple[Pose, ...]]] = field(default_factory=list)

    def run(self) -> list[pycolmap.Reconstruction]:
        path = self.folder / "database.db"
        shutil.copyfile(self.database_path, path)
        link_rows.inject_links(path, self.links)  # as the database of accepted links is handed in
        run = MappingRun(
            database_path=path,
            image_dir=self.folder,
            work_dir=self.folder / "work",
            base=BASE,
            limits=ConsensusOptions(),
            seed=0,
        )
        models = [pycolmap.Reconstruction(model) for model in self.models]
        self.result = ModelJoiner(run).join_all(models, self.links, Offers(self), self._is_no_worse, self.contradicted)
        return list(self.result.models)

    @property
    def confirmed(self) -> list[Link]:
        """Candidates that were believed."""
        return [link for link, _ in self.result.confirmed]

    def _is_no_worse(self, before: Sequence[pycolmap.Reconstruction], after: pycolmap.Reconstruction) -> bool:
        return self.keeps and all(reconstruction.largest_change_deg(model, after) < 5 for model in before)


@dataclass(frozen=True)
class Offers:
    """The candidates of a joining, and what it asked for."""

    joining: Joining

    def candidates(self, first: frozenset[str], second: frozenset[str]) -> Sequence[Link]:
        self.joining.asked.append((first, second))
        return self.joining.candidates

    def predicted(self, link: Link, poses: Sequence[Pose]) -> Sequence[Link]:
        self.joining.predicted.append((link.pair, tuple(poses)))
        return self.joining.held_by_matches.get(link.pair, ())

    def support(self, links: Sequence[Link]) -> Sequence[Link]:
        return []

    def guessed(self, links: Sequence[Link]) -> Sequence[Link]:
        return []


def position_error(scene: Scene, model: pycolmap.Reconstruction) -> float:
    """Largest error of a camera's place after the best similarity, as a share of the cameras' extent."""
    poses = reconstruction.poses(model)
    found = np.array([pose.inverse().translation for pose in poses.values()])
    truth = np.array([scene.cam_from_world[NAMES.index(name)].inverse().translation for name in poses])
    moved = geometry.fit_similarity(found, truth).apply(found)
    return float(np.linalg.norm(moved - truth, axis=1).max() / np.linalg.norm(truth - truth.mean(axis=0), axis=1).max())


def joining_of(two: Two, folder: Path, **options: object) -> Joining:
    folder.mkdir(exist_ok=True)
    return Joining(two.database_path, [two.target, two.source], folder, **options)  # type: ignore[arg-type]


def sizes(models: Sequence[pycolmap.Reconstruction]) -> list[int]:
    return [model.num_reg_images() for model in models]


def test_what_cycles_refused_keeps_models_apart_and_joins_none(original: Two, tmp_path: Path) -> None:
    """Links that agree may all be wrong, so one that they outnumber is heard; it places nothing by itself."""
    believed, other = link_of(original.scene, NAMES, 1, 5), link_of(original.scene, NAMES, 2, 6)
    against = dataclasses.replace(other, b_from_a=turned(other.b_from_a, 60.0))
    assert sizes(joining_of(original, tmp_path / "0", links=[believed]).run()) == [8]
    assert sizes(joining_of(original, tmp_path / "1", links=[believed], contradicted=[other]).run()) == [8]
    assert sizes(joining_of(original, tmp_path / "2", links=[believed], contradicted=[against]).run()) == [4, 5]
    assert sizes(joining_of(original, tmp_path / "3", contradicted=[other]).run()) == [4, 5]


# ---------------------------------------------------------------- candidates


def test_a_candidate_that_all_else_predicts_joins(original: Two, tmp_path: Path) -> None:
    offered = link_of(original.scene, NAMES, 1, 5)
    joining = joining_of(original, tmp_path, candidates=[offered])
    models = joining.run()
    assert sizes(models) == [8]
    assert position_error(original.scene, models[0]) < 0.02
    assert [found.pair for found in joining.confirmed] == [offered.pair]
    assert joining.result.adjusted[offered.pair].is_kept
    assert joining.result.apart == ()
    assert joining.asked == [(frozenset(NAMES[:4]), frozenset(NAMES[3:8]))]


def test_a_candidate_may_err_by_what_cycles_may(original: Two, tmp_path: Path) -> None:
    exact = link_of(original.scene, NAMES, 1, 5)
    offered = dataclasses.replace(exact, b_from_a=turned(exact.b_from_a, 5.0), spread_deg=3.0)
    models = joining_of(original, tmp_path, candidates=[offered]).run()
    assert sizes(models) == [8]
    assert position_error(original.scene, models[0]) < 0.05


def test_a_candidate_that_errs_joins_if_its_matches_support_what_all_else_predicts(
    original: Two, tmp_path: Path
) -> None:
    """Of a photo that both models hold all is known but the scale: one of the predicted poses is the true one."""
    exact = link_of(original.scene, NAMES, 1, 5)
    offered = dataclasses.replace(exact, b_from_a=turned(exact.b_from_a, 20.0))
    joining = joining_of(original, tmp_path, candidates=[offered], held_by_matches={exact.pair: [exact]})
    models = joining.run()
    assert sizes(models) == [8]
    assert position_error(original.scene, models[0]) < 0.02
    [(pair, poses)] = joining.predicted
    assert pair == exact.pair
    assert min(max(pose_error_deg(pose, exact.b_from_a)) for pose in poses) < 2.0
    assert max(max(pose_error_deg(pose, exact.b_from_a)) for pose in poses) > 10.0


def num_rows(joining: Joining, link: Link) -> int:
    """Verified matches of a pair in the database that joining leaves behind."""
    ids = databases.camera_ids(joining.folder / "database.db")
    first, second = (list(ids).index(name) + 1 for name in (link.pair.a, link.pair.b))
    return len(databases.verified_rows(joining.folder / "database.db", first, second)[0])


def test_of_several_poses_that_matches_support_the_first_that_fits_joins_and_leaves_its_rows(
    original: Two, tmp_path: Path
) -> None:
    exact = link_of(original.scene, NAMES, 1, 5)
    offered = dataclasses.replace(exact, b_from_a=turned(exact.b_from_a, 20.0))
    other = dataclasses.replace(
        exact,
        b_from_a=turned(exact.b_from_a, 4.0),
        points_a_px=exact.points_a_px[:30],
        points_b_px=exact.points_b_px[:30],
    )
    few = dataclasses.replace(other, evidence=evidence(num_inliers=30))
    joining = joining_of(original, tmp_path / "0", candidates=[offered], held_by_matches={exact.pair: [exact, few]})
    assert sizes(joining.run()) == [8]
    assert [link.b_from_a for link in joining.confirmed] == [exact.b_from_a]
    assert num_rows(joining, exact) == len(exact.points_a_px)
    refused = joining_of(
        original, tmp_path / "1", candidates=[offered], held_by_matches={exact.pair: [exact]}, keeps=False
    )
    assert sizes(refused.run()) == [4, 5]
    assert num_rows(refused, exact) == 0


def test_matches_that_fit_two_scales_join_nothing(
    original: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = link_of(original.scene, NAMES, 1, 5)
    joined, scales = vars(ModelJoiner)["_joined"], iter((1.0, 1.5))

    def at_some_scale(*arguments: Any) -> Any:
        found = joined(*arguments)
        return found and (dataclasses.replace(found[0], scale=next(scales) * found[0].scale), found[1])

    monkeypatch.setattr(ModelJoiner, "_joined", at_some_scale)
    offered = dataclasses.replace(exact, b_from_a=turned(exact.b_from_a, 20.0))
    joining = joining_of(original, tmp_path, candidates=[offered], held_by_matches={exact.pair: [exact, exact]})
    assert sizes(joining.run()) == [4, 5]
    assert "fit the scales" in joining.result.apart[0]


def test_a_join_whose_links_the_joined_model_contradicts_is_undone(
    original: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = link_of(original.scene, NAMES, 1, 5)
    adjusted = vars(ModelJoiner)["_adjusted"]

    def contradicting(*arguments: Any) -> Any:
        grown = adjusted(*arguments)
        said = [dataclasses.replace(link, is_contradicted=True, detail="far away") for link in grown.adjusted]
        return dataclasses.replace(grown, adjusted=said)

    monkeypatch.setattr(ModelJoiner, "_adjusted", contradicting)
    joining = joining_of(original, tmp_path, candidates=[exact])
    assert sizes(joining.run()) == [4, 5]
    assert joining.confirmed == []
    assert num_rows(joining, exact) == 0
    accepted = joining_of(original, tmp_path / "accepted", links=[exact])
    assert sizes(accepted.run()) == [8]  # links of good evidence stay up to the audit


def test_what_matches_support_must_belong_together_in_space_as_well(original: Two, tmp_path: Path) -> None:
    exact = link_of(original.scene, NAMES, 1, 5)
    offered = dataclasses.replace(exact, b_from_a=turned(exact.b_from_a, 20.0))
    rng = np.random.default_rng(0)
    wrong = dataclasses.replace(exact, points_b_px=rng.permutation(exact.points_b_px))
    assert_apart(joining_of(original, tmp_path, candidates=[offered], held_by_matches={exact.pair: [wrong]}))


def test_models_that_only_a_third_one_ties_become_one(tmp_path: Path) -> None:
    """Though they are tried before it, and have nothing to do with each other then."""
    scene = observe(cloud(1, 300), arc([0, 10, 20, 30, 40, 50, 60, 70, 80]), noise_px=0.3, seed=1)
    sides = range(3), range(6, 9), range(3, 6)
    everything = np.arange(len(scene.points_in_world))
    rows = {pair: found for side in sides for pair, found in rows_of(scene, side, everything).items()}
    path = write_database(tmp_path / "three.db", scene, NAMES, DatabaseOptions(rows=rows))
    models = [true_model(path, scene, NAMES, side) for side in sides]
    links = [link_of(scene, NAMES, 2, 3), link_of(scene, NAMES, 5, 6)]
    joining = Joining(path, models, tmp_path, links)
    joined = joining.run()
    assert sizes(joined) == [9]
    assert position_error(scene, joined[0]) < 0.03
    assert joining.result.apart == ()


def assert_apart(joining: Joining) -> None:
    assert sizes(joining.run()) == [4, 5]
    assert joining.confirmed == []
    assert joining.result.adjusted == {}
    assert len(joining.result.apart) == 1
    assert "wanted: " in joining.result.apart[0]


def test_without_a_candidate_the_models_stay_apart_and_the_missing_link_is_named(original: Two, tmp_path: Path) -> None:
    joining = joining_of(original, tmp_path)
    assert_apart(joining)
    assert "scale" in joining.result.apart[0]
    assert len(joining.asked) == 1


@pytest.mark.parametrize("seed", range(6))
def test_candidates_of_another_rotation_are_not_believed(original: Two, tmp_path: Path, seed: int) -> None:
    """Also where their points are right: all that tells them from look-alike structure is the rotation."""
    rng = np.random.default_rng(seed)
    offered = []
    for _ in range(4):
        exact = link_of(original.scene, NAMES, int(rng.integers(0, 3)), int(rng.integers(4, 8)))
        wrong = turned(exact.b_from_a, rng.uniform(12, 180), rng.normal(size=3))
        offered.append(dataclasses.replace(exact, b_from_a=wrong))
    assert_apart(joining_of(original, tmp_path, candidates=offered))


@pytest.mark.parametrize("seed", range(4))
def test_candidates_whose_points_do_not_belong_together_are_not_believed(
    original: Two, tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    exact = link_of(original.scene, NAMES, int(rng.integers(0, 3)), int(rng.integers(4, 8)))
    offered = dataclasses.replace(exact, points_b_px=rng.permutation(exact.points_b_px))
    assert_apart(joining_of(original, tmp_path, candidates=[offered]))


@pytest.mark.parametrize(("changes", "is_believed"), [({}, True), ({"spread_deg": 10.5}, False)])
def test_candidates_need_a_sure_pose(
    original: Two, tmp_path: Path, changes: dict[str, float], is_believed: bool
) -> None:
    offered = dataclasses.replace(link_of(original.scene, NAMES, 2, 4), **changes)  # type: ignore[arg-type]
    joining = joining_of(original, tmp_path, candidates=[offered], keeps=False)
    joining.run()
    assert (len(joining.result.apart) == 0) == is_believed  # joined, though not kept, or never tried


def test_candidates_without_depths_are_not_believed(original: Two, tmp_path: Path) -> None:
    """Their direction would fix the scale, but a wrong one would as well."""
    exact = link_of(original.scene, NAMES, 1, 5)
    nowhere = np.tile([[-50.0, -50.0]], (60, 1))
    offered = dataclasses.replace(exact, points_a_px=nowhere, points_b_px=nowhere)
    assert_apart(joining_of(original, tmp_path, candidates=[offered]))


@pytest.mark.parametrize(
    ("num_verified", "turn_deg", "is_believed"), [(20, 0.0, True), (14, 0.0, False), (20, 8.0, False)]
)
def test_candidates_without_depths_are_believed_where_colmap_verified_the_pair_alike(
    original: Two, tmp_path: Path, num_verified: int, turn_deg: float, is_believed: bool
) -> None:
    """Matches of points that only the two photos see, which no model has."""
    exact = link_of(original.scene, NAMES, 1, 5)
    nowhere = np.tile([[-50.0, -50.0]], (60, 1))
    offered = dataclasses.replace(exact, points_a_px=nowhere, points_b_px=nowhere)
    points_px = seen_by_two_px(original.scene, 1, 5, num_verified)
    verified = dataclasses.replace(
        exact,
        b_from_a=turned(exact.b_from_a, turn_deg),
        points_a_px=points_px[0],
        points_b_px=points_px[1] + 5 * turn_deg,
    )
    path = tmp_path / "verified.db"
    shutil.copyfile(original.database_path, path)
    link_rows.inject_links(path, [verified])
    joining = joining_of(dataclasses.replace(original, database_path=path), tmp_path, candidates=[offered])
    assert sizes(joining.run()) == ([8] if is_believed else [4, 5])
    assert bool(joining.confirmed) is is_believed


def seen_by_two_px(scene: Scene, a: int, b: int, num: int) -> tuple[FloatArray, FloatArray]:
    """Where two photos see points that are not among the scene's."""
    rng = np.random.default_rng(0)
    x_in_world = scene.points_in_world.mean(axis=0) + rng.normal(size=(num, 3)) * scene.points_in_world.std(axis=0) / 2
    camera_px = []
    for view in (a, b):
        pose = scene.cam_from_world[view]
        camera_px.append(geometry.project(x_in_world @ pose.rotation.T + pose.translation, scene.intrinsics[view]))
    return camera_px[0], camera_px[1]


def test_what_is_worse_is_not_kept_and_nothing_is_confirmed_by_it(original: Two, tmp_path: Path) -> None:
    joining = joining_of(original, tmp_path, candidates=[link_of(original.scene, NAMES, 1, 5)], keeps=False)
    assert sizes(joining.run()) == [4, 5]
    assert joining.confirmed == []
    assert joining.result.adjusted == {}


# ---------------------------------------------------------------- accepted links


def test_accepted_links_are_measured_by_their_points(original: Two, tmp_path: Path) -> None:
    """Their directions are off by degrees; their pixels are not."""
    exact = link_of(original.scene, NAMES, 1, 5)
    turn = geometry.rotation_from_axis_angle((0, 1, 0), 6.0)
    offered = dataclasses.replace(
        exact, b_from_a=Pose(exact.b_from_a.rotation, turn @ exact.b_from_a.translation), spread_deg=3.0
    )
    joining = joining_of(original, tmp_path, links=[offered])
    models = joining.run()
    assert sizes(models) == [8]
    assert position_error(original.scene, models[0]) < 0.03
    assert joining.asked == []


@pytest.mark.parametrize("seed", range(3))
def test_links_that_the_pixels_contradict_keep_models_apart(original: Two, tmp_path: Path, seed: int) -> None:
    exact = link_of(original.scene, NAMES, 1, 5)
    wrong = np.random.default_rng(seed).permutation(exact.points_b_px)
    assert_apart(joining_of(original, tmp_path, links=[dataclasses.replace(exact, points_b_px=wrong)]))


# ---------------------------------------------------------------- facades


PERIOD, NUM_IN_WINDOW = 1.0, 24


def facade(*, is_walk: bool) -> Scene:
    """A row of equal windows, seen from a circle, or walking along it: then scale and shift are easily confused."""
    low, high = (0.0, -0.15, -1.5), (PERIOD, 0.15, 1.5)
    window = np.random.default_rng(3).uniform(low, high, (NUM_IN_WINDOW, 3))
    points = np.concatenate([window + np.array([k * PERIOD, 0.0, 0.0]) for k in range(-8, 8)])
    poses = arc([-42, -30, -18, -6, 6, 18, 30, 42])
    if is_walk:
        places = ((-3.0, 1.0), (-2.2, 1.0), (-1.4, 0.5), (-0.6, 0.0), (0.6, 0.0), (1.4, -0.5), (2.2, -0.5), (3.0, -1.0))
        poses = [look_at((x, -6, 0.6 + 0.1 * (i % 3)), (x + ahead, 0, 0)) for i, (x, ahead) in enumerate(places)]
    return observe(points, poses, noise_px=0.3, seed=4)


@pytest.fixture(scope="module", params=[False, True], ids=["circle", "walk"])
def street(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Two:
    return two_models(tmp_path_factory.mktemp("street") / "database.db", facade(is_walk=request.param))


def shifted_link(scene: Scene, a: int, b: int, num_windows: int) -> Link:
    """What matches of every window with one further along say by themselves: a perfect geometry, of true rotation."""
    _, rows_a, rows_b = np.intersect1d(
        scene.point_of_row[a] + num_windows * NUM_IN_WINDOW, scene.point_of_row[b], return_indices=True
    )
    points_px = scene.features[a].keypoints_px[rows_a], scene.features[b].keypoints_px[rows_b]
    pose = verification.pose_from_points(points_px[0], camera(), points_px[1], camera(), 0)
    assert pose is not None
    assert pose_error_deg(pose, scene.b_from_a(a, b))[0] < 3.0
    return link(NAMES[a], NAMES[b], pose, evidence(num_inliers=len(rows_a)), points_px=points_px)


def test_true_matches_of_a_facade_join(street: Two, tmp_path: Path) -> None:
    offered = [shifted_link(street.scene, a, b, 0) for a, b in ((2, 4), (1, 5))]
    models = joining_of(street, tmp_path, candidates=offered).run()
    assert sizes(models) == [8]
    assert position_error(street.scene, models[0]) < 0.02


@pytest.mark.parametrize("num_windows", [-2, -1, 1, 2])
@pytest.mark.parametrize("pairs", [[(2, 4)], [(0, 6)], [(2, 4), (1, 5)]])
def test_matches_with_a_window_further_along_do_not_join(
    street: Two, tmp_path: Path, num_windows: int, pairs: Sequence[tuple[int, int]]
) -> None:
    assert_apart(
        joining_of(street, tmp_path, candidates=[shifted_link(street.scene, a, b, num_windows) for a, b in pairs])
    )


# ---------------------------------------------------------------- single photos


def clip_link(scene: Scene, a: int, b: int) -> Link:
    """The link of a clip that carried no correspondence through, but has depths in either photo, in baselines."""
    length = np.linalg.norm(geometry.relative_pose(scene.cam_from_world[b], scene.cam_from_world[a]).translation)
    seen = []
    for view in (a, b):
        points, pose = scene.points_in_world[scene.point_of_row[view]], scene.cam_from_world[view]
        depths = (points @ pose.rotation.T + pose.translation)[:, 2]
        seen.append(DepthSamples(scene.features[view].keypoints_px, depths / length))
    nowhere = np.zeros((0, 2))
    bare = link(NAMES[a], NAMES[b], scene.b_from_a(a, b), points_px=(nowhere, nowhere))
    return dataclasses.replace(bare, source="morph-0", seen_a=seen[0], seen_b=seen[1])


def test_single_photos_follow_one_another_by_the_depths_of_clips(original: Two, tmp_path: Path) -> None:
    """Photo 8 is linked to photo 0 alone, which is no part of the model before its own link places it."""
    links = [clip_link(original.scene, 8, 0), clip_link(original.scene, 5, 8)]
    joining = Joining(original.database_path, [original.source], tmp_path, links=links)
    models = joining.run()
    assert [reconstruction.registered_names(model) for model in models] == [frozenset({NAMES[0], *NAMES[3:]})]
    assert position_error(original.scene, models[0]) < 0.03
    assert joining.result.apart == ()
    assert not any(found.is_contradicted for found in joining.result.adjusted.values())
    assert joining.result.adjusted.keys() == {found.pair for found in links}


def test_a_single_photo_is_not_placed_where_that_is_worse_or_its_distance_open(original: Two, tmp_path: Path) -> None:
    placed = clip_link(original.scene, 5, 8)
    worse = Joining(original.database_path, [original.source], tmp_path, links=[placed], keeps=False)
    assert sizes(worse.run()) == [5]
    assert worse.result.adjusted == {}
    (tmp_path / "open").mkdir()
    bare = dataclasses.replace(placed, seen_a=DepthSamples(), seen_b=DepthSamples())
    without = Joining(original.database_path, [original.source], tmp_path / "open", links=[bare])
    assert sizes(without.run()) == [5]
    assert len(without.result.apart) == 1
    assert NAMES[8] in without.result.apart[0]
