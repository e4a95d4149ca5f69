"""Store files as somebody leaves them who knows how they are sealed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from interpose_sfm.storage.digests import break_seal, seal


@contextmanager
def edited(path: Path) -> Iterator[h5py.File]:
    """The HDF5 file, open for writing and sealed anew at the end."""
    break_seal(path)
    with h5py.File(path, "r+") as file:
        yield file
    seal(path)
