"""The videos of the InterPose project page as a benchmark without truth: ``DATASET/EXAMPLE`` with what is published."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from benchmarks.pair_rule import BenchmarkPair

MODELS = ("dynamicrafter", "runway", "luma")
NAME = "published.json"
YAW_DEG: Mapping[str, tuple[float, float]] = {
    "cambridge": (50, 65),
    "scannet": (50, 65),
    "dl3dv": (50, 90),
    "navi": (50, 90),
}
"""Range of the yaw between the photos of a dataset, from the paper."""


def pairs_of(data: Path) -> list[BenchmarkPair]:
    """The pairs of a folder, in name order.

    Raises:
        ValueError: There is none.
    """
    folders = sorted(path.parent for path in data.glob(f"*/*/{NAME}"))
    if not folders:
        raise ValueError(f"no pairs in {data}: expected DATASET/EXAMPLE/{NAME}")
    return [
        BenchmarkPair(
            name=f"{folder.parent.name}/{folder.name}",
            scene=folder.parent.name,
            a="a.jpg",
            b="b.jpg",
            yaw_deg=math.nan,
            overlap=math.nan,
            sha256_a="",
            sha256_b="",
            b_from_a=None,
        )
        for folder in folders
    ]


def published(folder: Path) -> Mapping[str, object]:
    """What the authors publish of a pair, as its rows have it."""
    return {"published": json.loads((folder / NAME).read_text(encoding="utf-8"))}
