"""Moves that are killed at random steps, and whose disk is full: nothing is doubled, nothing lost, and unique-ids are as they were.

``CRASH_RUNS`` says how many kills there are, and ``CRASH_SEED`` what to repeat, as in `test_kills`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mailserver.migration.state import State
from tests.cli.running import ROOT as PACKAGE
from tests.cli.running import environment, run
from tests.cli.test_quota import WHOEVER, settings
from tests.crash.test_disks import disk, only_root, remount
from tests.rawpop3 import RawPOP3
from tests.servers import Account, Server, Site

RUNS = int(os.environ.get("CRASH_RUNS", "10"))
SEED = int(os.environ.get("CRASH_SEED", "1225"))
LIFE = 10
"""Kills until another site begins, at most."""

MESSAGES = 12
LONGEST = 90
"""Steps: more than a whole move has, so that some runs are not killed."""


class Old:
    """The mbox of a user, to which messages come in between."""

    def __init__(self, site: Site, account: Account, random: Random) -> None:
        self.account = account
        self.path = site.folder / "old" / account.name
        self.bodies: dict[bytes, bytes] = {}
        self.deleted: set[bytes] = set()
        """What the user has deleted at the new server after it was noted as moved."""
        self._random = random

    def grow(self, count: int) -> None:
        """Some more messages; every fourth has no unique-id."""
        with self.path.open("ab") as file:
            for _ in range(count):
                number = len(self.bodies) + 1
                size = self._random.choice([3, 3000, 300_000])
                field = b"" if number % 4 == 0 else b"X-UIDL: %b\n" % uidl_of(number)
                message = b"%bSubject: %d\n\n%b.\n" % (field, number, b"x" * 60 * (size // 60))
                self.bodies[b"%d" % number] = message
                file.write(b"From a@example.org Fri Jul 14 02:40:00 2017\n%b\n" % message)

    def delete_some(self, noted: set[bytes]) -> None:
        """Delete a message that is noted, in the Maildir itself, as a session would."""
        for path in self.account.files():
            number = subject(path.read_bytes())
            if uidl_of(int(number)) in noted and self._random.random() < 0.2:
                path.unlink()
                self.deleted.add(number)


def uidl_of(number: int) -> bytes:
    """Qpopper takes 11 to 32 octets for its own."""
    return b"old-%08d" % number


def subject(message: bytes) -> bytes:
    return message.partition(b"Subject: ")[2].partition(b"\r\n")[0]


@pytest.mark.parametrize("seed", range(SEED, SEED + -(-RUNS // LIFE)))
def test_no_kill_of_a_move_doubles_or_loses_mail(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    random, tally = Random(seed), Counter[str]()
    with Site() as site:
        (site.folder / "old").mkdir()
        olds = [Old(site, site.account(name), random) for name in ("alice", "bob")]
        source, states = f"mbox:{site.folder}/old/{{user}}?uidl=qpopper", site.folder / "states"
        arguments = ["migrate", "mail", *settings(site), source, "--state", str(states), "--all"]
        with runner(site) as runs:
            for _ in range(LIFE):
                for old in olds:
                    old.grow(random.randrange(MESSAGES))
                status = runs(random.randrange(1, LONGEST), arguments)
                assert status in {0, -signal.SIGKILL}
                tally["kills" if status else "whole runs"] += 1
                for old in olds:
                    state = State.glance(states, old.account.name, f"{site.folder}/old/{{user}} {old.account.name}")
                    assert not state.damaged
                    old.delete_some(set(state.known))
            assert runs(0, arguments) == 0
            assert runs(0, arguments) == 0
        with Server(site, user=WHOEVER) as server:
            for old in olds:
                check(server, old)
                tally["messages"] += len(old.bodies)
                tally["deleted"] += len(old.deleted)
    assert tally["kills"] >= LIFE // 2
    if "CRASH_RUNS" in os.environ:
        with capsys.disabled():
            sys.stdout.write(
                f"\nseed {seed}: {', '.join(f'{count} {what}' for what, count in sorted(tally.items()))}\n"
            )


def check(server: Server, old: Old) -> None:
    """Each message is there once, with its unique-id and in its place, but for those that were deleted."""
    with RawPOP3(server.pop3_port) as client:
        client.login(old.account.name, old.account.password)
        uidls = [uidl for _, uidl in client.listing(b"UIDL")]
        found = [client.fetch(b"RETR %d" % number) for number in range(1, len(uidls) + 1)]
        client.quit()
    numbers = [subject(message) for message in found]
    assert numbers == [number for number in old.bodies if number not in old.deleted]
    for uidl, number, message in zip(uidls, numbers, found, strict=True):
        assert message == old.bodies[number].replace(b"\n", b"\r\n")
        assert uidl == uidl_of(int(number)) or int(number) % 4 == 0
    assert len(set(uidls)) == len(uidls)


@contextmanager
def runner(site: Site) -> Iterator[Any]:
    """What runs the command, and kills it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.dying_moves", str(site.folder)],
        cwd=PACKAGE,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def runs(step: int, arguments: list[str]) -> int:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([step, arguments]).encode() + b"\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    try:
        yield runs
    finally:
        process.communicate()


@only_root
def test_a_full_disk_in_the_middle_costs_nothing_but_another_run() -> None:
    with Site() as site, disk(site.folder / "mail"):
        (site.folder / "old").mkdir()
        old = Old(site, site.account("alice"), Random(7))
        while sum(map(len, old.bodies.values())) < 2_000_000:
            old.grow(1)
        source = f"mbox:{site.folder}/old/{{user}}?uidl=qpopper"
        arguments = ("migrate", "mail", *settings(site), source, "--state", str(site.folder / "states"), "alice")
        told = run(*arguments)
        assert told.returncode == os.EX_TEMPFAIL
        assert b"No space left on device" in told.stderr
        assert 0 < len(old.account.files()) < len(old.bodies)
        assert not list((old.account.maildir / "tmp").iterdir())
        remount(Path(site.folder / "mail"), "size=100m")
        assert run(*arguments).returncode == 0
        with Server(site, user=WHOEVER) as server:
            check(server, old)
