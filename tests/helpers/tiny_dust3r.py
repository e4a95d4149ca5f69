"""A DUSt3R network of the published classes at tiny size, and pictures for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from interpose_sfm.pose.dust3r import network_code
from interpose_sfm.products import Intrinsics, View

MISSING = network_code.missing_requirements()
needs_code = pytest.mark.skipif(bool(MISSING), reason=f"DUSt3R's code needs {', '.join(MISSING)}")
TINY = {
    "pos_embed": "RoPE100",
    "img_size": (512, 512),
    "head_type": "linear",
    "output_mode": "pts3d",
    "depth_mode": ("exp", -math.inf, math.inf),
    "conf_mode": ("exp", 1, math.inf),
    "enc_embed_dim": 32,
    "enc_depth": 2,
    "enc_num_heads": 2,
    "dec_embed_dim": 24,
    "dec_depth": 10,
    "dec_num_heads": 2,
}
LINE = (
    "AsymmetricCroCo3DStereo(pos_embed='RoPE100', patch_embed_cls='ManyAR_PatchEmbed', img_size=(512, 512), "
    "head_type='linear', output_mode='pts3d', depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), "
    "enc_embed_dim=32, enc_depth=2, enc_num_heads=2, dec_embed_dim=24, dec_depth=10, dec_num_heads=2, "
    "landscape_only=True)"
)


def pictures(shapes: Sequence[tuple[int, int]]) -> list[View]:
    generator = np.random.default_rng(0)
    return [
        View(f"{i}", generator.integers(0, 256, (h, w, 3), np.uint8), Intrinsics(w, h, 100.0, w / 2, h / 2))
        for i, (h, w) in enumerate(shapes)
    ]
