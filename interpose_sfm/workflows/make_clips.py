"""Bridging clips without a reconstruction: made ahead, or on another machine, to be used with ``--clips``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from interpose_sfm.bridging.factory import AUTO, VIDEO_MODELS, check_makes_clips, create_clip_maker, local_model
from interpose_sfm.clips.protocol import clip_requests
from interpose_sfm.clips.strips import preview, sheet_jpeg
from interpose_sfm.engines.factory import create_engine
from interpose_sfm.engines.protocol import Engine
from interpose_sfm.engines.shard import Shard
from interpose_sfm.options import ReconstructOptions
from interpose_sfm.photos.pictures import read_rgb
from interpose_sfm.products import ClipFlag, ClipPreview, ClipState, ImageArray, ImagePair, PhotoSet
from interpose_sfm.retrieval.pair_list import EXPECTED as PAIRS_EXPECTED
from interpose_sfm.run_log import Progress, RunLog
from interpose_sfm.storage.atomic import atomic_directory
from interpose_sfm.storage.run_stores import store_folder
from interpose_sfm.storage.texts import check_file
from interpose_sfm.video_models.clip_plans import ClipPlan
from interpose_sfm.video_models.generated import GeneratedClips
from interpose_sfm.video_models.protocol import GenerationContext
from interpose_sfm.workflows import fallback
from interpose_sfm.workflows.match_pairs import WHOLE
from interpose_sfm.workflows.named_pairs import named_pairs
from interpose_sfm.workflows.posers import ENGINE_NAME
from interpose_sfm.workflows.reconstruct import PhotoRun, workspace_of
from interpose_sfm.workflows.start_checks import check_run


@dataclass(frozen=True, kw_only=True)
class BridgeClip:
    """A clip that was wanted.

    Attributes:
        a, b: The photos, in name order.
        backwards: Whether the video runs from b to a.
        prompt: What the model is told.
        seed: Of its noise.
        width_px, height_px, num_frames: Of the video.
        state: MISSING after a dry run if it has yet to be made.
        file: Its name in the store; empty unless it is there.
        detail: Why it failed.
        flags: What the checks found wrong with it; nothing is looked at in a dry run.
    """

    a: str
    b: str
    backwards: bool
    prompt: str
    seed: int
    width_px: int
    height_px: int
    num_frames: int
    state: ClipState
    file: str = ""
    detail: str = ""
    flags: tuple[ClipFlag, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BridgeEstimate:
    """What the clips take that were missing when the run began.

    Attributes:
        num_clips: How many they are.
        workers: How many of them are made at once.
        time_s: Seconds, all workers together; None where nobody has measured it.
        memory_gib: Of each device; None for models that run elsewhere, or where it is not known.
        cost_usd: Price of all.
        basis: Where the figures come from.
    """

    num_clips: int
    workers: int
    time_s: float | None
    memory_gib: float | None
    cost_usd: float
    basis: str


@dataclass(frozen=True, kw_only=True)
class BridgeResult:
    """What :func:`bridge_photos` returns.

    Attributes:
        output: The output folder.
        store: Folder of the clips; hand it to ``--clips``.
        generator: Name of the video model.
        is_dry_run: True if nothing was to be made.
        shard: Which share of the pairs, such as ``2/4``.
        num_pairs: Pairs of all shares.
        pairs: Those of this share, most promising first.
        clips: The clips of each pair, in this order.
        estimate: Of what was missing in the beginning.
        time_s: What this run took.
        cost_usd: What its clips have cost.
        sheets: A picture for each pair that has a clip, with the frames of its clips, in the order of the pairs; empty
            unless asked for.
    """

    output: Path
    store: Path
    generator: str
    is_dry_run: bool
    shard: str
    num_pairs: int
    pairs: tuple[ImagePair, ...]
    clips: tuple[BridgeClip, ...]
    estimate: BridgeEstimate
    time_s: float
    cost_usd: float
    sheets: tuple[Path, ...] = ()

    def count(self, state: ClipState) -> int:
        """How many clips are in a state."""
        return sum(clip.state is state for clip in self.clips)


def bridge_photos(
    photo_dir: Path,
    output: Path | None = None,
    options: ReconstructOptions | None = None,
    pairs: Sequence[tuple[str, str]] | Path = (),
    *,
    is_dry_run: bool = False,
    with_sheets: bool = False,
    shard: Shard = WHOLE,
    progress: Progress | None = None,
) -> BridgeResult:
    """Make the clips that `reconstruct` would ask a video model for, and nothing else.

    Clips that exist are not made again, so a run that was stopped goes on where it stopped. What COLMAP and the learned
    matches found out on the way is kept in the output folder, for `reconstruct` to go on with.

    Args:
        photo_dir: Folder with photos, sub-folders included.
        output: Output folder; ``<photo_dir>_interpose`` beside the photos by default.
        options: All options; ``generator`` names a video model.
        pairs: Names of photos, two each, or a file with two of them a line; by default the weak pairs, most promising
            first, up to ``max_bridged_pairs``.
        is_dry_run: Find pairs and prompts and see what is missing, but make nothing.
        with_sheets: Write a picture per pair with the frames of its clips, to look over before they are used.
        shard: Which share of the pairs; the clips of all shares together are all clips.
        progress: Called with the stage, what is done and the total.

    Raises:
        ValueError: Bad input, a generator that is no video model, or clips that cost more than the options allow.
        EngineError: Slurm or Ray give no workers.
        WorkspaceBusyError: Another run works in the output folder or in the clip store.
    """
    start = time.monotonic()
    options = options or ReconstructOptions()
    workspace = workspace_of(photo_dir, output)
    photo_dir = Path(photo_dir)
    check_run(photo_dir, workspace, options)
    model_name = _video_model(options)
    if isinstance(pairs, Path):
        check_file(pairs, "pair file", PAIRS_EXPECTED)
    with workspace.locked(), ExitStack() as at_end:
        run = PhotoRun(workspace, options, RunLog(progress))
        # 1. photos -> the model that makes clips of them
        photo_set = run.collect(photo_dir, goes_on=True)
        if photo_set.lack:
            raise ValueError(f"{photo_dir}: got {photo_set.lack}")
        engine_dir = store_folder(options.execution.store, workspace.root) / ENGINE_NAME
        engine = create_engine(options.execution, engine_dir)
        at_end.callback(engine.close)
        generator = _clip_maker(model_name, photo_set, run, is_dry_run, engine)
        # 2. photos -> pairs
        chosen = named_pairs(pairs, photo_set) if pairs else _weak_pairs(photo_set, run)
        mine = tuple(pair for pair in chosen if shard.holds(pair.a, pair.b))  # whole pairs: each is described once
        # 3. pairs -> clips
        plans = [
            generator.plan(pair, request)
            for pair in mine
            for request in clip_requests(options.consistency.num_clips, options.seed)
        ]
        missing = {plan.key: plan for plan in plans if generator.is_missing(plan)}
        estimate = _estimate(generator, list(missing.values()))
        spent_before = generator.store.spent_usd()
        if not is_dry_run:
            generator.make_missing(plans)
        # 4. what became of them
        return BridgeResult(
            output=workspace.root,
            store=generator.store.folder.absolute(),
            generator=generator.name,
            is_dry_run=is_dry_run,
            shard=str(shard),
            num_pairs=len(chosen),
            pairs=mine,
            clips=tuple(_bridge_clip(generator, plan, plan.key in missing, is_dry_run) for plan in plans),
            estimate=estimate,
            time_s=time.monotonic() - start,
            cost_usd=generator.store.spent_usd() - spent_before,
            sheets=_write_sheets(generator, plans, photo_set.image_dir, workspace.sheets_dir) if with_sheets else (),
        )


def _video_model(options: ReconstructOptions) -> str:
    """The video model that is named, else the one that fits this machine.

    Raises:
        ValueError: It is none, or none does.
    """
    check_makes_clips(options.generator)
    if options.generator != AUTO:
        return options.generator
    choice = local_model(options.generation)
    if choice.name is None:
        raise ValueError(
            f"no video model is usable on this machine ({choice.reason}); set --generator to one of: "
            f"{', '.join(VIDEO_MODELS.targets())}"
        )
    return choice.name


def _clip_maker(
    model_name: str, photo_set: PhotoSet, run: PhotoRun, is_dry_run: bool, engine: Engine
) -> GeneratedClips:
    @lru_cache(maxsize=8)
    def load_image(name: str) -> ImageArray:
        return read_rgb(photo_set.image_dir / name)

    context = GenerationContext(
        photo_names=tuple(photo.name for photo in photo_set.photos),
        load_image=load_image,
        bridging=run.options.bridging,
        generation=run.options.generation,
        store_dir=run.workspace.clips_dir,
        progress=run.log.tell,
        is_dry_run=is_dry_run,
        image_dir=photo_set.image_dir,
        engine=engine,
        worker_gpus=run.options.execution.worker_gpus,
    )
    return create_clip_maker(model_name, context)


def _weak_pairs(photo_set: PhotoSet, run: PhotoRun) -> tuple[ImagePair, ...]:
    base = run.map_base(photo_set)
    return fallback.pairs_to_bridge(base, run.workspace.root, run.workspace.work_dir, run.options, run.log)


def _bridge_clip(generator: GeneratedClips, plan: ClipPlan, was_missing: bool, is_dry_run: bool) -> BridgeClip:
    stored, failure = generator.store.find(plan.key), generator.failure(plan)
    if stored is not None:
        state = ClipState.MADE if was_missing else ClipState.EXISTS
    else:
        state = ClipState.FAILED if failure else ClipState.MISSING
    return BridgeClip(
        a=plan.pair.a,
        b=plan.pair.b,
        backwards=plan.backwards,
        prompt=plan.prompt,
        seed=plan.seed,
        width_px=plan.format.width_px,
        height_px=plan.format.height_px,
        num_frames=plan.format.num_frames,
        state=state,
        file="" if stored is None else stored.path.name,
        detail=failure,
        flags=() if stored is None or is_dry_run else generator.read(plan.pair, stored).flags,
    )


def _write_sheets(
    generator: GeneratedClips, plans: Sequence[ClipPlan], image_dir: Path, folder: Path
) -> tuple[Path, ...]:
    """A picture per pair that has a clip, in place of those of an earlier run."""
    by_pair: dict[ImagePair, list[tuple[str, ClipPreview]]] = {}
    for plan in plans:
        stored = generator.store.find(plan.key)
        if stored is None:
            continue
        clip = generator.read(plan.pair, stored)
        if clip.frames:
            said = "; ".join([clip.name, *(f"look at it: {flag.problem}" for flag in clip.flags)])
            by_pair.setdefault(plan.pair, []).append((said, preview(clip)))
    with atomic_directory(folder) as new:
        for number, (pair, clips) in enumerate(by_pair.items(), start=1):
            photos = (read_rgb(image_dir / pair.a), read_rgb(image_dir / pair.b))
            (new / f"{number:03}.jpg").write_bytes(sheet_jpeg(f"{pair.a} to {pair.b}", *photos, clips))
    return tuple(folder / f"{number:03}.jpg" for number in range(1, len(by_pair) + 1))


def _estimate(generator: GeneratedClips, missing: Sequence[ClipPlan]) -> BridgeEstimate:
    estimates = [generator.expected(plan) for plan in missing]
    workers = max(1, min(generator.num_workers, len(missing)))
    times_s = [estimate.time_s for estimate in estimates if estimate.time_s is not None]
    memories = [estimate.memory_gib for estimate in estimates if estimate.memory_gib is not None]
    return BridgeEstimate(
        num_clips=len(missing),
        workers=workers,
        time_s=sum(times_s) / workers if len(times_s) == len(estimates) else None,
        memory_gib=max(memories, default=None),
        cost_usd=sum(estimate.cost_usd for estimate in estimates),
        basis="; ".join(dict.fromkeys(estimate.basis for estimate in estimates if estimate.basis)),
    )
