"""Cameras and poses that are known before a run, from the files that people have: transforms.json or a COLMAP model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap.model_files import check_model
from interpose_sfm.colmap.transforms_json import checked_pose, read_transforms
from interpose_sfm.products import KnownView

TRANSFORMS_NAME = "transforms.json"

_TEXT_FILES = ("cameras.txt", "images.txt", "points3D.txt")


@dataclass(frozen=True)
class KnownPoses:
    """What a file or folder of known poses holds.

    Attributes:
        path: The file or folder.
        views: Photos as they are named there, and what is known of each, in its order.
        folder: What those names are relative to; None where they are names as COLMAP has them.
    """

    path: Path
    views: tuple[tuple[str, KnownView], ...]
    folder: Path | None = None


def read_known_poses(path: Path) -> KnownPoses:
    """Read a transforms.json, a folder that holds one, or a folder with a COLMAP model, binary or text.

    A folder may also hold the model in a folder of its own, as ``sparse/`` holds ``0``.

    Raises:
        ValueError: There is nothing of the kind, more than one, or one that cannot be used; the message says what.
    """
    if path.is_file():
        return KnownPoses(path, tuple(read_transforms(path)), path.parent)
    model_dirs = _model_dirs(path) if path.is_dir() else []
    transforms = path / TRANSFORMS_NAME
    if transforms.is_file() and not model_dirs:
        return KnownPoses(transforms, tuple(read_transforms(transforms)), path)
    if transforms.is_file():
        raise ValueError(f"known-poses {path} holds {TRANSFORMS_NAME} and a COLMAP model; name one of them")
    if len(model_dirs) > 1:
        names = ", ".join(folder.name for folder in model_dirs)
        raise ValueError(f"known-poses {path} holds {len(model_dirs)} models ({names}); name one of them")
    if not model_dirs:
        hint = f"; {path / 'sparse'} may hold one" if (path / "sparse").is_dir() else ""
        raise ValueError(
            f"known-poses must be a {TRANSFORMS_NAME} or a folder with a COLMAP model (cameras.bin, images.bin, ... or "
            f"as .txt), got {path}{hint}"
        )
    return KnownPoses(path, tuple(_read_model(model_dirs[0])))


def _model_dirs(folder: Path) -> list[Path]:
    """The folder if it has a model, else those in it that have one."""
    if _is_model(folder):
        return [folder]
    return sorted(path for path in folder.iterdir() if path.is_dir() and _is_model(path))


def _is_model(folder: Path) -> bool:
    return (folder / "images.bin").is_file() or (folder / "images.txt").is_file()


def _read_model(folder: Path) -> list[tuple[str, KnownView]]:
    import pycolmap

    try:
        model = pycolmap.Reconstruction()
        if (folder / "images.bin").is_file():
            check_model(folder, has_frames=(folder / "frames.bin").is_file())
            model.read_binary(folder)
        else:
            missing = [name for name in _TEXT_FILES if not (folder / name).is_file()]
            if missing:
                raise ValueError(f"{', '.join(missing)} is missing")
            model.read_text(folder)
    except (ValueError, LookupError, RuntimeError, OSError) as error:
        raise ValueError(
            f"cannot read known poses from the COLMAP model {folder}: {error}; copy it again, or have COLMAP write it "
            "anew"
        ) from error
    found = []
    for image in sorted(model.images.values(), key=lambda image: image.name):
        if image.has_pose:
            place = f"{folder}, {image.name}"
            pose = checked_pose(np.asarray(image.cam_from_world().matrix()), place)
            camera = model.camera(image.camera_id)
            if not np.isfinite(camera.params).all():
                raise ValueError(f"{place}: its camera has parameters that are not finite")
            found.append((image.name, KnownView(geometry.from_colmap_camera(camera, is_trusted=True), pose)))
    return found
