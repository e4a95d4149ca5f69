from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import evidence, link
from interpose_sfm import geometry
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.consensus import RIVAL_SHARE, contradictions, settled
from interpose_sfm.pairs.decide import Findings
from interpose_sfm.pairs.records import PairRecord
from interpose_sfm.products import Link, LinkVerdict, PairMatch, Pose, PoseStatus, TwoView, WeakPair
from linked_world import model, of_strength, offered

OPTIONS = ConsensusOptions()
ACCEPTED, CONTRADICTED = LinkVerdict.ACCEPTED, LinkVerdict.CONTRADICTED


def verdicts(links: Sequence[Link], models: Sequence[Mapping[str, Pose]] = ()) -> dict[str, LinkVerdict]:
    """What is left of accepted links."""
    fallen = contradictions(links, models, OPTIONS)
    assert all(fallen.values())  # each with a reason
    return {
        offer.pair.a + offer.pair.b: CONTRADICTED if index in fallen else ACCEPTED for index, offer in enumerate(links)
    }


# ---------------------------------------------------------------- cycles


def test_right_links_pass() -> None:
    everything = [offered(a, b) for a, b in itertools.combinations("abcd", 2)]
    assert set(verdicts(everything).values()) == {ACCEPTED}
    assert verdicts([]) == {}


@pytest.mark.parametrize(("error_deg", "expected"), [(9.9, ACCEPTED), (10.1, CONTRADICTED), (176.0, CONTRADICTED)])
def test_a_wrong_link_among_right_ones_is_refused(error_deg: float, expected: LinkVerdict) -> None:
    found = verdicts([offered("a", "b", 0.6), offered("b", "c", 0.6), offered("a", "c", 0.3, error_deg)])
    assert found == {"ab": ACCEPTED, "bc": ACCEPTED, "ac": expected}


def test_links_may_go_in_either_direction() -> None:
    right = [offered("b", "a", 0.6), offered("b", "c", 0.6)]
    assert verdicts([*right, offered("c", "a", 0.3)])["ca"] is ACCEPTED
    assert verdicts([*right, offered("c", "a", 0.3, 40)])["ca"] is CONTRADICTED


def test_a_wrong_link_in_a_long_cycle_is_refused() -> None:
    ring = [offered(a, b, 0.6) for a, b in itertools.pairwise("abcdef")]
    assert set(verdicts([*ring, offered("f", "a", 0.3)]).values()) == {ACCEPTED}
    found = verdicts([*ring, offered("f", "a", 0.3, 60)])
    assert found.pop("fa") is CONTRADICTED
    assert set(found.values()) == {ACCEPTED}


@pytest.mark.parametrize(
    ("strength", "expected"), [(RIVAL_SHARE + 0.01, CONTRADICTED), (RIVAL_SHARE - 0.01, ACCEPTED), (1.0, CONTRADICTED)]
)
def test_of_equally_strong_rivals_none_is_believed(strength: float, expected: LinkVerdict) -> None:
    """Between two base models, two links that imply different rotations; nothing tells which one errs."""
    models = [model("ab", 1), model("cd", 2)]
    found = verdicts([offered("a", "c", 0.5), offered("b", "d", 0.5 * strength, 90)], models)
    assert found == {"ac": expected, "bd": CONTRADICTED}


def test_both_rivals_fall_in_a_triangle_of_single_photos() -> None:
    found = verdicts([offered("a", "b", 0.9), offered("b", "c", 0.5), offered("a", "c", 0.49, 90)])
    assert found == {"ab": ACCEPTED, "bc": CONTRADICTED, "ac": CONTRADICTED}


def test_all_rivals_of_a_broken_cycle_fall() -> None:
    """A wrong link as strong as the right ones could be any of them, so none of the equals is believed."""
    ring = [offered("a", "b", 0.5), offered("b", "c", 0.9), offered("c", "d", 0.5)]
    found = verdicts([*ring, offered("a", "d", 0.48, 60)])
    assert found == {"ab": CONTRADICTED, "bc": ACCEPTED, "cd": CONTRADICTED, "ad": CONTRADICTED}


@pytest.mark.parametrize("num_photos", [3, 4, 5])
def test_a_wrong_link_as_strong_as_the_right_ones_never_survives_a_cycle(num_photos: int) -> None:
    rng = np.random.default_rng(0)
    names = "abcde"[:num_photos]
    for _ in range(50):
        pairs = [*itertools.pairwise(names), (names[0], names[-1])]
        wrong = int(rng.integers(len(pairs)))
        links = [
            offered(a, b, float(rng.uniform(0.45, 0.5)), 50.0 if i == wrong else 0.0) for i, (a, b) in enumerate(pairs)
        ]
        assert verdicts(links)["".join(pairs[wrong])] is CONTRADICTED


def test_a_majority_of_wrong_links_does_not_win_by_agreeing() -> None:
    """Two wrong links that agree with each other against a right one that is stronger than both."""
    models = [model("abc", 1), model("def", 2)]
    wrong = geometry.relative_pose(model("def", 2)["d"], model("abc", 1)["a"]).rotation
    pose_of = {}
    for a, b in (("a", "d"), ("b", "e")):  # both follow from one wrong similarity between the two models
        turn_b = model("def", 2)[b].rotation @ model("def", 2)["d"].rotation.T
        turn_a = model("abc", 1)[a].rotation @ model("abc", 1)["a"].rotation.T
        pose_of[a + b] = Pose(turn_b @ wrong @ turn_a.T, np.array([1.0, 0, 0]))
    links = [link(k[0], k[1], p, of_strength(0.3)) for k, p in pose_of.items()]
    assert set(verdicts(links, models).values()) == {ACCEPTED}  # they agree with each other indeed
    found = verdicts([offered("c", "f", 0.9), *links], models)
    assert found == {"cf": ACCEPTED, "ad": CONTRADICTED, "be": CONTRADICTED}


# ---------------------------------------------------------------- cycles through base models


@pytest.mark.parametrize(("error_deg", "expected"), [(0.0, ACCEPTED), (9.9, ACCEPTED), (10.1, CONTRADICTED)])
def test_a_link_inside_a_base_model_must_agree_with_it(error_deg: float, expected: LinkVerdict) -> None:
    assert verdicts([offered("a", "c", 0.9, error_deg)], [model("abc")]) == {"ac": expected}


def test_a_photo_is_held_by_two_links_to_a_base_model() -> None:
    found = verdicts([offered("a", "e", 0.6), offered("d", "e", 0.3, 45), offered("c", "e", 0.4)], [model("abcd")])
    assert found == {"ae": ACCEPTED, "de": CONTRADICTED, "ce": ACCEPTED}


@pytest.mark.parametrize(("error_deg", "expected"), [(0.0, ACCEPTED), (30.0, CONTRADICTED)])
def test_a_photo_in_two_base_models_joins_them(error_deg: float, expected: LinkVerdict) -> None:
    models = [model("abc", 1), model("cde", 2)]
    assert verdicts([offered("a", "e", 0.9, error_deg)], models) == {"ae": expected}


@pytest.mark.parametrize(("error_deg", "expected"), [(0.0, ACCEPTED), (30.0, CONTRADICTED)])
def test_a_third_base_model_joins_two_others(error_deg: float, expected: LinkVerdict) -> None:
    models = [model("abc", 1), model("def", 2), model("cd", 3)]
    for order in itertools.permutations(models):
        assert verdicts([offered("a", "f", 0.9, error_deg)], order) == {"af": expected}


def test_the_frames_of_the_base_models_do_not_matter() -> None:
    links = [offered("a", "d", 0.9), offered("b", "e", 0.4, 20), offered("c", "f", 0.6), offered("f", "g", 0.5)]
    expected = {"ad": ACCEPTED, "be": CONTRADICTED, "cf": ACCEPTED, "fg": ACCEPTED}
    for seed in range(4):
        assert verdicts(links, [model("abc", seed), model("def", seed + 10)]) == expected


def test_the_order_of_the_links_does_not_matter() -> None:
    links = [
        offered("a", "d", 0.9),
        offered("b", "d", 0.5, 60),
        offered("e", "d", 0.5),
        offered("e", "a", 0.45, 60),
        offered("c", "e", 0.8),
        offered("f", "e", 0.5, 170),
    ]
    expected = verdicts(links, [model("abc")])
    assert set(expected.values()) == {ACCEPTED, CONTRADICTED}
    for order in itertools.islice(itertools.permutations(links), 0, 720, 7):
        assert verdicts(order, [model("abc")]) == expected


def test_weaker_wrong_links_fall_and_take_no_right_one_along() -> None:
    """All links of five photos and three to a base model, a quarter of them wrong, in random order."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        pairs = [*itertools.combinations("defgh", 2), ("a", "d"), ("b", "f"), ("c", "h")]
        is_wrong = [i % 4 == 3 for i in rng.permutation(len(pairs))]
        links = [
            offered(a, b, float(rng.uniform(0.1, 0.3) if bad else rng.uniform(0.45, 0.9)), 50.0 if bad else 0.0)
            for (a, b), bad in zip(pairs, is_wrong, strict=True)
        ]
        found = verdicts(links, [model("abc")])
        assert [v is CONTRADICTED for v in found.values()] == is_wrong


# ---------------------------------------------------------------- stage 8


def matched(a: str, b: str, agreement: float, density: float = 0.5) -> PairRecord:
    """A pair that was matched, with so much agreement."""
    offer = replace(offered(a, b), evidence=evidence(agreement=agreement, density=density))
    two_view = TwoView(PoseStatus.OK, offer.b_from_a, np.zeros(0, np.uint32), offer.evidence, 0.5)
    return PairRecord(WeakPair(offer.pair, (), 0)).after(Findings(matched=PairMatch(two_view, offer)), OPTIONS)


def settled_verdicts(
    records: Sequence[PairRecord], models: Sequence[Mapping[str, Pose]] = ()
) -> dict[str, LinkVerdict]:
    return {r.pair.a + r.pair.b: r.verdict for r in settled(records, models, OPTIONS)}


def test_near_misses_that_third_photos_confirm_are_accepted() -> None:
    records = [matched("h", c, 0.7) for c in "abc"]
    assert {r.verdict for r in records} == {LinkVerdict.POSSIBLE}
    found = settled(records, [model("abcd")], OPTIONS)
    assert {r.verdict for r in found} == {ACCEPTED}
    for record in found:
        assert record.findings.confirmation in record.decision.detail
        assert "70%" in record.decision.detail  # what it says by itself
    assert set(settled_verdicts(records).values()) == {LinkVerdict.POSSIBLE}  # nothing ties the third photos


def test_what_is_refused_for_more_than_a_near_miss_does_not_rise() -> None:
    for agreement, verdict in ((0.59, LinkVerdict.LOW_AGREEMENT), (0.61, ACCEPTED)):
        records = [matched("h", "a", agreement), *(matched("h", c, 0.73) for c in "bc")]
        assert settled_verdicts(records, [model("abcd")])["ha"] is verdict


def test_a_confirmed_link_falls_with_the_cycle_that_it_breaks() -> None:
    """Four near misses that agree on a wrong place confirm one another; a stronger link contradicts them all."""
    lies = [misplaced("h", c, 0.73) for c in "abce"]
    world = [model("abcde")]
    assert set(settled_verdicts(lies, world).values()) == {ACCEPTED}
    truth = matched("h", "d", 0.95, density=0.9)
    found = settled([*lies, truth], world, OPTIONS)
    assert found[4].verdict is ACCEPTED
    assert {r.verdict for r in found[:4]} == {CONTRADICTED}
    assert {r.findings.confirmation for r in found[:4]} == {""}
    of_two = settled([*lies[:2], truth], world, OPTIONS)
    assert [r.verdict for r in of_two] == [LinkVerdict.POSSIBLE, LinkVerdict.POSSIBLE, ACCEPTED]  # it is heard first


def misplaced(name: str, other: str, agreement: float) -> PairRecord:
    """A matched pair by which a photo stands elsewhere than it does, wherever it is seen from."""
    record = matched(name, other, agreement)
    matches = record.findings.matched
    assert matches is not None
    assert matches.link is not None
    world = model(name + other)
    wrong = Pose(geometry.rotation_from_axis_angle((0, 1, 0), 40.0) @ world[name].rotation, world[name].translation)
    pose = geometry.with_unit_translation(geometry.relative_pose(world[other], wrong))
    findings = Findings(matched=PairMatch(matches.two_view, replace(matches.link, b_from_a=pose)))
    return record.after(findings, OPTIONS)
