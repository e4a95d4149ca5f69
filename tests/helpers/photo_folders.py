"""Folders of photos, and what is collected of them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray
from PIL import Image

from bad_photos import picture
from interpose_sfm.options import PhotoOptions
from interpose_sfm.photos.collect import collect_photos
from interpose_sfm.products import Photo, PhotoSet, SkipReason

OPTIONS = PhotoOptions()


def collect(folder: Path, output: Path | None = None, options: PhotoOptions = OPTIONS) -> PhotoSet:
    return collect_photos(folder, (output or folder.parent / "output") / "images", options)


def put(folder: Path, *names: str, **options: object) -> None:
    """JPEG photos with the pictures that belong to their names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(name).save(folder / name, "JPEG", quality=95, **options)


def names_of(photo_set: PhotoSet) -> list[str]:
    return [photo.name for photo in photo_set.photos]


def reasons_of(photo_set: PhotoSet) -> dict[str, SkipReason]:
    return {file.name: file.reason for file in photo_set.skipped}


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def digests(folder: Path) -> dict[str, str]:
    """Content of all regular files, to see that none was touched."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size < 1e8]
    return {os.fspath(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def read_by_colmap(path: Path) -> NDArray[np.uint8]:
    bitmap = pycolmap.Bitmap.read(path, as_rgb=True)
    assert bitmap is not None, path
    return np.asarray(bitmap.to_array())


def rgb(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Mean absolute difference in grey levels."""
    assert a.shape == b.shape
    return float(np.abs(a.astype(float) - b).mean())


def photo(name: str, size: tuple[int, int] = (400, 300), focal_px: float | None = None, make: str = "") -> Photo:
    return Photo(name, Path(name), *size, focal_px=focal_px, make=make, model="", sha256="")
