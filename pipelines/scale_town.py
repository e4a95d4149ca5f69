"""A rendered town reconstructed by plain pycolmap and by this package, each way in a process of its own.

Part ``town`` of ``scale.py``, and the processes that it starts:

    python pipelines/scale_town.py WAY WORK PHOTOS WIDTH WALK    # prints what it has measured
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap

from benchmarks.figures import Axis, Line, drawing
from interpose_sfm.colmap import databases, reconstruction
from interpose_sfm.options import BaseOptions, ReconstructOptions
from interpose_sfm.products import Pose
from interpose_sfm.retrieval.vocabulary import MAX_FEATURES
from interpose_sfm.run_log import RunLog
from interpose_sfm.synthetic import pose_errors_deg
from interpose_sfm.workflows.reconstruct import reconstruct
from scale_recall import SEED, Figures, tree_of
from town import CORNER_DEG, Town, around_corners, town_of

WAYS = ("exhaustive", "tree", "ours")
DEFAULT_BOUND = BaseOptions().neighbours_per_photo
LINKING = ("view graph", "learned matching", "consensus", "mapping again", "final mapping")
"""Stages in which links are sought between what COLMAP leaves apart: blocks do not see one another."""


def by_plain(photo_dir: Path, output: Path, width_px: int, with_tree: bool) -> list[pycolmap.Reconstruction]:
    """Plain pycolmap, every pair or those of a tree of the photos' own."""
    database = output / "database.db"
    pycolmap.extract_features(database, photo_dir, camera_mode=pycolmap.CameraMode.SINGLE)
    if with_tree:
        tree = tree_of(database, output)
        next(iter(tree.rankings(databases.photo_names(database)[:1], 1)), None)  # builds it
        assert tree.path is not None
        pairing = pycolmap.VocabTreePairingOptions(
            vocab_tree_path=tree.path, num_images=DEFAULT_BOUND // 2, max_num_features=MAX_FEATURES
        )
        pycolmap.match_vocabtree(database, pairing_options=pairing)
    else:
        pycolmap.match_exhaustive(database)
    options = pycolmap.IncrementalPipelineOptions(min_model_size=3)
    (output / "sparse").mkdir()
    models = pycolmap.incremental_mapping(database, photo_dir, output / "sparse", options)
    return sorted(models.values(), key=lambda model: -model.num_reg_images())


@contextmanager
def processor_times() -> Iterator[dict[str, float]]:
    """Stage -> seconds of processor time of this process, of a run within the block."""
    found: dict[str, float] = {}
    plain = RunLog.stage

    @contextmanager
    def timed(log: RunLog, name: str) -> Iterator[None]:
        start = time.process_time()
        with plain(log, name):
            yield
        found[name] = found.get(name, 0.0) + time.process_time() - start

    RunLog.stage = timed  # type: ignore[method-assign]
    try:
        yield found
    finally:
        RunLog.stage = plain  # type: ignore[method-assign]


def by_ours(photo_dir: Path, output: Path) -> tuple[list[pycolmap.Reconstruction], Figures]:
    """This package with the pairs of a large collection, however small this is; models, and what is told."""
    base = BaseOptions(exhaustive_limit=10)
    options = replace(ReconstructOptions(), base=base, generator="none", seed=SEED)
    with processor_times() as stages_cpu_s:
        result = reconstruct(photo_dir, output / "run", options)
    told = {"stages_cpu_s": stages_cpu_s, "warnings": list(result.report.warnings)}
    return reconstruction.read_models(output / "run" / "sparse", 3), told


def run_way(way: str, work: Path, num_photos: int, width_px: int, walk: str) -> Figures:
    """One way on one town, in this process."""
    town = town_of(work, num_photos, width_px, SEED, walk)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        start, cpu = time.monotonic(), time.process_time()
        told: Figures = {}
        if way == "ours":
            models, told = by_ours(town.photo_dir, Path(folder))
            database = Path(folder) / "run" / "base" / "database.db"
        else:
            models = by_plain(town.photo_dir, Path(folder), width_px, way == "tree")
            database = Path(folder) / "database.db"
        times = {"time_s": time.monotonic() - start, "cpu_s": time.process_time() - cpu}
        with pycolmap.Database.open(database) as opened:
            per_photo = Counter(i for pair in databases.num_verified(opened) for i in pair)
            pairs = opened.num_matched_image_pairs()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    poses = [reconstruction.poses(model) for model in models]
    held = set().union(*poses) if poses else set()
    return {
        **times,
        "photos": num_photos,
        "width_px": width_px,
        "walk": walk,
        "peak_mib": peak_mib,
        "pairs": pairs,
        "max_per_photo": max(per_photo.values(), default=0),
        "models": [len(model) for model in poses],
        "registered": len(held),
        "mixed": sum(len({town.block_of[name] for name in model}) > 1 for model in poses),
        "corners": corners_passed(poses, town),
        **told,
        "median_error_deg": errors_deg(poses, town, 50),
        "worst_error_deg": errors_deg(poses, town, 100),
    }


def corners_passed(models: Sequence[Mapping[str, Pose]], town: Town) -> str:
    """How many corners have the photos from either side of them in one model, of all."""
    pairs = around_corners(town)
    passed = sum(any(pair.a in model and pair.b in model for model in models) for pair in pairs)
    return f"{passed} of {len(pairs)}"


def errors_deg(models: Sequence[Mapping[str, Pose]], town: Town, percentile: float) -> float | None:
    """Errors of the relative poses of all pairs of photos of a model, of all models; None without any."""
    errors = [
        pose_errors_deg({name: town.cam_from_world[name] for name in model}, model)
        for model in models
        if len(model) > 1
    ]
    return float(np.percentile(np.concatenate(errors), percentile)) if errors else None


def measured_apart(way: str, work: Path, num_photos: int, width_px: int, walk: str) -> Figures:
    """One way on one town, in a process of its own, whose peak of memory is its own."""
    town_of(work, num_photos, width_px, SEED, walk)
    command = [sys.executable, __file__, way, str(work), str(num_photos), str(width_px), walk]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


# ---------------------------------------------------------------- what is said


def told_town(rows: Sequence[Figures]) -> str:
    """All ways on all towns."""
    parts = [
        "## A town reconstructed\n\n`exhaustive` and `tree` are plain pycolmap, with every pair and with a tree "
        "of the photos' own; `ours` is `reconstruct` with the pairs of a large collection, however small the town "
        "is, without bridging. Two walks: with gaps, the photos from either side of a corner are 60 to 70 degrees "
        "apart, two and two; closed, 18 degrees from one to the next. A corner is passed if one model holds the "
        "photos from either side of it. Mixed: models with photos of several blocks. Errors are those of all pairs of "
        "photos within a model, the larger of rotation and direction. A run beside other work has no time but the "
        "processor's.\n\n"
        f"{town_table(rows)}"
    ]
    parts += [told_beside_tree(rows)]
    parts += [told_by_ours(row) for row in rows if row["way"] == "ours"]
    parts += [told_growth(several, walk) for walk, several in grown(rows).items()]
    return "\n\n".join(parts)


def town_table(rows: Iterable[Figures]) -> str:
    """A row for every way and town."""
    lines = []
    for row in sorted(rows, key=lambda row: (row["walk"], row["photos"], WAYS.index(row["way"]))):
        middle, worst = row["median_error_deg"], row["worst_error_deg"]
        models = Counter(row["models"])
        cells = (
            *(row["walk"], row["photos"], row["way"], row["pairs"], row["registered"]),
            ", ".join(f"{number} x {size}" for size, number in sorted(models.items(), reverse=True)) or "-",
            row["corners"],
            row["mixed"],
            "-" if middle is None else f"{middle:.2f} / {worst:.1f}",
            f"{'-' if row['time_s'] is None else format(row['time_s'], '.0f')} / {row['cpu_s']:.0f}",
            f"{row['peak_mib']:.0f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    head = (
        *("walk", "photos", "way", "pairs", "registered", "models x photos", "corners passed", "mixed"),
        *("error, median / worst (deg)", "time / processor (s)", "peak (MiB)"),
    )
    return f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n" + "\n".join(lines)


def told_beside_tree(rows: Sequence[Figures]) -> str:
    """Times and memory of our runs over those of plain pycolmap with the tree."""
    run_of = {(row["walk"], row["photos"], row["way"]): row for row in rows}
    lines = []
    for walk, photos, way in sorted(run_of):
        ours, tree = run_of[walk, photos, way], run_of.get((walk, photos, "tree"))
        if way != "ours" or tree is None:
            continue
        linking_s = sum(ours["stages_cpu_s"].get(stage, 0.0) for stage in LINKING)
        cells = (
            *(walk, photos, f"{ours['cpu_s'] / tree['cpu_s']:.2f}"),
            f"{(ours['cpu_s'] - linking_s) / tree['cpu_s']:.2f}",
            f"{ours['peak_mib'] / tree['peak_mib']:.2f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return (
        "`ours` over `tree`. *Without links*: without the stages in which links are sought between models, of which a "
        f"town of several blocks has several however well each is photographed ({', '.join(LINKING)}).\n\n"
        "| walk | photos | processor time | without links | peak |\n|---|---|---|---|---|\n" + "\n".join(lines)
    )


def told_by_ours(row: Figures) -> str:
    """Seconds of the stages of a run, and what its report warns of."""
    stages = ", ".join(f"{stage} {cpu_s:.0f}" for stage, cpu_s in row["stages_cpu_s"].items() if cpu_s >= 1)
    warnings = "".join(f"\n- {warning}" for warning in row["warnings"])
    told = f"Its report warns:\n{warnings}" if warnings else "Its report warns of nothing."
    return f"`ours` at {row['photos']}, {row['walk']}, processor time by stage in seconds: {stages}. {told}"


# ---------------------------------------------------------------- growth


def grown(rows: Sequence[Figures]) -> dict[str, list[Figures]]:
    """Walk -> our runs of several sizes, the smallest first."""
    runs = {walk: [row for row in rows if (row["way"], row["walk"]) == ("ours", walk)] for walk in CORNER_DEG}
    return {walk: sorted(ours, key=lambda row: row["photos"]) for walk, ours in runs.items() if len(ours) > 1}


def growth(rows: Sequence[Figures]) -> dict[str, list[tuple[int, float]]]:
    """Stage -> (photos, processor time in seconds) of runs of several sizes, for stages of a second or more."""
    stages: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for stage, cpu_s in row["stages_cpu_s"].items():
            if cpu_s >= 1:
                stages.setdefault(stage, []).append((row["photos"], cpu_s))
    return {stage: points for stage, points in stages.items() if len(points) > 1}


def exponent(points: Sequence[tuple[int, float]]) -> float:
    """Of the power of the number of photos that a time grows with, from the smallest run to the largest."""
    (few, short_s), (many, long_s) = points[0], points[-1]
    return math.log(long_s / short_s) / math.log(many / few)


def told_growth(rows: Sequence[Figures], walk: str) -> str:
    """By which power of the number of photos the stages grow."""
    powers = ", ".join(f"{stage} {exponent(points):.2f}" for stage, points in growth(rows).items())
    return (
        f"Growth of processor time from {rows[0]['photos']} to {rows[-1]['photos']} photos, {walk}, as a power of "
        f"their number: {powers}.\n\n![Processor time of each stage by the number of photos]({growth_path(walk)})"
    )


def growth_path(walk: str) -> str:
    """File name of the drawing, beside the document."""
    return f"scale_growth_{walk}.svg"


def growth_drawings(rows: Sequence[Figures]) -> dict[str, str]:
    """File name -> SVG of every walk with runs of several sizes."""
    return {growth_path(walk): growth_drawing(several, walk) for walk, several in grown(rows).items()}


def growth_drawing(rows: Sequence[Figures], walk: str) -> str:
    """Both axes logarithmic."""
    stages = growth(rows)
    sizes = [row["photos"] for row in rows]
    most_s = max(cpu_s for points in stages.values() for _, cpu_s in points)
    ticks = [10.0**power for power in range(math.ceil(math.log10(most_s)) + 1)]
    return drawing(
        f"Growth of the stages, {walk}",
        Axis("photos", sizes[-1], sizes, low=sizes[0]),
        Axis("processor time, s", ticks[-1], ticks, low=1),
        [Line(f"{stage} ({exponent(points):.2f})", points) for stage, points in stages.items()],
    )


if __name__ == "__main__":
    _, way, work, num_photos, width_px, walk = sys.argv
    print(json.dumps(run_way(way, Path(work), int(num_photos), int(width_px), walk)))
