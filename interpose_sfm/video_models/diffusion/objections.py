"""Why a checkpoint cannot be used with a last frame, which it would ignore in silence.

Each function takes the checkpoint's ``model_index.json``, and its components' ``config.json`` by name, and answers with
the reason, empty for none.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Config = Mapping[str, Any]

_NO_LAST_FRAME = "whose pipeline takes one picture and knows no last frame"

ONE_PICTURE: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(
        (
            "HunyuanVideo15ImageToVideoPipeline",
            "HunyuanVideo15Pipeline",
            "HunyuanVideoImageToVideoPipeline",
            "Kandinsky5I2VPipeline",
            "Kandinsky6TI2VAPipeline",
        ),
        _NO_LAST_FRAME,
    )
)
"""Classes of diffusers that others use for videos from pictures -> why they cannot bridge two photos."""


def wan(index: Config, configs: Mapping[str, Config]) -> str:
    """Wan: one picture only, or none."""
    if index.get("expand_timesteps"):
        return (
            "it is made for a first frame only (expand_timesteps, as in Wan2.2-TI2V-5B), and would ignore the last one"
        )
    latents = configs.get("vae", {}).get("z_dim", 16)
    mask = configs.get("vae", {}).get("scale_factor_temporal", 4)
    for part in ("transformer", "transformer_2"):
        config = configs.get(part)
        if config is None:
            continue
        if config.get("in_channels", 16) != 2 * latents + mask:
            return (
                f"its {part} takes {config.get('in_channels', 16)} channels, expected {2 * latents + mask} (noise, "
                "mask and conditioning video): it does not take pictures"
            )
        if config.get("image_dim") is not None and config.get("pos_embed_seq_len") is None:
            return (
                f"its {part} looks at one picture only (image_dim without pos_embed_seq_len, as in Wan2.1-I2V), not at "
                "a first and a last one"
            )
    return ""


def ltx(index: Config, configs: Mapping[str, Config]) -> str:
    """LTX-Video: older than conditions at single frames."""
    # Conditions at any frame came with LTX-Video 0.9.5, and with it blocks of the VAE that bear the number.
    if index.get("_class_name") == "LTXConditionPipeline":
        return ""
    if any("095" in str(block) for block in configs.get("vae", {}).get("down_block_types", ())):
        return ""
    return "it is older than LTX-Video 0.9.5, and knows no condition at a single frame"


def framepack(index: Config, configs: Mapping[str, Config]) -> str:
    """FramePack: no embedder for clean frames."""
    if configs.get("transformer", {}).get("has_clean_x_embedder"):
        return ""
    return "its transformer has no embedder for clean frames (has_clean_x_embedder), and would ignore both pictures"


def tokenless(index: Config, configs: Mapping[str, Config]) -> str:
    """Diffusion forcing: an image encoder that is not run."""
    if configs.get("transformer", {}).get("image_dim") is None:
        return ""
    return "its transformer wants an image encoder (image_dim), which diffusion forcing does not run"
