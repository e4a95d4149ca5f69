"""Array types that all products share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


IndexArray = NDArray[np.uint32]


ImageArray = NDArray[np.uint8]


MaskArray = NDArray[np.bool_]
