"""What tells right links from wrong ones: the evidence cues over pairs of real photos with known poses.

Matches and verifies pairs of the Strecha scenes with learned features, calls a pair wrong if its pose is off by more
than 15 degrees, and writes to ``docs/evidence.md`` how the cues are distributed, what each cue alone would let through,
and how the number of accepted right and wrong pairs changes as each limit is moved.

Usage: python pipelines/evidence.py [--data DIR] [--all]

By default the pairs are those of the sparse subsets; ``--all`` takes every pair of every scene.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap.constants import MIN_VERIFIED_MATCHES
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.options import ConsensusOptions, MatchingOptions
from interpose_sfm.pairs.judge import judge
from interpose_sfm.pairs.pair_pose import pair_link
from interpose_sfm.photos.pictures import read_rgb
from interpose_sfm.products import Evidence, ImagePair, Intrinsics, Link, LinkVerdict, Pose
from interpose_sfm.report import versions

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "evidence.md"
SEED = 0
WRONG_DEG = 15.0
PLATEAU = {
    "min_agreement": (0.65, 0.70, 0.74, 0.80, 0.85),
    "min_surprise": (0.0, 6.0, 12.0, 40.0, 100.0),
    "min_inliers": (15, 20, 25, 40, 60),
    "max_far_rival": (0.6, 0.7, 0.85, 0.95, 9.0),
    "max_silence": (0.06, 0.08, 0.10, 0.15, 1.0),
}
CUES = ("num_inliers", "surprise", "agreement", "far_rival", "silence")
PREDICTED_WITHIN_DEG = (5.0, 10.0, 15.0, 20.0, 30.0, 45.0)


@dataclass(frozen=True)
class Row:
    """One pair with its evidence and the error of its pose."""

    scene: str
    a: str
    b: str
    link: Link
    rotation_error_deg: float
    direction_error_deg: float

    @property
    def evidence(self) -> Evidence:
        """That of its matches."""
        return self.link.evidence

    @property
    def is_wrong(self) -> bool:
        """Whether the pose is another one than the true one."""
        return max(self.rotation_error_deg, self.direction_error_deg) > WRONG_DEG


def main() -> int:
    """Measure and write the document."""
    data = Path(os.environ.get("INTERPOSE_SFM_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--all", action="store_true", help="every pair of every scene, not only of the sparse subsets")
    arguments = parser.parse_args()
    strecha = arguments.data / "strecha"
    if not (strecha / "subsets.json").is_file():
        parser.error(f"{arguments.data} does not hold strecha/subsets.json; name the data folder with --data")
    rows = [
        row for scene, pairs in wanted_pairs(strecha, arguments.all).items() for row in measure(strecha, scene, pairs)
    ]
    RESULT.write_text(document(rows, arguments.all), encoding="utf-8")
    return 0


def wanted_pairs(strecha: Path, everything: bool) -> dict[str, list[tuple[str, str]]]:
    """Pairs by scene: of all photos, or within the sparse subsets (all but the dense ``_s1``)."""
    found: dict[str, set[tuple[str, str]]] = {}
    for name, subset in json.loads((strecha / "subsets.json").read_text()).items():
        if everything or not name.endswith("_s1"):
            found.setdefault(subset["scene"], set()).update(combinations(sorted(subset["images"]), 2))
    return {scene: sorted(pairs) for scene, pairs in found.items()}


def measure(strecha: Path, scene: str, pairs: list[tuple[str, str]]) -> list[Row]:
    """Evidence and pose error of every pair that has a pose, with the true focal length."""
    cameras = json.loads((strecha / scene / "cameras.json").read_text())
    options = MatchingOptions()
    matcher = LearnedMatcher(options)
    features, rows = {}, []
    for name in sorted({name for pair in pairs for name in pair}):
        features[name] = matcher.extract(read_rgb(strecha / scene / "images" / name))
    for a, b in pairs:
        matches = matcher.match(features[a], features[b])
        views = features[a], intrinsics(cameras[a]), features[b], intrinsics(cameras[b])
        found = pair_link(ImagePair(a, b), views, matches, SEED, options.min_match_score).link
        if found is None:
            continue
        truth = geometry.relative_pose(pose(cameras[b]), pose(cameras[a]))
        rows.append(
            Row(
                scene,
                a,
                b,
                found,
                float(geometry.rotation_angle_deg(truth.rotation.T @ found.b_from_a.rotation)),
                float(geometry.direction_angle_deg(truth.translation, found.b_from_a.translation)),
            )
        )
        print(scene, a, b, found.evidence, found.doubts, "WRONG" if rows[-1].is_wrong else "right", flush=True)
    return rows


def intrinsics(camera: dict[str, object]) -> Intrinsics:
    """True camera of a photo; the data count pixels from the centre of the first."""
    k = np.array(camera["K"])
    return Intrinsics(
        int(str(camera["width"])), int(str(camera["height"])), float(k[0, 0]), k[0, 2] + 0.5, k[1, 2] + 0.5, 0.0, True
    )


def pose(camera: dict[str, object]) -> Pose:
    """True cam_from_world of a photo."""
    rotation = np.array(camera["cam_from_world_R"])
    return Pose(rotation, -rotation @ np.array(camera["center"]))


# ---------------------------------------------------------------- the document


def is_accepted(row: Row, options: ConsensusOptions) -> bool:
    """Whether the pair is believed by itself."""
    return judge(row.link, options)[0] is LinkVerdict.ACCEPTED


def document(rows: list[Row], everything: bool) -> str:
    """The result as Markdown."""
    right, wrong = [r for r in rows if not r.is_wrong], [r for r in rows if r.is_wrong]
    command = "python pipelines/evidence.py" + (" --all" if everything else "")
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# The evidence of a link",
        "",
        f"Made by `{command}` from Strecha's scenes; seed {SEED}, {platform.machine()}, {os.cpu_count()} cores.",
        f"Versions: {names}.",
        "",
        f"A pair counts as wrong if its pose is off by more than {WRONG_DEG:.0f} degrees. {len(right)} right and",
        f"{len(wrong)} wrong pairs have a two-view geometry of at least {MIN_VERIFIED_MATCHES} inliers.",
        "",
        "## Why these cues",
        "",
        "Look-alike facades give a geometry that is as rigid as the truth, so the number of inliers does not separate",
        "right from wrong, nor how surprising so many are. A wrong pose contradicts matches that the matcher believes",
        "in (agreement), leaves a rival (far rival), and puts key points into the other photo that match nothing there",
        "(silence). [Links](links.md) says more of each.",
        "",
        "| cue | right: 1 % / 10 % / median | wrong: median / 90 % / 99 % |",
        "|---|---|---|",
        *(cue_line(name, right, wrong) for name in CUES),
        "",
        "## What passes",
        "",
        "| gate | right pairs accepted | wrong pairs accepted |",
        "|---|---|---|",
        *(gate_line(label, right, wrong, options) for label, options in gates().items()),
        "",
        *wrong_lines(wrong),
        "## Plateau",
        "",
        "One limit is moved at a time, the others stay at their defaults (bold): right / wrong pairs accepted.",
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
        *confirmation_lines(rows),
        "",
    ]
    return "\n".join(lines)


def cue_line(name: str, right: list[Row], wrong: list[Row]) -> str:
    """Quantiles of one cue."""
    low = np.quantile([cue(r, name) for r in right], (0.01, 0.1, 0.5))
    high = np.quantile([cue(r, name) for r in wrong], (0.5, 0.9, 0.99))
    return (
        f"| {name.replace('_', ' ')} | {' / '.join(f'{x:.4g}' for x in low)} | {' / '.join(f'{x:.4g}' for x in high)} |"
    )


def cue(row: Row, name: str) -> float:
    """A cue for the pair, or a doubt about it."""
    return float(getattr(row.evidence if hasattr(row.evidence, name) else row.link.doubts, name))


def gates() -> dict[str, ConsensusOptions]:
    """The full gate, and what it is without one of its limits."""
    default = ConsensusOptions()
    off = {"min_agreement": 0.0, "min_surprise": 0.0, "max_far_rival": np.inf, "max_silence": 1.0}
    off["min_agreement_confirmed"] = 0.0
    return {
        "all": default,
        "without agreement": replace(default, min_agreement=0.0, min_agreement_confirmed=0.0),
        "without far rival": replace(default, max_far_rival=np.inf),
        "without silence (one thing, nothing around it)": replace(default, max_silence=1.0),
        "number of inliers and spread alone": replace(default, **off),
    }


def gate_line(label: str, right: list[Row], wrong: list[Row], options: ConsensusOptions) -> str:
    """Accepted pairs under one gate."""
    return (
        f"| {label} | {sum(is_accepted(r, options) for r in right)} of {len(right)} | "
        f"{sum(is_accepted(r, options) for r in wrong)} of {len(wrong)} |"
    )


def wrong_lines(wrong: list[Row]) -> list[str]:
    """Every wrong pair that the full gate accepts, since each needs an explanation."""
    passed = [row for row in wrong if is_accepted(row, ConsensusOptions())]
    if not passed:
        return ["No wrong pair passes the full gate.", ""]
    lines = ["Wrong pairs that pass the full gate (rotation and direction error in degrees):", ""]
    for row in passed:
        lines.append(
            f"- {row.scene} {row.a} {row.b}: {row.rotation_error_deg:.1f}, {row.direction_error_deg:.1f}, "
            f"{row.evidence.num_inliers} inliers at {row.evidence.triangulation_angle_deg:.0f} degrees"
        )
    return [*lines, ""]


def plateau_lines(right: list[Row], wrong: list[Row]) -> list[str]:
    """A table line per limit."""
    default = ConsensusOptions()
    lines = ["| limit | | | | | |", "|---|---|---|---|---|---|"]
    for name, values in PLATEAU.items():
        cells = []
        for value in values:
            options = replace(default, **{name: value})
            counts = f"{sum(is_accepted(r, options) for r in right)} / {sum(is_accepted(r, options) for r in wrong)}"
            label = f"**{value}**" if value == getattr(default, name) else f"{value}"
            cells.append(f"{label}: {counts}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def confirmation_lines(rows: list[Row]) -> list[str]:
    """How many refused pairs a predicted rotation would confirm, by its tolerance."""
    options = ConsensusOptions()
    refused = [
        row
        for row in rows
        if not is_accepted(row, options)
        and row.evidence.num_inliers >= options.min_inliers
        and row.link.spread_deg <= options.max_spread_deg
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
