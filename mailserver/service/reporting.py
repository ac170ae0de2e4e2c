"""Log events as lines: of text, of JSON, and of plain fields for the pipe from a worker process to its parent.

The reader of a Twisted event formats it, and formats can read attributes (``{user.name}``) and make calls (``{user()}``). So the
parent, which may be root, formats nothing that a worker sends: the worker finishes the text, and sends only strings, numbers,
booleans and nulls beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from twisted.logger import LogEvent, LogLevel, eventAsText, formatTime
from twisted.python.reflect import safe_str

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

_quoted: Final = json.encoder.encode_basestring
"""A string in JSON, as json.dumps has it with ensure_ascii=False."""

_OWN: Final = ("time", "level", "text", "namespace")

# Fields that Twisted adds for observers from before 2015, which duplicate others.
_LEGACY: Final = frozenset({"format", "isError", "message", "system", "failure", "why"})


def sentence(event: LogEvent) -> str:
    """The event's text, with the traceback of its failure; "" if it has neither.

    Twisted's formatter is written in Python: a session's line takes 47 us with it and 3 us with str.format_map, which gives
    the same for all formats but those with calls (``{user()}``). What format_map refuses, Twisted formats, or says why not.
    """
    text = None if "log_failure" in event or "log_flattened" in event else _formatted(event)
    return eventAsText(event, includeTimestamp=False, includeSystem=False) if text is None else text


def _formatted(event: LogEvent) -> str | None:
    try:
        return str(event["log_format"].format_map(event))
    except Exception:  # noqa: BLE001 - whatever a value raises when it is formatted
        return None


def text_of(event: LogEvent) -> str:
    """The event as a line of text, in twist's own form; "" if it says nothing."""
    text = sentence(event)
    if not text:
        return ""
    when, system = event.get("log_time"), event.get("log_system")
    stamp = "-" if when is None else _local(_second(when))
    if system is None:
        level = event.get("log_level")
        system = f"{event.get('log_namespace', '-')}#{'-' if level is None else level.name}"
    line = f"{stamp} [{safe_str(system)}] {text}"
    return line.replace("\n", "\n\t") + "\n"


def line_of(event: LogEvent) -> str:
    """The event as one object of JSON and a line's end: ``{"time": ..., "level": "info", "text": ..., "event": ..., ...}``."""
    return _object(event, f'"{_written(event.get("log_time", 0.0))}"')


def crossing(event: LogEvent) -> str:
    """The event as a line for the parent."""
    return _object(event, _spelled(event.get("log_time", 0.0)))


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
        name: bounded(value, LONGEST_FIELD) if isinstance(value, str) else value
        for name, value in _fields(said)
        if isinstance(value, str) or fits(value)
    }
    event.update(
        log_format="{log_text}",
        log_text=bounded(text, LONGEST_TEXT),
        log_time=time if isinstance(time, float) and 0 <= time <= _LATEST else 0.0,
        log_level=_LEVELS.get(level, LogLevel.info) if isinstance(level, str) else LogLevel.info,
        log_namespace=bounded(namespace, LONGEST_FIELD) if isinstance(namespace, str) else "",
        worker=worker,
    )
    return event


def _object(event: LogEvent, time: str) -> str:
    """An event's time, level, text and fields as an object of JSON, with a line's end: LONGEST_LINE octets at most.

    Its parts are put together here, because json.dumps takes twice as long: it wants a dict, and asks each value its type.
    """
    level = event.get("log_level")
    text = bounded(sentence(event), LONGEST_TEXT)
    namespace = bounded(str(event.get("log_namespace", "")), LONGEST_FIELD)
    head = f'{{"time": {time}, "level": "{level.name if level else "info"}", "text": {_quoted(text)}, "namespace": {_quoted(namespace)}'
    fields = [key + _spelled(value) for name, value in event.items() if (key := _key(name))]
    line = _visible(f"{head}{''.join(fields[:MOST_FIELDS])}}}") + "\n"
    if len(line) * 4 <= LONGEST_LINE or len(line.encode()) <= LONGEST_LINE:  # a character has 4 octets at most
        return line
    name = _key("event") + _spelled(event["event"]) if "event" in event else ""
    return _visible(f"{head}{name}}}") + "\n"


def is_visible(text: str) -> bool:
    """Whether a line without octets below 32 has none of the other characters, either, that control a terminal or hide in it.

    Those are DEL, C1, U+2028 and its like, marks of direction, and whatever else no one can see. ASCII needs 25 ns, not 1.4 us.
    """
    return "\x7f" not in text if text.isascii() else text.isprintable()


def _visible(line: str) -> str:
    """A line of JSON with such characters escaped; they can only be in its strings."""
    if is_visible(line):
        return line
    return "".join(c if c.isprintable() else _escaped(c) for c in line)


def _escaped(character: str) -> str:
    # Above U+FFFF, where a pair of escapes could make a text longer than a line may be, nothing invisible is anybody's text.
    return f"\\u{ord(character):04x}" if character <= "\uffff" else "\\ufffd"


@lru_cache(maxsize=512)  # our events have 80 names
def _key(name: str) -> str:
    """A field's name in its place between two others; "": it is no field."""
    return f', "{name}": ' if _is_field(name) else ""


def _spelled(value: object) -> str:
    """A field's value in JSON."""
    if isinstance(value, str):
        return _quoted(value if len(value) <= LONGEST_FIELD and value.isascii() else bounded(value, LONGEST_FIELD))
    if not fits(value):
        return _quoted(bounded(str(value), LONGEST_FIELD))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)  # an enumeration has another
    return float.__repr__(value) if isinstance(value, float) else "null"


def _fields(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The fields from the logging code, without Twisted's own, and at most MOST_FIELDS."""
    return [(name, value) for name, value in values.items() if _is_field(name)][:MOST_FIELDS]


def _is_field(name: str) -> bool:
    return (
        len(name) <= LONGEST_FIELD
        and name.isidentifier()
        and not name.startswith("log_")
        and name not in _OWN
        and name not in _LEGACY
    )


def fits(value: object) -> bool:
    """Whether the value is null, a boolean, or a number that every JSON reader accepts."""
    if isinstance(value, int):
        return -(2**63) < value < 2**63
    return value is None or (isinstance(value, float) and math.isfinite(value))


def bounded(text: str, limit: int) -> str:
    """The text in a form that UTF-8 can encode; a longer one than `limit` keeps both ends, since a traceback's end matters."""
    if len(text) > limit:
        half = limit // 2 - 3
        text = f"{text[:half]} ... {text[-half:]}"
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _written(time: float) -> str:
    second, micro = divmod(round(time * 1e6), 1_000_000)
    return f"{_universal(second)}.{micro // 1000:03d}Z"


@lru_cache(maxsize=4)  # the lines of a second come together; workers' lines are a little older
def _universal(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _second(time: float) -> int:
    """The second of a time that is rounded to microseconds, as Twisted rounds it."""
    part, whole = math.modf(time)
    return int(whole) + math.floor(round(part * 1e6) / 1e6)


@lru_cache(maxsize=4)
def _local(second: int) -> str:
    return formatTime(second)
