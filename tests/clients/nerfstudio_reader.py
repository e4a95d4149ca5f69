"""Reads a folder with transforms.json by nerfstudio's own data parser, and prints what that found as JSON.

Arguments: the folder, and a file with pixels {name of a photo: [[x, y], ...]} whose rays are wanted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.data.utils.data_utils import get_image_mask_tensor_from_path


def main(folder: Path, pixels_path: Path) -> None:
    config = NerfstudioDataParserConfig(
        data=folder,
        orientation_method="none",
        center_method="none",
        auto_scale_poses=False,
        eval_mode="all",
        load_3D_points=True,
    )
    read = config.setup().get_dataparser_outputs("train")
    pixels = json.loads(pixels_path.read_text())
    names = [path.relative_to(folder / "images").as_posix() for path in read.image_filenames]
    rays = {}
    for index, name in enumerate(names):
        coords = torch.tensor(pixels[name], dtype=torch.float32)[:, [1, 0]]
        bundle = read.cameras.generate_rays(camera_indices=index, coords=coords)
        rays[name] = {"origins": bundle.origins.tolist(), "directions": bundle.directions.tolist()}
    masks = {
        path.relative_to(folder).as_posix(): int(get_image_mask_tensor_from_path(path).sum())
        for path in read.mask_filenames or []
    }
    points, colours = read.metadata["points3D_xyz"].tolist(), read.metadata["points3D_rgb"].tolist()
    print(json.dumps({"rays": rays, "masks": masks, "points": points, "colours": colours}))


main(Path(sys.argv[1]), Path(sys.argv[2]))
