"""The measured videos of `checks.py`, the sample of them that is inspected, and sheets of their frames."""

from __future__ import annotations

import inspect
import io
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from interpose_sfm.clips import checks, thumbnails
from interpose_sfm.clips.checks import DEFAULT_LIMITS, ClipLimits, ClipMeasures, ClipReport, Fade, Step
from interpose_sfm.clips.video import stream_frames
from interpose_sfm.photos.pictures import read_rgb
from interpose_sfm.products import ClipFlag, ClipFormat, ClipProblem, ImageArray
from interpose_sfm.storage.atomic import atomic_write_bytes, atomic_write_json
from interpose_sfm.storage.content_keys import content_key

SEED = 0
MODELS = ("dynamicrafter", "runway", "luma")
CUT, FADE = ClipProblem.HARD_CUT, ClipProblem.CROSS_FADE
MAX_INSPECTED = {CUT: 40, FADE: 20}
UNFLAGGED_PER_MODEL = 12
MAX_FRAME_PX = 4096
SHEET_PX, SHEET_PER_PROBLEM = 112, 3
STRIP_PX, STRIP_VIDEOS, COLUMNS = 150, 5, 8

Frames = list[ImageArray]


@dataclass(frozen=True)
class Video:
    """One video with all that the checks measure of it.

    Attributes:
        name: DATASET/EXAMPLE/MODEL_INDEX_ORDER.
        measures: Of its frames.
        ends: Correlation of the first and the last frame with the photos that they should show.
        photos_differ: Whether something has to move.
        look_ms, decode_ms: Processor time per frame of the checks and of decoding.
    """

    name: str
    measures: ClipMeasures
    ends: tuple[float, float]
    photos_differ: bool
    look_ms: float
    decode_ms: float

    @cached_property
    def model(self) -> str:
        """Name of the video model."""
        return self.name.rpartition("/")[2].partition("_")[0]

    @cached_property
    def pair(self) -> str:
        """DATASET/EXAMPLE."""
        return self.name.rpartition("/")[0]

    @property
    def format(self) -> tuple[tuple[int, int], int]:
        """Size in pixels and number of frames."""
        return self.measures.sizes_px[0], self.measures.num_frames

    def check(self, limits: ClipLimits = DEFAULT_LIMITS, asked: ClipFormat | None = None) -> ClipReport:
        """What is wrong with it."""
        return checks.flag_clip(
            self.measures, asked=asked, end_correlations=self.ends, photos_differ=self.photos_differ, limits=limits
        )


# ---------------------------------------------------------------- measuring


def measured(path: Path, work: Path) -> Video:
    """Measures of a video, from the work folder if neither it nor the checks have changed since."""
    name = "/".join((*path.parts[-3:-1], path.stem))
    photos = [path.parent / "a.jpg", path.parent / "b.jpg"]
    code = [inspect.getsource(item) for item in (checks, thumbnails, stream_frames)]
    key = content_key(name, *code, *(file.read_bytes() for file in (path, *photos)))
    file = work / f"{name.replace('/', '_')}.json"
    if file.is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["key"] == key:
            return from_json(found["video"])
    ends = [read_rgb(photo) for photo in (photos if path.stem.endswith("_ab") else photos[::-1])]
    found_video = measure(name, path, (ends[0], ends[1]))
    atomic_write_json(file, {"key": key, "video": asdict(found_video)})
    print(name, checks.describe_flags(found_video.check().flags), flush=True)
    return found_video


def measure(name: str, path: Path, photos: tuple[ImageArray, ImageArray]) -> Video:
    """Look at every frame once, and at both ends."""
    meter, start, look_s = checks.ClipMeter(), time.process_time(), 0.0
    first = last = None
    for frame in stream_frames(path, MAX_FRAME_PX):
        before = time.process_time()
        meter.add(frame)
        look_s += time.process_time() - before
        first, last = frame if first is None else first, frame
    all_s, measures = time.process_time() - start, meter.measures()
    assert first is not None, path
    assert last is not None, path
    ends = checks.end_correlation(photos[0], first), checks.end_correlation(photos[1], last)
    per_frame = 1000 / measures.num_frames
    differ = checks.photos_differ(*photos)
    return Video(name, measures, ends, differ, look_s * per_frame, (all_s - look_s) * per_frame)


def from_json(found: dict[str, Any]) -> Video:
    """The inverse of ``asdict``."""
    measures = found["measures"]
    return Video(
        **found
        | {
            "ends": (found["ends"][0], found["ends"][1]),
            "measures": ClipMeasures(
                measures["num_frames"],
                tuple((width, height) for width, height in measures["sizes_px"]),
                measures["num_pictures"],
                tuple(Step(**step) for step in measures["steps"]),
                tuple(Fade(Step(**fade["step"]), fade["residual"]) for fade in measures["fades"]),
            ),
        }
    )


def formats(videos: Sequence[Video]) -> dict[str, ClipFormat]:
    """What each model makes mostly, which stands for what was asked of it: nobody published that."""
    found = {}
    for model in {video.model for video in videos}:
        counted = Counter(video.format for video in videos if video.model == model)
        (width_px, height_px), num_frames = counted.most_common(1)[0][0]
        found[model] = ClipFormat(width_px=width_px, height_px=height_px, num_frames=num_frames, fps=15.0)
    return found


def row(video: Video, asked: Mapping[str, ClipFormat]) -> dict[str, Any]:
    """Figures of one video for the JSON file."""
    measures = video.measures
    step = strongest(video)
    return {
        "video": video.name,
        "num_frames": measures.num_frames,
        "num_pictures": measures.num_pictures,
        "sizes_px": measures.sizes_px,
        "ends": [round(end, 3) for end in video.ends],
        "strongest_step": {"first": step.first, "last": step.last, "unlike": round(step.unlike, 3)},
        "outstanding": round(max(measures.outstanding, default=0.0), 2),
        "flags": [asdict(flag) for flag in video.check(asked=asked[video.model]).flags],
    }


def strongest(video: Video) -> Step:
    """Where a cut is, if there is one; else where it would be."""
    measures = video.measures
    flag = flag_of(video, FADE)
    if flag is not None and flag_of(video, CUT) is None:
        fades = [fade for fade in measures.fades if fade.residual <= DEFAULT_LIMITS.max_fade_residual]
        return max((fade.step for fade in fades), key=lambda step: step.unlike)
    unlike = DEFAULT_LIMITS.min_unlike
    steps = list(zip(measures.outstanding, measures.steps, strict=True))
    still = 0.0, Step(0, measures.num_frames - 1, 0.0)
    return max(steps, key=lambda item: (item[1].unlike >= unlike, item[0]), default=still)[1]


def flag_of(video: Video, problem: ClipProblem, limits: ClipLimits = DEFAULT_LIMITS) -> ClipFlag | None:
    """The flag of a kind; None without it."""
    return next((flag for flag in video.check(limits).flags if flag.problem is problem), None)


# ---------------------------------------------------------------- frames to look at


def frames_of(item: Video, data: Path) -> Iterator[ImageArray]:
    """The frames of a video in file order."""
    return stream_frames(data / "interpose_pairs" / f"{item.name}.mp4", MAX_FRAME_PX)


def sample(videos: Sequence[Video]) -> list[Video]:
    """What is inspected, in an order that does not tell what is flagged."""
    rng = np.random.default_rng(SEED)
    chosen = []
    for problem, most in MAX_INSPECTED.items():
        flagged = [video for video in videos if flag_of(video, problem) is not None]
        chosen += some(flagged, most, rng)
    for model in MODELS:
        chosen += some([v for v in videos if v.model == model and is_whole(v)], UNFLAGGED_PER_MODEL, rng)
    return [chosen[index] for index in rng.permutation(len(chosen))]


def is_whole(video: Video) -> bool:
    """Whether neither a cut nor a fade is flagged."""
    return not video.check().problems & {CUT, FADE}


def some(videos: Sequence[Video], most: int, rng: np.random.Generator) -> list[Video]:
    """All, or as many as allowed."""
    return [videos[index] for index in sorted(rng.permutation(len(videos))[:most])]


def write_strips(videos: Sequence[Video], data: Path, folder: Path) -> None:
    """Two rows per video of the sample: frames from all of it, and those around the strongest step."""
    chosen = sample(videos)
    folder.mkdir(parents=True, exist_ok=True)
    for begin in range(0, len(chosen), STRIP_VIDEOS):
        rows = []
        for video in chosen[begin : begin + STRIP_VIDEOS]:
            frames, step = list(frames_of(video, data)), strongest(video)
            spread = np.linspace(0, len(frames) - 1, COLUMNS).round().astype(int)
            middle = (step.first + step.last) // 2 - COLUMNS // 2 + 1
            around = np.clip(np.arange(middle, middle + COLUMNS), 0, len(frames) - 1)
            rows += [labelled_row(frames, spread, video.name, STRIP_PX), labelled_row(frames, around, "", STRIP_PX)]
        atomic_write_bytes(folder / f"strips_{begin // STRIP_VIDEOS:02d}.jpg", jpeg(rows, 85))


def write_contact_sheet(videos: Sequence[Video], data: Path, path: Path) -> None:
    """Some examples of every problem, one row each: the ends, and frames around where it is."""
    rng, rows, asked = np.random.default_rng(SEED), [], formats(videos)
    for problem in ClipProblem:
        flagged = [v for v in videos if problem in v.check(asked=asked[v.model]).problems]
        for video in some(flagged, SHEET_PER_PROBLEM, rng):
            frames, step = list(frames_of(video, data)), strongest(video)
            last = len(frames) - 1
            if problem in (CUT, FADE):
                around = np.linspace(step.first - 1, step.last + 1, COLUMNS - 2).round().astype(int)
                indices = np.array([0, *np.clip(around, 0, last), last])
            else:
                indices = np.linspace(0, last, COLUMNS).round().astype(int)
            rows.append(labelled_row(frames, indices, f"{problem.value}: {video.name}", SHEET_PX))
    atomic_write_bytes(path, jpeg(rows, 55))


def labelled_row(frames: Frames, indices: np.ndarray[Any, Any], label: str, width_px: int) -> Image.Image:
    """Frames side by side with their numbers below a label."""
    height_px = round(width_px * frames[0].shape[0] / frames[0].shape[1])
    image = Image.new("RGB", (width_px * len(indices), height_px + 24), "white")
    draw = ImageDraw.Draw(image)
    draw.text((2, 0), label, fill="black")
    for column, index in enumerate(indices):
        picture = Image.fromarray(frames[index]).resize((width_px - 2, height_px), Image.Resampling.BOX)
        image.paste(picture, (column * width_px, 24))
        draw.text((column * width_px + 2, 12), str(index), fill="black")
    return image


def jpeg(rows: Sequence[Image.Image], quality: int) -> bytes:
    """Rows below each other."""
    sheet = Image.new("RGB", (max((r.width for r in rows), default=1), sum(r.height for r in rows) or 1), "white")
    top = 0
    for picture in rows:
        sheet.paste(picture, (0, top))
        top += picture.height
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
