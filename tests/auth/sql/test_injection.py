"""No name does anything in a statement but be compared: whatever it holds, it comes back as it was sent, and finds its own row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailserver.auth.sql.drivers import driver
from mailserver.auth.sql.links import Answer, Link, Trouble
from mailserver.auth.sql.settings import read_settings
from mailserver.auth.sql.statements import Statement, read_statement
from mailserver.auth.sql.statements import given as given_by
from mailserver.credentials import Password
from mailserver.errors import LoginRefused
from mailserver.names import PLAIN
from tests.auth.sql.cases import InMariaDB, InPostgreSQL, SqlCase
from tests.auth.sql.sites import SqlSite

NAMES: Final = (
    *(
        "alice'",
        "'alice'",
        "' OR '1'='1",
        "' OR 1=1 -- ",
        "' OR 1=1 #",
        '" OR ""="',
        "') OR ('1'='1",
        "alice' --",
        "alice'/*",
    ),
    *("alice'; DROP TABLE users; --", "x'; UPDATE users SET password = '{PLAIN}x'; --", "1; SELECT pg_sleep(9)"),
    *("' UNION SELECT 'alice', '{PLAIN}x' -- ", "' AND sleep(9) AND '", "'||pg_sleep(9)||'", "' OR username LIKE '%"),
    *(
        "\\",
        "alice\\",
        "\\' OR 1=1 -- ",
        "\\\\' OR 1=1 -- ",
        "\xbf' OR 1=1 -- ",
        "\xbf\\' OR 1=1 -- ",
        "\u02bc OR 1=1",
        "\uff07 OR 1=1",
    ),
    *(
        "%",
        "%s",
        "%%s",
        "%(user)s",
        "%n",
        "100%",
        "_",
        "alic_",
        "{user}",
        "{}",
        "{0}",
        "{password}",
        "$1",
        "$$",
        "?",
        ":user",
        "@user",
        "`",
        "[x]",
    ),
    *(
        "X'616c696365'",
        "0x616c696365",
        "_utf8mb4 X'61'",
        "E'\\x61'",
        "NULL",
        "''",
        '"',
        "--",
        "#",
        "/*",
        "*/",
        ";",
        "\n",
        "\r\n",
        "\t",
        "\x1a",
        "\x7f",
    ),
    *(
        "",
        " ",
        "alice ",
        " alice",
        "Alice",
        "alicé",
        "ali\u202ece",
        "ali\u2028ce",
        "a\u0301lice",
        "\U0001f4a9",
        "\uffff",
        "用户",
        "jörg@example.org",
    ),
    *(
        "../alice",
        "a/b",
        ".",
        "..",
        "@",
        "alice@",
        "@example.org",
        "a@@b",
        "x" * 255,
        "x" * 256,
        "'" * 1000,
        "\\" * 1001,
        "x" * 100_000,
    ),
)
"""All are strings that a database can hold; what has a NUL, or is not UTF-8, never reaches one (`names.user_name`)."""

ECHO: Final = "SELECT {user} AS one, {user} AS two, (SELECT count(*) FROM users WHERE username = {user}) AS found"

Ask = Callable[[Statement, Sequence[str]], Answer]


class Sites:
    """A link to each kind of database, and a question that gives back what it was asked."""

    def __init__(self, site: SqlSite, *, escapes: bool) -> None:
        self.site = site
        self.escapes = escapes
        site.add("alice", "{PLAIN}x")
        self.settings = read_settings(site.write())
        assert self.settings.kind is not None
        text = ECHO.replace("{user} AS", "{user}::text AS") if site.kind == "postgresql" else ECHO
        self.statement = read_statement(text, self.settings.kind)
        self.link: Link = driver(self.settings)(self.settings)
        self.link.open()

    def check(self, name: str, ask: Ask | None = None) -> None:
        """The name comes back as it is, and is not somebody else's."""
        values = self.statement.values(given_by(name))
        answer = ask(self.statement, values) if ask else self.link.ask(self.statement, values, 5)
        same = (
            name.rstrip(" ") if self.site.kind == "mysql" else name
        )  # to its collations blanks at the end are nothing
        found = b"1" if same == "alice" else b"0"
        assert list(answer.rows) == [(name.encode(), name.encode(), found)]


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb", "mariadb-without-backslashes"])
def sites(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    folder: Path = tmp_path_factory.mktemp("site")
    kind, _, odd = request.param.partition("-")
    database: Any = None if kind == "sqlite" else request.getfixturevalue(kind)
    if odd:
        ((mode,),) = database.rows("", "SELECT @@global.sql_mode")
        database.execute("", f"SET GLOBAL sql_mode = '{mode},NO_BACKSLASH_ESCAPES,ANSI_QUOTES'")
    made = Sites(SqlSite(folder, database), escapes=request.param == "mariadb")
    yield made
    made.link.close()
    if odd:
        database.execute("", f"SET GLOBAL sql_mode = '{mode}'")


def test_a_name_is_only_compared(sites: Sites) -> None:
    for name in NAMES:
        sites.check(name)


def test_any_text_is_only_compared(sites: Sites) -> None:
    @settings(max_examples=100)
    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.text("'\"\\%{}`;-#/*$? x"))
    def check(name: str) -> None:
        sites.check(name)

    check()
    sites.check("alice")


def test_a_nul_is_never_sent(sites: Sites) -> None:
    for name in ("\0", "alice\0", "alice\0' OR 1=1"):
        with pytest.raises(ValueError, match="NUL"):
            sites.check(name)


def quoted(value: str) -> str:
    """How one who pastes might believe to be safe."""
    return "'" + value.replace("'", "''") + "'"


def test_one_that_pastes_is_caught(sites: Sites) -> None:
    pastes: list[Callable[[str], str]] = [lambda value: f"'{value}'"]
    if sites.escapes:  # elsewhere doubled quotes are enough, because backslashes are read as they are
        pastes.append(quoted)

    def ask(statement: Statement, values: Sequence[str]) -> Answer:
        pieces = statement.text.replace("%s", "?").replace("$1", "?").replace("_utf8mb4 ", "").split("?")
        return sites.link.ask(Statement(paste(values[0]).join(pieces).replace("%", "%%")), [], 5)

    for paste in pastes:
        caught = 0
        for name in NAMES:
            try:
                if "sleep" not in name:
                    sites.check(name, ask)
            except (AssertionError, Trouble):
                caught += 1
        assert caught, paste


class Names:
    """Through the checker."""

    site: SqlSite
    started: Any

    async def test_nobody_is_found_by_any_of_them_and_all_is_as_before(self) -> None:
        self.site.add("bob", "{PLAIN}x")
        checker = await self.started()
        for name in (*NAMES, "bob\0", "\0", "\udcff"):
            assert await checker.lookup(name) is None
            octets = name.encode("utf-8", "surrogateescape")
            with pytest.raises(LoginRefused) as caught:
                await checker.requestAvatarId(Password(octets, b"x"))
            assert caught.value.known is False
        assert await checker.requestAvatarId(Password(b"bob", b"x")) == b"bob"
        assert await checker.names("", 10) == ["bob"]

    async def test_who_has_such_a_name_is_found_by_it_alone(self) -> None:
        names = [name for name in NAMES if checkable(name)]
        assert len(names) > 40
        self.site.insert("users", [{"username": name, "password": "{PLAIN}x"} for name in names])
        checker = await self.started()
        for name in names:
            assert await checker.requestAvatarId(Password(name.encode(), b"x")) == name.encode()
        assert await checker.names("", 1000) == sorted(names)


def checkable(name: str) -> bool:
    """Whether it can be a user's, and is nobody else's to a collation that ignores blanks at the end."""
    return PLAIN.read(name) == name and name == name.rstrip() and len(name) <= 255


class SQLiteNamesTests(Names, SqlCase):
    pass


class PostgreSQLNamesTests(Names, InPostgreSQL):
    pass


class MariaDBNamesTests(Names, InMariaDB):
    pass
