"""A database of five views, and the base model of the first four, which the fifth shares no SIFT match with."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pycolmap

from geometry_scenes import DatabaseOptions, all_rows, arc, cloud, observe, true_model, write_database
from interpose_sfm import geometry

NAMES = ("a.jpg", "b.jpg", "sub/c.jpg", "d.jpg", "é.jpg")
POSES = arc([0, 12, 24, 36, 60])
SIFT = observe(cloud(1, 250), POSES, noise_px=0.3, seed=1)


@dataclass(frozen=True)
class Base:
    """The database and the base model."""

    database_path: Path
    model: pycolmap.Reconstruction

    def copy(self, folder: Path) -> Base:
        """A copy that a test may change."""
        path = folder / "database.db"
        shutil.copyfile(self.database_path, path)
        return Base(path, pycolmap.Reconstruction(self.model))


def make_base(folder: Path) -> Base:
    path = folder / "database.db"
    write_database(path, SIFT, NAMES, DatabaseOptions(rows=all_rows(SIFT, range(4)), num_columns=4))
    return Base(path, true_model(path, SIFT, NAMES, range(4)))


def shifted(model: pycolmap.Reconstruction) -> pycolmap.Reconstruction:
    """A copy in another world frame."""
    copied = pycolmap.Reconstruction(model)
    turn = pycolmap.Rotation3d(geometry.rotation_exp([0.3, -0.5, 1.0]))
    copied.transform(pycolmap.Sim3d(2.5, turn, [1.0, -4.0, 3.0]))
    return copied
