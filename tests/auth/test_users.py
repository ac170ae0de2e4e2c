"""How often a login asks who somebody is, and whose answer counts."""

from __future__ import annotations

import gc
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import md5
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface import Interface, implementer
from zope.interface.verify import verifyObject

from mailserver.auth import Accounts, MailboxRealm, PasswordFile, Users, make_oracle, make_portal
from mailserver.auth.scram_keys import derive
from mailserver.credentials import ActingFor, Apop, BearerToken, Password, VerifiedIdentity
from mailserver.errors import LoginRefused, TemporaryFailure
from mailserver.exchange import VerifierOf
from mailserver.interfaces import Account, Census, IMaildrop, IUserList, IUsers, IVerifiers, Mind, User, UserId
from mailserver.names import PLAIN, Names
from mailserver.net import POP3ServerFactory
from mailserver.store import MemoryStore, SharedStore
from mailserver.testing.contracts.checkers import NameRealm, UserListContract
from tests.auth.kerberos.realms import Store
from tests.auth.vectors import SECRETS
from tests.net.sessions import Talk
from tests.sasl.clients import digest_md5, scram

NAMES = Names(accounts={"vision25": "vision25.example.org"})
LINES = (
    b"alice:{PLAIN}tanstaaf::::/home/alice\n"
    b"vision25:{PLAIN}host::::/home/vision25\n"
    b"mary@vision25:{PLAIN}hers\n"
    b"root:{PLAIN}master\n"
)
MIND = Mind("192.0.2.1", tls=True, listener="pop3s")


@implementer(ICredentialsChecker, IUserList, IVerifiers)
class Counted:
    """A passwd-file, and a note of each question that a database in its place would have to answer."""

    def __init__(self, backend: PasswordFile, *, carries: bool = True) -> None:
        self.backend = backend
        self.carries = carries
        self.asked: list[str] = []

    @property
    def credentialInterfaces(self) -> tuple[type[Interface], ...]:
        return self.backend.credentialInterfaces

    def requestAvatarId(self, credentials: Any) -> Any:
        self.asked.append("requestAvatarId")
        answer = self.backend.requestAvatarId(credentials)
        return answer if self.carries else answer.addCallback(bytes)

    def lookup(self, name: str) -> Deferred[User | None]:
        self.asked.append("lookup")
        return self.backend.lookup(name)

    def names(self, after: str, limit: int) -> Any:
        return self.backend.names(after, limit)

    def verifier(self, name: bytes, mechanism: bytes, realm: bytes = b"", typed: bytes = b"") -> Deferred[object]:
        self.asked.append("verifier")
        return self.backend.verifier(name, mechanism, realm, typed)

    def mechanisms(self) -> frozenset[bytes]:
        return self.backend.mechanisms()

    def census(self) -> Census:
        return self.backend.census()

    def explain(self, name: str, mechanism: bytes) -> LoginRefused:
        return self.backend.explain(name, mechanism)


@implementer(ICredentialsChecker, IUsers)
class Database:
    """Users, each with his password, who are read together; or trouble."""

    credentialInterfaces = (IUsernamePassword,)  # noqa: N815 - ICredentialsChecker names it so

    def __init__(self, *users: tuple[User, bytes], trouble: Exception | None = None, hint: bool | None = False) -> None:
        self.users = {user.name: (user, password) for user, password in users}
        self.trouble = trouble
        self.hint = hint
        self.asked = 0

    def requestAvatarId(self, credentials: Any) -> Any:
        self.asked += 1
        if self.trouble is not None:
            return fail(self.trouble)
        name = credentials.username.decode()
        user, password = self.users.get(name, (None, b""))
        if user is None or password != credentials.password:
            return fail(LoginRefused("no", known=self.hint if user is None else True))
        return succeed(UserId(credentials.username, user))

    def lookup(self, name: str) -> Deferred[User | None]:
        self.asked += 1
        return fail(self.trouble) if self.trouble is not None else succeed(self.users.get(name, (None,))[0])


def user_ids() -> int:
    """How many there are; other tests may have kept some."""
    gc.collect()
    return sum(isinstance(each, UserId) for each in gc.get_objects())


@implementer(ICredentialsChecker)
class Renames:
    """Takes any password, and everybody for one user, whatever the name is."""

    credentialInterfaces = (IUsernamePassword,)  # noqa: N815 - ICredentialsChecker names it so

    def __init__(self, name: bytes, user: User) -> None:
        self.name = name
        self.user = user

    def requestAvatarId(self, credentials: Any) -> Any:
        return UserId(self.name, self.user)


@implementer(IUsers)
class Aliases(Renames):
    """The same, by a checker that knows this one user."""

    def lookup(self, name: str) -> Deferred[User | None]:
        return succeed(self.user if name == self.user.name else None)


class Case(TestCase):
    def file(self, lines: bytes = LINES) -> PasswordFile:
        path = Path(self.mktemp())
        path.write_bytes(lines)
        checker = PasswordFile(str(path))
        self.successResultOf(checker.start(reactor))
        self.addCleanup(checker.stop)
        return checker

    def opened(self, users: Users, credentials: Any, *masters: str) -> User:
        store = Store()
        portal = make_portal(MailboxRealm(store, users), users, masters)
        self.successResultOf(portal.login(credentials, MIND, IMaildrop))
        return store.opened[0][0]


class QuestionsOfALogin(Case):
    """Each by a client of a server whose users are in one backend."""

    names = PLAIN

    def setUp(self) -> None:
        self.serve(Counted(self.file()))

    def serve(self, *backends: Any) -> None:
        self.backend = backends[0]
        users = Accounts(self.names, backends) if self.names.accounts else Users(backends)
        store = SharedStore(MemoryStore(), self.names) if self.names.accounts else MemoryStore()
        portal = make_portal(MailboxRealm(store, users), users, ["root"])
        self.factory = POP3ServerFactory(
            portal,
            clock=Clock(),
            hostname="h",
            cleartext="always",
            oracle=make_oracle(users),
            names=self.names,
            mechanisms=("PLAIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-256"),
        )
        self.talk = Talk(self.factory, logged_in=False)
        self.greeting = self.talk.heard()

    async def said(self, line: bytes) -> bytes:
        """The answer, which a thread may have to work for."""
        self.talk.heard()
        self.talk.say(line + b"\r\n")
        while not (heard := self.talk.wire.value()).endswith(b"\r\n"):
            await self.sleep()
        return heard

    async def sleep(self) -> None:
        waited: Deferred[None] = Deferred()
        reactor.callLater(0.002, waited.callback, None)  # type: ignore[attr-defined]
        await waited

    async def challenged(self, line: bytes) -> bytes:
        heard = await self.said(line)
        assert heard.startswith(b"+ "), heard
        return b64decode(heard[2:])

    def questions(self, answer: bytes, *, taken: bool = True) -> list[str]:
        assert answer.startswith(b"+OK maildrop" if taken else b"-ERR [AUTH]"), answer
        asked, self.backend.asked = self.backend.asked, []
        return asked

    async def by_pass(self, name: bytes, password: bytes, *, taken: bool = True) -> list[str]:
        await self.said(b"USER " + name)
        return self.questions(await self.said(b"PASS " + password), taken=taken)

    async def by_plain(self, authzid: bytes, name: bytes, password: bytes) -> list[str]:
        return self.questions(await self.said(b"AUTH PLAIN " + b64encode(b"\0".join((authzid, name, password)))))

    async def by_scram(self, name: bytes, password: bytes, authzid: bytes = b"", *, taken: bool = True) -> list[str]:
        header = b"n,a=%b," % authzid if authzid else b"n,,"
        client = scram("sha256", name, password, header=header)
        first = await self.challenged(b"AUTH SCRAM-SHA-256 " + b64encode(next(client)))
        answer = await self.said(b64encode(client.send(first)))
        return self.questions(await self.said(b"") if taken else answer, taken=taken)


class QuestionsOfAUser(QuestionsOfALogin):
    async def test_a_password_asks_one(self) -> None:
        assert await self.by_pass(b"alice", b"tanstaaf") == ["requestAvatarId"]

    async def test_a_digest_asks_one(self) -> None:
        stamp = self.greeting[self.greeting.index(b"<") : self.greeting.index(b">") + 1]
        digest = md5(stamp + b"tanstaaf").hexdigest().encode()
        assert self.questions(await self.said(b"APOP alice " + digest)) == ["requestAvatarId"]

    async def test_scram_asks_two(self) -> None:
        assert await self.by_scram(b"alice", b"tanstaaf") == ["lookup", "verifier"]

    async def test_digest_md5_asks_two(self) -> None:
        challenge = await self.challenged(b"AUTH DIGEST-MD5")
        response, _ = digest_md5(b"alice", b"tanstaaf", challenge)
        await self.challenged(b64encode(response))
        assert self.questions(await self.said(b"")) == ["lookup", "verifier"]

    async def test_a_master_asks_one_more(self) -> None:
        assert await self.by_plain(b"alice", b"root", b"master") == ["requestAvatarId", "lookup"]
        self.setUp()
        assert await self.by_scram(b"root", b"master", b"alice") == ["lookup", "verifier", "lookup"]

    async def test_who_is_unknown_asks_as_much_as_who_is_known(self) -> None:
        for name in (b"alice", b"nobody"):
            self.setUp()
            assert await self.by_pass(name, b"wrong", taken=False) == ["requestAvatarId"]
            self.setUp()
            assert await self.by_scram(name, b"wrong", taken=False) == ["lookup", "verifier"]

    async def test_a_checker_that_answers_with_the_name_alone_is_asked_for_the_user(self) -> None:
        self.serve(Counted(self.file(), carries=False))
        assert await self.by_pass(b"alice", b"tanstaaf") == ["requestAvatarId", "lookup"]
        self.serve(Counted(self.file(), carries=False))
        master = await self.by_plain(b"alice", b"root", b"master")
        assert master == ["requestAvatarId", "lookup", "lookup"]

    async def test_of_two_backends_each_is_asked_once(self) -> None:
        for first, second in (("first", "second"), ("second", "first")):
            empty, full = Counted(self.file(b"other:{PLAIN}x\n")), Counted(self.file())
            self.serve(*((empty, full) if first == "first" else (full, empty)))
            self.backend = full
            assert await self.by_pass(b"alice", b"tanstaaf") == ["requestAvatarId"], second
            assert empty.asked == (["requestAvatarId"] if first == "first" else [])

    async def test_scram_asks_those_before_him_for_the_name_alone(self) -> None:
        empty, full = Counted(self.file(b"other:{PLAIN}x\n")), Counted(self.file())
        self.serve(empty, full)
        self.backend = full
        assert await self.by_scram(b"alice", b"tanstaaf") == ["lookup", "verifier"]
        assert empty.asked == ["lookup"]

    async def test_nothing_is_kept_of_a_login(self) -> None:
        before = user_ids()
        await self.by_scram(b"alice", b"tanstaaf")
        assert user_ids() == before

    async def test_nor_of_an_exchange_that_is_cancelled(self) -> None:
        before = user_ids()
        client = scram("sha256", b"alice", b"tanstaaf")
        await self.challenged(b"AUTH SCRAM-SHA-256 " + b64encode(next(client)))
        await self.said(b"*")
        assert user_ids() == before


class QuestionsOfAnAccount(QuestionsOfALogin):
    names = NAMES

    async def test_the_account_asks_as_any_user_does(self) -> None:
        assert await self.by_pass(b"vision25", b"host") == ["requestAvatarId"]
        self.setUp()
        assert await self.by_scram(b"vision25", b"host") == ["lookup", "verifier"]

    async def test_a_share_asks_one_more(self) -> None:
        assert await self.by_pass(b"john@vision25", b"host") == ["lookup", "requestAvatarId"]
        self.setUp()
        assert await self.by_scram(b"john@vision25", b"host") == ["lookup", "lookup", "verifier"]

    async def test_a_line_of_his_own_is_another_one_for_a_password(self) -> None:
        assert await self.by_pass(b"mary@vision25", b"hers") == ["lookup", "requestAvatarId", "lookup"]
        self.setUp()
        assert await self.by_scram(b"mary@vision25", b"hers") == ["lookup", "lookup", "verifier"]

    async def test_a_master_asks_two_more_for_a_share(self) -> None:
        assert await self.by_plain(b"john@vision25", b"root", b"master") == ["requestAvatarId", "lookup", "lookup"]

    async def test_who_is_unknown_asks_as_much_as_who_is_known(self) -> None:
        for name in (b"john@vision25", b"mary@vision25"):
            self.setUp()
            assert await self.by_scram(name, b"wrong", taken=False) == ["lookup", "lookup", "verifier"]


class WhoseAnswerCounts(Case):
    def test_it_provides_its_interface(self) -> None:
        verifyObject(IUserList, Users([]))

    async def test_a_proof_that_was_made_elsewhere_is_looked_up_once(self) -> None:
        backend = Counted(self.file())
        self.opened(Users([backend]), VerifiedIdentity(b"alice"))
        assert backend.asked == ["lookup"]

    def test_what_changes_between_two_logins_is_seen_by_the_second(self) -> None:
        database = Database((User("alice", home="/old"), b"x"))
        users = Users([database])
        assert self.opened(users, Password(b"alice", b"x")).home == "/old"
        database.users["alice"] = (User("alice", home="/new"), b"x")
        assert self.opened(users, Password(b"alice", b"x")).home == "/new"
        del database.users["alice"]
        with pytest.raises(UnauthorizedLogin):
            raise self.failureResultOf(make_portal(NameRealm(), users).login(VerifiedIdentity(b"alice"), None)).value

    def test_a_second_checker_s_user_counts_if_the_first_knows_nobody_of_his_name(self) -> None:
        first, second = Database(), Database((User("alice", home="/second"), b"x"))
        assert self.opened(Users([first, second]), Password(b"alice", b"x")).home == "/second"
        assert (first.asked, second.asked) == (1, 1)

    def test_the_first_who_knows_him_counts_whichever_checker_takes_his_password(self) -> None:
        for hint in (False, None):
            first = Database((User("alice", home="/first"), b"other"), hint=hint)
            second = Database((User("alice", home="/second"), b"x"))
            assert self.opened(Users([first, second]), Password(b"alice", b"x")).home == "/first"

    def test_a_checker_that_was_silent_or_not_asked_may_know_him_too(self) -> None:
        silent = Database(hint=None)
        users = Users([silent, Database((User("alice", home="/second"), b"x"))])
        assert self.opened(users, Password(b"alice", b"x")).home == "/second"
        assert silent.asked == 2
        unasked = Database((User("alice", home="/unasked"), b"x"))
        unasked.credentialInterfaces = (IUsernameHashedPassword,)  # type: ignore[assignment]
        users = Users([unasked, Database((User("alice", home="/second"), b"x"))])
        assert self.opened(users, Password(b"alice", b"x")).home == "/unasked"

    def test_who_takes_him_for_somebody_else_has_asked_nobody_about_that_one(self) -> None:
        first, theirs = Database((User("bob", home="/first"), b"x")), User("bob", home="/theirs")
        for order in (
            [first, Aliases(b"bob", theirs)],
            [first, Renames(b"bob", theirs)],
            [Renames(b"bob", theirs), first],
        ):
            assert self.opened(Users(order), Password(b"alice", b"x")).home == "/first"
        assert self.opened(Users([Aliases(b"bob", theirs), first]), Password(b"alice", b"x")).home == "/theirs"

    def test_a_user_of_an_account_is_one_by_whatever_name_a_checker_was_asked(self) -> None:
        for name, share in (("vision25", None), ("john@vision25", "john")):
            backend = Aliases(name.encode(), User(name, home="/account"))
            listed = Database((User("vision25", home="/account"), b""))
            for users in (Accounts(NAMES, [backend, listed]), Users([backend, listed], NAMES)):
                opened = self.opened(users, Password(b"alias", b"x"))
                assert opened == User("vision25", home="/account", account=Account("vision25.example.org", share))

    def test_what_the_first_forbids_no_other_allows(self) -> None:
        far = User("alice", networks=(ip_network("198.51.100.0/24"),))
        users = Users([Database((far, b"other")), Database((User("alice"), b"x"))])
        portal = make_portal(MailboxRealm(Store(), users), users)
        self.failureResultOf(portal.login(Password(b"alice", b"x"), MIND, IMaildrop), UnauthorizedLogin)

    def test_what_a_line_forbids_is_forbidden_by_password_and_digest(self) -> None:
        stamp = b"<1@h>"
        apop = Apop(stamp, b"alice", md5(stamp + b"x").hexdigest().encode())
        for extra, admitted in (
            (b"delay_until=1", True),
            (b"delay_until=9999999999", False),
            (b"allow_nets=::1", False),
        ):
            users = Users([self.file(b"alice:{PLAIN}x::::::%b\n" % extra)])
            portal = make_portal(MailboxRealm(Store(), users), users)
            for credentials in (Password(b"alice", b"x"), apop, VerifiedIdentity(b"alice")):
                login = portal.login(credentials, MIND, IMaildrop)
                if admitted:
                    self.successResultOf(login)
                else:
                    self.failureResultOf(login, UnauthorizedLogin)

    async def test_the_first_who_knows_him_counts_whichever_has_the_secret_for_scram(self) -> None:
        first = self.file(b"alice:%b:::::/first\n" % SECRETS["SSHA"]["utf8"])
        second = self.file(b"alice:{PLAIN}x::::/second\n")
        users = Users([first, second])
        keys: Any = await make_oracle(users).ask(VerifierOf(b"alice", b"SCRAM-SHA-256"))
        assert keys == derive(b"x", keys.salt, keys.iterations, "sha256")
        assert keys.user_id.user == await users.lookup("alice") == await first.lookup("alice")

    async def test_a_line_of_his_own_that_cannot_do_scram_does_not_open_by_his_account_s_secret(self) -> None:
        hashed = self.file(b"mary@vision25:%b\n" % SECRETS["SSHA"]["utf8"])
        for order in ([hashed, self.file(b"vision25:{PLAIN}host\n")], [self.file(b"vision25:{PLAIN}host\n"), hashed]):
            oracle = make_oracle(Users(order, NAMES))
            keys: Any = await oracle.ask(VerifierOf(b"mary@vision25", b"SCRAM-SHA-256"))
            assert keys != derive(b"host", keys.salt, keys.iterations, "sha256")

    def test_a_realm_with_other_users_asks_its_own(self) -> None:
        store = Store()
        realm = MailboxRealm(store, [Database((User("alice", home="/realm"), b""))])
        portal = make_portal(realm, [Database((User("alice", home="/checker"), b"x"))])
        self.successResultOf(portal.login(Password(b"alice", b"x"), MIND, IMaildrop))
        assert store.opened[0][0].home == "/realm"

    def test_a_realm_with_other_accounts_asks_its_own(self) -> None:
        store, database = Store(), Database((User("vision25", home="/account"), b"x"))
        portal = make_portal(MailboxRealm(store, Users([database], NAMES)), [database])
        self.successResultOf(portal.login(Password(b"vision25", b"x"), MIND, IMaildrop))
        assert store.opened[0][0].account == Account("vision25.example.org")

    def test_a_user_id_that_no_chain_vouches_for_is_a_name(self) -> None:
        store = Store()
        realm = MailboxRealm(store, [Database((User("alice", home="/realm"), b""))])
        self.successResultOf(realm.requestAvatar(UserId(b"alice", User("alice", home="/x")), MIND, IMaildrop))
        assert store.opened[0][0].home == "/realm"

    async def test_whom_an_oracle_over_other_users_has_read_is_looked_up(self) -> None:
        wide, narrow = Users([self.file(), self.file(b"bob:{PLAIN}x\n")]), Users([self.file()])
        keys: Any = await make_oracle(wide).ask(VerifierOf(b"bob", b"SCRAM-SHA-256"))
        assert keys.user_id == b"bob"
        bob = VerifiedIdentity(b"bob", keys.user_id)
        assert await make_portal(NameRealm(), wide).login(bob, None) == b"bob"
        self.failureResultOf(make_portal(NameRealm(), narrow).login(bob, None), UnauthorizedLogin)
        alice = VerifiedIdentity(b"nobody", keys.user_id)
        self.failureResultOf(make_portal(NameRealm(), wide).login(alice, None), UnauthorizedLogin)

    def test_to_another_realm_a_user_id_is_a_name(self) -> None:
        portal = make_portal(NameRealm(), [Database((User("alice"), b"x"))])
        answer = self.successResultOf(portal.login(Password(b"alice", b"x"), None))
        assert answer == b"alice"
        assert repr(answer) == "b'alice'"

    def test_users_and_checkers_are_one_to_whoever_asks(self) -> None:
        users = Users([])
        assert Users.of(users) is Users.of([users]) is users
        accounts = Accounts(NAMES, [])
        assert Users.of([accounts]) is accounts
        assert accounts.checkers == [accounts]


class ABackendInTrouble(Case):
    """Nobody may answer in its place: whom another knows by this name could be somebody else."""

    def setUp(self) -> None:
        self.trouble = Database(trouble=TemporaryFailure())
        self.other = Database((User("alice", home="/other"), b"x"))
        self.users = Users([self.trouble, self.other])

    def fails(self, asked: Deferred[Any]) -> None:
        self.failureResultOf(asked, TemporaryFailure)
        assert self.other.asked == 0

    def test_no_login_goes_on(self) -> None:
        portal = make_portal(MailboxRealm(Store(), self.users), self.users, ["alice"])
        for credentials in (Password(b"alice", b"x"), VerifiedIdentity(b"alice")):
            self.fails(portal.login(credentials, MIND, IMaildrop))
        self.fails(portal.login(ActingFor(VerifiedIdentity(b"alice"), b"alice"), MIND, IMaildrop))

    def test_no_lookup_does(self) -> None:
        self.fails(self.users.lookup("alice"))
        self.fails(Accounts(NAMES, [self.trouble, self.other]).lookup("john@vision25"))
        self.fails(MailboxRealm(Store(), self.users).requestAvatar(b"alice", MIND, IMaildrop))

    def test_no_secret_is_another_s(self) -> None:
        oracle = make_oracle(Users([self.trouble, self.file()]))
        self.failureResultOf(oracle.ask(VerifierOf(b"alice", b"SCRAM-SHA-256")), TemporaryFailure)

    async def test_no_list_is_taken_for_the_whole(self) -> None:
        @implementer(IUserList)
        class Broken:
            def lookup(self, name: str) -> Deferred[User | None]:
                return fail(TemporaryFailure())

            def names(self, after: str, limit: int) -> Any:
                return fail(TemporaryFailure())

        with pytest.raises(TemporaryFailure):
            await Users([self.file(), Broken()]).names("", 10)

    def test_who_hangs_up_is_no_longer_looked_up(self) -> None:
        gone: list[Any] = []

        @implementer(IUsers)
        class Slow:
            credentialInterfaces = ()  # noqa: N815 - ICredentialsChecker names it so

            def lookup(self, name: str) -> Deferred[User | None]:
                return Deferred(gone.append)

        for users in (Users([Slow()]), Users([Slow(), Slow()]), Accounts(NAMES, [Slow()])):
            portal = make_portal(MailboxRealm(Store(), users), users)
            for name in (b"alice", b"john@vision25"):
                login = portal.login(VerifiedIdentity(name), MIND, IMaildrop)
                login.cancel()
                self.failureResultOf(login)
        assert len(gone) == 6


class ListOfAllUsers(UserListContract, Case):
    """Those of two files that share some, and of a database that can list nobody."""

    def make(self, names: list[str]) -> Users:
        half = len(names) // 2
        lines = [
            ("%s:{PLAIN}x\n" * len(part) % tuple(part)).encode() for part in (names[half - 1 :], names[: half + 1])
        ]
        return Users([self.file(lines[0]), Database(), self.file(lines[1])])


class AccountsAreUsers(Case):
    async def test_an_account_s_users_have_its_maildrop(self) -> None:
        users = Users([self.file()], NAMES)
        john = await users.lookup("john@vision25")
        assert john == User("vision25", home="/home/vision25", account=Account("vision25.example.org", "john"))

    def test_the_user_s_own_line_denies_and_else_the_account_s(self) -> None:
        mary, whole = User("mary@vision25"), User("vision25")
        for database, denied, admitted in (
            (Database((whole, b"x"), (replace(mary, denied="no"), b"y")), [mary.name], ["vision25", "john@vision25"]),
            (Database((replace(whole, denied="no"), b"x"), (mary, b"y")), ["vision25", "john@vision25"], [mary.name]),
        ):
            users = Accounts(NAMES, [database])
            for name in (*denied, *admitted):
                password = Password(name.encode(), b"y" if name == mary.name else b"x")
                acting = ActingFor(VerifiedIdentity(b"vision25"), name.encode())
                for credentials in (password, VerifiedIdentity(name.encode()), acting):
                    if name in admitted and (credentials is not acting or "vision25" in admitted):
                        assert self.opened(users, credentials, "vision25").account is not None
                    else:
                        with pytest.raises(AssertionError, match="LoginRefused"):
                            self.opened(users, credentials, "vision25")

    async def test_tokens_and_their_like_have_no_name_to_look_up(self) -> None:
        with pytest.raises(UnauthorizedLogin):
            await Accounts(NAMES, [self.file()]).requestAvatarId(BearerToken(b"t"))
