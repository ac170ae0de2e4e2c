"""What a process tells of itself for /metrics: all of it, also what was only noted until somebody asks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from mailserver.counts import Counts
from mailserver.service.families import FAMILIES
from mailserver.service.measures import Measures


def told(counts: Counts) -> dict[str, Any]:
    parts: Any = {"listeners": SimpleNamespace(made=[]), "throttle": SimpleNamespace(waiting=0)}
    measures = Measures(counts=counts, certificates=lambda: None, **parts)
    return {row["metric"]: row["samples"] for row in measures.rows()}


def test_what_was_noted_is_told_and_each_time_the_same() -> None:
    counts = Counts()
    traffic = counts.of("pop3")
    for _ in range(2):
        traffic.answered(b"USER", "granted", 0.02)
        traffic.session("QUIT", 3.0, retrieved=4, deleted=3, marked=2, again=True)
    first = told(counts)
    assert {name: first[name] for name in ("sessions", "logins")} == {
        "sessions": [[["pop3", "quit"], 2]],
        "logins": [[["pop3", "USER", "granted"], 2]],
    }
    figures = {"messages_retrieved": 8, "messages_deleted": 6, "messages_not_deleted": 4, "sessions_fetching_again": 2}
    assert {name: first[name] for name in figures} == {name: [[["pop3"], n]] for name, n in figures.items()}
    assert first["session_seconds"][0][1][-1] == 6.0
    again = told(counts)
    assert {name: again[name] for name in first if not name.startswith("process_")} == {
        name: samples for name, samples in first.items() if not name.startswith("process_")
    }
    assert first.keys() <= FAMILIES.keys()
