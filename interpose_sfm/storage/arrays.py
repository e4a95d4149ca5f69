"""Arrays and texts in HDF5 groups: written as they can be read back, and read only as they were written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TEXT_BYTES = 16  # of a text of variable length in its dataset: where it lies, and how long it is


def check_sizes(group: Any, file_bytes: int) -> None:
    """Refuse a group with links, or with an array that its own file does not hold: reading it could take any memory.

    Raises:
        ValueError: There is one.
    """
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link")
        item = group[name]
        if isinstance(item, h5py.Group):
            check_sizes(item, file_bytes)
            continue
        is_text = h5py.check_string_dtype(item.dtype) is not None
        num_bytes = item.size * (_TEXT_BYTES if is_text else item.id.get_type().get_size())
        if item.external or item.is_virtual or not num_bytes == item.id.get_storage_size() <= file_bytes:
            raise ValueError(f"{name} has {num_bytes} bytes, and {item.id.get_storage_size()} of them are there")


def put_array(
    group: Any, name: str, array: NDArray[Any], dtype: type[np.generic], shape: tuple[int | None, ...]
) -> None:
    """Write an array as a dataset, if it has the type and the shape (None: any) with which it can be read back."""
    group.create_dataset(name, data=checked_array(name, array, dtype, shape))


def checked_array(name: str, array: Any, dtype: type[np.generic], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """The array, if it has the type and the shape (None: any) with which it can be read back exactly."""
    values = np.asarray(array)
    fits = len(values.shape) == len(shape) and all(b in (None, a) for a, b in zip(values.shape, shape, strict=True))
    if values.dtype != dtype or not fits:
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name}: got {values.dtype} {values.shape}, expected {np.dtype(dtype)} ({expected})")
    return values


def get_array(group: Any, name: str, dtype: type[np.generic], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Read a dataset, if it has the type and the shape (None: any)."""
    return checked_array(name, group[name][()], dtype, shape)


def put_texts(group: Any, name: str, texts: Sequence[str]) -> None:
    """Write texts as a dataset."""
    import h5py

    for text in texts:
        if not is_storable(text):
            raise ValueError(f"{name}: got {text!r}, expected text without NUL characters and lone surrogates")
    group.create_dataset(name, data=np.array(texts, dtype=object), shape=(len(texts),), dtype=h5py.string_dtype())


def is_storable(text: str) -> bool:
    """Whether HDF5 can hold the text: it ends strings at NUL, and UTF-8 has no surrogates."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
