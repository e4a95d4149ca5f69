"""Plain COLMAP's first half: SIFT features, matches and verified pairs, into a database."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from interpose_sfm.colmap.listable_names import listable_names, restore_names
from interpose_sfm.colmap.room import check_room
from interpose_sfm.options import BaseOptions
from interpose_sfm.products import ImagePair
from interpose_sfm.run_log import Progress

logger = logging.getLogger(__name__)

ChoosePairs = Callable[[], Iterable[Sequence[ImagePair]]]
"""Rounds of pairs, each asked for once the one before is matched, so that it may look at what came of that."""

POLL_S = 0.02
PAIR_CHUNK = 1000  # pairs between two reports
CHUNK = 16  # photos between two reports of progress; smaller ones leave cores idle at their ends


def extract_and_match(
    database_path: Path,
    image_dir: Path,
    names: Sequence[str],
    options: BaseOptions,
    seed: int,
    progress: Progress | None = None,
    *,
    mask_dir: Path | None = None,
    choose_pairs: ChoosePairs | None = None,
) -> None:
    """Fill a database that holds cameras and images with SIFT key points, matches and two-view geometries.

    Photos and pairs that the database already has are skipped, so that a killed run goes on where it stopped.

    Args:
        database_path: As made by :func:`interpose_sfm.colmap.cameras.import_cameras`.
        image_dir: Folder that holds the photos under their names.
        names: The photos, in name order.
        options: Image size and threads.
        seed: Of RANSAC.
        progress: Called with the stage, what is done and the total.
        mask_dir: Folder with a mask of every photo, as of ``ImageReaderOptions.mask_path``; None for none.
        choose_pairs: Says in rounds which pairs are matched, once there are features; every pair by default.
    """
    tell = progress or (lambda stage, done, total: None)
    restore_names(database_path)
    _extract(database_path, image_dir, names, options, tell, mask_dir)
    _match(database_path, len(names), choose_pairs, options, seed, tell)


def _extract(
    database_path: Path,
    image_dir: Path,
    names: Sequence[str],
    options: BaseOptions,
    tell: Progress,
    mask_dir: Path | None,
) -> None:
    import pycolmap

    extraction = pycolmap.FeatureExtractionOptions(
        max_image_size=options.sift_max_image_px, num_threads=options.num_threads
    )
    for start in range(0, len(names), CHUNK):
        tell("features", start, len(names))
        extract = partial(
            pycolmap.extract_features,
            database_path,
            image_dir,
            list(names[start : start + CHUNK]),
            reader_options=pycolmap.ImageReaderOptions(**({} if mask_dir is None else {"mask_path": mask_dir})),
            extraction_options=extraction,
        )
        cancellable(extract, database_path.parent)
    tell("features", len(names), len(names))


def _match(
    database_path: Path,
    num_photos: int,
    choose_pairs: ChoosePairs | None,
    options: BaseOptions,
    seed: int,
    tell: Progress,
) -> None:
    import pycolmap

    matching = pycolmap.FeatureMatchingOptions(num_threads=options.num_threads)
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = seed
    if choose_pairs is None:
        num_pairs = num_photos * (num_photos - 1) // 2
        tell("matching", 0, num_pairs)
        match = partial(pycolmap.match_exhaustive, database_path, matching, verification_options=verification)
        cancellable(match, database_path.parent)
        tell("matching", num_pairs, num_pairs)
        return
    num_done = 0
    for pairs in choose_pairs():
        with TemporaryDirectory(prefix="interpose_sfm-") as folder, listable_names(database_path) as listable:
            for start in range(0, len(pairs), PAIR_CHUNK):
                tell("matching", num_done + start, num_done + len(pairs))
                listed = Path(folder) / "pairs.txt"
                lines = [f"{listable[pair.a]} {listable[pair.b]}\n" for pair in pairs[start : start + PAIR_CHUNK]]
                listed.write_text("".join(lines), encoding="utf-8")
                match = partial(
                    pycolmap.match_image_pairs,
                    database_path,
                    matching,
                    pairing_options=pycolmap.ImportedPairingOptions(match_list_path=listed),
                    verification_options=verification,
                )
                cancellable(match, database_path.parent)
        num_done += len(pairs)
    tell("matching", num_done, num_done)


def cancellable(call: Callable[..., object], written: Path | None = None) -> None:
    """Run a long pycolmap call in a thread, so that Ctrl-C gets through: it cancels the call and waits for its end.

    So does a disk that fills up. The call is handed in without its ``cancellation_token``.
    Nobody else may open the call's database meanwhile: Python's SQLite and pycolmap's own, in one process, release each
    other's file locks.

    Args:
        call: What takes long.
        written: Folder that it writes to, whose room is looked at.

    Raises:
        BaseException: Whatever the call raised; KeyboardInterrupt after the call has stopped.
        OSError: There is too little room in the folder.
    """
    import pycolmap

    if written is not None:
        check_room(written)
    token = pycolmap.CancellationToken()
    gate = threading.Lock()
    passed: set[str] = set()  # a plain set: a signal may interrupt an Event in the middle of its own lock
    failures: list[BaseException] = []

    def run() -> None:
        with gate:
            if token.is_cancelled:
                return
            passed.add("begun")
        try:
            call(cancellation_token=token)
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            failures.append(error)
        finally:
            passed.add("ended")

    # Neither a daemon nor waited for by join(): Python up to 3.12 takes a thread for ended once a signal has
    # interrupted its join, and a process that ends while pycolmap runs in a thread aborts.
    thread = threading.Thread(target=run)
    try:
        thread.start()  # Ctrl-C may come while it starts
        while "ended" not in passed:
            time.sleep(POLL_S)
            if written is not None and "ended" not in passed:
                check_room(written)
    except BaseException:
        with gate:
            token.cancel()
        while "begun" in passed and "ended" not in passed:
            time.sleep(POLL_S)
        raise
    if failures:
        raise failures[0]
