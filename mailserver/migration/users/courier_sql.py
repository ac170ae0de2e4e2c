"""Courier's users in a database (authmysqlrc, authpgsqlrc, authsqliterc) as the file of our ``sql:`` checker."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from mailserver.migration.users.converted import Converted, Remark, Setting, Unconvertible, settings_file
from mailserver.migration.users.courier_rc import read_rc
from mailserver.migration.users.queries import MYSQL_SOCKET, Kind, Unreadable, bound, joined, split_select, write_select

PREFIXES: Final[Mapping[str, Kind]] = {"MYSQL": "mysql", "PGSQL": "postgresql", "SQLITE": "sqlite"}

COLUMNS: Final = ("username", "cryptpw", "clearpw", "uid", "gid", "home", "maildir", "quota", "fullname", "options")
"""Those of a SELECT_CLAUSE, by their places; the last ones may be missing."""

TABLE: Final = "passwd"
LOGIN: Final = "id"
HOME: Final = "home"
"""What Courier takes where its file does not say."""


class Asked(NamedTuple):
    """A statement: for each of `COLUMNS` its text, and what follows them."""

    columns: Mapping[str, str]
    tail: str


def read_courier_sql(text: str, path: str) -> Converted:
    """The file of our checker. Errors: Unconvertible."""
    given = read_rc(text)
    prefix = next((each for each in PREFIXES if f"{each}_DATABASE" in given), None)
    if prefix is None:
        raise Unconvertible(
            f"{path}: it has no MYSQL_DATABASE, PGSQL_DATABASE or SQLITE_DATABASE, so it is none of Courier's files of databases"
        )
    kind = PREFIXES[prefix]
    rc = {name.removeprefix(f"{prefix}_"): value for name, value in given.items()}
    remarks: list[Remark] = []
    settings = list(_way(rc, kind))
    try:
        settings += _queries(rc, kind, remarks)
    except Unreadable as error:
        remarks.append(Remark("SELECT_CLAUSE", f"{error}; write queries.user yourself (docs/users-sql.md)"))
    if domain := rc.get("DEFAULT_DOMAIN"):
        remarks.append(
            Remark(
                "DEFAULT_DOMAIN", f'names without a domain are of {domain}: set default_domain = "{domain}" in [names]'
            )
        )
    return settings_file(
        settings, f"Made of Courier's {path}; for the user that serves alone, as it can hold a password.", remarks
    )


def _way(rc: Mapping[str, str], kind: Kind) -> Iterator[Setting]:
    """How the database is reached."""
    yield Setting("", "kind", kind)
    host = rc.get("SERVER", rc.get("HOST", ""))
    if kind == "mysql" and (rc.get("SOCKET") or host in ("", "localhost")):
        yield Setting("", "socket", rc.get("SOCKET", MYSQL_SOCKET))
    elif kind == "postgresql" and (not host or host.startswith("/")):
        yield Setting("", "socket", host or "/run/postgresql")
    elif kind != "sqlite":
        yield Setting("", "host", host)
        if (port := rc.get("PORT", "")).isdecimal() and int(port):
            yield Setting("", "port", int(port))
    yield Setting("", "database", rc["DATABASE"])
    if user := rc.get("USERNAME"):
        yield Setting("", "user", user)
    if password := rc.get("PASSWORD"):
        yield Setting("", "password", password, secret=True)
    if authority := rc.get("SSL_CACERT"):
        yield Setting("", "tls_ca", authority)
    if rc.get("CLEAR_PWFIELD") and not rc.get("CRYPT_PWFIELD"):
        yield Setting("", "secrets", "clear", "so that APOP and CRAM-MD5 are served, too")


def _queries(rc: Mapping[str, str], kind: Kind, remarks: list[Remark]) -> Iterator[Setting]:
    """Errors: Unreadable."""
    asked = _clause(rc["SELECT_CLAUSE"], kind, remarks) if rc.get("SELECT_CLAUSE") else _of_table(rc, kind)
    columns = _columns(asked.columns, kind, remarks)
    yield Setting("queries", "user", write_select(columns, asked.tail, kind))
    if everybody := rc.get("ENUMERATE_CLAUSE"):
        text, _ = bound(_variables(everybody), kind)
        items, tail, distinct = split_select(text)
        yield Setting("queries", "iterate", write_select({"user": _bare(items[0])}, tail, kind, distinct))
    elif not rc.get("SELECT_CLAUSE"):
        where = f" WHERE {rc['WHERE_CLAUSE']}" if rc.get("WHERE_CLAUSE") else ""
        yield Setting(
            "queries", "iterate", write_select({"user": asked.columns["username"]}, f"FROM {_table(rc)}{where}", kind)
        )
    else:
        remarks.append(Remark("ENUMERATE_CLAUSE", "users are not listed until queries.iterate is written"))


def _table(rc: Mapping[str, str]) -> str:
    return rc.get("USER_TABLE", TABLE)


def _of_table(rc: Mapping[str, str], kind: Kind) -> Asked:
    """The statement that Courier makes of the names of columns."""
    login = rc.get("LOGIN_FIELD", LOGIN)
    fields = {
        "cryptpw": "CRYPT_PWFIELD",
        "clearpw": "CLEAR_PWFIELD",
        "maildir": "MAILDIR_FIELD",
        "quota": "QUOTA_FIELD",
    }
    columns = {"username": login, "home": rc.get("HOME_FIELD", HOME)}
    columns |= {name: rc[field] for name, field in fields.items() if rc.get(field)}
    if options := rc.get("AUXOPTIONS_FIELD"):
        columns["options"], _ = bound(options, kind)
    where = f" AND ({rc['WHERE_CLAUSE']})" if rc.get("WHERE_CLAUSE") else ""
    return Asked(columns, f"FROM {_table(rc)} WHERE {login} = {{user}}{where}")


def _clause(clause: str, kind: Kind, remarks: list[Remark]) -> Asked:
    """The site's own statement. Errors: Unreadable."""
    text, unknown = bound(_variables(clause), kind)
    remarks += [
        Remark("SELECT_CLAUSE", f"{each} has no place here: the server does not start with it")
        for each in dict.fromkeys(unknown)
    ]
    items, tail, _ = split_select(text)
    found = dict(zip(COLUMNS, map(_bare, items), strict=False))
    return Asked({name: item for name, item in found.items() if item not in ("''", '""', "NULL")}, tail)


def _variables(clause: str) -> str:
    """Courier's variables as Dovecot's, for `bound`."""
    names = {"local_part": "%n", "domain": "%d", "service": "%s"}
    return re.sub(r"\$\((\w+)\)", lambda match: names.get(match[1], match[0]), clause.replace("%", "%%"))


def _bare(item: str) -> str:
    """A column without its name."""
    return re.sub(r"""\s+AS\s+[`"']?\w+[`"']?$""", "", item, flags=re.IGNORECASE)


def _columns(given: Mapping[str, str], kind: Kind, remarks: list[Remark]) -> dict[str, str]:
    """Columns of ours."""
    columns = {
        "user": given["username"],
        "password": _password(given, kind, remarks),
        "home": given.get("home", "NULL"),
    }
    if maildir := given.get("maildir"):
        absolute, relative = (joined((f"'{start}'", maildir), kind) for start in ("maildir:", "maildir:~/"))
        columns["mail"] = f"CASE WHEN {maildir} LIKE '/%' THEN {absolute} WHEN {maildir} <> '' THEN {relative} END"
    if quota := given.get("quota"):
        columns["quota"] = f"CASE WHEN {quota} LIKE '%S' AND {quota} NOT LIKE '%,%' THEN REPLACE({quota}, 'S', '') END"
        remarks.append(
            Remark(
                "quota",
                "only quotas such as 1000000S are read: those with a number of messages (1000000S,500C) limit nothing",
            )
        )
    if options := given.get("options"):
        off = f"{options} LIKE '%disablepop3=%' AND {options} NOT LIKE '%disablepop3=0%'"  # 1, y and t say yes there
        columns["disabled"] = f"CASE WHEN {off} THEN 'disablepop3' END"
    return columns


def _password(given: Mapping[str, str], kind: Kind, remarks: list[Remark]) -> str:
    crypted, clear = given.get("cryptpw"), given.get("clearpw")
    ours = f"REPLACE({crypted}, '{{MD5RAW}}', '{{PLAIN-MD5}}')"
    if crypted and not clear:
        return ours
    if not clear:
        remarks.append(Remark("CRYPT_PWFIELD", "there is no column with a password: nobody can log in"))
        return "NULL"
    prefixed = joined(("'{PLAIN}'", clear if not crypted else f"NULLIF({clear}, '')"), kind)
    return f"COALESCE(NULLIF({ours}, ''), {prefixed})" if crypted else prefixed
