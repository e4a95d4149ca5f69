"""A weak pair as report.json tells of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from interpose_sfm import geometry, report
from interpose_sfm.options import ConsensusOptions, ConsistencyOptions
from interpose_sfm.pairs.decide import Findings
from interpose_sfm.pairs.link_witnesses import MEANINGS, link_witnesses
from interpose_sfm.pairs.records import PairRecord
from interpose_sfm.pairs.witnesses import agreeing_in
from interpose_sfm.products import PAIR_ALONE, Link, LinkVerdict, PairOutcome, Pose, PoseHypothesis

MAX_SHOWN_MATCHES = 60  # lines between two pictures; more hide one another


def pair_report(
    record: PairRecord,
    models: Sequence[Mapping[str, Pose]] = (),
    limits: ConsensusOptions | None = None,
    choosing: ConsistencyOptions | None = None,
    strips: Mapping[str, str] | None = None,
) -> report.PairReport:
    """What was tried on a pair, and what became of it.

    Args:
        record: The last one of the pair.
        models: cam_from_world of the photos of each final model.
        limits: When a link is believed; the default ones if not given.
        choosing: When hypotheses agree; the default if not given.
        strips: Clip name -> its picture below the output folder.
    """
    limits, choosing = limits or ConsensusOptions(), choosing or ConsistencyOptions()
    link, bridged = record.decision.link, record.findings.bridged
    choice = None if bridged is None else bridged.choice
    around, hypotheses = ("", ()) if bridged is None else _hypotheses(bridged)
    return report.PairReport(
        a=record.pair.a,
        b=record.pair.b,
        weak_because=record.weak.reasons,
        tried=record.tried,
        verdict=record.verdict,
        detail=record.decision.detail,
        evidence={} if record.evidence is None else asdict(record.evidence),
        choice=None if choice is None else choice.reason,
        score=math.nan if choice is None else choice.score_deg,
        score_kind="" if choice is None else choice.score_kind.value,
        clip_scores={
            s.clip: {"d_med_deg": s.d_med_deg, "d_bias_deg": s.d_bias_deg, "d_agreement_deg": s.d_agreement_deg}
            for s in (() if choice is None else choice.clip_scores)
        },
        clip_flags={} if bridged is None else {clip: flags for clip, flags in bridged.flags.items() if flags},
        agreeing_sources={} if bridged is None else agreeing_in(bridged),
        spread_deg=math.nan if link is None else link.spread_deg,
        rotation_deg=math.nan if link is None else float(geometry.rotation_angle_deg(link.b_from_a.rotation)),
        link=None if link is None else _link_report(link, record.verdict is LinkVerdict.ACCEPTED, models),
        meaning=MEANINGS[record.verdict],
        witnesses=link_witnesses(record.findings, record.decision, limits, choosing),
        clips=() if bridged is None else _clips(bridged, strips or {}),
        hypotheses=hypotheses,
        hypotheses_around=around,
        matches_px=_shown_matches(link, record.findings),
    )


def _link_report(link: Link, is_accepted: bool, models: Sequence[Mapping[str, Pose]]) -> report.LinkReport:
    a, b = link.pair.a, link.pair.b
    model = next((poses for poses in models if a in poses and b in poses), None)
    residuals = math.nan, math.nan
    if model is not None:
        residuals = geometry.link_errors_deg(geometry.relative_pose(model[b], model[a]), link.b_from_a)
    return report.LinkReport(
        source=link.source,
        rotation=tuple(tuple(float(value) for value in row) for row in link.b_from_a.rotation),
        direction=tuple(float(value) for value in link.b_from_a.translation),
        spread_deg=link.spread_deg,
        residual_rotation_deg=residuals[0],
        residual_direction_deg=residuals[1],
        is_kept=model is not None and is_accepted,
    )


def _clips(bridged: PairOutcome, strips: Mapping[str, str]) -> tuple[report.ClipReport, ...]:
    return tuple(
        report.ClipReport(
            name=preview.name,
            num_frames=preview.num_frames,
            strip=strips.get(preview.name, ""),
            num_strip_frames=len(preview.frames),
            is_chosen=preview.name == bridged.choice.clip and bridged.choice.b_from_a is not None,
        )
        for preview in bridged.previews
    )


def _hypotheses(bridged: PairOutcome) -> tuple[str, tuple[report.HypothesisReport, ...]]:
    """Every hypothesis of the clips, as far as it is from one pose, and which pose that is."""
    choice = bridged.choice
    medoids = {score.clip: score.medoid for score in choice.clip_scores}
    if choice.b_from_a is not None:
        around, pose = f"the chosen pose ({choice.clip or 'of the pair alone'})", choice.b_from_a
    elif choice.clip_scores:
        steadiest = min(choice.clip_scores, key=lambda score: score.d_med_deg)
        around, pose = f"the medoid of {steadiest.clip}", steadiest.medoid
    else:
        return "", tuple(_hypothesis(h, None, False) for h in bridged.hypotheses)
    return around, tuple(_hypothesis(h, pose, _is_same(h.b_from_a, medoids.get(h.clip))) for h in bridged.hypotheses)


def _is_same(one: Pose | None, other: Pose | None) -> bool:
    return one is not None and other is not None and np.array_equal(one.rotation, other.rotation)


def _hypothesis(hypothesis: PoseHypothesis, around: Pose | None, is_medoid: bool) -> report.HypothesisReport:
    rotation_deg = direction_deg = math.nan
    if around is not None and hypothesis.b_from_a is not None:
        terms = geometry.pose_distance_terms_deg([around], [hypothesis.b_from_a], signed=True)
        rotation_deg, direction_deg = (float(term[0, 0]) for term in terms)
    return report.HypothesisReport(
        clip=hypothesis.clip,
        frames=hypothesis.frames,
        status=hypothesis.status,
        rotation_deg=rotation_deg,
        direction_deg=direction_deg,
        num_inliers=hypothesis.num_inliers,
        is_medoid=is_medoid,
    )


def _shown_matches(link: Link | None, findings: Findings) -> tuple[tuple[float, float, float, float], ...]:
    """Matches of the two photos themselves: what a clip carries from one to the other is none."""
    is_of_clip = link is not None and link.source != PAIR_ALONE and link.proposal is None
    if link is None or is_of_clip:
        link = None if findings.matched is None else findings.matched.link
    if link is None or not len(link.points_a_px):
        return ()
    both_px = np.round(np.column_stack([link.points_a_px, link.points_b_px]), 1)
    rows = np.unique(np.linspace(0, len(both_px) - 1, MAX_SHOWN_MATCHES).round().astype(int))
    return tuple((float(xa), float(ya), float(xb), float(yb)) for xa, ya, xb, yb in both_px[rows])
