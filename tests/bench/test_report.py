"""The figures and the pages that are made of them."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.figures import medians, ratio, spread
from bench.growth import parse
from bench.plot import charts, draw
from bench.report import AIMS, growth, main, others, put, summary, table, versions
from bench.scenarios import AGES, SCENARIOS
from bench.svg import Axis, Chart, decades, figure, page, steps

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def rounds(*costs):
    return [{"server_cpu_us": cost, "sessions_s": 1e6 / cost, "mb_s": 0, "p99_ms": 1} for cost in costs]


def run(ours, dovecot):
    """One run of three rounds, whose middle ones are these."""
    return {
        "versions": {"kernel": "Linux 6", "Dovecot": "2.3"},
        "command": "bench/compare.py",
        "lines": {
            "login + STAT": {
                "limit": rounds(50, 50, 50),
                "dovecot": rounds(1, dovecot, 9999),
                "mailserver": rounds(9999, ours, 1),
            },
            "20,000 messages: LIST + UIDL": {"mailserver": rounds(12_345)},
            "login + STAT, two workers": {"mailserver-1": rounds(95), "mailserver-2": rounds(100)},
        },
        "idle": {"mailserver": 2.4, "mailserver, TLS": 30, "dovecot": 630, "dovecot, TLS": 682},
    }


RUNS = [run(200, 1000), run(100, 1000), run(200, 800)]
GROWN = {
    "logins": {
        "dovecot": {"cold": [[100, 11], [1000, 34]], "new": [[100, 4], [1000, 6]], "unchanged": [[100, 1], [1000, 2]]},
        "mailserver": {
            "cold": [[100, 4], [1000, 25]],
            "new": [[100, 3], [1000, 7]],
            "unchanged": [[100, 0.4], [1000, 0.5]],
        },
    },
    "idle": [[0, 210], [1, 220], [10_000, 250]],
    "workers": {"a second": [[1, 3000], [2, 5500]], "a second of CPU": [[1, 4000], [2, 3900]]},
    "memory": [[0, 51], [10_000, 52], [100_000, 52]],
    "stalls": {
        "run": {"cold": [[100, 0.1], [1000, 4.3]], "new": [[100, 1], [1000, 5.2]]},
        "all": {"cold": [[100, 0.2], [1000, 9]], "new": [[100, 1], [1000, 7]]},
    },
}


def test_a_spread_is_the_middle_and_the_ends():
    assert spread([3, 1, 2]) == (2, 1, 3)
    assert spread([1, 2]) == (1.5, 1, 2)


def test_medians_are_taken_figure_by_figure():
    assert medians([{"a": 1, "b": 9}, {"a": 2, "b": 8}, {"a": 3, "b": 1}], ["a", "b"]) == {"a": 2, "b": 8}


def test_a_ratio_is_how_much_more_the_other_costs():
    assert ratio(1000, 250) == 4
    assert ratio(1000, 0) == 0


def test_the_table_has_medians_of_the_runs_and_ratios_of_each():
    assert table(RUNS).splitlines()[2:] == [
        "| login + STAT | 200 us | 1,000 us | **5.0** | 4.0 to 10.0 | 6 | 4.0 |",
        "| 20,000 messages: LIST + UIDL | 12 ms |  |  |  |  |  |",
    ]


def test_memory_and_workers_have_a_table_of_their_own():
    assert others(RUNS).splitlines()[2:] == [
        "| idle session, logged in | **2.4 KB** |  | 2.5 KB | 630 KB |",
        "| the same in TLS | **30.0 KB** |  | 32 KB | 682 KB |",
        "| two workers to one process, sessions a second of CPU | **0.95** |  | 0.95 | |",
    ]


def test_the_summary_is_for_those_who_choose_a_server():
    assert "| login | 5.0 times less CPU |" in summary(RUNS)
    assert "| idle session | 2.4 KB plain, 30 KB in TLS; Dovecot 630 and 682 KB |" in summary(RUNS)


def test_what_was_not_measured_is_left_out():
    alone = {**RUNS[0], "idle": {}, "lines": {"login + STAT": {"mailserver": rounds(200)}}}
    assert table([alone]).splitlines()[2:] == ["| login + STAT | 200 us |  |  |  | 6 |  |"]
    assert len(others([alone]).splitlines()) == len(summary([alone]).splitlines()) == 2
    assert draw({"versions": {}}).startswith("<svg")


def test_versions_and_commands_stand_beside_the_figures():
    assert versions(RUNS) == "* kernel: Linux 6\n* Dovecot: 2.3\n* `bench/compare.py`, 3 times"


def test_growth_is_a_table_too():
    told = growth(GROWN)
    assert "| 1,000 | 25 ms (34 ms) | 7,000 us (6,000 us) | 500 us (2,000 us) | 4.3 ms (9.0) | 5.2 ms (7.0) |" in told
    assert "beside idle clients: 210 us beside 0, 220 us beside 1, 250 us beside 10,000." in told
    assert "1: 3,000, 4,000 a second of CPU; 2: 5,500, 3,900 a second of CPU." in told
    assert "51.0 MB at first, 52.0 after 10,000, 52.0 after 100,000." in told


def test_every_line_with_an_aim_is_measured():
    measured = {scenario.label for group in SCENARIOS.values() for scenario in group} | {each.label for each, _ in AGES}
    assert AIMS.keys() - measured == {"first login after 10 new in 100,000"}


def test_the_pages_have_a_place_for_each_table():
    page = (ROOT / "docs/performance.md").read_text()
    for name in ("versions", "table", "others", "growth"):
        page = put(page, name, f"new {name}")
        assert f"new {name}\n<!-- end of {name} -->" in page
    assert "new summary" in put((ROOT / "README.md").read_text(), "summary", "new summary")
    with pytest.raises(SystemExit, match="no such"):
        put(page, "no such", "")


def test_the_tables_are_printed(tmp_path, capsys):
    file = tmp_path / "run.json"
    file.write_text(json.dumps(RUNS[0]))
    grown = tmp_path / "growth.json"
    grown.write_text(json.dumps(GROWN))
    assert main([str(file), str(file), "--growth", str(grown)]) == 0
    assert "**5.0**" in capsys.readouterr().out


def test_the_plot_is_well_formed_and_has_each_point():
    tree = ET.fromstring(draw(GROWN))
    titles = [title.text for title in tree.iter(f"{SVG}text") if title.get("class") == "title"]
    assert titles == [chart.title for chart in charts(GROWN)]
    points = [title.text for title in tree.iter(f"{SVG}title")]
    assert "mailserver 1,000: 25" in points
    assert "dovecot 100: 11" in points
    assert len(points) == sum(len(line) for chart in charts(GROWN) for line in chart.lines.values())


def test_a_point_is_where_its_axes_say():
    tree = ET.fromstring(page([Chart("<&>", "x", {"a": [(10, 1), (1000, 100)]}, True, True)]))
    first, last = tree.iter(f"{SVG}circle")
    across, up = Axis([10, 100, 1000], True, 52, 324), Axis([1, 10, 100], True, 186, -136)
    for circle, x, y in ((first, 10, 1), (last, 1000, 100)):
        assert float(circle.get("cx")) == across.place(x)
        assert float(circle.get("cy")) == up.place(y)
    assert across.place(100) == 52 + 162
    assert up.place(1) > up.place(100), "more is higher"
    assert Axis([0, 50, 100], False, 0, 200).place(25) == 50


def test_the_picture_is_for_light_and_dark_pages():
    assert "prefers-color-scheme: dark" in draw(GROWN)


def test_axes_have_round_figures():
    assert decades([0.3, 42]) == [0.1, 1, 10, 100]
    assert decades([10, 10]) == [10, 100]
    assert steps([53]) == [0, 20, 40, 60]
    assert steps([0]) == [0]
    assert steps([100_000])[-1] == 100_000


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.611, "0.611"), (25.41, "25.4"), (100, "100"), (12_345.6, "12,346"), (0.1, "0.1")]
)
def test_numbers_are_written_for_people(value, text):
    assert figure(value) == text


def test_growth_is_measured_at_the_sizes_asked_for(capsys):
    options = parse(["--only", "idle", "--crowds", "1,20", "--sizes", "5"])
    assert (options.only, options.crowds, options.sizes) == (["idle"], [1, 20], [5])
    with pytest.raises(SystemExit):
        parse(["--only", "everything"])
    assert "choose from logins,idle" in capsys.readouterr().err


def test_the_figures_of_lines_that_end_together_are_legible():
    chart = Chart("both", "x", {"a": [(1, 1), (2, 100)], "b": [(1, 2), (2, 99)]})
    texts = [text for text in ET.fromstring(page([chart])).iter(f"{SVG}text") if text.text in ("100", "99")]
    upper, lower = sorted(float(text.get("y")) for text in texts if text.get("class"))
    assert lower - upper >= 16
