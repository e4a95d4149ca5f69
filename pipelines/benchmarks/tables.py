"""The document of the benchmark: a section for every data set that was studied, with what others have published.

``benchmark_NAME.json`` beside it keeps the figures of a data set; the document is written over all of these.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import figures, ideal_clips, metrics, page_document
from benchmarks.data_sets import DATA_SETS
from benchmarks.metrics import ALONE, JUDGE, MEDOID, ORACLE, PAPER, WAYS, PoseError
from benchmarks.published import DIFFERENCES, PUBLISHED
from benchmarks.sfm import SFM_KEY, sfm_lines, sfm_means
from benchmarks.study import Row
from interpose_sfm.report import versions
from interpose_sfm.storage.atomic import atomic_write_json, atomic_write_text

YAW_BINS = (0, 15, 30, 45, 60, 75, 90, 120, 150, 180)  # lists of others go beyond the ranges of the rule
OVERLAP_BINS = (0, 0.2, 0.4, 0.6, 0.8, 1.0)
KEPT = ("pair", "model", "truth", "yaw_deg", "overlap", "known_cameras", "estimator", "frames_per_clip", "error")
NOTES = "benchmark_notes.md"


def write(result: Path, name: str, rows: Sequence[Row], command: str, num_left_out: int = 0) -> None:
    """Keep the figures of a data set, and write the document over those of all.

    Args:
        result: The document.
        name: Of the data set.
        rows: All of its rows.
        command: That made them.
        num_left_out: Photos and scenes of the data set that could not be read.
    """
    result.parent.mkdir(parents=True, exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    made_with = ", ".join(f"{library} {version}" for library, version in versions().items())
    document = {
        "command": command,
        "machine": machine,
        "versions": made_with,
        "num_left_out": num_left_out,
        "rows": [short(row) for row in rows],
    }
    atomic_write_json(_kept(result, name), document)
    found = {
        path.stem.removeprefix(f"{result.stem}_"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(result.parent.glob(f"{result.stem}_*.json"))
    }
    sections = [line for key in DATA_SETS if key in found for line in section(result, key, found[key])]
    notes = result.with_name(NOTES)
    ending = [notes.read_text(encoding="utf-8").rstrip("\n"), ""] if notes.is_file() else []
    lines = [*HEADING, *published_lines(found), *page_lines(result), *sections, *ending]
    atomic_write_text(result, "\n".join(lines))


def _kept(result: Path, name: str) -> Path:
    return result.with_name(f"{result.stem}_{name}.json")


def short(row: Row) -> Row:
    """What the document needs of a row."""
    found = {key: row[key] for key in KEPT if key in row}
    if "error" in row or SFM_KEY in row:
        return {key: value for key, value in row.items() if key not in ("inputs", "truth")} if SFM_KEY in row else found
    chosen = {key: {k: v for k, v in choice.items() if k != "yaw_deg"} for key, choice in row["strategies"].items()}
    return (
        found
        | {key: row[key] for key in ("alone", "judge", "oracle", "num_hypotheses", "seconds")}
        | {"strategies": chosen}
    )


HEADING = [
    "# Relative poses of photo pairs with known truth",
    "",
    "The InterPose paper's study, and others in its form, by `python pipelines/benchmark.py NAME`. How data sets are",
    "read, pairs are drawn and machines share the work is told in [benchmark.md](../benchmark.md).",
    "",
    "*R* and *T* are mean errors in degrees of the poses that there are; *within* counts pairs without a pose as",
    "wrong, and so does AUC30, the area under the curve of the larger error up to 30 degrees; a pose without a",
    "translation is wrong in T and in AUC30, if the truth has one. *Wrong* is a pose that",
    f"is off by more than {metrics.WRONG_DEG:.0f} degrees in rotation or in direction, sign included. The ways:",
    "",
    "- *pair alone*: the two photos and no clip;",
    "- *average* of all hypotheses of all clips; *medoid* of the clip with the least D_med; *paper's score*, that of",
    "  the clip with the least D_med + D_bias. Hypotheses are those that `relpose` makes: of subsets of frames only",
    "  where whole clips do not settle the pair;",
    "- *judge*: what `relpose` gives out, by the photos' own matches;",
    "- *oracle*: the hypothesis that is nearest to the truth.",
    "",
]


def published_lines(found: Mapping[str, Any]) -> list[str]:
    """What others have published, beside what was measured here."""
    lines = [
        "## Beside what is published",
        "",
        "Columns *published* are figures of the authors; none of them was measured here. R and T are mean errors in",
        "degrees. Lines with a star are second-hand: not checked in the paper itself.",
        "",
        "| data set | work | what | published: alone | published: result | here: pair alone | here: paper's score "
        "| here: judge |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in PUBLISHED.items():
        ours = _ours(found[name]["rows"]) if name in found else ("not run",) * 3
        for row in rows:
            star = " \\*" if row.is_second_hand else ""
            theirs = f"{row.work}{star} | {row.what} | {row.alone} | {row.ours}"
            lines.append(f"| {DATA_SETS[name].title} | {theirs} | {' | '.join(ours)} |")
    return [*lines, "", "How protocols differ:", "", DIFFERENCES.rstrip(), ""]


def _ours(rows: Sequence[Row]) -> tuple[str, ...]:
    """Pair alone, paper's score and judge; where sets were reconstructed, plain pycolmap and this package."""
    if sets := [row for row in rows if SFM_KEY in row]:
        plain, default = sfm_means(sets, "plain"), sfm_means(sets, "default")
        return f"plain pycolmap: {plain}", "-", f"this package: {default}"
    summaries = [metrics.summarize(metrics.errors_of(rows, way)) for way in (ALONE, PAPER, JUDGE)]
    return tuple(
        f"R {_shown(one.rotation_deg)}, T {_shown(one.translation_deg)}, AUC30 {_shown(one.auc)} "
        f"({one.num_poses} of {one.num_pairs})"
        for one in summaries
    )


def page_lines(result: Path) -> list[str]:
    """What the videos of the paper's page say, where they were studied."""
    path = result.with_name(page_document.RESULT.name).with_suffix(".json")
    if not path.is_file():
        return []
    rows = [row for row in json.loads(path.read_text(encoding="utf-8")) if "error" not in row]
    models = ", ".join(sorted({row["model"] for row in rows}))
    return [
        "## The videos of the paper's page",
        "",
        f"`interpose-page`: {len({row['pair'] for row in rows})} pairs, videos of {models}. No truth is published, so",
        "that errors cannot be told, only whether yaws lie in the ranges that the paper states. All of it is in",
        f"[{page_document.RESULT.name}]({page_document.RESULT.name}).",
        "",
        *page_document.target_lines(rows),
        "",
    ]


# ---------------------------------------------------------------- one data set


def section(result: Path, name: str, found: Mapping[str, Any]) -> list[str]:
    """All tables of a data set, and its drawings, which are written beside the document."""
    pairs = [row for row in found["rows"] if SFM_KEY not in row]
    failed = [row for row in pairs if "error" in row]
    done = [row for row in pairs if "error" not in row]
    lines = [
        f"## {DATA_SETS[name].title}",
        "",
        f"Command: `{found['command']}`.",
        f"Machine: {found['machine']}. Versions: {found['versions']}.",
        "",
    ]
    if found.get("num_left_out"):
        lines += [f"{found['num_left_out']} photos or scenes of the data set could not be read (`left_out.json`).", ""]
    if reconstructed := [row for row in found["rows"] if SFM_KEY in row]:
        lines += ["### Reconstructions", "", *sfm_lines(reconstructed), ""]
    if failed:
        reasons = Counter(f"{row['model']}: {row['error']}" for row in failed)
        lines += [f"{len(failed)} rows could not be made:", ""]
        lines += [f"- {reason} ({count})" for reason, count in sorted(reasons.items())]
        lines += [""]
    if not done:
        return lines
    kinds = _kinds(done)
    main = [row for row in pairs if row["model"] == kinds[0]]
    lines += ["### Targets", "", *target_lines(pairs, kinds), ""]
    lines += ["### Poses", "", *way_lines(pairs, kinds), ""]
    lines += ["### The paper's score against the pair alone", "", *ratio_lines(done, kinds), ""]
    lines += ["### What the judge gives out", "", *judge_lines(pairs, kinds), ""]
    lines += ["### What refusal buys", "", *risk_lines(result, name, pairs, kinds), ""]
    lines += [f"### By yaw and by overlap ({kinds[0]})", "", *bin_lines(result, name, main), ""]
    return lines


def _kinds(rows: Sequence[Row]) -> list[str]:
    """The kinds of clips, in their own order."""
    order = (*ideal_clips.KINDS, ideal_clips.ALL)
    found = {row["model"] for row in rows}
    return sorted(found, key=lambda kind: (order.index(kind) if kind in order else -1, kind))


def way_lines(rows: Sequence[Row], kinds: Sequence[str]) -> list[str]:
    """A table of all ways for every kind of clips."""
    lines = [
        "| clips | way | pairs | poses | R | T | R within 5, 15, 30 (%) | T within 5, 15, 30 (%) | AUC30 | wrong |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in kinds:
        chosen = [row for row in rows if row["model"] == kind]
        for way in WAYS:
            one = metrics.summarize(metrics.errors_of(chosen, way))
            rotation, translation = (
                ", ".join(f"{value:.0f}" for value in values)
                for values in (one.rotation_within, one.translation_within)
            )
            lines.append(
                f"| {kind} | {way} | {one.num_pairs} | {one.num_poses} | {_shown(one.rotation_deg)} | "
                f"{_shown(one.translation_deg)} | {rotation} | {translation} | {_shown(one.auc)} | {one.num_wrong} |"
            )
    return lines


def ratio_lines(rows: Sequence[Row], kinds: Sequence[str]) -> list[str]:
    """Errors on the pairs for which both have a pose."""
    lines = [
        "On the pairs for which both have a pose; the ratio is that of the sums of both errors, or of rotations where",
        "poses have no translation. *Told the focal length* is the pair alone with the focal length of the clips, for",
        "which nobody needs clips where EXIF has it.",
        "",
        "| clips | pairs | paper's score R, T | pair alone R, T | ratio | pair alone, told the focal length R, T |",
        "|---|---|---|---|---|---|",
    ]
    for kind in kinds:
        chosen = [row for row in rows if row["model"] == kind]
        count, ours, base = metrics.paired_means_deg(metrics.errors_of(chosen, PAPER), metrics.errors_of(chosen, ALONE))
        told = metrics.summarize([_told_error(row) for row in chosen])
        ratio = metrics.error_ratio(ours, base) if count else math.nan
        lines.append(
            f"| {kind} | {count} of {len(chosen)} | {_both(ours)} | {_both(base)} | {_shown(ratio, 2)} | "
            f"{_both((told.rotation_deg, told.translation_deg))} ({told.num_poses}) |"
        )
    return lines


def _told_error(row: Row) -> PoseError | None:
    return metrics.error_of(row, metrics.pose_in(row["strategies"]["pair-only"]))


def judge_lines(rows: Sequence[Row], kinds: Sequence[str]) -> list[str]:
    """What is given out, of which some is wrong, and what is refused although it is right."""
    lines = [
        "*Right* are poses within the limit, given out or refused; it is the judge's own pose that counts.",
        "",
        "| clips | pairs | with a pose | right | right and given out | wrong and given out | coverage (%) | refusals |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in (*kinds, "**together**"):
        chosen = [row for row in rows if kind not in kinds or row["model"] == kind]
        counts = metrics.judge_counts(chosen)
        refused = Counter(
            row["judge"]["verdict"] for row in chosen if "error" not in row and not row["judge"]["accepted"]
        )
        reasons = ", ".join(f"{reason}: {count}" for reason, count in refused.most_common())
        lines.append(
            f"| {kind} | {len(chosen)} | {counts.num_poses} | {counts.num_right} | {counts.right_given}"
            f"{_share(counts)} | {counts.wrong_given} | {100 * counts.coverage:.0f} | {reasons} |"
        )
    return lines


def _share(counts: metrics.JudgeCounts) -> str:
    return f" ({100 * counts.right_given / counts.num_right:.0f} %)" if counts.num_right else ""


def target_lines(rows: Sequence[Row], kinds: Sequence[str]) -> list[str]:
    """What was asked for, and what was reached."""
    ratios = []
    for kind in kinds:
        chosen = [row for row in rows if row["model"] == kind]
        count, ours, base = metrics.paired_means_deg(metrics.errors_of(chosen, PAPER), metrics.errors_of(chosen, ALONE))
        ratios += [f"{kind} {metrics.error_ratio(ours, base):.2f} ({count} of {len(chosen)})"] if count else []
    counts = metrics.judge_counts(rows)
    wrong = [
        f"{row['pair']} {row['model']} ({error.rotation_deg:.0f}, {error.direction_deg:.0f})"
        for row, error in zip(rows, metrics.errors_of(rows, JUDGE), strict=True)
        if error is not None and error.is_wrong
    ]
    named = f": {', '.join(wrong)}, rotation and direction in degrees" if wrong else ""
    given = counts.right_given + counts.wrong_given
    first = metrics.judge_counts([row for row in rows if row["model"] == kinds[0]])
    right = "; ".join(
        f"{label} {one.right_given} of {one.num_right}{_share(one)}"
        for label, one in ((kinds[0], first), ("all kinds of clips", counts))
    )
    return [
        "| asked | reached |",
        "|---|---|",
        f"| the paper's score at most 0.7 times the error of the pair alone | {'; '.join(ratios) or '-'} |",
        f"| at least 80 percent of the right poses given out | {right} |",
        f"| none given out that is off by more than {metrics.WRONG_DEG:.0f} degrees | {len(wrong)} of {given}{named} |",
    ]


def risk_lines(result: Path, name: str, rows: Sequence[Row], kinds: Sequence[str]) -> list[str]:
    """The curves over all kinds of clips together, and their drawing."""
    rows = [row for row in rows if row["model"] in kinds]
    drawn, table = [], []
    for way in (PAPER, MEDOID, JUDGE):
        errors = metrics.judged_errors(rows) if way == JUDGE else metrics.errors_of(rows, way)
        curve = metrics.risk_coverage([metrics.confidence(row, way) for row in rows], errors)
        marked = None
        if way == JUDGE:
            share = sum(e is not None for e in metrics.errors_of(rows, JUDGE)) / max(len(rows), 1)
            marked = next((i for i, point in enumerate(curve) if point.coverage >= share - 1e-9), None)
        drawn.append(figures.Line(way, [(100 * p.coverage, 100 * p.risk) for p in curve], marked))
        table.append(f"| {way} | {' | '.join(_at(curve, share) for share in (0.2, 0.4, 0.6, 0.8))} |")
    path = result.with_name(f"{result.stem}_{name}_risk.svg")
    across = figures.Axis("answered, % of all pairs and clips", 100, (0, 20, 40, 60, 80, 100), "%")
    highest = max((y for line in drawn for _, y in line.points), default=0.0)
    top = 10 * math.ceil(max(highest, 10) / 10)
    up = figures.Axis("wrong, % of the answers", top, [top * i / 5 for i in range(6)], "%")
    title = f"{DATA_SETS[name].title}: what refusal buys"
    atomic_write_text(path, figures.drawing(title, across, up, drawn))
    return [
        "All pairs and kinds of clips together, the most confident first: the scores by their degrees, the judge by",
        "its verdict and then by how much matched confidence agrees. The ring is where the judge stops to answer.",
        "",
        f"![Share of wrong answers by the share of pairs that are answered]({path.name})",
        "",
        "| way | wrong of the first 20 % | 40 % | 60 % | 80 % |",
        "|---|---|---|---|---|",
        *table,
    ]


def _at(curve: Sequence[metrics.CurvePoint], share: float) -> str:
    """Risk at a coverage; a dash where so much is never answered."""
    point = next((point for point in curve if point.coverage >= share - 1e-9), None)
    return "-" if point is None else f"{100 * point.risk:.0f} %"


def bin_lines(result: Path, name: str, rows: Sequence[Row]) -> list[str]:
    """Errors in ranges of yaw and of overlap, and the drawing by yaw."""
    ways = (ALONE, PAPER, JUDGE, ORACLE)
    lines = [
        "Mean rotation error of the poses that there are, and their number. Overlap by poses, as above.",
        "",
        f"| | pairs | {' | '.join(ways)} | judge: wrong and given out |",
        "|---|---|---|---|---|---|---|",
    ]
    drawn: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for key, title, edges in (("yaw_deg", "yaw", YAW_BINS), ("overlap", "overlap", OVERLAP_BINS)):
        for label, inside in metrics.binned(rows, key, edges):
            found = {way: metrics.summarize(metrics.errors_of(inside, way)) for way in ways}
            cells = " | ".join(f"{_shown(found[way].rotation_deg)} ({found[way].num_poses})" for way in ways)
            lines.append(f"| {title} {label} | {len(inside)} | {cells} | {found[JUDGE].num_wrong} |")
            if key == "yaw_deg":
                middle = sum(map(float, label.split(" to "))) / 2
                for way in ways:
                    drawn[way].append((middle, found[way].rotation_deg))
    path = result.with_name(f"{result.stem}_{name}_yaw.svg")
    widest = 90 if all(x <= 90 for points in drawn.values() for x, _ in points) else 180
    highest = max((y for points in drawn.values() for _, y in points if math.isfinite(y)), default=1.0)
    top = 10 * math.ceil(max(highest, 10) / 10)
    atomic_write_text(
        path,
        figures.drawing(
            f"{DATA_SETS[name].title}: error by yaw",
            figures.Axis("yaw between the photos, degrees", widest, [widest * i / 6 for i in range(7)]),
            figures.Axis("mean rotation error, degrees", top, [top * i / 5 for i in range(6)]),
            [figures.Line(way, points) for way, points in drawn.items()],
        ),
    )
    return [f"![Mean rotation error by yaw]({path.name})", "", *lines]


def _both(values: tuple[float, float]) -> str:
    return ", ".join(_shown(value) for value in values)


def _shown(value: float, digits: int = 1) -> str:
    return "-" if not math.isfinite(value) else f"{value:.{digits}f}"
