#!/usr/bin/env python3
"""Measure what a login costs by users in a file and in databases of its own, in one run.

    bench/sql.py [--logins 1000] [--rounds 5] [--json FILE]

It prints the CPU of the server for a session of login, STAT and QUIT, and of the database for the same, and how often the
database was asked. All users have the password in {PLAIN}, so no hash hides the difference. Machines are shared and noisy: quote
the ratios of one run, never a figure alone. Needs postgresql, mariadb-server and what the tests need.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

from tests.auth.sql.sites import SqlSite  # noqa: E402 - its folder is known since the line before
from tests.databases import Database, MariaDB, PostgreSQL  # noqa: E402 - as above
from tests.rawpop3 import RawPOP3  # noqa: E402 - as above
from tests.servers import Server, Site  # noqa: E402 - as above

TICKS: Final = os.sysconf("SC_CLK_TCK")
USERS: Final = 1000


def cpu(pid: int) -> float:
    """Seconds of a process and its children, also of those that have ended, to a hundredth."""
    total = 0.0
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    except OSError:
        return 0.0
    total += sum(map(int, fields[11:15])) / TICKS
    return total + sum(cpu(int(child)) for child in children)


class Case:
    """A kind of users, with a server for them."""

    def __init__(self, name: str, site: Site, checker: str, database: Database | None = None) -> None:
        self.name = name
        self.database = database
        self.server = Server(site, auth={"checkers": [checker]}, store={"url": "memory:"})

    def used(self) -> tuple[float, float]:
        """The CPU of the server and of the database so far."""
        return cpu(self.server.pid), cpu(self.database.pid) if self.database else 0.0

    def session(self, number: int) -> None:
        """Log in, STAT, QUIT."""
        with RawPOP3(self.server.pop3_port) as client:
            client.ok(b"USER user%d" % (number % USERS))
            client.ok(b"PASS sesame")
            client.ok(b"STAT")
            client.quit()


@contextmanager
def cases() -> Iterator[list[Case]]:
    """All kinds, each served by a process of its own."""
    with ExitStack() as stack:
        site = stack.enter_context(Site())
        names = [f"user{number}" for number in range(USERS)]
        site.users.write_text("".join(f"{name}:{{PLAIN}}sesame\n" for name in names))
        found = [Case("passwd-file", site, f"passwd-file:{site.users}")]
        for kind in (None, PostgreSQL, MariaDB):
            database = kind() if kind else None
            if database is not None:
                stack.callback(database.close)
            made = SqlSite(Path(stack.enter_context(tempfile.TemporaryDirectory())), database)
            made.insert("users", [{"username": name, "password": "{PLAIN}sesame"} for name in names])
            way: dict[str, Any] = {"queries": {"app_passwords": ""}}
            found.append(Case(f"sql: {made.kind}", site, f"sql:{made.write(**way)}", database))
        for case in found:
            case.server.start()
            stack.callback(case.server.stop)
        yield found


def measure(found: list[Case], logins: int, rounds: int) -> dict[str, dict[str, float]]:
    """Run every kind in every round, so that a noisy minute hits all of them."""
    seconds: dict[str, list[tuple[float, float]]] = {case.name: [] for case in found}
    for number in range(rounds + 1):
        for case in found:
            before = case.used()
            for login in range(logins if number else USERS // 10):
                case.session(login)
            after = case.used()
            if number:  # the first round warms up
                seconds[case.name].append(((after[0] - before[0]) / logins, (after[1] - before[1]) / logins))
    return {
        name: {
            "server": statistics.median(each[0] for each in all_),
            "database": statistics.median(each[1] for each in all_),
        }
        for name, all_ in seconds.items()
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logins", type=int, default=1000, help="of each kind in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    with cases() as found:
        figures = measure(found, options.logins, options.rounds)
    first = next(iter(figures.values()))["server"]
    for name, each in figures.items():
        ratio = each["server"] / first
        print(
            f"{name:16} {each['server'] * 1e6:6.0f} us of the server ({ratio:.2f})  {each['database'] * 1e6:6.0f} us of the database"
        )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
