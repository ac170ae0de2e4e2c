"""The maildrop as a session sees it, fixed at login under the lock (RFC 1939 sections 3 and 4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, overload

BLOCK = 1000
"""Rows of a listing block: about 250 us of work, the most that one reactor turn spends on a listing."""

UIDL: Final = re.compile(rb"[\x21-\x7e]{1,70}")
"""A unique-id (RFC 1939 section 7)."""

NO_UIDL: Final = "a unique-id has 1 to 70 octets of 0x21 to 0x7E (RFC 1939 section 7)"

MICROSECONDS: Final = 1_000_000
"""Of a second: the unit of `Snapshot.arrivals`."""

FIRST_MAIL: Final = 820_454_400 * MICROSECONDS
"""1996-01-01, when Maildirs began. An earlier arrival is no time: it is that of a file called "1", or that could not be examined."""


class Message(NamedTuple):
    """A row of the snapshot; the row at index 0 is message-number 1."""

    uidl: bytes
    """The unique-id: 1 to 70 octets of 0x21 to 0x7E (RFC 1939 section 7)."""
    octets: int
    """Size on the wire: CRLF counted, byte-stuffing and the final dot not (RFC 1939 section 11)."""
    wire: bool
    """Whether the stored bytes are wire form: CRLF line ends, no line begins with a dot, the last line is ended."""


class Renewed(NamedTuple):
    """Most messages have other unique-ids than they had: their clients will fetch them again."""

    reason: str
    """"format changed", "map missing", "map replaced" or "index lost" (docs/logging.md)."""
    when: int
    """In seconds of the epoch."""


class Snapshot(Sequence[Message]):
    """Immutable columns of a maildrop, and the text of its listings in blocks of `BLOCK` rows.

    A store may give one snapshot to many sessions, one after another; a listing is made for the first that asks for it.
    """

    __slots__ = ("_scan", "_unique", "arrivals", "octets", "renewed", "total", "uidls", "unordered", "wire")

    arrivals: Sequence[int]
    """When each message came, in microseconds of the epoch; empty: the store does not know. After the `unordered` ones the oldest is first."""
    unordered: int
    """The number of messages at the beginning that are in the order of a former server, whatever their arrivals."""
    renewed: Renewed | None
    """What has changed the unique-ids lately; None: nothing."""

    def __init__(  # noqa: PLR0913 - columns, and what a store alone knows
        self,
        uidls: Sequence[bytes],
        octets: Sequence[int],
        wire: Sequence[int],
        arrivals: Sequence[int] = (),
        *,
        unordered: int = 0,
        renewed: Renewed | None = None,
    ) -> None:
        if not len(uidls) == len(octets) == len(wire) or len(arrivals) not in {0, len(uidls)}:
            raise ValueError("the columns of a snapshot have different lengths")
        self.uidls, self.octets, self.wire, self.arrivals = uidls, octets, wire, arrivals
        self.unordered = unordered
        self.renewed = renewed
        self.total = sum(sum(octets[at : at + BLOCK]) for at in range(0, len(octets), BLOCK))
        self._scan: dict[int, bytes] = {}
        self._unique: dict[int, bytes] = {}

    @classmethod
    def of(cls, messages: Sequence[Message], arrivals: Sequence[int] = ()) -> Snapshot:
        """The snapshot with these rows."""
        return cls([m.uidl for m in messages], [m.octets for m in messages], [m.wire for m in messages], arrivals)

    def __len__(self) -> int:
        return len(self.uidls)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | Sequence[Message]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return Message(self.uidls[index], self.octets[index], bool(self.wire[index]))

    def scan_row(self, number: int) -> bytes:
        """The scan listing of one message (RFC 1939, LIST)."""
        return b"%d %d\r\n" % (number, self.octets[number - 1])

    def unique_row(self, number: int) -> bytes:
        """The unique-id listing of one message (RFC 1939, UIDL)."""
        return b"%d %b\r\n" % (number, self.uidls[number - 1])

    def scan_block(self, block: int) -> bytes:
        """The scan listings of messages `block` * `BLOCK` + 1 and on; b"" past the end."""
        return self._text(self._scan, self.scan_row, block)

    def unique_block(self, block: int) -> bytes:
        """The unique-id listings of messages `block` * `BLOCK` + 1 and on; b"" past the end."""
        return self._text(self._unique, self.unique_row, block)

    def _text(self, cache: dict[int, bytes], row: Callable[[int], bytes], block: int) -> bytes:
        text = cache.get(block)
        if text is None:
            first = block * BLOCK + 1
            text = cache[block] = b"".join(map(row, range(first, min(first + BLOCK, len(self) + 1))))
        return text
