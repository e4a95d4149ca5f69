"""The files of a photo folder, and those that need not be opened to be refused."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from interpose_sfm.options import PhotoOptions
from interpose_sfm.photos.formats import names_to_write, os_reason
from interpose_sfm.photos.ledger import LEDGER_SUFFIX
from interpose_sfm.products import CLIP_INDEX, CLIP_STORE, SkippedFile, SkipReason
from interpose_sfm.storage.folders import LOCK_NAME, STORE_MARKER
from interpose_sfm.storage.texts import check_file, read_text

_MARKERS = frozenset({CLIP_INDEX, LOCK_NAME, STORE_MARKER})  # of folders of ours
_JUNK_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})


def walk(
    root: Path, image_dir: Path, options: PhotoOptions, not_photos: Sequence[Path] = ()
) -> tuple[dict[str, Path], list[SkippedFile]]:
    """All files below the folder in name order, and those that need not be opened to be refused.

    Every folder is entered once, by its own path rather than by a symbolic link where it has both. A file in the place
    of the folder is its only one. Folders of bridging clips and those of ``not_photos`` are left out with all below
    them; what a video model imagined is no photo.
    """
    if not root.is_dir():
        return {root.name: root}, []
    files: dict[str, Path] = {}
    skipped: list[SkippedFile] = []
    entered = {_identity(image_dir)}
    if image_dir.resolve().parent.is_relative_to(root.resolve()) and _identity(image_dir.parent) != _identity(root):
        entered.add(_identity(image_dir.parent))
    masks_and_clips = {_identity(path) for path in not_photos if path.is_dir()}
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
        is_store = PurePosixPath(folder).name == CLIP_STORE or any(e.name in _MARKERS for e in entries)
        ledgers = [entry.name for entry in entries if entry.name.endswith(LEDGER_SUFFIX)]
        if ledgers and folder:
            detail = "output folder of an earlier run"
            skipped.append(SkippedFile(printable(folder) + "/", SkipReason.NOT_AN_IMAGE, detail))
            continue
        if folder and (identity in masks_and_clips or (is_store and not ledgers)):
            what = "masks or bridging clips" if identity in masks_and_clips else "clips or other output of a run"
            skipped.append(SkippedFile(printable(folder) + "/", SkipReason.NOT_AN_IMAGE, what))
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


def read_image_list(path: Path) -> tuple[str, ...]:
    """The photos that a list names as COLMAP takes it: a name a line, a path below the photo folder.

    Raises:
        ValueError: It names none, or is no text file.
    """
    check_file(path, "image list", "a name a line")
    lines = read_text(path).splitlines()
    names = tuple(dict.fromkeys(PurePosixPath(line.strip()).as_posix() for line in lines if line.strip()))
    if not names:
        raise ValueError(f"image list {path}: got no name, expected one a line, each a path below the photo folder")
    return names


def keep_listed(files: dict[str, Path], skipped: list[SkippedFile], path: Path) -> str:
    """Keep the photos of an image list alone, of files and of what was skipped; a sentence that says so.

    The list may name files, or their images where these are called otherwise.

    Raises:
        ValueError: See `read_image_list`; or a name that there is no file of.
    """
    known = [*files, *(file.name for file in skipped)]
    sources = {image_name: name for name, image_name in names_to_write(files).items()}
    wanted = dict.fromkeys(sources.get(name, name) for name in read_image_list(path))
    missing = [name for name in wanted if name not in known]
    if missing:
        raise ValueError(
            f"image list {path}: got {len(missing)} names of no file, such as {missing[0]!r}, expected paths below the "
            f"photo folder{f', such as {known[0]!r}' if known else ''}"
        )
    num_left_out = sum(name not in wanted for name in known)
    for name in [name for name in files if name not in wanted]:
        del files[name]
    skipped[:] = [file for file in skipped if file.name in wanted]
    return f"the image list names {len(wanted)} files; {num_left_out} others are left out"


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
