"""Sources whose messages a test writes down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mailserver.migration.source import Original, SourceError, Unreadable

DAY = 86_400
BEGIN = 1_500_000_000


@dataclass
class Mail:
    """A message at the source."""

    text: bytes
    uidl: bytes = b""
    received: float = BEGIN
    seen: bool = False
    octets: int | None = None
    unreadable: str = ""
    """What is said in its middle."""
    gone: str = ""
    """What the source says in its middle, and then no more."""


def mails(count: int, first: int = 1) -> list[Mail]:
    """Messages as a server has them that counts from 1."""
    numbers = range(first, first + count)
    return [Mail(b"Subject: %d\n\nbody %d\n" % (n, n), b"UID%d-77" % n, BEGIN + n, n % 2 == 0) for n in numbers]


@dataclass
class FakeSource:
    """A source."""

    mail: Sequence[Mail]
    notes: list[str] = field(default_factory=list)
    read_places: list[str] = field(default_factory=list)
    """Of the messages that were read, in their order."""
    closed: bool = False
    fails: str = ""
    """What the source says when it is asked for its messages."""
    before: Callable[[int], object] | None = None
    """Called before the message at this index is read."""
    piece: int = 7

    def messages(self) -> Sequence[Original]:
        if self.fails:
            raise SourceError(self.fails)
        return [
            Original(f"message {at}", each.uidl, each.received, each.seen, each.octets)
            for at, each in enumerate(self.mail)
        ]

    def read(self, message: Original) -> Iterator[bytes]:
        self.read_places.append(message.place)
        at = int(message.place.removeprefix("message "))
        if self.before is not None:
            self.before(at)
        mail = self.mail[at]
        size = max(self.piece, len(mail.text) // 50)
        pieces = [mail.text[start : start + size] for start in range(0, len(mail.text), size)]
        for number, piece in enumerate(pieces):
            if number == len(pieces) // 2:
                if mail.unreadable:
                    raise Unreadable(mail.unreadable)
                if mail.gone:
                    raise SourceError(mail.gone)
            yield piece

    def close(self) -> None:
        self.closed = True
