"""Joining two models by links of known error: never a wrong join, and less error than the links have.

Two experiments on synthetic models of known truth, written to ``docs/results/joining_noise.md``:

* one true link against four wrong ones that agree with each other, as look-alike facades produce them;
* links with noise of 2 and 5 degrees: the error of the joined model before and after the adjustment.

Usage: python pipelines/joining_noise.py [--seeds-wrong N] [--seeds-noise N]
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pyceres  # noqa: F401  before pycolmap makes problems
import pycolmap

from interpose_sfm import geometry
from interpose_sfm.colmap import reconstruction
from interpose_sfm.geometry import Similarity, link_errors_deg
from interpose_sfm.joining.adjustment import adjust
from interpose_sfm.joining.alignment import MAX_SCALE_SIGMA, Alignment, Apart, align
from interpose_sfm.joining.ties import Baseline, Length
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs import consensus
from interpose_sfm.products import Evidence, FloatArray, ImagePair, Link, Pose
from interpose_sfm.report import versions

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "joining_noise.md"
WRONG_DEG = 15.0
PHOTOS = 5  # of either model
POINTS = 160  # of both models together
PIXEL_NOISE = 0.5
DEPTH_NOISE = 0.1
COMMON_POINTS = 20  # between the models, in the last table
NUM_LINKS = (1, 2, 3, 5, 8)
NOISES_DEG = (2.0, 5.0)
STRENGTHS = {"weaker": 0.5, "equal": 1.0, "stronger": 2.0}
FACADES = {"across the yard (turned by 180 degrees)": 180.0, "around the corner (turned by 90 degrees)": 90.0}


@dataclass(frozen=True)
class World:
    """Two models of one scene, each in a frame of its own.

    Attributes:
        model: All photos in the frame of the target; no point is seen by photos of both, but for the common ones.
        target, source: cam_from_world of the photos of either.
        target_from_source: The truth.
    """

    model: pycolmap.Reconstruction
    target: Mapping[str, Pose]
    source: Mapping[str, Pose]
    target_from_source: Similarity

    def b_from_a(self, a: str, b: str, target_from_source: Similarity | None = None) -> Pose:
        """Relative pose of a photo of either, true or by another similarity."""
        moved = target_from_source or self.target_from_source
        poses = dict(self.target) | {name: moved.move_camera(pose) for name, pose in self.source.items()}
        return geometry.relative_pose(poses[b], poses[a])

    def link(
        self, pair: ImagePair, rng: np.random.Generator, noise_deg: float, moved: Similarity | None = None
    ) -> Link:
        """A link with that noise about each axis, by the truth or by another similarity."""
        exact = geometry.with_unit_translation(self.b_from_a(pair.a, pair.b, moved))
        turn, bend = (geometry.rotation_exp(np.radians(noise_deg) * rng.normal(size=3)) for _ in range(2))
        nothing = np.zeros((0, 2))
        pose = Pose(turn @ exact.rotation, bend @ exact.translation)
        return Link(pair, pose, noise_deg, nothing, nothing, evidence(1.0), "pair")

    def baseline(self, pair: ImagePair, rng: np.random.Generator, moved: Similarity | None = None) -> Baseline:
        """The length of a link's baseline as depths on either side tell it."""
        length = float(np.linalg.norm(self.b_from_a(pair.a, pair.b, moved).translation))
        errors = np.exp(DEPTH_NOISE * rng.normal(size=2))
        return Baseline(
            Length(length * errors[0], DEPTH_NOISE),
            Length(length * errors[1] / self.target_from_source.scale, DEPTH_NOISE),
        )


def main() -> int:
    """Run both experiments and write the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds-wrong", type=int, default=100)
    parser.add_argument("--seeds-noise", type=int, default=50)
    arguments = parser.parse_args()
    pycolmap.logging.minloglevel = 2
    start = time.monotonic()
    worlds = [make_world(seed) for seed in range(max(arguments.seeds_wrong, arguments.seeds_noise))]
    lines = wrong_lines(worlds[: arguments.seeds_wrong]) + noise_lines(worlds[: arguments.seeds_noise])
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text("\n".join([*head_lines(), *lines, ""]), encoding="utf-8")
    print(f"{RESULT} after {time.monotonic() - start:.0f} s")
    return 0


def make_world(seed: int, num_common: int = 0) -> World:
    """Photos around a scene, half of them in either model, whose points the other half does not see, but for a few."""
    pycolmap.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    options = pycolmap.SyntheticDatasetOptions(
        num_rigs=1, num_cameras_per_rig=1, num_frames_per_rig=2 * PHOTOS, num_points3D=POINTS
    )
    model = pycolmap.synthesize_dataset(options)
    pycolmap.synthesize_noise(pycolmap.SyntheticNoiseOptions(point2D_stddev=PIXEL_NOISE), model)
    poses = reconstruction.poses(model)
    names = sorted(poses)
    for index, point_id in enumerate(sorted(model.point3D_ids())[num_common:]):
        observations = [(e.image_id, e.point2D_idx) for e in model.point3D(point_id).track.elements]
        for image_id, row_id in observations:
            if (names.index(model.image(image_id).name) < PHOTOS) != (index % 2 == 0):
                model.delete_observation(image_id, row_id)
    truth = Similarity(
        float(np.exp(rng.uniform(-1, 1))), geometry.rotation_exp(rng.uniform(-2, 2, 3)), rng.uniform(-5, 5, 3)
    )
    source = {name: truth.inverse().move_camera(poses[name]) for name in names[PHOTOS:]}
    return World(model, {name: poses[name] for name in names[:PHOTOS]}, source, truth)


def evidence(strength: float) -> Evidence:
    """Evidence that the gate lets through, weaker or stronger than that of others."""
    density = 0.4 * strength
    return Evidence(100, 95, 0.95, 0.9, density, 50.0, True, 0.95, 85.5, 100.0)


def errors_deg(world: World, found: Mapping[str, Pose]) -> FloatArray:
    """(n, 2) errors of rotation and direction over all pairs between the models."""
    rows = []
    for a, b in product(world.target, world.source):
        truth, pose = world.b_from_a(a, b), geometry.relative_pose(found[b], found[a])
        rows.append(
            (
                float(geometry.rotation_angle_deg(pose.rotation @ truth.rotation.T)),
                float(geometry.direction_angle_deg(pose.translation, truth.translation)),
            )
        )
    return np.array(rows)


def joined_poses(world: World, alignment: Alignment) -> dict[str, Pose]:
    """cam_from_target of all photos."""
    moved = alignment.target_from_source
    return dict(world.target) | {name: moved.move_camera(pose) for name, pose in world.source.items()}


def some_pairs(world: World, rng: np.random.Generator, num: int) -> list[ImagePair]:
    """Pairs between the models, no two the same."""
    pairs = [ImagePair(a, b) for a, b in product(world.target, world.source)]
    return [pairs[i] for i in rng.permutation(len(pairs))[:num]]


# ---------------------------------------------------------------- wrong links that agree


def wrong_lines(worlds: Sequence[World]) -> list[str]:
    """The tables of the first experiment."""
    lines = [
        "## One true link, four wrong ones that agree",
        "",
        f"{len(worlds)} pairs of models of {PHOTOS} photos each. All links have noise of 1 degree, and depths that",
        f"tell their lengths to {DEPTH_NOISE:.0%}, so that each of them alone would join the models. The wrong ones",
        "place the source as if it saw a facade that looks like the true one. A join is wrong if the poses between the",
        f"models are off by more than {WRONG_DEG:.0f} degrees in the mean.",
        "",
        "| the other facade is | wrong links are | joined rightly | left apart | joined wrongly | "
        "(joined wrongly, were only those links heard that the cycles leave) |",
        "|---|---|---|---|---|---|",
    ]
    for (facade, turn_deg), (label, strength) in product(FACADES.items(), STRENGTHS.items()):
        counts = [outcome(world, seed, turn_deg, strength, 4) for seed, world in enumerate(worlds)]
        lines.append(row(facade, label, [c[0] for c in counts], [c[1] for c in counts]))
        print(lines[-1], flush=True)
    for label, num_more in (("none, five true ones", 4), ("none, one true one alone", 0)):
        counts = [outcome(world, seed, 0.0, 1.0, num_more) for seed, world in enumerate(worlds)]
        lines.append(row("(control)", label, [c[0] for c in counts], [c[1] for c in counts]))
        print(lines[-1], flush=True)
    return [
        *lines,
        "",
        "How strong the evidence is decides nothing here: a link that contradicts the others keeps the models apart,",
        "however many and however strong they are; the last column shows what trusting the strongest would cost.",
        "A single true link turns the source rightly, but errs in its distance and size where its depths do.",
        "",
    ]


def row(facade: str, label: str, heard: Sequence[str], settled: Sequence[str]) -> str:
    """A line of the table."""
    counts = " | ".join(str(heard.count(result)) for result in ("right", "apart", "wrong"))
    return f"| {facade} | {label} | {counts} | {settled.count('wrong')} |"


def outcome(world: World, seed: int, turn_deg: float, strength: float, num_wrong: int) -> tuple[str, str]:
    """What becomes of the two models when all links are heard, and when only what the cycles leave is."""
    rng = np.random.default_rng(1000 + seed)
    about = geometry.rotation_from_axis_angle([0.0, 0.0, 1.0], turn_deg)
    wrong_place = Similarity(1.0, about, np.zeros(3)) @ world.target_from_source
    pairs = some_pairs(world, rng, 1 + num_wrong)
    places = [world.target_from_source] + [wrong_place] * num_wrong
    links = [world.link(pair, rng, 1.0, place) for pair, place in zip(pairs, places, strict=True)]
    links = [links[0], *(replace(link, evidence=evidence(strength)) for link in links[1:])]
    baselines = {pair: world.baseline(pair, rng, place) for pair, place in zip(pairs, places, strict=True)}
    fallen = consensus.contradictions(links, [world.target, world.source], ConsensusOptions())
    left = [link for index, link in enumerate(links) if index not in fallen]
    return judged(world, links, baselines), judged(world, left, baselines)


def judged(world: World, links: Sequence[Link], baselines: Mapping[ImagePair, Baseline]) -> str:
    """Whether the models are joined rightly, wrongly or not at all."""
    found = align(world.target, world.source, links, baselines=baselines)
    if isinstance(found, Apart):
        return "apart"
    return "wrong" if np.max(errors_deg(world, joined_poses(world, found)).mean(axis=0)) > WRONG_DEG else "right"


# ---------------------------------------------------------------- noise


def noise_lines(worlds: Sequence[World]) -> list[str]:
    """The tables of the second experiment."""
    lines = [
        "## Noise on the links",
        "",
        f"{len(worlds)} pairs of models of {PHOTOS} photos each, which share no point but in the last table;",
        f"{PIXEL_NOISE} px of noise on the key points. The noise of the links is one sigma about each axis, of",
        "rotation and of direction, which makes the mean angle of their error larger (second column). Errors of",
        "models are means over the linked pairs, which is what compares with the links, and over all pairs between",
        "the models, where short baselines make directions err more;",
        f"rotation / direction in degrees. Models stay apart where the scale is not known to {MAX_SCALE_SIGMA:.0%}.",
        "",
    ]
    with_common = [make_world(seed, COMMON_POINTS) for seed in range(len(worlds))]
    tables = {
        f"Depths tell the lengths to {DEPTH_NOISE:.0%}": (worlds, True),
        "Without depths": (worlds, False),
        f"With depths, and {COMMON_POINTS} points that both models see once they are joined": (with_common, True),
    }
    for title, (scenes, has_depths) in tables.items():
        lines += [
            f"### {title}",
            "",
            "| noise, links | error of the links | joined | of the adjusted model, linked pairs | of the joined model, "
            "all pairs | of the adjusted model, all pairs | scale error before, after |",
            "|---|---|---|---|---|---|---|",
        ]
        for noise_deg, num in product(NOISES_DEG, NUM_LINKS):
            lines.append(noise_line(scenes, noise_deg, num, has_depths))
            print(lines[-1], flush=True)
        lines.append("")
    return lines


def noise_line(worlds: Sequence[World], noise_deg: float, num: int, has_depths: bool) -> str:
    """One line: errors of the links, and of the joined models before and after."""
    found = [r for s, w in enumerate(worlds) if (r := one_run(w, 2000 + s, noise_deg, num, has_depths)) is not None]
    label = f"| {noise_deg:.0f} degrees, {num} | "
    if not found:
        return f"{label}- | 0 of {len(worlds)} | - | - | - | - |"
    links, linked, before, after = (np.mean([r[k] for r in found], axis=0) for k in range(4))
    return (
        f"{label}{links[0]:.2f} / {links[1]:.2f} | {len(found)} of {len(worlds)} | "
        f"{linked[0]:.2f} / {linked[1]:.2f} | {before[0]:.2f} / {before[1]:.2f} | "
        f"{after[0]:.2f} / {after[1]:.2f} | {before[2]:.1%}, {after[2]:.1%} |"
    )


def one_run(world: World, seed: int, noise_deg: float, num: int, has_depths: bool) -> list[FloatArray] | None:
    """Errors of the links, of the adjusted model on the same pairs, of the joined model and of the adjusted one on all.

    None if the models stay apart.
    """
    rng = np.random.default_rng(seed)
    pairs = some_pairs(world, rng, num)
    links = [world.link(pair, rng, noise_deg) for pair in pairs]
    baselines = {pair: world.baseline(pair, rng) for pair in pairs} if has_depths else {}
    found = align(world.target, world.source, links, baselines=baselines)
    if isinstance(found, Apart):
        return None
    model = moved_model(world, found)
    adjusted = adjust(model, links, bases=[sorted(world.target), sorted(world.source)]).model
    of_links = [link_errors_deg(world.b_from_a(link.pair.a, link.pair.b), link.b_from_a) for link in links]
    poses = reconstruction.poses(adjusted)
    of_linked = [
        link_errors_deg(world.b_from_a(a, b), geometry.relative_pose(poses[b], poses[a]))
        for a, b in ((pair.a, pair.b) for pair in pairs)
    ]
    summaries = (summary(world, reconstruction.poses(m)) for m in (model, adjusted))
    return [np.mean(of_links, axis=0), np.mean(of_linked, axis=0), *summaries]


def moved_model(world: World, alignment: Alignment) -> pycolmap.Reconstruction:
    """The joined model: the source's photos and points are where the alignment puts them."""
    model = pycolmap.Reconstruction(world.model)
    moved = alignment.target_from_source @ world.target_from_source.inverse()
    for name, pose in joined_poses(world, alignment).items():
        image = model.find_image_with_name(name)
        model.frame(image.frame_id).set_cam_from_world(image.camera_id, geometry.to_rigid3d(pose))
    for point in model.points3D.values():
        elements = point.track.elements
        if all(model.image(element.image_id).name in world.source for element in elements):
            point.xyz = moved.apply(np.asarray(point.xyz))
    return model


def summary(world: World, poses: Mapping[str, Pose]) -> FloatArray:
    """Mean errors of rotation and direction in degrees, and of the scale as a share."""
    sizes = []
    for names in (world.target, world.source):
        centers = np.array([poses[name].inverse().translation for name in names])
        sizes.append(float(np.linalg.norm(centers - centers.mean(axis=0))))
    source = np.array([world.target_from_source.apply(pose.inverse().translation) for pose in world.source.values()])
    target = np.array([pose.inverse().translation for pose in world.target.values()])
    true = [float(np.linalg.norm(centers - centers.mean(axis=0))) for centers in (target, source)]
    scale_error = abs(float(np.log(sizes[1] / sizes[0] / (true[1] / true[0]))))
    return np.array([*errors_deg(world, poses).mean(axis=0), scale_error])


def head_lines() -> list[str]:
    """Title and provenance."""
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    return [
        "# Joining models by links of known error",
        "",
        f"Made by `python pipelines/joining_noise.py`; seeds from 0, {platform.machine()}, {os.cpu_count()} cores.",
        f"Versions: {names}.",
        "",
    ]


if __name__ == "__main__":
    sys.exit(main())
