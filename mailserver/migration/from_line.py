"""The lines that begin messages in an mbox: ``From alice@example.org Wed Dec  2 05:53:22 1992``.

Programs write the date in many forms. A line that begins with From and has no date in one of them is a line of a message's text: by
nothing else can the servers that serve mboxes tell the two apart.
"""

from __future__ import annotations

import re
import time
from calendar import timegm
from typing import Final

_MONTHS: Final = {
    name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)
}
_MONTH: Final = b"(" + b"|".join(_MONTHS) + b")"
_TIME: Final = rb"(\d\d):(\d\d)(?::(\d\d))?"
_ZONE: Final = rb"(?: ([+-]\d{4}|[A-Za-z]{3,4}))?"
_END: Final = rb"(?: remote from .*)?\r?$"
_USUAL: Final = re.compile(
    rb"From (?:.* )?[A-Za-z]{3} " + _MONTH + rb" ([ \d]?\d) " + _TIME + _ZONE + rb" (\d{4})" + _ZONE + _END
)
"""Of C's asctime; the time may have no seconds, and a zone stands before or after the year (BSD, SysV, Solaris, emacs, UUCP)."""

_UNUSUAL: Final = re.compile(rb"From (?:.* )?[A-Za-z]{3}, ([ \d]?\d) " + _MONTH + rb" (\d{4}) " + _TIME + _ZONE + _END)
"""As in a Date field. Dovecot knows it, too."""


def received(line: bytes) -> float | None:
    """The time in such a line, in seconds of the epoch; without a zone it is local time. None: it begins no message."""
    if found := _USUAL.match(line):
        month, day, hour, minute, second, before, year, after = found.groups()
    elif found := _UNUSUAL.match(line):
        day, month, year, hour, minute, second, before = found.groups()
        after = None
    else:
        return None
    parts = (max(1, int(year)), _MONTHS[month], int(day), int(hour), int(minute), int(second or 0))
    zone = before or after or b""
    if zone[:1] in {b"+", b"-"}:
        east = int(zone[1:3]) * 3600 + int(zone[3:]) * 60
        return float(timegm(parts)) - (east if zone[:1] == b"+" else -east)
    if zone in {b"GMT", b"UTC", b"UT"}:
        return float(timegm(parts))
    try:
        return time.mktime((*parts, 0, 0, -1))  # other names of zones are ambiguous; here they are mostly the local one
    except (OverflowError, ValueError):
        return float(timegm(parts))
