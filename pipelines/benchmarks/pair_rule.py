"""Which pairs of photos a benchmark is made of, by their true poses alone; written to a file that others can use.

The rule. In each scene at most `MAX_PHOTOS` photos are looked at, evenly spread over their order. A pair (A before B)
is a candidate if the yaw, the angle between the optical axes in the plane of A's x and z axes, lies in the range of the
data set, and its overlap is at least that of the rule. The overlap is what poses can tell: the share of A's picture
that B could see and of B's that A could see, the smaller of the two, if all lay at one depth, at the best of
`DEPTHS` baselines. It is an upper bound for a flat scene, and zero for cameras that look apart. Candidates are shuffled
by the seed and the name of the scene, so that a scene gives the same pairs whatever other scenes there are, and taken
in turns from one scene after another, no photo more often than the rule says, until there are enough.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

import numpy as np

from benchmarks.scenes import Scene, ScenePhoto, natural_key, pinhole, size_of
from benchmarks.study import yaw_deg
from interpose_sfm import geometry
from interpose_sfm.products import FloatArray, Intrinsics, Pose
from interpose_sfm.storage.content_keys import content_key, file_sha256

Item = TypeVar("Item")

MAX_PHOTOS = 300
DEPTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
GUESSED_FOCAL = 1.2  # times the longer side, as COLMAP has it
_GRID = 9
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, kw_only=True)
class PairRule:
    """How pairs are drawn.

    Attributes:
        number: Of all scenes together; None for all.
        min_yaw_deg, max_yaw_deg: Both included.
        min_overlap: By poses, as above.
        per_photo: How often a photo may be used; None for no limit.
        max_between: Photos that may lie between A and B, where clips are made of these; None for no limit.
        min_between: Photos that must.
    """

    number: int | None
    min_yaw_deg: float
    max_yaw_deg: float
    min_overlap: float = 0.0
    per_photo: int | None = 1
    max_between: int | None = None
    min_between: int = 0


@dataclass(frozen=True, kw_only=True)
class BenchmarkPair:
    """A pair of a benchmark.

    Attributes:
        name: Unique in the benchmark, ``SCENE/A/B``.
        scene, a, b: Where the photos are.
        yaw_deg: True; NaN where no pose is known.
        overlap: By poses; NaN likewise.
        sha256_a, sha256_b: Of the files.
        b_from_a: True, with a translation of length one; None where it is not known.
    """

    name: str
    scene: str
    a: str
    b: str
    yaw_deg: float
    overlap: float
    sha256_a: str
    sha256_b: str
    b_from_a: Pose | None

    @property
    def slug(self) -> str:
        """Name of its files and folders: no two pairs share one."""
        text = re.sub(r"[^A-Za-z0-9.-]+", "_", self.name)
        is_unique = re.fullmatch(r"[A-Za-z0-9.-]+(/[A-Za-z0-9.-]+)*", self.name)
        return text if is_unique else f"{text}_{content_key(self.name)[:6]}"


def draw_pairs(scenes: Sequence[Scene], rule: PairRule, seed: int) -> tuple[BenchmarkPair, ...]:
    """The pairs of the rule above; the same for the same scenes, rule and seed. The order of scenes does not count."""
    queues = {scene.name: _shuffled(scene, rule, seed) for scene in sorted(scenes, key=lambda scene: scene.name)}
    used: Counter[tuple[str, str]] = Counter()
    found: list[BenchmarkPair] = []
    while queues and (rule.number is None or len(found) < rule.number):
        for name in list(queues):
            pair = next((p for p in queues[name] if _is_free(p, used, rule)), None)
            if pair is None:
                del queues[name]
                continue
            used.update([(name, pair.a), (name, pair.b)])
            found.append(pair)
            if len(found) == rule.number:
                break
    return tuple(sorted(found, key=lambda pair: natural_key(pair.name)))


def _is_free(pair: BenchmarkPair, used: Mapping[tuple[str, str], int], rule: PairRule) -> bool:
    return rule.per_photo is None or max(used[pair.scene, pair.a], used[pair.scene, pair.b]) < rule.per_photo


def _shuffled(scene: Scene, rule: PairRule, seed: int) -> Iterator[BenchmarkPair]:
    found = candidates(scene, rule)
    digest = hashlib.sha256(f"{seed} {scene.name}".encode()).digest()
    for index in np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(len(found)):
        a, b, yaw = found[index]
        overlap = overlap_of(a, b)
        if overlap >= rule.min_overlap:
            yield made_pair(scene, a, b, yaw, overlap)


def candidates(scene: Scene, rule: PairRule) -> list[tuple[ScenePhoto, ScenePhoto, float]]:
    """(A, B, yaw in degrees) of all pairs of a scene that fit the rule but for their overlap, in order of the photos.

    Where the scene has sets of photos, both are of one set.
    """
    photos = spread(scene.photos, MAX_PHOTOS)
    place = {photo.name: index for index, photo in enumerate(scene.photos)}
    sets = [frozenset(names) for names in scene.sets.values()]
    rotations = np.array([photo.cam_from_world.rotation for photo in photos]).reshape(-1, 3, 3)
    found = []
    for index, a in enumerate(photos):
        axes_in_a = rotations[index + 1 :, 2] @ rotations[index].T
        yaws = np.degrees(np.abs(np.arctan2(axes_in_a[:, 0], axes_in_a[:, 2])))
        for step in np.flatnonzero((yaws >= rule.min_yaw_deg) & (yaws <= rule.max_yaw_deg)):
            b = photos[index + 1 + step]
            between = place[b.name] - place[a.name] - 1
            if between < rule.min_between or (rule.max_between is not None and between > rule.max_between):
                continue
            if not sets or any({a.name, b.name} <= names for names in sets):
                found.append((a, b, float(yaws[step])))
    return found


def overlap_of(a: ScenePhoto, b: ScenePhoto) -> float:
    """What poses can tell of the share that both see, as the rule says; 0 to 1."""
    b_from_a = geometry.relative_pose(b.cam_from_world, a.cam_from_world)
    camera_a, camera_b = camera_of(a), camera_of(b)
    baseline = float(np.linalg.norm(b_from_a.translation))
    depths = [depth * baseline for depth in DEPTHS] if baseline > 0 else [1.0]
    return max(
        min(_seen(camera_a, camera_b, b_from_a, depth), _seen(camera_b, camera_a, b_from_a.inverse(), depth))
        for depth in depths
    )


def camera_of(photo: ScenePhoto) -> Intrinsics:
    """Its true camera, else COLMAP's guess."""
    if photo.camera is not None:
        return photo.camera
    size_px = size_of(photo.path)
    return pinhole(size_px, [GUESSED_FOCAL * max(size_px)] * 2)


def _seen(camera: Intrinsics, other: Intrinsics, other_from_camera: Pose, depth: float) -> float:
    """Share of a picture that another camera sees, if everything lay at this depth."""
    x, y = np.meshgrid(
        (np.arange(_GRID) + 0.5) / _GRID * camera.width_px, (np.arange(_GRID) + 0.5) / _GRID * camera.height_px
    )
    points = depth * geometry.pixel_to_ray(np.stack([x.ravel(), y.ravel()], axis=1), camera)
    in_other: FloatArray = points @ other_from_camera.rotation.T + other_from_camera.translation
    pixels = geometry.project(in_other, other)
    with np.errstate(invalid="ignore"):
        is_inside = ((pixels >= 0) & (pixels <= [other.width_px, other.height_px])).all(axis=1) & (in_other[:, 2] > 0)
    return float(is_inside.mean())


def made_pair(
    scene: Scene, a: ScenePhoto, b: ScenePhoto, yaw: float | None = None, overlap: float | None = None
) -> BenchmarkPair:
    """The pair of two photos of a scene."""
    b_from_a = geometry.with_unit_translation(geometry.relative_pose(b.cam_from_world, a.cam_from_world))
    stems = (PurePosixPath(photo.name).with_suffix("").as_posix() for photo in (a, b))
    return BenchmarkPair(
        name="/".join([scene.name, *stems]),
        scene=scene.name,
        a=a.name,
        b=b.name,
        yaw_deg=round(yaw_deg(b_from_a) if yaw is None else yaw, 3),
        overlap=round(overlap_of(a, b) if overlap is None else overlap, 3),
        sha256_a=file_sha256(a.path),
        sha256_b=file_sha256(b.path),
        b_from_a=b_from_a,
    )


def spread(items: Sequence[Item], number: int | None) -> list[Item]:
    """At most so many of a sequence, evenly spread over it."""
    if number is None or len(items) <= number:
        return list(items)
    return [items[round((i + 0.5) * len(items) / number - 0.5)] for i in range(number)]


def scattered(items: Sequence[Item]) -> list[Item]:
    """The same in an order in which the first ones of any number are spread over all: by steps of the golden ratio."""
    order = sorted(range(len(items)), key=lambda index: (index * _GOLDEN) % 1.0)
    places = sorted(range(len(items)), key=lambda index: order[index])
    return [items[index] for index in places]
