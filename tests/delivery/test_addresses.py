"""An address and its two sides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.delivery.addresses import Address, parse_address, read_address
from tests.protocol.oracle import thorough

READ = [
    (b"alice@example.org", ("alice", "example.org")),
    (b"Alice@Example.ORG", ("Alice", "example.org")),
    (b"postmaster", ("postmaster", "")),
    (b'"alice"@example.org', ("alice", "example.org")),
    (b'"john doe"@example.org', ("john doe", "example.org")),
    (b'"a@b"@example.org', ("a@b", "example.org")),
    (rb'"a\"b\\c"@example.org', ('a"b\\c', "example.org")),
    (b'"john doe"', ("john doe", "")),
    (b"alice@[192.0.2.1]", ("alice", "[192.0.2.1]")),
    (b"alice@[IPv6:2001:DB8::1]", ("alice", "[ipv6:2001:db8::1]")),
    ("jo\u0308rg@e\u0301xample.org".encode(), ("jo\u0308rg", "\u00e9xample.org")),
    (b"a@b@example.org", ("a@b", "example.org")),
]


@pytest.mark.parametrize(("octets", "sides"), READ)
def test_an_address_has_two_sides(octets: bytes, sides: tuple[str, str]) -> None:
    assert read_address(octets) == sides


@pytest.mark.parametrize(
    "octets",
    [b"", b"@", b"@example.org", b"alice@", b"j\xf6rg@x", b"a\nb@x", b"a\0@x", b'"a@x', b'a"b@x', b"a b@x", b'""@x'],
)
def test_what_has_no_two_sides_is_no_address(octets: bytes) -> None:
    assert read_address(octets) is None


@pytest.mark.parametrize(
    ("octets", "canonical"),
    [
        (b'"alice"@x', b"alice@x"),
        (b'"alice.b"@x', b"alice.b@x"),
        (b'"a..b"@x', b"a..b@x"),
        (b"a..@x", b"a..@x"),
        (b'".a"@x', b'".a"@x'),
        (rb'"\a\ b"@x', b'"a b"@x'),
        (rb'"a\"b"@x', rb'"a\"b"@x'),
        (b'"a@b"@X', b'"a@b"@x'),
    ],
)
def test_quotes_stand_where_they_are_needed_alone(octets: bytes, canonical: bytes) -> None:
    address = read_address(octets)
    assert address is not None
    assert address.octets == canonical


@thorough
@given(
    st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"], exclude_characters="\x7f"), min_size=1),
    st.sampled_from(["", "example.org", "[192.0.2.1]"]),
)
def test_an_address_survives_its_way_to_octets_and_back(local: str, domain: str) -> None:
    address = Address(local, domain)
    assert read_address(address.octets) == address


@thorough
@given(st.text() | st.binary().map(lambda octets: octets.decode("utf-8", "replace")))
def test_any_text_is_read_or_is_no_address(text: str) -> None:
    address = parse_address(text)
    if address is not None:
        assert address.local
        assert parse_address(address.octets.decode("utf-8")) == address
