from __future__ import annotations

from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.names import EXAMPLES, Example, Names, Owner, user_name
from tests.protocol.oracle import thorough


@pytest.mark.parametrize(
    "name", ["alice", "Alice", "a.b", "alice@example.org", "jörg", "user+x", "a b", "用户", "{home}", "x" * 255]
)
def test_a_name_is_its_text(name: str) -> None:
    assert user_name(name) == user_name(name.encode("utf-8")) == name


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b".",
        b"..",
        b"../alice",
        b"a/b",
        b"/etc/passwd",
        b"a..b",
        b".alice",
        b"@example.org",
        b"alice@",
        b"alice@.",
        b"..@example.org",
        b"alice@..",
        b"a@@b",
        b"alice\0",
        b"alice\n",
        b"alice\r\n+OK",
        b"\x1b[2Jalice",
        b"alice\x7f",
        "ali\u202ece".encode(),
        "ali\u2028ce".encode(),
        "ali\x85ce".encode(),
        b"\xff\xfe",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"x" * 256,
        "ö".encode() * 128,
        "\udcff",
        (),
        None,
    ],
)
def test_what_could_climb_or_deceive_is_nobodys_name(name: object) -> None:
    assert user_name(name) is None


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_no_name_leaves_its_directory(name: bytes | str) -> None:
    text = user_name(name)
    if text is not None:
        assert 0 < len(text.encode("utf-8")) <= 255
        assert not {"/", "\0", "\n"} & set(text)
        assert not {"", ".", ".."} & set(text.split("@"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.typed!r} {dict(example.settings)}")
def test_a_name_is_read_as_its_example_says(example: Example) -> None:
    names = Names(**example.settings)
    assert names.read(example.typed) == example.read
    if isinstance(example.typed, str):
        assert names.read(example.typed.encode("utf-8")) == example.read


rules = st.builds(
    Names,
    default_domain=st.sampled_from(["", "example.org"]),
    local_domains=st.sampled_from([(), ("example.org",), ("example.org", "b\u00fccher.example")]),
    case=st.sampled_from(["keep", "lower"]),
    at_signs=st.sampled_from(["", "%", "%!"]),
    tag_separators=st.sampled_from(["", "+", "_", "+_"]),
    accounts=st.sampled_from([{}, {"vision25": "vision25.example.org"}, {"a": "", "b": "b.example"}]),
    account_separators=st.sampled_from(["", "+", "#+"]),
)
pieces = st.lists(
    st.sampled_from(
        ["john", "vision25", "a", "B", "@", "+", "%", ".", "example.org", "b.example", "\u03a3", "\u0130", "_"]
    )
    | st.text(max_size=3),
    max_size=7,
).map("".join)


@thorough
@given(rules, pieces | st.text(max_size=300) | st.binary(max_size=300))
def test_to_read_a_name_again_changes_nothing(names: Names, typed: str | bytes) -> None:
    name = names.read(typed)
    if name is not None:
        assert names.read(name) == name


@thorough
@given(rules, pieces | st.text(max_size=300) | st.binary(max_size=300))
def test_what_is_read_cannot_climb(names: Names, typed: str | bytes) -> None:
    name = names.read(typed)
    if name is None:
        return
    owner = names.owner(name)
    for text in (name, owner.maildrop):
        assert user_name(text) == text
        assert "/" not in text
        assert not any(part in {"", ".", ".."} or part.startswith(".") for part in text.split("@"))


@thorough
@given(pieces | st.text(max_size=300) | st.binary(max_size=300))
def test_without_rules_a_name_is_what_it_was_but_for_its_spelling(typed: str | bytes) -> None:
    assert (Names().read(typed) is None) == (user_name(typed) is None)


@thorough
@given(pieces)
def test_a_user_of_an_account_is_found_by_what_the_account_reads(typed: str) -> None:
    names = Names(accounts={"vision25": ""}, tag_separators="+")
    name = names.read(f"{typed}@vision25")
    if name is not None:
        assert names.owner(name) == Owner("vision25", names.user(typed))


def test_an_owner_is_somebody_of_his_own_or_a_user_of_an_account() -> None:
    names = Names(accounts={"vision25": "vision25.example.org"})
    assert names.owner("john") == Owner("john")
    assert names.owner("john@example.org") == Owner("john@example.org")
    assert names.owner("vision25") == Owner("vision25")
    assert names.owner("john@vision25") == Owner("vision25", "john")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"default_domain": "Example.org"}, '"Example.org" is no domain'),
        ({"default_domain": "a@b"}, "is no domain"),
        ({"local_domains": ("../x",)}, "is no domain"),
        ({"accounts": {"vision25": "a/b"}}, "is no domain"),
        ({"accounts": {"vision.25": ""}}, "must have a name of a-z"),
        ({"accounts": {"Vision25": ""}}, "must have a name of a-z"),
        ({"accounts": {"a" * 64: ""}}, "more than 63 characters"),
        ({"accounts": {"a": "x.example", "b": "x.example"}}, "two accounts"),
        ({"at_signs": "@"}, "cannot be a separator"),
        ({"tag_separators": "."}, "cannot be a separator"),
        ({"account_separators": "/"}, "cannot be a separator"),
        ({"account_separators": "x"}, "cannot be a separator"),
        ({"account_separators": "\u00a7"}, "cannot be a separator"),
    ],
)
def test_rules_that_cannot_be_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Names(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", ["keep", "lower"])
def test_every_single_letter_is_read_the_same_again(case: str) -> None:
    names = Names(case=case, default_domain="example.org")  # type: ignore[arg-type]
    changing = [
        each for each in map(chr, range(0x80, 0x110000)) if each.lower() != each or normalize("NFD", each) != each
    ]
    assert len(changing) > 10_000
    for letter in [*changing, *map(chr, range(0x300, 0x370))]:
        name = names.read(f"x{letter}@Y{letter}")
        assert name is None or names.read(name) == name, hex(ord(letter))


@pytest.mark.parametrize(
    ("settings", "typed", "read"),
    [
        ({"default_domain": "a.org", "accounts": {"v": "a.org"}}, "john", "john@v"),
        ({"default_domain": "a.org", "accounts": {"v": "a.org"}}, "john@a.org", "john@v"),
        ({"default_domain": "a.org", "local_domains": ("a.org", "b.org")}, "john@b.org", "john"),
        ({"local_domains": ("a.org", "b.org")}, "john@a.org@b.org", "john@a.org@b.org"),
    ],
)
def test_settings_that_lead_on_from_one_name_to_another_end_at_the_same(
    settings: dict[str, Any], typed: str, read: str
) -> None:
    names = Names(**settings)
    assert names.read(typed) == read
    assert names.read(read) == read


def test_a_default_domain_beside_other_local_domains_is_refused() -> None:
    with pytest.raises(ValueError, match="let one of local_domains be"):
        Names(default_domain="c.org", local_domains=("a.org", "b.org"))
