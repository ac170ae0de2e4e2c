"""What POP3 does not say of messages: when they arrived, and whether they were seen. IMAP says it, or else headers say the half."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from mailserver.migration import imap_client, pop3_client
from mailserver.migration.arrival import arrival
from mailserver.migration.likeness import likeness
from mailserver.migration.matching import Side, match


class Listed(NamedTuple):
    """A message in one session of POP3."""

    number: int
    uidl: bytes
    occurrence: int
    """How many messages before it have this unique-id."""
    octets: int


class Fact(NamedTuple):
    """What was found out about one."""

    received: float | None
    """In seconds of the epoch; None: nothing says it."""
    seen: bool


UNKNOWN: Final = Fact(None, False)


def by_headers(client: pop3_client.Client, listed: Sequence[Listed]) -> list[Fact]:
    """What their headers say, where the server has TOP. Errors: SourceError."""
    return [UNKNOWN if header is None else Fact(arrival(header), False) for header in _headers(client, listed)]


def by_imap(
    client: pop3_client.Client, listed: Sequence[Listed], imap: imap_client.Client
) -> tuple[list[Fact], list[Listed]]:
    """What IMAP says, and the messages that it does not have, of which their headers say it. Errors: SourceError."""
    items = imap.listing()
    matched = match(
        Side(
            [each.octets for each in listed],
            lambda indexes: _likenesses(_headers(client, [listed[index] for index in indexes])),
        ),
        Side(
            [each.octets for each in items],
            lambda indexes: _likenesses(imap.headers([items[index].uid for index in indexes])),
        ),
    )
    lost = [each for index, each in enumerate(listed) if index not in matched]
    found = iter(by_headers(client, lost))
    facts = []
    for index in range(len(listed)):
        item = items[matched[index]] if index in matched else None
        facts.append(next(found) if item is None else Fact(item.received, item.seen))
    return facts, lost


def _headers(client: pop3_client.Client, listed: Sequence[Listed]) -> Iterable[bytes | None]:
    """Without TOP, which RFC 1939 leaves to the server, there are none."""
    if not listed or not client.has_top(listed[0].number):
        return [None] * len(listed)
    return client.tops([each.number for each in listed])


def _likenesses(headers: Iterable[bytes | None]) -> list[bytes | None]:
    return [None if header is None else likeness(header) for header in headers]
