#!/usr/bin/env python3
"""Draw how costs grow, of what growth.py has measured.

bench/plot.py growth.json docs/growth.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.svg import Chart, page

LOGINS = {"cold": "First login ever", "new": "First login after 10 new", "unchanged": "Login, nothing new"}


def draw(told: Mapping[str, Any]) -> str:
    """The picture of the parts that were measured."""
    return page(charts(told))


def charts(told: Mapping[str, Any]) -> list[Chart]:
    """A chart for each thing that grows."""
    found = []
    if logins := told.get("logins"):
        names = sorted(logins, key=lambda name: name != "mailserver")
        for kind, title in LOGINS.items():
            lines = {name: logins[name][kind] for name in names}
            found.append(Chart(f"{title}, ms of CPU", "messages", lines, decades_across=True, decades_up=True))
    if stalls := told.get("stalls"):
        title = "Longest wait of others meanwhile, ms"
        found.append(Chart(title, "messages", stalls["run"], decades_across=True, decades_up=True))
    if idle := told.get("idle"):
        title = "Login and STAT beside idle clients, us of CPU"
        found.append(Chart(title, "idle clients", {"": [point for point in idle if point[0]]}, decades_across=True))
    if memory := told.get("memory"):
        found.append(Chart("Memory of the process, MB", "sessions served", {"": memory}))
    if workers := told.get("workers"):
        found += [Chart(f"Sessions {span}", "worker processes", {"": line}) for span, line in workers.items()]
    return found


def main(source: str, target: str) -> int:
    """Draw a file."""
    Path(target).write_text(draw(json.loads(Path(source).read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
