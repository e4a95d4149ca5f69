"""Drawings of the documents as SVG: lines over two axes, nothing more, so that no plotting library is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 170, 36, 48
COLORS = ("#0b6fb8", "#d1495b", "#2e8540", "#8e44ad", "#e08e0b", "#555555", "#17a2a2")


@dataclass(frozen=True)
class Line:
    """One line of a drawing.

    Attributes:
        label: In the legend.
        points: (x, y); those that are not finite are left out.
        marked: Index of a point that gets a large mark, None for none.
    """

    label: str
    points: Sequence[tuple[float, float]]
    marked: int | None = None


@dataclass(frozen=True)
class Axis:
    """One of two.

    Attributes:
        title: Beside it.
        high: Its end.
        ticks: Where numbers stand.
        unit: Behind them.
        low: Its start; above zero, the axis is logarithmic.
    """

    title: str
    high: float
    ticks: Sequence[float]
    unit: str = ""
    low: float = 0.0

    def share(self, value: float) -> float:
        """How far along the axis a value lies, 0 to 1 between its ends."""
        if self.low > 0:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return value / self.high


def drawing(title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    """An SVG file."""
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return LEFT + width * x.share(point[0]), TOP + height * (1 - y.share(min(point[1], y.high)))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>',
    ]
    for tick in x.ticks:
        at = LEFT + width * x.share(tick)
        parts.append(f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{TOP + height}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{at:.1f}" y="{TOP + height + 16}" text-anchor="middle">{tick:g}{escape(x.unit)}</text>')
    for tick in y.ticks:
        at = TOP + height * (1 - y.share(tick))
        parts.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{LEFT + width}" y2="{at:.1f}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{tick:g}{escape(y.unit)}</text>')
    parts.append(f'<text x="{LEFT + width / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x.title)}</text>')
    middle = TOP + height / 2
    parts.append(
        f'<text x="14" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 14 {middle:.0f})">'
        f"{escape(y.title)}</text>"
    )
    for index, line in enumerate(lines):
        color = COLORS[index % len(COLORS)]
        points = [place(point) for point in line.points if all(map(math.isfinite, point))]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{color}"/>' for a, b in points]
        if line.marked is not None and points:
            a, b = points[line.marked]
            parts.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="7" fill="none" stroke="{color}" stroke-width="2"/>')
        at = TOP + 14 + 20 * index
        legend = LEFT + width + 12
        parts.append(f'<rect x="{legend}" y="{at - 6}" width="20" height="3" fill="{color}"/>')
        parts.append(f'<text x="{legend + 26}" y="{at}">{escape(line.label)}</text>')
    parts.append(f'<rect x="{LEFT}" y="{TOP}" width="{width}" height="{height}" fill="none" stroke="#888888"/>')
    return "\n".join([*parts, "</svg>", ""])
