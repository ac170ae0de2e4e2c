from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailserver.asker import asked_by
from mailserver.auth.dovecot import service
from mailserver.auth.dovecot.checker import DovecotAuth, DovecotUsers
from mailserver.credentials import Password
from mailserver.errors import LoginRefused, TemporaryFailure, Unusable
from mailserver.interfaces import IPart, IUsers, Mind, Quota, User
from mailserver.names import Names
from mailserver.testing.contracts.checkers import USERS
from tests.auth.contract import CheckerContract
from tests.auth.dovecot.dovecots import MANY, SETTINGS, Dovecot
from tests.auth.outages import password, weather
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site


def right(name: str) -> Password:
    return Password(name.encode(), password(name))


class DovecotCase(TestCase):
    dovecot: Dovecot

    @pytest.fixture(autouse=True)
    def _given(self, dovecot: Dovecot) -> None:
        self.dovecot = dovecot

    async def checker(self, *, users: bool = False) -> Any:
        made = DovecotUsers(self.dovecot.client, self.dovecot.userdb) if users else DovecotAuth(self.dovecot.client)
        self.addCleanup(made.stop)
        await made.start(reactor)
        return made

    async def refused(self, checker: Any, credentials: Password, mind: Mind | None = None) -> LoginRefused:
        with pytest.raises(LoginRefused) as raised:
            await asked_by("", mind, checker.requestAvatarId, credentials)
        return raised.value


def test_the_configuration_of_the_page_works_as_it_stands(dovecot: Dovecot) -> None:
    settings = tomllib.loads(SETTINGS.replace("/run/dovecot", f"{dovecot.folder}/run"))
    settings["auth"]["cleartext"] = "loopback"
    with Site() as site:
        site.hide("homely", password("homely").decode())
        (with_homes,) = settings["auth"]["checkers"]
        for checker, url in (
            (with_homes, settings["store"]["url"]),
            (with_homes.partition(":userdb=")[0], f"maildir:{dovecot.folder}/mail/{{user}}/Maildir"),
        ):
            settings["auth"]["checkers"], settings["store"]["url"] = [checker], url
            with Server(site, **settings) as server:
                with RawPOP3(server.pop3_port) as client:
                    client.login("homely", password("homely").decode())
                    client.quit()
                with RawPOP3(server.pop3_port) as client:
                    client.ok(b"USER homely")
                    assert client.command(b"PASS wrong").startswith(b"-ERR [AUTH]")
                assert server.wait_for("pop3.login_failed")["reason"] == "Dovecot refuses the name or the password"


class DovecotContractTests(CheckerContract, DovecotCase):
    at_once = False

    def make(self, users: dict[bytes, bytes]) -> Any:
        assert users == USERS
        checker = DovecotAuth(self.dovecot.client)
        self.addCleanup(checker.stop)
        checker.start(reactor)
        return checker


class DovecotAuthTests(DovecotCase):
    async def test_it_is_a_part_of_the_service(self) -> None:
        checker = await self.checker()
        verifyObject(IPart, checker)
        assert not IUsers.providedBy(checker)
        assert repr(checker) == f"DovecotAuth({self.dovecot.client!r})"
        await checker.reload()

    async def test_a_hundred_logins_take_one_connection_and_each_gets_its_own_answer(self) -> None:
        checker = await self.checker()
        before = self.connections()
        taken = [checker.requestAvatarId(right(name)) for name in MANY]
        wrong = [checker.requestAvatarId(Password(name.encode(), password("another"))) for name in MANY]
        assert [await each for each in taken] == [name.encode() for name in MANY]
        for each in wrong:
            with pytest.raises(UnauthorizedLogin):
                await each
        assert self.connections() == before

    def connections(self) -> int:
        table = Path("/proc/net/unix").read_text("utf-8")
        return sum(line.endswith(self.dovecot.client) for line in table.splitlines())

    async def test_the_name_is_the_one_that_dovecot_gives(self) -> None:
        checker = await self.checker()
        assert await checker.requestAvatarId(right("renamed")) == b"Liddell@example.org"
        checker.naming = Names(local_domains=("example.org",))
        assert await checker.requestAvatarId(right("renamed")) == b"Liddell"

    async def test_a_name_that_nobody_can_have_is_no_answer(self) -> None:
        checker = await self.checker()
        with capturedLogs() as events, pytest.raises(TemporaryFailure):
            await checker.requestAvatarId(right("climber"))
        assert [event["event"] for event in events] == ["auth.dovecot.down"]

    async def test_networks_are_dovecots_own_to_judge(self) -> None:
        checker = await self.checker()
        for peer in ("192.0.2.7", "2001:db8::7"):
            mind = Mind(peer, tls=True, listener="pop3s", session="a1")
            assert await asked_by("", mind, checker.requestAvatarId, right("near")) == b"near"
        for peer in ("198.51.100.7", "fe80::1%lo", ""):
            await self.refused(checker, right("near"), Mind(peer, tls=False, listener="pop3"))

    async def test_who_may_not_log_in_at_dovecot_may_not_here(self) -> None:
        checker = await self.checker()
        assert [(await self.refused(checker, right(name))).reason for name in ("moved", "proxied")] == [
            "Dovecot's passdb has nologin for the user: 'moved'",
            "Dovecot's passdb says that the user's mail is on another server",
        ]

    async def test_a_wrong_password_and_an_unknown_user_look_alike(self) -> None:
        checker = await self.checker()
        for name in (b"user1", b"nobody"):
            error = await self.refused(checker, Password(name, b"wrong"))
            assert (error.reason, error.known) == ("Dovecot refuses the name or the password", None)

    async def test_a_password_or_a_name_with_a_nul_reaches_nobody(self) -> None:
        checker = await self.checker()
        secret = password("user1")
        for name, word in ((b"x\0user1", secret), (b"user1", secret + b"\0"), (b"user1", b"x" * 9999)):
            error = await self.refused(checker, Password(name, word))
            assert "NUL" in error.reason

    async def test_without_plain_the_start_says_so(self) -> None:
        server = Dovecot("cram-md5")
        self.addCleanup(server.close)
        with pytest.raises(Unusable, match="auth_mechanisms lack plain"):
            await DovecotAuth(server.client).start(reactor)

    async def test_killed_or_frozen_it_refuses_nobody_and_lets_nobody_in(self) -> None:
        self.patch(service, "ANSWER_SECONDS", 1.0)
        for breakdown in (self.dovecot.frozen, self.dovecot.down):
            checker = await self.checker()
            with capturedLogs() as events:
                tally = await weather(checker, MANY, breakdown)
            tally.check()
            assert [each["event"] for each in events] == ["auth.dovecot.down", "auth.dovecot.up"]


class DovecotUsersTests(DovecotCase):
    async def test_the_userdb_says_where_the_mail_is(self) -> None:
        checker = await self.checker(users=True)
        verifyObject(IUsers, checker)
        spaced, homely, mbox = [await checker.lookup(name) for name in ("spaced", "homely", "mbox")]
        assert (spaced.name, spaced.home, spaced.mail) == ("spaced", "/home/a b", "maildir:/srv/spaced")
        assert spaced.quota == Quota(1024**3)
        assert homely == User("homely", home=f"{self.dovecot.folder}/mail/homely")
        assert "mbox" in mbox.unserved
        assert await checker.lookup("nobody") is None
        assert await checker.requestAvatarId(right("homely")) == b"homely"

    async def test_while_it_is_down_nobody_is_unknown(self) -> None:
        checker = await self.checker(users=True)
        with self.dovecot.down(), pytest.raises(TemporaryFailure):
            await checker.lookup("homely")
        assert await checker.lookup("homely") == User("homely", home=f"{self.dovecot.folder}/mail/homely")
