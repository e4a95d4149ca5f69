"""What speaks against a pose although the matches agree with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import Scene, arc, camera, cloud, observe
from interpose_sfm import geometry
from interpose_sfm.matching import rivals, silence
from interpose_sfm.matching.silence import Silence
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.judge import COPY_WEIGHT, MAX_SATELLITES, judge
from interpose_sfm.pairs.pair_link import pair_link
from interpose_sfm.products import Features, ImagePair, LinkVerdict, Matches, Pose

POSES = arc([0, 20])
OBJECT = cloud(0, 300, (0.7, 0.5, 0.7))
BACKGROUND = (3.0, 0.6, 1.2)  # half size of the box behind the object
BEHIND = (0.0, 2.5, 0.0)


def object_before(backgrounds: Sequence[int], noise_px: float = 0.3) -> Scene:
    """An object that both photos show perfectly, each before a background of its own or before the same one."""
    seen = [
        observe(np.concatenate([OBJECT, cloud(seed, 400, BACKGROUND, BEHIND)]), POSES, noise_px=noise_px, seed=seed)
        for seed in backgrounds
    ]
    return Scene(
        seen[0].points_in_world,
        tuple(POSES),
        seen[0].intrinsics,
        tuple(seen[view].features[view] for view in (0, 1)),
        tuple(seen[view].point_of_row[view] for view in (0, 1)),
    )


def matches_of(scene: Scene, num_points: int) -> Matches:
    """The true matches of the first points of the cloud."""
    rows = scene.true_rows(0, 1)
    rows = rows[scene.point_of_row[0][rows[:, 0]] < num_points]
    return Matches(rows, np.full(len(rows), 0.9, np.float32))


def heard(scene: Scene, matches: Matches, pose: Pose | None = None) -> Silence:
    views = scene.features[0], scene.intrinsics[0], scene.features[1], scene.intrinsics[1]
    return silence.listen(pose or scene.b_from_a(0, 1), *views, matches.indices)


def verdict(scene: Scene, matches: Matches) -> LinkVerdict:
    """That on the pair, with all that is asked of a weak pair."""
    views = scene.features[0], scene.intrinsics[0], scene.features[1], scene.intrinsics[1]
    offer = pair_link(ImagePair("a", "b"), views, matches, 0, 0.1).link
    assert offer is not None
    return judge(offer, ConsensusOptions())[0]


# ---------------------------------------------------------------- look-alikes


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_look_alike_object_before_other_backgrounds_is_refused(seed: int) -> None:
    """Its matches are perfect; the same matches are believed where the backgrounds match as well."""
    alike, same = object_before((seed, seed + 10)), object_before((seed, seed))
    only_object = matches_of(alike, len(OBJECT))
    assert len(only_object.indices) > 250
    said = heard(alike, only_object)
    assert np.sqrt(said.silence_a * said.silence_b) > 1.3 * ConsensusOptions().max_silence
    assert (said.num_satellites, said.whisper < 5) == (0, True)
    assert verdict(alike, only_object) is LinkVerdict.LOOK_ALIKE
    everything = matches_of(same, 10**6)
    said = heard(same, everything)
    assert max(said.silence_a, said.silence_b) < 0.05
    assert verdict(same, everything) is LinkVerdict.ACCEPTED


def test_a_background_that_whispers_is_no_other_background() -> None:
    """The matcher gives up on it, but its descriptors still say the same."""
    same = object_before((1, 1))
    only_object = matches_of(same, len(OBJECT))
    said = heard(same, only_object)
    assert min(said.silence_a, said.silence_b) > ConsensusOptions().max_silence
    assert said.whisper > 50
    assert verdict(same, only_object) is LinkVerdict.ACCEPTED


def test_an_object_before_a_blank_wall_is_not_silent() -> None:
    alone = observe(OBJECT, POSES, noise_px=0.3)
    said = heard(alone, alone.matches(0, 1))
    assert max(said.silence_a, said.silence_b) < 0.02
    assert said.whisper == 0.0
    assert verdict(alone, alone.matches(0, 1)) is LinkVerdict.ACCEPTED


def test_what_the_other_photo_does_not_show_is_not_asked_for() -> None:
    """The second photo is a crop of what it showed: the rest of the first lies outside of it."""
    scene = object_before((1, 11))
    small = replace(camera(), width_px=300, height_px=220, cx_px=150.0, cy_px=110.0)
    shift = np.array([camera().cx_px - small.cx_px, camera().cy_px - small.cy_px])
    shown = scene.features[1].keypoints_px - shift
    inside = np.all((shown > 0) & (shown < (300, 220)), axis=1)
    of_b = Features(shown[inside], scene.features[1].descriptors[inside], scene.features[1].scores[inside], (300, 220))
    crop = replace(
        scene,
        intrinsics=(camera(), small),
        features=(scene.features[0], of_b),
        point_of_row=(scene.point_of_row[0], scene.point_of_row[1][inside]),
    )
    whole, cut = (heard(s, matches_of(s, len(OBJECT))).silence_a for s in (scene, crop))
    assert cut < 0.3 * whole


def test_what_the_other_photo_has_under_its_mask_is_not_asked_for() -> None:
    """Where a mask hides the background of one photo, that of the other has nothing to match there."""
    scene = object_before((1, 11))
    mask = np.ones((600, 800), bool)
    mask[:, :400] = False
    xs = scene.features[1].keypoints_px[:, 0]
    shown = np.flatnonzero((xs >= 400) | (scene.point_of_row[1] < len(OBJECT)))
    masked = replace(
        scene,
        features=(scene.features[0], replace(scene.features[1].chosen(shown), mask=mask)),
        point_of_row=(scene.point_of_row[0], scene.point_of_row[1][shown]),
    )
    blind = replace(masked, features=(masked.features[0], replace(masked.features[1], mask=None)))
    hidden, missing = (heard(s, matches_of(s, len(OBJECT))) for s in (masked, blind))
    assert hidden.silence_a < 0.7 * missing.silence_a
    assert hidden.silence_b == missing.silence_b
    everything = replace(masked, features=(masked.features[0], replace(masked.features[1], mask=np.zeros_like(mask))))
    assert heard(everything, matches_of(everything, len(OBJECT))).silence_a == 0.0


def test_forward_motion_is_no_silence() -> None:
    """What is near changes its scale and cannot match."""
    start = POSES[0]
    ahead = Pose(start.rotation, start.translation - np.array([0.0, 0.0, 4.0]))
    scene = observe(np.concatenate([OBJECT, cloud(1, 400, BACKGROUND, BEHIND)]), [start, ahead], noise_px=0.3)
    said = heard(scene, matches_of(scene, len(OBJECT)))
    aside = heard(object_before((1, 1)), matches_of(object_before((1, 1)), len(OBJECT)))
    assert said.silence_a * said.silence_b < 0.25 * aside.silence_a * aside.silence_b


def test_both_orders_say_the_same() -> None:
    scene = object_before((1, 11))
    matches = matches_of(scene, len(OBJECT))
    forth = heard(scene, matches)
    swapped = replace(
        scene, features=scene.features[::-1], point_of_row=scene.point_of_row[::-1], intrinsics=scene.intrinsics[::-1]
    )
    back = heard(swapped, Matches(matches.indices[:, ::-1], matches.scores), scene.b_from_a(0, 1).inverse())
    assert (back.silence_a, back.silence_b) == pytest.approx((forth.silence_b, forth.silence_a))
    assert back.num_satellites == forth.num_satellites


# ---------------------------------------------------------------- rivals


def two_in_one(
    near: Sequence[Pose], far: Pose, score: float = 0.9, num: int = 160, width: float = 2.5, aside: float = 0.0
) -> tuple[Scene, Scene, Matches]:
    """A scene; the same with key points of another one, which the second photo sees from elsewhere; matches of both."""
    one, two = (cloud(seed, 300, (width, 1.5, 1.5), (x, 0.0, 0.0)) for seed, x in ((0, -aside), (1, aside)))
    true, other = observe(one, near, noise_px=0.3), observe(two, [near[0], far], noise_px=0.3)
    features = tuple(
        Features(
            np.concatenate([true.features[view].keypoints_px, other.features[view].keypoints_px]),
            np.concatenate([true.features[view].descriptors, other.features[view].descriptors]),
            np.concatenate([true.features[view].scores, other.features[view].scores]),
            true.features[view].size_px,
        )
        for view in (0, 1)
    )
    first, second = true.matches(0, 1, limit=num), other.matches(0, 1, limit=80)
    moved = second.indices + np.array([[len(f.keypoints_px) for f in true.features]], np.uint32)
    scores = np.concatenate([first.scores, np.full(80, score, np.float32)])
    matches = Matches(np.concatenate([first.indices, moved.astype(np.uint32)]), scores)
    assert float(geometry.rotation_angle_deg(true.b_from_a(0, 1).rotation @ other.b_from_a(0, 1).rotation.T)) > 45
    return true, replace(true, features=features), matches


def rival_of(scene: Scene, matches: Matches, pose: Pose) -> float:
    views = scene.features[0], scene.intrinsics[0], scene.features[1], scene.intrinsics[1]
    return rivals.far_rival(pose, *views, matches, 0, 0.1)


def test_a_scene_with_depth_leaves_no_far_rival() -> None:
    for seed in range(3):
        scene = observe(cloud(seed), POSES, noise_px=0.5, seed=seed)
        assert rival_of(scene, scene.matches(0, 1), scene.b_from_a(0, 1)) < 0.3


def test_only_a_small_patch_is_asked_whether_it_is_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "copy_rival", lambda *given: 0.8)
    scene = observe(OBJECT, POSES, noise_px=0.3)
    views = scene.features[0], scene.intrinsics[0], scene.features[1], scene.intrinsics[1]
    for number, expected in ((100, 0.8), (250, 0.0)):
        offer = pair_link(ImagePair("a", "b"), views, matches_of(scene, number), 0, 0.1).link
        assert offer is not None
        assert offer.doubts.num_satellites <= MAX_SATELLITES
        assert (offer.evidence.weight < COPY_WEIGHT) is (expected > 0.0)
        assert offer.doubts.copy_rival == expected


def test_the_last_seed_serves_as_well() -> None:
    scene = observe(OBJECT, POSES, noise_px=0.3)
    views = scene.features[0], scene.intrinsics[0], scene.features[1], scene.intrinsics[1]
    assert pair_link(ImagePair("a", "b"), views, matches_of(scene, 100), 2**31 - 1, 0.1).link is not None


@pytest.mark.parametrize(("turned_deg", "low", "high"), [(100, 0.7, 0.9), (50, 0.0, 0.4)])
def test_a_copy_turns_its_pose_far(turned_deg: float, low: float, high: float) -> None:
    """Nearly as many matches agree with another pose; one that a small patch itself leaves open turns less."""
    near, far = arc([0, 20, 20 + turned_deg])[:2], arc([0, 20, 20 + turned_deg])[2]
    true, both, matches = two_in_one(near, far, num=100, width=1.5, aside=1.6)
    views = both.features[0], both.intrinsics[0], both.features[1], both.intrinsics[1]
    pose = true.b_from_a(0, 1)
    assert low <= rivals.copy_rival(pose, *views, matches, 0, 0.1, 9.0) <= high
    assert rivals.copy_rival(pose, *views, matches.above(0.95), 0, 0.1, 9.0) == 0.0  # there are none


def test_a_second_pose_among_the_matches_is_found_with_its_weight() -> None:
    """Half as many matches say that the camera turned elsewhere."""
    near, far = arc([0, 20, 300])[:2], arc([0, 20, 300])[2]
    for score, low, high in ((0.9, 0.45, 0.65), (0.3, 0.13, 0.3), (0.05, 0.0, 0.3)):
        true, both, matches = two_in_one(near, far, score)
        assert low <= rival_of(both, matches, true.b_from_a(0, 1)) <= high
