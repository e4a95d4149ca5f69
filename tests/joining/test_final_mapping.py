from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
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
    evidence,
    link_of,
    observe,
    pose_error_deg,
    true_model,
    turned,
    write_database,
)
from interpose_sfm import geometry
from interpose_sfm.colmap import reconstruction
from interpose_sfm.joining.final_mapping import FinalMapper, support_links
from interpose_sfm.matching.cache import LearnedCache, open_stores
from interpose_sfm.options import BaseOptions, ReconstructOptions
from interpose_sfm.pairs.pair_pose import PairPoser
from interpose_sfm.pairs.records import PairRecord
from interpose_sfm.products import (
    DepthSamples,
    Features,
    ImagePair,
    IndexArray,
    Link,
    LinkDecision,
    LinkVerdict,
    Matches,
    View,
    ViewGraph,
    WeakPair,
    WeakReason,
)

OPTIONS = ReconstructOptions(base=BaseOptions(num_threads=1), generator="none")
NAMES = tuple(f"{view}.jpg" for view in range(8))
SIDE = range(4), range(4, 8)
SCENE = observe(cloud(1, 250), arc([0, 12, 24, 36, 60, 72, 84, 96]), noise_px=0.3, seed=1)


class KnownCache(LearnedCache):
    """Features and matches of a scene in place of those of the network; views are keyed by the name of their photo."""

    scene: Scene

    def features(self, view: View) -> Features:
        return self.scene.features[NAMES.index(view.key)]

    def matches(self, a: View, b: View) -> Matches:
        return self.scene.matches(NAMES.index(a.key), NAMES.index(b.key))


@contextmanager
def poser_of(scene: Scene, folder: Path) -> Iterator[PairPoser]:
    with open_stores(folder) as (features, matches, hypotheses):
        cache = KnownCache(features, matches, OPTIONS.matching)
        cache.scene = scene

        def view(name: str) -> View:
            return View(name, np.zeros((2, 2, 3), np.uint8), scene.intrinsics[NAMES.index(name)])

        yield PairPoser(view, NAMES, cache, hypotheses, OPTIONS)


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


def record(offered: Link, verdict: LinkVerdict = LinkVerdict.ACCEPTED) -> PairRecord:
    found = PairRecord(WeakPair(offered.pair, (WeakReason.DISCONNECTED,), 0))
    found.tried = ("learned matching",)
    found.take(LinkDecision(offered, verdict, "as judged"))
    return found


def run(base: Base, records: Sequence[PairRecord], folder: Path) -> tuple[list[pycolmap.Reconstruction], list[str]]:
    warnings: list[str] = []
    (folder / "work").mkdir()
    with poser_of(SCENE, folder) as poser:
        mapper = FinalMapper(base.database_path, folder, folder / "work", OPTIONS, warnings)
        return mapper.map_links(base.models, records, base.graph, poser), warnings


def worst_error_deg(model: pycolmap.Reconstruction) -> float:
    poses = reconstruction.poses(model)
    views = sorted(NAMES.index(name) for name in poses)
    return max(
        max(pose_error_deg(geometry.relative_pose(poses[NAMES[b]], poses[NAMES[a]]), SCENE.b_from_a(a, b)))
        for a, b in itertools.combinations(views, 2)
    )


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
    accepted = record(link_of(SCENE, NAMES, 3, 4))
    models, warnings = run(halves, [accepted], tmp_path)
    assert [reconstruction.registered_names(model) for model in models] == [frozenset(NAMES)]
    assert worst_error_deg(models[0]) < 1.0
    assert accepted.verdict is LinkVerdict.ACCEPTED
    assert warnings == []


def test_without_a_link_the_base_models_are_left_alone(halves: Base, tmp_path: Path) -> None:
    refused = record(link_of(SCENE, NAMES, 3, 4), LinkVerdict.LOW_SHARE)
    models, _ = run(halves, [refused], tmp_path)
    assert sorted(sorted(reconstruction.registered_names(m)) for m in models) == [list(NAMES[:4]), list(NAMES[4:])]
    assert refused.verdict is LinkVerdict.LOW_SHARE
    for before, after in zip(halves.models, models, strict=True):
        assert reconstruction.largest_change_deg(before, after) == pytest.approx(0.0, abs=1e-9)
        assert before.num_points3D() == after.num_points3D()


@pytest.mark.parametrize(
    ("verdict", "is_confirmed"),
    [
        (LinkVerdict.LOW_SHARE, True),
        (LinkVerdict.LOW_SCORE, True),
        (LinkVerdict.CONTRADICTED, False),
        (LinkVerdict.INCONSISTENT, False),
    ],
)
def test_a_refused_link_is_believed_where_all_else_predicts_it(
    overlapping: Base, tmp_path: Path, verdict: LinkVerdict, is_confirmed: bool
) -> None:
    """But not what contradicts others."""
    refused = record(link_of(SCENE, NAMES, 1, 5), verdict)
    models, warnings = run(overlapping, [refused], tmp_path)
    if is_confirmed:
        assert [model.num_reg_images() for model in models] == [8]
        assert worst_error_deg(models[0]) < 1.5
        assert refused.verdict is LinkVerdict.ACCEPTED
        assert refused.detail.endswith("by itself: as judged")
        assert not any("stay apart" in sentence for sentence in warnings)
    else:
        assert sorted(model.num_reg_images() for model in models) == [4, 5]
        assert refused.verdict is verdict
        assert any("stay apart" in sentence and "wanted: " in sentence for sentence in warnings)


def test_a_pair_that_was_not_tried_is_matched_when_it_is_needed(overlapping: Base, tmp_path: Path) -> None:
    """Though its evidence is good: it has to be confirmed as well, or else it must not count as accepted."""
    untried = PairRecord(WeakPair(ImagePair(NAMES[1], NAMES[5]), (WeakReason.DISCONNECTED,), 0))
    elsewhere = PairRecord(WeakPair(ImagePair(NAMES[0], NAMES[2]), (WeakReason.FEW_MATCHES,), 0))
    models, _ = run(overlapping, [untried, elsewhere], tmp_path)
    assert untried.tried == ("learned matching",)
    assert untried.verdict is LinkVerdict.ACCEPTED
    assert [model.num_reg_images() for model in models] == [8]
    assert elsewhere.tried == ()  # within one model
    assert elsewhere.verdict is LinkVerdict.NOT_TRIED


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
    offered = record(clip)
    models, _ = run(base, [offered], tmp_path)
    assert frozenset({*NAMES[:4], NAMES[7]}) in [reconstruction.registered_names(model) for model in models]
    assert offered.verdict is LinkVerdict.ACCEPTED


def test_a_link_whose_rotation_the_final_model_contradicts_is_dropped(halves: Base, tmp_path: Path) -> None:
    exact = link_of(SCENE, NAMES, 0, 6)
    nowhere = np.zeros((0, 2))
    wrong = record(
        replace(
            exact,
            b_from_a=turned(exact.b_from_a, 70.0),
            points_a_px=nowhere,
            points_b_px=nowhere,
            source="clip-0",
        )
    )
    right = record(link_of(SCENE, NAMES, 3, 4))
    models, _ = run(halves, [right, wrong], tmp_path)
    assert [model.num_reg_images() for model in models] == [8]
    assert worst_error_deg(models[0]) < 1.0
    assert wrong.verdict is LinkVerdict.DROPPED
    assert "70 degrees" in wrong.detail
    assert right.verdict is LinkVerdict.ACCEPTED


def test_the_ends_of_links_are_matched_with_their_best_neighbours(halves: Base, tmp_path: Path) -> None:
    with poser_of(SCENE, tmp_path) as poser:
        found = support_links([link_of(SCENE, NAMES, 3, 4)], halves.graph, poser, OPTIONS)
    pairs = {(NAMES.index(f.pair.a), NAMES.index(f.pair.b)) for f in found}
    assert pairs == {(0, 3), (1, 3), (2, 3), (4, 5), (4, 6), (4, 7)}
    for support in found:
        a, b = NAMES.index(support.pair.a), NAMES.index(support.pair.b)
        assert max(pose_error_deg(support.b_from_a, SCENE.b_from_a(a, b))) < 1.0
        assert support.evidence.num_inliers >= evidence().num_inliers / 2
