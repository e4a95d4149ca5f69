"""Focal lengths by the matches of two photos alone: how well pairs of known truth tell theirs, and their poses.

Takes pairs of photos whose true poses and cameras are known, and states COLMAP's guess of 1.2 times the longer side in
place of the true focal length. Writes ``docs/results/own_focal.md``.

Usage: python pipelines/own_focal.py [--data DIR] [--work DIR] [--unseen DIR --unseen-work DIR] [--most N]

``--unseen`` adds collections that ``thinned.py`` laid out in its work folder. Work folders are those of
``evidence.py``: they keep features and matches.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evidence_pairs import (
    MIN_SCORE,
    MOST_UNSEEN,
    RING,
    SEED,
    Collection,
    Sides,
    collections,
    collections_in,
    opened_cache,
)
from interpose_sfm import geometry
from interpose_sfm.matching.cache import PhotoViews
from interpose_sfm.matching.own_focal import (
    CONTRADICTED_DEG,
    CONTRADICTED_SIGMAS,
    MAX_SPREAD_DEG,
    Elsewhere,
    better_elsewhere,
    own_focal,
)
from interpose_sfm.matching.pure_rotation import MAX_GUESSED_TURN_DEG, is_wide
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.judge import judge
from interpose_sfm.pairs.pair_link import pair_link
from interpose_sfm.products import ImagePair, Intrinsics, Link, LinkVerdict, Matches, Pose
from interpose_sfm.report import versions
from interpose_sfm.storage.atomic import atomic_write_text

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "own_focal.md"
MOST = 30  # pairs of a collection, so that none outweighs the others
GUESS = 1.2  # times the longer side: COLMAP's
LIMITS_DEG = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0)
FAR_DEG, WRONG_DEG = 10.0, 15.0
STATED = (0.5, 0.67, 1.0, 1.5, 2.0)  # times the true focal length
SIGMAS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0)


@dataclass(frozen=True)
class Stated:
    """A focal length that is stated to two photos whose matches are believed with it.

    Attributes:
        factor: Times the true one.
        error_deg: Of the pose, the larger of rotation and direction.
        elsewhere: Where the matches lead with another one.
    """

    factor: float
    error_deg: float
    elsewhere: Elsewhere


@dataclass(frozen=True)
class Row:
    """A pair with a wide turn that the guess leads to, and what becomes of it.

    Attributes:
        scene: Its collection.
        by_guess_deg, by_truth_deg: Error of the pose, the larger of rotation and direction, under the guess and under
            the true focal length, if the judge accepts the link; NaN if not.
        spread_deg: Of the pose with the focal length that the matches tell; infinite where they tell none.
        by_matches_deg: Error under that focal length, if the judge accepts the link; NaN if not.
        factor: That focal length over the true one.
        stated: What the matches say to focal lengths that something else told, if they tell none themselves.
    """

    scene: str
    by_guess_deg: float
    by_truth_deg: float
    spread_deg: float = np.inf
    by_matches_deg: float = np.nan
    factor: float = np.nan
    stated: tuple[Stated, ...] = ()


def main() -> int:
    """Measure and write the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    data = Path(os.environ.get("INTERPOSE_SFM_DATA", ROOT.parent / "shared" / "data"))
    kept = Path(tempfile.gettempdir())
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--work", type=Path, default=kept / "interpose_sfm_evidence")
    parser.add_argument("--unseen", type=Path, metavar="DIR", help="work folder of thinned.py")
    parser.add_argument("--unseen-work", type=Path, default=kept / "interpose_sfm_evidence_unseen")
    parser.add_argument("--most", type=int, default=MOST, help="pairs of a collection")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    known = [(c, arguments.work) for c in collections(arguments.data) if c.scene != RING]
    unseen = [] if arguments.unseen is None else collections_in(arguments.unseen, MOST_UNSEEN)
    missing = [c.folder for c, _ in known if not (c.folder / "images").is_dir()]
    if missing:
        parser.error(f"{missing[0]}/images is not there; name the data folder with --data")
    rows: dict[bool, list[Row]] = {False: [], True: []}
    for collection, work in [*known, *((c, arguments.unseen_work) for c in unseen)]:
        found = list(measured(collection, work, arguments.most))
        rows[collection in unseen] += found
        print(f"{collection.scene}: {len(found)} pairs", flush=True)
    atomic_write_text(arguments.result, document(rows[False], rows[True], arguments.most))
    return 0


def measured(collection: Collection, work: Path, most: int) -> Iterator[Row]:
    """Rows of the first pairs of a collection that the guess gives a wide turn that luck does not explain."""
    poses, cameras, number = collection.poses(), collection.intrinsics(), 0
    with opened_cache(work, collection.scene) as cache:
        view_of = PhotoViews(collection.folder / "images", cameras).loader(cache)
        for a, b in collection.pairs():
            if number >= most:
                return
            if a not in poses or b not in poses:
                continue
            first, second = view_of(a), view_of(b)
            seen_a, seen_b, found = cache.features_and_matches(first, second)
            truth = geometry.relative_pose(poses[b], poses[a])
            sides = seen_a, first.intrinsics, seen_b, second.intrinsics
            row = row_of(collection.scene, ImagePair(a, b), sides, found, truth)
            if row is not None:
                number += 1
                yield row


def row_of(scene: str, pair: ImagePair, sides: Sides, matches: Matches, truth: Pose) -> Row | None:
    """One pair; None where the guess finds no wide turn, or one that luck explains."""
    guess = _guessed(sides[1]), _guessed(sides[3])
    link = _link(pair, sides, matches, 1.0, guess)
    if link is None or link.evidence.surprise < ConsensusOptions().min_surprise:
        return None
    if not is_wide(link.b_from_a.rotation):
        return None
    by_truth = pair_link(pair, sides, matches, SEED, MIN_SCORE).link
    row = Row(scene, _error_deg(link, truth), _error_deg(by_truth, truth))
    told = own_focal(link.b_from_a, link.points_a_px, guess[0], link.points_b_px, guess[1])
    if told is None or not told.is_told:
        row = replace(row, stated=tuple(stated_to(pair, sides, matches, truth)))
    if told is None:
        return row
    by_matches = _link(pair, sides, matches, told.factor, guess)
    factor = told.factor * guess[0].focal_px / sides[1].focal_px
    return replace(row, spread_deg=told.spread_deg, by_matches_deg=_error_deg(by_matches, truth), factor=factor)


def stated_to(pair: ImagePair, sides: Sides, matches: Matches, truth: Pose) -> Iterator[Stated]:
    """What the matches say to the true focal length and to wrong ones, as far as they are believed with them."""
    for factor in STATED:
        a, b = (replace(side, is_trusted=False).zoomed(factor) for side in (sides[1], sides[3]))
        link = _link(pair, sides, matches, 1.0, (a, b))
        error_deg = _error_deg(link, truth)
        if link is not None and np.isfinite(error_deg) and is_wide(link.b_from_a.rotation):
            elsewhere = better_elsewhere(link.b_from_a, link.points_a_px, a, link.points_b_px, b)
            yield Stated(factor, error_deg, elsewhere)


def _guessed(camera: Intrinsics) -> Intrinsics:
    return replace(camera, focal_px=GUESS * max(camera.width_px, camera.height_px), is_trusted=False)


def _link(
    pair: ImagePair, sides: Sides, matches: Matches, factor: float, guess: tuple[Intrinsics, Intrinsics]
) -> Link | None:
    a, b = guess
    return pair_link(pair, (sides[0], a.zoomed(factor), sides[2], b.zoomed(factor)), matches, SEED, MIN_SCORE).link


def _error_deg(link: Link | None, truth: Pose) -> float:
    """Larger error of rotation and direction of a link that the judge accepts; NaN of any other."""
    if link is None or judge(link, ConsensusOptions())[0] not in (LinkVerdict.ACCEPTED, LinkVerdict.ROTATION_ONLY):
        return np.nan
    return float(np.nanmax(geometry.pose_distance_terms_deg([link.b_from_a], [truth], signed=True)))


# ---------------------------------------------------------------- the document


def document(known: Sequence[Row], unseen: Sequence[Row], most: int = MOST) -> str:
    """All of it as Markdown."""
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# Focal lengths by the matches of two photos",
        "",
        f"By `python pipelines/own_focal.py{' --unseen DIR' if unseen else ''}`, seed {SEED}. Pairs of photos with "
        f"true poses and cameras, to which a focal length of {GUESS} times the longer side is stated, as COLMAP "
        f"guesses it; those of which it makes a turn of more than {MAX_GUESSED_TURN_DEG:.0f} degrees that luck does "
        "not explain. Errors are the larger of rotation and direction, in degrees, of links that the judge accepts: "
        f"median / largest. The first pairs of each collection, {most} at most.",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores. Versions: {names}.",
        "",
        "## By collection",
        "",
        f"*Told*: the matches know the pose to {MAX_SPREAD_DEG:.0f} degrees with the focal length unknown. *Of the "
        "true one*: the focal length that they tell, smallest to largest.",
        "",
        "| collection | pairs | accepted by the true focal length | by the guess | told | of the true one | error |",
        "|---|---|---|---|---|---|---|",
        *(scene_line(scene, rows) for scene, rows in by_scene(known)),
        *(scene_line(f"{scene} (unseen)", rows) for scene, rows in by_scene(unseen)),
        "",
        "## By the limit",
        "",
        f"Poses given out and, of these, how many err by more than {FAR_DEG:.0f} and by more than {WRONG_DEG:.0f} "
        "degrees. No limit of the judge is moved.",
        "",
        "| limit | given out | error | beyond 10 | beyond 15 | unseen: given out | error | beyond 10 | beyond 15 |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {limit:.0f} | {counts(within(known, limit))} | {counts(within(unseen, limit))} |"
            for limit in LIMITS_DEG
        ),
        "",
        *left_out_lines(known),
        "",
        *contradicted_lines([*known, *unseen]),
        "",
    ]
    return "\n".join(lines)


def by_scene(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Rows of every collection, in their order."""
    return [(scene, [row for row in rows if row.scene == scene]) for scene in dict.fromkeys(row.scene for row in rows)]


def within(rows: Sequence[Row], limit_deg: float) -> list[Row]:
    """Those that are given out by a limit on the spread."""
    return [row for row in rows if row.spread_deg <= limit_deg and np.isfinite(row.by_matches_deg)]


def scene_line(scene: str, rows: Sequence[Row]) -> str:
    """One collection."""
    told = within(rows, MAX_SPREAD_DEG)
    factors = [row.factor for row in told]
    found = f"{min(factors):.2f} to {max(factors):.2f}" if told else "-"
    by_truth = [row.by_truth_deg for row in rows if np.isfinite(row.by_truth_deg)]
    by_guess = [row.by_guess_deg for row in rows if np.isfinite(row.by_guess_deg)]
    return (
        f"| {scene} | {len(rows)} | {len(by_truth)}: {shown(by_truth)} | {len(by_guess)}: {shown(by_guess)} | "
        f"{len(told)} | {found} | {shown([row.by_matches_deg for row in told])} |"
    )


def counts(rows: Sequence[Row]) -> str:
    """Number, errors, and how many are far off."""
    errors_deg = np.array([row.by_matches_deg for row in rows])
    return (
        f"{len(rows)} | {shown(errors_deg.tolist())} | {int(np.sum(errors_deg > FAR_DEG))} | "
        f"{int(np.sum(errors_deg > WRONG_DEG))}"
    )


def left_out_lines(rows: Sequence[Row]) -> list[str]:
    """The limit that would be chosen without a collection, and what it does to it."""
    lines = [
        f"The largest of these limits that lets nothing beyond {FAR_DEG:.0f} degrees through, chosen without a "
        "collection, and what it gives out of that one:",
        "",
        "| left out | limit | given out | error | beyond 10 | beyond 15 |",
        "|---|---|---|---|---|---|",
    ]
    for scene, own in by_scene(rows):
        others = [row for row in rows if row.scene != scene]
        sound = [limit for limit in LIMITS_DEG if all(row.by_matches_deg <= FAR_DEG for row in within(others, limit))]
        limit = max(sound, default=0.0)
        lines.append(f"| {scene} | {limit:.0f} | {counts(within(own, limit))} |")
    return lines


def contradicted_lines(rows: Sequence[Row]) -> list[str]:
    """How many right and wrong focal lengths are contradicted, by the limit and by collection."""
    said = [(row.scene, each) for row in rows for each in row.stated]
    lines = [
        "## Focal lengths that something else told",
        "",
        "Pairs whose matches do not tell their focal length, but are believed with the true one, or with one that is "
        f"off by {', '.join(f'{factor:.2f}' for factor in STATED if factor != 1.0)} times. The matches contradict it "
        f"where another focal length explains them better by so many sigmas ({CONTRADICTED_SIGMAS:.0f} are taken) and "
        f"leads to a pose more than {CONTRADICTED_DEG:.0f} degrees away (in brackets: to any). *Wrong*: poses that err "
        f"by more than {WRONG_DEG:.0f} degrees with what was stated.",
        "",
        "| sigmas | right focal length contradicted | wrong pose contradicted |",
        "|---|---|---|",
    ]
    right, wrong = right_and_wrong(each for _, each in said)
    for sigmas in SIGMAS:
        cells = []
        for group in (right, wrong):
            beyond = [each.elsewhere for each in group if each.elsewhere.sigmas > sigmas]
            far = sum(found.apart_deg > CONTRADICTED_DEG for found in beyond)
            cells.append(f"{far} of {len(group)} ({len(beyond)})")
        lines.append(f"| {sigmas:.0f} | {' | '.join(cells)} |")
    lines += [
        "",
        "By collection, and the most sigmas of a right focal length that leads so far away:",
        "",
        "| collection | right focal length contradicted | most sigmas | wrong pose contradicted |",
        "|---|---|---|---|",
    ]
    for scene in dict.fromkeys(scene for scene, _ in said):
        right, wrong = right_and_wrong(each for other, each in said if other == scene)
        far_sigmas = [each.elsewhere.sigmas for each in right if each.elsewhere.apart_deg > CONTRADICTED_DEG]
        counted = [f"{sum(each.elsewhere.contradicts for each in group)} of {len(group)}" for group in (right, wrong)]
        most = f"{max(far_sigmas):.1f}" if far_sigmas else "-"
        lines.append(f"| {scene} | {counted[0]} | {most} | {counted[1]} |")
    return lines


def right_and_wrong(said: Iterable[Stated]) -> tuple[list[Stated], list[Stated]]:
    """The true focal lengths, and those that lead to a wrong pose."""
    everything = list(said)
    wrong = [each for each in everything if each.factor != 1.0 and each.error_deg > WRONG_DEG]
    return [each for each in everything if each.factor == 1.0], wrong


def shown(errors_deg: Sequence[float]) -> str:
    """Median and largest."""
    return f"{np.median(errors_deg):.1f} / {max(errors_deg):.1f}" if len(errors_deg) else "-"


if __name__ == "__main__":
    sys.exit(main())
