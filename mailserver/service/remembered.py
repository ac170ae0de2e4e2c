"""What a server that is one process remembers of those who log in, told to the process that takes its place.

It is told in rows of JSON, with seconds from now instead of times. The other process may be of another version: a row that it does
not understand it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from math import inf
from typing import Any, Final

from mailserver.net.attempts import Held
from mailserver.net.delays import Delays
from mailserver.net.regulars import Regulars, Visitor
from mailserver.net.throttle import LONGEST_SECONDS, REMEMBERED_SECONDS, Throttle
from mailserver.service.memories import Memories

REMEMBER: Final = "remember"
"""The word before some rows."""

_AT_ONCE: Final = 500
"""Rows that are told before sessions have their turn: some milliseconds. A memory full of users of one network each has 120,000: 9 MB, a second's work."""

Row = list[Any]


def told(memories: Memories) -> Iterator[Mapping[str, Any]]:
    """All of it, some rows at a time; each is as it is when it is asked for."""
    rows = chain(_lanes(memories.throttle), _regulars(memories.throttle.regulars), _delays(memories.delays))
    while some := list(islice(rows, _AT_ONCE)):
        yield {"word": REMEMBER, "rows": some}


def _lanes(throttle: Throttle) -> Iterator[Row]:
    for key in throttle.names:
        if (held := throttle.held(key)).failures:
            yield ["failed", list(key), held.failures, round(held.ago, 3), round(held.left, 3)]


def _regulars(regulars: Regulars) -> Iterator[Row]:
    for secret in regulars.secrets:
        yield from (["regular", *visitor] for visitor in regulars.visitors(secret))


def _delays(delays: Delays) -> Iterator[Row]:
    for name in delays.names:
        if left := round(delays.left(name), 3):
            yield ["delay", name, left]


def hear(memories: Memories, said: Mapping[str, Any]) -> None:
    """Remember some rows, too."""
    for row in said.get("rows", ()):
        _hear(memories, row)


def _hear(memories: Memories, row: Any) -> None:
    match row:
        case [
            "failed",
            ["address" | "user", str()] | ["regular", str(), str(), str()] as key,
            int(failures),
            float(ago),
            float(left),
        ] if failures > 0 and 0 <= ago < REMEMBERED_SECONDS and 0 <= left <= LONGEST_SECONDS:
            memories.throttle.heard(tuple(key), Held(failures, ago, left, 0))
        case ["regular", str(where), str(user), str(secret)]:
            memories.throttle.regulars.welcome(Visitor(where, user, secret))
        case ["delay", str(name), float(left)] if 0 < left < inf:
            memories.delays.heard(name, left)
