"""The configurations of docs/users-sql.md, run as they stand: in a server as its user starts it, which loses its databases and gets them back.

Where root runs the tests, the server becomes `nobody`, who can read nothing of Python (`tests.sealed`).
"""

from __future__ import annotations

import json
import os
import pwd
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

import mailserver
from tests.databases import PASSWORD, MariaDB, PostgreSQL
from tests.rawpop3 import RawPOP3
from tests.sealed import Seal
from tests.servers import Server, Site

PAGE: Final = Path(mailserver.__file__).parents[1] / "docs/users-sql.md"
BLOCKS: Final = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
SECONDS: Final = "connect_seconds = 1\nquery_seconds = 0.5\n"
"""The page has longer ones; the test would only wait for them."""

MESSAGE: Final = b"Subject: hello\r\n\r\nworld\r\n"
SECRET: Final = "{SHA256.hex}2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
"""Of the password x."""


class Three:
    """A server with a checker for each kind of database, each with a user who has a message; the last two ways are by TLS."""

    def __init__(self, site: Site, postgresql: PostgreSQL, mariadb: MariaDB) -> None:
        self.site = site
        self.databases = {"postgresql": postgresql, "mysql": mariadb}
        self.mail = f"{site.folder}/mail"
        for name in ("pg@example.org", "maria", "lite"):
            folder = "example.org/" * ("@" in name) + name
            site.account(folder, messages=[MESSAGE])
        site.users.write_bytes(b"")
        pg = postgresql.fresh(
            "CREATE TABLE mailbox (username text, password text, domain text, quota bigint, active boolean)",
            f"INSERT INTO mailbox VALUES ('pg@example.org', '{SECRET}', 'example.org', 1000, true)",
            f"INSERT INTO mailbox VALUES ('off@example.org', '{SECRET}', 'example.org', 1000, false)",
        )
        maria = mariadb.fresh(
            "CREATE TABLE mailbox (username varchar(255), password text, maildir text, active tinyint)",
            f"INSERT INTO mailbox VALUES ('maria', '{SECRET}', '{self.mail}/maria', 1)",
        )
        with closing(sqlite3.connect(site.folder / "users.sqlite")) as lite, lite:
            lite.execute("CREATE TABLE users (name text, password text, home text)")
            lite.execute("INSERT INTO users VALUES ('lite', ?, ?)", [SECRET, f"{self.mail}/lite"])
        files = [self.write(0, pg, 'host = "localhost"', f'host = "localhost"\nport = {postgresql.port}')]
        files.append(self.write(1, maria, "/run/mysqld/mysqld.sock", str(mariadb.socket)))
        files.append(self.write(2, "", "/var/lib/mailserver/users.sqlite", f"{site.folder}/users.sqlite"))
        for number, database, name in ((0, postgresql, pg), (1, mariadb, maria)):
            tls = f'host = "localhost"\nport = {database.port}\ntls = "verify"\ntls_ca = "{database.certificate}"'
            way = 'host = "localhost"' if number == 0 else 'socket = "/run/mysqld/mysqld.sock"'
            files.append(self.write(number, name, way, tls, suffix="-tls"))
        self.checkers = [f"sql:{file}" for file in files]

    def write(self, number: int, database: str, old: str, new: str, suffix: str = "") -> str:
        """A block of the page, with what is this machine's own in the place of the page's."""
        text = BLOCKS[number]
        assert old in text
        for was, becomes in (
            (old, new),
            ('database = "mail"', f'database = "{database}"'),
            ('"..."', json.dumps(PASSWORD)),
            ("/srv/mail/", f"{self.mail}/"),
        ):
            text = text.replace(was, becomes)
        file = self.site.folder / f"sql{number}{suffix}.toml"
        file.touch(mode=0o600)
        file.write_text(SECONDS + text, "utf-8")
        return str(file)

    def server(self) -> Server:
        """The server; where root runs the tests as nobody."""
        options: dict[str, object] = {"auth": {"checkers": self.checkers}, "store": {"url": "maildir:{home}/Maildir"}}
        if os.geteuid() == 0:
            entry = pwd.getpwnam("nobody")
            for path in (self.site.folder, *self.site.folder.rglob("*")):
                os.chown(path, entry.pw_uid, entry.pw_gid)
            options["user"] = "nobody"
        return Server(self.site, **options)


@pytest.fixture(scope="module")
def three(postgresql: PostgreSQL, mariadb: MariaDB) -> Iterator[tuple[Three, Server]]:
    with Site() as site, pytest.MonkeyPatch.context() as patched:
        made = Three(site, postgresql, mariadb)
        seal = Seal(site, Path(mailserver.__file__).parents[1])
        for name, value in seal.environment.items():
            patched.setenv(name, value)
        site.hide("pg", PASSWORD)
        site.hide("pg", SECRET)
        server = made.server()
        server.start()
        yield made, server
        server.stop()
        assert seal.news() == []
        assert seal.sealed == (os.geteuid() == 0)
        assert not [secret for secret in site.secrets if secret in server.raw]


def login(server: Server, name: str, password: str = "x") -> bytes:
    """The reply to a login; who gets in reads the message."""
    with RawPOP3(server.pop3_port) as client:
        client.ok(b"USER " + name.encode())
        reply = client.command(b"PASS " + password.encode())
        if reply.startswith(b"+OK"):
            assert client.fetch(b"RETR 1") == MESSAGE
            client.quit()
        return reply


def test_each_kind_of_database_lets_its_users_in(three: tuple[Three, Server]) -> None:
    _, server = three
    for name in ("pg@example.org", "maria", "lite"):
        assert login(server, name).startswith(b"+OK")
        assert login(server, name, "wrong").startswith(b"-ERR [AUTH]")
    for name in ("off@example.org", "nobody", "' OR 1=1 -- "):
        assert login(server, name).startswith(b"-ERR [AUTH]")


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_database_that_freezes_or_restarts_refuses_for_now_and_comes_back(
    three: tuple[Three, Server], kind: str
) -> None:
    made, server = three
    name = "pg@example.org" if kind == "postgresql" else "maria"
    before = len(server.told("auth.sql.down"))
    for breakdown in (made.databases[kind].frozen(), made.databases[kind].down()):
        with breakdown:
            assert login(server, name).startswith(b"-ERR [SYS/TEMP]")
            assert login(server, name, "wrong").startswith(b"-ERR [SYS/TEMP]")
        assert login(server, name).startswith(b"+OK")
        assert login(server, name, "wrong").startswith(b"-ERR [AUTH]")
    assert len(server.told("auth.sql.down")) > before
    assert server.told("auth.sql.up")


def test_a_reload_reads_the_files_again(three: tuple[Three, Server]) -> None:
    made, server = three
    file = Path(made.checkers[2].removeprefix("sql:"))
    file.write_text(file.read_text().replace("FROM users WHERE", "FROM nowhere WHERE"))
    server.reload()
    assert "nowhere" in server.wait_for("auth.sql.kept")["reason"]
    assert login(server, "lite").startswith(b"+OK")


def test_what_is_wrong_with_a_file_ends_the_start(three: tuple[Three, Server]) -> None:
    made, _ = three
    file = Path(made.checkers[0].removeprefix("sql:"))
    file.with_suffix(".wrong").touch(mode=0o600)
    file.with_suffix(".wrong").write_text(file.read_text().replace("FROM mailbox\n", "FROM mailboxes\n"))
    server = Server(made.site, auth={"checkers": [f"sql:{file.with_suffix('.wrong')}"]})
    server.launch()
    assert server.wait() == 78
    assert 'queries.user: relation "mailboxes" does not exist' in server.log()
