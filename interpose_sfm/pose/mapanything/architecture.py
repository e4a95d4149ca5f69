"""What MapAnything's class is built from: plain numbers, as the published configuration has them.

They are those of ``configs/model/mapanything.yaml`` in the checkout. A file of weights must fit them in every name and
shape; its own ``config.json``, which may name further files to unpickle, is not read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

PATCH_PX = 14
NORMALISATION = "dinov2"


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network.

    Attributes:
        encoder: DINOv2's size, as ``giant``.
        encoder_layers: Of it that are kept.
        width, heads, depth: Of the transformer across views: numbers per token, heads, layers.
        shared: Layers of it whose output the head sees as well.
        head_features: Width of the head for depths and rays.
    """

    encoder: str = "giant"
    encoder_layers: int = 24
    width: int = 1536
    heads: int = 24
    depth: int = 16
    shared: tuple[int, int] = (7, 11)
    head_features: int = 256


def arguments(architecture: Architecture) -> dict[str, Any]:
    """The arguments of the published class."""
    unbounded = {"vmin": -math.inf, "vmax": math.inf}
    name = "raydirs+depth+pose+confidence+mask"
    return {
        "name": "mapanything",
        "encoder_config": {
            "encoder_str": "dinov2",
            "name": "dinov2",
            "data_norm_type": NORMALISATION,
            "size": architecture.encoder,
            "with_registers": False,
            "uses_torch_hub": True,
            "gradient_checkpointing": False,
            "norm_returned_features": False,
            "keep_first_n_layers": architecture.encoder_layers,
        },
        "info_sharing_config": {
            "model_type": "alternating_attention",
            "model_return_type": "intermediate_features",
            "custom_positional_encoding": None,
            "module_args": {
                "name": "across views",
                "indices": list(architecture.shared),
                "norm_intermediate": True,
                "size": f"{architecture.depth}_layers",
                "depth": architecture.depth,
                "distinguish_ref_and_non_ref_views": True,
                "gradient_checkpointing": False,
                "dim": architecture.width,
                "num_heads": architecture.heads,
                "mlp_ratio": 4,
                "qkv_bias": True,
                "qk_norm": False,
                "init_values": 1e-5,
            },
        },
        "pred_head_config": {
            "type": "dpt+pose",
            "feature_head": {
                "feature_dim": architecture.head_features,
                "hooks": [0, 1, 2, 3],
                "checkpoint_gradient": False,
            },
            "regressor_head": {"output_dim": 6, "checkpoint_gradient": False},
            "pose_head": {"num_resconv_block": 2, "rot_representation_dim": 4},
            "scale_head": {"output_dim": 1},
            "adaptor_type": name,
            "dpt_adaptor": {
                "name": name,
                "ray_directions_mode": "linear",
                "ray_directions_normalize_to_unit_sphere": True,
                "ray_directions_normalize_to_unit_image_plane": False,
                **{f"ray_directions_{bound}": value for bound, value in unbounded.items()},
                "ray_directions_clamp_min_of_z_dir": False,
                "ray_directions_z_dir_min": -math.inf,
                "depth_mode": "exp",
                "depth_vmin": 0,
                "depth_vmax": math.inf,
                "confidence_type": "exp",
                "confidence_vmin": 1,
                "confidence_vmax": math.inf,
            },
            "pose_adaptor": {
                "name": name,
                "cam_trans_mode": "linear",
                **{f"cam_trans_{bound}": value for bound, value in unbounded.items()},
                "quaternions_mode": "linear",
                "quaternions_normalize": True,
                **{f"quaternions_{bound}": value for bound, value in unbounded.items()},
            },
            "scale_adaptor": {"name": name, "mode": "exp", "vmin": 1e-8, "vmax": math.inf},
            "gradient_checkpointing": False,
            "adaptor_config": {
                "input_dim": 6,
                "scene_rep_dim": 4,
                "type": name,
                "scene_rep_type": "raydirs+depth+pose",
            },
        },
        "geometric_input_config": {
            "ray_dirs_encoder_config": _dense("ray directions", 3),
            "depth_encoder_config": _dense("depth", 1),
            "cam_rot_encoder_config": _whole("rotation", 4),
            "cam_trans_encoder_config": _whole("translation", 3),
            "scale_encoder_config": _whole("scale", 1),
            # What is drawn in training; `infer` sets these by what it is given.
            **dict.fromkeys(("overall_prob", "ray_dirs_prob", "depth_prob", "cam_prob", "sparse_depth_prob"), 0),
            **dict.fromkeys(("depth_scale_norm_all_prob", "pose_scale_norm_all_prob"), 0),
            "sparsification_removal_percent": 0,
            "dropout_prob": 1,
        },
        "use_register_tokens_from_encoder": True,
        "info_sharing_mlp_layer_str": "swiglufused",
    }


def _dense(name: str, channels: int) -> dict[str, Any]:
    return {"name": name, "in_chans": channels, "encoder_str": "dense_rep_encoder", "apply_pe": False}


def _whole(name: str, channels: int) -> dict[str, Any]:
    return {"name": name, "in_chans": channels, "encoder_str": "global_rep_encoder"}
