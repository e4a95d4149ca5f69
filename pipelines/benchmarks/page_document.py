"""The document on the videos of the paper's project page: 20 pairs of photos, three video models, four videos each.

For every pair and video model the four videos are taken as clips, as ``relpose --clips`` takes them, all hypotheses are
estimated once, and every strategy chooses among them. Nobody knows the true poses; what is known is the range of yaw
that the paper states for each dataset, and what the authors published of their own errors and choices.

The document ends with ``interpose_pairs_notes.md`` from the folder of the results, if it is there.
"""

from __future__ import annotations

import itertools
import math
import os
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.page_videos import MODELS, YAW_DEG
from benchmarks.study import GIVEN_OUT, SEED
from benchmarks.study import Row as Item
from interpose_sfm import geometry
from interpose_sfm.options import Strategy
from interpose_sfm.products import LinkVerdict
from interpose_sfm.report import versions
from interpose_sfm.storage.atomic import atomic_write_json, atomic_write_text

RESULT = Path(__file__).resolve().parent.parent.parent / "docs" / "results" / "interpose_pairs.md"

TOLERANCE_DEG = 10.0
AGREEING_DEG = 10.0


def write(result: Path, rows: Sequence[Item]) -> None:
    """Write the document, and the rows beside it; rows that could not be made are told, and do not count."""
    rows = sorted(rows, key=lambda row: (row["pair"], MODELS.index(row["model"])))
    result.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_json(result.with_suffix(".json"), rows)
    path = result.with_name(f"{result.stem}_notes.md")
    notes = path.read_text(encoding="utf-8") if path.is_file() else ""
    atomic_write_text(result, document([row for row in rows if "error" not in row], failures(rows) + notes))


def failures(rows: Sequence[Item]) -> str:
    """Rows that could not be made, with their reasons; nothing if there is none."""
    lines = [f"- {row['pair']}, {row['model']}: {row['error']}" for row in rows if "error" in row]
    return "\n".join(["## Not studied", "", *lines, "", ""]) if lines else ""


def is_accepted(item: Item) -> bool:
    """Whether `relpose` gives the pose of the videos out."""
    return item["verdict"] in GIVEN_OUT


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


def document(items: Sequence[Item], notes: str = "") -> str:
    """All results at hand as Markdown, and below them what people noted."""
    if not items:
        return "# The paper's pairs\n\nNothing is done yet.\n"
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    first = items[0]
    lines = [
        "# The pairs of the InterPose project page",
        "",
        f"Command: `python pipelines/benchmark.py interpose-page --pose-estimator {first['estimator']} "
        f"--frames-per-clip {first['frames_per_clip']}`.",
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
        *unseen_lines(items, pairs),
    ]


def unseen_lines(items: Sequence[Item], accepted: Sequence[str]) -> list[str]:
    """What ``--accept-unseen`` would give out besides, which believes the clips where pixels cannot tell."""
    found = [item for item in items if item["verdict"] == LinkVerdict.UNSEEN.value and item["pair"] not in accepted]
    if not found:
        return []
    told = [f"{item['pair']} {item['model']} ({yaw_of(item):.0f})" for item in found]
    near = sum(outside_deg(item, yaw_of(item)) <= TOLERANCE_DEG for item in found)
    return [
        f"| not asked: what `--accept-unseen` would accept besides | {', '.join(told)}; {near} of {len(found)} within "
        f"{TOLERANCE_DEG:.0f} degrees of the range |"
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
