"""Joining with GPS positions, on models that share no point: what is joined, what is told, what is left apart."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from geometry_scenes import (
    DatabaseOptions,
    all_rows,
    arc,
    cloud,
    link_of,
    observe,
    true_model,
    worst_error_deg,
    write_database,
)
from gps_noise import positions_of
from interpose_sfm import geometry
from interpose_sfm.colmap import link_rows, reconstruction
from interpose_sfm.joining.final_mapping import FinalMapper, FinalModels
from interpose_sfm.joining.joiner import Joined, ModelJoiner
from interpose_sfm.joining.mapping_run import MappingRun
from interpose_sfm.options import BaseOptions, ConsensusOptions
from interpose_sfm.products import FloatArray, Link, Pose

NAMES = tuple(f"{view}.jpg" for view in range(8))
LEFT, RIGHT = range(4), range(4, 8)
SCENE = observe(cloud(1, 250), arc([0, 12, 24, 36, 60, 72, 84, 96]), noise_px=0.3, seed=1)
TRUTH = dict(zip(NAMES, SCENE.cam_from_world, strict=True))
UNIT_M = 120.0 / (2 * 7 * np.sin(np.radians(18)))  # either model spans 120 m
NOISE_M = 2.5
NOWHERE = np.zeros((0, 2))


class NoOffers:
    def candidates(self, first: frozenset[str], second: frozenset[str]) -> Sequence[Link]:
        return ()

    def support(self, links: Sequence[Link]) -> Sequence[Link]:
        return ()

    def guessed(self, links: Sequence[Link]) -> Sequence[Link]:
        return ()


@dataclass(frozen=True)
class Halves:
    """A database, and models of some of its photos that have nothing in common."""

    database_path: Path
    models: tuple[pycolmap.Reconstruction, ...]

    def run(self, folder: Path, positions_m: Mapping[str, FloatArray]) -> MappingRun:
        folder.mkdir(exist_ok=True)
        path = folder / "database.db"
        shutil.copyfile(self.database_path, path)
        return MappingRun(
            database_path=path,
            image_dir=folder,
            work_dir=folder / "work",
            base=BaseOptions(num_threads=1),
            limits=ConsensusOptions(),
            seed=0,
            positions_m=positions_m,
        )

    def join(
        self,
        folder: Path,
        links: Sequence[Link],
        positions_m: Mapping[str, FloatArray],
        contradicted: Sequence[Link] = (),
    ) -> Joined:
        models = [pycolmap.Reconstruction(model) for model in self.models]
        run = self.run(folder, positions_m)
        link_rows.inject_links(run.database_path, links)
        return ModelJoiner(run).join_all(models, links, NoOffers(), lambda *_: True, contradicted)

    def map(self, folder: Path, links: Sequence[Link], positions_m: Mapping[str, FloatArray]) -> FinalModels:
        run = self.run(folder, positions_m)
        run.work_dir.mkdir()
        return FinalMapper(run).map_links(self.models, links, NoOffers())


def halves_of(path: Path, views: Sequence[Sequence[int]]) -> Halves:
    rows = {pair: found for side in views for pair, found in all_rows(SCENE, side).items()}
    write_database(path, SCENE, NAMES, DatabaseOptions(rows=rows))
    models = tuple(true_model(path, SCENE, NAMES, side) for side in views)
    for model in models[1:]:
        model.transform(pycolmap.Sim3d(2.5, pycolmap.Rotation3d([0.0, 0.6, 0.0, 0.8]), [1.0, -4.0, 3.0]))
    return Halves(path, models)


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Halves:
    return halves_of(tmp_path_factory.mktemp("halves") / "database.db", (LEFT, RIGHT))


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Halves:
    return halves_of(tmp_path_factory.mktemp("left") / "database.db", (LEFT,))


def bare(a: int, b: int) -> Link:
    """A link as a clip leaves it that carried no correspondence through."""
    exact = link_of(SCENE, NAMES, a, b)
    return dataclasses.replace(exact, points_a_px=NOWHERE, points_b_px=NOWHERE, source="clip-0")


def sizes(models: Sequence[pycolmap.Reconstruction]) -> list[int]:
    return [model.num_reg_images() for model in models]


def centers_of(model: pycolmap.Reconstruction, names: Sequence[str]) -> FloatArray:
    poses = reconstruction.poses(model)
    return np.array([poses[name].inverse().translation for name in names])


def scale_between(model: pycolmap.Reconstruction) -> float:
    """How much too large the right half is beside the left one."""
    ratios = []
    for names in (NAMES[:4], NAMES[4:]):
        truth = np.array([TRUTH[name].inverse().translation for name in names])
        found = centers_of(model, names)
        ratios.append(np.linalg.norm(found[3] - found[0]) / np.linalg.norm(truth[3] - truth[0]))
    return float(ratios[1] / ratios[0])


def place_error_m(model: pycolmap.Reconstruction) -> float:
    names = sorted(reconstruction.registered_names(model))
    found, truth = centers_of(model, names), np.array([TRUTH[name].inverse().translation for name in names])
    return UNIT_M * float(np.linalg.norm(geometry.fit_similarity(found, truth).apply(found) - truth, axis=1).max())


# ---------------------------------------------------------------- two models


@pytest.mark.parametrize("seed", range(4))
def test_one_link_and_gps_join_models_without_a_common_point(halves: Halves, tmp_path: Path, seed: int) -> None:
    joined = halves.join(tmp_path, [bare(3, 5)], positions_of(TRUTH, UNIT_M, NOISE_M, seed))
    assert sizes(joined.models) == [8]
    assert 1e-4 < abs(np.log(scale_between(joined.models[0]))) < 0.15
    assert place_error_m(joined.models[0]) < 15
    assert worst_error_deg(joined.models[0], TRUTH) < 8.0  # directions across; the distance errs by metres of 100
    (told,) = joined.remarks
    assert told.startswith("scale and distance between ")
    assert "come from GPS" in told
    assert re.search(r", the \d+ m between their photos to \d+ m: ", told)
    assert "4 photos over " in told
    assert joined.apart == ()


def test_without_gps_they_stay_apart(halves: Halves, tmp_path: Path) -> None:
    joined = halves.join(tmp_path, [bare(3, 5)], {})
    assert sizes(joined.models) == [4, 4]
    assert joined.remarks == ()
    assert "do not tell the scale" in joined.apart[0]


@pytest.mark.parametrize("extent_m", [3.0, 20.0])
def test_below_the_noise_they_stay_apart(halves: Halves, tmp_path: Path, extent_m: float) -> None:
    positions_m = positions_of(TRUTH, UNIT_M * extent_m / 120, NOISE_M)
    joined = halves.join(tmp_path, [bare(3, 5)], positions_m)
    assert sizes(joined.models) == [4, 4]
    assert joined.remarks == ()


def test_positions_of_one_photo_or_all_alike_change_nothing(halves: Halves, tmp_path: Path) -> None:
    exact = positions_of(TRUTH, UNIT_M)
    for index, positions_m in enumerate(({NAMES[0]: exact[NAMES[0]]}, dict.fromkeys(NAMES, exact[NAMES[0]]))):
        joined = halves.join(tmp_path / str(index), [bare(3, 5)], positions_m)
        assert sizes(joined.models) == [4, 4]
        assert joined.remarks == ()


def test_a_link_that_points_elsewhere_than_gps_joins_nothing(halves: Halves, tmp_path: Path) -> None:
    exact = bare(3, 5)
    turn = geometry.rotation_from_axis_angle((0, 1, 0), 120.0)
    wrong = dataclasses.replace(exact, b_from_a=Pose(exact.b_from_a.rotation, turn @ exact.b_from_a.translation))
    joined = halves.join(tmp_path, [wrong], positions_of(TRUTH, UNIT_M, NOISE_M))
    assert sizes(joined.models) == [4, 4]
    assert "misses GPS positions by" in joined.apart[0]


def test_what_cycles_refused_is_heard(halves: Halves, tmp_path: Path) -> None:
    other = bare(2, 6)
    turned = geometry.rotation_from_axis_angle((0, 1, 0), 60.0) @ other.b_from_a.rotation
    against = dataclasses.replace(other, b_from_a=Pose(turned, other.b_from_a.translation))
    positions_m = positions_of(TRUTH, UNIT_M, NOISE_M)
    assert sizes(halves.join(tmp_path / "0", [bare(3, 5)], positions_m, [other]).models) == [8]
    assert sizes(halves.join(tmp_path / "1", [bare(3, 5)], positions_m, [against]).models) == [4, 4]


# ---------------------------------------------------------------- where pictures tell the scale


def grown(positions_m: Mapping[str, FloatArray], factor: float) -> dict[str, FloatArray]:
    """Positions of the right half further apart than they are."""
    middle = positions_m[NAMES[4]]
    return {
        name: middle + factor * (position - middle) if name in NAMES[4:] else position
        for name, position in positions_m.items()
    }


def test_a_scale_that_pictures_tell_is_kept_and_a_contradiction_is_told(halves: Halves, tmp_path: Path) -> None:
    exact, positions_m = link_of(SCENE, NAMES, 3, 4), positions_of(TRUTH, UNIT_M, NOISE_M)
    plain = halves.join(tmp_path / "plain", [exact], {})
    agreeing = halves.join(tmp_path / "agreeing", [exact], positions_m)
    other = halves.join(tmp_path / "other", [exact], grown(positions_m, 4.0))
    for joined in (plain, agreeing, other):
        assert sizes(joined.models) == [8]
        assert abs(np.log(scale_between(joined.models[0]))) < 0.02
    assert plain.remarks == agreeing.remarks == ()
    (told,) = other.remarks
    assert "by the pictures" in told
    assert "by GPS" in told
    assert "that of the pictures is kept" in told


def test_distances_of_the_pictures_are_kept_and_a_contradiction_is_told(halves: Halves, tmp_path: Path) -> None:
    positions_m = positions_of(TRUTH, UNIT_M, NOISE_M)
    away = {n: p + ([900.0, 0.0, 0.0] if n in NAMES[4:] else [0.0, 0.0, 0.0]) for n, p in positions_m.items()}
    joined = halves.join(tmp_path, [link_of(SCENE, NAMES, 3, 4)], away)
    assert sizes(joined.models) == [8]
    assert place_error_m(joined.models[0]) < 3
    assert "that of the pictures is kept" in joined.remarks[0]


# ---------------------------------------------------------------- single photos


def test_a_single_photo_is_placed_by_one_link_and_gps(left: Halves, tmp_path: Path) -> None:
    positions_m = positions_of(TRUTH, UNIT_M, NOISE_M)
    apart = left.join(tmp_path / "0", [bare(0, 6)], {})
    assert sizes(apart.models) == [4]
    assert "do not tell the distance" in apart.apart[0]
    placed = left.join(tmp_path / "1", [bare(0, 6)], positions_m)
    assert sizes(placed.models) == [5]
    assert 0.1 < place_error_m(placed.models[0]) < 15
    (told,) = placed.remarks
    assert told.startswith("how far 6.jpg lies from the model of 0.jpg and 3 more comes from GPS")
    unplaced = left.join(tmp_path / "2", [bare(0, 6)], {n: p for n, p in positions_m.items() if n != NAMES[6]})
    assert sizes(unplaced.models) == [4]


# ---------------------------------------------------------------- the whole of stage 9


def test_the_final_models_keep_the_join_and_tell_of_it(halves: Halves, tmp_path: Path) -> None:
    link = bare(3, 5)
    final = halves.map(tmp_path / "with", [link], positions_of(TRUTH, UNIT_M, NOISE_M))
    assert sizes(final.models) == [8]
    assert final.dropped == {}
    assert [text for text in final.warnings if "come from GPS" in text] == list(final.warnings)
    assert len(final.warnings) == 1
    without = halves.map(tmp_path / "without", [link], {})
    assert sizes(without.models) == [4, 4]
    assert "models stay apart" in without.warnings[0]
