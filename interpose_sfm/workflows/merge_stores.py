"""What several machines have made, put together: stores and clips, by their content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from interpose_sfm.clips.record import read_record, record_path
from interpose_sfm.storage.run_stores import has_stores, open_stores
from interpose_sfm.storage.workspace import CLIPS_NAME, Workspace
from interpose_sfm.video_models.clip_store import ClipStore
from interpose_sfm.video_models.prompts import FILE_NAME as PROMPTS_NAME
from interpose_sfm.video_models.prompts import take_prompts


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """What :func:`merge_outputs` returns.

    Attributes:
        output: The folder that has everything now.
        num_features, num_matches, num_hypotheses, num_clips: What it did not have before.
    """

    output: Path
    num_features: int
    num_matches: int
    num_hypotheses: int
    num_clips: int


def merge_outputs(output: Path, sources: Sequence[Path]) -> MergeResult:
    """Put the learned features, matches, hypotheses and clips of output folders into one.

    What two of them have is the same, since everything is found by its content; so the order does not matter.

    Args:
        output: Output folder of a run, or a new one.
        sources: Output folders or stores of other runs on the same photos; nothing is written there, and what a run
            there is at is left out.

    Raises:
        ValueError: A source that is neither, or none at all.
        WorkspaceBusyError: Another run works in the output folder.
    """
    if not sources:
        raise ValueError(f"got no folder to merge into {output}, expected one or more after it")
    sources = [Path(source) for source in sources]
    for source in sources:
        if not has_stores(source):
            raise ValueError(f"got {source}, expected the output folder or the store of a run")
    workspace = Workspace(Path(output))
    with workspace.locked():
        with open_stores(workspace.root) as stores:
            numbers = [
                sum(store.take(source / store.path.name) for source in sources)
                for store in (stores.features, stores.matches, stores.hypotheses)
            ]
        num_clips = sum(_take_clips(workspace.clips_dir, source / CLIPS_NAME) for source in sources)
    features, matches, hypotheses = numbers
    return MergeResult(
        output=workspace.root,
        num_features=features,
        num_matches=matches,
        num_hypotheses=hypotheses,
        num_clips=num_clips,
    )


def _take_clips(folder: Path, source: Path) -> int:
    """Copy the clips that a folder of generated clips does not have, under free names.

    Notes about clips under way come along: a service that was asked for one has been paid, and must not be asked again.
    """
    if not source.is_dir():
        return 0
    store, others = ClipStore(folder, ()), ClipStore(source, ())
    folder.mkdir(exist_ok=True)
    num_taken = 0
    with store.locked():
        for record in others.records():
            found = others.find(record.key)
            if found is None or store.find(record.key) is not None:
                continue
            number = found.path.stem.removesuffix("_ba").rpartition("_")[2]
            number = number if number.isdecimal() else "0"  # somebody has renamed it
            store.save(read_record(record_path(found.path)), found.path.read_bytes(), int(number))
            num_taken += 1
        for task in others.tasks():
            if store.find(task.key) is None:
                store.task(task.key).take(task)
        take_prompts(folder / PROMPTS_NAME, source / PROMPTS_NAME)
    return num_taken
