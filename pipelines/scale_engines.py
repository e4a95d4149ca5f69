"""Engines side by side on a small collection: the same links, what a death costs, and that nothing is made twice.

Part ``engines`` of ``scale.py``, and the drivers that it starts as processes of their own:

    python pipelines/scale_engines.py match PHOTOS OUTPUT STORE PAIRS    # prints how many pairs it has matched itself
    python pipelines/scale_engines.py bridge PHOTOS OUTPUT STORE PAIRS   # prints how many clips it has made itself
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from interpose_sfm.bridging import factory
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.options import EngineOptions, GenerationOptions, MatchingOptions, ReconstructOptions
from interpose_sfm.products import ClipFormat, ClipState, Settings
from interpose_sfm.report import ReconstructionResult
from interpose_sfm.video_models.protocol import ClipEstimate, ClipTask, MadeVideo, TaskJournal, VideoModel
from interpose_sfm.workflows.make_clips import bridge_photos
from interpose_sfm.workflows.match_pairs import match_photos
from interpose_sfm.workflows.reconstruct import reconstruct

Figures = dict[str, Any]

MATCHING = MatchingOptions(learned_max_image_px=640, max_keypoints=1024)
ENGINES: Mapping[str, EngineOptions] = {
    "local, 1 thread": EngineOptions(engine_workers=1),
    "local, 2 threads": EngineOptions(engine_workers=2),
    "Ray, 2 workers": EngineOptions(engine="ray", engine_workers=2),
    "Ray, 4 workers": EngineOptions(engine="ray", engine_workers=4),
    "submitit's local executor, 2 workers": EngineOptions(engine="slurm", slurm_cluster="local", engine_workers=2),
    "Ray, 2 workers, one killed": EngineOptions(engine="ray", engine_workers=2),
}
CLIP_S = 1.0  # that the model of the clips takes for one


def subset(data: Path, work: Path) -> Path:
    """The photos of castle-P30_s4 in a folder below the work folder."""
    names = json.loads((data / "strecha" / "subsets.json").read_text(encoding="utf-8"))["castle-P30_s4"]["images"]
    folder = work / "castle-P30_s4"
    folder.mkdir(exist_ok=True)
    for name in names:
        shutil.copyfile(data / "strecha" / "castle-P30" / "images" / name, folder / name)
    return folder


def engines(photo_dir: Path, work: Path, seed: int) -> Figures:
    """Reconstruct with every engine, all from the same base models, and let two drivers share a store."""
    work.mkdir(parents=True, exist_ok=True)
    base = work / "base"
    options = ReconstructOptions(generator="none", matching=MATCHING, seed=seed, html=False)
    if not base.is_dir():
        unmatched = replace(options, view_graph=replace(options.view_graph, max_weak_pairs=0))
        reconstruct(photo_dir, work / "begun", unmatched)
        (work / "begun").rename(base)
    rows = [_row(name, photo_dir, base, work / "run", replace(options, execution=ENGINES[name])) for name in ENGINES]
    pairs = work / "pairs.txt"
    pairs.write_text("".join(f"{a} {b}\n" for a, b in rows[0].pop("pairs")), encoding="utf-8")
    for row in rows[1:]:
        row.pop("pairs")
    drivers = {what: _drivers(what, photo_dir, work, pairs) for what in ("match", "bridge")}
    return {"photos": len(list(photo_dir.iterdir())), "rows": rows, "drivers": drivers}


def _row(name: str, photo_dir: Path, base: Path, output: Path, options: ReconstructOptions) -> Figures:
    """One engine; without stores of an earlier run."""
    shutil.rmtree(output, ignore_errors=True)
    shutil.copytree(base, output)
    for stale in output.glob("*.h5"):
        stale.unlink()
    killed: list[int] = []
    killer = threading.Thread(target=_kill_one, args=(output / "matches.h5.parts", killed), daemon=True)
    if "killed" in name:
        killer.start()
    start = time.monotonic()
    result = reconstruct(photo_dir, output, options)
    return {
        "engine": name,
        "links": _links(result),
        "matched": sum("learned matching" in pair.tried for pair in result.report.pairs),
        "registered": result.report.num_registered_after,
        "killed": len(killed),
        "time_s": time.monotonic() - start,
        "pairs": [(pair.a, pair.b) for pair in result.report.pairs if "learned matching" in pair.tried],
    }


def _links(result: ReconstructionResult) -> dict[str, list[list[float]]]:
    """Accepted pairs with their rotations."""
    return {
        f"{pair.a} {pair.b}": np.asarray(pair.link.rotation).round(6).tolist()
        for pair in result.report.pairs
        if pair.link is not None and pair.verdict == "accepted"
    }


def _kill_one(parts: Path, killed: list[int]) -> None:
    """Kill one of the workers of Ray that descend from this process, once it has matched something."""
    while not list(parts.glob("*.h5")):
        time.sleep(0.05)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if command.startswith("ray::_WorkerActor.do") and _descends(int(process.name), os.getpid()):
            os.kill(int(process.name), signal.SIGKILL)
            killed.append(int(process.name))
            return


def _descends(process: int, ancestor: int) -> bool:
    while process > 1:
        if process == ancestor:
            return True
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return False


# ---------------------------------------------------------------- two drivers


def _drivers(what: str, photo_dir: Path, work: Path, pairs: Path) -> Figures:
    """What two drivers make that begin together with one store, and what there is then."""
    store = work / f"{what}_store"
    shutil.rmtree(store, ignore_errors=True)
    started = []
    for number in (1, 2):
        output = work / f"driver_{number}"
        shutil.rmtree(output, ignore_errors=True)
        command = [sys.executable, __file__, what, *map(str, (photo_dir, output, store, pairs))]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    made = [int(process.communicate()[0].splitlines()[-1]) for process in started]
    wanted = len(pairs.read_text(encoding="utf-8").splitlines())
    return {"made": made, "wanted": wanted if what == "match" else len(list(store.glob("*.mp4")))}


def _match(photo_dir: Path, output: Path, store: Path, pairs: Path) -> int:
    """Match pairs -> how many this process has matched itself."""
    num_made = 0
    plain = LearnedMatcher.match

    def counted(*arguments: Any) -> Any:
        nonlocal num_made
        num_made += 1
        return plain(*arguments)

    LearnedMatcher.match = counted  # type: ignore[method-assign]
    execution = EngineOptions(engine_workers=1, store=store)
    match_photos(photo_dir, output, ReconstructOptions(matching=MATCHING, execution=execution), pairs)
    return num_made


def _bridge(photo_dir: Path, output: Path, store: Path, pairs: Path) -> int:
    """Make clips of the first pairs -> how many this process has made itself."""
    factory.VIDEO_MODELS = replace(
        factory.VIDEO_MODELS, builtin={**factory.VIDEO_MODELS.builtin, "fade": "scale_engines:Fade"}
    )
    first = output.with_name(f"{output.name}_pairs.txt")
    first.write_text("\n".join(pairs.read_text(encoding="utf-8").splitlines()[:2]), encoding="utf-8")
    options = ReconstructOptions(generator="fade", generation=GenerationOptions(clip_store=store))
    result = bridge_photos(photo_dir, output, options, first)
    assert result.count(ClipState.FAILED) == result.count(ClipState.MISSING) == 0
    return Fade.num_made


@dataclass
class Fade(VideoModel):
    """A video model that costs nothing, and counts."""

    name: str
    options: GenerationOptions
    device: str = "cpu"
    num_made = 0

    @property
    def settings(self) -> Settings:
        """See `VideoModel`."""
        return {"model": "fade"}

    def format_for(self, photo_size_px: tuple[int, int]) -> ClipFormat:
        """See `VideoModel`."""
        return ClipFormat(width_px=96, height_px=64, num_frames=5, fps=8.0)

    def estimate(self, clip_format: ClipFormat) -> ClipEstimate:
        """See `VideoModel`."""
        return ClipEstimate(time_s=CLIP_S)

    def make(self, task: ClipTask, journal: TaskJournal) -> MadeVideo:
        """See `VideoModel`."""
        time.sleep(CLIP_S)
        Fade.num_made += 1
        first, last = task.first.astype(float), task.last.astype(float)
        frames = tuple(((1 - t) * first + t * last).astype(np.uint8) for t in np.linspace(0, 1, 5))
        return MadeVideo(frames=frames)


# ---------------------------------------------------------------- the document


def told(found: Figures) -> str:
    """What came of it, as a section of ``docs/results/scale.md``."""
    first = found["rows"][0]
    rows = "\n".join(
        f"| {row['engine']} | {row['matched']} | {len(row['links'])} | {_same(first['links'], row['links'])} | "
        f"{row['registered']} of {found['photos']} | {row['killed']} | {row['time_s']:.0f} |"
        for row in found["rows"]
    )
    match, bridge = found["drivers"]["match"], found["drivers"]["bridge"]
    return (
        "## Engines\n\nA subset of castle-P30, from the same base models with each engine, learned matching at "
        f"{MATCHING.learned_max_image_px} px. Ray and the executor run on the same cores as all else, and start "
        "processes that load the networks, so that times say nothing of a cluster.\n\n"
        "| engine | pairs matched | links accepted | the same | photos registered | workers killed | time (s) |\n"
        f"|---|---|---|---|---|---|---|\n{rows}\n\nTwo drivers that begin together on one store: they matched "
        f"{match['made'][0]} and {match['made'][1]} of {match['wanted']} pairs, {_twice(match)} twice, and made "
        f"{bridge['made'][0]} and {bridge['made'][1]} of {bridge['wanted']} clips (of a model that fades from one "
        f"photo to the other), {_twice(bridge)} twice."
    )


def _twice(drivers: Figures) -> str:
    late = "all were there when one of the two looked, and " if 0 in drivers["made"] else ""
    return f"{late}{'none' if sum(drivers['made']) == drivers['wanted'] else 'some'}"


def _same(first: Mapping[str, Sequence[Sequence[float]]], other: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Whether two engines have the same links, and how far apart their rotations are."""
    if first.keys() != other.keys():
        return f"no: {', '.join(sorted(first.keys() ^ other.keys()))}"
    apart = max((float(np.abs(np.subtract(first[pair], other[pair])).max()) for pair in first), default=0.0)
    return "yes" if apart < 1e-4 else f"same pairs, rotations differ by {apart:.1g}"


DRIVERS: Mapping[str, Callable[[Path, Path, Path, Path], int]] = {"match": _match, "bridge": _bridge}


if __name__ == "__main__":
    sys.modules["scale_engines"] = sys.modules["__main__"]
    print(DRIVERS[sys.argv[1]](*map(Path, sys.argv[2:])))
