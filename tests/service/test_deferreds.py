"""Deferreds per command: each costs a microsecond or two, so what can be answered at once makes none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mailserver.auth import MailboxRealm, PasswordFile, Users, make_portal
from mailserver.net import POP3ServerFactory
from mailserver.store import Router
from tests.net.sessions import Talk
from tests.store.maildir.maildirs import MaildirCase

MESSAGE = b"Subject: x\n\nx\n"
LONG_AGO = 1_700_000_000


class Deferreds(MaildirCase):
    """A session over a maildrop and a passwd-file that nothing changes."""

    def file(self) -> str:
        path = Path(self.mktemp())
        path.write_bytes(b"alice:{PLAIN}secret\n")
        os.utime(path, (LONG_AGO, LONG_AGO))
        return str(path)

    async def factory(self, checker: Any = None) -> POP3ServerFactory:
        self.deliver("alice", MESSAGE)
        self.settle_down()
        maildrop = await self.open()
        maildrop.release()
        if checker is None:
            checker = PasswordFile(self.file())
            await checker.start(reactor)
            self.addCleanup(checker.stop)
        users = Users([checker])
        portal = make_portal(MailboxRealm(Router("maildir", self.store, {}), users), users)
        return POP3ServerFactory(portal, clock=Clock(), hostname="h", cleartext="always")

    def made(self, talk: Talk, line: bytes) -> int:
        """How many Deferreds a line makes."""
        made: list[object] = []
        begin = Deferred.__init__

        def count(deferred: Any, *args: Any) -> None:
            made.append(deferred)
            begin(deferred, *args)

        patch = self.patch(Deferred, "__init__", count)
        try:
            talk.say(line)
        finally:
            patch.restore()
        return len(made)


class DeferredsTests(Deferreds):
    async def test_a_session_that_changes_nothing_makes_none(self) -> None:
        talk = Talk(await self.factory(), logged_in=False)
        assert self.made(talk, b"USER alice\r\nPASS secret\r\nSTAT\r\n") == 0
        assert self.made(talk, b"RETR 1\r\n") == 0
        assert self.made(talk, b"QUIT\r\n") == 0
        assert talk.heard().endswith(b"+OK 17 octets\r\nSubject: x\r\n\r\nx\r\n.\r\n+OK signing off\r\n")
        talk.lose()

    async def test_a_wrong_password_makes_none(self) -> None:
        talk = Talk(await self.factory(), logged_in=False)
        assert self.made(talk, b"USER alice\r\nPASS guess\r\nUSER nobody\r\n") == 0
        talk.lose()

    async def test_a_foreign_checker_answers_with_a_deferred_and_is_asked_on_the_same_road(self) -> None:
        factory = await self.factory(InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret"))
        talk = Talk(factory, logged_in=False)
        assert self.made(talk, b"USER alice\r\nPASS secret\r\nSTAT\r\n") > 0
        assert b"+OK 1 17\r\n" in talk.heard()
        talk.lose()


class DeferredsOfThreadsTests(Deferreds):
    options: ClassVar[dict[str, Any]] = {"io": "threads"}

    async def test_a_slow_disk_is_waited_for(self) -> None:
        talk = Talk(await self.factory(), logged_in=False)
        assert self.made(talk, b"USER alice\r\nPASS secret\r\n") > 0
        talk.lose()
