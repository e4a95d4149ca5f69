"""Reads a folder with images/ and sparse/0 by the reader of gsplat's examples, and prints what that found as JSON."""

from __future__ import annotations

import contextlib
import json
import sys

with contextlib.redirect_stdout(sys.stderr):
    from datasets.colmap import Dataset, Parser

    parser = Parser(sys.argv[1], factor=1, normalize=False, test_every=1000)
    frames = {}
    for split in ("train", "val"):
        dataset = Dataset(parser, split)
        for row, index in enumerate(dataset.indices):
            data, name = dataset[row], parser.image_names[index]
            frames[name] = {
                "K": data["K"].tolist(),
                "camtoworld": data["camtoworld"].tolist(),
                "shape": list(data["image"].shape),
                "seen": parser.point_indices[name].tolist(),
                "path": parser.image_paths[index],
            }
print(json.dumps({"frames": frames, "points": parser.points.tolist(), "colours": parser.points_rgb.tolist()}))
