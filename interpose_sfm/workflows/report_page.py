"""report.html: of a run that has just ended, and made anew of what a run has left."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm.colmap import reconstruction
from interpose_sfm.page.make import PageSource, make_page
from interpose_sfm.report import REPORT_FORMAT, RunReport, with_outcome
from interpose_sfm.storage.atomic import atomic_write_bytes
from interpose_sfm.storage.json_values import from_jsonable
from interpose_sfm.storage.workspace import Workspace, is_output_folder

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PageResult:
    """What :func:`interpose_sfm.write_report_page` returns.

    Attributes:
        path: The page.
        num_bytes: Its size.
        num_models: Models that it shows; fewer than the report has where they were not found.
        num_pictures: Photos that it shows.
    """

    path: Path
    num_bytes: int
    num_models: int
    num_pictures: int


def write_report_page(output: Path, photos: Path | None = None, models: Path | None = None) -> PageResult:
    """Make report.html of a run anew, from its report.json, models and photos.

    Args:
        output: Output folder of a run, or the folder that the drop-in has left beside a database.
        photos: Folder of the photos; by default the copies in the output folder.
        models: Folder of COLMAP models 0, 1, ..., or of one model; by default ``sparse`` in the output folder.

    Raises:
        ValueError: There is no report, it is damaged or of a newer version, or a model is; the message says what to do.
        WorkspaceBusyError: A run works in the output folder.
    """
    output = Path(output)
    if not is_output_folder(output):
        raise ValueError(
            f"{output} is no output folder, so it holds no report; expected PHOTOS_interpose of a run, or "
            "DATABASE_interpose of the drop-in"
        )
    with Workspace(output).locked() as workspace:
        summary = read_report(workspace.report_path)
        image_dir = workspace.images_dir if photos is None else Path(photos)
        found = read_models(workspace.sparse_dir if models is None else Path(models))
        return _write(workspace, summary, found, image_dir)


def attempt(
    workspace: Workspace,
    summary: RunReport,
    models: Sequence[pycolmap.Reconstruction],
    image_dir: Path,
    *,
    wanted: bool,
) -> None:
    """Write the page of a run that has ended; one that cannot be made costs the run no more than a warning.

    Args:
        workspace: Locked output folder, with report.json in it.
        summary: What that holds.
        models: Final models.
        image_dir: Folder of the photos.
        wanted: Otherwise a page of an earlier run is removed, since it tells of another report.
    """
    workspace.page_path.unlink(missing_ok=True)
    if not wanted:
        return
    try:
        _write(workspace, summary, models, image_dir)
    except Exception as error:
        logger.warning("report.html could not be made, report.json has it all: %s: %s", type(error).__name__, error)
        logger.debug("report.html could not be made", exc_info=True)


def read_report(path: Path) -> RunReport:
    """The content of a report.json, of this version or an earlier one.

    Raises:
        ValueError: It is missing, damaged, or of a newer version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document["format"]
        if type(version) is int and version > REPORT_FORMAT:
            raise ValueError(f"it has format {version}, and this version of interpose_sfm reads {REPORT_FORMAT}")
        return with_outcome(from_jsonable(RunReport, document))
    except FileNotFoundError:
        raise ValueError(f"there is no {path}: the run has not ended; run it again, and it goes on") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({error}); run reconstruct again, which writes it anew") from error


def read_models(folder: Path) -> list[pycolmap.Reconstruction]:
    """Models ``folder``/0, 1, ..., in this order, or the one that lies in the folder itself; none if there is none.

    A report has them in this order, too, which is pycolmap's with the drop-in: not all of that go by size.

    Raises:
        ValueError: One of them is not whole.
    """
    if (folder / "images.bin").is_file():
        return [reconstruction.read_model(folder)]
    folders = folder.iterdir() if folder.is_dir() else ()
    numbered = {int(path.name): path for path in folders if path.is_dir() and path.name.isdecimal()}
    return [reconstruction.read_model(numbered[number]) for number in sorted(numbered)]


def _write(
    workspace: Workspace, summary: RunReport, models: Sequence[pycolmap.Reconstruction], image_dir: Path
) -> PageResult:
    page = make_page(PageSource(summary, models, image_dir, workspace.root))
    data = page.html.encode("utf-8", "backslashreplace")  # file names need not be valid Unicode
    atomic_write_bytes(workspace.page_path, data)
    return PageResult(workspace.page_path, len(data), len(models), page.num_pictures)
