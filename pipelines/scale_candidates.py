"""Which weak pairs of a large collection are tried: those that learned matching links, and SIFT does not verify.

Part ``candidates`` of ``scale.py``.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
from PIL import Image

from interpose_sfm import geometry
from interpose_sfm.colmap.constants import MIN_VERIFIED_MATCHES
from interpose_sfm.matching.cache import PhotoViews
from interpose_sfm.matching.likeness import Descriptors, likenesses, strongest_descriptors
from interpose_sfm.options import ReconstructOptions, ViewGraphOptions
from interpose_sfm.pairs import expansion
from interpose_sfm.pairs.boundary import boundary
from interpose_sfm.pairs.decide import Findings, decide_alone
from interpose_sfm.pairs.pair_pose import PairPoser
from interpose_sfm.pairs.view_graph import read_verified
from interpose_sfm.products import ImagePair, Intrinsics, LinkVerdict, Pose
from interpose_sfm.retrieval.protocol import checked_rankings
from interpose_sfm.workflows.posers import opened_posers
from scale_recall import PLACES, SEED, Figures, easy_pairs, exhaustive, features_of, shuffled_places, tree_of
from town import CORNER_DEG, PER_BLOCK, Town, town_of
from truth import true_pose

LEARNED_PX = 640  # of the real photos
RIGHT_DEG = 15.0
FIRST = (3, 6, 12)  # candidates of a photo
TRIES = (6, 12, 24, 36, 48, 72)
WAYS = ("retrieval", "learned descriptors", "by turns")
LINKABLE = (LinkVerdict.ACCEPTED, LinkVerdict.POSSIBLE)


@contextmanager
def learned(
    photo_dir: Path, cameras: Mapping[str, Intrinsics], size_px: int | None = None
) -> Iterator[tuple[PairPoser, dict[str, Descriptors]]]:
    """What matches pairs of photos, and what they are compared by."""
    options = ReconstructOptions(seed=SEED, generator="none")
    if size_px is not None:
        options = replace(options, matching=replace(options.matching, learned_max_image_px=size_px))
    names = tuple(sorted(cameras))
    with TemporaryDirectory() as folder, opened_posers(Path(folder), names, Path(folder) / "clips", options) as posers:
        views = PhotoViews(photo_dir, cameras)
        load = views.loader(posers.cache)
        yield (
            posers.poser(views),
            {name: strongest_descriptors(posers.cache.features(load(name))) for name in names},
        )


def link_of(poser: PairPoser, pair: ImagePair) -> tuple[LinkVerdict, Pose | None]:
    """What the judge says of two photos alone."""
    matched = poser.match(pair)
    verdict = decide_alone(Findings(matched=matched), ReconstructOptions().consensus).verdict
    return verdict, None if matched.link is None else matched.link.b_from_a


# ---------------------------------------------------------------- real places


def of_places(data: Path, work: Path) -> Figures:
    """At which rank photos have those that they are linked with, though SIFT does not verify it."""
    work = work / "places"
    told = shuffled_places(data, work)
    names = sorted(told)
    verified = {p for p, n in read_verified(exhaustive(work)).items() if n >= MIN_VERIFIED_MATCHES}
    rankings = dict(checked_rankings(tree_of(work / "exhaustive.db", work), names, len(names), names))
    truth = {place: _cameras(data / kind / place / "cameras.json") for place, kind in PLACES.items()}
    cameras = {
        name: _intrinsics(work / "photos" / name, truth[place].get(source)) for name, (place, source) in told.items()
    }
    poses = {name: true_pose(truth[place][source]) for name, (place, source) in told.items() if source in truth[place]}
    with learned(work / "photos", cameras, LEARNED_PX) as (poser, descriptors):
        links = []
        for a, b in itertools.combinations(names, 2):
            pair = ImagePair(a, b)
            if told[a][0] == told[b][0] and pair not in verified and {a, b} <= poses.keys():
                verdict, b_from_a = link_of(poser, pair)
                true = geometry.with_unit_translation(geometry.relative_pose(poses[b], poses[a]))
                if verdict in LINKABLE and b_from_a is not None:
                    links += [pair] if max(geometry.link_errors_deg(b_from_a, true)) <= RIGHT_DEG else []
        everything = [ImagePair(*pair) for pair in itertools.combinations(names, 2)]
        alike = likenesses(descriptors, everything)
    ranks: dict[str, list[list[int]]] = {way: [] for way in WAYS}
    for link in links:
        for photo, other in ((link.a, link.b), (link.b, link.a)):
            others = [n for n in names if n != photo and ImagePair.sorted(photo, n) not in verified]
            for way, order in _orders(photo, others, rankings[photo], alike).items():
                ranks[way].append([order.index(other), told[photo][0]])
    return {"photos": len(names), "links": len(links), "ranks": ranks}


def _orders(
    photo: str, others: Sequence[str], ranking: Sequence[str], alike: Mapping[ImagePair, int]
) -> dict[str, list[str]]:
    place = {name: index for index, name in enumerate(ranking)}
    retrieved = sorted(others, key=lambda name: place.get(name, len(ranking)))
    compared = sorted(retrieved, key=lambda name: -alike[ImagePair.sorted(photo, name)])
    turns = (compared[2 * turn : 2 * turn + 2] + retrieved[turn : turn + 1] for turn in range(len(others)))
    by_turns = dict.fromkeys(itertools.chain.from_iterable(turns))
    return dict(zip(WAYS, (retrieved, compared, list(by_turns)), strict=True))


def _cameras(path: Path) -> Figures:
    found: Figures = json.loads(path.read_text(encoding="utf-8"))
    return found


def _intrinsics(path: Path, camera: Figures | None) -> Intrinsics:
    """A photo's camera; where nobody knows its focal length, COLMAP's guess."""
    with Image.open(path) as image:
        width_px, height_px = image.size
    known = camera is not None and "K" in camera
    focal_px = camera["K"][0][0] if known and camera is not None else 1.2 * max(width_px, height_px)
    return Intrinsics(width_px, height_px, focal_px, width_px / 2, height_px / 2)


# ---------------------------------------------------------------- the town


def of_town(work: Path, num_photos: int, width_px: int) -> Figures:
    """How many gaps have a pair that learned matching links among those that are tried, by how many these are.

    The models are the sides of the blocks, as they are known.
    """
    town = town_of(work, num_photos, width_px, SEED, "gaps")
    names = sorted(town.walk)
    database = features_of(town, width_px)
    rankings = dict(checked_rankings(tree_of(database, town.photo_dir.parent), names, len(names), names))
    models = sides(town)
    side_of = {name: index for index, side in enumerate(models) for name in side}
    verified = {pair: 100 for pair in easy_pairs(town) if side_of[pair.a] == side_of[pair.b]}
    cameras = dict.fromkeys(
        names, Intrinsics(width_px, width_px * 3 // 4, 0.87 * width_px, width_px / 2, width_px * 3 / 8)
    )
    centers = [{name: town.cam_from_world[name].inverse().translation for name in side} for side in models]
    ends = frozenset(name for of_side in centers for name in boundary(of_side, verified))
    gaps = gap_pairs(town)
    with learned(town.photo_dir, cameras) as (poser, descriptors):
        linked = {pair: corner for pair, corner in gaps.items() if link_of(poser, pair)[0] is LinkVerdict.ACCEPTED}
        compared: dict[ImagePair, int] = {}

        def alike(pairs: Sequence[ImagePair]) -> dict[ImagePair, int]:
            compared.update(likenesses(descriptors, [pair for pair in pairs if pair not in compared]))
            return {pair: compared[pair] for pair in pairs}

    rows = []
    for way, tries in (("retrieval", None), *(("all", number) for number in TRIES)):
        known = expansion.Known({}, verified, ((name, rankings[name]) for name in names))
        if tries is not None:
            known = replace(known, boundary=ends, likeness=alike)
        with patch.object(expansion, "TRIES_PER_LINK", tries or 0):
            pairs = expansion.expansion_pairs(names, models, known, ViewGraphOptions(), 10**6)
        found = Counter(linked[pair] for pair in pairs if pair in linked)
        rows.append({"way": way, "tries": tries, "pairs": len(pairs), "found": len(found)})
    return {
        "photos": num_photos,
        "models": len(models),
        "gaps": len(set(gaps.values())),
        "linkable": len(set(linked.values())),
        "rows": rows,
    }


def sides(town: Town) -> list[frozenset[str]]:
    """The photos of every side of every block, the corners at its ends included."""
    per_side, before = PER_BLOCK // 4, len(CORNER_DEG["gaps"]) // 2
    blocks = [town.walk[start : start + PER_BLOCK] for start in range(0, len(town.walk), PER_BLOCK)]
    return [
        frozenset(block[(side * per_side - before + place) % PER_BLOCK] for place in range(per_side))
        for block in blocks
        for side in range(4)
    ]


def gap_pairs(town: Town) -> dict[ImagePair, int]:
    """The pairs of the two photos before and the two after every gap -> which gap."""
    per_side, half = PER_BLOCK // 4, len(CORNER_DEG["gaps"]) // 2
    found = {}
    for gap, end in enumerate(range(per_side, len(town.walk) + 1, per_side)):
        corner = town.walk[end - 2 * half : end]
        found |= {ImagePair.sorted(a, b): gap for a in corner[:half] for b in corner[half:]}
    return found


# ---------------------------------------------------------------- what is said


def told_places(figures: Figures) -> str:
    """Ranks in the real places, by place and of all."""
    lines = []
    where = sorted({place for _, place in figures["ranks"][WAYS[0]]})
    for place in (*where, "all"):
        cells = []
        for way in WAYS:
            ranks = np.array([rank for rank, of in figures["ranks"][way] if place in (of, "all")])
            cells += [f"{np.mean(ranks < first):.0%}" for first in FIRST]
        lines.append(f"| {place} | {len(ranks) // 2} | {' | '.join(cells)} |")
    head = [f"{way}: {first}" for way in WAYS for first in FIRST]
    return (
        f"## Right partners that SIFT does not find\n\nThe {figures['photos']} real photos together, learned matching "
        f"at {LEARNED_PX} px. Of every link within a place that SIFT does not verify and that is right (accepted, or "
        f"possible, and within {RIGHT_DEG:.0f} degrees of the truth), seen from either end: how often the partner is "
        f"among the first {', '.join(map(str, FIRST))} of all photos that SIFT does not verify. By turns: the first "
        "two by learned descriptors, the first by retrieval, and so on.\n\n"
        f"| place | links | {' | '.join(head)} |\n|{'---|' * (2 + len(head))}\n" + "\n".join(lines)
    )


def told_town(figures: Figures) -> str:
    """Gaps of the town that have a link among what is tried."""
    ways = {"retrieval": "by retrieval alone, 12 of every two models", "all": "with the boundaries, by turns"}
    lines = [
        f"| {ways[row['way']]} | {'-' if row['tries'] is None else row['tries']} | {row['pairs']} | "
        f"{row['found']} of {figures['linkable']} |"
        for row in figures["rows"]
    ]
    return (
        f"## Gaps of a town of {figures['photos']}, and the pairs that are tried\n\n{figures['models']} models, the "
        f"sides of the blocks, which learned matching can link across {figures['linkable']} of {figures['gaps']} gaps. "
        f"Tries: pairs for every model but one ({expansion.TRIES_PER_LINK} are taken). Found: gaps with a pair among "
        "these that the judge accepts by itself; what lies beside a link is tried besides.\n\n"
        "| candidates | tries | pairs | gaps found |\n|---|---|---|---|\n" + "\n".join(lines)
    )
