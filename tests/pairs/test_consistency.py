from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from interpose_sfm import geometry
from interpose_sfm.options import ConsistencyOptions, Strategy
from interpose_sfm.pairs.consistency import choose, draw_subsets, oracle
from interpose_sfm.products import ChoiceReason, ImagePair, Pose, PoseChoice, PoseHypothesis, PoseStatus, ScoreKind

X, Y, Z = np.eye(3)
PAIR = ImagePair("a.jpg", "b.jpg")
PAPER = ConsistencyOptions()
NO_LIMITS = ConsistencyOptions(max_d_med_deg=1000.0, max_d_bias_deg=1000.0)


def pose(rotation_deg: float, direction_deg: float | None = 0.0) -> Pose:
    """Rotation about z; unit translation turned about y from x, or none."""
    rotation = geometry.rotation_from_axis_angle(Z, rotation_deg)
    if direction_deg is None:
        return Pose(rotation, np.zeros(3))
    return Pose(rotation, geometry.rotation_from_axis_angle(Y, direction_deg) @ X)


def hypothesis(
    b_from_a: Pose, clip: str = "c", frame: int = 0, spread_deg: float = 0.0, num_inliers: int = 50
) -> PoseHypothesis:
    status = PoseStatus.OK if b_from_a.translation.any() else PoseStatus.ROTATION_ONLY
    return PoseHypothesis(clip, (frame,), status, b_from_a, spread_deg, num_inliers)


def clip_of(poses: list[Pose], clip: str = "c") -> list[PoseHypothesis]:
    return [hypothesis(p, clip, i) for i, p in enumerate(poses)]


def alone(b_from_a: Pose) -> PoseHypothesis:
    return hypothesis(b_from_a, clip="")


def opposite(b_from_a: Pose) -> Pose:
    return Pose(b_from_a.rotation, -b_from_a.translation)


def random_pose(rng: np.random.Generator) -> Pose:
    quaternion = rng.normal(size=4)
    return Pose(Rotation.from_quat(quaternion).as_matrix(), geometry.unit_vectors(rng.normal(size=3)))


def noisy(rng: np.random.Generator, truth: Pose, sigma_deg: float) -> Pose:
    rotation, turn = (geometry.rotation_exp(np.radians(sigma_deg) * rng.normal(size=3)) for _ in range(2))
    return Pose(rotation @ truth.rotation, turn @ truth.translation)


def simulated(
    rng: np.random.Generator, truth: Pose, sigma_deg: float, num_outliers: int = 0, count: int = 11
) -> list[Pose]:
    inliers = [noisy(rng, truth, sigma_deg) for _ in range(count - num_outliers)]
    return inliers + [random_pose(rng) for _ in range(num_outliers)]


def test_options_reject_nonsense() -> None:
    assert (PAPER.strategy, PAPER.num_clips) == (Strategy.PAPER, 4)
    assert (PAPER.num_random_subsets, PAPER.num_uniform_subsets, PAPER.frames_per_subset) == (10, 1, 3)
    assert ConsistencyOptions(strategy="pair-only").strategy is Strategy.PAIR_ONLY  # type: ignore[arg-type]
    for name, bad in [
        ("num_clips", -1),
        ("frames_per_subset", 0),
        ("min_hypotheses", 1),
        ("max_d_med_deg", math.nan),
        ("max_d_bias_deg", -1.0),
        ("min_baseline", 0.0),
    ]:
        with pytest.raises(ValueError, match=name.replace("_", ".")):  # options are named as on the command line
            ConsistencyOptions(**{name: bad})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no subsets"):
        ConsistencyOptions(num_random_subsets=0, num_uniform_subsets=0)
    with pytest.raises(ValueError, match="guess"):
        ConsistencyOptions(strategy="guess")  # type: ignore[arg-type]


# ---------------------------------------------------------------- subsets


@pytest.mark.parametrize("num_frames", [7, 16, 73])
def test_subsets_are_sorted_distinct_seeded_and_in_range(num_frames: int) -> None:
    subsets = draw_subsets(num_frames, PAPER, seed=3)
    assert len(subsets) == len(set(subsets)) == 11
    for subset in subsets:
        assert len(subset) == 3
        assert list(subset) == sorted(set(subset))
        assert 0 <= subset[0] <= subset[-1] < num_frames
    assert subsets == draw_subsets(num_frames, PAPER, seed=3)
    assert subsets != draw_subsets(num_frames, PAPER, seed=4)
    assert subsets[0] == draw_subsets(num_frames, PAPER, seed=4)[0], "the uniform subset is not random"


def test_the_uniform_subset_divides_the_way_evenly() -> None:
    uniform = ConsistencyOptions(num_random_subsets=0)
    assert draw_subsets(7, uniform, seed=0) == ((1, 3, 5),)  # A at -1, B at 7: steps of 2
    assert draw_subsets(75, uniform, seed=0) == ((18, 37, 56),)  # A at -1, B at 75: steps of 19
    for num_frames, size, count in itertools.product(range(1, 40), range(1, 6), range(1, 5)):
        options = ConsistencyOptions(num_random_subsets=0, num_uniform_subsets=count, frames_per_subset=size)
        for subset in draw_subsets(num_frames, options, seed=0):
            assert list(subset) == sorted(set(subset))
            assert len(subset) == min(size, num_frames)
            assert 0 <= subset[0] <= subset[-1] < num_frames


def test_random_subsets_favour_no_frame() -> None:
    counts = np.zeros(20)
    for seed in range(300):
        for subset in draw_subsets(20, ConsistencyOptions(num_uniform_subsets=0), seed):
            counts[list(subset)] += 1
    assert counts.sum() == 300 * 10 * 3
    assert counts.min() > 380  # expected 450 each, one sigma is 20
    assert counts.max() < 520


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (0, set()),
        (1, {(0,)}),
        (2, {(0, 1), (0,), (1,)}),
        (3, {(0, 1, 2), (0, 1), (0, 2)}),  # as many as are asked to agree
        (4, set(itertools.combinations(range(4), 3))),
    ],
)
def test_few_frames_give_fewer_subsets_rather_than_repeated_ones(
    num_frames: int, expected: set[tuple[int, ...]]
) -> None:
    subsets = draw_subsets(num_frames, PAPER, seed=0)
    assert set(subsets) == expected
    assert len(subsets) == len(expected)


def test_a_negative_number_of_frames_is_an_error() -> None:
    with pytest.raises(ValueError, match="num_frames"):
        draw_subsets(-1, PAPER, seed=0)


# ---------------------------------------------------------------- the scores by hand


def test_d_med_d_bias_and_d_total_by_hand() -> None:
    # Rotations 0, 10, 40; directions 0, 0, 20. Distances: 01: 10, 02: 40 + 20 = 60, 12: 30 + 20 = 50.
    # Means to the others: (10 + 60) / 2 = 35, (10 + 50) / 2 = 30, (60 + 50) / 2 = 55. The medoid is number 1.
    hypotheses = clip_of([pose(0), pose(10), pose(40, 20)])
    # To the pose of the pair alone: 15 - 10 = 5 in rotation, 175 as a line is 5 in direction: 10.
    choice = choose(PAIR, hypotheses, alone(pose(15, 175)), NO_LIMITS)
    (score,) = choice.clip_scores
    assert score.d_med_deg == pytest.approx(30, abs=1e-9)
    assert score.d_bias_deg == pytest.approx(10, abs=1e-9)
    assert score.d_agreement_deg == pytest.approx(0, abs=1e-9)
    assert score.num_hypotheses == 3
    assert choice.score_kind is ScoreKind.D_TOTAL
    assert choice.score_deg == pytest.approx(40, abs=1e-9)
    assert choice.b_from_a is not None
    assert choice.b_from_a.rotation == pytest.approx(pose(10).rotation)
    assert (choice.pair, choice.clip) == (PAIR, "c")


def two_clips() -> list[PoseHypothesis]:
    """Clip s: D_med 2 at rotation 50. Clip w: D_med 6 at rotation 10."""
    return clip_of([pose(48), pose(50), pose(52)], "s") + clip_of([pose(4), pose(10), pose(16)], "w")


def test_the_paper_weighs_bias_and_the_medoid_strategy_does_not() -> None:
    pair_only = alone(pose(12))  # D_total: s 2 + 38 = 40, w 6 + 2 = 8
    paper = choose(PAIR, two_clips(), pair_only, PAPER)
    assert (paper.clip, paper.reason) == ("w", ChoiceReason.ACCEPTED)
    assert paper.score_deg == pytest.approx(8, abs=1e-9)
    assert [s.d_bias_deg for s in paper.clip_scores] == pytest.approx([38, 2], abs=1e-9)
    medoid = choose(PAIR, two_clips(), pair_only, replace(PAPER, strategy=Strategy.MEDOID))
    assert (medoid.clip, medoid.score_kind, medoid.reason) == ("s", ScoreKind.D_MED, ChoiceReason.ACCEPTED)
    assert medoid.score_deg == pytest.approx(2, abs=1e-9)


def test_without_a_pair_pose_the_agreement_between_clips_counts() -> None:
    # Medoids at 50 (D_med 2), 10 (6) and 14 (9): sums of distances 76, 44, 40, hence 14 is their medoid.
    # Scores: 2 + 36 = 38, 6 + 4 = 10, 9 + 0 = 9.
    hypotheses = two_clips() + clip_of([pose(5), pose(14), pose(23)], "x")
    choice = choose(PAIR, hypotheses, None, PAPER)
    assert [s.d_agreement_deg for s in choice.clip_scores] == pytest.approx([36, 4, 0], abs=1e-9)
    assert all(math.isnan(s.d_bias_deg) for s in choice.clip_scores)
    assert (choice.clip, choice.score_kind) == ("x", ScoreKind.D_MED_AGREEMENT)
    assert choice.score_deg == pytest.approx(9, abs=1e-9)
    assert choice.reason is ChoiceReason.ACCEPTED, "x and w are the majority"
    failed = PoseHypothesis("", (), PoseStatus.FEW_MATCHES, None, 180.0, 3)
    assert choose(PAIR, hypotheses, failed, PAPER).score_kind is ScoreKind.D_MED_AGREEMENT


def test_of_two_clips_the_one_with_the_lower_d_med_is_the_reference() -> None:
    for clip in "az":
        hypotheses = clip_of([pose(4), pose(10), pose(16)], "m") + clip_of([pose(18), pose(20), pose(22)], clip)
        agreement = {s.clip: s.d_agreement_deg for s in choose(PAIR, hypotheses, None, PAPER).clip_scores}
        assert agreement == pytest.approx({"m": 10, clip: 0}, abs=1e-9)


def test_one_clip_and_no_pair_pose_leave_d_med() -> None:
    choice = choose(PAIR, two_clips()[:3], None, PAPER)
    assert (choice.clip, choice.score_kind, choice.reason) == ("s", ScoreKind.D_MED, ChoiceReason.ACCEPTED)
    assert choice.score_deg == pytest.approx(2, abs=1e-9)


def test_average_and_pair_only_strategies() -> None:
    average = choose(PAIR, clip_of([pose(0), pose(30), pose(60)]), None, replace(NO_LIMITS, strategy=Strategy.AVERAGE))
    assert average.b_from_a is not None
    assert average.b_from_a.rotation == pytest.approx(pose(30).rotation, abs=1e-9)
    assert average.score_deg == pytest.approx((30 + 0 + 30) / 3, abs=1e-6)
    assert average.clip == ""
    options = replace(PAPER, strategy=Strategy.PAIR_ONLY)
    pair_only = choose(PAIR, two_clips(), replace(alone(pose(12)), spread_deg=4.0), options)
    assert pair_only.b_from_a is not None
    assert pair_only.b_from_a.rotation == pytest.approx(pose(12).rotation)
    assert (pair_only.reason, pair_only.score_kind) == (ChoiceReason.ACCEPTED, ScoreKind.PAIR_ONLY)
    assert pair_only.spread_deg == 4.0
    assert math.isnan(pair_only.score_deg)
    assert choose(PAIR, two_clips(), None, options).reason is ChoiceReason.NO_HYPOTHESIS


# ---------------------------------------------------------------- statistics


def errors_deg(strategy: Strategy, num_outliers: int) -> list[float]:
    errors = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        truth = random_pose(rng)
        hypotheses = clip_of(simulated(rng, truth, 2.0, num_outliers))
        answer = choose(PAIR, hypotheses, None, replace(NO_LIMITS, strategy=strategy)).b_from_a
        assert answer is not None
        errors.append(geometry.pose_distance_deg(answer, truth))
    return errors


def test_the_medoid_beats_the_average_with_outliers_and_only_then() -> None:
    medoid, average = errors_deg(Strategy.MEDOID, 3), errors_deg(Strategy.AVERAGE, 3)
    assert 1.0 < np.mean(medoid) < 6.0
    assert np.max(medoid) < 12.0
    assert np.mean(average) > 3 * np.mean(medoid)
    assert np.mean(np.array(medoid) < np.array(average)) > 0.9
    assert np.mean(errors_deg(Strategy.AVERAGE, 0)) < np.mean(errors_deg(Strategy.MEDOID, 0))


def test_d_med_and_spread_grow_with_the_noise() -> None:
    def measure(sigma_deg: float) -> tuple[float, float]:
        choices = []
        for seed in range(50):
            rng = np.random.default_rng(seed)
            choices.append(choose(PAIR, clip_of(simulated(rng, random_pose(rng), sigma_deg)), None, NO_LIMITS))
        return float(np.mean([c.score_deg for c in choices])), float(np.mean([c.spread_deg for c in choices]))

    (d_med_1, spread_1), (d_med_4, spread_4) = measure(1.0), measure(4.0)
    assert d_med_4 / d_med_1 == pytest.approx(4.0, rel=0.1)
    assert 2.6 < d_med_1 < 3.8
    assert 1.0 < spread_1 < 1.6, "sigma, and a little more for the error of the medoid"
    assert spread_4 / spread_1 == pytest.approx(4.0, rel=0.1)


def test_scores_do_not_change_when_frame_b_is_turned() -> None:
    rng = np.random.default_rng(0)
    truth = random_pose(rng)
    hypotheses = [h for clip in "uvw" for h in clip_of(simulated(rng, truth, 3.0, 2), clip)]
    turn = Pose(random_pose(rng).rotation, np.zeros(3))
    turned = [replace(h, b_from_a=turn @ h.b_from_a) for h in hypotheses]  # type: ignore[operator]
    before, after = choose(PAIR, hypotheses, None, NO_LIMITS), choose(PAIR, turned, None, NO_LIMITS)
    assert after.clip == before.clip
    assert after.score_deg == pytest.approx(before.score_deg, abs=1e-9)
    assert after.spread_deg == pytest.approx(before.spread_deg, abs=1e-9)
    assert after.b_from_a is not None
    assert before.b_from_a is not None
    assert after.b_from_a.rotation == pytest.approx((turn @ before.b_from_a).rotation)


def test_spread_is_robust_and_includes_the_estimators_own() -> None:
    rng = np.random.default_rng(1)
    truth = random_pose(rng)
    spoiled = clip_of(simulated(rng, truth, 2.0, 3))
    choice = choose(PAIR, spoiled, None, NO_LIMITS)
    assert choice.score_deg > 40.0
    assert 1.5 < choice.spread_deg < 6.0
    # Three rotations 0, 3, 6 about the medoid at 3: the median of 3 and 3, over 1.538, is 1.950. Own spread: median 4.
    hypotheses = [hypothesis(pose(a), frame=a, spread_deg=s) for a, s in ((0, 1.0), (3, 4.0), (6, 170.0))]
    assert choose(PAIR, hypotheses, None, NO_LIMITS).spread_deg == pytest.approx(math.hypot(3 / 1.538172, 4), rel=1e-6)
    # The same in direction, over 1.177.
    hypotheses = clip_of([pose(0, 0), pose(0, 3), pose(0, 6)])
    assert choose(PAIR, hypotheses, None, NO_LIMITS).spread_deg == pytest.approx(3 / 1.177410, rel=1e-6)
    unknown = [replace(h, spread_deg=math.inf) for h in hypotheses]
    assert choose(PAIR, unknown, None, NO_LIMITS).spread_deg == 180.0


def fingerprint(choice: PoseChoice) -> tuple[object, ...]:
    assert choice.b_from_a is not None
    arrays = (choice.b_from_a.rotation.tobytes(), choice.b_from_a.translation.tobytes())
    scores = tuple((s.clip, s.d_med_deg, s.d_agreement_deg, s.medoid.rotation.tobytes()) for s in choice.clip_scores)
    return (choice.reason, choice.clip, choice.score_deg, choice.spread_deg, arrays, scores)


@pytest.mark.parametrize("strategy", [Strategy.PAPER, Strategy.MEDOID, Strategy.AVERAGE])
def test_the_order_of_the_hypotheses_does_not_matter(strategy: Strategy) -> None:
    rng = np.random.default_rng(2)
    truth, options = random_pose(rng), replace(NO_LIMITS, strategy=strategy)
    hypotheses = [h for clip in "uvwx" for h in clip_of(simulated(rng, truth, 3.0, 2), clip)]
    hypotheses += [*hypotheses[:2], hypothesis(opposite(truth), "u", 99), hypothesis(truth, "x", 99)]
    expected = fingerprint(choose(PAIR, hypotheses, None, options))
    for _ in range(10):
        shuffled = [hypotheses[i] for i in rng.permutation(len(hypotheses))]
        assert fingerprint(choose(PAIR, shuffled, None, options)) == expected


def test_ties_fall_to_more_inliers_then_the_smaller_clip_name() -> None:
    # Every hypothesis of the clip is as central as the others: all distances are 10.
    tied = [hypothesis(pose(0, a), "c", i, num_inliers=n) for i, (a, n) in enumerate([(0, 5), (10, 9)])]
    options = replace(NO_LIMITS, min_hypotheses=2)
    for order in itertools.permutations(tied):
        answer = choose(PAIR, order, None, options).b_from_a
        assert answer is not None
        assert answer.translation == pytest.approx(pose(0, 10).translation)
    twins = clip_of([pose(0), pose(1), pose(2)], "b") + clip_of([pose(0), pose(1), pose(2)], "a")
    assert choose(PAIR, twins, None, PAPER).clip == "a"
    twins[:3] = [replace(h, num_inliers=51) for h in twins[:3]]
    assert choose(PAIR, twins, None, PAPER).clip == "b"


def test_oracle_finds_the_hypothesis_nearest_to_the_truth() -> None:
    hypotheses = [*two_clips(), PoseHypothesis("s", (9,), PoseStatus.DEGENERATE, None, 180.0, 0)]
    best = oracle(hypotheses, Pose(pose(47).rotation, 12.0 * X))
    assert best is not None
    assert (best.clip, best.frames) == ("s", (0,))
    assert oracle(hypotheses[-1:], pose(0)) is None


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("strategy", [Strategy.PAPER, Strategy.MEDOID, Strategy.AVERAGE])
def test_no_and_too_few_hypotheses(strategy: Strategy) -> None:
    options = replace(PAPER, strategy=strategy, allow_pair_only=False)
    failed = [PoseHypothesis("c", (i,), PoseStatus.FEW_INLIERS, None, 180.0, 9) for i in range(11)]
    for hypotheses in ([], failed):
        choice = choose(PAIR, hypotheses, alone(pose(0)), options)
        assert (choice.reason, choice.b_from_a) == (ChoiceReason.NO_HYPOTHESIS, None)
        assert choice.score_kind is ScoreKind.NONE
    for count in (1, 2):
        choice = choose(PAIR, failed + clip_of([pose(0)] * count), alone(pose(0)), options)
        assert (choice.reason, choice.b_from_a) == (ChoiceReason.TOO_FEW_HYPOTHESES, None)
    assert choose(PAIR, failed + clip_of([pose(0)] * 3), None, options).reason is ChoiceReason.ACCEPTED


def test_a_small_clip_is_reported_but_does_not_compete() -> None:
    hypotheses = two_clips()[:3] + clip_of([pose(50)], "one") + clip_of([pose(170), pose(170)], "two")
    choice = choose(PAIR, hypotheses, None, PAPER)
    assert (choice.clip, choice.score_kind, choice.reason) == ("s", ScoreKind.D_MED, ChoiceReason.ACCEPTED)
    assert [(s.clip, s.num_hypotheses) for s in choice.clip_scores] == [("one", 1), ("s", 3), ("two", 2)]
    assert math.isnan(choice.clip_scores[0].d_med_deg)
    assert [s.d_agreement_deg for s in choice.clip_scores] == pytest.approx([0, 0, 120], abs=1e-9)


def test_the_pair_alone_answers_where_no_clip_does() -> None:
    choice = choose(PAIR, [], alone(pose(12)), PAPER)
    assert (choice.reason, choice.score_kind, choice.clip) == (ChoiceReason.ACCEPTED, ScoreKind.PAIR_ONLY, "")
    assert choose(PAIR, [], None, PAPER).reason is ChoiceReason.NO_HYPOTHESIS
    few = choose(PAIR, clip_of([pose(100)]), alone(pose(12)), PAPER)
    assert few.reason is ChoiceReason.TOO_FEW_HYPOTHESES, "a clip that spoke is not passed over"


def test_limits_hold_from_both_sides() -> None:
    def reason(hypotheses: list[PoseHypothesis], pair_only: PoseHypothesis | None) -> ChoiceReason:
        return choose(PAIR, hypotheses, pair_only, PAPER).reason

    assert reason(clip_of([pose(0), pose(19.9), pose(39.8)]), None) is ChoiceReason.ACCEPTED
    assert reason(clip_of([pose(0), pose(20.1), pose(40.2)]), None) is ChoiceReason.INCONSISTENT
    assert reason(clip_of([pose(0)] * 3), alone(pose(29.9))) is ChoiceReason.ACCEPTED
    refused = choose(PAIR, clip_of([pose(0)] * 3), alone(pose(30.1)), PAPER)
    assert refused.reason is ChoiceReason.INCONSISTENT
    assert refused.b_from_a is not None, "kept for the report"


def test_random_poses_are_refused_and_good_clips_are_not() -> None:
    accepted_noise = accepted_good = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        truth = random_pose(rng)
        noise = [h for clip in "uvwx" for h in clip_of([random_pose(rng) for _ in range(11)], clip)]
        good = [h for clip in "uvwx" for h in clip_of(simulated(rng, truth, 3.0), clip)]
        accepted_noise += choose(PAIR, noise, None, PAPER).reason is ChoiceReason.ACCEPTED
        accepted_good += choose(PAIR, good, None, PAPER).reason is ChoiceReason.ACCEPTED
    assert accepted_noise == 0
    assert accepted_good == 50


def test_clips_that_contradict_one_another_are_refused() -> None:
    def reason(*rotations_deg: float) -> ChoiceReason:
        clips = [clip_of([pose(r)] * 3, f"c{i}") for i, r in enumerate(rotations_deg)]
        return choose(PAIR, [h for clip in clips for h in clip], None, PAPER).reason

    assert reason(0, 5) is ChoiceReason.ACCEPTED
    assert reason(0, 90) is ChoiceReason.INCONSISTENT
    assert reason(0, 5, 90) is ChoiceReason.ACCEPTED
    assert reason(0, 5, 90, 95) is ChoiceReason.INCONSISTENT
    assert reason(0, 60, 120, 180) is ChoiceReason.INCONSISTENT
    # A clip that contradicts itself has no say.
    garbage = clip_of([pose(0), pose(90), pose(180)], "g")
    assert choose(PAIR, clip_of([pose(0)] * 3) + garbage, None, PAPER).reason is ChoiceReason.ACCEPTED


# ---------------------------------------------------------------- signs


@pytest.mark.parametrize("num_flipped", [1, 5, 6, 10])
@pytest.mark.parametrize("strategy", [Strategy.PAPER, Strategy.MEDOID, Strategy.AVERAGE])
def test_a_cluster_that_disagrees_in_sign_is_refused(num_flipped: int, strategy: Strategy) -> None:
    rng = np.random.default_rng(num_flipped)
    poses = simulated(rng, random_pose(rng), 1.0)
    mixed = [opposite(p) if i < num_flipped else p for i, p in enumerate(poses)]
    options = replace(PAPER, strategy=strategy)
    whole, choice = choose(PAIR, clip_of(poses), None, options), choose(PAIR, clip_of(mixed), None, options)
    assert whole.reason is ChoiceReason.ACCEPTED
    assert choice.reason is ChoiceReason.SIGN_CONFLICT
    assert choice.score_deg == pytest.approx(whole.score_deg, abs=1e-9), "the paper's distance does not see the sign"


def test_the_answer_keeps_its_sign() -> None:
    for sign in (1.0, -1.0):
        poses = [Pose(p.rotation, 3.0 * sign * p.translation) for p in (pose(0), pose(1), pose(2))]
        choice = choose(PAIR, clip_of(poses), None, PAPER)
        assert choice.reason is ChoiceReason.ACCEPTED
        assert choice.b_from_a is not None
        assert choice.b_from_a.translation == pytest.approx(sign * X)


def test_far_hypotheses_have_no_say_in_the_sign() -> None:
    poses = [pose(0)] * 10 + [opposite(pose(100))]
    choice = choose(PAIR, clip_of(poses), None, PAPER)
    assert choice.score_deg == pytest.approx(10.0, abs=1e-9)
    assert choice.reason is ChoiceReason.ACCEPTED


def test_what_supports_the_answer_must_have_its_sign() -> None:
    clip, flipped = clip_of([pose(0)] * 3, "c"), clip_of([opposite(pose(3))] * 3, "d")
    assert choose(PAIR, clip, alone(opposite(pose(5))), PAPER).reason is ChoiceReason.SIGN_CONFLICT
    assert choose(PAIR, clip + flipped, None, PAPER).reason is ChoiceReason.SIGN_CONFLICT
    medoid = replace(PAPER, strategy=Strategy.MEDOID)
    assert choose(PAIR, clip, alone(opposite(pose(5))), medoid).reason is ChoiceReason.ACCEPTED


# ---------------------------------------------------------------- pure rotations


def test_pure_rotations_count_by_rotation_alone() -> None:
    choice = choose(PAIR, clip_of([pose(0, None), pose(4, None), pose(8, None)]), alone(pose(5, 77)), PAPER)
    assert choice.score_deg == pytest.approx(4 + 1, abs=1e-9)
    assert choice.reason is ChoiceReason.ACCEPTED
    assert choice.b_from_a is not None
    assert not choice.b_from_a.translation.any()
    # The status says it, whatever the translation.
    stray = [replace(h, status=PoseStatus.ROTATION_ONLY) for h in clip_of([pose(0, 0), pose(0, 90), pose(0, 180)])]
    assert choose(PAIR, stray, None, PAPER).score_deg == pytest.approx(0, abs=1e-9)
    # So does a near-zero baseline.
    short = clip_of([Pose(p.rotation, 0.01 * p.translation) for p in (pose(0, 0), pose(0, 90), pose(0, 180))])
    assert choose(PAIR, short, None, replace(PAPER, min_baseline=0.1)).score_deg == pytest.approx(0, abs=1e-9)
    assert choose(PAIR, short, None, replace(PAPER, min_baseline=0.001)).score_deg > 30.0


def test_a_pure_rotation_among_translations_does_not_win_for_knowing_less() -> None:
    # Directions 0, 10, 20, 30; means over the others that have one: 20, 40 / 3, 40 / 3, 20. Rotations agree.
    poses = [pose(0, a) for a in (0, 10, 20, 30)]
    choice = choose(PAIR, clip_of([*poses, pose(0, None)]), None, PAPER)
    assert choice.b_from_a is not None
    assert choice.b_from_a.translation == pytest.approx(pose(0, 10).translation)
    assert choice.score_deg == pytest.approx(40 / 3, abs=1e-9)
    # Its rotation counts: 20 degrees off, one in four, adds 5.
    choice = choose(PAIR, clip_of([*poses, pose(20, None)]), None, PAPER)
    assert choice.score_deg == pytest.approx(40 / 3 + 5, abs=1e-9)


@pytest.mark.parametrize(("num_turning", "expects_direction"), [(2, True), (3, False), (4, False)])
def test_the_prevailing_kind_is_the_answers(num_turning: int, expects_direction: bool) -> None:
    poses = [pose(i, None) for i in range(num_turning)] + [pose(i, 0) for i in range(6 - num_turning)]
    choice = choose(PAIR, clip_of(poses), None, PAPER)
    assert choice.b_from_a is not None
    assert choice.b_from_a.translation.any() == expects_direction


def test_clips_of_the_other_kind_do_not_compete() -> None:
    moving = [h for clip in "uv" for h in clip_of([pose(0, 0), pose(2, 8), pose(4, 16)], clip)]
    turning = clip_of([pose(5, None)] * 3, "a")
    choice = choose(PAIR, moving + turning, None, PAPER)
    assert choice.clip == "u", "the clip of pure rotations has the lower D_med, for lack of a term"
    assert choice.b_from_a is not None
    assert choice.b_from_a.translation.any()
    turning_pair = choose(PAIR, moving[:3] + turning + clip_of([pose(6, None)] * 3, "b"), None, PAPER)
    assert turning_pair.clip == "a"


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (replace(hypothesis(pose(0)), b_from_a=None), "rotation"),
        (replace(hypothesis(pose(0)), b_from_a=Pose(2 * np.eye(3), X)), "rotation"),
        (replace(hypothesis(pose(0)), b_from_a=Pose(np.eye(3), np.array([np.nan, 0, 0]))), "finite"),
        (replace(hypothesis(pose(0)), spread_deg=math.nan), "spread"),
        (replace(hypothesis(pose(0)), clip=""), "clip name"),
    ],
)
def test_hypotheses_that_contradict_themselves_are_errors(bad: PoseHypothesis, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        choose(PAIR, [*two_clips(), bad], None, PAPER)
