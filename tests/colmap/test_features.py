from __future__ import annotations

import _thread
import itertools
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

from interpose_sfm.colmap import databases, features
from interpose_sfm.colmap.cameras import import_cameras
from interpose_sfm.colmap.features import cancellable, extract_and_match
from interpose_sfm.colmap.listable_names import listable_names
from interpose_sfm.options import BaseOptions, CameraMode, PhotoOptions
from interpose_sfm.pairs.view_graph import read_verified
from interpose_sfm.photos.collect import collect_photos
from interpose_sfm.products import ImagePair, Intrinsics
from interpose_sfm.synthetic import Scene, Viewpoint, orbit, render

OPTIONS = BaseOptions(num_threads=1)
PATIENCE_S = 20.0
SEED = 5


# ---------------------------------------------------------------- extraction and matching


@pytest.fixture(scope="module")
def image_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five small photos of one facade."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    target = (-4.0, -1.0, 1.8)
    scene = Scene.courtyard(0, texels_per_m=32)
    intrinsics = Intrinsics(320, 240, 290.0, 160.0, 120.0)
    names = ["a.png", "b.png", "sub/ç.png", "d.png", "e.png"]
    for name, pose in zip(names, orbit(Viewpoint(-24, 10, 2, target), Viewpoint(-8, 10, 2.4, target), 5), strict=True):
        Image.fromarray(render(scene, intrinsics, pose).image).save(folder / name)
    return folder


def new_database(folder: Path, image_dir: Path) -> tuple[Path, Path, list[str]]:
    """A database with cameras and images only; the folder of its images; their names."""
    photo_set = collect_photos(image_dir, folder / "images", PhotoOptions())
    import_cameras(folder / "database.db", photo_set, CameraMode.SINGLE)
    return folder / "database.db", photo_set.image_dir, [photo.name for photo in photo_set.photos]


def snapshot(path: Path) -> dict[str, object]:
    """Key points of every photo, and rows of every pair that was matched and verified, by name."""
    with pycolmap.Database.open(path) as database:
        images = {image.image_id: image.name for image in database.read_all_images()}
        found: dict[str, object] = {
            name: np.asarray(database.read_keypoints(image_id)).tobytes() for image_id, name in images.items()
        }
        for first, second in itertools.combinations(sorted(images), 2):
            if database.exists_matches(first, second):
                rows = database.read_matches(first, second).tobytes()
                verified = database.read_two_view_geometry(first, second)
                found[f"{images[first]}-{images[second]}"] = rows, verified.inlier_matches.tobytes()
    return found


@pytest.fixture(scope="module")
def finished(image_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, int, int]]]:
    """A database that is done, and what was told on the way."""
    path, folder, names = new_database(tmp_path_factory.mktemp("finished"), image_dir)
    told: list[tuple[str, int, int]] = []
    extract_and_match(path, folder, names, OPTIONS, SEED, lambda *step: told.append(step))
    return path, told


def test_key_points_under_black_are_left_out(
    finished: tuple[Path, list[tuple[str, int, int]]], image_dir: Path, tmp_path: Path
) -> None:
    mask = np.full((240, 320), 255, np.uint8)
    mask[:, :160] = 0
    (tmp_path / "masks" / "sub").mkdir(parents=True)
    Image.fromarray(mask).save(tmp_path / "masks" / "sub" / "ç.png.png")
    path, folder, names = new_database(tmp_path, image_dir)
    for name in names:
        if name != "sub/ç.png":
            Image.new("L", (320, 240), 1).save(tmp_path / "masks" / f"{name}.png")
    extract_and_match(path, folder, names, OPTIONS, SEED, mask_dir=tmp_path / "masks")
    plain, masked = snapshot(finished[0]), snapshot(path)
    assert {name for name in names if plain[name] != masked[name]} == {"sub/ç.png"}
    x = np.frombuffer(masked["sub/ç.png"], np.float32).reshape(-1, 6)[:, 0]  # type: ignore[call-overload]
    assert len(x) > 20
    assert x.min() >= 160


def test_all_photos_and_pairs_are_done_and_progress_is_told(finished: tuple[Path, list[tuple[str, int, int]]]) -> None:
    path, told = finished
    with pycolmap.Database.open(path) as database:
        for image in database.read_all_images():
            num_keypoints = database.num_keypoints_for_image(image.image_id)
            assert 50 < num_keypoints < 5000
            assert database.num_descriptors_for_image(image.image_id) == num_keypoints
        assert database.num_matched_image_pairs() == 10
        assert 4 <= database.num_verified_image_pairs() <= 10
    assert told == [("features", 0, 5), ("features", 5, 5), ("matching", 0, 10), ("matching", 10, 10)]


def test_what_the_database_has_is_not_done_again(image_dir: Path, tmp_path: Path) -> None:
    path, folder, names = new_database(tmp_path, image_dir)
    extract_and_match(path, folder, names[:2], OPTIONS, 0)
    with pycolmap.Database.open(path) as database:
        # Marks that a second extraction or matching would overwrite.
        marked = np.asarray(database.read_keypoints(1)).copy()
        marked[0, :2] = 7.0
        database.update_keypoints(1, marked)
        rows = database.read_matches(1, 2)[:20]
        database.delete_matches(1, 2)
        database.write_matches(1, 2, rows)
        assert database.num_keypoints_for_image(3) == 0
        assert len(rows) == 20
    extract_and_match(path, folder, names, OPTIONS, 0)
    with pycolmap.Database.open(path) as database:
        assert np.all(np.asarray(database.read_keypoints(1))[0, :2] == 7.0)
        np.testing.assert_array_equal(database.read_matches(1, 2), rows)
        assert database.num_keypoints_for_image(3) > 50
        assert database.num_matched_image_pairs() == 10


class KilledError(Exception):
    """Stands for the end of a process."""


@pytest.mark.parametrize("at", [("features", 0, 5), ("features", 2, 5), ("features", 4, 5), ("matching", 0, 10)])
def test_a_run_that_was_stopped_ends_with_the_same_database(
    image_dir: Path,
    finished: tuple[Path, list[tuple[str, int, int]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: tuple[str, int, int],
) -> None:
    monkeypatch.setattr(features, "CHUNK", 2)
    path, folder, names = new_database(tmp_path, image_dir)

    def tell(*step: object) -> None:
        if step == at:
            raise KilledError

    with pytest.raises(KilledError):
        extract_and_match(path, folder, names, OPTIONS, SEED, tell)
    with pycolmap.Database.open(path) as database:
        num_done = sum(database.num_keypoints_for_image(i) > 0 for i in range(1, 6))
    assert num_done == (at[1] if at[0] == "features" else 5)
    extract_and_match(path, folder, names, OPTIONS, SEED)
    assert snapshot(path) == snapshot(finished[0])
    assert len(snapshot(path)) == 15


def test_only_chosen_pairs_are_matched_and_as_they_are_among_all(
    image_dir: Path, finished: tuple[Path, list[tuple[str, int, int]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "PAIR_CHUNK", 2)
    path, folder, names = new_database(tmp_path, image_dir)
    wanted = [ImagePair(names[0], names[1]), ImagePair(names[1], names[4]), ImagePair(names[2], names[3])]
    told: list[tuple[str, int, int]] = []

    def choose() -> list[list[ImagePair]]:
        assert not read_verified(path)
        with pycolmap.Database.open(path) as database:  # by now there are descriptors to choose by
            assert all(database.num_descriptors_for_image(i) > 50 for i in range(1, 6))
        return [wanted]

    extract_and_match(path, folder, names, OPTIONS, SEED, lambda *step: told.append(step), choose_pairs=choose)
    assert _matched_pairs(path) == {(1, 2), (2, 5), (3, 4)}
    assert told[2:] == [("matching", 0, 3), ("matching", 2, 3), ("matching", 3, 3)]
    everything, some = snapshot(finished[0]), snapshot(path)
    assert some == {key: everything[key] for key in some}
    assert len(some) == 5 + 3


def test_a_round_of_pairs_is_asked_for_once_the_one_before_is_matched(
    image_dir: Path, finished: tuple[Path, list[tuple[str, int, int]]], tmp_path: Path
) -> None:
    path, folder, names = new_database(tmp_path, image_dir)
    first = [ImagePair(names[0], names[1]), ImagePair(names[1], names[2])]
    told: list[tuple[str, int, int]] = []

    def choose() -> Iterator[list[ImagePair]]:
        yield first
        everything = snapshot(finished[0])
        inliers = {pair: len(everything[f"{pair.a}-{pair.b}"][1]) // 8 for pair in first}  # type: ignore[index]
        assert read_verified(path).keys() == {pair for pair in first if inliers[pair] >= 15}
        assert read_verified(path)
        yield [ImagePair(names[2], names[3])]

    extract_and_match(path, folder, names, OPTIONS, SEED, lambda *step: told.append(step), choose_pairs=choose)
    assert _matched_pairs(path) == {(1, 2), (2, 3), (3, 4)}
    assert told[2:] == [("matching", 0, 2), ("matching", 2, 3), ("matching", 3, 3)]


def test_names_with_blanks_are_matched_by_list(image_dir: Path, tmp_path: Path) -> None:
    renamed = {"a.png": "a b.png", "b.png": "b.png", "d.png": "a.png b.png"}
    (tmp_path / "in").mkdir()
    for old, new in renamed.items():
        shutil.copyfile(image_dir / old, tmp_path / "in" / new)
    path, folder, names = new_database(tmp_path, tmp_path / "in")
    assert sorted(names) == sorted(renamed.values())
    extract_and_match(path, folder, names, OPTIONS, 0, choose_pairs=lambda: [[ImagePair("a b.png", "a.png b.png")]])
    assert len(_matched_pairs(path)) == 1
    with pycolmap.Database.open(path) as database:
        assert sorted(image.name for image in database.read_all_images()) == sorted(names)


def test_a_run_killed_while_a_list_is_matched_goes_on(image_dir: Path, tmp_path: Path) -> None:
    """Names of photos are others meanwhile; a kill leaves them so."""
    path, folder, names = new_database(tmp_path, image_dir)
    kept = killed_copy(path, names)
    wanted = [ImagePair(names[0], names[1])]
    extract_and_match(kept, folder, names, OPTIONS, SEED, choose_pairs=lambda: [wanted])
    with pycolmap.Database.open(kept) as database:
        assert [image.name for image in database.read_all_images()] == names
        assert database.num_images() == len(names)
        assert database.num_matched_image_pairs() == 1


def killed_copy(path: Path, names: Sequence[str]) -> Path:
    """A database as a kill in the middle of a list of pairs leaves it."""
    kept = path.with_name("killed.db")
    with listable_names(path) as listable:
        assert listable.keys() == set(names)
        databases.copy_database(path, kept)
    assert databases.photo_names(path) == tuple(names)
    assert not set(databases.photo_names(kept)) & set(names)
    return kept


def _matched_pairs(path: Path) -> set[tuple[int, int]]:
    """Pairs that were matched, successfully or not, by image id."""
    with pycolmap.Database.open(path) as database:
        ids = sorted(image.image_id for image in database.read_all_images())
        return {pair for pair in itertools.combinations(ids, 2) if database.exists_matches(*pair)}


# ---------------------------------------------------------------- Ctrl-C


def wait_for_cancel(token: pycolmap.CancellationToken) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not token.is_cancelled and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(token.is_cancelled)


def test_ctrl_c_cancels_the_call_and_waits_for_its_end() -> None:
    seen: list[object] = []

    def call(cancellation_token: pycolmap.CancellationToken) -> None:
        seen.append(threading.current_thread() is threading.main_thread())
        _thread.interrupt_main()  # what the terminal's Ctrl-C does
        seen.append(wait_for_cancel(cancellation_token))
        time.sleep(0.3)
        seen.append("ended")

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        cancellable(call)
    assert seen == [False, True, "ended"]
    assert time.monotonic() - start < PATIENCE_S


def test_colmap_heeds_the_token(image_dir: Path, tmp_path: Path) -> None:
    path, folder, names = new_database(tmp_path, image_dir)

    def extract(cancellation_token: pycolmap.CancellationToken, is_interrupted: bool) -> None:
        if is_interrupted:
            _thread.interrupt_main()
            wait_for_cancel(cancellation_token)
        pycolmap.extract_features(path, folder, names, cancellation_token=cancellation_token)

    def num_keypoints() -> int:
        with pycolmap.Database.open(path) as database:
            return int(database.num_keypoints())

    with pytest.raises(KeyboardInterrupt):
        cancellable(lambda cancellation_token: extract(cancellation_token, True))
    assert num_keypoints() == 0
    cancellable(lambda cancellation_token: extract(cancellation_token, False))
    assert num_keypoints() > 250


@pytest.mark.parametrize("error", [ValueError("what went wrong"), SystemExit(3), KeyboardInterrupt()])
def test_errors_of_the_call_reach_the_caller(error: BaseException) -> None:
    def call(cancellation_token: pycolmap.CancellationToken) -> None:
        del cancellation_token
        raise error

    with pytest.raises(type(error)) as caught:
        cancellable(call)
    assert caught.value is error


def test_a_call_that_ends_by_itself_is_not_cancelled() -> None:
    tokens: list[pycolmap.CancellationToken] = []
    cancellable(lambda cancellation_token: tokens.append(cancellation_token))
    assert len(tokens) == 1
    assert not tokens[0].is_cancelled


def test_a_call_that_is_interrupted_while_its_thread_starts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the call would still run when the process ends, and COLMAP would abort it."""

    class Interrupted(threading.Thread):
        def start(self) -> None:
            super().start()
            began.wait(10)
            raise KeyboardInterrupt

        def join(self, timeout: float | None = None) -> None:
            raise RuntimeError("cannot join thread before it is started")

    began, ended = threading.Event(), threading.Event()

    def call(cancellation_token: pycolmap.CancellationToken) -> None:
        began.set()
        while not cancellation_token.is_cancelled:
            time.sleep(0.01)
        time.sleep(0.2)
        ended.set()

    monkeypatch.setattr(features.threading, "Thread", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        features.cancellable(call)
    assert ended.is_set()
