"""As RFC 1939 section 7 asks: unique, and of the form that clients take."""

from __future__ import annotations

import re

import pytest

from mailserver.net.stamp import make_stamp, stamp_host


def test_a_stamp_has_the_form_that_every_client_takes() -> None:
    assert re.fullmatch(rb"<[0-9]+\.[0-9a-f]{32}@mail\.example\.org>", make_stamp(b"mail.example.org"))


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
