"""Whether two servers have the same message."""

from time import process_time

import pytest

from mailserver.migration.likeness import ENOUGH, likeness
from tests.corpus import SMALL, canonical

HEADER = b"Received: by mx\n\tfor <alice>\nSubject: one\nTo: alice@example.org\n"


@pytest.mark.parametrize("name", SMALL)
def test_a_message_is_like_its_wire_form(name):
    assert likeness(SMALL[name]) == likeness(canonical(SMALL[name]))


def test_messages_differ_by_any_field_and_by_their_order():
    others = [
        HEADER,
        HEADER.replace(b"one", b"two"),
        HEADER + b"X-More: 1\n",
        b"To: alice@example.org\nSubject: one\n",
        b"Subject: one\nTo: alice@example.org\n",
        b"",
    ]
    assert len({likeness(each + b"\nbody\n") for each in others}) == len(others)


def test_the_body_does_not_count_and_may_be_missing():
    assert likeness(HEADER) == likeness(HEADER + b"\n") == likeness(HEADER + b"\nbody\n\nmore\n")
    assert likeness(b"\nSubject: body\n") == likeness(b"") == likeness(b"\r\n\r\nother\r\n")


def test_what_a_server_of_mbox_files_writes_does_not_count():
    written = (
        b"From alice@example.org Sat Jan  3 01:05:34 1996\nX-IMAPbase: 1 2\nStatus: RO\nX-Status: A\nX-Keywords: a\n"
        b"\tb\nContent-Length: 12\n" + HEADER + b"X-UID: 7\nx-uidl: abc\n"
    )
    assert likeness(written + b"\nbody\n") == likeness(HEADER + b"\nbody\n")
    assert likeness(b">" + written) == likeness(HEADER)


def test_a_field_of_a_similar_name_counts():
    assert likeness(HEADER + b"X-Status-Of: it\n") != likeness(HEADER)
    assert likeness(HEADER + b"X-From: it\n") != likeness(HEADER)


def test_only_the_beginning_of_a_long_header_is_compared_whatever_its_line_ends():
    long = HEADER + b"".join(b"X-%d: 1\n" % n for n in range(100_000))
    assert likeness(long) == likeness(long.replace(b"\n", b"\r\n")[:ENOUGH]) == likeness(long + b"X-More: 1\n")


@pytest.mark.parametrize(
    "piece", [b"\r", b"\n", b"\r\n", b"X-UID: 1\n", b" \n", b"From ", b"X-UID:\n \n", b"Status \t"]
)
def test_a_header_made_to_be_slow_is_not(piece):
    began = process_time()
    likeness(HEADER + piece * (ENOUGH // len(piece)) + b"x")
    assert process_time() - began < 0.5
