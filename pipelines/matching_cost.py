"""What learned matching costs on a CPU: the published networks, and as `matching/on_cpu.py` lets them run.

Key points of rendered photos and matches of their pairs, with one thread. Both ways take turns within a round, and
every ratio is that of one turn. Needs no download. Writes ``docs/results/matching_cost.md``.

Usage: python pipelines/matching_cost.py [--rounds N] [--result FILE]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import numpy as np
import torch

from estimator_cost import SEED, SIZES, rendered
from interpose_sfm.matching import on_cpu
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.options import MatchingOptions
from interpose_sfm.products import Features, ImageArray, Matches
from interpose_sfm.report import versions
from interpose_sfm.storage.atomic import atomic_write_text

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "matching_cost.md"
SIZE_PX = SIZES["4:3"]
NUM_PHOTOS = 4
PUBLISHED, HERE = "published", "as they run here"


Found = TypeVar("Found", Features, Matches)
Times = dict[str, list[float]]
"""Way -> seconds."""


class Networks:
    """The networks in one of the two ways."""

    def __init__(self, way: str) -> None:
        self._is_published = way == PUBLISHED
        with patch.object(on_cpu, "install", (lambda *published: published) if self._is_published else on_cpu.install):
            self._matcher = LearnedMatcher(MatchingOptions(device="cpu"))
            self._matcher.extract(np.zeros((64, 64, 3), np.uint8))  # loads them

    def timed(self, step: Callable[[LearnedMatcher], Found], taken_s: list[float]) -> Found:
        """What a step gives; its processor time is added to the others."""
        with patch.object(on_cpu, "is_exact", (lambda: False) if self._is_published else on_cpu.is_exact):
            start = time.process_time()
            found = step(self._matcher)
            taken_s.append(time.process_time() - start)
        return found


def main() -> int:
    """Measure in turns and write the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ways = {way: Networks(way) for way in (PUBLISHED, HERE)}
    photos = [view.image for view in rendered(SIZE_PX, NUM_PHOTOS)]
    times: dict[str, Times] = {}
    least_shared = 1.0
    for number in range(arguments.rounds + 1):
        if number < 2:
            times = {step: {way: [] for way in ways} for step in ("photo", "pair")}  # the first round warms up
        order = sorted(ways, reverse=bool(number % 2))
        features: dict[str, list[Features]] = {way: [] for way in ways}
        for photo in photos:
            for way in order:
                features[way].append(ways[way].timed(partial(extracted, photo), times["photo"][way]))
        for a, b in combinations(features[PUBLISHED], 2):
            found = {way: ways[way].timed(partial(matched, a, b), times["pair"][way]) for way in order}
            least_shared = min(least_shared, overlap(found[HERE], found[PUBLISHED]))
    atomic_write_text(arguments.result, document(times, least_shared, arguments.rounds))
    print(arguments.result.read_text(encoding="utf-8"))
    return 0


def extracted(photo: ImageArray, matcher: LearnedMatcher) -> Features:
    """Key points of a photo."""
    return matcher.extract(photo)


def matched(a: Features, b: Features, matcher: LearnedMatcher) -> Matches:
    """Matches of two photos."""
    return matcher.match(a, b)


def overlap(found: Matches, expected: Matches) -> float:
    """Which share of all matches of two ways both have."""
    one, other = (set(map(tuple, matches.indices.tolist())) for matches in (found, expected))
    return len(one & other) / max(len(one | other), 1)


def document(times: dict[str, Times], least_shared: float, rounds: int) -> str:
    """The result as Markdown."""
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# What learned matching costs on a CPU",
        "",
        f"By `python pipelines/matching_cost.py --rounds {rounds}`: ALIKED and LightGlue as published, and as "
        "`matching/on_cpu.py` lets them run. Median processor time, in seconds, of "
        f"{NUM_PHOTOS} rendered photos of {SIZE_PX[0]} x {SIZE_PX[1]} px and their pairs, one thread; both ways take "
        "turns, and the ratio is the median of those within a turn.",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}, seed {SEED}. Versions: {names}.",
        "",
        f"| | {PUBLISHED} | {HERE} | ratio |",
        "|---|---|---|---|",
    ]
    for step, by_way in times.items():
        ratio = statistics.median(a / b for a, b in zip(by_way[HERE], by_way[PUBLISHED], strict=True))
        medians = " | ".join(f"{statistics.median(by_way[way]):.2f}" for way in (PUBLISHED, HERE))
        lines.append(f"| {step} | {medians} | {ratio:.2f} |")
    lines += ["", f"Of the matches of a pair at least {least_shared:.1%} are the same.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
