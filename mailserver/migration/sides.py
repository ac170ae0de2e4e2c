"""The sides of a comparison: a place with mail, of which listings and headers are read and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from mailserver.migration.compare import Listed, Side
from mailserver.migration.likeness import ENOUGH, likeness
from mailserver.migration.network import Reach, reach
from mailserver.migration.places import KINDS, Formers, Login, Place, open_source, read_place
from mailserver.migration.pop3_client import Client
from mailserver.migration.source import Original, Source, SourceError, Unreadable
from mailserver.wireform import Measure

Opener = Callable[[Login, Formers], Side]
"""Opens one user's side. Errors: SourceError."""


def read_side(text: str) -> Opener:
    """A place as an operator writes it, see `places.read_place`; ``HOST:PORT`` is a POP3 server.

    Errors: ValueError, whose text says what to write.
    """
    place = read_place(text if text.partition(":")[0] in KINDS else f"pop3://{text}")
    return partial(_open_source, place) if KINDS[place.kind].files else partial(_open_pop3, reach(place))


def _open_source(place: Place, login: Login, formers: Formers) -> Side:
    return SourceSide(open_source(place, login, formers))


def _open_pop3(server: Reach, login: Login, _: Formers) -> Side:
    if not login.secret:
        raise SourceError(f"{server.pop3} needs a password: the table has none, and there is no master user")
    client = Client.connect(server.pop3, server.trust)
    try:
        client.login(login.name, login.secret, login.master, token=server.token)
    except BaseException:
        client.close()
        raise
    return Pop3Side(client)


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
        headers = self._client.tops([self._numbers[index] for index in indexes])
        return [None if header is None else likeness(header) for header in headers]

    def measured(self, index: int) -> int:  # noqa: ARG002 - as of any side
        """LIST says the octets of every message."""
        return 0

    def close(self) -> None:
        """Go without QUIT, so that the server enters no UPDATE state (RFC 1939 section 6): some rewrite their files in it."""
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

    def measured(self, index: int) -> int:
        """The octets of the whole message, which is read."""
        counted = Measure()
        try:
            for piece in self._source.read(self._messages[index]):
                counted.feed(piece)
        except Unreadable:
            return 0
        return counted.octets

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
