from __future__ import annotations

from hashlib import md5
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mailserver.auth import MailboxRealm, PasswordFile, make_portal
from mailserver.auth.identities import Acting
from mailserver.credentials import (
    ActingFor,
    Apop,
    BearerToken,
    CramMd5,
    Password,
    Unproven,
    VerifiedIdentity,
)
from mailserver.errors import TemporaryFailure
from mailserver.interfaces import IMaildrop, IUsers, Mind, User, UserId
from mailserver.testing.contracts.checkers import NameRealm
from tests.auth.kerberos.realms import Store

LINES = b"alice:{PLAIN}a\nboss:{PLAIN}b\nbob:{PLAIN}c\n"


@implementer(IUsers)
class Users:
    def __init__(self, *users: User) -> None:
        self.users = {user.name: user for user in users}

    def lookup(self, name: str) -> Deferred[User | None]:
        return succeed(self.users.get(name))


class PortalCase(TestCase):
    def portal(self, masters: tuple[str, ...] = ()) -> Portal:
        path = Path(self.mktemp())
        path.write_bytes(LINES)
        checker = PasswordFile(str(path))
        self.successResultOf(checker.start(reactor))
        self.addCleanup(checker.stop)
        return make_portal(NameRealm(), [checker], masters)

    async def refused(self, portal: Portal, credentials: Any) -> None:
        with pytest.raises(LoginFailed):
            await portal.login(credentials, None)


class IdentityTests(PortalCase):
    async def test_who_was_verified_and_has_an_account_is_taken(self) -> None:
        portal = self.portal()
        assert await portal.login(VerifiedIdentity(b"alice"), None) == b"alice"
        for name in (b"nobody", b"", b"../alice", b"\xff", b"alice\0"):
            await self.refused(portal, VerifiedIdentity(name))

    async def test_where_nobody_knows_the_users_a_name_that_can_be_one_is_enough(self) -> None:
        portal = make_portal(NameRealm(), [])
        assert await portal.login(VerifiedIdentity(b"alice"), None) == b"alice"
        await self.refused(portal, VerifiedIdentity(b"../alice"))

    async def test_a_failed_proof_is_taken_by_nobody(self) -> None:
        for portal in (self.portal(), self.portal(("alice",)), make_portal(NameRealm(), [])):
            await self.refused(portal, Unproven(b"alice"))

    async def test_a_token_is_no_login_by_itself(self) -> None:
        await self.refused(self.portal(), BearerToken(b"t"))

    async def test_cram_md5_is_checked_as_apop_is(self) -> None:
        portal = self.portal()
        digest = b"c" * 32
        await self.refused(portal, CramMd5(b"alice", b"<1@h>", digest))
        await self.refused(portal, Apop(b"<1@h>", b"alice", digest))
        apop = Apop(b"<1@h>", b"alice", md5(b"<1@h>a").hexdigest().encode())
        assert await portal.login(apop, None) == b"alice"

    async def test_a_second_spelling_is_tried_after_the_first(self) -> None:
        portal = self.portal()
        assert await portal.login(Password(b"alice", "\u00aa".encode(), b"a"), None) == b"alice"
        assert await portal.login(Password(b"alice", b"a", b"wrong"), None) == b"alice"
        await self.refused(portal, Password(b"alice", b"wrong", b"also"))
        await self.refused(make_portal(NameRealm(), []), Password(b"alice", b"a", b"b"))

    async def test_a_fault_is_not_followed_by_another_try(self) -> None:
        portal = self.portal()
        asked: list[Any] = []

        def broken(*_: Any) -> None:
            asked.append(1)
            raise TemporaryFailure

        portal.checkers[next(iter(portal.checkers))]._checkers[0].requestAvatarId = broken  # type: ignore[attr-defined]
        for checker in portal.checkers.values():
            checker._checkers[0].requestAvatarId = broken  # type: ignore[attr-defined]
        with pytest.raises(TemporaryFailure):
            await portal.login(Password(b"alice", b"x", b"y"), None)
        assert asked == [1]


class MasterTests(PortalCase):
    async def test_a_master_may_act_for_another_by_any_proof(self) -> None:
        portal = self.portal(("boss",))
        for proof in (Password(b"boss", b"b"), VerifiedIdentity(b"boss")):
            assert await portal.login(ActingFor(proof, b"alice"), None) == Acting("alice", "boss")

    async def test_an_app_password_of_a_master_is_for_its_listeners_whoever_has_read_the_master(self) -> None:
        class Knowing:
            """Verifies the master's app password, and does not ensure that no other checker knows the master."""

            credentialInterfaces = (IUsernamePassword,)  # noqa: N815 - ICredentialsChecker names it so

            def requestAvatarId(self, credentials: Any) -> UserId:
                proved = User("boss", secret="desk", listeners=frozenset({"pop3s"}))
                return UserId(credentials.username, proved)

        acting = await make_portal(NameRealm(), [Knowing()], ["boss"]).login(
            ActingFor(Password(b"boss", b"x"), b"alice"), None
        )
        realm = MailboxRealm(Store())
        mind = Mind("192.0.2.1", tls=True, listener="pop3s")
        await realm.requestAvatar(acting, mind, IMaildrop)
        assert mind.terms.secret == "desk"
        with pytest.raises(UnauthorizedLogin):
            await realm.requestAvatar(acting, Mind("192.0.2.1", tls=True, listener="pop3"), IMaildrop)

    async def test_nobody_else_may(self) -> None:
        portal = self.portal(("boss", "nobody"))
        for credentials in (
            ActingFor(Password(b"bob", b"c"), b"alice"),
            ActingFor(Password(b"boss", b"wrong"), b"alice"),
            ActingFor(Password(b"nobody", b"wrong"), b"alice"),
            ActingFor(VerifiedIdentity(b"bob"), b"alice"),
            ActingFor(Unproven(b"boss"), b"alice"),
            ActingFor(Password(b"boss", b"b"), b"nobody"),
            ActingFor(Password(b"boss", b"b"), b"../alice"),
            ActingFor(Password(b"boss", b"b"), b""),
        ):
            await self.refused(portal, credentials)

    async def test_without_masters_nobody_may(self) -> None:
        await self.refused(self.portal(), ActingFor(Password(b"boss", b"b"), b"alice"))


ALICE = User("alice", home="/home/alice")
BOSS = User("boss", networks=(ip_network("192.0.2.0/24"),))


class RealmTests(TestCase):
    def open(self, user: User, peer: str = "192.0.2.7") -> Deferred[Any]:
        self.store = Store()
        realm = MailboxRealm(self.store, [Users(user, BOSS)])
        return realm.requestAvatar(Acting("alice", "boss"), Mind(peer, tls=True, listener="pop3"), IMaildrop)

    def test_the_maildrop_is_the_user_s_and_both_are_logged(self) -> None:
        with capturedLogs() as events:
            self.successResultOf(self.open(ALICE))
        assert self.store.opened[0][0] == ALICE
        assert formatEvent(events[0]) == "'boss' acts for 'alice' from 192.0.2.7"

    def test_the_networks_of_both_count(self) -> None:
        self.failureResultOf(self.open(ALICE, "192.0.3.1"), UnauthorizedLogin)
        far = User("alice", networks=(ip_network("198.51.100.0/24"),))
        self.failureResultOf(self.open(far), UnauthorizedLogin)
        assert self.store.opened == []

    def test_a_checker_s_user_without_a_name_has_no_maildrop(self) -> None:
        directory = Users(BOSS)
        directory.users["alice"] = User("")
        store = Store()
        avatar = MailboxRealm(store, [directory]).requestAvatar(
            Acting("alice", "boss"), Mind("192.0.2.7", tls=True, listener="pop3"), IMaildrop
        )
        self.failureResultOf(avatar, UnauthorizedLogin)
        assert store.opened == []

    def test_an_embedder_s_call_without_a_mind_is_told_as_such(self) -> None:
        store = Store()
        with capturedLogs() as events:
            avatar = MailboxRealm(store).requestAvatar(Acting("alice", "root"), None, IMaildrop)
        self.successResultOf(avatar)
        assert formatEvent(events[0]) == "'root' acts for 'alice' from None"
