"""Small models of known geometry with pictures, to be exported, and what reads transforms.json by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycolmap
from PIL import Image

from interpose_sfm.export.source import ExportSource
from interpose_sfm.products import FloatArray
from interpose_sfm.storage.workspace import Workspace

WIDTH_PX, HEIGHT_PX = 160, 120
NAMES = ("b.png", "sub/a.png", "sub/c.png", "d.png")

# Distortion is strong enough that a coefficient that is lost or in the wrong place moves points by pixels.
PARAMS: dict[str, tuple[float, ...]] = {
    "SIMPLE_PINHOLE": (150, 81, 58),
    "PINHOLE": (150, 144, 81, 58),
    "SIMPLE_RADIAL": (150, 81, 58, 0.08),
    "RADIAL": (150, 81, 58, 0.08, 0.06),
    "OPENCV": (150, 144, 81, 58, 0.08, 0.06, 0.02, -0.03),
    "SIMPLE_FISHEYE": (150, 81, 58),
    "FISHEYE": (150, 144, 81, 58),
    "SIMPLE_RADIAL_FISHEYE": (150, 81, 58, 0.08),
    "RADIAL_FISHEYE": (150, 81, 58, 0.08, 0.06),
    "OPENCV_FISHEYE": (150, 144, 81, 58, 0.08, 0.06, 0.05, -0.04),
    "FULL_OPENCV": (150, 144, 81, 58, 0.08, 0.06, 0.02, -0.03, 0.01, 0.02, 0.01, 0.01),
    "FOV": (150, 144, 81, 58, 0.6),
    "THIN_PRISM_FISHEYE": (150, 144, 81, 58, 0.08, 0.06, 0.02, -0.03, 0.01, 0.02, 0.01, 0.01),
}


def make_source(
    folder: Path, model: str, names: Sequence[str] = NAMES, *, num_cameras: int = 1, with_masks: bool = False
) -> ExportSource:
    """A model of these photos, and their pictures: red tells the column, green the row; masks are as `is_kept` says."""
    model_dir = folder / "sparse" / "0"
    model_dir.mkdir(parents=True)
    made = synthetic_model(model, len(names) // num_cameras, num_cameras)
    for image_id, name in zip(sorted(made.images), names, strict=True):
        made.images[image_id].name = name
        write_picture(folder / "images" / name)
        if with_masks:
            write_mask(folder / "masks" / f"{name}.png")
    made.write(model_dir)
    mask_dir = folder / "masks" if with_masks else None
    return ExportSource(model_dir, pycolmap.Reconstruction(model_dir), folder / "images", mask_dir)


def make_workspace(
    folder: Path, sizes: Sequence[int] = (4,), model: str = "SIMPLE_RADIAL", *, with_masks: bool = False
) -> Workspace:
    """An output folder with a model of each size."""
    workspace = Workspace(folder)
    with workspace.locked():
        workspace.sparse_dir.mkdir()
        for index, size in enumerate(sizes):
            made = synthetic_model(model, size)
            for image in made.images.values():
                image.name = f"{index}_{image.name}"
                write_picture(workspace.images_dir / image.name)
                if with_masks:
                    write_mask(workspace.masks_dir / f"{image.name}.png")
            (workspace.sparse_dir / str(index)).mkdir()
            made.write(workspace.sparse_dir / str(index))
    return workspace


def synthetic_model(model: str, num_photos: int, num_cameras: int = 1) -> pycolmap.Reconstruction:
    """A model with coloured points, in a frame that is turned and shifted against its cameras."""
    options = pycolmap.SyntheticDatasetOptions(
        num_rigs=num_cameras,
        num_frames_per_rig=num_photos,
        num_points3D=60,
        camera_width=WIDTH_PX,
        camera_height=HEIGHT_PX,
        camera_model_id=pycolmap.CameraModelId.__members__[model],
        camera_params=list(map(float, PARAMS[model])),
    )
    pycolmap.set_random_seed(3)
    made = pycolmap.synthesize_dataset(options)
    for camera_id, camera in made.cameras.items():
        params = np.array(camera.params)
        params[0] += camera_id
        camera.params = params
    for point_id, point in made.points3D.items():
        point.color = np.array([point_id % 256, 7 * point_id % 256, 255 - point_id % 256], np.uint8)
    return made


def model_of_points(points: FloatArray, colour: Sequence[int]) -> pycolmap.Reconstruction:
    """A model with these (n, 3) points, each of which is seen from near the origin."""
    options = pycolmap.SyntheticDatasetOptions(num_rigs=1, num_frames_per_rig=4, num_points3D=len(points))
    pycolmap.set_random_seed(3)
    made = pycolmap.synthesize_dataset(options)
    for image in made.images.values():
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(), [0.01 * image.image_id, 0.0, 0.0])
        made.frames[image.frame_id].rig_from_world = pose
    for point, xyz in zip(made.points3D.values(), points, strict=True):
        point.xyz, point.color = xyz, np.array(colour, np.uint8)
    return made


def write_picture(path: Path) -> None:
    """A PNG, whatever the name says, as the photo stage writes WebP photos."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colours_at(np.stack(np.mgrid[:HEIGHT_PX, :WIDTH_PX][::-1], -1) + 0.5)).save(path, "PNG")


def write_mask(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = is_kept(np.stack(np.mgrid[:HEIGHT_PX, :WIDTH_PX][::-1], -1) + 0.5)
    Image.fromarray(np.where(kept, 255, 0).astype(np.uint8)).save(path)


def is_kept(positions_px: FloatArray) -> np.ndarray:
    """Whether masks are white at (..., 2) positions: to the right of a slanted line, and below a level one."""
    x, y = positions_px[..., 0], positions_px[..., 1]
    return np.asarray((x > 40 + y / 4) & (y > 20))


def colours_at(positions_px: FloatArray) -> np.ndarray:
    """Colours of the pictures at (..., 2) positions."""
    red, green = positions_px[..., 0] / WIDTH_PX * 255, positions_px[..., 1] / HEIGHT_PX * 255
    return np.stack([red, green, np.full_like(red, 128)], axis=-1).round().astype(np.uint8)


@dataclass(frozen=True)
class Transforms:
    """What a program that knows nothing of COLMAP finds in a folder with transforms.json."""

    folder: Path
    document: dict[str, Any]
    points: FloatArray
    colours: np.ndarray

    def project(self, frame: dict[str, Any], *, opengl: bool = True) -> FloatArray:
        """(n, 2) pixels of all points in a frame; not ``opengl`` mistakes its axes for OpenCV's."""
        values = {**self.document, **frame}
        in_camera = np.c_[self.points, np.ones(len(self.points))] @ np.linalg.inv(values["transform_matrix"]).T
        x, y, z = in_camera[:, :3].T
        seen = np.stack([x, -y, -z] if opengl else [x, y, z], axis=-1)
        matrix = np.array([[values["fl_x"], 0, values["cx"]], [0, values["fl_y"], values["cy"]], [0, 0, 1]])
        if values["camera_model"] == "OPENCV_FISHEYE":
            k = np.array([values[f"k{i}"] for i in range(1, 5)])
            pixels, _ = cv2.fisheye.projectPoints(seen[:, None], np.zeros(3), np.zeros(3), matrix, k)
        else:
            k = np.array([values[key] for key in ("k1", "k2", "p1", "p2")])
            pixels, _ = cv2.projectPoints(seen[:, None], np.zeros(3), np.zeros(3), matrix, k)
        return np.asarray(pixels).reshape(-1, 2)


def read_transforms(folder: Path) -> Transforms:
    document = json.loads((folder / "transforms.json").read_text(encoding="utf-8"))
    points, colours = read_ply(folder / document["ply_file_path"])
    return Transforms(folder, document, points, colours)


def read_ply(path: Path) -> tuple[FloatArray, np.ndarray]:
    """Positions and colours of a binary PLY file with the properties x, y, z, red, green, blue."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    fields = [line.split()[2] for line in head.decode().splitlines() if line.startswith("property")]
    assert fields == ["x", "y", "z", "red", "green", "blue"]
    rows = np.frombuffer(body, np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)]))
    assert f"element vertex {len(rows)}\n" in head.decode()
    return rows["xyz"].astype(np.float64), rows["rgb"]
