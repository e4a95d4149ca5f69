"""Options of the consensus over links."""

from __future__ import annotations

from dataclasses import dataclass

from interpose_sfm.options.checks import refuse_nan, require


@dataclass(frozen=True, kw_only=True)
class ConsensusOptions:
    """When a link is believed.

    ``pipelines/evidence.py`` measures what each limit lets through on real photos, and how that changes around it.

    Attributes:
        min_inliers: Fewer inliers are no link by themselves, whatever their quality.
        min_agreement: Net agreement: confidence of the matches that agree with the pose, as a share of that of all
            matches, less the share of key points that the other photo should show and lacks.
        min_agreement_confirmed: The same of a link that enough other photos confirm.
        min_surprise: Powers of ten by which luck fails to explain the matches that agree; a floor only.
        max_far_rival: Another pose may explain this much of what the pose explains, not more.
        max_silence: The latter share by itself, where only one thing matches.
        min_agreement_proposed: Net agreement of a pose that something else proposes than the photos' own matches, where
            these say too little to find one. If another pose rivals it, min_agreement_confirmed is asked.
        max_rival_proposed: No other pose may explain more than so many times what a proposed pose explains.
        accept_unseen: Believe the steps of a clip where its photos share too little to judge where it leads. For clips
            that are photos or film themselves: frames that a video model imagined may be sure of a wrong scene.
        max_cycle_deg: Rotations around a closed cycle of links may differ from the identity by this much.
        max_spread_deg: Links with a larger spread are refused.
    """

    min_inliers: int = 25
    min_agreement: float = 0.74
    min_agreement_confirmed: float = 0.60
    min_surprise: float = 12.0
    max_far_rival: float = 0.85
    max_silence: float = 0.10
    min_agreement_proposed: float = 0.50
    max_rival_proposed: float = 1.18
    accept_unseen: bool = False
    max_cycle_deg: float = 10.0
    max_spread_deg: float = 10.0

    def __post_init__(self) -> None:
        refuse_nan(self)
        require(self.min_inliers >= 8, "min-inliers", self.min_inliers, ">= 8")
        require(self.max_rival_proposed > 0, "max-rival-proposed", self.max_rival_proposed, "> 0")
        for name in ("min_agreement", "min_agreement_confirmed", "min_agreement_proposed", "max_silence"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        require(
            self.min_agreement_confirmed <= self.min_agreement,
            "min-agreement-confirmed",
            self.min_agreement_confirmed,
            "<= min-agreement",
        )
