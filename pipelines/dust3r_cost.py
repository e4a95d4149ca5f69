"""What the pose estimator `dust3r` costs and how exact it is, against the published code of DUSt3R.

Runs the published network class at its published size with seeded random weights, since cost does not depend on their
values, and a network of known geometry, whose point maps are rendered from the truth. Needs no download. Writes
``docs/results/dust3r_cost.json`` and, from all that is in there, ``docs/results/dust3r_cost.md``.

Usage: python pipelines/dust3r_cost.py [--only PART ...]

The parts are `equality`, `cost`, `alignment`, `economy` and `whole`. `alignment` takes longest, about half an hour on
two cores, nearly all of it in the published aligner; the others take a few minutes each.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

from interpose_sfm import geometry
from interpose_sfm.colmap import reconstruction
from interpose_sfm.options import BridgingOptions, ConsistencyOptions, Dust3rOptions, PairSelection, ReconstructOptions
from interpose_sfm.pairs import consistency
from interpose_sfm.pose.dust3r import network, network_code, published_alignment
from interpose_sfm.pose.dust3r.checkpoint import VIT_LARGE_512_DPT
from interpose_sfm.pose.dust3r.estimator import Dust3rEstimator
from interpose_sfm.pose.dust3r.inference import CachedInference, all_ordered_pairs, tying_pairs
from interpose_sfm.pose.dust3r.network import Dust3rNetwork
from interpose_sfm.pose.point_maps.alignment import Alignment, align
from interpose_sfm.pose.point_maps.pair_geometry import sample
from interpose_sfm.pose.protocol import EstimatorContext
from interpose_sfm.products import Features, FloatArray, ImagePair, Intrinsics, Matches, Pose, PoseHypothesis, View
from interpose_sfm.report import versions
from interpose_sfm.storage.atomic import atomic_write_json, atomic_write_text
from interpose_sfm.synthetic import (
    RenderOptions,
    SampleOptions,
    SampleTruth,
    Scene,
    Viewpoint,
    center_in_world,
    look_at,
    orbit,
    pose_errors_deg,
    render,
    write_sample,
)
from interpose_sfm.synthetic.point_maps import KnownGeometryNetwork, MapErrors
from interpose_sfm.workflows import reconstruct
from interpose_sfm.workflows.relative_pose import relative_pose

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "dust3r_cost.md"
SEED = 0
NOISE = (0.0, 0.01, 0.03, 0.10)
OUTLIER_SHARE = 0.10
FRAMES_PER_CLIP = 49  # what the paper's video models make of two pictures lies between 25 and 121 frames
ECONOMY_SEEDS = range(16)

Results = dict[str, Any]


def main() -> int:
    """Measure the parts that are asked for and write the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the networks")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of what is timed in the part `cost`")
    parser.add_argument(
        "--size", type=int, default=512, help="longer side of the crops; less than 512 is for trying out"
    )
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    store = arguments.result.with_suffix(".json")
    found: Results = json.loads(store.read_text(encoding="utf-8")) if store.is_file() else {}
    store.parent.mkdir(parents=True, exist_ok=True)
    for part in arguments.only:
        print(f"--- {part}", flush=True)
        for name, rows in PARTS[part](arguments):
            found.setdefault(part, {})[name] = {**rows, "threads": arguments.threads, "size_px": arguments.size}
            print(name, rows, flush=True)
            atomic_write_json(store, found)
            atomic_write_text(arguments.result, document(found))
    return 0


# ---------------------------------------------------------------- the same numbers


def vit_large(size_px: int) -> tuple[network_code.NetworkCode, Any, Dust3rNetwork]:
    """The published code, its network with random weights, and ours with the same weights."""
    code = network_code.find_network_code()
    modules = []
    for _ in range(2):
        torch.manual_seed(SEED)
        arguments = dict(VIT_LARGE_512_DPT) if size_px == 512 else {**VIT_LARGE_512_DPT, **SMALL}
        modules.append(network.build_module(code, arguments))
    return code, modules[0], Dust3rNetwork(modules[1], "random weights")


SMALL = {"enc_embed_dim": 64, "enc_depth": 4, "enc_num_heads": 4, "dec_embed_dim": 48, "dec_num_heads": 4}


def random_views(shapes: Sequence[tuple[int, int]]) -> list[View]:
    """Views of noise; what is in them matters to neither cost nor equality."""
    generator = np.random.default_rng(SEED)
    return [
        View(str(i), generator.integers(0, 256, (h, w, 3), np.uint8), Intrinsics(w, h, w, w / 2, h / 2))
        for i, (h, w) in enumerate(shapes)
    ]


def as_published(code: network_code.NetworkCode, view: View, size_px: int) -> dict[str, Any]:
    """A view as the published loader gives it."""
    crop = CachedInference(mock.Mock(), size_px).crop(view)
    pixels = code.module("utils.image").ImgNorm(Image.fromarray(crop.image))[None]
    return {"img": pixels, "true_shape": np.array([crop.shape], np.int32), "idx": int(view.key), "instance": view.key}


def published_inference(code: network_code.NetworkCode, module: Any, pair: tuple[Any, Any]) -> dict[str, Any]:
    """One pair by the published inference, a batch of one as in its demonstration."""
    with quiet():
        found: dict[str, Any] = code.module("inference").inference([pair], module, "cpu", batch_size=1, verbose=False)
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Drops the published code's warnings of deprecated names."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def measure_equality(arguments: argparse.Namespace) -> Iterator[tuple[str, Results]]:
    """Largest relative difference between our point maps and the published ones, in both orders."""
    code, published, ours = vit_large(arguments.size)
    long_px, short_px = arguments.size, arguments.size * 3 // 4
    for name, shape in (("landscape", (short_px, long_px)), ("portrait", (long_px, short_px))):
        views = random_views([shape] * 2)
        inference = CachedInference(ours, arguments.size, batch_size=2)
        inference.compute(views, [("0", "1"), ("1", "0")])
        given = [as_published(code, view, arguments.size) for view in views]
        points, confidences = [], []
        for i, j in ((0, 1), (1, 0)):
            theirs = published_inference(code, published, (given[i], given[j]))
            found = inference.point_maps((str(i), str(j)))
            for mine, conf, side, key in (
                (found.points_i, found.conf_i, "pred1", "pts3d"),
                (found.points_j_in_i, found.conf_j, "pred2", "pts3d_in_other_view"),
            ):
                expected = theirs[side][key][0].numpy()
                length = np.linalg.norm(expected, axis=-1)
                points.append(float(np.max(np.linalg.norm(mine - expected, axis=-1) / length)))
                confidences.append(float(np.max(np.abs(conf / theirs[side]["conf"][0].numpy() - 1.0))))
        yield name, {"points": max(points), "confidence": max(confidences), "shape": list(shape)}


# ---------------------------------------------------------------- cost


def count_runs() -> dict[str, tuple[int, int]]:
    """Encoder and decoder runs of one weak pair: the published way, exact, economical."""
    options = ConsistencyOptions()
    naive_pairs = 0
    images: dict[str, set[str]] = {"exact": set(), "economical": set()}
    pairs: dict[str, set[tuple[str, str]]] = {"exact": set(), "economical": set()}
    for clip in range(options.num_clips):
        for name, limit, select in (
            ("exact", None, all_ordered_pairs),
            ("economical", Dust3rOptions().dust3r_pool, tying_pairs),
        ):
            pool = consistency.frame_pool(FRAMES_PER_CLIP, limit)
            for subset in consistency.draw_subsets(len(pool), options, SEED):
                keys = ["A", *(f"{clip}/{pool[k]}" for k in subset), "B"]
                images[name] |= set(keys)
                pairs[name] |= set(select(keys))
                naive_pairs += len(all_ordered_pairs(keys)) if name == "exact" else 0
    counts = {name: (len(images[name]), len(pairs[name])) for name in images}
    return {"published": (2 * naive_pairs, naive_pairs), **counts}


def measure_cost(arguments: argparse.Namespace) -> Iterator[tuple[str, Results]]:
    """Seconds per pair of the published inference, and per image and per pair of ours, measured in turns."""
    code, published, ours = vit_large(arguments.size)
    shape = arguments.size * 3 // 4, arguments.size
    batch = Dust3rOptions().dust3r_batch_size
    views = random_views([shape] * batch)
    given = [as_published(code, view, arguments.size) for view in views]
    images = [CachedInference(ours, arguments.size).crop(view).image for view in views]
    encoded = ours.encode(images)
    couples = [(encoded[k], encoded[(k + 1) % batch]) for k in range(batch)]
    work: dict[str, tuple[Callable[[], object], int]] = {
        "published_pair": (lambda: published_inference(code, published, (given[0], given[1])), 1),
        "encode": (lambda: ours.encode(images), batch),
        "decode": (lambda: ours.decode(couples), batch),
    }
    work["published_pair"][0]()
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(arguments.rounds):
        for name, (run, count) in work.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) / count)
    seconds = {name: statistics.median(found) for name, found in times.items()}
    counts = count_runs()
    num_pairs = counts["published"][1]
    naive_s = num_pairs * seconds["published_pair"]
    yield "published", {"encoded": 2 * num_pairs, "decoded": num_pairs, "total_s": naive_s, "speedup": 1.0, **seconds}
    for name in ("exact", "economical"):
        encoded_count, decoded_count = counts[name]
        total_s = encoded_count * seconds["encode"] + decoded_count * seconds["decode"]
        yield (
            name,
            {
                "encoded": encoded_count,
                "decoded": decoded_count,
                "total_s": total_s,
                "speedup": naive_s / total_s,
                "rounds": arguments.rounds,
            },
        )


# ---------------------------------------------------------------- alignment


@dataclass(frozen=True)
class Stage:
    """Rendered views of the courtyard, and what a network of known geometry must know of them."""

    scene: Scene
    views: list[View]
    poses: list[Pose]

    def network(self, size_px: int) -> KnownGeometryNetwork:
        """A network that knows all views and makes no errors."""
        found = KnownGeometryNetwork(self.scene, size_px=size_px)
        for view, pose in zip(self.views, self.poses, strict=True):
            found.add_view(view.image, replace(view.intrinsics, focal_px=_focal(view)), pose)
        return found


def _focal(view: View) -> float:
    return 0.9 * view.intrinsics.width_px


def stage(poses: Sequence[Pose], size_px: int) -> Stage:
    """Render views; their focal lengths are handed out as guesses that are off by a tenth."""
    scene = Scene.courtyard(SEED, texels_per_m=size_px / 12)
    camera = Intrinsics(size_px, size_px * 3 // 4, 0.9 * size_px, size_px / 2, size_px * 3 / 8)
    guess = replace(camera, focal_px=camera.focal_px * 1.1)
    options = RenderOptions(supersampling=1)
    views = [View(str(i), render(scene, camera, pose, options).image, guess) for i, pose in enumerate(poses)]
    return Stage(scene, views, list(poses))


TARGET = (-2.0, 1.0, 1.8)
START, END = Viewpoint(-35, 11, 2.0, TARGET), Viewpoint(25, 11, 2.6, TARGET)


def pose_error(found: Pose, truth: Pose) -> tuple[float, float]:
    """Degrees of rotation and of direction."""
    unit = [geometry.with_unit_translation(pose) for pose in (found, truth)]
    rotation, direction = geometry.pose_distance_terms_deg([unit[0]], [unit[1]], signed=True)
    return float(rotation[0, 0]), float(direction[0, 0])


def view_errors(found: Alignment, poses: Sequence[Pose]) -> Results:
    """Largest errors over all views but the first, relative to the first."""
    errors = [
        pose_error(pose, geometry.relative_pose(truth, poses[0])) if pose is not None else (180.0, 180.0)
        for pose, truth in zip(found.cam_from_first[1:], poses[1:], strict=True)
    ]
    return {"rotation_deg": max(e[0] for e in errors), "direction_deg": max(e[1] for e in errors)}


def measure_alignment(arguments: argparse.Namespace) -> Iterator[tuple[str, Results]]:
    """Errors and time of both alignments on the same point maps; neither knows the focal length."""
    shown = stage(orbit(START, END, 5), arguments.size)
    keys = [view.key for view in shown.views]
    cameras = [view.intrinsics for view in shown.views]
    exact = shown.network(arguments.size)
    for sigma in NOISE:
        errors = MapErrors(depth_sigma=sigma, outlier_share=OUTLIER_SHARE, seed=SEED)
        inference = CachedInference(exact.with_errors(errors), arguments.size)
        pairs = all_ordered_pairs(keys)
        inference.compute(shown.views, pairs)
        maps = {(int(i), int(j)): inference.point_maps((i, j)) for i, j in pairs}
        times = []
        for _ in range(3):
            start = time.perf_counter()
            ours = align({edge: sample(found) for edge, found in maps.items()}, cameras, SEED)
            times.append(time.perf_counter() - start)
        own = {**view_errors(ours, shown.poses), "seconds": statistics.median(times)}
        print(f"noise {sigma}: ours {own}", flush=True)
        start = time.perf_counter()
        with quiet():
            theirs = published_alignment.align(maps, cameras, seed=SEED)
        published = {**view_errors(theirs, shown.poses), "seconds": time.perf_counter() - start}
        yield f"{sigma:g}", {"own": own, "published": published}


# ---------------------------------------------------------------- economy


def clip_path(index: int, num_frames: int) -> list[Pose]:
    """Cameras between A and B: a clip of its own bends to another side."""
    bend = np.array([[0, 0, 0.8], [0, 1.5, 0.0], [0, -1.5, 0.3], [0, 0.5, -0.6]], np.float64)[index]
    poses = []
    for share in (np.arange(num_frames) + 1) / (num_frames + 1):
        arc = START.towards(END, float(share))
        center = center_in_world(arc.cam_from_world) + np.sin(np.pi * share) * bend
        poses.append(look_at(center, TARGET))
    return poses


def measure_economy(arguments: argparse.Namespace) -> Iterator[tuple[str, Results]]:
    """Errors of the chosen pose of a weak pair, exact against economical, with the network of known geometry."""
    size_px = min(arguments.size, 192)
    clips = [clip_path(index, FRAMES_PER_CLIP) for index in range(ConsistencyOptions().num_clips)]
    shown = stage([START.cam_from_world, END.cam_from_world, *(pose for clip in clips for pose in clip)], size_px)
    a, b, rest = shown.views[0], shown.views[1], shown.views[2:]
    frames = [rest[k * FRAMES_PER_CLIP : (k + 1) * FRAMES_PER_CLIP] for k in range(len(clips))]
    truth = geometry.relative_pose(shown.poses[1], shown.poses[0])
    exact = shown.network(size_px)
    for sigma in NOISE:
        rows: Results = {}
        sums: dict[PairSelection, FloatArray] = {}
        for selection in PairSelection:
            errors, counts = [], (0, 0)
            for seed in ECONOMY_SEEDS:
                known = exact.with_errors(MapErrors(depth_sigma=sigma, outlier_share=OUTLIER_SHARE, seed=seed))
                chosen, counts = choose_pose(known, selection, a, frames, b, size_px)
                errors.append(pose_error(chosen, truth))
            sums[selection] = np.array([sum(e) for e in errors])
            rows[selection.value] = {
                "rotation_deg": statistics.mean(e[0] for e in errors),
                "direction_deg": statistics.mean(e[1] for e in errors),
                "sum_deg": statistics.mean(sum(e) for e in errors),
                "encoded": counts[0],
                "decoded": counts[1],
            }
        more_deg = sums[PairSelection.ECONOMICAL] - sums[PairSelection.EXACT]
        rows["more_deg"] = float(more_deg.mean())
        rows["more_standard_error_deg"] = float(more_deg.std(ddof=1) / np.sqrt(len(more_deg)))
        yield f"{sigma:g}", {**rows, "crop_px": size_px, "num_seeds": len(ECONOMY_SEEDS)}


def choose_pose(
    known: KnownGeometryNetwork,
    selection: PairSelection,
    a: View,
    clips: Sequence[Sequence[View]],
    b: View,
    size_px: int,
) -> tuple[Pose, tuple[int, int]]:
    """The pose that the self-consistency stage chooses at the paper's settings, and the runs of encoder and decoder."""
    nothing = Features(np.zeros((0, 2)), np.zeros((0, 8), np.float32), np.zeros(0, np.float32), (1, 1))
    context = EstimatorContext(
        features=lambda view: nothing,
        matches=lambda x, y: Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32)),
        seed=SEED,
        options=Dust3rOptions(dust3r_pairs=selection, dust3r_size_px=size_px),
    )
    options = ConsistencyOptions()
    with mock.patch.object(network, "load_network", return_value=known):
        estimator = Dust3rEstimator(context)
        limit = estimator.traits.frame_pool

        def hypothesis(clip: str, subset: tuple[int, ...], frames: Sequence[View]) -> PoseHypothesis:
            poses = estimator.estimate([a, *(frames[k] for k in subset), b])
            last = poses.cam_from_first[-1]
            pose = None if last is None else geometry.with_unit_translation(last)
            return PoseHypothesis(clip, subset, poses.status, pose, poses.spread_deg, 0)

        hypotheses = []
        for index, frames in enumerate(clips):
            pool = consistency.frame_pool(len(frames), limit)
            for subset in consistency.draw_subsets(len(pool), options, SEED):
                hypotheses.append(hypothesis(str(index), tuple(pool[k] for k in subset), frames))
        choice = consistency.choose(ImagePair("A", "B"), hypotheses, hypothesis("", (), ()), options)
    assert choice.b_from_a is not None
    return choice.b_from_a, (estimator.inference.num_encoded, estimator.inference.num_decoded)


# ---------------------------------------------------------------- the whole way


def measure_whole(arguments: argparse.Namespace) -> Iterator[tuple[str, Results]]:
    """Poses by relpose and reconstruct on a rendered collection whose two groups only a clip connects."""
    size_px = min(arguments.size, 256)
    with TemporaryDirectory(prefix="interpose_sfm-") as folder:
        truth = write_sample(Path(folder) / "sample", SampleOptions(seed=SEED, width_px=480, photos_per_group=4))
        known = known_collection(truth, size_px)
        options = ReconstructOptions(
            pose_estimator="dust3r",
            seed=SEED,
            bridging=BridgingOptions(clip_dirs=(truth.clip_dir,), frames_per_clip=23),
            dust3r=Dust3rOptions(dust3r_size_px=size_px),
        )
        with mock.patch.object(network, "load_network", return_value=known):
            a, b = (truth.photo_dir / name for name in (truth.gap.a, truth.gap.b))
            found = relative_pose(a, b, options)
            true_pose = geometry.relative_pose(truth.cam_from_world[truth.gap.b], truth.cam_from_world[truth.gap.a])
            errors = (180.0, 180.0) if found.b_from_a is None else pose_error(found.b_from_a, true_pose)
            yield "relpose", {"verdict": found.verdict.value, "rotation_deg": errors[0], "direction_deg": errors[1]}
            result = reconstruct.reconstruct(truth.photo_dir, Path(folder) / "out", options)
        yield "reconstruct", reconstruction_row(truth, result.model_dirs[0], result.report.num_registered_before)


def known_collection(truth: SampleTruth, size_px: int) -> KnownGeometryNetwork:
    """A network that knows the photos and the frames of a collection."""
    import av

    found = KnownGeometryNetwork(Scene.courtyard(truth.seed), MapErrors(), size_px)
    for name, pose in truth.cam_from_world.items():
        with Image.open(truth.photo_dir / name) as photo:
            found.add_view(np.asarray(photo.convert("RGB"), np.uint8), truth.intrinsics, pose)
    with av.open(str(truth.clip_dir / truth.clip_name)) as clip:
        frames = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in clip.decode(video=0)]
    for frame, pose in zip(frames, truth.clip_cam_from_world, strict=True):
        found.add_view(frame, truth.clip_intrinsics, pose)
    return found


def reconstruction_row(truth: SampleTruth, model_dir: Path, num_before: int) -> Results:
    """Photos and largest error of the largest model."""
    import pycolmap

    poses = reconstruction.poses(pycolmap.Reconstruction(model_dir))
    errors: FloatArray = pose_errors_deg(truth.cam_from_world, poses)
    return {
        "photos": len(truth.cam_from_world),
        "registered_before": num_before,
        "registered": len(poses),
        "max_error_deg": float(errors.max()),
    }


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[tuple[str, Results]]]] = {
    "equality": measure_equality,
    "cost": measure_cost,
    "alignment": measure_alignment,
    "economy": measure_economy,
    "whole": measure_whole,
}


# ---------------------------------------------------------------- the document


def document(found: Results) -> str:
    """All results at hand as Markdown."""
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# What DUSt3R costs here",
        "",
        *_paragraph(
            "Made by `python pipelines/dust3r_cost.py`. Network classes and global aligner are those of DUSt3R's",
            f"published code ({network_code.find_network_code().package}); weights are random with a fixed seed, for",
            "cost and equality do not depend on their values. *Known geometry* means a network that answers with point",
            "maps rendered from the truth.",
        ),
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}. Seed {SEED}. Versions: {names}.",
        "",
    ]
    for part, write in WRITERS.items():
        if part in found:
            lines += [*write(found[part]), ""]
    return "\n".join(lines)


def _paragraph(*parts: str) -> list[str]:
    return textwrap.wrap(" ".join(parts), 118)


def _equality_lines(rows: Results) -> list[str]:
    lines = [
        "## The same numbers",
        "Largest relative difference of our cached, batched point maps to those of the published `inference`, both",
        "orders.",
        "",
        "| pictures | points | confidences |",
        "|---|---|---|",
    ]
    for name, row in rows.items():
        height, width = row["shape"]
        lines.append(f"| {name}, {width} x {height} | {row['points']:.1e} | {row['confidence']:.1e} |")
    return lines


def _cost_lines(rows: Results) -> list[str]:
    first = rows["published"]
    lines = [
        "## One weak pair at the paper's settings",
        *_paragraph(
            f"4 clips of {FRAMES_PER_CLIP} frames, 11 subsets of 5 views each; network part only,",
            f"{first['threads']} thread{'s' if first['threads'] > 1 else ''}. Measured in turns:",
            f"{first['published_pair']:.2f} s for a pair by the",
            "published `inference`",
            f"(batches of one, as in its demonstration), {first['encode']:.2f} s for an image and",
            f"{first['decode']:.2f} s for a pair with ours. Totals are extrapolated: these medians times the number of",
            "runs.",
        ),
        "",
        "| way | encoder runs | decoder runs | hours | times faster |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        hours = row["total_s"] / 3600
        lines.append(f"| {name} | {row['encoded']} | {row['decoded']} | {hours:.2f} | {row['speedup']:.1f} |")
    return lines


def _alignment_lines(rows: Results) -> list[str]:
    lines = [
        "## Alignment of 5 views on maps of known geometry",
        *_paragraph(
            f"All ordered pairs, each in a scale of its own; {OUTLIER_SHARE:.0%} of the points are",
            "grossly wrong and have low confidence; noise on the depth of every pixel. Largest error over the views,",
            "in degrees: rotation, and direction of translation. No focal length is known. Published:",
            "`global_aligner`, init mst, 300 steps.",
        ),
        "",
        "| noise | rotation, ours | published | direction, ours | published | s, ours | published | times faster |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for sigma, row in rows.items():
        own, published = row["own"], row["published"]
        lines.append(
            f"| {float(sigma):.0%} | {own['rotation_deg']:.4f} | {published['rotation_deg']:.4f} | "
            f"{own['direction_deg']:.4f} | {published['direction_deg']:.4f} | {own['seconds']:.2f} | "
            f"{published['seconds']:.0f} | {published['seconds'] / own['seconds']:.0f} |"
        )
    return lines


def _economy_lines(rows: Results) -> list[str]:
    first = next(iter(rows.values()))
    lines = [
        "## What economy costs in accuracy",
        *_paragraph(
            "The pose chosen for a weak pair, 60 degrees apart, by D_total at the paper's settings, on maps of known",
            f"geometry with errors as above ({first['crop_px']} px). Mean over {first['num_seeds']}",
            "seeds of the noise; rotation + direction in degrees. *More*: economical less exact on the same noise,",
            "with the standard error of its mean.",
        ),
        "",
        "| noise | exact | economical | more | encoder, decoder runs, exact | economical |",
        "|---|---|---|---|---|---|",
    ]
    for sigma, row in rows.items():
        exact, economical = row["exact"], row["economical"]
        lines.append(
            f"| {float(sigma):.0%} | {exact['sum_deg']:.5f} | {economical['sum_deg']:.5f} | "
            f"{row['more_deg']:+.5f} ± {row['more_standard_error_deg']:.5f} | "
            f"{exact['encoded']}, {exact['decoded']} | {economical['encoded']}, {economical['decoded']} |"
        )
    return lines


def _whole_lines(rows: Results) -> list[str]:
    lines = [
        "## The whole way with a network of known geometry",
        "A rendered collection whose two groups only a clip connects.",
        "",
    ]
    if "relpose" in rows:
        row = rows["relpose"]
        lines.append(
            f"- `relpose` on the two photos next to the gap: {row['verdict']}, rotation off by "
            f"{row['rotation_deg']:.3f} degrees, direction by {row['direction_deg']:.3f}."
        )
    if "reconstruct" in rows:
        row = rows["reconstruct"]
        lines.append(
            f"- `reconstruct`: {row['registered']} of {row['photos']} photos in one model "
            f"({row['registered_before']} before); largest error between two photos {row['max_error_deg']:.2f} degrees."
        )
    return lines


WRITERS: dict[str, Callable[[Results], list[str]]] = {
    "equality": _equality_lines,
    "cost": _cost_lines,
    "alignment": _alignment_lines,
    "economy": _economy_lines,
    "whole": _whole_lines,
}


if __name__ == "__main__":
    sys.exit(main())
