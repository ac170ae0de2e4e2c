"""Lines that begin messages in an mbox, in all forms that c-client and Dovecot know."""

import time

import pytest

from mailserver.migration.from_line import received

HERE = time.mktime((1992, 12, 2, 5, 53, 22, 0, 0, -1))
MINUTE = HERE - 22


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"From user Wed Dec  2 05:53 1992", MINUTE),
        (b"From user Wed Dec  2 05:53:22 1992", HERE),
        (b"From user Wed Dec 2 05:53:22 1992", HERE),
        (b"From user Wed Dec 02 05:53:22 1992", HERE),
        (b"From user Wed Dec  2 05:53 PST 1992", MINUTE),
        (b"From user Wed Dec  2 05:53:22 PST 1992", HERE),
        (b"From user Wed Dec  2 05:53 -0700 1992", 723300780.0),
        (b"From user Wed Dec  2 05:53:22 -0700 1992", 723300802.0),
        (b"From user Wed Dec  2 05:53 1992 PST", MINUTE),
        (b"From user Wed Dec  2 05:53:22 1992 PST", HERE),
        (b"From user Wed Dec  2 05:53 1992 -0700", 723300780.0),
        (b"From user Wed Dec  2 05:53:22 1992 +0130", 723270202.0),
        (b"From user Wed Dec  2 05:53:22 1992 GMT", 723275602.0),
        (b"From user Wed Dec  2 05:53:22 1992 remote from uucphost", HERE),
        (b"From a user with blanks Wed Dec  2 05:53:22 1992", HERE),
        (b'From "a b"@example.org Wed Dec  2 05:53:22 1992\r', HERE),
        (b"From - Wed Dec  2 05:53:22 1992", HERE),
        (b"From MAILER-DAEMON Wed Dec  2 05:53:22 1992", HERE),
        (b"From Wed Dec  2 05:53:22 1992", HERE),
        (b"From user Wed, 2 Dec 1992 05:53:22 +0000", 723275602.0),
        (b"From user Wed, 2 Dec 1992 05:53:22", HERE),
    ],
)
def test_every_form_of_a_date_is_read(line, expected):
    assert received(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"From the beginning it was a bad idea",
        b"From user",
        b"From ",
        b"From: user Wed Dec  2 05:53:22 1992",
        b">From user Wed Dec  2 05:53:22 1992",
        b"from user Wed Dec  2 05:53:22 1992",
        b"From user Wed Foo  2 05:53:22 1992",
        b"From user Wed Dec  2 0553 1992",
        b"From user Wed Dec  2 05:53:22 1992 and then some",
        b"From user on Wed Dec  2 05:53:22 1992, he wrote",
    ],
)
def test_a_line_of_text_is_none(line):
    assert received(line) is None


def test_an_impossible_time_is_a_time_all_the_same():
    assert isinstance(received(b"From user Wed Dec 99 99:99:99 9999"), float)
    assert isinstance(received(b"From user Wed Dec  0 00:00:00 0000 +0000"), float)


def test_a_hostile_line_takes_no_time():
    begun = time.thread_time()
    for _ in range(100):
        assert received(b"From " + b"a Wed Dec  2 05:53:22 " * 45) is None
    assert time.thread_time() - begun < 1
