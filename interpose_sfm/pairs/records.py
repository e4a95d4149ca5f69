"""What is known of the weak pairs while a run goes on, and which of them is worth bridging next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from interpose_sfm import geometry, report
from interpose_sfm.geometry import link_errors_deg
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs import consensus
from interpose_sfm.pairs.pair_pose import PairPoser
from interpose_sfm.products import (
    ClipFlag,
    Evidence,
    ImagePair,
    Link,
    LinkDecision,
    LinkVerdict,
    Pose,
    PoseChoice,
    TwoView,
    ViewGraph,
    WeakPair,
    connected_components,
)

MIN_STRENGTH_TO_BRIDGE = 0.05  # pairs with weaker learned matches have nothing to morph along


@dataclass
class PairRecord:
    """What is known of a weak pair so far."""

    weak: WeakPair
    decision: LinkDecision | None = None
    verdict: LinkVerdict = LinkVerdict.NOT_TRIED
    detail: str = "over the budget"
    evidence: Evidence | None = None
    choice: PoseChoice | None = None
    tried: tuple[str, ...] = ()
    clip_flags: Mapping[str, tuple[ClipFlag, ...]] = field(default_factory=dict)

    def take(self, decision: LinkDecision) -> None:
        """Replace the verdict by that of a decision on a link."""
        self.decision, self.verdict, self.detail = decision, decision.verdict, decision.detail
        self.evidence = decision.link.evidence

    def match(self, two_view: TwoView, link: Link | None, knows_cameras: bool, options: ConsensusOptions) -> None:
        """Take what learned matching says of the pair."""
        self.tried, self.evidence, self.decision = ("learned matching",), two_view.evidence, None
        if link is None:
            self.verdict, self.detail = LinkVerdict.NO_GEOMETRY, two_view.status.value
        else:
            self.take(consensus.judge(link, knows_cameras, options))

    def report(self, models: Sequence[Mapping[str, Pose]] = ()) -> report.PairReport:
        """The record as report.json holds it.

        Args:
            models: cam_from_world of the photos of each final model.
        """
        link = self.decision.link if self.decision is not None else None
        scores = self.choice.clip_scores if self.choice is not None else ()
        return report.PairReport(
            a=self.weak.pair.a,
            b=self.weak.pair.b,
            weak_because=self.weak.reasons,
            tried=self.tried,
            verdict=self.verdict,
            detail=self.detail,
            evidence={} if self.evidence is None else asdict(self.evidence),
            choice=None if self.choice is None else self.choice.reason,
            score=math.nan if self.choice is None else self.choice.score_deg,
            score_kind="" if self.choice is None else self.choice.score_kind.value,
            clip_scores={
                s.clip: {"d_med_deg": s.d_med_deg, "d_bias_deg": s.d_bias_deg, "d_agreement_deg": s.d_agreement_deg}
                for s in scores
            },
            clip_flags={clip: flags for clip, flags in self.clip_flags.items() if flags},
            spread_deg=math.nan if link is None else link.spread_deg,
            rotation_deg=math.nan if link is None else float(geometry.rotation_angle_deg(link.b_from_a.rotation)),
            link=None if link is None else _link_report(link, self.verdict is LinkVerdict.ACCEPTED, models),
        )


def _link_report(link: Link, is_accepted: bool, models: Sequence[Mapping[str, Pose]]) -> report.LinkReport:
    a, b = link.pair.a, link.pair.b
    model = next((poses for poses in models if a in poses and b in poses), None)
    residuals = math.nan, math.nan
    if model is not None:
        residuals = link_errors_deg(geometry.relative_pose(model[b], model[a]), link.b_from_a)
    return report.LinkReport(
        source=link.source,
        rotation=tuple(tuple(float(value) for value in row) for row in link.b_from_a.rotation),
        direction=tuple(float(value) for value in link.b_from_a.translation),
        spread_deg=link.spread_deg,
        residual_rotation_deg=residuals[0],
        residual_direction_deg=residuals[1],
        is_kept=model is not None and is_accepted,
    )


def accepted_links(records: Sequence[PairRecord]) -> list[Link]:
    """Links of the pairs that are accepted so far."""
    return [r.decision.link for r in records if r.decision is not None and r.verdict is LinkVerdict.ACCEPTED]


def connected_groups(graph: ViewGraph, links: Sequence[Link]) -> dict[str, frozenset[str]]:
    """Photo -> all photos that base models and links connect with it."""
    joined = [ImagePair.sorted(min(model), name) for model in graph.models for name in model - {min(model)}]
    joined += [link.pair for link in links]
    return {name: group for group in connected_components(graph.names, joined) for name in group}


def most_promising(records: Sequence[PairRecord], graph: ViewGraph, poser: PairPoser) -> PairRecord | None:
    """The next pair to bridge, see `promising`."""
    least = 0.0 if poser.has_video_model else MIN_STRENGTH_TO_BRIDGE
    return next(iter(promising(records, graph, poser, least)), None)


def promising(
    records: Sequence[PairRecord], graph: ViewGraph, poser: PairPoser, min_strength: float = 0.0
) -> list[PairRecord]:
    """Pairs worth bridging, best first: those with clips on disk before all others, else what would join components.

    Clips on disk are used wherever the pair has no link by itself, since somebody made them for it: also between photos
    that others connect, for better or worse. Morphs need matches to go along; a video model needs none, and photos
    without common points are what it is for.
    """
    component = connected_groups(graph, accepted_links(records))
    found: list[tuple[tuple[bool, float], PairRecord]] = []
    for record in records:
        pair, evidence = record.weak.pair, record.evidence
        if record.choice is not None or evidence is None or record.verdict is LinkVerdict.ACCEPTED:
            continue
        has_clips = poser.num_clips_on_disk(pair) > 0
        is_apart = component[pair.a] is not component[pair.b]
        if has_clips or (is_apart and evidence.strength >= min_strength):
            found.append(((has_clips, evidence.strength), record))
    return [record for _, record in sorted(found, key=lambda item: item[0], reverse=True)]
