from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from bridging_scene import context, generation_context
from geometry_scenes import arc, camera, evidence, link, turned
from interpose_sfm import geometry
from interpose_sfm.bridging.factory import create_generators
from interpose_sfm.matching.cache import LearnedCache
from interpose_sfm.options import ConsensusOptions, ConsistencyOptions, MatchingOptions
from interpose_sfm.pairs.decide import Findings
from interpose_sfm.pairs.further_links import FurtherLinks
from interpose_sfm.pairs.pair_pose import PairPoser
from interpose_sfm.pairs.records import (
    MIN_STRENGTH_TO_BRIDGE,
    WEAK_EVIDENCE,
    PairRecord,
    accepted_links,
    connected_groups,
    least_strength,
    left_open,
)
from interpose_sfm.pairs.records import promising as promising_pairs
from interpose_sfm.pairs.reporting import pair_report
from interpose_sfm.pose.matcher import MatcherEstimator
from interpose_sfm.pose.protocol import EstimatorContext
from interpose_sfm.products import (
    PAIR_ALONE,
    ChoiceReason,
    Evidence,
    GeneratorKind,
    ImagePair,
    JudgedProposal,
    Link,
    LinkDecision,
    LinkVerdict,
    PairMatch,
    PairOutcome,
    Pose,
    PoseChoice,
    PoseStatus,
    ScoreKind,
    TwoView,
    View,
    ViewGraph,
    WeakPair,
    WeakReason,
)
from interpose_sfm.storage.run_stores import open_stores

LIMITS = ConsensusOptions()
NAMES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg")
POSES = dict(zip(NAMES, arc([0, 15, 30, 45, 60, 75]), strict=True))
GRAPH = ViewGraph(NAMES, {}, (), (frozenset(NAMES[:3]), frozenset(NAMES[3:5])), frozenset({"f.jpg"}), ())


def of_strength(strength: float) -> Evidence:
    return evidence(share=1.0, score=strength, density=1.0, agreement=0.5)


def true_pose(a: str, b: str) -> Pose:
    return geometry.with_unit_translation(geometry.relative_pose(POSES[b], POSES[a]))


def weak(a: str, b: str) -> WeakPair:
    return WeakPair(ImagePair(f"{a}.jpg", f"{b}.jpg"), (WeakReason.DISCONNECTED,), 0)


def record(a: str, b: str, strength: float = 0.3, verdict: LinkVerdict = LinkVerdict.LOW_AGREEMENT) -> PairRecord:
    """A weak pair that was matched, with the verdict on its link."""
    pair = weak(a, b).pair
    offered = link(pair.a, pair.b, true_pose(pair.a, pair.b), of_strength(strength))
    return PairRecord(weak(a, b), Findings(matched=matched(offered)), LinkDecision(verdict, "why", offered))


def matched(offered: Link) -> PairMatch:
    rows = np.arange(offered.evidence.num_inliers, dtype=np.uint32)
    return PairMatch(TwoView(PoseStatus.OK, offered.b_from_a, rows, offered.evidence, offered.spread_deg), offered)


@contextmanager
def poser_with_clips(folder: Path, pairs: Sequence[str]) -> Iterator[PairPoser]:
    """A poser of a run whose clip folder has files for some pairs."""
    clip_dir = folder / "clips"
    clip_dir.mkdir()
    for pair in pairs:
        (clip_dir / f"{pair[0]}__{pair[1]}.mp4").touch()
    photos = dict.fromkeys(NAMES, np.zeros((2, 2, 3), np.uint8))
    generators = create_generators("auto", context(photos, clip_dirs=(clip_dir,)), generation_context(photos))
    with open_stores(folder) as stores:
        cache = LearnedCache(stores.features, stores.matches, MatchingOptions())
        estimator = MatcherEstimator(EstimatorContext(features=cache.features, matches=cache.matches))

        def view(name: str) -> View:
            return View(name, photos[name], camera())

        yield PairPoser(view, cache, stores.hypotheses, estimator, generators, ConsistencyOptions(), seed=0)


def promising(folder: Path, records: Sequence[PairRecord], clips: Sequence[str] = ()) -> PairRecord | None:
    with poser_with_clips(folder, clips) as poser:
        min_strength = least_strength({*poser.clip_kinds, GeneratorKind.WARPED})
        return next(iter(promising_pairs(records, GRAPH, poser.num_clips_on_disk, min_strength)), None)


# ---------------------------------------------------------------- what to bridge next


def test_the_strongest_pair_that_would_join_is_next(tmp_path: Path) -> None:
    weak, strong, within = record("a", "d", 0.2), record("b", "f", 0.4), record("a", "b", 0.9)
    assert promising(tmp_path, [weak, strong, within]) is strong


@pytest.mark.parametrize(("share", "is_tried"), [(0.98, False), (1.02, True)])
def test_matches_that_are_too_weak_give_nothing_to_morph_along(tmp_path: Path, share: float, is_tried: bool) -> None:
    only = record("a", "d", share * MIN_STRENGTH_TO_BRIDGE)
    assert promising(tmp_path, [only]) is (only if is_tried else None)


def test_where_nothing_makes_clips_only_pairs_that_have_some_are_tried() -> None:
    with_clip, strong = record("a", "d", 0.1), record("b", "f", 0.9)
    least = least_strength({GeneratorKind.FILES})
    found = promising_pairs([with_clip, strong], GRAPH, lambda pair: int(pair == with_clip.pair), least)
    assert [found_record.pair for found_record in found] == [with_clip.pair]
    assert least_strength({GeneratorKind.FILES, GeneratorKind.IMAGINED}) == 0.0


def test_a_video_model_needs_no_matches_and_takes_the_strongest_pair_first() -> None:
    none, few, within = record("a", "d", 0.0), record("b", "f", 0.4 * MIN_STRENGTH_TO_BRIDGE), record("a", "b", 0.9)
    found = promising_pairs([none, few, within], GRAPH, lambda pair: 0)
    assert [found_record.pair for found_record in found] == [few.pair, none.pair]


@pytest.mark.parametrize("pair", ["ad", "ab", "de"])
def test_clips_on_disk_come_first_wherever_they_are(tmp_path: Path, pair: str) -> None:
    """However weak the pair's own matches are, and between photos that a base model connects as well."""
    with_clip = record(*pair, 0.5 * MIN_STRENGTH_TO_BRIDGE)
    assert promising(tmp_path, [record("c", "f", 0.9), with_clip], [pair]) is with_clip


def test_of_several_pairs_with_clips_the_strongest_is_next(tmp_path: Path) -> None:
    records = [record("a", "b", 0.1), record("a", "d", 0.3), record("b", "e", 0.2)]
    assert promising(tmp_path, records, ["ab", "ad", "be"]) is records[1]


def test_what_is_accepted_or_was_bridged_or_never_matched_is_not_tried_again(tmp_path: Path) -> None:
    accepted = record("a", "d", 0.9, LinkVerdict.ACCEPTED)
    bridged = record("b", "f", 0.9)
    refused = PoseChoice(bridged.pair, ChoiceReason.INCONSISTENT, None, "", ScoreKind.NONE, math.nan, math.nan)
    bridged = replace(bridged, findings=replace(bridged.findings, bridged=PairOutcome(refused, None, ())))
    unmatched = PairRecord(WeakPair(ImagePair("c.jpg", "f.jpg"), (WeakReason.UNREGISTERED,), 0))
    assert promising(tmp_path, [accepted, bridged, unmatched], ["ad", "bf", "cf"]) is None


def test_photos_that_accepted_links_connect_need_no_morph(tmp_path: Path) -> None:
    accepted, other = record("a", "d", 0.2, LinkVerdict.ACCEPTED), record("b", "e", 0.9)
    assert promising(tmp_path, [accepted, other]) is None
    groups = connected_groups(GRAPH, accepted_links([accepted, other]))
    assert groups["a.jpg"] == frozenset(NAMES[:5])
    assert groups["f.jpg"] == {"f.jpg"}


def test_photos_that_a_refused_link_would_connect_are_apart(tmp_path: Path) -> None:
    refused, other = record("a", "d", 0.2), record("b", "e", 0.9)
    assert promising(tmp_path, [refused, other]) is other
    assert accepted_links([refused, other]) == []


# ---------------------------------------------------------------- what the report tells


@pytest.mark.parametrize("verdict", [LinkVerdict.ACCEPTED, LinkVerdict.DROPPED, LinkVerdict.LOW_AGREEMENT])
def test_the_report_says_how_the_final_model_agrees_with_a_link(verdict: LinkVerdict) -> None:
    found = record("a", "d", verdict=verdict)
    assert found.decision.link is not None
    pose = found.decision.link.b_from_a
    wrong_way = geometry.rotation_from_axis_angle(np.cross(pose.translation, (0, 0, 1)), 4.0) @ pose.translation
    off = replace(found.decision.link, b_from_a=Pose(turned(pose, 7.0).rotation, wrong_way), source="clip-1")
    elsewhere = {name: POSES[name] for name in ("a.jpg", "b.jpg")}
    told = pair_report(replace(found, decision=LinkDecision(verdict, "why", off)), [elsewhere, POSES])
    assert (told.verdict, told.detail, told.tried) == (verdict, "why", ("learned matching",))
    reported = told.link
    assert reported is not None
    assert reported.residual_rotation_deg == pytest.approx(7.0, abs=1e-6)
    assert reported.residual_direction_deg == pytest.approx(4.0, abs=1e-6)
    assert reported.is_kept == (verdict is LinkVerdict.ACCEPTED)
    assert (reported.source, reported.spread_deg) == ("clip-1", 0.5)
    np.testing.assert_array_equal(reported.rotation, off.b_from_a.rotation)
    np.testing.assert_array_equal(reported.direction, off.b_from_a.translation)


def test_a_link_that_no_final_model_holds_is_not_kept_and_has_no_residual() -> None:
    found = record("a", "d", verdict=LinkVerdict.ACCEPTED)
    for models in ([], [{"a.jpg": POSES["a.jpg"]}, {"d.jpg": POSES["d.jpg"]}]):
        reported = pair_report(found, models).link
        assert reported is not None
        assert not reported.is_kept
        assert math.isnan(reported.residual_rotation_deg)
        assert math.isnan(reported.residual_direction_deg)


def test_a_pair_without_a_link_reports_none() -> None:
    found = pair_report(PairRecord(weak("a", "d")), [POSES])
    assert found.link is None
    assert found.verdict is LinkVerdict.NOT_TRIED
    assert math.isnan(found.spread_deg)
    assert found.evidence == {}


# ---------------------------------------------------------------- further links


@dataclass
class Matching:
    """Learned matches that are known, and which of them were asked for."""

    links: Mapping[ImagePair, Link]
    asked: list[ImagePair] = field(default_factory=list)

    def __call__(self, pair: ImagePair) -> PairMatch:
        self.asked.append(pair)
        return matched(self.links[pair])


def no_hold(pair: ImagePair, poses: Sequence[Pose]) -> Sequence[JudgedProposal]:
    raise AssertionError("nobody asked for predicted poses")


def link_between(a: str, b: str, found: Evidence | None = None) -> Link:
    return link(f"{a}.jpg", f"{b}.jpg", true_pose(f"{a}.jpg", f"{b}.jpg"), found or evidence())


SIDES = frozenset(NAMES[:3]), frozenset(NAMES[3:5])


@pytest.mark.parametrize("verdict", list(LinkVerdict))
def test_only_links_that_lack_evidence_of_their_own_are_offered(verdict: LinkVerdict) -> None:
    source = FurtherLinks([record("a", "d", verdict=verdict)], GRAPH, Matching({}), no_hold, LIMITS)
    assert len(source.candidates(*SIDES)) == (verdict in (*WEAK_EVIDENCE, LinkVerdict.INCONSISTENT))


def test_what_clips_disagree_about_may_still_be_right_by_the_photos() -> None:
    """But not where the photos' own link is refused for more than its evidence."""
    for cues, number in ((evidence(agreement=0.5), 1), (evidence(num_inliers=10), 0)):
        offered = link_between("a", "d", cues)
        choice = PoseChoice(offered.pair, ChoiceReason.INCONSISTENT, None, "", ScoreKind.D_MED, 40.0, 40.0)
        findings = Findings(matched=matched(offered), bridged=PairOutcome(choice, None, ("clip-0",)))
        found = PairRecord(weak("a", "d")).after(findings, LIMITS)
        assert found.verdict is LinkVerdict.INCONSISTENT
        assert len(FurtherLinks([found], GRAPH, Matching({}), no_hold, LIMITS).candidates(*SIDES)) == number


def test_pairs_that_were_not_tried_are_matched_when_they_are_needed() -> None:
    """Only those across the two models, and each once."""
    untried, within = PairRecord(weak("a", "d")), PairRecord(weak("a", "b"))
    matching = Matching({untried.pair: link_between("a", "d")})
    source = FurtherLinks([untried, within], GRAPH, matching, no_hold, LIMITS)
    for _ in range(2):
        assert [found.pair for found in source.candidates(*SIDES)] == [untried.pair]
    assert matching.asked == [untried.pair]
    assert list(source.matched_late) == [untried.pair]
    assert untried.verdict is LinkVerdict.NOT_TRIED  # the record is the workflow's to change


def test_a_late_match_without_a_sure_pose_is_no_candidate() -> None:
    untried = PairRecord(weak("a", "d"))
    unsure = replace(link_between("a", "d"), spread_deg=20.0)
    assert FurtherLinks([untried], GRAPH, Matching({untried.pair: unsure}), no_hold, LIMITS).candidates(*SIDES) == []


def test_predicted_poses_that_matches_support_are_offered_best_first_and_each_once() -> None:
    offered = link_between("a", "d")

    def held(turn_deg: float, num_inliers: int, surprise: float = 40.0) -> JudgedProposal:
        found = evidence(num_inliers=num_inliers, surprise=surprise)
        pose = turned(offered.b_from_a, turn_deg)
        return JudgedProposal(replace(offered, b_from_a=pose, evidence=found, source="models"), 11, 40.0)

    def hold(pair: ImagePair, poses: Sequence[Pose]) -> Sequence[JudgedProposal]:
        assert pair == offered.pair
        assert list(poses) == [offered.b_from_a]
        return [held(10.0, 40), held(0.0, 60), held(1.0, 50), held(30.0, 80, surprise=5.0)]

    links = FurtherLinks([], GRAPH, Matching({}), hold, LIMITS).predicted(offered, [offered.b_from_a])
    assert [link.evidence.num_inliers for link in links] == [60, 40]
    assert {link.source for link in links} == {PAIR_ALONE}


def test_the_ends_of_links_are_matched_with_their_best_neighbours() -> None:
    pairs = [ImagePair(f"{a}.jpg", f"{b}.jpg") for a, b in itertools.combinations("abc", 2)]
    pairs += [ImagePair("d.jpg", "e.jpg"), ImagePair("a.jpg", "d.jpg")]  # the last one is in no model
    graph = replace(GRAPH, verified={pair: 100 - index for index, pair in enumerate(pairs)})
    matching = Matching({pair: link_between(pair.a[0], pair.b[0]) for pair in pairs})
    weak_one = ImagePair("d.jpg", "e.jpg")
    matching.links = {**matching.links, weak_one: link_between("d", "e", evidence(agreement=0.5))}
    found = FurtherLinks([], graph, matching, no_hold, LIMITS).support([link_between("b", "d")])
    assert [offer.pair for offer in found] == [pairs[0], pairs[2]]
    assert matching.asked == [pairs[0], pairs[2], weak_one]


def test_pairs_are_had_matched_at_once_and_those_that_cannot_be_are_left_out() -> None:
    pairs = [ImagePair(f"{a}.jpg", f"{b}.jpg") for a, b in itertools.combinations("abc", 2)]
    graph = replace(GRAPH, verified={pair: 100 - index for index, pair in enumerate(pairs)})
    untried = [PairRecord(weak("a", "d")), PairRecord(weak("b", "d"))]
    matching = Matching({pair: link_between(pair.a[0], pair.b[0]) for pair in [*pairs, *(r.pair for r in untried)]})
    fetched: list[list[ImagePair]] = []

    def fetch(wanted: Sequence[ImagePair]) -> Sequence[ImagePair]:
        fetched.append(list(wanted))
        return wanted[1:]  # the worker of the first one died

    source = FurtherLinks(untried, graph, matching, no_hold, LIMITS, fetch=fetch)
    assert [offer.pair for offer in source.candidates(*SIDES)] == [untried[1].pair]
    assert [offer.pair for offer in source.support([link_between("b", "d")])] == [pairs[2]]
    assert fetched == [[r.pair for r in untried], [pairs[0], pairs[2]]]
    assert matching.asked == [untried[1].pair, pairs[2]]


# ---------------------------------------------------------------- what a pose network is asked for


def test_pairs_are_left_open_whose_photos_nothing_connects() -> None:
    """Best matches first; not those that were asked, were not matched, or are settled."""
    unmatched = PairRecord(weak("a", "f"))
    asked = record("b", "e")
    asked = replace(asked, findings=replace(asked.findings, proposed=()))
    records = [record("a", "d", 0.2), record("b", "d", 0.4), unmatched, asked, record("a", "b")]
    assert left_open(records, GRAPH) == [records[1], records[0]]
    assert asked.tried == ("learned matching", "pose network")
    accepted = record("c", "d", verdict=LinkVerdict.ACCEPTED)
    still = record("c", "f")
    assert left_open([*records, accepted, still], GRAPH) == [still]
    rotation = record("c", "f", verdict=LinkVerdict.ROTATION_ONLY)
    assert left_open([rotation], GRAPH) == []
