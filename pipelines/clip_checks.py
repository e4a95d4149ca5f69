"""What the clip checks find in the 240 videos of the InterPose project page, and whether they are right.

Every video is measured once and kept in the work folder, so a run that was stopped goes on. Whether a flag is right
nobody can say but by looking: ``--strips DIR`` writes frames of a seeded sample, and what was seen in them is kept in
``docs/results/clip_checks_inspected.json``. Besides, halves of videos of different scenes are joined to cuts and fades
that are known to be there. Writes ``docs/results/clip_checks.md``, ``.json`` and a contact sheet of examples.

Usage: python pipelines/clip_checks.py [--data DIR] [--strips DIR]

The data folder holds ``interpose_pairs`` and ``strecha`` (default: $INTERPOSE_SFM_DATA, else ../shared/data).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from clip_checks_videos import (
    CUT,
    FADE,
    MODELS,
    SEED,
    Frames,
    Video,
    formats,
    frames_of,
    measured,
    row,
    sample,
    strongest,
    write_contact_sheet,
    write_strips,
)
from interpose_sfm.clips.checks import DEFAULT_LIMITS, ClipLimits, ClipReport, check_frames, describe_flags
from interpose_sfm.photos.pictures import read_rgb
from interpose_sfm.products import ClipFormat, ClipProblem
from interpose_sfm.report import versions
from interpose_sfm.storage.atomic import atomic_write_json, atomic_write_text

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "clip_checks.md"
SEEN = ("cut", "fade", "neither", "unsure")
PLATEAU: Mapping[str, tuple[float, ...]] = {
    "min_pictures": (3, 4, 5, 7, 9, 12),
    "min_end_correlation": (0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
    "min_unlike": (0.12, 0.16, 0.18, 0.2, 0.22, 0.25, 0.3),
    "min_outstanding": (2.5, 3.0, 3.25, 3.5, 3.75, 4.0, 5.0),
    "max_fade_residual": (0.05, 0.075, 0.1, 0.125, 0.15, 0.2),
}
PROBLEM_OF = {
    "min_pictures": (ClipProblem.FROZEN,),
    "min_end_correlation": (ClipProblem.WRONG_FIRST, ClipProblem.WRONG_LAST),
    "min_unlike": (CUT, FADE),
    "min_outstanding": (CUT,),
    "max_fade_residual": (FADE,),
}

Verdicts = Mapping[str, Mapping[str, str]]


def main() -> int:
    """Measure what is not measured yet, then write everything."""
    arguments = parse_arguments()
    paths = sorted(arguments.data.glob("interpose_pairs/*/*/*.mp4"))
    arguments.work.mkdir(parents=True, exist_ok=True)
    videos = [measured(path, arguments.work) for path in paths]
    path = arguments.result.with_name(f"{arguments.result.stem}_inspected.json")
    verdicts: Verdicts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if arguments.strips:
        write_strips(videos, arguments.data, arguments.strips)
    made = made_clips(videos, arguments.data, arguments.made)
    bursts = photo_bursts(arguments.data / "strecha")
    arguments.result.parent.mkdir(parents=True, exist_ok=True)
    write_contact_sheet(videos, arguments.data, arguments.result.with_suffix(".jpg"))
    atomic_write_json(arguments.result.with_suffix(".json"), [row(video, formats(videos)) for video in videos])
    atomic_write_text(arguments.result, document(videos, verdicts, made, bursts))
    return 0


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line, with paths that hold in a checkout beside its data."""
    data = Path(os.environ.get("INTERPOSE_SFM_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--strips", type=Path, help="folder for frames of the sample that is to be inspected")
    parser.add_argument("--made", type=int, default=12, help="cuts and fades of each kind put into videos of a model")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "clip_checks")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args(words)
    if not any(arguments.data.glob("interpose_pairs/*/*/*.mp4")):
        parser.error(f"{arguments.data} holds no interpose_pairs/DATASET/EXAMPLE/*.mp4; name the folder with --data")
    return arguments


# ---------------------------------------------------------------- cuts and fades of known place


def made_clips(videos: Sequence[Video], data: Path, number: int) -> list[tuple[str, str, int, int]]:
    """(kind, model, flagged, made) for cuts and fades put between videos of different scenes that have no flag."""
    found = []
    for model in MODELS:
        sound = [video for video in videos if video.model == model and not video.check().flags]
        rng = np.random.default_rng(SEED)
        flagged: Counter[str] = Counter()
        num_made = number if len({video.pair for video in sound}) > 1 else 0
        for _ in range(num_made):
            one = sound[rng.integers(len(sound))]
            others = [video for video in sound if video.pair != one.pair]
            other = others[rng.integers(len(others))]
            first, second = (list(frames_of(video, data)) for video in (one, other))
            count = min(len(first), len(second))
            where = int(rng.integers(round(0.35 * count), round(0.65 * count)))
            for kind, make in KINDS.items():
                problems = check_frames(make(first[:count], second[:count], where)).problems
                flagged[kind] += bool(problems & {CUT, FADE})
        found += [(kind, model, flagged[kind], num_made) for kind in KINDS]
        print(model, dict(flagged), flush=True)
    return found


def faded(first: Frames, second: Frames, where: int, length: int) -> Frames:
    """From one clip to the other within so many mixed frames; with none it is a cut."""
    begin = max(0, where - length // 2)
    size = first[0].shape[1], first[0].shape[0]
    second = [np.asarray(Image.fromarray(frame).resize(size)) for frame in second]
    mixed = []
    for step in range(length):
        share = (step + 1) / (length + 1)
        both = (1 - share) * first[begin + step] + share * second[begin + step]
        mixed.append(both.round().astype(np.uint8))
    return [*first[:begin], *mixed, *second[begin + length :]]


KINDS: Mapping[str, Callable[[Frames, Frames, int], Frames]] = {
    "cut": lambda first, second, where: faded(first, second, where, 0),
    "cut with one mixed frame": lambda first, second, where: faded(first, second, where, 1),
    "fade over 4 frames": lambda first, second, where: faded(first, second, where, 4),
    "fade over 8 frames": lambda first, second, where: faded(first, second, where, 8),
    "fade over 16 frames": lambda first, second, where: faded(first, second, where, 16),
    "the middle half left out": lambda first, second, where: first[: len(first) // 4] + first[-(len(first) // 4) :],
}


def photo_bursts(strecha: Path) -> list[tuple[str, int, ClipReport]]:
    """(scene, photos, report) of photos of a benchmark, played as if they were a clip."""
    found = []
    for folder in sorted(strecha.glob("*/images")):
        files = sorted(folder.glob("*.jpg"))
        report = check_frames(read_rgb(file) for file in files)
        found.append((folder.parent.name, len(files), report))
    return found


# ---------------------------------------------------------------- the document


def document(
    videos: Sequence[Video],
    verdicts: Verdicts,
    made: Sequence[tuple[str, str, int, int]],
    bursts: Sequence[tuple[str, int, ClipReport]],
) -> str:
    """The result as Markdown."""
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    asked = formats(videos)
    lines = [
        "# Clip checks on the videos of the InterPose project page",
        "",
        f"Made by `python pipelines/clip_checks.py` from {len(videos)} videos of {len(asked)} video models between "
        f"{len({video.pair for video in videos})} pairs of photos;",
        f"seed {SEED}, {platform.machine()}, {os.cpu_count()} cores. Versions: {names}.",
        "",
        f"A frame takes {statistics.median(v.look_ms for v in videos):.1f} ms of one core, its decoding "
        f"{statistics.median(v.decode_ms for v in videos):.1f} ms (medians over the videos).",
        "",
        "## Flags",
        "",
        "Size and length are held against what most videos of the model have, since nobody published what was asked:",
        "; ".join(f"{m} {f.width_px}x{f.height_px} px, {f.num_frames} frames" for m, f in sorted(asked.items())) + ".",
        "",
        "| videos with | " + " | ".join(MODELS) + " |",
        "|---|" + "---|" * len(MODELS),
        *flag_lines(videos, asked),
        "",
        f"![examples of flagged videos]({RESULT.stem}.jpg)",
        "",
        "Examples of every problem: the ends, and between them frames around a cut or fade; below the label their",
        "numbers.",
        "",
        "## Whether they are right",
        "",
        "Frames of a seeded sample were looked at in an order that does not tell what is flagged: all around the",
        "strongest step, and eight from the whole video. What was seen is kept in",
        f"[{RESULT.stem}_inspected.json]({RESULT.stem}_inspected.json). *Cut*: the picture is replaced by another that",
        "is no continuation of it, from one frame to the next or over one or two mixed ones. *Fade*: two pictures are",
        "seen through each other over more frames. *Neither* is a camera that moves, however fast or wrong.",
        "",
        "| flagged as | videos | inspected | cut | fade | neither | unsure |",
        "|---|---|---|---|---|---|---|",
        *verdict_lines(videos, verdicts),
        "",
        *target_lines(videos, verdicts),
        "",
        "## Cuts and fades that were put in",
        "",
        "As often as the table says two videos of different scenes, both without a flag, were joined near their",
        "middle. *The middle half left out* joins the first and the last quarter of one video: the same scene from",
        "another view. Flagged as a cut or a fade:",
        "",
        "| made | " + " | ".join(MODELS) + " |",
        "|---|" + "---|" * len(MODELS),
        *made_lines(made),
        "",
        "## Plateau",
        "",
        "One limit is moved at a time, the others stay at their defaults (bold): videos with the flags that depend on",
        "it. For cuts and fades, in brackets: of the inspected ones, those flagged that are neither, and those not",
        "flagged that are one.",
        "",
        *plateau_lines(videos, verdicts),
        "",
        "## Photos played as a clip",
        "",
        "Photos of Strecha's benchmark in their order. They turn by several degrees from one to the next, and a clip",
        "like this would be flagged rather than refused:",
        "",
        *(f"- {name}, {count} photos: {describe_flags(r.flags) or 'no flag'}" for name, count, r in bursts),
        "",
        "## The sample",
        "",
        "| video | flagged as | frames | seen | note |",
        "|---|---|---|---|---|",
        *sample_lines(videos, verdicts),
    ]
    return "\n".join([*lines, ""])


def flag_lines(videos: Sequence[Video], asked: Mapping[str, ClipFormat]) -> list[str]:
    """Videos per problem and model."""
    found = {model: [v.check(asked=asked[model]).problems for v in videos if v.model == model] for model in asked}
    lines = []
    for problem in ClipProblem:
        cells = [str(sum(problem in problems for problems in found.get(model, ()))) for model in MODELS]
        lines.append(f"| {problem.value} | {' | '.join(cells)} |")
    whole = [f"{sum(not p for p in found.get(model, ()))} of {len(found.get(model, ()))}" for model in MODELS]
    return [*lines, f"| nothing flagged | {' | '.join(whole)} |"]


def kind_of(video: Video, limits: ClipLimits = DEFAULT_LIMITS) -> str:
    """Whether it is flagged as cut or as fade."""
    problems = video.check(limits).problems
    return next((problem.value for problem in (CUT, FADE) if problem in problems), "no")


def seen(video: Video, verdicts: Verdicts) -> str:
    """What an inspection said; empty without one."""
    return verdicts.get(video.name, {}).get("seen", "")


def verdict_lines(videos: Sequence[Video], verdicts: Verdicts) -> list[str]:
    """A row per flag with what was seen."""
    chosen, lines = sample(videos), []
    for kind in (CUT.value, FADE.value, "no"):
        looked = Counter(seen(video, verdicts) for video in chosen if kind_of(video) == kind)
        looked.pop("", None)
        cells = [sum(kind_of(video) == kind for video in videos), looked.total(), *(looked[name] for name in SEEN)]
        lines.append(f"| {'neither' if kind == 'no' else kind} | {' | '.join(map(str, cells))} |")
    return lines


def target_lines(videos: Sequence[Video], verdicts: Verdicts) -> list[str]:
    """What was asked for, and what was reached."""
    chosen = [video for video in sample(videos) if seen(video, verdicts)]
    cuts = [video for video in chosen if kind_of(video) == CUT.value]
    if not cuts:
        return ["Nothing flagged as a hard cut was inspected yet."]
    wrong, other = (
        [video for video in cuts if seen(video, verdicts) in kinds]
        for kinds in (("neither",), ("neither", "fade", "unsure"))
    )
    num_flagged = sum(kind_of(video) == CUT.value for video in videos)
    shares = [num_flagged / len(videos) * len(some_wrong) / len(cuts) for some_wrong in (wrong, other)]
    missed = [v for v in chosen if kind_of(v) == "no" and seen(v, verdicts) in ("cut", "fade")]
    num_whole = sum(kind_of(video) == "no" for video in chosen)
    listed = ", ".join(video.name for video in missed) or "none"
    return [
        f"Wrongly flagged as a hard cut: {len(wrong)} of {len(cuts)} inspected, which makes {shares[0]:.1%} of all "
        f"videos (asked: at most 5 %); {shares[1]:.1%} if fades and what is unsure count as wrong, too.",
        f"Missed: {len(missed)} of {num_whole} inspected without either flag ({listed}).",
    ]


def made_lines(made: Sequence[tuple[str, str, int, int]]) -> list[str]:
    """A row per kind of join."""
    lines = []
    for kind in KINDS:
        cells = [f"{flagged} of {count}" for k, _, flagged, count in made if k == kind]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


def plateau_lines(videos: Sequence[Video], verdicts: Verdicts) -> list[str]:
    """A row per limit."""
    width = max(map(len, PLATEAU.values()))
    lines = ["| limit |" + " |" * width, "|---|" + "---|" * width]
    for name, values in PLATEAU.items():
        cells = []
        for value in values:
            limits = replace(DEFAULT_LIMITS, **{name: value})  # type: ignore[arg-type]
            hits = [video for video in videos if video.check(limits).problems & set(PROBLEM_OF[name])]
            label = f"**{value}**" if value == getattr(DEFAULT_LIMITS, name) else f"{value}"
            cell = f"{label}: {len(hits)}"
            if set(PROBLEM_OF[name]) & {CUT, FADE}:
                joined = [video for video in videos if kind_of(video, limits) != "no"]
                wrong = sum(seen(video, verdicts) == "neither" for video in joined)
                missed = sum(seen(v, verdicts) in ("cut", "fade") for v in videos if kind_of(v, limits) == "no")
                cell += f" ({wrong}, {missed})"
            cells.append(cell)
        lines.append(f"| {name} | {' | '.join([*cells, *[''] * (width - len(cells))])} |")
    return lines


def sample_lines(videos: Sequence[Video], verdicts: Verdicts) -> list[str]:
    """A row per video of the sample."""
    lines = []
    for video in sorted(sample(videos), key=lambda v: (kind_of(v) == "no", kind_of(v), v.name)):
        step, kind, said = strongest(video), kind_of(video), verdicts.get(video.name, {})
        frames = "" if kind == "no" else f"{step.first} to {step.last}"
        shown = "-" if kind == "no" else kind
        lines.append(
            f"| {video.name} | {shown} | {frames} | {said.get('seen', 'not inspected')} | {said.get('note', '')} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
