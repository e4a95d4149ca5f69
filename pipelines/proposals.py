"""Poses that are proposed for two photos, judged by their real matches: what passes, of right and of wrong ones.

For pairs of photos with known poses, true poses with noise and wrong ones of several kinds are proposed, and judged as
the poses of clips are:

* ``true 0``, ``true 3``, ``true 6``: the true pose, rotation and direction each turned by so many degrees;
* ``random``: any pose; ``other``: the true pose of another pair, of any scene; ``mirrored``: the true pose of the scene
  in a mirror; ``look-alike``: the best pose of the pair's own matches by RANSAC, where that is wrong, 3 degrees off.

Usage: python pipelines/proposals.py [--data DIR] [--scenes NAME ...] [--work DIR] [--write-only]

The learned features and matches of a scene are kept in the work folder, and so are the judged proposals, so that a run
that was stopped goes on. The document is written over all that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.matching.cache import LearnedCache, photo_view
from interpose_sfm.options import ConsensusOptions, MatchingOptions
from interpose_sfm.pairs.judge import believed_link, judge, judge_proposed
from interpose_sfm.pairs.pair_link import pair_link
from interpose_sfm.pairs.proposals import judge_proposals
from interpose_sfm.products import (
    PAIR_ALONE,
    Doubts,
    Evidence,
    Features,
    ImagePair,
    Intrinsics,
    JudgedProposal,
    Link,
    LinkVerdict,
    Matches,
    Pose,
    PoseProposal,
)
from interpose_sfm.report import versions
from interpose_sfm.storage.atomic import atomic_write_json, atomic_write_text
from interpose_sfm.storage.run_stores import open_stores
from truth import true_pose

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "proposals.md"
SEED = 0
SCENES = {
    "castle-P30": "strecha",
    "fountain-P11": "strecha",
    "Herz-Jesus-P8": "strecha",
    "buddha": "places",
    "reichstag": "places",
}
NOISES_DEG = (0.0, 3.0, 6.0)
MIN_SPREAD_DEG = 2.0  # what clips say of poses that they hit exactly
WRONG_SPREAD_DEG = 3.0
NUM_RANDOM, NUM_OTHER = 6, 10
WRONG_DEG = 15.0
WRONG_KINDS = ("random", "other", "mirrored", "look-alike")
MIN_ANGLE_DEG = 15.0  # of the pairs: nearer ones need no proposal
ANGLES_DEG = (15, 30, 45, 60, 90, 180)
SWEEPS: Mapping[str, Sequence[float]] = {
    "min_agreement_proposed": (0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7),
    "max_rival_proposed": (0.9, 1.0, 1.1, 1.18, 1.3, 1.5, 2.0, 4.0),
    "min_surprise": (3.0, 6.0, 9.0, 12.0, 15.0, 20.0, 40.0),
}
"""Values of each limit around the one that is used; all other limits stay."""

Item = dict[str, Any]
Views = tuple[Features, Intrinsics, Features, Intrinsics]


def main() -> int:
    """Judge what is not judged yet, then write the document."""
    data = Path(os.environ.get("INTERPOSE_SFM_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument("--max-pairs", type=int, default=10_000, help="of a scene, evenly spread")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "proposals")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--write-only", action="store_true", help="judge nothing, write what is there")
    arguments = parser.parse_args()
    cameras = {scene: cameras_of(arguments.data, scene) for scene in arguments.scenes}
    poses = [
        relative(cameras[scene], *pair)
        for scene in arguments.scenes
        for pair in combinations(sorted(cameras[scene]), 2)
    ]
    for scene in arguments.scenes:
        path = arguments.work / scene / "judged.json"
        if not arguments.write_only and not path.is_file():
            folder = arguments.data / SCENES[scene] / scene / "images"
            items = list(measure(scene, folder, cameras[scene], poses, arguments.work / scene, arguments.max_pairs))
            atomic_write_json(path, items)
    judged = [
        item
        for scene in SCENES
        if (path := arguments.work / scene / "judged.json").is_file()
        for item in json.loads(path.read_text(encoding="utf-8"))
    ]
    arguments.result.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(arguments.result, document([Row.of(item) for item in judged]))
    return 0


def cameras_of(data: Path, scene: str) -> Mapping[str, tuple[Pose, Intrinsics]]:
    """Photo -> true cam_from_world and camera; the data count pixels from the centre of the first."""
    cameras = {}
    for name, camera in json.loads((data / SCENES[scene] / scene / "cameras.json").read_text(encoding="utf-8")).items():
        if "K" not in camera:
            continue
        k = np.array(camera["K"])
        size_px = camera.get("width", round(2 * k[0, 2])), camera.get("height", round(2 * k[1, 2]))
        cameras[name] = (
            true_pose(camera),
            Intrinsics(*size_px, float(k[0, 0]), k[0, 2] + 0.5, k[1, 2] + 0.5, (0.0,), True),
        )
    return cameras


def relative(cameras: Mapping[str, tuple[Pose, Intrinsics]], a: str, b: str) -> Pose:
    """True b_from_a with a unit translation."""
    return geometry.with_unit_translation(geometry.relative_pose(cameras[b][0], cameras[a][0]))


# ---------------------------------------------------------------- proposals


def measure(
    scene: str,
    folder: Path,
    cameras: Mapping[str, tuple[Pose, Intrinsics]],
    poses: Sequence[Pose],
    work: Path,
    max_pairs: int,
) -> Iterator[Item]:
    """All proposals of the pairs of a scene, judged."""
    options = MatchingOptions()
    work.mkdir(parents=True, exist_ok=True)
    pairs = [
        pair
        for pair in combinations(sorted(cameras), 2)
        if geometry.rotation_angle_deg(relative(cameras, *pair).rotation) >= MIN_ANGLE_DEG
    ]
    pairs = [pairs[i] for i in np.unique(np.linspace(0, len(pairs) - 1, min(max_pairs, len(pairs))).astype(int))]
    with open_stores(work) as stores:
        cache = LearnedCache(stores.features, stores.matches, options)
        photos = {name: photo_view(folder / name, camera) for name, (_, camera) in cameras.items()}
        for photo in photos.values():
            cache.keep(photo)
        for index, (a, b) in enumerate(pairs):
            features_a, features_b, matches = cache.features_and_matches(photos[a], photos[b])
            views = features_a, cameras[a][1], features_b, cameras[b][1]
            yield from judged(scene, ImagePair(a, b), views, matches, relative(cameras, a, b), poses, options, index)
            if index % 20 == 0:
                print(scene, index, len(pairs), flush=True)


def judged(
    scene: str,
    pair: ImagePair,
    views: Views,
    matches: Matches,
    truth: Pose,
    poses: Sequence[Pose],
    options: MatchingOptions,
    seed: int,
) -> Iterator[Item]:
    """The proposals of one pair, each judged by itself."""
    rng = np.random.default_rng(seed)
    own = pair_link(pair, views, matches, SEED, options.min_match_score)
    own_pose = own.two_view.b_from_a
    for kind, pose, spread_deg in proposed(truth, own_pose, poses, rng):
        proposal = PoseProposal(pair, pose, spread_deg, kind)
        found = judge_proposals([proposal], views, matches, own, SEED, options.min_match_score)[0]
        yield {
            "scene": scene,
            "pair": [pair.a, pair.b],
            "kind": kind,
            "angle_deg": round(float(geometry.rotation_angle_deg(truth.rotation)), 1),
            "error_deg": errors_deg(pose, truth),
            "refined_error_deg": errors_deg(found.link.b_from_a, truth),
            "own_error_deg": None if own_pose is None else errors_deg(own_pose, truth),
            "surprise": found.surprise,
            "rival_surprise": found.rival_surprise,
            "link": _written(found.link),
            "own": None if own.link is None else _written(own.link),
        }


def _written(link: Link) -> Item:
    """What `judge` and `judge_proposed` ask of a link."""
    pose = link.b_from_a
    return {
        "rotation": pose.rotation.round(6).tolist(),
        "translation": pose.translation.round(6).tolist(),
        "spread_deg": link.spread_deg,
        "num_points": len(link.points_a_px),
        "evidence": asdict(link.evidence),
        "doubts": asdict(link.doubts),
    }


def _read(pair: ImagePair, written: Item, source: str) -> Link:
    """The link that was written, with points at nowhere."""
    pose = Pose(geometry.nearest_rotation(np.array(written["rotation"])), np.array(written["translation"]))
    points_px = np.zeros((written["num_points"], 2))
    cues = Evidence(**written["evidence"]), source
    return Link(pair, pose, written["spread_deg"], points_px, points_px, *cues, doubts=Doubts(**written["doubts"]))


def proposed(
    truth: Pose, own: Pose | None, poses: Sequence[Pose], rng: np.random.Generator
) -> Iterator[tuple[str, Pose, float]]:
    """(kind, pose, spread in degrees) of every proposal of a pair."""
    for noise_deg in NOISES_DEG:
        yield f"true {noise_deg:.0f}", noisy(truth, noise_deg, rng), max(noise_deg, MIN_SPREAD_DEG)
    mirror = np.diag([-1.0, 1.0, 1.0])
    wrong = [("random", random_pose(rng)) for _ in range(NUM_RANDOM)]
    wrong += [("other", poses[i]) for i in rng.choice(len(poses), min(NUM_OTHER, len(poses)), replace=False)]
    wrong += [("mirrored", Pose(mirror @ truth.rotation @ mirror, mirror @ truth.translation))]
    if own is not None and np.any(own.translation) and is_wrong(errors_deg(own, truth)):
        wrong += [("look-alike", noisy(own, 3.0, rng))]
    for kind, pose in wrong:
        if is_wrong(errors_deg(pose, truth)):
            yield kind, pose, WRONG_SPREAD_DEG


def noisy(pose: Pose, angle_deg: float, rng: np.random.Generator) -> Pose:
    """Rotation and direction each turned by an angle, about random axes."""
    if angle_deg == 0.0:
        return pose
    rotation = geometry.rotation_from_axis_angle(rng.normal(size=3), angle_deg) @ pose.rotation
    axis = np.cross(pose.translation, rng.normal(size=3))
    return Pose(rotation, geometry.rotation_from_axis_angle(axis, angle_deg) @ pose.translation)


def random_pose(rng: np.random.Generator) -> Pose:
    """Any rotation and direction."""
    rotation = geometry.nearest_rotation(rng.normal(size=(3, 3)))
    return Pose(rotation, geometry.unit_vectors(rng.normal(size=3)))


def errors_deg(pose: Pose, truth: Pose) -> list[float]:
    """Errors of rotation and direction; 90 for the direction of a pure rotation."""
    direction_deg = 90.0
    if np.any(pose.translation):
        direction_deg = float(geometry.direction_angle_deg(pose.translation, truth.translation))
    return [round(float(geometry.rotation_angle_deg(pose.rotation @ truth.rotation.T)), 2), round(direction_deg, 2)]


def is_wrong(found_deg: Sequence[float]) -> bool:
    """Whether a pose is another one than the true one."""
    return max(found_deg) > WRONG_DEG


# ---------------------------------------------------------------- document


@dataclass(frozen=True)
class Row:
    """A judged proposal.

    Attributes:
        item: As it was written.
        found: What the judge is asked.
        is_sure_alone: The photos' own matches settle the pair, so that a run asks for no proposal.
    """

    item: Item
    found: JudgedProposal
    is_sure_alone: bool

    @classmethod
    def of(cls, item: Item) -> Row:
        """A row as it was written."""
        pair = ImagePair(*item["pair"])
        own = None if item["own"] is None else _read(pair, item["own"], PAIR_ALONE)
        link = _read(pair, item["link"], item["kind"])
        found = JudgedProposal(link, 1, item["surprise"], item["rival_surprise"], own)
        is_sure = own is not None and judge(own, ConsensusOptions())[0] is LinkVerdict.ACCEPTED
        return cls(item, found, is_sure)

    @property
    def kind(self) -> str:
        """What was proposed."""
        return str(self.item["kind"])

    @property
    def is_true(self) -> bool:
        """Whether the true pose was proposed, with noise."""
        return self.kind.startswith("true")

    @property
    def is_wrong(self) -> bool:
        """Whether another pose than the true one was proposed, and a wrong one is what would be believed."""
        return not self.is_true and is_wrong(self.error_deg)

    @property
    def error_deg(self) -> Sequence[float]:
        """Errors of the pose that would be believed."""
        link = believed_link(self.found, ConsensusOptions())
        found_deg: Sequence[float] = self.item["refined_error_deg" if link is self.found.link else "own_error_deg"]
        return found_deg

    def verdict(self, limits: ConsensusOptions) -> LinkVerdict:
        """What the judge says."""
        return judge_proposed(self.found, limits)[0]


def document(rows: Sequence[Row]) -> str:
    """All tables, as Markdown."""
    limits, names = ConsensusOptions(), ", ".join(f"{name} {version}" for name, version in versions().items())
    open_rows = [row for row in rows if not row.is_sure_alone]
    wrong, open_wrong = ([row for row in group if row.is_wrong] for group in (rows, open_rows))
    passed, open_passed = (accepted(group, limits) for group in (wrong, open_wrong))
    lines = [
        "# Proposed poses",
        "",
        f"Command: `python pipelines/proposals.py`. {(__doc__ or '').split(chr(10) * 2)[1].replace(chr(10), ' ')}",
        "",
        *(line for line in (__doc__ or "").split("\n\n")[2].splitlines()),
        "",
        f"Pairs of {', '.join(sorted({row.item['scene'] for row in rows}))} at {MIN_ANGLE_DEG:.0f} to 180 degrees, "
        f"{len({tuple(row.item['pair']) for row in rows})} in all. A pose is wrong where rotation or direction is "
        f"off by more than {WRONG_DEG:.0f} degrees after it was refined. *Open* pairs are those that the photos' own "
        "matches do not settle: of others no run asks for a proposal.",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}. Seed {SEED}. Versions: {names}.",
        "",
        f"**{len(passed)} of {len(wrong)} wrong proposals pass, {len(open_passed)} of {len(open_wrong)} open ones; "
        f"{counted([row for row in rows if row.is_true], limits)} true ones, "
        f"{counted([row for row in open_rows if row.is_true], limits)} open ones.**",
        "",
        "## By scene and kind",
        "",
        "Accepted / judged.",
        "",
        *table(
            [
                "scene",
                *(f"{kind}{where}" for where in ("", ", open") for kind in ("true 0", "true 3", "true 6", "wrong")),
            ],
            [
                [
                    scene,
                    *(
                        counted([row for row in group if row.item["scene"] == scene and fits(row, kind)], limits)
                        for group in (rows, open_rows)
                        for kind in ("true 0", "true 3", "true 6", "wrong")
                    ),
                ]
                for scene in SCENES
                if any(row.item["scene"] == scene for row in rows)
            ],
        ),
        "",
        *table(
            ["kind of wrong proposal", "accepted", "accepted, open"],
            [
                [kind, *(counted([row for row in group if row.kind == kind], limits) for group in (wrong, open_wrong))]
                for kind in WRONG_KINDS
            ],
        ),
        "",
        "## By angle",
        "",
        "True proposals with 3 degrees of noise: accepted / judged, and the median error of the accepted ones after "
        "they were refined, in degrees of rotation and direction.",
        "",
        *table(
            ["angle", "accepted", "error", "accepted, open", "error, open"],
            [by_angle(low, high, rows, open_rows, limits) for low, high in pairwise(ANGLES_DEG)],
        ),
        "",
        "## Limits",
        "",
        "What passes as one limit is moved and the others stay.",
        "",
    ]
    for name, values in SWEEPS.items():
        moved = [replace(limits, **{name: value}) for value in values]  # type: ignore[arg-type]
        lines += [
            *table(
                [name.replace("_", "-"), *(f"**{v:g}**" if v == getattr(limits, name) else f"{v:g}" for v in values)],
                [
                    ["right, open", *(str(len(accepted([r for r in open_rows if r.is_true], m))) for m in moved)],
                    ["wrong, open", *(str(len(accepted(open_wrong, m))) for m in moved)],
                    ["wrong", *(str(len(accepted(wrong, m))) for m in moved)],
                ],
            ),
            "",
        ]
    lines += ["## Wrong proposals that pass", "", *table(*listing(passed)), ""]
    return "\n".join(lines)


def accepted(rows: Sequence[Row], limits: ConsensusOptions) -> list[Row]:
    """Those that the judge accepts."""
    return [row for row in rows if row.verdict(limits) is LinkVerdict.ACCEPTED]


def fits(row: Row, kind: str) -> bool:
    """Whether a row is of a kind, or wrong."""
    return row.is_wrong if kind == "wrong" else row.kind == kind


def counted(rows: Sequence[Row], limits: ConsensusOptions) -> str:
    """Accepted / judged."""
    return f"{len(accepted(rows, limits))} / {len(rows)}"


def by_angle(
    low: float, high: float, rows: Sequence[Row], open_rows: Sequence[Row], limits: ConsensusOptions
) -> list[str]:
    """A line of the table by angle."""
    cells = [f"{low} to {high}"]
    for group in (rows, open_rows):
        here = [row for row in group if row.kind == "true 3" and low <= row.item["angle_deg"] < high + (high == 180)]
        passed = accepted(here, limits)
        errors = list(zip(*(row.error_deg for row in passed), strict=True))
        cells += [f"{len(passed)} / {len(here)}", ", ".join(f"{median(e):.1f}" for e in errors) or "-"]
    return cells


def listing(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Columns and lines of the table of single proposals."""
    header = [
        "scene",
        "pair",
        "angle",
        "kind",
        "error",
        "matches",
        "agreement",
        "rival",
        "own matches",
        "settled alone",
    ]
    lines = []
    for row in rows:
        evidence, own = row.found.link.evidence, row.found.own
        lines.append(
            [
                row.item["scene"],
                " ".join(Path(name).stem for name in row.item["pair"]),
                f"{row.item['angle_deg']:.0f}",
                row.kind,
                ", ".join(f"{error:.0f}" for error in row.error_deg),
                f"{evidence.num_inliers} / {evidence.num_matches}",
                f"{evidence.agreement:.2f}",
                f"{row.found.link.doubts.far_rival:.2f}",
                "-" if own is None else judge(own, ConsensusOptions())[0].name.lower().replace("_", " "),
                "yes" if row.is_sure_alone else "no",
            ]
        )
    return header, lines


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(line)} |" for line in lines),
    ]


if __name__ == "__main__":
    sys.exit(main())
