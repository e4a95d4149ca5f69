"""One pair of photos and its clips: all hypotheses once, what every strategy chooses of them, and what is given out.

What is found is a row: plain JSON, so that rows of several machines come together by copying files. Poses are
``b_from_a``; ``direction`` is their translation of length one, zero for a pure rotation.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.options import BridgingOptions, ConsensusOptions, ReconstructOptions, Strategy
from interpose_sfm.pairs import consistency
from interpose_sfm.pairs.decide import decide
from interpose_sfm.pairs.judge import judge_proposed
from interpose_sfm.products import (
    ChoiceReason,
    FloatArray,
    Intrinsics,
    JudgedProposal,
    LinkDecision,
    LinkVerdict,
    PairOutcome,
    Pose,
    PoseChoice,
)
from interpose_sfm.workflows.relative_pose import opened_pair
from interpose_sfm.workflows.start_checks import check_options

SEED = 0
GIVEN_OUT = (LinkVerdict.ACCEPTED.value, LinkVerdict.ROTATION_ONLY.value)

Row = dict[str, Any]


def study(
    photos: tuple[Path, Path],
    clip_dir: Path | None,
    *,
    pose_estimator: str,
    frames_per_clip: int,
    store_dir: Path,
    truth: Pose | None = None,
    camera: Intrinsics | None = None,
) -> Row:
    """All hypotheses of a pair's clips, and what each strategy makes of them.

    Args:
        photos: A and B.
        clip_dir: Folder with their clips, ``a__b_N`` as of `interpose_sfm.clips.files`; None for no clips.
        pose_estimator: As ``--pose-estimator`` of relpose.
        frames_per_clip: As ``--frames-per-clip`` of relpose.
        store_dir: Keeps features, matches and hypotheses for rows of the same pair.
        truth: b_from_a, for the oracle; nothing else sees it.
        camera: The true one of both photos, if they are to be known.

    Raises:
        ValueError: A photo that cannot be used.
    """
    start = time.perf_counter()
    options = _options(clip_dir, pose_estimator, frames_per_clip, camera)
    with TemporaryDirectory(prefix="benchmark-") as folder:
        a, b = (Path(folder) / f"{n}{path.suffix.lower()}" for n, path in zip("ab", photos, strict=True))
        for link, path in zip((a, b), photos, strict=True):
            link.symlink_to(path.resolve())
        with opened_pair(a, b, options, store_dir=store_dir) as (poser, pair):
            findings = poser.findings_alone(pair)
            matched = findings.matched
            assert matched is not None
            if poser.can_propose:
                findings = replace(findings, proposed=poser.propose(pair))
            alone = decide(findings, options.consensus)
            if clip_dir is not None:
                findings = replace(findings, bridged=poser.bridge(pair))
    outcome = findings.bridged or PairOutcome(consistency.choose(pair, (), None, options.consistency), None, ())
    # What the photos settle by themselves is given out without a look at the clips, as `relative_pose` does.
    decision = alone if alone.verdict is LinkVerdict.ACCEPTED else decide(findings, options.consensus)
    choices = {strategy.value: outcome.choice for strategy in Strategy}
    for strategy in Strategy:
        chosen = replace(options.consistency, strategy=strategy, allow_pair_only=False)
        choices[strategy.value] = consistency.choose(pair, outcome.hypotheses, outcome.pair_only, chosen)
    two_view = matched.two_view
    # A network places the two photos by itself; matches do it with the focal lengths that nothing but the photos tells.
    by_matches = pose_estimator in ("auto", "matcher") or outcome.pair_only is None
    alone_pose = two_view.b_from_a if by_matches else outcome.pair_only.b_from_a  # type: ignore[union-attr]
    return {
        "estimator": pose_estimator,
        "frames_per_clip": frames_per_clip,
        "verdict": decision.verdict.value,
        "detail": decision.detail,
        "evidence": None if decision.link is None else asdict(decision.link.evidence),
        "link": _link(decision),
        "proposals": [_proposal(found, options.consensus) for found in outcome.proposals],
        "chosen": _choice(outcome.choice),
        "strategies": {key: _choice(value) for key, value in choices.items()},
        "clips": _clips(outcome.choice),
        "alone": {
            "status": two_view.status.value,
            "yaw_deg": None if two_view.b_from_a is None else round(yaw_deg(two_view.b_from_a), 2),
            "verdict": alone.verdict.value if alone.link is not None else "",
            "pose": None if alone_pose is None else pose_of(alone_pose),
        },
        "judge": {
            "verdict": decision.verdict.value,
            "accepted": decision.verdict.value in GIVEN_OUT,
            "source": "" if decision.link is None else decision.link.source,
            "weight": 0.0 if decision.link is None else round(decision.link.evidence.weight, 3),
            "pose": None if decision.link is None else pose_of(decision.link.b_from_a),
        },
        "oracle": _oracle(outcome, truth),
        "num_hypotheses": sum(found.b_from_a is not None for found in outcome.hypotheses),
        "tried": list(outcome.tried),
        "seconds": round(time.perf_counter() - start, 1),
    }


def check(pose_estimator: str, frames_per_clip: int) -> None:
    """Find out whether an estimator is there before all rows say that it is not.

    Raises:
        ValueError: There is no such estimator or number of frames, or its weights are missing.
        MissingDependencyError: What it needs is not installed.
    """
    check_options(_options(None, pose_estimator, frames_per_clip, None))


def _options(
    clip_dir: Path | None, pose_estimator: str, frames_per_clip: int, camera: Intrinsics | None
) -> ReconstructOptions:
    return ReconstructOptions(
        generator="none" if clip_dir is None else "clips",
        pose_estimator=pose_estimator,
        seed=SEED,
        bridging=BridgingOptions(clip_dirs=() if clip_dir is None else (clip_dir,), frames_per_clip=frames_per_clip),
        **({} if camera is None else _known(camera)),
    )


def yaw_deg(b_from_a: Pose) -> float:
    """Angle between the optical axes in the plane of A's x and z axes, 0 to 180."""
    axis_in_a = b_from_a.rotation[2]
    return abs(math.degrees(math.atan2(axis_in_a[0], axis_in_a[2])))


def pose_of(b_from_a: Pose) -> Row:
    """A relative pose in a row; the direction of true ones gets length one."""
    unit = geometry.with_unit_translation(b_from_a)
    return {
        "yaw_deg": round(yaw_deg(unit), 2),
        "rotation": unit.rotation.round(6).tolist(),
        "direction": unit.translation.round(4).tolist(),
    }


def pose_in(row: Row | None) -> Pose | None:
    """What `pose_of` wrote; None where there is no pose."""
    if not row or "rotation" not in row:
        return None
    return Pose(np.array(row["rotation"], dtype=np.float64), np.array(row["direction"], dtype=np.float64))


def _oracle(outcome: PairOutcome, truth: Pose | None) -> Row | None:
    """The hypothesis of any clip that is nearest to the truth; None without either."""
    found = None if truth is None else consistency.oracle(outcome.hypotheses, truth)
    return None if found is None or found.b_from_a is None else pose_of(found.b_from_a)


def _link(decision: LinkDecision) -> Row | None:
    return None if decision.link is None else {"source": decision.link.source, **pose_of(decision.link.b_from_a)}


def _proposal(found: JudgedProposal, limits: ConsensusOptions) -> Row:
    """What a clip proposes, and what the pixels of the two photos say of it."""
    verdict, detail = judge_proposed(found, limits)
    proposal = found.link.proposal
    assert proposal is not None
    return {
        "source": proposal.source,
        "spread_deg": round(proposal.spread_deg, 2),
        "proposed_yaw_deg": round(yaw_deg(proposal.b_from_a), 2),
        "surprise": round(found.surprise, 1),
        "rival_surprise": round(found.rival_surprise, 1),
        "evidence": asdict(found.link.evidence),
        "doubts": asdict(found.link.doubts),
        "num_points": len(found.link.points_a_px),
        "verdict": verdict.value,
        "detail": detail,
        **pose_of(found.link.b_from_a),
    }


def _choice(choice: PoseChoice) -> Row:
    found: Row = {
        "reason": choice.reason.value,
        "accepted": choice.reason is ChoiceReason.ACCEPTED,
        "video": choice.clip,
        "score_deg": _number(choice.score_deg),
        "score_kind": choice.score_kind.value,
    }
    return found if choice.b_from_a is None else found | pose_of(choice.b_from_a)


def _clips(choice: PoseChoice) -> dict[str, Row]:
    return {
        score.clip: {
            "d_med_deg": _number(score.d_med_deg),
            "d_bias_deg": _number(score.d_bias_deg),
            "d_agreement_deg": _number(score.d_agreement_deg),
            "hypotheses": score.num_hypotheses,
            "yaw_deg": round(yaw_deg(score.medoid), 2),
        }
        for score in choice.clip_scores
    }


def _number(value: float) -> float | None:
    return round(float(value), 3) if math.isfinite(value) else None


def _known(camera: Intrinsics) -> dict[str, Any]:
    return {"camera_model": camera.model, "camera_params": ",".join(f"{value:.9g}" for value in params_of(camera))}


def params_of(camera: Intrinsics) -> FloatArray:
    """Parameters of a camera in COLMAP's order."""
    return np.array(geometry.to_colmap_camera(camera).params)
