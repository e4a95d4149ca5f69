from __future__ import annotations

import pytest

from interpose_sfm.synthetic import (
    Scene,
)
from rendered import DENSITY


@pytest.fixture(scope="module")
def courtyard() -> Scene:
    return Scene.courtyard(0, texels_per_m=DENSITY)
