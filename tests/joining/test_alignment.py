from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from geometry_scenes import arc, link, turned
from interpose_sfm import geometry
from interpose_sfm.geometry import Similarity
from interpose_sfm.joining.alignment import Alignment, Apart, ApartReason, ScaleCue, align
from interpose_sfm.joining.ties import Baseline, Length, Overlap
from interpose_sfm.products import FloatArray, ImagePair, Link, Pose

TARGET = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
SOURCE = ("p.jpg", "q.jpg", "r.jpg", "s.jpg")


@dataclass(frozen=True)
class Pieces:
    """Two parts of one world, each in a frame of its own."""

    target: Mapping[str, Pose]
    source: Mapping[str, Pose]
    target_from_source: Similarity

    def b_from_a(self, a: str, b: str) -> Pose:
        """True relative pose between a photo of either, in the unit of the target."""
        world = {n: self.target_from_source.move_camera(p) for n, p in self.source.items()} | dict(self.target)
        return geometry.relative_pose(world[b], world[a])

    def length(self, a: str, b: str) -> float:
        return float(np.linalg.norm(self.b_from_a(a, b).translation))

    def link(self, a: str, b: str, **options: float) -> Link:
        return link(a, b, geometry.with_unit_translation(self.b_from_a(a, b)), **options)  # type: ignore[arg-type]

    def baseline(self, a: str, b: str, *, in_source: bool = True, error: float = 1.0) -> Mapping[ImagePair, Baseline]:
        """Lengths of a link, the target's off by a factor."""
        value = self.length(a, b)
        source = Length(value / self.target_from_source.scale, 0.05) if in_source else None
        return {ImagePair(a, b): Baseline(Length(error * value, 0.05), source)}


def random_similarity(rng: np.random.Generator) -> Similarity:
    return Similarity(
        float(np.exp(rng.uniform(-1.5, 1.5))), geometry.rotation_exp(rng.uniform(-2, 2, 3)), rng.uniform(-5, 5, 3)
    )


def pieces(seed: int = 0, *, is_flat: bool = False, num_source: int = 4) -> Pieces:
    """Two arcs of cameras around one place, of different heights unless all is flat."""
    rng = np.random.default_rng(seed)
    poses = arc([0, 15, 30, 45, 80, 95, 110, 125])
    heights = np.zeros(8) if is_flat else np.array([-2.0, 1.0, 2.0, 2.5, 1.5, -2.5, 0.5, -1.0])
    moved = []
    for pose, height in zip(poses, heights, strict=True):
        center = pose.inverse().translation
        center[2] = height
        moved.append(Pose(pose.rotation, -pose.rotation @ center))
    truth = random_similarity(rng)
    source = {n: truth.inverse().move_camera(p) for n, p in zip(SOURCE[:num_source], moved[4:], strict=False)}
    return Pieces(dict(zip(TARGET, moved[:4], strict=True)), source, truth)


def noisy(exact: Link, rng: np.random.Generator, sigma_deg: float) -> Link:
    """The link with that error in rotation and direction, about each axis."""
    turn, bend = (geometry.rotation_exp(np.radians(sigma_deg) * rng.normal(size=3)) for _ in range(2))
    pose = Pose(turn @ exact.b_from_a.rotation, bend @ exact.b_from_a.translation)
    return replace(exact, b_from_a=pose, spread_deg=sigma_deg)


def errors(found: Similarity, truth: Similarity, source: Mapping[str, Pose]) -> tuple[float, float, float]:
    """Rotation in degrees, scale as a share, and the largest error of a photo's place over the extent of the source."""
    rotation_deg = float(geometry.rotation_angle_deg(found.rotation @ truth.rotation.T))
    centers = np.array([pose.inverse().translation for pose in source.values()])
    extent = float(np.linalg.norm(truth.apply(centers) - truth.apply(centers).mean(0), axis=1).max()) or 1.0
    off = np.linalg.norm(found.apply(centers) - truth.apply(centers), axis=1).max()
    return rotation_deg, abs(float(np.log(found.scale / truth.scale))), float(off) / extent


def aligned(found: Alignment | Apart) -> Alignment:
    assert isinstance(found, Alignment), found
    return found


def apart(found: Alignment | Apart, reason: ApartReason) -> Apart:
    assert isinstance(found, Apart), found
    assert found.reason is reason
    return found


def assert_true(found: Alignment | Apart, truth: Pieces, tolerance: float = 1e-6) -> Alignment:
    alignment = aligned(found)
    assert max(errors(alignment.target_from_source, truth.target_from_source, truth.source)) < tolerance
    return alignment


# ---------------------------------------------------------------- where the scale comes from


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("swaps", [False, True])
def test_two_links_of_different_directions_fix_everything(seed: int, swaps: bool) -> None:
    world = pieces(seed)
    ends = [("a.jpg", "q.jpg"), ("d.jpg", "s.jpg")]
    links = [world.link(*(reversed(pair) if swaps else pair)) for pair in ends]
    found = assert_true(align(world.target, world.source, links), world)
    assert found.cue is ScaleCue.DIRECTIONS
    assert [r.pair for r in found.residuals] == [entry.pair for entry in links]
    assert max(max(r.rotation_deg, r.direction_deg) for r in found.residuals) < 1e-5
    assert 0.05 < found.rotation_sigma_deg < 0.5  # each link counts as sure to half a degree
    assert 0.001 < found.scale_sigma < 0.25


def test_cameras_on_one_level_need_three_links() -> None:
    world = pieces(1, is_flat=True)
    links = [world.link("a.jpg", "q.jpg"), world.link("d.jpg", "s.jpg"), world.link("b.jpg", "p.jpg")]
    refused = apart(align(world.target, world.source, links[:2]), ApartReason.UNSURE_SCALE)
    assert "another direction" in refused.wanted
    assert_true(align(world.target, world.source, links), world)


def test_one_link_does_not_tell_the_scale_and_says_what_would() -> None:
    world = pieces()
    refused = apart(align(world.target, world.source, [world.link("a.jpg", "p.jpg")]), ApartReason.NO_SCALE)
    assert "1 link" in refused.detail
    assert "another direction" in refused.wanted
    assert "other than a.jpg" in refused.wanted
    assert "the model of p.jpg and 3 more" in refused.wanted


@pytest.mark.parametrize("ends", [("a.jpg", "p.jpg", "a.jpg", "s.jpg"), ("a.jpg", "p.jpg", "d.jpg", "p.jpg")])
def test_links_that_share_a_photo_do_not_tell_the_scale(ends: tuple[str, str, str, str]) -> None:
    world = pieces()
    links = [world.link(*ends[:2]), world.link(*ends[2:])]
    refused = apart(align(world.target, world.source, links), ApartReason.NO_SCALE)
    shared = "a.jpg" if ends[0] == ends[2] else "p.jpg"
    assert f"other than {shared}" in refused.wanted


def test_links_that_start_side_by_side_do_not_tell_the_scale() -> None:
    world = pieces()
    target = dict(world.target)
    near = target["a.jpg"]
    target["e.jpg"] = Pose(near.rotation, near.translation + np.array([0.02, 0.03, 0.01]))
    beside = replace(world, target=target)
    links = [beside.link("a.jpg", "p.jpg"), beside.link("e.jpg", "s.jpg"), beside.link("e.jpg", "q.jpg")]
    apart(align(target, world.source, links), ApartReason.UNSURE_SCALE)


def test_depths_on_both_sides_of_one_link_tell_the_scale() -> None:
    world = pieces()
    baselines = world.baseline("a.jpg", "p.jpg")
    links = [world.link("a.jpg", "p.jpg")]
    found = assert_true(align(world.target, world.source, links, baselines=baselines), world)
    assert found.cue is ScaleCue.DEPTHS
    assert 0.1 < found.scale_sigma < 0.25  # two lengths to a tenth each, though they claim a twentieth


def test_depths_on_one_side_of_one_link_do_not_tell_the_scale() -> None:
    world = pieces()
    links = [world.link("a.jpg", "p.jpg")]
    baselines = world.baseline("a.jpg", "p.jpg", in_source=False)
    apart(align(world.target, world.source, links, baselines=baselines), ApartReason.NO_SCALE)


def test_links_that_share_a_photo_tell_the_scale_with_depths_on_one_side() -> None:
    world = pieces()
    links = [world.link("a.jpg", "p.jpg"), world.link("a.jpg", "s.jpg"), world.link("a.jpg", "q.jpg")]
    baselines = world.baseline("a.jpg", "p.jpg", in_source=False)
    assert_true(align(world.target, world.source, links, baselines=baselines), world)


def overlap_of(world: Pieces, *, scale: float | None = None) -> Overlap:
    truth = world.target_from_source
    x_in_source = np.array([0.3, -0.2, 0.5])
    length = None if scale is None else Length(scale * truth.scale, 0.01)
    return Overlap("o.jpg", truth.rotation, 0.5, truth.apply(x_in_source), x_in_source, 0.05, length)


def test_an_overlap_with_points_needs_no_link() -> None:
    world = pieces()
    found = assert_true(align(world.target, world.source, [], overlaps=[overlap_of(world, scale=1.0)]), world)
    assert found.cue is ScaleCue.OVERLAP
    assert found.residuals == ()
    assert found.scale_sigma == pytest.approx(0.01, rel=0.1)


def test_a_photo_in_both_without_points_needs_a_link() -> None:
    world = pieces()
    apart(align(world.target, world.source, [], overlaps=[overlap_of(world)]), ApartReason.UNSURE_SCALE)
    links = [world.link("d.jpg", "s.jpg")]
    assert_true(align(world.target, world.source, links, overlaps=[overlap_of(world)]), world)


# ---------------------------------------------------------------- single photos


def test_two_rays_place_a_single_photo() -> None:
    world = pieces(num_source=1)
    links = [world.link("a.jpg", "p.jpg"), world.link("p.jpg", "d.jpg")]
    found = aligned(align(world.target, {"p.jpg": Pose(np.eye(3), np.zeros(3))}, links))
    placed = found.target_from_source.move_camera(Pose(np.eye(3), np.zeros(3)))
    expected = world.target_from_source.move_camera(world.source["p.jpg"])
    np.testing.assert_allclose(placed.rotation, expected.rotation, atol=1e-7)
    np.testing.assert_allclose(placed.inverse().translation, expected.inverse().translation, atol=1e-5)
    assert found.target_from_source.scale == 1.0
    assert found.cue is ScaleCue.DIRECTIONS


def test_one_ray_places_a_single_photo_if_its_length_is_known() -> None:
    world = pieces(num_source=1)
    source = {"p.jpg": Pose(np.eye(3), np.zeros(3))}
    links = [world.link("a.jpg", "p.jpg")]
    refused = apart(align(world.target, source, links), ApartReason.NO_SCALE)
    assert "from a photo of the model of a.jpg and 3 more other than a.jpg to p.jpg" in refused.wanted
    baselines = world.baseline("a.jpg", "p.jpg", in_source=False)
    found = aligned(align(world.target, source, links, baselines=baselines))
    placed = found.target_from_source.apply(np.zeros(3))
    expected = world.target_from_source.move_camera(world.source["p.jpg"]).inverse().translation
    np.testing.assert_allclose(placed, expected, atol=1e-6)
    assert found.cue is ScaleCue.DEPTHS
    assert found.scale_sigma == pytest.approx(0.1, rel=0.05)


# ---------------------------------------------------------------- noise


def some_links(world: Pieces, num: int, rng: np.random.Generator, sigma_deg: float) -> list[Link]:
    pairs = [(a, b) for a in TARGET for b in SOURCE]
    chosen = [pairs[i] for i in rng.permutation(len(pairs))[:num]]
    return [noisy(world.link(a, b), rng, sigma_deg) for a, b in chosen]


def test_the_errors_are_as_large_as_the_uncertainty_says() -> None:
    shares: list[FloatArray] = []
    for seed in range(40):
        world, rng = pieces(seed), np.random.default_rng(seed)
        found = align(world.target, world.source, some_links(world, 8, rng, 2.0))
        if isinstance(found, Apart):
            assert found.reason is ApartReason.UNSURE_SCALE, found
            continue
        turn_deg, log_scale, _ = errors(found.target_from_source, world.target_from_source, world.source)
        shares.append(np.array([turn_deg / found.rotation_sigma_deg, log_scale / found.scale_sigma]))
    assert len(shares) >= 30
    root_mean_square = np.sqrt(np.mean(np.square(shares), axis=0))
    assert 0.8 < root_mean_square[0] < 2.2  # three axes, of which the uncertainty is that of the worst
    assert 0.6 < root_mean_square[1] < 1.4


def test_more_links_are_better() -> None:
    means = []
    for num in (4, 16):
        turns = []
        for seed in range(20):
            world, rng = pieces(seed), np.random.default_rng(seed)
            found = align(world.target, world.source, some_links(world, num, rng, 3.0))
            if isinstance(found, Alignment):
                turns.append(errors(found.target_from_source, world.target_from_source, world.source)[0])
        means.append(float(np.mean(turns)))
    assert 0.3 < means[1] / means[0] < 0.75  # half, by the square root of their number


def test_links_that_err_more_than_they_claim_make_the_scale_less_sure() -> None:
    world = pieces()
    pairs = [(a, b) for a in TARGET for b in SOURCE]
    sigmas = []
    for sigma_deg in (0.5, 2.0):
        rng = np.random.default_rng(0)
        links = [replace(noisy(world.link(a, b), rng, sigma_deg), spread_deg=0.5) for a, b in pairs]
        sigmas.append(aligned(align(world.target, world.source, links, max_angle_deg=20.0)).scale_sigma)
    assert 2.5 < sigmas[1] / sigmas[0] < 5.0  # four times the errors


# ---------------------------------------------------------------- contradictions


def mirrored(world: Pieces, ends: Sequence[tuple[str, str]], turn_deg: float = 180.0) -> list[Link]:
    """Wrong links that agree with each other: as if the source stood on the other side of the place."""
    about_middle = Similarity(1.0, geometry.rotation_exp(np.radians([0, 0, turn_deg])), np.zeros(3))
    wrong = replace(world, target_from_source=about_middle @ world.target_from_source)
    return [wrong.link(a, b) for a, b in ends]


FOUR = [("a.jpg", "p.jpg"), ("b.jpg", "q.jpg"), ("c.jpg", "r.jpg"), ("d.jpg", "s.jpg")]


@pytest.mark.parametrize("turn_deg", [180.0, 90.0, 30.0])
@pytest.mark.parametrize("with_depths", [False, True])
def test_four_wrong_links_that_agree_do_not_beat_a_true_one(turn_deg: float, with_depths: bool) -> None:
    world = pieces()
    wrong, true = mirrored(world, FOUR, turn_deg), world.link("d.jpg", "p.jpg")
    baselines = world.baseline("d.jpg", "p.jpg") if with_depths else {}
    refused = apart(align(world.target, world.source, [*wrong, true], baselines=baselines), ApartReason.CONTRADICTION)
    assert "d.jpg and p.jpg" in refused.detail
    assert f"{turn_deg:.0f} degrees" in refused.detail
    aligned(align(world.target, world.source, wrong))  # nothing but the true link kept them apart


def test_two_camps_are_named_with_what_lies_between_them() -> None:
    world = pieces()
    links = [*(world.link(a, b) for a, b in FOUR[:2]), *mirrored(world, FOUR[2:], 30.0)]
    refused = apart(align(world.target, world.source, links), ApartReason.CONTRADICTION)
    assert "by 30 degrees" in refused.detail


def test_a_wrong_link_does_not_ruin_four_true_ones_unseen() -> None:
    world = pieces()
    links = [*(world.link(a, b) for a, b in FOUR), *mirrored(world, [("d.jpg", "p.jpg")])]
    apart(align(world.target, world.source, links), ApartReason.CONTRADICTION)


def test_links_of_equal_rotation_that_place_the_source_elsewhere_contradict() -> None:
    world = pieces()
    beside = Similarity(1.0, np.eye(3), np.array([8.0, 0.0, 6.0]))
    shifted = replace(world, target_from_source=beside @ world.target_from_source)
    links = [*(shifted.link(a, b) for a, b in FOUR), world.link("d.jpg", "p.jpg")]
    refused = apart(align(world.target, world.source, links), ApartReason.CONTRADICTION)
    assert "of direction" in refused.detail


def test_a_length_that_contradicts_keeps_apart() -> None:
    world = pieces()
    links = [world.link(a, b) for a, b in FOUR]
    for error, agrees in ((1.3, True), (3.0, False)):
        found = align(
            world.target, world.source, links, baselines=world.baseline("a.jpg", "p.jpg", in_source=False, error=error)
        )
        if agrees:
            assert_true(found, world, tolerance=0.1)
        else:
            assert "factor" in apart(found, ApartReason.CONTRADICTION).detail


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("scale", "the others by a factor of 2.9 in scale"),
        ("rotation", "the link of a.jpg and p.jpg by 40 degrees"),
        ("place", "the others by 52 sigma of position"),
    ],
)
def test_an_overlap_that_contradicts_keeps_apart(field: str, what: str) -> None:
    world = pieces()
    true = overlap_of(world, scale=1.0)
    wrong = {
        "scale": overlap_of(world, scale=3.0),
        "rotation": replace(true, rotation=turned(Pose(true.rotation, np.zeros(3)), 40).rotation),
        "place": replace(true, x_in_target=true.x_in_target + np.array([3.0, 0, 0])),
    }[field]
    links = [world.link(a, b) for a, b in FOUR]
    assert_true(align(world.target, world.source, links, overlaps=[true]), world)
    refused = apart(align(world.target, world.source, links, overlaps=[wrong]), ApartReason.CONTRADICTION)
    assert f"o.jpg contradicts {what}" in refused.detail


def test_an_error_within_the_spread_is_no_contradiction() -> None:
    world = pieces()
    links = [world.link(a, b) for a, b in FOUR]
    bent = replace(links[0], b_from_a=turned(links[0].b_from_a, 15))
    apart(align(world.target, world.source, [bent, *links[1:]]), ApartReason.CONTRADICTION)
    unsure = replace(bent, spread_deg=5.0)
    found = aligned(align(world.target, world.source, [unsure, *links[1:]]))
    assert errors(found.target_from_source, world.target_from_source, world.source)[0] < 1.0  # it hardly pulls
    assert 10.0 < found.residuals[0].rotation_deg < 15.5


# ---------------------------------------------------------------- what does not count


def test_links_that_do_not_join_the_two_are_passed_over() -> None:
    world = pieces()
    refused = apart(
        align(world.target, world.source, [link("a.jpg", "b.jpg", world.target["a.jpg"])]), ApartReason.NO_LINK
    )
    assert refused.wanted == "a link between the model of p.jpg and 3 more and the model of a.jpg and 3 more"
    both = {**world.source, "a.jpg": world.source["p.jpg"]}
    apart(align(world.target, both, [world.link("a.jpg", "p.jpg")]), ApartReason.NO_LINK)
    turn_only = link("a.jpg", "p.jpg", Pose(np.eye(3), np.zeros(3)))
    apart(align(world.target, world.source, [turn_only]), ApartReason.NO_LINK)


def test_a_component_without_photos_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        align({}, pieces().source, [])
