"""The commands report and view: what a run came to, for the eye."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from interpose_sfm.cli.command import OK, Command, Outcome
from interpose_sfm.run_log import Progress

Folder = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class Report(Command):
    """Make report.html of a run anew: its report as one page, with pictures, that needs no network.

    Attributes:
        output: Output folder of reconstruct, or the folder that the drop-in has left beside a database.
        photos: Folder of the photos (default: the copies in the output folder).
        models: Folder of the models (default: sparse in the output folder).
    """

    output: Annotated[Positional[Path], tyro.conf.arg(metavar="OUTPUT")]
    photos: Folder = None
    models: Folder = None

    def run(self, progress: Progress) -> Outcome:
        """Make it."""
        from interpose_sfm.workflows.report_page import write_report_page

        result = write_report_page(self.output, self.photos, self.models)
        return Outcome(OK, str(result.path), result, is_optional=True)


@dataclass(frozen=True, kw_only=True)
class View(Command):
    """Look at the models of a run in a browser, by viser: photos, all points, links, before and after.

    It serves them until Ctrl-C.

    Attributes:
        output: Output folder of reconstruct, or the folder that the drop-in has left beside a database.
        photos: Folder of the photos (default: the copies in the output folder).
        models: Folder of the models (default: sparse in the output folder).
        host: Address to listen at; the default is seen from this machine only.
        port: Port to listen at, or the next free one.
    """

    output: Annotated[Positional[Path], tyro.conf.arg(metavar="OUTPUT")]
    photos: Folder = None
    models: Folder = None
    host: str = "127.0.0.1"
    port: int = 8080

    def run(self, progress: Progress) -> Outcome:
        """Serve them."""
        from interpose_sfm.workflows.view_models import opened_view

        with opened_view(self.output, self.photos, self.models, self.host, self.port) as view:
            print(f"{view.url} (Ctrl-C ends it)", file=sys.stderr)
            view.wait()
        return Outcome(OK, "", None)
