"""Stages 3 to 9 on a scene whose features and matches are known: what is tried, in which order, and what comes of it.

The networks are replaced by their known answers; COLMAP and all that judges, joins and stores are the real ones.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import pytest
from PIL import Image

import known_proposer
from bridging_scene import HEIGHT_PX, WIDTH_PX, camera, pan, texture, write_folder
from geometry_scenes import (
    DatabaseOptions,
    Scene,
    all_rows,
    arc,
    cloud,
    observe,
    true_model,
    turned,
    worst_error_deg,
    write_database,
)
from gps_noise import positions_of
from hook_scene import assert_equal_models, dump
from interpose_sfm.colmap import reconstruction
from interpose_sfm.geometry import link_errors_deg, relative_pose
from interpose_sfm.matching.ahead import Ahead, PairJob
from interpose_sfm.matching.cache import PhotoViews
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.matching.likeness import likenesses
from interpose_sfm.options import (
    BaseOptions,
    BridgingOptions,
    ConsensusOptions,
    ConsistencyOptions,
    ReconstructOptions,
    ViewGraphOptions,
)
from interpose_sfm.pairs import expansion, view_graph
from interpose_sfm.pairs.expansion import ENOUGH_LINKS
from interpose_sfm.pairs.pair_pose import PairPoser
from interpose_sfm.pose import factory as estimators
from interpose_sfm.products import (
    DepthSamples,
    Features,
    ImageArray,
    ImagePair,
    IndexArray,
    LinkVerdict,
    Matches,
    Photo,
    PhotoSet,
    Pose,
)
from interpose_sfm.report import PairReport
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.content_keys import image_key
from interpose_sfm.workflows import fallback, fallback_run
from interpose_sfm.workflows.extension import Base, Extension
from interpose_sfm.workflows.fallback_run import TRIES_ONCE_CONNECTED
from interpose_sfm.workflows.posers import PairWork, Posers
from interpose_sfm.workflows.run_report import run_report
from known_proposer import KnownProposer

Pair = tuple[int, int]

NAMES = tuple(f"{view}.png" for view in range(8))
LEFT, RIGHT = range(4), range(4, 8)
ACROSS = list(itertools.product(LEFT, RIGHT))
CLIP = pan(seed=5, num_frames=7)  # from photo 3 to photo 4
PHOTOS = [texture(20 + view, WIDTH_PX, HEIGHT_PX) for view in range(8)]
PHOTOS[3], PHOTOS[4] = CLIP[0], CLIP[-1]
IMAGES = [*PHOTOS, *CLIP[1:-1]]
NOTHING = Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))
CAMERA = camera(CLIP[0])
POSES = arc([0, 12, 24, 36, 60, 72, 84, 96, 40, 44, 48, 52, 56])  # the photos, then the frames of the clip
SCENE = observe(cloud(1, 250), POSES, noise_px=0.1, intrinsics=CAMERA, seed=1)
TRUTH = dict(zip(NAMES, POSES, strict=False))
QUICK = ReconstructOptions(
    generator="none",
    base=BaseOptions(num_threads=1),
    consistency=ConsistencyOptions(num_random_subsets=3),
)


@dataclass
class Network:
    """Known answers in place of those of the network.

    Attributes:
        scene: Has the features.
        matches: The answers for pairs of photos from left to right; others that are not among them do not match.
        extracted, matched: What it was asked, in order.
    """

    scene: Scene
    matches: Mapping[Pair, Matches] = field(default_factory=dict)
    extracted: list[int] = field(default_factory=list)
    matched: list[Pair] = field(default_factory=list)

    def extract(self, image: ImageArray) -> Features:
        self.extracted.append(next(view for view, known in enumerate(IMAGES) if np.array_equal(image, known)))
        return self.scene.features[self.extracted[-1]]

    def match(self, a: Features, b: Features) -> Matches:
        found = self._view(a), self._view(b)
        self.matched.append(found)
        if found in ACROSS:
            return self.matches.get(found, NOTHING)
        return self.scene.matches(*found)

    def _view(self, features: Features) -> int:
        known = (view.keypoints_px for view in self.scene.features)
        return next(index for index, points_px in enumerate(known) if np.array_equal(points_px, features.keypoints_px))

    @property
    def tried(self) -> list[Pair]:
        """Pairs of photos from left to right that were matched, in order."""
        return [pair for pair in self.matched if pair in ACROSS]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Network]:
    """(scene, matches) -> the network of all runs from now on."""

    def use(matches: Mapping[Pair, Matches], scene: Scene = SCENE) -> Network:
        found = Network(scene, matches)
        monkeypatch.setattr(LearnedMatcher, "extract", lambda _, image: found.extract(image))
        monkeypatch.setattr(LearnedMatcher, "match", lambda _, a, b: found.match(a, b))
        return found

    return use


def true_matches(pairs: Iterable[Pair], limit: int | None = None) -> dict[Pair, Matches]:
    return {pair: SCENE.matches(*pair, limit=limit) for pair in pairs}


def base_of(
    folder: Path,
    scene: Scene = SCENE,
    sides: Sequence[Sequence[int]] = (LEFT, RIGHT),
    rows: Mapping[Pair, IndexArray] | None = None,
) -> Base:
    """Photos, database and base models that have nothing in common, the second in a frame of its own."""
    for name, photo in zip(NAMES, PHOTOS, strict=True):
        Image.fromarray(photo).save(folder / name, compress_level=1)
    rows = rows or {pair: found for side in sides for pair, found in all_rows(scene, side).items()}
    path = write_database(folder / "base.db", scene, NAMES, DatabaseOptions(rows=rows))
    models = tuple(true_model(path, scene, NAMES, side) for side in sides)
    for model in models[1:]:
        model.transform(pycolmap.Sim3d(2.5, pycolmap.Rotation3d([0.0, 0.6, 0.0, 0.8]), [1.0, -4.0, 3.0]))
    return Base(path, folder, NAMES, models, tuple(map(reconstruction.registered_names, models)))


@dataclass(frozen=True)
class Run:
    """What a run left behind."""

    found: Extension
    pairs: Mapping[Pair, PairReport]
    warnings: Sequence[str]

    @property
    def sizes(self) -> list[int]:
        return [model.num_reg_images() for model in self.found.models]

    def having(self, verdict: LinkVerdict) -> set[Pair]:
        return {pair for pair, told in self.pairs.items() if told.verdict is verdict}


def run(base: Base, folder: Path, options: ReconstructOptions = QUICK, log: RunLog | None = None) -> Run:
    """A run that keeps its stores in a folder."""
    log, work_dir = log or RunLog(), folder / "work"
    shutil.rmtree(work_dir, ignore_errors=True)  # as every run finds it
    work_dir.mkdir(parents=True)
    found = fallback.extend_base(base, folder, work_dir, options, log)
    photos = tuple(Photo(name, base.image_dir / name, WIDTH_PX, HEIGHT_PX, None, "", "", "") for name in NAMES)
    paths = [Path(str(index)) for index in range(len(found.models))]
    told = run_report(PhotoSet(base.image_dir, photos, ()), base, found, paths, options, log)
    pairs = {(NAMES.index(pair.a), NAMES.index(pair.b)): pair for pair in told.pairs}
    return Run(found, pairs, told.warnings)


# ---------------------------------------------------------------- 3. weak pairs


def test_where_nothing_is_weak_nothing_is_done(tmp_path: Path, network: Callable[..., Network]) -> None:
    known = network(true_matches(ACROSS))
    base = base_of(tmp_path, sides=[range(8)])
    done = run(base, tmp_path / "run")
    assert done.found == Extension((), base.models)
    assert done.found.models[0] is base.models[0]
    assert known.extracted == known.matched == []
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["work"]


def test_one_photo_has_no_pairs(tmp_path: Path, network: Callable[..., Network]) -> None:
    network({})
    base = replace(base_of(tmp_path), names=NAMES[:1])
    assert run(base, tmp_path / "run").found == Extension((), base.models)


# ---------------------------------------------------------------- 4. learned matches


def test_pairs_are_tried_by_rank_until_all_is_connected(tmp_path: Path, network: Callable[..., Network]) -> None:
    """Then photos still get some tries, to close cycles."""
    known = network(true_matches(ACROSS))
    done = run(base_of(tmp_path), tmp_path / "run")
    ranked = list(done.pairs)
    assert ranked == sorted(ACROSS, key=lambda pair: (pair[1] - pair[0], pair))  # by closeness: nothing else is known
    tried = [pair for pair in ranked if done.pairs[pair].tried]
    assert known.tried == tried
    num_tries: Counter[int] = Counter()
    for pair in ranked:  # the first of them connects all
        assert (pair in tried) is (max(num_tries[view] for view in pair) < TRIES_ONCE_CONNECTED)
        num_tries.update(pair if pair in tried else ())
    assert len(tried) < len(ranked)
    assert done.having(LinkVerdict.NOT_TRIED) == set(ranked) - set(tried)
    assert all("other links connect" in done.pairs[pair].detail for pair in set(ranked) - set(tried))


def test_while_photos_are_apart_all_pairs_are_tried(tmp_path: Path, network: Callable[..., Network]) -> None:
    known = network({})
    base = base_of(tmp_path)
    done = run(base, tmp_path / "run")
    assert known.tried == list(done.pairs)
    assert done.having(LinkVerdict.NO_GEOMETRY) == set(ACROSS)


def test_only_so_many_pairs_are_tried(tmp_path: Path, network: Callable[..., Network]) -> None:
    known = network({})
    done = run(base_of(tmp_path), tmp_path / "run", replace(QUICK, view_graph=ViewGraphOptions(max_weak_pairs=3)))
    assert known.tried == list(done.pairs) == [(3, 4), (2, 4), (3, 5)]


def test_a_large_collection_is_joined_without_a_look_at_all_pairs(
    tmp_path: Path, network: Callable[..., Network]
) -> None:
    known = network(true_matches(ACROSS))
    base = replace(QUICK.base, exhaustive_limit=7)
    large = replace(QUICK, base=base, view_graph=ViewGraphOptions(max_pairs_per_join=2))
    done = run(base_of(tmp_path), tmp_path / "run", large)
    assert done.sizes == [8]
    assert set(known.tried) <= set(ACROSS)
    # of 16: two by right, and what lies beside the links until they are enough
    assert 2 < len(done.pairs) <= 2 + ENOUGH_LINKS
    assert len(done.having(LinkVerdict.ACCEPTED)) >= ENOUGH_LINKS
    assert sorted(known.extracted) == sorted(set(known.extracted))  # each photo once, whoever asks for it


def test_photos_at_the_ends_of_models_are_tried_though_sift_and_names_know_nothing_of_them(
    tmp_path: Path, network: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where names tell nothing, as those of shuffled photos, the ends are compared by their learned descriptors."""
    monkeypatch.setattr(expansion, "NEAR_BY_NAME", 0)
    compared: dict[ImagePair, int] = {}

    def compare(*given: Any) -> dict[ImagePair, int]:
        compared.update(likenesses(*given))
        return compared

    monkeypatch.setattr(fallback, "likenesses", compare)
    known = network(true_matches(ACROSS))
    base = replace(QUICK.base, exhaustive_limit=7)
    done = run(base_of(tmp_path), tmp_path / "run", replace(QUICK, base=base))
    assert done.sizes == [8]
    assert set(known.tried) <= set(ACROSS)
    assert min(compared.values()) > 50  # the scene has the same descriptors in every photo
    assert sorted(known.extracted) == sorted(set(known.extracted))


def test_what_was_not_needed_is_matched_where_it_lies_beside_a_link(
    tmp_path: Path, network: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    weak = [(3, 4), (3, 7), (3, 6), (3, 5)]  # photo 3 has had its share of tries before its last pair
    names = [ImagePair(NAMES[a], NAMES[b]) for a, b in weak]
    monkeypatch.setattr(view_graph, "expansion_pairs", lambda *_: names)
    known = network(true_matches([(3, 4), (3, 5)]))
    done = run(base_of(tmp_path), tmp_path / "run", replace(QUICK, base=replace(QUICK.base, exhaustive_limit=7)))
    assert (3, 5) in known.tried
    assert {(3, 4), (3, 5)} <= done.having(LinkVerdict.ACCEPTED)
    assert len(done.pairs) == len(set(done.pairs))


# ---------------------------------------------------------------- 4. poses that a network proposes


def doubtful(pair: Pair) -> Matches:
    """Too doubtful for RANSAC to be asked, and yet most of them lie on the lines of the true pose."""
    return SCENE.matches(*pair, limit=60, outlier_share=0.3, score=0.08, outlier_score=0.03)


def answer(pair: Pair, turn_deg: float = 0.0) -> dict[tuple[str, str], Pose]:
    """What the network says of a pair: its pose, turned, in a scale of its own."""
    pose = turned(SCENE.b_from_a(*pair), turn_deg)
    return {(image_key(PHOTOS[pair[0]]), image_key(PHOTOS[pair[1]])): Pose(pose.rotation, 3.0 * pose.translation)}


@pytest.fixture
def proposer(monkeypatch: pytest.MonkeyPatch) -> type[KnownProposer]:
    """The pose network of all runs from now on."""
    monkeypatch.setattr(
        estimators, "POSE_ESTIMATORS", replace(estimators.POSE_ESTIMATORS, builtin=known_proposer.TARGETS)
    )
    for name, value in {"answers": {}, "depths": {}, "needs": 2, "asked": [], "is_here": True, "num_closed": 0}.items():
        monkeypatch.setattr(KnownProposer, name, value)
    return KnownProposer


def test_what_a_network_proposes_and_the_photos_own_matches_believe_joins_models(
    tmp_path: Path, network: Callable[..., Network], proposer: type[KnownProposer]
) -> None:
    network({(3, 4): doubtful((3, 4))})
    base = base_of(tmp_path)
    proposer.is_here = False
    without = run(base, tmp_path / "without")
    assert (without.sizes, without.having(LinkVerdict.ACCEPTED), proposer.asked) == ([4, 4], set(), [])
    proposer.is_here, proposer.answers = True, answer((3, 4), turn_deg=3.0)
    done = run(base, tmp_path / "run")
    assert done.having(LinkVerdict.ACCEPTED) == {(3, 4)}
    assert done.pairs[3, 4].tried == ("learned matching", "pose network")
    assert done.pairs[3, 4].detail.startswith("da3: ")
    assert done.pairs[3, 4].link is not None
    assert done.pairs[3, 4].link.source == "da3"
    assert done.sizes == [8]
    assert worst_error_deg(done.found.models[0], TRUTH) < 2.0
    assert proposer.num_closed == 1


def test_a_network_is_not_believed_against_the_photos_own_matches(
    tmp_path: Path, network: Callable[..., Network], proposer: type[KnownProposer]
) -> None:
    network({(3, 4): doubtful((3, 4))})
    proposer.answers = answer((3, 4), turn_deg=40.0)
    done = run(base_of(tmp_path), tmp_path / "run")
    assert done.having(LinkVerdict.ACCEPTED) == set()
    assert [len(views) for views in proposer.asked] == [2, 8]  # alone, and with three photos of each side
    assert done.sizes == [4, 4]


def test_photos_beside_are_shown_for_so_many_pairs_only(
    tmp_path: Path, network: Callable[..., Network], proposer: type[KnownProposer], monkeypatch: pytest.MonkeyPatch
) -> None:
    network({pair: doubtful(pair) for pair in ((3, 4), (2, 4), (3, 5))})
    monkeypatch.setattr(fallback_run, "MAX_GROUPS", 2)
    run(base_of(tmp_path), tmp_path / "run")
    assert [len(views) for views in proposer.asked] == [2, 8, 2, 8, 2]


@pytest.mark.long
def test_photos_beside_are_shown_for_the_same_pairs_whether_or_not_an_engine_works_ahead(
    tmp_path: Path, network: Callable[..., Network], proposer: type[KnownProposer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best pair, (2, 3), closes the gap of the third, (1, 3), which one that works ahead has seen by then."""
    sides = ([0, 1, 2], [3, 4, 5], [6, 7])
    apart = [pair for one, other in itertools.combinations(sides, 2) for pair in itertools.product(one, other)]
    monkeypatch.setitem(globals(), "ACROSS", apart)
    network({pair: doubtful(pair) for pair in ((2, 3), (1, 3), (4, 6))})
    monkeypatch.setattr(fallback_run, "MAX_GROUPS", 3)
    proposer.answers = {**answer((2, 3)), **answer((1, 3))}
    base = base_of(tmp_path, sides=sides)
    run(base, tmp_path / "one")
    asked = list(proposer.asked)
    ahead = Posers.ahead

    def eager(self: Posers, work: PairWork, poser: PairPoser, views: PhotoViews, jobs: Iterable[PairJob]) -> Ahead:
        return ahead(self, work, poser, views, list(jobs))

    monkeypatch.setattr(Posers, "ahead", eager)
    proposer.asked.clear()
    run(base, tmp_path / "other")
    assert proposer.asked == asked
    assert len(asked) > 1


def test_a_network_is_asked_for_what_matches_leave_open_and_can_judge(
    tmp_path: Path, network: Callable[..., Network], proposer: type[KnownProposer]
) -> None:
    """Best matches first, and no longer than until all is connected; a second run asks for nothing again."""
    few = SCENE.matches(3, 5, limit=9, score=0.08)
    network({(3, 4): doubtful((3, 4)), (2, 4): doubtful((2, 4)), (3, 5): few})
    proposer.answers = {**answer((3, 4)), **answer((2, 4))}
    base = base_of(tmp_path)
    done = run(base, tmp_path / "run")
    assert len(done.having(LinkVerdict.ACCEPTED)) == 1
    assert len(proposer.asked) == 1
    again = run(base, tmp_path / "run")
    assert again.having(LinkVerdict.ACCEPTED) == done.having(LinkVerdict.ACCEPTED)
    assert len(proposer.asked) == 1
    network(true_matches(ACROSS))
    assert run(base, tmp_path / "matched").sizes == [8]
    assert len(proposer.asked) == 1


def test_photos_around_a_gap_are_shown_to_the_network_where_the_pair_alone_does_not_suffice(
    tmp_path: Path, network: Callable[..., Network], proposer: type[KnownProposer]
) -> None:
    """It has no pose for the two photos alone, and one that the pixels believe where it sees more of either side."""
    network({(3, 4): doubtful((3, 4))})
    proposer.answers, proposer.needs = answer((3, 4), turn_deg=3.0), 5
    done = run(base_of(tmp_path), tmp_path / "run")
    assert done.having(LinkVerdict.ACCEPTED) == {(3, 4)}
    assert done.pairs[3, 4].detail.startswith("da3 with 6 photos beside: ")
    alone, group = proposer.asked[:2]
    keys = [image_key(photo) for photo in PHOTOS]
    assert alone == (keys[3], keys[4])
    assert (group[0], set(group[1:-1]), group[-1]) == (keys[3], {*keys} - {keys[3], keys[4]}, keys[4])
    assert done.sizes == [8]
    assert worst_error_deg(done.found.models[0], TRUTH) < 2.0


@pytest.mark.parametrize("takes_placements", [False, True])
def test_a_network_that_takes_it_is_told_where_base_models_have_the_photos(
    tmp_path: Path,
    network: Callable[..., Network],
    proposer: type[KnownProposer],
    monkeypatch: pytest.MonkeyPatch,
    takes_placements: bool,
) -> None:
    """Also the answer is kept for these places alone."""
    network({(3, 4): doubtful((3, 4))})
    monkeypatch.setattr(KnownProposer, "takes_placements", takes_placements)
    proposer.answers, proposer.needs = answer((3, 4)), 5
    base = base_of(tmp_path)
    run(base, tmp_path / "run")
    placements = proposer.placements
    assert len(placements) == 8
    if not takes_placements:
        assert set(placements) == {None}
        return
    assert {place.model for place in placements if place is not None} == {0, 1}
    first, last = placements[0], placements[-1]
    assert first is not None
    assert last is not None
    assert place_error_deg(first.cam_from_model, reconstruction.poses(base.models[0])[NAMES[3]]) < 1e-6
    assert place_error_deg(last.cam_from_model, reconstruction.poses(base.models[1])[NAMES[4]]) < 1e-6
    points_px, depths = reconstruction.observed_depths(base.models[1], NAMES[4])
    np.testing.assert_array_equal(last.depths.points_px, points_px)
    np.testing.assert_array_equal(last.depths.depths, depths)
    number = len(proposer.asked)
    run(base, tmp_path / "run")
    assert len(proposer.asked) == number
    base.models[1].transform(pycolmap.Sim3d(1.5, pycolmap.Rotation3d(), [0.0, 0.0, 0.0]))
    run(base, tmp_path / "run")
    assert len(proposer.asked) > number


def place_error_deg(found: Pose, expected: Pose) -> float:
    """Of rotation and direction of the way from the origin."""
    return max(link_errors_deg(found, expected))


SPANS = ((0, 3), (3, 4), (4, 7))  # either model, and what lies between them


@dataclass
class HalfNetwork(Network):
    """Photos of one side match by the lower points, and those that match across by the upper: a link has no depth."""

    def match(self, a: Features, b: Features) -> Matches:
        found, matches = (self._view(a), self._view(b)), super().match(a, b)
        chosen = np.isin(SCENE.point_of_row[found[0]][matches.indices[:, 0]], UPPER if found in ACROSS else LOWER)
        return Matches(matches.indices[chosen], matches.scores[chosen])


def points_of(view: int, *, is_upper: bool) -> np.ndarray:
    """Points in the upper or the lower part of a photo, some pixels apart."""
    y_px, middle_px = SCENE.features[view].keypoints_px[:, 1], HEIGHT_PX / 2
    return SCENE.point_of_row[view][y_px < middle_px - 6 if is_upper else y_px > middle_px + 6]


LOWER, UPPER = (np.intersect1d(*(points_of(view, is_upper=is_upper) for view in (3, 4))) for is_upper in (False, True))


def base_without_depths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Base:
    """Two models that have no points where their photos match across."""
    known = HalfNetwork(SCENE, true_matches([(3, 4)]))
    monkeypatch.setattr(LearnedMatcher, "extract", lambda _, image: known.extract(image))
    monkeypatch.setattr(LearnedMatcher, "match", lambda _, a, b: known.match(a, b))
    rows = {
        (a, b): found[np.isin(SCENE.point_of_row[a][found[:, 0]], LOWER)]
        for side in (LEFT, RIGHT)
        for (a, b), found in all_rows(SCENE, side).items()
    }
    return base_of(folder, rows=rows)


def test_a_link_without_distance_joins_by_the_depths_of_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proposer: type[KnownProposer]
) -> None:
    base = base_without_depths(tmp_path, monkeypatch)
    proposer.answers = answer((3, 4))
    without = run(base, tmp_path / "without")
    assert (without.having(LinkVerdict.ACCEPTED), without.sizes) == ({(3, 4)}, [4, 4])
    unit = 3.0 / np.linalg.norm(relative_pose(SCENE.cam_from_world[4], SCENE.cam_from_world[3]).translation)
    for view in (3, 4):
        points, pose = SCENE.points_in_world[SCENE.point_of_row[view]], SCENE.cam_from_world[view]
        noise = np.exp(0.1 * np.random.default_rng(view).normal(size=len(points)))
        depths = unit * (points @ pose.rotation.T + pose.translation)[:, 2] * noise  # in the unit of its poses
        proposer.depths[image_key(PHOTOS[view])] = DepthSamples(SCENE.features[view].keypoints_px, depths)
    done = run(base, tmp_path / "run")
    assert len(proposer.asked[-1]) == 8
    assert_joined_to_scale(done)


def assert_joined_to_scale(done: Run) -> None:
    """All photos in one model, within a degree and 3 percent, and it is told what that rests on."""
    assert done.sizes == [8]
    assert worst_error_deg(done.found.models[0], TRUTH) < 1.0
    poses = reconstruction.poses(done.found.models[0])
    lengths, truth = (
        np.array([np.linalg.norm(relative_pose(p[NAMES[b]], p[NAMES[a]]).translation) for a, b in SPANS])
        for p in (poses, TRUTH)
    )
    np.testing.assert_allclose(lengths / lengths[0], truth / truth[0], rtol=0.03)
    assert any("rests on what a pose network guesses" in warning for warning in done.warnings)


def around_the_gap(turn_deg: float) -> dict[tuple[str, str], Pose]:
    """What a network says of all photos, seen from photo 3 in a scale of its own: those beside the gap are turned."""
    found = {}
    for view in range(8):
        pose = relative_pose(SCENE.cam_from_world[view], SCENE.cam_from_world[3])
        turn = np.eye(3) if view == 4 else turned(Pose(np.eye(3), np.ones(3)), turn_deg).rotation
        found[image_key(PHOTOS[3]), image_key(PHOTOS[view])] = Pose(turn @ pose.rotation, 0.2 * turn @ pose.translation)
    return found


def test_a_link_without_distance_joins_by_the_photos_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proposer: type[KnownProposer]
) -> None:
    """The network sees no depth where the models have points: of the pair alone it knows a direction, no distance."""
    base = base_without_depths(tmp_path, monkeypatch)
    proposer.answers = answer((3, 4))
    without = run(base, tmp_path / "without")
    assert (without.having(LinkVerdict.ACCEPTED), without.sizes) == ({(3, 4)}, [4, 4])
    proposer.answers = around_the_gap(turn_deg=1.0)
    assert_joined_to_scale(run(base, tmp_path / "run"))
    proposer.answers = around_the_gap(turn_deg=15.0)  # elsewhere than the models have them
    assert run(base, tmp_path / "lost").sizes == [4, 4]


# ---------------------------------------------------------------- 5. to 7. clips


def unreadable_clips(folder: Path, pairs: Iterable[Pair]) -> ReconstructOptions:
    """Options of a run that has clips of these pairs, none of which can be read."""
    clip_dir = folder / "clips"
    clip_dir.mkdir()
    for a, b in pairs:
        (clip_dir / f"{a}__{b}.mp4").write_bytes(b"no video")
    return replace(QUICK, generator="clips", bridging=BridgingOptions(clip_dirs=(clip_dir,)))


def matches_by_number(numbers: Mapping[Pair, int]) -> dict[Pair, Matches]:
    """Matches of so many points each, hardly any of them right: some evidence, but no link."""
    return {
        pair: SCENE.matches(*pair, limit=number, outlier_share=0.6, outlier_score=0.3)
        for pair, number in numbers.items()
    }


def bridged(done: Run) -> set[Pair]:
    return {pair for pair, told in done.pairs.items() if any(".mp4" in tried for tried in told.tried)}


@pytest.mark.parametrize(("budget", "expected"), [(0, []), (2, [(2, 5), (3, 4)]), (9, [(2, 5), (3, 4), (3, 5)])])
def test_the_budget_of_clips_goes_to_the_most_promising(
    tmp_path: Path, network: Callable[..., Network], budget: int, expected: list[Pair]
) -> None:
    """The evidence of the matches says which those are, not the rank."""
    network(matches_by_number({(3, 4): 60, (3, 5): 30, (2, 5): 120}))
    options = unreadable_clips(tmp_path, [(3, 4), (3, 5), (2, 5)])
    options = replace(options, view_graph=ViewGraphOptions(max_bridged_pairs=budget))
    told: list[tuple[str, int, int]] = []
    done = run(base_of(tmp_path), tmp_path / "run", options, RunLog(lambda *step: told.append(step)))
    assert bridged(done) == set(expected)
    assert [step for step in told if step[0] == "bridging"] == [
        ("bridging", n, min(budget, 3)) for n in range(len(expected))
    ]
    assert done.sizes == [4, 4]


def test_pairs_to_bridge_are_those_that_a_run_would_bridge(tmp_path: Path, network: Callable[..., Network]) -> None:
    network(matches_by_number({(3, 4): 60, (3, 5): 30, (2, 5): 120}))
    base = base_of(tmp_path)
    for budget, expected in ((0, []), (2, [(2, 5), (3, 4)])):
        options = replace(QUICK, generator="clips", view_graph=ViewGraphOptions(max_bridged_pairs=budget))
        found = fallback.pairs_to_bridge(base, tmp_path, tmp_path, options, RunLog())
        assert [(NAMES.index(pair.a), NAMES.index(pair.b)) for pair in found] == expected


def test_what_learned_matches_connect_needs_no_clip(tmp_path: Path, network: Callable[..., Network]) -> None:
    network(true_matches(ACROSS))
    done = run(base_of(tmp_path), tmp_path / "run", unreadable_clips(tmp_path, [(3, 4)]))
    assert bridged(done) == set()
    assert done.sizes == [8]


@pytest.fixture
def with_clip(tmp_path: Path) -> ReconstructOptions:
    """Options of a run that has a clip from photo 3 to photo 4."""
    (tmp_path / "clips").mkdir()
    write_folder(tmp_path / "clips" / "3__4", CLIP)
    bridging = BridgingOptions(clip_dirs=(tmp_path / "clips",))
    return replace(QUICK, generator="clips", bridging=bridging, consensus=ConsensusOptions(accept_unseen=True))


def test_a_clip_joins_photos_that_do_not_match(
    tmp_path: Path, network: Callable[..., Network], with_clip: ReconstructOptions
) -> None:
    network({})
    done = run(base_of(tmp_path), tmp_path / "run", with_clip)
    assert done.having(LinkVerdict.ACCEPTED) == {(3, 4)}
    assert done.pairs[3, 4].tried == ("learned matching", "3__4")
    assert done.pairs[3, 4].choice == "accepted"
    assert done.sizes == [8]
    assert worst_error_deg(done.found.models[0], TRUTH) < 2.0


def test_a_clip_between_photos_that_share_nothing_is_believed_only_if_it_is_trusted(
    tmp_path: Path, network: Callable[..., Network], with_clip: ReconstructOptions
) -> None:
    network({})
    done = run(base_of(tmp_path), tmp_path / "run", replace(with_clip, consensus=ConsensusOptions()))
    assert done.having(LinkVerdict.ACCEPTED) == set()
    assert done.having(LinkVerdict.UNSEEN) == {(3, 4)}
    assert done.sizes == [4, 4]


def test_models_that_share_a_photo_are_joined_without_any_link(tmp_path: Path, network: Callable[..., Network]) -> None:
    """Their points in that photo tell the scale."""
    network({})
    done = run(base_of(tmp_path, sides=[range(5), range(4, 8)]), tmp_path / "run")
    assert done.sizes == [8]
    assert done.having(LinkVerdict.ACCEPTED) == set()
    assert worst_error_deg(done.found.models[0], TRUTH) < 1.0


# ---------------------------------------------------------------- 8. what all links say together


def seen_askew(a: int, b: int, turn_deg: float) -> tuple[Scene, Matches]:
    """The scene with further points in two photos, which tell of another pose of the second one, and their matches."""
    poses = list(POSES)
    poses[b] = turned(poses[b], turn_deg)
    askew = observe(cloud(7, 250), poses, noise_px=0.1, intrinsics=CAMERA, seed=2)
    features, first_rows = list(SCENE.features), {}
    for view in (a, b):
        true, more = features[view], askew.features[view]
        first_rows[view] = len(true.keypoints_px)
        features[view] = Features(
            np.concatenate([true.keypoints_px, more.keypoints_px]),
            np.concatenate([true.descriptors, more.descriptors]),
            np.concatenate([true.scores, more.scores]),
            true.size_px,
        )
    shown = list(SCENE.point_of_row)
    for view in (a, b):
        shown[view] = np.concatenate([shown[view], np.full(len(askew.point_of_row[view]), -1)])
    matches = askew.matches(a, b)
    rows = matches.indices + np.array([first_rows[a], first_rows[b]], np.uint32)
    return replace(SCENE, features=tuple(features), point_of_row=tuple(shown)), Matches(rows, matches.scores)


@pytest.mark.parametrize(("num_true", "refused", "sizes"), [(125, {(3, 4), (2, 5)}, [4, 4]), (None, {(3, 4)}, [8])])
def test_of_links_that_contradict_one_another_a_clearly_stronger_one_remains(
    tmp_path: Path, network: Callable[..., Network], num_true: int | None, refused: set[Pair], sizes: list[int]
) -> None:
    """Else nothing tells which of them errs."""
    scene, wrong = seen_askew(3, 4, 25.0)
    network({(3, 4): wrong, (2, 5): scene.matches(2, 5, limit=num_true)}, scene)
    done = run(base_of(tmp_path, scene), tmp_path / "run")
    assert done.having(LinkVerdict.CONTRADICTED) == refused
    assert all("fails to close by 25 degrees" in done.pairs[pair].detail for pair in refused)
    assert done.sizes == sizes
    assert max(worst_error_deg(model, TRUTH) for model in done.found.models) < 1.0


def test_links_that_agree_are_all_kept(tmp_path: Path, network: Callable[..., Network]) -> None:
    network(true_matches([(3, 4), (2, 5)]))
    done = run(base_of(tmp_path), tmp_path / "run")
    assert done.having(LinkVerdict.ACCEPTED) == {(3, 4), (2, 5)}
    assert done.sizes == [8]


# ---------------------------------------------------------------- 9. models


def test_an_accepted_link_joins_the_models_in_a_copy_of_the_database(
    tmp_path: Path, network: Callable[..., Network]
) -> None:
    network(true_matches([(3, 4)]))
    base = base_of(tmp_path)
    rows = dump(base.database_path)
    given = [pycolmap.Reconstruction(model) for model in base.models]
    done = run(base, tmp_path / "run")
    assert done.sizes == [8]
    assert worst_error_deg(done.found.models[0], TRUTH) < 1.0
    assert done.found.database_path == tmp_path / "run" / "work" / "database.db"
    assert len(dump(done.found.database_path)["matches"]) > len(rows["matches"])
    assert dump(base.database_path) == rows
    for before, after in zip(given, base.models, strict=True):
        assert_equal_models(before, after)


def test_a_scale_by_gps_that_the_pictures_contradict_is_told(tmp_path: Path, network: Callable[..., Network]) -> None:
    network(true_matches([(3, 4)], limit=28))  # too few for COLMAP to go on with
    base = base_of(tmp_path)
    where = positions_of({name: TRUTH[name] for name in NAMES}, 30.0)
    middle = where[NAMES[4]]
    grown = {name: middle + 4 * (x - middle) if name in NAMES[4:] else x for name, x in where.items()}
    for index, positions_m in enumerate((where, grown)):
        done = run(replace(base, positions_m=positions_m), tmp_path / str(index))
        assert done.sizes == [8]
        assert worst_error_deg(done.found.models[0], TRUTH) < 1.0
        assert [text for text in done.warnings if "GPS" in text] == list(done.warnings)
        assert len(done.warnings) == index
    assert "that of the pictures is kept" in done.warnings[0]


def test_without_a_link_the_base_models_are_the_result(tmp_path: Path, network: Callable[..., Network]) -> None:
    network({})
    base = base_of(tmp_path)
    found = run(base, tmp_path / "run").found
    assert found.database_path is None
    assert all(model is given for model, given in zip(found.models, base.models, strict=True))


# ---------------------------------------------------------------- runs that go on


def test_a_second_run_makes_nothing_twice(
    tmp_path: Path, network: Callable[..., Network], with_clip: ReconstructOptions
) -> None:
    first = network({})
    base = base_of(tmp_path)
    done = run(base, tmp_path / "run", with_clip)
    assert sorted(first.extracted) == list(range(len(IMAGES)))
    assert len(set(first.matched)) == len(first.matched)
    second = network({})
    again = run(base, tmp_path / "run", with_clip)
    assert second.extracted == second.matched == []
    assert {pair: (told.verdict, told.tried) for pair, told in again.pairs.items()} == {
        pair: (told.verdict, told.tried) for pair, told in done.pairs.items()
    }
    assert_equal_models(again.found.models[0], done.found.models[0])


class StoppedError(Exception):
    """Raised by a progress callback."""


def test_a_stopped_run_goes_on_where_it_stopped(
    tmp_path: Path, network: Callable[..., Network], with_clip: ReconstructOptions
) -> None:
    base = base_of(tmp_path)
    asked: list[Network] = []
    for stage, number in (("learned matching", 2), ("learned matching", 7), ("bridging", 0), ("final mapping", 0)):

        def stop(*step: object, at: tuple[str, int] = (stage, number)) -> None:
            if step[:2] == at:
                raise StoppedError

        asked.append(network({}))
        with pytest.raises(StoppedError):
            run(base, tmp_path / "run", with_clip, RunLog(stop))
    asked.append(network({}))
    assert run(base, tmp_path / "run", with_clip).sizes == [8]
    assert [len(known.tried) for known in asked] == [2, 5, 9, 0, 0]
    extracted = [view for known in asked for view in known.extracted]
    matched = [pair for known in asked for pair in known.matched]
    assert len(set(extracted)) == len(extracted)
    assert len(set(matched)) == len(matched)
