"""Sizes as other servers write them, and as ours lets them be written: ``500M``, ``1 GiB``, or a number of some unit."""

from __future__ import annotations

import re
from typing import Final

_SIZE: Final = re.compile(r"(\d{1,15})\s*(?:([bkmgt])(?:i?b)?)?", re.IGNORECASE | re.ASCII)
_UNITS: Final = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def octets(text: str, unit: int) -> int | None:
    """The octets; `unit` is that of a number without one. None: it is no size."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    return int(match[1]) * (_UNITS[match[2].lower()] if match[2] else unit)
