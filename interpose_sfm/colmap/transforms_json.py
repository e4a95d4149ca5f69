"""Cameras and poses of a ``transforms.json``, as nerfstudio's ``ns-process-data`` writes them.

The format is documented in nerfstudio's docs (``data_conventions.md``). Its poses are camera to world, of cameras with
OpenGL's axes: x right, y up, looking along -z. COLMAP's have y down and look along z.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from interpose_sfm import geometry
from interpose_sfm.products import FloatArray, Intrinsics, KnownView, Pose

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0])
"""Axes of a camera: y and z turned round."""

MAX_SKEW = 1e-2  # of a rotation's entries: files are written with few digits

_PERSPECTIVE = frozenset({"OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL"})
_FISHEYE = frozenset({"OPENCV_FISHEYE"})


def read_transforms(path: Path) -> list[tuple[str, KnownView]]:
    """Frames in the order of the file: path as it stands there, camera and pose.

    Where ``applied_transform`` says how the world was turned, that is undone, so that poses are those of the model that
    the file was made from. Without a principal point that is the middle, without a size the picture's own.

    Raises:
        ValueError: No such file, or one whose cameras or poses cannot be used; the message names the frame.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read known poses from {path} ({error}); expected a transforms.json") from error
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list) or not all(map(_has_path, frames)):
        raise ValueError(f"{path} has no list of frames with a file_path each; expected nerfstudio's transforms.json")
    world_from_file = _world_from_file(document.get("applied_transform"), path)
    found = []
    for frame in frames:
        name = frame["file_path"]
        place = f"{path}, {name}"
        camera = _camera({**document, **frame}, path.parent / name, place)
        found.append((name, KnownView(camera, _cam_from_world(frame, world_from_file, place))))
    return found


def checked_pose(matrix: FloatArray, place: str) -> Pose:
    """A pose from (3, 4) or (4, 4) numbers.

    Args:
        matrix: Rotation and translation.
        place: For messages.

    Raises:
        ValueError: They are not finite, or their rotation is none.
    """
    if matrix.shape not in ((3, 4), (4, 4)):
        raise ValueError(f"{place}: got a pose of the shape {matrix.shape}, expected 4 x 4 numbers")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{place}: its pose has numbers that are not finite; leave the photo out, or mend them")
    rotation, translation = matrix[:3, :3], matrix[:3, 3]
    if not geometry.is_rotation(rotation, MAX_SKEW):
        determinant = float(np.linalg.det(rotation))
        raise ValueError(
            f"{place}: the 3 x 3 numbers of its pose are no rotation (determinant {determinant:.3g}, expected 1 and "
            "columns of length 1 at right angles)"
        )
    return Pose(geometry.nearest_rotation(rotation), translation)


def _has_path(frame: object) -> bool:
    return isinstance(frame, dict) and isinstance(frame.get("file_path"), str)


def _world_from_file(applied: object, path: Path) -> Pose:
    if applied is None:
        return Pose(np.eye(3), np.zeros(3))
    return checked_pose(_numbers(applied), f"{path}, applied_transform").inverse()


def _cam_from_world(frame: Mapping[str, Any], world_from_file: Pose, place: str) -> Pose:
    if "transform_matrix" not in frame:
        raise ValueError(f"{place}: it has no transform_matrix")
    file_from_opengl = checked_pose(_numbers(frame["transform_matrix"]), place)
    file_from_cam = Pose(file_from_opengl.rotation @ OPENCV_FROM_OPENGL, file_from_opengl.translation)
    return (world_from_file @ file_from_cam).inverse()


def _numbers(value: object) -> FloatArray:
    """As an array; one of no elements where they are none."""
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return np.zeros(0)


def _camera(values: Mapping[str, Any], picture: Path, place: str) -> Intrinsics:
    """The camera of a frame, whose own keys go before those at the top of the file."""
    if "w" not in values and "h" not in values:
        width_px, height_px = _size_px(picture, place)
        values = {**values, "w": width_px, "h": height_px}

    def number(key: str, otherwise: float | None = None) -> float:
        value = values.get(key, otherwise)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
            raise ValueError(f"{place}: expected a number as {key}, got {value}")
        return float(value)

    width_px, height_px = round(number("w")), round(number("h"))
    is_angle = "fl_x" not in values and "camera_angle_x" in values
    along_x_px = 0.5 * width_px / np.tan(0.5 * number("camera_angle_x")) if is_angle else number("fl_x")
    along_y_px = number("fl_y", along_x_px)
    if not min(along_x_px, along_y_px, width_px, height_px) > 0:
        raise ValueError(
            f"{place}: expected focal lengths and sizes above 0, got {along_x_px:g} and {along_y_px:g}, {width_px} and "
            f"{height_px}"
        )
    coefficients = {key: number(key, 0.0) for key in _KEYS}
    by_flag = "OPENCV_FISHEYE" if values.get("is_fisheye") else "OPENCV"  # instant-ngp names no model
    model, distortion = _distortion(str(values.get("camera_model", by_flag)), coefficients, place)
    return Intrinsics(
        width_px,
        height_px,
        0.5 * (along_x_px + along_y_px),
        number("cx", width_px / 2),
        number("cy", height_px / 2),
        distortion,
        is_trusted=True,
        model=model,
        aspect=along_y_px / along_x_px,
    )


def _size_px(picture: Path, place: str) -> tuple[int, int]:
    """Width and height of a picture as its file stores it."""
    try:
        with Image.open(picture) as opened:
            return opened.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{place}: it has no w and h, and its picture does not tell them ({error}); add them to the file, or name "
            "one that lies where its pictures are"
        ) from error


_KEYS = ("k1", "k2", "k3", "k4", "p1", "p2")


def _distortion(kind: str, given: Mapping[str, float], place: str) -> tuple[str, tuple[float, ...]]:
    """COLMAP's model of nerfstudio's, and its extra parameters."""
    k1, k2, k3, k4, p1, p2 = (given[key] for key in _KEYS)
    if kind in _FISHEYE:
        return "OPENCV_FISHEYE", (k1, k2, k3, k4)
    if kind not in _PERSPECTIVE:
        known = ", ".join(sorted(_PERSPECTIVE | _FISHEYE))
        raise ValueError(f"{place}: got the camera model {kind}, expected one of {known}")
    if k4:
        raise ValueError(f"{place}: COLMAP has no camera with the coefficient k4 of perspective pictures ({k4})")
    if k3:
        return "FULL_OPENCV", (k1, k2, p1, p2, k3, 0.0, 0.0, 0.0)
    return ("OPENCV", (k1, k2, p1, p2)) if any((k1, k2, p1, p2)) else ("PINHOLE", ())
