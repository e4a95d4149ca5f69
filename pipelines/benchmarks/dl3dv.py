"""DL3DV-10K (Ling et al., CVPR 2024): SCENE/transforms.json in nerfstudio's form, photos in images, images_2, 4 or 8.

``transform_matrix`` is world_from_cam, where the camera has OpenGL's axes: x right, y up, looking along -z. File names
are those of the photos in full size; the folder at hand may hold smaller copies, to which the intrinsics are scaled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from benchmarks import scenes
from interpose_sfm.colmap.transforms_json import OPENCV_FROM_OPENGL
from interpose_sfm.products import Intrinsics

NAME = "transforms.json"
SCALED = ("images_2", "images_4", "images_8")
DISTORTION = {"OPENCV": ("k1", "k2", "p1", "p2"), "PINHOLE": ()}


def folders(data: Path) -> list[Path]:
    """Folders with a transforms.json."""
    return scenes.folders_with(data, NAME)


def scene(data: Path, folder: Path) -> scenes.Scene:
    """The scene of a folder."""
    document = json.loads((folder / NAME).read_text(encoding="utf-8"))
    entries = scenes.EntryList()
    for frame in document["frames"]:
        name = str(frame.get("file_path", ""))
        entries.add(name, lambda name=name, frame=frame: _photo(folder, name, {**document, **frame}))  # type: ignore[misc]
    return entries.scene(scenes.scene_name(data, folder))


def _photo(folder: Path, name: str, frame: Mapping[str, Any]) -> scenes.ScenePhoto:
    matrix = np.array(frame["transform_matrix"], dtype=np.float64)
    if matrix.shape not in ((4, 4), (3, 4)):
        raise ValueError(f"transform_matrix has the shape {matrix.shape}, expected 4x4")
    world_from_opengl = scenes.checked_pose(matrix[:3, :3], matrix[:3, 3])
    world_from_cam = scenes.checked_pose(world_from_opengl.rotation @ OPENCV_FROM_OPENGL.T, matrix[:3, 3])
    path = _file(folder, name)
    header = scenes.header_of(path)
    photo = scenes.ScenePhoto(name, path, world_from_cam.inverse(), _camera(frame, header.size_px))
    return scenes.upright(photo, header.orientation)


def _file(folder: Path, name: str) -> Path:
    """The photo in full size, else in a scaled folder; plain names first, of which there are millions."""
    written = PurePosixPath(name.replace("\\", "/"))
    plain = [folder / written, *(folder / scaled / written.name for scaled in SCALED)]
    is_below = not written.is_absolute() and ".." not in written.parts
    if is_below and (found := next((path for path in plain if path.is_file()), None)):
        return found
    try:
        return scenes.find_photo(name, folder)
    except ValueError:
        return scenes.find_photo(written.name, *(folder / scaled for scaled in SCALED))


def _camera(frame: Mapping[str, Any], size_px: tuple[int, int]) -> Intrinsics | None:
    """By nerfstudio's keys, in the size of the file; distortion, of rays, is that of every size."""
    if "fl_x" not in frame:
        return None
    scale_x, scale_y = size_px[0] / float(frame["w"]), size_px[1] / float(frame["h"])
    focal_y = float(frame.get("fl_y", frame["fl_x"]))
    center_px = (float(frame["cx"]) * scale_x, float(frame["cy"]) * scale_y)
    camera = scenes.pinhole(size_px, (float(frame["fl_x"]) * scale_x, focal_y * scale_y), center_px)
    kind = frame.get("camera_model", "OPENCV")
    if kind not in DISTORTION:
        raise ValueError(f"got the camera model {kind}, expected one of {', '.join(DISTORTION)}")
    coefficients = tuple(float(frame.get(key, 0.0)) for key in DISTORTION[kind])
    return replace(camera, model=kind, distortion=coefficients) if any(coefficients) else camera


LOADER = scenes.Loader(folders, scene, f"SCENE/{NAME} and the photos in SCENE/images or SCENE/images_2, _4, _8")
