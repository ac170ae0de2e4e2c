"""Dovecot's users in a database: dovecot-sql.conf.ext of 2.3, or 2.4's settings, as the file of our ``sql:`` checker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from mailserver.migration.users.converted import Converted, Remark, Setting, Unconvertible, settings_file
from mailserver.migration.users.dovecot_conf import Block, parse
from mailserver.migration.users.dovecot_database import KINDS, PARAMETERS, connect, kind_of, reached, servers
from mailserver.migration.users.queries import (
    Kind,
    Made,
    Select,
    Unreadable,
    bound,
    joined,
    quoted,
    read_select,
    same,
    write_select,
)
from mailserver.migration.users.sql_columns import translate

DEFAULTS: Final = {
    "password_query": "SELECT username, domain, password FROM users WHERE username = '%n' AND domain = '%d'",
    "user_query": "SELECT home, uid, gid FROM users WHERE username = '%n' AND domain = '%d'",
    "iterate_query": "SELECT username, domain FROM users",
    "default_pass_scheme": "MD5",
}
"""What Dovecot 2.3 takes where its file does not say.

Where it says `password_query` alone, homes are from elsewhere, such as a static userdb, and its tables are others.
"""

SCHEME_2_4: Final = "CRYPT"


class Asked(NamedTuple):
    """What Dovecot asks its database."""

    password: str
    user: str
    iterate: str
    scheme: str


def read_sql(text: str, path: str) -> Converted:
    """The file of our checker. Errors: Unconvertible."""
    root = parse(text, path)
    remarks = [Remark(each, "its value is hidden: give what `doveconf -nP` prints, as root") for each in _hidden(root)]
    if "driver" in root.values or "connect" in root.values:
        kind, way = kind_of(root.get("driver"), path), connect(root, path, remarks)
        known = (
            DEFAULTS
            if "password_query" not in root.values
            else {"default_pass_scheme": DEFAULTS["default_pass_scheme"]}
        )
        asked = Asked(*(root.get(name, default=known.get(name, "")) for name in DEFAULTS))
    else:
        driver, asked = root.get("sql_driver"), _asked(root)
        kind, way = kind_of(driver, path), servers(root, driver, remarks)
    if not asked.password:
        raise Unconvertible(f"{path}: there is no query for passwords: nobody can log in by it")
    settings = [
        *reached(way, kind, remarks),
        Setting("", "password_scheme", asked.scheme.upper(), "of stored passwords that do not begin with {SCHEME}"),
    ]
    settings += _queries(asked, kind, remarks)
    return settings_file(
        settings, f"Made of Dovecot's {path}; for the user that serves alone, as it can hold a password.", remarks
    )


def _hidden(block: Block) -> Iterator[str]:
    yield from (each for each in block.hidden if re.search("pass|connect", each))
    for inner in block.blocks:
        if inner.name in (*KINDS, *PARAMETERS, "passdb", "userdb"):
            yield from _hidden(inner)


def _asked(root: Block) -> Asked:
    """2.4's queries."""
    passdb, userdb = ({**block.values} if (block := _sql(root, name)) else {} for name in ("passdb", "userdb"))

    def of(where: dict[str, str], *names: str) -> str:
        return next((where[each] for each in names if each in where), "")

    scheme = of(passdb, "default_password_scheme", "passdb_default_password_scheme") or root.get(
        "passdb_default_password_scheme"
    )
    return Asked(
        of(passdb, "query", "passdb_sql_query") or root.get("passdb_sql_query"),
        of(userdb, "query", "userdb_sql_query") or root.get("userdb_sql_query"),
        of(userdb, "iterate_query", "userdb_sql_iterate_query") or root.get("userdb_sql_iterate_query"),
        scheme or SCHEME_2_4,
    )


def _sql(root: Block, name: str) -> Block | None:
    return next(
        (each for each in root.within(name) if "sql" in (each.label, each.get("driver", f"{name}_driver"))), None
    )


def _queries(asked: Asked, kind: Kind, remarks: list[Remark]) -> Iterator[Setting]:
    try:
        text = _user_query(asked, kind, remarks)
    except Unreadable as error:
        remarks.append(
            Remark("password_query, user_query", f"{error}; write queries.user yourself (docs/users-sql.md)")
        )
        text = ""
    yield Setting("queries", "user", text)
    if asked.iterate:
        with_names, _ = _read(asked.iterate, kind, "iterate_query", remarks)
        made = translate(with_names.columns, kind, userdb=True)
        if "user" in made.columns:
            names = {"user": made.columns["user"]}
            yield Setting("queries", "iterate", write_select(names, with_names.tail, kind, with_names.distinct))
        else:
            remarks.append(
                Remark("iterate_query", "it has no column user: users are not listed until queries.iterate is written")
            )


def _read(query: str, kind: Kind, name: str, remarks: list[Remark]) -> tuple[Select, str]:
    text, unknown = bound(query, kind)
    remarks += [
        Remark(name, f"the variable {each} has no place here: the server does not start with it; take it out")
        for each in dict.fromkeys(unknown)
    ]
    return read_select(text), text


def _user_query(asked: Asked, kind: Kind, remarks: list[Remark]) -> str:
    """One statement for the password and all else. Errors: Unreadable."""
    passdb, _ = _read(asked.password, kind, "password_query", remarks)
    made = translate(passdb.columns, kind, userdb=False)
    remarks += [Remark("password_query", each) for each in made.told]
    if "user" not in made.columns and (user := _compared(passdb.tail, kind)):
        made.columns = {"user": user, **made.columns}
    if "user" not in made.columns and kind == "mysql":
        remarks.append(
            Remark("password_query", "MariaDB must say the user's name as it has it: add the column AS `user`")
        )
    if "{local}" in passdb.tail and "{domain}" not in passdb.tail + made.columns.get("user", ""):
        remarks.append(
            Remark("password_query", "it does not look at the domain: name the domains in names.local_domains")
        )
    if "password" not in made.columns:
        remarks.append(Remark("password_query", "it has no column password: the server does not start with it"))
    if not asked.user:
        return write_select(made.columns, passdb.tail, kind, passdb.distinct)
    userdb, _ = _read(asked.user, kind, "user_query", remarks)
    more = translate(userdb.columns, kind, userdb=True)
    remarks += [Remark("user_query", each) for each in more.told]
    more.columns.pop("user", None)
    more.columns = {name: text for name, text in more.columns.items() if name not in made.columns}
    if same(passdb.tail, userdb.tail) or not (more.columns or userdb.tail):
        return write_select({**made.columns, **more.columns}, passdb.tail, kind, passdb.distinct)
    return _both(made, passdb, more, userdb, kind)


def _both(made: Made, passdb: Select, more: Made, userdb: Select, kind: Kind) -> str:
    """Two statements as one: a user whom one of them does not know is unknown."""
    names = {
        name: f"{alias}.{quoted(name, kind)}" for alias, each in (("p", made), ("u", more)) for name in each.columns
    }
    inner = [
        write_select(each.columns or {"known": "1"}, select.tail, kind, select.distinct)
        for each, select in ((made, passdb), (more, userdb))
    ]
    one, two = ("        ".join(text.splitlines(keepends=True)).rstrip() for text in inner)
    return write_select(names, f"FROM\n    (\n        {one}\n    ) AS p,\n    (\n        {two}\n    ) AS u", kind)


def _compared(tail: str, kind: Kind) -> str:
    """The columns that a statement compares with the name."""
    columns: dict[str, str] = {
        name: column for column, name in re.findall(r"([\w.`\"]+)\s*=\s*\{(user|local|domain)\}", tail)
    }
    if "user" in columns:
        return columns["user"]
    if "local" in columns and "domain" in columns:
        return joined((columns["local"], "'@'", columns["domain"]), kind)
    return columns.get("local", "")
