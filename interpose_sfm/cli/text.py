"""How results read on a terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.cli.terminal import escaped
from interpose_sfm.products import ClipState, Intrinsics, LinkVerdict, Pose

if TYPE_CHECKING:
    from interpose_sfm.cli.demo import DemoResult
    from interpose_sfm.doctor import BackendCheck
    from interpose_sfm.pose.da3.architectures import Published
    from interpose_sfm.products import ViewGraph
    from interpose_sfm.report import PairReport, ReconstructionResult
    from interpose_sfm.workflows.export_models import ExportResult
    from interpose_sfm.workflows.make_clips import BridgeResult
    from interpose_sfm.workflows.match_pairs import MatchResult
    from interpose_sfm.workflows.merge_stores import MergeResult
    from interpose_sfm.workflows.relative_pose import RelativePoseResult


def licence(item: Published) -> str:
    """What is going to be fetched, and under which licence it may be used."""
    return f"{item.repo} at {item.revision[:12]}: {item.num_bytes / 1e6:.0f} MB, licence {item.licence}"


def reconstruction(result: ReconstructionResult, seconds: float, exported: Path | None = None) -> str:
    """What a run came to: photos before and after the fallback, links, time, where the model lies."""
    report, model = result.report, result.report.models[0]
    num_used = sum(photo.is_used for photo in report.photos)
    rows = [("", "plain COLMAP", "with fallback")]
    rows.append(_counts("photos registered", report.num_registered_before, report.num_registered_after, num_used))
    any_before, any_after = report.num_registered_before_any, report.num_registered_after_any
    if (any_before, any_after) != (report.num_registered_before, report.num_registered_after):
        rows[1] = ("  in the largest model", *rows[1][1:])
        rows.append(_counts("  in any model", any_before, any_after, num_used))
    facts = [("links", _links(report.pairs))] if report.pairs else [("links", "none needed")]
    num_left_out = len(report.photos) - num_used
    if num_left_out:
        facts.append(("files left out", f"{num_left_out}, report.json says why"))
    facts.append(("time", duration(seconds)))
    size = f"{len(model.photos)} photos, {model.num_points} points, {model.mean_reprojection_error_px:.2f} px"
    facts.append(("model", f"{result.model_dirs[0]} ({size})"))
    if len(result.model_dirs) > 1:
        facts.append(("further models", ", ".join(str(path) for path in result.model_dirs[1:])))
    page = result.output / "report.html"
    facts.append(("report", str(page if page.is_file() else result.output / "report.json")))
    if exported is not None:
        facts.append(("exported to", str(exported)))
    return f"{report.outcome}\n\n{table(rows)}\n\n{table(facts)}"


def export(result: ExportResult) -> str:
    """Where each form of each model lies, and which model is the largest."""
    rows = [("model", "photos", "points", "exported to")]
    for model in result.models:
        name = f"{model.folder.name} (largest)" if model.is_largest and len(result.models) > 1 else model.folder.name
        for index, kind in enumerate(result.formats):
            sizes = ("", "", "") if index else (name, str(model.num_photos), str(model.num_points))
            rows.append((*sizes, str(model.folder / kind)))
    notes = [f"model {model.folder.name}: {model.note}" for model in result.models if model.note]
    return "\n".join([table(rows), *notes])


def _counts(label: str, before: int, after: int, total: int) -> tuple[str, str, str]:
    return label, f"{before} of {total}", f"{after} of {total}"


def _links(pairs: Sequence[PairReport]) -> str:
    verdicts = Counter(pair.verdict for pair in pairs)
    num_accepted = verdicts.pop(LinkVerdict.ACCEPTED, 0)
    num_not_tried = verdicts.pop(LinkVerdict.NOT_TRIED, 0)
    text = f"{num_accepted} accepted, {verdicts.total()} refused"
    if num_not_tried:
        text += f", {num_not_tried} not tried"
    reasons = [f"{count} {verdict}" for verdict, count in verdicts.most_common()]
    return f"{text} ({'; '.join(reasons)})" if reasons else text


def weak_pairs(graph: ViewGraph) -> str:
    """The weak pairs, most promising first, and how the photos are grouped."""
    sizes = " + ".join(str(len(model)) for model in graph.models) or "no model"
    left = len(graph.unregistered)
    head = f"{len(graph.names)} photos, of these in models of plain COLMAP: {sizes}, unregistered: {left}"
    if not graph.weak_pairs:
        return f"{head}\nno weak pairs"
    rows = [("photo", "photo", "verified matches", "weak because")]
    rows += [
        (weak.pair.a, weak.pair.b, str(weak.num_verified), ", ".join(reason.value for reason in weak.reasons))
        for weak in graph.weak_pairs
    ]
    return f"{head}\n{len(graph.weak_pairs)} weak pairs, most promising first\n\n{table(rows)}"


def bridge(result: BridgeResult) -> str:
    """Every clip and its state, what was missing and what that takes, and where the clips lie."""
    counts = ", ".join(f"{result.count(state)} {label}" for state, label in _CLIP_STATES.items() if result.count(state))
    pairs = f"{len(result.pairs)} pairs{_share(result)}"
    head = f"{pairs}, {len(result.clips)} clips of {result.generator}: {counts or 'none needed'}"
    if not result.clips:
        return head
    rows = [("from", "to", "size", "clip")]
    for clip in result.clips:
        first, last = (clip.b, clip.a) if clip.backwards else (clip.a, clip.b)
        size = f"{clip.width_px}x{clip.height_px}, {clip.num_frames} frames"
        state = f"{clip.state}: {clip.file or clip.detail}" if clip.file or clip.detail else clip.state.value
        if clip.flags:
            state += f" (look at it: {', '.join(flag.problem for flag in clip.flags)})"
        rows.append((first, last, size, state))
    facts = _estimate_rows(result) if result.estimate.num_clips else []
    if not result.is_dry_run:
        facts.append(("this run", duration(result.time_s) + (f", ${result.cost_usd:.2f}" if result.cost_usd else "")))
    facts.append(("clips", f"{result.store} (for --clips, here or on another machine)"))
    if result.sheets:
        facts.append(("contact sheets", f"{result.sheets[0].parent} ({len(result.sheets)} pictures)"))
    return f"{head}\n\n{table(rows)}\n\n{table(facts)}"


_CLIP_STATES: Mapping[ClipState, str] = {
    ClipState.EXISTS: "there already",
    ClipState.MADE: "made",
    ClipState.MISSING: "missing",
    ClipState.FAILED: "not made",
}


def _estimate_rows(result: BridgeResult) -> list[tuple[str, str]]:
    estimate = result.estimate
    at_once = f", {estimate.workers} clips at once" if estimate.workers > 1 else ""
    time = (
        "not known before one clip was made here" if estimate.time_s is None else f"about {duration(estimate.time_s)}"
    )
    rows = [("missing", f"{estimate.num_clips} clips before this run"), ("time", time + at_once)]
    if estimate.memory_gib is not None:
        rows.append(("memory", f"about {estimate.memory_gib:.1f} GiB on each device"))
    rows.append(("cost", f"about ${estimate.cost_usd:.2f}" if estimate.cost_usd else "none"))
    return [*rows, ("by", estimate.basis)] if estimate.basis else rows


def relative_pose(result: RelativePoseResult) -> str:
    """Verdict, pose and score of one pair."""
    is_accepted = result.verdict is LinkVerdict.ACCEPTED
    head = "accepted" if is_accepted else f"refused: {result.verdict}"
    rows = [("verdict", head), ("because", result.detail)]
    if result.b_from_a is not None:
        rows += _pose_rows(result.b_from_a)
        rows.append(("spread", f"{result.spread_deg:.2f} degrees"))
        rows.append(("focal lengths", " and ".join(map(_focal_length, result.cameras))))
    if result.choice is not None and math.isfinite(result.choice.score_deg):
        rows.append(("score", f"{result.choice.score_kind}: {result.choice.score_deg:.2f} degrees"))
    if result.choice is not None and result.choice.clip:
        rows.append(("clip", result.choice.clip))
    rows += [("" if index else "tried", step) for index, step in enumerate(result.tried)]
    return f"{escaped(result.pair.a)} to {escaped(result.pair.b)}\n\n{table([row for row in rows if row[1]])}"


def _focal_length(camera: Intrinsics) -> str:
    return f"{camera.focal_px:.1f} px at {camera.width_px} x {camera.height_px}"


def _pose_rows(b_from_a: Pose) -> list[tuple[str, str]]:
    """Rotation and translation of x_in_b = R x_in_a + t; cameras look along +z, y points down."""
    angle_deg = float(geometry.rotation_angle_deg(b_from_a.rotation))
    axis = _vector(geometry.unit_vectors(geometry.rotation_log(b_from_a.rotation))) if angle_deg > 0.01 else "any axis"
    has_direction = bool(np.any(b_from_a.translation))
    return [
        ("rotation b_from_a", f"{angle_deg:.2f} degrees about {axis}"),
        *(("", _vector(row)) for row in b_from_a.rotation),
        ("translation", f"along {_vector(b_from_a.translation)}" if has_direction else "none: pure rotation"),
    ]


def _vector(values: Sequence[float] | np.ndarray) -> str:
    return "(" + ", ".join(f"{float(value) + 0.0:+.4f}" for value in values) + ")"


def matched(result: MatchResult) -> str:
    """How many pairs were matched, and where it is kept."""
    rows = [
        ("pairs", f"{len(result.pairs) - len(result.failed)}{_share(result)}"),
        ("store", str(result.store)),
        ("time", duration(result.time_s)),
        *(("failed", f"{pair}: {why}") for pair, why in result.failed.items()),
    ]
    return table(rows)


def _share(result: BridgeResult | MatchResult) -> str:
    """Of how many pairs a share is one; nothing where it has them all."""
    return f" of {result.num_pairs}, share {result.shard}" if len(result.pairs) < result.num_pairs else ""


def merged(result: MergeResult) -> str:
    """What came in anew."""
    rows = [
        ("features of photos and frames", str(result.num_features)),
        ("matches of pairs", str(result.num_matches)),
        ("hypotheses of clips", str(result.num_hypotheses)),
        ("clips", str(result.num_clips)),
    ]
    return f"new in {escaped(str(result.output))}\n\n{table(rows)}"


def checks(found: Sequence[BackendCheck], missing: Sequence[str]) -> str:
    """A row per backend, the command that makes it usable below it, and whether reconstruct can run."""
    rows = []
    for check in found:
        state = "no GPU" if check.lacks_gpu else "ok" if check.usable else "no"
        rows.append((state, check.kind.value, check.name, check.detail))
        if check.remedy:
            rows.append(("", "", "", f"run: {check.remedy}"))
    verdict = f"reconstruct cannot run without: {', '.join(missing)}" if missing else "reconstruct can run"
    return f"{table(rows)}\n\n{verdict}"


def demo(result: DemoResult) -> str:
    """Plain COLMAP and this package side by side, against the truth."""
    scores = (result.before, result.after)
    rows = [
        ("against the truth", "plain COLMAP", "with fallback"),
        ("photos registered", *(f"{score.num_registered} of {score.num_photos}" for score in scores)),
        ("models", *(str(score.num_models) for score in scores)),
        ("median error", *(_degrees(score.median_error_deg) for score in scores)),
        ("largest error", *(_degrees(score.max_error_deg) for score in scores)),
        ("AUC@5", *(f"{score.auc_5:.1f}" for score in scores)),
        ("AUC@30", *(f"{score.auc_30:.1f}" for score in scores)),
    ]
    models = result.reconstruction.model_dirs
    facts = [
        ("photos", str(result.truth.photo_dir)),
        ("model", str(models[0]) if models else "none"),
        ("picture", str(result.picture)),
    ]
    note = "Largest model each. Errors are those of its relative poses; in AUC the photos that it lacks count as wrong."
    return f"{table(rows)}\n\n{note}\n\n{table(facts)}"


def _degrees(value: float) -> str:
    return f"{value:.2f}°" if math.isfinite(value) else "-"


def duration(seconds: float) -> str:
    """Seconds in the form in which they are said."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned to the left; the last one is not padded. Names in cells are escaped, and stay on one line."""
    rows = [[escaped(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
