"""Several at once: two that write, and those that read what is being written."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import base_models
from interpose_sfm.colmap import reconstruction
from interpose_sfm.colmap.model_files import check_model
from interpose_sfm.products import Features
from interpose_sfm.storage.atomic import atomic_directory, atomic_write_json
from interpose_sfm.storage.feature_stores import FeatureStore
from interpose_sfm.storage.workspace import Workspace, WorkspaceBusyError
from processes import kill, start


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Repeat something in a thread; what it raises is raised at the end."""
    has_ended, errors = threading.Event(), []

    def repeat() -> None:
        while not has_ended.is_set():
            try:
                work()
            except Exception as error:  # noqa: BLE001 - it is raised again in the calling thread
                errors.append(error)
                return

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()
    if errors:
        raise errors[0]


def test_a_reader_sees_whole_models_only(tmp_path: Path) -> None:
    """Also one that knows nothing of our locks, such as a viewer; the folder may be away for a moment."""
    model = base_models.make_base(tmp_path).model
    sparse, seen = tmp_path / "sparse", []

    def look() -> None:
        if (sparse / "0").is_dir():
            files = {path.name: path.read_bytes() for path in sorted((sparse / "0").iterdir())}
            seen.append(len(files))
            assert all(files.values())

    def write() -> None:
        with atomic_directory(sparse) as folder:
            reconstruction.write_models([model], folder)

    write()
    check_model(sparse / "0")
    with meanwhile(lambda: _unless_away(look)):
        for _ in range(100):
            write()
    assert len(seen) > 10
    check_model(sparse / "0")


def _unless_away(look: Callable[[], None]) -> None:
    try:
        look()
    except FileNotFoundError:
        return


def test_a_reader_sees_whole_reports_only(tmp_path: Path) -> None:
    path, seen = tmp_path / "report.json", []
    atomic_write_json(path, {"number": 0, "text": "x" * 100_000})

    def look() -> None:
        seen.append(json.loads(path.read_text())["number"])

    with meanwhile(look):
        for number in range(100):
            atomic_write_json(path, {"number": number, "text": "x" * 100_000})
    assert len(seen) > 10
    assert seen == sorted(seen)


def test_a_second_writer_waits_outside(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from interpose_sfm.storage.workspace import Workspace\n"
        "with Workspace(Path(sys.argv[1])).locked():\n"
        "    print('locked', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = start(script, tmp_path / "out")
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "locked"
    try:
        with pytest.raises(WorkspaceBusyError), Workspace(tmp_path / "out").locked():
            pytest.fail("both are in")
    finally:
        kill(process)
    with Workspace(tmp_path / "out").locked():  # the lock of who was killed is no lock
        pass


WRITER = """
import sys
import numpy as np
from pathlib import Path
from interpose_sfm.products import Features
from interpose_sfm.storage.feature_stores import FeatureStore

with FeatureStore(Path(sys.argv[1])) as store:
    for n in range(100_000):
        points = np.full((500, 2), float(n))
        store.put(str(n), Features(points, np.ones((500, 8), np.float32), np.ones(500, np.float32), (40, 30)))
        print(n, flush=True)
"""


def test_a_store_that_another_process_writes_is_shared_and_whole_after_its_kill(tmp_path: Path) -> None:
    path = tmp_path / "features.h5"
    process = start(WRITER, path)
    assert process.stdout is not None
    try:
        for _ in range(20):
            number = int(process.stdout.readline())
            with FeatureStore(path) as store:
                found = store.get(str(number))
                assert found is not None
                np.testing.assert_array_equal(found.keypoints_px, np.full((500, 2), float(number)))
                store.put(f"ours {number}", found)
    finally:
        kill(process)
    assert number == 19
    with FeatureStore(path) as store:
        for n in range(20):
            found = store.get(str(n))
            assert found is not None
            np.testing.assert_array_equal(found.keypoints_px, np.full((500, 2), float(n)))
            assert f"ours {n}" in store
        store.put("again", Features(np.ones((1, 2)), np.ones((1, 8), np.float32), np.ones(1, np.float32), (40, 30)))
        assert store.get("again") is not None
