"""Relative poses of photo pairs with known truth: the InterPose paper's study on its data sets, and on others.

Usage: python pipelines/benchmark.py NAME [--data DIR] [--clips DIR ...] [--shard I/N] and more, see --help

NAME is ``interpose-page`` (the videos of the paper's project page, which have no truth), ``strecha`` (with ideal and
spoiled clips made of photos), or a data set that you have: ``cambridge``, ``scannet``, ``dl3dv``, ``navi``, ``eth3d``,
``imb``, ``colmap``. Pairs are drawn by a rule on the true poses (``benchmarks/pair_rule.py``) and written to
``pairs.json`` in the work folder, with checksums; ``--pairs`` takes that file, or a list that others have published.

Each pair and way is a row in the work folder when it is done: a run that was stopped goes on, shards run on several
machines, and ``--merge`` takes their work folders together. A file that cannot be used costs one row, with its reason.
The document is written over all rows that are there, into the work folder; ``--result`` names another place, such as
that of the published one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import ideal_clips, page_document, page_videos, tables
from benchmarks.clip_sources import ClipFolder, ClipSource, IdealClips, NoClips, PageVideos, make_clips, photo_key
from benchmarks.colmap_truth import with_sets
from benchmarks.data_sets import DATA_SETS, DataSet
from benchmarks.pair_files import OURS, benchmark_of, read_pairs, write_pairs
from benchmarks.pair_rule import BenchmarkPair, draw_pairs, scattered, spread
from benchmarks.rows import Job, StudyOptions, collect, run, shard
from benchmarks.scenes import WHOLE_SCENE, Scene, ScenePhoto, load_scenes
from benchmarks.sfm import SFM_KEY, run_sfm, sfm_jobs
from benchmarks.study import SEED, Row, check, params_of
from interpose_sfm.products import Intrinsics
from interpose_sfm.registry import MissingDependencyError
from interpose_sfm.storage.atomic import atomic_write_json
from interpose_sfm.storage.item_files import StoreError

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT, PAIRS = "left_out.json", "pairs.json"
KINDS = (*ideal_clips.KINDS, ideal_clips.ALL)
PAGE, STRECHA = "interpose-page", "strecha"
BESIDE = {PAGE: "interpose_pairs", STRECHA: "strecha"}  # in the data folder that the other pipelines have, too


def main() -> int:
    """Study what is not done yet, then write the document."""
    arguments = parse_arguments()
    try:
        check_work_folders(arguments)
        if not arguments.write_only:
            for row in reconstruct(arguments) if arguments.sfm else study_pairs(arguments):
                print(summary(row), flush=True)
        found = collect([arguments.work, *arguments.merge])
        rows = [row for row in found if is_by_options(row, arguments)]
        if len(rows) < len(found):
            print(f"{len(found) - len(rows)} rows there are by other options and do not count", flush=True)
        if arguments.name == PAGE:
            page_document.write(arguments.result, rows)
        else:
            tables.write(
                arguments.result,
                arguments.name,
                rows,
                command_of(arguments),
                num_left_out([arguments.work, *arguments.merge]),
            )
        print(f"written to {arguments.result}", flush=True)
    except (ValueError, OSError, StoreError, MissingDependencyError) as error:
        raise SystemExit(f"benchmark: {error}") from None
    return 0


def check_work_folders(arguments: argparse.Namespace) -> None:
    """Refuse rows of another data set: they do not say of which one they are, and the tables would mix them.

    Raises:
        ValueError: A folder has the pairs of another one.
    """
    for folder in (arguments.work, *arguments.merge):
        known = benchmark_of(folder / PAIRS) if (folder / PAIRS).is_file() else ""
        if known not in ("", arguments.name):
            raise ValueError(f"{folder} is the work folder of {known}; name another one for {arguments.name}")


def study_pairs(arguments: argparse.Namespace) -> Iterator[Row]:
    """The rows of pairs that are not there yet."""
    if not arguments.only_clips:
        check(arguments.pose_estimator, arguments.frames_per_clip)
    jobs = page_jobs(arguments) if arguments.name == PAGE else data_set_jobs(arguments)
    options = StudyOptions(pose_estimator=arguments.pose_estimator, frames_per_clip=arguments.frames_per_clip)
    return run(jobs, arguments.work, options)


def reconstruct(arguments: argparse.Namespace) -> Iterator[Row]:
    """The rows of reconstructions that are not there yet."""
    jobs = shard(sfm_jobs(scenes_of(arguments, DATA_SETS[arguments.name])), arguments.shard)
    return run_sfm(jobs, arguments.work)


def parse_arguments() -> argparse.Namespace:
    """Command line, with paths that hold in a checkout beside its data."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=(PAGE, *DATA_SETS), metavar="NAME", help=", ".join((PAGE, *DATA_SETS)))
    parser.add_argument("--data", type=Path, help="folder of the data set")
    parser.add_argument("--pairs", type=Path, metavar="FILE", help="list of pairs, in place of those of the rule")
    parser.add_argument("--number", type=int, help="pairs that the rule draws, in place of the paper's number")
    parser.add_argument("--seed", type=int, default=SEED, help="of the rule")
    parser.add_argument("--size", type=int, metavar="N", help="study N of the pairs only, evenly spread over the list")
    parser.add_argument("--clips", type=Path, nargs="+", default=[], metavar="DIR", help="of one video model each")
    parser.add_argument(
        "--generator", metavar="NAME", help="video model that makes missing clips in the --clips folder"
    )
    parser.add_argument("--max-cost", type=float, metavar="USD", help="that a paid service may take for all clips")
    parser.add_argument("--only-clips", action="store_true", help="make clips, and estimate nothing")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of ideal clips (strecha)")
    parser.add_argument("--spoiled", type=int, metavar="N", help="of the pairs get spoiled clips, too; all by default")
    parser.add_argument("--only", nargs="+", default=[], metavar="PAIR", help="names of pairs")
    parser.add_argument("--models", nargs="+", choices=page_videos.MODELS, default=list(page_videos.MODELS))
    parser.add_argument("--pose-estimator", default="matcher")
    parser.add_argument("--frames-per-clip", type=int, default=19, help="frames of a clip")
    parser.add_argument("--known-cameras", action="store_true", help="tell the true cameras, as MP-SfM is told them")
    parser.add_argument("--lists", type=Path, metavar="DIR", help="local/testsets/eth3d of a checkout of MP-SfM")
    parser.add_argument("--list-kind", default="minimal", help="which of MP-SfM's lists")
    parser.add_argument("--sfm", action="store_true", help="reconstruct the sets of photos, in place of pairs")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="every N-th pair, from the I-th on")
    parser.add_argument("--work", type=Path, help="folder of the rows; build/benchmark/NAME by default")
    parser.add_argument(
        "--merge", type=Path, nargs="+", default=[], metavar="WORK", help="work folders of other shards"
    )
    parser.add_argument("--write-only", action="store_true", help="study nothing, write what is there")
    parser.add_argument("--result", type=Path, help="document to write; in the folder of the rows by default")
    arguments = parser.parse_args()
    if arguments.data is None:
        if arguments.name not in BESIDE:
            parser.error(f"name the folder of {DATA_SETS[arguments.name].title} with --data")
        data = Path(os.environ.get("INTERPOSE_SFM_DATA", ROOT.parent / "shared" / "data"))
        arguments.data = data / BESIDE[arguments.name]
    if arguments.generator and len(arguments.clips) != 1:
        parser.error("--generator makes clips in the folder that --clips names; name one")
    if arguments.only_clips and not arguments.generator:
        parser.error("--only-clips needs the --generator that makes them")
    for option, least in (("size", 1), ("number", 1), ("spoiled", 0)):
        if (number := getattr(arguments, option)) is not None and number < least:
            parser.error(f"got --{option} {number}, expected {least} or more")
    for folder in [*arguments.merge, *(() if arguments.generator else arguments.clips)]:
        if not folder.is_dir():
            parser.error(f"there is no folder {folder}, which --merge or --clips names")
    if arguments.sfm and arguments.name == PAGE:
        parser.error("the page has pairs of photos only, which --sfm cannot reconstruct")
    arguments.work = arguments.work or ROOT / "build" / "benchmark" / arguments.name
    document = page_document.RESULT.name if arguments.name == PAGE else "benchmark.md"
    arguments.result = arguments.result or arguments.work / document
    return arguments


# ---------------------------------------------------------------- jobs


def page_jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    """The pairs of the paper's page, of every video model."""
    pairs = page_videos.pairs_of(arguments.data)
    chosen = named(shard(pairs, arguments.shard), arguments.only, pairs)
    for pair in spread(chosen, arguments.size):
        folder = arguments.data / pair.name
        for model in arguments.models:
            source = PageVideos(model, arguments.data)
            yield Job(pair, source, (folder / pair.a, folder / pair.b), page_videos.published(folder))


def data_set_jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    """The pairs of a data set, of every source of clips."""
    data_set = DATA_SETS[arguments.name]
    scenes = {scene.name: scene for scene in scenes_of(arguments, data_set)}
    pairs = pairs_of(arguments, data_set, list(scenes.values()))
    chosen = spread(named(pairs, arguments.only, pairs), arguments.size)
    found = [(pair, photos_of(pair, scenes)) for pair in scattered(shard(chosen, arguments.shard))]
    if arguments.generator:
        whole = [(pair, (a.path, b.path)) for pair, (a, b) in found if a is not None and b is not None]
        make_clips(whole, arguments.clips[0], arguments.generator, arguments.max_cost)
    if arguments.only_clips:
        return
    sources = sources_of(arguments, scenes, chosen)
    check_clips(arguments.clips, sources, [pair for pair, _ in found])
    for pair, (a, b) in found:
        photos = None if a is None or b is None else (a.path, b.path)
        camera, problem = known_camera(a, b) if arguments.known_cameras else (None, "")
        for source in sources:
            if source.has(pair):
                why_not = missing(pair, scenes.get(pair.scene)) or problem
                yield Job(pair, source, photos, {}, camera, arguments.known_cameras, why_not)


def photos_of(pair: BenchmarkPair, scenes: Mapping[str, Scene]) -> tuple[ScenePhoto | None, ScenePhoto | None]:
    """A and B, as far as the data folder has them."""
    scene = scenes.get(pair.scene)
    return (None, None) if scene is None else (scene.photo(pair.a), scene.photo(pair.b))


def scenes_of(arguments: argparse.Namespace, data_set: DataSet) -> list[Scene]:
    """All scenes, with the lists of sets where they are named; what was left out of them is written down."""
    scenes = list(load_scenes(data_set.loader, arguments.data))
    if arguments.lists is not None:
        scenes = [with_sets(scene, arguments.lists, arguments.list_kind) for scene in scenes]
        scenes = [scene for scene in scenes if scene.sets]
        if not scenes:
            kind = arguments.list_kind
            raise ValueError(f"{arguments.lists} has no SCENE/{kind}.yaml of a scene in {arguments.data}")
    left_out = {scene.name: dict(scene.left_out) for scene in scenes if scene.left_out}
    arguments.work.mkdir(parents=True, exist_ok=True)
    atomic_write_json(arguments.work / LEFT_OUT, left_out)
    count = sum(map(len, left_out.values()))
    print(f"{len(scenes)} scenes, {sum(len(s.photos) for s in scenes)} photos, {count} left out", flush=True)
    return scenes


def pairs_of(arguments: argparse.Namespace, data_set: DataSet, scenes: Sequence[Scene]) -> tuple[BenchmarkPair, ...]:
    """Those of the list that is named, else those of the rule, which are written down in either case."""
    rule = data_set.rule if arguments.number is None else replace(data_set.rule, number=arguments.number)
    pairs = draw_pairs(scenes, rule, arguments.seed) if arguments.pairs is None else read_pairs(arguments.pairs, scenes)
    if not pairs:
        raise ValueError(f"no pair of {arguments.data} fits the rule: {rule}")
    if arguments.pairs is None or arguments.pairs.suffix != OURS:
        write_pairs(arguments.work / PAIRS, arguments.name, rule, arguments.seed, pairs)
        pairs = read_pairs(arguments.work / PAIRS, scenes)  # rounded, as others get them
    return pairs


def sources_of(
    arguments: argparse.Namespace, scenes: Mapping[str, Scene], pairs: Sequence[BenchmarkPair]
) -> list[ClipSource]:
    """Folders of clips, else ideal clips for Strecha's scenes, else the pair alone."""
    if arguments.clips:
        return [ClipFolder(folder) for folder in arguments.clips]
    if arguments.name != STRECHA:
        return [NoClips()]
    spoiled = frozenset(pair.name for pair in scattered(pairs)[: arguments.spoiled])
    return [IdealClips(kind, scenes, None if kind == ideal_clips.TRUE else spoiled) for kind in arguments.kinds]


def check_clips(folders: Sequence[Path], sources: Sequence[ClipSource], pairs: Sequence[BenchmarkPair]) -> None:
    """Tell how many pairs have no clips in a folder: they have no row of it.

    Raises:
        ValueError: No folder has any.
    """
    counts = [sum(source.has(pair) for pair in pairs) for source in sources] if folders else []
    for folder, count in zip(folders, counts, strict=False):
        if count < len(pairs):
            print(f"{folder} has clips of {count} of {len(pairs)} pairs; the others have no row of it", flush=True)
    if pairs and counts and not any(counts):
        example = pairs[0]
        raise ValueError(
            f"no pair has clips in {', '.join(map(str, folders))}; expected {example.slug}/a__b_0.mp4 or "
            f"{photo_key(example.sha256_a)}__{photo_key(example.sha256_b)}_0.mp4 for {example.name}"
        )


def named(
    pairs: Sequence[BenchmarkPair], names: Sequence[str], known: Sequence[BenchmarkPair]
) -> Sequence[BenchmarkPair]:
    """The pairs of these names, all without any."""
    unknown = set(names) - {pair.name for pair in known}
    if unknown:
        raise ValueError(f"no pair {', '.join(sorted(unknown))}; there are {', '.join(pair.name for pair in known)}")
    return [pair for pair in pairs if not names or pair.name in names]


def missing(pair: BenchmarkPair, scene: Scene | None) -> str:
    """Why a pair's photos are not at hand."""
    if scene is None:
        return f"the data folder has no scene {pair.scene}"
    for name in (pair.a, pair.b):
        if scene.photo(name) is None:
            why = scene.left_out.get(name) or scene.left_out.get(WHOLE_SCENE)
            return f"the scene has no photo {name}{f': {why}' if why else ''}"
    return ""


def known_camera(a: ScenePhoto | None, b: ScenePhoto | None) -> tuple[Intrinsics | None, str]:
    """The true camera of both photos, or why it cannot be told: the two must share one."""
    if a is None or b is None or a.camera is None or b.camera is None:
        return None, "the data set does not tell the cameras of both photos"
    values_a, values_b = params_of(a.camera), params_of(b.camera)
    if a.camera.model != b.camera.model or not np.allclose(values_a, values_b, rtol=1e-3, atol=1e-6):
        return None, "the photos have different cameras, and only one can be told for both"
    return a.camera, ""


# ---------------------------------------------------------------- what is said


def is_by_options(row: Row, arguments: argparse.Namespace) -> bool:
    """Whether a row was made by the estimator, frames and cameras of this run: tables are of one kind of rows."""
    asked = {
        "estimator": arguments.pose_estimator,
        "frames_per_clip": arguments.frames_per_clip,
        "known_cameras": arguments.known_cameras,
    }
    return all(row.get(key, value) == value for key, value in asked.items())


def num_left_out(folders: Sequence[Path]) -> int:
    """How many photos and scenes could not be read, by the work folder that has most: every shard reads them all."""
    found = [json.loads((folder / LEFT_OUT).read_text("utf-8")) for folder in folders if (folder / LEFT_OUT).is_file()]
    return max((sum(map(len, left_out.values())) for left_out in found), default=0)


def summary(row: Row) -> str:
    """One line for the terminal."""
    head = f"{row['pair']} {row['model']}"
    if "error" in row:
        return f"{head}: not done, {row['error']}"
    if SFM_KEY in row:
        return f"{head}: {row[SFM_KEY]} of {row['total']} photos, AUC@5 {row['auc5']}, {row['seconds']} s"
    chosen = row["chosen"]
    return (
        f"{head}: {row['verdict']} ({row['detail']}), yaw {chosen.get('yaw_deg')}, {chosen['score_kind']} "
        f"{chosen['score_deg']}, {row['seconds']} s"
    )


def command_of(arguments: argparse.Namespace) -> str:
    """The command as the document gives it, without the paths of this machine."""
    words = ["python pipelines/benchmark.py", arguments.name]
    for name in ("number", "size", "spoiled", "pose_estimator", "frames_per_clip"):
        value = getattr(arguments, name)
        if value is not None:
            words.append(f"--{name.replace('_', '-')} {value}")
    words += ["--known-cameras"] if arguments.known_cameras else []
    words += [f"--kinds {' '.join(arguments.kinds)}"] if tuple(arguments.kinds) != KINDS else []
    words += [f"--only {' '.join(arguments.only)}"] if arguments.only else []
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
