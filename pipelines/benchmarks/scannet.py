"""ScanNet (Dai et al., CVPR 2017) as its SensReader exports it: SCENE/color, SCENE/pose, SCENE/intrinsic.

``pose/N.txt`` is the 4x4 matrix world_from_cam of ``color/N.jpg`` in OpenCV's axes; where the camera was lost it is
full of -inf. ``intrinsic/intrinsic_color.txt`` is a 4x4 matrix with K of the colour frames; the subset of 25,000 frames
has it as ``intrinsics_color.txt`` in the folder of the scene.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import scenes
from interpose_sfm.products import FloatArray, Intrinsics

COLOR, POSE, INTRINSIC = "color", "pose", "intrinsic/intrinsic_color.txt"
INTRINSICS = (INTRINSIC, "intrinsics_color.txt")
_FAR_FROM_MIDDLE = 0.2  # of the side, for a principal point: those of the Structure sensor's iPads are within 0.02


def folders(data: Path) -> list[Path]:
    """Folders with frames and poses."""
    return [folder for folder in scenes.folders_with(data, POSE) if (folder / COLOR).is_dir()]


def scene(data: Path, folder: Path) -> scenes.Scene:
    """The scene of a folder; frames without a pose are left out."""
    found = next((folder / name for name in INTRINSICS if (folder / name).is_file()), None)
    matrix = None if found is None else scenes.matrix_of(found, 4, 4)
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
    header = scenes.header_of(path)
    camera = None if matrix is None else _camera(matrix, header.size_px)
    return scenes.upright(scenes.ScenePhoto(path.name, path, pose, camera), header.orientation)


def _camera(matrix: FloatArray, size_px: tuple[int, int]) -> Intrinsics:
    """The camera, unless the frames were scaled: the file does not tell of which size it is."""
    camera = scenes.camera_of_matrix(matrix, size_px)
    if np.abs(np.array([camera.cx_px, camera.cy_px]) / size_px - 0.5).max() > _FAR_FROM_MIDDLE:
        told = f"{matrix[0, 2]:g}, {matrix[1, 2]:g}"
        raise ValueError(
            f"the intrinsics have the centre {told} and are not of frames of {size_px[0]} x {size_px[1]} px"
        )
    return camera


LOADER = scenes.Loader(folders, scene, f"SCENE/{COLOR}/N.jpg, SCENE/{POSE}/N.txt and SCENE/{INTRINSIC}")
