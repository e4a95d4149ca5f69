from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import arc, evidence, link, turned
from interpose_sfm import geometry
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.consensus import RIVAL_SHARE, audit, judge, judge_evidence, needed_score, settle
from interpose_sfm.products import Evidence, Link, LinkDecision, LinkVerdict, Pose

OPTIONS = ConsensusOptions()
ACCEPTED, CONTRADICTED = LinkVerdict.ACCEPTED, LinkVerdict.CONTRADICTED
NAMES = "abcdefgh"
WORLD = dict(zip(NAMES, arc([0, 35, 80, 120, 160, 200, 250, 300]), strict=True))
EPSILON = 1e-6


def of_strength(strength: float) -> Evidence:
    return evidence(share=1.0, score=1.0, density=strength)


def offered(a: str, b: str, strength: float = 0.5, error_deg: float = 0.0) -> LinkDecision:
    """An accepted link between two photos of the world, turned away from the truth."""
    b_from_a = geometry.with_unit_translation(geometry.relative_pose(WORLD[b], WORLD[a]))
    return LinkDecision(link(a, b, turned(b_from_a, error_deg), of_strength(strength)), ACCEPTED)


def model(names: str, seed: int = 0) -> dict[str, Pose]:
    """A base model of some photos, in a world frame of its own."""
    rng = np.random.default_rng(seed)
    other_from_world = geometry.Similarity(
        float(rng.uniform(0.5, 2)), geometry.rotation_exp(rng.normal(size=3)), rng.normal(size=3)
    )
    return {name: other_from_world.move_camera(WORLD[name]) for name in names}


def verdicts(
    decisions: Sequence[LinkDecision],
    models: Sequence[Mapping[str, Pose]] = (),
    options: ConsensusOptions = OPTIONS,
) -> dict[str, LinkVerdict]:
    settled = settle(decisions, models, options)
    assert [d.link for d in settled] == [d.link for d in decisions]
    return {d.link.pair.a + d.link.pair.b: d.verdict for d in settled}


# ---------------------------------------------------------------- the evidence gate


def verdict_of(found: Evidence, knows_cameras: bool = True) -> LinkVerdict:
    verdict, detail = judge_evidence(found, knows_cameras, OPTIONS)
    assert detail
    return verdict


@pytest.mark.parametrize(
    ("name", "limit", "refusal"),
    [
        ("share", OPTIONS.min_inlier_share, LinkVerdict.LOW_SHARE),
        ("score", OPTIONS.min_score_near, LinkVerdict.LOW_SCORE),
        ("density", OPTIONS.min_density, LinkVerdict.LOW_DENSITY),
    ],
)
def test_each_cue_has_its_limit(name: str, limit: float, refusal: LinkVerdict) -> None:
    assert verdict_of(evidence(**{name: limit})) is ACCEPTED  # type: ignore[arg-type]
    assert verdict_of(evidence(**{name: limit - EPSILON})) is refusal  # type: ignore[arg-type]


def test_the_number_of_inliers_has_its_limit() -> None:
    assert verdict_of(evidence(num_inliers=OPTIONS.min_inliers)) is ACCEPTED
    assert verdict_of(evidence(num_inliers=OPTIONS.min_inliers - 1)) is LinkVerdict.FEW_INLIERS
    assert verdict_of(evidence(num_inliers=100_000, share=0.5)) is LinkVerdict.LOW_SHARE


@pytest.mark.parametrize(("angle_deg", "needed"), [(0, 0.75), (45, 0.75), (62.5, 0.65), (80, 0.55), (150, 0.55)])
def test_near_photos_must_match_with_more_confidence(angle_deg: float, needed: float) -> None:
    assert needed_score(angle_deg, OPTIONS) == pytest.approx(needed)
    assert verdict_of(evidence(angle_deg=angle_deg, score=needed + EPSILON)) is ACCEPTED
    assert verdict_of(evidence(angle_deg=angle_deg, score=needed - EPSILON)) is LinkVerdict.LOW_SCORE


@pytest.mark.parametrize(
    ("is_calibrated", "knows_cameras", "expected"),
    [
        (True, True, ACCEPTED),
        (False, True, LinkVerdict.NOT_CALIBRATED),
        (False, False, ACCEPTED),
        (True, False, ACCEPTED),
    ],
)
def test_the_geometry_must_fit_known_cameras_only(
    is_calibrated: bool, knows_cameras: bool, expected: LinkVerdict
) -> None:
    assert verdict_of(evidence(is_calibrated=is_calibrated), knows_cameras) is expected


def test_the_detail_names_the_figures() -> None:
    detail = judge_evidence(evidence(share=0.5), True, OPTIONS)[1]
    assert "50%" in detail
    assert "85%" in detail


def judged(candidate: Link) -> LinkVerdict:
    decision = judge(candidate, True, OPTIONS)
    assert decision.link is candidate
    assert decision.detail
    return decision.verdict


def test_a_link_needs_a_sure_pose_with_a_direction() -> None:
    pose = offered("a", "b").link.b_from_a
    assert judged(link("a", "b", pose)) is ACCEPTED
    assert judged(link("a", "b", pose, spread_deg=OPTIONS.max_spread_deg)) is ACCEPTED
    assert judged(link("a", "b", pose, spread_deg=OPTIONS.max_spread_deg + EPSILON)) is LinkVerdict.UNSURE_POSE
    assert judged(link("a", "b", pose, spread_deg=180.0)) is LinkVerdict.UNSURE_POSE
    assert judged(link("a", "b", Pose(pose.rotation, np.zeros(3)))) is LinkVerdict.ROTATION_ONLY
    assert judged(link("a", "b", pose, evidence(share=0.5))) is LinkVerdict.LOW_SHARE


@pytest.mark.parametrize(("num_points", "expected"), [(30, ACCEPTED), (29, LinkVerdict.FEW_INLIERS)])
def test_enough_correspondences_must_reach_both_photos(num_points: int, expected: LinkVerdict) -> None:
    points = np.zeros((num_points, 2))
    candidate = link("a", "b", offered("a", "b").link.b_from_a, points_px=(points, points))
    assert candidate.evidence.num_inliers == 100
    assert judged(candidate) is expected


def test_the_link_of_a_clip_needs_no_correspondences_in_both_photos() -> None:
    """Its pose rests on the frames between; learned matches of the two photos have nothing else to rest on."""
    alone = link("a", "b", offered("a", "b").link.b_from_a, points_px=(np.zeros((0, 2)), np.zeros((0, 2))))
    assert judged(alone) is LinkVerdict.FEW_INLIERS
    assert judged(replace(alone, source="morph-0")) is ACCEPTED
    few = replace(alone.evidence, num_inliers=OPTIONS.min_inliers - 1)  # of the weakest step over the frames
    assert judged(replace(alone, source="morph-0", evidence=few)) is LinkVerdict.FEW_INLIERS


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
        decisions = [
            offered(a, b, float(rng.uniform(0.45, 0.5)), 50.0 if i == wrong else 0.0) for i, (a, b) in enumerate(pairs)
        ]
        assert verdicts(decisions)["".join(pairs[wrong])] is CONTRADICTED


def test_a_majority_of_wrong_links_does_not_win_by_agreeing() -> None:
    """Two wrong links that agree with each other against a right one that is stronger than both."""
    models = [model("abc", 1), model("def", 2)]
    wrong = geometry.relative_pose(model("def", 2)["d"], model("abc", 1)["a"]).rotation
    pose_of = {}
    for a, b in (("a", "d"), ("b", "e")):  # both follow from one wrong similarity between the two models
        turn_b = model("def", 2)[b].rotation @ model("def", 2)["d"].rotation.T
        turn_a = model("abc", 1)[a].rotation @ model("abc", 1)["a"].rotation.T
        pose_of[a + b] = Pose(turn_b @ wrong @ turn_a.T, np.array([1.0, 0, 0]))
    decisions = [LinkDecision(link(k[0], k[1], p, of_strength(0.3)), ACCEPTED) for k, p in pose_of.items()]
    assert set(verdicts(decisions, models).values()) == {ACCEPTED}  # they agree with each other indeed
    found = verdicts([offered("c", "f", 0.9), *decisions], models)
    assert found == {"cf": ACCEPTED, "ad": CONTRADICTED, "be": CONTRADICTED}


def test_links_that_were_refused_before_play_no_part() -> None:
    refused = LinkDecision(offered("a", "c", 0.9, 90).link, LinkVerdict.LOW_SCORE, "why")
    settled = settle([offered("a", "b"), refused, offered("b", "c")], [], OPTIONS)
    assert [d.verdict for d in settled] == [ACCEPTED, LinkVerdict.LOW_SCORE, ACCEPTED]
    assert settled[1].detail == "why"


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
    decisions = [offered("a", "d", 0.9), offered("b", "e", 0.4, 20), offered("c", "f", 0.6), offered("f", "g", 0.5)]
    expected = {"ad": ACCEPTED, "be": CONTRADICTED, "cf": ACCEPTED, "fg": ACCEPTED}
    for seed in range(4):
        assert verdicts(decisions, [model("abc", seed), model("def", seed + 10)]) == expected


def test_the_order_of_the_links_does_not_matter() -> None:
    decisions = [
        offered("a", "d", 0.9),
        offered("b", "d", 0.5, 60),
        offered("e", "d", 0.5),
        offered("e", "a", 0.45, 60),
        offered("c", "e", 0.8),
        offered("f", "e", 0.5, 170),
    ]
    expected = verdicts(decisions, [model("abc")])
    assert set(expected.values()) == {ACCEPTED, CONTRADICTED}
    for order in itertools.islice(itertools.permutations(decisions), 0, 720, 7):
        assert verdicts(order, [model("abc")]) == expected


def test_weaker_wrong_links_fall_and_take_no_right_one_along() -> None:
    """All links of five photos and three to a base model, a quarter of them wrong, in random order."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        pairs = [*itertools.combinations("defgh", 2), ("a", "d"), ("b", "f"), ("c", "h")]
        is_wrong = [i % 4 == 3 for i in rng.permutation(len(pairs))]
        decisions = [
            offered(a, b, float(rng.uniform(0.1, 0.3) if bad else rng.uniform(0.45, 0.9)), 50.0 if bad else 0.0)
            for (a, b), bad in zip(pairs, is_wrong, strict=True)
        ]
        found = verdicts(decisions, [model("abc")])
        assert [v is CONTRADICTED for v in found.values()] == is_wrong


# ---------------------------------------------------------------- audit


def test_a_model_that_agrees_with_everything_is_left_alone() -> None:
    found = audit(model("abcde", 3), [model("abc", 1)], [offered("a", "d"), offered("d", "e")], OPTIONS)
    assert found.unsupported == frozenset()
    assert found.contradicted == {}


def test_base_photos_need_no_link() -> None:
    found = audit(model("abcd", 3), [model("abcd", 1)], [], OPTIONS)
    assert found.unsupported == frozenset()


def test_a_photo_without_an_accepted_link_is_unsupported() -> None:
    refused = LinkDecision(offered("a", "d").link, LinkVerdict.LOW_SHARE)
    for decisions in ([], [refused], [offered("e", "f")]):
        found = audit(model("abcd", 3), [model("abc", 1)], decisions, OPTIONS)
        assert found.unsupported == {"d"}
        assert found.contradicted == {}


def test_photos_held_only_by_one_another_are_unsupported() -> None:
    found = audit(model("abcdef", 3), [model("abc", 1)], [offered("d", "e"), offered("e", "f")], OPTIONS)
    assert found.unsupported == set("def")


@pytest.mark.parametrize(("error_deg", "is_held"), [(9.9, True), (10.1, False), (120.0, False)])
def test_a_link_that_the_model_contradicts_holds_nothing(error_deg: float, is_held: bool) -> None:
    decisions = [offered("a", "b"), offered("a", "d", 0.9, error_deg)]
    found = audit(model("abcd", 3), [model("abc", 1)], decisions, OPTIONS)
    assert found.unsupported == (frozenset() if is_held else {"d"})
    assert set(found.contradicted) == (set() if is_held else {1})
    if not is_held:
        assert found.contradicted[1] == pytest.approx(error_deg, abs=1e-6)


@pytest.mark.parametrize(
    ("spread_deg", "error_deg", "is_held"),
    [(5.0, 14.9, True), (5.0, 15.1, False), (3.0, 9.9, True), (3.0, 10.1, False)],
)
def test_a_model_may_turn_away_from_a_link_by_three_of_its_sigmas(
    spread_deg: float, error_deg: float, is_held: bool
) -> None:
    """At least by what cycles may miss."""
    decision = offered("a", "d", 0.9, error_deg)
    unsure = replace(decision, link=replace(decision.link, spread_deg=spread_deg))
    found = audit(model("abcd", 3), [model("abc", 1)], [unsure], OPTIONS)
    assert found.unsupported == (frozenset() if is_held else {"d"})
    assert set(found.contradicted) == (set() if is_held else {0})


def test_a_wrong_photo_is_found_and_the_base_photos_are_not_blamed() -> None:
    placed = model("abcd", 3)
    placed["d"] = turned(placed["d"], 70)
    found = audit(placed, [model("abc", 1)], [offered("a", "d"), offered("b", "d"), offered("a", "c")], OPTIONS)
    assert found.unsupported == {"d"}
    assert set(found.contradicted) == {0, 1}
    assert list(found.contradicted.values()) == pytest.approx([70, 70], abs=1e-6)


def test_one_agreeing_link_holds_a_photo() -> None:
    found = audit(model("abcd", 3), [model("abc", 1)], [offered("a", "d", 0.9, 90), offered("b", "d", 0.3)], OPTIONS)
    assert found.unsupported == frozenset()
    assert set(found.contradicted) == {0}


def test_a_second_base_model_is_held_as_a_whole() -> None:
    bases = [model("abcd", 1), model("efg", 2)]
    assert audit(model("abcdefg", 3), bases, [offered("a", "e")], OPTIONS).unsupported == frozenset()
    assert audit(model("abcdefg", 3), bases, [], OPTIONS).unsupported == set("efg")
    bent = model("abcdefg", 3)
    bent["g"] = turned(bent["g"], 30)
    assert audit(bent, bases, [offered("a", "e")], OPTIONS).unsupported == {"g"}


def test_without_a_base_model_the_largest_group_stays() -> None:
    decisions = [offered("a", "b"), offered("b", "c"), offered("d", "e")]
    assert audit(model("abcde", 3), [], decisions, OPTIONS).unsupported == {"d", "e"}


def test_the_base_model_stays_even_where_more_photos_hang_together_elsewhere() -> None:
    decisions = [offered(a, b) for a, b in itertools.pairwise("defgh")]
    found = audit(model("abcdefgh", 3), [model("abc", 1)], decisions, OPTIONS)
    assert found.unsupported == set("defgh")
    held = audit(model("abcdefgh", 3), [model("abc", 1)], [*decisions, offered("h", "a")], OPTIONS)
    assert held.unsupported == frozenset()


def test_links_to_photos_outside_the_model_do_not_count() -> None:
    found = audit(model("abc", 3), [model("abc", 1)], [offered("a", "h", 0.9, 90), offered("g", "h")], OPTIONS)
    assert (found.unsupported, found.contradicted) == (frozenset(), {})
