"""Where Dovecot's database is, by its ``connect`` in 2.3 or its blocks in 2.4, as settings of a ``sql:`` checker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from mailserver.migration.users.converted import Remark, Setting, Unconvertible
from mailserver.migration.users.dovecot_conf import Block
from mailserver.migration.users.queries import MYSQL_SOCKET, Kind

KINDS: Final[dict[str, Kind]] = {"mysql": "mysql", "pgsql": "postgresql", "sqlite": "sqlite"}

PARAMETERS: Final = ("parameters", "pgsql_parameters")
"""The blocks in which 2.4 has the words of PostgreSQL's own library."""

_TAKEN: Final = frozenset(
    {
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "ssl_ca",
        "sslrootcert",
        "maxconns",
        "connection_limit",
        "sslmode",
    }
    | {"connect_timeout", "read_timeout", "write_timeout", "ssl_verify_server_cert"}
)
"""What has its place, or a default that is as good."""


def kind_of(driver: str, path: str) -> Kind:
    """Errors: Unconvertible."""
    if driver not in KINDS:
        said = (
            f"the driver {driver[:40]} is none of mysql, pgsql and sqlite"
            if driver
            else "it names no driver of a database"
        )
        raise Unconvertible(f"{path}: {said}: docs/users-sql.md has what is possible")
    return KINDS[driver]


def connect(root: Block, path: str, remarks: list[Remark]) -> dict[str, str]:
    """2.3's ``host=... dbname=...``, where a value may stand in quotes; of SQLite a path. Errors: Unconvertible."""
    text = root.get("connect")
    if root.get("driver") == "sqlite":
        return {"dbname": next(iter(text.split()), "")}
    found: dict[str, str] = {}
    for match in re.finditer(r"(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S*))", text):
        value = re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
        if match[1] == "host" and "host" in found:
            remarks.append(
                Remark(
                    "connect",
                    f"only the first of several hosts is taken over, not {value}: the checker asks one database",
                )
            )
            continue
        found[match[1]] = value
    if not found and "connect" not in root.hidden:
        raise Unconvertible(f"{path}: `connect` has no host=... or dbname=...")
    return found


def servers(root: Block, driver: str, remarks: list[Remark]) -> dict[str, str]:
    """2.4's blocks, such as ``mysql localhost { ... }``; or settings with their names in front."""
    blocks = list(root.within(driver))
    remarks += [
        Remark(driver, f"only the first of several hosts is taken over, not {each.label}") for each in blocks[1:]
    ]
    first = blocks[0] if blocks else Block()
    found = {name.removeprefix(f"{driver}_"): value for name, value in {**root.values, **first.values}.items()}
    host = found.get("host") or (first.label if driver != "sqlite" else "")
    names = ("port", "user", "password", "dbname", "connection_limit", "ssl_ca")
    taken = {each: found[each] for each in names if each in found}
    for block in (root, first):
        for name in PARAMETERS:
            for inner in block.within(name):
                taken |= inner.values
    if driver == "sqlite":
        taken["dbname"] = found.get("path", "")
    return {**taken, "host": host} if host else taken


def reached(way: dict[str, str], kind: Kind, remarks: list[Remark]) -> Iterator[Setting]:
    """The settings of the way that `connect` or `servers` has found."""
    yield Setting("", "kind", kind)
    host = way.get("host", way.get("hostaddr", ""))
    if kind != "sqlite":
        if host.startswith("/"):
            yield Setting("", "socket", host)
        elif kind == "mysql" and host in ("", "localhost"):
            yield Setting(
                "", "socket", MYSQL_SOCKET, "Dovecot's localhost is MariaDB's Unix socket; this is where Debian has it"
            )
        else:
            yield Setting("", "host", host or "localhost")
            if port := way.get("port", ""):
                yield Setting("", "port", int(port) if port.isdecimal() else 0)
    yield Setting("", "database", way.get("dbname", ""))
    if user := way.get("user"):
        yield Setting("", "user", user)
    if password := way.get("password"):
        yield Setting("", "password", password, secret=True)
    if authority := way.get("ssl_ca", way.get("sslrootcert", "")):
        yield Setting("", "tls_ca", authority)
    if count := way.get("maxconns", way.get("connection_limit", "")):
        yield Setting("", "connections", min(max(int(count), 1), 100) if count.isdecimal() else 4)
    remarks += [Remark("connect", f"{name} has no place here") for name in sorted(way) if name not in _TAKEN]
