"""The files of a photo folder, and those that need not be opened to be refused."""

from __future__ import annotations

import os
import stat
import unicodedata
from pathlib import Path

from interpose_sfm.options import PhotoOptions
from interpose_sfm.photos.formats import os_reason
from interpose_sfm.photos.ledger import LEDGER_SUFFIX
from interpose_sfm.products import SkippedFile, SkipReason

_JUNK_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})


def walk(root: Path, image_dir: Path, options: PhotoOptions) -> tuple[dict[str, Path], list[SkippedFile]]:
    """All files below the folder in name order, and those that need not be opened to be refused.

    Every folder is entered once, by its own path rather than by a symbolic link where it has both.
    """
    files: dict[str, Path] = {}
    skipped: list[SkippedFile] = []
    entered = {_identity(image_dir)}
    if image_dir.resolve().parent.is_relative_to(root.resolve()) and _identity(image_dir.parent) != _identity(root):
        entered.add(_identity(image_dir.parent))
    folders, linked_folders = [""], list[str]()
    while folders or linked_folders:
        folder = folders.pop() if folders else linked_folders.pop(0)
        try:
            identity = _identity(root / folder)
            entries = [] if identity in entered else sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError as error:
            skipped.append(SkippedFile(printable(folder) + "/", SkipReason.UNREADABLE, os_reason(error)))
            continue
        entered.add(identity)
        ledgers = [entry.name for entry in entries if entry.name.endswith(LEDGER_SUFFIX)]
        if ledgers and folder:
            detail = "output folder of an earlier run"
            skipped.append(SkippedFile(printable(folder) + "/", SkipReason.NOT_AN_IMAGE, detail))
            continue
        litter = {*ledgers, *(name.removesuffix(LEDGER_SUFFIX) for name in ledgers)}
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith(".") or entry.name.lower() in _JUNK_NAMES or entry.name in litter:
                continue
            if entry.is_symlink() and os.path.isdir(entry.path):
                linked_folders.append(name)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif refusal := _refusal(name, entry.path):
                skipped.append(refusal)
            else:
                files[name] = Path(entry.path)
        if not options.recursive:
            break
    return dict(sorted(files.items())), skipped


def _refusal(name: str, path: str) -> SkippedFile | None:
    """Why a file must not even be opened: its name, or that it is none (opening a named pipe would wait forever)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return SkippedFile(printable(name), SkipReason.BAD_NAME, "the name is not valid UTF-8; rename the file")
    if any(unicodedata.category(char) == "Cc" for char in name):
        return SkippedFile(printable(name), SkipReason.BAD_NAME, "control character in the name; rename the file")
    try:
        status = os.stat(path)
    except OSError as error:
        what = "broken symbolic link" if os.path.islink(path) else os_reason(error)
        return SkippedFile(name, SkipReason.UNREADABLE, what)
    if not stat.S_ISREG(status.st_mode):
        return SkippedFile(name, SkipReason.UNREADABLE, "a pipe, socket or device, not a file")
    return None


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def printable(name: str) -> str:
    """The name with everything escaped that a report or a terminal could choke on."""
    name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) == "Cc" else c for c in name)
