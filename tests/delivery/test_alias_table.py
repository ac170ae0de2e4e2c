"""A file of aliases, as Postfix and sendmail read it."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.delivery.alias_table import AliasTable, read_aliases
from tests.protocol.oracle import thorough

EXAMPLE = """\
# See man 5 aliases for format
postmaster:    root
   # a comment, though it is indented
Root: root, Alice@Example.ORG,
\tbob

  , carol
"john doe": john
info@example.org: alice
@example.net: bob
list: "Bob, the builder" <bob@example.org>, carol (Carol), \\dave
team: bob (Bob, the builder), (of (all, the) house) Carol <carol@example.org>, "a(b,c" , dave (\\), x)
"""


def targets(table: AliasTable) -> dict[tuple[str, str], list[str]]:
    return {key: [each.address.text for each in found] for key, found in table.entries.items()}


def test_a_file_is_read_as_others_read_it() -> None:
    table = read_aliases(EXAMPLE.encode())
    assert targets(table) == {
        ("postmaster", ""): ["root"],
        ("root", ""): ["root", "Alice@example.org", "bob", "carol"],
        ("john doe", ""): ["john"],
        ("info", "example.org"): ["alice"],
        ("", "example.net"): ["bob"],
        ("list", ""): ["bob@example.org", "carol", "dave"],
        ("team", ""): ["bob", "carol@example.org", "a(b,c", "dave"],
    }
    assert table.notes == ()
    assert [each.final for each in table.entries["list", ""]] == [False, False, True]
    assert [each.line for each in table.entries["root", ""]] == [4, 4, 5, 7]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("|/usr/bin/vacation", "would run a program"),
        ('"|/usr/bin/vacation -a, -b"', "would run a program"),
        ("/var/mail/archive", "would write to a file"),
        ("/dev/null", "would write to a file"),
        ('"/var/mail/a b"', "would write to a file"),
        (":include:/etc/list", "would read a list"),
        (":Include: /etc/list", "would read a list"),
        (":fail: gone", "is nothing that this server knows"),
        ("# a comment", "begins a comment at the beginning"),
        ("alice bob", "is no address"),
        ("alice@", "is no address"),
        ('"alice', "is no address"),
        ("alice (x", "is no address"),
        ("(by hand) |program", "would run a program"),
    ],
)
def test_a_target_that_is_no_address_is_refused_with_its_line_and_the_others_count(target: str, why: str) -> None:
    table = read_aliases(f"# first\nall: bob, {target},\n  carol\n".encode())
    assert targets(table) == {("all", ""): ["bob", "carol"]}
    (note,) = table.notes
    assert note.startswith("2: ")
    assert why in note
    assert "other targets count" in note


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("no colon here\nbob: carol\n", "1: there is no name with a colon"),
        ("  lost: alice\nbob: carol\n", "1: the line continues nothing"),
        ("bob: carol\nBOB: dave\n", "2: an earlier entry has the same name"),
        ("a@b@: carol\nbob: carol\n", "1: 'a@b@' is neither a local name nor an address"),
        ("@: carol\nbob: carol\n", "1: '@' is neither a local name nor an address"),
    ],
)
def test_an_entry_that_cannot_be_read_is_skipped_with_its_line(text: str, note: str) -> None:
    table = read_aliases(text.encode())
    assert targets(table) == {("bob", ""): ["carol"]}
    assert [each.startswith(note) for each in table.notes] == [True]


def test_lines_below_a_broken_name_do_not_belong_to_the_entry_before_it() -> None:
    assert targets(read_aliases(b"bob: carol\nnonsense\n  dave\n")) == {("bob", ""): ["carol"]}


def test_an_alias_of_nothing_stands_for_nobody() -> None:
    table = read_aliases(b"bob:\ncarol: |program\n")
    assert targets(table) == {("bob", ""): [], ("carol", ""): []}
    assert len(table.notes) == 2


def test_octets_that_are_no_utf_8_are_noted_without_them() -> None:
    table = read_aliases(b"bob: j\xf6rg, carol\nj\xf6rg: dave\n")
    assert targets(table) == {("bob", ""): ["carol"]}
    assert len(table.notes) == 2
    assert all(note.isascii() for note in table.notes)


def test_dos_line_ends_change_nothing() -> None:
    assert targets(read_aliases(b"a: b,\r\n\tc\r\n\r\nd: e\r\n")) == {("a", ""): ["b", "c"], ("d", ""): ["e"]}


def test_names_are_found_in_any_case_and_spelling() -> None:
    assert list(read_aliases("JO\u0308RG@E\u0301X.org: a\n".encode()).entries) == [("j\u00f6rg", "\u00e9x.org")]


PIECES = st.sampled_from([*' \t\r\n:,"\\@<>()#|/ab\u00f6', ":include:", "root", "a@b"])


@thorough
@given(st.lists(PIECES).map(lambda pieces: "".join(pieces).encode()) | st.binary())
def test_no_text_is_too_odd(data: bytes) -> None:
    table = read_aliases(data)
    for key, found in table.entries.items():
        assert any(key)
        assert all(each.address.local and each.line > 0 for each in found)
    assert all(note.isprintable() and note.partition(":")[0].isdecimal() for note in table.notes)


@pytest.mark.parametrize(
    "odd", [b'"' * 50_000, b"\\" * 50_000, b"(" * 50_000, b"<" * 50_000, b"a," * 25_000, b'a: "' + b"\\" * 50_000]
)
def test_a_long_odd_line_takes_milliseconds(odd: bytes) -> None:
    began = process_time()
    read_aliases(b"name: " + odd + b"\n")
    assert process_time() - began < 2  # with a look back from each character it would be many
