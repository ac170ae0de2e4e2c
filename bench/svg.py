"""Line charts as SVG, side by side; for a page that is light or dark, whichever its reader prefers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 400, 220
"""Of a chart, in pixels at full size; two stand side by side."""
LEFT, RIGHT, TOP, BOTTOM = 52, 24, 50, 34
"""Around the lines: room for the figures of the axes and the titles."""
COLUMNS = 2
LETTERS = 16
"""What a line of text takes."""

STYLE = """
  text { font: 11px system-ui, sans-serif; fill: #59636e }
  .title { font-size: 13px; font-weight: 600; fill: #1f2328 }
  .grid { stroke: #d1d9e0; stroke-width: 1 }
  path.line { fill: none; stroke-width: 2; stroke-linejoin: round }
  .c0 { stroke: #0969da; fill: #0969da } .c1 { stroke: #bc4c00; fill: #bc4c00 } .c2 { stroke: #1a7f37; fill: #1a7f37 }
  text.c0, text.c1, text.c2 { stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 }
    .title { fill: #f0f6fc }
    .grid { stroke: #3d444d }
    .c0 { stroke: #4493f8; fill: #4493f8 } .c1 { stroke: #f0883e; fill: #f0883e } .c2 { stroke: #3fb950; fill: #3fb950 }
  }
"""

Points = Sequence[tuple[float, float]]


class Chart(NamedTuple):
    """Lines over one axis."""

    title: str
    across: str
    """What the axis counts."""
    lines: Mapping[str, Points]
    decades_across: bool = False
    decades_up: bool = False
    """Whether an axis is logarithmic; else it begins at 0."""


class Axis(NamedTuple):
    """From figures to pixels."""

    ticks: list[float]
    logarithmic: bool
    start: float
    length: float

    def place(self, value: float) -> float:
        """The pixel of a figure."""
        low, high = self.ticks[0], self.ticks[-1]
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        return round(self.start + self.length * (value - low) / (high - low), 1)


def page(charts: Sequence[Chart]) -> str:
    """The whole picture."""
    rows = math.ceil(len(charts) / COLUMNS)
    size = f'viewBox="0 0 {WIDTH * COLUMNS} {HEIGHT * rows}" width="{WIDTH * COLUMNS}"'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">', f"<style>{STYLE}</style>"]
    for number, chart in enumerate(charts):
        row, column = divmod(number, COLUMNS)
        lines += [f'<g transform="translate({WIDTH * column} {HEIGHT * row})">', *_chart(chart), "</g>"]
    return "\n".join([*lines, "</svg>", ""])


def _chart(chart: Chart) -> list[str]:
    points = [point for line in chart.lines.values() for point in line]
    x, y = _axes(chart, points)
    parts = [f'<text class="title" x="8" y="20">{escape(chart.title)}</text>']
    for tick in y.ticks:
        at = y.place(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {at}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4}" text-anchor="end">{figure(tick)}</text>')
    foot = HEIGHT - BOTTOM + 15
    parts += [f'<text x="{x.place(tick)}" y="{foot}" text-anchor="middle">{figure(tick)}</text>' for tick in x.ticks]
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">{escape(chart.across)}</text>')
    placed = {name: [(x.place(a), y.place(b), a, b) for a, b in line] for name, line in chart.lines.items()}
    ends: list[float] = []
    for name, line in sorted(placed.items(), key=lambda each: each[1][-1][1]):
        end = line[-1][1]
        crowded = bool(ends) and end - ends[-1] < LETTERS
        ends.append(end)
        parts += _line(name, list(placed).index(name), line, below=crowded)
    return parts


def _axes(chart: Chart, points: Points) -> tuple[Axis, Axis]:
    across, up = ([point[index] for point in points] for index in (0, 1))
    return (
        _axis(across, chart.decades_across, LEFT, WIDTH - LEFT - RIGHT),
        _axis(up, chart.decades_up, HEIGHT - BOTTOM, TOP + BOTTOM - HEIGHT),
    )


def _axis(values: Sequence[float], logarithmic: bool, start: float, length: float) -> Axis:
    return Axis(decades(values) if logarithmic else steps(values), logarithmic, start, length)


def _line(name: str, number: int, placed: Sequence[tuple[float, float, float, float]], *, below: bool) -> list[str]:
    kind = f"c{number % 3}"
    path = "L".join(f"{x} {y}" for x, y, _, _ in placed)
    parts = [f'<text class="{kind}" x="{LEFT + 100 * number}" y="38">{escape(name)}</text>'] if name else []
    parts.append(f'<path class="line {kind}" d="M{path}"/>')
    for x, y, across, up in placed:
        title = f"<title>{escape(name)} {figure(across)}: {figure(up)}</title>"
        parts.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="3">{title}</circle>')
    x, y, _, last = placed[-1]
    beside = y + LETTERS if below else y - LETTERS / 2
    parts.append(f'<text class="{kind}" x="{x}" y="{beside}" text-anchor="end">{figure(last)}</text>')
    return parts


def decades(values: Sequence[float]) -> list[float]:
    """Powers of ten that enclose the values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def steps(values: Sequence[float]) -> list[float]:
    """Round figures from 0 to above the values: four or five."""
    high = max(values)
    power = 10.0 ** math.floor(math.log10(high / 4)) if high else 1.0
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power * 5 >= high)
    return [number * step for number in range(math.ceil(high / step) + 1)]


def figure(value: float) -> str:
    """A number as people write it, with three digits that count."""
    digits = max(0, 2 - math.floor(math.log10(value))) if value else 0
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
