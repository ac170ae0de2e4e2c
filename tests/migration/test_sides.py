"""The two sides of a comparison: places with mail, as a comparison reads them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from mailserver.migration.compare import Listed, compare
from mailserver.migration.likeness import ENOUGH, likeness
from mailserver.migration.places import Login
from mailserver.migration.sides import SourceSide, read_side
from mailserver.migration.source import Original, SourceError, Unreadable
from tests.migration.scripted import Scripted, Session, Talk

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
    mail = Mail([HEADER + b"\r\nbody\r\n", *body], [*(b"%c" % octet for octet in HEADER + b"\r\n"), *body], [HEADER])
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


def test_the_octets_of_a_message_are_those_on_the_wire_in_whatever_pieces_it_comes():
    side = SourceSide(Mail([b"Subject: hi\r", b"\n\nbo", b"dy"], [HEADER, Unreadable("gone")]))
    side.listing()
    assert [side.measured(0), side.measured(1)] == [len(b"Subject: hi\r\n\r\nbody\r\n"), 0]


def test_two_sources_are_compared():
    found = compare(SourceSide(Mail([HEADER], [HEADER])), SourceSide(Mail([HEADER])))
    assert (found.same.messages, found.missing.messages) == (1, 1)


def test_closing_closes_the_source():
    mail = Mail()
    SourceSide(mail).close()
    assert mail.closed


SECRET = "sesame"


def formers(_: str) -> Any:
    raise AssertionError("no list of another server is read")


def session(*steps: bytes, login: Sequence[bytes] = (b"USER alice", b"+OK\r\n", b"PASS sesame", b"+OK\r\n")) -> Session:
    """What a server without CAPA hears and says."""

    def serve(talk: Talk) -> None:
        talk.send(b"+OK hello\r\n")
        no_capa = (b"CAPA", b"-ERR\r\n")
        talk.expect(*no_capa, *login, *no_capa, *steps)
        assert talk.line() == b"", "it leaves without QUIT"

    return serve


LISTINGS = (b"UIDL", b"+OK\r\n1 a\r\n.\r\n", b"LIST", b"+OK\r\n1 10\r\n3 30\r\n.\r\n")


def test_a_server_lists_its_messages_by_their_numbers():
    with Scripted(session(*LISTINGS)) as server:
        side = read_side(server.where)(Login("alice", SECRET), formers)
        assert side.listing() == [Listed(b"a", 10), Listed(b"", 30)]
        side.close()


def test_headers_are_asked_for_by_message_numbers():
    tops = (b"TOP 3 0", b"-ERR\r\n", b"TOP 1 0", b"+OK\r\nSubject: 1\r\n\r\n.\r\n")
    with Scripted(session(*LISTINGS, *tops)) as server:
        side = read_side(f"pop3://{server.where}?tls=none")(Login("alice", SECRET), formers)
        side.listing()
        assert side.likenesses([1, 0]) == [None, likeness(b"Subject: 1\n")]
        side.close()


def test_a_refused_login_leaves_no_connection_and_no_secret():
    refused = (b"USER alice", b"+OK\r\n", b"PASS sesame", b"-ERR no sesame\r\n")

    def serve(talk: Talk) -> None:
        talk.send(b"+OK hello\r\n")
        talk.expect(b"CAPA", b"-ERR\r\n", *refused)
        assert talk.line() == b""

    with Scripted(serve) as server:
        with pytest.raises(SourceError, match="refuses the login of alice") as caught:
            read_side(server.where)(Login("alice", SECRET), formers)
        assert SECRET not in str(caught.value)


def test_a_master_user_logs_in_for_others():
    login = (b"USER alice*boss", b"+OK\r\n", b"PASS sesame", b"+OK\r\n")
    with Scripted(session(login=login)) as server:
        read_side(server.where)(Login("alice", SECRET, "boss"), formers).close()


def test_a_token_is_a_secret_as_well():
    login = (b"AUTH XOAUTH2", b"+ \r\n", base64.b64encode(b"user=alice\1auth=Bearer sesame\1\1"), b"+OK\r\n")
    with Scripted(session(login=login)) as server:
        read_side(f"{server.where}?auth=token")(Login("alice", SECRET), formers).close()


def test_a_server_is_not_asked_without_a_password():
    with pytest.raises(SourceError, match="needs a password"):
        read_side("127.0.0.1:1")(Login("alice"), formers)


def test_files_are_read_as_other_commands_read_them(tmp_path):
    (tmp_path / "alice").write_bytes(b"From x Sat Jan  3 01:05:34 1996\nX-UIDL: abcdefghijkl\n" + HEADER + b"\nbody\n")
    side = read_side(f"mbox:{tmp_path}/{{user}}?uidl=qpopper")(Login("alice"), formers)
    [message] = side.listing()
    assert message.uidl == b"abcdefghijkl"
    assert side.likenesses([0]) == [likeness(HEADER)]
    side.close()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "does not say where: write pop3://HOST"),
        ("host:0x", "is no server"),
        ("mbox:relative", "must be absolute"),
        ("host?nonsense=1", "has no option 'nonsense'"),
        ("host?tls=maybe", "tls=maybe"),
        ("imap://host", "is no server of pop3"),
    ],
)
def test_a_wrong_place_is_told_at_once(text, told):
    with pytest.raises(ValueError, match=told):
        read_side(text)
