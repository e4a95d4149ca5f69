"""The page itself: a template, filled with a report and its pictures."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm.page import figures, pictures
from interpose_sfm.page.scene import scene
from interpose_sfm.report import HeldBy, RunReport

if TYPE_CHECKING:
    import pycolmap
    from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")
_UNIT_SIGNS = {"deg": "°", "px": " px", "s": " s"}


@dataclass(frozen=True)
class PageSource:
    """What a page is made of.

    Attributes:
        report: All texts and numbers.
        models: For the 3D view; none is fine.
        image_dir: Folder of the photos; those that are not there are named and not shown.
        root: The output folder, below which the strips of clips lie.
    """

    report: RunReport
    models: Sequence[pycolmap.Reconstruction]
    image_dir: Path
    root: Path


@dataclass(frozen=True)
class Page:
    """A page in one piece.

    Attributes:
        html: All of it.
        num_pictures: Photos that it shows.
    """

    html: str
    num_pictures: int


def make_page(source: PageSource) -> Page:
    """Make the page of a report.

    It loads nothing: scripts, styles and pictures are in it, and its content security policy forbids all else. Names,
    and whatever else a report quotes, are text in it. Every number stands in a ``data`` element with the place in
    report.json that it comes from (a JSON pointer).

    Args:
        source: Report, models and pictures.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    report = source.report
    names = figures.in_order([photo.name for photo in report.photos if photo.is_used])
    shown = pictures.thumbnails(source.image_dir, names)
    index_of = {name: index for index, name in enumerate(names)}
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [_plotly(), (TEMPLATES / "page.js").read_text(encoding="utf-8")]
    html = environment.get_template("page.html").render(
        report=report,
        version=report.versions.get("interpose_sfm", ""),
        names=names,
        index_of=index_of,
        shown=shown,
        strips={
            clip.strip: pictures.strip(source.root, clip.strip)
            for pair in report.pairs
            for clip in pair.clips
            if clip.strip
        },
        figures=figures,
        graph=figures.view_graph(report),
        held_kinds=[kind.value for kind in HeldBy if any(photo.held_by is kind for photo in report.photos)],
        scene={
            "models": scene(source.models, index_of),
            "photos": [
                {"name": photo.name, "held_by": photo.held_by}
                for photo in sorted((p for p in report.photos if p.is_used), key=lambda p: index_of[p.name])
            ],
            "kinds": [kind.value for kind in HeldBy],
        },
        number=number,
        pointer=pointer,
        styles=_trusted((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        scripts=[_trusted(script) for script in scripts],
        policy=_policy(scripts),
    )
    return Page(html, len(shown))


def number(value: float | None, place: str, unit: str = "") -> Markup:
    """A number as a ``data`` element: shortened for the eye, whole in its value, with its place in report.json.

    Args:
        value: The number; None and NaN are shown as a dash.
        place: JSON pointer.
        unit: "share", "deg", "px", "s", "powers of ten", or empty for counts and ratios.
    """
    from markupsafe import Markup

    if value is None or math.isnan(value):
        return Markup("–")
    if unit == "share":
        text = f"{value:.0%}" if value < 10 else f"{value:.0f}×"
    elif unit == "powers of ten":
        text = f"1 in 1e{value:.0f}"
    else:
        text = f"{value}" if isinstance(value, int) else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
        text += _UNIT_SIGNS.get(unit, "")
    return Markup('<data value="{}" data-place="{}">{}</data>').format(json.dumps(value), place, text)


def pointer(*steps: object) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def _plotly() -> str:
    """Plotly's own bundle, which its Python package brings."""
    return (resources.files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def _trusted(text: str) -> Markup:
    """A script or a style of ours, which is no text of a report."""
    from markupsafe import Markup

    assert "</script" not in text
    return Markup(text)


def _policy(scripts: Sequence[str]) -> str:
    """What the page may do: show what it holds, and run these scripts. Plotly writes styles of its own."""
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}; base-uri 'none'; "
        "form-action 'none'"
    )


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
