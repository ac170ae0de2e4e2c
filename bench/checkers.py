#!/usr/bin/env python3
"""Measure what a login costs by each kind of users (a file, databases, a directory, PAM, Dovecot), each with a server of its own, in one run.

    bench/checkers.py [--logins 500] [--rounds 5] [--json FILE]

It prints the CPU of the server for a session of login, STAT and QUIT, and that of all others for the same: the database or directory, the
processes that ask PAM, or Dovecot. All passwords are plain text, so no hash hides the difference. Machines are shared and noisy: quote the
ratios of one run, never a figure alone. What is not installed is left out, and told.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

import pytest  # noqa: E402 - as below

from tests.auth.dovecot.dovecots import Dovecot, password  # noqa: E402 - as below
from tests.auth.ldap.checkers import COMPARE, SEARCH  # noqa: E402 - as below
from tests.auth.ldap.slapd import PASSWORD, SERVICE, Slapd  # noqa: E402 - as below
from tests.auth.pam.stacks import of_matrix  # noqa: E402 - as below
from tests.auth.sql.sites import SqlSite  # noqa: E402 - its folder is known since the line before
from tests.databases import Database, MariaDB, PostgreSQL  # noqa: E402 - as above
from tests.rawpop3 import RawPOP3  # noqa: E402 - as above
from tests.servers import Server, Site  # noqa: E402 - as above

TICKS: Final = os.sysconf("SC_CLK_TCK")
KINDS: Final = ("file", "sqlite", "postgresql", "mariadb", "search", "compare", "pam", "dovecot")
USERS: Final = 100
WARMING: Final = 100
"""Logins before the first round: the workers of a pool are there, and what is loaded at the first login is loaded."""

Figures = dict[str, dict[str, float]]


def cpu(pid: int) -> tuple[float, float]:
    """Seconds of a process, and of its children, also of those that have ended, to a hundredth."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    except OSError:
        return 0.0, 0.0
    own, ended = sum(map(int, fields[11:13])) / TICKS, sum(map(int, fields[13:15])) / TICKS
    return own, ended + sum(sum(cpu(int(child))) for child in children)


class Case:
    """A kind of users, with a server for them."""

    def __init__(self, name: str, site: Site, checker: str, database: Database | None = None) -> None:
        self.name = name
        self.secret = password if isinstance(database, Dovecot) else lambda _: b"sesame"
        self.database = database
        self.server = Server(site, auth={"checkers": [checker]}, store={"url": "memory:"})

    def used(self) -> tuple[float, float]:
        """The CPU of the server and of all others so far."""
        own, others = cpu(self.server.pid)
        return own, others + (sum(cpu(self.database.pid)) if self.database else 0.0)

    def session(self, number: int) -> None:
        """Log in, STAT, QUIT."""
        with RawPOP3(self.server.pop3_port) as client:
            name = f"user{number % USERS}"
            client.login(name, self.secret(name).decode())
            client.ok(b"STAT")
            client.quit()


class Kinds:
    """Makes the cases; what it starts is ended with `stack`."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.site = stack.enter_context(Site())
        self.names = [f"user{number}" for number in range(USERS)]

    def folder(self) -> Path:
        """A new folder."""
        return Path(self.stack.enter_context(tempfile.TemporaryDirectory()))

    def file(self) -> Case:
        """A passwd-file."""
        self.site.users.write_text("".join(f"{name}:{{PLAIN}}sesame\n" for name in self.names))
        return Case("passwd-file", self.site, f"passwd-file:{self.site.users}")

    def sqlite(self) -> Case:
        """A database in a file."""
        return self._sql(None)

    def postgresql(self) -> Case:
        """A PostgreSQL."""
        return self._sql(PostgreSQL())

    def mariadb(self) -> Case:
        """A MariaDB."""
        return self._sql(MariaDB())

    def _sql(self, database: Database | None) -> Case:
        if database is not None:
            self.stack.callback(database.close)
        made = SqlSite(self.folder(), database)
        made.insert("users", [{"username": name, "password": "{PLAIN}sesame"} for name in self.names])
        way: dict[str, Any] = {"queries": {"app_passwords": ""}}
        return Case(f"sql: {made.kind}", self.site, f"sql:{made.write(**way)}", database)

    def search(self) -> Case:
        """OpenLDAP: search the entry, and bind as it."""
        return self._ldap("search and bind", SEARCH)

    def compare(self) -> Case:
        """OpenLDAP: search the entry, and verify the secret in it."""
        return self._ldap("compare", COMPARE)

    def _ldap(self, name: str, settings: str) -> Case:
        slapd = Slapd()
        self.stack.callback(slapd.close)
        base = slapd.people({each.encode(): b"sesame" for each in self.names})
        path = self.folder() / "ldap.toml"
        path.touch(mode=0o600)
        path.write_text(
            f'servers = ["{slapd.ldapi}"]\n' + settings.format(base=base, service=SERVICE, password=PASSWORD), "utf-8"
        )
        return Case(f"ldap: {name}", self.site, f"ldap:{path}", slapd)

    def pam(self) -> Case:
        """PAM, with a module that costs as little as one can."""
        users = {name.encode(): b"sesame" for name in self.names}
        return Case("pam", self.site, f"pam:mailserver:folder={of_matrix(self.folder() / 'pam', users)}")

    def dovecot(self) -> Case:
        """Dovecot, with users in a file of its own."""
        dovecot = Dovecot()
        self.stack.callback(dovecot.close)
        return Case("dovecot-auth", self.site, f"dovecot-auth:{dovecot.client}", dovecot)


@contextmanager
def cases(kinds: Sequence[str] = KINDS) -> Iterator[list[Case]]:
    """Those of some kinds, each served by a process of its own."""
    with ExitStack() as stack:
        made, found = Kinds(stack), []
        for kind in kinds:
            try:
                found.append(getattr(made, kind)())
            except pytest.skip.Exception as missing:
                print(f"left out: {missing}")
        for case in found:
            case.server.start()
            stack.callback(case.server.stop)
        yield found


def measure(found: list[Case], logins: int, rounds: int) -> Figures:
    """Run every kind in every round, so that a noisy minute hits all of them."""
    seconds: dict[str, list[tuple[float, float]]] = {case.name: [] for case in found}
    for number in range(rounds + 1):
        for case in found:
            before = case.used()
            for login in range(logins if number else WARMING):
                case.session(login)
            after = case.used()
            if number:  # the first round warms up
                seconds[case.name].append(((after[0] - before[0]) / logins, (after[1] - before[1]) / logins))
    return {
        name: {kind: statistics.median(each[place] for each in all_) for place, kind in enumerate(("server", "others"))}
        for name, all_ in seconds.items()
    }


def table(figures: Figures) -> str:
    """The figures, as a table for a page."""
    first = next(iter(figures.values()))["server"]
    lines = ["| users | server | against a passwd-file | others |", "|---|---|---|---|"]
    for name, each in figures.items():
        others = f"{each['others'] * 1e6:,.0f} us" if each["others"] else ""
        lines.append(f"| {name} | {each['server'] * 1e6:,.0f} us | {each['server'] / first:.1f} | {others} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logins", type=int, default=500, help="of each kind in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    with cases() as found:
        figures = measure(found, options.logins, options.rounds)
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
