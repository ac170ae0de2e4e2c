"""Plots: round figures at the axes, holes where nothing is known, and the same in words and in a table."""

from __future__ import annotations

import re
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.web.status.plot import AREA, Line, Plot, drawn, ticks
from mailserver.web.status.words import number, octets, seconds, span

STEPS = 288
END = 1_700_006_400.0 + 300
"""00:05 UTC."""


def plot(values: list[float | None], *more: Line, words: Any = number) -> Plot:
    return Plot("x", "Logins", "login", "About.", [Line("let in", values), *more], words)


@given(st.floats(0, 1e12), st.sampled_from([0.001, 1.0, 1e6]))
def test_an_axis_has_few_round_steps_and_encloses_what_is_drawn(high: float, least: float) -> None:
    scale = ticks(high, least)
    assert 2 <= len(scale) <= 5
    assert scale[0] == 0
    assert scale[-1] >= high * (1 - 1e-12)
    assert scale[1] >= least
    assert re.match(r"[125](\.0+)?e", f"{scale[1]:e}")


@pytest.mark.parametrize(
    ("high", "expected"),
    [(0, [0, 1]), (3, [0, 1, 2, 3]), (9, [0, 5, 10]), (85, [0, 50, 100]), (200, [0, 50, 100, 150, 200])],
)
def test_counts_have_whole_steps(high: float, expected: list[float]) -> None:
    assert ticks(high, 1.0) == expected


def test_the_hours_are_those_of_the_zone() -> None:
    values: list[float | None] = [1] * STEPS
    marked = re.findall(r'class="tick">(\d\d:\d\d)<', drawn(plot(values), END, UTC))
    assert marked == ["06:00", "12:00", "18:00", "00:00"]
    text = drawn(plot(values), END, timezone(timedelta(hours=5, minutes=45)))
    assert re.findall(r'class="tick">(\d\d:\d\d)<', text) == ["06:00", "12:00", "18:00", "00:00"]


def test_the_table_has_the_hours_of_the_clock_and_their_sums() -> None:
    values: list[float | None] = [1] * STEPS
    rows = re.findall(r'data-head="From">([^<]*)<.*?data-head="let in">([^<]*)<', drawn(plot(values), END, UTC))
    assert len(rows) == 25
    assert rows[:2] == [("00:05", "11"), ("01:00", "12")]
    assert rows[-1] == ("00:00", "1")


def test_what_is_not_known_is_a_hole_in_the_line_and_said_in_the_table() -> None:
    values: list[float | None] = [None] * 12 + [2.0] * 100 + [None] * 50 + [4.0] + [None] * 20 + [1.0] * 105
    text = drawn(plot(values), END, UTC)
    (path,) = re.findall(r'<path d="([^"]*)" class="line c0">', text)
    assert path.count("M") == 2
    assert f'<path d="M162,{0:.1f}h0" class="line dot c0">' in text, "a value alone is a dot"
    assert "not known" in text
    assert "309 in all, at most 4, at 13:35; 1 now." in text


def test_a_server_that_has_just_begun_says_so_in_its_plots() -> None:
    assert "Nothing is known before 23:15<" in drawn(plot([None] * 278 + [1.0] * 10), END, UTC)
    assert "Nothing is known" not in drawn(plot([None] * 12 + [1.0] * 276), END, UTC)


def test_an_axis_tells_what_it_counts_and_nothing_where_nothing_is_known() -> None:
    known = [drawn(plot([0.0] * 287 + [high]), END, UTC) for high in (1.0, 2.0)]
    assert [re.findall(r'class="tick">([^<]*login[^<]*)<', text) for text in known] == [["1 login"], ["2 logins"]]
    assert "login<" not in drawn(plot([None] * STEPS), END, UTC)


def test_nothing_but_holes_and_nothing_but_zero_can_be_drawn() -> None:
    assert "let in: not known." in drawn(plot([None] * STEPS), END, UTC)
    text = drawn(plot([0.0] * STEPS), END, UTC)
    assert f"M0,{AREA:.1f}" in text


def test_lines_of_one_plot_differ_in_their_class_and_are_named_in_a_legend() -> None:
    text = drawn(plot([1.0] * STEPS, Line("refused", [2.0] * STEPS)), END, UTC)
    assert 'class="legend"' in text
    assert {"line c0", "line c1"} <= set(re.findall('class="([^"]*)"', text))
    assert 'class="legend"' not in drawn(plot([1.0] * STEPS), END, UTC)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (octets(0), "0 octets"),
        (octets(1), "1 octet"),
        (octets(999), "999 octets"),
        (octets(5120), "5.1 kB"),
        (octets(84_000_000), "84 MB"),
        (seconds(0), "0 s"),
        (seconds(5), "5 s"),
        (seconds(2.51), "2.5 s"),
        (seconds(90), "90 s"),
        (seconds(600), "10 min"),
        (span(0.4), "0 s"),
        (span(61), "1 min 1 s"),
        (span(3600), "1 h"),
        (span(3 * 86_400 + 7_300), "3 d 2 h"),
        (number(1234567), "1,234,567"),
    ],
)
def test_figures_are_as_people_write_them(said: str, expected: str) -> None:
    assert said == expected
