"""Threads for hashes: as many for a hundred files as for one."""

from __future__ import annotations

import threading
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailserver.auth import PasswordFile
from mailserver.auth.hashing import THREADS, Hashing
from mailserver.credentials import Password
from mailserver.errors import TemporaryFailure
from tests.auth.vectors import PASSWORDS, SECRETS


def alive() -> int:
    return sum(each.name.startswith("passwords-") for each in threading.enumerate())


class HashingTests(TestCase):
    def file(self, hashing: Hashing) -> PasswordFile:
        path = Path(self.mktemp())
        path.write_bytes(b"alice:" + SECRETS["BLF-CRYPT"]["utf8"] + b"\n")
        file = PasswordFile(str(path))
        file.hashing = hashing
        return file

    async def test_files_share_the_threads_until_the_last_has_stopped(self) -> None:
        hashing, before = Hashing(), alive()
        files = [self.file(hashing) for _ in range(5)]
        for file in files:
            await file.start(reactor)
            await file.start(reactor)
            self.addCleanup(file.stop)
        assert alive() - before == THREADS
        for file in files[1:]:
            await file.stop()
            await file.stop()
        assert alive() - before == THREADS
        assert await files[0].requestAvatarId(Password(b"alice", PASSWORDS["utf8"])) == b"alice"
        await files[0].stop()
        assert alive() == before

    async def test_a_file_that_cannot_be_read_needs_no_threads(self) -> None:
        hashing, before = Hashing(), alive()
        file = PasswordFile("/nonexistent/users")
        file.hashing = hashing
        await self.assertFailure(file.start(reactor), Exception)
        await file.stop()
        assert alive() == before

    def test_nothing_runs_before_the_start_or_after_the_stop(self) -> None:
        hashing = Hashing()
        self.failureResultOf(hashing.run(int), TemporaryFailure)
        self.failureResultOf(hashing.read(self, int), TemporaryFailure)
