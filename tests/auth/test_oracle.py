from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailserver.auth import PasswordFile, make_oracle
from mailserver.auth.scram import derive, read_keys
from mailserver.errors import AuthenticationFailed
from mailserver.interfaces import IOracle, ScramKeys, VerifierOf
from tests.auth.vectors import SECRETS

STORED = SECRETS["SCRAM-SHA-1"]["utf8"]


class OracleTests(TestCase):
    timeout = 20

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
