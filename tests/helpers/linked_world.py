"""Eight photos of known poses, and links and base models of them."""

from __future__ import annotations

import numpy as np

from geometry_scenes import arc, evidence, link, turned
from interpose_sfm import geometry
from interpose_sfm.products import Evidence, Link, Pose

NAMES = "abcdefgh"
WORLD = dict(zip(NAMES, arc([0, 35, 80, 120, 160, 200, 250, 300]), strict=True))


def of_strength(strength: float) -> Evidence:
    return evidence(share=1.0, score=1.0, density=strength)


def offered(a: str, b: str, strength: float = 0.5, error_deg: float = 0.0) -> Link:
    """A link between two photos of the world, turned away from the truth."""
    b_from_a = geometry.with_unit_translation(geometry.relative_pose(WORLD[b], WORLD[a]))
    return link(a, b, turned(b_from_a, error_deg), of_strength(strength))


def model(names: str, seed: int = 0) -> dict[str, Pose]:
    """A base model of some photos, in a world frame of its own."""
    rng = np.random.default_rng(seed)
    other_from_world = geometry.Similarity(
        float(rng.uniform(0.5, 2)), geometry.rotation_exp(rng.normal(size=3)), rng.normal(size=3)
    )
    return {name: other_from_world.move_camera(WORLD[name]) for name in names}
