"""Image Matching Benchmark (Jin et al., IJCV 2021): SCENE/set_100/calibration/calibration_NAME.h5 and images/NAME.jpg.

Each file holds ``K`` (3x3), ``R`` (3x3) and ``T`` (3) of world -> camera in OpenCV's axes, from a large COLMAP model.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from benchmarks import scenes

CALIBRATION, PREFIX, IMAGES = "calibration", "calibration_", "images"


def folders(data: Path) -> list[Path]:
    """Folders with calibrations."""
    return scenes.folders_with(data, CALIBRATION)


def scene(data: Path, folder: Path) -> scenes.Scene:
    """The scene of a folder."""
    entries = scenes.EntryList()
    for path in sorted((folder / CALIBRATION).glob(f"{PREFIX}*.h5")):
        name = path.stem.removeprefix(PREFIX)
        entries.add(name, lambda name=name, path=path: _photo(folder, name, path))  # type: ignore[misc]
    return entries.scene(scenes.scene_name(data, folder))


def _photo(folder: Path, name: str, calibration: Path) -> scenes.ScenePhoto:
    with h5py.File(calibration, "r") as file:
        rotation, translation, matrix = (np.array(file[key], dtype=np.float64) for key in ("R", "T", "K"))
    pose = scenes.checked_pose(rotation, translation)
    path = scenes.find_photo(f"{name}.jpg", folder / IMAGES)
    header = scenes.header_of(path)
    photo = scenes.ScenePhoto(name, path, pose, scenes.camera_of_matrix(matrix, header.size_px))
    return scenes.upright(photo, header.orientation)


LOADER = scenes.Loader(folders, scene, f"SCENE/{CALIBRATION}/{PREFIX}NAME.h5 and SCENE/{IMAGES}/NAME.jpg")
