"""Plots of the last day as SVG, each with a table of the same figures by the hour.

The lines are stretched to the width that there is; the letters are not, and so stay readable on a telephone. What stands at a place in
time is placed by per cent. Colours and strokes are in the style sheet, since the page lets no element have a style of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from typing import Final, NamedTuple

from mailserver.web.status.history import STEP, Series
from mailserver.web.status.markup import Markup, element
from mailserver.web.status.words import counted, local, table

TOP, AREA, FOOT = 22, 120, 26
"""Pixels from above: room for the highest figure; what is drawn; room for the hours."""

_MARKED_HOURS: Final = 6
"""Hours between those that are written: four fit on a telephone."""
_FINE_HOURS: Final = 3
"""Hours between thin lines."""
_EDGE: Final = 5
"""Per cent of the width: a figure nearer to an edge would be cut if it stood in the middle of its line."""
_MOST_TICKS: Final = 4


class Line(NamedTuple):
    """One line of a plot."""

    name: str
    values: Series
    total: bool = True
    """Whether the values of an hour are added; else the largest is meant."""


class Plot(NamedTuple):
    """What is drawn over one axis."""

    key: str
    """A word that no other plot of the page has."""
    title: str
    unit: str
    """What the figures count, in the singular, for the highest of the axis."""
    about: str
    """A sentence on what is seen."""
    lines: Sequence[Line]
    words: Callable[[float], str]
    """A figure as people read it."""
    least: float = 1.0
    """The smallest step of the axis: there is no half login."""


def drawn(plot: Plot, end: float, zone: tzinfo | None) -> Markup:
    """The plot with its title, its legend and its table. `end` is the end of the last step, in seconds since the epoch."""
    steps = len(plot.lines[0].values)
    times = [end - 60 * STEP * (steps - number) for number in range(steps)]
    hours = list(_hours(times, zone))
    named = f"{plot.key}-title"
    figures = table(
        f"{plot.title}, by the hour",
        ["From", *(line.name for line in plot.lines)],
        ([label, *(_figure(plot, line, part) for line in plot.lines)] for label, part in hours),
        class_="figures",
    )
    return element(
        "section",
        element("div", element("h3", plot.title, id=named), _legend(plot), class_="head"),
        element("p", plot.about, class_="about"),
        _picture(plot, times, hours, zone),
        element("details", element("summary", f"{plot.title}: figures by the hour"), figures),
        class_="plot",
        aria_labelledby=named,
    )


def ticks(high: float, least: float) -> list[float]:
    """Round figures from 0 to above the highest, at most four steps of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(high, least) / _MOST_TICKS))
    step = max(least, next(factor * power for factor in (1, 2, 5, 10) if factor * power * _MOST_TICKS >= high))
    return [number * step for number in range(max(1, math.ceil(high / step)) + 1)]


def _legend(plot: Plot) -> Markup | None:
    """The names of the lines, where there are several: their strokes differ by more than the colour."""
    if len(plot.lines) == 1:
        return None
    sample = [
        element("svg", element("path", d="M0 6H24", class_=f"line c{number}"), width=24, height=12, aria_hidden="true")
        for number in range(len(plot.lines))
    ]
    names = (element("li", picture, line.name) for picture, line in zip(sample, plot.lines, strict=True))
    return element("ul", names, class_="legend")


def _picture(plot: Plot, times: Sequence[float], hours: Sequence[tuple[str, slice]], zone: tzinfo | None) -> Markup:
    known = [value for line in plot.lines for value in line.values if value is not None]
    scale = ticks(max(known, default=0.0), plot.least)
    steps = len(times)
    return element(
        "svg",
        element("title", plot.title, id=f"{plot.key}-name"),
        element("desc", _description(plot, times, zone), id=f"{plot.key}-text"),
        (_hour_line(times, number, zone) for number in range(1, steps)),
        (_grid_line(plot, scale, value) for value in (scale if known else [0.0])),
        element(
            "svg",
            (_line(line, number, scale[-1]) for number, line in enumerate(plot.lines)),
            y=TOP,
            width="100%",
            height=AREA,
            viewBox=f"0 0 {steps - 1} {AREA}",
            preserveAspectRatio="none",
            class_="area",
        ),
        _before(plot, times, zone),
        (_hint(plot, label, part, steps) for label, part in hours),
        width="100%",
        height=TOP + AREA + FOOT,
        role="img",
        aria_labelledby=f"{plot.key}-name",
        aria_describedby=f"{plot.key}-text",
        class_="chart",
    )


def _grid_line(plot: Plot, scale: Sequence[float], value: float) -> list[Markup]:
    at = TOP + AREA - round(AREA * value / scale[-1], 1)
    shown = counted(value, plot.unit) if value == scale[-1] and plot.unit else plot.words(value)
    label = element("text", shown, x=0, y=at - 4, class_="tick")
    return [
        element("line", x1=0, x2="100%", y1=at, y2=at, class_="grid" if value else "ground"),
        label if value else Markup(),
    ]


def _hour_line(times: Sequence[float], number: int, zone: tzinfo | None) -> list[Markup]:
    shown = local(times[number], zone)
    if shown.hour % _FINE_HOURS or shown.minute:
        return []
    across = 100 * number / (len(times) - 1)
    at = f"{across:.2f}%"
    lines = [element("line", x1=at, x2=at, y1=TOP, y2=TOP + AREA, class_="hour")]
    if shown.hour % _MARKED_HOURS == 0:
        anchor = "start" if across < _EDGE else "end" if across > 100 - _EDGE else "middle"
        lines.append(element("text", f"{shown:%H:%M}", x=at, y=TOP + AREA + 17, text_anchor=anchor, class_="tick"))
    return lines


def _line(line: Line, number: int, high: float) -> list[Markup]:
    """The line, and for the first one the area below it; where values are unknown it is interrupted."""
    parts, filled, dots = list[str](), list[str](), list[str]()
    for start, points in _runs(line.values):
        places = " ".join(f"{start + index},{AREA - AREA * value / high:.1f}" for index, value in enumerate(points))
        (parts if len(points) > 1 else dots).append(f"M{places}")
        filled.append(f"M{start},{AREA} L{places} V{AREA}Z")
    drawn = [(parts, f"line c{number}"), ([f"{dot}h0" for dot in dots], f"line dot c{number}")]
    if number == 0:
        drawn.insert(0, (filled, "fill"))
    return [element("path", d=" ".join(path), class_=kind) for path, kind in drawn if path]


def _runs(values: Series) -> Iterator[tuple[int, list[float]]]:
    """What is known without a gap: where it begins, and its values."""
    run: list[float] = []
    for index, value in enumerate([*values, None]):
        if value is not None:
            run.append(value)
        elif run:
            yield index - len(run), run
            run = []


def _before(plot: Plot, times: Sequence[float], zone: tzinfo | None) -> Markup | None:
    """A note where nothing is known yet: a server that was started a short time ago has drawn next to nothing."""
    known = next((index for index, value in enumerate(plot.lines[0].values) if value is not None), len(times))
    if known < len(times) / 3:
        return None
    text = (
        f"Nothing is known before {local(times[known], zone):%H:%M}" if known < len(times) else "Nothing is known yet"
    )
    at = {"x": f"{50 * known / len(times):.1f}%", "y": TOP + AREA / 2, "text_anchor": "middle"}
    return element("text", text, class_="tick", **at)


def _hint(plot: Plot, label: str, part: slice, steps: int) -> Markup:
    """What a mouse over an hour shows."""
    text = ", ".join(f"{line.name} {_figure(plot, line, part)}" for line in plot.lines)
    width = 100 * (part.stop - part.start) / steps
    at = {"x": f"{100 * part.start / steps:.2f}%", "width": f"{width:.2f}%", "y": TOP, "height": AREA}
    return element("rect", element("title", f"From {label}: {text}"), class_="hint", **at)


def _hours(times: Sequence[float], zone: tzinfo | None) -> Iterator[tuple[str, slice]]:
    """The hours of the clock, the oldest first: when each begins, and its steps."""
    labels = [f"{local(each, zone):%H}:00" for each in times]
    start = 0
    for index in range(1, len(labels) + 1):
        if index == len(labels) or labels[index] != labels[start]:
            first = local(times[start], zone)
            yield f"{first:%H:%M}", slice(start, index)
            start = index


def _figure(plot: Plot, line: Line, part: slice) -> str:
    known = [value for value in line.values[part] if value is not None]
    if not known:
        return "not known"
    return plot.words(sum(known) if line.total else max(known))


def _description(plot: Plot, times: Sequence[float], zone: tzinfo | None) -> str:
    """What is seen, in words."""
    said = [plot.about]
    for line in plot.lines:
        known = [(value, index) for index, value in enumerate(line.values) if value is not None]
        if not known:
            said.append(f"{line.name}: not known.")
            continue
        most, index = max(known, key=lambda each: each[0])
        whole = f"{plot.words(sum(value for value, _ in known))} in all, " if line.total else ""
        when = f", at {local(times[index], zone):%H:%M}" if most else ""
        said.append(f"{line.name}: {whole}at most {plot.words(most)}{when}; {plot.words(known[-1][0])} now.")
    return " ".join(said)
