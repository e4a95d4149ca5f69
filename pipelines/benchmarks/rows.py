"""The rows of a study on disk: one file per pair and way, so that a run that was stopped goes on, and shards join.

A row knows what it was made of: ``inputs`` is a key of the photos, the clips and the options. A row of other inputs is
made anew, one of the same never; rows of several machines come together by their content, in whatever folders they lie.
"""

from __future__ import annotations

import errno
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from benchmarks.clip_sources import ClipSource
from benchmarks.pair_files import pose_of
from benchmarks.pair_rule import BenchmarkPair
from benchmarks.study import SEED, Row, study
from interpose_sfm.products import Intrinsics
from interpose_sfm.storage.atomic import atomic_write_json
from interpose_sfm.storage.content_keys import content_key, file_sha256
from interpose_sfm.storage.item_files import StoreError

logger = logging.getLogger(__name__)

_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """How all rows of a run are made.

    Attributes:
        pose_estimator, frames_per_clip: As of `study.study`.
    """

    pose_estimator: str = "matcher"
    frames_per_clip: int = 19


@dataclass(frozen=True)
class Job:
    """One row to be made.

    Attributes:
        pair: Of the benchmark.
        source: Of its clips.
        photos: Paths of A and B; None where the data folder has them not.
        extra: What the row says beyond the study.
        camera: The true one of both photos, if they are to be known and it can be told.
        known_cameras: Whether they are to be known.
        problem: Why it cannot be made, known beforehand.
    """

    pair: BenchmarkPair
    source: ClipSource
    photos: tuple[Path, Path] | None
    extra: Mapping[str, object]
    camera: Intrinsics | None = None
    known_cameras: bool = False
    problem: str = ""

    def file_name(self, options: StudyOptions) -> str:
        """Of its row."""
        known = "_known" if self.known_cameras else ""
        return f"{self.pair.slug}_{self.source.name}_{options.pose_estimator}_{options.frames_per_clip}{known}.json"


Item = TypeVar("Item")


def shard(items: Sequence[Item], text: str) -> list[Item]:
    """The pairs, or other items, of shard ``i/n``, counted from 1; all rows of a pair fall to one shard.

    Raises:
        ValueError: Not of this form.
    """
    first, slash, count = text.partition("/")
    if not (slash and first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count)):
        raise ValueError(f"got the shard {text!r}, expected i/n with 1 <= i <= n, such as 1/4")
    return list(items[int(first) - 1 :: int(count)])


def run(jobs: Iterable[Job], work: Path, options: StudyOptions) -> Iterator[Row]:
    """Make the rows that are not there yet, and yield each of these."""
    folder = work / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    for job in jobs:
        path = folder / job.file_name(options)
        inputs = inputs_of(job, options)
        truth = None if job.pair.b_from_a is None else pose_of(job.pair.b_from_a)
        if path.is_file() and is_current(path, inputs, truth):
            continue
        row = made(job, work, options) | {"inputs": inputs}
        atomic_write_json(path, row)
        yield row


def is_current(path: Path, inputs: str, truth: object) -> bool:
    """Whether a row is whole, of these inputs and held against this truth; older ones that do not tell are believed.

    One that failed is not: what it lacked may be there now.
    """
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(row, dict) or "error" in row:
            return False
        return bool(row.get("inputs", inputs) == inputs and row.get("truth", truth) == truth)
    except ValueError:
        return False


def inputs_of(job: Job, options: StudyOptions) -> str:
    """Key of all that a row depends on, but for the version of the package and the truth, which it holds itself."""
    try:
        photos = [] if job.photos is None else [file_sha256(path) for path in job.photos]
        clips = job.source.key(job.pair)
    except (OSError, ValueError) as error:
        photos, clips = [], str(error)
    return content_key(job.pair.name, photos, clips, job.source.name, options, SEED, job.camera, job.problem)


def made(job: Job, work: Path, options: StudyOptions) -> Row:
    """The row of a job. A file that cannot be used costs this row, and its reason stands there."""
    pair = job.pair
    row: Row = {
        "pair": pair.name,
        "model": job.source.name,
        "truth": None if pair.b_from_a is None else pose_of(pair.b_from_a),
        "yaw_deg": None if pair.b_from_a is None else pair.yaw_deg,
        "overlap": None if pair.b_from_a is None else pair.overlap,
        "known_cameras": job.known_cameras,
        "estimator": options.pose_estimator,
        "frames_per_clip": options.frames_per_clip,
        **job.extra,
    }
    if job.problem or job.photos is None:
        return row | {"error": job.problem or "the data folder lacks a photo"}
    try:
        for path, expected in zip(job.photos, (pair.sha256_a, pair.sha256_b), strict=True):
            if expected and file_sha256(path) != expected:
                raise ValueError(f"{path.name} is another file than the list of pairs says: its checksum differs")
        with TemporaryDirectory(prefix="benchmark-clips-") as folder:
            found = study(
                job.photos,
                job.source.lay_out(pair, Path(folder)),
                pose_estimator=options.pose_estimator,
                frames_per_clip=options.frames_per_clip,
                store_dir=work / "stores" / pair.slug,
                truth=pair.b_from_a,
                camera=job.camera,
            )
    except StoreError:  # of this machine, not of the pair: another run is at work here, or the disk is full
        raise
    except (OSError, ValueError, RuntimeError) as error:
        if is_of_the_machine(error):
            raise
        logger.warning("%s, %s: %s", pair.name, job.source.name, error)
        return row | {"error": f"{type(error).__name__}: {error}"}
    return row | found


def is_of_the_machine(error: Exception) -> bool:
    """Whether an error is a full or closed disk, which spoils all rows that are left; HDF5 tells it in words alone."""
    numbers = {getattr(error, "errno", None), *map(int, re.findall(r"errno = (\d+)", str(error)))}
    return not numbers.isdisjoint(_OF_THE_MACHINE)


def collect(folders: Sequence[Path]) -> list[Row]:
    """The rows of several work folders, in the order of their names; equal ones count once.

    Raises:
        ValueError: Two rows of one name were made of different inputs, or held against different truths.
    """
    found: dict[str, tuple[Path, Row]] = {}
    for folder in folders:
        for path in sorted((folder / "rows").glob("*.json")):
            try:
                row = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                logger.warning("%s is no whole file and is left out; run its shard again", path)
                continue
            known = found.setdefault(path.name, (path, row))
            if any(known[1].get(key) != row.get(key) for key in ("inputs", "truth")):
                raise ValueError(
                    f"{known[0]} and {path} were made of different photos, clips or options, or have different true "
                    "poses; remove one of them"
                )
    return [found[name][1] for name in sorted(found)]
