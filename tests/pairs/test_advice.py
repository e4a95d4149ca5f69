"""What would connect more photos: the pair that gains most, and what to do about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import evidence
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.advice import MAX_ADVICE, advise
from interpose_sfm.pairs.decide import Findings
from interpose_sfm.pairs.records import PairRecord
from interpose_sfm.products import ImagePair, LinkDecision, LinkVerdict, PairMatch, PoseStatus, TwoView, WeakPair
from linked_world import offered


def record(a: str, b: str, strength: float, verdict: LinkVerdict = LinkVerdict.LOW_AGREEMENT) -> PairRecord:
    link = replace(offered("a", "b"), pair=ImagePair(a, b), evidence=evidence(share=1.0, score=strength, density=1.0))
    two_view = TwoView(PoseStatus.OK, link.b_from_a, np.zeros(0, np.uint32), link.evidence, 0.5)
    found = PairRecord(WeakPair(link.pair, (), 0)).after(
        Findings(matched=PairMatch(two_view, link)), ConsensusOptions()
    )
    return replace(found, decision=LinkDecision(verdict, "", link))


def test_the_best_pair_of_each_group_is_named_and_the_largest_gain_comes_first() -> None:
    models = [frozenset("abcd"), frozenset("efg")]
    records = [record("a", "h", 0.9), record("a", "e", 0.3), record("b", "f", 0.5), record("e", "h", 0.1)]
    found = advise(records, models)
    assert [(one.a, one.b, one.num_gained) for one in found] == [("b", "f", 3), ("a", "h", 1)]


def test_nothing_is_advised_within_a_model() -> None:
    assert advise([record("a", "b", 0.9)], [frozenset("ab")]) == ()
    assert advise([], [frozenset("ab")]) == ()


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (LinkVerdict.POSSIBLE, "between a and b that shows what both show"),
        (LinkVerdict.ROTATION_ONLY, "a step to the side"),
        (LinkVerdict.ACCEPTED, "too few points"),
        (LinkVerdict.LOOK_ALIKE, "look alike"),
        (LinkVerdict.UNSEEN, "film the way"),
        (LinkVerdict.NOT_TRIED, "film the way"),
    ],
)
def test_what_to_do_follows_from_the_verdict(verdict: LinkVerdict, said: str) -> None:
    (found,) = advise([record("a", "b", 0.5, verdict)], [])
    assert said in found.text


def test_near_misses_come_before_stronger_refusals() -> None:
    records = [record("a", "c", 0.9), record("b", "c", 0.2, LinkVerdict.POSSIBLE)]
    assert [(one.a, one.b) for one in advise(records, [frozenset("ab")])] == [("b", "c")]


def test_no_more_is_said_than_is_read() -> None:
    records = [record("a", f"b{index}", 0.5) for index in range(9)]
    assert len(advise(records, [frozenset({"a", "a2"})])) == MAX_ADVICE
