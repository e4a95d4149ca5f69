"""Runs hloc's own reconstruction on the key points and matches of a database, put into its files first.

Arguments: a database with key points and matches, the photos, and the folder to write.
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pycolmap
from hloc import reconstruction
from hloc.utils.parsers import names_to_pair


def write_features(database_path: Path, folder: Path) -> None:
    """Key points and matches as hloc's extractors and matchers leave them, and the list of pairs."""
    with pycolmap.Database.open(database_path) as database:
        images = {image.image_id: image.name for image in database.read_all_images()}
        keypoints = {i: database.read_keypoints(i)[:, :2] - 0.5 for i in images}
        pair_ids, rows = database.read_all_matches()
    with h5py.File(folder / "features.h5", "w") as file:
        for image_id, name in images.items():
            file.create_group(name)["keypoints"] = keypoints[image_id]
    pairs = [pycolmap.pair_id_to_image_pair(pair_id) for pair_id in pair_ids]
    with h5py.File(folder / "matches.h5", "w") as file:
        for (first, second), matched in zip(pairs, rows, strict=True):
            matches = np.full(len(keypoints[first]), -1)
            matches[matched[:, 0]] = matched[:, 1]
            group = file.create_group(names_to_pair(images[first], images[second]))
            group["matches0"], group["matching_scores0"] = matches, np.where(matches >= 0, 1.0, 0.0)
    (folder / "pairs.txt").write_text("".join(f"{images[a]} {images[b]}\n" for a, b in pairs))


def main(database_path: Path, photo_dir: Path, sfm_dir: Path) -> None:
    sfm_dir.mkdir(exist_ok=True)
    write_features(database_path, sfm_dir)
    model = reconstruction.main(
        sfm_dir,
        photo_dir,
        sfm_dir / "pairs.txt",
        sfm_dir / "features.h5",
        sfm_dir / "matches.h5",
        camera_mode=pycolmap.CameraMode.SINGLE,
        mapper_options={"min_model_size": 3, "num_threads": 1, "random_seed": 0},
    )
    print(f"hloc returned a model of {model.num_reg_images()} photos")


main(*map(Path, sys.argv[1:]))
