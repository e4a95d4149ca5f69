"""Pictures of more than eight bits a channel as eight bits, however many of these are used.

Many 16-bit files hold the 10 or 12 bits of a sensor: of those the top eight that are used are kept, since the top eight
of sixteen would show next to nothing. COLMAP's reader keeps the top eight of sixteen.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from interpose_sfm.photos.formats import open_picture
from interpose_sfm.products import ImageArray

FULL_BITS = 16

_KINDS = ("RGB", "RGBX", "RGBA")  # of 16-bit colours, those that Pillow unpacks in either order of the bytes
_OTHER_ORDER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}


def top_eight_bits(values: NDArray[np.integer]) -> tuple[ImageArray, int]:
    """The top eight of the bits that the largest value needs, as uint8 of the same shape, and how many it needs.

    Negative values count as zero; where eight bits suffice the values stay as they are.
    """
    values = np.clip(values, 0, None)
    num_bits = int(values.max()).bit_length()
    return (values >> max(num_bits - 8, 0)).astype(np.uint8), num_bits


def packing(image: Image.Image) -> str:
    """How Pillow unpacks a picture with 16 bits a channel that is not loaded yet; empty for any other picture."""
    raw_modes = {_raw_mode(tile.args) for tile in getattr(image, "tile", ())}
    kind, _, order = raw_modes.pop().partition(";") if len(raw_modes) == 1 else ("", "", "")
    return f"{kind};{order}" if kind in _KINDS and order in _OTHER_ORDER else ""


def stretched(top_bytes: Image.Image, data: bytes, packed: str) -> tuple[ImageArray, int]:
    """A picture of 16 bits a channel by the top eight that are used.

    Pillow reads the first byte of two; the second one is what it reads where it takes the order of both for the other.

    Args:
        top_bytes: What Pillow made of the file, loaded.
        data: The file.
        packed: What `packing` says of it.

    Returns:
        (height, width, 3) uint8, without alpha, and how many bits the largest value needs.
    """
    high = np.asarray(top_bytes.convert("RGB"))
    if high.max() >= 128:
        return high, FULL_BITS
    kind, _, order = packed.partition(";")
    with open_picture(io.BytesIO(data)) as image:
        other = f"{kind};{_OTHER_ORDER[order]}"
        image.tile = [tile._replace(args=_with_raw_mode(tile.args, other)) for tile in image.tile]
        low = np.asarray(image.convert("RGB"))
    return top_eight_bits(high.astype(np.uint16) << 8 | low)


def _raw_mode(args: object) -> str:
    """The raw mode among the arguments of a decoder: it is the first of them, or the only one."""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _with_raw_mode(args: tuple[Any, ...] | str | None, raw_mode: str) -> tuple[Any, ...] | str:
    return (raw_mode, *args[1:]) if isinstance(args, tuple) else raw_mode
