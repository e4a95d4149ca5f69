"""Lets the published attention layers use PyTorch's fused attention: the same numbers in less time and memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def install(network: torch.nn.Module) -> torch.nn.Module:
    """Replace ``forward`` of all attention layers of this instance; the classes stay as they are.

    Layers are known by their parts: self-attention has one projection ``qkv``, cross-attention three. Rotary positions
    (Su et al., 2021; here one half of the channels turns with the row, the other with the column) are applied by the
    layers' own ``rope``.
    """
    for layer in network.modules():
        parts = dict(layer.named_children())
        if {"qkv", "proj"} <= parts.keys():
            layer.forward = partial(_self_attention, layer)
        elif {"projq", "projk", "projv", "proj"} <= parts.keys():
            layer.forward = partial(_cross_attention, layer)
    return network


def _self_attention(layer: Any, x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    batch, count, channels = x.shape
    heads = layer.num_heads
    query, key, value = layer.qkv(x).view(batch, count, 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
    return _attend(layer, query, key, value, places, places)


def _cross_attention(
    layer: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_places: torch.Tensor,
    key_places: torch.Tensor,
) -> torch.Tensor:
    def split(x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1], layer.num_heads, -1).transpose(1, 2)

    parts = split(layer.projq(query)), split(layer.projk(key)), split(layer.projv(value))
    return _attend(layer, *parts, query_places, key_places)


def _attend(
    layer: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_places: torch.Tensor,
    key_places: torch.Tensor,
) -> torch.Tensor:
    """Attention of (batch, heads, count, channels) parts; the default scale is the layers' own, 1 / sqrt(channels)."""
    from torch.nn.functional import scaled_dot_product_attention

    if layer.rope is not None:
        query, key = layer.rope(query, query_places), layer.rope(key, key_places)
    attended = scaled_dot_product_attention(query, key.to(query.dtype), value.to(query.dtype))
    return layer.proj(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]
