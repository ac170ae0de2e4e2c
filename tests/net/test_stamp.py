"""As RFC 1939 section 7 asks: unique, and of the form that clients take."""

from __future__ import annotations

import os
import re
from itertools import islice

import pytest

from mailserver.net.stamp import MAX_GREETING, greeting_octets, make_stamp, stamp_host, unpredictable
from mailserver.protocol.policy import Policy
from mailserver.protocol.wire import ok


def test_a_stamp_has_the_form_that_every_client_takes() -> None:
    assert re.fullmatch(rb"<[0-9]{1,39}\.[0-9]{19}@mail\.example\.org>", make_stamp(b"mail.example.org", 2**128 - 1))


def test_nobody_can_foretell_a_stamp() -> None:
    random = list(islice(unpredictable(), 1000))
    assert len(set(random)) == 1000
    assert max(random).bit_length() > 120
    ones = sum(value.bit_count() for value in random)
    assert 62_000 < ones < 66_000  # of 128,000 bits; so far from the half it comes once in 10^28 times


@pytest.mark.parametrize(
    ("host", "greeting"), [("h", ""), ("h" * 300, ""), ("mail.example.org", "hello"), ("ö.example", "")]
)
def test_the_longest_greeting_is_known(host: str, greeting: str) -> None:
    longest = greeting_octets(host, greeting)
    greeted = ok(Policy(greeting=greeting.encode()).greet(make_stamp(stamp_host(host), 2**128 - 1)))
    assert len(greeted) == longest
    assert longest <= MAX_GREETING


def test_the_system_is_asked_for_many_random_numbers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "urandom", lambda count: asked.append(count) or bytes(range(256)) * (count // 256))
    random = list(islice(unpredictable(), 65))
    assert asked == [1024] * 2
    assert random[0] == int.from_bytes(range(16)) == random[16], "all of the octets are used, once"
    assert random[1] == int.from_bytes(range(16, 32))


def test_no_two_stamps_are_the_same() -> None:
    assert len({make_stamp(b"h", 0) for _ in range(1000)}) == 1000, "even if the random generator fails"


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
