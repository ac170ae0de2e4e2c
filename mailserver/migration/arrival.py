"""When a message arrived, as far as its header says so."""

from __future__ import annotations

import re
from email.utils import mktime_tz, parsedate_tz
from typing import Final

_DATES: Final = (
    re.compile(rb"^Received[ \t]*:((?:[^\n]|\n[ \t])*)", re.IGNORECASE | re.MULTILINE),
    re.compile(rb"^Date[ \t]*:((?:[^\n]|\n[ \t])*)", re.IGNORECASE | re.MULTILINE),
)
"""The last hop is the first such field; a message that never came over a network may have a date alone."""

_LONGEST: Final = 2000
"""Octets of a field that are looked at."""

_YEAR_10000: Final = 253_402_300_800
"""No file can have a later time on all file systems, and a sender can write any: a zone of twenty digits is believed by the parser."""


def arrival(header: bytes) -> float | None:
    """Seconds of the epoch; None: the header has no date that is one."""
    for pattern in _DATES:
        found = pattern.search(header)
        time = _time(found[1][-_LONGEST:].rpartition(b";")[2]) if found else None
        if time is not None:
            return time
    return None


def _time(date: bytes) -> float | None:
    try:
        parsed = parsedate_tz(" ".join(date.decode("ascii", "replace").split()))
        time = None if parsed is None else float(mktime_tz(parsed))
    except (ValueError, OverflowError, IndexError, TypeError):  # its parser trusts its input
        return None
    return time if time is not None and 0 < time < _YEAR_10000 else None
