"""Plain COLMAP on a database that is there already."""

from __future__ import annotations

from pathlib import Path

from interpose_sfm.colmap import incremental_mapper
from interpose_sfm.options import BaseOptions

OPTIONS = BaseOptions(num_threads=1)


def map_plain(database_path: Path, models_dir: Path) -> None:
    """Map its photos into a folder that is not there yet."""
    models_dir.mkdir()
    incremental_mapper.map_base(database_path, models_dir, models_dir, OPTIONS, 0)
