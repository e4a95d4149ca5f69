"""Scenes of Strecha's benchmark and others in that form: SCENE/images and SCENE/cameras.json, the truth by laser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import scenes

NAME, IMAGES = "cameras.json", "images"


def folders(data: Path) -> list[Path]:
    """Folders with a cameras.json."""
    return scenes.folders_with(data, NAME)


def scene(data: Path, folder: Path) -> scenes.Scene:
    """The scene of a folder; a photo without an entry has no truth and does not appear."""
    entries = scenes.EntryList()
    cameras = json.loads((folder / NAME).read_text(encoding="utf-8"))
    for name, camera in cameras.items():
        entries.add(name, lambda name=name, camera=camera: _photo(folder, name, camera))  # type: ignore[misc]
    return entries.scene(scenes.scene_name(data, folder))


def _photo(folder: Path, name: str, camera: dict[str, Any]) -> scenes.ScenePhoto:
    path = scenes.find_photo(name, folder / IMAGES)
    rotation = np.array(camera["cam_from_world_R"], dtype=np.float64)
    pose = scenes.checked_pose(rotation, -rotation @ np.array(camera["center"], dtype=np.float64))
    matrix, header = camera.get("K"), scenes.header_of(path)
    intrinsics = None if matrix is None else scenes.camera_of_matrix(np.array(matrix), header.size_px)
    return scenes.upright(scenes.ScenePhoto(name, path, pose, intrinsics), header.orientation)


LOADER = scenes.Loader(folders, scene, f"SCENE/{IMAGES} and SCENE/{NAME}")
