"""What a page shows: the parts of all processes in one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import groupby
from typing import Any, Final

from mailserver.web.status.history import MINUTES, STEP, Series, merged

SHOWN: Final = 100
"""Sessions, and kinds of failures, that are shown: nobody reads a page with more, and `mailserver who` tells all."""

Row = Mapping[str, Any]
"""A fact, as the question "overview" answers it; its field `part` says what it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The state of the whole server at one moment."""

    hostname: str
    now: float
    """Seconds since the epoch."""
    processes: Sequence[Row]
    ports: Sequence[Row]
    sessions: Sequence[Row]
    """The latest; how many there are is in the processes' rows."""
    troubles: Sequence[Row]
    failures: int
    """How often something failed in the last hour, whether it is in `troubles` or not."""
    certificates: Sequence[Row]
    history: Mapping[str, Series]
    end: float
    """The end of the history's last step."""
    silent: Sequence[int] = ()
    """The worker processes that have not answered."""
    alone: bool = False
    """Whether there are others, which cannot be asked."""

    def last_hour(self, series: str) -> float:
        """What was counted in the last twelve steps."""
        return sum(value or 0 for value in self.history[series][-60 // STEP :])

    @property
    def versions(self) -> Sequence[str]:
        """The versions that run: more than one while the server is restarted."""
        return sorted({row["version"] for row in self.processes} - {""})

    @property
    def open(self) -> int:
        """How many sessions are open."""
        return sum(sum(row["sessions"].values()) for row in self.processes)


def overview(
    rows: Iterable[Row], *, hostname: str, now: float, silent: Sequence[int] = (), alone: bool = False
) -> Overview:
    """Everything that the processes have answered."""
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(row["part"], []).append(row)
    histories = parts.get("history", [])
    last = max((row["step"] for row in histories), default=int(now // (60 * STEP)))
    return Overview(
        hostname=hostname,
        now=now,
        processes=sorted(parts.get("process", []), key=lambda row: row["worker"]),
        ports=_once(parts.get("port", []), "kind", "endpoint"),
        sessions=nsmallest(SHOWN, parts.get("session", []), key=lambda row: (not row.get("who"), row["seconds"])),
        troubles=_together(parts.get("trouble", []))[:SHOWN],
        failures=sum(row["failures"] for row in parts.get("process", [])),
        certificates=_once(parts.get("certificate", []), "file", "expires"),
        history=merged(_moved(row["series"], last - row["step"]) for row in histories),
        end=float((last + 1) * 60 * STEP),
        silent=silent,
        alone=alone,
    )


def _moved(series: Mapping[str, Series], steps: int) -> Mapping[str, Series]:
    """The series of a process that has answered before a step began which another has counted in already."""
    if not steps:
        return series
    length = MINUTES // STEP
    return {name: [*values, *[None] * steps][-length:] for name, values in series.items()}


def _together(troubles: Iterable[Row]) -> list[Row]:
    """The same failures in several processes as one, the latest first."""

    def same(row: Row) -> tuple[str, ...]:
        return tuple(row[name] for name in ("what", "who", "peer", "why", "help"))

    groups = [list(rows) for _, rows in groupby(sorted(troubles, key=same), same)]
    one = [
        {**rows[0], "times": sum(row["times"] for row in rows), "last": max(row["last"] for row in rows)}
        for rows in groups
    ]
    return sorted(one, key=lambda row: -row["last"])


def _once(rows: Iterable[Row], *fields: str) -> list[Row]:
    """What each process has the same of, such as certificates, once."""
    return list({tuple(row[field] for field in fields): row for row in rows}.values())
