"""First stage: from a folder of files to photos that every later stage, COLMAP included, can read.

A photo that COLMAP reads right (`pictures` says which) is copied as it is; every other one is written anew, upright,
8-bit RGB, as JPEG or PNG under its unchanged name. COLMAP's database and binary models keep any name that is valid
UTF-8, line breaks included, as measured with pycolmap 4.2.1; those and other control characters are refused for the
sake of lists and logs. (Its *text* models cut names at the first space.)
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from interpose_sfm.options import PhotoOptions
from interpose_sfm.photos.ledger import LEDGER_SUFFIX, PhotoLedger, PhotoRecord, place, scratch_folder, stamp
from interpose_sfm.photos.pictures import UnusableError, decode, focal_px, os_reason, read_picture_bytes, strict_pillow
from interpose_sfm.products import PhotoSet, SkippedFile, SkipReason

logger = logging.getLogger(__name__)

_MAX_WORKERS = 4  # a decoded photo may take hundreds of megabytes
_JUNK_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})


def collect_photos(
    photo_dir: Path,
    image_dir: Path,
    options: PhotoOptions,
    progress: Callable[[int, int], None] | None = None,
    *,
    overwrite: bool = False,
) -> PhotoSet:
    """Find the usable photos of a folder and lay them out for COLMAP.

    Every file is read and decoded once; a file that cannot be used is reported with its reason, never an exception. Of
    photos with equal upright pixels one is kept: one with an EXIF focal length if there is any, then the one nearest to
    the top folder, then the first by name. Hidden files and folders and the litter of operating systems are passed over
    quietly, and so is the output folder (the parent of ``image_dir``) where it lies inside ``photo_dir``.

    A ledger beside ``image_dir`` says what was put there, so that a second run redoes only what changed, and removes
    only what an earlier run had put there.

    Args:
        photo_dir: The user's folder; never written to, apart from an output folder inside it.
        image_dir: Folder to fill, created if need be; its photos are named by their path below ``photo_dir``.
        options: What counts as a photo.
        progress: Called with (files done, files) after every file.
        overwrite: Whether images of other photos, of an earlier run, may give way.

    Returns:
        The photos sorted by name, and what was left out sorted by name. There may be no photo at all.

    Raises:
        ValueError: ``photo_dir`` is no folder, ``image_dir`` is or holds ``photo_dir``, holds images of other photos,
            or a file that no earlier run wrote is in the way.
        OSError: ``image_dir`` cannot be written.
    """
    photo_dir, image_dir = Path(photo_dir), Path(image_dir)
    check_folders(photo_dir, image_dir)
    image_dir.mkdir(parents=True, exist_ok=True)
    files, skipped = _walk(photo_dir, image_dir, options)  # name -> path
    ledger = PhotoLedger(image_dir, options)
    ledger.claim(files, photo_dir, overwrite=overwrite)
    usable: dict[str, PhotoRecord] = {}
    for name, outcome in _process_all(files, ledger, options, progress):
        if isinstance(outcome, PhotoRecord):
            usable[name] = outcome
            ledger.remember(name, outcome)
        else:
            skipped.append(outcome)
    kept, duplicates = _split_duplicates(usable)
    ledger.finish(kept)
    skipped.extend(duplicates)
    skipped.sort(key=lambda file: file.name)
    for file in skipped:
        logger.info("left out %s: %s (%s)", file.name, file.reason, file.detail)
    photos = tuple(record.photo(name, image_dir / name) for name, record in sorted(kept.items()))
    return PhotoSet(image_dir=image_dir, photos=photos, skipped=tuple(skipped))


def check_folders(photo_dir: Path, image_dir: Path) -> None:
    """Refuse folders that cannot be what they are given as; makes nothing.

    Raises:
        ValueError: See `collect_photos`.
    """
    if not photo_dir.exists():
        raise ValueError(f"photo folder does not exist: {photo_dir}; give the folder that holds the photos")
    if not photo_dir.is_dir():
        raise ValueError(f"expected a folder of photos, got a file: {photo_dir}; give the folder that holds it")
    if image_dir.exists() and not image_dir.is_dir():
        raise ValueError(f"expected a folder to write images to, got a file: {image_dir}; choose another output folder")
    if photo_dir.resolve().is_relative_to(image_dir.resolve()):
        raise ValueError(f"the photos in {photo_dir} lie inside {image_dir}, which this run would fill; "
                         "choose another output folder")  # fmt: skip


def _process_all(
    files: dict[str, Path], ledger: PhotoLedger, options: PhotoOptions, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[str, PhotoRecord | SkippedFile]]:
    """Outcomes in name order; the decoders release the interpreter lock, so threads help."""
    workers = min(_MAX_WORKERS, os.cpu_count() or 1)
    with strict_pillow(), scratch_folder(ledger.image_dir) as scratch:
        pool = ThreadPoolExecutor(workers)
        try:
            job = functools.partial(_process, ledger=ledger, scratch=scratch, options=options)
            for index, (name, outcome) in enumerate(zip(files, pool.map(job, files, files.values()), strict=True)):
                yield name, outcome
                if progress is not None:
                    progress(index + 1, len(files))
        finally:
            pool.shutdown(cancel_futures=True)


def _process(
    name: str, path: Path, ledger: PhotoLedger, scratch: Path, options: PhotoOptions
) -> PhotoRecord | SkippedFile:
    """Read one file, judge it, and put it into the image folder."""
    try:
        source_stamp = stamp(path)
        target = ledger.image_dir / name
        known = ledger.records.get(name)
        if known is not None and known.source_stamp == source_stamp and known.target_stamp == stamp(target):
            return known
        data = read_picture_bytes(path, options)
        picture = decode(data, path, options)
        place(path, data, picture, target, scratch)
    except UnusableError as error:
        return SkippedFile(_printable(name), error.reason, str(error))
    width, height = picture.image.size
    pixels = hashlib.sha256(f"{width}x{height}".encode())
    pixels.update(picture.image.convert("RGB").tobytes())
    return PhotoRecord(
        source_stamp=source_stamp,
        target_stamp=stamp(target),
        width_px=width,
        height_px=height,
        focal_px=focal_px(picture.exif, width, height),
        make=picture.exif.make,
        model=picture.exif.model,
        sha256=hashlib.sha256(data).hexdigest(),
        pixels_sha256=pixels.hexdigest(),
        gps=picture.exif.gps,
    )


def _split_duplicates(usable: dict[str, PhotoRecord]) -> tuple[dict[str, PhotoRecord], list[SkippedFile]]:
    """The photos without those that repeat another; of equal ones one with a focal length and a short path stays."""
    kept: dict[str, PhotoRecord] = {}
    first_by_pixels: dict[str, str] = {}
    duplicates = []
    for name in sorted(usable, key=lambda name: (usable[name].focal_px is None, name.count("/"), name)):
        record = usable[name]
        first = first_by_pixels.setdefault(record.pixels_sha256, name)
        if first == name:
            kept[name] = record
        else:
            what = "file" if record.sha256 == usable[first].sha256 else "picture"
            duplicates.append(SkippedFile(name, SkipReason.DUPLICATE, f"same {what} as {first}"))
    return kept, duplicates


def _walk(root: Path, image_dir: Path, options: PhotoOptions) -> tuple[dict[str, Path], list[SkippedFile]]:
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
            skipped.append(SkippedFile(_printable(folder) + "/", SkipReason.UNREADABLE, os_reason(error)))
            continue
        entered.add(identity)
        ledgers = [entry.name for entry in entries if entry.name.endswith(LEDGER_SUFFIX)]
        if ledgers and folder:
            detail = "output folder of an earlier run"
            skipped.append(SkippedFile(_printable(folder) + "/", SkipReason.NOT_AN_IMAGE, detail))
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
        return SkippedFile(_printable(name), SkipReason.BAD_NAME, "the name is not valid UTF-8; rename the file")
    if any(unicodedata.category(char) == "Cc" for char in name):
        return SkippedFile(_printable(name), SkipReason.BAD_NAME, "control character in the name; rename the file")
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


def _printable(name: str) -> str:
    """The name with everything escaped that a report or a terminal could choke on."""
    name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) == "Cc" else c for c in name)
