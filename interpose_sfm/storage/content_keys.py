"""Keys that are equal only for equal content: what everything that the package keeps on disk is found by.

`content_key` is for everything; clips and captions are found by that of the photos they were made of. `image_key` is
for the pictures of views (`interpose_sfm.products.View`), photos and frames alike: features, matches and hypotheses are
found by it. `store_key` puts keys and names together. None may change, since the results of earlier runs are found by
them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from interpose_sfm.products import ImageArray, MaskArray


def content_key(*parts: object) -> str:
    """Hash values into a key that is equal only for equal values of equal types.

    Types are part of the hash and items are hashed one by one, so different structures never meet by concatenation. 1,
    True, 1.0 and "1" differ, and so do 0.0 and -0.0, a list and a tuple; all NaNs are alike; the order of mappings and
    sets does not matter. A path counts by its name only: where the content of the file matters hand in its digest too.
    A field of a dataclass whose metadata says ``is_keyed`` False does not count.

    Args:
        parts: None, numbers, strings, bytes, enums, paths, arrays, dataclasses, and lists, tuples, sets or mappings of
            these.

    Returns:
        64 hexadecimal digits (SHA-256).

    Raises:
        TypeError: if a value is of another type, whose content could not be told reliably.
    """
    return _digest(parts).hex()


def _digest(value: object) -> bytes:
    return hashlib.sha256(_encode(value)).digest()


def _encode(value: object) -> bytes:
    """Injective byte code of a value; containers hold the digests of their items."""
    if value is None:
        return b"none:"
    if isinstance(value, Enum):
        return b"enum:" + _items([_type_name(value), value.name, value.value])
    if isinstance(value, bool):
        return b"bool:1" if value else b"bool:0"
    if isinstance(value, int):
        return b"int:%d" % int(value)
    if isinstance(value, float):  # numpy.float64 is one
        return b"float:" + struct.pack(">d", math.nan if math.isnan(value) else value)
    if isinstance(value, str):
        return b"str:" + value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return b"bytes:" + value
    if isinstance(value, PurePath):
        return b"path:" + value.as_posix().encode("utf-8", "surrogatepass")
    if isinstance(value, (np.ndarray, np.generic)):
        return _encode_array(value)
    return _encode_container(value)


def _encode_array(value: np.ndarray[Any, Any] | np.generic) -> bytes:
    array = np.asarray(value)
    # The padding of long doubles is arbitrary, objects are addresses, and a mask would be ignored.
    if array.dtype.char not in "?bBhHiIlLqQefdSU" or isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"cannot make a content key of a {type(value).__name__} of dtype {array.dtype}")
    array = np.array(array, dtype=array.dtype.newbyteorder("<"), order="C")
    if array.dtype.kind == "f":
        array[np.isnan(array)] = np.nan
    tag = b"array:" if isinstance(value, np.ndarray) else b"scalar:"
    return tag + _items([array.dtype.str, array.shape, array.tobytes()])


def _encode_container(value: object) -> bytes:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        keyed = [field for field in dataclasses.fields(value) if field.metadata.get("is_keyed", True)]
        pairs = [(field.name, getattr(value, field.name)) for field in keyed]
        return b"dataclass:" + _items([_type_name(value), *pairs])
    if isinstance(value, tuple):
        return b"tuple:" + _items(value) if type(value) is tuple else b"named:" + _items([_type_name(value), *value])
    if isinstance(value, list):
        return b"list:" + _items(value)
    if isinstance(value, (set, frozenset)):
        return b"set:" + b"".join(sorted(map(_digest, value)))
    if isinstance(value, Mapping):
        return b"mapping:" + b"".join(sorted(_digest(key) + _digest(item) for key, item in value.items()))
    raise TypeError(f"cannot make a content key of a {type(value).__name__}; hand in its content instead")


def _items(values: Sequence[object]) -> bytes:
    return b"".join(map(_digest, values))


def _type_name(value: object) -> str:
    """Without the module, so that what is stored stays known when a class moves within its package."""
    return f"{type(value).__module__.partition('.')[0]}.{type(value).__qualname__}"


def image_key(image: ImageArray) -> str:
    """Key of the picture of a view: equal for equal pixels and sizes. Not the `content_key` of the same array.

    Args:
        image: (height, width, 3) uint8.
    """
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()[:32]


def view_key(image: ImageArray, mask: MaskArray | None) -> str:
    """Key of a view: `image_key` without a mask, and another one for every mask."""
    key = image_key(image)
    return key if mask is None else content_key(key, np.packbits(mask, axis=1), mask.shape)[:32]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits; read in blocks, since weights are gigabytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def store_key(*parts: str) -> str:
    """One key of several names, such as two photos or a pair and a clip; different parts give different keys.

    Returns:
        A JSON list, readable in the file.
    """
    return json.dumps(parts, ensure_ascii=False)
