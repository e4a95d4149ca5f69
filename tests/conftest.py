"""Set before numpy is imported: OpenBLAS threads spin on small matrices and cost more than they give."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hook_scene import Apart


@pytest.fixture(scope="session")
def apart(tmp_path_factory: pytest.TempPathFactory) -> "Apart":
    """Photos that pycolmap leaves in two models; made once, since its learned matches take the time."""
    from hook_scene import make_apart

    return make_apart(tmp_path_factory.mktemp("apart"))
