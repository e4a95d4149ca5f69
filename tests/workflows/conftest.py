"""What several tests of the workflows start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from interpose_sfm.storage.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Locked, with an empty folder for base models."""
    with Workspace(tmp_path / "run").locked() as workspace:
        workspace.base_dir.mkdir()
        yield workspace
