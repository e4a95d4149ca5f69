"""Links that are asked for while models are joined: refused ones, pairs that were not tried, and support."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from interpose_sfm.matching.given_pose import is_within
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.decide import Findings, decide_alone
from interpose_sfm.pairs.judge import supports
from interpose_sfm.pairs.network_poses import near, photos_beside
from interpose_sfm.pairs.records import WEAK_EVIDENCE, PairRecord, weak_link
from interpose_sfm.products import (
    PAIR_ALONE,
    ImagePair,
    JudgedProposal,
    Link,
    LinkVerdict,
    PairMatch,
    Pose,
    ViewGraph,
)

NEIGHBOURS = 3  # base photos around each end of a link that are matched anew, so that its points get a depth

SAME_POSE_DEG = 2.0  # apart, refined poses are one

Match = Callable[[ImagePair], PairMatch]
"""Learned matches of a pair, each made once."""

Fetch = Callable[[Sequence[ImagePair]], Sequence[ImagePair]]
"""Have many pairs matched at once -> those that can be asked for."""

Guess = Callable[[Link, Sequence[str]], Link]
"""A link, and photos beside its own -> the link with what a pose network sees of them all, if it has an answer."""

Hold = Callable[[ImagePair, Sequence[Pose]], Sequence[JudgedProposal]]
"""Predicted poses of a pair held against its learned matches."""


class FurtherLinks:
    """Where joining gets more links from than those that are accepted.

    The records are looked at, never changed: what was matched on the way is kept in `matched_late`.

    Args:
        records: All weak pairs, as the consensus left them.
        graph: The view graph of the base stage.
        match: Makes learned matches.
        hold: Holds predicted poses against them.
        limits: When a link is believed.
        guess: Asks a pose network; None without one.
        fetch: Matches several pairs ahead; None for one after the other.
    """

    def __init__(
        self,
        records: Sequence[PairRecord],
        graph: ViewGraph,
        match: Match,
        hold: Hold,
        limits: ConsensusOptions,
        guess: Guess | None = None,
        fetch: Fetch | None = None,
    ) -> None:
        self._records, self._graph, self._limits = records, graph, limits
        self._match, self._hold, self._guess = match, hold, guess
        self._fetch: Fetch = fetch or (lambda pairs: pairs)
        self.matched_late: dict[ImagePair, PairMatch] = {}

    def candidates(self, first: frozenset[str], second: frozenset[str]) -> list[Link]:
        """Links across two sets of photos that only lack evidence of their own, or were not needed so far."""
        one, other = first - second, second - first
        across = [r for r in self._records if {r.pair.a, r.pair.b} & one and {r.pair.a, r.pair.b} & other]
        late = [r.pair for r in across if not r.tried and r.pair not in self.matched_late]
        can_match = {*self._fetch(late), *self.matched_late}
        links = []
        for record in across:
            if not record.tried and record.pair not in can_match:
                continue
            link = weak_link(record, self._limits) if record.tried else self._late_link(record)
            if link is not None:
                links.append(link)
        return links

    def _late_link(self, record: PairRecord) -> Link | None:
        """The link of a pair that nobody has matched yet, unless its pose itself is of no use."""
        if record.pair not in self.matched_late:
            self.matched_late[record.pair] = self._match(record.pair)
        findings = Findings(matched=self.matched_late[record.pair])
        decision = decide_alone(findings, self._limits)
        return decision.link if decision.verdict in (LinkVerdict.ACCEPTED, *WEAK_EVIDENCE) else None

    def predicted(self, link: Link, poses: Sequence[Pose]) -> list[Link]:
        """A candidate with those of the predicted poses that its photos' matches support as much as any other pose."""
        held = [found for found in self._hold(link.pair, poses) if supports(found, self._limits)]
        held.sort(key=lambda found: -found.link.evidence.weight)
        links: list[Link] = []
        for found in held:
            if not any(is_within(found.link.b_from_a, other.b_from_a, SAME_POSE_DEG) for other in links):
                links.append(replace(found.link, source=PAIR_ALONE))
        return links

    def support(self, links: Sequence[Link]) -> list[Link]:
        """Learned matches between the ends of links and their neighbours in the base models.

        The key points of a link have no depth until they are also matched among photos whose poses are known.
        """
        ends = sorted({name for link in links for name in (link.pair.a, link.pair.b)})
        wanted = {pair for end in ends for pair in near(self._graph, end)[:NEIGHBOURS]}
        can_match = self._fetch(sorted(wanted))
        decisions = [decide_alone(Findings(matched=self._match(pair)), self._limits) for pair in can_match]
        return [d.link for d in decisions if d.link is not None and d.verdict is LinkVerdict.ACCEPTED]

    def guessed(self, links: Sequence[Link]) -> list[Link]:
        """Those of the links that a pose network knows depths or further poses of, with these.

        It sees the ends of the link and photos of their base models at once, so that all is in one scale.
        """
        if self._guess is None:
            return []
        known = [self._guess(link, photos_beside(self._graph, link.pair)) for link in links]
        return [
            link for link in known if len(link.guessed_a.depths) or len(link.guessed_b.depths) or link.guessed_poses
        ]
