"""The models of an output folder in the forms that other programs read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from interpose_sfm.export.folder import MANIFEST_NAME, check_replaceable, files_in, replaced
from interpose_sfm.export.formats import WRITERS, ExportFormat, formats_of, usual_formats
from interpose_sfm.export.orientation import ExportAlign, upright
from interpose_sfm.export.source import ExportSource
from interpose_sfm.run_log import Progress, RunLog
from interpose_sfm.storage.atomic import atomic_write_json
from interpose_sfm.storage.workspace import Workspace, is_output_folder

MANIFEST_FORMAT = 1


@dataclass(frozen=True)
class ExportedModel:
    """One model that was exported.

    Attributes:
        folder: Where its forms lie, each in a folder of its own name.
        model_dir: The COLMAP model that it was made from.
        num_photos: Photos with a pose.
        num_points: 3D points.
        is_largest: Whether no other model has more photos.
        note: By what it was turned upright, and which form it has not; empty where there is nothing to tell.
    """

    folder: Path
    model_dir: Path
    num_photos: int
    num_points: int
    is_largest: bool
    note: str = ""


@dataclass(frozen=True)
class ExportResult:
    """What :func:`interpose_sfm.export_models` returns.

    Attributes:
        folder: The folder that holds a folder 0, 1, ... for each model, and export.json.
        formats: The forms in which each model lies there.
        align: How they were turned.
        models: In the order of the COLMAP models, which is that of their sizes.
    """

    folder: Path
    formats: tuple[ExportFormat, ...]
    align: ExportAlign
    models: tuple[ExportedModel, ...]


def export_models(
    output: Path,
    formats: Iterable[str] | None = None,
    to: Path | None = None,
    progress: Progress | None = None,
    align: str = ExportAlign.NONE,
) -> ExportResult:
    """Write the models of an output folder in the forms that nerfstudio, gsplat, Brush and others read.

    Every model gets a folder of its own, with a folder for each form: ``0/nerfstudio``, ``0/undistorted``, ...
    ``export.json`` says which model is the largest. World frame and units are those of the models, but for
    ``align`` and for transforms.json, which says how it is turned. What an earlier export wrote is replaced as a whole.

    Args:
        output: Output folder of :func:`interpose_sfm.reconstruct`.
        formats: Names of `ExportFormat`; by default all but masks and mesh, and text only where no name of a photo has
            a blank.
        to: The folder to write; ``output/export`` by default.
        progress: Called with the stage, what is done and the total.
        align: A name of `ExportAlign`: ``up`` turns every model so that -y points up, as far as its photos and its
            ground tell, and lets y be 0 on the ground.

    Raises:
        ValueError: ``output`` holds no model, a model has no such form, its photos do not tell which way is up, or
            ``to`` holds files that no export wrote; the message says what to do, and nothing was written.
        WorkspaceBusyError: A run works in the output folder.
        OSError: A picture or a file could not be written; what was there before is as it was.
    """
    output = Path(output)
    wanted, alignment = () if formats is None else formats_of(formats), _alignment_of(align)
    target = output / "export" if to is None else Path(to)
    check_replaceable(target)
    _check_output(output)
    log = RunLog(progress)
    with Workspace(output).locked() as workspace:
        sources = _sources(workspace)
        notes = [""] * len(sources)
        if alignment is ExportAlign.UP:
            found = [upright(source) for source in sources]
            sources, notes = [each.source for each in found], [each.note for each in found]
        if formats is None:
            wanted, left_out = usual_formats(sources)
            notes = ["; ".join(filter(None, (note, left_out))) for note in notes]
        for source in sources:
            for check in (WRITERS[kind].check for kind in wanted):
                if check is not None:
                    check(source)
        result = _result(target, wanted, alignment, sources, notes)
        with replaced(target) as folder:
            for index, source in enumerate(sources):
                for step, kind in enumerate(wanted):
                    log.tell("export", index * len(wanted) + step, len(sources) * len(wanted))
                    place = folder / str(index) / kind
                    place.mkdir(parents=True)
                    WRITERS[kind].write(source, place)
            _write_manifest(folder, result)
        log.tell("export", len(sources) * len(wanted), len(sources) * len(wanted))
    return result


def _alignment_of(name: str) -> ExportAlign:
    try:
        return ExportAlign(name)
    except ValueError:
        raise ValueError(f"got the alignment {name!r}, expected one of {', '.join(ExportAlign)}") from None


def _check_output(output: Path) -> None:
    """Refuse what is no output folder, before it is taken or made one."""
    if not is_output_folder(output):
        raise ValueError(
            f"{output} is no output folder of reconstruct, so it holds no model to export; expected such a folder, by "
            "default PHOTOS_interpose; run reconstruct first, or give the folder that it wrote"
        )
    if not (output / "sparse").is_dir():
        raise ValueError(f"{output} holds no model yet: its run has not ended; run reconstruct again, which goes on")


def _sources(workspace: Workspace) -> list[ExportSource]:
    import pycolmap

    folders = sorted((path for path in workspace.sparse_dir.iterdir() if path.name.isdecimal()), key=_number)
    if not folders:
        raise ValueError(
            f"{workspace.root} holds no model: reconstruct could build none, and {workspace.report_path} says why for "
            "every photo; there is nothing to export"
        )
    mask_dir = workspace.masks_dir if workspace.masks_dir.is_dir() else None
    return [ExportSource(path, pycolmap.Reconstruction(path), workspace.images_dir, mask_dir) for path in folders]


def _number(path: Path) -> int:
    return int(path.name)


def _result(
    target: Path,
    formats: tuple[ExportFormat, ...],
    align: ExportAlign,
    sources: Sequence[ExportSource],
    notes: Sequence[str],
) -> ExportResult:
    sizes = [source.model.num_reg_images() for source in sources]
    models = tuple(
        ExportedModel(
            folder=target / str(index),
            model_dir=source.model_dir,
            num_photos=size,
            num_points=source.model.num_points3D(),
            is_largest=index == sizes.index(max(sizes)),
            note=note,
        )
        for index, (source, size, note) in enumerate(zip(sources, sizes, notes, strict=True))
    )
    return ExportResult(target, formats, align, models)


def _write_manifest(folder: Path, result: ExportResult) -> None:
    """Say what lies in a folder, for people, for programs, and for the next export."""
    largest = next(model for model in result.models if model.is_largest)
    others = "" if len(result.models) == 1 else "; each has a frame and a scale of its own, unless georegistered"
    atomic_write_json(
        folder / MANIFEST_NAME,
        {
            "format": MANIFEST_FORMAT,
            "note": f"{largest.folder.name} is the largest of {len(result.models)} models{others}",
            "models": [
                {
                    "folder": model.folder.name,
                    "num_photos": model.num_photos,
                    "num_points": model.num_points,
                    "is_largest": model.is_largest,
                    **({"note": model.note} if model.note else {}),
                }
                for model in result.models
            ],
            "formats": result.formats,
            "align": result.align,
            "files": files_in(folder),
        },
    )
