"""NAVI (Jampani et al., NeurIPS 2023): OBJECT/multiview-NN-CAMERA/annotations.json and images.

``camera.q`` (w first) and ``camera.t`` take points of the object to the camera; by its projection matrix x points
right, y down and z forward, OpenCV's axes. ``image_size`` is (height, width), the principal point the middle. Only
multiview scenes count: in `wild_set` the object stands before other backgrounds, and frames of videos are blurred.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import scenes

NAME, IMAGES, KIND = "annotations.json", "images", "multiview"


def folders(data: Path) -> list[Path]:
    """Folders of multiview scenes."""
    return scenes.folders_with(data, f"{KIND}*/{NAME}")


def scene(data: Path, folder: Path) -> scenes.Scene:
    """The scene of a folder."""
    entries = scenes.EntryList()
    for annotation in json.loads((folder / NAME).read_text(encoding="utf-8")):
        name = str(annotation.get("filename", ""))
        entries.add(name, lambda name=name, annotation=annotation: _photo(folder, name, annotation))  # type: ignore[misc]
    return entries.scene(scenes.scene_name(data, folder))


def _photo(folder: Path, name: str, annotation: Mapping[str, Any]) -> scenes.ScenePhoto:
    camera = annotation["camera"]
    rotation = scenes.quaternion_rotation(scenes.numbers(camera["q"], 4))
    pose = scenes.checked_pose(rotation, scenes.numbers(camera["t"], 3))
    path = scenes.find_photo(name, folder / IMAGES)
    size_px = scenes.size_of(path)
    height, width = annotation["image_size"]
    focal_px = float(camera["focal_length"]) * max(size_px) / max(height, width)
    return scenes.ScenePhoto(name, path, pose, scenes.pinhole(size_px, (focal_px, focal_px)))


LOADER = scenes.Loader(folders, scene, f"OBJECT/{KIND}-NN-CAMERA/{NAME} and {IMAGES} beside it")
