"""What a delivery writes on top of a message, takes off it, and what the envelope of the stored message is then."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.delivery.trace import Beginning, date, trace_fields
from mailserver.envelope import EnvelopeHeaders, is_whole
from mailserver.incoming import Sender
from mailserver.protocol.lmtp_paths import forward_path
from tests.delivery.room import NOW, SENDER
from tests.protocol.oracle import thorough


def test_the_fields_of_a_message_for_one_recipient() -> None:
    sender = SENDER._replace(protocol=b"LMTPS", tls="TLSv1.3 TLS_AES_256_GCM_SHA384")
    assert trace_fields(sender, "mail.example.org", NOW, b"alice@example.org", b"sales@example.org") == (
        b"Return-Path: <eve@example.net>\r\n"
        b"X-Original-To: sales@example.org\r\n"
        b"Delivered-To: alice@example.org\r\n"
        b"Received: from mx.example.net ([192.0.2.1])\r\n"
        b"\t(using TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
        b"\tby mail.example.org with LMTPS id 4f2a\r\n"
        b"\tfor <alice@example.org>; Fri, 27 Nov 2026 03:00:00 +0000\r\n"
    )


def test_a_message_for_several_says_for_nobody_that_it_is_his() -> None:
    assert trace_fields(SENDER._replace(path=b""), "mail.example.org", NOW) == (
        b"Return-Path: <>\r\n"
        b"Received: from mx.example.net ([192.0.2.1])\r\n"
        b"\tby mail.example.org with LMTP id 4f2a;\r\n"
        b"\tFri, 27 Nov 2026 03:00:00 +0000\r\n"
    )


def test_an_original_address_that_is_the_same_is_not_told_twice() -> None:
    fields = trace_fields(SENDER, "h", NOW, b"alice@x", b"alice@x")
    assert b"X-Original-To" not in fields
    assert b"X-Original-To" not in trace_fields(SENDER, "h", NOW, b"alice@x")


@pytest.mark.parametrize(
    ("host", "peer", "shown"),
    [
        (b"mx.example.net", "", b"mx.example.net"),
        (b"[192.0.2.1]", "192.0.2.1", b"[192.0.2.1] ([192.0.2.1])"),
        (b"mx", "2001:db8:0::1", b"mx ([IPv6:2001:db8::1])"),
        (b"mx", "fe80::1%eth0", b"mx ([IPv6:fe80::1])"),
        (b"", "192.0.2.1", b"unknown ([192.0.2.1])"),
        (b"evil for <a@b>", "192.0.2.1", b"unknown ([192.0.2.1])"),
        (b"evil\r\nX-Evil: yes", "", b"unknown"),
        (b"(", "", b"unknown"),
        (b"a" * 256, "", b"unknown"),
        ("m\u00fcller.example".encode(), "", b"unknown"),
        (b"mx", "no address (", b"mx"),
    ],
)
def test_a_client_is_named_by_what_can_be_a_name(host: bytes, peer: str, shown: bytes) -> None:
    fields = trace_fields(SENDER._replace(host=host, peer=peer), "h", NOW)
    assert re.search(rb"Received: from (.*)\r\n\tby", fields, re.DOTALL)[1] == shown  # type: ignore[index]


def test_a_client_s_name_may_be_utf_8_where_that_was_agreed() -> None:
    host = "m\u00fcller.example".encode()
    assert host in trace_fields(SENDER._replace(host=host, protocol=b"UTF8LMTP"), "h", NOW)
    for rubbish in (b"m\xfcller", "m\u00fcller (x)".encode(), "m\u202eller".encode()):
        fields = trace_fields(SENDER._replace(host=rubbish, protocol=b"UTF8LMTP"), "h", NOW)
        assert b"from unknown" in fields


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "Thu, 1 Jan 1970 00:00:00 +0000"), (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 +0000")]
)
def test_a_date_is_that_of_rfc_5322(seconds: float, text: str) -> None:
    assert date(seconds).decode() == text
    assert parsedate_to_datetime(text).timestamp() == seconds


ATOM = st.text("abcXYZ0189!#$%&'*+-/=?^_`{|}~", min_size=1, max_size=12)
UTF8 = st.text("a\u00e4\u00df\u4f60\u0416\U0001f600", min_size=1, max_size=8)
DOT_STRINGS = st.lists(ATOM | UTF8 | st.just("."), min_size=1, max_size=5).map("".join)
"""Dots stand in any place: there are providers that give such names, and the protocol lets them pass."""
QTEXT = st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("\u00e4\u4f60")
QUOTED = st.text(QTEXT, min_size=1, max_size=20).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
LONG = st.integers(200, 470).map(lambda length: "l" * length)
DOMAINS = st.sampled_from(
    ["example.org", "x", "m\u00fcller.example", "[192.0.2.1]", "[IPv6:2001:db8::1]", "EXAMPLE.org"]
)
WIRE = st.builds("{}@{}".format, DOT_STRINGS | QUOTED | LONG, DOMAINS).map(str.encode)
"""Addresses that the wire allows (RFC 5321 section 4.1.2, RFC 6531 section 3.3), as a client writes them."""


def received(octets: bytes) -> bytes:
    """As the protocol hands on what stands between angle brackets."""
    path, rest = forward_path(b"<%b>" % octets)
    assert rest == b""
    return path


def same(told: bytes, path: bytes) -> bool:
    """Whether it is the path, in quotes where no line of *ENV could begin with it."""
    local, _, domain = path.rpartition(b"@")
    return told == (b'"%b"@%b' % (local, domain) if path.startswith(b".") else path)


@thorough
@given(
    st.just(b"") | WIRE.map(received), WIRE.map(received), st.just(b"") | WIRE.map(received), st.binary(max_size=300)
)
def test_the_envelope_of_a_stored_message_is_that_of_its_transaction(
    path: bytes, recipient: bytes, original: bytes, message: bytes
) -> None:
    """Whatever the message says: its own fields stand below."""
    sender = SENDER._replace(path=path, protocol=b"UTF8LMTP")
    beginning = Beginning()
    stored = trace_fields(sender, "h", NOW, recipient, original) + beginning.feed(message) + beginning.end()
    for head in stored, stored.replace(b"\r\n", b"\n"):
        found = EnvelopeHeaders().read(head)
        assert same(found.sender, path)
        assert len(found.recipients) == 1
        assert same(found.recipients[0], original or recipient)
        by_own = EnvelopeHeaders(recipient=("Delivered-To",)).read(head)
        assert same(by_own.recipients[0], recipient)
        by_received = EnvelopeHeaders(recipient=("Received",)).read(head)
        assert by_received.recipients in ((recipient,), ())  # Received can name none with quotes


FORGED = st.sampled_from(
    [
        b"Delivered-To: evil@example.net\r\n",
        b"X-Original-To: evil@example.net\r\n",
        b"Return-Path: <evil@example.net>\r\n",
        b"Return-Path: <evil@example.net>\r\n\tfor <evil@example.net>\r\n",
        b"return-PATH :evil@example.net\n for <evil@example.net>\n",
        b" for <evil@example.net>; x\r\n",
        b"\tfor <evil@example.net>\n",
        b"Received: by x for <evil@example.net>; now\r\n",
        b"Subject: x\r\n",
        b"\r\n",
        b"\n",
    ]
)


@thorough
@given(st.lists(FORGED).map(b"".join), st.booleans())
def test_no_field_of_a_stranger_passes_for_ours(message: bytes, told: bool) -> None:
    beginning = Beginning()
    top = trace_fields(SENDER, "h", NOW, b"alice@example.org" if told else b"")
    head = top + beginning.feed(message) + beginning.end() + b"\r\nbody\r\n"
    found = EnvelopeHeaders().read(head)
    assert (found.sender, found.recipients) == (b"eve@example.net", (b"alice@example.org",) if told else ())
    assert EnvelopeHeaders(recipient=("Received",)).read(head).recipients == found.recipients
    assert is_whole(head)


@thorough
@given(
    st.builds(
        Sender,
        path=st.binary(max_size=30),
        host=st.binary(max_size=30),
        peer=st.text(max_size=30),
        protocol=st.binary(max_size=12),
        tls=st.text(max_size=12),
        session=st.text(max_size=12),
        size=st.none(),
    ),
    st.binary(max_size=30),
    st.binary(max_size=30),
)
def test_nothing_that_a_client_says_begins_a_field_or_a_line(sender: Sender, recipient: bytes, original: bytes) -> None:
    lines = trace_fields(sender, "h", NOW, recipient, original).split(b"\r\n")
    assert lines.pop() == b""
    names = [line.partition(b":")[0] for line in lines if not line.startswith(b"\t")]
    expected = [b"Return-Path", b"X-Original-To", b"Delivered-To", b"Received"]
    assert names == [each for each in expected if each in names]
    assert not any(octet in line for line in lines for octet in (b"\r", b"\n", b"\0"))
    assert all(len(line) < 998 for line in lines)


@dataclass
class Taken:
    message: bytes
    stored: bytes


TAKEN = [
    Taken(b"Subject: x\r\n\r\nbody", b"Subject: x\r\n\r\nbody"),
    Taken(b"Return-Path: <a@b>\r\nSubject: x\r\n", b"Subject: x\r\n"),
    Taken(b"RETURN-path\t :\r\n <a@b>\r\n\t(c)\r\nSubject: x\r\n", b"Subject: x\r\n"),
    Taken(b"Return-Path: <a@b>\nReturn-Path: <>\n\nbody", b"\nbody"),
    Taken(b"Return-Path: <a@b>\r\n\r\nbody", b"\r\nbody"),
    Taken(b"Return-Path: <a@b>\r\n", b""),
    Taken(b"Return-Path: <a@b>", b""),
    Taken(b"Subject: x\r\nReturn-Path: <a@b>\r\n", b"Subject: x\r\nReturn-Path: <a@b>\r\n"),
    Taken(b"Return-Path", b"Return-Path"),
    Taken(b"Return-Path-Not: x\r\n", b"Return-Path-Not: x\r\n"),
    Taken(b"return", b"return"),
    Taken(b"", b""),
    Taken(b"R", b"R"),
    Taken(b" body", b"\r\n body"),
    Taken(b"\tfor <a@b>;\r\nSubject: x\r\n", b"\r\n\tfor <a@b>;\r\nSubject: x\r\n"),
    Taken(b".\r\n", b".\r\n"),
    Taken(b"Return-Path: " + b"x" * 5000, b"Return-Path: " + b"x" * 5000),
    Taken(
        b"Return-Path" + b" " * 5000 + b":x\r\nSubject: x\r\n", b"Return-Path" + b" " * 5000 + b":x\r\nSubject: x\r\n"
    ),
]


@pytest.mark.parametrize("taken", TAKEN, ids=lambda taken: repr(taken.message[:30]))
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_the_beginning_of_a_message_is_stored_without_return_paths(taken: Taken, size: int) -> None:
    beginning = Beginning()
    chunks = [taken.message[at : at + size] for at in range(0, len(taken.message), size)]
    stored = b"".join([beginning.feed(chunk) for chunk in chunks] + [beginning.end()])
    if len(taken.message) < 4096 or size < 4096:  # a long one in one chunk may be seen whole
        assert stored == taken.stored


def test_an_octet_at_a_time_costs_no_square_of_the_message() -> None:
    beginning = Beginning()
    held = 0
    for octet in b"Return-Path: " + b"x" * 20_000:
        beginning.feed(bytes([octet]))
        held = max(held, len(beginning._held))
    assert held <= 4097


def test_many_return_paths_in_one_chunk_cost_no_square_of_it() -> None:
    began = process_time()
    assert Beginning().feed(b"Return-Path:\r\n" * 150_000) == b""
    assert process_time() - began < 5  # with a copy of the rest for each it would be minutes
