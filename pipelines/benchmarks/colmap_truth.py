"""Folders with a COLMAP model as truth: ETH3D's high-resolution scenes, 1DSfM's collections, anybody's own.

ETH3D (Schöps et al., CVPR 2017) has SCENE/dslr_calibration_undistorted or _jpg as text and the photos in SCENE/images;
what MP-SfM prepares of it has the model in SCENE/rec. Its lists of photos that overlap little (``SCENE/minimal.yaml``
and others in ``local/testsets/eth3d`` of github.com/cvg/mpsfm) are read from a checkout of yours: each line is
``SET: [image ids of the model]``.

Of a binary model only cameras.bin and images.bin are read, as COLMAP's ``reconstruction_io_binary.cc`` writes them.
Points tell no pose, and COLMAP's own reader believes any number of points that a file seems to announce which broke
off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pycolmap

from benchmarks import scenes
from interpose_sfm import geometry
from interpose_sfm.colmap.model_files import Content
from interpose_sfm.products import Intrinsics

MODELS = (
    *("dslr_calibration_undistorted", "dslr_calibration_jpg", "rec"),
    *("sparse/0", "sparse", "model", "colmap/sparse/0", "dense/sparse", "."),
)
IMAGES = ("images", "dslr_images_undistorted", "dslr_images", "dense/images", ".")
_KEY_POINT_BYTES = 24  # x, y and the point
_IMAGE_WORDS = 10  # of a line of images.txt: id, quaternion, translation, camera, name


def folders(data: Path) -> list[Path]:
    """Folders with a model."""
    found: set[Path] = set()
    for name in MODELS:
        model = PurePosixPath(name)
        patterns = [f"{name}/images.{suffix}".removeprefix("./") for suffix in ("txt", "bin")]
        found.update(scenes.folders_with(data, *patterns, up=len(model.parts) + 1))
    return sorted(folder for folder in found if not any(_is_model_of(folder, other) for other in found))


def scene(data: Path, folder: Path) -> scenes.Scene:
    """The scene of a folder."""
    model = _model_of(folder)
    assert model is not None
    roots = [folder / name for name in IMAGES if (folder / name).is_dir()]
    entries = scenes.EntryList()
    if (model / "images.txt").is_file():
        _read_text(model, roots, entries)
    else:
        _read_binary(model, roots, entries)
    return entries.scene(scenes.scene_name(data, folder))


def with_sets(scene: scenes.Scene, lists: Path, kind: str) -> scenes.Scene:
    """The scene with the sets that ``LISTS/SCENE/KIND.yaml`` has of it; without any if there is no such file.

    Raises:
        ValueError: A line of another form, or an id that the model has not.
    """
    path = lists / scene.name.rpartition("/")[2] / f"{kind}.yaml"
    if not path.is_file():
        return scene
    names = {photo.number: photo.name for photo in scene.photos}
    sets = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        found = re.fullmatch(r"\s*(\w+)\s*:\s*\[([\d,\s]+)\]\s*", line)
        if found is None:
            raise ValueError(f"{path}, line {number}: got {line!r}, expected SET: [image ids]")
        ids = [int(word) for word in found[2].split(",") if word.strip()]
        if unknown := [str(one) for one in ids if one not in names]:
            raise ValueError(f"{path}, line {number}: the model has no image {', '.join(unknown)}")
        sets[f"{kind}-{found[1]}"] = tuple(names[one] for one in ids)
    return replace(scene, sets=sets)


def _model_of(folder: Path) -> Path | None:
    """Where its model lies."""
    for name in MODELS:
        if any((folder / name / f"images.{suffix}").is_file() for suffix in ("txt", "bin")):
            return folder / name
    return None


def _is_model_of(folder: Path, other: Path) -> bool:
    """Whether a folder is but the model of a scene above it."""
    model = _model_of(other)
    return other != folder and model is not None and folder.is_relative_to(other)


def _read_text(model: Path, roots: list[Path], entries: scenes.EntryList) -> None:
    """Line by line, so that damage costs its photo."""
    cameras: dict[str, Intrinsics] = {}
    for line in _lines(model / "cameras.txt"):
        number, name, width, height, *params = line.split()
        if name not in pycolmap.CameraModelId.__members__:
            raise ValueError(f"cameras.txt names the camera model {name}, which there is not")
        camera = pycolmap.Camera.create_from_model_name(0, name, 1.0, int(width), int(height))
        camera.params = scenes.numbers(params, len(camera.params)).tolist()
        cameras[number] = _intrinsics(camera)
    lines = [line.rstrip() for line in (model / "images.txt").read_text(encoding="utf-8").splitlines()]
    headed = [line for line in lines if not line.startswith("#")]
    while headed and not headed[0]:
        headed.pop(0)
    for line in headed[::2]:  # every other one has the points of the photo before, and may be empty
        words = line.split(maxsplit=_IMAGE_WORDS - 1)
        entries.add(words[-1] if words else "", lambda words=words: _photo(words, cameras, roots))  # type: ignore[misc]


def _photo(words: list[str], cameras: dict[str, Intrinsics], roots: list[Path]) -> scenes.ScenePhoto:
    if len(words) != _IMAGE_WORDS:
        raise ValueError(f"a line of images.txt has {len(words)} words, expected {_IMAGE_WORDS}")
    pose = [*scenes.numbers(words[1:5], 4), *scenes.numbers(words[5:8], 3)]
    return _made(words[9], int(words[0]), pose, cameras[words[8]], roots)


def _made(name: str, number: int, pose: Sequence[float], camera: Intrinsics, roots: list[Path]) -> scenes.ScenePhoto:
    """The photo of a quaternion, a translation and a camera; one that is a scaled copy has the camera scaled."""
    cam_from_world = scenes.checked_pose(scenes.quaternion_rotation(pose[:4]), pose[4:])
    path = scenes.find_photo(name, *roots)
    header = scenes.header_of(path)
    photo = scenes.ScenePhoto(name, path, cam_from_world, scenes.fitted(camera, header.size_px), number)
    return scenes.upright(photo, header.orientation)


def _read_binary(model: Path, roots: list[Path], entries: scenes.EntryList) -> None:
    cameras = dict(_binary_cameras(model / "cameras.bin"))
    for number, pose, camera, name in _binary_images(model / "images.bin"):
        entries.add(
            name,
            lambda name=name, number=number, pose=pose, camera=camera: _made(  # type: ignore[misc]
                name, number, pose, cameras[camera], roots
            ),
        )


def _binary_cameras(path: Path) -> Iterator[tuple[int, Intrinsics]]:
    """Id and camera."""
    kinds = {int(kind): kind for kind in pycolmap.CameraModelId.__members__.values()}
    content = Content(path)
    for _ in range(content.take("Q")[0]):
        number, kind, width, height = content.take("IiQQ")
        if kind not in kinds or kinds[kind] == pycolmap.CameraModelId.INVALID:
            raise ValueError(f"{path.name} names the camera model {kind}, which there is not")
        camera = pycolmap.Camera.create_from_model_id(0, kinds[kind], 1.0, width, height)
        camera.params = list(content.take(f"{len(camera.params)}d"))
        yield number, _intrinsics(camera)


def _binary_images(path: Path) -> Iterator[tuple[int, tuple[float, ...], int, str]]:
    """Id, quaternion and translation, id of the camera, name."""
    content = Content(path)
    for _ in range(content.take("Q")[0]):
        number, *pose, camera = content.take("I7dI")
        name = content.take_name("replace")
        content.skip(_KEY_POINT_BYTES * content.take("Q")[0])
        yield number, tuple(pose), camera, name


def _intrinsics(camera: pycolmap.Camera) -> Intrinsics:
    found = geometry.from_colmap_camera(camera, is_trusted=True)
    if not (np.isfinite(camera.params).all() and found.focal_px > 0 and min(found.width_px, found.height_px) > 0):
        raise ValueError(f"got the camera {camera.params_to_string()}, of {found.width_px} x {found.height_px} px")
    return found


def _lines(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


LOADER = scenes.Loader(
    folders, scene, f"SCENE/images and a COLMAP model in SCENE/{', '.join(MODELS[:-1])}, as text or binary"
)
