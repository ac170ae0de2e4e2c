"""As RFC 1939 section 7 asks: unique, and of the form that clients take."""

from __future__ import annotations

import re

import pytest

from mailserver.net.stamp import MAX_GREETING, greeting_octets, make_stamp, stamp_host
from mailserver.protocol.policy import Policy
from mailserver.protocol.wire import ok


def test_a_stamp_has_the_form_that_every_client_takes() -> None:
    assert re.fullmatch(rb"<[0-9]{1,39}\.[0-9]{19}@mail\.example\.org>", make_stamp(b"mail.example.org"))


def test_nobody_can_foretell_a_stamp() -> None:
    random = [int(make_stamp(b"h")[1:].partition(b".")[0]) for _ in range(1000)]
    assert max(random).bit_length() > 120
    ones = sum(value.bit_count() for value in random)
    assert 62_000 < ones < 66_000  # of 128,000 bits; so far from the half it comes once in 10^28 times


@pytest.mark.parametrize(
    ("host", "greeting"), [("h", ""), ("h" * 300, ""), ("mail.example.org", "hello"), ("ö.example", "")]
)
def test_the_longest_greeting_is_known(host: str, greeting: str) -> None:
    longest = greeting_octets(host, greeting)
    greeted = ok(Policy(greeting=greeting.encode()).greet(make_stamp(stamp_host(host))))
    assert longest - 38 <= len(greeted) <= longest  # one digit of the random 39 is always there
    assert longest <= MAX_GREETING


def test_no_two_stamps_are_the_same() -> None:
    assert len({make_stamp(b"h") for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("hostname", "host"),
    [
        ("mail.example.org", b"mail.example.org"),
        ("bücher.example", b"xn--bcher-kva.example"),
        ("my_host=$1>", b"my-host--1-"),
        ("", b"localhost"),
        ("x..y", b"x..y"),
        ("ö..y", b"-..y"),
        ("x" * 300, b"x" * 255),
    ],
)
def test_a_host_name_is_made_fit_for_a_stamp(hostname: str, host: bytes) -> None:
    assert stamp_host(hostname) == host
