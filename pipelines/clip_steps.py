"""Steps of a clip matched by descriptors alone, beside those that the network matches: how far their poses are off.

Photos with true poses stand for frames: pairs of each scene up to some turn, at the size and with the key points of
frames. Of every pair the pose by nearest descriptors (`interpose_sfm.matching.nearest`) and the one by learned matches
are held against the truth, for several sharpnesses of the softmax, least scores of a match, and limits of what counts
as clear.

Usage: python pipelines/clip_steps.py [--data DIR] [--write-only]
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import platform
import sys
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from interpose_sfm import geometry
from interpose_sfm.matching import nearest, verification
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.options import MatchingOptions
from interpose_sfm.products import Features, Intrinsics, Matches, Pose
from interpose_sfm.report import versions
from interpose_sfm.storage.atomic import atomic_write_json, atomic_write_text
from truth import true_pose

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "clip_steps.md"
SEED, FRAME_PX = 0, 640
OPTIONS = MatchingOptions(device="cpu")
SCENES = {"strecha/castle-P30": 30.0, "strecha/fountain-P11": 60.0, "places/buddha": 60.0}
"""Scene -> the widest turn between two photos, in degrees."""

SHARPNESSES = (5.0, 8.0, 10.0, 14.0, 20.0)
SCORES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
LIMITS = (
    *((100, 0.8, 0.6), (100, 0.9, 0.8), (100, 0.95, 0.9), (100, 0.98, 0.95)),
    *((50, 0.95, 0.9), (150, 0.95, 0.9), (200, 0.95, 0.9)),
)
"""Fewest inliers, least share of them, least agreement."""

Figures = dict[str, Any]
CUES = "inliers", "share", "agreement", "error_deg"  # what is kept of each way, in this order


def measured(scene: Path, widest_deg: float) -> list[Figures]:
    """Every pair of a scene, by the network and by descriptors."""
    cameras = json.loads((scene / "cameras.json").read_text(encoding="utf-8"))
    matcher = LearnedMatcher(OPTIONS)
    views = {name: _view(scene / "images" / name, camera, matcher) for name, camera in sorted(cameras.items())}
    rows = []
    for a, b in combinations(views, 2):
        truth = geometry.relative_pose(true_pose(cameras[b]), true_pose(cameras[a]))
        if geometry.rotation_angle_deg(truth.rotation) > widest_deg:
            continue
        sides = *views[a], *views[b]
        ways = {"network": _found(sides, matcher.match(sides[0], sides[2]), OPTIONS.min_match_score, truth)}
        for sharpness in SHARPNESSES:
            matches = nearest.nearest_matches(sides[0], sides[2], sharpness)
            for score in SCORES if sharpness == nearest.SHARPNESS else (nearest.MIN_SCORE,):
                ways[_way(sharpness, score)] = _found(sides, matches, score, truth, nearest.CLEAR_NUM_TRIALS)
        rows.append({"pair": [a, b], "ways": ways})
    return rows


def _view(path: Path, camera: dict[str, Any], matcher: LearnedMatcher) -> tuple[Features, Intrinsics]:
    """A photo at the size of a frame, with the key points of one."""
    with Image.open(path) as photo:
        smaller = FRAME_PX / max(photo.size)
        size = round(photo.width * smaller), round(photo.height * smaller)
        features = matcher.extract(np.asarray(photo.convert("RGB").resize(size, Image.Resampling.LANCZOS)))
    k = np.array(camera["K"])
    k[:2, 2] += 0.5  # the data count pixels from the centre of the first
    focal_px, cx_px, cy_px = map(float, smaller * k[[0, 0, 1], [0, 2, 2]])
    return features.strongest(OPTIONS.max_frame_keypoints), Intrinsics(*size, focal_px, cx_px, cy_px)


def _way(sharpness: float, score: float) -> str:
    return f"sharpness {sharpness:g}, score {score:g}"


def _found(
    sides: tuple[Features, Intrinsics, Features, Intrinsics],
    matches: Matches,
    min_score: float,
    truth: Pose,
    max_num_trials: int = verification.MAX_NUM_TRIALS,
) -> list[float | None]:
    """`CUES` of one way; the error is that of the rotation or of the direction, whichever is larger."""
    two_view = verification.verify(*sides, matches, SEED, min_score, max_num_trials)
    evidence, error_deg = two_view.evidence, None
    if two_view.b_from_a is not None and np.any(two_view.b_from_a.translation):
        error_deg = max(geometry.link_errors_deg(truth, two_view.b_from_a))
    return [evidence.num_inliers, evidence.inlier_share, evidence.agreement, error_deg]


def clear_errors_deg(rows: list[Figures], way: str, limits: tuple[int, float, float]) -> list[tuple[float, float]]:
    """Errors of descriptors and of the network, of pairs that are clear by these limits and have both poses."""
    errors = []
    for row in rows:
        *cues, error_deg = row["ways"][way]
        network_deg = row["ways"]["network"][-1]
        if None not in (error_deg, network_deg) and all(map(operator.ge, cues, limits)):
            errors.append((error_deg, network_deg))
    return errors


def document(figures: Figures) -> str:
    """All scenes, sharpnesses and limits."""
    lines = [
        "# Steps of a clip by descriptors alone\n",
        f"By `python pipelines/clip_steps.py`, seed {SEED}. Pairs of photos with true poses, at {FRAME_PX} px and",
        f"with {OPTIONS.max_frame_keypoints} key points at most, as frames have them. Errors are the larger of",
        "rotation and direction, in degrees, median / of the worst tenth, of the pairs that are clear by the limits:",
        "by descriptors, and by the network on the same pairs. Pairs that are not clear are matched by the network.\n",
        f"{figures['used']}\n",
    ]
    used = nearest.MIN_CLEAR_INLIERS, nearest.MIN_CLEAR_SHARE, nearest.MIN_CLEAR_AGREEMENT
    lines += [f"## By sharpness\n\nScores from {nearest.MIN_SCORE:g} on; {_told(used)}.\n", _head("sharpness")]
    for scene, sharpness in product(figures["scenes"], SHARPNESSES):
        way = _way(sharpness, nearest.MIN_SCORE)
        lines.append(_row(scene, f"{sharpness:g}", figures["scenes"][scene], way, used))
    lines += [f"\n## By the least score\n\nSharpness {nearest.SHARPNESS:g}; {_told(used)}.\n", _head("score")]
    for scene, score in product(figures["scenes"], SCORES):
        lines.append(_row(scene, f"{score:g}", figures["scenes"][scene], _way(nearest.SHARPNESS, score), used))
    way = _way(nearest.SHARPNESS, nearest.MIN_SCORE)
    lines += [f"\n## By limits\n\n{way[0].upper()}{way[1:]}.\n", _head("limits")]
    for scene, limits in product(figures["scenes"], LIMITS):
        lines.append(_row(scene, _told(limits), figures["scenes"][scene], way, limits))
    return "\n".join(lines) + "\n"


def _told(limits: tuple[int, float, float]) -> str:
    return f"{limits[0]} inliers, share {limits[1]:g}, agreement {limits[2]:g}"


def _head(what: str) -> str:
    return f"| scene | {what} | clear, of all pairs | by descriptors | by the network |\n|---|---|---|---|---|"


def _row(scene: str, what: str, rows: list[Figures], way: str, limits: tuple[int, float, float]) -> str:
    errors = clear_errors_deg(rows, way, limits)
    cells = [
        f"{np.median(side):.2f} / {np.percentile(side, 90):.1f}" if side else "-"
        for side in ([near for near, _ in errors], [network for _, network in errors])
    ]
    return f"| {scene.partition('/')[2]} | {what} | {len(errors)} of {len(rows)} | {cells[0]} | {cells[1]} |"


def main() -> int:
    """Measure all scenes and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("INTERPOSE_SFM_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--write-only", action="store_true", help="write the document from the figures there are")
    arguments = parser.parse_args()
    kept = RESULT.with_suffix(".json")
    if not arguments.write_only:
        missing = [scene for scene in SCENES if not (arguments.data / scene / "cameras.json").is_file()]
        if missing:
            parser.error(f"{arguments.data} holds no {', '.join(missing)}; name the folder with --data")
        told = ", ".join(f"{name} {version}" for name, version in versions().items())
        figures: Figures = {"used": f"Machine: {platform.machine()}, {os.cpu_count()} cores. Versions: {told}."}
        figures["scenes"] = {name: measured(arguments.data / name, widest) for name, widest in SCENES.items()}
        atomic_write_json(kept, figures)
    atomic_write_text(RESULT, document(json.loads(kept.read_text(encoding="utf-8"))))
    print(f"written to {RESULT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
