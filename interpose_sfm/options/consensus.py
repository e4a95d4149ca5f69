"""Options of the consensus over links."""

from __future__ import annotations

from dataclasses import dataclass

from interpose_sfm.options.checks import require


@dataclass(frozen=True, kw_only=True)
class ConsensusOptions:
    """When a link is believed.

    ``pipelines/evidence.py`` measures what each limit lets through on real photos, and how that changes around it.

    Attributes:
        min_inliers: Fewer inliers are no link, whatever their quality (COLMAP's absolute pose wants 30, too).
        min_inlier_share: Share of the putative matches that agree with one pose.
        min_density: Share of the key points in the matched area that are matched.
        min_score_near, min_score_far: Mean match confidence that is needed at a small and at a large triangulation
            angle. Two photos said to be close to each other must match with confidence.
        near_angle_deg, far_angle_deg: The angles between which the needed confidence falls.
        max_cycle_deg: Rotations around a closed cycle of links may differ from the identity by this much.
        max_spread_deg: Links with a larger spread are refused.
    """

    min_inliers: int = 30
    min_inlier_share: float = 0.85
    min_density: float = 0.25
    min_score_near: float = 0.75
    min_score_far: float = 0.55
    near_angle_deg: float = 45.0
    far_angle_deg: float = 80.0
    max_cycle_deg: float = 10.0
    max_spread_deg: float = 10.0

    def __post_init__(self) -> None:
        require(self.min_inliers >= 8, "min-inliers", self.min_inliers, ">= 8")
        for name in ("min_inlier_share", "min_density", "min_score_near", "min_score_far"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        require(self.near_angle_deg < self.far_angle_deg, "near-angle-deg", self.near_angle_deg, "< far-angle-deg")
