"""The folder of an export: replaced as a whole, and only where it holds nothing but an export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interpose_sfm.storage.atomic import atomic_directory

MANIFEST_NAME = "export.json"
"""Name of the file that says what an export wrote."""


def check_replaceable(folder: Path) -> None:
    """Raise a ValueError unless a folder is missing, empty, or holds files of an earlier export only."""
    remedy = "choose a new folder with --to (in Python: to), or move it away"
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ValueError(f"{folder} is a file or a link, expected a folder to export to; {remedy}")
    files = files_in(folder)
    if not files:
        return
    try:
        known = set(json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        known = set()
    foreign = [name for name in files if name not in known and name != MANIFEST_NAME] if known else files
    if foreign:
        some = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise ValueError(
            f"{folder} holds files that no export wrote ({some}), expected a new or empty folder or one of an "
            f"earlier export; {remedy}"
        )


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Fill a new folder that takes the place of ``folder`` when the block ends well; otherwise nothing is left of it.

    Raises:
        ValueError: ``folder`` holds files that no export wrote.
    """
    check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_directory(folder) as new:
        yield new


def files_in(folder: Path) -> list[str]:
    """Files below a folder by their paths in it, sorted; none where there is no folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
