"""What the drop-in costs where nothing is weak: paired runs of ``pycolmap.incremental_mapping`` and of ours.

Features and matches of each collection are computed once. Then each pair runs both functions on copies of one database,
with one seed, one after the other in the same process; which goes first alternates. The ratio of the two times is taken
within the pair, so that what slows the machine down for a while slows both. Writes ``docs/results/hook_overhead.md``.

The mapper runs on one thread by default: with several, sums come in another order at every run, the adjustments take
other steps, and two runs of the very same function differ by more than what is to be measured.

Usage: python pipelines/hook_overhead.py [--data DIR] [--collections NAME ...] [--pairs N] [--threads N]

The data folder holds ``strecha/subsets.json`` (default: $INTERPOSE_SFM_DATA, else ../shared/data).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "hook_overhead.md"
COLLECTIONS = ("fountain-P11", "castle-P30_s1")
SEED = 0
LONG_SIDE_PX = 1600
TARGET = 1.03


@dataclass
class Timed:
    """What one collection came to.

    Attributes:
        name: Of the collection.
        num_photos: Photos in it, all registered by pycolmap in one model.
        theirs_s, ours_s: Time of each call, pair by pair.
        theirs_cpu_s, ours_cpu_s: Processor time of the same calls, which other programs disturb less.
        check_s: Time of what ours does after pycolmap's, measured by itself.
    """

    name: str
    num_photos: int
    theirs_s: list[float] = field(default_factory=list)
    ours_s: list[float] = field(default_factory=list)
    theirs_cpu_s: list[float] = field(default_factory=list)
    ours_cpu_s: list[float] = field(default_factory=list)
    check_s: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Ours over theirs, of each pair."""
        return [ours / theirs for ours, theirs in zip(self.ours_s, self.theirs_s, strict=True)]

    @property
    def cpu_ratios(self) -> list[float]:
        """The same of the processor time."""
        return [ours / theirs for ours, theirs in zip(self.ours_cpu_s, self.theirs_cpu_s, strict=True)]

    @property
    def noise(self) -> list[float]:
        """The control: pycolmap's function over itself in the pair before, which should be 1."""
        return [later / earlier for earlier, later in pairwise(self.theirs_s)]


def main() -> int:
    """Time all collections and write the table; 1 if the target is missed."""
    arguments = parse_arguments()
    found = []
    for name in arguments.collections:
        with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
            found.append(time_collection(arguments, name, Path(folder)))
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(document(found, arguments.threads), encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))
    return int(any(statistics.median(timed.ratios) > TARGET for timed in found))


def parse_arguments() -> argparse.Namespace:
    """Command line, with a data path that holds in a checkout beside its data."""
    data = Path(os.environ.get("INTERPOSE_SFM_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--collections", nargs="+", default=list(COLLECTIONS))
    parser.add_argument("--pairs", type=int, default=9, help="paired runs of each collection")
    parser.add_argument("--threads", type=int, default=1, help="threads of the mapper, -1 for all cores")
    arguments = parser.parse_args()
    subsets = arguments.data / "strecha" / "subsets.json"
    if not subsets.is_file():
        parser.error(f"{arguments.data} does not hold strecha/subsets.json; name the data folder with --data")
    for name in arguments.collections:
        if not photo_paths(arguments.data / "strecha", name):
            parser.error(f"{arguments.data} holds no collection {name}")
    if arguments.pairs < 7:
        parser.error(f"got {arguments.pairs} pairs, expected at least 7 for a median that means something")
    return arguments


def photo_paths(strecha: Path, name: str) -> list[Path]:
    """Photos of a subset, or of a whole scene."""
    subsets = json.loads((strecha / "subsets.json").read_text())
    if name in subsets:
        return [strecha / subsets[name]["scene"] / "images" / image for image in subsets[name]["images"]]
    return sorted((strecha / name / "images").glob("*.*"))


def time_collection(arguments: argparse.Namespace, name: str, folder: Path) -> Timed:
    """Features once, then the pairs."""
    import pycolmap

    import interpose_sfm

    pycolmap.logging.minloglevel = 2
    photos, database = folder / "photos", folder / "database.db"
    paths = photo_paths(arguments.data / "strecha", name)
    photos.mkdir()
    for path in paths:
        (photos / path.name).symlink_to(path.resolve())
    extraction = pycolmap.FeatureExtractionOptions(max_image_size=LONG_SIDE_PX)
    pycolmap.extract_features(database, photos, camera_mode=pycolmap.CameraMode.SINGLE, extraction_options=extraction)
    pycolmap.match_exhaustive(database)
    options = {"num_threads": arguments.threads, "random_seed": SEED}
    timed = Timed(name, len(paths))
    functions = {"theirs": pycolmap.incremental_mapping, "ours": interpose_sfm.incremental_mapping}
    models: dict[int, Any] = {}
    for function in functions.values():  # what is loaded or cached at a first call counts for neither
        models, *_ = run(function, database, photos, folder / "warm", options, timed.num_photos)
    for pair in range(arguments.pairs):
        for who in sorted(functions, reverse=pair % 2 == 1):
            _, seconds, cpu_s = run(functions[who], database, photos, folder / "run", options, timed.num_photos)
            (timed.ours_s if who == "ours" else timed.theirs_s).append(seconds)
            (timed.ours_cpu_s if who == "ours" else timed.theirs_cpu_s).append(cpu_s)
        start = time.perf_counter()
        interpose_sfm.extend(models, database, photos, options)
        timed.check_s.append(time.perf_counter() - start)
        print(f"{name} pair {pair + 1}: {timed.theirs_s[-1]:.3f} s, {timed.ours_s[-1]:.3f} s", flush=True)
    return timed


def run(
    function: Callable[..., Any], database: Path, photos: Path, folder: Path, options: dict[str, int], num_photos: int
) -> tuple[dict[int, Any], float, float]:
    """Models, seconds and seconds of processor time of one call on a fresh copy of the database."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copyfile(database, folder / "database.db")
    start, cpu_start = time.perf_counter(), time.process_time()
    models = function(folder / "database.db", photos, folder / "sparse", options)
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    if max((model.num_reg_images() for model in models.values()), default=0) != num_photos:
        sys.exit("pycolmap does not connect all photos of this collection: choose one where nothing is weak")
    if (folder / "database_interpose").exists():
        sys.exit("the drop-in found something to do where nothing is weak")
    return models, seconds, cpu_s


def loading_s() -> float:
    """Seconds to load the drop-in, once per process, where pycolmap and numpy are loaded already; median of five."""
    clock = "time.perf_counter()"
    code = (
        f"import time, numpy, pycolmap; start = {clock}; import interpose_sfm.workflows.drop_in; print({clock} - start)"
    )
    command = [sys.executable, "-c", code]
    outputs = [subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout for _ in range(5)]
    return statistics.median(map(float, outputs))


def document(found: list[Timed], threads: int) -> str:
    """The result as Markdown."""
    from interpose_sfm.report import versions

    known = versions()
    lines = [
        "# What the drop-in costs where nothing is weak",
        "",
        "Command: `python pipelines/hook_overhead.py`. Paired runs of `pycolmap.incremental_mapping` and of",
        "`interpose_sfm.incremental_mapping` in one process, on copies of one database, alternating which goes first;",
        f"a first call of each is not counted. The ratio is taken within each pair. Target: a median of {TARGET};",
        "the audit for folded models, which came later, is not within it.",
        "The control is the ratio of pycolmap's function to itself in the pair before: what differs there is the",
        "machine. The last column is what the drop-in does after pycolmap has mapped, timed by itself. Loading it",
        f"takes {1000 * loading_s():.0f} ms once per process.",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}; Python {known['python']}, "
        f"pycolmap {known['pycolmap']}, interpose_sfm {known['interpose_sfm']}; seed {SEED}, mapper threads {threads}, "
        f"SIFT at {LONG_SIDE_PX} px.",
        "",
        "| collection | photos | pairs | pycolmap, median s | drop-in, median s | ratio, median | middle half | all | "
        "ratio of processor time, median | control, median | middle half | its own part, median ms |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for timed in found:
        ratios = sorted(timed.ratios)
        low, _, high = statistics.quantiles(ratios, n=4)
        least, middle, most = statistics.quantiles(timed.noise, n=4)
        lines.append(
            f"| {timed.name} | {timed.num_photos} | {len(ratios)} | {statistics.median(timed.theirs_s):.3f} | "
            f"{statistics.median(timed.ours_s):.3f} | {statistics.median(ratios):.4f} | {low:.3f} to {high:.3f} | "
            f"{ratios[0]:.3f} to {ratios[-1]:.3f} | {statistics.median(timed.cpu_ratios):.4f} | "
            f"{middle:.4f} | {least:.3f} to {most:.3f} | "
            f"{1000 * statistics.median(timed.check_s):.1f} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
