"""A weak pair as report.json tells of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from interpose_sfm import geometry, report
from interpose_sfm.pairs.records import PairRecord
from interpose_sfm.pairs.witnesses import agreeing_in
from interpose_sfm.products import Link, LinkVerdict, Pose


def pair_report(record: PairRecord, models: Sequence[Mapping[str, Pose]] = ()) -> report.PairReport:
    """What was tried on a pair, and what became of it.

    Args:
        record: The last one of the pair.
        models: cam_from_world of the photos of each final model.
    """
    link, bridged = record.decision.link, record.findings.bridged
    choice = None if bridged is None else bridged.choice
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
