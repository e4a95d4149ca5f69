import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy loads: its idle threads take the cores from COLMAP's

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before its client loads: no test asks the hub

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> "Callable[..., Path]":
    """(name, changes) -> folder of a tiny pipeline as `tiny_pipelines` builds it; every one is built once."""
    made: dict[tuple[Any, ...], Path] = {}

    def checkpoint(name: str, **changes: Any) -> Path:
        from tiny_pipelines import save_tiny

        key = (name, repr(sorted(changes.items())))
        if key not in made:
            made[key] = save_tiny(name, tmp_path_factory.mktemp("tiny") / name, **changes)
        return made[key]

    return checkpoint
