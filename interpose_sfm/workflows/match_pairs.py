"""Learned features and matches without a reconstruction: made ahead, or a share of them on each of several machines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from interpose_sfm.bridging.factory import NO_BRIDGING
from interpose_sfm.colmap.cameras import refined_cameras
from interpose_sfm.engines.protocol import WorkerDiedError
from interpose_sfm.engines.shard import Shard
from interpose_sfm.matching.cache import PhotoViews
from interpose_sfm.options import ReconstructOptions
from interpose_sfm.products import ImagePair, Intrinsics, PhotoSet
from interpose_sfm.retrieval.pair_list import EXPECTED as PAIRS_EXPECTED
from interpose_sfm.run_log import Progress, RunLog
from interpose_sfm.storage.texts import check_file
from interpose_sfm.workflows import fallback
from interpose_sfm.workflows.named_pairs import named_pairs
from interpose_sfm.workflows.posers import opened_posers
from interpose_sfm.workflows.reconstruct import PhotoRun, workspace_of
from interpose_sfm.workflows.start_checks import check_run, with_device

WHOLE = Shard()


@dataclass(frozen=True, kw_only=True)
class MatchResult:
    """What :func:`match_photos` returns.

    Attributes:
        store: Folder of the stores of features and matches.
        shard: Which share of the pairs, such as ``2/4``.
        num_pairs: Pairs of all shares.
        pairs: Those of this share, which are matched now.
        failed: Of these, pairs whose workers died, and why.
        time_s: What this run took.
    """

    store: Path
    shard: str
    num_pairs: int
    pairs: tuple[ImagePair, ...]
    failed: dict[str, str]
    time_s: float


def match_photos(
    photo_dir: Path,
    output: Path | None = None,
    options: ReconstructOptions | None = None,
    pairs: Sequence[tuple[str, str]] | Path = (),
    *,
    shard: Shard = WHOLE,
    progress: Progress | None = None,
) -> MatchResult:
    """Match pairs with learned features, as `reconstruct` would match its weak pairs, and nothing else.

    What is found lies in the store, where `reconstruct` finds it. Pairs that are matched already cost next to nothing.

    Args:
        photo_dir: Folder with photos, sub-folders included.
        output: Output folder; ``<photo_dir>_interpose`` beside the photos by default.
        options: All options.
        pairs: Names of photos, two each, or a file with two of them a line; by default all weak pairs.
        shard: Which share of the pairs; those of all shares together are all pairs.
        progress: Called with the stage, what is done and the total.

    Raises:
        ValueError: Bad input.
        EngineError: Slurm or Ray give no workers.
        BaseException: What matching a pair raised, such as an OSError on a full disk; what was matched by then is kept.
        WorkspaceBusyError: Another run works in the output folder.
    """
    start = time.monotonic()
    options = replace(options or ReconstructOptions(), generator=NO_BRIDGING)
    workspace = workspace_of(photo_dir, output)
    photo_dir = Path(photo_dir)
    check_run(photo_dir, workspace, options)
    if isinstance(pairs, Path):
        check_file(pairs, "pair file", PAIRS_EXPECTED)
    with workspace.locked():
        run = PhotoRun(workspace, with_device(options), RunLog(progress))
        # 1. photos -> images
        photo_set = run.collect(photo_dir)
        if photo_set.lack:
            raise ValueError(f"{photo_dir}: got {photo_set.lack}")
        # 2. images -> pairs
        if pairs:
            chosen, cameras = named_pairs(pairs, photo_set), _plain_cameras(photo_set)
        else:
            base = run.map_base(photo_set)
            graph = fallback.build_graph(base, workspace.root, workspace.work_dir, run.options, run.log)
            chosen = tuple(weak.pair for weak in graph.weak_pairs)
            cameras = refined_cameras(base.database_path, base.models)
        mine = tuple(pair for pair in chosen if shard.holds(pair.a, pair.b))
        # 3. pairs -> features and matches in the store
        views = PhotoViews(photo_set.image_dir, cameras, run.mask_dir)
        return MatchResult(
            store=(options.execution.store or workspace.root).absolute(),
            shard=str(shard),
            num_pairs=len(chosen),
            pairs=mine,
            failed=_match(mine, views, photo_set, run),
            time_s=time.monotonic() - start,
        )


def _match(pairs: Sequence[ImagePair], views: PhotoViews, photo_set: PhotoSet, run: PhotoRun) -> dict[str, str]:
    names, failed = tuple(photo.name for photo in photo_set.photos), {}
    workspace = run.workspace
    opened = opened_posers(workspace.root, names, workspace.clips_dir, run.options, run.log.tell)
    with (
        run.log.stage("learned matching"),
        opened as posers,
        posers.matching(posers.poser(views), views, pairs) as ahead,
    ):
        num_done = 0
        run.log.tell("learned matching", num_done, len(pairs))
        for done in ahead.all():
            num_done += len(done.job.pairs)
            run.log.tell("learned matching", num_done, len(pairs))
            if done.error is not None and not isinstance(done.error, WorkerDiedError):
                raise done.error
            if done.error is not None:
                failed.update({f"{pair.a} {pair.b}": str(done.error) for pair in done.job.pairs})
    return failed


def _plain_cameras(photo_set: PhotoSet) -> dict[str, Intrinsics]:
    """Cameras of the right size; learned features do not depend on anything else of them."""
    return {
        photo.name: Intrinsics(
            photo.width_px,
            photo.height_px,
            float(max(photo.width_px, photo.height_px)),
            photo.width_px / 2,
            photo.height_px / 2,
        )
        for photo in photo_set.photos
    }
