"""Photos and masks without distortion, and COLMAP's model of them: what gsplat, Brush, OpenSplat and Postshot read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from interpose_sfm.colmap.point_cloud import load_whole
from interpose_sfm.export.source import ExportSource, link_or_copy
from interpose_sfm.photos.formats import COLMAP_WRITES

if TYPE_CHECKING:
    import pycolmap

_PILLOW_WRITES: Mapping[str, dict[str, Any]] = {".webp": {"format": "WEBP", "quality": 98}}

TRAJECTORY_NAME = "open3d.json"

_NEXT_TO_NOTHING = 1e-7  # coefficients up to 1e-8 count as zero


def check(source: ExportSource) -> None:
    """Raise a ValueError if a photo is missing, shows all directions, or has a name that tells no format."""
    source.check_photos()
    remedy = "leave undistorted out of the formats"
    panoramic = [image.name for image in source.images() if source.model.camera(image.camera_id).is_spherical()]
    if panoramic:
        raise ValueError(
            f"{len(panoramic)} photos show all directions and have no form without distortion, such as "
            f"{panoramic[0]}; {remedy}, or cut them into perspective views before they are reconstructed"
        )
    known = {*COLMAP_WRITES, *_PILLOW_WRITES}
    unknown = [image.name for image in source.images() if _suffix(image.name) not in known]
    if unknown:
        raise ValueError(
            f"the names of {len(unknown)} photos end in no format that can be written, such as {unknown[0]}, expected "
            f"one of {', '.join(sorted(known))}; {remedy}, or rename the photos and reconstruct them again"
        )


def check_masks(source: ExportSource) -> None:
    """Raise a ValueError if there are no masks, or the photos have no form without distortion."""
    if source.mask_dir is None:
        raise ValueError(
            "the photos have no masks to export; leave masks out of the formats, or run reconstruct with --mask-path, "
            "which names their folder"
        )
    check(source)


def write(source: ExportSource, folder: Path) -> None:
    """Write images/, sparse/0, open3d.json and, of photos with masks, masks/ into an empty folder.

    Photos are those of PINHOLE cameras, all names and points kept. WebP photos are written as WebP, whatever data they
    had. World frame and units are those of the model, which `check` has let pass; each picture is cut to where it has
    no blank pixels, so its size may differ from that of the photo. Masks are those of `write_masks`.

    Raises:
        OSError: A picture could not be written.
    """
    names = {image.image_id: image.name for image in source.images()}
    with TemporaryDirectory(dir=folder) as name:
        pictures = {i: (source.image_dir / names[i], _colmaps_name(i, names[i])) for i in names}
        flat = _undistort(source, pictures, Path(name))
        for image_id in names:
            _put(Path(name) / "flat" / "images" / flat.image(image_id).name, folder / "images" / names[image_id])
            flat.image(image_id).name = names[image_id]
        # In sparse/0, unlike COLMAP, and without its scripts for dense stereo, which look for the model in sparse.
        (folder / "sparse" / "0").mkdir(parents=True)
        flat.write(folder / "sparse" / "0")
    _write_trajectory(flat, folder / TRAJECTORY_NAME)
    if source.mask_dir is not None:
        write_masks(source, folder / "masks")


def write_masks(source: ExportSource, folder: Path) -> None:
    """Write ``NAME.png`` for every photo, as ``StereoFusion.mask_path`` of COLMAP has it: black, 0, or white, 255.

    They fit the photos that `write` writes, pixel by pixel; `check_masks` has let the model pass. A pixel is black if
    at least half of what it shows is black in the photo's mask.

    Raises:
        OSError: A mask could not be written.
    """
    if source.mask_dir is None:
        return
    names = source.mask_names()
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as name:
        _undistort(source, {i: (source.mask_dir / names[i], names[i]) for i in names}, Path(name))
        for mask in names.values():
            (folder / mask).parent.mkdir(parents=True, exist_ok=True)
            with Image.open(Path(name) / "flat" / "images" / mask) as picture:
                picture.convert("L").point(lambda value: 255 if value > 127 else 0).save(folder / mask)


def _write_trajectory(flat: pycolmap.Reconstruction, path: Path) -> None:
    """Cameras for open3d's ``read_pinhole_camera_trajectory``, in the order of the names of the photos, which it lacks.

    open3d has the middle of a pixel at whole numbers, COLMAP at halves.

    Raises:
        OSError: The file could not be written.
    """
    open3d = load_whole("open3d")
    trajectory = open3d.camera.PinholeCameraTrajectory()
    found = []
    for image in sorted((i for i in flat.images.values() if i.has_pose), key=lambda image: image.name):
        camera = flat.camera(image.camera_id)
        fx, fy, cx, cy = camera.params
        view = open3d.camera.PinholeCameraParameters()
        view.intrinsic = open3d.camera.PinholeCameraIntrinsic(camera.width, camera.height, fx, fy, cx - 0.5, cy - 0.5)
        view.extrinsic = np.vstack([image.cam_from_world().matrix(), [0.0, 0.0, 0.0, 1.0]])
        found.append(view)
    trajectory.parameters = found
    if not open3d.io.write_pinhole_camera_trajectory(path, trajectory):
        raise OSError(f"cannot write {path}")


def _undistort(
    source: ExportSource, pictures: Mapping[int, tuple[Path, str]], scratch: Path
) -> pycolmap.Reconstruction:
    """Write pictures without distortion to flat/images in a folder.

    Args:
        source: Whose cameras took the pictures.
        pictures: By the ids of the photos, the files of these or of their masks, and names that COLMAP can write.
        scratch: An empty folder.

    Returns:
        The model of the pictures, with these names.

    Raises:
        OSError: A picture could not be written.
    """
    import pycolmap

    model = _with_cameras_to_undistort(source)
    for image_id, (file, name) in pictures.items():
        link_or_copy(file, scratch / "pictures" / name)
        model.image(image_id).name = name
    (scratch / "model").mkdir()
    model.write(scratch / "model")
    pycolmap.undistort_images(scratch / "flat", scratch / "model", scratch / "pictures")
    flat = pycolmap.Reconstruction(scratch / "flat" / "sparse")
    lost = [file for file, name in pictures.values() if not (scratch / "flat" / "images" / name).is_file()]
    if lost:
        raise OSError(f"COLMAP could not undistort {len(lost)} of {len(pictures)} pictures, such as {lost[0]}")
    return flat


def _colmaps_name(image_id: int, name: str) -> str:
    """A name for a picture under which COLMAP writes it."""
    return f"{name}.{image_id}.png" if _suffix(name) in _PILLOW_WRITES else name


def _with_cameras_to_undistort(source: ExportSource) -> pycolmap.Reconstruction:
    """A copy of the model without cameras that ``pycolmap.undistort_images`` would pass over, model and picture alike.

    It leaves every camera as it is whose coefficients are all zero, so that one without distortion stays an OPENCV
    camera, and a FISHEYE camera a fisheye. The former become PINHOLE, which is the same; the latter get a coefficient
    that moves no point by more than a ten-thousandth of a pixel.
    """
    import pycolmap

    model = pycolmap.Reconstruction(source.model)
    for camera_id in [camera.camera_id for camera in source.cameras() if camera.is_undistorted()]:
        camera = model.camera(camera_id)
        matrix, is_fisheye = camera.calibration_matrix(), camera.is_perspective_fisheye()
        camera.model = pycolmap.CameraModelId.OPENCV_FISHEYE if is_fisheye else pycolmap.CameraModelId.PINHOLE
        distortion = [_NEXT_TO_NOTHING, 0.0, 0.0, 0.0] if is_fisheye else []
        camera.params = [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], *distortion]
    return model


def _put(made: Path, target: Path) -> None:
    """Move a picture to its name; where COLMAP cannot write what that says, it is written anew."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if _suffix(target.name) not in _PILLOW_WRITES:
        os.rename(made, target)
        return
    with Image.open(made) as picture:
        picture.save(target, exif=picture.getexif(), **_PILLOW_WRITES[_suffix(target.name)])


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()
