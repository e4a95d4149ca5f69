"""Pairs of real photos whose truth is known, and what the judge sees of them: measured once, kept in a folder."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.matching import agreement
from interpose_sfm.matching.cache import LearnedCache, PhotoViews
from interpose_sfm.options import MatchingOptions
from interpose_sfm.pairs.pair_link import pair_link
from interpose_sfm.products import Features, ImagePair, Intrinsics, Link, Matches, Pose
from interpose_sfm.storage.feature_stores import FeatureStore, MatchStore
from truth import true_pose

SEED = 0
WRONG_DEG = 15.0
RIGHT_DEG = 5.0
SAME_PLACE = 0.6  # of the matches' confidence that agrees with the pose: the true pose explains as much of it

STRECHA = ("fountain-P11", "Herz-Jesus-P8", "castle-P30")
PLACES = ("kermit", "buddha", "reichstag", "lund")
TRUSTED_TO_DEG = {"lund": 10.0}  # twice what its poses are good to, where that is more than RIGHT_DEG
RING = "cup"
RING_NEAR, RING_FAR = 4, 28  # photos apart on the ring of 64: what both see, and what looks alike from the other side
ACROSS = "different places"
MOST_UNSEEN = 12  # photos of a collection, so that a dozen of them take an hour
NUM_ACROSS = 600
NUM_ACROSS_UNSEEN = 2000  # none of 3,000 wrong pairs accepted shows 1 in 1,000 with 95 % confidence
ONE_PLACE = {"castle-P30", "fountain-P11"}  # the fountain stands in the courtyard: its photos do overlap
MIN_SCORE = MatchingOptions().min_match_score

Sides = tuple[Features, Intrinsics, Features, Intrinsics]
"""Features and camera of either photo."""


@dataclass(frozen=True)
class Row:
    """One pair with the link that its matches offer, and what is known of it.

    Attributes:
        scene: The collection, or ACROSS.
        pair: Photos as scene/name.
        link: None where the matches give no pose.
        is_one_place: Whether both photos show one place; None where only poses can tell.
        rotation_error_deg, direction_error_deg: Of the link's pose; NaN without true poses.
        true_share: Of the confidence that agrees with the pose, what agrees with the true one as well.
        trusted_to_deg: Rotations that err by less are right.
    """

    scene: str
    pair: ImagePair
    link: Link | None
    is_one_place: bool | None = None
    rotation_error_deg: float = np.nan
    direction_error_deg: float = np.nan
    true_share: float = np.nan
    trusted_to_deg: float = RIGHT_DEG

    @property
    def kind(self) -> str:
        """``right``, ``wrong``, ``inaccurate`` (of the right place, another pose), or ``between``."""
        if self.is_one_place is not None:
            return "right" if self.is_one_place else "wrong"
        if max(self.rotation_error_deg, self.direction_error_deg) > WRONG_DEG:
            return "inaccurate" if self.true_share >= SAME_PLACE else "wrong"
        return "right" if self.rotation_error_deg <= self.trusted_to_deg else "between"


@dataclass(frozen=True)
class Collection:
    """Photos of one scene, with true poses or the order on a ring.

    Attributes:
        scene: Its name.
        folder: Holds ``images`` and, but for the ring, ``cameras.json``.
        most: Photos that are taken, evenly spread; None for all.
    """

    scene: str
    folder: Path
    most: int | None = None

    @cached_property
    def cameras(self) -> dict[str, dict[str, list[list[float]]]]:
        """What is known of the photos; nothing is of the ring's."""
        if self.scene == RING:
            return {path.name: {} for path in (self.folder / "images").iterdir()}
        known: dict[str, dict[str, list[list[float]]]] = json.loads((self.folder / "cameras.json").read_text())
        return known

    @cached_property
    def names(self) -> list[str]:
        """Photos whose truth is known."""
        names = sorted(self.cameras)
        if self.most is None or len(names) <= self.most:
            return names
        return [names[round(i * (len(names) - 1) / (self.most - 1))] for i in range(self.most)]

    def intrinsics(self) -> dict[str, Intrinsics]:
        """True cameras where they are known, else what EXIF says or COLMAP's guess, as the product has them."""
        import pycolmap

        found = {}
        for name in self.names:
            k = self.cameras[name].get("K")
            camera = pycolmap.infer_camera_from_image(self.folder / "images" / name)
            center = camera.width / 2, camera.height / 2
            focal_px, is_trusted = camera.mean_focal_length(), camera.has_prior_focal_length
            if k is not None:
                focal_px, center, is_trusted = k[0][0], (k[0][2] + 0.5, k[1][2] + 0.5), True
            found[name] = Intrinsics(camera.width, camera.height, focal_px, *center, (0.0,), is_trusted)
        return found

    def poses(self) -> dict[str, Pose]:
        """True cam_from_world of the photos; empty for the ring."""
        known = {name: camera for name, camera in self.cameras.items() if "center" in camera}
        return {name: true_pose(camera) for name, camera in known.items()}

    def pairs(self) -> list[tuple[str, str]]:
        """All pairs; of the ring those that are near or look alike."""
        everything = list(combinations(self.names, 2))
        if self.scene != RING:
            return everything
        return [p for p in everything if not RING_NEAR < self.photos_apart(*p) < RING_FAR]

    def photos_apart(self, a: str, b: str) -> int:
        """On the ring."""
        names = self.names
        steps = abs(names.index(a.split("/")[-1]) - names.index(b.split("/")[-1]))
        return min(steps, len(names) - steps)

    def is_near(self, a: str, b: str) -> bool:
        """Whether two photos of the ring show one side of it."""
        return self.photos_apart(a, b) <= RING_NEAR


def collections(data: Path) -> list[Collection]:
    """Those of the data folder."""
    folders = {**dict.fromkeys(STRECHA, data / "strecha"), **dict.fromkeys((*PLACES, RING), data / "places")}
    return [Collection(scene, root / scene) for scene, root in folders.items()]


def collections_in(folder: Path, most: int) -> list[Collection]:
    """Those that ``thinned.py`` laid out in its work folder."""
    return [Collection(path.parent.name, path.parent, most) for path in sorted(folder.glob("thinned/*/cameras.json"))]


def across(everything: list[Collection], number: int) -> list[tuple[str, str]]:
    """Pairs of photos of different collections, drawn at random: (scene/name, scene/name)."""
    names = {c.scene: c.names for c in everything}
    draw = random.Random(SEED)
    found: dict[tuple[str, str], None] = {}
    while len(found) < number:
        a, b = sorted(draw.sample(list(names), 2))
        pair = f"{a}/{draw.choice(names[a])}", f"{b}/{draw.choice(names[b])}"
        if {a, b} != ONE_PLACE:
            found[pair] = None
    return list(found)


@contextmanager
def opened_cache(work: Path, scene: str) -> Iterator[LearnedCache]:
    """Features and matches of a scene, kept in a folder of their own."""
    folder = work / scene.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    with FeatureStore(folder / "features.h5") as features, MatchStore(folder / "matches.h5") as matches:
        yield LearnedCache(features, matches, MatchingOptions())


def measure(
    everything: list[Collection], scene: str, work: Path, tell: Callable[[str], None], num_across: int = NUM_ACROSS
) -> list[Row]:
    """All rows of a scene; features and matches are kept in a folder, so that they are computed once.

    Args:
        everything: All collections.
        scene: One of them, or ACROSS.
        work: Folder of the stores.
        tell: Gets a line per pair.
        num_across: Pairs of ACROSS.
    """
    here = {c.scene: c for c in everything if scene in (c.scene, ACROSS)}
    own = here.get(scene)
    within = [] if own is None else [(f"{scene}/{a}", f"{scene}/{b}") for a, b in own.pairs()]
    pairs = within or across(everything, num_across)
    poses = {} if own is None else {f"{scene}/{name}": pose for name, pose in own.poses().items()}
    rows = []
    with opened_cache(work, scene) as cache:
        loaders = {c.scene: PhotoViews(c.folder / "images", c.intrinsics()).loader(cache) for c in here.values()}
        for pair in pairs:
            a, b = (loaders[name.split("/")[0]](name.split("/")[1]) for name in pair)
            features_a, features_b, found = cache.features_and_matches(a, b)
            sides = features_a, a.intrinsics, features_b, b.intrinsics
            row = Row(scene, ImagePair(*pair), pair_link(ImagePair(*pair), sides, found, SEED, MIN_SCORE).link)
            if own is None or not poses:
                row = replace(row, is_one_place=own is not None and own.is_near(*pair))
            elif row.link is not None:
                row = against_truth(row, row.link.b_from_a, poses, sides, found)
            rows.append(row)
            tell(f"{row.pair.a} {row.pair.b}: {'no pose' if row.link is None else row.kind}")
    return rows


def against_truth(row: Row, b_from_a: Pose, poses: Mapping[str, Pose], sides: Sides, matches: Matches) -> Row:
    """The row with the errors of its pose."""
    true = geometry.with_unit_translation(geometry.relative_pose(poses[row.pair.b], poses[row.pair.a]))
    rays_a = geometry.unit_rays(sides[0].keypoints_px[matches.indices[:, 0]], sides[1])
    rays_b = geometry.unit_rays(sides[2].keypoints_px[matches.indices[:, 1]], sides[3])
    within_rad = agreement.tolerance_rad(*sides)
    found, expected = (agreement.agree(pose, rays_a, rays_b, within_rad).mask for pose in (b_from_a, true))
    is_rotation = not np.any(b_from_a.translation)  # which claims no direction
    direction_error_deg = 0.0 if is_rotation else geometry.direction_angle_deg(true.translation, b_from_a.translation)
    return replace(
        row,
        rotation_error_deg=float(geometry.rotation_angle_deg(true.rotation.T @ b_from_a.rotation)),
        direction_error_deg=float(direction_error_deg),
        true_share=float(matches.scores[found & expected].sum() / max(float(matches.scores[found].sum()), 1e-9)),
        trusted_to_deg=TRUSTED_TO_DEG.get(row.scene, RIGHT_DEG),
    )
