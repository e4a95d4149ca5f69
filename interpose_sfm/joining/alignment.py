"""How one component lies in another, from the relative poses between them, even where they have no point in common.

A component is a base model or a single photo. A link says how two photos are turned and in which direction one lies
from the other, but not how far. The distance, and with it the scale of one component in the unit of the other, comes
from several links of different directions (their rays meet, as in a triangulation), from the length of a link's
baseline where depths tell it, or from an overlap: a photo, or points, that both components hold.

Everything that is said about two components must agree with one similarity. A majority proves nothing: a facade that
looks like another one yields wrong links that agree with each other, and they may outnumber and outweigh the true one.
So there is no vote, and no strength that wins: one statement that contradicts the others leaves the components apart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from interpose_sfm import geometry
from interpose_sfm._compat import StrEnum
from interpose_sfm.geometry import Similarity
from interpose_sfm.joining.similarity_fit import Statements, fit_statements
from interpose_sfm.joining.ties import MIN_LENGTH_SIGMA, Baseline, Length, Overlap, Tie, find_tie
from interpose_sfm.products import ImagePair, Link, Pose
from interpose_sfm.report import told_apart

TOLERANCE_SIGMAS = 4.0
"""Of the angles of rotations with three free axes, one in a thousand is larger than four sigma."""
MAX_SCALE_SIGMA = 0.25
"""Components whose scale is less sure stay apart: photos that are moved that far do not find their matches again."""
ROUNDING_DEG = 1e-6  # of equal angles the first is told, whatever a processor rounds


class ScaleCue(StrEnum):
    """What says how large a component is in the unit of another; the surest of those at hand."""

    OVERLAP = "what both hold"
    DEPTHS = "depths"
    DIRECTIONS = "links of different directions"
    GPS = "GPS"


class ApartReason(StrEnum):
    """Why two components stay apart."""

    NO_LINK = "no link"
    CONTRADICTION = "contradiction"
    NO_SCALE = "no scale"
    UNSURE_SCALE = "unsure scale"


@dataclass(frozen=True)
class LinkResidual:
    """By how much an alignment misses a link, in degrees."""

    pair: ImagePair
    rotation_deg: float
    direction_deg: float


@dataclass(frozen=True)
class Alignment:
    """How a component lies in another.

    Attributes:
        target_from_source: The similarity; of scale 1 where the source is a single photo.
        cue: What gave the scale (the distance, where the source is a single photo).
        residuals: Of every link between the two, in the order of the input.
        rotation_sigma_deg: One-sigma uncertainty of the rotation, largest axis.
        scale_sigma: One-sigma uncertainty of the scale as a share of it; of the distance for a single photo.
    """

    target_from_source: Similarity
    cue: ScaleCue
    residuals: tuple[LinkResidual, ...]
    rotation_sigma_deg: float
    scale_sigma: float


@dataclass(frozen=True)
class Apart:
    """Why two components stay apart.

    Attributes:
        reason: In a word.
        detail: One sentence with the figures.
        wanted: Which link would be needed.
    """

    reason: ApartReason
    detail: str
    wanted: str


def align(
    target: Mapping[str, Pose],
    source: Mapping[str, Pose],
    links: Sequence[Link],
    *,
    baselines: Mapping[ImagePair, Baseline] | None = None,
    overlaps: Sequence[Overlap] = (),
    scale: Length | None = None,
    max_angle_deg: float = 10.0,
) -> Alignment | Apart:
    """The similarity between two components on which all links and overlaps agree.

    Args:
        target, source: cam_from_world of the photos of either component.
        links: Every link whose own evidence is good, also those that others contradict: what contradicts must be heard.
            Links that do not join a photo of the target only to one of the source only are passed over.
        baselines: Lengths, by the pair of their link.
        overlaps: What both components hold.
        scale: Of target_from_source, where GPS tells it.
        max_angle_deg: Links may miss the similarity by this much, or by TOLERANCE_SIGMAS of their spread if that is
            more.

    Returns:
        The alignment, or why there is none and which link is missing.

    Raises:
        ValueError: A component without photos.
    """
    if not target or not source:
        raise ValueError(f"got components of {len(target)} and {len(source)} photos, expected at least one in either")
    ties = (find_tie(target, source, link, (baselines or {}).get(link.pair, Baseline())) for link in links)
    statements = Statements(tuple(tie for tie in ties if tie is not None), tuple(overlaps), len(source) > 1, scale)
    both = f"{listed(source)} and {listed(target)}"
    if not statements.ties and not overlaps:
        return Apart(ApartReason.NO_LINK, f"nothing links {both}", f"a link between {both}")
    wanted = f"a further link between {both}, of another direction than those there are"
    broken = _turn_contradiction(statements, max_angle_deg)
    if broken:
        return Apart(ApartReason.CONTRADICTION, broken, wanted)
    missing = _missing_scale(statements, target, source)
    if missing is not None:
        return missing
    fit = fit_statements(statements)
    broken = contradiction(statements, fit.similarity, max_angle_deg)
    if broken:
        return Apart(ApartReason.CONTRADICTION, broken, wanted)
    if not fit.scale_sigma <= MAX_SCALE_SIGMA:
        what = "scale" if statements.has_scale else "distance"
        sigma, most = told_apart(fit.scale_sigma, MAX_SCALE_SIGMA, ".0%")
        known = f"known to {sigma}" if fit.scale_sigma < 10 else "open"
        detail = f"the {what} between {both} is {known}, needs {most}"
        return Apart(ApartReason.UNSURE_SCALE, detail, wanted)
    residuals = tuple(LinkResidual(tie.link.pair, *tie.errors_deg(fit.similarity)) for tie in statements.ties)
    return Alignment(fit.similarity, _cue(statements), residuals, fit.rotation_sigma_deg, fit.scale_sigma)


def _cue(statements: Statements) -> ScaleCue:
    if len(statements.overlaps) > 1 or any(overlap.scale is not None for overlap in statements.overlaps):
        return ScaleCue.OVERLAP
    return ScaleCue.DEPTHS if statements.has_lengths else ScaleCue.DIRECTIONS


def listed(component: Collection[str]) -> str:
    """A component by its first photo, for sentences."""
    first, *others = sorted(component)
    return f"the model of {first} and {len(others)} more" if others else first


def _missing_scale(statements: Statements, target: Mapping[str, Pose], source: Mapping[str, Pose]) -> Apart | None:
    """Whether the statements fix no scale whatever their figures; the fit finds what is nearly so.

    Rays that all leave one photo say how the other component would look from there, at any distance.
    """
    if statements.overlaps or statements.has_lengths:
        return None
    what = "scale" if statements.has_scale else "distance"
    detail = f"{len(statements.ties)} link(s) between {listed(source)} and {listed(target)} do not tell the {what}"
    sides = [(0, target, source, any(tie.baseline.in_target is not None for tie in statements.ties))]
    if statements.has_scale:
        sides.append((1, source, target, any(tie.baseline.in_source is not None for tie in statements.ties)))
    for position, near, far, has_length in sides:
        ends = {tie.names[position] for tie in statements.ties}
        if len(ends) == 1 and not has_length:
            start = f"a photo of {listed(near)} other than {ends.pop()}" if len(near) > 1 else "another photo"
            wanted = f"a link of another direction from {start} to {listed(far)}"
            return Apart(ApartReason.NO_SCALE, detail, wanted)
    return None


# ---------------------------------------------------------------- contradictions


def _tolerance_deg(sigma_deg: float, max_angle_deg: float) -> float:
    return max(max_angle_deg, TOLERANCE_SIGMAS * sigma_deg)


def _turn_contradiction(statements: Statements, max_angle_deg: float) -> str:
    """A sentence about the two statements whose rotations disagree most, if any are beyond their tolerance.

    Before the fit, since a similarity between two camps is neither's.
    """
    labels = [_label(tie) for tie in statements.ties] + [overlap.name for overlap in statements.overlaps]
    sigmas_deg = [tie.spread_deg for tie in statements.ties]
    sigmas_deg += [overlap.rotation_sigma_deg for overlap in statements.overlaps]
    rotations = statements.rotations()
    worst_deg, sentence = 0.0, ""
    for i, rotation in enumerate(rotations):
        for j in range(i):
            angle_deg = float(geometry.rotation_angle_deg(rotation @ rotations[j].T))
            tolerance_deg = _tolerance_deg(float(np.hypot(sigmas_deg[i], sigmas_deg[j])), max_angle_deg)
            if angle_deg > max(tolerance_deg, worst_deg + ROUNDING_DEG):
                worst_deg = angle_deg
                sentence = f"{labels[i]} contradicts {labels[j]} by {angle_deg:.0f} degrees; nothing tells which errs"
    return sentence


def contradiction(statements: Statements, similarity: Similarity, max_angle_deg: float) -> str:
    """A sentence about the statement that misses a similarity most, if it is beyond its tolerance; else empty.

    Args:
        statements: All that is said about two components.
        similarity: target_from_source.
        max_angle_deg: As of `align`.
    """
    misses = [miss for tie in statements.ties for miss in _tie_misses(tie, similarity, max_angle_deg)]
    misses += [
        miss
        for overlap in statements.overlaps
        for miss in _overlap_misses(overlap, similarity, max_angle_deg, statements.has_scale)
    ]
    if statements.scale is not None and statements.has_scale:
        error = abs(float(np.log(similarity.scale / statements.scale.value)))
        share = error / (TOLERANCE_SIGMAS * max(statements.scale.sigma, MIN_LENGTH_SIGMA))
        misses.append((share, f"GPS contradicts the others by a factor of {np.exp(error):.1f} in scale"))
    share, sentence = max(misses)
    return f"{sentence}; nothing tells which errs" if share > 1.0 else ""


def _label(tie: Tie) -> str:
    return f"the link of {tie.link.pair.a} and {tie.link.pair.b}"


def _tie_misses(tie: Tie, similarity: Similarity, max_angle_deg: float) -> list[tuple[float, str]]:
    """By what share of its tolerance a link misses, with a sentence each."""
    label = f"{_label(tie)} contradicts the others by"
    tolerance_deg = _tolerance_deg(tie.spread_deg, max_angle_deg)
    misses = [
        (error_deg / tolerance_deg, f"{label} {error_deg:.0f} degrees of {kind}")
        for kind, error_deg in zip(("rotation", "direction"), tie.errors_deg(similarity), strict=True)
    ]
    for error, sigma in tie.length_errors(similarity):
        misses.append((abs(error) / (TOLERANCE_SIGMAS * sigma), f"{label} a factor of {np.exp(abs(error)):.1f}"))
    return misses


def _overlap_misses(
    overlap: Overlap, similarity: Similarity, max_angle_deg: float, has_scale: bool
) -> list[tuple[float, str]]:
    """By what share of its tolerance an overlap misses, with a sentence each."""
    label = f"{overlap.name} contradicts the others by"
    turn_deg = float(geometry.rotation_angle_deg(similarity.rotation @ overlap.rotation.T))
    tolerance_deg = _tolerance_deg(overlap.rotation_sigma_deg, max_angle_deg)
    off = float(np.linalg.norm(similarity.apply(overlap.x_in_source) - overlap.x_in_target)) / overlap.position_sigma
    misses = [
        (turn_deg / tolerance_deg, f"{label} {turn_deg:.0f} degrees of rotation"),
        (off / TOLERANCE_SIGMAS, f"{label} {off:.0f} sigma of position"),
    ]
    if overlap.scale is not None and has_scale:
        error = abs(float(np.log(similarity.scale / overlap.scale.value)))
        sigma = max(overlap.scale.sigma, MIN_LENGTH_SIGMA)
        misses.append((error / (TOLERANCE_SIGMAS * sigma), f"{label} a factor of {np.exp(error):.1f} in scale"))
    return misses
