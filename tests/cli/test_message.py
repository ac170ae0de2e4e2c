"""A message on standard input, as LMTP sends it."""

from itertools import chain, repeat

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailserver.cli.message import CHUNK, Message, Unreadable, path, xtext
from mailserver.protocol.wire import Stuffer
from tests.protocol.oracle import thorough
from tests.protocol.test_wire import TELLING


def reading(chunks):
    """What `os.read` does with a pipe that is written so."""
    pieces = chain(chunks, repeat(b""))
    return lambda _limit: next(pieces)


def sent(*chunks):
    return b"".join(Message(reading(chunks)).stuffed())


PADDING = b"x" * CHUNK


@thorough
@given(st.lists(TELLING.filter(len)), st.booleans())
@example([b"a\r", b"\n.b"], True)
@example([b"\n", b".\n"], True)
@example([b".", b"\r", b"\n"], False)
def test_it_is_stuffed_as_a_server_stuffs_it_for_every_chunking(chunks, long):
    chunks = [PADDING] * long + chunks  # after so much it is read and sent piece by piece
    stuffer = Stuffer()
    expected = stuffer.feed(b"".join(chunks)) + stuffer.end()
    assert sent(*chunks) == expected


def test_no_line_of_a_message_can_end_the_data():
    text = sent(b"Subject: x\n\n.\nMAIL FROM:<x@y>\n", b".\r\n", b"\r\n.\r\n", b"end\r.\r")
    assert text.endswith(b"\r\n.\r\n")
    assert b"\r\n.\r\n" not in text[:-2].removesuffix(b"\r\n.")


@pytest.mark.parametrize(
    ("line", "sender"),
    [
        (b"From alice@example.org Mon Jan  1 00:00:00 2024\n", b"alice@example.org"),
        (b"From  root  Mon Jan  1 00:00:00 2024\r\n", b"root"),
        (b'From "a b"@example.org Mon Jan  1 00:00:00 2024\n', b'"a b"@example.org'),
        (b"From MAILER-DAEMON Mon Jan  1 00:00:00 2024\n", b"MAILER-DAEMON"),
        (b"From \n", b""),
    ],
)
def test_an_mbox_s_first_line_is_the_sender_and_no_part_of_the_message(line, sender):
    for chunks in (
        [line + b"Subject: x\n\nhi\n"],
        [line, b"Subject: x\n\nhi\n"],
        [*map(bytes, zip(line)), b"Subject: x\n\nhi\n"],
    ):
        message = Message(reading(chunks))
        assert message.sender == sender
        assert b"".join(message.stuffed()) == b"Subject: x\r\n\r\nhi\r\n.\r\n"


@pytest.mark.parametrize(
    "text", [b"From: alice@example.org\n", b">From alice\n", b"Subject: x\n\nFrom alice\n", b"From alice"]
)
def test_what_is_no_mbox_s_first_line_stays(text):
    message = Message(reading([text]))
    assert message.sender is None
    assert b"".join(message.stuffed()) == text.replace(b"\n", b"\r\n").removesuffix(b"\r\n") + b"\r\n.\r\n"


def test_a_first_line_that_has_no_end_is_no_mbox_s():
    message = Message(reading([b"From " + PADDING, b"y\n"]))
    assert message.sender is None
    assert b"".join(message.stuffed()) == b"From " + PADDING + b"y\r\n.\r\n"


@pytest.mark.parametrize("chunks", [[], [b"From alice Mon Jan  1 00:00:00 2024\n"]])
def test_nothing_is_an_empty_message(chunks):
    assert Message(reading(chunks)).empty


@pytest.mark.parametrize("before", [[], [b"Subject: x\n"], [PADDING, b"more"]])
def test_standard_input_that_fails_is_never_an_end(before):
    pieces = iter(before)

    def read(_limit):
        for piece in pieces:
            return piece
        raise OSError(5, "Input/output error")

    text = []
    with pytest.raises(Unreadable, match="Input/output error"):
        text.extend(Message(read).stuffed())
    assert not b"".join(text).endswith(b".\r\n")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("alice", b"<alice>"),
        ("alice@example.org", b"<alice@example.org>"),
        ("<alice@example.org>", b"<alice@example.org>"),
        ("", b"<>"),
        ("<>", b"<>"),
        ("john smith", b'<"john smith">'),
        ('say "hi"@example.org', b'<"say \\"hi\\""@example.org>'),
        ('"a@b"@example.org', b'<"a@b"@example.org>'),
        ("a@b@example.org", b'<"a@b"@example.org>'),
        ("john@", b'<"john@">'),
        ("a> BODY=7BIT", b'<"a> BODY=7BIT">'),
        (".dots..", b'<".dots..">'),
        ("günther@example.org", "<günther@example.org>".encode()),
        ("j\udcf6rg", b"<j\xf6rg>"),
        ("alice@[192.0.2.1]", b"<alice@[192.0.2.1]>"),
    ],
)
def test_an_address_becomes_a_path(address, expected):
    assert path(address) == expected


def test_a_sender_of_this_machine_has_its_name():
    assert path("root", "host.example.org") == b"<root@host.example.org>"
    assert path("", "host.example.org") == b"<>"


@pytest.mark.parametrize("address", ["a\r\nDATA", "a\nb@example.org", "a\0@example.org", "\x7f"])
def test_no_address_begins_another_command(address):
    with pytest.raises(ValueError, match="control characters"):
        path(address)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("a@x> SIZE=1", b'<"a@x> SIZE=1">'),
        ('"a"@x> ORCPT=rfc822;"b"@y', rb'<"\"a\"@x> ORCPT=rfc822;\"b\""@y>'),
        ('"@y', rb'<"\""@y>'),
        ('"a\\"@y', rb'<"\"a\\\""@y>'),
        ('"a\\"b"@y', rb'<"a\"b"@y>'),
        ("a@<y>", b'<"a@<y>">'),
    ],
)
def test_no_address_adds_a_parameter(address, expected):
    assert path(address) == expected


def test_an_original_address_is_written_in_xtext():
    assert xtext("a+b=c d@example.org\r\n") == b"a+2Bb+3Dc+20d@example.org+0D+0A"
    assert xtext("ä") == b"+C3+A4"
