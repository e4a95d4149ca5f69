"""Reconstruct a folder of photos, read the result, and ask for the relative pose of two photos.

Usage: python examples/library.py PHOTOS [CLIPS ...]

Writes PHOTOS_interpose beside the photos; run again, it goes on from what is there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pycolmap

import interpose_sfm
from interpose_sfm.options import BridgingOptions


def main(photo_dir: Path, *clip_dirs: Path) -> None:
    """Print what a run says of a folder of photos."""
    # 1. Every option has a default; here folders with bridging clips may be named.
    options = interpose_sfm.ReconstructOptions(bridging=BridgingOptions(clip_dirs=clip_dirs))

    # 2. Photos -> models on disk, and a report that is also in PHOTOS_interpose/report.json.
    result = interpose_sfm.reconstruct(photo_dir, options=options)
    report = result.report
    print(f"photos in the largest model: {report.num_registered_before} -> {report.num_registered_after}")

    # 3. The models are COLMAP's, largest first.
    for folder in result.model_dirs:
        model = pycolmap.Reconstruction(folder)
        print(f"{folder.name}: {model.num_reg_images()} photos, {model.num_points3D()} points")

    # 4. What was tried between photos that COLMAP leaves apart, and why photos are missing.
    for pair in report.pairs:
        print(f"{pair.a} and {pair.b}: {pair.verdict} ({pair.detail})")
    for photo in report.photos:
        if not photo.is_registered:
            print(f"{photo.name} is in no model: {photo.reason}")

    # 5. Two photos alone: b_from_a maps points from the frame of the first camera to that of the second.
    first, second = (photo.name for photo in report.photos[:2])
    pose = interpose_sfm.relative_pose(photo_dir / first, photo_dir / second)
    print(f"{first} and {second}: {pose.verdict}, known to {pose.spread_deg:.1f} degrees")
    if pose.b_from_a is not None:
        print(pose.b_from_a.rotation, pose.b_from_a.translation)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
