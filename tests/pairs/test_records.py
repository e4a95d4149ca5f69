from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from geometry_scenes import arc, camera, evidence, link, turned
from interpose_sfm import geometry
from interpose_sfm.matching.cache import LearnedCache, open_stores
from interpose_sfm.options import BridgingOptions, ConsensusOptions, ReconstructOptions
from interpose_sfm.pairs.pair_pose import PairPoser
from interpose_sfm.pairs.records import (
    MIN_STRENGTH_TO_BRIDGE,
    PairRecord,
    accepted_links,
    connected_groups,
    most_promising,
)
from interpose_sfm.pairs.records import promising as promising_pairs
from interpose_sfm.products import (
    ChoiceReason,
    Evidence,
    ImagePair,
    LinkDecision,
    LinkVerdict,
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

NAMES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg")
POSES = dict(zip(NAMES, arc([0, 15, 30, 45, 60, 75]), strict=True))
GRAPH = ViewGraph(NAMES, {}, (), (frozenset(NAMES[:3]), frozenset(NAMES[3:5])), frozenset({"f.jpg"}), ())


def of_strength(strength: float) -> Evidence:
    return evidence(share=1.0, score=strength, density=1.0)


def true_pose(a: str, b: str) -> Pose:
    return geometry.with_unit_translation(geometry.relative_pose(POSES[b], POSES[a]))


def record(a: str, b: str, strength: float = 0.3, verdict: LinkVerdict = LinkVerdict.LOW_SHARE) -> PairRecord:
    """A weak pair that was matched, with the verdict on its link."""
    names = f"{a}.jpg", f"{b}.jpg"
    found = PairRecord(WeakPair(ImagePair(*names), (WeakReason.DISCONNECTED,), 0))
    found.take(LinkDecision(link(*names, true_pose(*names), of_strength(strength)), verdict, "why"))
    return found


@contextmanager
def poser_with_clips(folder: Path, pairs: Sequence[str]) -> Iterator[PairPoser]:
    """A poser of a run whose clip folder has files for some pairs."""
    clip_dir = folder / "clips"
    clip_dir.mkdir()
    for pair in pairs:
        (clip_dir / f"{pair[0]}__{pair[1]}.mp4").touch()
    options = ReconstructOptions(generator="auto", bridging=BridgingOptions(clip_dir=clip_dir))
    with open_stores(folder) as (features, matches, hypotheses):
        cache = LearnedCache(features, matches, options.matching)

        def view(name: str) -> View:
            return View(name, np.zeros((2, 2, 3), np.uint8), camera())

        yield PairPoser(view, NAMES, cache, hypotheses, options)


def promising(folder: Path, records: Sequence[PairRecord], clips: Sequence[str] = ()) -> PairRecord | None:
    with poser_with_clips(folder, clips) as poser:
        return most_promising(records, GRAPH, poser)


# ---------------------------------------------------------------- what to bridge next


def test_the_strongest_pair_that_would_join_is_next(tmp_path: Path) -> None:
    weak, strong, within = record("a", "d", 0.2), record("b", "f", 0.4), record("a", "b", 0.9)
    assert promising(tmp_path, [weak, strong, within]) is strong


@pytest.mark.parametrize(("share", "is_tried"), [(0.98, False), (1.02, True)])
def test_matches_that_are_too_weak_give_nothing_to_morph_along(tmp_path: Path, share: float, is_tried: bool) -> None:
    only = record("a", "d", share * MIN_STRENGTH_TO_BRIDGE)
    assert promising(tmp_path, [only]) is (only if is_tried else None)


def test_a_video_model_needs_no_matches_and_takes_the_strongest_pair_first(tmp_path: Path) -> None:
    none, few, within = record("a", "d", 0.0), record("b", "f", 0.4 * MIN_STRENGTH_TO_BRIDGE), record("a", "b", 0.9)
    with poser_with_clips(tmp_path, []) as poser, mock.patch.object(PairPoser, "has_video_model", True):
        assert most_promising([none, few, within], GRAPH, poser) is few
        assert promising_pairs([none, few, within], GRAPH, poser) == [few, none]


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
    bridged.choice = PoseChoice(
        bridged.weak.pair, ChoiceReason.INCONSISTENT, None, "", ScoreKind.NONE, math.nan, math.nan
    )
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


# ---------------------------------------------------------------- what is known


def test_matching_gives_the_verdict_of_the_link_or_says_why_there_is_none() -> None:
    found = PairRecord(WeakPair(ImagePair("a.jpg", "d.jpg"), (WeakReason.DISCONNECTED,), 0))
    assert found.verdict is LinkVerdict.NOT_TRIED
    good = link("a.jpg", "d.jpg", true_pose("a.jpg", "d.jpg"))
    two_view = TwoView(PoseStatus.OK, good.b_from_a, np.arange(100, dtype=np.uint32), good.evidence, 0.5)
    found.match(two_view, good, True, ConsensusOptions())
    assert (found.verdict, found.tried) == (LinkVerdict.ACCEPTED, ("learned matching",))
    assert accepted_links([found]) == [good]
    nothing = replace(two_view, status=PoseStatus.FEW_INLIERS, b_from_a=None, evidence=of_strength(0.1))
    found.match(nothing, None, True, ConsensusOptions())
    assert (found.verdict, found.detail) == (LinkVerdict.NO_GEOMETRY, "too few inliers")
    assert found.evidence == of_strength(0.1)
    assert accepted_links([found]) == []


@pytest.mark.parametrize("verdict", [LinkVerdict.ACCEPTED, LinkVerdict.DROPPED, LinkVerdict.LOW_SHARE])
def test_the_report_says_how_the_final_model_agrees_with_a_link(verdict: LinkVerdict) -> None:
    found = record("a", "d", verdict=verdict)
    assert found.decision is not None
    pose = found.decision.link.b_from_a
    wrong_way = geometry.rotation_from_axis_angle(np.cross(pose.translation, (0, 0, 1)), 4.0) @ pose.translation
    off = replace(found.decision.link, b_from_a=Pose(turned(pose, 7.0).rotation, wrong_way), source="clip-1")
    found.take(LinkDecision(off, verdict, "why"))
    elsewhere = {name: POSES[name] for name in ("a.jpg", "b.jpg")}
    reported = found.report([elsewhere, POSES]).link
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
        reported = found.report(models).link
        assert reported is not None
        assert not reported.is_kept
        assert math.isnan(reported.residual_rotation_deg)
        assert math.isnan(reported.residual_direction_deg)


def test_a_pair_without_a_link_reports_none() -> None:
    found = PairRecord(WeakPair(ImagePair("a.jpg", "d.jpg"), (WeakReason.DISCONNECTED,), 3)).report([POSES])
    assert found.link is None
    assert found.verdict is LinkVerdict.NOT_TRIED
    assert math.isnan(found.spread_deg)
    assert found.evidence == {}
