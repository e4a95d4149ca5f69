"""Which frames of a clip carry the way from A to B best: those that match best with their neighbours on both sides.

Evenly spaced frames may be the blurred or half dissolved ones of an imagined clip. PoseCrafter (arXiv 2510.19527) keeps
the frames that match best with what lies on either side. Here the way is cut into equal parts, every part gives one
frame, and of all ways through them the one is taken whose steps match best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from interpose_sfm.products import View

Count = Callable[[View, View], int]
"""Matches of two views that are not too doubtful."""

Prepare = Callable[[Sequence[tuple[View, View]]], None]
"""Makes the matches of several pairs of views at once."""


def relay_frames(
    a: View, frames: Sequence[View], b: View, number: int, count: Count, prepare: Prepare = lambda pairs: None
) -> tuple[int, ...]:
    """Indices of the frames that lead from A to B in steps that match best.

    Args:
        a, b: The photos.
        frames: Evenly spread over the clip, in A to B order.
        number: Of frames that are kept, one of each equal part of the way.
        count: Tells how well two views match.
        prepare: Is told what will be asked.

    Returns:
        In order; all frames where there are no more than ``number``. The product of the numbers of matches of all steps
        is largest, so that one weak step counts for much; of equal ways that nearest to the middles of the parts is
        taken.
    """
    if len(frames) <= number:
        return tuple(range(len(frames)))
    parts = [[int(index) for index in part] for part in np.array_split(np.arange(len(frames)), number)]
    views = dict(enumerate([*frames, a, b]))
    start, end = len(frames), len(frames) + 1
    stages = [[start], *parts, [end]]
    steps = [(i, j) for before, after in pairwise(stages) for i in before for j in after]
    prepare([(views[i], views[j]) for i, j in steps])
    middle = {index: part[len(part) // 2] for part in parts for index in part}
    # Best way to a frame: its score, minus its distance from the middles, and its frames.
    best: dict[int, tuple[float, int, tuple[int, ...]]] = {start: (0.0, 0, ())}
    for i, j in steps:  # stage by stage: every way to i is known
        score, off, way = best[i]
        reached = score + math.log1p(count(views[i], views[j])), off - abs(j - middle.get(j, j)), (*way, j)
        if j not in best or reached[:2] > best[j][:2]:
            best[j] = reached
    return best[end][2][:-1]
