"""A network of Depth Anything 3's published classes at tiny size, and pictures for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from interpose_sfm.pose.da3 import network, network_code
from interpose_sfm.pose.da3.architectures import Architecture
from interpose_sfm.products import ImageArray

MISSING = network_code.missing_requirements()
needs_code = pytest.mark.skipif(bool(MISSING), reason=f"Depth Anything 3 needs {', '.join(MISSING)}")
WIDTH, DEPTH, START = 48, 6, 2


def tiny_module(seed: int = 0) -> Any:
    """All parts of the network; the backbone is six blocks of 48 numbers per token instead of twelve of 384."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    code = network_code.load_network_code()
    from depth_anything_3.model.dinov2.vision_transformer import DinoVisionTransformer

    blocks = (2, 3, 4, 5)
    module: Any = network.build_module(code, Architecture("vits", WIDTH, 32, (8, 8, 16, 16), blocks, START))
    module.backbone.pretrained = DinoVisionTransformer(
        img_size=518,
        patch_size=14,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=4,
        alt_start=START,
        qknorm_start=START,
        rope_start=START,
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        # Random weights see fields of view of zero; these see some 60 degrees.
        module.cam_dec.fc_fov[0].bias.fill_(1.0)
        module.cam_dec.fc_qvec.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 2.0]))
    return module.eval()


def pictures(number: int, shape: tuple[int, int] = (84, 112), seed: int = 0) -> list[ImageArray]:
    """Pictures of noise, of some (height, width)."""
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, (*shape, 3), np.uint8) for _ in range(number)]
