"""Reads weights of DUSt3R from the hub or from a file, without running anything that a file holds.

The published checkpoints describe their network by a line of Python. It is taken apart as data here, never evaluated.
"""

from __future__ import annotations

import argparse
import ast
import json
import logging
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from interpose_sfm.registry import MissingDependencyError
from interpose_sfm.storage.content_keys import file_sha256

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

NETWORK_CLASS = "AsymmetricCroCo3DStereo"

VIT_LARGE_512_DPT: Mapping[str, object] = MappingProxyType(
    {
        "pos_embed": "RoPE100",
        "img_size": (512, 512),
        "head_type": "dpt",
        "output_mode": "pts3d",
        "depth_mode": ("exp", -math.inf, math.inf),
        "conf_mode": ("exp", 1, math.inf),
        "enc_embed_dim": 1024,
        "enc_depth": 24,
        "enc_num_heads": 16,
        "dec_embed_dim": 768,
        "dec_depth": 12,
        "dec_num_heads": 12,
    }
)
"""Arguments of the published network for 512 pixels; used for weights that come without a description."""

# Sizes and modes, by name, with the types that they may have. What the network does with portraits is not among them:
# every picture goes in as it is, as the published inference has it.
_ARGUMENTS: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        "pos_embed": (str,),
        "img_size": (tuple, int),
        "patch_size": (int,),
        "head_type": (str,),
        "output_mode": (str,),
        "depth_mode": (tuple,),
        "conf_mode": (tuple,),
        "enc_embed_dim": (int,),
        "enc_depth": (int,),
        "enc_num_heads": (int,),
        "dec_embed_dim": (int,),
        "dec_depth": (int,),
        "dec_num_heads": (int,),
        "mlp_ratio": (int, float),
        "norm_im2_in_dec": (bool,),
    }
)
_IGNORED = frozenset({"patch_embed_cls", "landscape_only", "freeze", "mask_ratio"})


@dataclass(frozen=True)
class Checkpoint:
    """Weights and the network that they belong to.

    Attributes:
        path: The file.
        sha256: Hex digest of the file.
        arguments: Of the network class.
    """

    path: Path
    sha256: str
    arguments: Mapping[str, object]


def locate(weights: str) -> Checkpoint:
    """Find weights by hub id or path, and read how their network is built.

    Raises:
        ValueError: No such file or hub id, or a description that is not one of this network.
        MissingDependencyError: The hub is needed and its client is not installed.
    """
    path = Path(weights).expanduser()
    if path.suffix in (".pth", ".pt", ".safetensors"):
        if not path.is_file():
            raise ValueError(f"got the weights {weights}, expected a file; a hub id has no ending")
        config = path.with_name("config.json")
    else:
        path, config = _download(weights)
    if path.suffix == ".safetensors":
        arguments = _from_config(config) if config.is_file() else dict(VIT_LARGE_512_DPT)
    else:
        arguments = _from_model_line(_load_pickle(path))
    sha256 = file_sha256(path)
    logger.info("DUSt3R weights %s, SHA-256 %s", path, sha256)
    return Checkpoint(path, sha256, arguments)


def is_here(weights: str) -> bool:
    """Whether weights by hub id or path are on this machine; nothing is asked of the hub."""
    if Path(weights).suffix in (".pth", ".pt", ".safetensors"):
        return Path(weights).expanduser().is_file()
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False
    return isinstance(try_to_load_from_cache(weights, "model.safetensors"), str)


def load_into(network: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Fill a network with weights; every name and shape must fit.

    Raises:
        ValueError: The weights are not those of the network.
    """
    try:
        if checkpoint.path.suffix == ".safetensors":
            from safetensors.torch import load_model

            load_model(network, str(checkpoint.path), strict=True)
        else:
            network.load_state_dict(_load_pickle(checkpoint.path)["model"], strict=True)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise ValueError(f"the weights {checkpoint.path} do not fit their network: {first}") from error


def parse_model_line(line: str) -> dict[str, object]:
    """Arguments of the network from the line of Python in a published checkpoint, which is not evaluated.

    Raises:
        ValueError: Anything but one call of the network's class with known arguments of known types.
    """
    try:
        call = ast.parse(line.strip(), mode="eval").body
    except SyntaxError:
        call = None
    if not (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == NETWORK_CLASS
        and not call.args
    ):
        raise ValueError(f"got the network {line[:200]!r}, expected {NETWORK_CLASS}(name=value, ...)")
    return _checked({str(keyword.arg): _literal(keyword.value) for keyword in call.keywords})


def _literal(node: ast.expr) -> object:
    """A number, string, bool, tuple or list of these, or infinity; ValueError for all else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str)):
        return node.value
    if isinstance(node, ast.Name) and node.id == "inf":
        return math.inf
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand)
        if isinstance(value, (int, float)):
            return -value
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_literal(item) for item in node.elts)
    raise ValueError(f"got {ast.unparse(node)[:100]!r} in the network's description, expected a plain value")


def _checked(arguments: Mapping[str, object]) -> dict[str, object]:
    unknown = sorted(arguments.keys() - _ARGUMENTS.keys() - _IGNORED)
    if unknown:
        raise ValueError(f"got the network arguments {', '.join(unknown)}, expected only {', '.join(_ARGUMENTS)}")
    checked = {name: value for name, value in arguments.items() if name not in _IGNORED}
    for name, value in checked.items():
        if not isinstance(value, _ARGUMENTS[name]) or (isinstance(value, bool) and bool not in _ARGUMENTS[name]):
            raise ValueError(f"network argument {name}: got {value!r}, expected {_ARGUMENTS[name][0].__name__}")
    return checked


def _from_model_line(content: Mapping[str, Any]) -> dict[str, object]:
    line = getattr(content.get("args"), "model", None)
    return dict(VIT_LARGE_512_DPT) if line is None else parse_model_line(str(line))


def _from_config(path: Path) -> dict[str, object]:
    """Arguments from the hub's config.json, where tuples are lists and infinities may be words."""

    def value(item: object) -> object:
        if isinstance(item, list):
            return tuple(value(part) for part in item)
        return {"inf": math.inf, "-inf": -math.inf}.get(item, item) if isinstance(item, str) else item

    return _checked({name: value(item) for name, item in json.loads(path.read_text(encoding="utf-8")).items()})


def _load_pickle(path: Path) -> dict[str, Any]:
    """A checkpoint of tensors and plain values; anything else in it is refused unread."""
    import torch

    if not hasattr(torch.serialization, "safe_globals"):
        raise MissingDependencyError(
            "a checkpoint that describes its network cannot be read safely by this torch; try: "
            "pip install 'torch>=2.5', or hand in a .safetensors file"
        )
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path} is not a checkpoint of tensors and plain values ({' '.join(str(error).split())[:200]}); "
            "get it anew, or turn it into a .safetensors file"
        ) from error
    if not isinstance(content, dict) or "model" not in content:
        raise ValueError(f"{path}: got no entry 'model', expected a checkpoint as published by DUSt3R")
    return content


def _download(hub_id: str) -> tuple[Path, Path]:
    """Weights and description of a hub id, from the local cache where they are there."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingDependencyError(f"weights from the hub need its client; try: pip install {error.name}") from error
    try:
        config = Path(hf_hub_download(hub_id, "config.json"))
        return Path(hf_hub_download(hub_id, "model.safetensors")), config
    except (OSError, ValueError) as error:
        first = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the weights {hub_id!r} cannot be had from the hub ({first}); connect to the network once, or name a "
            "local .safetensors or .pth file with --dust3r-weights"
        ) from error
