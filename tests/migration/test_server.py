"""Addresses of other servers, and how far their certificates are believed."""

import pytest

from mailserver.migration.server import Address, Trust


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("old.example", Address("pop3", "old.example", 110)),
        ("old.example:995", Address("pop3s", "old.example", 995)),
        ("old.example:1110", Address("pop3", "old.example", 1110)),
        ("pop3://old.example:995", Address("pop3", "old.example", 995)),
        ("pop3s://old.example", Address("pop3s", "old.example", 995)),
        ("pop3s://old.example:1995/", Address("pop3s", "old.example", 1995)),
        ("[::1]:995", Address("pop3s", "::1", 995)),
    ],
)
def test_an_address_is_a_host_with_perhaps_a_port_and_a_protocol(text, expected):
    assert Address.parse(text) == expected


def test_addresses_of_imap_have_its_ports():
    assert Address.parse("old.example", "imap") == Address("imap", "old.example", 143)
    assert Address.parse("old.example:993", "imap") == Address("imaps", "old.example", 993)
    assert Address.parse("old.example", "imaps") == Address("imaps", "old.example", 993)


@pytest.mark.parametrize(
    "text", ["", ":110", "pop3s://", "http://old.example", "imap://old.example", "a:b", "a:70000", "::1:110", "a b:c"]
)
def test_what_is_no_address_is_told(text):
    with pytest.raises(ValueError, match=r"server|port"):
        Address.parse(text)


def test_an_address_is_written_as_it_is_read():
    assert str(Address.parse("pop3s://[::1]")) == "[::1]:995"
    assert str(Address.parse("old.example")) == "old.example:110"


def test_only_addresses_of_this_machine_are_here():
    assert [Address.parse(each).here for each in ("localhost", "127.0.0.2", "[::1]")] == [True] * 3
    assert [Address.parse(each).here for each in ("localhost.example", "10.0.0.1", "[2001:db8::1]")] == [False] * 3


def test_trust_is_said_by_two_options():
    assert Trust.parse({}) == Trust("verify", "")
    assert Trust.parse({"tls": "unverified", "ca": "/x", "imap": "y"}) == Trust("unverified", "/x")
    with pytest.raises(ValueError, match="tls=yes"):
        Trust.parse({"tls": "yes"})
