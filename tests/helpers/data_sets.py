"""Small folders in the forms of public data sets, all of the same cameras, whose poses tests know."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pycolmap
from PIL import Image

from interpose_sfm import geometry
from interpose_sfm.products import Pose

SIZE_PX = (64, 48)
FOCAL_PX = 50.0
CENTER_PX = (33.0, 23.0)  # in COLMAP's pixels

# x right, y down, z forward -> x right, y up, z backward
TO_OPENGL = np.diag([1.0, -1.0, -1.0])


def true_poses(number: int = 4, step_deg: float = 20.0, tilt_deg: float = 7.0) -> list[Pose]:
    """cam_from_world of cameras on a circle that look at its middle, tilted so that no axis is that of another."""
    poses = []
    for index in range(number):
        turn = geometry.rotation_from_axis_angle([0.1, 1.0, 0.05], index * step_deg)
        tilt = geometry.rotation_from_axis_angle([1.0, 0.0, 0.2], tilt_deg)
        rotation = tilt @ turn
        poses.append(Pose(rotation, np.array([0.3, -0.2 * index, 5.0])))
    return poses


def quaternion(rotation: np.ndarray) -> list[float]:
    """Of a rotation, w first."""
    x, y, z, w = (float(value) for value in pycolmap.Rotation3d(rotation).quat)
    return [w, x, y, z]


def center(pose: Pose) -> np.ndarray:
    return -pose.rotation.T @ pose.translation


def world_from_cam(pose: Pose) -> np.ndarray:
    """4x4."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = pose.rotation.T, center(pose)
    return matrix


def picture(path: Path, seed: int = 0, size_px: tuple[int, int] = SIZE_PX) -> Path:
    """A photo of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (size_px[1], size_px[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def k_matrix() -> np.ndarray:
    """OpenCV's: pixels are centred on whole numbers."""
    return np.array([[FOCAL_PX, 0, CENTER_PX[0] - 0.5], [0, FOCAL_PX, CENTER_PX[1] - 0.5], [0, 0, 1]])


def text(values: Sequence[float] | np.ndarray) -> str:
    return " ".join(f"{value:.9g}" for value in np.asarray(values).ravel())


# ---------------------------------------------------------------- the forms


def cambridge(folder: Path, poses: Sequence[Pose], names: Sequence[str] | None = None) -> None:
    """Lists and NVM; every second photo is a test photo."""
    names = names or [f"seq{1 + i % 2}/frame{i:05d}.png" for i in range(len(poses))]
    lines: dict[str, list[str]] = {"train": [], "test": []}
    nvm = []
    for index, (name, pose) in enumerate(zip(names, poses, strict=True)):
        picture(folder / name, index)
        numbers = f"{text(center(pose))} {text(quaternion(pose.rotation))}"
        lines["test" if index % 2 else "train"].append(f"{name} {numbers}")
        old = name.replace(".png", ".jpg").replace(" ", '"')
        nvm.append(f"{old}\t{FOCAL_PX} {text(quaternion(pose.rotation))} {text(center(pose))} -0.01 0")
    heading = "Visual Landmark Dataset V1\nImageFile, Camera Position [X Y Z W P Q R]\n\n"
    for split, found in lines.items():
        (folder / f"dataset_{split}.txt").write_text(heading + "\n".join(found) + "\n")
    (folder / "reconstruction.nvm").write_text(f"NVM_V3 \n\n{len(nvm)}\n" + "\n".join(nvm) + "\n\n0\n\n")


def scannet(folder: Path, poses: Sequence[Pose]) -> None:
    for name in ("pose", "intrinsic"):
        (folder / name).mkdir(parents=True)
    matrix = np.eye(4)
    matrix[:3, :3] = k_matrix()
    for index, pose in enumerate(poses):
        picture(folder / "color" / f"{index}.jpg", index)
        (folder / "pose" / f"{index}.txt").write_text("\n".join(map(text, world_from_cam(pose))) + "\n")
    (folder / "intrinsic" / "intrinsic_color.txt").write_text("\n".join(map(text, matrix)) + "\n")


def dl3dv(folder: Path, poses: Sequence[Pose], images: str = "images_4", scale: int = 4) -> None:
    """Photos in a scaled folder, intrinsics of the full ones."""
    frames = []
    for index, pose in enumerate(poses):
        picture(folder / images / f"frame_{index:05d}.png", index)
        matrix = world_from_cam(pose)
        matrix[:3, :3] = matrix[:3, :3] @ TO_OPENGL
        frames.append({"file_path": f"images/frame_{index:05d}.png", "transform_matrix": matrix.tolist()})
    document = {
        "w": SIZE_PX[0] * scale,
        "h": SIZE_PX[1] * scale,
        "fl_x": FOCAL_PX * scale,
        "fl_y": FOCAL_PX * scale,
        "cx": CENTER_PX[0] * scale,
        "cy": CENTER_PX[1] * scale,
        "camera_model": "OPENCV",
        "frames": frames,
    }
    (folder / "transforms.json").write_text(json.dumps(document))


def navi(folder: Path, poses: Sequence[Pose]) -> None:
    annotations = []
    for index, pose in enumerate(poses):
        picture(folder / "images" / f"{index:03d}.jpg", index)
        annotations.append({
            "object_id": "cup",
            "camera": {
                "q": quaternion(pose.rotation),
                "t": pose.translation.tolist(),
                "focal_length": FOCAL_PX,
                "camera_model": "pixel_5",
            },
            "filename": f"{index:03d}.jpg",
            "image_size": [SIZE_PX[1], SIZE_PX[0]],
            "scene_name": folder.name,
            "split": "train",
            "occluded": False,
        })  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps(annotations))


def colmap_text(folder: Path, poses: Sequence[Pose], model: str = "dslr_calibration_undistorted") -> None:
    """As ETH3D has it: names below a folder of the photos, points that may be none."""
    (folder / model).mkdir(parents=True)
    camera = f"0 PINHOLE {SIZE_PX[0]} {SIZE_PX[1]} {FOCAL_PX} {FOCAL_PX} {text(CENTER_PX)}"
    (folder / model / "cameras.txt").write_text(f"# Camera list\n{camera}\n")
    lines = ["# Image list with two lines of data per image:"]
    for index, pose in enumerate(poses):
        name = f"dslr_images_undistorted/DSC_{index:04d}.JPG"
        picture(folder / "images" / name, index)
        lines += [f"{index + 10} {text(quaternion(pose.rotation))} {text(pose.translation)} 0 {name}", ""]
    (folder / model / "images.txt").write_text("\n".join(lines) + "\n")
    (folder / model / "points3D.txt").write_text("# 3D point list\n")


def colmap_binary(folder: Path, poses: Sequence[Pose], model: str = "sparse/0") -> None:
    colmap_text(folder, poses, "text")
    reconstruction = pycolmap.Reconstruction()
    reconstruction.read_text(folder / "text")
    (folder / model).mkdir(parents=True)
    reconstruction.write_binary(folder / model)
    for path in (folder / "text").iterdir():
        path.unlink()
    (folder / "text").rmdir()


def imb(folder: Path, poses: Sequence[Pose]) -> None:
    (folder / "calibration").mkdir(parents=True)
    for index, pose in enumerate(poses):
        name = f"{index:08d}_{index:010d}"
        picture(folder / "images" / f"{name}.jpg", index)
        with h5py.File(folder / "calibration" / f"calibration_{name}.h5", "w") as file:
            file["K"], file["R"], file["T"] = k_matrix(), pose.rotation, pose.translation[:, None]
            file["imsize"] = np.array([SIZE_PX])


def strecha(folder: Path, poses: Sequence[Pose]) -> None:
    cameras = {}
    for index, pose in enumerate(poses):
        picture(folder / "images" / f"{index:04d}.jpg", index)
        cameras[f"{index:04d}.jpg"] = {
            "K": k_matrix().tolist(),
            "cam_from_world_R": pose.rotation.tolist(),
            "center": center(pose).tolist(),
        }
    (folder / "cameras.json").write_text(json.dumps(cameras))


FORMS: Mapping[str, tuple[Callable[[Path, Sequence[Pose]], None], str]] = {
    "cambridge": (cambridge, "ShopFacade"),
    "scannet": (scannet, "scene0000_00"),
    "dl3dv": (dl3dv, "1K/0a1b2c"),
    "navi": (navi, "cup/multiview-00-pixel_5"),
    "eth3d": (colmap_text, "courtyard"),
    "imb": (imb, "sacre_coeur/set_100"),
    "colmap": (colmap_binary, "Gendarmenmarkt"),
    "strecha": (strecha, "castle-P30"),
}
"""NAME -> what writes a scene, and where it lies below the data folder."""


def yaw_circle(number: int, step_deg: float) -> list[Pose]:
    """Cameras on a circle that look at its middle, turned about y alone."""
    poses = []
    for index in range(number):
        rotation = geometry.rotation_from_axis_angle([0.0, 1.0, 0.0], index * step_deg)
        poses.append(Pose(rotation, np.array([0.0, 0.0, 5.0])))
    assert math.isfinite(step_deg)
    return poses
