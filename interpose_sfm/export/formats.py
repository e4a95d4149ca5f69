"""The forms in which a model can be written, and what writes each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from interpose_sfm._compat import StrEnum
from interpose_sfm.export import colmap_files, mesh, nerfstudio, undistorted
from interpose_sfm.export.source import ExportSource


class ExportFormat(StrEnum):
    """A form in which other programs read a model."""

    NERFSTUDIO = "nerfstudio"
    """The photos with transforms.json and a point cloud."""
    UNDISTORTED = "undistorted"
    """Photos without distortion, and the model of them in sparse/0: gsplat, Brush, OpenSplat, Postshot."""
    MASKS = "masks"
    """Masks of the undistorted photos alone."""
    TEXT = "text"
    """COLMAP's text files."""
    PLY = "ply"
    """The points with their colours, as they are, and cleaned with normals."""
    MESH = "mesh"
    """A coarse surface through the points."""


_USUAL = (ExportFormat.NERFSTUDIO, ExportFormat.UNDISTORTED, ExportFormat.TEXT, ExportFormat.PLY)


@dataclass(frozen=True)
class Writer:
    """What writes one form.

    Attributes:
        write: Fills a new, empty folder.
        check: Raises a ValueError that says what to do where a model cannot have this form, before anything is written;
            None where every model can.
    """

    write: Callable[[ExportSource, Path], None]
    check: Callable[[ExportSource], None] | None = None


WRITERS: Mapping[ExportFormat, Writer] = {
    ExportFormat.NERFSTUDIO: Writer(nerfstudio.write, nerfstudio.check),
    ExportFormat.UNDISTORTED: Writer(undistorted.write, undistorted.check),
    ExportFormat.MASKS: Writer(undistorted.write_masks, undistorted.check_masks),
    ExportFormat.TEXT: Writer(colmap_files.write_text, colmap_files.check_text),
    ExportFormat.PLY: Writer(colmap_files.write_points),
    ExportFormat.MESH: Writer(mesh.write, mesh.check),
}


def usual_formats(sources: Sequence[ExportSource]) -> tuple[tuple[ExportFormat, ...], str]:
    """The forms that are written where none are named, and what is to be told of them.

    These are all but masks, which most have not, and the mesh, which is coarse; and but for text where it would cut
    names, as those of many cameras and messengers have blanks.
    """
    cut = [name for source in sources for name in colmap_files.names_that_are_cut(source)]
    if not cut:
        return _USUAL, ""
    without = tuple(kind for kind in _USUAL if kind is not ExportFormat.TEXT)
    return without, f"no text, since COLMAP's text files end names of photos at the first blank, such as {cut[0]!r}"


def formats_of(names: Iterable[str]) -> tuple[ExportFormat, ...]:
    """The formats of these names, each once, in the order of `ExportFormat`.

    Raises:
        ValueError: There is no name, or one of no format.
    """
    known = ", ".join(ExportFormat)
    wanted = {name.strip() for name in names} - {""}
    if not wanted:
        raise ValueError(f"got no format to export to, expected some of {known}")
    unknown = sorted(wanted - set(ExportFormat))
    if unknown:
        raise ValueError(f"got the export format {unknown[0]!r}, expected some of {known}")
    return tuple(kind for kind in ExportFormat if kind in wanted)
