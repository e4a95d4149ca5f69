"""What an adjusted model says of the links and base models that it was made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from interpose_sfm import geometry
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.products import FloatArray, ImagePair, Link, Pose, connected_components

AUDIT_SIGMAS = 3.0  # of its spread that an adjusted model may turn away from a link: adjusting is what it is for


@dataclass(frozen=True)
class Audit:
    """What an adjusted model says of the links it was built with.

    Attributes:
        unsupported: Photos that are neither in a base model with others of the model nor held by a link that agrees.
        contradicted: Indices of links whose rotation the model contradicts, with the angle in degrees.
    """

    unsupported: frozenset[str]
    contradicted: Mapping[int, float]


def audit(
    model: Mapping[str, Pose],
    base_models: Sequence[Mapping[str, Pose]],
    links: Sequence[Link],
    limits: ConsensusOptions,
    given: Collection[str] = (),
) -> Audit:
    """Check a final model against the links and base models it came from.

    Every photo must hang on the largest base model (or, where there is none, on the largest connected group) by
    relations whose rotations agree with the model: links, or common membership in a base model.

    Args:
        model: cam_from_world of every photo of the final model.
        base_models: The same of the base models, largest first.
        links: Those that the model was built with.
        given: Photos whose poses were handed in: what hangs on them is supported, and they are, whatever speaks against
            them.
    """
    contradicted = {}
    relations: list[tuple[str, str]] = []
    for index, link in enumerate(links):
        pair = link.pair
        if pair.a not in model or pair.b not in model:
            continue
        error_deg = _rotation_error_deg(model, pair.a, pair.b, link.b_from_a.rotation)
        if error_deg > max(limits.max_cycle_deg, AUDIT_SIGMAS * link.spread_deg):
            contradicted[index] = error_deg
        else:
            relations.append((pair.a, pair.b))
    for base in base_models:
        names = sorted(base.keys() & model.keys())
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                rotation = base[b].rotation @ base[a].rotation.T
                if _rotation_error_deg(model, a, b, rotation) <= limits.max_cycle_deg:
                    relations.append((a, b))
    groups = connected_components(model, (ImagePair.sorted(a, b) for a, b in relations))
    first = base_models[0].keys() if base_models else model.keys()
    anchor = max(groups, key=lambda group: (len(group & set(given)), len(group & first), len(group)))
    return Audit(frozenset(model) - anchor - set(given), contradicted)


def _rotation_error_deg(model: Mapping[str, Pose], a: str, b: str, b_from_a: FloatArray) -> float:
    return float(geometry.rotation_angle_deg(b_from_a.T @ model[b].rotation @ model[a].rotation.T))
