"""The HDF5 stores: exact round trips, kills at any moment, damaged files."""

from __future__ import annotations

import ast
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from interpose_sfm.products import (
    DepthSamples,
    Evidence,
    Features,
    Intrinsics,
    Matches,
    Pose,
    PoseHypothesis,
    PoseStatus,
    ViewPoses,
)
from interpose_sfm.storage.atomic import TEMP_PREFIX
from interpose_sfm.storage.content_keys import store_key
from interpose_sfm.storage.digests import SealState, break_seal, seal_state
from interpose_sfm.storage.feature_stores import FeatureStore, MatchStore
from interpose_sfm.storage.hypotheses import HypothesisStore
from interpose_sfm.storage.item_files import StoreError
from interpose_sfm.storage.stores import Store
from paths import ROOT
from sealed import edited
from small_disks import make_read_only

KEYS = [
    "a.jpg", "sub/folder/a.jpg", "/", ".", "..", "", " ", "Ünï côde/写真 📷.jpg", "a\u0308", "ä", "x" * 3000,
    "a\nb", "a\\b", store_key("a", "b/c"), "key", "0" * 64,
]  # fmt: skip


def features(seed: int, n: int = 20, d: int = 8) -> Features:
    rng = np.random.default_rng(seed)
    return Features(
        keypoints_px=rng.uniform(0, 4000, (n, 2)),
        descriptors=rng.normal(size=(n, d)).astype(np.float32),
        scores=rng.uniform(size=n).astype(np.float32),
        size_px=(4000 + seed, 3000),
    )


def features_of(keypoints_px: Any, descriptors: Any, scores: Any) -> Features:
    return Features(keypoints_px, descriptors, scores, (1, 1))


def matches(seed: int, n: int = 20) -> Matches:
    rng = np.random.default_rng(seed)
    return Matches(
        indices=rng.integers(0, 2**32, (n, 2), dtype=np.uint32), scores=rng.uniform(size=n).astype(np.float32)
    )


def hypotheses(seed: int) -> tuple[PoseHypothesis, ...]:
    rng = np.random.default_rng(seed)
    return tuple(
        PoseHypothesis(
            clip=clip,
            frames=frames,
            status=status,
            b_from_a=Pose(rng.normal(size=(3, 3)), rng.normal(size=3)) if has_pose else None,
            spread_deg=spread,
            num_inliers=inliers,
        )
        for clip, frames, status, has_pose, spread, inliers in [
            ("", (), PoseStatus.FEW_MATCHES, False, 180.0, 0),
            ("morph-0 ä", (1, 5, 9), PoseStatus.OK, True, 0.1, 123),
            ("morph-0", (), PoseStatus.DISCONNECTED, False, float("inf"), 2),
            ("clip/1", (7,), PoseStatus.ROTATION_ONLY, True, 3.5, 45),
        ]
    )


def estimates(seed: int) -> tuple[PoseHypothesis, ...]:
    """Hypotheses with what is behind them: everything, or next to nothing."""
    rng = np.random.default_rng(seed)
    pose = Pose(rng.normal(size=(3, 3)), rng.normal(size=3))
    full = ViewPoses(
        PoseStatus.OK,
        (pose, None, pose),
        spread_deg=0.25,
        points_a_px=rng.uniform(size=(5, 2)),
        points_b_px=rng.uniform(size=(5, 2)),
        depths_a=np.array([1.0, np.nan, 2.0, 3.0, 4.0]),
        depths_b=rng.uniform(size=5),
        evidence=Evidence(120, 100, 100 / 120, 0.75, 0.5, 12.25, True, 0.875, 75.5, 99.25),
        seen_a=DepthSamples(rng.uniform(size=(4, 2)), rng.uniform(size=4)),
        seen_b=DepthSamples(),
        intrinsics=(
            Intrinsics(640, 480, 512.5, 320.0, 240.0, (-0.01,), True),
            Intrinsics(640, 480, 300.0, 320.0, 240.0, (0.1, 0.2, -0.3, 0.4), False, "OPENCV_FISHEYE", 1.25),
            Intrinsics(640, 480, 512.5, 320.0, 240.0, (), model="SIMPLE_PINHOLE"),
        ),
    )
    nothing = ViewPoses(PoseStatus.DISCONNECTED, (None, None))
    return tuple(
        replace(hypothesis, estimate=estimate)
        for hypothesis, estimate in zip(hypotheses(seed), (full, nothing, None, full), strict=True)
    )


def assert_equal(found: Any, expected: Any) -> None:
    """Equal values, bits and types all the way down."""
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())
    elif isinstance(expected, tuple):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_equal(a, b)
    elif hasattr(expected, "__dataclass_fields__"):
        for name in expected.__dataclass_fields__:
            assert_equal(getattr(found, name), getattr(expected, name))
    else:
        assert found == expected


CASES: list[tuple[type[Store[Any]], Any]] = [
    (FeatureStore, features(1)),
    (FeatureStore, features(2, n=0)),
    (FeatureStore, features(3, n=0, d=0)),
    (FeatureStore, features(4, n=1, d=128)),
    (
        FeatureStore,
        Features(
            np.array([[np.nan, -0.0]]), np.full((1, 3), np.inf, np.float32), np.array([1e-45], np.float32), (1, 2**40)
        ),
    ),
    (MatchStore, matches(1)),
    (MatchStore, matches(2, n=0)),
    (HypothesisStore, ()),
    (HypothesisStore, hypotheses(1)),
    (HypothesisStore, hypotheses(2)[:1]),
    (HypothesisStore, hypotheses(3)[1:2] * 44),
    (HypothesisStore, estimates(4)),
]


@pytest.mark.parametrize(("kind", "value"), CASES)
def test_values_come_back_exactly_before_and_after_closing(tmp_path: Path, kind: type[Store[Any]], value: Any) -> None:
    path = tmp_path / "store.h5"
    with kind(path) as store:
        assert store.get("a/b") is None
        store.put("a/b", value)
        assert_equal(store.get("a/b"), value)
    with kind(path) as store:
        assert_equal(store.get("a/b"), value)
        assert store.get("a") is None
    assert os.listdir(tmp_path) == ["store.h5"]


def test_estimates_with_the_evidence_of_earlier_versions_are_left_out(tmp_path: Path) -> None:
    """Their poses are good; the estimate is made again, with all its cues."""
    with HypothesisStore(tmp_path / "h.h5") as store:
        store.put("x", estimates(4))
    with edited(tmp_path / "h.h5") as file:
        (group,) = file.values()
        of_first = group["estimates/0"]
        cues = of_first["evidence"][()]
        del of_first["evidence"]
        of_first["evidence"] = cues[:7]
    with HypothesisStore(tmp_path / "h.h5") as store:
        found = store.get("x")
    assert found is not None
    assert_equal(found, (replace(estimates(4)[0], estimate=None), *estimates(4)[1:]))


def test_any_text_is_a_key(tmp_path: Path) -> None:
    with MatchStore(tmp_path / "m.h5") as store:
        for seed, key in enumerate(KEYS):
            assert key not in store
            store.put(key, matches(seed))
            assert key in store
        assert store.keys() == sorted(KEYS)
    with MatchStore(tmp_path / "m.h5") as store:
        assert store.keys() == sorted(KEYS)
        assert len(store) == len(KEYS)
        for seed, key in enumerate(KEYS):
            assert_equal(store.get(key), matches(seed))


@pytest.mark.parametrize("key", ["a\0b", "\udcff", 1, None, b"a"])
def test_keys_that_hdf5_cannot_hold_are_refused(tmp_path: Path, key: Any) -> None:
    with MatchStore(tmp_path / "m.h5") as store:
        for call in (store.get, store.__contains__, lambda key: store.put(key, matches(0))):
            with pytest.raises(ValueError, match="expected text"):
                call(key)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (FeatureStore, features_of(np.zeros((2, 2), np.float32), np.zeros((2, 4), np.float32), np.zeros(2, np.float32)),
         r"keypoints_px: got float32 \(2, 2\), expected float64 \(2, 2\)"),
        (FeatureStore, features_of(np.zeros((2, 3)), np.zeros((2, 4), np.float32), np.zeros(2, np.float32)),
         "keypoints_px"),
        (FeatureStore, features_of(np.zeros((2, 2)), np.zeros((3, 4), np.float32), np.zeros(2, np.float32)),
         r"descriptors: got float32 \(3, 4\), expected float32 \(2, any\)"),
        (FeatureStore, features_of(np.zeros((2, 2)), np.zeros((2, 4)), np.zeros(2, np.float32)), "descriptors"),
        (FeatureStore, features_of(np.zeros((2, 2)), np.zeros((2, 4), np.float32), np.zeros(3, np.float32)), "scores"),
        (MatchStore, Matches(np.zeros((2, 2), np.int64), np.zeros(2, np.float32)), "indices"),
        (MatchStore, Matches(np.zeros((2, 2), np.uint32), np.zeros((2, 1), np.float32)), "scores"),
        (HypothesisStore, (PoseHypothesis("c", (), PoseStatus.OK, Pose(np.zeros((3, 4)), np.zeros(3)), 0.0, 0),),
         "rotation"),
        (HypothesisStore, (PoseHypothesis("c\0", (), PoseStatus.OK, None, 0.0, 0),), "clips"),
    ],
)  # fmt: skip
def test_what_could_not_come_back_exactly_is_refused(
    tmp_path: Path, kind: type[Store[Any]], value: Any, message: str
) -> None:
    with kind(tmp_path / "s.h5") as store:
        with pytest.raises(ValueError, match=message):
            store.put("a", value)
        assert "a" not in store
        assert store.keys() == []


def test_a_put_replaces_and_the_file_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    sizes = []
    for round_ in range(4):
        with FeatureStore(path) as store:
            for i in range(5):
                store.put(f"{i}", features(i, n=500))
                store.put(f"{i}", features(i + round_, n=500))
                assert_equal(store.get(f"{i}"), features(i + round_, n=500))
        sizes.append(path.stat().st_size)
    with FeatureStore(path) as store:
        assert len(store) == 5
        for i in range(5):
            assert_equal(store.get(f"{i}"), features(i + 3, n=500))
    assert sizes[0] > 5 * 500 * (8 * 4 + 4 + 16)
    assert sizes[-1] < 1.1 * sizes[0]


def test_a_value_does_not_change_with_the_callers_arrays(tmp_path: Path) -> None:
    with MatchStore(tmp_path / "m.h5") as store:
        value = matches(1)
        store.put("a", value)
        value.scores[:] = 7
        assert_equal(store.get("a"), matches(1))
        found = store.get("a")
        assert found is not None
        found.scores[:] = 8
        assert_equal(store.get("a"), matches(1))


def test_a_person_can_read_the_file(tmp_path: Path) -> None:
    with FeatureStore(tmp_path / "f.h5") as store:
        store.put("sub/ä.jpg", features(1))
    with HypothesisStore(tmp_path / "h.h5") as hypothesis_store:
        hypothesis_store.put("pair", hypotheses(1))
    with h5py.File(tmp_path / "f.h5") as file:
        assert file.attrs["format"] == "interpose_sfm features"
        assert file.attrs["format_version"] == 1
        (group,) = file.values()
        assert group.attrs["key"] == "sub/ä.jpg"
        assert set(group) == {"keypoints_px", "descriptors", "scores", "size_px"}
        assert group["descriptors"].dtype == np.float32
    with h5py.File(tmp_path / "h.h5") as file:
        (group,) = file.values()
        assert list(group["statuses"].asstr()) == ["too few matches", "ok", "views do not connect", "pure rotation"]
        assert list(group["frames"]) == [1, 5, 9, 7]
        assert list(group["frame_counts"]) == [0, 3, 0, 1]
        assert list(group["has_pose"]) == [False, True, False, True]
        assert np.isnan(group["rotations"][0]).all()


def test_appending_writes_the_file_once(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    with FeatureStore(path) as store:
        for i in range(30):
            store.put(f"old {i}", features(i))
    before = path.stat()
    with FeatureStore(path) as store:
        for i in range(30):
            store.put(f"new {i}", features(i))
        during = path.stat()
        assert (during.st_ino, during.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        # Parts hold one item each, whatever the store holds.
        largest = max(part.stat().st_size for part in (tmp_path / "f.h5.parts").iterdir())
        assert largest < before.st_size / 3
        assert len(store) == 60
    assert path.stat().st_ino != before.st_ino
    after = path.stat()
    with FeatureStore(path) as store:
        assert len(store) == 60
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_threads_may_share_a_store(tmp_path: Path) -> None:
    with FeatureStore(tmp_path / "f.h5") as store:

        def work(thread: int) -> None:
            for i in range(10):
                store.put(f"{thread}/{i}", features(100 * thread + i))
                assert_equal(store.get(f"{thread}/{i}"), features(100 * thread + i))

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    with FeatureStore(tmp_path / "f.h5") as store:
        assert len(store) == 40
        for thread in range(4):
            assert_equal(store.get(f"{thread}/3"), features(100 * thread + 3))


def test_an_error_in_the_block_keeps_what_was_put(tmp_path: Path) -> None:
    def interrupted() -> None:
        with MatchStore(tmp_path / "m.h5") as store:
            store.put("a", matches(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with MatchStore(tmp_path / "m.h5") as store:
        assert_equal(store.get("a"), matches(1))


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = MatchStore(tmp_path / "m.h5")
    store.put("a", matches(1))
    store.close()
    store.close()
    for call in (store.get, store.__contains__, lambda key: store.put(key, matches(0)), lambda key: store.keys()):
        with pytest.raises(ValueError, match="is closed"):
            call("a")


# ---------------------------------------------------------------- two at a time


def test_what_one_puts_the_other_finds_and_the_last_to_close_folds(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with MatchStore(path) as store:
        store.put("old", matches(0))
    with MatchStore(path) as first:
        with MatchStore(path) as second:
            first.put("a", matches(1))
            second.put("b", matches(2))
            for store in (first, second):
                assert store.keys() == ["a", "b", "old"]
                for seed, key in enumerate(("old", "a", "b")):
                    assert key in store
                    assert_equal(store.get(key), matches(seed))
        with h5py.File(path) as file:
            assert len(file) == 1  # the first one may be reading it
        assert_equal(first.get("b"), matches(2))
    assert os.listdir(tmp_path) == ["m.h5"]
    with MatchStore(path) as store:
        assert store.keys() == ["a", "b", "old"]


def test_a_damaged_part_of_another_process_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with MatchStore(path) as first, MatchStore(path) as second:
        first.put("a", matches(1))
        (part,) = (tmp_path / "m.h5.parts").glob("*.h5")
        part.write_bytes(part.read_bytes()[:-10])
        assert "a" not in second
        assert second.get("a") is None
        assert second.keys() == []


def test_of_several_that_want_one_thing_one_makes_it(tmp_path: Path) -> None:
    made = []

    def want(number: int) -> None:
        with MatchStore(tmp_path / "m.h5") as store, store.making("a") as found:
            if found is None:
                time.sleep(0.2)
                made.append(number)
                store.put("a", matches(1))

    threads = [threading.Thread(target=want, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert os.listdir(tmp_path) == ["m.h5"]


def test_others_can_read_the_file_while_a_store_is_open(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with MatchStore(path) as store:
        store.put("a", matches(1))
    with h5py.File(path) as file:
        with MatchStore(path) as store:
            store.put("b", matches(2))
            assert len(file) == 1
        assert [group.attrs["key"] for group in file.values()] == ["a"]
    with h5py.File(path) as file:
        assert len(file) == 2


# ---------------------------------------------------------------- kills


WRITER = """
import sys
from pathlib import Path
import numpy as np
from interpose_sfm.products import Matches
from interpose_sfm.storage.feature_stores import MatchStore
path, first = Path(sys.argv[1]), int(sys.argv[2])
print("start")
for i in range(first, 10**6, 4):
    with MatchStore(path) as store:
        for j in range(i, i + 4):
            n = 1000 + j % 5
            store.put(f"ä/{j}", Matches(np.full((n, 2), j, np.uint32), np.full(n, j, np.float32)))
            print(j)
        # Replaced again and again: folding takes its slow way too.
        store.put("last", Matches(np.full((3, 2), i + 3, np.uint32), np.zeros(3, np.float32)))
        print(f"last {i + 3}")
"""


def test_no_kill_loses_an_acknowledged_item_or_damages_the_file(tmp_path: Path) -> None:
    rng = random.Random(0)
    path = tmp_path / "m.h5"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    acknowledged: set[int] = set()
    last = -1
    leftovers = 0
    for round_ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", WRITER, str(path), str(round_ * 1000)],
            stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "start\n"
        # By progress and not by the clock, so that a busy machine tests the same. Every other kill hits a fold.
        begin = time.monotonic()
        lines = [process.stdout.readline() for _ in range(5 if round_ % 2 else rng.randint(6, 9))]
        time.sleep(rng.uniform(0.0, 1.0) * (time.monotonic() - begin) / len(lines))
        process.send_signal(signal.SIGKILL)
        for line in [*lines, *process.communicate()[0].splitlines()]:
            if line.startswith("last "):
                last = max(last, int(line[5:]))
            else:
                acknowledged.add(int(line))
        leftovers += (tmp_path / "m.h5.parts").exists()
        if path.exists():
            with h5py.File(path) as file:  # whole at any moment, without our help
                assert all(set(group) == {"indices", "scores"} for group in file.values())
        if round_ % 3 == 2:  # otherwise the next writer is the one that recovers
            continue
        with MatchStore(path) as store:
            for j in acknowledged:
                value = store.get(f"ä/{j}")
                assert value is not None, j
                assert value.indices.shape == (1000 + j % 5, 2)
                assert (value.indices == j).all()
                assert (value.scores == j).all()
            if last >= 0:
                value = store.get("last")
                assert value is not None
                assert value.indices[0, 0] >= last
        assert os.listdir(tmp_path) == ["m.h5"]
    assert len(acknowledged) >= 8 * 4
    assert leftovers >= 4


CRASHER = """
import os, signal, shutil, sys
from pathlib import Path
import h5py
import numpy as np
from interpose_sfm.products import Matches
from interpose_sfm.storage.feature_stores import MatchStore

root = Path(sys.argv[1])
path = root / "run" / "m.h5"
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.copyfile")

def value(number):
    return Matches(np.full((5, 2), number, np.uint32), np.full(5, number, np.float32))

def scenario(log):
    for items in ({"c": 2, "b": 3}, {"d": 4}):
        with MatchStore(path) as store:
            for key, number in items.items():
                store.put(key, value(number))
                os.write(log, f"{key}={number} ".encode())

def crash_at(step):  # at the step-th file operation below the root, just before it happens
    left = [step]
    def hook(event, arguments):
        if event in EVENTS and any(str(a).startswith(str(root)) for a in arguments[:2]):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

step = 0
while True:
    step += 1
    shutil.rmtree(root / "run", ignore_errors=True)
    with MatchStore(path) as store:
        store.put("a", value(0))
        store.put("b", value(1))
    reader, log = os.pipe()
    child = os.fork()
    if child == 0:
        crash_at(step)
        scenario(log)
        os._exit(0)
    os.close(log)
    _, status = os.waitpid(child, 0)
    acknowledged = dict(item.split("=") for item in os.read(reader, 1000).decode().split())
    os.close(reader)
    with h5py.File(path) as file:
        whole = len(file)
    with MatchStore(path) as store:
        found = {key: int(store.get(key).indices[0, 0]) for key in store.keys()}
    print(step, os.WIFSIGNALED(status), sorted(os.listdir(path.parent)) == ["m.h5"], acknowledged, found, sep=";")
    if not os.WIFSIGNALED(status):
        break
"""


def test_a_crash_before_any_file_operation_loses_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", CRASHER, str(tmp_path)], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 0, run.stderr
    steps = [line.split(";") for line in run.stdout.splitlines()]
    assert len(steps) > 20
    assert [step[1] for step in steps] == ["True"] * (len(steps) - 1) + ["False"]
    written = ["a=0 b=1", "c=2", "b=3", "d=4"]  # in this order: what is found is what was there before some point
    for step, _, is_clean, acknowledged, found in steps:
        items = ast.literal_eval(found)
        expected: dict[str, int] = {}
        possible = []
        for put in written:
            expected = expected | {key: int(number) for key, number in (item.split("=") for item in put.split())}
            possible.append(expected)
        count = len(ast.literal_eval(acknowledged))
        assert items in possible[count : count + 2], f"crash before operation {step}"
        assert is_clean == "True", step


def test_a_kill_after_the_file_was_replaced_but_before_its_parts_were_removed(tmp_path: Path) -> None:
    path, parts = tmp_path / "m.h5", tmp_path / "m.h5.parts"
    store = MatchStore(path)
    for i in range(4):
        store.put(f"{i}", matches(i))
    shutil.copytree(parts, tmp_path / "copy")
    store.close()
    parts.mkdir()
    for part in sorted((tmp_path / "copy").glob("*.h5"))[1:3]:  # some are removed already
        shutil.copy(part, parts)
    (parts / f"{TEMP_PREFIX}fold").write_bytes(b"half")
    with MatchStore(path) as store:
        assert store.keys() == ["0", "1", "2", "3"]
        for i in range(4):
            assert_equal(store.get(f"{i}"), matches(i))
    assert not parts.exists()


def test_the_last_to_close_removes_what_a_killed_worker_left(tmp_path: Path) -> None:
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path;"
        "from interpose_sfm.storage.feature_stores import MatchStore; store = MatchStore(Path(sys.argv[1]));"
        "claim = store.making('a'); claim.__enter__(); os._exit(1)"
    )
    with MatchStore(tmp_path / "m.h5") as store:
        store.put("b", matches(1))
        subprocess.run([sys.executable, "-c", script, tmp_path / "m.h5", ROOT], check=False)
        assert list(tmp_path.glob("m.h5.parts/*.claim"))
    assert os.listdir(tmp_path) == ["m.h5"]


def test_a_store_that_was_never_closed_is_complete_when_opened_again(tmp_path: Path) -> None:
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; import numpy as np;"
        "from interpose_sfm.products import Matches; from interpose_sfm.storage.feature_stores import MatchStore;"
        "store = MatchStore(Path(sys.argv[1]));"
        "store.put('a', Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "m.h5", ROOT], check=False)
    assert not (tmp_path / "m.h5").exists()
    with MatchStore(tmp_path / "m.h5") as store:
        assert store.keys() == ["a"]
    assert os.listdir(tmp_path) == ["m.h5"]


# ---------------------------------------------------------------- taken over


def files_in(folder: Path) -> dict[str, tuple[bytes, int]]:
    """What lies in a folder, and when it was written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in (folder, *sorted(folder.rglob("*")))
    }


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A store as a kill leaves it: a file, and parts of which one replaces an item of the file and one is cut off."""
    path = tmp_path / "killed" / "m.h5"
    path.parent.mkdir()
    with MatchStore(path) as store:
        store.put("in the file", matches(1))
        store.put("replaced", matches(2))
    with MatchStore(path) as store:
        store.put("replaced", matches(3))
        store.put("a part", matches(4))
        shutil.copytree(tmp_path / "killed", tmp_path / "copy")
    shutil.rmtree(tmp_path / "killed")
    shutil.move(tmp_path / "copy", tmp_path / "killed")
    (path.with_name("m.h5.parts") / ("0" * 64 + ".h5")).write_bytes(b"cut off")
    (path.with_name("m.h5.parts") / f"{TEMP_PREFIX}1-2").write_bytes(b"half")
    return path


def test_a_store_is_taken_over_and_left_as_it_is(
    tmp_path: Path, killed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = files_in(killed.parent)
    with MatchStore(tmp_path / "m.h5") as store:
        store.put("in the file", matches(7))
        assert store.take(killed) == 2
        assert store.take(killed) == 0
        assert store.take(tmp_path / "nowhere.h5") == 0
        assert store.keys() == ["a part", "in the file", "replaced"]
        for key, seed in (("in the file", 7), ("replaced", 3), ("a part", 4)):
            assert_equal(store.get(key), matches(seed))
    assert files_in(killed.parent) == before
    assert caplog.text.count("0.h5 is damaged: its matches are not taken") == 2


def test_a_store_that_cannot_be_written_is_taken_over(tmp_path: Path, small_disk: Path, killed: Path) -> None:
    shutil.copytree(killed.parent, small_disk / "killed")
    make_read_only(small_disk)
    with MatchStore(tmp_path / "m.h5") as store:
        assert store.take(small_disk / "killed" / "m.h5") == 3


def test_what_another_run_puts_meanwhile_can_be_taken_over(tmp_path: Path) -> None:
    """Also where that run ends, and folds its parts, after they have been listed."""
    other = MatchStore(tmp_path / "other.h5")

    class CloseFirst(MatchStore):
        def _take_file(self, *arguments: Any) -> int:
            other.close()
            return super()._take_file(*arguments)

    other.put("a", matches(1))
    with MatchStore(tmp_path / "m.h5") as store:
        assert store.take(other.path) == 1
    other.put("b", matches(2))
    with CloseFirst(tmp_path / "m.h5") as store:
        assert store.take(other.path) == 1
        assert_equal(store.get("b"), matches(2))


def test_a_damaged_store_is_not_taken_over_and_left_as_it_is(
    tmp_path: Path, killed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.truncate(killed, killed.stat().st_size // 2)
    before = files_in(killed.parent)
    with MatchStore(tmp_path / "m.h5") as store:
        assert store.take(killed) == 2
        assert store.keys() == ["a part", "replaced"]
        with FeatureStore(tmp_path / "f.h5") as other:
            other.put("x", features(1))
        with pytest.raises(StoreError, match="does not hold matches"):
            store.take(other.path)
    assert files_in(killed.parent) == before
    assert f"{killed} is damaged: its matches are not taken" in caplog.text


# ---------------------------------------------------------------- damaged files


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "f.h5"
    with FeatureStore(path) as store:
        for i in range(3):
            store.put(f"{i}", features(i))
    return path


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("with_parts", [False, True])
def test_a_truncated_file_is_named_and_made_again(
    stored: Path, share: float, with_parts: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if with_parts:
        store = FeatureStore(stored)
        store.put("new", features(9))
        kept = stored.with_name("kept")
        shutil.copytree(stored.with_name("f.h5.parts"), kept)
        store.close()
        kept.rename(stored.with_name("f.h5.parts"))
    os.truncate(stored, int(share * stored.stat().st_size))
    cut = stored.read_bytes()
    with FeatureStore(stored) as store:
        assert store.keys() == (["new"] if with_parts else [])
        assert f"{stored} is damaged" in caplog.text
        store.put("0", features(0))
    assert stored.with_name("f.h5.damaged").read_bytes() == cut
    caplog.clear()
    with FeatureStore(stored) as store:
        assert_equal(store.get("0"), features(0))
    assert caplog.text == ""


def test_no_flipped_bit_gets_through(stored: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, rng = stored.read_bytes(), random.Random(0)
    for _ in range(40):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        stored.write_bytes(flipped)
        with FeatureStore(stored) as store:
            assert store.keys() == []
        assert "is damaged" in caplog.text
        caplog.clear()


def test_a_file_of_an_earlier_version_is_gone_on_with(stored: Path, caplog: pytest.LogCaptureFixture) -> None:
    break_seal(stored)
    with h5py.File(stored, "r+") as file:
        del file.attrs["is_sealed"]
    for _ in range(2):
        with FeatureStore(stored) as store:
            assert_equal(store.get("1"), features(1))
            store.put("new", features(7))
        assert seal_state(stored) is SealState.WHOLE
    assert caplog.text == ""


def test_a_file_that_has_lost_its_seal_is_made_again(stored: Path, caplog: pytest.LogCaptureFixture) -> None:
    break_seal(stored)
    with FeatureStore(stored) as store:
        assert store.keys() == []
    assert "f.h5 is damaged" in caplog.text


@pytest.mark.parametrize("locked", [False, True])
def test_trouble_with_the_system_is_not_called_damage(stored: Path, locked: bool) -> None:
    if locked:  # HDF5's own lock is held, as by a viewer: reading must still work
        import fcntl

        with stored.open("rb+") as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            with FeatureStore(stored) as store:
                assert_equal(store.get("1"), features(1))
        return
    stored.unlink()
    stored.mkdir()
    with pytest.raises(IsADirectoryError):
        FeatureStore(stored)


def swap(file: h5py.File) -> None:
    first, second = list(file)[:2]
    file.move(first, "between")
    file.move(second, first)
    file.move("between", second)


def claim_more_than_there_is(file: h5py.File) -> None:
    for group in file.values():
        del group["scores"]
        group.create_dataset("scores", shape=(2**60,), dtype=np.float32, chunks=(2**20,))


def link_elsewhere(file: h5py.File) -> None:
    for group in file.values():
        del group["scores"]
        group["scores"] = h5py.ExternalLink("other.h5", "/scores")


def drop_an_array(file: h5py.File) -> None:
    for group in file.values():
        del group["scores"]


def cut_an_array(file: h5py.File) -> None:
    for group in file.values():
        del group["scores"]
        group["scores"] = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    "forge", [swap, claim_more_than_there_is, link_elsewhere, drop_an_array, cut_an_array], ids=lambda f: f.__name__
)
def test_items_of_a_forged_file_are_named_and_not_used(
    stored: Path, forge: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with edited(stored) as file:
        names = [group.attrs["key"] for group in file.values()]
        forge(file)
    with FeatureStore(stored) as store:
        found = [store.get(name) for name in names]
    assert found[:2] == [None, None]
    assert caplog.text.count("f.h5 is damaged") >= 2


def test_a_damaged_part_is_named_and_made_again(stored: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = stored.with_name("f.h5.parts")
    parts.mkdir()
    (parts / ("0" * 64 + ".h5")).write_bytes(b"rubbish")
    with FeatureStore(stored) as store:
        assert store.keys() == ["0", "1", "2"]
    assert re.search(r"f\.h5\.parts/0+\.h5 is damaged", caplog.text)


def test_a_file_of_another_kind_is_refused_and_kept(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"does not hold matches of interpose_sfm .*move it away"):
        MatchStore(stored)
    with FeatureStore(stored) as store:
        assert len(store) == 3
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["data"] = 1
    with FeatureStore(tmp_path / "mine.h5") as store:
        assert store.keys() == []
    assert sorted(os.listdir(tmp_path)) == ["f.h5", "mine.h5.damaged"]


def test_a_file_of_another_version_is_refused(stored: Path) -> None:
    with edited(stored) as file:
        file.attrs["format_version"] = 2
    with pytest.raises(StoreError, match="format version 2, this version of interpose_sfm reads 1; update"):
        FeatureStore(stored)


@pytest.mark.parametrize("room", [-4000, 256])
def test_a_full_disk_is_not_called_damage(stored: Path, room: int) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = FeatureStore(stored)
    store.put("small", features(5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (stored.stat().st_size + room, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large|errno = 27"):
            store.put("big", features(6, n=10_000))
        with pytest.raises(OSError, match="File too large" if room < 0 else r"cannot write a new version of .*f\.h5"):
            store.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    with FeatureStore(stored) as store:
        assert store.keys() == ["0", "1", "2", "small"]
        assert_equal(store.get("small"), features(5))
