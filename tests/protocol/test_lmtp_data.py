"""The text of a message: where it ends, what it is, and that nothing in it is ever run as a command."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailserver.protocol import lmtp_data
from mailserver.protocol.lmtp import Session
from mailserver.protocol.lmtp_commands import COMMANDS
from mailserver.protocol.lmtp_data import WRITE_OCTETS
from mailserver.protocol.lmtp_effects import Deliver, Recipient, Write
from mailserver.protocol.lmtp_policy import LmtpPolicy
from tests.protocol.lmtp_oracle import replies, stuff, unstuff
from tests.protocol.lmtp_world import Settings, World
from tests.protocol.oracle import thorough

ENVELOPE = b"LHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<bob>\r\n"
SMUGGLED = b"MAIL FROM:<boss@example.org>\r\nRCPT TO:<alice>\r\nDATA\r\nSubject: pay\r\n\r\nnow"

NASTY = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b".", b"\0", b"x", b"\r\n", b"\r\n.", b".\r\n", b"\n.\n", b"\r.\r", b"\r\n.\r\n", SMUGGLED]
    ),
    max_size=12,
).map(b"".join)
"""The worst that can stand in a text, in all orders."""


def cut(data, places):
    """The data in pieces, cut at these places."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


def told(pieces, settings=None):
    """What the world got, and what the client was told, when it sends these pieces."""
    world = World(settings)
    output = world.run() + b"".join([world.send(piece) for piece in pieces])
    mails = [(mail.sender, tuple(mail.recipients), mail.text) for mail in world.delivered]
    return mails, output, world.closed, world.session.state, world.session.unread


CUTS = st.lists(st.integers(min_value=0), max_size=12)


@thorough
@given(text=NASTY, cuts=CUTS)
@example(text=b".\r\n", cuts=[])
@example(text=b".\r\r\n.\r\n", cuts=[80, 81, 82])
def test_a_text_is_what_the_oracle_reads_however_it_is_cut(text, cuts):
    stream = text + b"\r\n.\r\n"
    message, rest = unstuff(stream)
    pieces = [ENVELOPE + b"DATA\r\n", *cut(stream[: len(stream) - len(rest)], cuts)]
    mails, output, *_ = told(pieces)
    assert mails == [(b"a@example.org", (b"bob",), message)]
    assert list(replies(output))[-2:] == [b"354", b"250 2.0.0"]


@thorough
@given(texts=st.lists(NASTY, min_size=1, max_size=3), chunks=st.lists(NASTY, max_size=3), cuts=CUTS)
def test_a_conversation_is_the_same_however_it_is_cut(texts, chunks, cuts):
    """What stands behind the end of a text is read as commands: these, too, are the same, and the chunks among them."""
    stream = b"".join(
        [
            *(ENVELOPE + b"DATA\r\n" + text + b"\r\n.\r\n" for text in texts),
            ENVELOPE,
            *(b"BDAT %d\r\n%b" % (len(chunk), chunk) for chunk in chunks),
            b"BDAT 3 LAST\r\n.\r\nRCPT TO:<bob>\r\nQUIT\r\n",
        ]
    )
    assert told(cut(stream, cuts)) == told([stream])


@thorough
@given(message=NASTY, cuts=CUTS, window=st.integers(min_value=6, max_value=20))
def test_what_was_stuffed_arrives_as_it_was_in_writes_of_bounded_size(message, cuts, window):
    message += b"\r\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lmtp_data, "WRITE_OCTETS", window)
        world = World()
        for piece in cut(ENVELOPE + b"DATA\r\n" + stuff(message) + b"QUIT\r\n", cuts):
            world.send(piece)
    assert [mail.text for mail in world.delivered] == [message]
    assert all(len(effect.data) <= window for effect in world.effects if isinstance(effect, Write))
    assert world.closed


@pytest.mark.parametrize("first", [[b"one", b"\r\n.\r\n"], [b"one\r", b"\n.\r\n"], [b"one\r\n.\r\n"]])
def test_each_text_begins_behind_a_line_end_whatever_the_last_one_was_cut_into(first):
    mails, *_ = told(
        [ENVELOPE + b"DATA\r\n", *first, ENVELOPE + b"DATA\r\n", b"..\r\n.\r\n", ENVELOPE + b"DATA\r\n.\r\n"]
    )
    assert [text for _, _, text in mails] == [b"one\r\n", b".\r\n", b""]


@thorough
@given(message=st.binary(max_size=60), sizes=st.lists(st.integers(min_value=0, max_value=30), max_size=6), cuts=CUTS)
def test_chunks_arrive_as_they_are(message, sizes, cuts):
    parts, rest = [], message
    for size in sizes:
        part, rest = rest[:size], rest[size:]
        parts.append(b"BDAT %d\r\n%b" % (len(part), part))
    parts.append(b"BDAT %d LAST\r\n%b" % (len(rest), rest))
    mails, output, closed, *_ = told(cut(ENVELOPE + b"".join(parts) + b"QUIT\r\n", cuts))
    assert mails == [(b"a@example.org", (b"bob",), message)]
    assert list(replies(output))[4:] == [b"250 2.0.0"] * (len(sizes) + 1) + [b"221 2.0.0"]
    assert closed


SMUGGLES = {
    "LF . LF": b"\n.\n",
    "LF . CR": b"\n.\r",
    "CR . LF": b"\r.\n",
    "CR . CR": b"\r.\r",
    "LF . CRLF": b"\n.\r\n",
    "CR . CRLF": b"\r.\r\n",
    "CRLF . LF": b"\r\n.\n",
    "CRLF . CR": b"\r\n.\r",
    "CRLF NUL . CRLF": b"\r\n\0.\r\n",
    "CRLF . NUL CRLF": b"\r\n.\0\r\n",
    "CRLF . CR CRLF": b"\r\n.\r\r\n",
    "CR CRLF . CR CRLF": b"\r\r\n.\r\r\n",
    "LF CR . LF CR": b"\n\r.\n\r",
    "CRLF . SP CRLF": b"\r\n. \r\n",
    "CRLF SP . CRLF": b"\r\n .\r\n",
    "CRLF .. CRLF": b"\r\n..\r\n",
    "CR NUL LF . CR NUL LF": b"\r\0\n.\r\0\n",
    "CRLF . CR NUL LF": b"\r\n.\r\0\n",
    "LF LF . LF": b"\n\n.\n",
    "VT . VT": b"\x0b.\x0b",
    "NEL . NEL": b"\x85.\x85",
    "LS . LS": b"\xe2\x80\xa8.\xe2\x80\xa8",
}
"""Ends of data that some server took for one: those of the paper on SMTP smuggling (SEC Consult, 2023), of the tools that came
after it (smtpsmug, SMTP-Smuggling-Tools), and what else Python or C calls a line's end.
"""


@pytest.mark.parametrize("smuggle", SMUGGLES)
def test_no_other_end_of_data_smuggles_a_message_in(smuggle):
    text = b"Subject: hello\r\n\r\ntext" + SMUGGLES[smuggle] + SMUGGLED + b"\r\n.\r\n"
    message, rest = unstuff(text)
    assert rest == b""
    assert b"boss" in message
    stream = ENVELOPE + b"DATA\r\n" + text + b"NOOP\r\n"
    ways = [[stream], [bytes([octet]) for octet in stream], *([stream[:at], stream[at:]] for at in range(len(stream)))]
    for pieces in ways:
        mails, output, *_ = told(pieces)
        assert mails == [(b"a@example.org", (b"bob",), message)]
        assert list(replies(output))[-3:] == [b"354", b"250 2.0.0", b"250 2.0.0"]


@pytest.mark.parametrize("smuggle", SMUGGLES)
@pytest.mark.parametrize("max_octets", [1, 30, 60])
def test_nor_does_it_from_a_message_that_is_too_big(smuggle, max_octets):
    text = b"Subject: hello\r\n\r\ntext" + SMUGGLES[smuggle] + SMUGGLED + b"\r\n.\r\n"
    mails, output, *_ = told([ENVELOPE + b"DATA\r\n" + text], Settings(LmtpPolicy(max_octets=max_octets)))
    assert mails == []
    assert list(replies(output))[-2:] == [b"354", b"552 5.3.4"]


@pytest.mark.parametrize(
    "before", [b"", b"LHLO x\r\n", b"LHLO x\r\nMAIL FROM:<>\r\n", ENVELOPE], ids=["", "LHLO", "MAIL", "RCPT"]
)
@pytest.mark.parametrize("words", [b"", b" LAST", b" FIRST"])
def test_no_chunk_is_run_as_commands_whatever_refuses_it(before, words):
    chunk = b"RSET\r\n" + SMUGGLED + b"\r\n.\r\nQUIT\r\n"
    mails, _, closed, *_ = told([before + b"BDAT %d%b\r\n%b" % (len(chunk), words, chunk)])
    assert [mail for mail in mails if mail[2] != chunk] == []
    assert not closed


def test_a_large_message_passes_in_writes_of_bounded_size_and_is_not_kept():
    session = Session(LmtpPolicy(max_octets=1 << 30), COMMANDS)
    session.feed(ENVELOPE + b"DATA\r\n")
    assert session.next() == Recipient(b"bob")
    session.accepted()
    assert session.next() is None
    line = b"x" * 76 + b"\r\n"
    piece = line * 1000
    for _ in range(100):
        session.feed(piece)
        while (effect := session.next()) is not None:
            assert isinstance(effect, Write)
            assert 0 < len(effect.data) <= WRITE_OCTETS
            session.written()
        assert session.unread == 0
        assert session._buffer._data == b""
    session.feed(b".\r\n")
    assert session.next() == Deliver()
    assert session.mail.octets == 100 * len(piece)


def test_what_arrives_in_one_piece_is_written_without_a_copy():
    session = Session(LmtpPolicy(), COMMANDS)
    session.feed(ENVELOPE + b"DATA\r\n")
    session.next()
    session.accepted()
    session.next()
    piece = b"x" * 76 + b"\r\n"
    session.feed(piece)
    effect = session.next()
    assert isinstance(effect, Write)
    assert effect.data is piece
