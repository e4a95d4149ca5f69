"""Where the marks of a page's drawings go: the view graph, the matches of a pair, the hypotheses of its clips."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from interpose_sfm.page.pictures import Thumbnail
from interpose_sfm.products import LinkVerdict
from interpose_sfm.report import HypothesisReport, PairReport, RunReport

GRAPH_RADIUS = 300.0
MAX_EDGES = 2000
"""Verified pairs that are drawn; of more, the strongest of each photo are."""
_MAX_LABELS = 40
_MAX_LABEL_LETTERS = 16


def in_order(names: Sequence[str]) -> list[str]:
    """Names as cameras number them, IMG_2 before IMG_10: the order of capture as far as names tell it."""
    return sorted(names, key=lambda name: [(int(part), "") if part.isdecimal() else (0, part) for part in _parts(name)])


def _parts(name: str) -> list[str]:
    return re.split(r"(\d{1,18})", name)


def group_of(verdict: LinkVerdict) -> str:
    """Which of three groups a verdict belongs to, as colours and filters have them."""
    if verdict is LinkVerdict.ACCEPTED:
        return "accepted"
    return "untried" if verdict is LinkVerdict.NOT_TRIED else "refused"


# ---------------------------------------------------------------- view graph


@dataclass(frozen=True)
class Node:
    """A photo on the circle; ``label`` is empty where there is no room for it."""

    name: str
    x: float
    y: float
    label: str
    is_left: bool


@dataclass(frozen=True)
class Edge:
    """A line between two photos.

    Attributes:
        x1, y1, x2, y2: Its ends.
        width: By its strength.
        kind: "verified", or the group of a weak pair's verdict.
        pair: Number of the weak pair; None for a verified one.
        a, b: The photos.
        title: What it is.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    width: float
    kind: str
    pair: int | None
    a: str
    b: str
    title: str


@dataclass(frozen=True)
class ViewGraphDrawing:
    """Photos on a circle in the order of capture, and what connects them."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    num_verified: int
    num_verified_drawn: int


def view_graph(report: RunReport) -> ViewGraphDrawing:
    """The view graph: pairs that COLMAP's own matches connect, and weak pairs with their verdicts."""
    names = in_order([photo.name for photo in report.photos if photo.is_used])
    places = {}
    for index, name in enumerate(names):
        angle = 2.0 * math.pi * index / len(names) - math.pi / 2.0
        places[name] = (round(GRAPH_RADIUS * math.cos(angle), 1), round(GRAPH_RADIUS * math.sin(angle), 1))
    nodes = tuple(
        Node(name, x, y, name[-_MAX_LABEL_LETTERS:] if len(names) <= _MAX_LABELS else "", x < 0)
        for name, (x, y) in places.items()
    )
    weak = {(pair.a, pair.b) for pair in report.pairs}
    verified = [row for row in report.verified if (row.a, row.b) not in weak and {row.a, row.b} <= places.keys()]
    drawn = _strongest([(row.a, row.b, row.num_verified) for row in verified])
    edges = [
        Edge(*places[a], *places[b], _width(number), "verified", None, a, b, f"{number} verified matches")
        for a, b, number in drawn
    ]
    for index, pair in enumerate(report.pairs):
        if {pair.a, pair.b} <= places.keys():
            inliers = pair.evidence.get("num_inliers", 0)
            ends = (*places[pair.a], *places[pair.b])
            kind = group_of(pair.verdict)
            edges.append(Edge(*ends, _width(inliers), kind, index, pair.a, pair.b, pair.verdict.value))
    return ViewGraphDrawing(nodes, tuple(edges), len(verified), len(drawn))


def _strongest(rows: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """All rows, or of more than `MAX_EDGES` the strongest of each photo, weakest first so that they lie below."""
    ordered = sorted(rows, key=lambda row: -row[2])
    if len(ordered) > MAX_EDGES:
        number = len({name for a, b, _ in rows for name in (a, b)})
        most, taken, kept = max(2, MAX_EDGES * 2 // number), Counter[str](), []
        for row in ordered:
            if min(taken[row[0]], taken[row[1]]) < most:
                taken.update(row[:2])
                kept.append(row)
        ordered = kept[:MAX_EDGES]
    return ordered[::-1]


def _width(number: float) -> float:
    return round(1.0 + 1.2 * math.log10(1.0 + max(0.0, number)), 1)


# ---------------------------------------------------------------- one pair


@dataclass(frozen=True)
class MatchDrawing:
    """Two photos side by side at one height, with lines between them.

    Attributes:
        width, height: Of the drawing.
        offset_b: Where photo B begins.
        scale_a, scale_b: From pixels of the photos to the drawing.
        path: The lines, as SVG writes them.
    """

    width: float
    height: float
    offset_b: float
    scale_a: float
    scale_b: float
    path: str


_MATCH_HEIGHT = 400.0
_MATCH_GAP = 12.0


def match_drawing(pair: PairReport, a: Thumbnail, b: Thumbnail) -> MatchDrawing:
    """The matches of a pair that agree with its pose, between its photos."""
    scale_a, scale_b = _MATCH_HEIGHT / a.height_px, _MATCH_HEIGHT / b.height_px
    offset_b = round(a.width_px * scale_a + _MATCH_GAP, 1)
    lines = [
        f"M{xa * scale_a:.1f} {ya * scale_a:.1f}L{offset_b + xb * scale_b:.1f} {yb * scale_b:.1f}"
        for xa, ya, xb, yb in pair.matches_px
    ]
    width = round(offset_b + b.width_px * scale_b, 1)
    return MatchDrawing(width, _MATCH_HEIGHT, offset_b, scale_a, scale_b, "".join(lines))


@dataclass(frozen=True)
class HypothesisPlot:
    """Rotation against direction of the hypotheses of a pair, away from one pose.

    Attributes:
        marks: x, y, number of the clip, whether it is the medoid of its clip, and the hypothesis.
        ticks: Position along an axis, and its degrees as text.
        clips: Names of the clips, in the order of their numbers.
    """

    marks: tuple[tuple[float, float, int, bool, HypothesisReport], ...]
    ticks: tuple[tuple[float, str], ...]
    clips: tuple[str, ...]


PLOT_SIDE = 260.0
_TICK_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)


def hypothesis_plot(pair: PairReport) -> HypothesisPlot | None:
    """Where the hypotheses of a pair lie; None where no pose is there to compare them with."""
    placed = [h for h in pair.hypotheses if not math.isnan(h.rotation_deg)]
    if not placed:
        return None
    clips = tuple(dict.fromkeys(h.clip for h in pair.hypotheses))
    values = [min(v, 180.0) for h in placed for v in (h.rotation_deg, h.direction_deg) if not math.isnan(v)]
    step = next((step for step in _TICK_STEPS if max(values) <= 4 * step), _TICK_STEPS[-1])
    most = step * max(1, math.ceil(max(values) / step))
    marks = tuple(
        (
            round(h.rotation_deg / most * PLOT_SIDE, 1),
            round(PLOT_SIDE * (1.0 - (0.0 if math.isnan(h.direction_deg) else h.direction_deg) / most), 1),
            clips.index(h.clip),
            h.is_medoid,
            h,
        )
        for h in placed
    )
    ticks = tuple((round(n * step / most * PLOT_SIDE, 1), f"{n * step:g}") for n in range(round(most / step) + 1))
    return HypothesisPlot(marks, ticks, clips)
