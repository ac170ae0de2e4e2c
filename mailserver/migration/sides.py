"""The sides of a comparison: a place with mail, of which listings and headers are read and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Protocol

from mailserver.migration.compare import Listed
from mailserver.migration.likeness import ENOUGH, likeness
from mailserver.migration.source import Original, Source, SourceError, Unreadable


class Client(Protocol):
    """A session with a POP3 server, as far as a comparison needs it. Each may raise SourceError."""

    def uidl(self) -> Sequence[tuple[int, bytes]]:
        """Message-numbers and unique-ids."""

    def listing(self) -> Sequence[tuple[int, int]]:
        """Message-numbers and octets."""

    def tops(self, numbers: Sequence[int], lines: int) -> Iterator[bytes | None]:
        """The headers of these messages, and so many lines of their bodies; None: this one is refused."""

    def quit(self) -> None:
        """End the session as POP3 ends it."""

    def close(self) -> None:
        """End the connection; idempotent."""


class Pop3Side:
    """A user's mail at a POP3 server. RETR would mark messages as read, TOP does not, and nothing is deleted."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._numbers: Sequence[int] = ()

    def listing(self) -> Sequence[Listed]:
        """What UIDL and LIST say."""
        uidls = dict(self._client.uidl())
        octets = self._client.listing()
        self._numbers = [number for number, _ in octets]
        return [Listed(uidls.get(number, b""), size) for number, size in octets]

    def likenesses(self, indexes: Sequence[int]) -> Sequence[bytes | None]:
        """What the headers of these messages are like."""
        headers = self._client.tops([self._numbers[index] for index in indexes], 0)
        return [None if header is None else likeness(header) for header in headers]

    def close(self) -> None:
        """Take leave, whatever the server makes of it: nothing depends on it any more."""
        with suppress(SourceError):
            self._client.quit()
        self._client.close()


class SourceSide:
    """A user's mail as a `Source` reads it, from files for example."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._messages: Sequence[Original] = ()

    def listing(self) -> Sequence[Listed]:
        """The messages of the source."""
        self._messages = self._source.messages()
        return [Listed(message.uidl, message.octets) for message in self._messages]

    def likenesses(self, indexes: Sequence[int]) -> Sequence[bytes | None]:
        """What the beginnings of these messages are like."""
        return [self._likeness(self._messages[index]) for index in indexes]

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _likeness(self, message: Original) -> bytes | None:
        try:
            return likeness(_beginning(self._source.read(message)))
        except Unreadable:
            return None


def _beginning(pieces: Iterator[bytes]) -> bytes:
    """A message's octets up to the end of its header, and perhaps more."""
    read = bytearray()
    for piece in pieces:
        searched = max(0, len(read) - 3)  # where the end may have begun
        read += piece
        if read.find(b"\n\n", searched) >= 0 or read.find(b"\n\r\n", searched) >= 0 or len(read) >= ENOUGH:
            break
    return bytes(read)
