"""Where base models end: the photos that have all their neighbours to one side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from interpose_sfm.products import FloatArray, ImagePair

MIN_ONE_SIDED = 0.4
"""Length of the mean direction to a photo's neighbours, from 0 (all around, or as many to either side) to 1 (all in one
direction). Along a row of photos with three or four neighbours to either side it is 0.5 or 0.6 for the last but one,
and 0.2 or 0.33 for the one before."""

MAX_PER_MODEL = 4  # photos: two at either end of a row


def boundary(
    centers: Mapping[str, FloatArray], pairs: Iterable[ImagePair], number: int = MAX_PER_MODEL
) -> tuple[str, ...]:
    """The photos of a model beyond which it does not go on, most one-sided first.

    A model ends where too little overlaps, so that what it belongs to is to be sought from there. One that surrounds
    its subject ends nowhere.

    Args:
        centers: Photo of the model -> projection center, (3,), in any unit.
        pairs: Neighbours of one another; those with other photos do not count.
        number: At most so many.
    """
    directions: dict[str, list[FloatArray]] = defaultdict(list)
    for pair in pairs:
        if pair.a in centers and pair.b in centers:
            toward_b = centers[pair.b] - centers[pair.a]
            length = float(np.linalg.norm(toward_b))
            if length > 0:
                directions[pair.a].append(toward_b / length)
                directions[pair.b].append(-toward_b / length)
    one_sided = {name: float(np.linalg.norm(np.mean(toward, axis=0))) for name, toward in directions.items()}
    found = [name for name in sorted(centers) if one_sided.get(name, 1.0) >= MIN_ONE_SIDED]
    return tuple(sorted(found, key=lambda name: -one_sided.get(name, 1.0))[:number])
