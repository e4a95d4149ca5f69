"""The command `bridge`: clips ahead of a reconstruction, made once, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import crossfade
import interpose_sfm
from bridging_scene import pan
from clip_records import VIDEO, A, B, record
from crossfade import made
from interpose_sfm.bridging import factory
from interpose_sfm.cli import main as cli
from interpose_sfm.engines.slurm import SlurmEngine
from interpose_sfm.options import GenerationOptions, ReconstructOptions
from interpose_sfm.products import ClipState
from interpose_sfm.retrieval.pair_list import read_pair_file
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.synthetic import SampleTruth
from interpose_sfm.video_models.clip_store import ClipStore
from interpose_sfm.workflows.make_clips import bridge_photos
from interpose_sfm.workflows.merge_stores import merge_outputs
from paths import HELPERS, ROOT

NAMES = ("a.jpg", "b.jpg", "c d.jpg")
FAST = ("--max-keypoints=256", "--num-random-subsets=1", "--frames-per-clip=3")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the model notes what it makes; its name is in the table for this test."""
    monkeypatch.setattr(factory, "VIDEO_MODELS", crossfade.with_models())
    monkeypatch.setenv("CROSSFADE_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos of a wide texture."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, frame in zip(NAMES, pan(seed=5, num_frames=3), strict=True):
        Image.fromarray(frame).save(folder / name, quality=95)
    return folder


def run(*arguments: str | Path) -> tuple[int, Any, str]:
    """Exit code, JSON on standard output (None without), and standard error of a `bridge`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["bridge", *map(str, arguments), "--json"])
    return code, json.loads(out.getvalue()) if out.getvalue() else None, err.getvalue()


def text_of(*arguments: str | Path) -> str:
    """What a `bridge` prints for people."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        cli.main(["bridge", *map(str, arguments)])
    return out.getvalue()


def files(store: Path, suffix: str) -> list[str]:
    return sorted(path.name for path in store.glob(f"*{suffix}"))


PAIR = ("--pairs", "a.jpg", "b.jpg")


# ---------------------------------------------------------------- what is made


def test_the_clips_of_a_pair_are_made(photos: Path, log: Path) -> None:
    code, found, _ = run(photos, "--generator=crossfade", *PAIR)
    store = photos.with_name("photos_interpose") / "clips"
    assert code == 0
    assert Path(found["store"]) == store
    assert [clip["backwards"] for clip in found["clips"]] == [False, True, False, True]
    assert {clip["state"] for clip in found["clips"]} == {"made"}
    assert len({clip["prompt"] for clip in found["clips"]}) == 2
    assert len({clip["seed"] for clip in found["clips"]}) == 4
    assert sorted(clip["file"] for clip in found["clips"]) == files(store, ".mp4")
    assert (store / "prompts.json").is_file()
    assert len(made(log)) == 4
    assert {flag["problem"] for clip in found["clips"] for flag in clip["flags"]} == {"cross-fade"}  # which it is


def test_contact_sheets_show_the_clips_of_a_pair(photos: Path, log: Path) -> None:
    code, found, _ = run(photos, "--generator=crossfade", *PAIR, "--num-clips=2", "--sheet")
    assert code == 0
    (sheet,) = map(Path, found["sheets"])
    assert sheet.parent == photos.with_name("photos_interpose") / "sheets"
    with Image.open(sheet) as two, Image.open(photos / "a.jpg") as photo:
        scale = 200 / max(photo.size)
        assert two.height > 2 * scale * photo.height
        assert two.width > 3 * scale * photo.width
    _, dry, _ = run(photos, "--generator=crossfade", "--pairs", "a.jpg", "c d.jpg", "--sheet", "--dry-run")
    assert dry["sheets"] == []
    assert not sheet.exists()


def test_a_second_run_makes_nothing(photos: Path, log: Path) -> None:
    run(photos, "--generator=crossfade", *PAIR)
    code, found, _ = run(photos, "--generator=crossfade", *PAIR)
    assert code == 0
    assert {clip["state"] for clip in found["clips"]} == {"exists"}
    assert found["estimate"]["num_clips"] == 0
    assert len(made(log)) == 4
    run(photos, "--generator=crossfade", *PAIR, "--num-clips=6")
    assert len(made(log)) == 6


def test_a_pair_in_either_order_is_one_pair(photos: Path, log: Path) -> None:
    _, found, _ = run(photos, "--generator=crossfade", *PAIR, "b.jpg", "a.jpg", "--num-clips=1")
    assert found["pairs"] == [{"a": "a.jpg", "b": "b.jpg"}]
    assert len(made(log)) == 1


def test_masks_of_a_reconstruction_stay(photos: Path, log: Path) -> None:
    """Those of a `reconstruct --mask-path`, where `bridge` names no masks."""
    mask = photos.with_name("photos_interpose") / "masks" / "a.jpg.png"
    run(photos, "--generator=crossfade", *PAIR, "--dry-run")
    mask.parent.mkdir()
    mask.write_bytes(b"a mask")
    assert run(photos, "--generator=crossfade", *PAIR, "--dry-run")[0] == 0
    assert mask.read_bytes() == b"a mask"


@pytest.mark.parametrize("prices", [0.0, 0.5])
def test_a_dry_run_lists_and_makes_nothing(
    photos: Path, log: Path, tmp_path: Path, prices: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSFADE_USD", str(prices))
    store = tmp_path / "store"
    command = (photos, "--generator=hosted", *PAIR, "--dry-run", f"--clip-store={store}")
    code, found, _ = run(*command)
    assert code == 0
    assert {clip["state"] for clip in found["clips"]} == {"missing"}
    assert found["estimate"]["num_clips"] == 4
    assert found["estimate"]["workers"] == 2
    assert found["estimate"]["cost_usd"] == 4 * prices
    assert found["estimate"]["memory_gib"] == 1.5
    assert not store.exists()
    assert not made(log)
    shown = text_of(*command)
    assert "4 missing" in shown
    assert ("about $2.00" in shown) is (prices > 0)
    assert "a.jpg" in shown


def test_the_time_is_known_after_the_first_clip(photos: Path, log: Path) -> None:
    run(photos, "--generator=crossfade", *PAIR, "--num-clips=1")
    _, found, _ = run(photos, "--generator=crossfade", *PAIR, "--dry-run")
    assert found["estimate"]["num_clips"] == 3
    assert found["estimate"]["time_s"] > 0


def test_a_clip_that_fails_is_told_and_the_others_are_made(
    photos: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSFADE_FAIL", "seed=2")
    code, found, _ = run(photos, "--generator=crossfade", *PAIR)
    states = [clip["state"] for clip in found["clips"]]
    assert code == 1
    assert sorted(states) == ["failed", "made", "made", "made"]
    assert "it shows nothing" in found["clips"][states.index("failed")]["detail"]
    monkeypatch.delenv("CROSSFADE_FAIL")
    assert run(photos, "--generator=crossfade", *PAIR)[0] == 0
    assert len(made(log)) == 4


# ---------------------------------------------------------------- money


def test_nothing_is_spent_unless_it_is_allowed(photos: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFADE_USD", "0.5")
    command = (photos, "--generator=hosted", *PAIR)
    for limit in ((), ("--max-cost=1.99",)):
        code, found, err = run(*command, *limit)
        assert (code, found) == (2, None)
        assert "--max-cost 2.00" in err
        assert not made(log)
    code, found, _ = run(*command, "--max-cost=2")
    assert code == 0
    assert found["cost_usd"] == 2.0
    assert run(*command)[0] == 0  # nothing is missing, so nothing has to be allowed


# ---------------------------------------------------------------- which pairs


def test_a_file_of_pairs(photos: Path, log: Path, tmp_path: Path) -> None:
    listed = tmp_path / "pairs.txt"
    listed.write_text("# two pairs\n\na.jpg b.jpg\nb.jpg c d.jpg\n")
    _, found, _ = run(photos, "--generator=crossfade", "--pair-file", listed, "--num-clips=1")
    assert [(pair["a"], pair["b"]) for pair in found["pairs"]] == [("a.jpg", "b.jpg"), ("b.jpg", "c d.jpg")]
    assert read_pair_file(listed, NAMES) == (("a.jpg", "b.jpg"), ("b.jpg", "c d.jpg"))
    listed.write_text("a.jpg b.jpg\n", encoding="utf-8-sig")  # as editors on Windows save it
    assert read_pair_file(listed, NAMES) == (("a.jpg", "b.jpg"),)


def test_photos_may_be_called_as_their_files_are(photos: Path, log: Path, tmp_path: Path) -> None:
    with Image.open(photos / "a.jpg") as image:
        image.save(photos / "a x.webp", lossless=True)
    (photos / "a.jpg").unlink()
    (tmp_path / "pairs.txt").write_text("a x.webp b.jpg\n")
    for flags in (
        ("--pairs", "a x.webp", "b.jpg"),
        ("--pair-file", tmp_path / "pairs.txt"),
        ("--pairs", "a x.png", "b.jpg"),
    ):
        _, found, _ = run(photos, "--generator=crossfade", *flags, "--num-clips=1")
        assert found["pairs"] == [{"a": "a x.png", "b": "b.jpg"}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pairs", "a.jpg"), "expected two for each pair"),
        (("--pairs", "a.jpg", "x.jpg"), "got the photo 'x.jpg'"),
        (("--pairs", "a.jpg", "a.jpg"), "two different photos"),
        ((*PAIR, "--pair-file", "p.txt"), "expected one of them"),
        (("--pair-file", "p.txt"), "line 2"),
        (("--pair-file", "missing.txt"), "missing.txt"),
    ],
)
def test_pairs_that_are_none_are_refused(
    photos: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.txt").write_text("a.jpg b.jpg\na.jpg\n")
    code, _, err = run(photos, "--generator=crossfade", *arguments)
    assert code == 2
    assert message in err
    assert not made(log)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "wan-flf2v"),
        ("morph", "wan-flf2v"),
        ("clips", "'clips'"),
        ("auto", "usable on this machine ("),  # and why not
        ("no-such-model", "wan-flf2v"),
    ],
)
def test_a_generator_that_is_no_video_model_is_refused_with_the_choice(
    photos: Path, log: Path, tmp_path: Path, name: str, message: str
) -> None:
    code, _, err = run(photos, f"--generator={name}", "--output", tmp_path / "new", *PAIR)
    assert code == 2
    assert message in err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (0, "{}: got 0 usable photos, expected at least two; left out: notes.txt: not an image"),
        (1, "{}: got 1 usable photo, expected at least two"),
    ],
)
def test_a_folder_with_too_few_photos_is_refused(
    photos: Path, log: Path, tmp_path: Path, kept: int, message: str
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    (few / "notes.txt").write_text("no photo")
    for name in NAMES[:kept]:
        shutil.copy(photos / name, few)
    code, _, err = run(few, "--generator=crossfade")
    assert code == 2
    assert message.format(few) in err
    assert not made(log)


def test_by_default_the_weak_pairs_are_bridged_and_reconstruct_uses_their_clips(
    small_sample: SampleTruth, log: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    command = (small_sample.photo_dir, "--output", output, "--num-clips=2", "--max-weak-pairs=2", "--max-keypoints=256")
    code, found, _ = run(*command, "--generator=crossfade", "--max-bridged-pairs=1")
    assert code == 0
    (pair,) = found["pairs"]
    groups = [{name for name in small_sample.cam_from_world if name.startswith(side)} for side in ("left", "right")]
    assert sum(bool({pair["a"], pair["b"]} & group) for group in groups) == 2
    assert len(made(log)) == 2
    # On another machine, where there is no such model.
    store = Path(shutil.copytree(found["store"], tmp_path / "carried"))
    options = (*command[3:], *FAST[1:], "--max-bridged-pairs=1", "--generator=clips", f"--clips={store}")
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = cli.main(
            ["reconstruct", str(small_sample.photo_dir), "--output", str(tmp_path / "new"), *options, "--json"]
        )
    assert code == 0
    tried = [word for item in json.loads(out.getvalue())["report"]["pairs"] for word in item["tried"]]
    assert sum(".mp4" in word for word in tried) == 2
    assert len(made(log)) == 2


# ---------------------------------------------------------------- stops

DRIVER = """
import sys
sys.path.insert(0, {tests!r})
import crossfade
from interpose_sfm.cli import main as cli
crossfade.add_to_table()
sys.exit(cli.main(sys.argv[1:]))
"""


def started(photos: Path, *arguments: str, sleep_s: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", DRIVER.format(tests=str(HELPERS)), "bridge", str(photos)]
    return subprocess.Popen(
        [*command, *arguments],
        env={**os.environ, "CROSSFADE_SLEEP_S": str(sleep_s)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for(log: Path, word: str, number: int) -> None:
    deadline = time.monotonic() + 60
    while len(made(log, word)) < number:
        assert time.monotonic() < deadline, "the model was never asked"
        time.sleep(0.05)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are ended with the test."""
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for process in found:
        process.kill()
        process.communicate()


# The other two take as long and go the same ways: what stops a run and how many workers it has are apart in the code.
@pytest.mark.parametrize(
    ("generator", "stop", "code"),
    [
        ("crossfade", signal.SIGKILL, -9),
        ("hosted", signal.SIGINT, 130),
        pytest.param("crossfade", signal.SIGINT, 130, marks=pytest.mark.long),
        pytest.param("hosted", signal.SIGKILL, -9, marks=pytest.mark.long),
    ],
)
def test_a_stopped_run_goes_on_where_it_stopped(
    photos: Path, log: Path, processes: list[subprocess.Popen[bytes]], generator: str, stop: signal.Signals, code: int
) -> None:
    process = started(photos, f"--generator={generator}", *PAIR, sleep_s=1.5)
    processes.append(process)
    wait_for(log, "end", 1)
    wait_for(log, "begin", 2)
    process.send_signal(stop)
    assert process.wait(60) == code
    finished, store = set(made(log)), photos.with_name("photos_interpose") / "clips"
    assert 1 <= len(finished) < 4
    # What each worker had just finished may be lost to a kill, but nothing is half there.
    num_workers = 2 if generator == "hosted" else 1
    assert len(finished) - num_workers <= len(files(store, ".mp4")) <= len(finished)
    assert {Path(name).stem for name in files(store, ".mp4")} <= {Path(name).stem for name in files(store, ".json")}
    kept = {json.loads((store / name).with_suffix(".json").read_text())["key"] for name in files(store, ".mp4")}

    exit_code, found, _ = run(photos, f"--generator={generator}", *PAIR)
    assert exit_code == 0
    assert sorted(clip["state"] for clip in found["clips"]) == sorted(
        ["exists"] * len(kept) + ["made"] * (4 - len(kept))
    )
    assert len(files(store, ".mp4")) == 4
    assert not [path for path in store.rglob("*") if "tmp" in path.name]
    assert all(made(log).count(key) == 1 for key in kept)


def test_two_runs_at_once_do_not_make_the_same_clips(
    photos: Path, log: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    processes.append(started(photos, "--generator=crossfade", *PAIR, sleep_s=3))
    wait_for(log, "begin", 1)
    code, _, err = run(photos, "--generator=crossfade", *PAIR)
    assert code == 2
    assert "another" in err.lower()


def test_two_runs_with_one_store_make_every_clip_once(
    photos: Path, log: Path, tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    store = tmp_path / "store"
    arguments = (photos, "--generator=crossfade", *PAIR, "--clip-store", store, "--output")
    processes.append(started(*arguments, tmp_path / "one", sleep_s=0.5))
    wait_for(log, "begin", 1)
    code, found, _ = run(*arguments, tmp_path / "two")
    assert code == 0
    assert {clip["state"] for clip in found["clips"]} <= {"made", "exists"}
    assert processes[0].wait(120) == 0
    assert sorted(made(log)) == sorted(set(made(log)))
    assert len(made(log, "begin")) == len(files(store, ".mp4")) == 4
    assert not list((store / "tasks").glob("*"))


def test_the_clip_of_a_run_that_was_killed_is_made_by_the_other(
    photos: Path, log: Path, tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    store = tmp_path / "store"
    arguments = (photos, "--generator=crossfade", *PAIR, "--clip-store", store, "--output")
    processes.append(started(*arguments, tmp_path / "one", sleep_s=600))
    wait_for(log, "begin", 1)
    threading.Timer(1.0, processes[0].kill).start()
    code, *_ = run(*arguments, tmp_path / "two")  # which waits for the clip that the first one has claimed
    assert code == 0
    assert len(files(store, ".mp4")) == len(set(made(log))) == len(made(log)) == 4
    assert len(made(log, "begin")) == 5


# ---------------------------------------------------------------- several machines


def test_shares_together_are_all_clips(photos: Path, log: Path, tmp_path: Path) -> None:
    """And all clips of a pair are of one share, so that no two machines describe it."""
    wanted = ("--num-clips=2", "--pairs", "a.jpg", "b.jpg", "b.jpg", "c d.jpg", "a.jpg", "c d.jpg")
    found = [
        run(photos, "--generator=crossfade", *wanted, f"--shard={index}/3", "--output", tmp_path / f"{index}")[1]
        for index in (1, 2, 3)
    ]
    keys = [clip["file"] for share in found for clip in share["clips"]]
    assert len(keys) == len(set(keys)) == len(made(log)) == 6
    assert [len(share["pairs"]) for share in found] == [2, 1, 0]
    assert [len(share["clips"]) for share in found] == [4, 2, 0]
    assert [(share["shard"], share["num_pairs"]) for share in found] == [("1/3", 3), ("2/3", 3), ("3/3", 3)]
    third = text_of(photos, "--generator=crossfade", *wanted, "--shard=3/3", "--output", tmp_path / "3")
    assert third.startswith("0 pairs of 3, share 3/3, 0 clips of crossfade")
    merged = merge_outputs(tmp_path / "1", [tmp_path / "2", tmp_path / "3"])
    assert merged.num_clips == 2
    assert files(tmp_path / "1" / "clips", ".mp4") == sorted(keys)
    assert merge_outputs(tmp_path / "1", [tmp_path / "2"]).num_clips == 0
    again = run(photos, "--generator=crossfade", *wanted, "--output", tmp_path / "1")[1]
    assert {clip["state"] for clip in again["clips"]} == {"exists"}


def test_a_clip_that_was_paid_for_and_not_fetched_is_known_after_a_merge(tmp_path: Path) -> None:
    """Else the service would be asked, and paid, once more."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        with Workspace(folder).locked():
            pass
    here, there = (ClipStore(folder / "clips", (A, B)) for folder in folders)
    with here.locked(), there.locked():
        here.save(record("made here"), VIDEO, 0)
        here.task("both", 1.0).write({"state": "created", "task": "ours"})
        there.save(record("made there"), VIDEO, 0).path.rename(there.folder / "a__b_best.mp4")
        (there.folder / "a__b_0.json").rename(there.folder / "a__b_best.json")
        for key in ("made here", "both", "there"):
            there.task(key, 2.0).write({"state": "created", "task": "theirs"})
    assert merge_outputs(folders[0], folders[1:]).num_clips == 1
    merged = ClipStore(folders[0] / "clips", (A, B))
    notes = {task.key: task.read()["task"] for task in merged.tasks()}
    assert notes == {"both": "ours", "there": "theirs"}
    assert merged.spent_usd() == pytest.approx(2 * 0.5 + 1.0 + 2.0)
    assert merged.find("made there") is not None


@pytest.mark.parametrize("wrong", ["0/3", "4/3", "1", "a/b", "1/0"])
def test_a_share_that_is_none_is_refused(photos: Path, log: Path, wrong: str) -> None:
    code, _, err = run(photos, "--generator=crossfade", *PAIR, f"--shard={wrong}")
    assert code == 2
    assert "option shard" in err


@pytest.fixture
def by_slurm(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Options for the local executor of submitit, whose processes know the model of the tests."""
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(HELPERS), str(ROOT))))
    return ("--engine=slurm", "--slurm-cluster=local", "--engine-workers=2")


def test_an_engine_makes_the_clips_of_a_free_model(photos: Path, log: Path, by_slurm: tuple[str, ...]) -> None:
    code, found, _ = run(photos, "--generator=crossfade", *PAIR, *by_slurm)
    assert code == 0
    assert [clip["state"] for clip in found["clips"]] == ["made"] * 4
    assert len(made(log)) == len(set(made(log))) == 4
    assert not (photos.with_name("photos_interpose") / "engine").exists()
    assert {clip["state"] for clip in run(photos, "--generator=crossfade", *PAIR, *by_slurm)[1]["clips"]} == {"exists"}


def test_processes_do_not_make_clips_on_a_disk_without_locks(
    photos: Path, log: Path, by_slurm: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    code, _, err = run(photos, "--generator=crossfade", *PAIR, *by_slurm)
    assert code == 2
    assert "engine slurm: the clip store" in err
    assert "disk without file locks" in err
    assert run(photos, "--generator=crossfade", *PAIR, "--num-clips=1")[0] == 0


def test_what_a_worker_cannot_make_is_told(
    photos: Path, log: Path, by_slurm: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSFADE_FAIL", "seed=2")
    code, found, _ = run(photos, "--generator=crossfade", *PAIR, *by_slurm)
    assert code == 1
    assert sorted(clip["state"] for clip in found["clips"]) == ["failed", "made", "made", "made"]
    assert [clip["detail"] for clip in found["clips"] if clip["detail"]] == ["it shows nothing"]


def test_an_engine_is_given_nothing_that_costs_money(
    photos: Path, log: Path, by_slurm: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSFADE_USD", "0.1")
    monkeypatch.setattr(SlurmEngine, "map", lambda *_, **__: pytest.fail("a clip that costs money was sent away"))
    code, found, _ = run(photos, "--generator=crossfade", *PAIR, *by_slurm, "--max-cost=1")
    assert code == 0
    assert len(made(log)) == 4
    assert found["cost_usd"] == pytest.approx(0.4)


# ---------------------------------------------------------------- the library


def test_bridge_photos_is_the_command(photos: Path, log: Path, tmp_path: Path) -> None:
    told = []
    options = ReconstructOptions(generator="crossfade", generation=GenerationOptions(clip_store=tmp_path / "store"))
    result = bridge_photos(
        photos, tmp_path / "out", options, [("b.jpg", "a.jpg")], progress=lambda *step: told.append(step)
    )
    assert isinstance(result, interpose_sfm.BridgeResult)
    assert result.count(ClipState.MADE) == 4
    assert result.store == tmp_path / "store"
    assert ("making clips", 4, 4) in told
