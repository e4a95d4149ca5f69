"""The command export: models in the forms that other programs read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from interpose_sfm.cli import text
from interpose_sfm.cli.command import OK, Command, Outcome
from interpose_sfm.export.formats import ExportFormat, formats_of
from interpose_sfm.export.orientation import ExportAlign
from interpose_sfm.run_log import Progress

FormatList = Annotated[str, tyro.conf.arg(metavar="FORMAT,...", help_behavior_hint="")]
"""Names of formats as one word, apart by commas."""


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """Write the models of an output folder for other programs: nerfstudio, gsplat, Brush, OpenSplat, Postshot.

    nerfstudio is transforms.json with photos and points; undistorted is photos of pinhole cameras with their COLMAP
    model in sparse/0, both with the masks where --mask-path named some; masks is those of the undistorted photos alone;
    text is COLMAP's text model; ply is the points with colours, as they are and cleaned with normals; mesh is a coarse
    surface through them. Every model gets a folder of its own, 0, 1, ...;
    export.json says which is the largest. What an earlier export wrote is replaced.

    Attributes:
        output: Output folder of reconstruct.
        formats: Some of nerfstudio, undistorted, masks, text, ply and mesh, apart by commas (default: all but masks and
            mesh, and but for text where names have blanks).
        to: Folder to write (default: OUTPUT/export).
        align: up turns every model so that -y points up, as its photos tell, and y is 0 on the ground if it shows one;
            none leaves it as it is.
    """

    output: Annotated[Positional[Path], tyro.conf.arg(metavar="OUTPUT")]
    formats: FormatList = ""
    to: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    align: ExportAlign = ExportAlign.NONE

    def run(self, progress: Progress) -> Outcome:
        """Write them."""
        from interpose_sfm.workflows.export_models import export_models

        formats = split(self.formats) if self.formats else None
        result = export_models(self.output, formats, self.to, progress, self.align)
        return Outcome(OK, text.export(result), result, is_optional=True)


def split(formats: str) -> tuple[ExportFormat, ...]:
    """The formats that a word of the command line names.

    Raises:
        ValueError: It names none, or one that there is not.
    """
    return formats_of(formats.split(","))
