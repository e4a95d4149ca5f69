"""Which true neighbours of a large collection are found by order, by retrieval and by both.

Parts ``places`` and ``recall`` of ``scale.py``.
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pycolmap

from interpose_sfm import geometry
from interpose_sfm.colmap import databases
from interpose_sfm.options import MatchingMethod
from interpose_sfm.pairs.view_graph import read_verified
from interpose_sfm.products import ImagePair
from interpose_sfm.retrieval.pairing import (
    MIN_LATE_SHARE,
    Hints,
    Rank,
    chosen_pairs,
    chosen_rounds,
    sequential_pairs,
)
from interpose_sfm.retrieval.protocol import RetrieverContext, checked_rankings
from interpose_sfm.retrieval.vocabulary import VocabularyTree
from town import Town, town_of

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
BOUNDS = (10, 20, 40)
LATE_SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.01)  # no photo reaches the last
EASY_DEG = 25.0  # between two photos of a facade that SIFT matches

Figures = dict[str, Any]


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
    verified: frozenset[ImagePair],
    place_of: Mapping[str, str],
    easy: frozenset[ImagePair] | None = None,
) -> Figures:
    """Share of true neighbours among the pairs of every way, by the bound on the pairs of a photo.

    Args:
        walk: The photos as they were taken: what an order may tell at best.
        verified: What matching verifies of all pairs, by which two rounds go.
        place_of: Where each photo was taken.
        easy: Those of the true neighbours that SIFT can be expected to match, where it is known; of them the share is
            told besides.
    """
    names = sorted(walk)
    cpu_s = time.process_time()
    rankings = dict(checked_rankings(tree_of(database, work), names, max(BOUNDS), names))
    cpu_s = time.process_time() - cpu_s

    def both(order: Sequence[str], bound: int) -> set[ImagePair]:
        return set(chosen_pairs(names, MatchingMethod.AUTO, bound, Hints((tuple(order),), {}), _cut(rankings)))

    def in_rounds(share: float, bound: int) -> set[ImagePair]:
        hints = Hints((tuple(names),), {})
        rounds = chosen_rounds(names, MatchingMethod.AUTO, bound, hints, _cut(rankings), lambda: verified, share)
        return set(chain.from_iterable(rounds))

    rows = []
    for bound in BOUNDS:
        ways: dict[str, Iterable[ImagePair]] = {
            "by shuffled names": sequential_pairs(names, bound),
            "by names in order": sequential_pairs(walk, bound),
            "by retrieval": both((), bound),
            "by both, names shuffled": both(names, bound),
            "by both, names in order": both(walk, bound),
            "by both in two rounds, names shuffled": in_rounds(MIN_LATE_SHARE, bound),
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
    bound = max(BOUNDS)
    by_rounds = {"one": both(names, bound), **{str(share): in_rounds(share, bound) for share in LATE_SHARES}}
    rounds = {
        way: {"pairs": len(pairs), "found": Counter(place_of[pair.a] for pair in pairs & true)}
        for way, pairs in by_rounds.items()
    }
    everything = len(names) * (len(names) - 1) // 2
    return {
        "photos": len(names),
        "true": len(true),
        "everything": everything,
        "tree_cpu_s": cpu_s,
        "rows": rows,
        "rounds": rounds,
    }


def _cut(rankings: Mapping[str, Sequence[str]]) -> Rank:
    return lambda names, number: {name: rankings[name][:number] for name in names}


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


def places(data: Path, work: Path) -> Figures:
    """Recall on the real photos, against what exhaustive matching verifies within a place."""
    work = work / "places"
    told = shuffled_places(data, work)
    verified = frozenset(read_verified(exhaustive(work)))
    true = frozenset(pair for pair in verified if told[pair.a][0] == told[pair.b][0])
    across = Counter(" and ".join(sorted({told[p.a][0], told[p.b][0]})) for p in verified - true)
    walk = sorted(told, key=lambda name: told[name])
    place_of = {name: place for name, (place, _) in told.items()}
    return {**recalls(work / "features.db", work, true, walk, verified, place_of), "across": dict(across)}


def exhaustive(work: Path) -> Path:
    """The database of the photos in a folder, every pair matched, beside one without matches."""
    database, matched = work / "features.db", work / "exhaustive.db"
    if not matched.is_file():
        database.unlink(missing_ok=True)
        extract(database, work / "photos", NUM_FEATURES, SIFT_PX)
        databases.copy_database(database, work / "partial.db")
        pycolmap.match_exhaustive(work / "partial.db")
        databases.copy_database(work / "partial.db", matched)
    return matched


def features_of(town: Town, width_px: int) -> Path:
    """The database of a town's photos, without matches, beside them."""
    folder = town.photo_dir.parent
    database = folder / "features.db"
    if not database.is_file():
        extract(folder / "partial.db", town.photo_dir, NUM_FEATURES, width_px)
        databases.copy_database(folder / "partial.db", database)
    return database


def easy_pairs(town: Town) -> frozenset[ImagePair]:
    """The true neighbours that SIFT can be expected to match."""
    poses = town.cam_from_world
    return frozenset(
        pair
        for pair in town.neighbours
        if geometry.rotation_angle_deg(poses[pair.a].rotation @ poses[pair.b].rotation.T) < EASY_DEG
    )


def recall(work: Path, num_photos: int, width_px: int) -> Figures:
    """Recall on the town by retrieval alone."""
    town = town_of(work, num_photos, width_px, SEED)
    database, easy = features_of(town, width_px), easy_pairs(town)
    # What matching would verify is taken to be the easy ones.
    found = recalls(
        database, town.photo_dir.parent, town.neighbours, town.walk, easy, dict.fromkeys(town.walk, "town"), easy
    )
    return {"width_px": width_px, "easy": len(easy), **found}


# ---------------------------------------------------------------- what is said


def told_places(found: Figures) -> str:
    """Of the real places."""
    most_first = sorted(found["across"].items(), key=lambda item: -item[1])
    across = ", ".join(f"{number} of {what}" for what, number in most_first)
    return (
        f"## Real places together\n\n{found['photos']} photos of {len(PLACES)} places ({', '.join(PLACES)}) in "
        f"one folder, names shuffled; SIFT at {SIFT_PX} px, {NUM_FEATURES} features. True neighbours: the "
        f"{found['true']} pairs within a place that exhaustive matching verifies. It verifies pairs across places "
        f"as well ({across}), which are not counted, though some are right: in fountain-P11 the courtyard of "
        f"castle-P30 stands behind the fountain.\n\n{recall_table(found)}{told_rounds(found)}"
    )


def told_recall(found: Figures) -> str:
    """Of a town."""
    return (
        f"## True neighbours in a town of {found['photos']}\n\nRendered blocks of houses, 100 photos around "
        f"each, {found['width_px']} px wide, names shuffled. True neighbours: the {found['true']} pairs that show "
        f"at least 30 % of one another from less than 60 degrees apart; in brackets that of the {found['easy']} "
        f"that are less than {EASY_DEG:.0f} degrees apart, which two rounds take for verified.\n\n"
        f"{recall_table(found)}{told_rounds(found)}"
    )


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


def told_rounds(found: Figures) -> str:
    """What two rounds find by the share of late neighbours from which on a photo asks for more, place by place."""
    if "rounds" not in found:
        return ""
    rounds = found["rounds"]
    of_one = rounds["one"]["found"]
    lines = [
        f"| {'never by its share' if float(way) > 1 else way} | {row['pairs'] / rounds['one']['pairs']:.2f} | "
        + " | ".join(f"{row['found'].get(place, 0) / number:.1%}" for place, number in of_one.items())
        + " |"
        for way, row in rounds.items()
        if way != "one"
    ]
    head = f"| share | pairs | {' | '.join(f'{place} ({number})' for place, number in of_one.items())} |"
    return (
        f"\n\nAt a bound of {max(BOUNDS)}, names shuffled, two rounds, by the share of its later neighbours that must "
        f"be verified for a photo to ask for the other half ({MIN_LATE_SHARE} is taken): pairs and true neighbours "
        f"found, over those of one round (in brackets).\n\n{head}\n|{'---|' * (len(of_one) + 2)}\n" + "\n".join(lines)
    )


def easy_share(row: Figures) -> str:
    """The share of easy ones, where they are known."""
    return "" if row["recall_easy"] is None else f" ({row['recall_easy']:.1%})"
