"""Evenly spaced frames of a clip beside those that match best with their neighbours, on the paper's own videos.

For every pair and video model of a sample, the first of the four videos is taken as a clip, once with each choice of
frames (``--frame-choice``), as ``relpose`` takes it; nobody knows the true poses, but the judge of pixels and the range
of yaw that the paper states say something of them. Pictures are small and subsets few, alike for both ways.

Usage: python pipelines/relay_frames.py [--data DIR] [--rows DATASET/EXAMPLE:MODEL ...] [--write-only]

Every row is kept in the work folder when it is done, and so are features and matches, which both ways share. The
document ends with ``relay_frames_notes.md`` from the folder of the results, if it is there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from interpose_sfm.options import (
    BridgingOptions,
    ConsistencyOptions,
    FrameChoice,
    MatchingOptions,
    ReconstructOptions,
)
from interpose_sfm.pairs.decide import decide
from interpose_sfm.products import LinkVerdict, Pose
from interpose_sfm.report import versions
from interpose_sfm.storage.atomic import atomic_write_json, atomic_write_text
from interpose_sfm.workflows.relative_pose import opened_pair

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "relay_frames.md"
SEED, NUM_FRAMES, IMAGE_PX = 0, 6, 640
MATCHING = MatchingOptions(learned_max_image_px=IMAGE_PX, max_keypoints=1024, max_frame_keypoints=512)
CONSISTENCY = ConsistencyOptions(num_clips=1, num_random_subsets=2)
YAW_DEG: Mapping[str, tuple[float, float]] = {
    "cambridge": (50, 65),
    "scannet": (50, 65),
    "dl3dv": (50, 90),
    "navi": (50, 90),
}
"""Range of the yaw between the photos of a data set, from the paper."""

SAMPLE = (
    *("dl3dv/06:luma", "scannet/08:runway", "dl3dv/10:runway", "cambridge/02:luma", "dl3dv/02:runway"),
    *("dl3dv/06:dynamicrafter", "navi/06:luma", "scannet/08:luma", "dl3dv/06:runway", "cambridge/08:luma"),
    *("dl3dv/04:luma", "dl3dv/08:runway", "scannet/04:luma", "navi/02:runway", "scannet/08:dynamicrafter"),
)

Row = dict[str, Any]


def main() -> int:
    """Study what is not done yet, then write the document."""
    data = Path(os.environ.get("INTERPOSE_SFM_DATA", ROOT.parent / "shared" / "data")) / "interpose_pairs"
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--rows", nargs="+", default=list(SAMPLE), metavar="DATASET/EXAMPLE:MODEL")
    parser.add_argument("--write-only", action="store_true", help="study nothing, write what is there")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "relay_frames")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name in arguments.rows:
        path = arguments.work / f"{name.replace('/', '_').replace(':', '_')}.json"
        if not path.is_file() and not arguments.write_only:
            path.parent.mkdir(parents=True, exist_ok=True)
            pair, _, model = name.partition(":")
            row = {"row": name} | {choice.value: studied(arguments, pair, model, choice) for choice in FrameChoice}
            atomic_write_json(path, row)
            print(row, flush=True)
        rows += [json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []
    atomic_write_json(arguments.result.with_suffix(".json"), rows)
    atomic_write_text(arguments.result, document(rows))
    return 0


def studied(arguments: argparse.Namespace, pair_name: str, model: str, choice: FrameChoice) -> Row:
    """What becomes of a pair with the first of a model's videos."""
    folder = arguments.data / pair_name
    video = min(folder.glob(f"{model}_*.mp4"))
    with TemporaryDirectory(prefix="relay_frames-") as temporary:
        ends = ("a", "b") if video.stem.endswith("_ab") else ("b", "a")
        (Path(temporary) / f"{ends[0]}__{ends[1]}_0.mp4").symlink_to(video.resolve())
        options = ReconstructOptions(
            generator="clips",
            pose_estimator="matcher",
            seed=SEED,
            matching=MATCHING,
            consistency=CONSISTENCY,
            bridging=BridgingOptions(clip_dirs=(Path(temporary),), frames_per_clip=NUM_FRAMES, frame_choice=choice),
        )
        store_dir = arguments.work / f"{pair_name.replace('/', '_')}_{model}"
        with opened_pair(folder / "a.jpg", folder / "b.jpg", options, store_dir=store_dir) as (poser, pair):
            bridged = poser.bridge(pair)
            findings = replace(poser.findings_alone(pair), bridged=bridged)
    decision = decide(findings, options.consensus)
    whole = [hypothesis for hypothesis in bridged.hypotheses if len(hypothesis.frames) == NUM_FRAMES]
    pose = decision.link.b_from_a if decision.verdict is LinkVerdict.ACCEPTED and decision.link else None
    medoid = bridged.choice.b_from_a
    return {
        "verdict": decision.verdict.value,
        "yaw_deg": _yaw(pose or medoid),
        "clip_yaw_deg": _yaw(medoid),
        "hypotheses": sum(hypothesis.b_from_a is not None for hypothesis in bridged.hypotheses),
        "asked": len(bridged.hypotheses),
        "inliers_of_all": max((hypothesis.num_inliers for hypothesis in whole), default=0),
        "proposals": [
            {"agreement": round(found.link.evidence.agreement, 3), "inliers": found.link.evidence.num_inliers}
            for found in bridged.proposals
        ],
        "focal": next((text for text in bridged.tried if text.startswith("focal lengths")), ""),
    }


def _yaw(b_from_a: Pose | None) -> float | None:
    """Angle between the optical axes in the plane of A's x and z axes."""
    if b_from_a is None:
        return None
    axis = b_from_a.rotation[2]
    return round(abs(float(np.degrees(np.arctan2(axis[0], axis[2])))), 1)


def outside_deg(row: Row, choice: str) -> float | None:
    """By how much the yaw of the clip's own pose lies outside the range that the paper states; None without one."""
    yaw = row[choice]["clip_yaw_deg"]
    low, high = YAW_DEG[row["row"].partition("/")[0]]
    return None if yaw is None else max(low - yaw, yaw - high, 0.0)


def document(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "# Which frames of a clip",
        "",
        *textwrap.wrap(
            "Command: `python pipelines/relay_frames.py`. The first of the four videos of each pair and model that the "
            "authors of [InterPose](https://arxiv.org/abs/2412.16155) show, with six frames: evenly spaced ones "
            "(`even`, the default), and those of twenty that match best with their neighbours on both sides "
            f"(`--frame-choice relay`). Pictures at {IMAGE_PX} px, 512 key points per frame, two random subsets beside "
            "the uniform one: small, and alike for both. No true pose is known; the paper states ranges of the yaw. "
            "*Poses* are hypotheses with a pose of those asked for, *carried* the correspondences that all six frames "
            "together carry from A to B.",
            118,
        ),
        "",
        f"{len(rows)} clips. Machine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}. Seed {SEED}. "
        f"Versions: {', '.join(f'{name} {version}' for name, version in versions().items())}.",
        "",
        "| | even | relay |",
        "|---|---|---|",
    ]
    both = [choice.value for choice in FrameChoice]
    accepted = (LinkVerdict.ACCEPTED.value, LinkVerdict.ROTATION_ONLY.value)
    counts = {
        "accepted": [sum(row[c]["verdict"] in accepted for row in rows) for c in both],
        "self-consistent clips, which propose": [sum(bool(row[c]["proposals"]) for row in rows) for c in both],
        "poses of hypotheses": [sum(row[c]["hypotheses"] for row in rows) for c in both],
        "clips whose own yaw is in the range": [sum(outside_deg(row, c) == 0.0 for row in rows) for c in both],
        "correspondences carried, all clips": [sum(row[c]["inliers_of_all"] for row in rows) for c in both],
    }
    lines += [f"| {what} | {even} | {relay} |" for what, (even, relay) in counts.items()]
    lines += [
        "",
        "| clip | frames | verdict | yaw of the clip | poses | carried | agreement of proposals | focal length |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for choice in both:
            item = row[choice]
            agreement = ", ".join(f"{found['agreement']:.2f}" for found in item["proposals"]) or "-"
            focal = item["focal"].removeprefix("focal lengths: ") or "-"
            yaw = "-" if item["clip_yaw_deg"] is None else item["clip_yaw_deg"]
            lines.append(
                f"| {row['row']} | {choice} | {item['verdict']} | {yaw} | {item['hypotheses']} of {item['asked']} | "
                f"{item['inliers_of_all']} | {agreement} | {focal} |"
            )
    path = RESULT.with_name(f"{RESULT.stem}_notes.md")
    notes = path.read_text(encoding="utf-8") if path.is_file() else ""
    return "\n".join([*lines, "", notes]) if notes else "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
