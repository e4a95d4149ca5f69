"""What each witness adds on the paper's videos: clips by themselves, the pixels of the two photos, other video models.

Reads what ``benchmark.py interpose-page`` has found, and computes nothing else. No true pose is known of these pairs;
what is known is the range of yaw that the paper states for each dataset, which tells many wrong poses and no right one.

Usage: python pipelines/witnesses.py [--items FILE] [--result FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page_document import RESULT as ITEMS
from benchmarks.page_document import TOLERANCE_DEG, is_accepted, outside_deg, yaw_of
from interpose_sfm import geometry
from interpose_sfm.options import Strategy
from interpose_sfm.pairs.judge import turn_between_deg
from interpose_sfm.pairs.witnesses import MIN_APART_DEG, propose_the_same
from interpose_sfm.products import ImagePair, Pose, PoseProposal
from interpose_sfm.storage.atomic import atomic_write_text

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "witnesses.md"
SCORES = {Strategy.PAPER: "D_med + D_bias", Strategy.MEDOID: "D_med alone"}

Item = dict[str, Any]
Said = Mapping[str, list[float]]
"""Pair -> by how much each yaw that a witness believes lies outside its range; no pair that it leaves open."""


def main() -> int:
    """Write the document from what is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=Path, default=ITEMS.with_suffix(".json"))
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    if not arguments.items.is_file():
        raise SystemExit(f"there is no {arguments.items}; run python pipelines/benchmark.py interpose-page first")
    atomic_write_text(arguments.result, document(json.loads(arguments.items.read_text(encoding="utf-8"))))
    return 0


# ---------------------------------------------------------------- what each witness says


def by_clips(items: Sequence[Item], strategy: Strategy) -> Said:
    """The self-consistent choice among a model's clips."""
    chosen = [(item, item["strategies"][strategy.value]) for item in items]
    return _gathered((item, choice["yaw_deg"]) for item, choice in chosen if choice["accepted"])


def by_pixels(items: Sequence[Item]) -> Said:
    """What the photos' own matches believe of what clips propose."""
    return _gathered((item, yaw_of(item)) for item in items if is_accepted(item))


def by_models(items: Sequence[Item], strategy: Strategy) -> Said:
    """Choices of two models that are one pose."""
    agreeing = [meeting for meeting in meetings(items, strategy) if meeting.agree]
    return _gathered((item, item["strategies"][strategy.value]["yaw_deg"]) for m in agreeing for item in m.items)


def either(one: Said, other: Said) -> Said:
    """What one witness believes, and of pairs that it leaves open the other one."""
    return {**other, **one}


def _gathered(believed: Iterator[tuple[Item, float]]) -> Said:
    said: dict[str, list[float]] = {}
    for item, yaw_deg in believed:
        said.setdefault(item["pair"], []).append(outside_deg(item, yaw_deg))
    return said


@dataclass(frozen=True)
class Meeting:
    """Self-consistent choices of two models for one pair.

    Attributes:
        items: Of the models.
        turn_deg, angle_deg: Between the rotations and between the directions.
        agree: Whether they are one pose to a run with the clips of both.
    """

    items: tuple[Item, Item]
    turn_deg: float
    angle_deg: float
    agree: bool


def meetings(items: Sequence[Item], strategy: Strategy) -> list[Meeting]:
    """All pairs for which clips of two models propose a pose."""
    found = []
    for one, other in itertools.combinations(items, 2):
        proposals = [proposal_of(item, strategy) for item in (one, other)]
        if one["pair"] != other["pair"] or None in proposals:
            continue
        first, second = (p for p in proposals if p is not None)
        poses = first.b_from_a, second.b_from_a
        angle_deg = float(geometry.direction_angle_deg(*(pose.translation for pose in poses)))
        found.append(Meeting((one, other), turn_between_deg(*poses), angle_deg, propose_the_same(first, second)))
    return found


def proposal_of(item: Item, strategy: Strategy) -> PoseProposal | None:
    """The self-consistent choice as it came; None without one, and where it rests on a guessed focal length."""
    choice = item["strategies"][strategy.value]
    spreads_deg = [found["spread_deg"] for found in item["proposals"] if found["source"] == choice["video"]]
    if not choice["accepted"] or not spreads_deg:
        return None
    pose = Pose(np.array(choice["rotation"]), np.array(choice["direction"]))
    return PoseProposal(ImagePair("a", "b"), pose, spreads_deg[-1], choice["video"], imagined_by=item["model"])


# ---------------------------------------------------------------- the document


def document(items: Sequence[Item]) -> str:
    """All of it as Markdown."""
    names = sorted({item["pair"] for item in items})
    models = list(dict.fromkeys(item["model"] for item in items))
    lines = [
        "# What each witness adds",
        "",
        "Command: `python pipelines/witnesses.py`, from what `python pipelines/benchmark.py interpose-page` found"
        " ([interpose_pairs.md](interpose_pairs.md)).",
        "",
        f"{len(names)} pairs of the InterPose project page, with the videos of {' and '.join(models)}. Nobody knows "
        "their true poses. *Right* is a yaw in the range that the paper states for the dataset; *near* one that lies "
        f"outside by {TOLERANCE_DEG:.0f} degrees at most; *wrong* any other, also where only one of two poses that are "
        "believed of a pair is; *undecided* a pair of which nothing is believed. A wrong pose may have a yaw in the "
        "range, so that what is called right here is an upper bound.",
        "",
        *table(items, models, len(names)),
        "",
        "## Where two models propose",
        "",
        "All pairs for which the clips of two models are self-consistent "
        f"({SCORES[Strategy.MEDOID]}). They *agree* as in [links](../links.md#from-a-clip): rotation and direction "
        f"within the sum of the spreads, {MIN_APART_DEG:.0f} to 15 degrees.",
        "",
        *meeting_lines(items),
        "",
        *separation_lines(items),
        "",
        CLOSING,
    ]
    return "\n".join(lines)


def table(items: Sequence[Item], models: Sequence[str], number: int) -> list[str]:
    """A row per witness: how many pairs it gets right and wrong, and how many it leaves open."""
    lines = ["| witness | clips | right | near | wrong | undecided |", "|---|---|---|---|---|---|"]

    def add(witness: str, clips: str, said: Said) -> None:
        worst = [max(outside) for outside in said.values()]
        right, near = sum(w == 0 for w in worst), sum(0 < w <= TOLERANCE_DEG for w in worst)
        wrong = len(worst) - right - near
        lines.append(f"| {witness} | {clips} | {right} | {near} | {wrong} | {number - len(worst)} |")

    groups = {**{model: [i for i in items if i["model"] == model] for model in models}, "any of them": list(items)}
    for strategy, score in SCORES.items():
        for clips, group in groups.items():
            add(f"clips alone, {score}", clips, by_clips(group, strategy))
    for clips, group in groups.items():
        add("+ pixels of A and B", clips, by_pixels(group))
    for strategy, score in SCORES.items():
        agreed = by_models(items, strategy)
        add(f"+ other video models, without pixels, {score}", "two that agree", agreed)
        add(f"pixels, else other video models, {score}", "any, or two that agree", either(by_pixels(items), agreed))
    return lines


def meeting_lines(items: Sequence[Item]) -> list[str]:
    """A row per pair and two models."""
    lines = [
        "| pair | models | yaw | outside the range by | rotation between | direction between | agree | pixels say |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for meeting in meetings(items, Strategy.MEDOID):
        yaws = [item["strategies"][Strategy.MEDOID.value]["yaw_deg"] for item in meeting.items]
        outside = [outside_deg(item, yaw) for item, yaw in zip(meeting.items, yaws, strict=True)]
        models = ", ".join(item["model"] for item in meeting.items)
        verdicts = "; ".join(item["verdict"].partition(":")[0] for item in meeting.items)
        lines.append(
            f"| {meeting.items[0]['pair']} | {models} | {yaws[0]:.0f}, {yaws[1]:.0f} | {outside[0]:.0f}, "
            f"{outside[1]:.0f} | {meeting.turn_deg:.1f} | {meeting.angle_deg:.1f} | "
            f"{'yes' if meeting.agree else 'no'} | {verdicts} |"
        )
    return lines


def separation_lines(items: Sequence[Item]) -> list[str]:
    """How far from the limit the meetings lie, and how little so few of them prove."""
    met = meetings(items, Strategy.MEDOID)
    near = [max(m.turn_deg, m.angle_deg) for m in met if m.agree]
    far = [max(m.turn_deg, m.angle_deg) for m in met if not m.agree]
    lines = [f"{len(near)} of {len(met)} agree."]
    if near and far:
        lines.append(f"Any limit from {max(near):.0f} to {min(far):.0f} degrees would tell the same of these.")
    said = by_models(items, Strategy.MEDOID)
    num_wrong = sum(max(outside) > TOLERANCE_DEG for outside in said.values())
    if said and not num_wrong:
        bound = 1 - 0.05 ** (1 / len(said))
        lines.append(
            f"That none of {len(said)} is wrong bounds the share of wrong ones among poses that two models agree on at "
            f"{bound:.0%} with 95 % confidence, which is nothing to accept links by."
        )
    return lines


CLOSING = """\
## What the table does not have

- **Third photos.** These pairs are two photos each: there is no third one to ask. What third photos add to links by the
  photos' own matches is counted in [evidence](../evidence.md#what-is-accepted), *by itself* against *then*; for poses
  that clips propose it is not measured, since no collection at hand has third photos and clips of video models.
- **A truth.** Against laser scans, what pixels believe of right and of wrong proposals stands in
  [proposals.md](proposals.md); no video model was run on these scenes.
- **One run with the clips of all models.** The models were run one by one, each with the focal length that its own
  clips tell. A run with the clips of both (`--clips runway/ luma/`) has one for all, and compares what every clip
  proposes, not the choices alone.
"""


if __name__ == "__main__":
    sys.exit(main())
