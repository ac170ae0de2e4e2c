"""Hops to threads per login: each costs 100 us, so a poll of a maildrop that nothing has changed makes none."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from twisted.cred.portal import Portal
from twisted.internet import reactor

from mailserver.auth import MailboxRealm, PasswordFile, make_portal
from mailserver.credentials import Password
from mailserver.interfaces import IMaildrop, Mind
from mailserver.pool import Pool
from tests.auth.vectors import PASSWORDS, SECRETS
from tests.store.maildir.maildirs import MaildirCase

RUN = Pool.run.__code__


class Hops(MaildirCase):
    """Logins over one maildrop, and the hops that each made."""

    def file(self, text: bytes) -> str:
        path = Path(self.mktemp())
        path.write_bytes(text)
        return str(path)

    async def portal(self, scheme: str) -> Portal:
        """Over a maildrop with a message, and one user, who has proved nothing yet."""
        self.deliver("alice", b"Subject: x\r\n\r\nx\r\n")
        self.settle_down()
        checker = PasswordFile(self.file(b"alice:" + SECRETS[scheme]["octets"] + b"\n"))
        await checker.start(reactor)
        self.addCleanup(checker.stop)
        await self.store.start(reactor)
        return make_portal(MailboxRealm(self.store, [checker]), [checker])

    async def hops(self, portal: Portal) -> int:
        """How often a login hands work to a thread, up to the open maildrop, which is then released."""
        found = 0

        def look(frame: FrameType, event: str, _: Any) -> None:
            nonlocal found
            found += event == "call" and frame.f_code is RUN

        mind = Mind("192.0.2.1", tls=True, listener="pop3s")
        before = sys.getprofile()
        sys.setprofile(look)
        try:
            _, maildrop, logout = await portal.login(Password(b"alice", PASSWORDS["octets"]), mind, IMaildrop)
        finally:
            sys.setprofile(before)
        assert len(maildrop.messages) == len(self.files())
        logout()
        return found


class HopsTests(Hops):
    async def test_only_the_first_login_and_one_after_a_change_need_a_thread(self) -> None:
        portal = await self.portal("PLAIN")
        assert [await self.hops(portal) for _ in range(3)] == [1, 0, 0]
        self.deliver("alice", b"Subject: y\r\n\r\ny\r\n")
        self.settle_down()
        assert [await self.hops(portal) for _ in range(3)] == [1, 0, 0]

    async def test_a_hash_is_verified_in_a_thread_and_then_remembered(self) -> None:
        portal = await self.portal("SHA512-CRYPT")
        assert [await self.hops(portal) for _ in range(3)] == [2, 0, 0]


class HopsOfThreadsTests(Hops):
    options: ClassVar[dict[str, Any]] = {"io": "threads"}

    async def test_where_the_disk_is_slow_each_login_needs_one(self) -> None:
        portal = await self.portal("PLAIN")
        assert [await self.hops(portal) for _ in range(3)] == [1, 1, 1]
