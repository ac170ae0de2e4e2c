"""Where an envelope comes from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import TestCase

from mailserver.body import BytesBody
from mailserver.envelope import HEAD_OCTETS, Envelope, EnvelopeHeaders, divided, is_whole, local_part, read_envelope
from tests.protocol.oracle import thorough

READ = [
    (b"Return-Path: <env@example.org>\n", b"env@example.org", b""),
    (b"Return-path: env@example.org (bounce (to) me)\n", b"env@example.org", b""),
    (b"Return-Path: <>\nReturn-Path: <later@example.org>\n", b"", b""),
    (b"Return-Path: <a@b>\nReturn-Path: <c@d>\n", b"a@b", b""),
    (
        b"From env@example.org Mon Jan  1 00:00:00 2024\nDelivered-To: bob@x.example\n",
        b"env@example.org",
        b"bob@x.example",
    ),
    (b"From MAILER-DAEMON Mon Jan  1 00:00:00 2024\n", b"MAILER-DAEMON", b""),
    (b"From env@example.org x\nReturn-Path: <>\n", b"", b""),
    (b"Delivered-To: bob@x.example\nX-Original-To: joe@x.example\n", b"", b"joe@x.example"),
    (b"Envelope-To: a@x\nX-Envelope-To: b@x\n", b"", b"b@x"),
    (b"Envelope-to: a@x, b@x,\n\tc@x\n", b"", b"a@x,b@x,c@x"),
    (b"X-Original-To: \nDelivered-To: bob\n", b"", b"bob"),
    (b"delivered-TO:<bob@x>\r\n", b"", b"bob@x"),
    (b"Delivered-To: j\xc3\xb6rg@x\n", b"", b"j\xc3\xb6rg@x"),
    (
        b"Received: from a (HELO for <evil@x>) by b\r\n\tfor <fred@x.demon.co.uk> id 1; Mon, 1 Jan 2024\r\n",
        b"",
        b"fred@x.demon.co.uk",
    ),
    (b"Received: from a by b for fred@x id 1; now\n", b"", b"fred@x"),
    (b"Received: from for <evil@x> (a (b) for <c@d>) by b for <fred@x>; now\n", b"", b"fred@x"),
    (b"Received: from a by b id 1; for <evil@x>\n", b"", b"evil@x"),
    (b"Received: from a by b id 1; now\nDelivered-To: evil@x\nReturn-Path: evil@x\n", b"", b""),
    (b"Delivered-To: bob@x\nReceived: by b for <joe@x>; now\n", b"", b"bob@x"),
    (b"Delivered-To: .\nEnvelope-To: .bob@x\n", b"", b""),
    (b"Delivered-To: " + b"(" * 9 + b")" * 9 + b"bob@x\n", b"", b"bob@x"),
    (b"Delivered-To: " + b"(" * 30_000 + b")" * 30_000 + b"bob@x\n", b"", b""),  # in milliseconds, not in seconds
    (b"Delivered-To: a@b@c\n", b"", b""),
    (b'Delivered-To: "a b"@c\n', b"", b'"a b"@c'),
    (b'Return-Path: <"a(b)<\\"c>"@d>\n', b'"a(b)<\\"c>"@d', b""),
    (b'Delivered-To: "a@b"\n', b"", b'"a@b"'),
    (b'Envelope-To: "a b"@c, d@e\n', b"", b"d@e"),  # only what is alone is read with its quotes
    (b'Delivered-To: "a\0b"@c\n', b"", b""),
    (b'Delivered-To: "' + b"a" * 487 + b'"@c\n', b"", b""),
    (b"Return-Path: <a@[IPv6:2001:db8::1]>\n", b"a@[IPv6:2001:db8::1]", b""),
    (b"Return-Path: <a@[192.0.2.1>\n", b"", b""),
    (b"Delivered-To: @relay.example:bob@x\n", b"", b""),
    (b"Delivered-To: b\0b@x\n", b"", b""),
    (b"Delivered-To: " + b"b" * 490 + b"@x\n", b"", b""),
    (b"Delivered-To: " + b"b" * 241 + b"\nEnvelope-To: bob\n", b"", b"bob"),
    (b"\nDelivered-To: evil@x\n", b"", b""),
    (b"\r\nDelivered-To: evil@x\r\n", b"", b""),
    (b"no header\nDelivered-To: evil@x\n", b"", b""),
    (b"Subject: x\n\nDelivered-To: evil@x\n", b"", b""),
    (b"", b"", b""),
]


@pytest.mark.parametrize(("head", "sender", "recipients"), READ)
def test_an_envelope_is_read_from_the_headers_of_the_last_delivery(
    head: bytes, sender: bytes, recipients: bytes
) -> None:
    found = EnvelopeHeaders().read(head)
    assert (found.sender, b",".join(found.recipients)) == (sender, recipients)


def test_the_headers_are_chosen_by_the_site() -> None:
    headers = EnvelopeHeaders(sender=("X-Sender", "Return-Path"), recipient=("X-Rcpt",))
    head = b"Return-Path: <a@b>\nDelivered-To: c@d\nX-RCPT: <e@f>\nX-Sender: g@h\n"
    assert headers.read(head) == Envelope(b"g@h", (b"e@f",))
    assert headers.fingerprint != EnvelopeHeaders().fingerprint
    assert headers.fingerprint == EnvelopeHeaders(("x-sender", "RETURN-path"), ("x-rcpt",)).fingerprint


@thorough
@given(st.binary(max_size=200) | st.lists(st.sampled_from([*b"abc"]) | st.integers(0, 255)).map(bytes))
def test_whatever_stands_there_an_address_fits_a_line(rubbish: bytes) -> None:
    for name in (b"Return-Path: ", b"Delivered-To: ", b"Received: x for ", b"From ", b""):
        found = EnvelopeHeaders().read(name + rubbish)
        for address in (found.sender, *found.recipients):
            assert len(address) <= 490
            assert not set(address) & set(b"\r\n\0" if address.startswith(b'"') else b"\r\n\0 ,<>")
            assert not address.startswith(b".")
        assert all(each and (each.count(b"@") <= 1 or each.startswith(b'"')) for each in found.recipients)
        assert divided(b",".join(found.recipients)) == found.recipients


@pytest.mark.parametrize(
    ("address", "local"),
    [(b"john@x", "john"), (b"john", "john"), (b'"a@b, c"@x', "a@b, c"), (b'"a@b"', "a@b"), (rb'"a\"b\\c"@x', 'a"b\\c')],
)
def test_a_local_part_is_without_its_quotes(address: bytes, local: str) -> None:
    assert local_part(address) == local


def test_addresses_are_divided_where_no_quotes_are() -> None:
    assert divided(b'a@x,"b,c"@x,"d\\",e"@x') == (b"a@x", b'"b,c"@x', b'"d\\",e"@x')
    assert divided(b"a,b@x") == (b"a", b"b@x")
    assert divided(b"") == ()


@pytest.mark.parametrize(
    ("head", "whole"),
    [
        (b"Subject: x\nDel", False),
        (b"Subject: x\n\n", True),
        (b"Subject: x\r\n\r\n", True),
        (b"\n", True),
        (b"Received: by b\n\tfor <a@b>", False),
        (b"Received: by b\n\tfor <a@b>\n", False),  # another line of it may follow
        (b"X: y\nreceived: by b\n\tfor <a@b>\nS", True),
        (b"x" * HEAD_OCTETS, True),
    ],
)
def test_no_more_is_read_than_counts(head: bytes, whole: bool) -> None:
    assert is_whole(head) is whole


@pytest.mark.parametrize(
    ("envelope", "login", "completed"),
    [
        (Envelope(), b"john", (b"john", b"-", b"", b"john@h")),
        (Envelope(), b"john@example.org", (b"john@example.org", b"-", b"", b"john@example.org")),
        (Envelope(b"s@t", (b"bob",)), b"john@example.org", (b"john@example.org", b"-", b"s@t", b"bob@example.org")),
        (Envelope(b"s@t", (b"bob@x", b"c@d")), b"john", (b"john", b"-", b"s@t", b"bob@x")),
        (Envelope(b"s@t", (b"bob@x",), b"vision25", b"bob"), b"?", (b"vision25", b"bob", b"s@t", b"bob@x")),
        (Envelope(b"", (b'"a@b"',)), b"john", (b"john", b"-", b"", b'"a@b"@h')),
        (Envelope(), b"", (b"-", b"-", b"", b"-@h")),
        (Envelope(), b".", (b"-", b"-", b"", b"-@h")),
        (Envelope(), b"a\r\nb", (b"-", b"-", b"", b"-@h")),
    ],
)
def test_what_nothing_tells_is_named_by_the_login(
    envelope: Envelope, login: bytes, completed: tuple[bytes, ...]
) -> None:
    found = envelope.completed(login, b"h")
    assert (found.account, found.user, found.sender, found.recipients[0]) == completed


class Late(BytesBody):
    """A body whose reads answer later, and that tells whether it was closed."""

    closed = False

    def read(self, limit: int) -> Deferred[bytes]:  # type: ignore[override]
        return succeed(super().read(limit))

    def close(self) -> None:
        self.closed = True


class ReadTests(TestCase):
    async def test_a_body_is_read_to_the_end_of_its_headers_and_closed(self) -> None:
        head = b"X-Long: " + b"x" * 9000 + b"\nDelivered-To: bob@x\n\n"
        for opened in (body := Late(head + b"y" * 100_000)), succeed(again := Late(head)):
            assert await read_envelope(opened, EnvelopeHeaders()) == Envelope(b"", (b"bob@x",))
        assert body.closed
        assert again.closed
        assert len(await body.read(1 << 20)) > 90_000
