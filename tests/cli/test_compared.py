"""What is said of a comparison."""

import json

from mailserver.cli.compared import Objects, Sentences
from mailserver.cli.line import Line
from mailserver.migration.compare import Amount, Comparison, Example

LINE = Line.read("100Mbit")
PEOPLE, PROGRAMS = Sentences(LINE), Objects(LINE)
FINE = Comparison(same=Amount(1, 5), new=Amount(1, 7))
BAD = Comparison(
    same=Amount(2, 20),
    again=Amount(1_500, 25_000_000),
    another=Amount(2, 4),
    missing=Amount(1, 1_234),
    resized=1,
    unproved=3,
    in_order=False,
    examples=(
        Example("again", 1, b"0000000a", 3, b"1700000000.M1P1.host"),
        Example("missing", 2, b"\x1b[2J\xff", None, b""),
        Example("again", 7, b"", 8, b"x"),
    ),
)


def test_all_is_well_in_one_line():
    assert list(PEOPLE.user("alice", Comparison(same=Amount(30, 300)))) == [
        "alice: nothing would be downloaded again (30 messages)"
    ]


def test_each_thing_that_was_found_is_said():
    assert list(PEOPLE.user("bob", BAD)) == [
        "bob: 1,500 of 1,504 messages would be downloaded again: 25,000,000 octets, 2 s at 100Mbit",
        "  2 messages have the unique-id of another one: clients would never download it",
        "  1 message at the old server alone, 1,234 octets",
        "  3 messages with the same unique-id, but a header that cannot be read: not proved to be the same",
        "  1 message with the same unique-id and header, but another size",
        "  the order differs",
        "  again: 1 0000000a -> 3 1700000000.M1P1.host",
        "  missing: 2 \\x1b[2J\\xff -> none",
        "  again: 7 (no unique-id) -> 8 x",
    ]


def test_what_is_new_is_said_and_is_no_harm():
    assert list(PEOPLE.user("carol", FINE)) == [
        "carol: nothing would be downloaded again (2 messages)",
        "  1 message at the new server alone, which clients download once",
    ]


def test_the_sum_is_of_those_who_could_be_compared():
    assert list(PEOPLE.sum(3, 1, FINE + FINE)) == [
        "2 users in sum: nothing would be downloaded again (4 messages)",
        "  2 messages at the new server alone, which clients download once",
        "  1 user could not be compared",
    ]


NUMBERS = {
    "safe": False,
    "same": 2,
    "again": 1500,
    "again_octets": 25_000_000,
    "again_seconds": 2.0,
    "another": 2,
    "missing": 1,
    "new": 0,
    "resized": 1,
    "unproved": 3,
    "in_order": False,
}


def test_programs_get_the_numbers_of_a_user_and_the_examples():
    [told] = PROGRAMS.user("jörg", BAD)
    assert "jörg" in told
    found = json.loads(told)
    examples = found.pop("examples")
    assert found == {"user": "jörg", **NUMBERS}
    assert examples[1] == {
        "kind": "missing",
        "old_number": 2,
        "old_uidl": "\\x1b[2J\\xff",
        "new_number": None,
        "new_uidl": "",
    }


def test_programs_get_the_numbers_of_all_users():
    [told] = PROGRAMS.sum(3, 1, BAD)
    assert json.loads(told) == {"users": 3, "failed": 1, **NUMBERS}
