"""Pairs of photos that a user names, for the commands that take some."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from interpose_sfm.products import ImagePair, PhotoSet
from interpose_sfm.retrieval.pair_list import read_pair_file


def named_pairs(pairs: Sequence[tuple[str, str]] | Path, photo_set: PhotoSet) -> tuple[ImagePair, ...]:
    """The pairs in name order, each once.

    Args:
        pairs: Names of photos or of their files, two each, or a file with two of them a line.
        photo_set: The photos.

    Raises:
        ValueError: A name that is no usable photo; the message names the nearest ones, or why it was left out.
    """
    if isinstance(pairs, Path):
        pairs = read_pair_file(pairs, [name for photo in photo_set.photos for name in (photo.name, photo.source)])
    known = {photo.name for photo in photo_set.photos}
    pairs = [(photo_set.image_name(a), photo_set.image_name(b)) for a, b in pairs]
    left_out = {file.name: file for file in photo_set.skipped}
    for name in (name for pair in pairs for name in pair):
        if name in known:
            continue
        if name in left_out:
            raise ValueError(f"{name!r} is no usable photo: {left_out[name].why}")
        near = difflib.get_close_matches(name, known, n=3) or sorted(known)[:3]
        raise ValueError(f"got the photo {name!r}, expected a path below the photo folder, such as {', '.join(near)}")
    return tuple(dict.fromkeys(ImagePair.sorted(*pair) for pair in pairs))
