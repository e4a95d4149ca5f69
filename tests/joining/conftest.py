from __future__ import annotations

from pathlib import Path

import pycolmap
import pytest

from geometry_scenes import (
    DatabaseOptions,
    all_rows,
    write_database,
)
from two_pieces import (
    NAMES,
    SCENE,
    piece,
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two groups of four views that match among themselves, and one verified pair between them."""
    rows = all_rows(SCENE, range(4)) | all_rows(SCENE, range(3, 8))
    path = tmp_path_factory.mktemp("joining") / "database.db"
    return write_database(path, SCENE, NAMES, DatabaseOptions(rows=rows))


@pytest.fixture(scope="module")
def target(database: Path) -> pycolmap.Reconstruction:
    return piece(database, range(4))


@pytest.fixture(scope="module")
def source(database: Path) -> pycolmap.Reconstruction:
    return piece(database, range(4, 8), in_source=True)
