"""Whose password opens what of an account of many users."""

from __future__ import annotations

import os
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import makeChecker
from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailserver.auth import Accounts, MailboxRealm, PasswordFile, make_oracle, make_portal
from mailserver.auth.identities import Acting
from mailserver.auth.scram_keys import derive
from mailserver.credentials import (
    ActingFor,
    Apop,
    BearerToken,
    CramMd5,
    IKerberosIdentity,
    KerberosIdentity,
    Password,
    VerifiedIdentity,
)
from mailserver.exchange import ScramKeys, VerifierOf
from mailserver.interfaces import Account, IMaildrop, IUsers, IVerifiers, Mind, Quota, User
from mailserver.names import Names
from mailserver.testing.contracts.checkers import STAMP, NameRealm, digest
from tests.auth.kerberos.realms import Store

NAMES = Names(accounts={"vision25": "vision25.example.org"})
LINES = (
    b"vision25:{PLAIN}host::::/home/vision25::allow_nets=192.0.2.0/24\n"
    b"mary@vision25:{PLAIN}hers::::::allow_nets=198.51.100.0/24\n"
    b"alice:{PLAIN}tanstaaf::::/home/alice\n"
    b"root:{PLAIN}master\n"
)
EXTRA = b"vision25:{PLAIN}pop3 only\n"


@implementer(ICredentialsChecker)
class Kerberos:
    """Lets the principal of an account's own name in, and answers as it was told."""

    credentialInterfaces = (IKerberosIdentity,)  # noqa: N815 - ICredentialsChecker names it so

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer

    def requestAvatarId(self, credentials: Any) -> Any:
        if credentials.principal != f"{credentials.username.decode()}@EXAMPLE.ORG":
            raise UnauthorizedLogin
        return credentials.username if self.answer is None else self.answer


class AccountsCase(TestCase):
    def file(self, data: bytes) -> str:
        path = Path(self.mktemp())
        path.write_bytes(data)
        return str(path)

    async def checker(self, data: bytes, domain: str = "") -> PasswordFile:
        checker = PasswordFile(self.file(data), domain=domain)
        await checker.start(reactor)
        self.addCleanup(checker.stop)
        return checker

    async def accounts(self, *others: Any) -> Accounts:
        return Accounts(NAMES, [await self.checker(LINES), *others])

    async def login(self, credentials: Any, *others: Any) -> Any:
        portal = make_portal(NameRealm(), [await self.accounts(*others)], masters=["root"])
        return await portal.login(credentials, None)

    async def refused(self, credentials: Any, *others: Any) -> None:
        with pytest.raises(UnauthorizedLogin):
            await self.login(credentials, *others)


class PasswordsOfAnAccount(AccountsCase):
    async def test_it_provides_its_interfaces(self) -> None:
        accounts = await self.accounts()
        for interface in (ICredentialsChecker, IUsers, IVerifiers):
            verifyObject(interface, accounts)

    async def test_the_account_s_password_opens_it_and_each_user_s_share(self) -> None:
        for name in (b"vision25", b"john@vision25"):
            assert await self.login(Password(name, b"host")) == name
            await self.refused(Password(name, b"hers"))
            await self.refused(Password(name, b"x"))

    async def test_a_user_with_a_line_of_his_own_has_his_own_password(self) -> None:
        assert await self.login(Password(b"mary@vision25", b"hers")) == b"mary@vision25"
        await self.refused(Password(b"mary@vision25", b"host"))

    async def test_a_second_file_gives_the_account_a_second_password(self) -> None:
        extra = await self.checker(EXTRA)
        for name in (b"vision25", b"john@vision25"):
            for password in (b"host", b"pop3 only"):
                assert await self.login(Password(name, password), extra) == name
        await self.refused(Password(b"mary@vision25", b"pop3 only"), extra)

    async def test_its_users_log_in_again_and_again(self) -> None:
        accounts = await self.accounts()
        for name in (b"john@vision25", b"alice", b"john@vision25"):
            password = b"tanstaaf" if name == b"alice" else b"host"
            assert await accounts.requestAvatarId(Password(name, password)) == name

    async def test_others_are_asked_for_as_ever(self) -> None:
        assert await self.login(Password(b"alice", b"tanstaaf")) == b"alice"
        await self.refused(Password(b"alice", b"host"))
        await self.refused(Password(b"john@other", b"host"))
        await self.refused(Password(b"../john@vision25", b"host"))

    async def test_digests_work_for_every_name(self) -> None:
        cram = CramMd5(b"john@vision25", b"<c@h>", b"")
        for name, password in ((b"vision25", b"host"), (b"john@vision25", b"host"), (b"mary@vision25", b"hers")):
            assert await self.login(Apop(STAMP, name, digest(password))) == name
            await self.refused(Apop(STAMP, name, digest(b"x")))
        await self.refused(cram)

    async def test_foreign_credentials_and_checkers_work(self) -> None:
        memory = InMemoryUsernamePasswordDatabaseDontUse(vision25=b"theirs")
        assert await self.login(UsernamePassword(b"john@vision25", b"host")) == b"john@vision25"
        assert await self.login(UsernamePassword(b"john@vision25", b"theirs"), memory) == b"john@vision25"
        asked = UsernamePassword(b"john@vision25", b"theirs")
        await self.login(asked, memory)
        assert asked.username == b"john@vision25", "it was not changed"

    async def test_the_memory_of_the_command_line_works_behind_accounts_too(self) -> None:
        memory = makeChecker("memory:vision25:theirs")
        assert await self.login(Password(b"john@vision25", b"theirs"), memory) == b"john@vision25"

    async def test_a_checker_that_means_somebody_else_is_not_believed(self) -> None:
        ticket = KerberosIdentity("vision25@EXAMPLE.ORG", b"john@vision25")
        assert await self.login(ticket, Kerberos()) == b"john@vision25"
        assert await self.login(ticket, Kerberos("vision25")) == b"john@vision25"
        for answer in (b"alice", (), b"\xff", b""):
            await self.refused(ticket, Kerberos(answer))
        await self.refused(KerberosIdentity("john@EXAMPLE.ORG", b"john@vision25"), Kerberos())

    async def test_who_was_verified_is_let_in(self) -> None:
        assert await self.login(VerifiedIdentity(b"john@vision25")) == b"john@vision25"
        await self.refused(VerifiedIdentity(b"nobody"))

    async def test_a_master_acts_for_a_user_of_an_account(self) -> None:
        acting = ActingFor(Password(b"root", b"master"), b"john@vision25")
        assert await self.login(acting) == Acting("john@vision25", "root")
        await self.refused(ActingFor(Password(b"root", b"x"), b"john@vision25"))

    async def test_credentials_that_nobody_takes_are_refused(self) -> None:
        accounts = await self.accounts()
        with pytest.raises(UnauthorizedLogin):
            await accounts.requestAvatarId(BearerToken(b"t"))
        assert set(accounts.credentialInterfaces) == {IUsernamePassword, IUsernameHashedPassword}


class SecretsOfAnAccount(AccountsCase):
    async def keys(self, name: bytes, mechanism: bytes = b"SCRAM-SHA-256") -> Any:
        return await make_oracle([await self.accounts()]).ask(VerifierOf(name, mechanism))

    async def test_scram_is_by_whosever_password_it_is(self) -> None:
        for name, password in ((b"vision25", b"host"), (b"john@vision25", b"host"), (b"mary@vision25", b"hers")):
            keys = await self.keys(name)
            assert isinstance(keys, ScramKeys)
            assert keys == derive(password, keys.salt, keys.iterations, "sha256")

    async def test_strangers_get_fakes(self) -> None:
        oracle = make_oracle([await self.accounts()])
        for name in (b"john@nowhere", b"\xff"):
            asked = VerifierOf(name, b"SCRAM-SHA-256")
            assert await oracle.ask(asked) == await oracle.ask(asked)

    async def test_digest_md5_is_by_the_name_as_it_was_typed(self) -> None:
        oracle = make_oracle([await self.accounts()])
        for name, typed, hashed in (
            (b"john@vision25", b"John+vision25", b"John+vision25"),
            (b"john@vision25", b"", b"john@vision25"),
            (b"vision25", b"VISION25", b"VISION25"),
        ):
            found = await oracle.ask(VerifierOf(name, b"DIGEST-MD5", b"h", typed))
            assert found == md5(hashed + b":h:host").digest()

    async def test_the_mechanisms_are_those_of_the_checkers(self) -> None:
        assert (await self.accounts()).mechanisms() == {b"SCRAM-SHA-1", b"SCRAM-SHA-256", b"DIGEST-MD5"}
        assert Accounts(NAMES, []).mechanisms() == frozenset()


class MaildropsOfAnAccount(AccountsCase):
    async def opened(self, name: bytes, peer: str, *others: Any) -> User:
        store = Store()
        realm = MailboxRealm(store, [await self.accounts(*others)])
        await realm.requestAvatar(name, Mind(peer, tls=True, listener="pop3"), IMaildrop)
        return store.opened[0][0]

    async def test_an_account_opens_as_a_whole_or_in_part(self) -> None:
        whole = await self.opened(b"vision25", "192.0.2.1")
        assert (whole.name, whole.home, whole.account) == (
            "vision25",
            "/home/vision25",
            Account("vision25.example.org", None),
        )
        share = await self.opened(b"john@vision25", "192.0.2.1")
        assert (share.name, share.home, share.account) == (
            "vision25",
            "/home/vision25",
            Account("vision25.example.org", "john"),
        )

    async def test_a_line_of_one_s_own_has_networks_of_its_own(self) -> None:
        assert (await self.opened(b"mary@vision25", "198.51.100.1")).account == Account("vision25.example.org", "mary")
        for name, peer in ((b"mary@vision25", "192.0.2.1"), (b"john@vision25", "198.51.100.1")):
            with pytest.raises(UnauthorizedLogin):
                await self.opened(name, peer)

    async def test_an_app_password_of_the_account_or_of_one_s_own_is_for_its_listeners_alone(self) -> None:
        lines = (
            b"vision25:{PLAIN}host::::/home/vision25::app_password=desk:pop3s::{PLAIN}a\n"
            b"mary@vision25:{PLAIN}hers::::::app_password=phone:pop3s::{PLAIN}b\n"
        )
        accounts = Accounts(NAMES, [await self.checker(lines)])
        for name, password, secret in ((b"john@vision25", b"a", "desk"), (b"mary@vision25", b"b", "phone")):
            taken: Any = await accounts.requestAvatarId(Password(name, password))
            assert (taken, taken.user.secret, taken.user.listeners) == (name, secret, {"pop3s"})

    async def test_others_open_what_is_theirs(self) -> None:
        assert await self.opened(b"alice", "") == User("alice", home="/home/alice")
        assert await self.opened(b"alice", "", await self.checker(EXTRA)) == User("alice", home="/home/alice")

    async def test_an_account_that_no_checker_lists_is_nobody_s(self) -> None:
        listed = Accounts(Names(accounts={"other": ""}), [await self.checker(LINES)])
        assert await listed.lookup("john@other") is None

    async def test_where_nobody_lists_users_everybody_may_be_one(self) -> None:
        accounts = Accounts(NAMES, [InMemoryUsernamePasswordDatabaseDontUse(vision25=b"x")])
        john = User("vision25", account=Account("vision25.example.org", "john"))
        assert await accounts.lookup("alice") == User("alice")
        assert await accounts.lookup("john@vision25") == john
        unlisted = InMemoryUsernamePasswordDatabaseDontUse(vision25=b"x")
        accounts = Accounts(NAMES, [unlisted, await self.checker(b"alice:{PLAIN}x\n")])
        assert await accounts.lookup("john@vision25") == john, "its maildrop, and not one of the name john@vision25"
        assert await accounts.lookup("bob") is None


class DomainsOfFiles(AccountsCase):
    async def domain(self, data: bytes, domain: str = "example.org") -> PasswordFile:
        return await self.checker(data, domain)

    async def test_the_users_of_a_file_are_of_its_domain(self) -> None:
        checker = await self.domain(b"john:{PLAIN}x\nmary@example.org:{PLAIN}y\n")
        assert await checker.requestAvatarId(Password(b"john@example.org", b"x")) == b"john@example.org"
        assert await checker.requestAvatarId(Password(b"mary@example.org", b"y")) == b"mary@example.org"
        assert await checker.lookup("john@example.org") == User("john@example.org")
        for name in (b"john", b"john@example.net", b"john@sub.example.org", b"john@notexample.org"):
            with pytest.raises(UnauthorizedLogin):
                await checker.requestAvatarId(Password(name, b"x"))
            assert await checker.lookup(name.decode()) is None

    async def test_a_line_of_another_domain_is_skipped_and_noted(self) -> None:
        checker = await self.domain(b"john@example.net:{PLAIN}x\nmary:{PLAIN}y\n")
        assert checker._file.table.notes == ("1: the user's domain is not the file's; the line is skipped",)
        assert set(checker._file.table.entries) == {b"mary@example.org"}

    async def test_two_files_know_two_johns(self) -> None:
        portal = make_portal(
            NameRealm(),
            [await self.domain(b"john:{PLAIN}x\n"), await self.domain(b"john:{PLAIN}z\n", "example.net")],
        )
        assert await portal.login(Password(b"john@example.net", b"z"), None) == b"john@example.net"
        with pytest.raises(UnauthorizedLogin):
            await portal.login(Password(b"john@example.net", b"x"), None)

    async def test_a_file_s_domain_stays_when_it_is_read_again(self) -> None:
        checker = await self.domain(b"john:{PLAIN}x\n")
        changed = self.file(b"john:{PLAIN}x\njoan:{PLAIN}x\n")
        os.replace(changed, checker._file.path)  # noqa: PTH105 - both are texts
        assert await checker.lookup("joan@example.org") == User("joan@example.org")


def test_the_maildrop_is_the_account_s_and_who_may_log_in_the_user_s_own_entry_says() -> None:
    users = Accounts(NAMES, [])
    account = User(
        "vision25", home="/v", quota=Quota(9), expire_days=7, login_delay=1, listeners=frozenset({"pop3"}), denied="x"
    )
    own = User("mary@vision25", home="/m", quota=Quota(5), expire_days=1, login_delay=2, listeners=frozenset({"tls"}))
    owner = NAMES.owner("mary@vision25")
    user = users.of_account(owner, account, own)
    assert user is not None
    assert (user.home, user.quota, user.expire_days) == ("/v", Quota(9), 7)
    assert (user.listeners, user.login_delay, user.denied) == ({"tls"}, 2, "")
    for one, other in ((True, False), (False, True)):
        both = users.of_account(owner, replace(account, read_only=one), replace(own, read_only=other))
        assert both is not None
        assert both.read_only
    shared = users.of_account(owner, account, None)
    assert shared is not None
    assert (shared.listeners, shared.login_delay, shared.denied) == ({"pop3"}, 1, "x")
