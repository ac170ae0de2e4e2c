"""System calls of a session, by kind, as strace counts them in a server that its user would start.

They do not depend on the machine, and each costs from half a microsecond to ten. The turns of the reactor (`epoll_wait`) do not
count here: one client at a time has two for each of its batches, a hundred share them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Self

import pytest

from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site

SESSIONS: Final = 50
MESSAGES: Final = 20
MESSAGE: Final = b"Subject: x\n\n" + b"0123456789" * 400 + b"\n"
NUMBERS: Final = range(1, MESSAGES + 1)

LONG_AGO: Final = 1_600_000_000
"""Files that have just changed are looked at again, as their time could not tell of one more change."""

CLOSING: Final = {
    "accept4": 1,
    "close": 2,
    "epoll_ctl": 1,
    "ioctl": 1,
    "getsockname": 1,
    "shutdown": 0,
    "setsockopt": 0,
    "getpid": 0,
}
"""For each connection; the lock of the maildrop is closed, too."""

Counts = Mapping[str, float]


def stat(client: RawPOP3) -> None:
    client.ok(b"STAT")


def listings(client: RawPOP3) -> None:
    client.ok(b"STAT")
    client.fetch(b"LIST")
    client.fetch(b"UIDL")


def fetches(client: RawPOP3) -> None:
    listings(client)
    for number in NUMBERS:
        client.fetch(b"RETR %d" % number)


def pipelined(client: RawPOP3) -> None:
    listings(client)
    client.pipeline([b"RETR %d" % number for number in NUMBERS])


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as site:
        account = site.account("alice", messages=[MESSAGE] * MESSAGES)
        for path in (site.users, account.maildir / "new", account.maildir / "cur"):
            os.utime(path, (LONG_AGO, LONG_AGO))
        yield site


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Server]:
    with Server(site) as server:
        yield server


class Trace:
    """strace on a process, as long as the block lasts; then `calls` has the number of calls of each kind."""

    def __init__(self, pid: int, output: Path) -> None:
        self.pid = str(pid)
        self.output = output
        self.calls: Counter[str] = Counter()

    def __enter__(self) -> Self:
        absent = pytest.fail if os.environ.get("TEST_PACKAGES") == "installed" else pytest.skip
        program = shutil.which("strace")
        if program is None:
            absent("strace is missing: apt-get install strace")
        self.strace = subprocess.Popen(
            [str(program), "-f", "-c", "-o", str(self.output), "-p", self.pid], stderr=subprocess.PIPE, text=True
        )
        assert self.strace.stderr is not None
        begun = self.strace.stderr.readline()
        if "attached" not in begun:
            self._end()
            (pytest.skip if "not permitted" in begun else pytest.fail)(f"strace cannot trace here: {begun}")
        return self

    def __exit__(self, *_: object) -> None:
        self.strace.send_signal(signal.SIGINT)
        self._end()
        for line in self.output.read_text(encoding="ascii").splitlines():
            if row := re.fullmatch(r" *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)", line.rstrip()):
                self.calls[row[2]] += int(row[1])
        del self.calls["total"]

    def _end(self) -> None:
        self.strace.wait()
        assert self.strace.stderr is not None
        self.strace.stderr.close()


@pytest.fixture
def counted(site: Site, server: Server, tmp_path: Path) -> Callable[..., Counts]:
    """The calls of one session, on average; the first sessions make what the others find made."""
    (account,) = site.accounts

    def session(commands: Callable[[RawPOP3], None], *, tls: bool) -> None:
        port, context = (server.pop3s_port, site.client_tls()) if tls else (server.pop3_port, None)
        client = RawPOP3(port, tls=context).login(account.name, account.password)
        commands(client)
        client.quit()

    def count(commands: Callable[[RawPOP3], None], *, tls: bool = False) -> Counts:
        for _ in range(5):
            session(commands, tls=tls)
        with Trace(server.pid, tmp_path / "calls") as trace:
            for _ in range(SESSIONS):
                session(commands, tls=tls)
        del trace.calls["epoll_wait"]
        return {name: calls / SESSIONS for name, calls in trace.calls.items()}

    return count


def check(found: Counts, most: Counts, total: float) -> None:
    told = f"{sum(found.values()):.1f} calls: {dict(sorted(found.items()))}"
    beyond = {name: found.get(name, 0) for name, bound in most.items() if found.get(name, 0) > bound + 0.1}
    assert not beyond, told
    assert sum(found.values()) <= total + 0.5, told  # a timer may have come in between


def test_login_and_stat(counted: Callable[..., Counts]) -> None:
    check(counted(stat), {**CLOSING, "recvfrom": 4, "sendto": 5}, 24)


def test_login_list_and_uidl(counted: Callable[..., Counts]) -> None:
    check(counted(listings), {**CLOSING, "recvfrom": 6, "sendto": 7}, 28)


def test_twenty_messages_one_by_one(counted: Callable[..., Counts]) -> None:
    most = {"recvfrom": 26, "sendto": 27, "openat": 21, "pread64": 20, "read": 0, "newfstatat": 4, "close": 22}
    check(counted(fetches), {**CLOSING, **most}, 128)


def test_twenty_messages_pipelined(counted: Callable[..., Counts]) -> None:
    most = {"recvfrom": 7, "sendto": 8, "openat": 21, "pread64": 20, "read": 0, "newfstatat": 4, "close": 22}
    check(counted(pipelined), {**CLOSING, **most}, 90)


def test_login_list_and_uidl_in_tls(counted: Callable[..., Counts]) -> None:
    most = {
        "read": 20,
        "write": 12,
        "recvfrom": 0,
        "sendto": 0,
        "setsockopt": 2,
        "getpid": 9,
    }  # OpenSSL asks after forks
    check(counted(listings, tls=True), {**CLOSING, **most}, 57)  # a client may send its first command with its Finished
