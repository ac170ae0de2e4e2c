"""The limits of a listener: the table of the settings is what the listener asks, so that each limit and its default stand once."""

from __future__ import annotations

from dataclasses import dataclass

from mailserver.toml import Network, at_least


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``[limits]``: what one client may cost."""

    login_seconds: float = at_least(1, 180)
    """Time from the connection to the login, including TLS; shorter than an autologout, since anybody can connect."""
    idle_seconds: float = at_least(1, 600)
    """Time without a command, or without an octet of a transfer, after login; RFC 1939's minimum is 600."""
    failure_delay_seconds: float = at_least(0, 2)
    """How long a wrong password holds back the next attempt from its address and at its user; it doubles with each. 0: not at all."""
    failures_per_connection: int = at_least(1, 3)
    """Wrong passwords until the connection ends; people mistype twice, programs do not."""
    connections: int = at_least(1, 10_000)
    """Connections at once, over all endpoints and processes; further ones are refused, the others stay."""
    connections_per_address: int = at_least(1, 200)
    """The same from one address; all Unix sockets count as one. Offices and carriers share addresses."""
    proxies: tuple[Network, ...] = ()
    """Networks whose PROXY header is trusted on `haproxy:` endpoints; any other client could forge one."""
