"""Point maps of an ordered pair of views, whichever network they come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MapArray = NDArray[np.float32]


@dataclass(frozen=True)
class PointMaps:
    """What a network says of an ordered pair (i, j), in a scale of its own.

    Attributes:
        points_i, conf_i: (h, w, 3) points seen by the pixels of i, in the frame of camera i, and (h, w) confidence from
            1 upwards; float32.
        points_j_in_i, conf_j: The same of the pixels of j, also in the frame of camera i.
    """

    points_i: MapArray
    conf_i: MapArray
    points_j_in_i: MapArray
    conf_j: MapArray
