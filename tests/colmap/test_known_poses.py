"""Cameras and poses as people have them: what is read, which axes they have, and what is refused."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import pytest

from exported_scene import NAMES, PARAMS, make_source
from interpose_sfm import geometry
from interpose_sfm.colmap.known_poses import read_known_poses
from interpose_sfm.colmap.reconstruction import model_cameras, poses
from interpose_sfm.export import nerfstudio

MODELS = [name for name in PARAMS if name not in ("FULL_OPENCV", "FOV", "THIN_PRISM_FISHEYE")]


def exported(folder: Path, model: str = "OPENCV") -> tuple[Path, pycolmap.Reconstruction]:
    """A transforms.json of our own, and the model that it was made of."""
    source = make_source(folder / "model", model, num_cameras=2)
    out = folder / "nerfstudio"
    out.mkdir()
    nerfstudio.write(source, out)
    return out / "transforms.json", source.model


@pytest.mark.parametrize("model", MODELS)
def test_what_nerfstudio_reads_gives_the_model_back(model: str, tmp_path: Path) -> None:
    """So axes of cameras and world are those of COLMAP: of the OpenGL axes in the file nothing is left."""
    path, source = exported(tmp_path, model)
    known = read_known_poses(path)
    assert [name for name, _ in known.views] == [f"images/{name}" for name in sorted(NAMES)]
    truth, cameras = poses(source), model_cameras(source)
    pixels = np.array([[10.0, 100.0], [80, 60], [140, 20]])
    for name, view in known.views:
        photo = name.removeprefix("images/")
        assert view.cam_from_world.rotation == pytest.approx(truth[photo].rotation, abs=1e-9)
        assert view.cam_from_world.translation == pytest.approx(truth[photo].translation, abs=1e-9)
        rays = geometry.pixel_to_ray(pixels, cameras[photo])
        assert geometry.pixel_to_ray(pixels, view.camera) == pytest.approx(rays, abs=1e-9)


@pytest.mark.parametrize("kind", ["binary", "text", "0", "old binary", "old text"])
def test_colmap_models_are_read_as_they_are(kind: str, tmp_path: Path) -> None:
    """Also those of three files, as COLMAP wrote them before it knew rigs."""
    source = make_source(tmp_path, "FULL_OPENCV").model
    folder = tmp_path / "given"
    target = folder / "0" if kind == "0" else folder
    target.mkdir(parents=True)
    source.write_text(target) if "text" in kind else source.write_binary(target)
    if "old" in kind:
        for name in ("rigs", "frames"):
            (target / f"{name}.{'txt' if 'text' in kind else 'bin'}").unlink()
    known = dict(read_known_poses(folder).views)
    truth, cameras = poses(source), model_cameras(source)
    assert sorted(known) == sorted(NAMES)
    for name, view in known.items():
        assert view.cam_from_world.translation == pytest.approx(truth[name].translation, abs=1e-9)
        assert view.camera.model == "FULL_OPENCV"
        assert view.camera.distortion == pytest.approx(cameras[name].distortion, abs=1e-12)


def nan(document: dict[str, Any]) -> None:
    document["frames"][1]["transform_matrix"][0][3] = float("nan")


def singular(document: dict[str, Any]) -> None:
    document["frames"][1]["transform_matrix"][1] = document["frames"][1]["transform_matrix"][0]


def mirrored(document: dict[str, Any]) -> None:
    for row in document["frames"][1]["transform_matrix"][:3]:
        row[0] *= -1


def without_pose(document: dict[str, Any]) -> None:
    del document["frames"][1]["transform_matrix"]


def short(document: dict[str, Any]) -> None:
    document["frames"][1]["transform_matrix"] = [[1, 0, 0, 0]]


def other_camera(document: dict[str, Any]) -> None:
    document["camera_model"] = "EQUIRECTANGULAR"


def without_focal_length(document: dict[str, Any]) -> None:
    del document["frames"][1]["fl_x"]


def of_no_width(document: dict[str, Any]) -> None:
    document["frames"][1]["w"] = 0


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (nan, r"transforms.json, images/d.png: its pose has numbers that are not finite"),
        (singular, r"images/d.png: the 3 x 3 numbers of its pose are no rotation \(determinant 0"),
        (mirrored, r"are no rotation \(determinant -1, expected 1"),
        (without_pose, r"images/d.png: it has no transform_matrix"),
        (short, r"got a pose of the shape \(1, 4\), expected 4 x 4"),
        (other_camera, r"got the camera model EQUIRECTANGULAR, expected one of OPENCV, OPENCV_FISHEYE"),
        (without_focal_length, r"images/d.png: expected a number as fl_x, got None"),
        (of_no_width, r"expected focal lengths and sizes above 0"),
    ],
)
def test_poses_that_cannot_be_are_refused_by_name(
    spoil: Callable[[dict[str, Any]], None], match: str, tmp_path: Path
) -> None:
    path, _ = exported(tmp_path)
    document = json.loads(path.read_text(encoding="utf-8"))
    spoil(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ValueError, match=match):
        read_known_poses(path)


def test_fields_of_other_programs_are_understood(tmp_path: Path) -> None:
    """Instant-ngp's angle of view, and the coefficient k3 of perspective pictures, which COLMAP's OPENCV lacks."""
    path, _ = exported(tmp_path)
    document = json.loads(path.read_text(encoding="utf-8"))
    frame = document["frames"][0]
    for key in ("fl_x", "fl_y", "cx", "cy"):
        del frame[key]
    frame |= {"camera_angle_x": np.pi / 2, "k3": 0.01}
    path.write_text(json.dumps(document), encoding="utf-8")
    camera = read_known_poses(path).views[0][1].camera
    assert (camera.focal_px, camera.cx_px, camera.cy_px) == pytest.approx((80.0, 80.0, 60.0))
    assert camera.model == "FULL_OPENCV"
    assert camera.distortion[4] == 0.01


def test_a_size_that_the_file_lacks_is_that_of_the_picture(tmp_path: Path) -> None:
    path, _ = exported(tmp_path)
    expected = [view.camera for _, view in read_known_poses(path).views]
    document = json.loads(path.read_text(encoding="utf-8"))
    for frame in document["frames"]:
        del frame["w"], frame["h"]
    path.write_text(json.dumps(document), encoding="utf-8")
    assert [view.camera for _, view in read_known_poses(path).views] == expected
    (path.parent / "images" / "d.png").unlink()
    with pytest.raises(ValueError, match=r"images/d.png: it has no w and h, .* No such file .*; add them to the file"):
        read_known_poses(path)
    document["frames"][1]["w"] = 160
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ValueError, match=r"images/d.png: expected a number as h, got None"):
        read_known_poses(path)


@pytest.mark.parametrize(("flag", "model"), [(True, "OPENCV_FISHEYE"), (False, "PINHOLE")])
def test_fisheyes_of_instant_ngp_are_fisheyes(flag: bool, model: str, tmp_path: Path) -> None:
    """It has a flag in the place of the name of a model."""
    path, _ = exported(tmp_path, "OPENCV_FISHEYE" if flag else "PINHOLE")
    document = json.loads(path.read_text(encoding="utf-8"))
    expected = read_known_poses(path).views[0][1].camera
    document.pop("camera_model", None)
    for frame in document["frames"]:
        frame.pop("camera_model", None)
    path.write_text(json.dumps(document | {"is_fisheye": flag}), encoding="utf-8")
    camera = read_known_poses(path).views[0][1].camera
    assert camera == expected
    assert camera.model == model


def test_what_is_no_file_of_poses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"known-poses must be a transforms.json or a folder with a COLMAP model"):
        read_known_poses(tmp_path / "missing")
    (tmp_path / "a.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="has no list of frames"):
        read_known_poses(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="cannot read known poses from"):
        read_known_poses(tmp_path / "a.json")
    (tmp_path / "images.txt").touch()
    with pytest.raises(ValueError, match=r"cameras.txt, points3D.txt is missing"):
        read_known_poses(tmp_path)


def test_of_several_models_one_must_be_named(tmp_path: Path) -> None:
    path, source = exported(tmp_path)
    for name in ("0", "1"):
        (tmp_path / "sparse" / name).mkdir(parents=True)
        source.write(tmp_path / "sparse" / name)
    with pytest.raises(ValueError, match=r"holds 2 models \(0, 1\); name one of them"):
        read_known_poses(tmp_path / "sparse")
    with pytest.raises(ValueError, match=f"got {tmp_path}; {tmp_path / 'sparse'} may hold one"):
        read_known_poses(tmp_path)
    source.write(path.parent)
    with pytest.raises(ValueError, match=r"holds transforms.json and a COLMAP model; name one of them"):
        read_known_poses(path.parent)


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
def test_damaged_files_of_a_model_are_named(tmp_path: Path, name: str, is_old: bool) -> None:
    """Before COLMAP reads them, which believes whatever number they announce."""
    folder = tmp_path / "given"
    folder.mkdir()
    make_source(tmp_path, "OPENCV").model.write_binary(folder)
    if is_old:
        (folder / "rigs.bin").unlink()
        (folder / "frames.bin").unlink()
    content = (folder / name).read_bytes()
    for damaged in (content[:-1], struct.pack("<Q", 2**60) + content[8:]):
        (folder / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=f"model {folder}: {name} ends too early; copy it again, or have COLMAP"):
            read_known_poses(folder)
