"""When a message arrived, by its header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.migration.arrival import arrival

JANUARY = 1767225600.0


@pytest.mark.parametrize(
    "header",
    [
        b"Received: by b; Thu, 1 Jan 2026 01:00:00 +0100\r\nReceived: by a; Thu, 1 Jan 2020 00:00:00 +0000\r\n",
        b"Subject: x\nreceived : by b\n\tfor <c;d>;\r\n\tThu,  1 Jan\r\n 2026 00:00:00 GMT (UTC)\r\nDate: x\n",
        b"Received: by nobody, never\r\nDate: Wed, 31 Dec 2025 19:00:00 -0500\r\n",
        b"Date: 1 Jan 2026 00:00:00 +0000",
    ],
)
def test_the_last_hop_says_it_or_else_the_date(header):
    assert arrival(header) == JANUARY


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"X-Date: 1 Jan 2026 00:00:00 +0000\r\n",
        b"Date: 1 Jan 1900 00:00:00 +0000",
        b"Date: 9 Jan 999999999999 0:0",
    ],
)
def test_a_header_without_a_date_says_nothing(header):
    assert arrival(header) is None


@given(st.binary(max_size=60), st.sampled_from([b"Received: a;", b"Date:"]))
def test_no_octets_are_an_error(octets, field):
    assert arrival(field + octets) is None or arrival(field + octets) > 0


@given(st.text("0123456789 :+-,JanThuUTC", max_size=40))
def test_nothing_like_a_date_is_an_error(text):
    found = arrival(b"Date: " + text.encode())
    assert found is None or found > 0
