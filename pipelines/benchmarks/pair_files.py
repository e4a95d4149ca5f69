"""Files of pairs: those that the rule writes, with checksums, and lists that others have published."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from benchmarks.pair_rule import BenchmarkPair, PairRule, made_pair
from benchmarks.scenes import Scene, ScenePhoto
from benchmarks.study import pose_in, pose_of
from interpose_sfm.storage.atomic import atomic_write_json

logger = logging.getLogger(__name__)

FORMAT = 1
OURS = ".json"


def write_pairs(path: Path, benchmark: str, rule: PairRule, seed: int, pairs: Sequence[BenchmarkPair]) -> None:
    """Write a file of pairs: the same bytes for the same pairs, on any machine."""
    rows = [_row(pair) for pair in pairs]
    document = {
        "format": FORMAT,
        "benchmark": benchmark,
        "rule": asdict(rule),
        "seed": seed,
        "sha256": _checksum(rows),
        "pairs": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_json(path, document)


def benchmark_of(path: Path) -> str:
    """The benchmark that a file of `write_pairs` is of; nothing if it is none, or broke off."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["benchmark"])
    except (ValueError, LookupError, TypeError):
        return ""


def read_pairs(path: Path, scenes: Sequence[Scene]) -> tuple[BenchmarkPair, ...]:
    """Pairs of a file: one of ours, ``PATH_A PATH_B [ANGLE]`` a line as NAVI has them, or NumPy's ``A-B`` as IMB's.

    Args:
        path: The file.
        scenes: The data set; a list of others names photos of these by the ends of their paths.

    Pairs of others whose photos the data set has not are left out, and told: of NAVI or of the Image Matching Benchmark
    few have all.

    Raises:
        ValueError: Not such a file, one that was changed, or one none of whose photos the data set has.
    """
    if not path.is_file():
        raise ValueError(f"there is no list of pairs {path}")
    if path.suffix == OURS:
        return _read_ours(path)
    lines = _lines_of(path)
    photos = _by_ending(scenes)
    found, missing = [], []
    for number, words in enumerate(lines, 1):
        where = f"{path}, line {number}"
        if len(words) not in (2, 3):
            raise ValueError(f"{where}: got {len(words)} words, expected two photos and perhaps an angle")
        a, b = (_named(word, photos, where) for word in words[:2])
        if a is None or b is None:
            missing.append(f"line {number}: the data set has no photo {words[0] if a is None else words[1]}")
        elif a[0] is not b[0]:
            raise ValueError(f"{where}: {words[0]} and {words[1]} are of different scenes")
        else:
            found.append(made_pair(a[0], a[1], b[1]))
    if missing and not found:
        raise ValueError(f"{path}, {missing[0]}")
    if missing:
        logger.warning("%s: %d of %d pairs are left out, such as %s", path, len(missing), len(lines), missing[0])
    return _once(found)


def _lines_of(path: Path) -> list[list[str]]:
    """The words of every line; between tabulators, where a line has some, there may be blanks."""
    if path.suffix == ".npy":
        try:
            return [str(entry).split("-") for entry in np.load(path, allow_pickle=False).ravel()]
        except (EOFError, OSError) as error:
            raise ValueError(f"{path} is no list of pairs ({error})") from error
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [line.split("\t") if "\t" in line else line.split() for line in lines if line and not line.startswith("#")]


def _once(pairs: Sequence[BenchmarkPair]) -> tuple[BenchmarkPair, ...]:
    """Each pair as often as it counts: a list may name it twice."""
    return tuple({pair.name: pair for pair in pairs}.values())


def _read_ours(path: Path) -> tuple[BenchmarkPair, ...]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = document["pairs"]
        known, checksum = document["format"], document["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no file of pairs ({error}); write one anew") from error
    if known != FORMAT:
        raise ValueError(f"{path} has the format {known}, expected {FORMAT}")
    if checksum != _checksum(rows):
        raise ValueError(f"{path} was changed by hand: its pairs do not have the checksum that it gives")
    return tuple(_pair(row) for row in rows)


def _row(pair: BenchmarkPair) -> dict[str, Any]:
    truth = None if pair.b_from_a is None else pose_of(pair.b_from_a)
    return {key: _plain(value) for key, value in asdict(pair).items() if key != "b_from_a"} | {"b_from_a": truth}


def _pair(row: Mapping[str, Any]) -> BenchmarkPair:
    numbers = {key: math.nan if row[key] is None else row[key] for key in ("yaw_deg", "overlap")}
    return BenchmarkPair(**{**row, **numbers, "b_from_a": pose_in(row["b_from_a"])})


def _plain(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


def _checksum(rows: Sequence[Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


Photos = Mapping[str, Sequence[tuple[Scene, ScenePhoto]]]


def _by_ending(scenes: Sequence[Scene]) -> Photos:
    """Every end of a photo's path, with and without its extension -> the photos that it may mean."""
    found: defaultdict[str, list[tuple[Scene, ScenePhoto]]] = defaultdict(list)
    for scene in scenes:
        for photo in scene.photos:
            parts = PurePosixPath(scene.name, photo.path.as_posix().lstrip("/")).parts
            for start in range(len(parts)):
                end = PurePosixPath(*parts[start:])
                for key in {str(end), str(end.with_suffix(""))}:
                    found[key].append((scene, photo))
    return found


def _named(word: str, photos: Photos, where: str) -> tuple[Scene, ScenePhoto] | None:
    """The photo that a word means; None if there is none."""
    path = PurePosixPath(word)
    for key in (str(path), str(path.with_suffix("")) if path.name else word):
        if len(found := photos.get(key, ())) == 1:
            return found[0]
        if found:
            raise ValueError(f"{where}: {word} may mean {len(found)} photos; write more of its path")
    return None
