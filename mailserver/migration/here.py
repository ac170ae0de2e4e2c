"""What of a source's messages is in the maildrop already, under whatever name the state has not noted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from mailserver.answers import awaited
from mailserver.errors import StoreError
from mailserver.interfaces import IMaildrop
from mailserver.migration.contents import CHUNK, Digest
from mailserver.migration.source import Original, Unreadable
from mailserver.snapshot import MICROSECONDS, Snapshot

_SAME_MOMENT: Final = 2 * MICROSECONDS
"""Between two arrivals of one message: a source may have whole seconds, and messages of one second are set apart a little."""

DigestOf = Callable[[Original], Awaitable[bytes]]


class Here(NamedTuple):
    """What was found."""

    uidls: frozenset[bytes] = frozenset()
    """All that the maildrop has."""
    same: frozenset[bytes] = frozenset()
    """Those that are of the same message as at the source."""


async def look(maildrop: IMaildrop, wanted: Mapping[bytes, Original], digest_of: DigestOf) -> Here:
    """Which of the source's messages, by their unique-ids, are here.

    Servers that count from 1 have the same unique-ids for different messages: where octets and arrival do not tell, contents do.
    """
    messages = maildrop.messages
    same = set()
    for at, uidl in enumerate(messages.uidls):
        original = wanted.get(uidl)
        if original is not None and (
            _alike(messages, at, original) or await _equal(maildrop, at + 1, original, digest_of)
        ):
            same.add(uidl)
    return Here(frozenset(messages.uidls), frozenset(same))


def _alike(messages: Snapshot, at: int, original: Original) -> bool:
    if not messages.arrivals or original.octets != messages.octets[at]:
        return False
    return abs(messages.arrivals[at] - original.received * MICROSECONDS) < _SAME_MOMENT


async def _equal(maildrop: IMaildrop, number: int, original: Original, digest_of: DigestOf) -> bool:
    with suppress(Unreadable, StoreError):  # either: then it is tried to move it, which tells what is wrong
        return await digest_of(original) == await _digest(maildrop, number)
    return False


async def _digest(maildrop: IMaildrop, number: int) -> bytes:
    body = await awaited(maildrop.fetch(number))
    digest = Digest()
    try:
        while data := await awaited(body.read(CHUNK)):
            digest.feed(data)
    finally:
        body.close()
    return digest.end()
