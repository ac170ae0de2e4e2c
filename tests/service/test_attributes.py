"""What an entry of the passwd-file says of its user, on the whole way to the maildrop and to the client."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs

from mailserver.auth import MailboxRealm, PasswordFile, Users, make_portal
from mailserver.auth.hashing import Hashing
from mailserver.net import POP3ServerFactory
from mailserver.net.delays import Delays
from mailserver.store import Router
from tests.net.sessions import Talk
from tests.store.maildir.maildirs import MaildirCase

MESSAGE = b"Subject: x\n\nx\n"


class AttributesTests(MaildirCase):
    options: ClassVar[dict[str, Any]] = {"seen": "retr"}

    def file(self, data: str) -> str:
        path = Path(self.mktemp())
        path.write_text(data)
        return str(path)

    async def factory(self, extra: str, listener: str = "pop3") -> POP3ServerFactory:
        checker = PasswordFile(self.file(f"alice:{{PLAIN}}secret::::::{extra}\n"))
        await checker.start(reactor)
        self.addCleanup(checker.stop)
        users, clock = Users([checker]), Clock()
        realm = MailboxRealm(Router("maildir", self.store, {}), users, Delays(clock))
        portal = make_portal(realm, users)
        return POP3ServerFactory(portal, clock=clock, hostname="h", cleartext="always", listener=listener)

    async def session(self, factory: POP3ServerFactory, lines: bytes) -> bytes:
        """A whole session; the disk's threads may need some turns of the reactor."""
        talk = Talk(factory, logged_in=False)
        talk.say(b"USER alice\r\nPASS secret\r\n" + lines + b"QUIT\r\n")
        while not talk.wire.disconnecting:
            await deferLater(reactor, 0)
        talk.lose()
        return talk.heard()

    async def test_a_read_only_maildrop_is_on_the_disk_as_it_was(self) -> None:
        self.deliver("alice", MESSAGE)
        self.settle_down()
        (await self.open()).release()
        before = self.files()
        heard = await self.session(await self.factory("read_only"), b"RETR 1\r\nDELE 1\r\n")
        assert heard.endswith(b"-ERR this maildrop is read-only\r\n+OK signing off\r\n")
        assert self.files() == before
        await self.session(await self.factory("read_only=no"), b"RETR 1\r\n")
        assert [each.name.endswith("S") for each in self.files()] == [True]
        await self.session(await self.factory("read_only=no"), b"DELE 1\r\n")
        assert self.files() == []

    async def test_capa_announces_the_user_s_own_terms_and_the_delay_holds(self) -> None:
        self.deliver("alice", MESSAGE)
        factory = await self.factory("login_delay=300 expire_days=14")
        assert b"\r\nLOGIN-DELAY 300\r\nEXPIRE 14\r\n" in await self.session(factory, b"CAPA\r\n")
        assert b"\r\n-ERR [LOGIN-DELAY] " in await self.session(factory, b"")

    async def test_a_login_that_the_entry_forbids_looks_like_a_wrong_password(self) -> None:
        self.deliver("alice", MESSAGE)
        for extra, password, reason in (
            ("", b"wrong", "wrong password"),
            ("listeners=pop3s", b"secret", "not by this listener"),
            ("app_password=phone:pop3s::{PLAIN}app", b"app", "not by this listener"),
            ("app_password=phone::1:{PLAIN}app", b"app", "the app password 'phone' has expired"),
            ("disabled=unpaid", b"secret", "disabled: 'unpaid'"),
            ("allow_nets=192.0.2.0/24", b"secret", "not from this address"),
        ):
            talk = Talk(await self.factory(extra), logged_in=False)
            talk.heard()
            with capturedLogs() as events:
                talk.say(b"USER alice\r\nPASS %b\r\n" % password)
            assert talk.heard() == b"+OK send PASS\r\n-ERR [AUTH] authentication failed\r\n"
            (failed,) = (each for each in events if each.get("event") == "pop3.login_failed")
            assert failed["reason"] == reason
            assert "app" not in failed["hint"].replace("app password", "")
            talk.lose()

    async def test_ten_thousand_users_are_listed_by_pages_of_which_only_the_first_is_sorted(self) -> None:
        lines = (f"user{n:05}:{{PLAIN}}x::::::app_password=a:::{{PLAIN}}y\n" for n in reversed(range(10_000)))
        checker = PasswordFile(self.file("".join(lines)), wall=lambda: 4e9)
        sorted_in: list[object] = []
        read = Hashing.read
        self.patch(Hashing, "read", lambda *args: sorted_in.append(args[1]) or read(*args))
        await checker.start(reactor)
        self.addCleanup(checker.stop)
        after, found = "", 0
        while page := await checker.names(after, 500):
            found += len(page)
            assert len(page) <= 500
            assert page[0] > after
            after = page[-1]
        assert (found, len(sorted_in)) == (10_000, 1)
