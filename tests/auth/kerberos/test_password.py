"""Passwords that a KDC checks."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import ICheckerFactory, InvalidAuthArgumentString
from twisted.internet import reactor, task
from twisted.internet.defer import DeferredList, gatherResults
from twisted.logger import LogLevel, capturedLogs
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from mailserver.auth.kerberos.libkrb5 import KerberosUnavailable
from mailserver.auth.kerberos.password import LIFETIME_SECONDS, MAX_WAITING, THREADS, KerberosPassword
from mailserver.auth.plugins import KerberosPasswordFactory
from mailserver.credentials import Password
from mailserver.errors import LoginRefused, TemporaryFailure
from mailserver.interfaces import IPart
from mailserver.refusals import login_refused
from tests.auth.contract import CheckerContract
from tests.auth.kerberos.test_tickets import RealmCase
from tests.realm import Realm, password_of

ALICE = Password(b"alice", password_of("alice").encode())


class PasswordCase(RealmCase):
    async def checker(self, **options: Any) -> KerberosPassword:
        checker: KerberosPassword = await self.started(KerberosPassword(str(self.realm.keytab), **options))
        return checker

    async def refused(self, checker: KerberosPassword, name: bytes, password: bytes) -> str:
        """Why, for the log of the session; nothing else is told."""
        with capturedLogs() as events, pytest.raises(UnauthorizedLogin) as caught:
            await checker.requestAvatarId(Password(name, password))
        assert str(caught.value) == ""
        assert events == []
        return login_refused(caught.value).reason

    async def troubled(self, checker: KerberosPassword, credentials: Password = ALICE) -> str:
        """The login fails for now; why, according to the log."""
        with capturedLogs() as events, pytest.raises(TemporaryFailure):
            await checker.requestAvatarId(credentials)
        (event,) = events
        assert (event["event"], event["log_level"]) == ("kerberos.password.trouble", LogLevel.error)
        assert "sesame" not in repr(event)
        return f"{event['trouble']}: {event['detail']}"


class KerberosPasswordTests(PasswordCase):
    def test_it_provides_its_interfaces(self) -> None:
        verifyObject(ICredentialsChecker, KerberosPassword("/keytab"))
        verifyObject(IPart, KerberosPassword("/keytab"))

    async def test_the_right_password_is_taken_off_the_reactors_thread(self) -> None:
        threads = self.watch_calls()
        checker = await self.checker()
        assert await checker.requestAvatarId(ALICE) == b"alice"
        assert threads
        assert threading.get_ident() not in threads

    async def test_whatever_the_kdc_minds_is_answered_alike(self) -> None:
        self.realm.kadmin(
            "addprinc -pw right -pwexpire 2020-01-01 stale",
            "addprinc -pw right -expire 2020-01-01 expired",
            "addprinc -pw right -allow_tix locked",
            "addprinc -pw right +needchange new",
            "addprinc -pw right +requires_preauth careful",
        )
        checker = await self.checker()
        for user in (b"stale", b"expired", b"locked", b"new"):
            assert f"Kerberos refused '{user.decode()}'" in await self.refused(checker, user, b"right")
        for user in (b"alice", b"careful", b"nobody", b"stale"):
            await self.refused(checker, user, b"wrong")
        assert await checker.requestAvatarId(Password(b"careful", b"right")) == b"careful"

    async def test_what_can_be_no_password_or_no_name_is_not_asked_about(self) -> None:
        checker = await self.checker()
        self.realm.kadmin('addprinc -pw "" empty')
        self.realm.halt()
        self.addCleanup(self.realm.start)
        for name, password in (
            (b"alice", b""),
            (b"alice", ALICE.password + b"\0"),
            (b"alice", b"x" * 5000),
            (b"", b"x"),
            (b"alice/admin", b"sesame of alice/admin"),
            (b"alice@KPOP.TEST", ALICE.password),
            (b"alice@EVIL.EXAMPLE", ALICE.password),
            (b"\xff", b"x"),
            (b"root", password_of("root").encode()),
        ):
            await self.refused(checker, name, password)

    async def test_realm_and_domain_make_the_principal(self) -> None:
        checker = await self.checker(realm="KPOP.TEST", domain="example.org")
        assert await checker.requestAvatarId(Password(b"alice@example.org", ALICE.password)) == b"alice@example.org"
        for name in (b"alice", b"alice@example.com", b"alice@KPOP.TEST", b"alice@x@example.org", b"root@example.org"):
            await self.refused(checker, name, ALICE.password)
        other = await self.checker(realm="OTHER.TEST")
        assert "OTHER.TEST" in await self.troubled(other)

    async def test_names_and_passwords_that_are_not_ascii_work(self) -> None:
        self.realm.kadmin('addprinc -pw "pässwört, 密码" grüße')
        checker = await self.checker()
        credentials = Password("grüße".encode(), "pässwört, 密码".encode())
        assert await checker.requestAvatarId(credentials) == credentials.username
        await self.refused(checker, b"alice\\", ALICE.password)

    async def test_many_at_once_are_answered_and_what_waits_has_an_end(self) -> None:
        checker = await self.checker()
        names = [ALICE] * 10 + [Password(b"bob", password_of("bob").encode())] * 10
        assert await gatherResults(map(checker.requestAvatarId, names)) == [b"alice"] * 10 + [b"bob"] * 10
        room = THREADS + MAX_WAITING
        asked = [checker.requestAvatarId(Password(b"nobody", b"%d" % number)) for number in range(room + 5)]
        outcomes = [failure.type for _, failure in await DeferredList(asked, consumeErrors=True)]
        assert outcomes == [LoginRefused] * room + [TemporaryFailure] * 5


class TroubleTests(PasswordCase):
    """A realm of their own: its KDC comes and goes."""

    @pytest.fixture(autouse=True)
    def _in_another_realm(self, _in_the_realm: None) -> Any:
        shared, self.realm = self.realm, Realm()
        for name, value in self.realm.environment().items():
            self.patch_.setenv(name, value)
        yield
        self.realm.stop()
        self.realm = shared

    async def test_without_a_kdc_no_password_is_wrong(self) -> None:
        checker = await self.checker()
        self.realm.halt()
        assert "Cannot contact any KDC" in await self.troubled(checker)
        assert "Cannot contact any KDC" in await self.troubled(checker, Password(b"alice", b"wrong"))
        self.realm.start()
        assert await checker.requestAvatarId(ALICE) == b"alice"

    async def test_a_right_password_is_remembered_for_a_while(self) -> None:
        clock = task.Clock()
        checker = await self.checker(seconds=clock.seconds)
        await checker.requestAvatarId(ALICE)
        self.realm.halt()
        assert await checker.requestAvatarId(ALICE) == b"alice"
        await self.troubled(checker, Password(b"alice", b"wrong"))
        await self.troubled(checker, Password(b"bob", ALICE.password))
        clock.advance(LIFETIME_SECONDS)
        await self.troubled(checker)

    async def test_a_changed_password_counts_when_the_old_is_forgotten(self) -> None:
        clock = task.Clock()
        checker = await self.checker(seconds=clock.seconds)
        await checker.requestAvatarId(ALICE)
        self.realm.kadmin("cpw -pw fresh alice")
        assert await checker.requestAvatarId(Password(b"alice", b"fresh")) == b"alice"
        assert await checker.requestAvatarId(ALICE) == b"alice"
        await checker.reload()
        await self.refused(checker, b"alice", ALICE.password)

    async def test_a_kdc_that_does_not_know_our_key_proves_nothing(self) -> None:
        spoofed = Realm()
        self.addCleanup(spoofed.stop)
        self.patch_.setenv("KRB5_CONFIG", str(spoofed.config))
        checker = await self.checker()
        assert "could not prove that it is ours" in await self.troubled(checker)

    async def test_a_keytab_that_was_lost_proves_nothing(self) -> None:
        keytab = self.realm.keytab
        checker = await self.checker()
        os.unlink(keytab)  # noqa: PTH108 - where a Path's would be a blocking call
        await self.troubled(checker)
        self.realm.extract(keytab, "host/localhost")
        assert "has lost its keys" in await self.troubled(checker)
        self.realm.extract(keytab, "pop/localhost", rotate=True)
        assert await checker.requestAvatarId(ALICE) == b"alice"


class StartTests(PasswordCase):
    async def test_without_a_keytab_it_does_not_start(self) -> None:
        with pytest.raises(KerberosUnavailable, match="there is no keytab"):
            await KerberosPassword(str(self.folder / "nowhere")).start(reactor)
        with pytest.raises(KerberosUnavailable, match="no key of pop/elsewhere"):
            await KerberosPassword(str(self.realm.keytab), host="elsewhere").start(reactor)

    async def test_without_a_realm_it_does_not_start(self) -> None:
        config = self.folder / "krb5.conf"
        config.write_text("[libdefaults]\ndns_lookup_realm = false\n")
        self.patch_.setenv("KRB5_CONFIG", str(config))
        with pytest.raises(KerberosUnavailable, match="set default_realm in"):
            await KerberosPassword(str(self.realm.keytab)).start(reactor)
        await self.checker(realm="KPOP.TEST")


class FactoryTests(PasswordCase):
    def test_it_is_a_plugin_of_strcred(self) -> None:
        factory = KerberosPasswordFactory()
        verifyObject(ICheckerFactory, factory)
        verifyObject(IPlugin, factory)
        assert factory.authType == "kerberos-password"

    async def test_its_checker_serves_a_program_that_does_not_start_it(self) -> None:
        checker = KerberosPasswordFactory().generateChecker(f"{self.realm.keytab}:realm=KPOP.TEST:host=localhost")
        self.addCleanup(checker.stop)
        logins = gatherResults(map(checker.requestAvatarId, [ALICE, ALICE]))
        assert await logins == [b"alice", b"alice"]

    async def test_there_it_says_at_each_login_what_keeps_it_from_starting(self) -> None:
        checker = KerberosPasswordFactory().generateChecker(str(self.folder / "later"))
        self.addCleanup(checker.stop)
        for _ in range(2):
            with pytest.raises(KerberosUnavailable):
                await checker.requestAvatarId(ALICE)

    def test_what_it_does_not_understand_is_an_error(self) -> None:
        for argument, words in {
            "": "needs a keytab",
            ":realm=R": "needs a keytab",
            "/keytab:relm=R": '"relm" is none of realm=, domain= and host=',
            "/keytab:realm": '"realm" is none',
            "/keytab:realm=": '"realm" is none',
            "/keytab:host=a/b": "is not a host name",
        }.items():
            with pytest.raises(InvalidAuthArgumentString, match=words):
                KerberosPasswordFactory().generateChecker(argument)


class ContractTests(CheckerContract, RealmCase):
    at_once = False
    users = {b"alice": ALICE.password, "jörg".encode(): "pässwört mit Leerzeichen".encode(), b"octets": b"\xc3\xa4"}  # noqa: RUF012

    def make(self, users: dict[bytes, bytes]) -> Any:
        self.realm.kadmin(
            *(f'addprinc -pw "{secret.decode()}" {name.decode()}' for name, secret in users.items()),
        )
        checker = KerberosPassword(str(self.realm.keytab), find_reactor=lambda: reactor)
        self.addCleanup(checker.stop)
        return checker
