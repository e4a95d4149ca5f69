"""The rule that draws pairs, and the files that pairs are written to and read from."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import data_sets
from benchmarks.data_sets import DATA_SETS
from benchmarks.pair_files import read_pairs, write_pairs
from benchmarks.pair_rule import BenchmarkPair, PairRule, candidates, draw_pairs, overlap_of, scattered, spread
from benchmarks.scenes import Scene, ScenePhoto, load_scenes, pinhole
from interpose_sfm import geometry
from interpose_sfm.products import Pose

RULE = PairRule(number=None, min_yaw_deg=35, max_yaw_deg=65, per_photo=None)


def scenes_in(data: Path, *names: str, number: int = 8) -> list[Scene]:
    """Scenes of cameras on a circle, 20 degrees apart."""
    for name in names:
        if not (data / name).exists():
            data_sets.strecha(data / name, data_sets.yaw_circle(number, 20.0))
    return list(load_scenes(DATA_SETS["strecha"].loader, data))


def at(rotation: np.ndarray, center: tuple[float, float, float]) -> ScenePhoto:
    """A camera with a view of 60 degrees."""
    pose = Pose(rotation, -rotation @ np.array(center))
    return ScenePhoto("x.jpg", Path("x.jpg"), pose, pinhole((100, 100), (50 / math.tan(math.radians(30)),) * 2))


def about_y(angle_deg: float) -> np.ndarray:
    """cam_from_world of a camera that looks to the right by this angle."""
    return geometry.rotation_from_axis_angle([0.0, 1.0, 0.0], -angle_deg)


def test_the_rule_gives_the_same_file_twice(tmp_path: Path) -> None:
    scenes = scenes_in(tmp_path / "data", "castle", "fountain", "herz")
    rule = replace(RULE, number=5, per_photo=1)
    for name, order in (("one", scenes), ("two", scenes[::-1])):
        write_pairs(tmp_path / f"{name}.json", "strecha", rule, 3, draw_pairs(order, rule, 3))
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    others = draw_pairs(scenes, rule, 4)
    assert {pair.name for pair in others} != {pair.name for pair in draw_pairs(scenes, rule, 3)}


def test_pairs_lie_in_the_range_and_photos_are_used_once(tmp_path: Path) -> None:
    scenes = scenes_in(tmp_path, "castle", "fountain", number=12)
    pairs = draw_pairs(scenes, replace(RULE, number=6, per_photo=1), 0)
    assert len(pairs) == 6
    assert all(35 <= pair.yaw_deg <= 65 for pair in pairs)
    assert sum(pair.scene == "castle" for pair in pairs) == 3  # in turns
    used = [(pair.scene, name) for pair in pairs for name in (pair.a, pair.b)]
    assert len(set(used)) == len(used)
    assert all(pair.b_from_a is not None and pair.a < pair.b for pair in pairs)


def test_a_scene_gives_the_same_pairs_whatever_others_there_are(tmp_path: Path) -> None:
    alone = draw_pairs(scenes_in(tmp_path / "one", "castle"), replace(RULE, number=3), 0)
    more = draw_pairs(scenes_in(tmp_path / "more", "castle", "abbey"), replace(RULE, number=6), 0)
    assert {pair.name for pair in alone} == {pair.name for pair in more if pair.scene == "castle"}


def test_all_pairs_of_a_range_are_found(tmp_path: Path) -> None:
    (scene,) = scenes_in(tmp_path, "castle")  # 40 and 60 degrees: two or three steps of 20
    assert [round(yaw) for _, _, yaw in candidates(scene, RULE)].count(40) == 6
    assert len(candidates(scene, RULE)) == 6 + 5
    assert len(candidates(scene, replace(RULE, min_between=2))) == 5
    assert len(candidates(scene, replace(RULE, max_between=1))) == 6
    within = replace(scene, sets={"one": ("0000.jpg", "0002.jpg", "0003.jpg")})
    assert [(a.name, b.name) for a, b, _ in candidates(within, RULE)] == [
        ("0000.jpg", "0002.jpg"),
        ("0000.jpg", "0003.jpg"),
    ]


def test_overlap_is_what_poses_can_tell() -> None:
    here = at(np.eye(3), (0, 0, 0))
    assert overlap_of(here, at(np.eye(3), (0, 0, 0))) == 1.0
    assert overlap_of(here, at(about_y(70), (0, 0, 0))) == 0.0  # from one place, turned by more than the view
    assert overlap_of(here, at(about_y(30), (0, 0, 0))) == pytest.approx(0.5, abs=0.1)  # half of the view
    assert overlap_of(here, at(about_y(-50), (5, 0, 0))) > 0.2  # to the right, looking back to the left
    assert overlap_of(here, at(about_y(65), (5, 0, 0))) == 0.0  # to the right, looking away
    assert overlap_of(here, at(np.eye(3), (0, 0, 20))) < 0.8  # ahead: it sees less than the one behind


def test_a_bound_on_the_overlap_leaves_pairs_out(tmp_path: Path) -> None:
    scenes = scenes_in(tmp_path, "castle")
    shares = sorted(pair.overlap for pair in draw_pairs(scenes, RULE, 0))
    limit = (shares[0] + shares[-1]) / 2
    kept = draw_pairs(scenes, replace(RULE, min_overlap=limit), 0)
    assert 0 < len(kept) < len(shares)
    assert all(pair.overlap >= limit for pair in kept)


def test_a_file_of_pairs_is_read_as_it_was_written(tmp_path: Path) -> None:
    scenes = scenes_in(tmp_path / "data", "castle")
    pairs = draw_pairs(scenes, RULE, 0)
    write_pairs(tmp_path / "pairs.json", "strecha", RULE, 0, pairs)
    found = read_pairs(tmp_path / "pairs.json", scenes)
    assert [pair.name for pair in found] == [pair.name for pair in pairs]
    for one, other in zip(found, pairs, strict=True):
        assert (one.sha256_a, one.yaw_deg, one.overlap) == (other.sha256_a, other.yaw_deg, other.overlap)
        assert one.b_from_a is not None
        assert other.b_from_a is not None
        np.testing.assert_allclose(one.b_from_a.rotation, other.b_from_a.rotation, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document["pairs"][0].update(yaw_deg=1.0), "was changed by hand"),
        (lambda document: document.update(format=9), "has the format 9, expected 1"),
        (lambda document: document.pop("pairs"), "is no file of pairs"),
    ],
)
def test_a_file_that_was_changed_is_refused(tmp_path: Path, change: object, message: str) -> None:
    scenes = scenes_in(tmp_path / "data", "castle")
    path = tmp_path / "pairs.json"
    write_pairs(path, "strecha", RULE, 0, draw_pairs(scenes, RULE, 0))
    document = json.loads(path.read_text())
    change(document)  # type: ignore[operator]
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=message):
        read_pairs(path, scenes)


def test_lists_of_others_name_photos_by_the_ends_of_their_paths(tmp_path: Path) -> None:
    scenes = scenes_in(tmp_path / "data", "castle", "fountain")
    path = tmp_path / "pairs-multiview.txt"
    path.write_text(
        "castle/images/0000.jpg castle/images/0002.jpg 40.0\n# note\nfountain/images/0001 fountain/images/0004\n"
    )
    first, second = read_pairs(path, scenes)
    assert (first.scene, first.a, first.b) == ("castle", "0000.jpg", "0002.jpg")
    assert first.yaw_deg == pytest.approx(40)
    assert second.yaw_deg == pytest.approx(60)
    np.save(tmp_path / "keys-th-0.1.npy", np.array(["0000-0002", "0001-0003"]))
    only = [scene for scene in scenes if scene.name == "castle"]
    assert [pair.b for pair in read_pairs(tmp_path / "keys-th-0.1.npy", only)] == ["0002.jpg", "0003.jpg"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("castle/images/0000.jpg castle/images/0099.jpg", "no photo castle/images/0099.jpg"),
        ("0000.jpg 0001.jpg", "may mean 2 photos"),
        ("castle/images/0000.jpg fountain/images/0001.jpg", "of different scenes"),
        ("castle/images/0000.jpg", "got 1 words"),
    ],
)
def test_a_list_that_names_no_pair_is_told_where(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(line)
    with pytest.raises(ValueError, match=f"line 1: .*{message}"):
        read_pairs(path, scenes_in(tmp_path / "data", "castle", "fountain"))


def test_pairs_of_a_list_whose_photos_are_not_there_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scenes = scenes_in(tmp_path / "data", "castle")
    path = tmp_path / "pairs.txt"
    path.write_text("images/0000.jpg images/0002.jpg\nabbey/0000.jpg abbey/0001.jpg\n0000.jpg\t0002.jpg\t40\n")
    assert [pair.name for pair in read_pairs(path, scenes)] == ["castle/0000/0002"]  # named twice, counted once
    assert "1 of 3 pairs are left out, such as line 2: the data set has no photo abbey/0000.jpg" in caplog.text
    (tmp_path / "keys.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="is no list of pairs"):
        read_pairs(tmp_path / "keys.npy", scenes)


def test_files_of_two_pairs_never_have_one_name() -> None:
    def named(name: str) -> str:
        return BenchmarkPair(
            name=name, scene="", a="", b="", yaw_deg=0, overlap=0, sha256_a="", sha256_b="", b_from_a=None
        ).slug

    assert named("castle-P30/0000/0004") == "castle-P30_0000_0004"
    assert len({named(name) for name in ("a/b/c", "a_b/c", "a/b_c", "a b/c", "a/b/c ")}) == 5


def test_a_part_is_spread_over_all() -> None:
    assert spread(range(10), 2) == [2, 7]
    assert spread(range(3), 5) == [0, 1, 2]
    for number in (5, 36, 159):
        order = scattered(range(number))
        assert sorted(order) == list(range(number))
        halves = [index < number / 2 for index in order[: number // 2]]
        assert abs(sum(halves) - len(halves) / 2) <= 1.5
