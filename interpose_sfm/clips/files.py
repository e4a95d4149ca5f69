"""Which file on disk bridges which photos: file names and ``clips.json``.

File names
    ``A__B.ext``, ``A__B_N.ext``, and either with ``_ba`` at the end: the N-th clip from photo A to photo B; ``_ba``
    says that the file runs from B to A. In place of a file there may be a folder of that name (without extension) that
    holds the frames as images in natural order. The first frame shows A and the last shows B (the other way round with
    ``_ba``). A photo is written as its stem (``IMG_1``), its file name (``IMG_1.jpg``), or, where sub-folders hold
    photos of the same stem, its path with ``/`` replaced by ``_``, with or without the extension (``left_IMG_1``). A
    name that fits several photos or can be read in several ways is refused.

clips.json
    Optional, in the clip folder; for any other naming, next to the scheme above. A list of objects with the photos'
    names and their clips, each a path below the folder or an object with the path and its direction::

        [{"a": "left/IMG_1.jpg", "b": "IMG_7.jpg",
          "clips": ["pan.mp4", {"file": "pan_reversed", "backwards": true}]}]

Files and entries that name photos which are not in the collection are left out with a warning: a collection may have
lost photos since the clips were made.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from interpose_sfm.products import CLIP_INDEX, ImagePair
from interpose_sfm.storage.texts import read_text

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset({".mp4", ".webm", ".mov", ".gif", ".mkv"})
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
INDEX_NAME = CLIP_INDEX
_MAX_NAME_BYTES = 240  # most file systems end at 255; the extension and temporary names need some of it


@dataclass(frozen=True)
class ClipFile:
    """One file or folder of frames.

    Attributes:
        name: Its path below the clip folder, POSIX.
        path: Where it is.
        first, last: Names of the photos that its first and last frame show.
    """

    name: str
    path: Path
    first: str
    last: str


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``frame_2`` before ``frame_10``."""
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(part), "") if i % 2 else (1, 0, part.casefold()) for i, part in enumerate(parts))


def index_clips(
    folder: Path,
    photo_names: Sequence[str],
    recorded: Callable[[Path], tuple[str, str] | None] = lambda _: None,
    *,
    is_quiet: bool = False,
) -> dict[ImagePair, tuple[ClipFile, ...]]:
    """All clips of a folder, under their pairs in name order.

    Those of ``clips.json`` come first, in its order, then the others in natural order.

    Args:
        folder: Where they are.
        photo_names: All photos of the collection.
        recorded: Says which photos the first and the last frame of a file show where something else than its name
            tells; photos that are not in the collection are passed over.
        is_quiet: Say nothing of clips that are left out.

    Raises:
        ValueError: No such folder, an ambiguous file name, or a ``clips.json`` that breaks its schema.
    """
    check_clip_dir(folder)
    level = logging.DEBUG if is_quiet else logging.WARNING
    files = _from_json(folder, frozenset(photo_names), level) if (folder / INDEX_NAME).exists() else []
    listed = {file.path for file in files}
    keys = photo_keys(photo_names)
    for path in sorted(folder.iterdir(), key=lambda p: natural_key(p.name)):
        is_clip = path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES
        if "__" not in path.name or not is_clip or Path(os.path.realpath(path)) in listed:
            continue
        named = recorded(path)
        if named is None or not set(named) <= set(photo_names):
            named = parse_name(path.name if path.is_dir() else path.stem, keys)
        if named is None:
            logger.log(level, "clip %s names no two photos of the collection and is not used", path)
            continue
        files.append(ClipFile(path.name, path, *named))
    clips: dict[ImagePair, tuple[ClipFile, ...]] = {}
    for file in files:
        pair = ImagePair.sorted(file.first, file.last)
        clips[pair] = (*clips.get(pair, ()), file)
    return clips


def check_any_clip_dir(folders: Sequence[Path]) -> None:
    """Raise a ValueError if the generator ``clips`` is given no folder."""
    if not folders:
        raise ValueError("the generator 'clips' needs a folder with clips: name one by --clips (in Python: clip_dirs)")


def check_clip_dir(folder: Path) -> None:
    """Refuse what is no folder.

    Raises:
        ValueError: It is none.
    """
    if not folder.is_dir():
        raise ValueError(f"clip folder {folder} does not exist or is no folder")


def parse_name(text: str, photos_of_key: Mapping[str, frozenset[str]]) -> tuple[str, str] | None:
    """(photo of the first frame, photo of the last frame) that a file name without extension stands for.

    Args:
        text: Such as ``IMG_1__IMG_2_0_ba``.
        photos_of_key: What may be written for a photo -> the photos it may mean.

    Returns:
        The photos, or None if the name fits no two photos.

    Raises:
        ValueError: It fits more than one combination of photos.
    """
    text = unicodedata.normalize("NFC", text)
    readings = set()
    for split in re.finditer(r"(?=__)", text):
        first, rest = text[: split.start()], text[split.start() + 2 :]
        for last, backwards in _without_suffixes(rest):
            for a in photos_of_key.get(first, ()):
                for b in photos_of_key.get(last, ()):
                    if a != b:
                        readings.add((b, a) if backwards else (a, b))
    if len(readings) > 1:
        choices = " or ".join(f"{a!r} to {b!r}" for a, b in sorted(readings))
        raise ValueError(
            f"clip {text!r} can mean {choices}; write the paths of the photos with '/' replaced by '_' and with their "
            f"extensions, or list the clip in {INDEX_NAME}"
        )
    return readings.pop() if readings else None


def _without_suffixes(text: str) -> list[tuple[str, bool]]:
    """Every way to read ``B[_N][_ba]``: (B, runs from B to A)."""
    readings = [(text, False)]
    if text.endswith("_ba"):
        readings.append((text[: -len("_ba")], True))
    for rest, backwards in list(readings):
        numbered = re.fullmatch(r"(.+)_\d+", rest)
        if numbered:
            readings.append((numbered[1], backwards))
    return readings


def photo_keys(photo_names: Sequence[str]) -> dict[str, frozenset[str]]:
    """What may be written for a photo in a file name -> the photos that it may mean."""
    keys: dict[str, frozenset[str]] = {}
    for name in photo_names:
        for key in {unicodedata.normalize("NFC", text) for text in _spellings(name)}:
            keys[key] = keys.get(key, frozenset()) | {name}
    return keys


def _spellings(photo: str) -> tuple[str, str, str, str]:
    """What may be written for a photo, the shortest first."""
    path, flat = PurePosixPath(photo), photo.replace("/", "_")
    return path.stem, path.name, flat.removesuffix(path.suffix), flat


def clip_stem(first: str, last: str, suffix: str, photos_of_key: Mapping[str, frozenset[str]]) -> str | None:
    """The shortest file name, without extension, that `parse_name` reads as these two photos and nothing else.

    Args:
        first, last: The photos as the name says them, in this order.
        suffix: What follows them, such as ``_0`` or ``_1_ba``.
        photos_of_key: See `photo_keys`.

    Returns:
        The name; None where all are ambiguous or too long for a file system.
    """
    ways = zip(_spellings(first), _spellings(last), strict=True)
    expected = (last, first) if suffix.endswith("_ba") else (first, last)
    for x, y in [*ways, *itertools.product(_spellings(first), _spellings(last))]:
        text = f"{x}__{y}{suffix}"
        try:
            if (
                len(text.encode("utf-8", "surrogatepass")) <= _MAX_NAME_BYTES
                and parse_name(text, photos_of_key) == expected
            ):
                return text
        except ValueError:  # ambiguous
            continue
    return None


# ---------------------------------------------------------------- clips.json


def _from_json(folder: Path, photo_names: frozenset[str], level: int) -> list[ClipFile]:
    """The clips that ``clips.json`` lists, each below the folder and listed once for its pair."""
    index = folder / INDEX_NAME
    try:
        entries = json.loads(read_text(index))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{index} cannot be read as JSON: {error}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{index}: got {type(entries).__name__}, expected a list of {{'a', 'b', 'clips'}} objects")
    files: list[ClipFile] = []
    for number, entry in enumerate(entries):
        where = f"{index}, entry {number}"
        a, b, clips = _checked_entry(entry, where)
        unknown = sorted({a, b} - photo_names)
        if unknown:
            logger.log(level, "%s names %s, not in the collection, and is not used", where, ", ".join(unknown))
            continue
        files.extend(_checked_clip(folder, a, b, clip, where) for clip in clips)
    seen: dict[tuple[ImagePair, Path], str] = {}
    for file in files:
        key = (ImagePair.sorted(file.first, file.last), file.path)
        if key in seen:
            raise ValueError(f"{index}: {file.name} is listed twice for {file.first!r} and {file.last!r}")
        seen[key] = file.name
    return files


def _checked_entry(entry: Any, where: str) -> tuple[str, str, list[Any]]:
    """The two photos and the clips of an entry."""
    if not isinstance(entry, dict) or set(entry) != {"a", "b", "clips"}:
        got = sorted(map(str, entry)) if isinstance(entry, dict) else type(entry).__name__
        raise ValueError(f"{where}: got {got}, expected an object with exactly 'a', 'b' and 'clips'")
    a, b, clips = entry["a"], entry["b"], entry["clips"]
    if not isinstance(a, str) or not isinstance(b, str) or a == b:
        raise ValueError(f"{where}: got a = {a!r} and b = {b!r}, expected the names of two different photos")
    if not isinstance(clips, list):
        raise ValueError(f"{where}: got clips = {clips!r}, expected a list")
    return a, b, clips


def _checked_clip(folder: Path, a: str, b: str, clip: Any, where: str) -> ClipFile:
    """A clip of an entry as a file below the folder, with the photos it begins and ends with."""
    if isinstance(clip, str):
        clip = {"file": clip}
    if not isinstance(clip, dict) or not {"file"} <= set(clip) <= {"file", "backwards"}:
        raise ValueError(
            f"{where}: got the clip {clip!r}, expected a path or an object with 'file' and maybe 'backwards'"
        )
    name, backwards = clip["file"], clip.get("backwards", False)
    if not isinstance(name, str) or not name or "\0" in name or not isinstance(backwards, bool):
        raise ValueError(f"{where}: got the clip {clip!r}, expected 'file' to be text and 'backwards' true or false")
    # realpath, unlike Path.resolve, has an answer for circular links too.
    root = Path(os.path.realpath(folder))
    path = Path(os.path.realpath(root / name))
    if path == root or not path.is_relative_to(root):
        raise ValueError(f"{where}: {name!r} leads out of the clip folder; expected a relative path below {folder}")
    if not os.path.exists(path):
        raise ValueError(f"{where}: {name!r} does not exist below {folder}")
    first, last = (b, a) if backwards else (a, b)
    return ClipFile(path.relative_to(root).as_posix(), path, first, last)
