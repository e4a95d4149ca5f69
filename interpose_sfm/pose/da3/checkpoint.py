"""Finds weights of Depth Anything 3 on this machine and fills networks with them. Nothing is fetched or unpickled.

Only safetensors are read, which hold numbers and cannot run anything.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from interpose_sfm.pose.da3.architectures import (
    NON_COMMERCIAL,
    NON_COMMERCIAL_REASON,
    PUBLISHED,
    WEIGHTS_FILE,
    Architecture,
)
from interpose_sfm.storage.content_keys import file_sha256

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

AUTO = "auto"
FETCH_NAMES: Mapping[str, str] = MappingProxyType({"small": "da3", "base": "da3-base"})
"""Size -> name under which the weights are fetched."""

WIDTH_TENSOR = "model.backbone.pretrained.cls_token"
"""Its last side is the numbers per token, which tell the sizes apart."""

_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Checkpoint:
    """Weights and the network that they belong to.

    Attributes:
        path: The file.
        sha256: Hex digest of the file.
        architecture: Of the network.
    """

    path: Path
    sha256: str
    architecture: Architecture


def fetch_command(size: str) -> str:
    """The command that brings the published weights of a size onto this machine."""
    return f"interpose_sfm fetch {FETCH_NAMES[size]}"


def find(size: str) -> Path | None:
    """The published weights of a size in the cache of the hub, at the revision that is used; None without."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    published = PUBLISHED[size]
    cached = try_to_load_from_cache(published.repo, WEIGHTS_FILE, revision=published.revision)
    return Path(cached) if isinstance(cached, str) else None


def locate(weights: str, on_gpu: bool = False) -> Checkpoint:
    """Find weights by the name of their size, or by path.

    Args:
        weights: ``auto`` for whichever of the published ones is here, ``small``, ``base``, or a safetensors file.
        on_gpu: Whether ``auto`` prefers the larger ones.

    Raises:
        ValueError: They are not here, are not what they should be, or may not be used commercially; the message says
            what to do.
    """
    name = weights.lower()
    if name == AUTO:
        sizes = ("base", "small") if on_gpu else ("small", "base")
        name = next((size for size in sizes if find(size) is not None), "small")
    if name in PUBLISHED:
        return _published(name)
    path = Path(weights).expanduser()
    if any(size in path.name.lower() for size in NON_COMMERCIAL) and not path.exists():
        raise ValueError(f"got the weights {weights!r}: {NON_COMMERCIAL_REASON}")
    if path.suffix in _PICKLES:
        raise ValueError(f"got the weights {weights}, which may run code when read; expected a .safetensors file")
    if not path.is_file():
        raise ValueError(f"got the weights {weights!r}, expected auto, {', '.join(PUBLISHED)} or a .safetensors file")
    architecture = _architecture_of(path)
    return _checkpoint(path, file_sha256(path), architecture)


def load_into(network: torch.nn.Module, path: Path) -> None:
    """Fill a network with weights; every name and shape must fit, and none may be left over.

    Raises:
        ValueError: The weights are not those of the network.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    holder = torch.nn.Module()  # the published file holds the network as the part `model` of something larger
    holder.model = network
    try:
        load_model(holder, str(path), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"the weights {path} do not fit their network: {_first(error)}") from error


def _published(size: str) -> Checkpoint:
    path, published = find(size), PUBLISHED[size]
    if path is None:
        raise ValueError(
            f"the weights {published.repo} ({published.licence}, {published.num_bytes / 1e6:.0f} MB) are not on this "
            f"machine, and are fetched only when asked for; get them with: {fetch_command(size)}"
        )
    sha256 = file_sha256(path)
    if sha256 != published.sha256:
        raise ValueError(
            f"{path}: got the SHA-256 {sha256}, expected {published.sha256} of {published.repo}; remove the file and "
            f"get it anew with: {fetch_command(size)}"
        )
    return _checkpoint(path, sha256, published.architecture)


def _checkpoint(path: Path, sha256: str, architecture: Architecture) -> Checkpoint:
    logger.info("Depth Anything 3: weights %s, SHA-256 %s", path, sha256)
    return Checkpoint(path, sha256, architecture)


def _architecture_of(path: Path) -> Architecture:
    """What a file of weights belongs to, by the shape of one of its tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            shape = file.get_slice(WIDTH_TENSOR).get_shape() if WIDTH_TENSOR in file.keys() else ()  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file ({_first(error)}); expected weights of this format") from error
    width = shape[-1] if shape else 0
    if width in NON_COMMERCIAL.values():
        raise ValueError(f"got the weights {path} with {width} numbers per token: {NON_COMMERCIAL_REASON}")
    for published in PUBLISHED.values():
        if published.architecture.width == width:
            return published.architecture
    raise ValueError(f"{path}: got no tensor {WIDTH_TENSOR} of a known width, expected those of DA3-SMALL or BASE")


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
