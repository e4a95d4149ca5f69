"""Photos without distortion, and COLMAP's model of them: what gsplat, Brush, OpenSplat and Postshot read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from PIL import Image

from interpose_sfm.export.source import ExportSource, link_or_copy

if TYPE_CHECKING:
    import pycolmap

# Measured with pycolmap 4.2.1: of other names it logs an error, and leaves these pictures out.
_COLMAP_WRITES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".tif", ".tiff", ".bmp"})
_PILLOW_WRITES: Mapping[str, dict[str, Any]] = {".webp": {"format": "WEBP", "quality": 98}}

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
    known = {*_COLMAP_WRITES, *_PILLOW_WRITES}
    unknown = [image.name for image in source.images() if _suffix(image.name) not in known]
    if unknown:
        raise ValueError(
            f"the names of {len(unknown)} photos end in no format that can be written, such as {unknown[0]}, expected "
            f"one of {', '.join(sorted(known))}; {remedy}, or rename the photos and reconstruct them again"
        )


def write(source: ExportSource, folder: Path) -> None:
    """Write images/ and sparse/0 into an empty folder: photos of PINHOLE cameras, all names and points kept.

    WebP photos are written as WebP, whatever data they had. World frame and units are those of the model, which `check`
    has let pass; each picture is cut to where it has no blank pixels, so its size may differ from that of the photo.

    Raises:
        OSError: A picture could not be written.
    """
    import pycolmap

    names = {image.image_id: image.name for image in source.images()}
    with TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        model = _with_cameras_to_undistort(source)
        for image_id in names:
            if _suffix(names[image_id]) in _PILLOW_WRITES:
                model.image(image_id).name += f".{image_id}.png"
            link_or_copy(source.image_dir / names[image_id], scratch / "photos" / model.image(image_id).name)
        (scratch / "model").mkdir()
        model.write(scratch / "model")
        pycolmap.undistort_images(scratch / "flat", scratch / "model", scratch / "photos")
        flat = pycolmap.Reconstruction(scratch / "flat" / "sparse")
        lost = [names[i] for i in names if not (scratch / "flat" / "images" / flat.image(i).name).is_file()]
        if lost:
            raise OSError(f"COLMAP could not undistort {len(lost)} of {len(names)} photos, such as {lost[0]}")
        for image_id in names:
            _put(scratch / "flat" / "images" / flat.image(image_id).name, folder / "images" / names[image_id])
            flat.image(image_id).name = names[image_id]
        # In sparse/0, unlike COLMAP, and without its scripts for dense stereo, which look for the model in sparse.
        (folder / "sparse" / "0").mkdir(parents=True)
        flat.write(folder / "sparse" / "0")


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
        picture.save(target, **_PILLOW_WRITES[_suffix(target.name)])


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()
