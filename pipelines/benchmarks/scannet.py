"""ScanNet (Dai et al., CVPR 2017) as its SensReader exports it: SCENE/color, SCENE/pose, SCENE/intrinsic.

``pose/N.txt`` is the 4x4 matrix world_from_cam of ``color/N.jpg`` in OpenCV's axes; where the camera was lost it is
full of -inf. ``intrinsic/intrinsic_color.txt`` is a 4x4 matrix with K of the colour frames.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import scenes
from interpose_sfm.products import FloatArray

COLOR, POSE, INTRINSIC = "color", "pose", "intrinsic/intrinsic_color.txt"


def folders(data: Path) -> list[Path]:
    """Folders with frames and poses."""
    return [folder for folder in scenes.folders_with(data, POSE) if (folder / COLOR).is_dir()]


def scene(data: Path, folder: Path) -> scenes.Scene:
    """The scene of a folder; frames without a pose are left out."""
    matrix = scenes.matrix_of(folder / INTRINSIC, 4, 4) if (folder / INTRINSIC).is_file() else None
    entries = scenes.EntryList()
    frames = [path for path in (folder / COLOR).iterdir() if path.suffix.lower() in scenes.PICTURES]
    for path in sorted(frames, key=lambda path: scenes.natural_key(path.name)):
        entries.add(path.name, lambda path=path: _photo(folder, path, matrix))  # type: ignore[misc]
    return entries.scene(scenes.scene_name(data, folder))


def _photo(folder: Path, path: Path, matrix: FloatArray | None) -> scenes.ScenePhoto:
    world_from_cam = np.array(
        (folder / POSE / f"{path.stem}.txt").read_text(encoding="utf-8").split(), dtype=np.float64
    )
    if world_from_cam.shape != (16,):
        raise ValueError(f"{POSE}/{path.stem}.txt has {world_from_cam.size} numbers, expected 16")
    world_from_cam = world_from_cam.reshape(4, 4)
    pose = scenes.checked_pose(world_from_cam[:3, :3], world_from_cam[:3, 3]).inverse()
    camera = None if matrix is None else scenes.camera_of_matrix(matrix, scenes.size_of(path))
    return scenes.ScenePhoto(path.name, path, pose, camera)


LOADER = scenes.Loader(folders, scene, f"SCENE/{COLOR}/N.jpg, SCENE/{POSE}/N.txt and SCENE/{INTRINSIC}")
