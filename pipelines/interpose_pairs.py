"""The study on the videos of the InterPose project page: 20 pairs of photos, three video models, four videos each.

For every pair and video model the four videos are taken as clips, as ``relpose --clips`` takes them, all hypotheses are
estimated once, and every strategy chooses among them. Nobody knows the true poses; what is known is the range of yaw
that the paper states for each dataset, and what the authors published of their own errors and choices.

Usage: python pipelines/interpose_pairs.py [--data DIR] [--only cambridge/02 ...] [--models luma ...] [--write-only]

The document ends with ``interpose_pairs_notes.md`` from the folder of the results, if it is there.

Each pair and model is kept in the work folder when it is done, so a run that was stopped goes on, and two runs over
different models share the work. The document is written over all that is there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.options import BridgingOptions, ConsensusOptions, FrameChoice, ReconstructOptions, Strategy
from interpose_sfm.pairs import consistency
from interpose_sfm.pairs.decide import Findings, decide
from interpose_sfm.pairs.judge import judge_proposed
from interpose_sfm.products import ChoiceReason, JudgedProposal, LinkVerdict, Pose, PoseChoice
from interpose_sfm.report import versions
from interpose_sfm.storage.atomic import atomic_write_json, atomic_write_text
from interpose_sfm.workflows.relative_pose import opened_pair

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "interpose_pairs.md"
SEED = 0
MODELS = ("dynamicrafter", "runway", "luma")
YAW_DEG: Mapping[str, tuple[float, float]] = {
    "cambridge": (50, 65),
    "scannet": (50, 65),
    "dl3dv": (50, 90),
    "navi": (50, 90),
}
"""Range of the yaw between the photos of a dataset, from the paper."""

TOLERANCE_DEG = 10.0
AGREEING_DEG = 10.0

Item = dict[str, Any]


def main() -> int:
    """Estimate what is not done yet, then write the document."""
    arguments = parse_arguments()
    folders = sorted(path.parent for path in arguments.data.glob("*/*/published.json"))
    names = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    if not names:
        raise SystemExit(f"no pairs in {arguments.data}: expected DATASET/EXAMPLE/published.json")
    unknown = set(arguments.only) - set(names)
    if unknown:
        raise SystemExit(f"no pair {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    arguments.work.mkdir(parents=True, exist_ok=True)
    for folder, name in zip(folders, names, strict=True):
        if arguments.only and name not in arguments.only:
            continue
        for model in arguments.models:
            path = item_path(arguments, name, model)
            if arguments.write_only or path.is_file():
                continue
            item = study(folder, name, model, arguments)
            atomic_write_json(path, item)
            print(summary(item), flush=True)
    found = [
        json.loads(path.read_text(encoding="utf-8"))
        for name in names
        for model in MODELS
        if (path := item_path(arguments, name, model)).is_file()
    ]
    arguments.result.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_json(arguments.result.with_suffix(".json"), found)
    path = arguments.result.with_name(f"{arguments.result.stem}_notes.md")
    notes = path.read_text(encoding="utf-8") if path.is_file() else ""
    atomic_write_text(arguments.result, document(found, notes))
    return 0


def parse_arguments() -> argparse.Namespace:
    """Command line, with paths that hold in a checkout beside its data."""
    data = Path(os.environ.get("INTERPOSE_SFM_DATA", ROOT.parent / "shared" / "data")) / "interpose_pairs"
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--only", nargs="+", default=[], metavar="DATASET/EXAMPLE")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--pose-estimator", default="matcher")
    parser.add_argument("--frames-per-clip", type=int, default=19, help="frames of a clip")
    parser.add_argument("--frame-choice", type=FrameChoice, choices=list(FrameChoice), default=FrameChoice.EVEN)
    parser.add_argument("--write-only", action="store_true", help="estimate nothing, write what is there")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "interpose_pairs")
    parser.add_argument("--result", type=Path, default=RESULT)
    return parser.parse_args()


def item_path(arguments: argparse.Namespace, name: str, model: str) -> Path:
    """File of one pair and model in the work folder."""
    work: Path = arguments.work
    key = f"{name.replace('/', '_')}_{model}_{arguments.pose_estimator}_{arguments.frames_per_clip}"
    if arguments.frame_choice is not FrameChoice.EVEN:
        key += f"_{arguments.frame_choice.value}"
    return work / f"{key}.json"


# ---------------------------------------------------------------- one pair and one model


def study(folder: Path, name: str, model: str, arguments: argparse.Namespace) -> Item:
    """All hypotheses of a pair's four videos, and what each strategy makes of them."""
    start = time.perf_counter()
    with TemporaryDirectory(prefix="interpose_pairs-") as temporary:
        clip_dir = Path(temporary)
        for video in sorted(folder.glob(f"{model}_*.mp4")):
            _, index, order = video.stem.split("_")
            ends = ("a", "b") if order == "ab" else ("b", "a")
            (clip_dir / f"{ends[0]}__{ends[1]}_{index}.mp4").symlink_to(video.resolve())
        options = ReconstructOptions(
            generator="clips",
            pose_estimator=arguments.pose_estimator,
            seed=SEED,
            bridging=BridgingOptions(
                clip_dirs=(clip_dir,),
                frames_per_clip=arguments.frames_per_clip,
                frame_choice=arguments.frame_choice,
            ),
        )
        store_dir = arguments.work / f"{name.replace('/', '_')}_{model}"
        with opened_pair(folder / "a.jpg", folder / "b.jpg", options, store_dir=store_dir) as (poser, pair):
            findings = Findings(
                matched=poser.match(pair), bridged=poser.bridge(pair), guessed_focal=poser.has_guessed_focal(pair)
            )
    assert findings.matched is not None
    assert findings.bridged is not None
    two_view, outcome, choice = findings.matched.two_view, findings.bridged, findings.bridged.choice
    decision = decide(findings, options.consensus)
    alone = decide(replace(findings, bridged=None), options.consensus)
    choices = {strategy.value: choice for strategy in Strategy}
    for strategy in Strategy:
        chosen = replace(options.consistency, strategy=strategy, allow_pair_only=False)
        choices[strategy.value] = consistency.choose(pair, outcome.hypotheses, outcome.pair_only, chosen)
    return {
        "pair": name,
        "model": model,
        "published": json.loads((folder / "published.json").read_text(encoding="utf-8")),
        "estimator": arguments.pose_estimator,
        "frames_per_clip": arguments.frames_per_clip,
        "verdict": decision.verdict.value,
        "detail": decision.detail,
        "evidence": None if decision.link is None else asdict(decision.link.evidence),
        "link": None if decision.link is None else {"source": decision.link.source, **_pose(decision.link.b_from_a)},
        "proposals": [_proposal(found, options.consensus) for found in outcome.proposals],
        "chosen": _choice(choice),
        "strategies": {key: _choice(value) for key, value in choices.items()},
        "clips": {
            score.clip: {
                "d_med_deg": _number(score.d_med_deg),
                "d_bias_deg": _number(score.d_bias_deg),
                "d_agreement_deg": _number(score.d_agreement_deg),
                "hypotheses": score.num_hypotheses,
                "yaw_deg": round(yaw_deg(score.medoid), 2),
            }
            for score in choice.clip_scores
        },
        "alone": {
            "status": two_view.status.value,
            "yaw_deg": None if two_view.b_from_a is None else round(yaw_deg(two_view.b_from_a), 2),
            "verdict": "" if alone.link is None else alone.verdict.value,
        },
        "tried": list(outcome.tried),
        "seconds": round(time.perf_counter() - start, 1),
    }


def yaw_deg(b_from_a: Pose) -> float:
    """Angle between the optical axes in the plane of A's x and z axes, 0 to 180."""
    axis_in_a = b_from_a.rotation[2]
    return abs(math.degrees(math.atan2(axis_in_a[0], axis_in_a[2])))


def _pose(b_from_a: Pose) -> Item:
    return {
        "yaw_deg": round(yaw_deg(b_from_a), 2),
        "rotation": b_from_a.rotation.round(6).tolist(),
        "direction": b_from_a.translation.round(4).tolist(),
    }


def _proposal(found: JudgedProposal, limits: ConsensusOptions) -> Item:
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
        **_pose(found.link.b_from_a),
    }


def _choice(choice: PoseChoice) -> Item:
    found: Item = {
        "reason": choice.reason.value,
        "accepted": choice.reason is ChoiceReason.ACCEPTED,
        "video": choice.clip,
        "score_deg": _number(choice.score_deg),
        "score_kind": choice.score_kind.value,
    }
    if choice.b_from_a is not None:
        found |= {
            "yaw_deg": round(yaw_deg(choice.b_from_a), 2),
            "rotation": np.round(choice.b_from_a.rotation, 6).tolist(),
            "direction": np.round(choice.b_from_a.translation, 4).tolist(),
        }
    return found


def _number(value: float) -> float | None:
    return round(float(value), 3) if math.isfinite(value) else None


# ---------------------------------------------------------------- over all of them


def is_accepted(item: Item) -> bool:
    """Whether `relpose` gives the pose of the videos out."""
    return item["verdict"] in (LinkVerdict.ACCEPTED.value, LinkVerdict.ROTATION_ONLY.value)


def yaw_of(item: Item) -> float:
    """Yaw of the pose that is given out in degrees, else of the chosen one; NaN where there is none."""
    value = (item["link"] if is_accepted(item) else item["chosen"]).get("yaw_deg")
    return math.nan if value is None else float(value)


def outside_deg(item: Item, yaw: float) -> float:
    """By how much a yaw lies outside the range that the paper states; 0 within it."""
    low, high = YAW_DEG[item["pair"].partition("/")[0]]
    return max(low - yaw, yaw - high, 0.0)


def agreements(items: Sequence[Item]) -> list[tuple[str, str, str, float, float]]:
    """(pair, model, model, rotation, direction between their poses in degrees) of models accepted for the same pair."""
    found = []
    for first, second in itertools.combinations([item for item in items if is_accepted(item)], 2):
        if first["pair"] == second["pair"]:
            rotations, directions = [], []
            for item in (first, second):
                rotations.append(np.array(item["link"]["rotation"]))
                directions.append(np.array(item["link"]["direction"]))
            turn_deg = float(geometry.rotation_angle_deg(rotations[0] @ rotations[1].T))
            lengths = np.linalg.norm(directions, axis=1)
            cosine = float(directions[0] @ directions[1]) / max(float(np.prod(lengths)), 1e-12)
            angle_deg = math.degrees(math.acos(np.clip(cosine, -1, 1))) if lengths.min() > 0 else math.nan
            found.append((first["pair"], first["model"], second["model"], turn_deg, angle_deg))
    return found


def summary(item: Item) -> str:
    """One line for the terminal."""
    chosen = item["chosen"]
    return (
        f"{item['pair']} {item['model']}: {item['verdict']} ({item['detail']}), yaw {chosen.get('yaw_deg')}, "
        f"{chosen['score_kind']} {chosen['score_deg']}, {item['seconds']} s"
    )


def document(items: Sequence[Item], notes: str = "") -> str:
    """All results at hand as Markdown, and below them what people noted."""
    if not items:
        return "# The paper's pairs\n\nNothing is done yet.\n"
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    first = items[0]
    lines = [
        "# The pairs of the InterPose project page",
        "",
        f"Command: `python pipelines/interpose_pairs.py --pose-estimator {first['estimator']} --frames-per-clip "
        f"{first['frames_per_clip']}`.",
        "The videos are those that the authors of [InterPose](https://arxiv.org/abs/2412.16155) show for 20 pairs of",
        "photos: four each of DynamiCrafter, Runway and Luma. No true pose is known. The paper states ranges of the",
        "yaw between the photos: 50 to 65 degrees for cambridge and scannet, 50 to 90 for dl3dv and navi.",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}. Seed {SEED}. Versions: {names}.",
        "",
        "## Targets",
        "",
        *target_lines(items),
        "",
        "## By strategy",
        "",
        "Chosen poses of all pairs and models, whether refused or not. *Oracle* needs a truth, which there is not.",
        "",
        *strategy_lines(items),
        "",
        "## By pair and video model",
        "",
        "*Selected*: the video with the lowest score, and in brackets the one that the authors' score selected with",
        "DUSt3R. *Published*: the authors' rotation error in degrees with DUSt3R, pair alone and with these videos.",
        "*Focal*: focal length over the guess of 1.2 times the longer side, by the clips.",
        "",
        *item_lines(items),
        "",
        "## Between the models",
        "",
        *agreement_lines(items),
        "",
        "## Why poses are refused",
        "",
        *refusal_lines(items),
        "",
    ]
    return "\n".join([*lines, notes])


def target_lines(items: Sequence[Item]) -> list[str]:
    """What was asked for, and what was reached."""
    accepted = [item for item in items if is_accepted(item)]
    pairs = sorted({item["pair"] for item in accepted})
    far = [item for item in accepted if outside_deg(item, yaw_of(item)) > TOLERANCE_DEG]
    found = agreements(items)
    near = [row for row in found if row[3] <= AGREEING_DEG]
    share = f"{len(near)} of {len(found)}" if found else "no pair has two"
    listed = ", ".join(f"{item['pair']} {item['model']} ({yaw_of(item):.0f})" for item in far) or "none"
    within = sum(outside_deg(item, yaw_of(item)) == 0 for item in accepted)
    without = sum(not item["proposals"] and "yaw_deg" not in item["chosen"] for item in items)
    return [
        "| asked | reached |",
        "|---|---|",
        f"| at least 9 of 20 pairs accepted for at least one video model | {len(pairs)} of "
        f"{len({item['pair'] for item in items})} ({', '.join(pairs) or 'none'}) |",
        f"| no accepted yaw outside the range by more than 10 degrees | {listed}; {within} of {len(accepted)} within |",
        f"| accepted rotations of two models within {AGREEING_DEG:.0f} degrees in at least 80 percent | {share} |",
        f"| at most 8 of 60 rows without any hypothesis | {without} of {len(items)} |",
    ]


def strategy_lines(items: Sequence[Item]) -> list[str]:
    """Per strategy: how many poses there are, self-consistent ones, and how many of each lie in the range."""
    lines = [
        "| strategy | poses | in the range of yaw | within 10 degrees | self-consistent | of these in the range |",
        "|---|---|---|---|---|---|",
    ]
    for strategy in Strategy:
        rows = [(item, item["strategies"][strategy.value]) for item in items]
        with_pose = [(item, row) for item, row in rows if "yaw_deg" in row]
        sound = [(item, row) for item, row in with_pose if row["accepted"]]
        outside = [outside_deg(item, row["yaw_deg"]) for item, row in with_pose]
        lines.append(
            f"| {strategy.value} | {len(with_pose)} of {len(rows)} | {sum(d == 0 for d in outside)} | "
            f"{sum(d <= TOLERANCE_DEG for d in outside)} | {len(sound)} | "
            f"{sum(outside_deg(item, row['yaw_deg']) == 0 for item, row in sound)} |"
        )
    return lines


def item_lines(items: Sequence[Item]) -> list[str]:
    """One row per pair and model."""
    lines = [
        "| pair | model | selected | D_med | D_bias | D_total | yaw | direction | verdict | focal | published |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for item in items:
        chosen, published, model = item["chosen"], item["published"], item["model"]
        clip = item["clips"].get(chosen["video"], {})
        d_med, d_bias = clip.get("d_med_deg"), clip.get("d_bias_deg")
        total = None if d_med is None or d_bias is None else d_med + d_bias
        direction = ", ".join(f"{value:+.2f}" for value in chosen.get("direction", ())) or "-"
        errors = published["rotation_error_deg"]
        says_all = is_accepted(item) or item["detail"] == item["verdict"]
        told = item["verdict"] if says_all else f"{item['verdict']}: {item['detail']}"
        lines.append(
            f"| {item['pair']} | {model} | {video_of(chosen['video'])} ({published['selected_video'][model]}) | "
            f"{_shown(d_med)} | {_shown(d_bias)} | {_shown(total)} | {_shown(chosen.get('yaw_deg'))} | {direction} | "
            f"{told} | {focal_of(item)} | {errors['dust3r_pair']:.1f}, {errors[model]:.1f} |"
        )
    return lines


def agreement_lines(items: Sequence[Item]) -> list[str]:
    """How far accepted models are apart, pair by pair."""
    found = agreements(items)
    same = [item for item in items if item["chosen"]["video"]]
    chosen = sum(
        video_of(item["chosen"]["video"]) == str(item["published"]["selected_video"][item["model"]]) for item in same
    )
    lines = [
        f"Of {len(same)} selected videos {chosen} are those that the authors' score selected; one in four would be by "
        "chance.",
        "",
    ]
    if not found:
        return [*lines, "For no pair two models were accepted."]
    lines += ["| pair | models | rotation between, degrees | direction between, degrees |", "|---|---|---|---|"]
    for pair, one, other, turn_deg, angle_deg in found:
        lines.append(f"| {pair} | {one}, {other} | {turn_deg:.1f} | {_shown(angle_deg)} |")
    return lines


def refusal_lines(items: Sequence[Item]) -> list[str]:
    """A row per reason, most frequent first, and what the clips say of the focal lengths."""
    counted: dict[str, Counter[str]] = {}
    for item in items:
        is_split = item["verdict"] == LinkVerdict.INCONSISTENT.value
        reason = item["detail"].partition(":")[0] if is_split else item["verdict"]
        counted.setdefault(reason, Counter())[item["model"]] += 1
    lines = ["| reason | " + " | ".join(MODELS) + " |", "|---|" + "---|" * len(MODELS)]
    for reason, by_model in sorted(counted.items(), key=lambda row: (-row[1].total(), row[0])):
        lines.append(f"| {reason} | {' | '.join(str(by_model[model]) for model in MODELS)} |")
    scales = sorted(float(text) for item in items if (text := focal_of(item)) != "-")
    if scales:
        lines += [
            "",
            f"Clips of {len(scales)} of {len(items)} rows agree on a focal length: {scales[0]:.2f} to {scales[-1]:.2f} "
            f"times the guess, {scales[len(scales) // 2]:.2f} in the median. Where they do not, the guess is kept, and "
            "wide turns are refused.",
        ]
    return lines


def video_of(clip: str) -> str:
    """Number of the video; a dash if none was selected."""
    return Path(clip).stem.rpartition("_")[2] if clip else "-"


def focal_of(item: Item) -> str:
    """What the clips said of the focal length."""
    note = next((text for text in item["tried"] if text.startswith("focal lengths: ")), "")
    word = note.removeprefix("focal lengths: ").partition(" ")[0]
    return word if word[:1].isdigit() else "-"


def _shown(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
