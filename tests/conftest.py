import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy loads: its idle threads take the cores from COLMAP's

import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hook_scene import Apart


@pytest.fixture(autouse=True)
def ctrl_c_raises() -> None:
    """Also in a process that a shell started in the background, where Ctrl-C is ignored unless somebody asks for it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def apart(tmp_path_factory: pytest.TempPathFactory) -> "Apart":
    """Photos that pycolmap leaves in two models; made once, since its learned matches take the time."""
    from hook_scene import make_apart

    return make_apart(tmp_path_factory.mktemp("apart"))
