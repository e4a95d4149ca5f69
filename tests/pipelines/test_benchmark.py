"""The benchmark as a whole: rows that are kept, shards that come together, damage that costs a row, the document."""

from __future__ import annotations

import errno
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import benchmark
import crossfade
import data_sets
from benchmarks import ideal_clips, sfm
from benchmarks.clip_sources import ClipFolder, IdealClips, photo_key
from benchmarks.data_sets import DATA_SETS
from benchmarks.pair_rule import BenchmarkPair
from benchmarks.rows import collect, is_of_the_machine, shard
from benchmarks.scenes import Scene, load_scenes
from interpose_sfm import geometry
from interpose_sfm.bridging import factory
from interpose_sfm.storage.content_keys import file_sha256
from paths import ROOT

Run = Callable[..., str]
SIZE_PX = (96, 72)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command, in this process; what it prints."""

    def command(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, words)])
        assert benchmark.main() == 0
        return capsys.readouterr().out

    return command


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of five photos, 20 degrees apart, that show nothing."""
    folder = tmp_path_factory.mktemp("data")
    for index, name in enumerate(("castle", "fountain")):
        data_sets.strecha(folder / name, data_sets.yaw_circle(5, 20.0))
        for photo in (folder / name / "images").iterdir():
            data_sets.picture(photo, 10 * index + int(photo.stem), SIZE_PX)
    return folder


def words(data: Path, work: Path, *more: object) -> tuple[object, ...]:
    result = work.parent / "results" / "benchmark.md"
    return ("strecha", "--data", data, "--work", work, "--result", result, "--kinds", "true", "--number", "2", *more)


def rows_in(work: Path) -> dict[str, dict[str, object]]:
    return {path.name: json.loads(path.read_text()) for path in (work / "rows").iterdir()}


def test_shards_come_together_as_one_run(tmp_path: Path, data: Path, run: Run) -> None:
    said = run(*words(data, tmp_path / "whole"))
    assert said.startswith("2 scenes, 10 photos, 0 left out")
    assert said.count(" true: ") == 2
    document = tmp_path / "results" / "benchmark.md"
    expected = without_seconds(document)
    run(*words(data, tmp_path / "one", "--shard", "1/2"))
    assert len(rows_in(tmp_path / "one")) == 1
    assert without_seconds(document) != expected
    run(*words(data, tmp_path / "two", "--shard", "2/2", "--merge", tmp_path / "one"))
    assert without_seconds(document) == expected
    assert (tmp_path / "one" / "pairs.json").read_bytes() == (tmp_path / "two" / "pairs.json").read_bytes()
    again = run(*words(data, tmp_path / "whole"))
    assert " true: " not in again  # nothing is done twice
    text = document.read_text()
    assert "## Strecha's benchmark" in text
    assert "| ScanNet | InterPose" in text
    assert "not run" in text
    assert "benchmark_strecha_risk.svg" in text
    assert (tmp_path / "results" / "benchmark_strecha_yaw.svg").read_text().startswith("<svg")


def without_seconds(document: Path) -> tuple[str, str]:
    rows = json.loads(document.with_name("benchmark_strecha.json").read_text())
    for row in rows["rows"]:
        row.pop("seconds", None)
    return document.read_text(), json.dumps(rows)


def test_a_run_writes_its_document_into_its_work_folder(tmp_path: Path, data: Path, run: Run) -> None:
    """However few of the pairs it is of: the published one is written where it is named."""
    published = ROOT / "docs" / "results" / "benchmark.md"
    before = published.read_bytes()
    command = ("strecha", "--data", data, "--work", tmp_path, "--kinds", "true", "--only", "castle/0000/0002")
    said = run(*command)
    assert published.read_bytes() == before
    assert said.endswith(f"written to {tmp_path / 'benchmark.md'}\n")
    text = (tmp_path / "benchmark.md").read_text()
    assert "--kinds true --only castle/0000/0002`" in text
    assert "| true | 1 |" in text
    page = run("interpose-page", "--data", data, "--work", tmp_path / "page", "--write-only")
    assert page == f"written to {tmp_path / 'page' / 'interpose_pairs.md'}\n"


@pytest.mark.parametrize(
    "wrong", [("--size", "0"), ("--number", "-1"), ("--clips", "nowhere"), ("--merge", "nowhere"), ("--kinds", "foo")]
)
def test_wrong_arguments_leave_the_document_as_it_is(
    tmp_path: Path, data: Path, run: Run, wrong: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*words(data, tmp_path / "work", *wrong))
    assert ended.value.code == 2
    assert not (tmp_path / "results").exists()


def test_a_file_that_is_damaged_costs_one_row(tmp_path: Path, data: Path, run: Run) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    run(*words(copy, tmp_path / "work", "--write-only"))  # nothing there: a document without figures
    assert not (tmp_path / "work").exists()
    broken = copy / "castle" / "images" / "0000.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])  # its header is whole, so that only decoding shows it
    chosen = ("--number", "20", "--only", "castle/0000/0002", "fountain/0000/0002")
    run(*words(copy, tmp_path / "work", *chosen))
    rows = rows_in(tmp_path / "work")
    assert [row["pair"] for row in rows.values() if "error" in row] == ["castle/0000/0002"]
    assert len(rows) == 2
    assert "1 rows could not be made:" in (tmp_path / "results" / "benchmark.md").read_text()
    broken.write_bytes(whole)
    said = run(*words(copy, tmp_path / "work", *chosen))
    assert said.count(" true: ") == 1  # made once the file is mended, and the other one not again
    assert not any("error" in row for row in rows_in(tmp_path / "work").values())


def test_a_list_of_pairs_is_held_against_the_photos(tmp_path: Path, data: Path, run: Run) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    run(*words(copy, tmp_path / "first", "--number", "20", "--only", "castle/0000/0002"))
    pairs = tmp_path / "first" / "pairs.json"
    data_sets.picture(copy / "castle" / "images" / "0000.jpg", 99, SIZE_PX)
    (copy / "castle" / "images" / "0003.jpg").unlink()
    run(*words(copy, tmp_path / "second", "--pairs", pairs, "--only", "castle/0000/0002", "castle/0001/0003"))
    changed, missing = (row["error"] for _, row in sorted(rows_in(tmp_path / "second").items()))
    assert "its checksum differs" in changed
    assert "the scene has no photo 0003.jpg: there is no file 0003.jpg" in missing
    assert "1 photos or scenes of the data set could not be read" in (tmp_path / "results" / "benchmark.md").read_text()


def test_a_row_is_made_anew_where_the_truth_was_mended(tmp_path: Path, data: Path, run: Run) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    chosen = ("--number", "20", "--only", "castle/0000/0002", "fountain/0000/0002")
    run(*words(copy, tmp_path / "work", *chosen))
    cameras = copy / "castle" / "cameras.json"
    truth = json.loads(cameras.read_text())
    truth["0002.jpg"]["center"][1] += 0.5
    cameras.write_text(json.dumps(truth))
    said = run(*words(copy, tmp_path / "work", *chosen))
    assert said.count(" true: ") == 1
    assert "castle/0000/0002 true: " in said


def test_rows_that_contradict_one_another_are_refused(tmp_path: Path) -> None:
    for name, inputs in (("one", "x"), ("two", "x"), ("three", "y")):
        (tmp_path / name / "rows").mkdir(parents=True)
        row = {"pair": "a/b/c", "model": "true", "inputs": inputs}
        (tmp_path / name / "rows" / "r.json").write_text(json.dumps(row))
    (tmp_path / "two" / "rows" / "s.json").write_text('{"pair": ')  # a copy that broke off
    assert len(collect([tmp_path / "one", tmp_path / "two"])) == 1
    with pytest.raises(ValueError, match="different photos, clips or options"):
        collect([tmp_path / "one", tmp_path / "three"])
    row = {"pair": "a/b/c", "model": "true", "inputs": "x", "truth": {"yaw_deg": 1.0}}
    (tmp_path / "two" / "rows" / "r.json").write_text(json.dumps(row))
    with pytest.raises(ValueError, match="different true poses"):
        collect([tmp_path / "one", tmp_path / "two"])


def test_a_full_disk_is_no_reason_of_a_row() -> None:
    assert is_of_the_machine(OSError(errno.ENOSPC, "No space left on device", "x"))
    assert is_of_the_machine(
        OSError("Can't write data (file write failed: time = now, errno = 28, error message = '')")
    )
    assert not is_of_the_machine(OSError(errno.ENOENT, "No such file", "x"))
    assert not is_of_the_machine(ValueError("a.jpg is another file"))


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", ""])
def test_shards_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected i/n"):
        shard([1, 2, 3], text)


def test_every_item_is_in_one_shard() -> None:
    parts = [shard(range(7), f"{index}/3") for index in (1, 2, 3)]
    assert sorted(item for part in parts for item in part) == list(range(7))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--only", "castle/x/y"), "no pair castle/x/y"),
        (("--pairs", "nowhere.json"), "there is no list of pairs nowhere.json"),
        (("--generator", "wan-vace"), "name one"),
        (("--only-clips",), "needs the --generator"),
        (("--pose-estimator", "nonsense"), "unknown pose estimator 'nonsense'"),
        (("--frames-per-clip", "0"), "frames-per-clip"),
        (("--spoiled", "-1"), "got --spoiled -1, expected 0 or more"),
        (("--clips", "tests"), "no pair has clips in tests; expected"),
    ],
)
def test_what_cannot_be_is_told(
    tmp_path: Path, data: Path, run: Run, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as error:
        run(*words(data, tmp_path / "work", *more))
    assert message in f"{error.value} {capsys.readouterr().err}"
    assert not list(tmp_path.glob("work/rows/*"))


def test_what_was_left_out_is_told_by_whom_merges_only(tmp_path: Path) -> None:
    (tmp_path / "left_out.json").write_text('{"castle": {"0001.jpg": "why", "0002.jpg": "why"}}')
    assert benchmark.num_left_out([tmp_path / "fresh", tmp_path]) == 2
    assert benchmark.num_left_out([tmp_path / "fresh"]) == 0


def test_a_work_folder_is_of_one_data_set(tmp_path: Path, data: Path, run: Run) -> None:
    """Rows do not say of which, and tables would mix them."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pairs.json").write_text('{"benchmark": "cambridge"}')
    for more in (("--work", tmp_path / "other"), ("--work", tmp_path / "work", "--merge", tmp_path / "other")):
        with pytest.raises(SystemExit, match="other is the work folder of cambridge; name another one for strecha"):
            run("strecha", "--data", data, "--write-only", *more)
    (tmp_path / "other" / "pairs.json").write_text('{"benchm')  # broke off, and is written anew
    run("strecha", "--data", data, "--write-only", "--work", tmp_path / "other")


def test_a_work_folder_that_cannot_be_written_is_told(tmp_path: Path, data: Path, run: Run) -> None:
    (tmp_path / "work").write_text("")
    with pytest.raises(SystemExit, match=r"benchmark: .*work"):
        run(*words(data, tmp_path / "work"))


# ---------------------------------------------------------------- clips


def a_pair(name: str = "castle/0000/0003") -> BenchmarkPair:
    scene, a, b = name.split("/")
    return BenchmarkPair(
        name=name,
        scene=scene,
        a=f"{a}.jpg",
        b=f"{b}.jpg",
        yaw_deg=60,
        overlap=1,
        sha256_a="",
        sha256_b="",
        b_from_a=None,
    )


def test_clips_on_disk_belong_to_their_pair(tmp_path: Path) -> None:
    store = tmp_path / "luma"
    (store / "castle_0000_0003").mkdir(parents=True)
    (store / "castle_0000_0003" / "a__b_0.mp4").write_bytes(b"one")
    source = ClipFolder(store)
    assert source.name == "luma"
    assert source.has(a_pair())
    assert not source.has(a_pair("castle/0000/0004"))
    before = source.key(a_pair())
    (store / "castle_0000_0003" / "a__b_1.mp4").write_bytes(b"two")
    assert source.key(a_pair()) != before
    (tmp_path / "laid").mkdir()
    assert source.lay_out(a_pair(), tmp_path / "laid") == tmp_path / "laid"
    assert (tmp_path / "laid" / "a__b_1.mp4").read_bytes() == b"two"


def test_clips_are_found_by_the_content_of_their_photos(tmp_path: Path) -> None:
    pair = replace(a_pair(), sha256_a="a" * 64, sha256_b="b" * 64)
    store = tmp_path / "veo"
    store.mkdir()
    for name in (f"{'a' * 16}__{'b' * 16}_0.mp4", f"{'b' * 16}__{'a' * 16}_1_ba.mp4", f"{'b' * 16}__{'a' * 16}_1.json"):
        (store / name).write_text(name)
    source = ClipFolder(store)
    assert source.has(pair)
    assert not source.has(replace(pair, sha256_b="c" * 64))
    (tmp_path / "laid").mkdir()
    source.lay_out(pair, tmp_path / "laid")
    assert sorted(path.name for path in (tmp_path / "laid").iterdir()) == ["a__b_0.mp4", "b__a_1_ba.mp4"]


def test_clips_are_made_once_and_then_estimated_from(
    tmp_path: Path, data: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory, "VIDEO_MODELS", crossfade.with_models())
    monkeypatch.setenv("CROSSFADE_LOG", str(tmp_path / "log"))
    command = words(data, tmp_path / "work", "--only", "castle/0000/0003", "--clips", tmp_path / "crossfade")
    run(*command, "--generator", "crossfade", "--only-clips")
    made = sorted(path.name for path in (tmp_path / "crossfade").glob("*.mp4"))
    first, last = (data / "castle" / "images" / f"{name}.jpg" for name in ("0000", "0003"))
    keys = {photo_key(file_sha256(path)) for path in (first, last)}
    assert len(made) == 4
    assert all(set(name.split("_")[:3]) == {*keys, ""} for name in made)
    assert not list((tmp_path / "work").glob("rows/*"))
    said = run(*command)
    assert said.count(" crossfade: ") == 1
    (row,) = rows_in(tmp_path / "work").values()
    assert "error" not in row
    assert (tmp_path / "log").read_text().count("begin") == 4  # not again


def test_cameras_may_be_told(tmp_path: Path, run: Run) -> None:
    """Of a data set without clips; its rows are of the pair alone."""
    data_sets.imb(tmp_path / "data" / "sacre", data_sets.yaw_circle(3, 40.0))
    for photo in (tmp_path / "data" / "sacre" / "images").iterdir():
        data_sets.picture(photo, int(photo.stem[:8]), SIZE_PX)
    result = tmp_path / "results" / "benchmark.md"
    command = ("imb", "--data", tmp_path / "data", "--number", 1, "--work", tmp_path / "work", "--result", result)
    run(*command, "--known-cameras")
    said = run(*command)
    assert "1 rows there are by other options and do not count" in said
    (counted,) = json.loads(result.with_name("benchmark_imb.json").read_text())["rows"]
    assert counted["known_cameras"] is False
    guessed, known = sorted(rows_in(tmp_path / "work").values(), key=lambda row: bool(row["known_cameras"]))
    assert (known["known_cameras"], guessed["known_cameras"]) == (True, False)
    assert (known["model"], guessed["model"]) == ("none", "none")
    assert "error" not in known
    assert "## Image Matching Benchmark" in result.read_text()


def test_cameras_that_cannot_be_told_leave_the_rows_of_guessed_ones(tmp_path: Path, data: Path, run: Run) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    for scene in ("castle", "fountain"):
        cameras = json.loads((copy / scene / "cameras.json").read_text())
        for camera in cameras.values():
            camera.pop("K", None)
        (copy / scene / "cameras.json").write_text(json.dumps(cameras))
    run(*words(copy, tmp_path / "work", "--only", "castle/0000/0002", "--number", 20))
    before = rows_in(tmp_path / "work")
    run(*words(copy, tmp_path / "work", "--only", "castle/0000/0002", "--number", 20, "--known-cameras"))
    after = rows_in(tmp_path / "work")
    assert [after[name] for name in before] == list(before.values())
    (added,) = (row for name, row in after.items() if name not in before)
    assert added["known_cameras"] is True
    assert added["error"] == "the data set does not tell the cameras of both photos"


def test_cameras_that_differ_cannot_be_told(data: Path) -> None:
    castle = scenes_of(data)[0]
    a, b, *_ = castle.photos
    assert a.camera is not None
    assert benchmark.known_camera(a, b) == (a.camera, "")
    wider = replace(b, camera=replace(a.camera, focal_px=a.camera.focal_px * 1.01))
    assert benchmark.known_camera(a, wider)[1].startswith("the photos have different cameras")
    assert benchmark.known_camera(a, replace(b, camera=None))[1].startswith("the data set does not tell")


def test_ideal_clips_are_made_of_the_photos_between(tmp_path: Path, data: Path) -> None:
    found: dict[str, Scene] = {scene.name: scene for scene in scenes_of(data)}
    source = IdealClips(ideal_clips.ALL, found)
    source.lay_out(a_pair(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a__b_{index}" for index in range(6)]
    true = sorted((tmp_path / "a__b_0").iterdir())
    assert len(true) == 4
    for frame, photo in zip(true, sorted((data / "castle" / "images").iterdir()), strict=False):
        assert Image.open(frame).tobytes() == Image.open(photo).tobytes()
    only = IdealClips(ideal_clips.TRUE, found, frozenset({"castle/0000/0003"}))
    assert [only.has(a_pair(name)) for name in ("castle/0000/0003", "castle/0000/0002")] == [True, False]
    assert only.key(a_pair()) != source.key(a_pair())


def scenes_of(data: Path) -> list[Scene]:
    return list(load_scenes(DATA_SETS["strecha"].loader, data))


@pytest.mark.parametrize("kind", [*ideal_clips.KINDS, "half", "mixed"])
def test_spoiled_clips_begin_with_a_and_are_spoiled_between(data: Path, kind: str) -> None:
    between, others = (sorted((data / name / "images").iterdir()) for name in ("castle", "fountain"))
    frames = ideal_clips.frames(kind, between, others)
    photos = [ideal_clips.read(path) for path in between]
    assert frames[0].tobytes() == photos[0].tobytes()
    assert {frame.size for frame in frames} == {SIZE_PX}
    assert (frames[-1].tobytes() == photos[-1].tobytes()) == (kind != "half")
    same = sum(frame.tobytes() == photo.tobytes() for frame, photo in zip(frames[1:-1], photos[1:-1], strict=False))
    assert same == {"true": 3, "cut": 1, "half": 1, "mixed": 1}.get(kind, 0)


def test_a_longer_focal_length_magnifies_the_middle() -> None:
    frame = Image.new("RGB", (100, 80))
    frame.paste((255, 255, 255), (40, 30, 60, 50))
    left, top, right, bottom = ideal_clips.zoomed(frame, 2.0).convert("1").getbbox() or (0, 0, 0, 0)
    assert (right - left, bottom - top) == pytest.approx((40, 40), abs=3)
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((50, 40), abs=2)


# ---------------------------------------------------------------- reconstructions


def test_sets_are_scored_by_all_pairs() -> None:
    truth = {f"{index}.jpg": pose for index, pose in enumerate(data_sets.true_poses(4))}
    assert sfm.scores(truth, truth) == {"registered": 4, "auc1": 100.0, "auc3": 100.0, "auc5": 100.0, "auc20": 100.0}
    moved = geometry.Similarity(2.0, geometry.rotation_from_axis_angle([1, 2, 3], 40), truth["1.jpg"].translation)
    model = {name: moved.move_camera(pose) for name, pose in truth.items() if name != "3.jpg"}
    found = sfm.scores(truth, model)  # in a frame of its own, and without one photo: three of six pairs
    assert (found["registered"], found["auc20"]) == (3, 50.0)
    assert sfm.scores(truth, {})["auc20"] == 0.0


def test_photos_that_exif_turns_are_laid_out_upright(tmp_path: Path) -> None:
    """Plain pycolmap takes the stored pixels, and would be held against poses of upright pictures."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    Image.new("RGB", (40, 30)).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGB", (40, 30)).save(tmp_path / "plain.PNG")
    names = [sfm.lay_out(tmp_path / name, tmp_path / f"0000{i}") for i, name in enumerate(("turned.jpg", "plain.PNG"))]
    assert names == ["00000.jpg", "00001.png"]
    with Image.open(tmp_path / names[0]) as image:
        assert image.size == (30, 40)
        assert dict(image.getexif()) == {0x010F: "Maker"}
    assert (tmp_path / names[1]).is_symlink()


def test_sets_of_a_scene_are_jobs_of_every_way(data: Path) -> None:
    castle, _ = scenes_of(data)
    assert [(job.name, job.way, len(job.photos)) for job in sfm.sfm_jobs([castle])] == [
        ("all", "plain", 5),
        ("all", "default", 5),
    ]
    first = castle.photos[0]
    moved = replace(first, cam_from_world=geometry.relative_pose(first.cam_from_world, castle.photos[1].cam_from_world))
    other = sfm.sfm_jobs([replace(castle, photos=(moved, *castle.photos[1:]))], ["plain"])[0]
    assert other.truth != sfm.sfm_jobs([castle], ["plain"])[0].truth
    jobs = sfm.sfm_jobs([replace(castle, sets={"minimal-0": ("0000.jpg", "0002.jpg", "0004.jpg")})], ["plain"])
    assert [photo.name for photo in jobs[0].photos] == ["0000.jpg", "0002.jpg", "0004.jpg"]


@pytest.mark.long
def test_reconstructions_become_rows(tmp_path: Path, data: Path, run: Run) -> None:
    """Of photos that show nothing there is no model: a result, not a failure."""
    said = run(*words(data, tmp_path / "work", "--sfm"))
    assert said.count("0 of 5 photos") == 4
    text = (tmp_path / "results" / "benchmark.md").read_text()
    assert "| castle/all | default | 0 of 5 | 0.0 | 0.0 | 0.0 | 0.0 |" in text
    assert sfm.sfm_means(list(rows_in(tmp_path / "work").values()), "plain").endswith("(2 sets)")
    assert "| **mean of 2 sets** | plain | 0 % | 0.0 |" in text
