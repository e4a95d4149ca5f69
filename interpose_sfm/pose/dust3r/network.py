"""Runs DUSt3R's published network in two steps, so that an image is encoded once however many pairs it is in."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from interpose_sfm.options import Dust3rOptions, NetworkDtype
from interpose_sfm.options.devices import pick_device
from interpose_sfm.pose.dust3r import checkpoint, fused_attention
from interpose_sfm.pose.dust3r.network_code import NetworkCode, find_network_code
from interpose_sfm.pose.point_maps.maps import MapArray, PointMaps
from interpose_sfm.products import ImageArray

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoding:
    """Encoder features of one crop.

    Attributes:
        tokens: (n, d) float32, one row per patch.
        shape: (height, width) of the crop in pixels.
    """

    tokens: MapArray
    shape: tuple[int, int]


class PairNetwork(Protocol):
    """A network that gives point maps of ordered pairs.

    ``identity`` names its weights and settings: equal identities give equal results.
    """

    identity: str

    def encode(self, images: Sequence[ImageArray]) -> list[Encoding]:
        """Encode crops of one shape."""
        ...

    def decode(self, pairs: Sequence[tuple[Encoding, Encoding]]) -> list[PointMaps]:
        """Decode ordered pairs; the first ones have one shape, and so have the second ones."""
        ...


class Dust3rNetwork:
    """The published network class with weights in it.

    Args:
        module: An instance of ``AsymmetricCroCo3DStereo`` that does not turn portraits (``landscape_only=False``).
        identity: Names the weights and settings.
        device: torch device.
        dtype: Number format of the transformer blocks.
    """

    def __init__(
        self, module: torch.nn.Module, identity: str, device: str = "cpu", dtype: NetworkDtype = NetworkDtype.FLOAT32
    ) -> None:
        self.identity = identity
        self._device, self._dtype = device, dtype
        self._module: Any = fused_attention.install(module.eval().to(device))

    def encode(self, images: Sequence[ImageArray]) -> list[Encoding]:
        """See :class:`PairNetwork`."""
        import torch

        # Scaled to [-1, 1], as the network was trained.
        pixels = torch.from_numpy(np.stack(images)).to(self._device).permute(0, 3, 1, 2).float() / 255.0
        pixels = (pixels - 0.5) / 0.5
        height_px, width_px = images[0].shape[:2]
        with torch.inference_mode(), self._autocast():
            shapes = torch.tensor([(height_px, width_px)] * len(images), device=self._device)
            tokens, _, _ = self._module._encode_image(pixels, shapes)
        return [Encoding(item, (height_px, width_px)) for item in tokens.float().cpu().numpy()]

    def decode(self, pairs: Sequence[tuple[Encoding, Encoding]]) -> list[PointMaps]:
        """See :class:`PairNetwork`."""
        import torch

        first, second = zip(*pairs, strict=True)
        with torch.inference_mode():
            (tokens_i, places_i, shapes_i), (tokens_j, places_j, shapes_j) = map(self._stack, (first, second))
            with self._autocast():
                layers_i, layers_j = self._module._decoder(tokens_i, places_i, tokens_j, places_j)
            found_i = self._module._downstream_head(1, [layer.float() for layer in layers_i], shapes_i)
            found_j = self._module._downstream_head(2, [layer.float() for layer in layers_j], shapes_j)
        arrays = [output[name].cpu().numpy() for output in (found_i, found_j) for name in ("pts3d", "conf")]
        return [PointMaps(*maps) for maps in zip(*arrays, strict=True)]

    def _stack(self, encodings: Sequence[Encoding]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens, their (row, column) places in the picture, and the shapes of the crops, for the heads on the CPU."""
        import torch

        tokens = torch.from_numpy(np.stack([encoding.tokens for encoding in encodings])).to(self._device)
        height_px, width_px = encodings[0].shape
        patch_px = self._module.patch_embed.patch_size[0]
        rows, columns = torch.arange(height_px // patch_px), torch.arange(width_px // patch_px)
        places = torch.cartesian_prod(rows, columns).to(self._device).expand(len(encodings), -1, -1)
        return tokens, places, torch.tensor([(height_px, width_px)] * len(encodings))

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        import torch

        if self._dtype is NetworkDtype.FLOAT32:
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self._device).type, dtype=getattr(torch, self._dtype.value))


def load_network(options: Dust3rOptions) -> PairNetwork:
    """The network that the options name.

    Raises:
        ValueError: Weights that cannot be had or do not fit, or a device that is not there.
        MissingDependencyError: The network code is not installed.
    """
    code = find_network_code()
    weights = checkpoint.locate(options.dust3r_weights)
    module = build_module(code, weights.arguments)
    checkpoint.load_into(module, weights)
    device = pick_device(options.dust3r_device, "dust3r-device")
    logger.info("DUSt3R from %s on %s in %s", code.source, device, options.dust3r_dtype)
    return Dust3rNetwork(module, f"{weights.sha256} {options.dust3r_dtype.value}", device, options.dust3r_dtype)


def build_module(code: NetworkCode, arguments: object) -> torch.nn.Module:
    """An instance of the published class, without the special treatment of portraits that training needed."""
    network_class = getattr(code.module("model"), checkpoint.NETWORK_CLASS)
    module: torch.nn.Module = network_class(
        **dict(arguments),  # type: ignore[call-overload]
        patch_embed_cls="PatchEmbedDust3R",
        landscape_only=False,
    )
    return module.eval()
