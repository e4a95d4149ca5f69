"""Names that were read from a file, as paths inside the folder they belong to.

Whoever sends a folder chooses what its lists name. So no such name leads out of the folder, upwards, to the root, or
over a symbolic link.
"""

from __future__ import annotations

import os
from pathlib import Path


def inside(folder: Path, name: str, *, may_link: bool = False) -> Path:
    """The path of a name that a file lists.

    Args:
        folder: What the name is relative to.
        name: POSIX, as `pathlib.PurePath.as_posix` writes it.
        may_link: Whether the folder is one that the user named, whose links are his own.

    Raises:
        ValueError: The name is absolute, leads upwards or over a symbolic link, or is no name of a file at all.
    """
    is_plain = "\0" not in name and not {"", ".", ".."} & set(name.split("/"))
    try:
        path = folder / os.fsdecode(os.fsencode(name)) if is_plain else None
    except UnicodeEncodeError:
        path = None
    if path is None:
        raise ValueError(f"got the name {name!r:.200}, expected a path below {folder}")
    if may_link:
        return path
    linked = next((part for part in (path, *path.parents) if part != folder and _is_link_below(part, folder)), None)
    if linked is not None:
        raise ValueError(f"{linked} is a symbolic link, which may lead out of {folder}; remove it")
    return path


def refuse_links(folder: Path, what: str = "output folder") -> None:
    """Refuse a folder with a symbolic link at any depth: no run makes one, and what is written to it lands elsewhere.

    Raises:
        ValueError: There is one; the message names it, and what the folder is.
    """
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(parent, name)
            if os.path.islink(path):
                raise ValueError(
                    f"{path} is a symbolic link, which no run makes and which may lead out of {folder}; remove it, or "
                    f"choose another {what}"
                )


def _is_link_below(path: Path, folder: Path) -> bool:
    return path.is_relative_to(folder) and os.path.islink(path)
