"""How long a failed login waits for its answer: longer with each failure of the same address or the same user name."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import ip_address

from twisted.internet.interfaces import IReactorTime

REMEMBERED_SECONDS = 900
"""A failure older than this no longer counts: a guesser who waits so long for each guess gets a hundred a day."""

REMEMBERED_KEYS = 20_000
"""Addresses and names kept; the least recently failed go first, so a flood of names cannot fill the memory."""

LONGEST_SECONDS = 16.0
"""No answer waits longer: clients give up after 30 seconds and more, and a mistyped password is no crime."""

IPV6_PREFIX = 64
"""Bits of an IPv6 address that count: one customer is handed the rest."""


class Throttle:
    """The memory of failed logins, shared by all listeners of a process."""

    def __init__(self, clock: IReactorTime, first_seconds: float) -> None:
        self._clock = clock
        self._first = first_seconds
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def failed(self, address: str, user: str) -> float:
        """Record a failure; return the seconds to wait before it is answered. The first of a kind waits the first delay."""
        count = max(self._count(("address", network(address))), self._count(("user", user)))
        return min(LONGEST_SECONDS, self._first * 2.0 ** min(count - 1, 10))

    def succeeded(self, user: str) -> None:
        """Forget the name's failures. The address's stay: a guesser may own an account too."""
        if self._failures:
            self._failures.pop(("user", user), None)

    def _count(self, key: tuple[str, str]) -> int:
        now = self._clock.seconds()
        count, last = self._failures.pop(key, (0, now))
        count = count + 1 if now - last < REMEMBERED_SECONDS else 1
        self._failures[key] = count, now
        if len(self._failures) > REMEMBERED_KEYS:
            self._failures.popitem(last=False)
        return count


def network(address: str) -> str:
    """Fold an IPv6 address to its customer's network; other names, a Unix socket's empty one included, stay."""
    if ":" not in address:
        return address
    packed = ip_address(address.partition("%")[0]).packed
    return packed[: IPV6_PREFIX // 8].hex()
