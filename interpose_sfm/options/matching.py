"""Options of weak pairs and of learned matches."""

from __future__ import annotations

from dataclasses import dataclass, replace

from interpose_sfm.options.checks import refuse_nan, require
from interpose_sfm.options.devices import AUTO, pick_device


@dataclass(frozen=True, kw_only=True)
class ViewGraphOptions:
    """Which pairs count as weak.

    Attributes:
        max_weak_pairs: At most this many weak pairs are matched again with learned features; above exhaustive_limit
            photos, more in proportion to their number, and a few beside links that are accepted.
        max_pairs_per_join: Above exhaustive_limit photos, at most this many weak pairs between two models, but for
            those beside links.
        max_bridged_pairs: At most this many of those get bridging clips.
    """

    max_weak_pairs: int = 300
    max_pairs_per_join: int = 12
    max_bridged_pairs: int = 8

    def __post_init__(self) -> None:
        refuse_nan(self)
        require(self.max_weak_pairs >= 0, "max-weak-pairs", self.max_weak_pairs, ">= 0")
        require(self.max_pairs_per_join >= 1, "max-pairs-per-join", self.max_pairs_per_join, ">= 1")
        require(self.max_bridged_pairs >= 0, "max-bridged-pairs", self.max_bridged_pairs, ">= 0")


@dataclass(frozen=True, kw_only=True)
class MatchingOptions:
    """Learned features and matches (ALIKED + LightGlue).

    Attributes:
        learned_max_image_px: Long side at which key points are detected; 1024 is what LightGlue was trained for.
        max_keypoints: Key points per photo.
        max_frame_keypoints: Key points per frame of a clip: there are many frames, and neighbours differ little.
        detection_threshold: ALIKED's detection threshold.
        min_match_score: Matches with a lower score propose no pose and are not counted; the agreement of a link weighs
            them as well.
        device: torch device; ``auto`` takes CUDA, else the CPU: these networks were not tried on Metal.
    """

    learned_max_image_px: int = 1024
    max_keypoints: int = 2048
    max_frame_keypoints: int = 1024
    detection_threshold: float = 0.2
    min_match_score: float = 0.1
    device: str = AUTO

    def __post_init__(self) -> None:
        refuse_nan(self)
        require(self.learned_max_image_px >= 64, "learned-max-image-px", self.learned_max_image_px, ">= 64")
        require(self.max_keypoints >= 16, "max-keypoints", self.max_keypoints, ">= 16")
        require(self.max_frame_keypoints >= 16, "max-frame-keypoints", self.max_frame_keypoints, ">= 16")
        require(0 <= self.detection_threshold < 1, "detection-threshold", self.detection_threshold, "in [0, 1)")
        require(bool(self.device), "device", self.device, "a torch device")
        require(0 <= self.min_match_score < 1, "min-match-score", self.min_match_score, "in [0, 1)")

    def on_device(self, *, is_here: bool = True) -> MatchingOptions:
        """The same, with the device that `auto` means on this machine: what is computed is kept under its name.

        Args:
            is_here: Whether a device that is named must be one of this machine; else workers elsewhere have it.

        Raises:
            ValueError: torch has no such device here.
        """
        return replace(self, device=pick_device(self.device, "device", or_metal=False, is_here=is_here))
