"""What tells right links from wrong ones: the judge over pairs of real photos whose truth is known.

Matches and verifies every pair of seven collections (facades, a courtyard of look-alike facades, a statue, a toy, a
street, a building by many cameras), pairs of a ring of photos round a look-alike cup, and pairs of photos of different
collections, and writes to ``docs/evidence.md`` how many right and wrong pairs are accepted, what each limit lets
through, how that changes as it is moved, and what limits a judge would have that never saw the scene in question.

Usage: python pipelines/evidence.py [--data DIR] [--work DIR] [--scenes NAME ...]

Features and matches are kept in the work folder: a run that was stopped goes on, and another takes minutes.
``--scenes`` measures some collections only, into the work folder, and writes no document. ``--unseen`` measures, in
place of the data folder's, collections that ``thinned.py`` laid out in its work folder, which no limit was chosen on,
and writes ``docs/results/unseen_pairs.md``.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import evidence_few
from evidence_pairs import (
    ACROSS,
    MOST_UNSEEN,
    NUM_ACROSS,
    NUM_ACROSS_UNSEEN,
    RIGHT_DEG,
    RING,
    RING_FAR,
    RING_NEAR,
    SEED,
    WRONG_DEG,
    Row,
    collections,
    collections_in,
    measure,
)
from interpose_sfm.colmap.constants import MIN_VERIFIED_MATCHES
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.consensus import settled
from interpose_sfm.pairs.decide import Findings
from interpose_sfm.pairs.judge import MIN_WHISPER, judge
from interpose_sfm.pairs.judge import net_agreement as judge_net_agreement
from interpose_sfm.pairs.records import PairRecord
from interpose_sfm.products import Evidence, LinkVerdict, PairMatch, PoseStatus, TwoView, WeakPair
from interpose_sfm.report import versions

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "evidence.md"
UNSEEN_RESULT = ROOT / "docs" / "results" / "unseen_pairs.md"
PLATEAU = {
    "min_agreement": (0.60, 0.65, 0.70, 0.74, 0.80, 0.85),
    "min_surprise": (0.0, 6.0, 12.0, 24.0, 40.0, 100.0),
    "min_inliers": (15, 20, 25, 30, 40, 60),
    "max_far_rival": (0.6, 0.7, 0.8, 0.85, 0.95, 9.0),
    "max_silence": (0.06, 0.08, 0.10, 0.12, 0.15, 1.0),
}
MIN_TRUE = 30  # matches of a right pair that count in the tables: fewer are asked for by nobody
LOW_QUANTILE = 0.05
LOOK_ALIKES = (("0000", "0032"), ("0000", "0036"), ("0028", "0060"), ("0004", "0052"))
CUES = ("num_inliers", "surprise", "agreement", "far_rival", "silence")
PREDICTED_WITHIN_DEG = (5.0, 10.0, 15.0, 20.0, 30.0, 45.0)

Rule = Callable[[Row], bool]


def main() -> int:
    """Measure and write the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    data = Path(os.environ.get("INTERPOSE_SFM_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=data)
    work = Path(tempfile.gettempdir()) / "interpose_sfm_evidence"
    parser.add_argument("--work", type=Path, default=work, help="folder that keeps features and matches")
    parser.add_argument("--scenes", nargs="+", help="measure these only, and write no document")
    parser.add_argument("--unseen", type=Path, metavar="DIR", help="measure those of thinned.py's work folder instead")
    parser.add_argument("--across", type=int, metavar="N", help="pairs of different places; some are drawn by default")
    parser.add_argument("--result", type=Path, metavar="FILE", help="document to write, in place of the usual one")
    arguments = parser.parse_args()
    unseen: Path | None = arguments.unseen
    everything = collections(arguments.data) if unseen is None else collections_in(unseen, MOST_UNSEEN)
    if not everything:
        parser.error(f"{unseen} holds no collection laid out by thinned.py")
    missing = [c.folder for c in everything if not (c.folder / "images").is_dir()]
    if missing:
        parser.error(f"{missing[0]}/images is not there; name the data folder with --data")
    scenes = [c.scene for c in everything] + [ACROSS]
    unknown = sorted(set(arguments.scenes or []) - set(scenes))
    if unknown:
        parser.error(f"got {unknown[0]!r}, expected one of: {', '.join(scenes)}")
    num_across = NUM_ACROSS if unseen is None else NUM_ACROSS_UNSEEN
    if arguments.across is not None:
        num_across = arguments.across
    rows = [
        row
        for scene in arguments.scenes or scenes
        for row in measure(everything, scene, arguments.work, lambda line: print(line, flush=True), num_across)
    ]
    asked = "" if arguments.across is None else f" --across {arguments.across}"
    asked += "" if arguments.result is None else " --result FILE"
    text = document(rows) if unseen is None else unseen_document(rows, asked)
    if arguments.scenes:
        print(text)
    else:
        (arguments.result or (RESULT if unseen is None else UNSEEN_RESULT)).write_text(text, encoding="utf-8")
    return 0


# ---------------------------------------------------------------- rules


def by_itself(options: ConsensusOptions) -> Rule:
    """Whether a pair is believed by its own evidence."""
    return lambda row: row.link is not None and judge(row.link, options)[0] is LinkVerdict.ACCEPTED


def with_third_photos(rows: Sequence[Row], options: ConsensusOptions) -> Rule:
    """Whether a pair is believed once all others were heard; all collections are in one folder, as it were."""
    nothing = TwoView(
        PoseStatus.FEW_MATCHES, None, np.zeros(0, np.uint32), Evidence(0, 0, 0, 0, 0, 0, False, 0, 0, 0), 180.0
    )
    records = [
        PairRecord(WeakPair(row.pair, (), 0)).after(Findings(matched=PairMatch(nothing, row.link)), options)
        for row in rows
    ]
    believed = {r.pair for r in settled(records, [], options) if r.verdict is LinkVerdict.ACCEPTED}
    return lambda row: row.pair in believed


def former_rule(row: Row) -> bool:
    """The rule of share, score by angle and density that was tuned on facades, for comparison."""
    if row.link is None:
        return False
    e = row.link.evidence
    needed = np.interp(e.triangulation_angle_deg, (45, 80), (0.75, 0.55))
    is_dense = e.num_inliers >= 30 and e.inlier_share >= 0.85 and e.mean_score >= needed and e.density >= 0.25
    is_pose = bool(np.any(row.link.b_from_a.translation)) and row.link.spread_deg <= 10
    return bool(is_dense and e.is_calibrated and is_pose)


def net_agreement(row: Row) -> float:
    """The judge's main quantity."""
    assert row.link is not None
    return judge_net_agreement(row.link.evidence, row.link.doubts.silence)


def halfway(rows: Sequence[Row], options: ConsensusOptions) -> float:
    """A limit on the net agreement from some scenes: halfway between wrong pairs and right ones.

    That is, between the highest of wrong pairs that nothing else refuses and the low quantile of right ones.
    """
    passes = by_itself(replace(options, min_agreement=0.0, min_agreement_confirmed=0.0))
    wrong = max((net_agreement(row) for row in rows if row.kind == "wrong" and passes(row)), default=0.0)
    right = [net_agreement(row) for row in right_ones(rows)]
    return (wrong + float(np.quantile(right, LOW_QUANTILE))) / 2


def right_ones(rows: Sequence[Row]) -> list[Row]:
    """The right pairs whose matches are enough to ask for them."""
    return [r for r in rows if r.kind == "right" and r.link is not None and r.link.evidence.num_inliers >= MIN_TRUE]


def wrong_ones(rows: Sequence[Row]) -> list[Row]:
    """The pairs that are wrong, or have no pose."""
    return [row for row in rows if row.link is None or row.kind == "wrong"]


# ---------------------------------------------------------------- the document


def document(rows: list[Row]) -> str:
    """The result as Markdown."""
    options = ConsensusOptions()
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    believed = with_third_photos(rows, options)
    with_pose = [row for row in rows if row.link is not None]
    right = [row for row in with_pose if row.kind == "right"]
    wrong = [row for row in with_pose if row.kind == "wrong"]
    lines = [
        "# The evidence of a link",
        "",
        f"Made by `python pipelines/evidence.py`; seed {SEED}, {platform.machine()}, {os.cpu_count()} cores.",
        f"Versions: {names}.",
        "",
        f"{len(rows)} pairs of photos, {len(with_pose)} of which have a pose with at least {MIN_VERIFIED_MATCHES}",
        f"inliers. A pose is right within {RIGHT_DEG:.0f} degrees of rotation (lund 10, twice what its truth is good",
        f"to) and {WRONG_DEG:.0f} of direction. One that is off by more than {WRONG_DEG:.0f} degrees is wrong, unless",
        "the true pose explains at least 60 % of the same matches: then the place is right and the pose inaccurate.",
        f"{RING} is a ring of 64 photos round an object whose sides look alike: pairs up to {RING_NEAR} photos apart",
        f"are right, those of {RING_FAR} or more wrong. Pairs of different places are drawn at random.",
        "",
        "## What is accepted",
        "",
        f"Right pairs are those with {MIN_TRUE} or more inliers. *Before* is the rule of share, score by angle and",
        "density that was tuned on facades; *by itself* the pair's own evidence; *then* after third photos were heard.",
        "",
        *accepted_lines(rows, believed),
        *look_alike_lines(rows, believed),
        *evidence_few.lines(rows, by_itself(options), lambda held: with_third_photos(held, options)),
        "## Leave one scene out",
        "",
        "The limit on the net agreement that the other scenes would set: halfway between their highest wrong pair that",
        f"nothing else refuses and the {LOW_QUANTILE:.0%} quantile of their right pairs. Then what it does in the",
        "scene that was left out, for pairs by themselves, and after third photos were heard (with",
        f"{confirmed_share(options):.2f} of it as the least that these may confirm, as in the defaults).",
        "",
        "| scene left out | limit | right: pairs / by itself / then | wrong: pairs / by itself / then |",
        "|---|---|---|---|",
        *(left_out_line(name, rows, options) for name in scenes_of(rows)),
        "",
        "## The cues",
        "",
        "| cue | right: 1 % / 10 % / median | wrong: median / 90 % / 99 % |",
        "|---|---|---|",
        *(cue_line(name, right, wrong) for name in CUES),
        "",
        "## What passes without one of them",
        "",
        "| gate | right pairs accepted | wrong pairs accepted |",
        "|---|---|---|",
        *(gate_line(label, right, wrong, gate) for label, gate in gates().items()),
        "",
        "## Plateau",
        "",
        "One limit is moved at a time, the others stay at their defaults (bold): right / wrong pairs accepted by",
        "themselves.",
        "",
        *plateau_lines(right, wrong),
        "",
        "## What a predicted rotation confirms",
        "",
        "Where models share a photo, or other links tie them, the rotation between two photos is known although their",
        "own link was refused. Such a link is believed after all if its rotation is the predicted one. Of the refused",
        "pairs with enough inliers and a sure pose, so many lie within some angle of the true rotation, and so many of",
        "these have a wrong direction:",
        "",
        "| within (deg) | pairs | of these with a wrong direction |",
        "|---|---|---|",
        *confirmation_lines(with_pose),
        "",
    ]
    return "\n".join(lines)


def accepted_lines(rows: Sequence[Row], believed: Rule) -> list[str]:
    """What is accepted per scene, and what should not have been."""
    return [
        "| scene | right: pairs / before / by itself / then | wrong: pairs / with a pose / before / by itself / then "
        "| inaccurate: pairs / then | between: pairs / then |",
        "|---|---|---|---|---|",
        *(scene_line(name, rows, believed) for name in scenes_of(rows)),
        scene_line("all", rows, believed),
        "",
        *accepted_wrong_lines(rows, believed),
    ]


def unseen_document(rows: list[Row], asked: str) -> str:
    """What the judge does on collections that none of its limits was chosen on, as Markdown."""
    options = ConsensusOptions()
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    believed = with_third_photos(rows, options)
    with_pose = [row for row in rows if row.link is not None]
    lines = [
        "# Pairs of collections that no limit was chosen on",
        "",
        f"Made by `python pipelines/evidence.py --unseen DIR{asked}` after `python pipelines/thinned.py FOLDER ... "
        "--work DIR`",
        f"(see [thinned](thinned.md) for the collections); at most {MOST_UNSEEN} photos of each. Seed {SEED},",
        f"{platform.machine()}, {os.cpu_count()} cores. Versions: {names}.",
        "",
        f"{len(rows)} pairs, {len(with_pose)} of which have a pose. The truth is plain pycolmap's model of all photos.",
        "Columns and words are those of [evidence](../evidence.md). Of the limits, the exemptions from hesitation were",
        "chosen after freiburg, kitchen and statue had been looked at, and the limits for copies after fox, five of",
        "whose wrong pairs were accepted by themselves before, and redbull, one of whose was (the sides of a can); all",
        "others were measured afterwards.",
        "",
        *accepted_lines(rows, believed),
        "Why right pairs are not accepted by themselves:",
        "",
        "| verdict | right pairs | accepted after third photos were heard |",
        "|---|---|---|",
        *refusal_lines(rows, options, believed),
        "",
        *evidence_few.lines(rows, by_itself(options), lambda held: with_third_photos(held, options)),
    ]
    return "\n".join(lines)


def refusal_lines(rows: Sequence[Row], options: ConsensusOptions, believed: Rule) -> list[str]:
    """How many right pairs each verdict holds back."""
    held_back: dict[str, list[Row]] = {}
    for row in right_ones(rows):
        assert row.link is not None
        verdict = judge(row.link, options)[0]
        if verdict is not LinkVerdict.ACCEPTED:
            held_back.setdefault(str(verdict), []).append(row)
    return [
        f"| {verdict} | {len(found)} | {sum(map(believed, found))} |"
        for verdict, found in sorted(held_back.items(), key=lambda item: -len(item[1]))
    ]


def scenes_of(rows: Sequence[Row]) -> list[str]:
    """In the order in which they were measured."""
    return list(dict.fromkeys(row.scene for row in rows))


def scene_line(name: str, rows: Sequence[Row], believed: Rule) -> str:
    """What is accepted of one scene, or of all."""
    rows = [row for row in rows if name in (row.scene, "all")]
    alone = by_itself(ConsensusOptions())
    cells = [
        counted(right_ones(rows), None, former_rule, alone, believed),
        counted(wrong_ones(rows), None, lambda row: row.link is not None, former_rule, alone, believed),
        counted([row for row in rows if row.link is not None and row.kind == "inaccurate"], None, believed),
        counted([row for row in rows if row.link is not None and row.kind == "between"], None, believed),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def counted(rows: Sequence[Row], *rules: Rule | None) -> str:
    """How many rows each rule accepts."""
    return " / ".join(str(len(rows) if rule is None else sum(map(rule, rows))) for rule in rules)


def accepted_wrong_lines(rows: Sequence[Row], believed: Rule) -> list[str]:
    """Every wrong or inaccurate pair that is accepted, since each needs an explanation."""
    passed = [row for row in rows if row.link is not None and row.kind in ("wrong", "inaccurate") and believed(row)]
    num_wrong = len(wrong_ones(rows))
    num_passed = sum(row.kind == "wrong" for row in passed)
    num_on_ring = sum(row.kind == "wrong" and row.scene == RING for row in passed)
    told = f"{num_passed} of {num_wrong} pairs that are wrong, or have no pose, are accepted"
    lines = [f"{told}, {num_on_ring} of them of {RING}."]
    if num_passed == 0:
        lines.append(f"With 95 % confidence that is at most 1 in {num_wrong / 3:.0f} of such pairs.")
    for row in passed:
        assert row.link is not None
        if row.scene == RING:
            continue  # told below
        off = ""
        if row.is_one_place is None:
            off = f"off by {row.rotation_error_deg:.1f} and {row.direction_error_deg:.1f} degrees, "
        lines.append(
            f"- {row.kind}: {row.pair.a} {row.pair.b}, {off}{row.link.evidence.num_inliers} inliers at "
            f"{row.link.evidence.triangulation_angle_deg:.0f} degrees, net agreement {net_agreement(row):.2f}"
        )
    return [*lines, ""]


def look_alike_lines(rows: Sequence[Row], believed: Rule) -> list[str]:
    """The ring in detail, by how far photos are apart."""
    ring = [row for row in rows if row.scene == RING]
    if not ring:
        return []
    lines = [
        f"Of {RING}, four look-alikes that were known before, and all others that are accepted (no pair of it has",
        f"known poses). A whisper below {MIN_WHISPER:.0f} is none. With all pairs of the ring at hand wrong links",
        "agree with one another and outvote right ones, so that fewer right pairs are accepted *then* than by",
        "themselves.",
        "",
        "| pair | net agreement | silence | matches beyond the patch | whisper | verdict | then |",
        "|---|---|---|---|---|---|---|",
    ]
    named = [row for row in ring if any(a in row.pair.a and b in row.pair.b for a, b in LOOK_ALIKES)]
    named_pairs = {row.pair for row in named}
    erring = [row for row in ring if row.pair not in named_pairs and not row.is_one_place and believed(row)]
    for row in [*named, *erring]:
        if row.link is not None:
            d, verdict = row.link.doubts, judge(row.link, ConsensusOptions())[0]
            lines.append(
                f"| {row.pair.a} {row.pair.b} ({row.kind}) | {net_agreement(row):.2f} | {d.silence:.3f} | "
                f"{d.num_satellites} | {d.whisper:.1f} | {verdict} | {'accepted' if believed(row) else 'refused'} |"
            )
    return [*lines, ""]


def confirmed_share(options: ConsensusOptions) -> float:
    """Of the limit on the net agreement, what third photos may confirm."""
    return options.min_agreement_confirmed / options.min_agreement


def left_out_line(name: str, rows: Sequence[Row], default: ConsensusOptions) -> str:
    """What limits from the other scenes do in one."""
    others, own = [row for row in rows if row.scene != name], [row for row in rows if row.scene == name]
    limit = halfway(others, default)
    options = replace(default, min_agreement=limit, min_agreement_confirmed=confirmed_share(default) * limit)
    alone, believed = by_itself(options), with_third_photos(own, options)
    cells = [counted(rows, None, alone, believed) for rows in (right_ones(own), wrong_ones(own))]
    return f"| {name} | {limit:.2f} | {' | '.join(cells)} |"


def cue_line(name: str, right: list[Row], wrong: list[Row]) -> str:
    """Quantiles of one cue."""
    low = np.quantile([cue(r, name) for r in right], (0.01, 0.1, 0.5))
    high = np.quantile([cue(r, name) for r in wrong], (0.5, 0.9, 0.99))
    return (
        f"| {name.replace('_', ' ')} | {' / '.join(f'{x:.4g}' for x in low)} | {' / '.join(f'{x:.4g}' for x in high)} |"
    )


def cue(row: Row, name: str) -> float:
    """A cue for the pair, or a doubt about it."""
    assert row.link is not None
    return float(getattr(row.link.evidence if hasattr(row.link.evidence, name) else row.link.doubts, name))


def gates() -> dict[str, ConsensusOptions]:
    """The full gate, and what it is without one of its limits."""
    default = ConsensusOptions()
    off = {"min_agreement": 0.0, "min_surprise": 0.0, "max_far_rival": np.inf, "max_silence": 1.0}
    off["min_agreement_confirmed"] = 0.0
    return {
        "all": default,
        "without agreement": replace(default, min_agreement=0.0, min_agreement_confirmed=0.0),
        "without surprise": replace(default, min_surprise=0.0),
        "without far rival": replace(default, max_far_rival=np.inf),
        "without silence (one thing, nothing around it)": replace(default, max_silence=1.0),
        "number of inliers and spread alone": replace(default, **off),
    }


def gate_line(label: str, right: list[Row], wrong: list[Row], options: ConsensusOptions) -> str:
    """Accepted pairs under one gate."""
    rule = by_itself(options)
    return f"| {label} | {sum(map(rule, right))} of {len(right)} | {sum(map(rule, wrong))} of {len(wrong)} |"


def plateau_lines(right: list[Row], wrong: list[Row]) -> list[str]:
    """A table line per limit."""
    default = ConsensusOptions()
    lines = ["| limit | | | | | | |", "|---|---|---|---|---|---|---|"]
    for name, values in PLATEAU.items():
        cells = []
        for value in values:
            options = replace(default, **{name: value})
            rule = by_itself(options)
            label = f"**{value}**" if value == getattr(default, name) else f"{value}"
            cells.append(f"{label}: {sum(map(rule, right))} / {sum(map(rule, wrong))}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def confirmation_lines(rows: list[Row]) -> list[str]:
    """How many refused pairs a predicted rotation would confirm, by its tolerance."""
    options = ConsensusOptions()
    accepted = by_itself(options)
    refused = [
        row
        for row in rows
        if row.link is not None
        and not accepted(row)
        and row.link.evidence.num_inliers >= options.min_inliers
        and row.link.spread_deg <= options.max_spread_deg
        and row.is_one_place is None
    ]
    lines = []
    for limit_deg in PREDICTED_WITHIN_DEG:
        near = [row for row in refused if row.rotation_error_deg <= limit_deg]
        num_wrong = sum(row.direction_error_deg > WRONG_DEG for row in near)
        label = f"**{limit_deg:.0f}**" if limit_deg == options.max_cycle_deg else f"{limit_deg:.0f}"
        lines.append(f"| {label} | {len(near)} of {len(refused)} | {num_wrong} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
