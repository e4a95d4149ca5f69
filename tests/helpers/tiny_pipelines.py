"""The pipelines of diffusers that make clips, at tiny size from configuration: random weights, nothing downloaded.

Every class is the real one, with the compression of the published model, so that its rules on sizes and frames hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

WORDS = (
    "a",
    "an",
    "the",
    "static",
    "scene",
    "camera",
    "moves",
    "slowly",
    "from",
    "one",
    "side",
    "to",
    "other",
    "house",
)


def save_tiny(name: str, folder: Path, **changes: Any) -> Path:
    """Write a tiny pipeline of `BUILDERS` as a checkpoint; `changes` replace arguments of its transformer."""
    from interpose_sfm.video_models.diffusion.loading import quiet

    with quiet():
        build(name, **changes).save_pretrained(folder, safe_serialization=True)
    return folder


def build(name: str, **changes: Any) -> Any:
    """The tiny pipeline of a name in `BUILDERS`, always with the same weights."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        pipe = BUILDERS[name](**changes)
        for part in ("transformer", "transformer_2", "vae"):
            module = getattr(pipe, part, None)
            if module is not None:
                _enliven(module)
    return pipe


def _enliven(module: Any) -> None:
    """Weights that keep the size of a signal: the usual ones are for training, and damp it until 8 bits lose it."""
    import torch

    for weight in module.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)


# ---------------------------------------------------------------- parts


@cache
def tokenizer(length: int, padding_side: str = "right") -> Any:
    """A tokenizer of whole words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=length,
        padding_side=padding_side,
    )


def t5_encoder(kind: str) -> Any:
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=64, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
    )
    return getattr(transformers, f"{kind}EncoderModel")(config).eval()


def clip_vision() -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
        projection_dim=16,
    )
    return CLIPVisionModel(config).eval()


def clip_image_processor() -> Any:
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def wan_vae() -> Any:
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    ).eval()


def uni_pc() -> Any:
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


WAN_SIZES: Mapping[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "out_channels": 16,
    "text_dim": 32,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 2,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 32,
}
FIRST_AND_LAST: Mapping[str, Any] = {
    "in_channels": 36,
    "image_dim": 16,
    "added_kv_proj_dim": 24,
    "pos_embed_seq_len": 10,
}


def wan_parts() -> dict[str, Any]:
    return {
        "tokenizer": tokenizer(512),
        "text_encoder": t5_encoder("UMT5"),
        "vae": wan_vae(),
        "scheduler": uni_pc(),
    }


# ---------------------------------------------------------------- pipelines


def wan_flf2v(*, expand_timesteps: bool = False, **changes: Any) -> Any:
    """Wan 2.1 FLF2V, or another checkpoint of its class by changes."""
    from diffusers import WanImageToVideoPipeline, WanTransformer3DModel

    return WanImageToVideoPipeline(
        **wan_parts(),
        image_encoder=clip_vision(),
        image_processor=clip_image_processor(),
        transformer=WanTransformer3DModel(**{**WAN_SIZES, **FIRST_AND_LAST, **changes}).eval(),
        expand_timesteps=expand_timesteps,
    )


def wan22_i2v(**changes: Any) -> Any:
    """Wan 2.2 I2V A14B: two transformers without image encoder."""
    from diffusers import WanImageToVideoPipeline, WanTransformer3DModel

    sizes = {**WAN_SIZES, "in_channels": 36, **changes}
    return WanImageToVideoPipeline(
        **wan_parts(),
        transformer=WanTransformer3DModel(**sizes).eval(),
        transformer_2=WanTransformer3DModel(**sizes).eval(),
        boundary_ratio=0.9,
    )


VACE_SIZES: Mapping[str, Any] = {**WAN_SIZES, "in_channels": 16, "vace_layers": [0, 1], "vace_in_channels": 96}


def wan_vace(**changes: Any) -> Any:
    from diffusers import WanVACEPipeline, WanVACETransformer3DModel

    return WanVACEPipeline(**wan_parts(), transformer=WanVACETransformer3DModel(**{**VACE_SIZES, **changes}).eval())


def wan22_vace(**changes: Any) -> Any:
    """Wan 2.2 VACE: two transformers."""
    from diffusers import WanVACEPipeline, WanVACETransformer3DModel

    sizes = {**VACE_SIZES, **changes}
    return WanVACEPipeline(
        **wan_parts(),
        transformer=WanVACETransformer3DModel(**sizes).eval(),
        transformer_2=WanVACETransformer3DModel(**sizes).eval(),
        boundary_ratio=0.875,
    )


def skyreels(**changes: Any) -> Any:
    """SkyReels-V2 DF; as published, saved under the name of its text-to-video pipeline."""
    from diffusers import SkyReelsV2DiffusionForcingPipeline, SkyReelsV2Transformer3DModel

    sizes = {**WAN_SIZES, "in_channels": 16, "inject_sample_info": True, **changes}
    return SkyReelsV2DiffusionForcingPipeline(**wan_parts(), transformer=SkyReelsV2Transformer3DModel(**sizes).eval())


def skyreels_flf2v(**changes: Any) -> Any:
    """SkyReels-V2 FLF2V, which is conditioned as Wan is."""
    from diffusers import SkyReelsV2ImageToVideoPipeline, SkyReelsV2Transformer3DModel

    sizes = {**WAN_SIZES, **FIRST_AND_LAST, **changes}
    return SkyReelsV2ImageToVideoPipeline(
        **wan_parts(),
        image_encoder=clip_vision(),
        image_processor=clip_image_processor(),
        transformer=SkyReelsV2Transformer3DModel(**sizes).eval(),
    )


def ltx(**changes: Any) -> Any:
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXConditionPipeline,
        LTXVideoTransformer3DModel,
    )

    sizes = {
        "in_channels": 8,
        "out_channels": 8,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "cross_attention_dim": 16,
        "num_layers": 2,
        "caption_channels": 32,
        **changes,
    }
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, True, False),
        decoder_spatio_temporal_scaling=(True, True, True, False),
        timestep_conditioning=True,
    ).eval()
    return LTXConditionPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=t5_encoder("T5"),
        tokenizer=tokenizer(128),
        transformer=LTXVideoTransformer3DModel(**sizes).eval(),
    )


LTX2_SIZES: Mapping[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 16,
    "audio_in_channels": 4,
    "audio_out_channels": 4,
    "audio_num_attention_heads": 2,
    "audio_attention_head_dim": 4,
    "audio_cross_attention_dim": 8,
    "num_layers": 2,
    "caption_channels": 32,
    "rope_double_precision": False,
}
CONNECTOR_SIZES: Mapping[str, Any] = {
    "caption_channels": 32,
    "text_proj_in_factor": 3,
    "video_connector_num_layers": 1,
    "video_connector_num_learnable_registers": None,
    "audio_connector_num_layers": 1,
    "audio_connector_num_learnable_registers": None,
    "connector_rope_base_seq_len": 32,
    "rope_double_precision": False,
}


def ltx2_parts() -> dict[str, Any]:
    """What LTX-2 and LTX-2.5 have in common."""
    from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, FlowMatchEulerDiscreteScheduler

    vae = AutoencoderKLLTX2Video(
        latent_channels=4,
        block_out_channels=(8, 16, 32, 64),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    ).eval()
    sound = AutoencoderKLLTX2Audio(
        base_channels=4, ch_mult=(1,), num_res_blocks=1, latent_channels=2, resolution=32, mel_bins=8
    ).eval()
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05),
        "vae": vae,
        "audio_vae": sound,
        "tokenizer": tokenizer(64, "left"),
    }


def ltx2(**changes: Any) -> Any:
    """LTX-2 with its sound; as published, saved under the name of its text-to-video pipeline."""
    from diffusers import LTX2Pipeline, LTX2VideoTransformer3DModel
    from diffusers.pipelines.ltx2 import LTX2TextConnectors

    connectors = LTX2TextConnectors(
        **CONNECTOR_SIZES,
        video_connector_num_attention_heads=4,
        video_connector_attention_head_dim=8,
        audio_connector_num_attention_heads=4,
        audio_connector_attention_head_dim=8,
    )
    return LTX2Pipeline(
        **ltx2_parts(),
        text_encoder=gemma3(),
        connectors=connectors.eval(),
        transformer=LTX2VideoTransformer3DModel(**{**LTX2_SIZES, **changes}).eval(),
        vocoder=vocoder(),
    )


def ltx25(**changes: Any) -> Any:
    """LTX-2.5: another text encoder, a projection of the text for sound and one for pictures, a head for the length."""
    from diffusers import LTX2Pipeline, LTX2VideoTransformer3DModel
    from diffusers.pipelines.ltx2 import LTX2DurationHead, LTX2TextConnectors

    connectors = LTX2TextConnectors(
        **CONNECTOR_SIZES,
        video_connector_num_attention_heads=2,
        video_connector_attention_head_dim=8,
        audio_connector_num_attention_heads=2,
        audio_connector_attention_head_dim=4,
        per_modality_projections=True,
        video_hidden_dim=16,
        audio_hidden_dim=8,
        proj_bias=True,
    )
    sizes = {
        **LTX2_SIZES,
        "cross_attn_mod": True,
        "audio_cross_attn_mod": True,
        "gated_attn": True,
        "audio_gated_attn": True,
        "use_prompt_embeddings": False,
        "use_prompt_adaln_single": False,
        "perturbed_attn": True,
        **changes,
    }
    return LTX2Pipeline(
        **ltx2_parts(),
        text_encoder=gemma4(),
        connectors=connectors.eval(),
        transformer=LTX2VideoTransformer3DModel(**sizes).eval(),
        vocoder=vocoder(),
        duration_head=LTX2DurationHead(
            video_cross_attention_dim=16, audio_cross_attention_dim=8, pooler_hidden_dim=8, num_pooler_heads=2
        ),
    )


def vocoder() -> Any:
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder

    return LTX2Vocoder(
        in_channels=16,
        hidden_channels=32,
        upsample_kernel_sizes=[4, 4],
        upsample_factors=[2, 2],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
    ).eval()


def gemma4() -> Any:
    from transformers import Gemma4UnifiedConfig, Gemma4UnifiedForConditionalGeneration

    text = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 37,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    vision = {"mm_embed_dim": 16, "mm_posemb_size": 16, "output_proj_dims": 16}
    special = ("image", "video", "audio", "boi", "eoi", "boa")
    config = Gemma4UnifiedConfig(
        text_config=text,
        vision_config=vision,
        audio_config={"audio_embed_dim": 16},
        eoa_token_index=63,
        **{f"{name}_token_id": 50 + index for index, name in enumerate(special)},
    )
    return Gemma4UnifiedForConditionalGeneration(config).eval()


def gemma3() -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 37,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    }
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=4,
        image_token_index=60,
        boi_token_index=61,
        eoi_token_index=62,
    )
    return Gemma3ForConditionalGeneration(config).eval()


def framepack(**changes: Any) -> Any:
    from diffusers import (
        AutoencoderKLHunyuanVideo,
        FlowMatchEulerDiscreteScheduler,
        HunyuanVideoFramepackPipeline,
        HunyuanVideoFramepackTransformer3DModel,
    )
    from transformers import (
        CLIPTextConfig,
        CLIPTextModel,
        LlamaConfig,
        LlamaModel,
        SiglipImageProcessor,
        SiglipVisionConfig,
        SiglipVisionModel,
    )

    sizes = {
        "in_channels": 4,
        "out_channels": 4,
        "num_attention_heads": 2,
        "attention_head_dim": 10,
        "num_layers": 1,
        "num_single_layers": 1,
        "num_refiner_layers": 1,
        "guidance_embeds": True,
        "text_embed_dim": 16,
        "pooled_projection_dim": 8,
        "rope_axes_dim": (2, 4, 4),
        "image_condition_type": None,
        "has_image_proj": True,
        "image_proj_dim": 16,
        "has_clean_x_embedder": True,
        **changes,
    }
    vae = AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    ).eval()
    llama = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
    )
    clip = CLIPTextConfig(
        vocab_size=64,
        hidden_size=8,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=8,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    siglip = SiglipVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16
    )
    return HunyuanVideoFramepackPipeline(
        text_encoder=LlamaModel(llama).eval(),
        tokenizer=tokenizer(512),
        transformer=HunyuanVideoFramepackTransformer3DModel(**sizes).eval(),
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder_2=CLIPTextModel(clip).eval(),
        tokenizer_2=tokenizer(77),
        image_encoder=SiglipVisionModel(siglip).eval(),
        feature_extractor=SiglipImageProcessor(size={"height": 32, "width": 32}),
    )


BUILDERS: Mapping[str, Callable[..., Any]] = {
    "wan-flf2v": wan_flf2v,
    "wan-vace": wan_vace,
    "ltx": ltx,
    "ltx2": ltx2,
    "framepack": framepack,
    "skyreels": skyreels,
    "wan2.2": wan22_i2v,
    "wan2.2-vace": wan22_vace,
    "ltx2.5": ltx25,
    "skyreels-flf2v": skyreels_flf2v,
}
"""Name -> function; most names are those of the generators."""
