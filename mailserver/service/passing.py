"""A worker's finished lines on their way into the log of its parent, which writes them as they are, in the form of its log.

A line that the worker finishes and the parent only looks at costs both together 5 us, an object of JSON 20; as an event, which the
parent publishes and formats again, each costs 32. Events are for programs that have observers of their own.

The parent may be root and believes no octet: what it writes is one line of its form, and tells of which worker it is where the form can.
Neither form has control characters, or others that cannot be seen: in strings of JSON they are escaped. Whatever else arrives is logged
as the output of a library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, Protocol

from twisted.logger import LogEvent, LogLevel

from mailserver.service.reporting import LONGEST_TEXT, bounded, crossing, fits, is_visible, line_of, text_of

BREAK: Final = "\x1e"
"""Stands for a line's break within an event, such as a fault with its traceback. In the log a tab follows each."""

_TEXT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[[^]]{1,250}\] ")
"""How a line of text begins: its time, and where it is from."""

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_LEVELS: Final = tuple(level.name for level in LogLevel.iterconstants())


class Journal(Protocol):
    """A log that takes finished lines."""

    @property
    def form(self) -> str:
        """Its name in `FORMS`; "event": it takes events alone, and has them from its observers."""

    def write(self, text: str, /) -> object:
        """Take a line with its end."""

    def flush(self) -> object:
        """Write what was taken."""


def text_to_pass(event: LogEvent) -> str:
    """The event as one line of text, for the parent; "" if it says nothing."""
    line = bounded(text_of(event)[:-1], LONGEST_TEXT)
    if not line.isprintable():
        line = BREAK.join(map(_escaped, line.split("\n\t")))
    return line and line + "\n"


def passed_text(line: bytes, _worker: int) -> str:
    """A worker's line as a line for the log; "" if it is none."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    if not text.isprintable():
        if not text.replace(BREAK, "").isprintable():
            return ""
        text = text.replace(BREAK, "\n\t")
    return f"{text}\n" if _TEXT.match(text) else ""


def passed_json(line: bytes, worker: int) -> str:
    """A worker's object as a line for the log, with the worker's number; "" if it is not what `line_of` makes."""
    try:
        text = line.decode("utf-8")
        if "\r" in text or "\t" in text or not is_visible(text):
            return ""  # JSON allows the two between its parts, and its decoder no other control character below 32
        said = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(said, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair is no text
    except (ValueError, RecursionError):
        return ""
    return f'{text[:-1]}, "worker": {worker}}}\n' if text[-1:] == "}" and _is_report(said) else ""


def _is_report(said: Any) -> bool:
    return (
        isinstance(said, dict)
        and "worker" not in said
        and said.get("level") in _LEVELS
        and isinstance(said.get("text"), str)
        and isinstance(said.get("namespace"), str)
        and _TIME.fullmatch(str(said.get("time"))) is not None
        and all(isinstance(value, str) or fits(value) for value in said.values())
    )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and its like, which are Python's and no reader's


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)

FORMS: Final[Mapping[str, Callable[[LogEvent], str]]] = {"text": text_to_pass, "json": line_of, "event": crossing}
"""What a worker makes of an event, by the name of the form."""

PASSED: Final[Mapping[str, Callable[[bytes, int], str]]] = {"text": passed_text, "json": passed_json}
"""What the parent makes of a worker's line."""
