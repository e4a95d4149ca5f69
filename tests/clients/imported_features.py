"""A program that imports features and matches of its own into a database and calls pycolmap, in the manner of hloc.

Usage: imported_features.py SFM_DIR IMAGE_DIR FEATURES

FEATURES is an npz file with the key points of every photo (``keypoints/NAME``, at integer pixel centres, no
descriptors) and the matches of pairs (``matches/NAME|NAME``). It knows nothing of interpose_sfm.
"""

from __future__ import annotations

import multiprocessing
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

MAX_IMAGE_ID = 2**31 - 1


def fill_database(path: Path, image_dir: Path, features: Path) -> None:
    """Photos by pycolmap, key points and matches by SQL, verified pairs by pycolmap again."""
    arrays = np.load(features)
    names = sorted(key.partition("/")[2] for key in arrays if key.startswith("keypoints/"))
    pycolmap.Database.open(path).close()  # makes it
    pycolmap.import_images(path, image_dir, pycolmap.CameraMode.SINGLE, image_names=names)
    connection = sqlite3.connect(path)
    ids = dict(connection.execute("SELECT name, image_id FROM images"))
    for name in names:
        positions = (arrays[f"keypoints/{name}"] + 0.5).astype(np.float32)
        row = (ids[name], *positions.shape, positions.tobytes())
        connection.execute("INSERT INTO keypoints (image_id, rows, cols, data) VALUES (?, ?, ?, ?)", row)
    pairs = [key.partition("/")[2].split("|") for key in arrays if key.startswith("matches/")]
    for first, second in pairs:
        rows = arrays[f"matches/{first}|{second}"].astype(np.uint32)
        a, b = ids[first], ids[second]
        if a > b:
            a, b, rows = b, a, rows[:, ::-1]
        row = (a * MAX_IMAGE_ID + b, *rows.shape, np.ascontiguousarray(rows).tobytes())
        connection.execute("INSERT INTO matches (pair_id, rows, cols, data) VALUES (?, ?, ?, ?)", row)
    connection.commit()
    connection.close()
    pairs_path = path.with_name("pairs.txt")
    pairs_path.write_text("".join(f"{first} {second}\n" for first, second in pairs))
    ransac: Any = {"ransac": {"max_num_trials": 20000, "min_inlier_ratio": 0.1}}
    pycolmap.verify_matches(path, pairs_path, options=ransac)


def main(sfm_dir: Path, image_dir: Path, features: Path) -> pycolmap.Reconstruction | None:
    """The largest model, moved to the top of the folder."""
    models_dir = sfm_dir / "models"
    models_dir.mkdir(parents=True)
    database = sfm_dir / "database.db"
    fill_database(database, image_dir, features)
    registered = []
    options: Any = {"num_threads": min(multiprocessing.cpu_count(), 16), "min_model_size": 3, "random_seed": 0}
    models = pycolmap.incremental_mapping(
        database,
        image_dir,
        models_dir,
        options=options,
        initial_image_pair_callback=lambda: registered.append(2),
        next_image_callback=lambda: registered.append(1),
    )
    if not models:
        return None
    largest = max(models, key=lambda index: models[index].num_reg_images())
    for name in ("images.bin", "cameras.bin", "points3D.bin", "frames.bin", "rigs.bin"):
        shutil.move(models_dir / str(largest) / name, sfm_dir / name)
    print(f"{len(models)} models, the largest of {models[largest].num_reg_images()} photos, {sum(registered)} calls")
    return models[largest]


if __name__ == "__main__":
    if main(*map(Path, sys.argv[1:])) is None:
        sys.exit("no model")
