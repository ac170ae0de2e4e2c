"""Limits: the tables of the settings are what listeners and deliveries ask, so that each limit and its default stand once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
    """Connections at once, over all endpoints but those of LMTP, and all processes; further ones are refused, the others stay."""
    connections_per_address: int = at_least(1, 200)
    """The same from one address; all Unix sockets count as one. Offices and carriers share addresses."""
    proxies: tuple[Network, ...] = ()
    """Networks whose PROXY header is trusted on `haproxy:` endpoints; any other client could forge one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """``[delivery]``: mail that comes in."""

    aliases: str = ""
    """A file of aliases in the form of /etc/aliases, read again when it changes; empty: none, every address is a user's."""
    catch_all: Mapping[str, str] = field(default_factory=dict)
    """Who gets the mail for a domain's unknown addresses: `"example.org" = "alice"`; none, because most of it is spam."""
    max_octets: int = at_least(65_536, 50 * 1024 * 1024)
    """The biggest message, announced by SIZE; 50 MiB, since photographs come by mail. RFC 5321 wants 65536 at least."""
    max_recipients: int = at_least(100, 1000)
    """Recipients of one transaction; senders deliver to the others in another. RFC 5321 wants 100 at least."""
    connections: int = at_least(1, 100)
    """LMTP connections at once in each process, beside `limits.connections`; Postfix opens 20, and waits when it is refused."""
    idle_seconds: float = at_least(1, 300)
    """Time without a command, or an octet of a message, from a sender; RFC 5321 wants 300 at least."""
    transaction_seconds: float = at_least(1, 3600)
    """Time for a message, from its envelope to its end, however it trickles: 50 MiB in it are 15 kB a second."""
    xclients: tuple[Network, ...] = ()
    """Networks whose XCLIENT is trusted, such as a filter's: others could forge clients. A Unix socket counts as 127.0.0.1."""
    delete: str = "expunge"
    """What DELE and QUIT do, always at QUIT: "expunge", "trash", "trash 14 days", or "keep 7 days" for an undelete."""
    share: bool = True
    """Whether a message for several users is one file with links, without Delivered-To; false: each has a copy with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaRules:
    """``[quota]``: how much mail a user may have, where the users' database does not say."""

    octets: int = at_least(0, 0)
    """Octets of all messages of a maildrop. 0: no limit, since only the site knows its disk."""
    messages: int = at_least(0, 0)
    """The number of all messages. 0: no limit; 100,000 hurts nobody who deletes."""
    warn_percent: int = at_least(0, 90, at_most=100)
    """The share of the quota that warns the user when a delivery crosses it; 0: no warnings."""
    warn_command: str = ""
    """A program that warns instead of a message in the maildrop, run without a shell; docs/delivery.md has what it is told."""
    over: Literal["temporary", "permanent"] = "temporary"
    """What senders hear over quota: temporary lets them try for days (452), permanent returns the mail at once (552)."""
