"""How alike two photos are by their learned descriptors alone, at a hundredth of what it costs to match them.

It links nothing: it tells which of many pairs are worth a network's while.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from interpose_sfm.matching.ahead import at_once
from interpose_sfm.matching.nearest import mutually_nearest
from interpose_sfm.products import Features, ImagePair

Descriptors = NDArray[np.float16]
"""(n, d) descriptors of length one, in half precision, since those of many photos are held."""

MAX_KEYPOINTS = 1024
"""Of a photo, the strongest. With half as many the right pairs of a rendered town come later, with more no earlier."""

MAX_RATIO = 0.9
"""Of the distance to the nearest descriptor over that to the next (Lowe 2004, section 7.1). In the town, 0.8 is too
strict for the wide angles that a gap leaves, and 0.95 lets too much through."""


def strongest_descriptors(features: Features) -> Descriptors:
    """What `likenesses` goes by of a photo."""
    return features.strongest(MAX_KEYPOINTS).descriptors.astype(np.float16)


def likenesses(descriptors: Mapping[str, Descriptors], pairs: Sequence[ImagePair]) -> dict[ImagePair, int]:
    """How alike the photos of pairs are, computed on all cores.

    Args:
        descriptors: Of photos; pairs with others are left out.
        pairs: In the order in which they are returned.
    """
    known = [pair for pair in pairs if pair.a in descriptors and pair.b in descriptors]
    found = at_once(lambda pair: likeness(descriptors[pair.a], descriptors[pair.b]), known)
    return dict(zip(known, found, strict=True))


def likeness(a: Descriptors, b: Descriptors) -> int:
    """Descriptors that are nearest to one another, and clearly nearer than any other of either photo."""
    if min(len(a), len(b)) < 2:
        return 0
    products = np.minimum(a.astype(np.float32) @ b.astype(np.float32).T, 1.0)  # half precision is no length of one
    rows, columns = mutually_nearest(products)
    nearest = products[rows, columns]
    products[rows, columns] = -1.0  # each lies in a row and a column of its own, so that what is left there is the next
    following = np.maximum(products[rows].max(axis=1), products[:, columns].max(axis=0))
    # Of descriptors of length one the squared distance is twice what the product lacks to one.
    return int(np.count_nonzero(1.0 - nearest < MAX_RATIO**2 * (1.0 - following)))
