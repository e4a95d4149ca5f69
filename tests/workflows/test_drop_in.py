"""The drop-in against pycolmap itself: the same where nothing is weak, more where something is."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
import shlex
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import pytest
from PIL import Image

import crossfade
import interpose_sfm
from crossfade import made
from geometry_scenes import DatabaseOptions, all_rows, arc, cloud, observe, worst_error_deg, write_database
from gps_noise import exif_north_of
from hook_scene import OPTIONS, QUICK, Apart, assert_equal_models, dump, listing, render_photos
from interpose_sfm import geometry
from interpose_sfm.bridging import factory
from interpose_sfm.cli import main as cli
from interpose_sfm.colmap import incremental_mapper, reconstruction
from interpose_sfm.options import (
    BaseOptions,
    BridgingOptions,
    ConsensusOptions,
    ConsistencyOptions,
    InterposeOptions,
    ReconstructOptions,
    ViewGraphOptions,
)
from interpose_sfm.products import LinkVerdict
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.json_values import to_jsonable
from interpose_sfm.storage.workspace import Workspace, WorkspaceBusyError
from interpose_sfm.workflows import extension, fallback
from look_alike_ring import write_ring

ORIGINAL = pycolmap.incremental_mapping
NAMES = tuple(f"{letter}.jpg" for letter in "abcdefg")
CLOUD = observe(cloud(1, 250), arc([0, 12, 24, 36, 48, 60, 72]), noise_px=0.3, seed=1)
STRICT = replace(QUICK, consensus=ConsensusOptions(min_surprise=5000))  # accepts nothing, whoever confirms it


@pytest.fixture
def connected(tmp_path: Path) -> Path:
    """A database whose views all match; there are no photos, since none may be needed."""
    return write_database(tmp_path / "database.db", CLOUD, NAMES, DatabaseOptions(rows=all_rows(CLOUD, range(7))))


@pytest.fixture
def two_clouds(tmp_path: Path) -> Path:
    """A database that falls into four and three views; there are no photos."""
    rows = {**all_rows(CLOUD, range(4)), **all_rows(CLOUD, range(4, 7))}
    return write_database(tmp_path / "database.db", CLOUD, NAMES, DatabaseOptions(rows=rows))


def sizes(models: dict[int, pycolmap.Reconstruction]) -> list[int]:
    return [models[index].num_reg_images() for index in range(len(models))]


@pytest.fixture
def handed_on(monkeypatch: pytest.MonkeyPatch) -> list[tuple[extension.Base, ReconstructOptions]]:
    """What the drop-in starts the fallback with; the fallback itself does nothing."""
    calls: list[tuple[extension.Base, ReconstructOptions]] = []

    def extend_base(
        base: extension.Base, store_dir: Path, work_dir: Path, options: ReconstructOptions, log: RunLog
    ) -> extension.Extension:
        calls.append((base, options))
        return extension.Extension((), base.models)

    monkeypatch.setattr(fallback, "extend_base", extend_base)
    return calls


def report(database_path: Path) -> Any:
    side_dir = database_path.with_name(f"{database_path.stem}_interpose")
    return json.loads((side_dir / "report.json").read_text())


# ---------------------------------------------------------------- the same function


def test_signature_is_that_of_pycolmap_and_one_more() -> None:
    text = re.search(r"\((.*?)\) ->", str(ORIGINAL.__doc__).partition("\n")[0])
    assert text is not None
    expected = re.findall(r"(?:^|, )(\w+): ", text[1])
    parameters = inspect.signature(interpose_sfm.incremental_mapping).parameters
    assert list(parameters) == [*expected, "interpose"]
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    required = [name for name, p in parameters.items() if p.default is inspect.Parameter.empty]
    assert required == [name for name in expected if f"{name}: os.PathLike | str | bytes," in text[1]]
    assert parameters["input_path"].default == ""


@pytest.mark.parametrize("kind", [Path, str, lambda path: str(path).encode()])
def test_where_nothing_is_weak_the_result_is_pycolmaps(
    connected: Path, tmp_path: Path, kind: Callable[[Path], Any]
) -> None:
    expected = ORIGINAL(connected, tmp_path, tmp_path / "theirs", OPTIONS)
    rows, files = dump(connected), listing(tmp_path)
    found = interpose_sfm.incremental_mapping(kind(connected), kind(tmp_path), kind(tmp_path / "mine"), OPTIONS)
    assert sizes(found) == sizes(expected) == [7]
    assert_equal_models(found[0], expected[0])
    assert listing(tmp_path / "mine") == listing(tmp_path / "theirs")
    for name in listing(tmp_path / "theirs"):
        if (tmp_path / "theirs" / name).is_file():
            assert (tmp_path / "mine" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes(), name
    assert dump(connected) == rows
    assert {name for name in listing(tmp_path) if not name.startswith("mine")} == set(files)  # nothing beside it


@pytest.mark.parametrize("looks_alike", [True, False])
def test_a_complete_model_that_is_folded_is_told(
    looks_alike: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database_path = write_ring(tmp_path / "database.db", looks_alike=looks_alike)
    rows, files = dump(database_path), listing(tmp_path)
    with caplog.at_level("WARNING", "interpose_sfm"):
        found = interpose_sfm.incremental_mapping(database_path, tmp_path, tmp_path / "mine", OPTIONS)
    assert sizes(found) == [16]
    assert any("16 photos is probably folded" in text for text in caplog.messages) is looks_alike
    assert dump(database_path) == rows
    assert {name for name in listing(tmp_path) if not name.startswith("mine")} == set(files)


@pytest.mark.parametrize(
    "options",
    [
        {"min_model_size": 3, "random_seed": 0, "mapper": {"init_min_num_inliers": 40}},
        pycolmap.IncrementalPipelineOptions(min_model_size=3, random_seed=0),
    ],
)
def test_options_may_be_a_dict_as_with_pycolmap(connected: Path, tmp_path: Path, options: Any) -> None:
    found = interpose_sfm.incremental_mapping(connected, tmp_path, tmp_path / "out", options)
    assert sizes(found) == [7]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"options": {"nonsense": 1}}, TypeError),
        ({"database_path": "nowhere.db"}, ValueError),
        ({"image_path": "nowhere"}, ValueError),
        ({"cancellation_token": 3}, TypeError),
        ({"input_path": None}, TypeError),
    ],
)
def test_bad_arguments_get_pycolmaps_own_errors(
    connected: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception]
) -> None:
    arguments = {"database_path": connected, "image_path": tmp_path, "output_path": tmp_path / "out", **changes}
    with pytest.raises(error) as theirs:
        ORIGINAL(**arguments)
    with pytest.raises(error) as mine:
        interpose_sfm.incremental_mapping(**arguments)
    assert str(mine.value).partition("\n")[0] == str(theirs.value).partition("\n")[0]


def test_callbacks_are_called_as_often_as_by_pycolmap(apart: Apart, tmp_path: Path) -> None:
    calls: dict[str, list[str]] = {"theirs": [], "mine": []}
    functions: dict[str, Any] = {
        "theirs": ORIGINAL,
        "mine": partial(interpose_sfm.incremental_mapping, interpose=QUICK),
    }
    for who, function in functions.items():
        function(
            apart.copy(tmp_path / who),
            apart.photo_dir,
            tmp_path / who / "out",
            OPTIONS,
            initial_image_pair_callback=partial(calls[who].append, "pair"),
            next_image_callback=partial(calls[who].append, "next"),
        )
    assert calls["mine"] == calls["theirs"]
    assert calls["mine"].count("pair") == 2
    assert calls["mine"].count("next") >= 2


def test_what_a_callback_raises_comes_through(connected: Path, tmp_path: Path) -> None:
    def fail() -> None:
        raise KeyError("from the callback")

    with pytest.raises(KeyError, match="from the callback"):
        interpose_sfm.incremental_mapping(connected, tmp_path, tmp_path / "out", next_image_callback=fail)


# ---------------------------------------------------------------- more than pycolmap


def test_a_link_joins_what_pycolmap_leaves_apart(apart: Apart, tmp_path: Path) -> None:
    database = apart.copy(tmp_path)
    before = dump(database)
    found = interpose_sfm.incremental_mapping(database, apart.photo_dir, tmp_path / "out", OPTIONS, interpose=QUICK)
    assert sizes(found) == [6]
    assert worst_error_deg(found[0], apart.truth.cam_from_world) < 1.0
    assert listing(tmp_path / "out") == [
        "0",
        *(f"0/{name}.bin" for name in ("cameras", "frames", "images", "points3D", "rigs")),
    ]
    assert_equal_models(pycolmap.Reconstruction(tmp_path / "out" / "0"), found[0])
    assert dump(database) == before
    document = report(database)
    assert (document["num_registered_before"], document["num_registered_after"]) == (3, 6)
    assert [p["verdict"] for p in document["pairs"]].count(LinkVerdict.ACCEPTED.value) == 3
    assert document["models"][0]["path"] == (tmp_path / "out" / "0").as_posix()


LENSES = {
    "PINHOLE": (388, 400, 240, 180),
    "OPENCV": (388, 400, 240, 180, -0.15, 0.05, 0.002, -0.001),
    "FULL_OPENCV": (388, 400, 240, 180, -0.15, 0.05, 0.002, -0.001, 0.01, 0.05, 0.01, 0.0),
    "OPENCV_FISHEYE": (388, 400, 240, 180, 0.03, -0.01, 0.004, -0.001),
    "THIN_PRISM_FISHEYE": (388, 400, 240, 180, 0.03, -0.01, 0.002, -0.001, 0.004, -0.001, 0.002, 0.001),
}


@pytest.mark.long
@pytest.mark.parametrize("model", LENSES)
def test_photos_join_whatever_the_model_of_their_camera(apart: Apart, tmp_path: Path, model: str) -> None:
    """Photos through the lens itself, whose parameters pycolmap is given, and refines as it does by default."""
    camera = pycolmap.Camera(model=model, width=480, height=360, params=LENSES[model])
    lens = geometry.from_colmap_camera(camera, is_trusted=True)
    photo_dir = render_photos(apart.truth, lens, tmp_path / "photos")
    reader = pycolmap.ImageReaderOptions(camera_model=model, camera_params=camera.params_to_string())
    database, alone = tmp_path / "database.db", pycolmap.FeatureExtractionOptions(num_threads=1)
    single = pycolmap.CameraMode.SINGLE
    pycolmap.extract_features(database, photo_dir, camera_mode=single, reader_options=reader, extraction_options=alone)
    pycolmap.match_exhaustive(database, pycolmap.FeatureMatchingOptions(num_threads=1))
    found = interpose_sfm.incremental_mapping(database, photo_dir, tmp_path / "out", OPTIONS, interpose=QUICK)
    assert report(database)["num_registered_before"] == 3
    assert sizes(found) == [6]
    assert {camera.model_name for camera in found[0].cameras.values()} == {model}
    assert worst_error_deg(found[0], apart.truth.cam_from_world) < 1.5


@pytest.mark.parametrize("model", ["PINHOLE", "OPENCV", pytest.param("FULL_OPENCV", marks=pytest.mark.long)])
def test_photos_join_with_cameras_that_pycolmap_guessed(apart: Apart, tmp_path: Path, model: str) -> None:
    """Also of a model whose parameters three photos do not determine, which pycolmap refines to nonsense."""
    database = tmp_path / "database.db"
    pycolmap.extract_features(
        database,
        apart.photo_dir,
        camera_mode=pycolmap.CameraMode.SINGLE,
        reader_options=pycolmap.ImageReaderOptions(camera_model=model),
        extraction_options=pycolmap.FeatureExtractionOptions(num_threads=1),
    )
    pycolmap.match_exhaustive(database, pycolmap.FeatureMatchingOptions(num_threads=1))
    apart.copy_stores(database)
    found = interpose_sfm.incremental_mapping(database, apart.photo_dir, tmp_path / "out", OPTIONS, interpose=QUICK)
    assert sizes(found) == [6]
    assert worst_error_deg(found[0], apart.truth.cam_from_world) < 1.5


@pytest.mark.long
def test_an_overlay_that_is_masked_joins_as_without_it(apart: Apart, tmp_path: Path) -> None:
    """A board of the same texture in all photos: unmasked, its learned matches say that no camera has moved."""
    board = np.random.default_rng(0).integers(0, 256, (18, 60, 3), np.uint8)
    board = np.asarray(Image.fromarray(board).resize((480, 144), Image.Resampling.BICUBIC))
    mask = np.full((360, 480), 255, np.uint8)
    mask[-len(board) :] = 0
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    for path in sorted(apart.photo_dir.iterdir()):
        picture = np.array(Image.open(path))
        picture[-len(board) :] = board
        Image.fromarray(picture).save(tmp_path / "photos" / path.name, quality=95)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{path.name}.png")
    database = tmp_path / "database.db"
    pycolmap.extract_features(
        database,
        tmp_path / "photos",
        camera_mode=pycolmap.CameraMode.SINGLE,
        reader_options=pycolmap.ImageReaderOptions(mask_path=tmp_path / "masks"),
        extraction_options=pycolmap.FeatureExtractionOptions(num_threads=1),
    )
    pycolmap.match_exhaustive(database, pycolmap.FeatureMatchingOptions(num_threads=1))
    settings = replace(QUICK, mask_path=tmp_path / "masks")
    found = interpose_sfm.incremental_mapping(
        database, tmp_path / "photos", tmp_path / "out", OPTIONS, interpose=settings
    )
    assert sizes(found) == [6]
    assert worst_error_deg(found[0], apart.truth.cam_from_world) < 1.0


def test_photos_whose_mask_does_not_fit_are_left_out(
    two_clouds: Path, tmp_path: Path, handed_on: list[tuple[extension.Base, ReconstructOptions]]
) -> None:
    (tmp_path / "masks").mkdir()
    for name in NAMES:
        Image.new("RGB", (800, 600)).save(tmp_path / name)
    Image.new("L", (400, 300)).save(tmp_path / "masks" / "b.jpg.png")
    Image.new("L", (800, 600)).save(tmp_path / "masks" / "c.jpg.png")
    interpose_sfm.extend({}, two_clouds, tmp_path, interpose=replace(QUICK, mask_path=tmp_path / "masks"))
    assert handed_on[0][0].names == tuple(name for name in NAMES if name != "b.jpg")
    assert handed_on[0][0].mask_dir == tmp_path / "masks"
    (told,) = report(two_clouds)["warnings"]
    assert "b.jpg" in told
    assert "400 x 300" in told
    (tmp_path / "empty").mkdir()
    interpose_sfm.extend({}, two_clouds, tmp_path, interpose=replace(QUICK, mask_path=tmp_path / "empty"))
    assert "no photo has a mask in" in " ".join(report(two_clouds)["warnings"])
    assert handed_on[1][0].names == NAMES
    with pytest.raises(ValueError, match="mask-path must be a folder"):
        interpose_sfm.extend({}, two_clouds, tmp_path, interpose=replace(QUICK, mask_path=tmp_path / "none"))


def test_the_page_of_a_call_can_be_made_anew(apart: Apart, tmp_path: Path) -> None:
    database, side = apart.copy(tmp_path), tmp_path / "database_interpose"
    interpose_sfm.incremental_mapping(database, apart.photo_dir, tmp_path / "out", OPTIONS, interpose=QUICK)
    page = side / "report.html"
    first = page.read_text(encoding="utf-8")
    assert first.count('<image id="im') == 6
    assert {photo["held_by"] for photo in report(database)["photos"]} == {"COLMAP", "joined"}
    page.unlink()
    words = shlex.split(report(database)["next_steps"][-1]["command"])
    assert cli.main([*words[3:], "-q"]) == 0
    assert page.read_text(encoding="utf-8") == first
    interpose_sfm.incremental_mapping(
        database, apart.photo_dir, tmp_path / "out2", OPTIONS, interpose=replace(QUICK, html=False)
    )
    assert not page.exists()  # that of the call before tells of another report


def test_key_points_of_the_user_keep_their_rows(apart: Apart, tmp_path: Path) -> None:
    database = apart.copy(tmp_path)
    found = interpose_sfm.incremental_mapping(database, apart.photo_dir, tmp_path / "out", OPTIONS, interpose=QUICK)
    grown = 0
    with (
        pycolmap.Database.open(apart.copy(tmp_path / "again", with_stores=False)) as old,
        pycolmap.Database.open(tmp_path / "database_interpose" / "database.db") as new,
    ):
        for image in found[0].images.values():
            theirs, extended = old.read_keypoints(image.image_id), new.read_keypoints(image.image_id)
            np.testing.assert_array_equal(extended[: len(theirs)], theirs)
            mine = np.array([point.xy for point in image.points2D])
            np.testing.assert_allclose(mine, extended[:, :2], atol=1e-4)
            grown += len(extended) > len(theirs)
    assert grown >= 2


def test_second_call_reuses_the_stores(apart: Apart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from interpose_sfm.matching.lightglue import LearnedMatcher

    database = apart.copy(tmp_path)
    used = []
    monkeypatch.setattr(LearnedMatcher, "extract", lambda *_: used.append("extract"))
    monkeypatch.setattr(LearnedMatcher, "match", lambda *_: used.append("match"))
    found = interpose_sfm.incremental_mapping(database, apart.photo_dir, tmp_path / "out", OPTIONS, interpose=QUICK)
    assert sizes(found) == [6]
    assert used == []


def test_what_pycolmap_made_can_be_had_back(apart: Apart, tmp_path: Path) -> None:
    database = apart.copy(tmp_path)
    interpose_sfm.incremental_mapping(database, apart.photo_dir, tmp_path / "out", OPTIONS, interpose=QUICK)
    plain = ORIGINAL(apart.copy(tmp_path / "plain"), apart.photo_dir, tmp_path / "plain" / "out", OPTIONS)
    for index, model in plain.items():
        kept = pycolmap.Reconstruction(tmp_path / "database_interpose" / "base" / str(index))
        assert_equal_models(kept, model)


def test_nothing_accepted_is_pycolmaps_own_result(apart: Apart, tmp_path: Path) -> None:
    expected = ORIGINAL(apart.copy(tmp_path / "theirs"), apart.photo_dir, tmp_path / "theirs" / "out", OPTIONS)
    database = apart.copy(tmp_path / "mine")
    interpose_sfm.incremental_mapping(database, apart.photo_dir, tmp_path / "mine" / "out", OPTIONS, interpose=QUICK)
    found = interpose_sfm.incremental_mapping(
        database, apart.photo_dir, tmp_path / "mine" / "out", OPTIONS, interpose=STRICT
    )
    assert sizes(found) == sizes(expected) == [3, 3]
    for index, model in expected.items():
        assert_equal_models(found[index], model)
    assert listing(tmp_path / "mine" / "out") == listing(tmp_path / "theirs" / "out")
    side = listing(tmp_path / "mine" / "database_interpose")
    assert "database.db" not in side  # that of the call before is not of these models
    assert "report.json" in side
    verdicts = {pair["verdict"] for pair in report(database)["pairs"]}
    assert LinkVerdict.ACCEPTED.value not in verdicts
    assert LinkVerdict.CHANCE.value in verdicts


def test_generated_clips_lie_beside_the_database_and_are_used_again(
    apart: Apart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory, "VIDEO_MODELS", crossfade.with_models())
    monkeypatch.setenv("CROSSFADE_LOG", str(tmp_path / "log"))
    options = replace(
        STRICT,
        generator="crossfade",
        view_graph=ViewGraphOptions(max_bridged_pairs=1),
        consistency=ConsistencyOptions(num_clips=2, num_random_subsets=1),
        bridging=BridgingOptions(frames_per_clip=3),
    )
    database = apart.copy(tmp_path)
    for _ in range(2):
        found = interpose_sfm.incremental_mapping(
            database, apart.photo_dir, tmp_path / "out", OPTIONS, interpose=options
        )
        assert sizes(found) == [3, 3]
        names = listing(tmp_path / "database_interpose" / "clips")
        assert len([name for name in names if name.endswith(".mp4")]) == 2
        assert len(made(tmp_path / "log")) == 2


def test_switched_off_it_is_pycolmap(apart: Apart, tmp_path: Path) -> None:
    database = apart.copy(tmp_path, with_stores=False)
    found = interpose_sfm.incremental_mapping(
        database, apart.photo_dir, tmp_path / "out", OPTIONS, interpose=InterposeOptions(enabled=False)
    )
    assert sizes(found) == [3, 3]
    assert not (tmp_path / "database_interpose").exists()


def test_a_model_to_continue_is_extended_where_pycolmap_writes_it(apart: Apart, tmp_path: Path) -> None:
    database = apart.copy(tmp_path)
    plain = ORIGINAL(database, apart.photo_dir, tmp_path / "plain", OPTIONS)
    given = reconstruction.registered_names(plain[0])
    found = interpose_sfm.incremental_mapping(
        database, apart.photo_dir, tmp_path / "out", OPTIONS, tmp_path / "plain" / "0", interpose=QUICK
    )
    assert sizes(found) == [6]
    assert given < reconstruction.registered_names(found[0])
    assert listing(tmp_path / "out") == [f"{n}.bin" for n in ("cameras", "frames", "images", "points3D", "rigs")]
    assert_equal_models(pycolmap.Reconstruction(tmp_path / "out"), found[0])


def test_only_the_photos_that_are_asked_for(apart: Apart, tmp_path: Path) -> None:
    left = apart.truth.groups[0]
    options = {**OPTIONS, "image_names": list(left)}
    found = interpose_sfm.incremental_mapping(
        apart.copy(tmp_path, with_stores=False), apart.photo_dir, tmp_path / "out", options, interpose=QUICK
    )
    assert reconstruction.registered_names(found[0]) == set(left)
    assert not (tmp_path / "database_interpose").exists()  # these hold together


def test_extend_takes_models_of_others_and_leaves_them_alone(apart: Apart, tmp_path: Path) -> None:
    database = apart.copy(tmp_path)
    models = ORIGINAL(database, apart.photo_dir, tmp_path / "plain", OPTIONS)
    copies = [pycolmap.Reconstruction(model) for model in models.values()]
    files = listing(tmp_path / "plain")
    for given in (models, list(models.values())):
        found = interpose_sfm.extend(given, database, apart.photo_dir, OPTIONS, interpose=QUICK)
        assert sizes(found) == [6]
        assert worst_error_deg(found[0], apart.truth.cam_from_world) < 1.0
    for model, copy in zip(models.values(), copies, strict=True):
        assert_equal_models(model, copy)
    assert listing(tmp_path / "plain") == files
    same = interpose_sfm.extend(models, database, apart.photo_dir, OPTIONS, interpose=STRICT)
    assert [same[index] is models[index] for index in models] == [True, True]


def test_extend_starts_from_nothing(apart: Apart, tmp_path: Path) -> None:
    database = apart.copy(tmp_path)
    interpose = replace(QUICK, view_graph=ViewGraphOptions(max_weak_pairs=15))
    found = interpose_sfm.extend({}, database, apart.photo_dir, OPTIONS, interpose=interpose)
    assert max(sizes(found)) >= 3
    assert worst_error_deg(found[0], apart.truth.cam_from_world) < 1.0


# ---------------------------------------------------------------- cancelling, and runs at the same time


def test_cancelled_before_it_starts(connected: Path, tmp_path: Path) -> None:
    token = pycolmap.CancellationToken()
    token.cancel()
    with pytest.raises(InterruptedError, match="cancelled"):
        interpose_sfm.incremental_mapping(connected, tmp_path, tmp_path / "out", cancellation_token=token)


def test_cancelled_within_the_fallback(apart: Apart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pycolmap is done then, and its files are what remains."""
    token = pycolmap.CancellationToken()
    real = fallback.extend_base

    def cancel_first(*arguments: Any) -> Any:
        token.cancel()
        return real(*arguments)

    monkeypatch.setattr(fallback, "extend_base", cancel_first)
    with pytest.raises(InterruptedError, match="cancelled"):
        interpose_sfm.incremental_mapping(
            apart.copy(tmp_path),
            apart.photo_dir,
            tmp_path / "out",
            OPTIONS,
            cancellation_token=token,
            interpose=QUICK,
        )
    assert [reconstruction.registered_names(m) for m in reconstruction.read_models(tmp_path / "out", 3)]
    assert len(listing(tmp_path / "out")) == 12
    assert not list((tmp_path / "database_interpose").glob("work"))


def test_two_calls_on_one_database_exclude_each_other(
    apart: Apart, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = apart.copy(tmp_path)
    with Workspace(tmp_path / "database_interpose").locked():
        found = interpose_sfm.incremental_mapping(database, apart.photo_dir, tmp_path / "out", OPTIONS, interpose=QUICK)
        with pytest.raises(WorkspaceBusyError):
            interpose_sfm.extend(found, database, apart.photo_dir, OPTIONS, interpose=QUICK)
    assert sizes(found) == [3, 3]
    assert "in use by another run" in caplog.text
    assert (tmp_path / "out" / "1" / "images.bin").is_file()  # pycolmap's models are there


def test_a_side_folder_of_somebody_else_is_left_alone(
    apart: Apart, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = apart.copy(tmp_path, with_stores=False)
    theirs = tmp_path / "notes" / "mine.txt"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    found = interpose_sfm.incremental_mapping(
        database, apart.photo_dir, tmp_path / "out", OPTIONS, interpose=replace(QUICK, side_folder="notes")
    )
    assert sizes(found) == [3, 3]
    assert "holds files of something else" in caplog.text
    assert listing(tmp_path / "notes") == ["mine.txt"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "/tmp"])
def test_side_folder_is_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="side-folder"):
        InterposeOptions(side_folder=name)


# ---------------------------------------------------------------- photos and cameras that cannot take part


def test_photos_that_are_not_there_are_left_to_pycolmap(two_clouds: Path, tmp_path: Path) -> None:
    Image.new("RGB", (800, 600)).save(tmp_path / "a.jpg")
    Image.new("RGB", (600, 800)).save(tmp_path / "b.jpg")
    (tmp_path / "c.jpg").write_bytes(b"no picture")
    found = interpose_sfm.incremental_mapping(two_clouds, tmp_path, tmp_path / "out", OPTIONS, interpose=QUICK)
    assert sizes(found) == [4, 3]
    told = report(two_clouds)["warnings"]
    assert any("b.jpg" in text and "600 x 800" in text for text in told)
    assert all(any(name in text for text in told) for name in NAMES[2:])
    assert not any("a.jpg" in text for text in told)


@pytest.mark.parametrize(("model", "params", "is_usable"), [
    ("OPENCV_FISHEYE", [350, 350, 400, 300, 0, 0, 0, 0], True),
    ("FULL_OPENCV", [700, 701, 400, 300, -0.5, 0.3, 0.01, 0, 0, 0, 0, 0], True),
    ("PINHOLE", [0, 0, 400, 300], False),
    ("EQUIRECTANGULAR", [800, 600], False),
])  # fmt: skip
def test_cameras_of_many_models(
    two_clouds: Path,
    tmp_path: Path,
    handed_on: list[tuple[extension.Base, ReconstructOptions]],
    model: str,
    params: list[float],
    is_usable: bool,
) -> None:
    for name in NAMES:
        Image.new("RGB", (800, 600)).save(tmp_path / name)
    with pycolmap.Database.open(two_clouds) as database:
        stored = pycolmap.Camera(model=model, width=800, height=600, params=params, camera_id=1)
        database.update_camera(stored)
    interpose_sfm.extend({}, two_clouds, tmp_path, interpose=QUICK)
    told = report(two_clouds)["warnings"]
    assert handed_on[0][0].names == (NAMES if is_usable else ())
    assert len(told) == (0 if is_usable else len(NAMES))
    assert all(model in text for text in told)


def test_rigs_of_several_cameras_are_left_to_pycolmap(
    two_clouds: Path, tmp_path: Path, handed_on: list[tuple[extension.Base, ReconstructOptions]]
) -> None:
    """Two photos in one frame: extending such a model would move one camera of the rig only."""
    for name in NAMES:
        Image.new("RGB", (800, 600)).save(tmp_path / name)
    interpose_sfm.extend({}, two_clouds, tmp_path, interpose=QUICK)
    assert report(two_clouds)["warnings"] == []
    with contextlib.closing(sqlite3.connect(two_clouds)) as connection, connection:
        connection.execute("UPDATE frame_data SET frame_id = 1 WHERE data_id = 2")
    interpose_sfm.extend({}, two_clouds, tmp_path, interpose=QUICK)
    assert [base.names for base, _ in handed_on] == [NAMES, ()]
    assert "rigs" in " ".join(report(two_clouds)["warnings"])


@pytest.mark.parametrize("use_gps", [True, False])
def test_gps_positions_are_those_of_the_callers_photos(
    two_clouds: Path, tmp_path: Path, handed_on: list[tuple[extension.Base, ReconstructOptions]], use_gps: bool
) -> None:
    for index, name in enumerate(NAMES):
        exif = exif_north_of((48, 30), 1000 * index) if index else Image.Exif()
        Image.new("RGB", (800, 600)).save(tmp_path / name, exif=exif)
    interpose_sfm.extend({}, two_clouds, tmp_path, interpose=replace(QUICK, use_gps=use_gps))
    found = handed_on[0][0].positions_m
    assert sorted(found) == (list(NAMES[1:]) if use_gps else [])
    if use_gps:
        steps_m = np.diff([found[name][1] for name in NAMES[1:]])
        np.testing.assert_allclose(steps_m, 308.9, atol=1.0)


# ---------------------------------------------------------------- the caller's mapper options


def test_what_the_fallback_maps_by_are_the_callers_options(
    two_clouds: Path, tmp_path: Path, handed_on: list[tuple[extension.Base, ReconstructOptions]]
) -> None:
    caller = pycolmap.IncrementalPipelineOptions(
        ba_refine_focal_length=False,
        constant_cameras={1},
        init_image_id1=3,
        min_model_size=25,
        snapshot_frames_freq=1,
        mapper={"abs_pose_min_num_inliers": 44},
    )
    interpose_sfm.extend({}, two_clouds, tmp_path, caller, interpose=InterposeOptions(seed=5))
    ((_, stage),) = handed_on
    assert stage.seed == 5
    assert stage.base.min_points_per_photo == 0
    used = incremental_mapper.mapper_options(stage.base, 5).todict()
    changed = {k: v for k, v in used.items() if v != pycolmap.IncrementalPipelineOptions().todict()[k]}
    assert changed.pop("mapper")["abs_pose_min_num_inliers"] == 44
    assert changed == {
        "ba_refine_focal_length": False,
        "constant_cameras": {1},
        "min_model_size": 3,
        "random_seed": 5,
    }
    json.dumps(to_jsonable(stage))


# ---------------------------------------------------------------- in the place of pycolmap's function


def test_installed_replaces_and_restores(apart: Apart, tmp_path: Path) -> None:
    database = apart.copy(tmp_path)
    with interpose_sfm.installed(QUICK):
        assert pycolmap.incremental_mapping is not ORIGINAL
        assert pycolmap.incremental_mapping.__name__ == "incremental_mapping"
        held = pycolmap.incremental_mapping
        assert sizes(pycolmap.incremental_mapping(database, apart.photo_dir, tmp_path / "out", OPTIONS)) == [6]
    assert pycolmap.incremental_mapping is ORIGINAL
    late = tmp_path / "late"
    assert sizes(held(apart.copy(late, with_stores=False), apart.photo_dir, late / "out", OPTIONS)) == [3, 3]
    assert not (late / "database_interpose").exists()


def test_installed_is_restored_after_an_exception() -> None:
    with pytest.raises(KeyboardInterrupt), interpose_sfm.installed(), interpose_sfm.installed(QUICK):
        raise KeyboardInterrupt
    assert pycolmap.incremental_mapping is ORIGINAL


def test_the_innermost_block_counts(apart: Apart, tmp_path: Path) -> None:
    def run(name: str) -> list[int]:
        folder = tmp_path / name
        return sizes(pycolmap.incremental_mapping(apart.copy(folder), apart.photo_dir, folder / "out", OPTIONS))

    with interpose_sfm.installed(QUICK):
        with interpose_sfm.installed(InterposeOptions(enabled=False)):
            assert run("inner") == [3, 3]
        assert run("outer") == [6]
    assert pycolmap.incremental_mapping is ORIGINAL


def test_our_own_stages_call_pycolmaps_function(connected: Path, tmp_path: Path) -> None:
    """Else every mapping of the fallback would start another fallback."""
    seen: list[str] = []

    def count(*arguments: Any, **keywords: Any) -> Any:
        seen.append("called")
        return ORIGINAL(*arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pycolmap, "incremental_mapping", count)
        with interpose_sfm.installed(replace(QUICK, side_folder="never")):
            incremental_mapper.map_base(connected, tmp_path, tmp_path / "out", BaseOptions(num_threads=1), 0)
            assert pycolmap.incremental_mapping is not count
        assert pycolmap.incremental_mapping is count
    assert seen == ["called"]


def test_blocks_of_several_threads(apart: Apart, tmp_path: Path) -> None:
    """They overlap without nesting: one ends while the other goes on; each thread has its own options."""
    results: dict[str, Any] = {}
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def run(name: str) -> list[int]:
        folder = tmp_path / name
        return sizes(pycolmap.incremental_mapping(apart.copy(folder), apart.photo_dir, folder / "out", OPTIONS))

    def first() -> None:
        with interpose_sfm.installed(QUICK):
            first_is_in.set()
            assert second_is_in.wait(300)
            results["first"] = run("first")
        first_is_out.set()

    def second() -> None:
        assert first_is_in.wait(300)
        with interpose_sfm.installed(InterposeOptions(enabled=False)):
            second_is_in.set()
            assert first_is_out.wait(300)
            results["still replaced"] = pycolmap.incremental_mapping is not ORIGINAL
            results["second"] = run("second")

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert results == {"first": [6], "second": [3, 3], "still replaced": True}
    assert pycolmap.incremental_mapping is ORIGINAL


def test_threads_without_a_block_of_their_own_get_that_of_others(apart: Apart, tmp_path: Path) -> None:
    found: list[list[int]] = []
    database = apart.copy(tmp_path)

    def work() -> None:
        models = pycolmap.incremental_mapping(database, apart.photo_dir, tmp_path / "out", OPTIONS)
        found.append(sizes(models))

    with interpose_sfm.installed(QUICK):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(300)
    assert found == [[6]]
