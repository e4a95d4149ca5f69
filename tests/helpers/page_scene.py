"""An output folder with a report of everything that a page can show, made in no time."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from PIL import Image

from interpose_sfm import report
from interpose_sfm.clips.strips import strip_jpeg
from interpose_sfm.options import ReconstructOptions
from interpose_sfm.products import (
    ChoiceReason,
    ClipFlag,
    ClipProblem,
    LinkVerdict,
    PoseStatus,
    WeakReason,
)
from interpose_sfm.report import HeldBy
from interpose_sfm.storage.atomic import atomic_write_json
from interpose_sfm.storage.workspace import Workspace

HOSTILE = (
    "<img src=x onerror=window.hacked=1>.jpg",
    "\"quotes' & &amp; `ticks`.jpg",
    "\x1b[31mred\x1b[0m.jpg",
    "\u202egpj.exe",
    "sub</script><script>window.hacked=1</script>.jpg",
    "{{ 7 * 7 }}{% raw %}.jpg",
    "javascript:window.hacked=1;.jpg",
)
SIZE_PX = (320, 240)


def plain_names(number: int) -> tuple[str, ...]:
    return tuple(f"IMG_{index}.jpg" for index in range(1, number + 1))


def write_run(root: Path, names: tuple[str, ...], *, size_px: tuple[int, int] = SIZE_PX, seed: int = 0) -> Path:
    """An output folder with photos, a model, strips of clips and report.json; no page."""
    workspace = Workspace(root)
    with workspace.locked():
        pass
    write_photos(workspace.images_dir, names, size_px, seed)
    model = model_of(names, size_px, seed)
    (workspace.sparse_dir / "0").mkdir(parents=True)
    model.write(workspace.sparse_dir / "0")
    (root / "strips").mkdir()
    frames = [np.full((60, 80, 3), (40 * index, 90, 255 - 40 * index), np.uint8) for index in range(5)]
    (root / "strips" / "0_0.jpg").write_bytes(strip_jpeg(frames))
    atomic_write_json(workspace.report_path, run_report(names, model, len(frames)))
    return root


def write_photos(folder: Path, names: tuple[str, ...], size_px: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(rng.normal(70 + (index * 37) % 120, 30, (size_px[1], size_px[0], 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(path, "JPEG")


def model_of(names: tuple[str, ...], size_px: tuple[int, int], seed: int) -> pycolmap.Reconstruction:
    """Cameras on a ring that look at coloured points in its middle."""
    rng = np.random.default_rng(seed)
    model = pycolmap.Reconstruction()
    camera = pycolmap.Camera.create_from_model_name(1, "SIMPLE_PINHOLE", 300.0, *size_px)
    model.add_camera_with_trivial_rig(camera)
    for index, name in enumerate(names):
        turn = pycolmap.Rotation3d(np.array([0.0, 2.0 * math.pi * index / len(names), 0.0]))
        image = pycolmap.Image(name=name, camera_id=1, image_id=index + 1, keypoints=np.zeros((0, 2)))
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(turn, np.array([0.0, 0.0, 4.0])))
    for place in rng.normal(0.0, 0.7, (400, 3)):
        model.add_point3D(place, pycolmap.Track(), np.array([200, 90, 60], np.uint8))
    return model


def run_report(names: tuple[str, ...], model: pycolmap.Reconstruction, num_frames: int) -> report.RunReport:
    """A run that has joined two groups by a clip, and refused other pairs."""
    kinds = list(HeldBy)
    half = len(names) // 2
    photos = [
        report.PhotoReport(name, True, index < half, index > 0, 0 if index else None, "" if index else "no link: x (1)",
                           held_by=kinds[index % len(kinds)] if index else None)
        for index, name in enumerate(names)
    ]  # fmt: skip
    photos.append(report.PhotoReport("notes <b>.txt", False, False, False, None, "not an image: no <i>picture</i>"))
    verdicts = [LinkVerdict.ACCEPTED, LinkVerdict.LOW_AGREEMENT, LinkVerdict.NOT_TRIED, LinkVerdict.UNSEEN]
    pairs = [
        pair_report(names[index], names[index + half], verdicts[index % len(verdicts)], index, num_frames)
        for index in range(min(half, 150))
    ]
    return report.RunReport(
        photos=tuple(sorted(photos, key=lambda photo: photo.name)),
        pairs=tuple(pairs),
        models=(report.ModelReport("sparse/0", tuple(sorted(names[1:])), model.num_points3D(), 0.7317),),
        num_registered_before=half,
        num_registered_after=len(names) - 1,
        num_registered_before_any=half + 1,
        num_registered_after_any=len(names) - 1,
        timings_s={"photos": 0.123, "learned matching": 45.678, "a/b~c": 1.0},
        versions=report.versions(),
        options=report.option_values(ReconstructOptions()),
        seed=7,
        warnings=("look <b>out</b>",),
        look_alikes=(report.LookAlikeReport(names[0], names[1], 0.8125, 44),),
        outcome=f"COLMAP has {half} of {len(names)} photos; now it is {len(names) - 1}.",
        verified=tuple(
            report.VerifiedPairReport(names[i], names[j], 30 + (7 * i + j) % 500)
            for i in range(len(names))
            for j in range(i + 1, min(i + 6, len(names)))
        ),
        advice=(report.AdviceReport(names[0], names[1], 3, f"take a photo between {names[0]} and {names[1]}"),),
        next_steps=(report.CommandReport("Look at it", f"python -m interpose_sfm view '{names[0]}'"),),
    )


def pair_report(a: str, b: str, verdict: LinkVerdict, index: int, num_frames: int) -> report.PairReport:
    rng = np.random.default_rng(index)
    is_tried = verdict is not LinkVerdict.NOT_TRIED
    values: dict[str, Any] = {
        "a": a, "b": b, "weak_because": (WeakReason.NO_VERIFIED_MATCH,),
        "tried": ("learned matching",) if is_tried else (), "verdict": verdict,
        "detail": "34 inliers, <61%> net agreement", "evidence": {"num_inliers": 34, "surprise": 21.5},
        "choice": None, "score": math.nan, "score_kind": "", "clip_scores": {}, "spread_deg": 1.25,
        "rotation_deg": 44.25, "meaning": "In plain words.",
    }  # fmt: skip
    if is_tried:
        identity = tuple(tuple(float(i == j) for j in range(3)) for i in range(3))
        values["link"] = report.LinkReport("pair", identity, (1.0, 0.0, 0.0), 1.25, 0.4375, math.nan, True)
        values["matches_px"] = tuple(tuple(row) for row in rng.uniform(5, 235, (20, 4)).round(1).tolist())
        values["witnesses"] = (
            report.WitnessReport("matches that agree", 34, 25, True, "", True),
            report.WitnessReport("net agreement", 0.6125, 0.74, True, "share", False),
            report.WitnessReport("luck is ruled out", 21.5, 12.0, True, "powers of ten", True),
            report.WitnessReport("spread of the pose", 1.25, 10.0, False, "deg", True),
            report.WitnessReport("other links", math.nan, math.nan, True, "", False, "they say <no>"),
        )
    if index == 0:
        clip = "a.b/<clip>~1.mp4"
        values |= {
            "choice": ChoiceReason.ACCEPTED, "score": 3.5, "score_kind": "D_med",
            "clip_scores": {clip: {"d_med_deg": 3.5, "d_bias_deg": 4.25, "d_agreement_deg": math.nan}},
            "clips": (report.ClipReport(clip, 9, "strips/0_0.jpg", num_frames, True),),
            "clip_flags": {clip: (ClipFlag(ClipProblem.HARD_CUT, 1.0, 0.5, "a <cut>"),)},
            "agreeing_sources": {clip: ("<other>",)},
            "hypotheses_around": "the chosen pose",
            "hypotheses": (
                *(report.HypothesisReport(clip, (n, 7), PoseStatus.OK, 1.0 * n, 2.5 * n, 9, not n) for n in range(5)),
                report.HypothesisReport(clip, (1,), PoseStatus.FEW_MATCHES, math.nan, math.nan, 0, False),
            ),
        }  # fmt: skip
    return report.PairReport(**values)


def as_format_1(path: Path) -> None:
    """A report.json as an earlier version wrote it."""
    document = json.loads(path.read_text(encoding="utf-8"))
    document["format"] = 1
    for name in ("outcome", "verified", "advice", "next_steps"):
        del document[name]
    for pair in document["pairs"]:
        for name in ("meaning", "witnesses", "clips", "hypotheses", "hypotheses_around", "matches_px"):
            del pair[name]
    for photo in document["photos"]:
        del photo["held_by"]
    atomic_write_json(path, document)
