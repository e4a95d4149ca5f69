"""Folders of a dataset that hold no photos of their own: masks, depth maps, scaled copies, COLMAP models.

Such folders lie beside or among the photos wherever a dataset was made for nerfstudio, gsplat or COLMAP. Nothing is
left out for the name of its folder alone: the pictures in it must be what the name says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps

from interpose_sfm.options import PhotoOptions
from interpose_sfm.photos.formats import UnusableError, check_signature, open_picture
from interpose_sfm.products import FloatArray

_MASKS = re.compile(r"(.+_)?masks?(_\d+)?", re.IGNORECASE)
_DEPTHS = re.compile(r"(.+_)?(depths?|depth_?maps?|disparit(y|ies))(_\d+)?", re.IGNORECASE)
_SCALED = re.compile(r"(.+)_(\d+)")
_MODEL_FILES = frozenset(f"{name}.{suffix}" for name in ("cameras", "images", "points3D") for suffix in ("bin", "txt"))

_MODEL_SUFFIXES = frozenset({".bin", ".txt", ".ply", ".db", ".ini", ".json", ".cfg", ".yaml", ".yml", ".nvm"})
_DEPTH_SUFFIXES = frozenset({".npy", ".npz", ".exr", ".pfm", ".bin", ".dpt", ".h5"})

_NUM_LOOKED_AT = 8  # pictures of a folder that are decoded, evenly spread
_MAX_SCALE = 64

# A mask is nearly black or nearly white nearly everywhere, but where its border was smoothed or JPEG rounded it off; or
# it has a handful of values, one for each kind of thing.
_NEARLY = 16
_MIN_BLACK_OR_WHITE = 0.98
_MAX_LABELS = 4

# Two pictures are one in different sizes: thumbnails of copies made by other programs differ by less than two levels.
_THUMBNAIL_PX = 48
_MAX_DIFFERENCE = 4.0
_MIN_CORRELATION = 0.99


@dataclass(frozen=True)
class DatasetFolder:
    """A folder whose pictures are no photos of their own.

    Attributes:
        name: POSIX path below the photo folder.
        files: Names of what is in it and can be left out, in order.
        what: What these are.
    """

    name: str
    files: tuple[str, ...]
    what: str


def dataset_folders(files: Mapping[str, Path], options: PhotoOptions) -> tuple[DatasetFolder, ...]:
    """The folders among the files that hold masks, depth maps, scaled copies or COLMAP models.

    Args:
        files: Name -> path of every file, the name a POSIX path below the photo folder.
        options: Up to which size a picture is looked at.

    Returns:
        In name order, none inside another one. Photos that are in such a folder without being what is left out of it
        are not among its files.
    """
    members = _members(files)
    found: list[DatasetFolder] = []
    for folder in sorted(members):
        if any(PurePosixPath(folder).is_relative_to(one.name) for one in found):
            continue
        looker = _Looker({name: files[name] for name in members[folder]}, options)
        what = _masks(folder, looker) or _depth_maps(folder, looker, files) or _model(folder, looker)
        if what:
            found.append(DatasetFolder(folder, tuple(looker.files), what))
        elif copies := _scaled_copies(folder, looker, files):
            found.append(copies)
    return tuple(found)


def _members(files: Mapping[str, Path]) -> dict[str, list[str]]:
    """Folder -> all files below it, of every folder but the top one."""
    members: dict[str, list[str]] = {}
    for name in files:
        for folder in PurePosixPath(name).parents:
            if folder.name:
                members.setdefault(str(folder), []).append(name)
    return members


# ---------------------------------------------------------------- what a folder holds


def _masks(folder: str, looker: _Looker) -> str:
    if not _MASKS.fullmatch(PurePosixPath(folder).name):
        return ""
    pictures = looker.pictures
    if not pictures or not all(map(_is_mask, looker.decoded(pictures))):
        return ""
    return f"{len(pictures)} black-and-white masks"


def _depth_maps(folder: str, looker: _Looker, files: Mapping[str, Path]) -> str:
    if not _DEPTHS.fullmatch(PurePosixPath(folder).name):
        return ""
    if looker.suffixes <= _DEPTH_SUFFIXES:
        return f"{len(looker.files)} depth maps"
    pictures = looker.pictures
    samples = list(looker.decoded(pictures))
    if not samples or not all(map(_is_grey, samples)):
        return ""
    stems = {_stem(name, folder) for name in pictures}
    others = {PurePosixPath(name).stem for name in files if not PurePosixPath(name).is_relative_to(folder)}
    are_deep = all(sample.mode == "F" or sample.mode.startswith("I") for sample in samples)
    if not are_deep and not {PurePosixPath(stem).name for stem in stems} <= others:
        return ""
    return f"{len(pictures)} depth maps"


def _model(folder: str, looker: _Looker) -> str:
    names = {PurePosixPath(name).name for name in looker.files}
    if len(names & _MODEL_FILES) < 2 or not looker.suffixes <= _MODEL_SUFFIXES:
        return ""
    return f"{len(looker.files)} files of COLMAP models"


def _scaled_copies(folder: str, looker: _Looker, files: Mapping[str, Path]) -> DatasetFolder | None:
    """The pictures that another folder, called the same without the number, has so many times larger."""
    path = PurePosixPath(folder)
    match = _SCALED.fullmatch(path.name)
    if match is None or not 2 <= (scale := int(match[2])) <= _MAX_SCALE:
        return None
    for original in (path.with_name(match[1]), path.parent):
        originals = {_stem(name, original): name for name in files if PurePosixPath(name).is_relative_to(original)}
        pairs = {name: originals[_stem(name, folder)] for name in looker.pictures if _stem(name, folder) in originals}
        sources = _Looker({name: files[name] for name in pairs.values()}, looker.options)
        copies = [name for name in pairs if _is_scaled(looker.size(name), sources.size(pairs[name]), scale)]
        if copies and all(_is_same(looker.thumbnail(name), sources.thumbnail(pairs[name])) for name in _spread(copies)):
            place = f"{original}/" if original.name else "the photo folder"
            left_out = tuple(name for name in looker.files if name in set(copies) or name not in set(looker.pictures))
            return DatasetFolder(folder, left_out, f"{len(copies)} pictures of {place} at 1/{scale} of their size")
    return None


def _stem(name: str, folder: str | PurePosixPath) -> str:
    """The path of a file below a folder, without its ending."""
    return str(PurePosixPath(name).relative_to(folder).with_suffix(""))


def _is_mask(picture: Image.Image) -> bool:
    grey = np.asarray(picture.convert("L"))
    is_extreme = (grey <= _NEARLY) | (grey >= 255 - _NEARLY)
    return bool(is_extreme.mean() >= _MIN_BLACK_OR_WHITE) or len(np.unique(grey)) <= _MAX_LABELS


def _is_grey(picture: Image.Image) -> bool:
    if picture.mode in ("RGB", "RGBA"):
        red, green, blue = np.moveaxis(np.asarray(picture)[..., :3].astype(np.int16), -1, 0)
        return bool(max(np.abs(red - green).max(), np.abs(red - blue).max()) <= 2)
    return picture.mode in ("L", "LA", "I", "F") or picture.mode.startswith("I;16")


def _is_scaled(size_px: tuple[int, int] | None, original_px: tuple[int, int] | None, scale: int) -> bool:
    """Whether a picture has the size of another one divided by a number, however that was rounded."""
    if size_px is None or original_px is None:
        return False
    return all(abs(side * scale - whole) <= 2 * scale for side, whole in zip(size_px, original_px, strict=True))


def _is_same(a: FloatArray | None, b: FloatArray | None) -> bool:
    """Whether two thumbnails show one picture."""
    if a is None or b is None:
        return False
    if np.abs(a - b).mean() > _MAX_DIFFERENCE:
        return False
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return norm == 0 or float((a * b).sum()) / norm >= _MIN_CORRELATION


def _spread(names: Sequence[str]) -> list[str]:
    """A few of the names, evenly spread."""
    return [names[i] for i in sorted({round(i) for i in np.linspace(0, len(names) - 1, _NUM_LOOKED_AT)})]


class _Looker:
    """Looks into the files of one folder.

    Attributes:
        files: Name -> path, in name order.
        options: Up to which size a picture is looked at.
    """

    def __init__(self, files: Mapping[str, Path], options: PhotoOptions) -> None:
        self.files = dict(sorted(files.items()))
        self.options = options
        self._pictures: list[str] | None = None

    @property
    def suffixes(self) -> set[str]:
        """The endings of the files, in lower case."""
        return {path.suffix.lower() for path in self.files.values()}

    @property
    def pictures(self) -> list[str]:
        """The files that begin as a picture does."""
        if self._pictures is None:
            self._pictures = [name for name, path in self.files.items() if _begins_as_picture(path)]
        return self._pictures

    def size(self, name: str) -> tuple[int, int] | None:
        """Upright (width, height) by the header, None where there is none."""
        try:
            with self.files[name].open("rb") as file, open_picture(file) as image:
                width, height = image.size
                return (height, width) if image.getexif().get(0x0112) in (5, 6, 7, 8) else (width, height)
        except Exception:  # noqa: BLE001 - on damaged files Pillow raises almost anything
            return None

    def decode(self, name: str, *, coarsely: bool = False) -> Image.Image | None:
        """The upright picture; None where it is damaged or too large. JPEG is read smaller if it may be coarse."""
        try:
            with self.files[name].open("rb") as file, open_picture(file) as image:
                if image.width * image.height > self.options.max_megapixels * 1e6:
                    return None
                if coarsely:
                    image.draft(None, (4 * _THUMBNAIL_PX, 4 * _THUMBNAIL_PX))
                return ImageOps.exif_transpose(image)
        except Exception:  # noqa: BLE001 - as above
            return None

    def thumbnail(self, name: str) -> FloatArray | None:
        """Grey values of a square thumbnail, None where there is none."""
        picture = self.decode(name, coarsely=True)
        if picture is None:
            return None
        small = picture.convert("L").resize((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.BOX)
        return np.asarray(small, np.float64)

    def decoded(self, names: Sequence[str]) -> Iterator[Image.Image]:
        """A few of the pictures that can be decoded."""
        return (picture for name in _spread(names) if (picture := self.decode(name)) is not None)


def _begins_as_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            check_signature(file.read(64), path)
    except (OSError, UnusableError):
        return False
    return True
