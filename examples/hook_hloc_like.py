"""Features and matches of your own in a COLMAP database, mapped by pycolmap, in the manner of hloc.

It knows nothing of interpose_sfm. To have what pycolmap leaves apart extended, run it under the hook:

    python -m interpose_sfm hook -- examples/hook_hloc_like.py PHOTOS OUTPUT

or, from Python, within ``with interpose_sfm.installed(): main(photo_dir, output)``.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pycolmap

MAX_RATIO = 0.8  # of the distances to the nearest and to the second nearest descriptor (Lowe 2004)


def extract(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Key points (n, 2), pixel centres at +0.5, and descriptors (n, d) of unit length; put your network here."""
    keypoints, descriptors = pycolmap.FeatureExtractor.create().extract(pycolmap.Bitmap.read(path, as_rgb=False))
    rows = descriptors.data.astype(np.float32)
    return np.array([(point.x, point.y) for point in keypoints]), rows / np.linalg.norm(rows, axis=1, keepdims=True)


def match(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n, 2) rows of the descriptors that are each other's nearest, and clearly nearer than the second nearest."""
    similarity = first @ second.T
    nearest, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    second_best, best = np.partition(similarity, -2, axis=1)[:, -2:].T
    rows = np.arange(len(first))
    is_kept = (back[nearest] == rows) & (1 - best < MAX_RATIO**2 * (1 - second_best))
    return np.stack([rows, nearest], axis=1)[is_kept].astype(np.uint32)


def fill_database(database_path: Path, photo_dir: Path) -> None:
    """Photos, key points and matches of all pairs, verified by COLMAP."""
    names = sorted(path.name for path in photo_dir.iterdir())
    pycolmap.Database.open(database_path).close()  # makes it
    pycolmap.import_images(database_path, photo_dir, pycolmap.CameraMode.SINGLE, image_names=names)
    pairs = list(itertools.combinations(names, 2))
    with pycolmap.Database.open(database_path) as database:
        ids = {image.name: image.image_id for image in database.read_all_images()}
        features = {name: extract(photo_dir / name) for name in names}
        for name, (keypoints, _) in features.items():
            database.write_keypoints(ids[name], keypoints)
        for a, b in pairs:
            database.write_matches(ids[a], ids[b], match(features[a][1], features[b][1]))
    pairs_path = database_path.with_name("pairs.txt")
    pairs_path.write_text("".join(f"{a} {b}\n" for a, b in pairs))
    pycolmap.verify_matches(database_path, pairs_path)


def main(photo_dir: Path, output: Path) -> dict[int, pycolmap.Reconstruction]:
    """Models of the photos, in OUTPUT/0, 1, ..."""
    output.mkdir(parents=True, exist_ok=True)
    database_path = output / "database.db"
    fill_database(database_path, photo_dir)
    options = pycolmap.IncrementalPipelineOptions(min_model_size=3, random_seed=0)
    models = pycolmap.incremental_mapping(database_path, photo_dir, output, options)
    for index, model in models.items():
        print(f"model {index}: {model.num_reg_images()} photos, {model.num_points3D()} points")
    return models


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
