from __future__ import annotations

from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailserver.auth import Accounts, PasswordFile, make_oracle
from mailserver.auth.scram_keys import derive, read_keys
from mailserver.credentials import BearerToken, IBearerToken
from mailserver.errors import AuthenticationFailed, TemporaryFailure
from mailserver.exchange import ScramKeys, VerifierOf
from mailserver.interfaces import IOracle
from mailserver.names import Names
from tests.auth.vectors import SECRETS

STORED = SECRETS["SCRAM-SHA-1"]["utf8"]


class OracleTests(TestCase):
    def checker(self, data: bytes) -> PasswordFile:
        path = Path(self.mktemp())
        path.write_bytes(data)
        checker = PasswordFile(str(path))
        self.successResultOf(checker.start(reactor))
        self.addCleanup(checker.stop)
        return checker

    async def test_the_first_checker_that_knows_the_user_answers(self) -> None:
        first = self.checker(b"alice:{PLAIN}tanstaaf\n")
        second = self.checker(b"alice:" + STORED + b"\nbob:" + STORED + b"\n")
        oracle = make_oracle([object(), first, second])
        verifyObject(IOracle, oracle)
        alice = await oracle.ask(VerifierOf(b"alice", b"SCRAM-SHA-1"))
        assert isinstance(alice, ScramKeys)
        assert alice == derive(b"tanstaaf", alice.salt, alice.iterations, "sha1")
        assert await oracle.ask(VerifierOf(b"bob", b"SCRAM-SHA-1")) == read_keys(STORED.partition(b"}")[2])

    async def test_a_digest_is_asked_for_with_its_realm(self) -> None:
        oracle = make_oracle([self.checker(b"alice:{PLAIN}tanstaaf\n")])
        for name, secret in ((b"alice", b"tanstaaf"), (b"nobody", None)):
            key = await oracle.ask(VerifierOf(name, b"DIGEST-MD5", b"r"))
            assert key != await oracle.ask(VerifierOf(name, b"DIGEST-MD5", b"s"))
            assert secret is None or key == md5(b"%b:r:%b" % (name, secret)).digest()

    async def test_who_is_known_to_nobody_gets_a_fake(self) -> None:
        oracle = make_oracle([self.checker(b"alice:" + STORED + b"\n")])
        for name in (b"nobody", b"../alice", b"\xff"):
            fake = await oracle.ask(VerifierOf(name, b"SCRAM-SHA-1"))
            assert isinstance(fake, ScramKeys)
            assert fake == await oracle.ask(VerifierOf(name, b"SCRAM-SHA-1"))

    async def test_a_mechanism_that_no_secret_serves_is_refused(self) -> None:
        oracle = make_oracle([self.checker(b"alice:" + STORED + b"\n")])
        with pytest.raises(AuthenticationFailed):
            await oracle.ask(VerifierOf(b"alice", b"SCRAM-SHA-256"))

    def test_another_question_is_a_fault(self) -> None:
        with pytest.raises(TypeError):
            make_oracle([]).ask("alice")

    def test_the_mechanisms_are_those_of_all_checkers(self) -> None:
        clear, stored = self.checker(b"alice:{PLAIN}tanstaaf\n"), self.checker(b"bob:" + STORED + b"\n")
        assert make_oracle([stored]).mechanisms() == {b"SCRAM-SHA-1"}
        assert make_oracle([stored, clear]).mechanisms() == clear.mechanisms()
        assert make_oracle([]).mechanisms() == frozenset()

    def test_it_counts_the_users_of_all_checkers(self) -> None:
        clear = self.checker(b"alice:{PLAIN}t\n")
        hashed = self.checker(b"bob:" + SECRETS["SSHA"]["utf8"] + b"\n")
        memory = InMemoryUsernamePasswordDatabaseDontUse(carol=b"x")
        everything = {b"APOP", b"CRAM-MD5", b"DIGEST-MD5", b"SCRAM-SHA-1", b"SCRAM-SHA-256"}
        assert make_oracle([clear]).census().everybodys == everything
        assert make_oracle([clear, hashed]).census().everybodys == frozenset()
        assert make_oracle([clear, memory]).census().everybodys == {b"APOP", b"CRAM-MD5"}
        assert make_oracle([clear, Passwords()]).census().everybodys == frozenset()
        assert make_oracle([clear, Tokens()]).census().everybodys == everything
        accounts = Accounts(Names(accounts={"v": "v.example.org"}), [clear, hashed])
        assert make_oracle([accounts]).census() == make_oracle([clear, hashed]).census()
        assert make_oracle([Accounts(Names(), [clear, memory])]).census().everybodys == {b"APOP", b"CRAM-MD5"}

    def test_a_token_s_owner_is_asked_of_those_who_take_tokens(self) -> None:
        oracle = make_oracle([self.checker(b"alice:{PLAIN}t\n"), Tokens(alice=b"t", bob=b"u")])
        assert self.successResultOf(oracle.ask(BearerToken(b"u"))) == b"bob"
        assert self.successResultOf(oracle.ask(BearerToken(b"v"))).reason == "Tokens refused without a reason"
        self.failureResultOf(oracle.ask(BearerToken(b"down")), TemporaryFailure)

    def test_where_nobody_takes_tokens_none_is_good(self) -> None:
        assert (
            self.successResultOf(make_oracle([]).ask(BearerToken(b"t"))).reason == "no checker takes such credentials"
        )


@implementer(ICredentialsChecker)
class Passwords:
    credentialInterfaces = (IUsernamePassword,)  # noqa: N815 - ICredentialsChecker names it so

    def requestAvatarId(self, credentials: Any) -> Any:
        return credentials.username


@implementer(ICredentialsChecker)
class Tokens:
    credentialInterfaces = (IBearerToken,)  # noqa: N815 - ICredentialsChecker names it so

    def __init__(self, **owners: bytes) -> None:
        self.owners = {token: name.encode() for name, token in owners.items()}

    def requestAvatarId(self, credentials: BearerToken) -> bytes:
        if credentials.token == b"down":
            raise TemporaryFailure
        if credentials.token not in self.owners:
            raise UnauthorizedLogin
        return self.owners[credentials.token]
