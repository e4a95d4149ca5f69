"""Loaders of public data sets, on small folders written in their forms, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

import data_sets
from benchmarks.colmap_truth import with_sets
from benchmarks.data_sets import DATA_SETS
from benchmarks.scenes import WHOLE_SCENE, Scene, fitted, header_of, load_scenes, natural_key, pinhole
from interpose_sfm import geometry


def loaded(name: str, data: Path) -> Scene:
    """The only scene of a folder."""
    (scene,) = load_scenes(DATA_SETS[name].loader, data)
    return scene


def written(name: str, data: Path, number: int = 4) -> Path:
    """The folder of a scene."""
    write, place = data_sets.FORMS[name]
    write(data / place, data_sets.true_poses(number))
    return data / place


@pytest.mark.parametrize("name", data_sets.FORMS)
def test_poses_and_cameras_are_those_that_were_written(tmp_path: Path, name: str) -> None:
    written(name, tmp_path)
    scene = loaded(name, tmp_path)
    assert scene.name == data_sets.FORMS[name][1]
    assert not scene.left_out
    assert len(scene.photos) == 4
    by_stem = {photo.path.stem: photo for photo in scene.photos}
    for stem, pose in zip(sorted(by_stem), data_sets.true_poses(), strict=True):
        photo = by_stem[stem]
        np.testing.assert_allclose(photo.cam_from_world.rotation, pose.rotation, atol=1e-6)
        np.testing.assert_allclose(photo.cam_from_world.translation, pose.translation, atol=1e-6)
        assert photo.camera is not None
        assert photo.camera.focal_px == pytest.approx(data_sets.FOCAL_PX)
        assert (photo.camera.width_px, photo.camera.height_px) == data_sets.SIZE_PX
        if name not in ("cambridge", "navi"):  # these tell no principal point
            assert (photo.camera.cx_px, photo.camera.cy_px) == pytest.approx(data_sets.CENTER_PX)


@pytest.mark.parametrize("name", data_sets.FORMS)
def test_the_middle_of_the_scene_is_in_front_and_points_below_are_below(tmp_path: Path, name: str) -> None:
    """OpenCV's axes: with OpenGL's the middle would be behind the camera, and what is below would be seen above."""
    write, place = data_sets.FORMS[name]
    write(tmp_path / place, data_sets.yaw_circle(3, 20.0))
    for photo in loaded(name, tmp_path).photos:
        assert photo.camera is not None
        below_in_world = np.array([[0.0, 1.0, 0.0]])  # y down
        below_in_cam = below_in_world @ photo.cam_from_world.rotation.T + photo.cam_from_world.translation
        assert below_in_cam[0, 2] > 0
        seen_px = geometry.project(below_in_cam, photo.camera)
        assert seen_px[0, 1] > photo.camera.cy_px + 5


@pytest.mark.parametrize("name", data_sets.FORMS)
def test_a_photo_that_is_missing_costs_itself(tmp_path: Path, name: str) -> None:
    folder = written(name, tmp_path)
    photo = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".png"))[1]
    photo.unlink()
    scene = loaded(name, tmp_path)
    assert len(scene.photos) == 3
    if name != "scannet":  # where the frames themselves are the list
        assert any("there is no file" in reason for reason in scene.left_out.values())


@pytest.mark.parametrize("name", data_sets.FORMS)
def test_other_extensions_are_found(tmp_path: Path, name: str) -> None:
    folder = written(name, tmp_path)
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    data_sets.picture(photos[0].with_suffix(".PNG"))
    photos[0].unlink()
    scene = loaded(name, tmp_path)
    assert not scene.left_out
    assert sum(photo.path.suffix == ".PNG" for photo in scene.photos) == 1


@pytest.mark.parametrize("name", data_sets.FORMS)
def test_no_scene_is_told_with_what_is_expected(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="holds no scene; expected"):
        list(load_scenes(DATA_SETS[name].loader, tmp_path))


@pytest.mark.parametrize("name", data_sets.FORMS)
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_poses_are_those_of_upright_pictures(tmp_path: Path, name: str, orientation: int) -> None:
    """COLMAP and others see the stored pixels; the package turns photos upright by EXIF, and so does NAVI."""
    folder = written(name, tmp_path)
    before = loaded(name, tmp_path).photos[0]
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(before.path) as image:
        image.save(before.path, exif=exif)
    after = loaded(name, tmp_path).photos[0]
    assert before.camera is not None
    assert after.camera is not None
    if name == "navi":
        np.testing.assert_allclose(after.cam_from_world.rotation, before.cam_from_world.rotation)
        return
    points = np.array([[0.1, 0.3, 0.2], [-0.4, 0.2, 0.5], [0.2, -0.5, -0.1]])
    stored_px, upright_px = (
        geometry.project(points @ p.cam_from_world.rotation.T + p.cam_from_world.translation, p.camera)
        for p in (before, after)
        if p.camera is not None
    )
    width, height = data_sets.SIZE_PX
    x, y = stored_px.T
    turned = {3: (width - x, height - y), 6: (height - y, x), 8: (y, width - x)}[orientation]
    np.testing.assert_allclose(upright_px, np.stack(turned, axis=1), atol=1e-6)
    sideways = orientation != 3
    assert (after.camera.width_px, after.camera.height_px) == ((height, width) if sideways else (width, height))
    exif[0x0112] = 5
    with Image.open(before.path) as image:
        image.save(before.path, exif=exif)
    assert any("mirrors" in why for why in loaded(name, tmp_path).left_out.values())
    assert folder.is_dir()


def test_the_pixels_of_a_png_are_not_decoded_for_its_size(tmp_path: Path) -> None:
    """Of millions of frames that takes hours."""
    path = data_sets.picture(tmp_path / "whole.png", size_px=(400, 300))
    path.write_bytes(path.read_bytes()[:1000])
    assert header_of(path).size_px == (400, 300)


def test_cameras_of_scaled_copies_are_scaled(tmp_path: Path) -> None:
    camera = pinhole((6048, 4032), (3400.0, 3400.0), (3000.0, 2000.0))
    half = fitted(camera, (1600, 1067))
    assert (half.width_px, half.height_px) == (1600, 1067)
    assert half.focal_px == pytest.approx(3400 * 1600 / 6048, rel=1e-3)
    assert half.cx_px == pytest.approx(3000 * 1600 / 6048)
    with pytest.raises(ValueError, match="6048 x 4032 px, and the photo has 1067 x 1600"):
        fitted(camera, (1067, 1600))
    folder = written("colmap", tmp_path)
    for photo in (folder / "images").rglob("*.JPG"):
        data_sets.picture(photo, size_px=(32, 24))
    camera = loaded("colmap", tmp_path).photos[0].camera or camera
    assert (camera.width_px, camera.focal_px) == (32, pytest.approx(data_sets.FOCAL_PX / 2))


def test_scannet_intrinsics_of_other_frames_are_refused(tmp_path: Path) -> None:
    folder = written("scannet", tmp_path)
    (folder / "intrinsic" / "intrinsic_color.txt").rename(folder / "intrinsics_color.txt")  # of the 25,000 frames
    assert loaded("scannet", tmp_path).photos[0].camera is not None
    path = folder / "intrinsics_color.txt"
    path.write_text("1170.2 0 647.8 0\n0 1170.2 483.8 0\n0 0 1 0\n0 0 0 1\n")
    scene = loaded("scannet", tmp_path)
    assert not scene.photos
    assert "not of frames of 64 x 48 px" in scene.left_out["0.jpg"]


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("navi", "annotations.json", '{"images": []}'),  # COCO's
        ("navi", "annotations.json", "[3]"),
        ("strecha", "cameras.json", "[1]"),
        ("dl3dv", "transforms.json", '{"frames": ["a"]}'),
        ("dl3dv", "transforms.json", "[" * 100_000),
        ("eth3d", "dslr_calibration_undistorted/cameras.txt", "0 NOTHING 64 48 50 50 32 24"),
        ("eth3d", "dslr_calibration_undistorted/cameras.txt", "0 PINHOLE 64 48 50 50"),
    ],
)
def test_files_of_the_same_name_in_another_form_cost_the_scene(
    tmp_path: Path, name: str, file: str, content: str
) -> None:
    (written(name, tmp_path) / file).write_text(content)
    scene = loaded(name, tmp_path)
    assert not scene.photos
    assert scene.left_out


def test_numbers_beyond_those_of_the_machine_cost_their_photo(tmp_path: Path) -> None:
    path = written("dl3dv", tmp_path) / "transforms.json"
    document = json.loads(path.read_text())
    document["frames"][0]["transform_matrix"][0][3] = 10**400
    document["frames"][1]["w"] = 0
    path.write_text(json.dumps(document))
    assert len(loaded("dl3dv", tmp_path).photos) == 2


@pytest.mark.parametrize(("name", "file"), [("cambridge", "reconstruction.nvm"), ("scannet", "intrinsic")])
def test_photos_that_are_none_are_left_out_without_cameras_too(tmp_path: Path, name: str, file: str) -> None:
    folder = written(name, tmp_path)
    (folder / file).rename(tmp_path / "away")
    loaded(name, tmp_path).photos[1].path.write_bytes(b"")
    assert len(loaded(name, tmp_path).photos) == 3


@pytest.mark.parametrize("file", ["images.bin", "cameras.bin"])
def test_binary_models_that_break_off_cost_the_scene(tmp_path: Path, file: str) -> None:
    path = written("colmap", tmp_path) / "sparse" / "0" / file
    content = path.read_bytes()
    for number_of_bytes in (0, 5, 20, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:number_of_bytes])
        scene = loaded("colmap", tmp_path)
        assert not scene.photos
        assert scene.left_out


def test_binary_models_need_no_points(tmp_path: Path) -> None:
    """COLMAP's reader takes whatever an empty file of points says for their number, and does not end."""
    model = written("colmap", tmp_path) / "sparse" / "0"
    truth = pycolmap.Reconstruction(model)
    for name in ("points3D.bin", "rigs.bin", "frames.bin"):
        (model / name).write_bytes(b"")
    scene = loaded("colmap", tmp_path)
    assert len(scene.photos) == 4
    for photo in scene.photos:
        assert photo.number is not None
        pose = geometry.from_rigid3d(truth.images[photo.number].cam_from_world())
        np.testing.assert_allclose(photo.cam_from_world.rotation, pose.rotation, atol=1e-9)


def test_names_with_digits_of_other_kinds_are_in_order() -> None:
    assert sorted(["a10", "a2", "a\u00b2", "1\u00b22"], key=natural_key)[0] == "1\u00b22"


# ---------------------------------------------------------------- poses that are none


@pytest.mark.parametrize("bad", ["nan", "-inf", "word"])
def test_cambridge_numbers_that_are_none_cost_their_photo(tmp_path: Path, bad: str) -> None:
    folder = written("cambridge", tmp_path)
    path = folder / "dataset_train.txt"
    lines = path.read_text().splitlines()
    lines[3] = " ".join([*lines[3].split()[:-1], bad])
    lines.append("seq1/frame00009.png 1 2 3")  # cut off
    lines.append(lines[4].replace(" 0", " 1"))
    path.write_text("\n".join(lines))
    scene = loaded("cambridge", tmp_path)
    assert len(scene.photos) == 3
    assert len(scene.left_out) == 3
    assert scene.left_out["seq1/frame00002.png (again)"] == "listed twice"


def test_cambridge_without_lists_takes_the_poses_of_the_nvm_file(tmp_path: Path) -> None:
    folder = written("cambridge", tmp_path)
    expected = {photo.path: photo.cam_from_world for photo in loaded("cambridge", tmp_path).photos}
    for path in folder.glob("dataset_*.txt"):
        path.unlink()
    scene = loaded("cambridge", tmp_path)
    assert len(scene.photos) == 4
    for photo in scene.photos:
        np.testing.assert_allclose(photo.cam_from_world.rotation, expected[photo.path].rotation, atol=1e-6)
        np.testing.assert_allclose(photo.cam_from_world.translation, expected[photo.path].translation, atol=1e-5)


def test_cambridge_without_nvm_knows_no_focal_lengths(tmp_path: Path) -> None:
    (written("cambridge", tmp_path) / "reconstruction.nvm").unlink()
    assert [photo.camera for photo in loaded("cambridge", tmp_path).photos] == [None] * 4


def test_cambridge_file_that_is_no_nvm_costs_the_scene(tmp_path: Path) -> None:
    (written("cambridge", tmp_path) / "reconstruction.nvm").write_text("<html>not found</html>")
    scene = loaded("cambridge", tmp_path)
    assert not scene.photos
    assert "NVM_V3" in scene.left_out[WHOLE_SCENE]


def test_blanks_and_absolute_paths_are_read(tmp_path: Path) -> None:
    names = ["seq 1/frame 1.png", "seq 1/frame 2.png"]
    data_sets.cambridge(tmp_path / "Shop", data_sets.true_poses(2), names)
    path = tmp_path / "Shop" / "dataset_train.txt"
    path.write_text(path.read_text().replace("seq 1/frame 1.png", "/home/somebody/Shop/seq 1/frame 1.png"))
    scene = loaded("cambridge", tmp_path)
    assert not scene.left_out
    assert sorted(photo.path.name for photo in scene.photos) == ["frame 1.png", "frame 2.png"]
    windows = tmp_path / "Windows"
    data_sets.dl3dv(windows / "scene", data_sets.true_poses(2), "images", 1)
    path = windows / "scene" / "transforms.json"
    path.write_text(path.read_text().replace("images/", "C:\\\\data\\\\scene\\\\images\\\\"))
    assert len(loaded("dl3dv", windows).photos) == 2


def test_scannet_frames_where_the_camera_was_lost_are_left_out(tmp_path: Path) -> None:
    folder = written("scannet", tmp_path, 5)
    (folder / "pose" / "0.txt").write_text("\n".join(["-inf -inf -inf -inf"] * 4) + "\n")
    (folder / "pose" / "1.txt").write_text("nan 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    (folder / "pose" / "2.txt").unlink()
    (folder / "pose" / "3.txt").write_text("1 0 0\n")
    scene = loaded("scannet", tmp_path)
    assert [photo.name for photo in scene.photos] == ["4.jpg"]
    assert "the camera was lost" in scene.left_out["0.jpg"]
    assert "the camera was lost" in scene.left_out["1.jpg"]
    assert "3 numbers, expected 16" in scene.left_out["3.jpg"]
    assert set(scene.left_out) == {"0.jpg", "1.jpg", "2.jpg", "3.jpg"}


def test_scannet_frames_are_in_order_of_capture(tmp_path: Path) -> None:
    data_sets.scannet(tmp_path / "scene", data_sets.true_poses(11))
    assert [photo.name for photo in loaded("scannet", tmp_path).photos] == [f"{index}.jpg" for index in range(11)]


def test_left_handed_axes_are_refused(tmp_path: Path) -> None:
    folder = written("dl3dv", tmp_path)
    document = json.loads((folder / "transforms.json").read_text())
    matrix = np.array(document["frames"][0]["transform_matrix"])
    matrix[:3, 1] *= -1  # y turned round, z not
    document["frames"][0]["transform_matrix"] = matrix.tolist()
    document["frames"][1]["transform_matrix"] = (2 * np.array(document["frames"][1]["transform_matrix"])).tolist()
    del document["frames"][2]["transform_matrix"]
    (folder / "transforms.json").write_text(json.dumps(document))
    scene = loaded("dl3dv", tmp_path)
    assert len(scene.photos) == 1
    assert "left-handed" in scene.left_out["images/frame_00000.png"]
    assert "no rotation matrix" in scene.left_out["images/frame_00001.png"]
    assert "transform_matrix" in scene.left_out["images/frame_00002.png"]


def test_dl3dv_cameras_may_stand_with_the_frames(tmp_path: Path) -> None:
    data_sets.dl3dv(tmp_path / "scene", data_sets.true_poses(2), "images", 1)
    path = tmp_path / "scene" / "transforms.json"
    document = json.loads(path.read_text())
    document["frames"][0] |= {key: document.pop(key) for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
    path.write_text(json.dumps(document))
    first, second = loaded("dl3dv", tmp_path).photos
    assert first.camera is not None
    assert first.camera.focal_px == pytest.approx(data_sets.FOCAL_PX)
    assert second.camera is None


def test_dl3dv_photos_that_are_scaled_down_keep_their_distortion(tmp_path: Path) -> None:
    data_sets.dl3dv(tmp_path / "scene", data_sets.true_poses(2), "images_4", 4)
    path = tmp_path / "scene" / "transforms.json"
    document = json.loads(path.read_text())
    document["frames"][1]["camera_model"] = "EQUIRECTANGULAR"
    path.write_text(json.dumps(document | {"k1": 0.05, "k2": -0.01, "p1": 0.002, "p2": -0.001}))
    scene = loaded("dl3dv", tmp_path)
    camera = scene.photos[0].camera
    assert camera is not None
    assert (camera.model, camera.distortion) == ("OPENCV", (0.05, -0.01, 0.002, -0.001))
    assert camera.focal_px == pytest.approx(data_sets.FOCAL_PX)
    full_px = np.array([[100.0, 60.0]])
    whole = geometry.to_colmap_camera(camera)
    whole.rescale(*(4 * side for side in data_sets.SIZE_PX))
    seen = geometry.pixel_to_ray(full_px, geometry.from_colmap_camera(whole, is_trusted=True))
    assert geometry.pixel_to_ray(full_px / 4, camera) == pytest.approx(seen, abs=1e-9)
    assert "got the camera model EQUIRECTANGULAR" in scene.left_out["images/frame_00001.png"]


def test_navi_takes_multiview_scenes_alone_and_checks_quaternions(tmp_path: Path) -> None:
    folder = written("navi", tmp_path)
    data_sets.navi(tmp_path / "cup" / "wild_set", data_sets.true_poses())
    annotations = json.loads((folder / "annotations.json").read_text())
    annotations[0]["camera"]["q"] = [0, 0, 0, 0]
    annotations[1]["camera"]["q"] = annotations[1]["camera"]["q"][:3]
    del annotations[2]["camera"]
    (folder / "annotations.json").write_text(json.dumps(annotations))
    scene = loaded("navi", tmp_path)
    assert [photo.name for photo in scene.photos] == ["003.jpg"]
    assert "length 0.000" in scene.left_out["000.jpg"]
    assert "expected 4" in scene.left_out["001.jpg"]
    assert "camera" in scene.left_out["002.jpg"]


def test_json_that_breaks_off_costs_its_scene_alone(tmp_path: Path) -> None:
    written("navi", tmp_path)
    other = tmp_path / "cup" / "multiview-01-pixel_5"
    data_sets.navi(other, data_sets.true_poses())
    (other / "annotations.json").write_text("[{")
    whole, broken = load_scenes(DATA_SETS["navi"].loader, tmp_path)
    assert len(whole.photos) == 4
    assert not broken.photos
    assert broken.name == "cup/multiview-01-pixel_5"
    assert "JSONDecodeError" in broken.left_out[WHOLE_SCENE]


def test_eth3d_lines_that_are_damaged_cost_their_photo(tmp_path: Path) -> None:
    folder = written("eth3d", tmp_path)
    path = folder / "dslr_calibration_undistorted" / "images.txt"
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace(lines[1].split()[5], "nan", 1)
    lines[3] = " ".join([*lines[3].split()[:8], "7", lines[3].split()[9]])  # no such camera
    lines[5] = "12 1 0 0"
    path.write_text("\n".join(lines) + "\n")
    scene = loaded("eth3d", tmp_path)
    assert [photo.number for photo in scene.photos] == [13]
    assert sorted(scene.left_out.values()) == [
        "a line of images.txt has 4 words, expected 10",
        "the pose or camera is not finite",
        "there is no '7'",
    ]


def test_lists_of_mp_sfm_name_photos_by_their_ids(tmp_path: Path) -> None:
    written("eth3d", tmp_path / "data")
    lists = tmp_path / "lists" / "courtyard"
    lists.mkdir(parents=True)
    (lists / "minimal.yaml").write_text("0: [10, 12]\n1: [11, 12, 13]\n")
    scene = loaded("eth3d", tmp_path / "data")
    found = with_sets(scene, tmp_path / "lists", "minimal")
    assert {name: [Path(one).name for one in names] for name, names in found.sets.items()} == {
        "minimal-0": ["DSC_0000.JPG", "DSC_0002.JPG"],
        "minimal-1": ["DSC_0001.JPG", "DSC_0002.JPG", "DSC_0003.JPG"],
    }
    assert with_sets(scene, tmp_path / "lists", "leq5") == scene
    for line, message in (("0: [10, 99]", "no image 99"), ("nonsense", "expected SET")):
        (lists / "minimal.yaml").write_text(line)
        with pytest.raises(ValueError, match=message):
            with_sets(scene, tmp_path / "lists", "minimal")


def test_a_model_is_no_scene_of_its_own(tmp_path: Path) -> None:
    """Nor is the data folder, if its scenes lie below it."""
    written("colmap", tmp_path)
    assert [folder.name for folder in DATA_SETS["colmap"].loader.folders(tmp_path)] == ["Gendarmenmarkt"]
    assert loaded("colmap", tmp_path / "Gendarmenmarkt").name == "Gendarmenmarkt"


def test_imb_files_that_are_damaged_cost_their_photo(tmp_path: Path) -> None:
    folder = written("imb", tmp_path)
    first, second, *_ = sorted((folder / "calibration").iterdir())
    first.write_bytes(first.read_bytes()[:100])
    import h5py

    with h5py.File(second, "a") as file:
        del file["R"]
    scene = loaded("imb", tmp_path)
    assert len(scene.photos) == 2
    assert len(scene.left_out) == 2
