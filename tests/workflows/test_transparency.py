"""Once pycolmap has answered, the script gets at least its answer, with one warning, whatever goes wrong after that."""

from __future__ import annotations

import errno
import logging
import shutil
import sqlite3
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pycolmap
import pytest
from PIL import Image

import interpose_sfm
from geometry_scenes import DatabaseOptions, all_rows, arc, camera, cloud, observe, write_database
from hook_scene import QUICK, dump, listing
from interpose_sfm.colmap import databases, incremental_mapper
from interpose_sfm.options import InterposeOptions
from interpose_sfm.pairs.pair_pose import PairPoser
from interpose_sfm.storage.item_files import StoreError
from interpose_sfm.workflows import drop_in_run, extension, fallback

NAMES = tuple(f"{letter}.png" for letter in "abcdefg")
CLOUD = observe(cloud(1, 250), arc([0, 12, 24, 36, 48, 60, 72]), noise_px=0.3, seed=1)
ORIGINAL = pycolmap.incremental_mapping


@dataclass(frozen=True)
class Mapped:
    """What a script has and what pycolmap made of it: models of four and of three views."""

    folder: Path
    models: dict[int, pycolmap.Reconstruction]

    @property
    def database(self) -> Path:
        return self.folder / "database.db"

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def call(self, **changes: Any) -> dict[int, pycolmap.Reconstruction]:
        return interpose_sfm.incremental_mapping(
            self.database, self.photos, self.output, **{"interpose": QUICK, **changes}
        )


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Mapped:
    folder = tmp_path_factory.mktemp("mapped")
    rows = {**all_rows(CLOUD, range(4)), **all_rows(CLOUD, range(4, 7))}
    write_database(folder / "database.db", CLOUD, NAMES, DatabaseOptions(rows=rows))
    (folder / "photos").mkdir()
    for name in NAMES:
        Image.new("RGB", (camera().width_px, camera().height_px)).save(folder / "photos" / name)
    models = ORIGINAL(folder / "database.db", folder / "photos", folder / "out", {"min_model_size": 3})
    assert sorted(model.num_reg_images() for model in models.values()) == [3, 4]
    return Mapped(folder, models)


@pytest.fixture
def mapped(once: Mapped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapped:
    """A copy; pycolmap answers at once as it did the first time."""
    copy = Mapped(shutil.copytree(once.folder, tmp_path / "script"), once.models)
    monkeypatch.setattr(incremental_mapper, "incremental_mapping", lambda *_, **__: copy.models)
    return copy


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# ---------------------------------------------------------------- faults at every place


class NativeError(BaseException):
    """Native code raises such things, and no handler of `Exception` sees them."""


FAULTS: dict[str, Callable[[], BaseException]] = {
    "a defect": lambda: ZeroDivisionError("defect"),
    "a full disk": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "no memory": lambda: MemoryError(),
    "unusable input": lambda: ValueError("unusable"),
    "a damaged store": lambda: StoreError("damaged"),
    "no Exception": lambda: NativeError("native"),
    "an interrupt that nobody asked for": lambda: InterruptedError("interrupted"),
}

STAGES = ("match_weak_pairs", "match_beside_links", "calibrate", "bridge", "settle", "map_links")
PLACES: dict[str, tuple[Any, str]] = {
    "reading the database": (databases, "photo_names"),
    "opening the side folder": (drop_in_run, "Workspace"),
    "copying the database": (databases, "copy_database"),
    "looking at the photos": (drop_in_run, "read_position"),
    "the view graph": (fallback, "build_view_graph"),
    "the stores": (fallback, "opened_posers"),
    **{stage: (fallback.FallbackRun, stage) for stage in STAGES},
    "the report": (drop_in_run, "run_report"),
    "writing": (drop_in_run, "atomic_write_json"),
}


@pytest.fixture
def break_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, BaseException], None]:
    """Makes a place raise; the stages before it do nothing, since their networks take the time."""

    def arrange(place: str, error: BaseException) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        for stage in STAGES:
            monkeypatch.setattr(fallback.FallbackRun, stage, lambda *_: extension.Extension((), ()))
        monkeypatch.setattr(*PLACES[place], fail)

    return arrange


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", PLACES)
def test_a_fault_leaves_pycolmaps_answer_and_one_warning(
    mapped: Mapped,
    break_at: Callable[[str, BaseException], None],
    caplog: pytest.LogCaptureFixture,
    place: str,
    fault: str,
) -> None:
    error = FAULTS[fault]()
    break_at(place, error)
    before = {path: path.read_bytes() for path in mapped.output.rglob("*.bin")}
    rows = dump(mapped.database)
    assert mapped.call() is mapped.models
    assert len(warnings(caplog)) == 1
    assert "pycolmap's models are returned as they are" in caplog.text
    assert (str(error) or type(error).__name__) in caplog.text
    assert {path: path.read_bytes() for path in mapped.output.rglob("*.bin")} == before
    assert dump(mapped.database) == rows
    assert not list(mapped.folder.glob("database_interpose/work"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_who_stops_the_script_stops_it(
    mapped: Mapped, break_at: Callable[[str, BaseException], None], place: str, stop: type[BaseException]
) -> None:
    break_at(place, stop())
    with pytest.raises(stop):
        mapped.call()


def test_a_fault_stands_in_the_report(mapped: Mapped, break_at: Callable[[str, BaseException], None]) -> None:
    break_at("settle", ZeroDivisionError("defect"))
    mapped.call()
    assert '"failure": "ZeroDivisionError: defect"' in (mapped.folder / "database_interpose/report.json").read_text()


def test_extend_raises_what_went_wrong(mapped: Mapped, break_at: Callable[[str, BaseException], None]) -> None:
    """Its caller has the models already."""
    break_at("settle", ZeroDivisionError("defect"))
    with pytest.raises(ZeroDivisionError):
        interpose_sfm.extend(mapped.models, mapped.database, mapped.photos, interpose=QUICK)


# ---------------------------------------------------------------- what has gone wrong


def zlib_text(path: Path, num_bytes: int) -> None:
    """Put a compressed text into a PNG file."""
    data = path.read_bytes()
    content = b"zTXtcomment\0\0" + zlib.compress(bytes(num_bytes))
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    path.write_bytes(data[:33] + chunk + data[33:])


def resize(mapped: Mapped, side_px: int) -> None:
    """Of all photos, on disk and in the database."""
    header = Image.new("L", (1, 1))
    for name in NAMES:
        header.save(mapped.photos / name)
        data = bytearray((mapped.photos / name).read_bytes())
        struct.pack_into(">II", data, 16, side_px, side_px)
        struct.pack_into(">I", data, 29, zlib.crc32(bytes(data[12:29])))
        (mapped.photos / name).write_bytes(data)
    for model in mapped.models.values():
        for one in model.cameras.values():
            one.width = one.height = side_px


def foreign_folder(mapped: Mapped) -> None:
    (mapped.folder / "database_interpose").mkdir()
    (mapped.folder / "database_interpose" / "notes.txt").write_text("mine")


def foreign_file(mapped: Mapped) -> None:
    (mapped.folder / "database_interpose").write_text("mine")


def linked_folder(mapped: Mapped) -> None:
    (mapped.folder / "database_interpose").mkdir()
    (mapped.folder / "theirs").mkdir()
    (mapped.folder / "database_interpose" / "base").symlink_to(mapped.folder / "theirs")


def no_key_points(mapped: Mapped) -> None:
    connection = sqlite3.connect(mapped.database)
    with connection:
        connection.execute("DELETE FROM keypoints")
    connection.close()


def no_database(mapped: Mapped) -> None:
    mapped.database.unlink()


def database_of_garbage(mapped: Mapped) -> None:
    mapped.database.write_bytes(b"garbage" * 1000)


def no_images_in_the_database(mapped: Mapped) -> None:
    connection = sqlite3.connect(mapped.database)
    with connection:
        connection.execute("DROP TABLE images")
    connection.close()


def newer_side_folder(mapped: Mapped) -> None:
    (mapped.folder / "database_interpose").mkdir()
    (mapped.folder / "database_interpose" / ".interpose_sfm").write_text('{"format": 99}')


@pytest.mark.parametrize(
    "arrange",
    [
        foreign_folder,
        foreign_file,
        linked_folder,
        newer_side_folder,
        no_key_points,
        no_database,
        database_of_garbage,
        no_images_in_the_database,
    ],
    ids=lambda arrange: arrange.__name__,
)
def test_what_cannot_be_extended_is_pycolmaps(
    mapped: Mapped, caplog: pytest.LogCaptureFixture, arrange: Callable[[Mapped], None], monkeypatch: Any
) -> None:
    monkeypatch.setattr(fallback.FallbackRun, "match_pair", lambda *_: None)
    arrange(mapped)
    before = listing(mapped.output)
    assert mapped.call() is mapped.models
    assert listing(mapped.output) == before
    assert len(warnings(caplog)) <= 1
    if arrange is foreign_folder:
        assert "holds files of something else" in caplog.text
        assert listing(mapped.folder / "database_interpose") == ["notes.txt"]


@pytest.mark.parametrize("side_px", [13_400, 40_000])
def test_photos_beyond_pillows_limit(mapped: Mapped, once: Mapped, side_px: int, monkeypatch: Any, caplog: Any) -> None:
    models = {index: pycolmap.Reconstruction(model) for index, model in once.models.items()}
    huge = Mapped(mapped.folder, models)
    monkeypatch.setattr(incremental_mapper, "incremental_mapping", lambda *_, **__: models)
    monkeypatch.setattr(fallback.FallbackRun, "match_pair", lambda *_: None)
    monkeypatch.setattr(PairPoser, "fetch_matches", lambda *_: None)
    resize(huge, side_px)
    assert huge.call() is models
    assert "failed" not in caplog.text
    assert "left out" not in caplog.text


def test_photos_with_a_large_text(mapped: Mapped, caplog: pytest.LogCaptureFixture) -> None:
    for name in NAMES:
        zlib_text(mapped.photos / name, 3 << 20)
    assert mapped.call() is mapped.models
    assert warnings(caplog) == [f"{name} is left out of the fallback: {READ}" for name in NAMES]


READ = "it cannot be read (Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK)"


def test_two_threads_on_one_database(mapped: Mapped, monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    barrier, found = threading.Barrier(2), []
    monkeypatch.setattr(fallback.FallbackRun, "match_pair", lambda *_: None)
    monkeypatch.setattr(incremental_mapper, "incremental_mapping", lambda *_, **__: (barrier.wait(), mapped.models)[1])
    threads = [threading.Thread(target=lambda: found.append(mapped.call())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [models is mapped.models for models in found] == [True, True]
    assert all("in use by another run" in text for text in warnings(caplog))


@pytest.mark.long
def test_a_database_without_key_points_is_pycolmaps_as_a_whole(mapped: Mapped, monkeypatch: Any) -> None:
    """With pycolmap itself, which finds nothing then."""
    monkeypatch.undo()
    no_key_points(mapped)
    assert ORIGINAL(mapped.database, mapped.photos, mapped.folder / "plain") == {}
    assert mapped.call() == {}


def test_options_that_cannot_be_used_are_told_before_pycolmap_runs(mapped: Mapped, monkeypatch: Any) -> None:
    monkeypatch.setattr(incremental_mapper, "incremental_mapping", lambda *_, **__: pytest.fail("pycolmap ran"))
    options = InterposeOptions(generator="nope")
    with pytest.raises(ValueError, match="unknown video generator 'nope'"):
        mapped.call(interpose=options)
    with pytest.raises(ValueError, match="nope"), interpose_sfm.installed(options):
        pytest.fail("entered")
    assert pycolmap.incremental_mapping is ORIGINAL


def test_the_stand_in_survives_what_changes_under_it(mapped: Mapped, tmp_path: Path, monkeypatch: Any) -> None:
    """Options are checked when it is installed; what the script does then is not broken by them."""
    clips = tmp_path / "clips"
    clips.mkdir()
    bridging = interpose_sfm.BridgingOptions(clip_dirs=(clips,))
    monkeypatch.setattr(fallback.FallbackRun, "match_pair", lambda *_: None)
    with interpose_sfm.installed(InterposeOptions(bridging=bridging, generator="clips")):
        clips.rmdir()
        assert pycolmap.incremental_mapping(mapped.database, mapped.photos, mapped.output) is mapped.models
