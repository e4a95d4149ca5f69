"""When photos were taken, as EXIF says, for the order that it gives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from interpose_sfm.photos.exif_values import text_of

_EXIF_IFD, _TAKEN, _FRACTION = 0x8769, 0x9003, 0x9291  # of a second: bursts have several photos in one


def order_by_time(image_dir: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Photos in the order in which they were taken, those without a time left out.

    Cameras whose clocks differ give an order in pieces, which is of use all the same. Photos that were written anew
    for COLMAP have lost their time.

    Args:
        image_dir: Folder that holds the photos under their names.
        names: The photos.
    """
    taken = {name: time for name in names if (time := _time(image_dir / name))}
    return tuple(sorted(taken, key=lambda name: (taken[name], name)))


def _time(path: Path) -> str:
    """``YYYY:MM:DD HH:MM:SS`` and the fraction, which sorts as text; empty where EXIF says none or cannot be read."""
    try:
        with Image.open(path) as image:
            tags = image.getexif().get_ifd(_EXIF_IFD)
        time = text_of(tags.get(_TAKEN))
        return f"{time}.{text_of(tags.get(_FRACTION))}" if time[:4].isdigit() and time[:4] != "0000" else ""
    except Exception:  # noqa: BLE001 - Pillow raises almost anything on damaged EXIF data
        return ""
