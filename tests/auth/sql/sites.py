"""A table of users in each kind of database, and a settings file for it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.databases import PASSWORD, USER, Database

COLUMNS: Final = (
    "password",
    "home",
    "mail",
    "quota",
    "quota_messages",
    "allow_nets",
    "disabled",
    "listeners",
    "read_only",
    "expire_days",
    "login_delay",
)

USERS: Final = (
    "CREATE TABLE users (username varchar(255) PRIMARY KEY, " + ", ".join(f"{each} text" for each in COLUMNS) + ")"
)
APPS: Final = "CREATE TABLE apps (username varchar(255), name text, password text, listeners text, expires text)"

QUERIES: Final = {
    "user": f"SELECT username AS {{q}}user{{q}}, {', '.join(COLUMNS)} FROM users WHERE username = {{{{user}}}}",
    "app_passwords": "SELECT name, password, listeners, expires FROM apps WHERE username = {{user}}",
    "iterate": "SELECT username AS {q}user{q} FROM users -- all of them",
}
"""With `{q}` for the quotes that PostgreSQL wants around `user`."""


class SqlSite:
    """A database with tables of users and app passwords, and the file of a checker that asks it; `own`: its tables may change."""

    def __init__(self, folder: Path, database: Database | None = None, *, own: bool = False) -> None:
        self.folder = folder
        self.database = database
        self.file = folder / "users.sqlite"
        self.path = folder / "sql.toml"
        self.kind = database.kind if database else "sqlite"
        if database is None:
            self.name = str(self.file)
            self.run(USERS, APPS)
        else:
            users = (
                USERS.replace("(255) PRIMARY", "(255) COLLATE utf8mb4_bin PRIMARY") if self.kind == "mysql" else USERS
            )
            self.name = (database.fresh if own else database.shared)(users, APPS)
            self.run("DELETE FROM users", "DELETE FROM apps")

    @property
    def quote(self) -> str:
        return "`" if self.kind == "mysql" else '"'

    def run(self, *statements: str) -> None:
        """Run statements, as the administrator."""
        if self.database:
            self.database.execute(self.name, *statements)
            return
        with closing(sqlite3.connect(self.file)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows, in one connection."""
        if not rows:
            return
        names = list(rows[0])
        if not self.database:
            marks = ", ".join("?" * len(names))
            with closing(sqlite3.connect(self.file)) as connection, connection:
                connection.executemany(
                    f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", [tuple(row.values()) for row in rows]
                )
            return
        marks = ", ".join(["%s"] * len(names))
        with closing(self.database.connect(self.name)) as connection:
            connection.cursor().executemany(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", [tuple(row.values()) for row in rows]
            )

    def add(self, name: str, password: str | None, **columns: Any) -> None:
        """Add a user."""
        self.insert("users", [{"username": name, "password": password, **columns}])

    def app(self, name: str, label: str, password: str, **columns: Any) -> None:
        """Add an app password."""
        self.insert("apps", [{"username": name, "name": label, "password": password, **columns}])

    def settings(self, **values: Any) -> dict[str, Any]:
        """The settings, with `values` over them; None leaves one out."""
        queries = {each: text.format(q=self.quote) for each, text in QUERIES.items()}
        given: dict[str, Any] = {
            "kind": self.kind,
            "database": self.name,
            "queries": {**queries, **values.pop("queries", {})},
        }
        if self.database:
            given |= {"host": "127.0.0.1", "port": self.database.port, "user": USER, "password": PASSWORD}
        given |= values
        return {name: value for name, value in given.items() if value is not None}

    def write(self, **values: Any) -> str:
        """Write the file, for the serving user alone, and return its path."""
        given = self.settings(**values)
        queries = {name: text for name, text in given.pop("queries").items() if text}
        lines = [f"{name} = {json.dumps(value)}" for name, value in given.items()]
        lines += ["[queries]", *(f"{name} = {json.dumps(text)}" for name, text in queries.items())]
        self.path.touch(mode=0o600)
        self.path.write_text("\n".join(lines) + "\n", "utf-8")
        return str(self.path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """SQLite's way to hang: a writer that does not end."""
        with closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield
            connection.execute("ROLLBACK")
