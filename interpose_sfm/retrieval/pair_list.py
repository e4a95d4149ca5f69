"""Lists of pairs as text, in the form that hloc writes and COLMAP reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from interpose_sfm.storage.texts import read_text

EXPECTED = "two names a line"


def read_pair_file(path: Path, photo_names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs from a text file as COLMAP takes it: two names a line, apart by a blank; ``#`` begins a comment.

    Args:
        path: The file.
        photo_names: Photos that there are; they tell where a name ends that has blanks in it.

    Raises:
        ValueError: A line that does not hold two names; the message tells which.
        OSError: It cannot be read.
    """
    known = frozenset(photo_names)
    pairs = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        splits = [(text[: gap.start()], text[gap.end() :]) for gap in re.finditer(r"\s+", text)]
        if len(splits) > 1:
            splits = [split for split in splits if known.issuperset(split)]
        if len(splits) != 1:
            raise ValueError(f"{path}, line {number}: got {text!r}, expected the names of two photos")
        pairs.append(splits[0])
    return tuple(pairs)
