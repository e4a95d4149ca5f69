"""Photos and strips of clips, small enough for a page."""

from __future__ import annotations

import base64
import io
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from interpose_sfm.photos.pictures import strict_pillow
from interpose_sfm.storage.names import inside

logger = logging.getLogger(__name__)

_SIDES_PX = ((60, 480), (200, 320), (500, 220))
_LEAST_SIDE_PX = 160
"""Longer side of a picture by the number of photos, so that a page of 50 has some 2 MB of them, one of 1,000 some 8."""
_QUALITY = 72


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a page holds it.

    Attributes:
        uri: It itself, a ``data:`` address.
        width_px, height_px: Of the file that it was made from, in whose pixels matches are given.
    """

    uri: str
    width_px: int
    height_px: int


def thumbnails(folder: Path, names: Sequence[str]) -> dict[str, Thumbnail]:
    """Small pictures of photos; those that are missing or cannot be read are left out.

    Args:
        folder: Holds the photos under their names, upright or as COLMAP reads them: matches are drawn on their pixels.
        names: Which photos.
    """
    side_px = next((side for number, side in _SIDES_PX if len(names) <= number), _LEAST_SIDE_PX)
    with strict_pillow(), ThreadPoolExecutor(os.cpu_count()) as threads:
        made = threads.map(lambda name: _thumbnail(folder, name, side_px), names)
        return {name: one for name, one in zip(names, made, strict=True) if one is not None}


def _thumbnail(folder: Path, name: str, side_px: int) -> Thumbnail | None:
    found = small_photo(folder, name, side_px)
    if found is None:
        return None
    data = io.BytesIO()
    found[0].save(data, "JPEG", quality=_QUALITY, optimize=True)
    return Thumbnail(_uri(data.getvalue()), *found[1])


def small_photo(folder: Path, name: str, side_px: int) -> tuple[Image.Image, tuple[int, int]] | None:
    """A photo with sides of so many pixels at most, and its own size; None where it is missing or cannot be read.

    Args:
        folder: Holds it; whoever reads from a folder that others may have made refuses links in it.
        name: Its name there.
        side_px: Of the longer side.
    """
    try:
        with strict_pillow(), Image.open(inside(folder, name, may_link=True)) as image:
            size = image.size
            image.draft("RGB", (2 * side_px, 2 * side_px))  # JPEG is decoded no larger than need be
            small = image.convert("RGB")
            small.thumbnail((side_px, side_px), reducing_gap=2.0)
    except Exception as error:  # noqa: BLE001 - Pillow raises almost anything
        logger.info("no picture of %r: %s", name, error)
        return None
    return small, size


def strip(folder: Path, name: str) -> Thumbnail | None:
    """A picture of a clip as it is; None where it is missing or no picture."""
    try:
        path = inside(folder, name)
        with strict_pillow(), Image.open(path, formats=("JPEG",)) as image:
            image.load()
            size = image.size
        return Thumbnail(_uri(path.read_bytes()), *size)
    except Exception as error:  # noqa: BLE001 - Pillow raises almost anything
        logger.info("no picture of a clip at %r: %s", name, error)
        return None


def _uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
