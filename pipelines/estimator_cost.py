"""What a weak pair costs by each pose estimator: Depth Anything 3 and MapAnything, beside the matcher.

Runs the published network classes at their published sizes with seeded random weights, since cost does not depend on
their values, on rendered photos, from pictures to poses with evidence and correspondences. All estimators take turns in
one run. Needs no download. Writes ``docs/results/estimator_cost.json`` and ``docs/results/estimator_cost.md``.

Usage: python pipelines/estimator_cost.py [--threads N] [--rounds N] [--mapanything-dir DIR]

Three rounds take some seven minutes on a core of their own. With ``--mapanything-dir``, a checkout, MapAnything alone
is timed, which takes 7 GB of memory; it joins the rows that are there already.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.options import Da3Options, MapAnythingOptions, MatchingOptions
from interpose_sfm.pose.da3 import network
from interpose_sfm.pose.da3.architectures import PUBLISHED
from interpose_sfm.pose.da3.estimator import Da3Estimator
from interpose_sfm.pose.da3.network_code import load_network_code
from interpose_sfm.pose.mapanything import checkout
from interpose_sfm.pose.mapanything import network as mapanything
from interpose_sfm.pose.mapanything.architecture import Architecture
from interpose_sfm.pose.mapanything.estimator import MapAnythingEstimator
from interpose_sfm.pose.matcher import MatcherEstimator
from interpose_sfm.pose.pictures import cut_alike
from interpose_sfm.pose.protocol import EstimatorContext, PoseEstimator
from interpose_sfm.products import Features, Intrinsics, View
from interpose_sfm.report import versions
from interpose_sfm.storage.atomic import atomic_write_json, atomic_write_text
from interpose_sfm.synthetic import RenderOptions, Scene, Viewpoint, orbit, render

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "estimator_cost.md"
SEED = 0
MAPANYTHING = "mapanything"
SIZES = {"16:9": (1280, 720), "4:3": (1024, 768)}
PLAN = (("16:9", 2), ("4:3", 2), ("16:9", 8))
TARGET = (-4.0, -1.0, 1.8)

Row = dict[str, Any]


def main() -> int:
    """Measure in turns and write the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="of the networks; of several, waiting counts")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; medians and least times are told")
    parser.add_argument("--mapanything-dir", type=Path, help="time MapAnything alone, with the code of this checkout")
    parser.add_argument("--views", type=int, nargs="+", default=[2, 8], help="numbers of views of MapAnything")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.mapanything_dir is not None:
        found = json.loads(arguments.result.with_suffix(".json").read_text(encoding="utf-8"))
        times = by_mapanything(arguments.mapanything_dir, arguments.views, arguments.rounds)
        found["rows"] = [row for row in found["rows"] if row["estimator"] != MAPANYTHING] + times
        found["mapanything"] = {"rounds": arguments.rounds, "load": os.getloadavg()[0]}
        write(arguments.result, found)
        return 0
    rows: list[Row] = []
    learned = LearnedMatcher(MatchingOptions())
    modules = {size: random_network(size) for size in PUBLISHED}
    for shape, number in PLAN:
        rows += measured(shape, rendered(SIZES[shape], number), learned, modules, arguments.rounds)
    found = {
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "rows": rows,
    }
    write(arguments.result, found)
    return 0


def write(result: Path, found: Row) -> None:
    """The rows, and the document that shows them."""
    result.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_json(result.with_suffix(".json"), found)
    atomic_write_text(result, document(found))


def rendered(size_px: tuple[int, int], number: int) -> list[View]:
    """Photos along an arc of 28 degrees."""
    width_px, height_px = size_px
    camera = Intrinsics(width_px, height_px, 0.9 * width_px, width_px / 2, height_px / 2, is_trusted=True)
    scene = Scene.courtyard(SEED)
    poses = orbit(Viewpoint(-29, 11, 2.0, TARGET), Viewpoint(-1, 11, 2.6, TARGET), number)
    options = RenderOptions(supersampling=1, noise_sigma=2.0)
    return [View(str(i), render(scene, camera, pose, options).image, camera) for i, pose in enumerate(poses)]


def measured(
    shape: str, views: Sequence[View], learned: LearnedMatcher, modules: Mapping[str, Any], rounds: int
) -> list[Row]:
    """Wall and processor seconds of every estimator on these views, in turns.

    The first round is not counted where nothing has run yet. Every estimate begins with pictures. The matcher's holds
    key points of all views, matching and a reconstruction; a network's no key points, which a run has from matching.
    """
    features = {view.key: learned.extract(view.image) for view in views}
    networks = {size: da3(module, features) for size, module in modules.items()}
    tasks: dict[str, Callable[[], object]] = {
        "matcher": lambda: fresh_matcher(learned).estimate(views),
        **{f"da3 {size.upper()}": partial(each.estimate, views) for size, each in networks.items()},
    }
    if len(views) == 2:
        a, b = (features[view.key] for view in views)
        tasks["LightGlue alone"] = lambda: learned.match(a, b)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for round_number in range(0 if len(views) == 2 else 1, rounds + 1):
        for name, task in tasks.items():
            start = time.perf_counter(), time.process_time()
            task()
            if round_number:
                times[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    height_px, width_px = cut_alike([views[0].image], Da3Options().da3_size_px)[0].shape
    rows = []
    for name, found in times.items():
        wall_s, cpu_s = zip(*found, strict=True)
        rows.append(
            {
                "estimator": name,
                "shape": shape,
                "network_px": f"{width_px} x {height_px}",
                "views": len(views),
                "wall_s": statistics.median(wall_s),
                "cpu_s": statistics.median(cpu_s),
            }
        )
        print(rows[-1], flush=True)
    return rows


def by_mapanything(folder: Path, numbers: Sequence[int], rounds: int) -> list[Row]:
    """Wall and processor seconds of MapAnything at full size, with the cameras told."""
    torch.manual_seed(SEED)
    module = mapanything.build_module(checkout.load(folder), Architecture())
    parameters = sum(p.numel() for p in module.parameters())
    learned = LearnedMatcher(MatchingOptions())
    rows = []
    for shape, number in PLAN:
        if number not in numbers:
            continue
        views = rendered(SIZES[shape], number)
        features = {view.key: learned.extract(view.image) for view in (views[0], views[-1])}
        context = EstimatorContext(
            features=lambda view, features=features: features[view.key],  # type: ignore[misc]
            matches=lambda a, b: sys.exit("matches asked"),
        )
        estimator = _WithMapAnything(context, module)
        times = []
        for _ in range(rounds):
            start = time.perf_counter(), time.process_time()
            estimator.estimate(views)
            times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        height_px, width_px = cut_alike([views[0].image], MapAnythingOptions().mapanything_size_px)[0].shape
        wall_s, cpu_s = zip(*times, strict=True)
        rows.append(
            {
                "estimator": MAPANYTHING,
                "parameters": parameters,
                "shape": shape,
                "network_px": f"{width_px} x {height_px}",
                "views": number,
                "wall_s": statistics.median(wall_s),
                "cpu_s": statistics.median(cpu_s),
            }
        )
        print(rows[-1], flush=True)
    return rows


def fresh_matcher(learned: LearnedMatcher) -> MatcherEstimator:
    """The embedded estimator without anything remembered."""
    known: dict[str, Features] = {}

    def features(view: View) -> Features:
        if view.key not in known:
            known[view.key] = learned.extract(view.image)
        return known[view.key]

    context = EstimatorContext(
        features=features,
        matches=lambda a, b: learned.match(features(a), features(b)),
        min_match_score=MatchingOptions().min_match_score,
    )
    return MatcherEstimator(context)


class _WithNetwork(Da3Estimator):
    """The estimator with a network of ours in it."""

    def __init__(self, context: EstimatorContext, module: torch.nn.Module) -> None:
        super().__init__(context)
        self._network = network.Da3Network(module, "random weights")


class _WithMapAnything(MapAnythingEstimator):
    """The estimator with a network of ours in it."""

    def __init__(self, context: EstimatorContext, module: torch.nn.Module) -> None:
        super().__init__(context)
        self._network = mapanything.MapAnythingNetwork(module, "random weights")


def random_network(size: str) -> Any:
    """The published classes at a published size, with random weights that see a plausible field of view."""
    torch.manual_seed(SEED)
    module: Any = network.build_module(load_network_code(), PUBLISHED[size].architecture)
    with torch.no_grad():
        module.cam_dec.fc_fov[0].bias.fill_(1.0)
        module.cam_dec.fc_qvec.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]))
    return module


def da3(module: Any, features: Mapping[str, Features]) -> PoseEstimator:
    """Depth Anything 3 with a network of ours, and key points that are there."""
    context = EstimatorContext(features=lambda view: features[view.key], matches=lambda a, b: sys.exit("matches asked"))
    return _WithNetwork(context, module)


# ---------------------------------------------------------------- the document


def document(found: Row) -> str:
    """All rows as Markdown."""
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    parameters = {
        size: sum(p.numel() for p in network.build_module(load_network_code(), item.architecture).parameters())
        for size, item in PUBLISHED.items()
    }
    lines = [
        "# What a weak pair costs by each pose estimator",
        "",
        *_paragraph(
            "Made by `python pipelines/estimator_cost.py`. Network classes of Depth Anything 3 at published sizes",
            f"(SMALL {parameters['small'] / 1e6:.0f} and BASE {parameters['base'] / 1e6:.0f} million parameters) in",
            "float32 with random weights, for cost does not depend on their values. From pictures to poses, evidence",
            f"and correspondences, on rendered photos; {found['threads']} thread, {found['rounds']} rounds in which",
            "all take turns. The matcher's time holds the key points of all views, a network's does not: a run has",
            "them from matching. *LightGlue alone* is one pair of photos whose key points are there.",
        ),
        "",
        *_paragraph(
            f"Machine: {platform.machine()}, {found['cores']} cores, {platform.system()}, shared with other work (load",
            f"{found['load']:.1f} at the end): processor time is what an estimate takes on a core of its own, wall",
            f"time what it took here. A second core makes it less. Seed {SEED}. Versions: {names}.",
        ),
    ]
    if "mapanything" in found:
        size = next(row["parameters"] for row in found["rows"] if row["estimator"] == MAPANYTHING)
        lines += [
            "",
            *_paragraph(
                f"MapAnything ({size / 1e9:.2f} billion parameters, float32, cameras told) was timed in a run of its",
                f"own (`--mapanything-dir`; rounds: {found['mapanything']['rounds']}, load",
                f"{found['mapanything']['load']:.1f} at the end).",
            ),
        ]
    for number in sorted({number for _, number in PLAN}):
        lines += [
            "",
            f"## {'The pair alone' if number == 2 else f'{number} views at once'}",
            "",
            "| photos | network sees | estimator | processor time, s | wall time here, s |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['shape']} | {row['network_px'] if _is_network(row) else ''} | {row['estimator']} | "
            f"{row['cpu_s']:.1f} | {row['wall_s']:.1f} |"
            for row in found["rows"]
            if row["views"] == number
        ]
    return "\n".join([*lines, ""])


def _is_network(row: Row) -> bool:
    return row["estimator"].startswith(("da3", MAPANYTHING))


def _paragraph(*parts: str) -> list[str]:
    return textwrap.wrap(" ".join(parts), 118)


if __name__ == "__main__":
    sys.exit(main())
