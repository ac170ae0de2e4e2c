from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.auth.sql.statements import Kind, StatementError, read_statement
from mailserver.auth.sql.statements import given as given_by

KINDS: Sequence[Kind] = ("postgresql", "mysql", "sqlite")


def test_parameters_become_the_driver_s_placeholders() -> None:
    text = "SELECT 1 FROM t WHERE a = {user} AND b = {domain} OR c = {user}"
    assert read_statement(text, "postgresql").text == "SELECT 1 FROM t WHERE a = $1 AND b = $2 OR c = $1"
    assert read_statement(text, "postgresql").parameters == ("user", "domain")
    bound = "SELECT 1 FROM t WHERE a = _utf8mb4 %s AND b = _utf8mb4 %s OR c = _utf8mb4 %s"
    assert read_statement(text, "mysql").text == bound
    assert read_statement(text, "sqlite").text == "SELECT 1 FROM t WHERE a = ? AND b = ? OR c = ?"
    assert read_statement(text, "sqlite").values(given_by("alice@example.org")) == [
        "alice@example.org",
        "example.org",
        "alice@example.org",
    ]


def test_a_name_has_parts() -> None:
    assert given_by("alice") == {"user": "alice", "local": "alice", "domain": ""}
    assert given_by("a@b@c") == {"user": "a@b@c", "local": "a@b", "domain": "c"}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            "postgresql",
            "'{x}' \"{y}\" E'\\'{z}' $$ {a} ' $$ $tag$ {b} $$ $tag$ -- {c} ' \n /* {d} /* ' */ {e} */ a[1] ? 1::int",
        ),
        ("mysql", "'{x}' \"{y}\\\"\" `{z}` 'it''s \\' {a}' -- {b} '\n # {c} \"\n /* {d} ' */ 5--3 $1"),
        ("sqlite", "'{x}' \"{y}\" `{z}` [{a}] 'it''s \\' -- {b} '\n /* {c} ' /* */"),
    ],
)
def test_quotes_and_comments_are_left_alone(kind: Kind, text: str) -> None:
    assert read_statement(f"{text} {{user}}", kind).parameters == ("user",)
    assert read_statement(f"{text} {{user}}", kind).text.startswith(text)


def test_a_percent_sign_is_doubled_for_the_driver_that_reads_it() -> None:
    text = "SELECT a % 2, '%s %d' -- 100 %\n FROM t WHERE u LIKE 'x%' AND u = {user}"
    read = read_statement(text, "mysql")
    assert read.text % ("X",) == text.replace("{user}", "_utf8mb4 X")
    assert read_statement(text, "postgresql").text == text.replace("{user}", "$1")
    assert read_statement(text, "sqlite").text == text.replace("{user}", "?")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT {usr}", '{usr} is no parameter; did you mean "user"?'),
        ("SELECT {}", "{} is no parameter"),
        ("SELECT {password}", "{password} is no parameter"),
        ("SELECT '{user}'", "{user} stands in quotes"),
        ("SELECT 'x''{domain}@x'", "{domain} stands in quotes"),
        ("SELECT 1; DELETE FROM users", "more than one statement"),
        ("SELECT 1; {user}", "more than one statement"),
        ("SELECT 'x", "' is not closed"),
        ('SELECT "x', '" is not closed'),
        ("SELECT {user", "{ is not closed"),
        ("SELECT \0", "it contains a NUL"),
    ],
)
def test_a_mistake_is_told(kind: Kind, text: str, said: str) -> None:
    with pytest.raises(StatementError) as caught:
        read_statement(text, kind)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("postgresql", "SELECT $1"), ("mysql", "SELECT ?"), ("sqlite", "SELECT ?1"), ("sqlite", "SELECT :user")],
)
def test_placeholders_that_nothing_would_fill_are_told(kind: Kind, text: str) -> None:
    with pytest.raises(StatementError, match="nothing fills"):
        read_statement(text, kind)


def test_comments_that_are_not_closed_are_told_where_the_database_minds() -> None:
    for kind in ("postgresql", "mysql"):
        with pytest.raises(StatementError, match="not closed"):
            read_statement("SELECT 1 /* x /* y */" if kind == "postgresql" else "SELECT 1 /* x", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_semicolon_may_end_it(kind: Kind) -> None:
    assert read_statement(" SELECT 1 ; -- the end\n ;", kind).text.startswith("SELECT 1")


PIECES = st.lists(
    st.sampled_from(
        ["'", '"', "`", "[", "]", "--", "\n", "/*", "*/", "{user}", "{x}", "%", "x", " ", "||", "''", "\\", "?"]
    ),
    max_size=8,
).map("".join)


@given(PIECES)
def test_what_sqlite_reads_as_a_parameter_the_scanner_does_too(piece: str) -> None:
    """SQLite itself counts the places for values; a piece of which the scanner thinks otherwise would be pasted or lost."""
    try:
        read = read_statement(f"SELECT 1 {piece}", "sqlite")
    except StatementError:
        return
    database = sqlite3.connect(":memory:")
    try:
        database.execute(read.text, ["alice"] * len(read.parameters))
    except sqlite3.OperationalError:
        return  # no SQL at all
    finally:
        database.close()


@given(st.sampled_from(KINDS), PIECES)
def test_it_ends_with_a_statement_or_says_why_not(kind: Kind, piece: str) -> None:
    try:
        read = read_statement(piece, kind)
    except StatementError:
        return
    assert set(read.parameters) <= {"user"}
