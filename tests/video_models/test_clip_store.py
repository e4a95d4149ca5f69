"""The folder of generated clips: what is kept, what is believed, and what a kill or a foreign file cannot spoil."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from clip_records import FRAMES, VIDEO, A, B, record
from interpose_sfm.clips.files import clip_stem, index_clips, parse_name, photo_keys
from interpose_sfm.clips.record import record_of
from interpose_sfm.clips.video import read_clip
from interpose_sfm.products import ImagePair
from interpose_sfm.storage.atomic import TEMP_PREFIX
from interpose_sfm.storage.locks import claimed
from interpose_sfm.storage.workspace import WorkspaceBusyError
from interpose_sfm.video_models.clip_store import ClipStore
from paths import HELPERS


def store(folder: Path, *names: str) -> ClipStore:
    return ClipStore(folder, names or (A, B))


# ---------------------------------------------------------------- the folder


def test_clips_are_found_by_key_and_counted(tmp_path: Path) -> None:
    folder = store(tmp_path / "new")
    assert folder.find("k0") is None
    assert not (tmp_path / "new").exists(), "looking writes nothing"
    with folder.locked():
        folder.save(record("k0"), VIDEO, 0)
        folder.save(record("k1", backwards=True), VIDEO, 1)
        folder.save(record("k2", prompt="other"), VIDEO, 0)
    moved = Path(shutil.move(tmp_path / "new", tmp_path / "moved"))
    again = store(moved)
    names = [again.find(key).path.name for key in ("k0", "k1", "k2")]  # type: ignore[union-attr]
    assert names == ["a__b_0.mp4", "a__b_1_ba.mp4", "a__b_2.mp4"]
    assert again.spent_usd() == pytest.approx(1.5)
    files = index_clips(moved, (A, B))[ImagePair(A, B)]
    assert [(file.name, file.first) for file in files] == [(names[0], A), (names[1], B), (names[2], A)]
    decoded = read_clip(files[0].path, 3, 1000)
    assert np.abs(decoded.first.astype(float) - FRAMES[0]).mean() < 4


def test_a_foreign_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a__b_0.mp4").write_bytes(b"mine")
    (tmp_path / "A__B_1_ba.json").write_text("mine too")
    folder = store(tmp_path)
    with folder.locked():
        assert folder.save(record(), VIDEO, 0).path.name == "a__b_2.mp4"
    assert (tmp_path / "a__b_0.mp4").read_bytes() == b"mine"
    assert (tmp_path / "A__B_1_ba.json").read_text() == "mine too"


def test_a_record_without_its_clip_is_completed_by_its_own_clip_only(tmp_path: Path) -> None:
    """What is left by a kill between the two."""
    folder = store(tmp_path)
    with folder.locked():
        folder.save(record(), VIDEO, 0).path.unlink()
    folder = store(tmp_path)
    assert folder.find("k0") is None
    with folder.locked():
        assert folder.save(record("k1"), VIDEO, 0).path.name == "a__b_1.mp4"
        assert folder.save(record("k0"), VIDEO, 0).path.name == "a__b_0.mp4"


def test_two_processes_exclude_each_other(tmp_path: Path) -> None:
    with (
        store(tmp_path).locked(),
        pytest.raises(WorkspaceBusyError, match="--clip-store"),
        store(tmp_path).locked(),
    ):
        raise AssertionError


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write to the clip store"), store(tmp_path / "file").locked():
        raise AssertionError


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("names", "first", "last", "expected"),
    [
        ((A, B), A, B, "a__b_0"),
        (("l/x.jpg", "r/x.jpg", "y.jpg"), "l/x.jpg", "y.jpg", "l_x__y_0"),
        (("l/x.jpg", "r/x.jpg"), "l/x.jpg", "r/x.jpg", "l_x__r_x_0"),
        (("x.jpg", "x.png"), "x.jpg", "x.png", "x.jpg__x.png_0"),
        (("a.jpg", "b.jpg", "b_0.jpg"), "a.jpg", "b.jpg", "a.jpg__b.jpg_0"),
        (("p__q.jpg", "q.jpg", "p.jpg", "q__q.jpg"), "p__q.jpg", "q.jpg", "p__q.jpg__q.jpg_0"),
        (("l/x.jpg", "l_x.jpg", "r/x.jpg", "y.jpg"), "l/x.jpg", "y.jpg", None),
        ((f"{'x' * 150}.jpg", f"{'y' * 150}.jpg"), f"{'x' * 150}.jpg", f"{'y' * 150}.jpg", None),
    ],
)
def test_names_are_short_and_unambiguous(names: tuple[str, ...], first: str, last: str, expected: str | None) -> None:
    keys = photo_keys(names)
    assert clip_stem(first, last, "_0", keys) == expected
    if expected is not None:
        assert parse_name(expected, keys) == (first, last)
        assert parse_name(f"{clip_stem(first, last, '_0_ba', keys)}", keys) == (last, first)


def test_photos_that_no_name_tells_apart_are_listed_in_clips_json(tmp_path: Path) -> None:
    names = ("l/x.jpg", "l_x.jpg", "r/x.jpg", "y.jpg")
    folder = store(tmp_path, *names)
    with folder.locked():
        for key, first in (("k0", "l/x.jpg"), ("k1", "l_x.jpg")):
            folder.save(record(key, first, "y.jpg", backwards=key == "k1"), VIDEO, 0)
    files = index_clips(tmp_path, names)
    assert [(f.first, f.last) for f in files[ImagePair("l/x.jpg", "y.jpg")]] == [("l/x.jpg", "y.jpg")]
    assert [(f.first, f.last) for f in files[ImagePair("l_x.jpg", "y.jpg")]] == [("y.jpg", "l_x.jpg")]
    (tmp_path / "clips.json").unlink()
    with store(tmp_path, *names).locked():
        assert len(index_clips(tmp_path, names)) == 2


# ---------------------------------------------------------------- notes


def test_notes_survive_and_end_with_their_clip(tmp_path: Path) -> None:
    folder = store(tmp_path)
    with folder.locked():
        assert folder.task("k0").read() == {}
        folder.task("k0", 0.25).write({"task": "17"})
        folder.task("k1", 0.5).write({"task": "18"})
        folder.task("k2").refuse("shows a person")
        again = store(tmp_path)
        assert again.task("k0").read() == {"task": "17"}
        assert again.task("k2").refusal == "shows a person"
        assert again.task("k0").refusal == ""
        assert again.spent_usd() == pytest.approx(0.75)
        assert again.spent_usd({"k1": 0.1}) == pytest.approx(0.35)
        folder.save(record("k0"), VIDEO, 0)
        assert folder.task("k0").read() == {}
        assert folder.spent_usd() == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "notes": {"a": 1}}', '{"format": 9}'])
def test_damaged_notes_are_not_taken_for_none(text: str, tmp_path: Path) -> None:
    """They may be of a clip that was paid for."""
    task = store(tmp_path).task("k0")
    task.write({"task": "17"})
    task.path.write_text(text)
    with pytest.raises(ValueError, match="paid for") as caught:
        task.read()
    assert str(task.path) in str(caught.value)


WRITE_FOREVER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from clip_records import A, B, VIDEO, record
from interpose_sfm.video_models.clip_store import ClipStore
folder = ClipStore(Path(sys.argv[1]), (A, B))
with folder.locked():
    for number in range(100000):
        if folder.find(f"k{{number}}"):
            continue
        folder.task(f"k{{number}}").write({{"task": str(number)}})
        folder.save(record(f"k{{number}}"), VIDEO, number)
"""


def test_a_kill_at_any_moment_leaves_whole_clips(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE_FOREVER.format(tests=str(HELPERS)), str(tmp_path)]
    for round_ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("*.mp4"))) < 5 * (round_ + 1) and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read().decode()  # type: ignore[union-attr]
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    clips = sorted(tmp_path.glob("*.mp4"))
    assert len(clips) >= 10
    for clip in clips:
        found = record_of(clip)
        assert found is not None
        assert store(tmp_path).find(found.key).path == clip  # type: ignore[union-attr]
    with store(tmp_path).locked():
        assert not [name for name in os.listdir(tmp_path) if name.startswith(TEMP_PREFIX)]


def test_a_healthy_folder_is_read_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with store(tmp_path).locked():
        store(tmp_path).save(record(), VIDEO, 0)
    for name in ("prompts.json", "notes.txt", "clips.json"):
        (tmp_path / name).write_text("[]")
    (tmp_path / "old__folder").mkdir()
    assert store(tmp_path).find("k0") is not None
    assert not caplog.text


# ---------------------------------------------------------------- several writers


def test_several_may_write_where_nobody_spends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = store(tmp_path), store(tmp_path)
    with first.shared(), second.shared():
        with first.making("0" * 64, wait=False) as is_mine, second.making("0" * 64, wait=False) as is_theirs:
            assert is_mine
            assert not is_theirs
        with pytest.raises(WorkspaceBusyError), store(tmp_path).locked():
            pytest.fail("who spends is not alone")
    monkeypatch.setattr("interpose_sfm.video_models.clip_store._CLEANING_S", 0.1)
    with first.locked(), pytest.raises(WorkspaceBusyError, match="process"), second.shared():
        pytest.fail("somebody is spending")


def test_who_begins_while_another_cleans_up_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cleans, goes_on = threading.Event(), threading.Event()

    def clean_up(_: ClipStore) -> None:
        cleans.set()
        goes_on.wait(60)

    def share() -> None:
        with store(tmp_path).shared():
            pass

    monkeypatch.setattr(ClipStore, "_clean_up", clean_up)
    first = threading.Thread(target=share)
    first.start()
    assert cleans.wait(60)
    threading.Timer(0.3, goes_on.set).start()
    with store(tmp_path).shared():
        assert goes_on.is_set()
    first.join()


def test_claims_of_killed_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / f"{'0' * 64}.claim").touch()
    with store(tmp_path).shared():
        assert not list((tmp_path / "tasks").iterdir())


@pytest.mark.parametrize("how", ["shared", "locked"])
def test_a_claim_that_is_held_stays_when_another_opens_the_store(tmp_path: Path, how: str) -> None:
    """Pairs are described before the store is opened; without its claim a pair is described once more."""
    claim, written = tmp_path / "0123.claim", tmp_path / f"{TEMP_PREFIX}1-2"
    with claimed(claim):
        written.touch()
        with getattr(store(tmp_path), how)(), claimed(claim, wait=False) as is_free:
            assert not is_free
        assert written.exists()
    assert not claim.exists()
    with getattr(store(tmp_path), how)():
        assert not written.exists()


def test_names_are_chosen_by_one_at_a_time(tmp_path: Path) -> None:
    """Two clips of a pair that would both like to be number 0."""
    names = []

    def write(key: str) -> None:
        folder = store(tmp_path)
        with folder.shared(), folder.making(key, wait=True) as is_to_make:
            assert is_to_make
            names.append(folder.save(record(key), f"video {key}".encode(), 0).path.name)

    threads = [threading.Thread(target=write, args=(f"{number:064}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 6
    assert len(store(tmp_path).records()) == 6
