"""The report of a run, from what its stages have left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm import report
from interpose_sfm.colmap import databases, reconstruction
from interpose_sfm.options import ReconstructOptions
from interpose_sfm.pairs.records import PairRecord, accepted_links
from interpose_sfm.pairs.reporting import pair_report
from interpose_sfm.products import PhotoSet
from interpose_sfm.run_log import RunLog
from interpose_sfm.workflows.base_models import ONE_PLACE
from interpose_sfm.workflows.fallback import Base, Extension

if TYPE_CHECKING:
    import pycolmap


def run_report(
    photo_set: PhotoSet,
    base: Base,
    extension: Extension,
    model_paths: Sequence[Path],
    options: ReconstructOptions,
    log: RunLog,
) -> report.RunReport:
    """What a run tells its user.

    Args:
        photo_set: Used and left-out photos.
        base: Before the fallback.
        extension: After it.
        model_paths: Where each final model lies.
        options: Of the run.
        log: Times and warnings.
    """
    before = base.registered
    after = [reconstruction.registered_names(model) for model in extension.models]
    _warn_of_apart(extension.records, extension.models, log.warnings)
    poses = [reconstruction.poses(model) for model in extension.models]
    return report.RunReport(
        photos=report.photo_reports(
            photo_set,
            before,
            after,
            [(r.pair, r.verdict) for r in extension.records],
            dict.fromkeys(base.one_place, ONE_PLACE),
        ),
        pairs=tuple(pair_report(record, poses) for record in extension.records),
        models=tuple(
            report.ModelReport(
                path=path.as_posix(),
                photos=tuple(sorted(names)),
                num_points=model.num_points3D(),
                mean_reprojection_error_px=model.compute_mean_reprojection_error(),
            )
            for path, model, names in zip(model_paths, extension.models, after, strict=True)
        ),
        num_registered_before=max(map(len, before), default=0),
        num_registered_after=max(map(len, after), default=0),
        num_registered_before_any=len(frozenset().union(*before)),
        num_registered_after_any=len(frozenset().union(*after)),
        timings_s={stage: round(seconds, 3) for stage, seconds in log.timings_s.items()},
        versions=report.versions(),
        options=report.option_values(options),
        seed=options.seed,
        warnings=tuple(log.warnings),
        failure="" if extension.failure is None else failure_text(extension.failure),
        look_alikes=tuple(
            report.LookAlikeReport(one.pair.a, one.pair.b, round(one.silent_share, 3), one.num_verified)
            for one in base.look_alikes
        ),
        cameras=_cameras(base, extension.models),
    )


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
        known = bool(first.has_prior_focal_length)
        found.append(report.CameraReport(tuple(shared), last.model.name, *size_px, params, known))
    return tuple(found)


def failure_text(error: BaseException) -> str:
    """What went wrong in one line; messages of errors that a user can mend speak for themselves."""
    text = " ".join(str(error).split())
    is_plain = isinstance(error, (ValueError, ImportError)) and text
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
