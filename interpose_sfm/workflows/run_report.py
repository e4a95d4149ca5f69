"""The report of a run, from what its stages have left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm import report
from interpose_sfm.clips.strips import strip_jpeg
from interpose_sfm.colmap import databases, reconstruction
from interpose_sfm.engines.protocol import EngineError
from interpose_sfm.options import ReconstructOptions
from interpose_sfm.pairs.advice import advise
from interpose_sfm.pairs.records import PairRecord, accepted_links
from interpose_sfm.pairs.reporting import pair_report
from interpose_sfm.pairs.view_graph import read_verified
from interpose_sfm.products import PAIR_ALONE, ImagePair, Link, PhotoSet
from interpose_sfm.report import HeldBy
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.atomic import atomic_directory, remove_path
from interpose_sfm.workflows.base_models import ONE_PLACE
from interpose_sfm.workflows.extension import Base, Extension

if TYPE_CHECKING:
    import pycolmap

STRIPS_NAME = "strips"
"""Name of the folder of pictures of clips, in an output folder."""

_LINKS_BY = {HeldBy.LEARNED: "learned matches", HeldBy.CLIP: "clips", HeldBy.NETWORK: "a pose network"}


def run_report(
    photo_set: PhotoSet,
    base: Base,
    extension: Extension,
    model_paths: Sequence[Path],
    options: ReconstructOptions,
    log: RunLog,
    strips: Mapping[ImagePair, Mapping[str, str]] | None = None,
) -> report.RunReport:
    """What a run tells its user.

    Args:
        photo_set: Used and left-out photos.
        base: Before the fallback.
        extension: After it.
        model_paths: Where each final model lies.
        options: Of the run.
        log: Times and warnings.
        strips: Pictures of the clips of each pair, see `write_strips`.
    """
    before, records = base.registered, extension.records
    after = [reconstruction.registered_names(model) for model in extension.models]
    _warn_of_apart(records, extension.models, log.warnings)
    poses = [reconstruction.poses(model) for model in extension.models]
    failure = "" if extension.failure is None else failure_text(extension.failure)
    counts_before, counts_after = _counts(before), _counts(after)
    return report.RunReport(
        photos=report.photo_reports(
            photo_set,
            before,
            after,
            [(r.pair, r.verdict) for r in records],
            dict.fromkeys(base.one_place, ONE_PLACE),
            _holders(base, records, after),
        ),
        pairs=tuple(
            pair_report(record, poses, options.consensus, options.consistency, (strips or {}).get(record.pair))
            for record in records
        ),
        models=tuple(
            report.ModelReport(
                path=path.as_posix(),
                photos=tuple(sorted(names)),
                num_points=model.num_points3D(),
                mean_reprojection_error_px=model.compute_mean_reprojection_error(),
            )
            for path, model, names in zip(model_paths, extension.models, after, strict=True)
        ),
        num_registered_before=counts_before[0],
        num_registered_after=counts_after[0],
        num_registered_before_any=counts_before[1],
        num_registered_after_any=counts_after[1],
        timings_s={stage: round(seconds, 3) for stage, seconds in log.timings_s.items()},
        versions=report.versions(),
        options=report.option_values(options),
        seed=options.seed,
        warnings=tuple(log.warnings),
        failure=failure,
        look_alikes=tuple(
            report.LookAlikeReport(one.pair.a, one.pair.b, round(one.silent_share, 3), one.num_verified)
            for one in base.look_alikes
        ),
        cameras=_cameras(base, extension.models),
        outcome=report.outcome(
            len(photo_set.photos),
            counts_before,
            counts_after,
            len(after),
            [_LINKS_BY[_kind(link, records)] for link in accepted_links(records)],
            failure,
        ),
        verified=tuple(
            report.VerifiedPairReport(pair.a, pair.b, count)
            for pair, count in (read_verified(base.database_path) if base.database_path.is_file() else {}).items()
        ),
        advice=advise(records, after),
    )


def _counts(models: Sequence[frozenset[str]]) -> tuple[int, int]:
    """Photos in the largest model, and in any."""
    return max(map(len, models), default=0), len(frozenset().union(*models))


def _holders(base: Base, records: Sequence[PairRecord], after: Sequence[frozenset[str]]) -> dict[str, HeldBy]:
    """What holds each photo in the largest final model that has it."""
    links = accepted_links(records)
    held_before = [reconstruction.registered_names(model) for model in base.models]
    found: dict[str, HeldBy] = {}
    for names in after:
        root = max(held_before, key=lambda old: len(old & names), default=frozenset())
        for name in names - found.keys():
            if name in root:
                found[name] = HeldBy.COLMAP
            elif any(name in old for old in held_before):
                found[name] = HeldBy.JOINED
            else:
                kinds = {_kind(link, records) for link in links if name in (link.pair.a, link.pair.b)}
                found[name] = next((kind for kind in _LINKS_BY if kind in kinds), HeldBy.COLMAP)
    return found


def _kind(link: Link, records: Sequence[PairRecord]) -> HeldBy:
    """Whether a link comes from learned matches, a clip or a pose network."""
    if link.source == PAIR_ALONE:
        return HeldBy.LEARNED
    proposed = next((r.findings.proposed for r in records if r.pair == link.pair), None) or ()
    return HeldBy.NETWORK if any(found.link.source == link.source for found in proposed) else HeldBy.CLIP


def write_strips(records: Sequence[PairRecord], root: Path) -> dict[ImagePair, dict[str, str]]:
    """Write a picture of every clip that was read, in place of those of an earlier run.

    Args:
        records: The last record of every weak pair.
        root: Output folder.

    Returns:
        Pair -> name of the clip -> path below the output folder.
    """
    bridged = [(record.pair, record.findings.bridged) for record in records if record.findings.bridged is not None]
    if not any(outcome.previews for _, outcome in bridged):
        remove_path(root / STRIPS_NAME)
        return {}
    found: dict[ImagePair, dict[str, str]] = {}
    with atomic_directory(root / STRIPS_NAME) as folder:
        for number, (pair, outcome) in enumerate(bridged):
            for index, shown in enumerate(outcome.previews):
                name = f"{number}_{index}.jpg"
                (folder / name).write_bytes(strip_jpeg(shown.frames))
                found.setdefault(pair, {})[shown.name] = f"{STRIPS_NAME}/{name}"
    return found


def _cameras(base: Base, models: Sequence[pycolmap.Reconstruction]) -> tuple[report.CameraReport, ...]:
    """The cameras of the photos, as the largest model that has them left them."""
    if not base.database_path.exists():
        return ()
    names: dict[int, list[str]] = {}
    cameras = databases.stored_cameras(base.database_path)
    for name in sorted(cameras):
        names.setdefault(cameras[name].camera_id, []).append(name)
    found = []
    for shared in names.values():
        first = cameras[shared[0]]
        holding = (model for model in models if not reconstruction.registered_names(model).isdisjoint(shared))
        holder = next(holding, None)
        last = first if holder is None else holder.camera(first.camera_id)
        params = tuple(round(float(value), 6) for value in last.params)
        size_px = int(first.width), int(first.height)
        known = not base.known.isdisjoint(shared)
        found.append(report.CameraReport(tuple(shared), last.model.name, *size_px, params, known))
    return tuple(found)


def failure_text(error: BaseException) -> str:
    """What went wrong in one line; messages of errors that a user can mend speak for themselves."""
    text = " ".join(str(error).split())
    is_plain = isinstance(error, (ValueError, ImportError, EngineError)) and text
    return text if is_plain else f"{type(error).__name__}{text and f': {text}'}"


def _warn_of_apart(
    records: Sequence[PairRecord], models: Sequence[pycolmap.Reconstruction], warnings: list[str]
) -> None:
    """Say which accepted links could not bring their photos into one model."""
    members = [reconstruction.registered_names(model) for model in models]
    for link in accepted_links(records):
        if not any(link.pair.a in names and link.pair.b in names for names in members):
            warnings.append(
                f"{link.pair.a} and {link.pair.b} are linked, by {len(link.points_a_px)} points, but in no common model"
            )
