"""Clips that lead astray, for pairs of castle-P30 that their own matches do not settle: what is given out of them.

Every clip begins with photo A and ends with photo B. What lies between is

* ``true``: the photos between them, as a comparison;
* ``cut``: the first of these, then photos of another place;
* ``fade``: A blended over into B;
* ``elsewhere``: photos of another place;
* ``mirrored``: the photos between them, mirrored;
* ``half``: the first half of the way alone, and the clip ends there;
* ``mixed``: the photos between them in turns with photos of another place.

A run that was stopped goes on where it was, by what lies in the work folder.

Usage: python pipelines/spoiled_clips.py [--data DIR] [--work DIR] [--pairs N] [--kinds KIND ...] [--result FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.ideal_clips import frames
from interpose_sfm import geometry
from interpose_sfm.options import BridgingOptions, ConsensusOptions, ReconstructOptions
from interpose_sfm.products import LinkVerdict, Pose
from interpose_sfm.report import versions
from interpose_sfm.storage.atomic import atomic_write_text
from interpose_sfm.workflows.relative_pose import relative_pose
from truth import true_pose

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "spoiled_clips.md"
SEED = 0
SCENE, OTHER = "castle-P30", "Herz-Jesus-P8"
KINDS = ("true", "cut", "fade", "elsewhere", "mirrored", "half", "mixed")
MIN_GAP, MAX_GAP = 4, 6  # photos from A to B: nearer ones match by themselves
WRONG_DEG = 15.0


def main() -> int:
    """Make and judge the clips, then write the document."""
    data = Path(os.environ.get("INTERPOSE_SFM_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--work", type=Path, default=ROOT.parent / "spoiled_clips_work")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    photos = sorted((arguments.data / "strecha" / SCENE / "images").iterdir())
    others = sorted((arguments.data / "strecha" / OTHER / "images").iterdir())
    truth = true_poses(arguments.data / "strecha" / SCENE / "cameras.json")
    kept = Kept(arguments.work / "rows.json")
    said: dict[str, list[str]] = {kind: [] for kind in arguments.kinds}
    num_pairs = 0
    for first, last in spread_pairs(len(photos)):
        if num_pairs == arguments.pairs:
            break
        between = photos[first : last + 1]
        if kept.said("alone", between, partial(alone, between)) == LinkVerdict.ACCEPTED.value:
            continue
        num_pairs += 1
        true = geometry.relative_pose(truth[between[-1].name], truth[between[0].name])
        for kind in arguments.kinds:
            with_clip = partial(outcome, kind, between, others, true)
            said[kind].append(kept.said(kind, between, with_clip))
            print(between[0].stem, between[-1].stem, kind, said[kind][-1], flush=True)
    atomic_write_text(arguments.result, document(said, num_pairs))
    return 0


class Kept:
    """What has been said of pairs so far, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def said(self, kind: str, between: Sequence[Path], ask: Callable[[], str]) -> str:
        """What was said of a pair, or what is said of it now."""
        key = f"{between[0].stem} {between[-1].stem} {kind}"
        if key not in self._rows:
            self._rows[key] = ask()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(self._path, json.dumps(self._rows, indent=1) + "\n")
        return self._rows[key]


def alone(between: Sequence[Path]) -> str:
    """What `relpose` says of the pair without a clip."""
    return relative_pose(between[0], between[-1], ReconstructOptions(seed=SEED, generator="none")).verdict.value


def spread_pairs(number: int) -> list[tuple[int, int]]:
    """Pairs of photos a few photos apart, neighbouring ones far from one another in the list."""
    pairs = [(i, i + gap) for gap in range(MIN_GAP, MAX_GAP + 1) for i in range(number - gap)]
    return [pairs[index] for index in np.random.default_rng(SEED).permutation(len(pairs))]


def true_poses(path: Path) -> Mapping[str, Pose]:
    """Photo -> cam_from_world."""
    return {name: true_pose(camera) for name, camera in json.loads(path.read_text(encoding="utf-8")).items()}


def outcome(kind: str, between: Sequence[Path], others: Sequence[Path], true: Pose) -> str:
    """What `relpose` says of a pair with one clip: ``right``, ``wrong``, or the reason of its refusal."""
    with TemporaryDirectory(prefix="spoiled-") as folder:
        clip = Path(folder) / f"{between[0].stem}__{between[-1].stem}"
        clip.mkdir()
        for index, frame in enumerate(frames(kind, between, others)):
            frame.save(clip / f"{index:03d}.png", compress_level=1)
        options = ReconstructOptions(
            seed=SEED,
            generator="clips",
            bridging=BridgingOptions(clip_dirs=(Path(folder),)),
            consensus=ConsensusOptions(),
        )
        found = relative_pose(between[0], between[-1], options)
    if found.verdict is not LinkVerdict.ACCEPTED or found.b_from_a is None:
        return found.verdict.value
    errors_deg = geometry.link_errors_deg(found.b_from_a, geometry.with_unit_translation(true))
    return "wrong" if max(errors_deg) > WRONG_DEG else "right"


def document(said: Mapping[str, Sequence[str]], num_pairs: int) -> str:
    """The result as Markdown."""
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    reasons = sorted({word for words in said.values() for word in words} - {"right", "wrong"})
    lines = [
        "# Clips that lead astray",
        "",
        "Command: `python pipelines/spoiled_clips.py`. "
        + (__doc__ or "").split("\n\n")[0].replace("\n", " ")
        + " Each has one clip, without `--accept-unseen`. *Wrong* is a pose that is given out and off by more than "
        f"{WRONG_DEG:.0f} degrees of rotation or direction.",
        "",
        *(__doc__ or "").split("\n\n")[1].splitlines(),
        "",
        *(__doc__ or "").split("\n\n")[2].splitlines(),
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}. Seed {SEED}. Versions: {names}.",
        "",
        f"| clip | pairs | right | wrong | {' | '.join(reasons)} |",
        f"|{'---|' * (4 + len(reasons))}",
    ]
    for kind, words in said.items():
        counts = [str(words.count(word)) for word in ("right", "wrong", *reasons)]
        lines.append(f"| {kind} | {num_pairs} | {' | '.join(counts)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
