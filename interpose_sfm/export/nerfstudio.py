"""A model as nerfstudio reads it: ``transforms.json``, photos, points.

The format is documented in nerfstudio's docs (``data_conventions.md``) and read by ``nerfstudio_dataparser.py``; names,
frame and keys are those that its ``ns-process-data`` writes (``colmap_to_json`` in ``process_data/colmap_utils.py``).
nerfstudio's cameras have OpenGL's axes, x right, y up, looking along -z. Its z axis of the world points where -y
did in the model; of a georegistered one, whose z points up, +y does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interpose_sfm.export.source import ExportSource, link_or_copy
from interpose_sfm.storage.atomic import atomic_write_json

if TYPE_CHECKING:
    import pycolmap

JSON_NAME, POINTS_NAME, IMAGES_NAME, MASKS_NAME = "transforms.json", "sparse_pc.ply", "images", "masks"

# The world of transforms.json from COLMAP's. (x, y, z) -> (x, z, -y): COLMAP's y axis tends to point down.
APPLIED_TRANSFORM = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]])

_OPENCV, _FISHEYE = "OPENCV", "OPENCV_FISHEYE"
_DISTORTION_KEYS = {_OPENCV: ("k1", "k2", "p1", "p2"), _FISHEYE: ("k1", "k2", "k3", "k4")}

# COLMAP's model -> nerfstudio's, and the keys of COLMAP's parameters behind the principal point, in their order.
_MODELS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "SIMPLE_PINHOLE": (_OPENCV, ()),
    "PINHOLE": (_OPENCV, ()),
    "SIMPLE_RADIAL": (_OPENCV, ("k1",)),
    "RADIAL": (_OPENCV, ("k1", "k2")),
    "OPENCV": (_OPENCV, ("k1", "k2", "p1", "p2")),
    "SIMPLE_FISHEYE": (_FISHEYE, ()),
    "FISHEYE": (_FISHEYE, ()),
    "SIMPLE_RADIAL_FISHEYE": (_FISHEYE, ("k1",)),
    "RADIAL_FISHEYE": (_FISHEYE, ("k1", "k2")),
    "OPENCV_FISHEYE": (_FISHEYE, ("k1", "k2", "k3", "k4")),
}


def check(source: ExportSource) -> None:
    """Raise a ValueError if a photo is missing, or nerfstudio has no camera model, or needs two, for the cameras."""
    source.check_photos()
    names = {camera.model_name for camera in source.cameras()}
    remedy = "leave nerfstudio out of the formats, and let its colmap parser read what undistorted writes"
    unknown = sorted(names - _MODELS.keys())
    if unknown:
        raise ValueError(
            f"nerfstudio has no camera model for {', '.join(unknown)}, expected one of {', '.join(_MODELS)}; {remedy}"
        )
    if len({_MODELS[name][0] for name in names}) > 1:
        raise ValueError(
            f"nerfstudio reads either fisheye cameras or others, got both ({', '.join(sorted(names))}); {remedy}"
        )


def write(source: ExportSource, folder: Path) -> None:
    """Write transforms.json, sparse_pc.ply, images/ and, of photos with masks, masks/ into an empty folder.

    Photos and masks are linked where the file system can do that. All cameras and points are turned by
    `APPLIED_TRANSFORM`; units are those of the model, which `check` has let pass.
    """
    import pycolmap

    for image in source.images():
        link_or_copy(source.image_dir / image.name, folder / IMAGES_NAME / image.name)
    if source.mask_dir is not None:
        for name in source.mask_names().values():
            link_or_copy(source.mask_dir / name, folder / MASKS_NAME / name)
    turned = pycolmap.Reconstruction(source.model)
    turn = pycolmap.Rotation3d(APPLIED_TRANSFORM[:, :3])
    turned.transform(pycolmap.Sim3d(1.0, turn, APPLIED_TRANSFORM[:, 3]))
    turned.export_PLY(folder / POINTS_NAME)
    atomic_write_json(folder / JSON_NAME, _document(replace(source, model=turned)))


def _document(turned: ExportSource) -> dict[str, Any]:
    """The content of transforms.json; intrinsics stand at its top where one camera took all photos."""
    cameras = turned.cameras()
    is_shared = len(cameras) == 1
    # The kind of camera stands at the top in any case: nerfstudio reads it nowhere else, and would miss a fisheye.
    document: dict[str, Any] = {"camera_model": _MODELS[cameras[0].model_name][0]}
    if is_shared:
        document.update(_intrinsics(cameras[0]))
    masks = turned.mask_names()
    frames = []
    for image in turned.images():
        frame: dict[str, Any] = {
            "file_path": f"{IMAGES_NAME}/{image.name}",
            "transform_matrix": _opengl_pose(image).tolist(),
            "colmap_im_id": image.image_id,
        }
        if masks:  # nerfstudio wants one for every photo, or none at all
            frame["mask_path"] = f"{MASKS_NAME}/{masks[image.image_id]}"
        if not is_shared:
            frame.update(_intrinsics(turned.model.camera(image.camera_id)))
        frames.append(frame)
    applied = APPLIED_TRANSFORM.tolist()
    return {**document, "frames": frames, "applied_transform": applied, "ply_file_path": POINTS_NAME}


def _intrinsics(camera: pycolmap.Camera) -> dict[str, float | int]:
    """Size, focal lengths, principal point (as in COLMAP) and distortion under nerfstudio's keys."""
    kind, keys = _MODELS[camera.model_name]
    extra = camera.params[list(camera.extra_params_idxs())]
    return {
        "w": camera.width,
        "h": camera.height,
        "fl_x": camera.focal_length_x,
        "fl_y": camera.focal_length_y,
        "cx": camera.principal_point_x,
        "cy": camera.principal_point_y,
        **dict.fromkeys(_DISTORTION_KEYS[kind], 0.0),
        **dict(zip(keys, map(float, extra), strict=True)),
    }


def _opengl_pose(image: pycolmap.Image) -> np.ndarray:
    """(4, 4) world_from_cam, where the camera has OpenGL's axes: y and z of COLMAP's are turned round."""
    pose = np.eye(4)
    pose[:3] = image.cam_from_world().inverse().matrix()
    pose[:, 1:3] *= -1
    return pose
