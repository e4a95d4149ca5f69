"""Two models that share no point, joined by one link and GPS: how often, and how well, by size and by error of GPS.

On synthetic models of known truth, written to ``docs/results/gps_scale.md``. Each has four photos; the link is true to
its spread of one degree. GPS errs along every axis by as much for each photo, or for all photos of a model alike by as
much, and for each by half of that.

Usage: python pipelines/gps_scale.py [--seeds N]
"""

from __future__ import annotations

import argparse
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.geometry import Similarity
from interpose_sfm.joining import gps
from interpose_sfm.joining.alignment import Alignment
from interpose_sfm.joining.placing import Between
from interpose_sfm.products import Evidence, FloatArray, ImagePair, Link, Pose
from interpose_sfm.report import versions
from interpose_sfm.synthetic import look_at

RESULT = Path(__file__).resolve().parent.parent / "docs" / "results" / "gps_scale.md"
EXTENTS_M = (20.0, 40.0, 60.0, 80.0, 120.0, 250.0)  # of either model
NOISES_M = (2.5, 5.0, 10.0)
SPREAD_DEG = 1.0
MAX_ANGLE_DEG = 10.0
NOWHERE = np.zeros((0, 2))
EVIDENCE = Evidence(100, 95, 0.95, 0.9, 0.5, 20.0, True, 0.95, 90.0, 100.0)


@dataclass(frozen=True)
class World:
    """Two models, each in a frame of its own; the target's is in metres, though nothing says so."""

    target: Mapping[str, Pose]
    source: Mapping[str, Pose]
    target_from_source: Similarity

    def moved(self) -> dict[str, Pose]:
        """The source's photos in the target."""
        return {name: self.target_from_source.move_camera(pose) for name, pose in self.source.items()}


def world_of(rng: np.random.Generator, extent_m: float) -> World:
    """Photos around a place, at heights of their own, the two models on arcs beside each other."""
    radius = extent_m / (2 * np.sin(np.radians(20)))
    poses = []
    for azimuth_deg in (-55.0, -42.0, -28.0, -15.0, 15.0, 28.0, 42.0, 55.0):
        angle = np.radians(azimuth_deg + rng.uniform(-3, 3))
        center = radius * np.array([np.sin(angle), -np.cos(angle), rng.uniform(0.0, 0.1)])
        poses.append(look_at(tuple(center), (0.0, 0.0, 0.0)))
    scale, turn = float(np.exp(rng.uniform(-1.5, 1.5))), geometry.rotation_exp(rng.uniform(-2, 2, 3))
    truth = Similarity(scale, turn, extent_m * rng.uniform(-1, 1, 3))
    back = truth.inverse()
    target = {f"a{k}": pose for k, pose in enumerate(poses[:4])}
    return World(target, {f"b{k}": back.move_camera(pose) for k, pose in enumerate(poses[4:])}, truth)


def link_of(world: World, rng: np.random.Generator, bend_deg: float) -> Link:
    """A link between the two, off by its spread, its direction by as much more as is asked for."""
    a, b = f"a{rng.integers(4)}", f"b{rng.integers(4)}"
    exact = geometry.with_unit_translation(geometry.relative_pose(world.moved()[b], world.target[a]))
    turn, bend = (geometry.rotation_exp(np.radians(SPREAD_DEG) * rng.normal(size=3)) for _ in range(2))
    axis = np.cross(exact.translation, rng.normal(size=3))
    bend = geometry.rotation_from_axis_angle(axis, bend_deg) @ bend
    pose = Pose(turn @ exact.rotation, bend @ exact.translation)
    return Link(ImagePair(a, b), pose, SPREAD_DEG, NOWHERE, NOWHERE, EVIDENCE, "clip")


def positions_of(world: World, rng: np.random.Generator, noise_m: float, is_drifting: bool) -> dict[str, FloatArray]:
    """Positions by GPS; one that drifts errs for all photos of a model alike, and by half of that for each."""
    found = {}
    for poses in (world.target, world.moved()):
        drift = noise_m * rng.normal(size=3) if is_drifting else np.zeros(3)
        share = 0.5 if is_drifting else 1.0
        for name, pose in poses.items():
            found[name] = pose.inverse().translation + drift + share * noise_m * rng.normal(size=3)
    return found


def join(world: World, link: Link, positions_m: Mapping[str, FloatArray]) -> Alignment | None:
    """The two as joined by one link and GPS; None where they stay apart."""
    sigma_m = gps.position_sigma_m([world.target, world.source], positions_m)
    survey = gps.survey(world.target, world.source, positions_m, sigma_m)
    if survey is None:
        return None
    answer = survey.align(Between(world.target, world.source, (link,), {}), MAX_ANGLE_DEG)
    return answer if isinstance(answer, Alignment) else None


def row(extent_m: float, noise_m: float, is_drifting: bool, seeds: int) -> str:
    """A row of the table."""
    scales, places_m, counts = [], [], Counter[str]()
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        world = world_of(rng, extent_m)
        positions_m = positions_of(world, rng, noise_m, is_drifting)
        found = join(world, link_of(world, rng, 0.0), positions_m)
        counts["none"] += join(world, link_of(world, rng, 90.0), positions_m) is not None
        counts["without"] += join(world, link_of(world, rng, 0.0), {}) is not None
        if found is not None:
            scales.append(abs(float(np.log(found.target_from_source.scale / world.target_from_source.scale))))
            moves = [
                found.target_from_source.apply(pose.inverse().translation) - world.moved()[name].inverse().translation
                for name, pose in world.source.items()
            ]
            places_m.append(float(np.linalg.norm(moves, axis=1).max()))
    figures = "- | - | -"
    if scales:
        middle, high = np.percentile(scales, (50, 95))
        figures = f"{middle:.1%} | {high:.1%} | {np.median(places_m):.0f} m"
    what = f"{noise_m:g} m{', alike' if is_drifting else ''}"
    joined = f"{len(scales)} of {seeds}"
    return f"| {what} | {extent_m:.0f} m | {joined} | {figures} | {counts['none']} | {counts['without']} |"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    seeds = parser.parse_args().seeds
    lines = [
        "# Models joined by one link and GPS",
        "",
        f"Made by `python pipelines/gps_scale.py`; seeds 0 to {seeds - 1}, {platform.machine()}.",
        f"Versions: {', '.join(f'{name} {version}' for name, version in versions().items())}.",
        "",
        "Two models of four photos each without a common point, on arcs beside each other, and one link between them",
        "that has no depths. Errors are those of the joins; how far photos are off is the largest distance of a photo",
        "from its true place in the other model. *Alike*: for all photos of a model by as much, and for each by half",
        "of that. The last two columns count joins where the link points 90 degrees elsewhere, and without GPS.",
        "",
        "| GPS errs by | either model spans | joined | scale error, median | 95 % below | photos off, median | "
        "wrong link joined | joined without GPS |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for noise_m in NOISES_M:
        for is_drifting in (False, True):
            for extent_m in EXTENTS_M:
                lines.append(row(extent_m, noise_m, is_drifting, seeds))
                print(lines[-1], flush=True)
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
