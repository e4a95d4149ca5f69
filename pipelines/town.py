"""A rendered town of known geometry: blocks of houses, each photographed on a walk around it, in any order.

Along a side of a block photos overlap well. At each corner the walk has a gap, or none:

* with gaps, two photos at the end of a side and two at the start of the next look at the corner, 60 to 70 degrees
  apart, which SIFT does not match and learned features do. Two on either side, since two models that links between one
  photo of each join leave their scale open;
* without, four photos go round the corner in steps of 18 degrees, so that nothing is weak.

Blocks do not see one another.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from interpose_sfm import geometry
from interpose_sfm.products import FloatArray, ImagePair, Intrinsics, Pose
from interpose_sfm.synthetic import Rectangle, RenderOptions, Scene, look_at, make_texture, render

PER_BLOCK = 100
SIDE_M, HEIGHT_M, AWAY_M, EYE_M = 30.0, 7.0, 9.0, 1.7
BLOCK_STEP_M = 80.0
CORNER_DEG = {"gaps": (10.0, 15.0, 75.0, 80.0), "closed": (18.0, 36.0, 54.0, 72.0)}  # of the way around a corner
MIN_SHARED = 0.3  # of what either photo of a true pair shows


@dataclass(frozen=True)
class Town:
    """Photos on disk and where they were taken.

    Attributes:
        photo_dir: The photos, named in a shuffled order.
        cam_from_world: True poses.
        block_of: Which block a photo shows.
        walk: Photos in the order of the walk.
        neighbours: Pairs that show enough in common.
    """

    photo_dir: Path
    cam_from_world: dict[str, Pose]
    block_of: dict[str, int]
    walk: tuple[str, ...]
    neighbours: frozenset[ImagePair]


def _wall(
    rng: np.random.Generator, name: str, start: FloatArray, end: FloatArray, height_m: float, texels: float
) -> Rectangle:
    """An upright surface from one place on the ground to another."""
    length = float(np.linalg.norm(end - start))
    texture = make_texture(rng, (length, height_m), texels, num_windows=int(length / 2))
    corner = np.array([*start[:2], height_m])
    return Rectangle(name, corner, (end - start) / length, np.array([0.0, 0.0, -1.0]), (length, height_m), texture)


def _block(seed: int, number: int, texels: float) -> tuple[Scene, FloatArray]:
    """The surfaces of one block, and its corners on the ground, counter-clockwise."""
    rng = np.random.default_rng([seed, number])
    origin = np.array([BLOCK_STEP_M * number, 0.0, 0.0])
    corners = origin + SIDE_M * np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], float)
    surfaces = []
    for side in range(4):
        start, end = corners[side], corners[(side + 1) % 4]
        along = (end - start) / SIDE_M
        outward = np.array([along[1], -along[0], 0.0])
        surfaces.append(_wall(rng, f"wall {side}", start, end, HEIGHT_M, texels))
        for place in np.arange(2.0, SIDE_M - 4.0, 5.0):  # bays, so that nothing is flat
            first = start + (place + rng.uniform(0, 2)) * along
            last, depth = first + rng.uniform(1.0, 2.0) * along, rng.uniform(0.4, 1.2)
            height, ends = rng.uniform(2.0, 6.0), (first + depth * outward, last + depth * outward)
            edges = ((first, ends[0]), ends, (ends[1], last))
            surfaces += [_wall(rng, f"bay {side} {place} {k}", a, b, height, texels) for k, (a, b) in enumerate(edges)]
    return Scene(tuple(surfaces)), corners


def _views(rng: np.random.Generator, corners: FloatArray, corner_deg: Sequence[float]) -> list[Pose]:
    """Where the photographer stands around one block, in order."""
    views = []
    for side in range(4):
        start, end = corners[side], corners[(side + 1) % 4]
        along = (end - start) / SIDE_M
        outward = np.array([along[1], -along[0], 0.0])
        for place in np.linspace(1.0, SIDE_M - 1.0, PER_BLOCK // 4 - len(corner_deg)):
            foot = start + place * along
            center = foot + (AWAY_M + rng.uniform(-0.5, 0.5)) * outward + [0, 0, EYE_M + rng.uniform(-0.2, 0.2)]
            views.append(look_at(center, foot + rng.uniform(-1.5, 1.5) * along + [0, 0, 2.5]))
        views += corner_views(end, along, outward, corner_deg)
    return views


def corner_views(corner: FloatArray, along: FloatArray, outward: FloatArray, degrees: Sequence[float]) -> list[Pose]:
    """Where the photographer stands on the way around a corner, by degrees from the direction that a side faces."""
    turns = [np.cos(turn_rad) * outward + np.sin(turn_rad) * along for turn_rad in np.radians(degrees)]
    target = corner + np.array([0.0, 0.0, 2.5])
    return [look_at(corner + AWAY_M * turn + [0, 0, EYE_M], target) for turn in turns]


def write_town(folder: Path, num_photos: int, width_px: int, seed: int = 0, walk: str = "gaps") -> Town:
    """Render a town, or take the one that lies there.

    Args:
        folder: Where the photos and the truth are written.
        num_photos: Of the walk; the last block may have fewer.
        width_px: Of the photos; the height is three quarters of it.
        seed: Of textures, places and names.
        walk: ``gaps`` or ``closed``, at the corners.
    """
    truth_path, photo_dir = folder / "truth.json", folder / "photos"
    if truth_path.is_file():
        return _read(folder)
    photo_dir.mkdir(parents=True, exist_ok=True)
    height_px = width_px * 3 // 4
    camera = Intrinsics(width_px, height_px, 0.87 * width_px, width_px / 2, height_px / 2)  # 60 degrees wide
    rng = np.random.default_rng(seed)
    names = [f"{number:04}.jpg" for number in rng.permutation(num_photos)]
    poses: dict[str, Pose] = {}
    block_of: dict[str, int] = {}
    seen: dict[str, FloatArray] = {}
    for number in range(-(-num_photos // PER_BLOCK)):
        scene, corners = _block(seed, number, texels=0.87 * width_px / AWAY_M)
        views = _views(np.random.default_rng([seed, number, 1]), corners, CORNER_DEG[walk])
        for name, pose in zip(names[number * PER_BLOCK : (number + 1) * PER_BLOCK], views, strict=False):
            picture = render(scene, camera, pose, RenderOptions(noise_sigma=2.0, seed=len(poses)))
            Image.fromarray(picture.image).save(photo_dir / name, quality=95)
            poses[name], block_of[name] = pose, number
            grid = picture.points_in_world[:: height_px // 12, :: width_px // 16].reshape(-1, 3)
            seen[name] = grid[np.isfinite(grid[:, 0])]
    pairs = _neighbours(poses, block_of, seen, camera)
    truth = {
        "walk": names,
        "block_of": block_of,
        "poses": {name: [pose.rotation.tolist(), pose.translation.tolist()] for name, pose in poses.items()},
        "neighbours": sorted([pair.a, pair.b] for pair in pairs),
    }
    truth_path.write_text(json.dumps(truth), encoding="utf-8")
    return _read(folder)


def town_of(work: Path, num_photos: int, width_px: int, seed: int, walk: str = "gaps") -> Town:
    """The town of so many photos, in a folder of its own below the work folder."""
    return write_town(work / f"town_{num_photos}_{width_px}_{walk}", num_photos, width_px, seed, walk)


def around_corners(town: Town) -> list[ImagePair]:
    """The two photos in the middle of every corner: those that a gap lies between, if there are any."""
    per_side = PER_BLOCK // 4
    after = per_side - len(CORNER_DEG["gaps"]) // 2
    return [
        ImagePair(*pair) for pair in zip(town.walk[after - 1 :: per_side], town.walk[after::per_side], strict=False)
    ]


def _neighbours(
    poses: dict[str, Pose], block_of: dict[str, int], seen: dict[str, FloatArray], camera: Intrinsics
) -> set[ImagePair]:
    """Pairs of which either photo shows enough of what the other shows, from less than 60 degrees apart."""

    def share(a: str, b: str) -> float:
        in_b = seen[a] @ poses[b].rotation.T + poses[b].translation
        points_px = geometry.project(in_b, camera)
        inside = (points_px >= 0).all(1) & (points_px < [camera.width_px, camera.height_px]).all(1)
        return float(np.mean(inside & (in_b[:, 2] > 0)))

    found = set()
    names = sorted(poses)
    for index, a in enumerate(names):
        for b in names[index + 1 :]:
            turn = geometry.rotation_angle_deg(poses[a].rotation @ poses[b].rotation.T)
            if block_of[a] == block_of[b] and turn < 60 and min(share(a, b), share(b, a)) >= MIN_SHARED:
                found.add(ImagePair(a, b))
    return found


def _read(folder: Path) -> Town:
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    poses = {name: Pose(np.array(r), np.array(t)) for name, (r, t) in truth["poses"].items()}
    pairs = frozenset(ImagePair(a, b) for a, b in truth["neighbours"])
    return Town(folder / "photos", poses, truth["block_of"], tuple(truth["walk"]), pairs)
