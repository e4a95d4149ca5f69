"""Rendered photos that pycolmap leaves in two models and learned links join, for the tests of the drop-in."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from PIL import Image

import interpose_sfm
from interpose_sfm.colmap.reconstruction import poses
from interpose_sfm.options import InterposeOptions
from interpose_sfm.products import Intrinsics
from interpose_sfm.synthetic import (
    DEFAULT_TEXELS_PER_M,
    RenderOptions,
    SampleOptions,
    SampleTruth,
    Scene,
    render,
    write_sample,
)

OPTIONS: Any = {"min_model_size": 3, "num_threads": 1, "random_seed": 0}
QUICK = InterposeOptions(generator="none")


@dataclass(frozen=True)
class Apart:
    """Two groups of three photos. SIFT does not connect them, ALIKED + LightGlue does.

    Attributes:
        truth: The collection.
        database_path: Made by pycolmap; nobody has mapped it.
        side_dir: What a first call of the drop-in has left, so that further calls need no network.
    """

    truth: SampleTruth
    database_path: Path
    side_dir: Path

    @property
    def photo_dir(self) -> Path:
        return self.truth.photo_dir

    def copy(self, folder: Path, *, with_stores: bool = True) -> Path:
        """A database in another folder, with the stores beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        database_path = folder / "database.db"
        shutil.copyfile(self.database_path, database_path)
        if with_stores:
            self.copy_stores(database_path)
        return database_path

    def copy_stores(self, database_path: Path) -> Path:
        """The stores of the first call beside another database; returns their folder."""
        side_dir = database_path.with_name(f"{database_path.stem}_interpose")
        side_dir.mkdir()
        for name in (".interpose_sfm", "features.h5", "matches.h5"):
            shutil.copyfile(self.side_dir / name, side_dir / name)
        return side_dir


def make_apart(folder: Path) -> Apart:
    truth = write_sample(
        folder / "collection", SampleOptions(seed=0, width_px=480, photos_per_group=3, gap_deg=45, num_frames=3)
    )
    database_path = folder / "database.db"
    pycolmap.extract_features(
        database_path,
        truth.photo_dir,
        camera_mode=pycolmap.CameraMode.SINGLE,
        extraction_options=pycolmap.FeatureExtractionOptions(num_threads=1),
    )
    pycolmap.match_exhaustive(database_path, pycolmap.FeatureMatchingOptions(num_threads=1))
    first = folder / "first" / "database.db"
    first.parent.mkdir()
    shutil.copyfile(database_path, first)
    interpose_sfm.incremental_mapping(first, truth.photo_dir, folder / "first" / "out", OPTIONS, interpose=QUICK)
    return Apart(truth, database_path, folder / "first" / "database_interpose")


def render_photos(truth: SampleTruth, camera: Intrinsics, folder: Path) -> Path:
    """The photos of the collection as another camera sees them from the same places."""
    folder.mkdir()
    scene = Scene.courtyard(truth.seed, texels_per_m=DEFAULT_TEXELS_PER_M * camera.width_px / 800.0)
    for index, (name, pose) in enumerate(truth.cam_from_world.items()):
        develop = RenderOptions(supersampling=2, noise_sigma=1.5, seed=index)
        Image.fromarray(render(scene, camera, pose, develop).image).save(folder / name, quality=95)
    return folder


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables of a database."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in sorted(tables)}
    connection.close()
    return rows


def listing(folder: Path) -> list[str]:
    """Everything below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def assert_equal_models(first: pycolmap.Reconstruction, second: pycolmap.Reconstruction) -> None:
    """The same photos at the same poses, cameras and points."""
    found, expected = poses(first), poses(second)
    assert found.keys() == expected.keys()
    for name, pose in found.items():
        np.testing.assert_array_equal(pose.rotation, expected[name].rotation)
        np.testing.assert_array_equal(pose.translation, expected[name].translation)
    for camera_id, camera in first.cameras.items():
        np.testing.assert_array_equal(camera.params, second.cameras[camera_id].params)
    assert sorted(first.points3D) == sorted(second.points3D)
    for point_id, point in first.points3D.items():
        np.testing.assert_array_equal(point.xyz, second.points3D[point_id].xyz)
