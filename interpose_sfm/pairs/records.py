"""The weak pairs of a run: what is known of each, and which of them is worth bridging next."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.decide import Findings, decide, decide_alone
from interpose_sfm.products import (
    PAIR_ALONE,
    Evidence,
    GeneratorKind,
    ImagePair,
    Link,
    LinkDecision,
    LinkVerdict,
    ViewGraph,
    WeakPair,
    connected_components,
)

MIN_STRENGTH_TO_BRIDGE = 0.05  # pairs with weaker learned matches have nothing to morph along

WEAK_EVIDENCE = (LinkVerdict.LOW_AGREEMENT, LinkVerdict.POSSIBLE, LinkVerdict.UNSEEN)
"""Of links that may still be right; what contradicts others may not, nor what luck explains or a look-alike does."""


@dataclass(frozen=True)
class PairRecord:
    """A weak pair after some step of a run; the next step makes the next record of it.

    Attributes:
        weak: The pair, and why it is weak.
        findings: All that is known of it.
        decision: What follows from the findings; `after` keeps the two together.
    """

    weak: WeakPair
    findings: Findings = field(default_factory=Findings)
    decision: LinkDecision = field(default_factory=lambda: decide(Findings(), ConsensusOptions()))

    @property
    def pair(self) -> ImagePair:
        """The photos."""
        return self.weak.pair

    @property
    def verdict(self) -> LinkVerdict:
        """Whether the link is believed, or why not."""
        return self.decision.verdict

    @property
    def tried(self) -> tuple[str, ...]:
        """What was tried, in order."""
        findings = self.findings
        steps: tuple[str, ...] = () if findings.matched is None else ("learned matching",)
        steps += () if findings.proposed is None else ("pose network",)
        return steps if findings.bridged is None else (*steps, *(findings.bridged.tried or ("no clip",)))

    @property
    def evidence(self) -> Evidence | None:
        """Cues of the link, or of the matches that gave none; None before matching."""
        if self.decision.link is not None:
            return self.decision.link.evidence
        return None if self.findings.matched is None else self.findings.matched.two_view.evidence

    def after(self, findings: Findings, limits: ConsensusOptions) -> PairRecord:
        """The record after a step.

        Args:
            findings: What is known by now.
            limits: When a link is believed.
        """
        return PairRecord(self.weak, findings, decide(findings, limits))


def accepted_links(records: Sequence[PairRecord]) -> list[Link]:
    """Links of the pairs that are accepted so far."""
    return [r.decision.link for r in records if r.decision.link is not None and r.verdict is LinkVerdict.ACCEPTED]


def own_links(records: Sequence[PairRecord]) -> list[Link]:
    """What the photos' own matches offer, believed or not."""
    matched = [r.findings.matched for r in records]
    return [m.link for m in matched if m is not None and m.link is not None]


def near_miss(record: PairRecord) -> Link | None:
    """The link that the photos' own matches made or judged, where nothing is missing but that others confirm it."""
    link = record.decision.link
    if link is None or record.verdict is not LinkVerdict.POSSIBLE:
        return None
    return link if link.source == PAIR_ALONE or link.proposal is not None else None


def weak_link(record: PairRecord, limits: ConsensusOptions) -> Link | None:
    """A link that is refused for nothing but its own weak evidence, so that it may be right all the same."""
    if record.verdict is LinkVerdict.INCONSISTENT:  # of its clips: what the photos say by themselves is another matter
        alone = decide_alone(replace(record.findings, bridged=None), limits)
        return alone.link if alone.verdict in WEAK_EVIDENCE else None
    return record.decision.link if record.verdict in WEAK_EVIDENCE else None


def connected_groups(graph: ViewGraph, links: Sequence[Link]) -> dict[str, frozenset[str]]:
    """Photo -> all photos that base models and links connect with it."""
    joined = [ImagePair.sorted(min(model), name) for model in graph.models for name in model - {min(model)}]
    joined += [link.pair for link in links]
    return {name: group for group in connected_components(graph.names, joined) for name in group}


def least_strength(clip_kinds: Collection[GeneratorKind]) -> float:
    """How strong the learned matches of a pair without clips must be, so that making some is worth a try.

    A video model needs no matches, and photos without common points are what it is for; warped frames need matches to
    go along; files are there or not.
    """
    if GeneratorKind.IMAGINED in clip_kinds:
        return 0.0
    return MIN_STRENGTH_TO_BRIDGE if GeneratorKind.WARPED in clip_kinds else math.inf


def left_open(records: Sequence[PairRecord], graph: ViewGraph) -> list[PairRecord]:
    """Pairs that were matched and whose photos no accepted link connects, best matches first; asked of no network yet.

    Args:
        records: All weak pairs.
        graph: The view graph of the base stage.
    """
    component = connected_groups(graph, accepted_links(records))
    is_open = [
        record
        for record in records
        if record.findings.matched is not None
        and record.findings.proposed is None
        and not record.verdict.tells_pose
        and component[record.pair.a] is not component[record.pair.b]
    ]
    return sorted(is_open, key=lambda record: -_strength(record))


def _strength(record: PairRecord) -> float:
    return 0.0 if record.evidence is None else record.evidence.strength


def promising(
    records: Sequence[PairRecord],
    graph: ViewGraph,
    num_existing_clips: Callable[[ImagePair], int],
    min_strength: float = 0.0,
) -> list[PairRecord]:
    """Pairs worth bridging, best first: those with clips on disk before all others, else what would join components.

    Clips on disk are used wherever the pair has no link by itself, since somebody made them for it: also between photos
    that others connect, for better or worse.

    Args:
        records: All weak pairs.
        graph: The view graph of the base stage.
        num_existing_clips: Clips of a pair that are there already.
        min_strength: Of the learned matches of the others, see `least_strength`.
    """
    component = connected_groups(graph, accepted_links(records))
    candidates: list[tuple[tuple[bool, float], PairRecord]] = []
    for record in records:
        pair, evidence = record.pair, record.evidence
        if record.findings.bridged is not None or evidence is None or record.verdict is LinkVerdict.ACCEPTED:
            continue
        has_clips = num_existing_clips(pair) > 0
        is_apart = component[pair.a] is not component[pair.b]
        if has_clips or (is_apart and evidence.strength >= min_strength):
            candidates.append(((has_clips, evidence.strength), record))
    return [record for _, record in sorted(candidates, key=lambda item: item[0], reverse=True)]
