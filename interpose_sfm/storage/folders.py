"""Folders that a user names and this package fills: new or empty ones, and those that it has marked before."""

from __future__ import annotations

import os
from pathlib import Path

from interpose_sfm.storage.atomic import TEMP_PREFIX

LOCK_NAME = ".interpose_sfm.lock"
"""Name of the lock of an output folder or of a clip store, which may lie there before its marker."""

STORE_MARKER = ".interpose_sfm_store"
"""Name of the file that says that a folder holds stores of ours."""

_CLUTTER = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", LOCK_NAME})  # does not make a folder somebody's


def check_ours(folder: Path, marker: str, what: str) -> bool:
    """Refuse a folder that holds files of something else, without writing anything.

    Args:
        folder: It need not exist.
        marker: Name of the file that says that a folder is ours.
        what: What the folder is to be, for the message.

    Returns:
        Whether it has the marker.

    Raises:
        ValueError: It is a file, cannot be read, or holds something and no marker.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"the {what} {folder} is a file, expected a folder; choose another one")
        names = sorted(os.listdir(folder)) if folder.exists() else []
    except OSError as error:
        raise ValueError(f"cannot read the {what} {folder} ({error}); choose another one") from error
    foreign = [name for name in names if name not in _CLUTTER and not name.startswith(TEMP_PREFIX)]
    if foreign and marker not in names:
        raise ValueError(
            f"the {what} {folder} holds files of something else ({', '.join(foreign[:3])}"
            f"{', ...' if len(foreign) > 3 else ''}); choose a new or an empty folder"
        )
    return marker in names
