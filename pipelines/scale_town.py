"""A rendered town reconstructed by plain pycolmap and by this package, each way in a process of its own.

Parts ``town`` and ``corners`` of ``scale.py``, and the processes that it starts:

    python pipelines/scale_town.py WAY WORK PHOTOS WIDTH    # prints what it has measured
"""

from __future__ import annotations

import json
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

from interpose_sfm.colmap import databases, reconstruction
from interpose_sfm.options import BaseOptions, ReconstructOptions
from interpose_sfm.products import Pose
from interpose_sfm.retrieval.vocabulary import FILE_NAME, MAX_FEATURES
from interpose_sfm.run_log import RunLog
from interpose_sfm.synthetic import pose_errors_deg
from interpose_sfm.workflows.reconstruct import reconstruct
from scale_recall import SEED, Figures, tree_of
from town import PER_BLOCK, Town, town_of

WAYS = ("exhaustive", "tree", "ours")
DEFAULT_BOUND = BaseOptions().neighbours_per_photo


def by_plain(photo_dir: Path, output: Path, width_px: int, with_tree: bool) -> list[pycolmap.Reconstruction]:
    """Plain pycolmap, every pair or those of a tree of the photos' own."""
    database = output / "database.db"
    pycolmap.extract_features(database, photo_dir, camera_mode=pycolmap.CameraMode.SINGLE)
    if with_tree:
        tree = tree_of(database, output)
        next(iter(tree.rankings(databases.photo_names(database)[:1], 1)), None)  # builds it
        pairing = pycolmap.VocabTreePairingOptions(
            vocab_tree_path=output / FILE_NAME, num_images=DEFAULT_BOUND // 2, max_num_features=MAX_FEATURES
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


def run_way(way: str, work: Path, num_photos: int, width_px: int) -> Figures:
    """One way on one town, in this process."""
    town = town_of(work, num_photos, width_px, SEED)
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
        "peak_mib": peak_mib,
        "pairs": pairs,
        "max_per_photo": max(per_photo.values(), default=0),
        "models": [len(model) for model in poses],
        "registered": len(held),
        "mixed": sum(len({town.block_of[name] for name in model}) > 1 for model in poses),
        **told,
        "median_error_deg": errors_deg(poses, town, 50),
        "worst_error_deg": errors_deg(poses, town, 100),
    }


def errors_deg(models: Sequence[Mapping[str, Pose]], town: Town, percentile: float) -> float | None:
    """Errors of the relative poses of all pairs of photos of a model, of all models; None without any."""
    errors = [
        pose_errors_deg({name: town.cam_from_world[name] for name in model}, model)
        for model in models
        if len(model) > 1
    ]
    return float(np.percentile(np.concatenate(errors), percentile)) if errors else None


def measured_apart(way: str, work: Path, num_photos: int, width_px: int) -> Figures:
    """One way on one town, in a process of its own, whose peak of memory is its own."""
    town_of(work, num_photos, width_px, SEED)
    command = [sys.executable, __file__, way, str(work), str(num_photos), str(width_px)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def corners(work: Path, num_photos: int, width_px: int) -> Figures:
    """True pairs between two sides of a block, with and without the photo at the corner."""
    town = town_of(work, num_photos, width_px, SEED)
    place = {name: number for number, name in enumerate(town.walk)}
    per_side = PER_BLOCK // 4
    between = [pair for pair in town.neighbours if place[pair.a] // per_side != place[pair.b] // per_side]
    at_corner = {name for name, number in place.items() if number % per_side == per_side - 1}
    return {
        "true": len(town.neighbours),
        "at_corner": sum(bool({pair.a, pair.b} & at_corner) for pair in town.neighbours),
        "between": sum(not {pair.a, pair.b} & at_corner for pair in between),
    }


# ---------------------------------------------------------------- what is said


def told_town(rows: Sequence[Figures]) -> str:
    """All ways on all towns."""
    table = (
        "## A town reconstructed\n\n`exhaustive` and `tree` are plain pycolmap, with every pair and with a tree "
        "of the photos' own; `ours` is `reconstruct` with the pairs of a large collection, however small the town "
        "is, without bridging. Mixed: models with photos of several blocks. Errors are those of all pairs of "
        "photos within a model, the larger of rotation and direction. A run that was suspended meanwhile has no time "
        "but the processor's.\n\n"
        f"{town_table(rows)}"
    )
    return "\n\n".join([table, *(told_by_ours(row) for row in rows if row["way"] == "ours")])


def town_table(rows: Iterable[Figures]) -> str:
    """A row for every way and town."""
    lines = []
    for row in sorted(rows, key=lambda row: (row["photos"], WAYS.index(row["way"]))):
        middle, worst = row["median_error_deg"], row["worst_error_deg"]
        cells = (
            *(row["photos"], row["way"], row["pairs"], row["registered"], ", ".join(map(str, row["models"]))),
            row["mixed"],
            "-" if middle is None else f"{middle:.2f} / {worst:.1f}",
            f"{'-' if row['time_s'] is None else format(row['time_s'], '.0f')} / {row['cpu_s']:.0f}",
            f"{row['peak_mib']:.0f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    head: tuple[str, ...] = ("photos", "way", "pairs", "registered", "models", "mixed", "error, median / worst (deg)")
    head += ("time / processor (s)", "peak (MiB)")
    return f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n" + "\n".join(lines)


def told_by_ours(row: Figures) -> str:
    """Seconds of the stages of a run, and what its report warns of."""
    kind, times = ("processor time", "stages_cpu_s") if "stages_cpu_s" in row else ("time", "stages_s")
    stages = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in row[times].items() if seconds >= 1)
    warnings = "".join(f"\n- {warning}" for warning in row["warnings"])
    told = f"Its report warns:\n{warnings}" if warnings else "Its report warns of nothing."
    return f"`ours` at {row['photos']}, {kind} by stage in seconds: {stages}. {told}"


def told_corners(found: Figures) -> str:
    """Why nothing shows the scale from one side of a block to the next."""
    return (
        f"The scale stays open for want of anything that shows it: of the town's {found['true']} true pairs "
        f"{found['at_corner']} have the photo at a corner as one of the two, and {found['between']} of the others "
        "lead from one side to the next. Two sides share one photo and no point, so that no photo tells how large "
        "one is beside the other; third photos and links cannot either. A second photo at each corner would, since "
        "two models that share two photos share their distance, and so would GPS positions."
    )


if __name__ == "__main__":
    print(json.dumps(run_way(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
