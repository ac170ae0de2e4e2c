#!/usr/bin/env python3
"""Make the tables of the pages from what compare.py (three runs or more) and growth.py have measured.

    bench/report.py run1.json run2.json run3.json [--growth growth.json] [--write]

Prints the tables; with --write it puts them between their marks in docs/performance.md and README.md, and draws
docs/growth.svg. Figures are medians of the runs; a spread is the least and the most of them. Ratios are those of each run.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import plot
from bench.compare import PAIRS
from bench.figures import Spread, medians, ratio, spread

PROJECT = Path(__file__).resolve().parents[1]
OURS, OTHER, FLOOR = "mailserver", "dovecot", "limit"
COST = "server_cpu_us"

AIMS = {
    "login + STAT": 6,
    "login + LIST + UIDL": 5.5,
    "fetch 20 x 4 KB": 4,
    "fetch 20 x 4 KB, pipelined": 4,
    "TLS login + LIST + UIDL": 3.4,
    "TLS login + LIST + UIDL, resumed": 4,
    "TLS fetch 20 x 4 KB": 3.3,
    "2 x 10 MB, wire form": 10,
    "2 x 10 MB": 2.2,
    "2 x 10 MB, after TLS and idle sessions": 2.2,
    "2 x 10 MB, after 20,000 messages, too": 2.2,
    "TLS 2 x 10 MB": 3.5,
    "first login after 10 new in 100,000": 6,
}
"""What a line is meant to reach: Dovecot's CPU divided by ours."""
AIM_WORKERS = 0.95
AIMS_IDLE = {OURS: 2.5, f"{OURS}, TLS": 32}
"""KB at most."""

SUMMARY = {
    "login": ("login + STAT", "login + LIST + UIDL"),
    "login and fetch of 20 messages": ("fetch 20 x 4 KB", "fetch 20 x 4 KB, pipelined"),
    "login in TLS": ("TLS login + LIST + UIDL", "TLS login + LIST + UIDL, resumed"),
    "login and fetch of 20 messages in TLS": ("TLS fetch 20 x 4 KB",),
    "10 MB messages with LF line ends, plain or in TLS": ("2 x 10 MB", "TLS 2 x 10 MB"),
    "10 MB messages with CRLF": ("2 x 10 MB, wire form",),
    "first login after new mail in a maildrop of 100,000": ("first login after 10 new in 100,000",),
}
"""The rows of the README, and the lines that each is about."""

Run = Mapping[str, Any]


def cost(run: Run, label: str, server: str) -> float:
    """Microseconds of CPU; 0 where the server was not measured."""
    rounds = run["lines"].get(label, {}).get(server)
    return medians(rounds, (COST,))[COST] if rounds else 0.0


def costs(runs: Sequence[Run], label: str, server: str) -> Spread | None:
    """The same over the runs."""
    found = [each for run in runs if (each := cost(run, label, server))]
    return spread(found) if found else None


def ratios(runs: Sequence[Run], label: str, other: str = OTHER, ours: str = OURS) -> Spread | None:
    """How many times as much CPU the other takes."""
    pairs = [(cost(run, label, other), cost(run, label, ours)) for run in runs]
    found = [ratio(*pair) for pair in pairs if all(pair)]
    return spread(found) if found else None


def versions(runs: Sequence[Run]) -> str:
    """What was measured, and how."""
    lines = [f"* {name}: {version}" for name, version in runs[0]["versions"].items()]
    lines += [f"* {sentence}" for sentence in runs[0].get("lacks", [])]
    times = f"{len(runs)} times" if len(runs) > 1 else "once"
    return "\n".join([*lines, f"* `{runs[0]['command']}`, {times}"])


def table(runs: Sequence[Run]) -> str:
    """A row for each line that has a partner."""
    rows = [
        "| session | mailserver | dovecot | dovecot / mailserver | spread | aim | mailserver / floor |",
        "|---|---|---|---|---|---|---|",
    ]
    for label in runs[0]["lines"]:
        if not (ours := costs(runs, label, OURS)):
            continue
        cells = [label, time(ours.median), "", "", "", "", ""]
        if other := costs(runs, label, OTHER):
            cells[2] = time(other.median)
        if economy := ratios(runs, label):
            cells[3:5] = f"**{economy.median:.1f}**", ends(economy, 1)
        if label in AIMS:
            cells[5] = f"{AIMS[label]:g}"
        if above := ratios(runs, label, OURS, FLOOR):
            cells[6] = f"{above.median:.1f}"
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def others(runs: Sequence[Run]) -> str:
    """What is no session's CPU: memory, and workers."""
    rows = ["| | mailserver | spread | aim | dovecot |", "|---|---|---|---|---|"]
    for tls, label in (("", "idle session, logged in"), (", TLS", "the same in TLS")):
        ours = [run["idle"][OURS + tls] for run in runs if OURS + tls in run["idle"]]
        other = [run["idle"][OTHER + tls] for run in runs if OTHER + tls in run["idle"]]
        if ours:
            each = spread(ours)
            known = f"{spread(other).median:.0f} KB" if other else ""
            rows.append(
                f"| {label} | **{each.median:.1f} KB** | {ends(each, 1)} | {AIMS_IDLE[OURS + tls]:g} KB | {known} |"
            )
    one, two = (OURS + each for each in PAIRS["workers"])
    for label in runs[0]["lines"]:
        if shared := ratios(runs, label, one, two):
            name = "two workers to one process, sessions a second of CPU"
            rows.append(f"| {name} | **{shared.median:.2f}** | {ends(shared, 2)} | {AIM_WORKERS} | |")
    return "\n".join(rows)


def growth(told: Run) -> str:
    """The figures of the plot."""
    rows = ["| messages | first login ever | first after 10 new | nothing new | others waited, cold | after 10 new |"]
    rows.append("|---|---|---|---|---|---|")
    logins, stalls = told.get("logins", {}), told.get("stalls", {})
    for number, (messages, _) in enumerate(logins.get(OURS, {}).get("cold", [])):
        cells = [f"{messages:,.0f}"]
        for kind in plot.LOGINS:
            values = [time(logins[name][kind][number][1] * 1e3) for name in (OURS, OTHER) if name in logins]
            cells.append(values[0] + "".join(f" ({value})" for value in values[1:]))
        for kind in stalls.get("run", {}):
            run, longest = (stalls[which][kind][number][1] for which in ("run", "all"))
            cells.append(f"{run:.1f} ms ({longest:.1f})")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([*rows, "", *_sentences(told)])


def _sentences(told: Run) -> list[str]:
    found = []
    if idle := told.get("idle"):
        beside = ", ".join(f"{cost:,.0f} us beside {clients:,.0f}" for clients, cost in idle)
        found.append(f"* CPU of a login with STAT beside idle clients: {beside}.")
    if workers := told.get("workers"):
        pairs = zip(*workers.values(), strict=True)
        text = "; ".join(f"{one[0]:.0f}: {one[1]:,.0f}, {cpu[1]:,.0f} a second of CPU" for one, cpu in pairs)
        found.append(f"* Sessions a second by the number of workers: {text}.")
    if memory := told.get("memory"):
        text = f"{memory[0][1]:.1f} MB at first, {memory[1][1]:.1f} after {memory[1][0]:,.0f}"
        found.append(
            f"* Memory over the sessions of one process: {text}, {memory[-1][1]:.1f} after {memory[-1][0]:,.0f}."
        )
    return found


def summary(runs: Sequence[Run]) -> str:
    """The table of the README."""
    rows = ["| | |", "|---|---|"]
    for name, labels in SUMMARY.items():
        found = [each.median for label in labels if (each := ratios(runs, label))]
        if found:
            both = sorted({f"{min(found):.1f}", f"{max(found):.1f}"}, key=float)
            rows.append(f"| {name} | {' to '.join(both)} times less CPU |")
    idle = {key: spread([run["idle"][key] for run in runs]).median for key in runs[0]["idle"]}
    if OURS in idle:
        text = f"{idle[OURS]:.1f} KB plain, {idle[f'{OURS}, TLS']:.0f} KB in TLS"
        if OTHER in idle:
            text += f"; Dovecot {idle[OTHER]:.0f} and {idle[f'{OTHER}, TLS']:.0f} KB"
        rows.append(f"| idle session | {text} |")
    return "\n".join(rows)


def ends(figures: Spread, digits: int) -> str:
    """A spread in words; nothing where all runs agree, as one alone does."""
    least, most = (f"{figure:.{digits}f}" for figure in (figures.least, figures.most))
    return f"{least} to {most}" if least != most else ""


def time(microseconds: float) -> str:
    """A duration as people write it."""
    return f"{microseconds:,.0f} us" if microseconds < 1e4 else f"{microseconds / 1e3:,.0f} ms"  # noqa: PLR2004 - five digits


def put(text: str, name: str, block: str) -> str:
    """A page with this block between its marks."""
    pattern = rf"(<!-- {name}: .*?-->\n).*?(<!-- end of {name} -->)"
    new, count = re.subn(pattern, lambda match: f"{match[1]}{block}\n{match[2]}", text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"the marks of {name!r} are there {count} times")
    return new


def main(arguments: list[str]) -> int:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--growth", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    runs = [json.loads(run.read_text()) for run in options.runs]
    blocks = {"versions": versions(runs), "table": table(runs), "others": others(runs)}
    if options.growth:
        told = json.loads(options.growth.read_text())
        blocks["growth"] = growth(told)
        if options.write:
            (PROJECT / "docs/growth.svg").write_text(plot.draw(told))
    pages = {"docs/performance.md": blocks, "README.md": {"summary": summary(runs)}}
    for page, parts in pages.items():
        text = (PROJECT / page).read_text()
        for name, block in parts.items():
            print(f"{block}\n")
            text = put(text, name, block) if options.write else text
        if options.write:
            (PROJECT / page).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
