"""Log events as finished text and plain fields: for JSON lines, and for the pipe from a worker process to its parent.

The reader of a Twisted event formats it, and formats can read attributes (``{user.name}``) and make calls (``{user()}``). So the
parent, which may be root, formats nothing that a worker sends: the worker finishes the text, and sends only strings, numbers,
booleans and nulls beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from twisted.logger import LogEvent, LogLevel, eventAsText

LONGEST_LINE: Final = 65_536
"""Octets of a line between processes: enough for a long traceback and all fields with every octet escaped."""

LONGEST_TEXT: Final = 8_000
"""Characters; a traceback of 40 frames has 4,000. Six octets each, which is JSON's worst, are still below LONGEST_LINE."""

LONGEST_FIELD: Final = 250
MOST_FIELDS: Final = 32
"""The maximum of an event's fields and of a field's length; our events have fewer than 20, and the text has long values."""

_LEVELS: Final = {level.name: level for level in LogLevel.iterconstants()}
_LATEST: Final = 253_402_300_799.0
"""The year 9999, beyond which a time cannot be written."""

_OWN: Final = ("time", "level", "text", "namespace")

# Fields that Twisted adds for observers from before 2015, which duplicate others.
_LEGACY: Final = frozenset({"format", "isError", "message", "system", "failure", "why"})


def line_of(event: LogEvent) -> str:
    """The event as one object of JSON and a line's end: ``{"time": ..., "level": "info", "text": ..., "event": ..., ...}``."""
    return _dumped({**plain(event), "time": _written(event.get("log_time", 0.0))})


def crossing(event: LogEvent) -> str:
    """The event as a line for the parent, of LONGEST_LINE octets at most."""
    report = plain(event)
    line = _dumped(report)
    if len(line.encode()) <= LONGEST_LINE:
        return line
    return _dumped({name: report[name] for name in (*_OWN, "event") if name in report})


def crossed(line: bytes, worker: int) -> LogEvent | None:
    """A worker's line as an event for this process's observers; None: a library printed the line."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not isinstance(text := said.get("text"), str):
        return None
    time, level, namespace = said.get("time"), said.get("level"), said.get("namespace")
    event: LogEvent = {
        name: _bounded(value, LONGEST_FIELD) if isinstance(value, str) else value
        for name, value in _fields(said)
        if isinstance(value, str) or _fits(value)
    }
    event.update(
        log_format="{log_text}",
        log_text=_bounded(text, LONGEST_TEXT),
        log_time=time if isinstance(time, float) and 0 <= time <= _LATEST else 0.0,
        log_level=_LEVELS.get(level, LogLevel.info) if isinstance(level, str) else LogLevel.info,
        log_namespace=_bounded(namespace, LONGEST_FIELD) if isinstance(namespace, str) else "",
        worker=worker,
    )
    return event


def plain(event: LogEvent) -> dict[str, object]:
    """An event's time, level, text and fields as plain values."""
    level = event.get("log_level")
    return {
        "time": event.get("log_time", 0.0),
        "level": level.name if level else "info",
        "text": _bounded(eventAsText(event, includeTimestamp=False, includeSystem=False), LONGEST_TEXT),
        "namespace": _bounded(str(event.get("log_namespace", "")), LONGEST_FIELD),
        **{name: value if _fits(value) else _bounded(str(value), LONGEST_FIELD) for name, value in _fields(event)},
    }


def _fields(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields from the logging code, without Twisted's own, and at most MOST_FIELDS."""
    given = (name for name in values if name.isidentifier() and len(name) <= LONGEST_FIELD)
    ours = (name for name in given if not name.startswith("log_") and name not in _OWN and name not in _LEGACY)
    return ((name, values[name]) for name in islice(ours, MOST_FIELDS))


def _fits(value: object) -> bool:
    """Whether the value is null, a boolean, or a number that every JSON reader accepts."""
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, int) and abs(value) < 2**63)


def _bounded(text: str, limit: int) -> str:
    """The text in a form that UTF-8 can encode; a longer one than `limit` keeps both ends, since a traceback's end matters."""
    if len(text) > limit:
        half = limit // 2 - 3
        text = f"{text[:half]} ... {text[-half:]}"
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _written(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _dumped(report: Mapping[str, object]) -> str:
    return json.dumps(report, ensure_ascii=False) + "\n"
