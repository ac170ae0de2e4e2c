"""Responses of IMAP servers as values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.migration.imap_response import number, pairs, seconds, values


def test_a_fetch_is_lists_octets_and_nil():
    line = rb'12 FETCH (FLAGS (\Seen $X) INTERNALDATE "a \"b\\" NAME NIL EMPTY () BODY[HEADER]<0> '
    fields = [b"FLAGS", [rb"\Seen", b"$X"], b"INTERNALDATE", b'a "b\\', b"NAME", None, b"EMPTY", []]
    fields += [b"BODY[HEADER]<0>", b"A: (b\r\n", b"UID", b"5"]
    assert values([line, b" UID 5)"], [b"A: (b\r\n"]) == [b"12", b"FETCH", fields]


@pytest.mark.parametrize("line", [b"(", b")", b"(a))", b'"a', b'(a "b\\")', b"(" * 100 + b")" * 100])
def test_what_is_no_response_is_an_error(line):
    with pytest.raises(ValueError, match=r"end|many"):
        values([line], [])


@given(st.lists(st.text('()" \\aNIL{5}', max_size=20), min_size=1, max_size=3))
def test_whatever_comes_is_values_or_an_error(text):
    try:
        found = values([each.encode() for each in text], [b"x"] * (len(text) - 1))
    except ValueError:
        return
    assert isinstance(found, list)


def test_a_long_line_of_marks_is_read_at_once():
    assert len(values([b"() " * 100_000], [])) == 100_000
    assert values([b" " * 1_000_000], []) == []


def test_pairs_are_by_names_in_capitals():
    assert pairs([b"Uid", b"5", None, b"x", b"flags", [b"a"], b"odd"]) == {b"UID": b"5", b"FLAGS": [b"a"]}
    assert pairs(b"x") == pairs(None) == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"12", 12), (b"9" * 18, int("9" * 18)), (b"9" * 19, None), (b"-1", None), (None, None), ([], None)],
)
def test_numbers_have_64_bits(value, expected):
    assert number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"01-Jan-2026 00:00:00 +0000", 1767225600.0),
        (b" 1-JAN-2026 01:30:00 +0130", 1767225600.0),
        (b"31-Dec-2025 19:00:00 -0500", 1767225600.0),
        (b"00-Jan-0000 00:00:00 +0000", None),
        (b"01-Foo-2026 00:00:00 +0000", None),
        (b"01-Jan-2026", None),
        (None, None),
        ([], None),
    ],
)
def test_dates_are_seconds_of_the_epoch(value, expected):
    assert seconds(value) == expected
