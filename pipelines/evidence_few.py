"""What third photos do where there are few: the pairs of a scene are judged in many small selections of its photos.

In a whole collection a wrong link is contradicted by the many right ones around it. Three to eight photos of the same
scene may be left with those that look alike, and nothing that contradicts them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from evidence_pairs import ACROSS, SEED, Row
from interpose_sfm.products import ImagePair

NUM_SELECTIONS = 3_000
SIZES = (3, 8)

Believed = Callable[[Sequence[Row]], Callable[[Row], bool]]


def lines(rows: Sequence[Row], by_itself: Callable[[Row], bool], believed: Believed) -> list[str]:
    """A section of a document.

    Args:
        rows: Pairs of all scenes.
        by_itself: Whether a pair is believed by its own evidence.
        believed: Whether one is, after all pairs of a selection were heard.
    """
    scenes = [name for name in dict.fromkeys(row.scene for row in rows) if name != ACROSS]
    counts = {scene: _count([r for r in rows if r.scene == scene], by_itself, believed) for scene in scenes}
    return [
        "## In few photos",
        "",
        f"The same pairs in {NUM_SELECTIONS:,} selections of each scene, of {SIZES[0]} to {SIZES[1]} photos drawn at",
        "random, where hardly anything is left to contradict a wrong link. A pair counts in every selection that holds",
        "it; in brackets the number of different pairs.",
        "",
        "| scene | right with a pose: all | by itself | then | wrong with a pose: all | by itself | then |",
        "|---|---|---|---|---|---|---|",
        *(_line(scene, found) for scene, found in counts.items()),
        _line("all", sum(counts.values(), Counter())),
        "",
    ]


def _count(
    rows: Sequence[Row], by_itself: Callable[[Row], bool], believed: Believed
) -> Counter[tuple[str, str, ImagePair]]:
    """(kind, by whom a pair is believed, pair) -> number of selections."""
    draw = random.Random(SEED)
    with_pose = [row for row in rows if row.link is not None]
    names = sorted({name for row in rows for name in (row.pair.a, row.pair.b)})
    found: Counter[tuple[str, str, ImagePair]] = Counter()
    for _ in range(NUM_SELECTIONS):
        chosen = set(draw.sample(names, min(draw.randint(*SIZES), len(names))))
        held = [row for row in with_pose if row.pair.a in chosen and row.pair.b in chosen]
        is_believed = believed(held)
        for row in held:
            answers = {"all": True, "by itself": by_itself(row), "then": is_believed(row)}
            found.update((row.kind, by, row.pair) for by, answer in answers.items() if answer)
    return found


def _line(scene: str, found: Counter[tuple[str, str, ImagePair]]) -> str:
    cells = []
    for kind in ("right", "wrong"):
        for by in ("all", "by itself", "then"):
            pairs = {key: number for key, number in found.items() if key[:2] == (kind, by)}
            cells.append(f"{sum(pairs.values())} ({len(pairs)})" if pairs else "0")
    return f"| {scene} | {' | '.join(cells)} |"
