"""Masks of photos, as COLMAP has them: ``MASKS/NAME.png`` for the photo NAME, and what is black is ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from interpose_sfm.photos.pictures import strict_pillow
from interpose_sfm.products import MaskArray, Photo
from interpose_sfm.storage.atomic import atomic_directory
from interpose_sfm.storage.content_keys import file_sha256

_ORIENTATION = 0x0112
_FIRST_SIDEWAYS = 5  # orientations from here on exchange width and height


def mask_file(mask_dir: Path, name: str) -> Path | None:
    """The mask of a photo; None where it has none. For the photo ``a.png`` a mask ``a.png`` will do, as in COLMAP."""
    names = [f"{name}.png"] + ([name] if name.lower().endswith(".png") else [])
    return next((mask_dir / each for each in names if (mask_dir / each).is_file()), None)


def read_mask(path: Path) -> MaskArray:
    """(height, width) bool, False where a mask is black.

    Raises:
        ValueError: The file is no picture.
    """
    return np.asarray(_grey(path)) > 0


def photo_mask(mask_dir: Path | None, name: str, size_px: tuple[int, int]) -> MaskArray | None:
    """The mask of a photo; None where it has none.

    Args:
        mask_dir: Folder of masks; None for no masks at all.
        name: Of the photo.
        size_px: (width, height) of the photo.

    Raises:
        ValueError: The mask is of another size, or no picture.
    """
    path = None if mask_dir is None else mask_file(mask_dir, name)
    if path is None:
        return None
    mask = read_mask(path)
    if mask.shape != size_px[::-1]:
        raise ValueError(_of_another_size(path, mask.shape[::-1], name, size_px))
    return mask


@dataclass(frozen=True)
class LaidOut:
    """What laying out masks found.

    Attributes:
        missing: Names of the photos without a mask.
        hidden: Names of those whose masks are black everywhere.
    """

    missing: tuple[str, ...]
    hidden: tuple[str, ...]


def lay_out_masks(
    mask_dir: Path,
    photos: Sequence[Photo],
    target_dir: Path,
    called: Mapping[str, Sequence[str]] | None = None,
) -> LaidOut:
    """Write masks for the upright photos, in the place of what is in a folder.

    Masks lie as the photos do in their files, so that they are turned with them; those that have the size of the
    upright photo only are taken as they are.

    Args:
        mask_dir: The user's masks.
        photos: As they are laid out; masks have the names of these, or of the original files.
        target_dir: Folder to write; gets ``NAME.png``, black and white, for every photo: COLMAP passes over photos
            without one.
        called: Name of every photo -> what it may be called in the folder of masks, tried in order, where that is not
            its own name or that of its file.

    Raises:
        ValueError: No photo has a mask; or one is of another size than its photo, or no picture.
    """
    called = called or {photo.name: names_of(photo) for photo in photos}
    files = {
        photo.name: next(filter(None, (mask_file(mask_dir, name) for name in called[photo.name])), None)
        for photo in photos
    }
    missing = tuple(name for name, path in files.items() if path is None)
    if photos and len(missing) == len(photos):
        first = called[photos[0].name][-1]
        raise ValueError(
            f"none of the {len(photos)} photos has a mask in {mask_dir}; expected {first}.png there for {first}, with "
            "black where it is to be ignored"
        )
    hidden = []
    with atomic_directory(target_dir) as folder:
        for photo in photos:
            path, size_px = files[photo.name], (photo.width_px, photo.height_px)
            target = folder / f"{photo.name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            if path is None:
                Image.new("L", size_px, 255).save(target)
                continue
            mask = _upright(_grey(path), photo)
            if mask.size != size_px:
                raise ValueError(_of_another_size(path, mask.size, photo.name, size_px))
            if mask.getextrema() == (0, 0):
                hidden.append(photo.name)
            mask.point(lambda value: 255 if value else 0).save(target, compress_level=1)
    return LaidOut(missing, tuple(hidden))


def names_of(photo: Photo) -> tuple[str, ...]:
    """What a photo may be called in a folder of masks."""
    return photo.name, photo.source or photo.name


def names_beside(photo_dir: Path, mask_dir: Path, photos: Sequence[Photo]) -> dict[str, tuple[str, ...]]:
    """What photos may be called in a folder of masks that lies beside theirs in a dataset.

    For ``set/masks`` the photo ``images/a.jpg`` of ``set`` is also ``a.jpg``, if all photos are in that one folder.
    """
    folders = {photo.name.partition("/")[0] for photo in photos if "/" in photo.name}
    is_dataset = len(folders) == 1 and all("/" in photo.name for photo in photos)
    if not is_dataset or mask_dir.resolve().parent != photo_dir.resolve():
        return {photo.name: names_of(photo) for photo in photos}
    return {photo.name: (*names_of(photo), *(n.partition("/")[2] for n in names_of(photo))) for photo in photos}


def digests(mask_dir: Path | None) -> list[tuple[str, str]]:
    """Name and SHA-256 of every mask below a folder, in name order; nothing without a folder."""
    if mask_dir is None:
        return []
    files = sorted(path for path in mask_dir.rglob("*.png") if path.is_file())
    return [(path.relative_to(mask_dir).as_posix(), file_sha256(path)) for path in files]


def _grey(path: Path) -> Image.Image:
    try:
        with strict_pillow(), Image.open(path) as image:
            return image.convert("L")
    except Exception as error:  # Pillow raises almost anything
        raise ValueError(
            f"the mask {path} cannot be read ({error}); expected a picture, black where to ignore"
        ) from error


def _upright(mask: Image.Image, photo: Photo) -> Image.Image:
    """The mask turned as the photo was, unless it has the size of the upright photo only."""
    if photo.orientation >= _FIRST_SIDEWAYS and mask.size == (photo.width_px, photo.height_px) != mask.size[::-1]:
        return mask
    mask.getexif()[_ORIENTATION] = photo.orientation
    return ImageOps.exif_transpose(mask)


def _of_another_size(path: Path, size: tuple[int, ...], name: str, wanted: tuple[int, int]) -> str:
    return (
        f"the mask {path} has {size[0]} x {size[1]} px, the photo {name} has {wanted[0]} x {wanted[1]}; "
        "masks have the size of their photos"
    )
