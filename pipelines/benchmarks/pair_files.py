"""Files of pairs: those that the rule writes, with checksums, and lists that others have published."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from benchmarks.pair_rule import BenchmarkPair, PairRule, made_pair
from benchmarks.scenes import Scene, ScenePhoto
from benchmarks.study import pose_in, pose_of
from interpose_sfm.storage.atomic import atomic_write_json

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


def read_pairs(path: Path, scenes: Sequence[Scene]) -> tuple[BenchmarkPair, ...]:
    """Pairs of a file: one of ours, ``PATH_A PATH_B [ANGLE]`` a line as NAVI has them, or NumPy's ``A-B`` as IMB's.

    Args:
        path: The file.
        scenes: The data set; a list of others names photos of these by the ends of their paths.

    Raises:
        ValueError: Not such a file, one that was changed, or one that names photos the data set has not.
    """
    if not path.is_file():
        raise ValueError(f"there is no list of pairs {path}")
    if path.suffix == OURS:
        return _read_ours(path)
    if path.suffix == ".npy":
        lines = [str(entry).split("-") for entry in np.load(path, allow_pickle=False)]
    else:
        text = path.read_text(encoding="utf-8")
        lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    photos = _by_ending(scenes)
    found = []
    for number, words in enumerate(lines, 1):
        if len(words) not in (2, 3):
            raise ValueError(f"{path}, line {number}: got {len(words)} words, expected two photos and perhaps an angle")
        (scene_a, a), (scene_b, b) = (_named(word, photos, f"{path}, line {number}") for word in words[:2])
        if scene_a is not scene_b:
            raise ValueError(f"{path}, line {number}: {words[0]} and {words[1]} are of different scenes")
        found.append(made_pair(scene_a, a, b))
    return tuple(found)


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


Photos = Mapping[str, tuple[tuple[Scene, ScenePhoto], ...]]


def _by_ending(scenes: Sequence[Scene]) -> Photos:
    """Every end of a photo's path, with and without its extension -> the photos that it may mean."""
    found: dict[str, tuple[tuple[Scene, ScenePhoto], ...]] = {}
    for scene in scenes:
        for photo in scene.photos:
            parts = PurePosixPath(scene.name, photo.path.as_posix().lstrip("/")).parts
            for start in range(len(parts)):
                end = PurePosixPath(*parts[start:])
                for key in {str(end), str(end.with_suffix(""))}:
                    found[key] = (*found.get(key, ()), (scene, photo))
    return found


def _named(word: str, photos: Photos, where: str) -> tuple[Scene, ScenePhoto]:
    path = PurePosixPath(word)
    for key in (str(path), str(path.with_suffix(""))):
        if len(found := photos.get(key, ())) == 1:
            return found[0]
        if found:
            raise ValueError(f"{where}: {word} may mean {len(found)} photos; write more of its path")
    raise ValueError(f"{where}: the data set has no photo {word}")
