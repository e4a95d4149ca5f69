"""First stage: from a folder of files to photos that every later stage, COLMAP included, can read.

A photo that COLMAP reads right (`pictures` says which) is copied as it is; every other one is written anew, upright
unless it was asked for as stored, 8-bit RGB, as JPEG or PNG under its own name, or under one that tells what it is
where COLMAP writes no format of that name (`formats`). COLMAP's database and binary models keep any name that is valid
UTF-8, line breaks included, as measured with pycolmap 4.2.1; those and other control characters are refused for the
sake of lists and logs. (Its *text* models cut names at the first space.)
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from interpose_sfm.options import PhotoOptions
from interpose_sfm.photos.dataset_folders import dataset_folders
from interpose_sfm.photos.formats import UnusableError, names_to_write
from interpose_sfm.photos.ledger import PhotoLedger, PhotoRecord, place, scratch_folder, stamp
from interpose_sfm.photos.pictures import decode, focal_px, read_picture_bytes, strict_pillow
from interpose_sfm.photos.videos import FramesOf, is_video, put_frames_in_place
from interpose_sfm.photos.walk import keep_listed, printable, walk
from interpose_sfm.products import PhotoSet, SkippedFile, SkipReason

logger = logging.getLogger(__name__)

_MAX_WORKERS = 4  # a decoded photo may take hundreds of megabytes


def collect_photos(
    photo_dir: Path,
    image_dir: Path,
    options: PhotoOptions,
    progress: Callable[[int, int], None] | None = None,
    *,
    overwrite: bool = False,
    names_to_keep: Collection[str] | None = None,
    frames_of: FramesOf | None = None,
    not_photos: Sequence[Path] = (),
    same_options: bool = False,
) -> PhotoSet:
    """Find the usable photos of a folder and lay them out for COLMAP.

    Every file is read and decoded once; a file that cannot be used is reported with its reason, never an exception. Of
    photos with equal upright pixels one is kept: one with an EXIF focal length if there is any, then the one nearest to
    the top folder, then the one with the shortest name, since copies are called after what they are copies of, then the
    first by name. Hidden files and folders and the litter of operating systems are passed over quietly, and so is the
    output folder (the parent of ``image_dir``) where it lies inside ``photo_dir``.

    A ledger beside ``image_dir`` says what was put there, so that a second run redoes only what changed, and removes
    only what an earlier run had put there.

    Args:
        photo_dir: The user's folder, or a video; never written to, apart from an output folder inside it.
        image_dir: Folder to fill, created if need be; its photos are named by their path below ``photo_dir``.
        options: What counts as a photo.
        progress: Called with (files done, files) after every file.
        overwrite: Whether images of other photos, of an earlier run, may give way.
        names_to_keep: Names that a database has. Every image has the name of its photo then, whatever COLMAP can write,
            and no frames are taken from videos of which the database has none.
        frames_of: Takes frames from a video, which come in its place; without it videos are left out.
        not_photos: Folders of masks and clips, which give no photos where they lie among them.
        same_options: Whether images of an earlier run may not be laid out anew by other options.

    Returns:
        The photos sorted by name, and what was left out sorted by name. There may be no photo at all.

    Raises:
        ValueError: ``photo_dir`` is no folder, ``image_dir`` is or holds ``photo_dir``, holds images of other photos
            or, with ``same_options``, by other options, or a file that no earlier run wrote is in the way.
        OSError: ``image_dir`` cannot be written.
    """
    photo_dir, image_dir = Path(photo_dir), Path(image_dir)
    check_folders(photo_dir, image_dir)
    if same_options:
        PhotoLedger(image_dir, options).check_options()
    image_dir.mkdir(parents=True, exist_ok=True)
    files, skipped = walk(photo_dir, image_dir, options, not_photos)  # name -> path
    if options.image_list is not None:
        notes = [keep_listed(files, skipped, options.image_list)]
    else:
        notes = _take_out_dataset_folders(files, skipped, options)
    if frames_of is not None:
        skipped += put_frames_in_place(files, frames_of, names_to_keep)
    image_names = {name: name for name in files} if names_to_keep is not None else names_to_write(files)
    images = {image_names[name]: path for name, path in sorted(files.items(), key=lambda file: image_names[file[0]])}
    ledger = PhotoLedger(image_dir, options)
    ledger.claim(images, photo_dir, overwrite=overwrite)
    sources = {image_name: name for name, image_name in image_names.items()}
    usable: dict[str, PhotoRecord] = {}
    for name, outcome in _process_all(images, ledger, options, progress):
        if isinstance(outcome, PhotoRecord):
            usable[name] = outcome
            ledger.remember(name, outcome)
        else:
            skipped.append(SkippedFile(printable(sources[name]), outcome.reason, str(outcome)))
    kept, repeated = _split_duplicates(usable, sources)
    ledger.finish(kept)
    skipped.extend(repeated)
    skipped.sort(key=lambda file: file.name)
    for file in skipped:
        logger.info("left out %s: %s (%s)", file.name, file.reason, file.detail)
    notes += _notes(kept, sources)
    for note in notes:
        logger.info("%s", note)
    photos = tuple(record.photo(name, image_dir / name, sources[name]) for name, record in sorted(kept.items()))
    return PhotoSet(image_dir=image_dir, photos=photos, skipped=tuple(skipped), notes=tuple(notes))


def _take_out_dataset_folders(files: dict[str, Path], skipped: list[SkippedFile], options: PhotoOptions) -> list[str]:
    """Take masks, depth maps, scaled copies and models out of the files; a sentence for each of their folders."""
    with strict_pillow():
        folders = dataset_folders(files, options)
    for folder in folders:
        for name in folder.files:
            del files[name]
        skipped.append(SkippedFile(f"{printable(folder.name)}/", SkipReason.DATASET_FOLDER, folder.what))
    return [f"{printable(folder.name)}/ is left out: {folder.what}" for folder in folders]


def _notes(kept: dict[str, PhotoRecord], sources: dict[str, str]) -> list[str]:
    """What was done to photos that nobody might expect, with the first of them."""
    notes = []
    stretched = sorted(name for name, record in kept.items() if record.num_bits is not None)
    if stretched:
        bits = sorted({record.num_bits for record in kept.values() if record.num_bits is not None})
        notes.append(
            f"{len(stretched)} of the photos have 16 bits a channel and use {' or '.join(map(str, bits))} of them, "
            f"such as {sources[stretched[0]]}; these were spread over eight bits, so that it is not dark"
        )
    renamed = sorted(name for name in kept if sources[name] != name)
    if renamed:
        notes.append(
            f"{len(renamed)} of the photos are in a format that COLMAP does not write, or have a name that tells none; "
            f"their images have names that say what they are, such as {renamed[0]} for {sources[renamed[0]]}"
        )
    return notes


def check_folders(photo_dir: Path, image_dir: Path) -> None:
    """Refuse folders that cannot be what they are given as; makes nothing.

    Raises:
        ValueError: See `collect_photos`.
        OSError: The photo folder cannot be read.
    """
    if not photo_dir.exists():
        raise ValueError(f"photo folder does not exist: {photo_dir}; give the folder that holds the photos")
    if not photo_dir.is_dir() and not is_video(photo_dir):
        raise ValueError(
            f"expected a folder of photos or a video, got a file: {photo_dir}; give the folder that holds it"
        )
    if image_dir.exists() and not image_dir.is_dir():
        raise ValueError(f"expected a folder to write images to, got a file: {image_dir}; choose another output folder")
    if photo_dir.resolve().is_relative_to(image_dir.resolve()):
        raise ValueError(f"the photos in {photo_dir} lie inside {image_dir}, which this run would fill; "
                         "choose another output folder")  # fmt: skip
    if photo_dir.is_dir():
        os.scandir(photo_dir).close()


def _process_all(
    files: dict[str, Path], ledger: PhotoLedger, options: PhotoOptions, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[str, PhotoRecord | UnusableError]]:
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
) -> PhotoRecord | UnusableError:
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
        return error
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
        orientation=picture.orientation,
        num_bits=picture.num_bits,
    )


def _split_duplicates(
    usable: dict[str, PhotoRecord], sources: dict[str, str]
) -> tuple[dict[str, PhotoRecord], list[SkippedFile]]:
    """The photos without those that repeat another; of equal ones one with a focal length and a short path stays."""
    kept: dict[str, PhotoRecord] = {}
    first_by_pixels: dict[str, str] = {}
    duplicates = []
    for name in sorted(usable, key=lambda name: (usable[name].focal_px is None, name.count("/"), len(name), name)):
        record = usable[name]
        first = first_by_pixels.setdefault(record.pixels_sha256, name)
        if first == name:
            kept[name] = record
        else:
            what = "file" if record.sha256 == usable[first].sha256 else "picture"
            duplicates.append(SkippedFile(sources[name], SkipReason.DUPLICATE, f"same {what} as {sources[first]}"))
    return kept, duplicates
