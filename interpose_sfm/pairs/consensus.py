"""Which links may enter the model: the evidence of each by itself, then what all of them say together.

A wrong link is worse than no link. The first gate asks whether the two photos show the same place at all
(:func:`judge`); the second closes cycles of rotations over links and base models (:func:`settle`). A majority proves
nothing by itself: look-alike facades produce wrong links that agree with one another, so no link is believed because
others agree with it, but links are dropped because others disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.products import (
    PAIR_ALONE,
    Evidence,
    FloatArray,
    ImagePair,
    Link,
    LinkDecision,
    LinkVerdict,
    Pose,
    connected_components,
)

RIVAL_SHARE = 0.8  # a refused link this close in strength to a link it contradicts takes that one down with it

AUDIT_SIGMAS = 3.0  # of its spread that an adjusted model may turn away from a link: adjusting is what it is for


def needed_score(triangulation_angle_deg: float, options: ConsensusOptions) -> float:
    """Mean match confidence that photos at this angle must reach: the nearer they are said to be, the more."""
    return float(
        np.interp(
            triangulation_angle_deg,
            (options.near_angle_deg, options.far_angle_deg),
            (options.min_score_near, options.min_score_far),
        )
    )


def judge_evidence(evidence: Evidence, knows_cameras: bool, options: ConsensusOptions) -> tuple[LinkVerdict, str]:
    """Whether the matches show the same place, by the cues alone.

    Args:
        evidence: Cues of a pair or of the weakest step of a bridge.
        knows_cameras: Whether the focal lengths are known, so that an uncalibrated geometry speaks against the link.

    Returns:
        The verdict and one sentence with the figures behind it.
    """
    needed = needed_score(evidence.triangulation_angle_deg, options)
    if evidence.num_inliers < options.min_inliers:
        return LinkVerdict.FEW_INLIERS, f"{evidence.num_inliers} inliers, needs {options.min_inliers}"
    if evidence.inlier_share < options.min_inlier_share:
        return (
            LinkVerdict.LOW_SHARE,
            f"{evidence.inlier_share:.0%} of {evidence.num_matches} matches agree, "
            f"needs {options.min_inlier_share:.0%}",
        )
    if evidence.mean_score < needed:
        return (
            LinkVerdict.LOW_SCORE,
            f"mean confidence {evidence.mean_score:.2f}, needs {needed:.2f} at "
            f"{evidence.triangulation_angle_deg:.0f} degrees",
        )
    if evidence.density < options.min_density:
        return (
            LinkVerdict.LOW_DENSITY,
            f"{evidence.density:.0%} of the key points in the matched area match, needs {options.min_density:.0%}",
        )
    if knows_cameras and not evidence.is_calibrated:
        return LinkVerdict.NOT_CALIBRATED, "a fundamental matrix explains clearly more matches than the known cameras"
    return LinkVerdict.ACCEPTED, (
        f"{evidence.num_inliers} inliers, {evidence.inlier_share:.0%} of the matches, confidence "
        f"{evidence.mean_score:.2f}, density {evidence.density:.0%}"
    )


def judge(link: Link, knows_cameras: bool, options: ConsensusOptions) -> LinkDecision:
    """The verdict on one link by itself."""
    verdict, detail = judge_evidence(link.evidence, knows_cameras, options)
    if verdict is LinkVerdict.ACCEPTED and link.source == PAIR_ALONE and len(link.points_a_px) < options.min_inliers:
        verdict = LinkVerdict.FEW_INLIERS
        detail = f"{len(link.points_a_px)} correspondences reach both photos, needs {options.min_inliers}"
    if verdict is LinkVerdict.ACCEPTED and not np.any(link.b_from_a.translation):
        verdict, detail = LinkVerdict.ROTATION_ONLY, "the photos were taken from one place"
    if verdict is LinkVerdict.ACCEPTED and link.spread_deg > options.max_spread_deg:
        verdict = LinkVerdict.UNSURE_POSE
        detail = f"the pose is known to {link.spread_deg:.1f} degrees, needs {options.max_spread_deg:.1f}"
    return LinkDecision(link, verdict, detail)


def settle(
    decisions: Sequence[LinkDecision], models: Sequence[Mapping[str, Pose]], options: ConsensusOptions
) -> tuple[LinkDecision, ...]:
    """Refuse accepted links that contradict the base models or one another.

    Links join units: base models, whose inner rotations are trusted, and single photos. Taken strongest first, a link
    either joins two units or closes a cycle, whose rotation must be the identity within ``options.max_cycle_deg``.
    A link that breaks a cycle is refused, and with it every link of the cycle that is hardly stronger, since nothing
    tells which of them errs. Repeated until no cycle is broken.

    Args:
        decisions: Of :func:`judge`.
        models: cam_from_world of every photo of each base model.

    Returns:
        The decisions in their order, some accepted ones turned into CONTRADICTED.
    """
    result = list(decisions)
    while True:
        broken = _first_broken_cycle(result, models, options)
        if not broken:
            return tuple(result)
        for index, detail in broken.items():
            result[index] = replace(result[index], verdict=LinkVerdict.CONTRADICTED, detail=detail)


def _first_broken_cycle(
    decisions: Sequence[LinkDecision], models: Sequence[Mapping[str, Pose]], options: ConsensusOptions
) -> dict[int, str]:
    """Indices of the links to refuse because of the first broken cycle, with the reason; empty if none is broken."""
    forest = _RotationForest(models)
    order = sorted(
        (i for i, d in enumerate(decisions) if d.verdict is LinkVerdict.ACCEPTED),
        key=lambda i: (-decisions[i].link.evidence.strength, decisions[i].link.pair),
    )
    for index in order:
        link = decisions[index].link
        closed = forest.add(index, link)
        if closed is None:
            continue
        error_deg, cycle = closed
        if error_deg <= options.max_cycle_deg:
            continue
        detail = f"a cycle of links over {link.pair.a} and {link.pair.b} fails to close by {error_deg:.0f} degrees"
        rivals = [i for i in cycle if link.evidence.strength >= RIVAL_SHARE * decisions[i].link.evidence.strength]
        return dict.fromkeys([index, *rivals], detail)
    return {}


class _RotationForest:
    """Rotations of photos relative to the root of their tree, over base models and links."""

    def __init__(self, models: Sequence[Mapping[str, Pose]]) -> None:
        self._rotation: dict[str, FloatArray] = {}  # photo -> cam_from_root
        self._tree: dict[str, int] = {}  # photo -> tree
        self._edges: dict[str, list[tuple[str, int]]] = {}  # photo -> (neighbour, link index), -1 within a base model
        for model in models:
            anchor, *others = sorted(model) or [""]
            for name in others:  # a photo in two models joins them; where they disagree, the earlier one holds
                self._join(anchor, name, model[name].rotation @ model[anchor].rotation.T, -1)

    def add(self, index: int, link: Link) -> tuple[float, list[int]] | None:
        """Add a link; where it closes a cycle, the cycle's error in degrees and the other links in it."""
        a, b = link.pair.a, link.pair.b
        if self._join(a, b, link.b_from_a.rotation, index):
            return None
        error = self._rotation[b].T @ link.b_from_a.rotation @ self._rotation[a]
        return float(geometry.rotation_angle_deg(error)), self._links_between(a, b)

    def _join(self, a: str, b: str, b_from_a: FloatArray, index: int) -> bool:
        """Join the trees of two photos by turning b's; False, and nothing done, if they are in one already."""
        for name in (a, b):
            if name not in self._tree:
                self._tree[name] = len(self._tree)
                self._rotation[name] = np.eye(3)
        old, new = self._tree[b], self._tree[a]
        if old == new:
            return False
        turn = self._rotation[b].T @ b_from_a @ self._rotation[a]
        for name in [n for n, tree in self._tree.items() if tree == old]:
            self._rotation[name] = self._rotation[name] @ turn
            self._tree[name] = new
        self._connect(a, b, index)
        return True

    def _connect(self, a: str, b: str, index: int) -> None:
        self._edges.setdefault(a, []).append((b, index))
        self._edges.setdefault(b, []).append((a, index))

    def _links_between(self, start: str, goal: str) -> list[int]:
        """Link indices on the way between two photos of one tree."""
        came: dict[str, tuple[str, int]] = {start: ("", -1)}
        queue = [start]
        for name in queue:
            for neighbour, index in self._edges.get(name, []):
                if neighbour not in came:
                    came[neighbour] = name, index
                    queue.append(neighbour)
        found = []
        name = goal
        while name in came and name != start:
            name, index = came[name]
            if index >= 0:
                found.append(index)
        return found


@dataclass(frozen=True)
class Audit:
    """What an adjusted model says of the links it was built with.

    Attributes:
        unsupported: Photos that are neither in a base model with others of the model nor held by a link that agrees.
        contradicted: Indices of accepted links whose rotation the model contradicts, with the angle in degrees.
    """

    unsupported: frozenset[str]
    contradicted: Mapping[int, float]


def audit(
    model: Mapping[str, Pose],
    base_models: Sequence[Mapping[str, Pose]],
    decisions: Sequence[LinkDecision],
    options: ConsensusOptions,
) -> Audit:
    """Check a final model against the links and base models it came from.

    Every photo must hang on the largest base model (or, where there is none, on the largest connected group) by
    relations whose rotations agree with the model: links, or common membership in a base model.

    Args:
        model: cam_from_world of every photo of the final model.
        base_models: The same of the base models, largest first.
        decisions: Links; only accepted ones count.
    """
    contradicted = {}
    relations: list[tuple[str, str]] = []
    for index, decision in enumerate(decisions):
        pair = decision.link.pair
        if decision.verdict is not LinkVerdict.ACCEPTED or pair.a not in model or pair.b not in model:
            continue
        error_deg = _rotation_error_deg(model, pair.a, pair.b, decision.link.b_from_a.rotation)
        if error_deg > max(options.max_cycle_deg, AUDIT_SIGMAS * decision.link.spread_deg):
            contradicted[index] = error_deg
        else:
            relations.append((pair.a, pair.b))
    for base in base_models:
        names = sorted(base.keys() & model.keys())
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                rotation = base[b].rotation @ base[a].rotation.T
                if _rotation_error_deg(model, a, b, rotation) <= options.max_cycle_deg:
                    relations.append((a, b))
    groups = connected_components(model, (ImagePair.sorted(a, b) for a, b in relations))
    anchor = max(groups, key=lambda g: (len(g & base_models[0].keys()) if base_models else len(g), len(g)))
    return Audit(frozenset(model) - anchor, contradicted)


def _rotation_error_deg(model: Mapping[str, Pose], a: str, b: str, b_from_a: FloatArray) -> float:
    return float(geometry.rotation_angle_deg(b_from_a.T @ model[b].rotation @ model[a].rotation.T))
