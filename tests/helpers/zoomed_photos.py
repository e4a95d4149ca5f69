"""Photos of one size of which some were zoomed in, and nothing tells them apart."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from geometry_scenes import Scene, arc, camera, cloud, observe

NAMES = tuple(f"{view}.jpg" for view in range(6))
POSES = arc([0, 8, 16, 24, 32, 40])
TRUTH = dict(zip(NAMES, POSES, strict=True))
FOCAL_PX = 600.0


def zoomed(ratio: float, views: Collection[int] = (1, 3, 5)) -> Scene:
    """The photos, of which some have a focal length that is so many times that of the others.

    Their intrinsics are a guess, the same of all.
    """
    points = cloud(1, 300)
    plain, longer = (
        observe(points, POSES, noise_px=0.3, seed=1, intrinsics=camera(FOCAL_PX * factor, is_trusted=False))
        for factor in (1.0, ratio)
    )
    taken = [longer if view in views else plain for view in range(len(NAMES))]
    return replace(
        plain,
        features=tuple(scene.features[view] for view, scene in enumerate(taken)),
        point_of_row=tuple(scene.point_of_row[view] for view, scene in enumerate(taken)),
    )
