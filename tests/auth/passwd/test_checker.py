from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailserver.auth import PasswordFile
from mailserver.auth.entry import Entry
from mailserver.auth.passwd.table import Table
from mailserver.auth.passwd.watch import PasswordFileError
from mailserver.auth.schemes import Secret
from mailserver.auth.scram_keys import derive, read_keys
from mailserver.credentials import Apop, CramMd5, Password
from mailserver.exchange import ScramKeys
from mailserver.interfaces import IPart, IUsers, IVerifiers, User
from mailserver.testing.contracts.checkers import STAMP, UserListContract, digest
from tests.auth.vectors import PASSWORDS, SECRETS

LINES = b"alice:{PLAIN}tanstaaf::::/home/alice\nbob:" + SECRETS["PBKDF2"]["utf8"] + b"\n"


class PasswordFileCase(TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.clock = Clock()

    async def started(self, data: bytes = LINES) -> PasswordFile:
        self.path.write_bytes(data)
        checker = PasswordFile(str(self.path), seconds=self.clock.seconds)
        await checker.start(reactor)
        self.addCleanup(checker.stop)
        return checker

    async def refused(self, checker: PasswordFile, credentials: Any) -> None:
        with pytest.raises(UnauthorizedLogin):
            await checker.requestAvatarId(credentials)


class CheckerTests(PasswordFileCase):
    async def test_it_provides_its_interfaces(self) -> None:
        checker = await self.started()
        for interface in (IUsers, IVerifiers, IPart):
            verifyObject(interface, checker)

    async def test_digests_are_announced_while_some_secret_is_the_password_itself(self) -> None:
        checker = await self.started()
        assert checker.credentialInterfaces == (IUsernamePassword, IUsernameHashedPassword)
        self.path.write_bytes(LINES.splitlines(keepends=True)[1])
        await checker.reload()
        assert checker.credentialInterfaces == (IUsernamePassword,)

    def test_before_the_start_all_is_announced_that_may_come_to_be(self) -> None:
        assert PasswordFile("/none").credentialInterfaces == (IUsernamePassword, IUsernameHashedPassword)

    async def test_a_changed_file_counts_at_the_next_login(self) -> None:
        checker = await self.started()
        self.path.write_bytes(b"alice:{PLAIN}another\n")
        await self.refused(checker, Password(b"alice", b"tanstaaf"))
        assert await checker.requestAvatarId(Password(b"alice", b"another")) == b"alice"
        await self.refused(checker, Password(b"bob", PASSWORDS["utf8"]))

    async def test_a_fast_secret_is_verified_at_once(self) -> None:
        checker = await self.started()
        assert self.successResultOf(checker.requestAvatarId(Password(b"alice", b"tanstaaf"))) == b"alice"

    async def test_a_slow_secret_is_verified_in_a_thread_once(self) -> None:
        checker = await self.started()
        first = checker.requestAvatarId(Password(b"bob", PASSWORDS["utf8"]))
        self.assertNoResult(first)
        assert await first == b"bob"
        assert self.successResultOf(checker.requestAvatarId(Password(b"bob", PASSWORDS["utf8"]))) == b"bob"

    async def test_a_remembered_password_is_forgotten_in_time(self) -> None:
        checker = await self.started()
        await checker.requestAvatarId(Password(b"bob", PASSWORDS["utf8"]))
        self.clock.advance(3600)
        again = checker.requestAvatarId(Password(b"bob", PASSWORDS["utf8"]))
        self.assertNoResult(again)
        assert await again == b"bob"

    async def test_a_remembered_password_is_forgotten_with_its_secret(self) -> None:
        checker = await self.started()
        await checker.requestAvatarId(Password(b"bob", PASSWORDS["utf8"]))
        self.path.write_bytes(b"bob:" + SECRETS["PBKDF2"]["octets"] + b"\n")
        await self.refused(checker, Password(b"bob", PASSWORDS["utf8"]))
        assert await checker.requestAvatarId(Password(b"bob", PASSWORDS["octets"])) == b"bob"

    async def test_a_client_that_has_gone_ends_its_login(self) -> None:
        checker = await self.started()
        login = checker.requestAvatarId(Password(b"bob", PASSWORDS["utf8"]))
        login.cancel()
        with pytest.raises(CancelledError):
            await login

    async def test_nopassword_takes_any_password_that_can_be_one(self) -> None:
        checker = await self.started(b"guest:::::::nopassword\n")
        for password in (b"", b"anything"):
            assert await checker.requestAvatarId(Password(b"guest", password)) == b"guest"
        await self.refused(checker, Password(b"guest", b"\0"))
        await self.refused(checker, Apop(STAMP, b"guest", digest(b"")))

    async def test_a_user_whose_secret_cannot_serve_is_refused(self) -> None:
        checker = await self.started(LINES + b"carol:{NONE}x\n")
        await self.refused(checker, Password(b"carol", b"x"))
        await self.refused(checker, Apop(STAMP, b"carol", digest(b"x")))

    async def test_contexts_serve_cram_md5_and_passwords_and_nothing_else(self) -> None:
        checker = await self.started(LINES + b"cram:" + SECRETS["CRAM-MD5"]["utf8"] + b"\n")
        password = PASSWORDS["utf8"]

        def said(name: bytes, secret: bytes) -> CramMd5:
            return CramMd5(name, b"<1@h>", hmac.digest(secret, b"<1@h>", "md5").hex().encode())

        assert await checker.requestAvatarId(said(b"cram", password)) == b"cram"
        assert await checker.requestAvatarId(said(b"alice", b"tanstaaf")) == b"alice"
        assert await checker.requestAvatarId(Password(b"cram", password)) == b"cram"
        for wrong in (
            said(b"cram", b"x"),
            said(b"bob", PASSWORDS["utf8"]),
            said(b"nobody", password),
            Apop(STAMP, b"cram", digest(password)),
            Password(b"cram", b"x"),
        ):
            await self.refused(checker, wrong)
        assert checker.census().able[b"CRAM-MD5"] == 2
        assert checker.census().able[b"APOP"] == 1

    async def test_a_file_of_contexts_alone_takes_digests(self) -> None:
        checker = await self.started(b"cram:" + SECRETS["CRAM-MD5"]["utf8"] + b"\n")
        assert IUsernameHashedPassword in checker.credentialInterfaces
        assert checker.census().everybodys == {b"CRAM-MD5"}

    async def test_a_digest_does_not_fit_a_hash(self) -> None:
        checker = await self.started(LINES + b"carol:" + SECRETS["SHA"]["utf8"] + b"\n")
        for name in (b"bob", b"carol", b"nobody"):
            await self.refused(checker, Apop(STAMP, name, digest(PASSWORDS["utf8"])))

    async def test_an_unknown_user_does_not_match_the_fake_secret(self) -> None:
        checker = await self.started()
        await self.refused(checker, Apop(STAMP, b"nobody", digest(checker._verifying.fake)))

    async def test_a_file_without_secrets_refuses_everybody(self) -> None:
        checker = await self.started(b"")
        await self.refused(checker, Password(b"alice", b"tanstaaf"))

    async def test_it_does_not_show_its_secrets(self) -> None:
        checker = await self.started()
        assert repr(checker) == f"PasswordFile({str(self.path)!r})"


class EqualWorkTests(PasswordFileCase):
    """Counted in verifications, since time on a busy machine proves nothing."""

    async def table(self, **slow: bool) -> PasswordFile:
        self.done: list[str] = []
        checker = await self.started()
        secrets = {name: Secret("X", b"", self.counts(name), is_slow) for name, is_slow in slow.items()}
        entries = {name.encode(): Entry(User(name), secret) for name, secret in secrets.items()}
        entries[b"broken"] = Entry(User("broken"))
        decoy = next((secret for secret in secrets.values() if secret.slow), next(iter(secrets.values())))
        checker._file.load()
        checker._file.fresh = lambda: True  # type: ignore[method-assign]  # the table below is not that of the file
        checker._file.value = Table(entries, decoy=decoy)
        return checker

    def counts(self, name: str) -> Callable[[bytes], bool]:
        def verify(password: bytes) -> bool:
            self.done.append(name)
            return password == b"right"

        return verify

    async def work(self, checker: PasswordFile, name: bytes) -> list[str]:
        self.done.clear()
        await self.refused(checker, Password(name, b"wrong"))
        return list(self.done)

    async def test_a_slow_refusal_takes_one_verification_whoever_asks(self) -> None:
        checker = await self.table(slow=True)
        for name in (b"slow", b"nobody", b"broken"):
            assert await self.work(checker, name) == ["slow"]

    async def test_a_fast_users_refusal_takes_a_slow_verification_too(self) -> None:
        checker = await self.table(fast=False, slow=True)
        assert await self.work(checker, b"fast") == ["fast", "slow"]
        assert await self.work(checker, b"nobody") == ["slow"]

    async def test_a_fast_refusal_takes_one_fast_verification_at_least(self) -> None:
        checker = await self.table(fast=False)
        for name in (b"nobody", b"broken"):
            assert await self.work(checker, name) == ["fast"]

    async def test_a_right_guess_at_the_decoy_opens_nothing(self) -> None:
        checker = await self.table(slow=True)
        await self.refused(checker, Password(b"nobody", b"right"))
        assert self.done == ["slow"]
        assert len(checker._verifying.verified) == 0


class LifeTests(PasswordFileCase):
    async def test_a_start_without_a_file_fails(self) -> None:
        checker = PasswordFile(str(self.path))
        with pytest.raises(PasswordFileError):
            await checker.start(reactor)
        await checker.stop()

    async def test_starting_twice_and_stopping_twice_is_harmless(self) -> None:
        checker = await self.started()
        await checker.start(reactor)
        assert await checker.requestAvatarId(Password(b"bob", PASSWORDS["utf8"])) == b"bob"
        await checker.stop()
        await checker.stop()

    async def test_a_checker_that_nobody_starts_starts_itself_if_it_knows_how(self) -> None:
        self.path.write_bytes(LINES)
        reactors: list[Any] = []

        def find() -> Any:
            reactors.append(reactor)
            return reactor

        checker = PasswordFile(str(self.path), find_reactor=find)
        self.addCleanup(checker.stop)
        assert await checker.requestAvatarId(Password(b"bob", PASSWORDS["utf8"])) == b"bob"
        assert await checker.requestAvatarId(Password(b"alice", b"tanstaaf")) == b"alice"
        assert reactors == [reactor]

    async def test_once_stopped_it_does_not_start_itself_again(self) -> None:
        self.path.write_bytes(LINES)
        checker = PasswordFile(str(self.path), find_reactor=lambda: reactor)
        await checker.requestAvatarId(Password(b"alice", b"tanstaaf"))
        await checker.stop()
        self.addCleanup(checker.stop)
        with pytest.raises(RuntimeError):
            await checker.requestAvatarId(Password(b"alice", b"tanstaaf"))

    def test_before_the_start_there_is_nothing_to_reload(self) -> None:
        self.successResultOf(PasswordFile(str(self.path)).reload())

    def test_else_it_is_a_fault(self) -> None:
        asked = PasswordFile(str(self.path)).requestAvatarId(Password(b"alice", b"tanstaaf"))
        self.failureResultOf(asked, RuntimeError)


class UsersTests(PasswordFileCase):
    async def test_a_user_is_found_by_his_very_name(self) -> None:
        checker = await self.started()
        assert await checker.lookup("alice") == User("alice", home="/home/alice")
        for name in ("Alice", "nobody", "", "\udcff"):
            assert await checker.lookup(name) is None

    async def test_a_changed_file_counts_at_the_next_lookup(self) -> None:
        checker = await self.started()
        self.path.write_bytes(b"carol:{PLAIN}x\n")
        assert await checker.lookup("carol") == User("carol")
        assert await checker.lookup("alice") is None


class ListTests(UserListContract, PasswordFileCase):
    def setUp(self) -> None:
        PasswordFileCase.setUp(self)
        UserListContract.setUp(self)

    def make(self, names: list[str]) -> PasswordFile:
        self.path.write_bytes("".join(f"{name}:{{PLAIN}}x\n" for name in names).encode())
        checker = PasswordFile(str(self.path))
        self.successResultOf(checker.start(reactor))
        self.addCleanup(checker.stop)
        return checker

    async def test_a_changed_file_is_listed_as_it_is_now(self) -> None:
        assert len(await self.users.names("", 100)) == len(self.listed)
        self.path.write_bytes(b"carol:{PLAIN}x\nadam:{NONE}x\n")
        assert await self.users.names("", 100) == ["adam", "carol"]


class VerifiersTests(PasswordFileCase):
    async def test_the_mechanisms_are_those_of_the_stored_secrets(self) -> None:
        scram = b"dave:" + SECRETS["SCRAM-SHA-256"]["utf8"] + b"\n"
        for data, mechanisms in (
            (LINES, {b"SCRAM-SHA-1", b"SCRAM-SHA-256", b"DIGEST-MD5"}),
            (scram, {b"SCRAM-SHA-256"}),
            (b"", set()),
        ):
            assert (await self.started(data)).mechanisms() == mechanisms

    async def test_stored_keys_are_given_as_they_are(self) -> None:
        stored = SECRETS["SCRAM-SHA-256"]["utf8"]
        checker = await self.started(b"dave:" + stored + b"\n")
        assert await checker.verifier(b"dave", b"SCRAM-SHA-256") == read_keys(stored.partition(b"}")[2])

    async def test_a_clear_secret_gives_keys_with_the_same_salt_each_time(self) -> None:
        checker = await self.started()
        keys = await checker.verifier(b"alice", b"SCRAM-SHA-1")
        assert isinstance(keys, ScramKeys)
        assert keys == await checker.verifier(b"alice", b"SCRAM-SHA-1")
        assert keys == derive(b"tanstaaf", keys.salt, keys.iterations, "sha1")

    async def test_who_has_no_keys_gets_a_fake_that_looks_alike_each_time(self) -> None:
        checker = await self.started()
        real = await checker.verifier(b"alice", b"SCRAM-SHA-256")
        for name in (b"nobody", b"bob", b"\xff"):
            fake = await checker.verifier(name, b"SCRAM-SHA-256")
            assert fake == await checker.verifier(name, b"SCRAM-SHA-256")
            assert isinstance(fake, ScramKeys)
            assert isinstance(real, ScramKeys)
            assert (len(fake.salt), fake.iterations) == (len(real.salt), real.iterations)
            assert fake.salt != real.salt

    async def test_among_stored_keys_a_fake_is_as_quick_and_has_their_iterations(self) -> None:
        keys = b"9999," + SECRETS["SCRAM-SHA-1"]["utf8"].partition(b",")[2]
        checker = await self.started(b"dave:{SCRAM-SHA-1}" + keys + b"\n")
        real = self.successResultOf(checker.verifier(b"dave", b"SCRAM-SHA-1"))
        fake = self.successResultOf(checker.verifier(b"nobody", b"SCRAM-SHA-1"))
        assert fake == self.successResultOf(checker.verifier(b"nobody", b"SCRAM-SHA-1"))
        for part in ("salt", "stored_key", "server_key"):
            assert len(getattr(fake, part)) == len(getattr(real, part))
            assert getattr(fake, part) != getattr(real, part)
        assert fake.iterations == real.iterations == 9999
        other = self.successResultOf(checker.verifier(b"nobody", b"SCRAM-SHA-256"))
        assert (len(other.stored_key), other.iterations) == (32, 4096)

    async def test_a_wrong_password_takes_the_work_of_the_commonest_slow_secret_whatever_the_user_s_own(self) -> None:
        cram, bcrypt = SECRETS["CRAM-MD5"]["utf8"], SECRETS["BLF-CRYPT"]["utf8"]
        for secrets, cost in (((cram,), ("CRAM-MD5",)), ((cram, bcrypt, bcrypt), ("bcrypt ($2y$)", 32))):
            lines = [b"user%d:%b\n" % each for each in enumerate((b"{PLAIN}tanstaaf", *secrets))]
            checker = await self.started(b"".join(lines))
            costs = {secret.verify: secret.cost for secret in self.secrets_of(checker)}
            work: list[Any] = []
            run = checker.hashing.run
            checker.hashing.run = lambda *args, work=work, run=run: work.append(args[0]) or run(*args)
            for name in (b"nobody", *(line.partition(b":")[0] for line in lines)):
                await self.refused(checker, Password(name, b"wrong"))
                assert costs[work[-1]] == cost
                assert [costs[each] for each in work].count(cost) == 1
                work.clear()

    def secrets_of(self, checker: PasswordFile) -> list[Secret]:
        return [entry.secret for entry in checker._file.table.entries.values() if entry.secret]

    async def test_beside_clear_secrets_stored_keys_take_the_same_work(self) -> None:
        checker = await self.started(LINES + b"dave:" + SECRETS["SCRAM-SHA-1"]["utf8"] + b"\n")
        stored = read_keys(SECRETS["SCRAM-SHA-1"]["utf8"].partition(b"}")[2])
        work: list[Any] = []
        run = checker.hashing.run
        checker.hashing.run = lambda *args: work.append(args[0]) or run(*args)
        for name in (b"dave", b"alice", b"bob", b"nobody"):
            keys = await checker.verifier(name, b"SCRAM-SHA-1")
            assert (keys == stored) is (name == b"dave")
        assert work == [derive] * 4

    async def test_clients_hash_the_prepared_password_so_a_clear_secret_is_prepared(self) -> None:
        checker = await self.started("erin:{PLAIN}I\u00adX\u2168\n".encode())
        keys = await checker.verifier(b"erin", b"SCRAM-SHA-1")
        assert isinstance(keys, ScramKeys)
        assert keys == derive(b"IXIX", keys.salt, keys.iterations, "sha1")
        assert await checker.verifier(b"erin", b"DIGEST-MD5", b"r") == md5(b"erin:r:IXIX").digest()

    async def test_a_digest_key_is_of_iso_8859_1_where_that_can_be(self) -> None:
        checker = await self.started("jörg:{PLAIN}grün\nzoë:{PLAIN}密码\n".encode())
        key = await checker.verifier("jörg".encode(), b"DIGEST-MD5", b"r")
        assert key == md5("jörg:r:grün".encode("latin-1")).digest()
        key = await checker.verifier("zoë".encode(), b"DIGEST-MD5", b"r")
        assert key == md5("zoë".encode("latin-1") + ":r:密码".encode()).digest()

    async def test_a_digest_key_is_bound_to_the_realm(self) -> None:
        checker = await self.started()
        assert await checker.verifier(b"alice", b"DIGEST-MD5", b"h") == md5(b"alice:h:tanstaaf").digest()
        for name in (b"bob", b"nobody"):
            fake = await checker.verifier(name, b"DIGEST-MD5", b"h")
            assert fake == await checker.verifier(name, b"DIGEST-MD5", b"h")
            assert fake != await checker.verifier(name, b"DIGEST-MD5", b"i")

    async def test_a_mechanism_it_does_not_serve_is_a_fault(self) -> None:
        checker = await self.started()
        with pytest.raises(KeyError):
            await checker.verifier(b"alice", b"CRAM-MD5")
