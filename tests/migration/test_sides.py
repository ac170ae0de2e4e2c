"""The two sides of a comparison: places with mail, as a comparison reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mailserver.migration.compare import Listed, compare
from mailserver.migration.likeness import ENOUGH, likeness
from mailserver.migration.sides import Pop3Side, SourceSide
from mailserver.migration.source import Original, SourceError, Unreadable

HEADER = b"Subject: hi\r\nTo: alice@example.org\r\n"


class Mail:
    """A source with these messages, each in pieces; an error is raised where it stands."""

    def __init__(self, *messages: list[bytes | Exception]) -> None:
        self.notes: list[str] = []
        self.given = 0
        self.closed = False
        self._messages = messages

    def messages(self) -> Sequence[Original]:
        return [Original(str(n), b"%d" % n, 0.0, seen=False, octets=n) for n in range(len(self._messages))]

    def read(self, message: Original) -> Iterator[bytes]:
        for piece in self._messages[int(message.place)]:
            if isinstance(piece, Exception):
                raise piece
            self.given += len(piece)
            yield piece

    def close(self) -> None:
        self.closed = True


def test_messages_are_listed_as_the_source_has_them():
    side = SourceSide(Mail([b""], [b""]))
    assert side.listing() == [Listed(b"0", 0), Listed(b"1", 1)]


def test_a_header_is_read_in_whatever_pieces_it_comes_and_no_further():
    body = [b"x" * 1000] * 10
    mail = Mail([HEADER + b"\r\nbody\r\n"], [*(b"%c" % octet for octet in HEADER + b"\r\n"), *body], [HEADER])
    side = SourceSide(mail)
    side.listing()
    assert side.likenesses([2, 0, 1]) == [likeness(HEADER)] * 3
    assert mail.given < len(HEADER) * 4


def test_a_header_of_line_feeds_ends_as_well():
    mail = Mail([HEADER.replace(b"\r\n", b"\n"), b"\n", b"x" * ENOUGH])
    side = SourceSide(mail)
    side.listing()
    assert side.likenesses([0]) == [likeness(HEADER)]
    assert mail.given < ENOUGH


def test_a_header_without_an_end_is_not_read_for_ever():
    mail = Mail([b"x" * 60_000] * 100)
    side = SourceSide(mail)
    side.listing()
    assert side.likenesses([0]) == [likeness(b"x" * ENOUGH)]
    assert mail.given <= ENOUGH + 60_000


def test_what_cannot_be_read_is_unknown_and_the_others_are_read():
    side = SourceSide(Mail([Unreadable("gone")], [b"Sub", Unreadable("gone")], [HEADER]))
    side.listing()
    assert side.likenesses([0, 1, 2]) == [None, None, likeness(HEADER)]


def test_two_sources_are_compared():
    found = compare(SourceSide(Mail([HEADER], [HEADER])), SourceSide(Mail([HEADER])))
    assert (found.same.messages, found.missing.messages) == (1, 1)


def test_closing_closes_the_source():
    mail = Mail()
    SourceSide(mail).close()
    assert mail.closed


class Session:
    """A session with a POP3 server whose messages 1 and 3 are these, in this order; some headers are refused."""

    def __init__(self, *refused: int) -> None:
        self.refused = refused
        self.did: list[str] = []

    def uidl(self) -> Sequence[tuple[int, bytes]]:
        return [(1, b"a")]

    def listing(self) -> Sequence[tuple[int, int]]:
        return [(3, 30), (1, 10)]

    def tops(self, numbers: Sequence[int], lines: int) -> Iterator[bytes | None]:
        assert lines == 0
        for number in numbers:
            yield None if number in self.refused else b"Subject: %d\r\n\r\n" % number

    def quit(self) -> None:
        self.did.append("quit")
        raise SourceError("gone")

    def close(self) -> None:
        self.did.append("close")


def test_a_session_lists_its_messages_by_their_numbers():
    assert Pop3Side(Session()).listing() == [Listed(b"", 30), Listed(b"a", 10)]


def test_headers_are_asked_for_by_message_numbers():
    side = Pop3Side(Session(3))
    side.listing()
    assert side.likenesses([1, 0]) == [likeness(b"Subject: 1\n"), None]


def test_a_session_ends_by_quit_whatever_the_server_makes_of_it():
    session = Session()
    Pop3Side(session).close()
    assert session.did == ["quit", "close"]
