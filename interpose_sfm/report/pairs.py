"""Pairs of photos in a report: what connects them, what was tried on weak ones, and what would help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from interpose_sfm.products import ChoiceReason, ClipFlag, LinkVerdict, PoseStatus, WeakReason


@dataclass(frozen=True)
class LinkReport:
    """The relative pose that a link offers, and how the final models agree with it.

    Attributes:
        source: "pair" for learned matches of the two photos, else the name of the clip.
        rotation: (3, 3) of b_from_a.
        direction: (3,) unit translation of b_from_a; zero for a pure rotation.
        spread_deg: One-sigma angular uncertainty.
        residual_rotation_deg, residual_direction_deg: By which the final model misses it; NaN where no model holds both
            photos.
        is_kept: Whether a final model holds both photos and the link counts in it.
    """

    source: str
    rotation: tuple[tuple[float, ...], ...]
    direction: tuple[float, ...]
    spread_deg: float
    residual_rotation_deg: float
    residual_direction_deg: float
    is_kept: bool


@dataclass(frozen=True)
class WitnessReport:
    """One thing that speaks for or against a link, with the limit that it is held against.

    Attributes:
        name: What was asked.
        value: The answer; NaN where it is none of numbers, and `detail` says it.
        limit: What it must reach, or may not exceed; NaN where nothing is asked of it.
        is_least: Whether the limit is the least that is asked; else it is the most.
        unit: "share" of one, "deg", "powers of ten", or empty for a count or a ratio.
        holds: Whether this witness speaks for the link.
        detail: A sentence, where there is one.
    """

    name: str
    value: float
    limit: float
    is_least: bool
    unit: str
    holds: bool
    detail: str = ""


@dataclass(frozen=True)
class ClipReport:
    """A bridging clip that was read.

    Attributes:
        name: As in `PairReport.clip_scores`.
        num_frames: Frames of it that were used.
        strip: Picture with frames of it from left to right, below the output folder; empty where none was kept.
        num_strip_frames: How many these are; all are equally wide.
        is_chosen: Whether the pose that was chosen is its own.
    """

    name: str
    num_frames: int
    strip: str
    num_strip_frames: int
    is_chosen: bool


@dataclass(frozen=True)
class HypothesisReport:
    """What one subset of frames says of the pose of a pair.

    Attributes:
        clip: Name of the clip.
        frames: Indices of its frames.
        status: Outcome of the estimate.
        rotation_deg, direction_deg: How far rotation and direction of translation are from the pose that
            `PairReport.hypotheses_around` names; NaN without a pose, or without a direction.
        num_inliers: Correspondences that support it.
        is_medoid: Whether it is the medoid of its clip.
    """

    clip: str
    frames: tuple[int, ...]
    status: PoseStatus
    rotation_deg: float
    direction_deg: float
    num_inliers: int
    is_medoid: bool


@dataclass(frozen=True)
class PairReport:
    """What was tried on one weak pair.

    Attributes:
        a, b: Photo names.
        weak_because: Why the pair counts as weak.
        tried: What was done, in order, such as "learned matching" or "morph".
        verdict: Whether the link was accepted, or why it was refused.
        detail: One sentence with the figures behind the verdict.
        evidence: Cue name -> value of the learned matches, empty where none were made.
        choice: Outcome of the self-consistency stage; None where no clip was made.
        score: Its score in degrees, NaN where there is none.
        score_kind: Which score it is.
        clip_scores: Clip name -> score name -> degrees.
        spread_deg: One-sigma angular uncertainty of the pose, NaN without a pose.
        rotation_deg: Rotation angle between the photos, NaN without a pose.
        link: The pose itself, accepted or not; None without one.
        clip_flags: Clip name -> what its checks found wrong, with the measures; clips without a flag are left out.
        agreeing_sources: Clip name -> other sources, such as video models, of which a clip proposes the same pose;
            clips without any are left out.
        meaning: The verdict in plain words.
        witnesses: Everything that was asked about the link, with its number and limit.
        clips: Those that were read.
        hypotheses: Of all clips.
        hypotheses_around: The pose that these are compared with; empty where there is none.
        matches_px: x and y in A, x and y in B, of matches between the two photos themselves that agree with the pose:
            so many as a picture bears. Empty where none agrees.
    """

    a: str
    b: str
    weak_because: tuple[WeakReason, ...]
    tried: tuple[str, ...]
    verdict: LinkVerdict
    detail: str
    evidence: Mapping[str, float]
    choice: ChoiceReason | None
    score: float
    score_kind: str
    clip_scores: Mapping[str, Mapping[str, float]]
    spread_deg: float
    rotation_deg: float
    link: LinkReport | None = None
    clip_flags: Mapping[str, tuple[ClipFlag, ...]] = field(default_factory=dict)
    agreeing_sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    meaning: str = ""
    witnesses: tuple[WitnessReport, ...] = ()
    clips: tuple[ClipReport, ...] = ()
    hypotheses: tuple[HypothesisReport, ...] = ()
    hypotheses_around: str = ""
    matches_px: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True)
class VerifiedPairReport:
    """Two photos that COLMAP's own matches connect.

    Attributes:
        a, b: Photo names.
        num_verified: Verified matches.
    """

    a: str
    b: str
    num_verified: int


@dataclass(frozen=True)
class LookAlikeReport:
    """Two photos that COLMAP puts at nearly one view although their surroundings differ.

    Attributes:
        a, b: Photo names.
        silent_share: Of what should match in the other photo, the share that does not; the lower one of both photos.
        num_verified: Verified matches of the pair.
    """

    a: str
    b: str
    silent_share: float
    num_verified: int


@dataclass(frozen=True)
class AdviceReport:
    """What would connect more photos.

    Attributes:
        a, b: The pair to work on.
        num_gained: Photos that a link between the two would bring to the others.
        text: What to do.
    """

    a: str
    b: str
    num_gained: int
    text: str
