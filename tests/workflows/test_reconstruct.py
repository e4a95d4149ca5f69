"""The whole way from photos to models, on rendered collections and on real photos where they are at hand."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

import flight
from bad_photos import picture
from gps_noise import exif_north_of
from interpose_sfm import geometry
from interpose_sfm.colmap.cameras import import_cameras
from interpose_sfm.colmap.reconstruction import poses
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.options import (
    BaseOptions,
    BridgingOptions,
    CameraMode,
    ConsensusOptions,
    ConsistencyOptions,
    Da3Options,
    MatchingOptions,
    ReconstructOptions,
    ViewGraphOptions,
)
from interpose_sfm.pose.da3 import network as da3_network
from interpose_sfm.pose.da3.estimator import Da3Estimator
from interpose_sfm.pose.scenes import SceneGuess, Told
from interpose_sfm.products import GpsPosition, ImageArray, LinkVerdict, Photo, PhotoSet, Pose
from interpose_sfm.report import HeldBy, ReconstructionResult
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.workspace import Workspace, WorkspaceBusyError
from interpose_sfm.synthetic import SampleOptions, SampleTruth, Scene, auc, pose_errors_deg, write_sample
from interpose_sfm.synthetic.known_scene import KnownSceneNetwork, SceneErrors
from interpose_sfm.workflows import base_models, reconstruct
from interpose_sfm.workflows.extension import Base, Extension
from paths import DATA, ROOT

# Small pictures, few key points and few subsets: the tests ask what becomes of links and files, not how good poses get.
WIDTH_PX = 400
QUICK = ReconstructOptions(
    matching=MatchingOptions(max_keypoints=512, max_frame_keypoints=512),
    consistency=ConsistencyOptions(num_random_subsets=3),
)
QUICK_FLAGS = ("--max-keypoints=512", "--max-frame-keypoints=512", "--num-random-subsets=3")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleTruth:
    """Two groups of four photos that SIFT cannot connect, and a clip between them."""
    folder = tmp_path_factory.mktemp("sample")
    return write_sample(folder, SampleOptions(seed=0, width_px=WIDTH_PX, photos_per_group=4, supersampling=1))


@pytest.fixture(scope="module")
def folder(sample: SampleTruth) -> Path:
    return sample.photo_dir


def options_with_clips(sample: SampleTruth) -> ReconstructOptions:
    bridging = BridgingOptions(clip_dirs=(sample.clip_dir,))
    return replace(QUICK, bridging=bridging, consensus=ConsensusOptions(accept_unseen=True))


@pytest.fixture(scope="module")
def bridged(sample: SampleTruth, tmp_path_factory: pytest.TempPathFactory) -> ReconstructionResult:
    return reconstruct.reconstruct(sample.photo_dir, tmp_path_factory.mktemp("run") / "out", options_with_clips(sample))


def errors_deg(truth: SampleTruth, model_dir: Path) -> np.ndarray:
    return pose_errors_deg(truth.cam_from_world, poses(pycolmap.Reconstruction(model_dir)))


def test_clip_joins_what_colmap_leaves_apart(sample: SampleTruth, bridged: ReconstructionResult) -> None:
    report = bridged.report
    assert report.num_registered_before == 4
    assert report.num_registered_after == 8
    errors = errors_deg(sample, bridged.model_dirs[0])
    assert errors.max() < 2.0
    assert auc(errors, 5) > 80


@pytest.mark.parametrize("use_gps", [True, False])
def test_gps_positions_of_the_original_files_are_handed_on(tmp_path: Path, use_gps: bool) -> None:
    """Also of photos that are written anew, without the position."""
    (tmp_path / "photos").mkdir()
    for index in range(3):
        exif = exif_north_of((48, 30), 1000 * index)
        exif[0x0112] = 6  # to be turned
        picture(str(index)).save(tmp_path / "photos" / f"{index}.jpg", exif=exif)
    workspace = Workspace(tmp_path / "out")
    with workspace.locked():
        photo_run = reconstruct.PhotoRun(workspace, replace(QUICK, use_gps=use_gps), RunLog())
        base = photo_run.map_base(photo_run.collect(tmp_path / "photos"))
    assert sorted(base.positions_m) == (["0.jpg", "1.jpg", "2.jpg"] if use_gps else [])
    if use_gps:
        assert base.positions_m["2.jpg"][1] - base.positions_m["0.jpg"][1] == pytest.approx(617.9, abs=2.0)


def test_the_report_says_what_holds_each_photo_and_shows_the_clip(bridged: ReconstructionResult) -> None:
    report, root = bridged.report, bridged.output
    held = {(photo.name.partition("_")[0], photo.held_by) for photo in report.photos}
    assert {side for side, _ in held} == {"left", "right"}
    assert sorted(kind for _, kind in held if kind is not None) == [HeldBy.COLMAP, HeldBy.JOINED]
    assert report.outcome == "COLMAP has 4 of 8 photos in its largest model; with links (1 by clips) it is 8."
    assert report.advice == ()
    assert len(report.verified) >= 12
    (clip,) = next(pair for pair in report.pairs if pair.verdict is LinkVerdict.ACCEPTED).clips
    assert clip.is_chosen
    with Image.open(root / clip.strip) as strip:
        assert strip.width % clip.num_strip_frames == 0
    page = (root / "report.html").read_text(encoding="utf-8")
    assert report.outcome in page
    assert page.count('<image id="im') == 8


def test_only_the_clip_pair_is_accepted(bridged: ReconstructionResult) -> None:
    accepted = [pair for pair in bridged.report.pairs if pair.verdict is LinkVerdict.ACCEPTED]
    assert [(pair.a, pair.b) for pair in accepted] == [("left_4.jpg", "right_1.jpg")]
    assert accepted[0].choice is not None
    assert 0 <= accepted[0].score < 20
    assert len(accepted[0].tried) == 2


def test_output_is_what_colmap_and_others_read(bridged: ReconstructionResult) -> None:
    root = bridged.output
    for name in ("database.db", "features.h5", "matches.h5", "hypotheses.h5", "report.json", "points.ply"):
        assert (root / name).stat().st_size > 0, name
    document = json.loads((root / "report.json").read_text())
    assert document["seed"] == 0
    assert {photo["name"] for photo in document["photos"]} == {p.name for p in bridged.report.photos}
    assert all(photo["is_registered"] for photo in document["photos"])
    model = pycolmap.Reconstruction(root / "sparse" / "0")
    assert model.num_reg_images() == 8
    with pycolmap.Database.open(root / "database.db") as database:
        assert database.num_images() == 8
        for image in model.images.values():
            assert len(database.read_keypoints(image.image_id)) == image.num_points2D()


def test_positions_of_a_table_go_before_those_of_exif(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for index in range(3):
        picture(str(index)).save(tmp_path / "photos" / f"{index}.jpg", exif=exif_north_of((48, 30), 1000 * index))
    table = tmp_path / "flight.csv"
    table.write_text("altitude,name,latitude,longitude\n120.5,1.jpg,10.0,20.0\n,2.jpg,11,21\n3,other.jpg,1,1\n")
    workspace, log = Workspace(tmp_path / "out"), RunLog()
    with workspace.locked():
        photo_run = reconstruct.PhotoRun(workspace, replace(QUICK, position_file=table), log)
        photo_set = photo_run.collect(tmp_path / "photos")
        photo_run.map_base(photo_set)
    first, second, third = (photo.gps for photo in photo_set.photos)
    assert first is not None
    assert first.latitude_deg == pytest.approx(48.5)
    assert (second, third) == (GpsPosition(10.0, 20.0, 120.5), GpsPosition(11.0, 21.0, None))
    assert any("1 of 3 names" in text and "other.jpg" in text for text in log.warnings)
    with pycolmap.Database.open(workspace.base_dir / "database.db") as database:
        assert [prior.position.tolist() for prior in database.read_all_pose_priors()] == [[10.0, 20.0, 120.5]]
    table.write_text("name,latitude,longitude,altitude\nother.jpg,1,1,1\n")
    with (
        workspace.locked(),
        pytest.raises(ValueError, match=r"no photo has a name of .* expected names such as 0\.jpg"),
    ):
        photo_run.collect(tmp_path / "photos")


def test_focal_lengths_of_a_handed_in_database_are_held_where_nothing_is_refined(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for index in range(3):
        picture(str(index)).save(tmp_path / "photos" / f"{index}.jpg")
    database_path = tmp_path / "mine.db"
    workspace = Workspace(tmp_path / "out")
    with workspace.locked():
        photo_set = reconstruct.PhotoRun(workspace, QUICK, RunLog()).collect(tmp_path / "photos")
    import_cameras(database_path, photo_set, CameraMode.PER_IMAGE)
    for is_refined in (True, False):
        options = replace(QUICK, database=database_path, base=BaseOptions(refine_intrinsics=is_refined))
        with workspace.locked():
            base = reconstruct.PhotoRun(workspace, options, RunLog()).map_base(photo_set)
        with pycolmap.Database.open(base.database_path) as database:
            assert [c.has_prior_focal_length for c in database.read_all_cameras()] == [not is_refined] * 3
        with pycolmap.Database.open(database_path) as database:
            assert not any(camera.has_prior_focal_length for camera in database.read_all_cameras())


def test_databases_with_rigs_are_refused(tmp_path: Path) -> None:
    """Links, and taking photos out, are of single photos; a rig would go along, or be torn apart."""
    (tmp_path / "photos").mkdir()
    for index in range(3):
        picture(str(index)).save(tmp_path / "photos" / f"{index}.jpg")
    with Workspace(tmp_path / "out").locked() as workspace:
        photo_set = reconstruct.PhotoRun(workspace, QUICK, RunLog()).collect(tmp_path / "photos")
        import_cameras(tmp_path / "mine.db", photo_set, CameraMode.PER_IMAGE)
        with contextlib.closing(sqlite3.connect(tmp_path / "mine.db")) as connection, connection:
            connection.execute("UPDATE frame_data SET frame_id = 1 WHERE data_id = 2")
        options = replace(QUICK, database=tmp_path / "mine.db")
        with pytest.raises(ValueError, match=r"mine.db has rigs of several cameras, which links between single photos"):
            reconstruct.PhotoRun(workspace, options, RunLog()).collect(tmp_path / "photos")


def test_positions_are_of_files_or_of_their_images(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.webp", "b.webp"):
        picture(name).save(tmp_path / "photos" / name, lossless=True)
    table = tmp_path / "flight.csv"
    table.write_text("name,latitude,longitude,altitude\na.webp,10,20,30\nb.png,11,21,31\n")
    workspace, log = Workspace(tmp_path / "out"), RunLog()
    with workspace.locked():
        photo_set = reconstruct.PhotoRun(workspace, replace(QUICK, position_file=table), log).collect(
            tmp_path / "photos"
        )
    assert [photo.gps for photo in photo_set.photos] == [GpsPosition(10, 20, 30), GpsPosition(11, 21, 31)]
    assert not [text for text in log.warnings if "flight.csv" in text]


@pytest.mark.parametrize("source", ["nothing", "EXIF", "parameters", "database"])
def test_only_what_is_given_counts_as_known_in_the_report(tmp_path: Path, source: str) -> None:
    """COLMAP's guess is none, though nothing refines it."""
    (tmp_path / "photos").mkdir()
    for index in range(3):
        picture(str(index)).save(tmp_path / "photos" / f"{index}.jpg")
    workspace = Workspace(tmp_path / "out")
    options = replace(QUICK, base=BaseOptions(refine_intrinsics=False))
    with workspace.locked():
        photo_set = reconstruct.PhotoRun(workspace, options, RunLog()).collect(tmp_path / "photos")
        first, *others = photo_set.photos
        known = [source == "parameters"] * 3
        if source == "parameters":
            options = replace(options, camera_params="500,200,150,0.1")
        elif source != "nothing":
            known = [True, False, False]
            with_exif = replace(photo_set, photos=(replace(first, focal_px=450.0), *others))
            if source == "EXIF":
                photo_set = with_exif
            else:
                import_cameras(tmp_path / "mine.db", with_exif, CameraMode.PER_IMAGE)
                options = replace(options, database=tmp_path / "mine.db")
        run = reconstruct.PhotoRun(workspace, replace(options, camera_mode=CameraMode.PER_IMAGE), RunLog())
        result = run.finish(photo_set, run.map_base(photo_set), Extension((), ()), tmp_path)
    assert [camera.was_known for camera in result.report.cameras] == known


def test_models_are_georegistered_into_one_frame(tmp_path: Path) -> None:
    """Two models of one flight, by GPS as EXIF has it, and one with too few positions."""
    transform, origin = pycolmap.GPSTransform(), (48.5, -2.25)
    places = transform.enu_to_ellipsoid(np.array(list(flight.gps(0.5).values())), *origin, 0.0)
    photos = tuple(
        Photo(name, tmp_path / name, 1000, 750, 800.0, "", "", name, GpsPosition(*map(float, place)))
        for name, place in zip(flight.NAMES, places, strict=True)
    )
    photo_set = PhotoSet(tmp_path, photos, ())
    rows = ((*range(7), *range(33, 40)), range(10, 33), (8, 9))
    found = Extension((), tuple(flight.flight(each, seed) for seed, each in enumerate(rows)))
    workspace = Workspace(tmp_path / "out")
    with workspace.locked():
        for georegister in (True, False):
            run = reconstruct.PhotoRun(workspace, replace(QUICK, georegister=georegister), RunLog())
            result = run.finish(photo_set, Base(tmp_path / "none.db", tmp_path, flight.NAMES), found, tmp_path)
            if georegister:
                told = result.report.georeference
                assert told is not None
                assert told.is_done == (True, True, False)
                assert "2 of its photos have a GPS position with an altitude, expected 3" in told.models[2]
                assert f"sparse/2 is {told.models[2]}" in result.report.warnings
                models = [pycolmap.Reconstruction(path) for path in result.model_dirs[:2]]
                flown = {name: pose for model in models for name, pose in poses(model).items()}
                held = [flight.NAMES.index(name) for name in sorted(flown)]
                # by the photo in their middle, which is zero on the ground and some way up
                zero_m = transform.ellipsoid_to_enu(
                    np.array([[told.latitude_deg, told.longitude_deg, 0.0]]), *origin, 0.0
                )
                truth_m = (flight.CENTERS_M + flight.ENU - zero_m)[held]
                assert np.abs(flight.centers_m(flown) - truth_m).max() < 3.0
                length_m = np.sum(np.linalg.norm(np.diff(flight.centers_m(flown), axis=0), axis=1))
                assert length_m == pytest.approx(np.sum(np.linalg.norm(np.diff(truth_m, axis=0), axis=1)), rel=0.02)
    assert result.report.georeference is None
    kept = flight.centers_m(poses(pycolmap.Reconstruction(result.model_dirs[0])))
    np.testing.assert_allclose(kept, flight.centers_m(poses(found.models[0])))


def test_the_report_says_which_photos_share_a_camera(bridged: ReconstructionResult) -> None:
    (camera,) = bridged.report.cameras
    assert camera.photos == tuple(photo.name for photo in bridged.report.photos)
    model = pycolmap.Reconstruction(bridged.model_dirs[0])
    assert (camera.model, camera.width_px, camera.height_px) == ("SIMPLE_RADIAL", WIDTH_PX, 0.75 * WIDTH_PX)
    assert camera.params == pytest.approx(next(iter(model.cameras.values())).params, abs=1e-5)
    assert camera.was_known


def test_second_run_changes_nothing_and_asks_no_network(
    sample: SampleTruth, bridged: ReconstructionResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in sorted((bridged.output / "sparse").rglob("*.bin"))}
    asked: list[str] = []
    for name in ("extract", "match"):
        monkeypatch.setattr(LearnedMatcher, name, lambda *_, name=name: asked.append(name))
    again = reconstruct.reconstruct(sample.photo_dir, bridged.output, options_with_clips(sample))
    assert asked == []
    assert _verdicts(again) == _verdicts(bridged)
    assert before.keys() == set((bridged.output / "sparse").rglob("*.bin"))
    assert errors_deg(sample, again.model_dirs[0]).max() < 2.0


def _verdicts(result: ReconstructionResult) -> list[LinkVerdict]:
    return [pair.verdict for pair in result.report.pairs]


def test_without_clips_nothing_wrong_enters(sample: SampleTruth, bridged: ReconstructionResult, tmp_path: Path) -> None:
    output = shutil.copytree(bridged.output, tmp_path / "out")  # with its matches, which take the time
    result = reconstruct.reconstruct(sample.photo_dir, output, replace(QUICK, generator="none"))
    assert result.report.num_registered_after == 4
    for model_dir in result.model_dirs:
        registered = poses(pycolmap.Reconstruction(model_dir))
        truth = {name: sample.cam_from_world[name] for name in registered}
        assert pose_errors_deg(truth, registered).max() < 2.0


def test_killed_run_goes_on_and_ends_with_the_same_models(
    sample: SampleTruth, bridged: ReconstructionResult, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    command = [
        *(sys.executable, "-m", "interpose_sfm", "reconstruct", str(sample.photo_dir), "--output", str(output)),
        *("--clips", str(sample.clip_dir), "--accept-unseen", "-q", *QUICK_FLAGS),
    ]
    for marker in ("base/database.db", "base/models", "features.h5.parts"):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not (output / marker).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (output / marker).exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
    result = reconstruct.reconstruct(sample.photo_dir, output, options_with_clips(sample))
    assert _verdicts(result) == _verdicts(bridged)
    mine, theirs = (pycolmap.Reconstruction(r.model_dirs[0]) for r in (result, bridged))
    assert mine.num_reg_images() == theirs.num_reg_images()
    errors = pose_errors_deg(poses(theirs), poses(mine))
    assert errors.max() < 0.1


def test_two_runs_on_one_folder_exclude_each_other(sample: SampleTruth, tmp_path: Path) -> None:
    from interpose_sfm.storage.workspace import Workspace

    with Workspace(tmp_path / "out").locked(), pytest.raises(WorkspaceBusyError, match="another run"):
        reconstruct.reconstruct(sample.photo_dir, tmp_path / "out")


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_photos_are_a_report_not_a_crash(folder: Path, tmp_path: Path, count: int) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "notes.txt").write_text("no photo")
    if count:
        (photos / "one.jpg").write_bytes((folder / "left_1.jpg").read_bytes())
    result = reconstruct.reconstruct(photos, tmp_path / "out")
    assert result.model_dirs == ()
    assert len(result.report.photos) == count + 1
    assert "at least two" in " ".join(result.report.warnings)
    assert (tmp_path / "out" / "report.json").is_file()


def test_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        reconstruct.reconstruct(tmp_path / "nowhere", tmp_path / "out")


def test_weak_pairs_of_too_few_photos_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(ValueError, match=r"got 0 usable photos, expected at least two; left out: notes\.txt"):
        reconstruct.find_weak_pairs(tmp_path)


def test_weak_pairs_leave_nothing_behind(sample: SampleTruth, tmp_path: Path) -> None:
    before = sorted(sample.photo_dir.parent.rglob("*"))
    graph = reconstruct.find_weak_pairs(sample.photo_dir)
    assert sorted(map(len, graph.models)) == [4, 4]
    assert len(graph.weak_pairs) == 16
    assert sorted(sample.photo_dir.parent.rglob("*")) == before


def test_handed_in_database_is_copied_and_used(
    sample: SampleTruth, bridged: ReconstructionResult, tmp_path: Path
) -> None:
    database = tmp_path / "mine.db"
    database.write_bytes((bridged.output / "base" / "database.db").read_bytes())
    before = database.read_bytes()
    options = replace(QUICK, database=database, generator="none", view_graph=ViewGraphOptions(max_weak_pairs=1))
    result = reconstruct.reconstruct(sample.photo_dir, tmp_path / "out", options)
    assert result.report.num_registered_before == 4
    assert "features" not in result.report.timings_s
    assert database.read_bytes() == before


def test_database_of_other_photos_is_refused(
    sample: SampleTruth, bridged: ReconstructionResult, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "left_1.jpg").write_bytes((sample.photo_dir / "left_1.jpg").read_bytes())
    options = ReconstructOptions(database=bridged.output / "base" / "database.db")
    with pytest.raises(ValueError, match="the folder that the database was made from"):
        reconstruct.reconstruct(photos, tmp_path / "out", options)


# ---------------------------------------------------------------- real photos


@pytest.mark.photos
@pytest.mark.parametrize(
    ("subset", "min_registered", "min_auc30"),
    [
        ("fountain-P11_s5", 3, 97.0),
        pytest.param("castle-P30_s3", 10, 95.0, marks=pytest.mark.long),  # three times the photos, on the same way
    ],
)
def test_real_photos(subset: str, min_registered: int, min_auc30: float, tmp_path: Path) -> None:
    strecha = DATA / "strecha"
    if not strecha.is_dir():
        pytest.skip("no real photos: set INTERPOSE_SFM_DATA")
    known = json.loads((strecha / "subsets.json").read_text())[subset]
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in known["images"]:
        (photos / name).symlink_to(strecha / known["scene"] / "images" / name)
    result = reconstruct.reconstruct(photos, tmp_path / "out")
    cameras = json.loads((strecha / known["scene"] / "cameras.json").read_text())
    truth = {}
    for name in known["images"]:
        rotation = np.array(cameras[name]["cam_from_world_R"])
        truth[name] = Pose(rotation, -rotation @ np.array(cameras[name]["center"]))
    assert result.report.num_registered_after >= min_registered
    errors = pose_errors_deg(truth, poses(pycolmap.Reconstruction(result.model_dirs[0])))
    assert auc(errors, 30) >= min_auc30


def test_photos_from_one_place_give_no_model_and_say_why(folder: Path, tmp_path: Path) -> None:
    """Views of one photo by a camera that turns."""
    photos = tmp_path / "photos"
    photos.mkdir()
    with Image.open(folder / "left_1.jpg") as image:
        width, height = image.size
        focal_px = 1.2 * width
        camera = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
        for index, angle_deg in enumerate((-8, -4, 0, 4, 8)):
            rotation = geometry.rotation_exp(np.radians([0.3 * angle_deg, angle_deg, 0.0]))
            matrix = camera @ rotation @ np.linalg.inv(camera)
            coefficients = (matrix / matrix[2, 2]).ravel()[:8]
            view = image.transform(image.size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC)
            view.save(photos / f"{index}.jpg", quality=95)
    result = reconstruct.reconstruct(photos, tmp_path / "out", ReconstructOptions(generator="none"))
    assert result.model_dirs == ()
    assert {photo.reason for photo in result.report.photos} == {base_models.ONE_PLACE}
    assert any(base_models.ONE_PLACE in warning for warning in result.report.warnings)


# ---------------------------------------------------------------- photos around a gap, shown to a pose network


class GroupNetwork(KnownSceneNetwork):
    """Of known geometry, a little in error; of the two photos of a gap alone it has no answer."""

    def guess(self, images: Sequence[ImageArray], told: Sequence[Told] = ()) -> SceneGuess | None:  # type: ignore[override]
        return None if len(images) < 5 else super().guess(images, told)


@pytest.mark.long
def test_photos_around_a_gap_join_what_the_pair_alone_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pair across has a pose by its own matches, all of which are taken for doubtful; these judge all the same."""
    options = SampleOptions(width_px=WIDTH_PX, photos_per_group=4, num_frames=3, supersampling=1, gap_deg=44.0)
    truth = write_sample(tmp_path, options)
    scene = Scene.courtyard(truth.seed, texels_per_m=16)
    network = GroupNetwork(scene, SceneErrors(depth_sigma=0.03, turn_deg=1.0), 252)
    for name, pose in truth.cam_from_world.items():
        with Image.open(truth.photo_dir / name) as photo:
            network.add_view(np.asarray(photo.convert("RGB"), np.uint8), truth.intrinsics, pose)
    monkeypatch.setattr(da3_network, "load_network", lambda options: network)
    monkeypatch.setattr(Da3Estimator, "has_weights", classmethod(lambda cls, options: True))
    wanted = ReconstructOptions(
        matching=MatchingOptions(max_keypoints=1024, min_match_score=0.998),
        generator="none",
        da3=Da3Options(da3_size_px=252),
    )
    found = reconstruct.reconstruct(truth.photo_dir, tmp_path / "out", wanted)
    assert (found.report.num_registered_before, found.report.num_registered_after) == (4, 8)
    accepted = [pair for pair in found.report.pairs if pair.verdict is LinkVerdict.ACCEPTED]
    assert accepted
    assert all(pair.detail.startswith("da3 with 6 photos beside: ") for pair in accepted)
    placed = poses(pycolmap.Reconstruction(found.model_dirs[0]))
    first = truth.groups[0][0]
    for name in placed:
        ways = [geometry.relative_pose(known[name], known[first]) for known in (placed, truth.cam_from_world)]
        assert geometry.rotation_angle_deg(ways[0].rotation @ ways[1].rotation.T) < 1.0
    units = [
        np.linalg.norm(geometry.relative_pose(placed[b], placed[a]).translation)
        / np.linalg.norm(geometry.relative_pose(truth.cam_from_world[b], truth.cam_from_world[a]).translation)
        for a, b in [*((group[0], group[-1]) for group in truth.groups), (truth.gap.a, truth.gap.b)]
    ]
    np.testing.assert_allclose(units, units[0], rtol=0.03)
